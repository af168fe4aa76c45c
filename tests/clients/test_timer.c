/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A 1 kHz timer while the enclave computes: every signal is an AEX and an ERESUME.  No register of
 * the enclave may change, and no handler may see one; handlers may do what handlers do.
 */
#include <pthread.h>
#include <setjmp.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "client.h"
#include "lib/tap.h"

#define TICKS 150

static struct client_encl e;
static uint8_t alt[64 * 1024];
static __thread volatile uint64_t my_ticks;
static volatile uint32_t stop;
static volatile int leaks, inside, strange, total, on_alt, on_main;
static volatile bool nest, use_fp;
static volatile double fp_sink;

static bool secret(uint64_t v) { return v >> 40 == ENCL_SECRET >> 40; }

/* The context of a handler must be the host's, or the synthetic state after an AEX. */
static void look_at(const ucontext_t *uc)
{
	const greg_t *r = uc->uc_mcontext.gregs;
	uint64_t rip = (uint64_t)r[REG_RIP];
	const struct _libc_fpstate *fp = uc->uc_mcontext.fpregs;

	for (int i = 0; i < REG_RIP; i++)
		leaks += secret((uint64_t)r[i]);
	if (fp)
		for (int i = 0; i < 16; i++)
			for (int j = 0; j < 4; j += 2)
				leaks += secret(fp->_xmm[i].element[j] |
						(uint64_t)fp->_xmm[i].element[j + 1] << 32);
	if (rip >= e.base && rip < e.base + e.size)
		strange++;
	if (client_at_aep(rip) && r[REG_RAX] == SGX_ERESUME) {
		inside++;
		if ((uint64_t)r[REG_RBX] - e.base >= e.size)
			strange++;
	}
}

static void clobber_fp(void)
{
	double x = 1.1;

	for (int i = 1; i < 20; i++)
		x = x * 1.5 + i;
	fp_sink = x;
	__asm__ volatile("pcmpeqd %%xmm0, %%xmm0; movdqa %%xmm0, %%xmm7; movdqa %%xmm0, %%xmm15; "
			 "fninit; fldpi"
			 :
			 :
			 : "xmm0", "xmm7", "xmm15");
	__asm__ volatile("fstp %st(0)");
}

static void on_tick(int signo, siginfo_t *info, void *context)
{
	uintptr_t sp = (uintptr_t)__builtin_frame_address(0);

	(void)signo, (void)info;
	/* In one step each: with SA_NODEFER a handler is interrupted by the next. */
	__atomic_add_fetch(&my_ticks, 1, __ATOMIC_RELAXED);
	if (sp >= (uintptr_t)alt && sp < (uintptr_t)alt + sizeof(alt))
		on_alt++;
	else
		on_main++;
	look_at(context);
	if (use_fp)
		clobber_fp();
	if (nest)
		raise(SIGUSR1);
	if (__atomic_add_fetch(&total, 1, __ATOMIC_RELAXED) >= TICKS)
		stop = 1;
}

static volatile int nested;

static void on_usr1(int signo, siginfo_t *info, void *context)
{
	(void)signo, (void)info, (void)context;
	__atomic_add_fetch(&nested, 1, __ATOMIC_RELAXED);
	if (use_fp)
		clobber_fp();
}

static void start(int flags)
{
	struct sigaction sa = { .sa_sigaction = on_tick, .sa_flags = SA_SIGINFO | flags };
	struct sigaction usr = { .sa_sigaction = on_usr1, .sa_flags = SA_SIGINFO | flags };
	struct itimerval ms = { { 0, 1000 }, { 0, 1000 } };

	leaks = inside = strange = total = nested = on_alt = on_main = 0;
	stop = 0;
	my_ticks = 0;
	sigaction(SIGALRM, &sa, NULL);
	sigaction(SIGUSR1, &usr, NULL);
	setitimer(ITIMER_REAL, &ms, NULL);
}

static void finish(void)
{
	struct itimerval off = { { 0, 0 }, { 0, 0 } };

	setitimer(ITIMER_REAL, &off, NULL);
}

static void check_result(const char *name, uint64_t mismatches, enum client_entry how, int flags)
{
	TAP_CHECK(!mismatches, "%s: no register of the enclave changed (%llu)", name,
		  (unsigned long long)mismatches);
	TAP_CHECK(total >= TICKS && my_ticks == (uint64_t)total,
		  "%s: %d signals, each counted in thread-local data (%llu)", name, total,
		  (unsigned long long)my_ticks);
	TAP_CHECK(!leaks, "%s: no handler saw a register of the enclave (%d)", name, leaks);
	TAP_CHECK(!strange, "%s: no handler saw an address of the enclave (%d)", name, strange);
	if (how != ENTRY_VDSO)
		TAP_CHECK(inside > TICKS / 2, "%s: %d were at the AEP with RAX 3", name, inside);
	TAP_CHECK(flags & SA_ONSTACK ? !on_main : !on_alt, "%s: on the right stack", name);
}

