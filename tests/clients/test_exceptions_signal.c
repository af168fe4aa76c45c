/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Exceptions inside the enclave as a program without the vDSO's function gets them: signals whose
 * context is the state after an AEX.  Its handlers know them by RIP = AEP and RAX = 3, and either
 * call into the enclave's handler from where they are, or make RAX 2 and return.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "client.h"
#include "lib/tap.h"

static struct client_encl e;
static uint8_t *none;
static uint8_t alt[64 * 1024];

static const struct row {
	const char *name;
	enum encl_risky what;
	int signo, code; /* code 0: any */
	uint64_t trapno, err;
} rows[] = {
	{ "ud2", RISKY_UD2, SIGILL, ILL_ILLOPN, VEC_UD, 0 },
	{ "cpuid", RISKY_CPUID, SIGILL, ILL_ILLOPN, VEC_UD, 0 },
	{ "syscall", RISKY_SYSCALL, SIGILL, ILL_ILLOPN, VEC_UD, 0 },
	{ "int3", RISKY_INT3, SIGILL, ILL_ILLOPN, VEC_UD, 0 },
	{ "div by zero", RISKY_DIV, SIGFPE, FPE_INTDIV, VEC_DE, 0 },
	{ "hlt", RISKY_HLT, SIGSEGV, SI_KERNEL, VEC_GP, 0 },
	{ "read of a PROT_NONE page", RISKY_READ, SIGSEGV, SEGV_ACCERR, VEC_PF, 0x4 },
	{ "write to a PROT_NONE page", RISKY_WRITE, SIGSEGV, SEGV_ACCERR, VEC_PF, 0x6 },
	{ "x87 division by zero", RISKY_MF, SIGFPE, 0, VEC_MF, 0 },
	{ "SSE division by zero", RISKY_XM, SIGFPE, 0, VEC_XM, 0 },
};

static uint64_t aep_of(enum client_entry how)
{
	return how == ENTRY_SELF  ? (uintptr_t)enclu_aep_self
	       : how == ENTRY_UD2 ? (uintptr_t)enclu_aep_ud2
				  : (uintptr_t)enclu_aep_range;
}

static void check_seen(const struct row *r, enum client_entry how, const char *name)
{
	uint64_t want_addr = r->trapno == VEC_PF   ? (uintptr_t)none
			     : r->trapno == VEC_GP ? 0
						   : aep_of(how);

	TAP_CHECK(client_seen.count == 1 && client_seen.signo == r->signo,
		  "%s, %s: one signal %d (%d of signal %d)", r->name, name, r->signo,
		  client_seen.count, client_seen.signo);
	TAP_CHECK(!r->code || client_seen.code == r->code, "%s, %s: si_code %d", r->name, name,
		  client_seen.code);
	TAP_CHECK(client_seen.addr == want_addr, "%s, %s: si_addr %#llx", r->name, name,
		  (unsigned long long)client_seen.addr);
	TAP_CHECK(client_seen.trapno == r->trapno && client_seen.err == r->err,
		  "%s, %s: trap %llu, error code %#llx", r->name, name,
		  (unsigned long long)client_seen.trapno, (unsigned long long)client_seen.err);
	TAP_CHECK(client_seen.regs_ok && client_seen.rbx == e.tcs[0],
		  "%s, %s: RAX 3, RBX TCS, RCX AEP, the rest 0", r->name, name);
}

static void check_row(const struct row *r, enum client_entry how, enum client_fixup fixup,
		      int flags, const char *name)
{
	struct encl_exc exc = { 0 };
	struct encl_op op = { .nr = OP_RISKY,
			      .arg = { r->what, (uintptr_t)none + 0x128, (uintptr_t)&exc } };
	uint64_t here = (uintptr_t)__builtin_frame_address(0);
	bool on_alt;

	client_catch(fixup, flags);
	client_enclu(&e, 0, &op, how);
	check_seen(r, how, name);
	TAP_CHECK(exc.count == 1 && exc.cssa == 1 && (exc.exitinfo & 0xff) == r->trapno,
		  "%s, %s: the enclave's handler saw it, and the enclave went on", r->name, name);
	on_alt = client_seen.handler_sp >= (uintptr_t)alt &&
		 client_seen.handler_sp < (uintptr_t)alt + sizeof(alt);
	if (flags & SA_ONSTACK)
		TAP_CHECK(on_alt, "%s, %s: the handler ran on the alternate stack", r->name, name);
	else
		TAP_CHECK(client_seen.handler_sp < client_seen.rsp &&
				  client_seen.handler_sp > here - 256 * 1024,
			  "%s, %s: the handler ran on the host's stack", r->name, name);
	client_uncatch();
}

