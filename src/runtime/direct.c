/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Programs that make their own system calls: static ones, Go, library OSes.  No symbol of theirs can be
 * hooked, so the program is loaded into a process that has the runtime already (load.c), and every SYSCALL
 * outside of the runtime raises SIGSYS (syscall user dispatch).  What concerns the device is done here; any
 * other call is made by the program itself, through rt_gate, so that signals interrupt it as they should.
 *
 * The program's FS is its own: all of its threads are foreign (donor.c).
 *
 * Invariant: outside of handlers a direct thread is "away" (t->away): its bases are the program's or the
 * enclave's, and the selector blocks.
 */
#include "runtime/direct.h"

#include <assert.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <asm/prctl.h>

#include "runtime/donor.h"
#include "runtime/exec.h"
#include "runtime/hooks.h"
#include "runtime/load.h"
#include "runtime/offsets.h"
#include "runtime/proc.h"
#include "runtime/rt.h"
#include "runtime/sys.h"
#include "runtime/vdso.h"

#define RUNTIME_NAME "libswsgx_runtime.so"
#define BRK_BYTES    (64ull << 30)

long rt_clone_raw(unsigned long flags, void *stack, int *ptid, int *ctid, uint64_t tls,
		  struct rt_thread *t);
void rt_direct_child(struct rt_thread *t);

/* What a program of this kind has once. */
static struct direct {
	char self[4096]; /* the program's path, for /proc/self/exe */
	char host[4096]; /* swsgx-exec, to start the next such program with */
	uint64_t brk_start, brk;
} direct;

static struct rt_thread *thread_make(void)
{
	struct rt_thread *t = rt_donor_thread();

	if (t)
		t->direct = true;
	return t;
}

/* ---- into the program -------------------------------------------------------------------------------- */

static void set_fs(uint64_t base)
{
	sys(SYS_arch_prctl, ARCH_SET_FS, base, 0);
}

/* Run on as @t->regs says, with the signal mask @mask. On @t's own stack or one that nobody needs. */
static void __attribute__((noreturn)) go(struct rt_thread *t, uint64_t mask)
{
	rt_thread_adopt(t);
	rt_thread_arm_sud(t);
	t->away_fs = t->regs.fs_base;
	t->away_gs = t->regs.gs_base;
	rt_jump_from_regs(t, &t->regs);
	t->load_xsave = 0;
	t->below_rsp = 0;
	t->away_selector = 1;
	rt_critical_enter(t);
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, 0, 8);
	rt_go(t);
}

void rt_direct_child(struct rt_thread *t)
{
	go(t, t->direct_mask);
}

/* A program with a dynamic linker of its own must not load the runtime once more. */
static void strip_preload(char **envp)
{
	char **to = envp;

	for (char **from = envp; *from; from++) {
		if (strncmp(*from, "LD_PRELOAD=", 11) != 0 || !strstr(*from, RUNTIME_NAME))
			*to++ = *from;
	}
	*to = NULL;
}

