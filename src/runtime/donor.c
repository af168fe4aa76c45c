/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Threads that libc does not know: made by a bare clone(), or those of a program with a libc of its own
 * (direct.c).  Their FS is not libc's, or is another thread's, and the runtime's C needs a TLS: each borrows that
 * of a donor, a thread of our libc that sleeps for ever and was made for that.  A borrower is "foreign": its
 * bases are put aside at the first instruction of each handler and loaded again at the last.
 *
 * The blocks are made by the dynamic linker as libc has it make them for threads (_dl_allocate_tls()), with no
 * thread behind them: a thread that sleeps for ever would be counted, by libc when the program's last one ends
 * and by the kernel when it changes namespaces.  Where the linker does not let us, they are such threads'.
 *
 * One donor is always kept spare, because a foreign thread that needs its first one has no TLS to make it with.
 */
#include "runtime/donor.h"

#include <assert.h>
#include <dlfcn.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <sys/uio.h>

#include <asm/prctl.h>

#include "runtime/rt.h"
#include "runtime/sys.h"

/* Offset of the thread id in libc's thread block, found in the first thread's; entry.S reads it too. */
uint64_t rt_tid_offset __attribute__((visibility("hidden")));

/* That of the head of its list of robust locks; 0 where libc is not as we know it. */
static uint64_t robust_offset;

#define ROBUST_HEAD_BYTES 24

extern __thread struct rt_thread *rt_self
	__attribute__((tls_model("initial-exec"), visibility("hidden")));

static uint64_t fs_base(void)
{
	uint64_t base;

	sys(SYS_arch_prctl, ARCH_GET_FS, &base, 0);
	return base;
}

/* Now, in libc's own first thread: a thread with a borrowed TLS has told the kernel of its own list, or of none. */
static void find_robust(void)
{
	uint64_t head = 0, bytes = 0;

	if (sys(SYS_get_robust_list, 0, &head, &bytes) < 0)
		return;
	head -= fs_base();
	/* Just behind the id: else we have not understood. */
	if (bytes == ROBUST_HEAD_BYTES && head >= rt_tid_offset && head - rt_tid_offset <= 64)
		robust_offset = head;
}

int rt_donor_init(void)
{
	uint8_t *block = (uint8_t *)fs_base();
	int tid = (int)sys(SYS_gettid, 0, 0, 0);

	for (uint64_t at = 64; at < 1280; at += 4) {
		int word;

		memcpy(&word, block + at, sizeof(word));
		if (word == tid) {
			rt_tid_offset = at;
			find_robust();
			return 0;
		}
	}
	return -ENOSYS;
}

/* ---- donors -------------------------------------------------------------------------------------------- */

static void push(struct rt_thread **list, struct rt_thread *t)
{
	t->donor_next = __atomic_load_n(list, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(list, &t->donor_next, t, false, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED))
		;
}

static void *donor(void *arg)
{
	uint32_t never = 0;
	struct rt_thread *t = rt_thread_new();

	if (t) {
		t->home_fs = fs_base();
		t->foreign = true;
		rt_thread_lend(t);
	}
	__atomic_store_n((struct rt_thread **)arg, t ? t : (void *)-1, __ATOMIC_RELEASE);
	for (;;)
		sys6(SYS_futex, (long)&never, FUTEX_WAIT_PRIVATE, 0, 0, 0, 0);
	return NULL;
}

/* A block with a TLS that nobody else uses; NULL when no thread can be made. */
static struct rt_thread *donor_thread(void)
{
	uint64_t all = ~0ull, mask;
	struct rt_thread *t = NULL;
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	/* A donor takes no signal, ever. */
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &all, &mask, 8);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 65536);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	r = rt_thread_create(&thread, &attr, donor, &t);
	pthread_attr_destroy(&attr);
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, 0, 8);
	if (r)
		return NULL;
	while (!__atomic_load_n(&t, __ATOMIC_ACQUIRE))
		sched_yield();
	return t == (void *)-1 ? NULL : t;
}

/* Where libc has what in the block of a thread: the ABI's part, and what was found in the first thread's. */
#define TCB_SELF          0
#define TCB_SELF_AGAIN    16
#define TCB_MULTIPLE      24
#define TCB_STACK_GUARD   40
#define TCB_POINTER_GUARD 48

