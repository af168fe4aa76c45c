/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Mapped ranges of the device, and the mmap family on them, by the rules of Linux's SGX driver.
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
#include "runtime/rt.h"

#include <assert.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>

#include "epc/epc.h"
#include "epc/window.h"
#include "runtime/sys.h"

#define RANGE_MAX (1u << 20)
#define GRAVE_MAX RANGE_MAX

static int prot_of(unsigned int rwx)
{
	return (rwx & ENCL_R ? PROT_READ : 0) | (rwx & ENCL_W ? PROT_WRITE : 0) |
	       (rwx & ENCL_X ? PROT_EXEC : 0);
}

static unsigned int rwx_of(int prot)
{
	return (prot & PROT_READ ? ENCL_R : 0) | (prot & PROT_WRITE ? ENCL_W : 0) |
	       (prot & PROT_EXEC ? ENCL_X : 0);
}

static uint64_t page_up(uint64_t x)
{
	return (x + 4095) & ~4095ull;
}

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
static size_t lower(uint64_t addr)
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
	size_t i = lower(addr);

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

static bool touches(uint64_t start, uint64_t end)
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
static void split_locked(uint64_t addr)
{
	size_t i = lower(addr);
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

static void merge_around_locked(size_t i)
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
static void cut_locked(uint64_t start, uint64_t end)
{
	size_t i;

	split_locked(start);
	split_locked(end);
	i = lower(start);
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
	size_t i = lower(range.start);

	insert_at_locked(i, range);
	merge_around_locked(i);
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
static int install_locked(struct encl *encl, uint64_t start, uint64_t end, unsigned int rwx)
{
	uint64_t base = 0, top = 0, mid_start, mid_end;
	int r;

	cut_locked(start, end);
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
static int install_vepc_locked(struct vepc *vepc, uint64_t start, uint64_t end, uint64_t off,
			       unsigned int rwx)
{
	cut_locked(start, end);
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
		install_locked(encl, r.start, r.end, r.vma_rwx);
		i = lower(r.end);
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
	split_locked(la);
	split_locked(la + 4096);
	i = lower(la);
	if (sys(SYS_mprotect, la, 4096, prot_of(want)) < 0)
		return -EAGAIN;
	rt.range[i].applied_rwx = (uint8_t)want;
	merge_around_locked(i);
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

/* ---- mmap -------------------------------------------------------------------------------------------- */

static long choose_address(uint64_t addr, uint64_t len, int flags)
{
	if (flags & MAP_FIXED)
		return addr & 4095 ? -EINVAL : (long)addr;
	/* The reservation keeps the place until the window is put there. */
	return sys6(SYS_mmap, (long)addr, (long)len, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (flags & MAP_FIXED_NOREPLACE), -1,
		    0);
}

static long map_enclave(struct encl *encl, uint64_t addr, uint64_t len, int prot, int flags)
{
	long at, r;

	len = page_up(len);
	if (!len || ((flags & MAP_TYPE) != MAP_SHARED && (flags & MAP_TYPE) != MAP_SHARED_VALIDATE))
		return -EINVAL;
	if (prot && (personality(0xffffffff) & READ_IMPLIES_EXEC))
		return -EACCES;
	at = choose_address(addr, len, flags);
	if (at < 0 && at > -4096)
		return at;
	if ((uint64_t)at + len < (uint64_t)at)
		return -EINVAL;
	r = encl_may_map(encl, (uint64_t)at, (uint64_t)at + len, rwx_of(prot));
	if (!r) {
		lock_acquire(&rt.lock);
		r = install_locked(encl, (uint64_t)at, (uint64_t)at + len, rwx_of(prot));
		lock_release(&rt.lock);
		rt_range_bury();
	}
	if (r < 0 && !(flags & MAP_FIXED))
		sys(SYS_munmap, at, len, 0);
	return r < 0 ? r : at;
}

static long map_vepc(struct vepc *vepc, uint64_t addr, uint64_t len, int prot, int flags,
		     uint64_t off)
{
	long at, r;

	len = page_up(len);
	if (!len || off & 4095 ||
	    ((flags & MAP_TYPE) != MAP_SHARED && (flags & MAP_TYPE) != MAP_SHARED_VALIDATE))
		return -EINVAL;
	r = vepc_reserve(vepc, off, len);
	if (r == -EINVAL)
		return -EOVERFLOW;
	if (r < 0)
		return r;
	at = choose_address(addr, len, flags);
	if (at < 0 && at > -4096)
		return at;
	if ((uint64_t)at + len < (uint64_t)at)
		return -EINVAL;
	lock_acquire(&rt.lock);
	r = install_vepc_locked(vepc, (uint64_t)at, (uint64_t)at + len, off, rwx_of(prot));
	if (r < 0)
		cut_locked((uint64_t)at, (uint64_t)at + len);
	lock_release(&rt.lock);
	rt_range_bury();
	if (r < 0)
		sys(SYS_munmap, at, len, 0);
	return r < 0 ? r : at;
}

long rt_mmap(uint64_t addr, uint64_t len, int prot, int flags, int fd, uint64_t off)
{
	struct rt_fd file;
	long r;

	if (!(flags & MAP_ANONYMOUS) && rt_fd_get(fd, &file)) {
		if (file.kind == RT_FD_ENCLAVE)
			r = map_enclave(file.encl, addr, len, prot, flags);
		else if (file.kind == RT_FD_VEPC)
			r = map_vepc(file.vepc, addr, len, prot, flags, off);
		else
			r = -ENODEV;
		rt_fd_put(&file);
		return r;
	}
	r = sys6(SYS_mmap, (long)addr, (long)len, prot, flags, fd, (long)off);
	if ((r >= 0 || r < -4095) && (flags & MAP_FIXED) &&
	    touches((uint64_t)r, (uint64_t)r + page_up(len))) {
		lock_acquire(&rt.lock);
		cut_locked((uint64_t)r, (uint64_t)r + page_up(len));
		lock_release(&rt.lock);
		rt_range_bury();
	}
	return r;
}

long rt_munmap(uint64_t addr, uint64_t len)
{
	uint64_t end = addr + page_up(len);
	long r;

	if (!touches(addr, end))
		return sys(SYS_munmap, addr, len, 0);
	lock_acquire(&rt.lock);
	r = sys(SYS_munmap, addr, len, 0);
	if (!r)
		cut_locked(addr, end);
	lock_release(&rt.lock);
	rt_range_bury();
	return r;
}

/* May every range in [addr, end) get @rwx? Asked piece by piece, without a lock of ours. */
static long may_protect(uint64_t addr, uint64_t end, unsigned int rwx)
{
	while (addr < end) {
		struct rt_range range;
		uint64_t stop;
		long r = 0;
		size_t i;

		lock_acquire(&rt.lock);
		i = lower(addr);
		if (i == rt.range_nr || rt.range[i].start >= end) {
			lock_release(&rt.lock);
			return 0;
		}
		range = rt.range[i];
		rt_process_hold_more(range.hold);
		lock_release(&rt.lock);

		if (addr < range.start)
			addr = range.start;
		stop = end < range.end ? end : range.end;
		if (range.encl)
			r = encl_may_map(range.encl, addr, stop, rwx);
		rt_process_unhold(range.hold);
		if (r)
			return r;
		addr = stop;
	}
	return 0;
}

/*
 * Before a range is given rights that its VMA has not now: drop its translations, so that each page asks the EPCM
 * again.  PROT_NONE first, or another thread would have them back in between.
 */
static void revoke_locked(uint64_t addr, uint64_t end, unsigned int rwx)
{
	for (size_t i = lower(addr); i < rt.range_nr && rt.range[i].start < end; i++) {
		const struct rt_range *r = &rt.range[i];
		uint64_t from = addr > r->start ? addr : r->start;
		uint64_t to = end < r->end ? end : r->end;

		if (!r->backed || !(rwx & ~(unsigned int)r->applied_rwx))
			continue;
		sys(SYS_mprotect, from, to - from, PROT_NONE);
		sys(SYS_madvise, from, to - from, MADV_DONTNEED);
	}
}

/*
 * Within [addr, end) the ranges now ask for @rwx.  Pages that the EPCM had cut down have their translations
 * dropped, so that the next touch asks the EPCM again.
 */
static void set_rwx_locked(uint64_t addr, uint64_t end, unsigned int rwx)
{
	size_t first;

	split_locked(addr);
	split_locked(end);
	first = lower(addr);
	for (size_t i = first; i < rt.range_nr && rt.range[i].start < end; i++) {
		struct rt_range *r = &rt.range[i];

		r->vma_rwx = (uint8_t)rwx;
		r->applied_rwx = (uint8_t)rwx;
		if (!r->backed)
			sys(SYS_mprotect, r->start, r->end - r->start, PROT_NONE);
	}
	while (first < rt.range_nr && rt.range[first].start < end) {
		size_t before = rt.range_nr;

		merge_around_locked(first);
		if (rt.range_nr == before)
			first++;
		else if (first)
			first--;
	}
}

long rt_mprotect(uint64_t addr, uint64_t len, int prot)
{
	uint64_t end = addr + page_up(len);
	long r;

	if (!touches(addr, end) || (addr & 4095) || end < addr)
		return sys(SYS_mprotect, addr, len, prot);
	r = may_protect(addr, end, rwx_of(prot));
	if (r)
		return r;
	lock_acquire(&rt.lock);
	revoke_locked(addr, end, rwx_of(prot));
	r = sys(SYS_mprotect, addr, len, prot);
	if (!r)
		set_rwx_locked(addr, end, rwx_of(prot));
	lock_release(&rt.lock);
	rt_range_bury();
	return r;
}

/*
 * Linux marks these ranges DONTEXPAND: they can shrink and move, not grow.  A moved one shows the pages of its
 * new addresses.
 */
long rt_mremap(uint64_t addr, uint64_t old_len, uint64_t new_len, int flags, uint64_t new_addr)
{
	struct rt_range range;
	long r, at;

	old_len = page_up(old_len);
	new_len = page_up(new_len);
	if (!touches(addr, addr + old_len) || !rt_range_get(addr, &range)) {
		r = sys6(SYS_mremap, (long)addr, (long)old_len, (long)new_len, flags,
			 (long)new_addr, 0);
		if (r > 0 && (flags & MREMAP_FIXED) &&
		    touches((uint64_t)r, (uint64_t)r + new_len)) {
			lock_acquire(&rt.lock);
			cut_locked((uint64_t)r, (uint64_t)r + new_len);
			lock_release(&rt.lock);
			rt_range_bury();
		}
		return r;
	}
	r = new_len ? -EFAULT : -EINVAL;
	if (!new_len || new_len > old_len || addr + old_len > range.end)
		goto put;
	r = (long)addr;
	if (!(flags & MREMAP_FIXED)) {
		if (new_len < old_len)
			rt_munmap(addr + new_len, old_len - new_len);
		goto put;
	}
	if (range.encl)
		at = map_enclave(range.encl, new_addr, new_len, prot_of(range.vma_rwx),
				 MAP_SHARED | MAP_FIXED);
	else
		at = map_vepc(range.vepc, new_addr, new_len, prot_of(range.vma_rwx),
			      MAP_SHARED | MAP_FIXED, range.off + (addr - range.start));
	if (at >= 0 || at < -4095)
		rt_munmap(addr, old_len);
	r = at;
put:
	rt_process_unhold(range.hold);
	return r;
}

/* Dropping or punching pages of the window is not the client's to do; a real device refuses it too. */
/* MADV_HWPOISON, as tests of recovery from machine checks use it: of pages that are in the EPC. */
static long poison(uint64_t addr, uint64_t len)
{
	struct rt_range range;
	long r = -EFAULT;

	for (uint64_t end = addr + page_up(len); addr < end; addr += 4096) {
		if (!rt_range_get(addr, &range))
			return -EFAULT;
		r = range.encl ? encl_poison(range.encl, addr) : -EFAULT;
		rt_process_unhold(range.hold);
		if (r < 0)
			return r;
	}
	return r;
}

long rt_madvise(uint64_t addr, uint64_t len, int advice)
{
	bool ours = false;

	if (touches(addr, addr + page_up(len))) {
		lock_acquire(&rt.lock);
		size_t i = lower(addr);

		ours = i < rt.range_nr && rt.range[i].start < addr + page_up(len);
		lock_release(&rt.lock);
	}
	if (ours)
		return advice == MADV_HWPOISON && !(addr & 4095) ? poison(addr, len) : -EINVAL;
	return sys(SYS_madvise, addr, len, advice);
}
