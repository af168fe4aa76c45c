/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Mapped ranges of the device.
 *
 * rt.range is a sorted array of what would be VMAs.  A range inside the ELRANGE of a created enclave is backed
 * by the window and watched by userfaultfd; any other is an empty reservation, which becomes backed when the
 * enclave is created.  Where the EPCM allows less than the mapping, the host's VMA is cut down page by page and
 * the range with it (applied_rwx).
 *
 * A range of a raw EPC file is backed from the start, chunk by chunk, and allows what its mapping does.  A forked
 * child does not have it.
 *
 * Invariant: ranges do not overlap, each holds one reference on its enclave or file, and neighbours that differ in
 * nothing are one.
 */
#include "runtime/range_priv.h"

#include <assert.h>
#include <string.h>
#include <sys/mman.h>

#include "epc/epc.h"
#include "epc/window.h"
#include "runtime/sys.h"

#define RANGE_MAX (1u << 20)
#define GRAVE_MAX RANGE_MAX

/* ---- the array ------------------------------------------------------------------------------------ */

int rt_range_init(void)
{
	void *map = mmap(NULL, RANGE_MAX * sizeof(struct rt_range), PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (map == MAP_FAILED)
		return -ENOMEM;
	rt.range = map;
	map = mmap(NULL, GRAVE_MAX * sizeof(struct rt_hold *), PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		return -ENOMEM;
	rt.grave = map;
	rt.range_max = RANGE_MAX;
	rt.range_low = UINT64_MAX;
	return 0;
}

/* Index of the first range that ends above @addr. */
size_t range_lower(uint64_t addr)
{
	size_t lo = 0, hi = rt.range_nr;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (rt.range[mid].end <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct rt_range *rt_range_find_locked(uint64_t addr)
{
	size_t i = range_lower(addr);

	return i < rt.range_nr && rt.range[i].start <= addr ? &rt.range[i] : NULL;
}

bool rt_range_get(uint64_t addr, struct rt_range *ret_range)
{
	struct rt_range *range;

	lock_acquire(&rt.lock);
	range = rt_range_find_locked(addr);
	if (range) {
		*ret_range = *range;
		rt_process_hold_more(range->hold);
	}
	lock_release(&rt.lock);
	return range;
}

static void bounds_locked(void)
{
	rt.range_low = rt.range_nr ? rt.range[0].start : UINT64_MAX;
	rt.range_high = rt.range_nr ? rt.range[rt.range_nr - 1].end : 0;
}

bool range_touches(uint64_t start, uint64_t end)
{
	return start < rt.range_high && end > rt.range_low;
}

static void insert_at_locked(size_t i, struct rt_range range)
{
	assert(rt.range_nr < rt.range_max);
	memmove(&rt.range[i + 1], &rt.range[i], (rt.range_nr - i) * sizeof(range));
	rt.range[i] = range;
	rt.range_nr++;
}

static void remove_at_locked(size_t i)
{
	rt.range_nr--;
	memmove(&rt.range[i], &rt.range[i + 1], (rt.range_nr - i) * sizeof(rt.range[0]));
}

/* Make @addr a border: the range around it becomes two. */
void range_split_locked(uint64_t addr)
{
	size_t i = range_lower(addr);
	struct rt_range second;

	if (i == rt.range_nr || rt.range[i].start >= addr)
		return;
	second = rt.range[i];
	second.start = addr;
	second.off += addr - rt.range[i].start;
	rt.range[i].end = addr;
	rt_process_hold_more(second.hold);
	insert_at_locked(i + 1, second);
}

/* What a removed range held: let go later, when no lock is held. */
static void entomb_locked(struct rt_hold *hold)
{
	assert(rt.grave_nr < GRAVE_MAX);
	rt.grave[rt.grave_nr++] = hold;
}

void rt_range_bury(void)
{
	for (;;) {
		struct rt_hold *hold = NULL;

		if (!__atomic_load_n(&rt.grave_nr, __ATOMIC_RELAXED))
			return;
		lock_acquire(&rt.lock);
		if (rt.grave_nr)
			hold = rt.grave[--rt.grave_nr];
		lock_release(&rt.lock);
		if (!hold)
			return;
		rt_process_unhold(hold);
	}
}

void range_merge_around_locked(size_t i)
{
	for (size_t k = i + 1; k > 0 && k >= i; k--) {
		struct rt_range *a, *b;

		if (k >= rt.range_nr)
			continue;
		a = &rt.range[k - 1];
		b = &rt.range[k];
		if (a->end != b->start || a->encl != b->encl || a->vma_rwx != b->vma_rwx ||
		    a->applied_rwx != b->applied_rwx || a->backed != b->backed)
			continue;
		if (a->vepc != b->vepc || (a->vepc && a->off + (a->end - a->start) != b->off))
			continue;
		a->end = b->end;
		rt_process_unhold(b->hold); /* not the last: a has one */
		remove_at_locked(k);
	}
}

/* Nothing of ours lies in [start, end) any more. The host's mappings are the caller's business. */
void range_cut_locked(uint64_t start, uint64_t end)
{
	size_t i;

	range_split_locked(start);
	range_split_locked(end);
	i = range_lower(start);
	while (i < rt.range_nr && rt.range[i].start < end) {
		if (rt.grave_nr == GRAVE_MAX)
			break;
		entomb_locked(rt.range[i].hold);
		remove_at_locked(i);
	}
	bounds_locked();
}

/* ---- backing ---------------------------------------------------------------------------------------- */

/* Put the window (or, for a range of no enclave, nothing) at the addresses of a range. */
static int host_map(const struct rt_range *range)
{
	uint64_t len = range->end - range->start;
	uint64_t off;
	long r;

	if (!range->backed) {
		r = sys6(SYS_mmap, (long)range->start, (long)len, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
		return r < 0 && r > -4096 ? (int)r : 0;
	}
	off = range->vepc ? vepc_win_off(range->vepc, range->off)
			  : encl_win_off(range->encl) + (range->start - encl_base(range->encl));
	r = sys6(SYS_mmap, (long)range->start, (long)len, prot_of(range->applied_rwx),
		 MAP_SHARED | MAP_FIXED | MAP_NORESERVE, window_fd(epc_window(rt.epc)), (long)off);
	if (r < 0)
		return (int)r;
	return rt_uffd_register(rt.uffd, range->start, len);
}

static void enter_range_locked(struct rt_range range)
{
	size_t i = range_lower(range.start);

	insert_at_locked(i, range);
	range_merge_around_locked(i);
	bounds_locked();
}

static int install_piece_locked(struct encl *encl, uint64_t start, uint64_t end, unsigned int rwx,
				bool backed)
{
	struct rt_range range = { .start = start,
				  .end = end,
				  .encl = encl,
				  .vma_rwx = (uint8_t)rwx,
				  .applied_rwx = (uint8_t)rwx,
				  .backed = backed };
	int r;

	if (start >= end)
		return 0;
	r = host_map(&range);
	if (r < 0)
		return r;
	range.hold = rt_process_hold(encl);
	enter_range_locked(range);
	return 0;
}

/* [start, end) is a mapping of @encl now: backed inside its ELRANGE, empty outside. */
int range_install_locked(struct encl *encl, uint64_t start, uint64_t end, unsigned int rwx)
{
	uint64_t base = 0, top = 0, mid_start, mid_end;
	int r;

	range_cut_locked(start, end);
	if (encl_created(encl)) {
		base = encl_base(encl);
		top = base + encl_size(encl);
	}
	mid_start = start > base ? start : base;
	mid_end = end < top ? end : top;
	if (mid_start >= mid_end)
		return install_piece_locked(encl, start, end, rwx, false);
	r = install_piece_locked(encl, start, mid_start, rwx, false);
	if (!r)
		r = install_piece_locked(encl, mid_start, mid_end, rwx, true);
	if (!r)
		r = install_piece_locked(encl, mid_end, end, rwx, false);
	return r;
}

/* [start, end) is a mapping of @vepc from offset @off on, a piece for each chunk of the file. */
int range_install_vepc_locked(struct vepc *vepc, uint64_t start, uint64_t end, uint64_t off,
			      unsigned int rwx)
{
	range_cut_locked(start, end);
	while (start < end) {
		uint64_t left = VEPC_CHUNK_BYTES - off % VEPC_CHUNK_BYTES;
		struct rt_range range = { .start = start,
					  .end = end - start < left ? end : start + left,
					  .vepc = vepc,
					  .off = off,
					  .vma_rwx = (uint8_t)rwx,
					  .applied_rwx = (uint8_t)rwx,
					  .backed = true };
		int r = host_map(&range);

		if (r < 0)
			return r;
		r = (int)sys(SYS_madvise, range.start, range.end - range.start, MADV_DONTFORK);
		if (r < 0)
			return r;
		range.hold = rt_process_hold_vepc(vepc);
		enter_range_locked(range);
		off += range.end - range.start;
		start = range.end;
	}
	return 0;
}

void rt_range_back(struct encl *encl)
{
	lock_acquire(&rt.lock);
	for (size_t i = 0; i < rt.range_nr;) {
		struct rt_range r = rt.range[i];

		if (r.encl != encl || r.backed || r.end <= encl_base(encl) ||
		    r.start >= encl_base(encl) + encl_size(encl)) {
			i++;
			continue;
		}
		range_install_locked(encl, r.start, r.end, r.vma_rwx);
		i = range_lower(r.end);
	}
	lock_release(&rt.lock);
	rt_range_bury();
}

/* Take the abort page away again. */
void rt_range_restore_locked(uint64_t la)
{
	struct rt_range *range = rt_range_find_locked(la);
	struct rt_range page;

	if (!range)
		return;
	page = *range;
	page.start = la;
	page.end = la + 4096;
	host_map(&page);
}

int rt_range_apply_locked(struct rt_range *range, uint64_t la, unsigned int rwx)
{
	unsigned int want = range->vma_rwx & rwx;
	size_t i;

	if (want == range->applied_rwx)
		return 0;
	range_split_locked(la);
	range_split_locked(la + 4096);
	i = range_lower(la);
	if (sys(SYS_mprotect, la, 4096, prot_of(want)) < 0)
		return -EAGAIN;
	rt.range[i].applied_rwx = (uint8_t)want;
	range_merge_around_locked(i);
	return 0;
}

/* No enclave here any more: the place is kept, and nothing can be touched there. */
static void lose_at_locked(size_t i)
{
	const struct rt_range *range = &rt.range[i];

	sys6(SYS_mmap, (long)range->start, (long)(range->end - range->start), PROT_NONE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
	remove_at_locked(i);
}

/* A forked child has the parent's mappings of enclaves, but no userfaultfd watches them; and none of raw EPC. */
void rt_range_fork_child(bool ours)
{
	if (rt.uffd >= 0) {
		sys(SYS_close, rt.uffd, 0, 0);
		rt.uffd = rt_uffd_open();
	}
	rt.grave_nr = 0;
	for (size_t i = 0; i < rt.range_nr;) {
		struct rt_range *range = &rt.range[i];

		if (range->vepc) {
			remove_at_locked(i);
			continue;
		}
		/* Pages of the window that nobody watches are other enclaves' as well. */
		if (!ours || rt.uffd < 0 ||
		    (range->backed &&
		     rt_uffd_register(rt.uffd, range->start, range->end - range->start))) {
			lose_at_locked(i);
			continue;
		}
		range->hold = rt_process_hold(range->encl);
		i++;
	}
	bounds_locked();
}
