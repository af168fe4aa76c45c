/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
#include "floor.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "measure.h"
#include "raw.h"

enum { PAGES = 16384, CALLS = 2000 };

/* State of the measuring process, which its signal handlers need. */
static struct {
	int uffd;
	char *map;
	uint32_t *order;
	unsigned int turn;
	char *stack;
} child;

static void step_over(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	uc->uc_mcontext.gregs[REG_RIP] += 3;
}

static void serve(int sig, siginfo_t *info, void *context)
{
	struct uffdio_continue c = { .range = { .start = (uintptr_t)info->si_addr & ~4095ull,
						.len = 4096 } };

	if (raw_ioctl(child.uffd, UFFDIO_CONTINUE, &c) < 0)
		_exit(1);
}

static void catch (int sig, void (*handler)(int, siginfo_t *, void *))
{
	struct sigaction act = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK };

	sigfillset(&act.sa_mask);
	raw_sigaction(sig, &act, NULL);
}

/* PAGES of a memfd: all there, none mapped. */
static bool fault_prepare(void)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_SIGBUS | UFFD_FEATURE_MINOR_SHMEM };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MINOR };
	size_t bytes = PAGES * 4096ul;
	int fd = memfd_create("floor", MFD_CLOEXEC);

	child.uffd = (int)raw6(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY, 0, 0, 0, 0, 0);
	child.order = malloc(PAGES * sizeof(child.order[0]));
	if (child.uffd < 0 || fd < 0 || !child.order || raw_ioctl(child.uffd, UFFDIO_API, &api) < 0)
		return false;
	if (ftruncate(fd, (off_t)bytes) < 0 || fallocate(fd, 0, 0, (off_t)bytes) < 0)
		return false;
	child.map = raw_mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (child.map == MAP_FAILED)
		return false;
	raw6(SYS_madvise, (long)child.map, (long)bytes, MADV_NOHUGEPAGE, 0, 0, 0);
	reg.range.start = (uintptr_t)child.map;
	reg.range.len = bytes;
	measure_shuffle(child.order, PAGES, 1);
	return raw_ioctl(child.uffd, UFFDIO_REGISTER, &reg) == 0;
}

static double fault_us(void)
{
	uint64_t start;

	if (child.turn + CALLS > PAGES) {
		raw6(SYS_madvise, (long)child.map, PAGES * 4096l, MADV_DONTNEED, 0, 0, 0);
		child.turn = 0;
	}
	catch (SIGBUS, serve);
	start = measure_thread_ns();
	for (unsigned int i = 0; i < CALLS; i++)
		(void)*(volatile char *)(child.map + child.order[child.turn++] * 4096ul);
	return (double)(measure_thread_ns() - start) / CALLS / 1000;
}

static double trap_us(void)
{
	uint64_t start;

	catch (SIGSEGV, step_over);
	catch (SIGILL, step_over);
	start = measure_thread_ns();
	for (unsigned int i = 0; i < CALLS; i++)
		__asm__ volatile(".byte 0x0f, 0x01, 0xd7" : : "a"(99) : "memory");
	return (double)(measure_thread_ns() - start) / CALLS / 1000;
}

static double syscall_us(void)
{
	uint64_t start = measure_thread_ns();

	for (unsigned int i = 0; i < CALLS; i++)
		raw6(SYS_getppid, 0, 0, 0, 0, 0, 0);
	return (double)(measure_thread_ns() - start) / CALLS / 1000;
}

static void serve_asks(int ask, int answer)
{
	stack_t stack = { .ss_size = 256 * 1024 };
	bool can_fault = fault_prepare();
	unsigned char what;

	stack.ss_sp = child.stack = malloc(stack.ss_size);
	raw_sigaltstack(&stack, NULL);
	while (read(ask, &what, 1) == 1) {
		double us = what == FLOOR_FAULT  ? can_fault ? fault_us() : 0
			    : what == FLOOR_TRAP ? trap_us()
						 : syscall_us();

		if (write(answer, &us, sizeof(us)) != sizeof(us))
			break;
	}
	_exit(0);
}

int floor_start(struct floor *f)
{
	int ask[2], answer[2];

	if (pipe(ask) < 0 || pipe(answer) < 0)
		return -1;
	f->pid = fork();
	if (f->pid == 0) {
		close(ask[1]);
		close(answer[0]);
		serve_asks(ask[0], answer[1]);
	}
	close(ask[0]);
	close(answer[1]);
	f->ask = ask[1];
	f->answer = answer[0];
	return f->pid < 0 ? -1 : 0;
}

double floor_us(struct floor *f, enum floor_what what)
{
	unsigned char byte = (unsigned char)what;
	double us = 0;

	if (write(f->ask, &byte, 1) != 1 || read(f->answer, &us, sizeof(us)) != sizeof(us))
		return 0;
	return us;
}

bool floor_can(struct floor *f, enum floor_what what)
{
	return floor_us(f, what) > 0;
}

void floor_stop(struct floor *f)
{
	close(f->ask);
	close(f->answer);
	waitpid(f->pid, NULL, 0);
}
