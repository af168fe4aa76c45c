/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Many threads in one enclave, a TCS each: threads of libc, and threads that were made by a bare
 * clone, with a thread block that libc knows nothing of.
 */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client.h"
#include "lib/tap.h"

#define NR     8
#define PAGES  32
#define STEPS  20000
#define ROUNDS 50

static struct client_encl e;
static void *fn;

struct job {
	unsigned int nr;
	enum client_entry how;
	uint64_t errors;
	struct encl_op op;
	uint32_t tid; /* cleared when a cloned thread ends */
};

static void *run_job(void *arg)
{
	struct job *j = arg;

	for (int i = 0; i < ROUNDS; i++) {
		struct encl_op op = { .nr = OP_WALK,
				      .arg = { e.base + e.heap, PAGES, STEPS / ROUNDS, 1, j->nr } };

		op.ret = 1;
		client_call(&e, j->nr, &op, j->how);
		j->errors += op.ret;
	}
	return NULL;
}

static void check_pthreads(enum client_entry how)
{
	struct job jobs[NR] = { 0 };
	pthread_t threads[NR];
	uint64_t errors = 0, sum = 0;

	client_op(&e, 0, OP_FILL, e.base + e.heap, PAGES, 1);
	for (unsigned int i = 0; i < NR; i++) {
		jobs[i].nr = i;
		jobs[i].how = how;
		pthread_create(&threads[i], NULL, run_job, &jobs[i]);
	}
	for (unsigned int i = 0; i < NR; i++) {
		struct encl_op op = { .nr = OP_SUM, .arg = { e.base + e.heap, PAGES, i, 1 } };

		pthread_join(threads[i], NULL);
		errors += jobs[i].errors;
		client_call(&e, 0, &op, ENTRY_VDSO);
		sum += op.ret;
		errors += op.arg[4];
	}
	TAP_CHECK(!errors, "%d threads, %s: no wrong word", NR, client_entry_name[how]);
	TAP_CHECK(sum == (uint64_t)NR * STEPS, "%d threads, %s: every step is there", NR,
		  client_entry_name[how]);
}

/* More threads than TCSs, one after the other: what a thread leaves behind is cleaned up. */
static void check_short_lives(void)
{
	uint64_t errors = 0;

	client_op(&e, 0, OP_FILL, e.base + e.heap, PAGES, 1);
	for (int i = 0; i < 200; i++) {
		struct job j = { .nr = i % NR, .how = i & 1 ? ENTRY_VDSO : ENTRY_RANGE };
		pthread_t thread;

		pthread_create(&thread, NULL, run_job, &j);
		pthread_join(thread, NULL);
		errors += j.errors;
	}
	TAP_CHECK(!errors, "200 threads one after the other");
}

/*
 * A thread that has left libc's view of it, nearly, and still makes system calls, while a new one is in the
 * enclave: what the first used to have is the second's now.
 */
static pthread_key_t last_words;
static volatile uint32_t gone, others_stop;
static volatile uint64_t others_count;

static void speak(void *arg)
{
	(void)arg;
	gone = 1;
	for (int i = 0; i < 20000 && !others_count; i++)
		usleep(100); /* until the other is inside */
	for (int i = 0; i < 100; i++)
		syscall(SYS_getppid);
	others_stop = 1;
}

static void *leave(void *arg)
{
	pthread_setspecific(last_words, arg);
	client_op(&e, 0, OP_NOP, 0, 0, 0);
	return NULL;
}

static void *stay(void *arg)
{
	(void)arg;
	client_op(&e, 1, OP_SPIN, (uintptr_t)&others_stop, (uintptr_t)&others_count, 0);
	return NULL;
}

static void check_exiting(void)
{
	pthread_t a, b;

	pthread_key_create(&last_words, speak);
	for (int i = 0; i < 20; i++) {
		gone = others_stop = 0;
		others_count = 0;
		pthread_create(&a, NULL, leave, &e);
		while (!gone)
			usleep(100);
		pthread_create(&b, NULL, stay, NULL);
		pthread_join(a, NULL);
		pthread_join(b, NULL);
	}
	TAP_CHECK(true, "a thread ends while another, newer one is inside");
}

static long raw_syscall2(long nr, long a, long b)
{
	long ret;

	__asm__ volatile("syscall" : "=a"(ret) : "a"(nr), "D"(a), "S"(b) : "rcx", "r11", "memory");
	return ret;
}

/* The signal stack that the kernel knows, which libc is not asked for: in it is whatever stands behind a thread. */
static void *where(void *arg)
{
	stack_t *stack = arg;

	client_op(&e, 0, OP_NOP, 0, 0, 0);
	raw_syscall2(SYS_sigaltstack, 0, (long)stack);
	return NULL;
}

