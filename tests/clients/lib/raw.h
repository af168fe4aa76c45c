/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Included ahead of everything (-include) to make a program that reaches the kernel by SYSCALL
 * instructions of its own, as library OSes and Go programs do: nothing that lives in libc sees them.
 */
#ifndef SWSGX_TESTS_RAW_H
#define SWSGX_TESTS_RAW_H
#ifndef __ASSEMBLER__

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline long raw6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	if (ret < 0 && ret > -4096) {
		errno = (int)-ret;
		return -1;
	}
	return ret;
}

static inline int raw_open(const char *path, int flags)
{
	return (int)raw6(SYS_openat, AT_FDCWD, (long)path, flags, 0, 0, 0);
}

static inline int raw_ioctl(int fd, unsigned long request, const void *arg)
{
	return (int)raw6(SYS_ioctl, fd, (long)request, (long)arg, 0, 0, 0);
}

static inline void *raw_mmap(const void *at, size_t bytes, int prot, int flags, int fd, long off)
{
	return (void *)raw6(SYS_mmap, (long)at, (long)bytes, prot, flags, fd, off);
}

static inline int raw_munmap(const void *at, size_t bytes)
{
	return (int)raw6(SYS_munmap, (long)at, (long)bytes, 0, 0, 0, 0);
}

static inline int raw_mprotect(const void *at, size_t bytes, int prot)
{
	return (int)raw6(SYS_mprotect, (long)at, (long)bytes, prot, 0, 0, 0);
}

static inline int raw_close(int fd) { return (int)raw6(SYS_close, fd, 0, 0, 0, 0, 0); }

__attribute__((naked, unused)) static void raw_restorer(void)
{
	__asm__ volatile("mov $15, %eax\n\tsyscall");
}

struct raw_sigaction {
	void *handler;
	unsigned long flags;
	void *restorer;
	unsigned long mask;
};

static inline int raw_sigaction(int signo, const struct sigaction *set, struct sigaction *old)
{
	struct raw_sigaction k = { 0 }, o = { 0 };
	long ret;

	if (set) {
		k.handler = (void *)set->sa_sigaction;
		k.flags = (unsigned int)set->sa_flags | 0x04000000ul; /* SA_RESTORER */
		k.restorer = (void *)raw_restorer;
		memcpy(&k.mask, &set->sa_mask, 8);
	}
	ret = raw6(SYS_rt_sigaction, signo, set ? (long)&k : 0, (long)&o, 8, 0, 0);
	if (!ret && old) {
		memset(old, 0, sizeof(*old));
		old->sa_sigaction = (void (*)(int, siginfo_t *, void *))o.handler;
		old->sa_flags = (int)o.flags;
		memcpy(&old->sa_mask, &o.mask, 8);
	}
	return (int)ret;
}

static inline int raw_sigaltstack(const stack_t *ss, stack_t *old)
{
	return (int)raw6(SYS_sigaltstack, (long)ss, (long)old, 0, 0, 0, 0);
}

static inline sighandler_t raw_signal(int signo, sighandler_t handler)
{
	struct sigaction sa = { .sa_handler = handler }, old;

	return raw_sigaction(signo, &sa, &old) ? SIG_ERR : old.sa_handler;
}

#ifdef CLIENT_RAW
#undef open
#undef mmap
/* "struct sigaction" stays what it is: only calls are replaced. */
#define open(path, flags)                 raw_open(path, flags)
#define ioctl(fd, request, arg)           raw_ioctl(fd, request, arg)
#define mmap(at, n, prot, flags, fd, off) raw_mmap(at, n, prot, flags, fd, off)
#define munmap(at, n)                     raw_munmap(at, n)
#define mprotect(at, n, prot)             raw_mprotect(at, n, prot)
#define close(fd)                         raw_close(fd)
#define sigaction(signo, set, old)        raw_sigaction(signo, set, old)
#define sigaltstack(ss, old)              raw_sigaltstack(ss, old)
#define signal(signo, handler)            raw_signal(signo, handler)
#endif

#endif
#endif