static void put(uint8_t *block, uint64_t at, uint64_t word)
{
	memcpy(block + at, &word, sizeof(word));
}

static void copy_word(uint8_t *block, uint64_t at)
{
	memcpy(block + at, (const uint8_t *)fs_base() + at, sizeof(uint64_t));
}

/* libc's place for the kernel to say which CPU a thread is on, from its block on; not there before glibc 2.35. */
extern const ptrdiff_t __rseq_offset __attribute__((weak));

/* Nobody tells the kernel of this block: libc asks it for the CPU then, and does not take what is there for one. */
static void no_rseq(uint8_t *block)
{
	struct {
		uint32_t cpu_id_start;
		int32_t cpu_id;
	} none = { .cpu_id = -1 }; /* RSEQ_CPU_ID_UNINITIALIZED */

	if (&__rseq_offset)
		memcpy(block + __rseq_offset, &none, sizeof(none));
}

/* A fresh block as it is just before a thread begins on it; NULL: the linker is not as we know it. */
static uint8_t *tls_make(void)
{
	void *(*allocate)(void *) = NULL;
	uint64_t head = robust_offset;
	uint8_t *block;
	int one = 1;

	*(void **)&allocate = dlsym(RTLD_DEFAULT, "_dl_allocate_tls");
	if (!allocate || !head)
		return NULL;
	block = allocate(NULL);
	if (!block)
		return NULL;
	put(block, TCB_SELF, (uint64_t)block);
	put(block, TCB_SELF_AGAIN, (uint64_t)block);
	memcpy(block + TCB_MULTIPLE, &one, sizeof(one));
	copy_word(block, TCB_STACK_GUARD);
	copy_word(block, TCB_POINTER_GUARD);
	/* Empty lists: of all threads (fork() takes us out of it), and of robust locks. */
	put(block, rt_tid_offset - 16, (uint64_t)block + rt_tid_offset - 16);
	put(block, rt_tid_offset - 8, (uint64_t)block + rt_tid_offset - 16);
	put(block, head - 8, (uint64_t)block + head);
	put(block, head, (uint64_t)block + head);
	copy_word(block, head + 8);
	no_rseq(block);
	return block;
}

static void tls_free(uint8_t *block)
{
	void (*deallocate)(void *, bool) = NULL;

	*(void **)&deallocate = dlsym(RTLD_DEFAULT, "_dl_deallocate_tls");
	if (deallocate)
		deallocate(block, true);
}

void *rt_donor_nobody(void)
{
	int no_thread = RT_NO_THREAD;
	uint8_t *block = tls_make();

	if (block)
		memcpy(block + rt_tid_offset, &no_thread, sizeof(no_thread));
	return block;
}

static void *nothing(void *arg)
{
	__atomic_store_n((int *)arg, (int)sys(SYS_gettid, 0, 0, 0), __ATOMIC_RELEASE);
	return NULL;
}

/* libc leaves out its locks in a process that has never had a second thread. */
static void have_threads(void)
{
	uint64_t all = ~RT_SIG_CRITICAL, mask;
	pthread_t thread;
	int tid = 0;

	if (rt.threads_known)
		return;
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &all, &mask, 8);
	if (!rt_thread_create(&thread, NULL, nothing, &tid)) {
		pthread_join(thread, NULL);
		/* The kernel counts it for a moment longer. */
		for (int i = 0; i < 1000 && sys(SYS_tgkill, rt.pid, tid, 0) == 0; i++)
			sched_yield();
		rt.threads_known = true;
	}
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, 0, 8);
}

/* As far from that block as ours is from ours. */
void *rt_donor_tls(const struct rt_thread *t, void *ours)
{
	return (uint8_t *)t->home_fs + ((uint8_t *)ours - (uint8_t *)fs_base());
}

static struct rt_thread *donor_make(void)
{
	uint8_t *block = tls_make();
	struct rt_thread *t;

	if (!block)
		return donor_thread();
	t = rt_thread_new();
	if (!t)
		return NULL;
	t->home_fs = (uint64_t)block;
	t->foreign = true;
	t->tls_made = true;
	*(struct rt_thread **)rt_donor_tls(t, &rt_self) = t;
	return t;
}

/* libc knows a lock's holder by the id in its block. Touches no TLS. */
void rt_donor_name(struct rt_thread *t)
{
	if (t->tls_made)
		memcpy((uint8_t *)t->home_fs + rt_tid_offset, &t->tid, sizeof(t->tid));
}

