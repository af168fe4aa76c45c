/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Thread blocks: one slot of a reserved region each, the block at its bottom and the thread's signal
 * stack above.  A thread gets one when it first needs it and gives it back when it ends.
 *
 * Invariant: a thread with a block has its signal stack installed in the kernel and not the client's,
 * and one that runs on a slot owns that slot.
 */
#include "runtime/rt.h"

#include <assert.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include <asm/prctl.h>

#include "runtime/donor.h"
#include "runtime/offsets.h"
#include "runtime/sys.h"

#define USER_CS   0x33
#define USER_SS   0x2b
#define RFLAGS_TF 0x100u

#define SIGRTMIN_KERNEL 32

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#define PR_SYS_DISPATCH_OFF          0
#define PR_SYS_DISPATCH_ON           1
#endif

static_assert(offsetof(struct rt_thread, selector) == RT_T_SELECTOR, "entry.S");
static_assert(offsetof(struct rt_thread, away) == RT_T_AWAY, "entry.S");
static_assert(offsetof(struct rt_thread, fsgsbase) == RT_T_FSGSBASE, "entry.S");
static_assert(offsetof(struct rt_thread, load_xsave) == RT_T_LOAD_XSAVE, "entry.S");
static_assert(offsetof(struct rt_thread, away_selector) == RT_T_AWAY_SELECTOR, "entry.S");
static_assert(offsetof(struct rt_thread, home_fs) == RT_T_HOME_FS, "entry.S");
static_assert(offsetof(struct rt_thread, home_gs) == RT_T_HOME_GS, "entry.S");
static_assert(offsetof(struct rt_thread, away_fs) == RT_T_AWAY_FS, "entry.S");
static_assert(offsetof(struct rt_thread, away_gs) == RT_T_AWAY_GS, "entry.S");
static_assert(offsetof(struct rt_thread, xfrm) == RT_T_XFRM, "entry.S");
static_assert(offsetof(struct rt_thread, jump) == RT_T_JUMP, "entry.S");
static_assert(offsetof(struct rt_thread, critical) == RT_T_CRITICAL, "entry.S");
static_assert(offsetof(struct rt_thread, deferred_nr) == RT_T_DEFERRED_NR, "entry.S");
static_assert(offsetof(struct rt_thread, below_rsp) == RT_T_BELOW_RSP, "entry.S");
static_assert(offsetof(struct rt_thread, jump.rip) == RT_T_JUMP_RIP, "entry.S");
static_assert(offsetof(struct rt_thread, jump.rflags) == RT_T_JUMP_RFLAGS, "entry.S");
static_assert(offsetof(struct rt_thread, jump.rsp) == RT_T_JUMP_RSP, "entry.S");
static_assert(offsetof(struct rt_thread, stack_page) == RT_T_STACK_PAGE, "entry.S");
static_assert(offsetof(struct rt_thread, xsave) == RT_T_XSAVE, "entry.S");
static_assert(offsetof(struct rt_back, t) == RT_B_THREAD, "entry.S");
static_assert(offsetof(struct rt_back, code) == RT_B_CODE, "entry.S");
static_assert(offsetof(struct rt_back, iret) == RT_B_IRET, "entry.S");
static_assert(sizeof(struct rt_back) == RT_B_BYTES, "entry.S");
static_assert(offsetof(ucontext_t, uc_mcontext.gregs[REG_R8]) == RT_UC_R8, "entry.S");
static_assert(offsetof(ucontext_t, uc_mcontext.gregs[REG_RSP]) == RT_UC_RSP, "entry.S");
static_assert(offsetof(ucontext_t, uc_mcontext.gregs[REG_EFL]) == RT_UC_EFL, "entry.S");
static_assert(offsetof(ucontext_t, uc_mcontext.fpregs) == RT_UC_FPREGS, "entry.S");
static_assert(offsetof(struct cpu_regs, rsp) == RT_R_RSP, "entry.S");
static_assert(offsetof(struct cpu_regs, r15) == RT_R_R15, "entry.S");
static_assert(offsetof(struct cpu_regs, rflags) == RT_R_RFLAGS, "entry.S");
static_assert(offsetof(struct cpu_regs, rip) == RT_R_RIP, "entry.S");
static_assert(sizeof(struct cpu_regs) == RT_R_BYTES, "entry.S");
static_assert(RT_SLOT_BYTES == RT_SLOT_MASK + 1, "entry.S");
static_assert(offsetof(struct rt_stack_change, mask) == 24, "entry.S");

