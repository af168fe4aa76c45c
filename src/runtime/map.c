/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The mmap family on the device's ranges, by the rules of Linux's SGX driver; what is mapped is in range.c.
 */
#include "runtime/range_priv.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>

#include "runtime/sys.h"

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
		r = range_install_locked(encl, (uint64_t)at, (uint64_t)at + len, rwx_of(prot));
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
	r = range_install_vepc_locked(vepc, (uint64_t)at, (uint64_t)at + len, off, rwx_of(prot));
	if (r < 0)
		range_cut_locked((uint64_t)at, (uint64_t)at + len);
	lock_release(&rt.lock);
	rt_range_bury();
	if (r < 0)
		sys(SYS_munmap, at, len, 0);
	return r < 0 ? r : at;
}

/*
 * A call that puts something else at [addr, addr + len), if it is @fixed there.  Under the lock: what drops pages of
 * a range, or changes what its VMA allows, must not meet what lies there now.
 */
static long put_upon(uint64_t addr, uint64_t len, bool fixed, const long call[7])
{
	long r;

	if (!fixed || !range_touches(addr, addr + len))
		return sys6(call[0], call[1], call[2], call[3], call[4], call[5], call[6]);
	lock_acquire(&rt.lock);
	r = sys6(call[0], call[1], call[2], call[3], call[4], call[5], call[6]);
	if (r >= 0 || r < -4095)
		range_cut_locked(addr, addr + len);
	lock_release(&rt.lock);
	rt_range_bury();
	return r;
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
	return put_upon(addr, page_up(len), flags & MAP_FIXED,
			(const long[7]){ SYS_mmap, (long)addr, (long)len, prot, flags, fd,
					 (long)off });
}

long rt_munmap(uint64_t addr, uint64_t len)
{
	uint64_t end = addr + page_up(len);
	long r;

	if (!range_touches(addr, end))
		return sys(SYS_munmap, addr, len, 0);
	lock_acquire(&rt.lock);
	r = sys(SYS_munmap, addr, len, 0);
	if (!r)
		range_cut_locked(addr, end);
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
		i = range_lower(addr);
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
	for (size_t i = range_lower(addr); i < rt.range_nr && rt.range[i].start < end; i++) {
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

	range_split_locked(addr);
	range_split_locked(end);
	first = range_lower(addr);
	for (size_t i = first; i < rt.range_nr && rt.range[i].start < end; i++) {
		struct rt_range *r = &rt.range[i];

		r->vma_rwx = (uint8_t)rwx;
		r->applied_rwx = (uint8_t)rwx;
		if (!r->backed)
			sys(SYS_mprotect, r->start, r->end - r->start, PROT_NONE);
	}
	while (first < rt.range_nr && rt.range[first].start < end) {
		size_t before = rt.range_nr;

		range_merge_around_locked(first);
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

	if (!range_touches(addr, end) || (addr & 4095) || end < addr)
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
	if (!range_touches(addr, addr + old_len) || !rt_range_get(addr, &range))
		return put_upon(new_addr, new_len, flags & MREMAP_FIXED,
				(const long[7]){ SYS_mremap, (long)addr, (long)old_len,
						 (long)new_len, flags, (long)new_addr });
	r = -EINVAL;
	if (!new_len || (addr & 4095) || (flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED)))
		goto put;
	if ((flags & MREMAP_FIXED) && (!(flags & MREMAP_MAYMOVE) || (new_addr & 4095) ||
				       (new_addr < addr + old_len && addr < new_addr + new_len)))
		goto put;
	r = -EFAULT;
	if (new_len > old_len || addr + old_len > range.end)
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

/* Dropping or punching pages of the window is not the client's to do; a real device refuses it too. */
long rt_madvise(uint64_t addr, uint64_t len, int advice)
{
	bool ours = false;

	if (range_touches(addr, addr + page_up(len))) {
		lock_acquire(&rt.lock);
		size_t i = range_lower(addr);

		ours = i < rt.range_nr && rt.range[i].start < addr + page_up(len);
		lock_release(&rt.lock);
	}
	if (ours)
		return advice == MADV_HWPOISON && !(addr & 4095) ? poison(addr, len) : -EINVAL;
	return sys(SYS_madvise, addr, len, advice);
}
