/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The table of what swsgx needs, and the tries that need no fault.
 *
 * A try tells what it saw, in its own process; how a machine that lacks something can be helped
 * stands in the table.
 */
#include "cli/probe.h"

#include <assert.h>
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/report.h"
#include "runtime/vdso.h"
#include "vmm/vmm.h"

#define PAGE       4096ul
#define PROBE_SECS 10
/* What the runtime maps before anything is used: windows, stores and heaps as large as they may become. */
#define RESERVED_BYTES (20ull << 40)

static bool try_memfd(char *detail)
{
	int fd = memfd_create("swsgx-doctor", MFD_CLOEXEC);
	volatile uint8_t *at;

	if (fd < 0 || ftruncate(fd, 2 * PAGE) < 0) {
		snprintf(detail, PROBE_DETAIL, "memfd_create: %s", strerror(errno));
		return false;
	}
	at = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED) {
		snprintf(detail, PROBE_DETAIL, "mmap: %s", strerror(errno));
		return false;
	}
	at[0] = 1;
	at[PAGE] = 2;
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE) < 0) {
		snprintf(detail, PROBE_DETAIL, "FALLOC_FL_PUNCH_HOLE: %s", strerror(errno));
		return false;
	}
	snprintf(detail, PROBE_DETAIL, "a page is gone from every mapping once it is punched out");
	return at[0] == 0 && at[PAGE] == 2;
}

static bool try_address_space(char *detail)
{
	void *at = mmap(NULL, RESERVED_BYTES, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		snprintf(detail, PROBE_DETAIL, "mmap of %llu TiB: %s", RESERVED_BYTES >> 40,
			 strerror(errno));
	else
		snprintf(detail, PROBE_DETAIL, "%llu TiB of addresses can be reserved",
			 RESERVED_BYTES >> 40);
	return at != MAP_FAILED;
}

/* The window and the store are files in memory; who writes beyond the limit is sent SIGXFSZ. */
static bool try_file_size(char *detail)
{
	int fd = memfd_create("swsgx-doctor", MFD_CLOEXEC);
	bool ok;

	signal(SIGXFSZ, SIG_IGN);
	ok = fd >= 0 && ftruncate(fd, RESERVED_BYTES) == 0;
	if (ok)
		snprintf(detail, PROBE_DETAIL, "a file in memory can be %llu TiB long",
			 RESERVED_BYTES >> 40);
	else
		snprintf(detail, PROBE_DETAIL, "a file in memory of %llu TiB: %s",
			 RESERVED_BYTES >> 40, strerror(errno));
	return ok;
}

static bool try_exec_shared(char *detail)
{
	static const uint8_t code[] = { 0xb8, 0x2a, 0, 0, 0, 0xc3 }; /* mov $42, %eax; ret */
	int fd = memfd_create("swsgx-doctor", MFD_CLOEXEC);
	void *at;

	if (fd < 0 || write(fd, code, sizeof(code)) != sizeof(code)) {
		snprintf(detail, PROBE_DETAIL, "memfd_create: %s", strerror(errno));
		return false;
	}
	at = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED) {
		snprintf(detail, PROBE_DETAIL, "mmap(PROT_EXEC): %s", strerror(errno));
		return false;
	}
	snprintf(detail, PROBE_DETAIL, "code runs from shared memory");
	return ((int (*)(void))(uintptr_t)at)() == 42;
}

static bool try_auxv(char *detail)
{
	void *image;
	size_t bytes;
	int r;

	r = vdso_build((const void *)getauxval(AT_SYSINFO_EHDR), (void *)try_auxv, 0, &image,
		       &bytes);
	if (r == 0)
		r = vdso_patch_auxv(environ, image);
	if (r < 0) {
		snprintf(detail, PROBE_DETAIL, "no vDSO to put ours in place of: %s", strerror(-r));
		return false;
	}
	r = vdso_patch_proc_auxv(environ);
	snprintf(detail, PROBE_DETAIL, "our vDSO is found through getauxval()%s",
		 r < 0 ? ", but not through /proc/self/auxv" : " and /proc/self/auxv");
	return getauxval(AT_SYSINFO_EHDR) == (unsigned long)image;
}