/* Initial-exec: no allocation on first use, so that a signal handler may look. */
__thread struct rt_thread *rt_self
	__attribute__((tls_model("initial-exec"), visibility("hidden"))); /* entry.S reads it */
static pthread_key_t exit_key; /* made once by rt_thread_init() */

/* Where the slots are, for entry.S. */
uint8_t *rt_slot_base __attribute__((visibility("hidden")));

static int slot_take(void)
{
	for (unsigned int word = 0; word < RT_SLOT_NR / 64; word++) {
		uint64_t bits = __atomic_load_n(&rt.slot_bitmap[word], __ATOMIC_RELAXED);

		while (~bits) {
			unsigned int bit = (unsigned int)__builtin_ctzll(~bits);

			if (__atomic_compare_exchange_n(&rt.slot_bitmap[word], &bits,
							bits | 1ull << bit, false, __ATOMIC_ACQUIRE,
							__ATOMIC_RELAXED))
				return (int)(word * 64 + bit);
		}
	}
	return -1;
}

static unsigned int slot_of(const struct rt_thread *t)
{
	return (unsigned int)(((const uint8_t *)t - rt.slots) / RT_SLOT_BYTES);
}

static void slot_give(struct rt_thread *t)
{
	unsigned int slot = slot_of(t);

	/* Not libc's madvise(): that comes by our hook, which gives the thread that ends another block, for good. */
	sys(SYS_madvise, t, RT_SLOT_BYTES, MADV_DONTNEED);
	__atomic_fetch_and(&rt.slot_bitmap[slot / 64], ~(1ull << slot % 64), __ATOMIC_RELEASE);
}

/* In a forked child: the slots that are nobody's any more get as empty as slot_give() leaves them. */
static void slots_empty(const uint64_t *before)
{
	for (unsigned int word = 0; word < RT_SLOT_NR / 64; word++)
		for (uint64_t bits = before[word] & ~rt.slot_bitmap[word]; bits; bits &= bits - 1)
			sys(SYS_madvise,
			    rt.slots + (word * 64 + (size_t)__builtin_ctzll(bits)) * RT_SLOT_BYTES,
			    RT_SLOT_BYTES, MADV_DONTNEED);
}

/* The block ends and the stack begins: a page boundary. The stack's lowest page is left unmapped. */
static uint8_t *stack_bottom(struct rt_thread *t)
{
	return (uint8_t *)t + ((sizeof(*t) + 4095) & ~4095ul) + 4096;
}

static void thread_exit(void *arg)
{
	struct rt_thread *t = arg;
	stack_t off = { .ss_flags = SS_DISABLE };
	uint64_t all = ~0ull, critical = RT_SIG_CRITICAL;

	/* The thread is all but gone: no handler of the client's while locks are held here. */
	sys4(SYS_rt_sigprocmask, SIG_BLOCK, &all, 0, 8);
	rt_self = NULL;
	/* The selector is about to be another thread's. */
	if (t->sud_armed)
		sys6(SYS_prctl, PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF, 0, 0, 0, 0);
	if (t->client_stack.ss_sp && !(t->client_stack.ss_flags & SS_DISABLE))
		off = t->client_stack;
	sys(SYS_sigaltstack, &off, 0, 0);
	rt_process_lp_done(t->rlp);
	slot_give(t);
	/* What else ends with this thread may touch an enclave. */
	sys4(SYS_rt_sigprocmask, SIG_UNBLOCK, &critical, 0, 8);
}

struct rt_thread *rt_thread_peek(void)
{
	return rt_self;
}