/* Of a thread that has ended nothing is left: there are programs that make more than anybody has room for. */
static void check_places(void)
{
	stack_t first = { 0 }, stack = { 0 };
	unsigned int others = 0;
	pthread_t thread;

	for (int i = 0; i < 40; i++) {
		pthread_create(&thread, NULL, where, i ? &stack : &first);
		pthread_join(thread, NULL);
		others += i && stack.ss_sp != first.ss_sp;
	}
	TAP_CHECK(!others, "each of 40 threads has the place of the one before it (%u others)",
		  others);
}

/* ---- threads by a bare clone: no libc in them ------------------------------------------------ */

__attribute__((noreturn, noinline, used)) static void clone_body(struct job *j)
{
	struct enclu_out out;
	struct sgx_enclave_run run;

	for (int i = 0; i < ROUNDS; i++) {
		j->op.ret = 1;
		if (j->how == ENTRY_VDSO) {
			__builtin_memset(&run, 0, sizeof(run));
			run.tcs = e.tcs[j->nr];
			vdso_enter((uintptr_t)&j->op, 0, 0, SGX_EENTER, 0, 0, &run, fn);
		} else {
			enclu_ud2(&j->op, 0, e.tcs[j->nr], SGX_EENTER, &out);
		}
		j->errors += j->op.ret;
	}
	raw_syscall2(SYS_exit, 0, 0);
	__builtin_unreachable();
}

/* clone() with a stack on which clone_body(j) begins. */
static long raw_clone(struct job *j, uint8_t *stack_top, void *tls, unsigned long flags)
{
	register long r10 __asm__("r10") = (long)&j->tid;
	register long r8 __asm__("r8") = (long)tls;
	register struct job *r12 __asm__("r12") = j;
	long ret;

	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "xor %%ebp, %%ebp\n\t"
			 "mov %%r12, %%rdi\n\t"
			 "call clone_body\n\t"
			 "ud2\n"
			 "1:"
			 : "=a"(ret)
			 : "a"(SYS_clone), "D"(flags), "S"(stack_top), "d"(&j->tid), "r"(r10),
			   "r"(r8), "r"(r12)
			 : "rcx", "r11", "memory");
	return ret;
}

static void wait_for(struct job *j)
{
	uint32_t tid;

	while ((tid = __atomic_load_n(&j->tid, __ATOMIC_ACQUIRE)))
		syscall(SYS_futex, &j->tid, FUTEX_WAIT, tid, NULL, NULL, 0);
}

static void check_clones(enum client_entry how, bool own_tls)
{
	static struct job jobs[NR];
	unsigned long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
			      CLONE_SYSVSEM | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID |
			      (own_tls ? CLONE_SETTLS : 0);
	const size_t stack = 256 * 1024;
	uint64_t errors = 0;
	uint8_t *mem;

	memset(jobs, 0, sizeof(jobs));
	mem = mmap(NULL, NR * stack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	client_op(&e, 0, OP_FILL, e.base + e.heap, PAGES, 1);
	for (unsigned int i = 0; i < NR; i++) {
		uint8_t *base = mem + i * stack;

		jobs[i] = (struct job){ .nr = i, .how = how, .tid = 1 };
		jobs[i].op =
			(struct encl_op){ .nr = OP_WALK,
					  .arg = { e.base + e.heap, PAGES, STEPS / ROUNDS, 1, i } };
		*(void **)base = base; /* a thread block of its own: only the self pointer */
		if (raw_clone(&jobs[i], base + stack - 64, base, flags) < 0)
			jobs[i].errors = 1, jobs[i].tid = 0;
	}
	for (unsigned int i = 0; i < NR; i++) {
		wait_for(&jobs[i]);
		errors += jobs[i].errors;
	}
	TAP_CHECK(!errors, "%d bare clones %s, %s (%llu errors)", NR,
		  own_tls ? "with a thread block of their own" : "on the parent's FS",
		  client_entry_name[how], (unsigned long long)errors);
	munmap(mem, NR * stack);
}

int main(void)
{
	struct client_conf conf = { .threads = NR, .heap_pages = PAGES };

	TAP_MUST(!client_create(&e, &conf), "an enclave with %d TCSs", NR);
	fn = vdso_by_hash(vdso_from_getauxval(), "__vdso_sgx_enter_enclave");
	for (int how = 0; how < ENTRY_NR; how++)
		check_pthreads(how);
	check_short_lives();
	check_exiting();
	check_places();
	check_clones(ENTRY_UD2, true);
	check_clones(ENTRY_VDSO, true);
	client_destroy(&e);
	return tap_done();
}