static const struct {
	const char *name;
	enum client_entry how;
	enum client_fixup fixup;
	int flags;
} ways[] = {
	{ "rewritten, ONSTACK", ENTRY_SELF, FIXUP_REWRITE, SA_NODEFER | SA_RESTART | SA_ONSTACK },
	{ "rewritten", ENTRY_SELF, FIXUP_REWRITE, SA_NODEFER | SA_RESTART },
	{ "nested, ONSTACK", ENTRY_UD2, FIXUP_NESTED, SA_NODEFER | SA_RESTART | SA_ONSTACK },
	{ "nested", ENTRY_UD2, FIXUP_NESTED, SA_NODEFER },
	{ "nested, deferred", ENTRY_UD2, FIXUP_NESTED, 0 },
	{ "a range of AEPs, ONSTACK", ENTRY_RANGE, FIXUP_NESTED, SA_ONSTACK | SA_RESTART },
	{ "AEP is the ENCLU, nested", ENTRY_SELF, FIXUP_NESTED, SA_RESTART },
};

static void check_ways(void)
{
	struct client_conf conf = { .heap_pages = 4, .miscselect = SGX_MISC_EXINFO };
	stack_t ss = { .ss_sp = alt, .ss_size = sizeof(alt) };

	TAP_MUST(!client_create(&e, &conf), "an enclave");
	TAP_MUST(!sigaltstack(&ss, NULL), "an alternate stack");
	for (size_t w = 0; w < sizeof(ways) / sizeof(ways[0]); w++)
		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
			check_row(&rows[i], ways[w].how, ways[w].fixup, ways[w].flags,
				  ways[w].name);
	client_destroy(&e);
}

/* AEX leaves x87 and SSE as the SDM's table of synthetic states says: an invalid-operation. */
static void check_fpe_codes(void)
{
	struct client_conf conf = { 0 };
	struct encl_op op = { .nr = OP_RISKY, .arg = { RISKY_MF } };

	TAP_MUST(!client_create(&e, &conf), "an enclave for floating point");
	client_catch(FIXUP_REWRITE, 0);
	client_enclu(&e, 0, &op, ENTRY_SELF);
	TAP_CHECK(client_seen.code == FPE_FLTINV, "#MF: FPE_FLTINV, by the synthetic FSW (%d)",
		  client_seen.code);
	op.arg[0] = RISKY_XM;
	client_catch(FIXUP_REWRITE, 0);
	client_enclu(&e, 0, &op, ENTRY_SELF);
	TAP_CHECK(client_seen.code == FPE_FLTINV, "#XM: FPE_FLTINV, by the synthetic MXCSR (%d)",
		  client_seen.code);
	client_uncatch();
	client_destroy(&e);
}

static void check_many(void)
{
	struct client_conf conf = { 0 };
	struct encl_op op = { .nr = OP_RISKY, .arg = { RISKY_CPUID } };

	TAP_MUST(!client_create(&e, &conf), "an enclave for many");
	client_catch(FIXUP_REWRITE, SA_NODEFER | SA_ONSTACK | SA_RESTART);
	for (int i = 0; i < 3000; i++)
		client_enclu(&e, 0, &op, ENTRY_SELF);
	TAP_CHECK(client_seen.count == 3000, "3,000 CPUIDs emulated from SIGILL (%d)",
		  client_seen.count);
	client_uncatch();
	client_destroy(&e);
}

int main(void)
{
	none = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check_ways();
	check_fpe_codes();
	check_many();
	return tap_done();
}