stack_t rt_thread_stack(struct rt_thread *t)
{
	return (stack_t){ .ss_sp = stack_bottom(t),
			  .ss_size = (size_t)((uint8_t *)t + RT_SLOT_BYTES - stack_bottom(t)) };
}

static void thread_install_stack(struct rt_thread *t)
{
	stack_t stack = rt_thread_stack(t);
	stack_t old;

	t->stack_missing = sys(SYS_sigaltstack, &stack, &old, 0) < 0;
	if (!t->stack_missing && t->client_stack.ss_flags == 0 && t->client_stack.ss_sp == NULL)
		t->client_stack = old;
}

bool rt_thread_stack_ready(struct rt_thread *t)
{
	if (t->stack_missing)
		thread_install_stack(t);
	return !t->stack_missing;
}

struct rt_thread *rt_thread_new(void)
{
	struct rt_thread *t;
	int slot = slot_take();

	if (slot < 0)
		return NULL;
	t = (struct rt_thread *)(rt.slots + (size_t)slot * RT_SLOT_BYTES);
	sys(SYS_mprotect, stack_bottom(t) - 4096, 4096, PROT_NONE);
	t->fsgsbase = rt.fsgsbase;
	t->rlp = rt_process_lp();
	if (!t->rlp) {
		slot_give(t);
		return NULL;
	}
	t->lp = &t->rlp->lp;
	return t;
}

void rt_thread_lend(struct rt_thread *t)
{
	rt_self = t;
}

void rt_thread_stack_to(struct rt_thread *t, ucontext_t *uc)
{
	stack_t stack = rt_thread_stack(t);

	sys(SYS_sigaltstack, &stack, 0, 0);
	uc->uc_stack = stack;
}

/* The handler that runs was begun before this thread had a block: let its return keep our stack. */
void rt_thread_show_stack(ucontext_t *uc)
{
	uc->uc_stack = rt_thread_stack(rt_self);
	rt_self->stack_missing = false;
}

void rt_thread_adopt(struct rt_thread *t)
{
	t->tid = (int)sys(SYS_gettid, 0, 0, 0);
	rt_donor_name(t);
	thread_install_stack(t);
	rt_self = t;
}

struct rt_thread *rt_thread_self(void)
{
	struct rt_thread *t = rt_self;
	uint64_t all = ~0ull, mask;

	if (t)
		return t;
	/* A handler of the client's would find a lock held, or begin the same. Nothing here faults. */
	sys4(SYS_rt_sigprocmask, SIG_BLOCK, &all, &mask, 8);
	t = rt_self; /* one that came just before has done it */
	if (!t) {
		t = rt_thread_new();
		assert(t); /* 16,384 threads with enclaves in one process, or no memory left to share */
		rt_thread_adopt(t);
		pthread_setspecific(exit_key, t);
	}
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, 0, 8);
	return t;
}

void rt_jump_from_regs(struct rt_thread *t, const struct cpu_regs *regs)
{
	t->jump = (struct rt_jump){
		.rax = regs->rax,
		.rcx = regs->rcx,
		.rdx = regs->rdx,
		.rbx = regs->rbx,
		.rbp = regs->rbp,
		.rsi = regs->rsi,
		.rdi = regs->rdi,
		.r8 = regs->r8,
		.r9 = regs->r9,
		.r10 = regs->r10,
		.r11 = regs->r11,
		.r12 = regs->r12,
		.r13 = regs->r13,
		.r14 = regs->r14,
		.r15 = regs->r15,
		.rip = regs->rip,
		.cs = USER_CS,
		.rflags = regs->rflags & ~(uint64_t)RFLAGS_TF,
		.rsp = regs->rsp,
		.ss = USER_SS,
	};
}

