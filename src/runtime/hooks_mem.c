/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The mmap family. Until the device has been opened every call goes straight to the kernel.
 */
/* Both spellings of each call are defined here, so the headers may not turn one into the other. */
#undef _FILE_OFFSET_BITS

#include "runtime/hooks.h"

#include <stdarg.h>
#include <sys/mman.h>

#include "runtime/rt.h"
#include "runtime/sys.h"

long rt_sys_mem(long nr, const long a[6], int *ret_handled)
{
	struct rt_thread *t;
	long r;

	*ret_handled = 1;
	if (nr != SYS_mmap && nr != SYS_munmap && nr != SYS_mprotect && nr != SYS_mremap &&
	    nr != SYS_madvise && nr != SYS_pkey_mprotect)
		*ret_handled = 0;
	if (!rt.used || !*ret_handled)
		return *ret_handled ? sys6(nr, a[0], a[1], a[2], a[3], a[4], a[5]) : -ENOSYS;
	t = rt_thread_self();
	rt_critical_enter(t);
	if (nr != SYS_madvise)
		rt_source_forget();
	switch (nr) {
	case SYS_mmap:
		r = rt_mmap((uint64_t)a[0], (uint64_t)a[1], (int)a[2], (int)a[3], (int)a[4],
			    (uint64_t)a[5]);
		break;
	case SYS_munmap:
		r = rt_munmap((uint64_t)a[0], (uint64_t)a[1]);
		break;
	case SYS_mprotect:
		r = rt_mprotect((uint64_t)a[0], (uint64_t)a[1], (int)a[2]);
		break;
	case SYS_pkey_mprotect:
		r = a[3] == -1 ? rt_mprotect((uint64_t)a[0], (uint64_t)a[1], (int)a[2])
			       : sys4(nr, a[0], a[1], a[2], a[3]);
		break;
	case SYS_mremap:
		r = rt_mremap((uint64_t)a[0], (uint64_t)a[1], (uint64_t)a[2], (int)a[3],
			      (uint64_t)a[4]);
		break;
	default:
		r = rt_madvise((uint64_t)a[0], (uint64_t)a[1], (int)a[2]);
		break;
	}
	rt_critical_leave(t);
	return r;
}

static long call(long nr, long a0, long a1, long a2, long a3, long a4, long a5)
{
	const long a[6] = { a0, a1, a2, a3, a4, a5 };
	int handled;

	return sys_errno(rt_sys_mem(nr, a, &handled));
}

HOOK void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	return (void *)call(SYS_mmap, (long)addr, (long)len, prot, flags, fd, off);
}

HOOK void *mmap64(void *addr, size_t len, int prot, int flags, int fd, off64_t off)
{
	return (void *)call(SYS_mmap, (long)addr, (long)len, prot, flags, fd, off);
}

HOOK int munmap(void *addr, size_t len)
{
	return (int)call(SYS_munmap, (long)addr, (long)len, 0, 0, 0, 0);
}

HOOK int mprotect(void *addr, size_t len, int prot)
{
	return (int)call(SYS_mprotect, (long)addr, (long)len, prot, 0, 0, 0);
}

HOOK int pkey_mprotect(void *addr, size_t len, int prot, int pkey)
{
	if (pkey == -1)
		return mprotect(addr, len, prot);
	return (int)call(SYS_pkey_mprotect, (long)addr, (long)len, prot, pkey, 0, 0);
}

HOOK void *mremap(void *addr, size_t old_len, size_t new_len, int flags, ...)
{
	va_list ap;
	long new_addr;

	va_start(ap, flags);
	new_addr = va_arg(ap, long);
	va_end(ap);
	return (void *)call(SYS_mremap, (long)addr, (long)old_len, (long)new_len, flags, new_addr,
			    0);
}

HOOK int madvise(void *addr, size_t len, int advice)
{
	return (int)call(SYS_madvise, (long)addr, (long)len, advice, 0, 0, 0);
}