static void check_level(int level, uint64_t xfrm, enum client_entry how, int flags,
			const char *name)
{
	struct client_conf conf = { .xfrm = xfrm };
	struct encl_op op = { .nr = OP_REGS,
			      .arg = { (uintptr_t)&stop, 1ull << 40, (uint64_t)level } };
	char text[128];
	int err = client_create(&e, &conf);

	snprintf(text, sizeof(text), "%s, %s%s%s%s", name, client_entry_name[how],
		 flags & SA_ONSTACK ? ", ONSTACK" : "", nest ? ", nested" : "",
		 use_fp ? ", FP in handlers" : "");
	if (!TAP_CHECK(!err, "%s: an enclave (%s)", text, err ? e.failed : "built"))
		return;
	op.ret = 77;
	start(flags);
	client_call(&e, 0, &op, how);
	finish();
	check_result(text, op.ret, how, flags);
	if (nest)
		TAP_CHECK(nested == total, "%s: every nested signal came (%d of %d)", text, nested,
			  total);
	client_destroy(&e);
}

static void check_levels(void)
{
	uint32_t r[4];
	uint64_t can;

	client_cpuid(0x12, 1, r);
	can = client_xcr0() & (r[2] | (uint64_t)r[3] << 32);
	for (int how = 0; how < ENTRY_NR; how++) {
		check_level(0, 3, how, SA_RESTART, "SSE");
		check_level(0, 3, how, SA_RESTART | SA_ONSTACK, "SSE");
	}
	use_fp = true;
	nest = true;
	check_level(0, 3, ENTRY_VDSO, SA_RESTART, "SSE");
	check_level(0, 3, ENTRY_SELF, SA_ONSTACK, "SSE");
	check_level(0, 3, ENTRY_RANGE, SA_NODEFER, "SSE");
	nest = false;
	if ((can & 7) == 7) {
		check_level(1, 7, ENTRY_VDSO, SA_ONSTACK, "AVX");
		check_level(1, 7, ENTRY_SELF, 0, "AVX");
		check_level(1, can, ENTRY_UD2, 0, "AVX, the whole XFRM");
	} else {
		tap_skip("AVX", "not on this machine");
	}
	if ((can & 0xe7) == 0xe7) {
		check_level(2, 0xe7, ENTRY_VDSO, 0, "AVX-512");
		check_level(2, can, ENTRY_SELF, SA_ONSTACK, "AVX-512, the whole XFRM");
	} else {
		tap_skip("AVX-512", "not on this machine");
	}
	use_fp = false;
}

/* A handler jumps out; the enclave waits in its SSA until ERESUME. */
static sigjmp_buf out_of_here;
static volatile bool jumped;

static void on_jump(int signo, siginfo_t *info, void *context)
{
	const ucontext_t *uc = context;

	(void)signo, (void)info;
	if (client_at_aep((uint64_t)uc->uc_mcontext.gregs[REG_RIP]) && !jumped) {
		jumped = true;
		siglongjmp(out_of_here, 1);
	}
}

static void check_longjmp(int flags, const char *name)
{
	struct client_conf conf = { 0 };
	static struct encl_op op;
	struct sigaction sa = { .sa_sigaction = on_jump, .sa_flags = SA_SIGINFO | flags };
	struct itimerval soon = { { 0, 1000 }, { 0, 5000 } };
	struct enclu_out out;

	TAP_MUST(!client_create(&e, &conf), "%s: an enclave to jump out of", name);
	op = (struct encl_op){ .nr = OP_REGS,
			       .arg = { (uintptr_t)&stop, 1ull << 40, 0 },
			       .ret = 7 };
	stop = 0;
	jumped = false;
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &soon, NULL);
	if (!sigsetjmp(out_of_here, 1)) {
		enclu_ud2(&op, 0, e.tcs[0], SGX_EENTER, &out);
		TAP_CHECK(false, "%s: it cannot come back this way", name);
	}
	finish();
	TAP_CHECK(jumped && op.ret == 7, "%s: a handler's siglongjmp leaves the enclave", name);
	stop = 1;
	enclu_ud2(NULL, 0, e.tcs[0], SGX_ERESUME, &out);
	TAP_CHECK(op.ret == 0, "%s: ERESUME goes on, with every register in place", name);
	TAP_CHECK(!client_op(&e, 0, OP_NOP, 0, 0, 0), "%s: and the TCS is at CSSA 0", name);
	client_destroy(&e);
}