void rt_critical_enter(struct rt_thread *t)
{
	t->critical++;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/*
 * Another handler may come upon this one at any instruction, and does the same from its beginning to its end: so
 * a place is taken first, and counted last.
 */
void rt_critical_defer(struct rt_thread *t, int sig, const siginfo_t *info)
{
	uint8_t in = t->deferred_in;

	/* As the kernel does: of one that waits already there is no second, except where they queue. */
	for (uint8_t i = t->deferred_out; i != in; i++)
		if (t->deferred[i % RT_DEFERRED_MAX].sig == sig && sig < SIGRTMIN_KERNEL)
			return;
	/* All are blocked once one waits, but the critical ones, of which each waits once. */
	assert((uint8_t)(in - t->deferred_out) < RT_DEFERRED_MAX);
	in = __atomic_fetch_add(&t->deferred_in, 1, __ATOMIC_RELAXED);
	t->deferred[in % RT_DEFERRED_MAX] = (struct rt_deferred){ .sig = sig, .info = *info };
	__atomic_fetch_add(&t->deferred_nr, 1, __ATOMIC_RELEASE);
}

bool rt_critical_take(struct rt_thread *t, struct rt_deferred *ret)
{
	if (!__atomic_load_n(&t->deferred_nr, __ATOMIC_ACQUIRE))
		return false;
	*ret = t->deferred[t->deferred_out % RT_DEFERRED_MAX];
	__atomic_fetch_add(&t->deferred_out, 1, __ATOMIC_RELEASE);
	__atomic_fetch_sub(&t->deferred_nr, 1, __ATOMIC_RELEASE);
	return true;
}

void rt_critical_leave(struct rt_thread *t)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	t->critical--;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (!t->critical && t->deferred_nr)
		rt_kick();
}

/*
 * SYSCALL in the enclave must fault: one byte says so, and only rt_restorer's sigreturn is exempt.
 * Every clone starts without it, so it is armed when a thread first enters.
 */
int rt_thread_arm_sud(struct rt_thread *t)
{
	if (t->sud_armed)
		return 0;
	t->sud_armed = true;
	return (int)sys6(SYS_prctl, PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON,
			 (long)rt_restorer, rt_restorer_end - (char *)rt_restorer,
			 (long)&t->selector, 0);
}

/* Only the forking thread lives on in the child; its block was copied, its LP is the parent's. */
void rt_thread_fork_child(void)
{
	uint64_t before[RT_SLOT_NR / 64];
	struct rt_thread *t = rt_self;

	memcpy(before, rt.slot_bitmap, sizeof(before));
	memset(rt.slot_bitmap, 0, sizeof(rt.slot_bitmap));
	/* What rt_donor_fork_child() has left there. */
	for (const struct rt_thread *b = rt.borrowed; b; b = b->donor_next)
		rt.slot_bitmap[slot_of(b) / 64] |= 1ull << slot_of(b) % 64;
	if (t)
		rt.slot_bitmap[slot_of(t) / 64] |= 1ull << slot_of(t) % 64;
	slots_empty(before);
	rt_client_fork_child();
	if (!t)
		return;
	t->sud_armed = false;
	/* fork_prepare()'s; where the fork is made in a handler that has its own still. */
	if (rt.forking)
		t->critical--;
	if (t->deferred_masked)
		sys4(SYS_rt_sigprocmask, SIG_SETMASK, &t->deferred_mask, 0, 8);
	t->deferred_masked = false;
	t->deferred_nr = 0;
	t->deferred_out = t->deferred_in;
	t->tid = (int)sys(SYS_gettid, 0, 0, 0);
	t->rlp = rt_process_lp();
	assert(t->rlp);
	t->lp = &t->rlp->lp;
}

int rt_thread_init(void)
{
	size_t bytes = (size_t)RT_SLOT_NR * RT_SLOT_BYTES;
	uint8_t *map = mmap(NULL, bytes + RT_SLOT_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (map == MAP_FAILED)
		return -ENOMEM;
	rt.slots =
		(uint8_t *)(((uintptr_t)map + RT_SLOT_BYTES - 1) & ~(uintptr_t)(RT_SLOT_BYTES - 1));
	rt_slot_base = rt.slots;
	return -pthread_key_create(&exit_key, thread_exit);
}