/* ---- locks that a thread has when it dies ------------------------------------------------------------------ */

/*
 * A thread has one list of them in the kernel.  A libc of the program's own wants it for its own, so it is ours from the
 * first lock on that a handler takes, and to the end of that handler.
 */
static void locks_begin(void)
{
	struct rt_thread *t = rt_self;
	uint64_t ours = fs_base() + robust_offset, bytes;

	if (!robust_offset || sys(SYS_get_robust_list, 0, &t->locks_program, &bytes) < 0)
		return;
	if (t->locks_program == ours)
		t->locks_program = 0;
	else
		sys(SYS_set_robust_list, ours, ROBUST_HEAD_BYTES, 0);
	t->locks_ours = true;
}

void rt_donor_locks_end(struct rt_thread *t)
{
	if (!t->locks_ours)
		return;
	/* One that had none may keep ours. */
	if (t->locks_program)
		sys(SYS_set_robust_list, t->locks_program, ROBUST_HEAD_BYTES, 0);
	t->locks_ours = false;
	lock_before_first = locks_begin;
}

static void locks_new(struct rt_thread *t)
{
	t->locks_ours = false;
	*(void (**)(void))rt_donor_tls(t, &lock_before_first) = locks_begin;
}

/* ---- donors for threads ---------------------------------------------------------------------------------- */

/* One whose borrower has died. */
static struct rt_thread *reuse(void)
{
	for (struct rt_thread *t = rt.borrowed; t; t = t->donor_next) {
		int tid = t->tid;

		if (!tid || sys(SYS_tgkill, rt.pid, tid, 0) != -ESRCH ||
		    !__atomic_compare_exchange_n(&t->tid, &tid, 0, false, __ATOMIC_ACQUIRE,
						 __ATOMIC_RELAXED))
			continue;
		rt_process_lp_done(t->rlp);
		t->rlp = rt_process_lp();
		assert(t->rlp);
		t->lp = &t->rlp->lp;
		t->away = 0;
		t->selector = 0; /* a fork found it in the program */
		t->sud_armed = false;
		t->critical = 0;
		t->deferred_nr = 0;
		t->deferred_out = t->deferred_in;
		t->deferred_masked = false;
		t->abort_nr = 0;
		return t;
	}
	return NULL;
}

struct rt_thread *rt_donor_thread(void)
{
	struct rt_thread *t;

	have_threads();
	t = reuse();

	if (!t) {
		t = donor_make();
		if (!t)
			return NULL;
		push(&rt.borrowed, t);
	}
	locks_new(t);
	t->client_stack = (stack_t){ .ss_flags = SS_DISABLE };
	/* What waited for the one before has gone with it. */
	rt_client_signals_new(t, 0);
	return t;
}

void rt_donor_keep_spare(void)
{
	if (!__atomic_load_n(&rt.spare, __ATOMIC_RELAXED)) {
		struct rt_thread *t = rt_donor_thread(), *none = NULL;

		if (t && !__atomic_compare_exchange_n(&rt.spare, &none, t, false, __ATOMIC_RELEASE,
						      __ATOMIC_RELAXED))
			t->tid = RT_NO_THREAD; /* not needed: free for the next */
	}
}

/* libc has put its thread, the only one that there is, into a list of those whose stacks it gives to others one day. */
static void forget_stack(struct rt_thread *me)
{
	uint8_t *block = (uint8_t *)me->home_fs, *links = block + rt_tid_offset - 16;
	uint64_t next, before;

	memcpy(&next, links, sizeof(next));
	memcpy(&before, links + 8, sizeof(before));
	memcpy((uint8_t *)before, &next, sizeof(next));
	memcpy((uint8_t *)next + 8, &before, sizeof(before));
	put(links, 0, (uint64_t)links);
	put(links, 8, (uint64_t)links);
}

/*
 * A TLS that another thread of the parent's had is as the fork found it, maybe with locks in hand, and is lent to nobody.
 * Those of donors that are threads are libc's again, for threads to come.
 */