static int start(const char *path, char **argv, char **envp, struct rt_thread **ret_t)
{
	struct load_image image;
	struct rt_thread *t;
	uint64_t sp;
	void *vdso;
	int r;

	if (!realpath(path, direct.self))
		return -errno;
	if (readlink("/proc/self/exe", direct.host, sizeof(direct.host) - 1) < 0)
		return -errno;
	exec_set_loader(direct.host);
	strip_preload(envp);
	r = rt_vdso_make(true, &vdso);
	if (!r)
		r = load_program(path, &image);
	if (!r) {
		rt_cpuid_scan();
		r = load_stack(&image, path, argv, envp, rt.auxv, vdso, &sp);
	}
	if (r)
		return r;
	direct.brk_start = (uint64_t)mmap(NULL, BRK_BYTES, PROT_READ | PROT_WRITE,
					  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (direct.brk_start == (uint64_t)MAP_FAILED)
		return -ENOMEM;
	direct.brk = direct.brk_start;
	t = thread_make();
	if (!t)
		return -ENOMEM;
	/* For those who look: it runs all the same where this cannot be had. */
	(void)vdso_patch_proc_args(path);
	t->regs = (struct cpu_regs){ .rip = image.start, .rsp = sp, .rflags = 0x202 };
	*ret_t = t;
	return 0;
}

int swsgx_direct(const char *path, char **argv, char **envp)
{
	const char *base = strrchr(path, '/');
	uint64_t all = ~RT_SIG_CRITICAL, mask;
	struct rt_thread *t = NULL;
	int r;

	if (!rt.ready)
		return -ENODEV;
	rt_use();
	r = start(path, argv, envp, &t);
	if (r)
		return r;
	prctl(PR_SET_NAME, base ? base + 1 : path, 0, 0, 0);
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &all, &mask, 8);
	/* What has come through the exec is the program's: what waits comes to it in go(). */
	rt_client_signals_new(t, rt_client_blocked());
	rt_client_lend(RT_SIG_CRITICAL);
	set_fs(t->home_fs);
	go(t, mask);
}

/* ---- system calls -------------------------------------------------------------------------------------- */

/* The program makes this call itself: it goes on at rt_gate, with a return address on its stack. */
static long by_itself(ucontext_t *uc, long nr)
{
	greg_t *g = uc->uc_mcontext.gregs;
	uint64_t sp = (uint64_t)g[REG_RSP] - RT_GATE_BYTES;
	uint64_t back = (uint64_t)g[REG_RIP];

	if (rt_copy_user((void *)sp, &back, sizeof(back))) {
		siginfo_t info = { .si_signo = SIGSEGV, .si_code = SEGV_MAPERR };

		info.si_addr = (void *)sp;
		rt_deliver(SIGSEGV, &info, uc);
		return -EFAULT;
	}
	g[REG_RSP] = (greg_t)sp;
	g[REG_RIP] = (greg_t)rt_gate;
	return nr;
}

static long do_brk(uint64_t to)
{
	if (to >= direct.brk_start && to < direct.brk_start + BRK_BYTES) {
		if (to < direct.brk)
			sys(SYS_madvise, (to + 4095) & ~4095ull, direct.brk - to, MADV_DONTNEED);
		direct.brk = to;
	}
	return (long)direct.brk;
}

static long do_arch_prctl(struct rt_thread *t, long code, uint64_t arg)
{
	switch (code) {
	case ARCH_SET_FS:
		t->away_fs = arg;
		return 0;
	case ARCH_SET_GS:
		t->away_gs = arg;
		return 0;
	case ARCH_GET_FS:
		return rt_copy_user((void *)arg, &t->away_fs, 8);
	case ARCH_GET_GS:
		return rt_copy_user((void *)arg, &t->away_gs, 8);
	default:
		return sys(SYS_arch_prctl, code, arg, 0);
	}
}

static long do_readlink(const char *path, char *to, size_t bytes)
{
	char head[64], own[64];
	size_t n = strlen(direct.self);

	if (!rt_peek_path(path, head, sizeof(head)))
		return -EFAULT;
	snprintf(own, sizeof(own), "/proc/%d/exe", rt.pid);
	if (strcmp(head, "/proc/self/exe") != 0 && strcmp(head, own) != 0)
		return -ENOSYS;
	n = n < bytes ? n : bytes;
	return rt_copy_user(to, direct.self, n) ? -EFAULT : (long)n;
}

/* rt_sigprocmask on the mask that this handler's return will set. */
static long do_sigprocmask(ucontext_t *uc, int how, const void *set_at, void *old_at)
{
	uint64_t *mask = (uint64_t *)&uc->uc_sigmask;
	uint64_t set = 0, old;
	long r;

	if (set_at && rt_copy_user(&set, set_at, 8))
		return -EFAULT;
	/* The kernel's mask is the handler's now; rt_sigprocmask() keeps the books of the critical ones. */
	r = rt_sigprocmask_virtual(how, set_at ? &set : NULL, mask, &old);
	if (!r && old_at && rt_copy_user(old_at, &old, 8))
		return -EFAULT;
	return r;
}