/* Two threads, each with its own timer signal, in one enclave. */
static void *spin_thread(void *arg)
{
	struct encl_op op = { .nr = OP_REGS, .arg = { (uintptr_t)&stop, 1ull << 40, 0 }, .ret = 5 };

	client_call(&e, *(unsigned int *)arg, &op, ENTRY_VDSO);
	return (void *)op.ret;
}

static void check_two_threads(void)
{
	struct client_conf conf = { .threads = 2 };
	unsigned int one = 1;
	struct encl_op op = { .nr = OP_REGS, .arg = { (uintptr_t)&stop, 1ull << 40, 0 }, .ret = 5 };
	pthread_t thread;
	void *ret;

	TAP_MUST(!client_create(&e, &conf), "an enclave for two threads");
	start(SA_RESTART);
	pthread_create(&thread, NULL, spin_thread, &one);
	client_call(&e, 0, &op, ENTRY_SELF);
	pthread_join(thread, &ret);
	finish();
	TAP_CHECK(!op.ret && !ret && !leaks && !strange, "two threads inside, signals to either");
	client_destroy(&e);
}

/* Threads that live for one call, under a signal every 50 us: it comes at their first and last steps too. */
static void *short_life(void *arg)
{
	return (void *)client_op(&e, *(unsigned int *)arg, OP_NOP, 0, 0, 0);
}

static void check_short_lives(void)
{
	struct client_conf conf = { .threads = 4 };
	struct itimerval fast = { { 0, 50 }, { 0, 50 } };
	struct sigaction sa = { .sa_sigaction = on_usr1, .sa_flags = SA_SIGINFO | SA_RESTART };
	unsigned int nr[4] = { 0, 1, 2, 3 };
	uint64_t bad = 0;

	TAP_MUST(!client_create(&e, &conf), "an enclave for threads that come and go");
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &fast, NULL);
	for (int i = 0; i < 150; i++) {
		pthread_t threads[4];

		for (int k = 0; k < 4; k++)
			pthread_create(&threads[k], NULL, short_life, &nr[k]);
		for (int k = 0; k < 4; k++) {
			void *ret;

			pthread_join(threads[k], &ret);
			bad += ret != NULL;
		}
	}
	finish();
	TAP_CHECK(!bad, "600 threads that live for one call, under a signal every 50 us");
	client_destroy(&e);
}

/* pthread_kill from one thread to another that computes inside: as runtimes stop threads. */
static void check_pthread_kill(void)
{
	struct client_conf conf = { .threads = 2 };
	unsigned int one = 1;
	pthread_t thread;
	void *ret;
	struct timespec us200 = { 0, 200000 };

	TAP_MUST(!client_create(&e, &conf), "an enclave to interrupt");
	start(SA_RESTART | SA_ONSTACK);
	finish();
	nested = 0;
	pthread_create(&thread, NULL, spin_thread, &one);
	for (int i = 1; i <= 200; i++) {
		pthread_kill(thread, SIGUSR1);
		while (nested < i)
			nanosleep(&us200, NULL);
	}
	stop = 1;
	pthread_join(thread, &ret);
	TAP_CHECK(!ret && nested == 200, "200 signals by pthread_kill, each delivered at once");
	client_destroy(&e);
}

static volatile sig_atomic_t dense;

static void count_dense(int signo) { dense++; }

/* Ticks so dense that they meet every instruction on the way in: none may be the last. */
static void check_dense(void)
{
	struct client_conf conf = { .threads = 1 };
	struct itimerval every = { { 0, 200 }, { 0, 200 } }, off = { { 0, 0 }, { 0, 0 } };
	struct sigaction sa = { .sa_handler = count_dense };
	time_t begin = time(NULL);
	sigset_t mask;
	sig_atomic_t before;

	TAP_MUST(!client_create(&e, &conf), "dense: an enclave");
	dense = 0;
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
	while (time(NULL) - begin < 4)
		for (int i = 0; i < 1000; i++)
			client_op(&e, 0, OP_NOP, 0, 0, 0);
	before = dense;
	for (int i = 0; i < 200 && dense == before; i++)
		usleep(1000);
	TAP_CHECK(dense > before, "dense: it still ticks after %d", (int)before);
	sigprocmask(SIG_BLOCK, NULL, &mask);
	TAP_CHECK(!sigismember(&mask, SIGALRM), "dense: and is not blocked");
	setitimer(ITIMER_REAL, &off, NULL);
	signal(SIGALRM, SIG_DFL);
	client_destroy(&e);
}

int main(void)
{
	stack_t ss = { .ss_sp = alt, .ss_size = sizeof(alt) };

	TAP_MUST(!sigaltstack(&ss, NULL), "an alternate stack");
	check_levels();
	check_longjmp(0, "own stack");
	check_longjmp(SA_ONSTACK, "alternate stack");
	check_two_threads();
	check_short_lives();
	check_pthread_kill();
	check_dense();
	return tap_done();
}
