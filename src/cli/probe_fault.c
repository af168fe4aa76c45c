/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The tries that fault on purpose.  They run in a process that was made for tries and ends after
 * them: handlers stay installed until the next takes the signal, and nothing is put back.
 */
#include <asm/prctl.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "cli/probe.h"

#define PAGE 4096ul

#define HWCAP2_FSGSBASE_BIT (1ul << 1)

#ifndef SYS_USER_DISPATCH
#define SYS_USER_DISPATCH 2 /* si_code of SIGSYS */
#endif

/* A signal handler has no argument of its own. One process, one try at a time. */
static struct {
	int uffd;
	unsigned int skip; /* bytes of the faulting instruction */
	volatile sig_atomic_t signal, code;
	volatile unsigned long trap;
	volatile char selector; /* of syscall user dispatch */
} seen;

static void begin(void)
{
	memset(&seen, 0, sizeof(seen));
}

static void take(int nr, void (*handler)(int, siginfo_t *, void *))
{
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };

	sigaction(nr, &sa, NULL);
}

static void on_uffd_fault(int nr, siginfo_t *info, void *context)
{
	struct uffdio_continue cont = {
		.range = { .start = (uintptr_t)info->si_addr & ~(uintptr_t)(PAGE - 1),
			   .len = PAGE },
	};

	if (seen.signal++ || ioctl(seen.uffd, UFFDIO_CONTINUE, &cont) < 0)
		_exit(1);
}

static bool uffd_open(char *detail)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features =
			UFFD_FEATURE_SIGBUS | UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_MISSING_SHMEM,
	};

	seen.uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	if (seen.uffd < 0) {
		snprintf(detail, PROBE_DETAIL, "userfaultfd(UFFD_USER_MODE_ONLY): %s",
			 strerror(errno));
		return false;
	}
	if (ioctl(seen.uffd, UFFDIO_API, &api) < 0) {
		snprintf(detail, PROBE_DETAIL, "no UFFD_FEATURE_SIGBUS with MINOR_SHMEM: %s",
			 strerror(errno));
		return false;
	}
	return true;
}

bool try_userfaultfd(char *detail)
{
	struct uffdio_register reg = {
		.range.len = PAGE, .mode = UFFDIO_REGISTER_MODE_MINOR | UFFDIO_REGISTER_MODE_MISSING
	};
	int fd = memfd_create("swsgx-doctor", MFD_CLOEXEC);
	volatile uint8_t *at;

	if (fd < 0 || write(fd, "swsgx", 5) != 5 || ftruncate(fd, PAGE) < 0) {
		snprintf(detail, PROBE_DETAIL, "memfd_create: %s", strerror(errno));
		return false;
	}
	begin();
	if (!uffd_open(detail))
		return false;
	at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	reg.range.start = (uintptr_t)at;
	if (at == MAP_FAILED || ioctl(seen.uffd, UFFDIO_REGISTER, &reg) < 0) {
		snprintf(detail, PROBE_DETAIL, "UFFDIO_REGISTER of shared memory: %s",
			 strerror(errno));
		return false;
	}
	snprintf(detail, PROBE_DETAIL, "a fault did not come as SIGBUS");
	take(SIGBUS, on_uffd_fault);
	if (at[0] != 's' || seen.signal != 1)
		return false;
	snprintf(detail, PROBE_DETAIL,
		 "the faulting thread served a fault itself, without privilege");
	return true;
}

static void on_trap(int nr, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	seen.signal = nr;
	seen.code = info->si_code;
	seen.trap = (unsigned long)uc->uc_mcontext.gregs[REG_TRAPNO];
	uc->uc_mcontext.gregs[REG_RIP] += seen.skip;
}

bool try_enclu(char *detail)
{
	unsigned int leaf = 0xffff; /* no leaf has this number: #GP at the most */

	begin();
	seen.skip = 3;
	take(SIGILL, on_trap);
	take(SIGSEGV, on_trap);
	__asm__ volatile(".byte 0x0f, 0x01, 0xd7" : "+a"(leaf) : : "rbx", "rcx", "memory");
	snprintf(detail, PROBE_DETAIL, "ENCLU raises %s (trap %lu)",
		 seen.signal == SIGILL    ? "SIGILL"
		 : seen.signal == SIGSEGV ? "SIGSEGV"
					  : "nothing",
		 seen.trap);
	return seen.signal != 0;
}

bool try_cpuid_faulting(char *detail)
{
	unsigned int eax = 0;

	begin();
	if (syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0) < 0) {
		snprintf(detail, PROBE_DETAIL, "arch_prctl(ARCH_SET_CPUID): %s", strerror(errno));
		return false;
	}
	seen.skip = 2;
	take(SIGSEGV, on_trap);
	__asm__ volatile("cpuid" : "+a"(eax) : : "rbx", "rcx", "rdx");
	snprintf(detail, PROBE_DETAIL, "CPUID %s",
		 seen.signal ? "faults when told to" : "did not fault");
	return seen.signal == SIGSEGV;
}

/* The handler's own return is a system call: switch the dispatch off first. */
static void on_sigsys(int nr, siginfo_t *info, void *context)
{
	seen.selector = PR_SYS_DISPATCH_OFF;
	seen.signal = nr;
	seen.code = info->si_code;
}

bool try_syscall_dispatch(char *detail)
{
	begin();
	take(SIGSYS, on_sigsys);
	if (prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0, &seen.selector) < 0) {
		snprintf(detail, PROBE_DETAIL, "PR_SET_SYSCALL_USER_DISPATCH: %s", strerror(errno));
		return false;
	}
	/* A gate that was left open would give this process's parent. */
	seen.selector = 1; /* block */
	syscall(SYS_getppid);
	seen.selector = 0; /* allow */
	snprintf(detail, PROBE_DETAIL, "SYSCALL %s while the selector says so",
		 seen.signal ? "raises SIGSYS" : "went through");
	return seen.signal == SIGSYS && seen.code == SYS_USER_DISPATCH;
}

bool try_fsgsbase(char *detail)
{
	unsigned long before, after;

	if (!(getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE_BIT)) {
		snprintf(detail, PROBE_DETAIL, "RDFSBASE and WRFSBASE are not enabled");
		return false;
	}
	__asm__ volatile("rdgsbase %0" : "=r"(before));
	__asm__ volatile("wrgsbase %0" : : "r"(0x1234ul));
	__asm__ volatile("rdgsbase %0" : "=r"(after));
	__asm__ volatile("wrgsbase %0" : : "r"(before));
	snprintf(detail, PROBE_DETAIL, "RDGSBASE and WRGSBASE work in user mode");
	return after == 0x1234;
}