/* One that comes after this look finds the program's call not yet made (leave_gate()), or in the kernel, which takes it. */
static long do_sigtimedwait(ucontext_t *uc, const long a[6])
{
	struct timespec timeout;
	siginfo_t info;
	uint64_t set;
	int sig;

	/* The kernel looks at all of this first. */
	if (a[3] != sizeof(set) || rt_copy_user(&set, (void *)a[0], sizeof(set)) ||
	    (a[2] && (rt_copy_user(&timeout, (void *)a[2], sizeof(timeout)) || timeout.tv_sec < 0 ||
		      (unsigned long)timeout.tv_nsec >= 1000000000)))
		return by_itself(uc, SYS_rt_sigtimedwait);
	sig = rt_client_take(set, &info);
	if (!sig)
		return by_itself(uc, SYS_rt_sigtimedwait);
	return a[1] && rt_copy_user((void *)a[1], &info, sizeof(info)) ? -EFAULT : sig;
}

/*
 * A call that waits with the mask at @mask_at.  What that lets in of what waits already comes now; what comes later finds
 * the program at rt_gate (rt_signal()).
 */
static long do_waiting(ucontext_t *uc, struct rt_thread *t, long nr, const void *mask_at)
{
	siginfo_t info;
	uint64_t mask;
	int sig;

	if (!mask_at || rt_copy_user(&mask, mask_at, sizeof(mask)))
		return by_itself(uc, nr);
	t->let_in = rt_client_blocked() & ~mask;
	do
		sig = rt_client_take(t->let_in, &info);
	while (sig && rt.act[sig].handler == SIG_IGN);
	if (!sig)
		return by_itself(uc, nr);
	uc->uc_mcontext.gregs[REG_RAX] = -EINTR;
	rt_deliver(sig, &info, uc);
	return uc->uc_mcontext.gregs[REG_RAX];
}

static long do_pselect(ucontext_t *uc, struct rt_thread *t, const void *pair_at)
{
	const void *pair[2] = { 0 }; /* mask and size */

	if (pair_at && rt_copy_user(pair, pair_at, sizeof(pair)))
		pair[0] = NULL;
	return do_waiting(uc, t, SYS_pselect6, pair[0]);
}

static long do_sigaction(int sig, const void *act_at, void *old_at)
{
	struct rt_client_act act, old;
	long r;

	if (act_at && rt_copy_user(&act, act_at, sizeof(act)))
		return -EFAULT;
	r = rt_sigaction(sig, act_at ? &act : NULL, &old);
	if (!r && old_at && rt_copy_user(old_at, &old, sizeof(old)))
		return -EFAULT;
	return r;
}

/* The frame that a handler of the program returns from, by a SYSCALL of its own restorer. */
static void do_sigreturn(ucontext_t *uc)
{
	rt_frame_restore(uc, (uint64_t)uc->uc_mcontext.gregs[REG_RSP] - 8);
}

static long do_fork(ucontext_t *uc, const long a[6])
{
	unsigned long flags = (unsigned long)a[0];
	int pid = fork();
	int tid;

	if (pid < 0)
		return -errno;
	if (pid > 0) {
		if (flags & CLONE_PARENT_SETTID)
			rt_copy_user((void *)a[2], &pid, sizeof(pid));
		return pid;
	}
	tid = rt.pid;
	rt_thread_arm_sud(rt_thread_peek());
	if (flags & CLONE_CHILD_SETTID)
		rt_copy_user((void *)a[3], &tid, sizeof(tid));
	if (flags & CLONE_CHILD_CLEARTID)
		sys(SYS_set_tid_address, a[3], 0, 0);
	if (a[1])
		uc->uc_mcontext.gregs[REG_RSP] = (greg_t)a[1];
	if (flags & CLONE_SETTLS)
		rt_thread_peek()->away_fs = (uint64_t)a[4];
	return 0;
}