void rt_donor_fork_child(void)
{
	struct rt_thread *me = rt_thread_peek(), *t = rt.borrowed, *next;

	rt.threads_known = false;
	if (me)
		me->locks_program = 0; /* libc's fork() has told the kernel of ours */
	if (rt.spare && !rt.spare->tls_made)
		rt.spare = NULL;
	if (me && me->tls_made)
		forget_stack(me);
	rt.borrowed = NULL;
	for (; t; t = next) {
		next = t->donor_next;
		if (t == me || t == rt.spare)
			push(&rt.borrowed, t);
		else if (t->tls_made)
			tls_free((uint8_t *)t->home_fs);
	}
	if (rt.spare) {
		rt.spare->rlp = rt_process_lp();
		rt.spare->lp = &rt.spare->rlp->lp;
	}
}

/* ---- threads without a TLS of ours: no errno, no TLS, no lock until one is found -------------------------- */

bool rt_thread_known(void)
{
	uint64_t base = fs_base();
	int tid = (int)sys(SYS_gettid, 0, 0, 0), word = 0;
	struct iovec to = { &word, sizeof(word) };
	struct iovec from = { (void *)(base + rt_tid_offset), sizeof(word) };

	if (!base)
		return false;
	/* Where such a thread's FS points nothing need be: let the kernel look. */
	if (sys6(SYS_process_vm_readv, rt.pid, (long)&to, 1, (long)&from, 1, 0) != sizeof(word))
		return false;
	return word == tid;
}

/* A spare one, for which one may have to wait: another thread is about to make it. NULL when that is in vain. */
static struct rt_thread *take_spare(void)
{
	const struct timespec ms = { .tv_nsec = 1000000 };
	struct rt_thread *t;

	if (!rt.used)
		return NULL;
	for (int i = 0; i < 3000; i++) {
		t = __atomic_exchange_n(&rt.spare, NULL, __ATOMIC_ACQUIRE);
		if (t)
			return t;
		if (i < 1000)
			sys(SYS_sched_yield, 0, 0, 0);
		else
			sys(SYS_nanosleep, &ms, 0, 0);
	}
	return NULL;
}

static bool is_cpuid(int sig, const siginfo_t *info, const ucontext_t *uc)
{
	uint8_t op[2] = { 0 };
	struct iovec to = { op, sizeof(op) };
	struct iovec from = { (void *)uc->uc_mcontext.gregs[REG_RIP], sizeof(op) };

	if ((sig != SIGSEGV && sig != SIGILL) || info->si_code <= 0)
		return false;
	sys6(SYS_process_vm_readv, sys(SYS_getpid, 0, 0, 0), (long)&to, 1, (long)&from, 1, 0);
	return rt_is_cpuid(op, uc);
}

/* No runtime for this process or thread: what the program has asked for holds, and the signal comes again. */
static void without_us(int sig, siginfo_t *info)
{
	sys4(SYS_rt_sigaction, sig, &rt.act[sig], 0, 8);
	if (info->si_code <= 0 || !(RT_SIG_CRITICAL & RT_SIGBIT(sig)))
		sys4(SYS_rt_tgsigqueueinfo, sys(SYS_getpid, 0, 0, 0), sys(SYS_gettid, 0, 0, 0), sig,
		     info);
}

/*
 * The first signal of such a thread.  It gets a block, and the signal comes again on the block's stack: a fault
 * by itself, any other because we send it on.
 */
void rt_thread_borrow(int sig, siginfo_t *info, ucontext_t *uc)
{
	struct rt_thread *t;

	if (is_cpuid(sig, info, uc)) {
		rt_cpuid_trap(uc);
		return;
	}
	/* A process that was made by a bare clone() or vfork(), maybe on our very memory. */
	t = sys(SYS_getpid, 0, 0, 0) == rt.pid ? take_spare() : NULL;
	if (!t) {
		without_us(sig, info);
		return;
	}
	t->tid = (int)sys(SYS_gettid, 0, 0, 0);
	rt_donor_name(t);
	t->client_stack = uc->uc_stack;
	rt_thread_stack_to(t, uc);
	sys(SYS_arch_prctl, ARCH_GET_FS, &t->away_fs, 0);
	sys(SYS_arch_prctl, ARCH_GET_GS, &t->away_gs, 0);
	t->home_gs = t->away_gs;
	t->away_selector = 0;
	t->away = 1;
	if (info->si_code <= 0 || !(RT_SIG_CRITICAL & RT_SIGBIT(sig)))
		sys4(SYS_rt_tgsigqueueinfo, rt.pid, t->tid, sig, info);
}
