/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A machine check on a page of the enclave, injected with madvise(MADV_HWPOISON): a touch from outside is SIGBUS with
 * BUS_MCEERR_AR, one from inside ends in the vDSO's report or in that signal; everything else goes on.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "lib/tap.h"

static struct client_encl e;
static sigjmp_buf back;
static siginfo_t seen;

static void on_bus(int sig, siginfo_t *info, void *uc)
{
	seen = *info;
	siglongjmp(back, 1);
}

static bool read_faults(uint64_t at)
{
	if (sigsetjmp(back, 1))
		return true;
	(void)*(volatile uint8_t *)at;
	return false;
}

static uint64_t fill(void)
{
	uint64_t bad = 0;

	for (uint64_t i = 0; i < e.heap_pages; i++)
		bad += client_op(&e, 0, OP_WRITE, e.base + e.heap + i * 4096, i + 1, 0) == ~0ull;
	return bad;
}

/* Pages of the heap that do not hold what fill() wrote, but for the @except-th. */
static unsigned int wrong(uint64_t except)
{
	unsigned int bad = 0;

	for (uint64_t i = 0; i < e.heap_pages; i++)
		bad += i != except &&
		       client_op(&e, 0, OP_READ, e.base + e.heap + i * 4096, 0, 0) != i + 1;
	return bad;
}

static void check_inside(uint64_t at)
{
	struct encl_op op = { .nr = OP_READ, .arg = { at } };
	struct sgx_enclave_run run = { 0 };

	TAP_CHECK(client_vdso(&e, 1, &op, &run) == 0 && run.exception_vector == 14 &&
			  run.exception_addr == at,
		  "from inside the vDSO reports vector %u at %#llx", run.exception_vector,
		  (unsigned long long)run.exception_addr);
}

static void check_outside(uint64_t at)
{
	struct sigaction act = { .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO }, old;

	sigaction(SIGBUS, &act, &old);
	TAP_CHECK(read_faults(at + 8) && seen.si_signo == SIGBUS && seen.si_code == BUS_MCEERR_AR,
		  "from outside: SIGBUS, si_code %d", seen.si_code);
	TAP_CHECK(((uint64_t)seen.si_addr & ~4095ull) == at && seen.si_addr_lsb == 12,
		  "at the page, %d bits of the address say nothing", seen.si_addr_lsb);
	TAP_CHECK(read_faults(at), "and again");
	sigaction(SIGBUS, &old, NULL);
}

/* A child has the same page, and nobody else's. */
static void check_child(uint64_t at)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		(void)*(volatile uint8_t *)(at - 4096);
		(void)*(volatile uint8_t *)at;
		_exit(0);
	}
	waitpid(pid, &status, 0);
	TAP_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS,
		  "a child that touches it is killed by SIGBUS");
}

int main(void)
{
	struct client_conf conf = { .threads = 2, .heap_pages = 400 };
	uint64_t at;

	TAP_MUST(!client_create(&e, &conf), "an enclave: %s", e.failed ? e.failed : "");
	TAP_CHECK(fill() == 0 && wrong(~0ull) == 0, "its heap, larger than the EPC, is written");
	at = e.base + e.heap + 7 * 4096;
	client_op(&e, 0, OP_READ, at, 0, 0);
	errno = 0;
	TAP_CHECK(madvise((void *)(at + 1), 4096, MADV_HWPOISON) == -1 && errno == EINVAL,
		  "an address within a page cannot break");
	TAP_CHECK(madvise((void *)at, 4096, MADV_HWPOISON) == 0, "a machine check on a page");
	check_outside(at);
	check_inside(at);
	check_child(at);
	TAP_CHECK(wrong(7) == 0, "every other page is as it was, through evictions");
	check_outside(at);
	return tap_done();
}
