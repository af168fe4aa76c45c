/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * FS and GS: the host's own GS block, the enclave's FS and GS, what is in place in signal handlers,
 * and after EEXIT and AEX.
 */
#include <asm/prctl.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "client.h"
#include "lib/tap.h"

static struct client_encl e;
static uint64_t host_block[8] = { 0x686f7374 };
static __thread uint64_t tls_value;

static uint64_t gs_base(void)
{
	uint64_t base = 0;

	syscall(SYS_arch_prctl, ARCH_GET_GS, &base);
	return base;
}

static uint64_t fs_base(void)
{
	uint64_t base = 0;

	syscall(SYS_arch_prctl, ARCH_GET_FS, &base);
	return base;
}

static uint64_t gs_word(void)
{
	uint64_t word;

	__asm__ volatile("mov %%gs:0, %0" : "=r"(word));
	return word;
}

static bool host_state(uint64_t fs)
{
	return gs_base() == (uintptr_t)host_block && gs_word() == 0x686f7374 && fs_base() == fs &&
	       tls_value == 0x715;
}

static void check_calls(enum client_entry how)
{
	struct encl_op op = { .nr = OP_FSGS };
	uint64_t fs = fs_base();
	int bad = 0;

	op.ret = 9;
	client_call(&e, 0, &op, how);
	TAP_CHECK(op.ret == 0, "%s: the enclave has its own FS and GS", client_entry_name[how]);
	TAP_CHECK(op.arg[0] == e.tcs[0] - TB_BELOW_TCS + TB_FS * 4096 &&
			  op.arg[1] == e.tcs[0] - TB_BELOW_TCS + TB_GS * 4096,
		  "%s: at OFSBASGX and OGSBASGX", client_entry_name[how]);
	TAP_CHECK(host_state(fs), "%s: EEXIT gives the host's back", client_entry_name[how]);
	for (int i = 0; i < 1000; i++) {
		client_call(&e, 0, &op, how);
		bad += !host_state(fs);
	}
	TAP_CHECK(!bad, "%s: 1,000 times", client_entry_name[how]);
}

/* In handlers, libc's thread data and the host's GS block must be in place. */
static volatile uint64_t ticks, bad_ticks, expect_fs;
static volatile uint32_t stop;

static void on_tick(int signo)
{
	(void)signo;
	ticks++;
	bad_ticks += !host_state(expect_fs);
	if (ticks >= 100)
		stop = 1;
}

static void on_exception(int signo, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)signo, (void)info;
	bad_ticks += !host_state(expect_fs);
	ticks++;
	uc->uc_mcontext.gregs[REG_RAX] = SGX_EENTER;
}

static void check_aex(enum client_entry how)
{
	struct sigaction sa = { .sa_handler = on_tick };
	struct itimerval ms = { { 0, 1000 }, { 0, 1000 } }, off = { { 0, 0 }, { 0, 0 } };
	uint64_t own[8] = { 0x0123 };
	struct encl_op op = { .nr = OP_SETFS, .arg = { (uintptr_t)own, (uintptr_t)&stop } };

	ticks = bad_ticks = stop = 0;
	expect_fs = fs_base();
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &ms, NULL);
	client_call(&e, 0, &op, how);
	setitimer(ITIMER_REAL, &off, NULL);
	TAP_CHECK(ticks >= 100 && !bad_ticks, "%s: %llu timer signals found the host's FS and GS",
		  client_entry_name[how], (unsigned long long)ticks);
	TAP_CHECK(op.ret == (uintptr_t)own, "%s: a base that the enclave wrote outlives every AEX",
		  client_entry_name[how]);
	TAP_CHECK(host_state(expect_fs), "%s: and is gone after EEXIT", client_entry_name[how]);
}

static void check_exception(void)
{
	struct sigaction sa = { .sa_sigaction = on_exception, .sa_flags = SA_SIGINFO };
	struct encl_exc exc = { 0 };
	struct encl_op op = { .nr = OP_RISKY, .arg = { RISKY_UD2, 0, (uintptr_t)&exc } };

	ticks = bad_ticks = 0;
	sigaction(SIGILL, &sa, NULL);
	client_enclu(&e, 0, &op, ENTRY_SELF);
	signal(SIGILL, SIG_DFL);
	TAP_CHECK(ticks == 1 && !bad_ticks, "an exception's handler finds the host's FS and GS");
	TAP_CHECK(exc.fsbase == e.tcs[0] - TB_BELOW_TCS + TB_FS * 4096 &&
			  exc.gsbase == e.tcs[0] - TB_BELOW_TCS + TB_GS * 4096,
		  "the SSA holds the enclave's FS and GS");
	TAP_CHECK(host_state(expect_fs), "and the host has its own again");
}

static void *in_thread(void *arg)
{
	(void)arg;
	tls_value = 0x715;
	syscall(SYS_arch_prctl, ARCH_SET_GS, host_block);
	for (int how = 0; how < ENTRY_NR; how++)
		check_calls(how);
	return NULL;
}

int main(void)
{
	struct client_conf conf = { .threads = 1 };
	pthread_t thread;

	TAP_MUST(!client_create(&e, &conf), "an enclave");
	tls_value = 0x715;
	TAP_MUST(!syscall(SYS_arch_prctl, ARCH_SET_GS, host_block), "the host takes GS");
	TAP_CHECK(host_state(fs_base()), "and has it");
	for (int how = 0; how < ENTRY_NR; how++)
		check_calls(how);
	for (int how = 0; how < ENTRY_NR; how++)
		check_aex(how);
	check_exception();
	pthread_create(&thread, NULL, in_thread, NULL);
	pthread_join(thread, NULL);
	client_destroy(&e);
	return tap_done();
}
