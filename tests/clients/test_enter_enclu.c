/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The program's own ENCLU: registers through EENTER and EEXIT, the three kinds of AEP, and what a
 * wrong ENCLU outside ends in.
 */
#include <pthread.h>
#include <setjmp.h>
#include <string.h>

#include "client.h"
#include "lib/tap.h"

static struct client_encl e;

static void check_style(enum client_entry how)
{
	const char *name = client_entry_name[how];
	uint64_t addr = e.base + e.heap + 8 * how;
	struct encl_op put = { .nr = OP_WRITE, .arg = { addr, 0x5500 + how } };
	struct encl_op get = { .nr = OP_READ, .arg = { addr } };
	int bad = 0;

	client_enclu(&e, 0, &put, how);
	client_enclu(&e, 0, &get, how);
	TAP_CHECK(get.ret == 0x5500u + how, "%s: a word goes in and out", name);
	for (int i = 0; i < 3000; i++) {
		get.ret = 0;
		client_enclu(&e, i & 1, &get, how);
		bad += get.ret != 0x5500u + how;
	}
	TAP_CHECK(!bad, "%s: 3,000 calls", name);
}

static void check_registers(void)
{
	uint64_t regs[17] = { 0 };
	struct encl_op op = { .nr = OP_ENTRY_REGS, .arg = { (uintptr_t)regs } };
	struct encl_op set = { .nr = OP_SET_OUT, .arg = { 0x11, 0x22, 0x33, 0x44, 0x55 } };
	struct enclu_out out;

	enclu_ud2(&op, 0xaaa1, e.tcs[0], SGX_EENTER, &out);
	TAP_CHECK(regs[0] == 0 && regs[3] == e.tcs[0], "RAX is CSSA, RBX the TCS");
	TAP_CHECK(regs[1] == (uintptr_t)enclu_aep_ud2 ||
			  (regs[1] > (uintptr_t)enclu_ud2 && regs[1] < (uintptr_t)enclu_aep_ud2),
		  "RCX is behind the EENTER");
	TAP_CHECK(regs[7] == (uintptr_t)&op && regs[6] == 0xaaa1, "RDI RSI are the caller's");
	enclu_ud2(&set, 0, e.tcs[0], SGX_EENTER, &out);
	TAP_CHECK(out.rdi == 0x11 && out.rsi == 0x22 && out.rdx == 0x33 && out.r8 == 0x44 &&
			  out.r9 == 0x55,
		  "RDI RSI RDX R8 R9 come out");
	TAP_CHECK(out.rax == SGX_EEXIT, "RAX is EEXIT");
	TAP_CHECK(out.rcx == (uintptr_t)enclu_aep_ud2, "RCX is the AEP after EEXIT");
}

/* The nested-task flag is anybody's to set. */
static void check_nested_task(void)
{
	struct encl_op put = { .nr = OP_WRITE, .arg = { e.base + e.heap, 0x4e54 } };
	struct encl_op get = { .nr = OP_READ, .arg = { e.base + e.heap } };

	__asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; orl $0x4000, (%%rsp); popfq;"
			 "lea 128(%%rsp), %%rsp" ::
				 : "memory", "cc");
	client_enclu(&e, 0, &put, ENTRY_UD2);
	client_enclu(&e, 0, &get, ENTRY_UD2);
	__asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; andl $~0x4000, (%%rsp); popfq;"
			 "lea 128(%%rsp), %%rsp" ::
				 : "memory", "cc");
	TAP_CHECK(get.ret == 0x4e54, "RFLAGS.NT is in nobody's way");
}

static sigjmp_buf back;
static siginfo_t got;
static greg_t got_rip;

static void on_fault(int signo, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)signo;
	got = *info;
	got_rip = uc->uc_mcontext.gregs[REG_RIP];
	siglongjmp(back, 1);
}

/* ENCLU outside with @leaf: the signal it ends in. */
static int fault_of(uint64_t leaf, uint64_t tcs)
{
	struct sigaction sa = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
	struct encl_op op = { .nr = OP_NOP };
	struct enclu_out out;

	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGILL, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	memset(&got, 0, sizeof(got));
	if (!sigsetjmp(back, 1))
		enclu_ud2(&op, 0, tcs, leaf, &out);
	signal(SIGSEGV, SIG_DFL);
	signal(SIGILL, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
	return got.si_signo;
}

static void check_faults(void)
{
	TAP_CHECK(fault_of(0x55, e.tcs[0]) == SIGSEGV && got.si_code == SI_KERNEL,
		  "an unknown leaf: #GP, SIGSEGV with SI_KERNEL (signal %d, code %d)", got.si_signo,
		  got.si_code);
	TAP_CHECK(got_rip > (greg_t)enclu_ud2 && got_rip < (greg_t)enclu_aep_ud2,
		  "and RIP is that of the ENCLU");
	TAP_CHECK(fault_of(SGX_EREPORT, e.tcs[0]) == SIGSEGV && got.si_code == SI_KERNEL,
		  "EREPORT outside: #GP");
	TAP_CHECK(fault_of(SGX_EEXIT, e.tcs[0]) == SIGSEGV && got.si_code == SI_KERNEL,
		  "EEXIT outside: #GP");
	TAP_CHECK(fault_of(SGX_EENTER, e.tcs[0] + 8) == SIGSEGV && got.si_code == SI_KERNEL,
		  "EENTER of a TCS that is not aligned: #GP");
	TAP_CHECK(fault_of(SGX_EENTER, e.base + e.heap) == SIGSEGV &&
			  (uintptr_t)got.si_addr == e.base + e.heap,
		  "EENTER of a REG page: #PF at it (signal %d)", got.si_signo);
	TAP_CHECK(fault_of(SGX_EENTER, 0x1000) == SIGSEGV && (uintptr_t)got.si_addr == 0x1000,
		  "EENTER of nothing: #PF at it (signal %d)", got.si_signo);
	TAP_CHECK(!client_op(&e, 0, OP_NOP, 0, 0, 0), "none of it did any harm");
}

static struct encl_op spin_op;
static volatile uint32_t stop;
static volatile uint64_t spins;

static void *spinner(void *arg)
{
	(void)arg;
	client_enclu(&e, 0, &spin_op, ENTRY_SELF);
	return NULL;
}

static void check_busy(void)
{
	pthread_t thread;

	spin_op = (struct encl_op){ .nr = OP_SPIN, .arg = { (uintptr_t)&stop, (uintptr_t)&spins } };
	pthread_create(&thread, NULL, spinner, NULL);
	while (!spins)
		sched_yield();
	TAP_CHECK(fault_of(SGX_EENTER, e.tcs[0]) == SIGSEGV && got.si_code == SI_KERNEL,
		  "EENTER of a TCS that another thread is in: #GP");
	TAP_CHECK(!client_op(&e, 1, OP_NOP, 0, 0, 0), "the other TCS is free");
	stop = 1;
	pthread_join(thread, NULL);
	TAP_CHECK(!client_op(&e, 0, OP_NOP, 0, 0, 0),
		  "and the first one after the thread has left");
}

int main(void)
{
	struct client_conf conf = { .threads = 2, .heap_pages = 2 };

	TAP_MUST(!client_create(&e, &conf), "an enclave");
	check_style(ENTRY_SELF);
	check_style(ENTRY_UD2);
	check_style(ENTRY_RANGE);
	check_registers();
	check_nested_task();
	check_faults();
	check_busy();
	client_destroy(&e);
	return tap_done();
}
