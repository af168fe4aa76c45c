/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What services do to themselves between opening the device and using it: they shut themselves into an empty folder,
 * become somebody else, hide from debuggers, forbid themselves system calls. An enclave that a machine with SGX
 * would let them build and run has to be built and run here too. Each is a child of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "lib/tap.h"

#define PAGES 300 /* more than the EPC holds */

static struct client_encl e;
static int opened; /* the device, before anything was done */

static int use(unsigned int thread)
{
	uint64_t heap = e.base + e.heap, bad = 0;

	for (uint64_t i = thread; i < PAGES; i += 2)
		bad += client_op(&e, thread, OP_WRITE, heap + i * 4096, i ^ 0x55, 0) != 0;
	for (uint64_t i = thread; i < PAGES; i += 2)
		bad += client_op(&e, thread, OP_READ, heap + i * 4096, 0, 0) != (i ^ 0x55);
	return bad != 0;
}

static void *use_second(void *arg)
{
	*(int *)arg = use(1);
	return NULL;
}

/* All the steps of a loader, on the descriptor that is there already, then two threads that page. */
static int build_and_use(void)
{
	struct client_conf conf = { .heap_pages = PAGES, .threads = 2 };
	struct sgx_enclave_create arg;
	pthread_t second;
	int bad = 0, err = client_layout(&e, &conf);

	e.fd = opened;
	err = err ? err : client_reserve(&e, &conf);
	if (err)
		return 10;
	memset(e.secs, 0, sizeof(*e.secs));
	e.secs->size = e.size;
	e.secs->baseaddr = e.base;
	e.secs->ssa_frame_size = e.ssa_frame_pages;
	e.secs->attributes.flags = SGX_ATTR_MODE64BIT;
	e.secs->attributes.xfrm = SGX_XFRM_LEGACY;
	arg.src = (uintptr_t)e.secs;
	if (ioctl(e.fd, SGX_IOC_ENCLAVE_CREATE, &arg))
		return 11;
	if (client_add_pages(&e, &conf))
		return 12;
	if (client_map(&e, &conf))
		return 13;
	if (client_sign(&e, &conf) || client_init(&e))
		return 14;
	e.tcs[0] += e.base;
	e.tcs[1] += e.base;
	if (pthread_create(&second, NULL, use_second, &bad))
		return 15;
	if (use(0))
		return 16;
	pthread_join(second, NULL);
	return bad ? 17 : 0;
}

/* ---- what they do ------------------------------------------------------------------------------------------ */

static bool nothing(void) { return true; }

/* Without /proc, /dev and /sys, and without a way back. */
static bool empty_folder(void)
{
	char folder[] = "/tmp/serviceXXXXXX";

	return mkdtemp(folder) && !chdir(folder) && !rmdir(folder) && !chroot(".");
}

static bool somebody_else(void) { return !setgid(65534) && !setuid(65534) && setuid(0) == -1; }

static bool both(void) { return empty_folder() && somebody_else(); }

static bool hidden(void) { return !prctl(PR_SET_DUMPABLE, 0) && somebody_else(); }

static bool session(void) { return setsid() > 0 && !chdir("/") && (umask(0), true); }

static bool few_files(void)
{
	struct rlimit few = { (rlim_t)opened + 4, (rlim_t)opened + 4 };

	return !setrlimit(RLIMIT_NOFILE, &few);
}

static bool no_core_no_lock(void)
{
	struct rlimit none = { 0, 0 };

	return !setrlimit(RLIMIT_CORE, &none) && !setrlimit(RLIMIT_MEMLOCK, &none);
}

/* As a sandbox does it that knows what an SGX program needs after it has started: the rest is EPERM. */
static bool filter(void)
{
#define DENY(nr)                                                   \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(nr), 0, 1), \
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM)
	static struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		DENY(SYS_open),
		DENY(SYS_openat),
		DENY(SYS_execve),
		DENY(SYS_execveat),
		DENY(SYS_socket),
		DENY(SYS_connect),
		DENY(SYS_ptrace),
		DENY(SYS_kill),
		DENY(SYS_fork),
		DENY(SYS_mount),
		DENY(SYS_memfd_create),
		DENY(SYS_userfaultfd),
		DENY(SYS_readlink),
		DENY(SYS_readlinkat),
		DENY(SYS_prlimit64),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { sizeof(code) / sizeof(code[0]), code };

	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	       !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

static bool namespaces(void)
{
	return !unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS);
}

static bool one_cpu(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	return !sched_setaffinity(0, sizeof(set), &set);
}

static bool idle(void)
{
	struct sched_param none = { 0 };

	return !sched_setscheduler(0, SCHED_IDLE, &none) && !setpriority(PRIO_PROCESS, 0, 19);
}

static const struct {
	const char *name;
	bool (*run)(void);
	bool as_root;
} ways[] = {
	{ "nothing", nothing, false },
	{ "an empty folder for a root", empty_folder, true },
	{ "setuid", somebody_else, true },
	{ "both", both, true },
	{ "PR_SET_DUMPABLE 0 and setuid", hidden, true },
	{ "a session of its own", session, false },
	{ "hardly any descriptors left", few_files, false },
	{ "RLIMIT_CORE and RLIMIT_MEMLOCK 0", no_core_no_lock, false },
	{ "a seccomp filter", filter, false },
	{ "namespaces", namespaces, true },
	{ "one CPU", one_cpu, false },
	{ "SCHED_IDLE", idle, false },
};

/* Before the enclave is built, and after. */
static int child(bool (*run)(void), bool after)
{
	int ret;

	opened = client_open();
	if (opened < 0)
		return 2;
	if (!after && !run())
		return 3;
	ret = build_and_use();
	if (ret || !after)
		return ret;
	if (!run())
		return 3;
	return use(0) || use(1) ? 5 : 0;
}

static void check_way(size_t i, bool after)
{
	int status = -1;
	pid_t pid;

	if (ways[i].as_root && geteuid()) {
		tap_skip(ways[i].name, "needs root");
		return;
	}
	fflush(stdout);
	pid = fork();
	if (!pid)
		_exit(child(ways[i].run, after));
	waitpid(pid, &status, 0);
	if (status == 3 << 8) {
		tap_skip(ways[i].name, "the machine refuses it");
		return;
	}
	TAP_CHECK(status == 0, "%s %s the enclave is built: it runs (%#x)", ways[i].name,
		  after ? "once" : "before", status);
}

int main(void)
{
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		check_way(i, false);
		check_way(i, true);
	}
	return tap_done();
}
