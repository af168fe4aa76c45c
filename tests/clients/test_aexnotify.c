/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * AEX-notify: an enclave that asked for it is entered anew when it should be resumed, looks around, and
 * goes on by itself: EDECCSSA, then the state that it copied out of the SSA.
 */
#include <string.h>
#include <sys/time.h>

#include "client.h"
#include "lib/tap.h"

#define TICKS 200

static struct client_encl e;
static volatile int ticks;
static volatile uint32_t stop;

static void on_tick(int signo)
{
	(void)signo;
	if (++ticks >= TICKS)
		stop = 1;
}

static uint64_t notify(bool on, uint64_t *cssa)
{
	struct encl_op op = { .nr = OP_NOTIFY, .arg = { on } };

	client_call(&e, 0, &op, ENTRY_VDSO);
	if (cssa)
		*cssa = op.arg[1];
	return op.ret;
}

static void run(enum client_entry how, bool on)
{
	struct encl_op op = { .nr = OP_REGS, .arg = { (uintptr_t)&stop, 1ull << 40, 0 }, .ret = 9 };
	struct itimerval ms = { { 0, 1000 }, { 0, 1000 } }, off = { { 0, 0 }, { 0, 0 } };
	const char *name = client_entry_name[how];
	uint64_t before, after, cssa;

	ticks = 0;
	stop = 0;
	before = notify(on, NULL);
	setitimer(ITIMER_REAL, &ms, NULL);
	client_call(&e, 0, &op, how);
	setitimer(ITIMER_REAL, &off, NULL);
	after = notify(false, &cssa);
	TAP_CHECK(!op.ret, "%s, %s: no register changed (%llu)", name, on ? "on" : "off",
		  (unsigned long long)op.ret);
	if (on)
		TAP_CHECK(after - before > TICKS / 2 && cssa == 1,
			  "%s: told %llu times, at CSSA %llu", name,
			  (unsigned long long)(after - before), (unsigned long long)cssa);
	else
		TAP_CHECK(after == before, "%s: never told when it did not ask", name);
}

/* An exception is told at ERESUME as well, after the handler that the host entered by itself. */
static void check_flags(void)
{
	struct client_conf conf = { .attributes = SGX_ATTR_AEXNOTIFY };
	struct client_encl other;
	int err;

	err = client_create(&other, &conf);
	TAP_CHECK(!err, "an enclave with AEXNOTIFY in ATTRIBUTES and in TCS.FLAGS");
	TAP_CHECK(!client_op(&other, 0, OP_NOP, 0, 0, 0), "is entered");
	client_destroy(&other);
}

int main(void)
{
	struct client_conf conf = { .attributes = SGX_ATTR_AEXNOTIFY };
	struct sigaction sa = { .sa_handler = on_tick, .sa_flags = SA_RESTART };
	uint32_t r[4], s[4];
	int err;

	client_cpuid(0x12, 1, r);
	client_cpuid(0x12, 0, s);
	if (!(r[0] & SGX_ATTR_AEXNOTIFY) || !(s[0] & SGX_CPUID_EDECCSSA))
		TAP_SKIP_ALL("this machine has no AEX-notify");
	check_flags();
	err = client_create(&e, &conf);
	TAP_MUST(!err, "an enclave (%s)", err ? e.failed : "built");
	sigaction(SIGALRM, &sa, NULL);
	for (int how = 0; how < ENTRY_NR; how++) {
		run(how, true);
		run(how, false);
	}
	client_destroy(&e);
	return tap_done();
}
