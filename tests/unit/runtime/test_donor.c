/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A block of TLS that the runtime makes for threads that libc does not know: libc's functions do on it what they do on
 * one of libc's own.
 */
#include "runtime/donor.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include <asm/prctl.h>

#include "lib/tap.h"
#include "runtime/rt.h"
#include "runtime/sys.h"

/* What the rest of the runtime has, and this test never comes to. */
struct rt rt;
__thread struct rt_thread *rt_self __attribute__((tls_model("initial-exec"), visibility("hidden")));

struct rt_thread *rt_thread_new(void) { return NULL; }
struct rt_thread *rt_thread_peek(void) { return NULL; }
void rt_thread_lend(struct rt_thread *t) { (void)t; }
void rt_thread_stack_to(struct rt_thread *t, ucontext_t *uc) { (void)t, (void)uc; }
struct rt_lp *rt_process_lp(void) { return NULL; }
void rt_process_lp_done(struct rt_lp *lp) { (void)lp; }
void rt_cpuid_trap(ucontext_t *uc) { (void)uc; }
bool rt_is_cpuid(const uint8_t op[2], const ucontext_t *uc) { return (void)op, (void)uc, false; }
int rt_thread_create(pthread_t *ret_thread, const pthread_attr_t *attr, void *(*fn)(void *),
		     void *arg)
{
	return pthread_create(ret_thread, attr, fn, arg);
}
void rt_client_signals_new(struct rt_thread *t, uint64_t blocked) { (void)t, (void)blocked; }

static int last_cpu(const cpu_set_t *set)
{
	int cpu = CPU_SETSIZE - 1;

	while (cpu > 0 && !CPU_ISSET(cpu, set))
		cpu--;
	return cpu;
}

/* Of its own, or the compiler would know already where errno is. */
static __attribute__((noinline)) void on_the_block(int *ret_errno, int *ret_cpu)
{
	*ret_errno = errno;
	*ret_cpu = sched_getcpu();
	errno = EBADF;
}

int main(void)
{
	int cpu, cpu_there, errno_there;
	cpu_set_t set;
	uint64_t home;
	void *block;

#ifdef __SANITIZE_THREAD__
	TAP_SKIP_ALL("ThreadSanitizer knows no thread on a block of ours");
#endif
	sched_getaffinity(0, sizeof(set), &set);
	cpu = last_cpu(&set);
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	TAP_MUST(!sched_setaffinity(0, sizeof(set), &set), "on CPU %d alone", cpu);
	TAP_MUST(!rt_donor_init(), "where libc keeps a thread's id is found");
	block = rt_donor_nobody();
	if (!block) {
		tap_skip("a block of TLS", "this dynamic linker makes none for us");
		return tap_done();
	}

	errno = EIO;
	sys(SYS_arch_prctl, ARCH_GET_FS, &home, 0);
	sys(SYS_arch_prctl, ARCH_SET_FS, block, 0);
	on_the_block(&errno_there, &cpu_there);
	sys(SYS_arch_prctl, ARCH_SET_FS, home, 0);

	TAP_CHECK(errno_there == 0 && errno == EIO, "errno is its own (%d, %d)", errno_there,
		  errno);
	TAP_CHECK(cpu_there == cpu, "sched_getcpu() says the CPU it is on (%d)", cpu_there);
	return tap_done();
}