static long do_thread(ucontext_t *uc, struct rt_thread *parent, const long a[6])
{
	struct rt_thread *t = thread_make();
	long r;

	if (!t)
		return -EAGAIN;
	rt_regs_from_uc(&t->regs, uc);
	t->regs.rax = 0;
	if (a[1])
		t->regs.rsp = (uint64_t)a[1];
	t->regs.fs_base = a[0] & CLONE_SETTLS ? (uint64_t)a[4] : parent->away_fs;
	t->regs.gs_base = parent->away_gs;
	t->direct_mask = *(uint64_t *)&uc->uc_sigmask;
	rt_client_signals_new(t, rt_client_blocked());
	/* It is not to have one before it is in the program (go()). */
	rt_signal_shut();
	r = rt_clone_raw((unsigned long)a[0] | CLONE_SETTLS, (uint8_t *)t + RT_SLOT_BYTES - 4096,
			 (int *)a[2], (int *)a[3], t->home_fs, t);
	rt_signal_reopen();
	if (r < 0)
		t->tid = RT_NO_THREAD; /* to be used again */
	return r;
}

static long do_clone(ucontext_t *uc, struct rt_thread *t, const long a[6])
{
	/* vfork's borrowed memory is a copy here: the child execs or exits, which is all it may do. */
	if (!(a[0] & CLONE_VM) || (a[0] & CLONE_VFORK))
		return do_fork(uc, a);
	return do_thread(uc, t, a);
}

/* The program to come begins with what this one has blocked, which is more while a handler runs. */
static long do_execve(ucontext_t *uc, struct rt_thread *t, const long a[6])
{
	uint64_t mask = *(uint64_t *)&uc->uc_sigmask | rt_client_blocked(), ours;
	char path[4096];
	long r;

	if (!rt_peek_path((const char *)a[0], path, sizeof(path)))
		return -EFAULT;
	sys4(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &ours, 8);
	rt_donor_locks_end(t);
	r = exec_run_masked(path, (char *const *)a[1], (char *const *)a[2], &mask, &t->deferred_nr);
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &ours, NULL, 8);
	if (r != -EINTR || !t->deferred_nr)
		return r;
	/* What waits comes first, and then the call once more. */
	uc->uc_mcontext.gregs[REG_RIP] -= 2;
	return SYS_execve;
}

static void do_exit(struct rt_thread *t, long status)
{
	rt_process_lp_done(t->rlp);
	t->rlp = rt_process_lp();
	t->lp = &t->rlp->lp;
	rt_donor_locks_end(t);
	sys(SYS_exit, status, 0, 0);
}

/* Does this call have to do with the device, or with what the runtime keeps for the program? */
static bool concerns_file(long nr, const long a[6])
{
	char head[64];
	const char *path = NULL;
	int dir = AT_FDCWD;

	switch (nr) {
	case SYS_open:
	case SYS_stat:
	case SYS_lstat:
	case SYS_access:
		path = (const char *)a[0];
		break;
	case SYS_openat:
	case SYS_openat2:
	case SYS_newfstatat:
	case SYS_statx:
	case SYS_faccessat:
	case SYS_faccessat2:
		path = (const char *)a[1];
		dir = (int)a[0];
		break;
	case SYS_fstat:
	case SYS_ioctl:
		return rt_fd_ours((int)a[0]);
	case SYS_epoll_ctl:
		return rt_fd_ours((int)a[0]) || rt_fd_ours((int)a[2]);
	case SYS_close:
	case SYS_dup:
	case SYS_dup2:
	case SYS_dup3:
	case SYS_close_range:
		return true;
	case SYS_fcntl:
		return a[1] == F_DUPFD || a[1] == F_DUPFD_CLOEXEC;
	default:
		return false;
	}
	if (!path || !rt_peek_path(path, head, sizeof(head)))
		return false;
	if (!head[0])
		return rt_fd_ours((int)a[0]);
	return rt_device_path_at(dir, head) != RT_FD_NONE || proc_file_at(dir, head) != PROC_NONE;
}