static bool try_xsave(char *detail)
{
	unsigned int eax, ebx, ecx, edx, xcr0_lo, xcr0_hi;

	if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & (1u << 27))) {
		snprintf(detail, PROBE_DETAIL, "no XSAVE, or the kernel does not use it");
		return false;
	}
	__asm__ volatile("xgetbv" : "=a"(xcr0_lo), "=d"(xcr0_hi) : "c"(0));
	__cpuid_count(0xd, 0, eax, ebx, ecx, edx);
	snprintf(detail, PROBE_DETAIL, "XCR0 %#x%s%s%s, %u bytes of state", xcr0_lo,
		 xcr0_lo & 4 ? ", AVX" : "", xcr0_lo & 0xe0 ? ", AVX-512" : "",
		 xcr0_lo & 0x60000 ? ", AMX" : "", ebx);
	return true;
}

/* All that 'swsgx vm' needs. */
static bool try_kvm(char *detail)
{
	struct report rep;
	char text[PROBE_DETAIL];

	report_init(&rep);
	if (vmm_probe(&rep) < 0) {
		snprintf(detail, PROBE_DETAIL, "%s", report_text(&rep, text, sizeof(text)));
		return false;
	}
	snprintf(detail, PROBE_DETAIL, "/dev/kvm, and a userfaultfd that serves it");
	return true;
}

static bool try_aes(char *detail)
{
	unsigned int eax, ebx, ecx, edx;
	bool aes, clmul;

	if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx))
		return false;
	aes = ecx & (1u << 25);
	clmul = ecx & (1u << 1);
	snprintf(detail, PROBE_DETAIL, "AES-NI %s, PCLMULQDQ %s", aes ? "yes" : "no",
		 clmul ? "yes" : "no");
	return aes && clmul;
}

static bool try_vaes(char *detail)
{
	unsigned int eax, ebx, ecx, edx;
	bool vaes, avx512;

	if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx))
		return false;
	vaes = (ecx & (1u << 9)) && (ecx & (1u << 10));
	avx512 = ebx & (1u << 16);
	snprintf(detail, PROBE_DETAIL, "VAES and VPCLMULQDQ %s, AVX-512 %s", vaes ? "yes" : "no",
		 avx512 ? "yes" : "no");
	return vaes && avx512;
}

static bool try_sha(char *detail)
{
	unsigned int eax, ebx, ecx, edx;
	bool sha = __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (ebx & (1u << 29));

	snprintf(detail, PROBE_DETAIL, "SHA extensions %s", sha ? "yes" : "no");
	return sha;
}

