/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A library OS looks at where a signal found its system calls: ahead of one it goes elsewhere instead of
 * waiting for what has happened already, behind one it takes the result.  So what a handler is shown, and what
 * it makes of it, has to be right to the instruction.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/time.h>
#include <time.h>

#include "client.h"
#include "lib/tap.h"
#include "raw.h"

extern const char call_insn[], call_after[], call_elsewhere[], loop_start[], loop_end[];
long call3(long nr, long a, long b, long c);
void loop(volatile int *stop);
extern uint64_t call_rsp;

/* call3(): one SYSCALL, or what call_elsewhere says. loop(): calls without end. */
__asm__(".data\n\t"
	".globl call_rsp\n"
	"call_rsp: .quad 0\n\t"
	".text\n\t"
	".globl call3, call_insn, call_after, call_elsewhere, loop, loop_start, loop_end\n"
	"call3:\n\t"
	"mov %rdi, %rax\n\t"
	"mov %rsi, %rdi\n\t"
	"mov %rdx, %rsi\n\t"
	"mov %rcx, %rdx\n\t"
	"mov %rsp, call_rsp(%rip)\n"
	"call_insn:\n\t"
	"syscall\n"
	"call_after:\n\t"
	"ret\n"
	"call_elsewhere:\n\t"
	"mov $-4711, %rax\n\t"
	"ret\n"
	"loop:\n"
	"loop_start:\n\t"
	"mov $39, %eax\n\t" /* getpid */
	"syscall\n\t"
	"cmpl $0, (%rdi)\n\t"
	"je loop_start\n"
	"loop_end:\n\t"
	"ret\n");

static struct {
	volatile sig_atomic_t count;
	uint64_t rip, rsp;
	int64_t rax;
	int wake_fd;           /* written to by the handler, or -1 */
	const char *from, *to; /* RIP that is moved, and where to */
} seen;

static void handler(int sig, siginfo_t *info, void *context)
{
	greg_t *g = ((ucontext_t *)context)->uc_mcontext.gregs;

	seen.rip = (uint64_t)g[REG_RIP];
	seen.rsp = (uint64_t)g[REG_RSP];
	seen.rax = g[REG_RAX];
	seen.count++;
	if (seen.wake_fd >= 0)
		raw6(SYS_write, seen.wake_fd, (long)"x", 1, 0, 0, 0);
	if (seen.from && g[REG_RIP] == (greg_t)seen.from)
		g[REG_RIP] = (greg_t)seen.to;
}

static void catch (int flags)
{
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags };

	sigaction(SIGALRM, &sa, NULL);
	seen.count = 0;
	seen.wake_fd = -1;
	seen.from = NULL;
}

static void alarm_in(long us, long again)
{
	struct itimerval it = { .it_value = { 0, us }, .it_interval = { 0, again } };

	raw6(SYS_setitimer, ITIMER_REAL, (long)&it, 0, 0, 0, 0);
}

static void test_interrupted(void)
{
	struct timespec ten = { .tv_sec = 10 };
	long r;

	catch (0);
	alarm_in(30000, 0);
	r = call3(SYS_nanosleep, (long)&ten, 0, 0);
	TAP_CHECK(seen.count == 1 && r == -EINTR, "a call is interrupted");
	TAP_CHECK(seen.rip == (uint64_t)call_after,
		  "its handler finds it behind the program's SYSCALL");
	TAP_CHECK(seen.rsp == call_rsp, "with the program's stack pointer");
	TAP_CHECK(seen.rax == -EINTR, "and the result in RAX");
}

static void test_restarted(void)
{
	int fd[2];
	char byte = 0;
	long r;

	raw6(SYS_pipe2, (long)fd, 0, 0, 0, 0, 0);
	catch (SA_RESTART);
	seen.wake_fd = fd[1];
	alarm_in(30000, 0);
	r = call3(SYS_read, fd[0], (long)&byte, 1);
	TAP_CHECK(r == 1 && byte == 'x', "a call is made again after a signal");
	TAP_CHECK(seen.rip == (uint64_t)call_insn, "its handler finds it at the program's SYSCALL");
	TAP_CHECK(seen.rsp == call_rsp, "with the program's stack pointer");
	TAP_CHECK(seen.rax == SYS_read, "and the number in RAX");

	catch (SA_RESTART);
	seen.from = call_insn;
	seen.to = call_elsewhere;
	alarm_in(30000, 0);
	r = call3(SYS_read, fd[0], (long)&byte, 1);
	TAP_CHECK(r == -4711, "a handler that moves RIP from there keeps it from waiting");
	close(fd[0]);
	close(fd[1]);
}

static volatile int stop;
static int stray;

static void loop_handler(int sig, siginfo_t *info, void *context)
{
	greg_t *g = ((ucontext_t *)context)->uc_mcontext.gregs;

	if (g[REG_RIP] < (greg_t)loop_start || g[REG_RIP] > (greg_t)loop_end)
		stray++;
	if (++seen.count == 1000)
		stop = 1;
}

static void test_everywhere(void)
{
	struct sigaction sa = { .sa_sigaction = loop_handler, .sa_flags = SA_SIGINFO | SA_RESTART };

	seen.count = 0;
	sigaction(SIGALRM, &sa, NULL);
	alarm_in(100, 100);
	loop(&stop);
	alarm_in(0, 0);
	TAP_CHECK(stray <= 1, "1000 signals find a loop of calls in the loop (%d elsewhere)",
		  stray);
}

int main(void)
{
	int fd = client_open();

	TAP_MUST(fd >= 0, "the device is open");
	test_interrupted();
	test_restarted();
	test_everywhere();
	return tap_done();
}