static long one_call(ucontext_t *uc, struct rt_thread *t, long nr, const long a[6])
{
	int handled;
	long r;

	switch (nr) {
	case SYS_rt_sigaction:
		return do_sigaction((int)a[0], (const void *)a[1], (void *)a[2]);
	case SYS_rt_sigprocmask:
		return do_sigprocmask(uc, (int)a[0], (const void *)a[1], (void *)a[2]);
	case SYS_rt_sigpending:
		return rt_sigpending((void *)a[0], (size_t)a[1], *(uint64_t *)&uc->uc_sigmask);
	case SYS_rt_sigtimedwait:
		return do_sigtimedwait(uc, a);
	case SYS_rt_sigsuspend:
		return do_waiting(uc, t, nr, (const void *)a[0]);
	case SYS_ppoll:
		return do_waiting(uc, t, nr, (const void *)a[3]);
	case SYS_epoll_pwait:
	case RT_SYS_EPOLL_PWAIT2:
		return do_waiting(uc, t, nr, (const void *)a[4]);
	case SYS_pselect6:
		return do_pselect(uc, t, (const void *)a[5]);
	case SYS_sigaltstack:
		return rt_sigaltstack_at((const stack_t *)a[0], (stack_t *)a[1],
					 (uint64_t)uc->uc_mcontext.gregs[REG_RSP]);
	case SYS_brk:
		return do_brk((uint64_t)a[0]);
	case SYS_arch_prctl:
		return do_arch_prctl(t, a[0], (uint64_t)a[1]);
	case SYS_clone:
		return do_clone(uc, t, a);
	case SYS_fork:
	case SYS_vfork:
		return do_fork(uc, (const long[6]){ SIGCHLD });
	case SYS_clone3: /* libcs fall back to clone */
	case SYS_rseq:   /* one registration a thread: the runtime's libc has it */
		return -ENOSYS;
	case SYS_execve:
		return do_execve(uc, t, a);
	case SYS_exit:
		do_exit(t, a[0]);
		return 0;
	case SYS_exit_group:
		rt_end();
		return by_itself(uc, nr);
	case SYS_readlink:
		r = do_readlink((const char *)a[0], (char *)a[1], (size_t)a[2]);
		if (r != -ENOSYS)
			return r;
		break;
	case SYS_readlinkat:
		r = do_readlink((const char *)a[1], (char *)a[2], (size_t)a[3]);
		if (r != -ENOSYS)
			return r;
		break;
	default:
		break;
	}
	if (concerns_file(nr, a)) {
		r = rt_sys_file(nr, a, &handled);
		return handled ? r : rt_sys_stat(nr, a, &handled);
	}
	r = rt_sys_link(nr, a, &handled);
	if (!handled)
		r = rt_sys_rw(nr, a, &handled);
	if (!handled)
		r = rt_sys_mem(nr, a, &handled);
	if (handled && nr == SYS_mmap && !(r < 0 && r > -4096))
		rt_cpuid_mapped((uint64_t)r, (uint64_t)a[1], (int)a[2], (int)a[3], (int)a[4],
				(uint64_t)a[5]);
	return handled ? r : by_itself(uc, nr);
}

void rt_direct_syscall(ucontext_t *uc, struct rt_thread *t)
{
	greg_t *g = uc->uc_mcontext.gregs;
	const long a[6] = { g[REG_RDI], g[REG_RSI], g[REG_RDX], g[REG_R10], g[REG_R8], g[REG_R9] };
	long nr = g[REG_RAX];

	t->let_in = 0;
	if (nr == SYS_rt_sigreturn)
		do_sigreturn(uc);
	else
		g[REG_RAX] = one_call(uc, t, nr, a);
}