const struct probe probes[] = {
	{ "userfaultfd", PROBE_REQUIRED, try_userfaultfd, "an enclave cannot be paged",
	  "Linux 5.14 or newer with CONFIG_USERFAULTFD; in a container, a seccomp profile that "
	  "allows userfaultfd" },
	{ "memfd", PROBE_REQUIRED, try_memfd, "there is nothing to make EPC of",
	  "a kernel with CONFIG_MEMFD_CREATE and CONFIG_SHMEM" },
	{ "address-space", PROBE_REQUIRED, try_address_space, "programs run, and find no SGX",
	  "ulimit -v unlimited, and sysctl vm.overcommit_memory below 2: addresses are reserved, "
	  "memory is not" },
	{ "file-size", PROBE_REQUIRED, try_file_size, "the kernel ends programs with SIGXFSZ",
	  "ulimit -f unlimited: EPC is a file in memory, as long as it may become and mostly "
	  "empty" },
	{ "exec-shared", PROBE_REQUIRED, try_exec_shared, "enclave code cannot run",
	  "sysctl vm.memfd_noexec must be below 2, and no security module may forbid it" },
	{ "enclu-traps", PROBE_REQUIRED, try_enclu,
	  "programs with ENCLU instructions of their own cannot be served",
	  "nothing to be done: report this CPU" },
	{ "fsgsbase", PROBE_SPEED, try_fsgsbase,
	  "entering an enclave takes system calls to switch its FS and GS base",
	  "Linux 5.9 or newer without nofsgsbase, on a CPU from 2012 or later" },
	{ "xsave", PROBE_REQUIRED, try_xsave, "an SSA frame cannot be filled",
	  "a kernel without noxsave" },
	{ "vdso", PROBE_REQUIRED, try_auxv, "__vdso_sgx_enter_enclave is not found",
	  "a kernel without vdso=0" },
	{ "cpuid-faulting", PROBE_HELPS, try_cpuid_faulting,
	  "CPUIDs in programs' files are rewritten: only code that a program makes itself sees no "
	  "SGX, and CPUID works "
	  "inside enclaves",
	  "a CPU with CPUID faulting (Intel since Ivy Bridge, AMD since Zen 4 with a new kernel); "
	  "a hypervisor must pass it on" },
	{ "syscall-dispatch", PROBE_DIRECT, try_syscall_dispatch,
	  "static and Go programs cannot be served, and SYSCALL inside an enclave is not refused",
	  "Linux 5.11 or newer" },
	{ "kvm", PROBE_HELPS, try_kvm, "swsgx vm runs no guests",
	  "load kvm_intel or kvm_amd; have access to /dev/kvm, and to /dev/userfaultfd (or as "
	  "root: "
	  "sysctl vm.unprivileged_userfaultfd=1)" },
	{ "aes", PROBE_SPEED, try_aes, "paging is much slower", "" },
	{ "vaes", PROBE_SPEED, try_vaes, "paging is slower", "" },
	{ "sha", PROBE_SPEED, try_sha, "building enclaves is slower", "" },
};
const size_t probes_nr = sizeof(probes) / sizeof(probes[0]);

/* What a try in a process of its own leaves for us, in shared memory. */
struct outcome {
	size_t at; /* the probe that was tried last */
	char detail[PROBE_DETAIL];
};

/* Try probes[from .. to - 1] of the needs in @needs (bits), until one fails: false then. */
static bool run_in_child(size_t from, size_t to, unsigned int needs, struct outcome *o)
{
	int status;
	pid_t pid;

	pid = fork();
	if (pid == 0) {
		alarm(PROBE_SECS);
		for (o->at = from; o->at < to; o->at++)
			if ((needs & 1u << probes[o->at].need) && !probes[o->at].try(o->detail))
				_exit(1);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		snprintf(o->detail, PROBE_DETAIL, "fork: %s", strerror(errno));
		return false;
	}
	if (WIFSIGNALED(status)) {
		snprintf(o->detail, PROBE_DETAIL, "the try ended with signal %d", WTERMSIG(status));
		return false;
	}
	o->detail[PROBE_DETAIL - 1] = 0;
	return WEXITSTATUS(status) == 0;
}

static bool run(size_t from, size_t to, unsigned int needs, size_t *ret_at, char *ret_detail)
{
	struct outcome *o;
	bool ok;

	*ret_at = from;
	o = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (o == MAP_FAILED) {
		snprintf(ret_detail, PROBE_DETAIL, "mmap: %s", strerror(errno));
		return false;
	}
	ok = run_in_child(from, to, needs, o);
	if (o->at >= from && o->at < to)
		*ret_at = o->at;
	memcpy(ret_detail, o->detail, PROBE_DETAIL);
	munmap(o, PAGE);
	return ok;
}

bool probe_run(const struct probe *probe, char *detail)
{
	size_t nr = (size_t)(probe - probes), at;

	return run(nr, nr + 1, 1u << probe->need, &at, detail);
}

const struct probe *probe_first_missing(unsigned int needs, char *detail)
{
	size_t at;

	return run(0, probes_nr, needs, &at, detail) ? NULL : &probes[at];
}
