/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Exceptions inside the enclave as the vDSO reports them: vector, error code, address; then the
 * enclave's own handler is entered (CSSA 1), reads the SSA, moves RIP on, and ERESUME goes on.
 */
#include <string.h>
#include <sys/mman.h>

#include "client.h"
#include "lib/tap.h"

#define NO_FAULT 0xff

static struct client_encl e;
static void *fn;
static uint8_t *none, *readonly;

enum where { NOWHERE, HOST_NONE, HOST_RO, HEAP, HEAP_RO, TCS_PAGE, NULL_PAGE };

static const struct row {
	const char *name;
	enum encl_risky what;
	uint8_t vector;
	uint16_t error;
	enum where where;
} rows[] = {
	{ "ud2", RISKY_UD2, VEC_UD, 0, NOWHERE },
	{ "div by zero", RISKY_DIV, VEC_DE, 0, NOWHERE },
	{ "int3, entered with DBGOPTIN clear", RISKY_INT3, VEC_UD, 0, NOWHERE },
	{ "syscall", RISKY_SYSCALL, VEC_UD, 0, NOWHERE },
	{ "cpuid", RISKY_CPUID, VEC_UD, 0, NOWHERE },
	{ "int 0x80", RISKY_INT80, VEC_UD, 0, NOWHERE },
	{ "in", RISKY_IN, VEC_UD, 0, NOWHERE },
	{ "out", RISKY_OUT, VEC_UD, 0, NOWHERE },
	{ "rdpmc", RISKY_RDPMC, VEC_UD, 0, NOWHERE },
	{ "hlt", RISKY_HLT, VEC_GP, 0, NOWHERE },
	{ "a non-canonical address", RISKY_NONCANON, VEC_GP, 0, NOWHERE },
	{ "misaligned movaps", RISKY_AC, VEC_GP, 0, NOWHERE },
	{ "EENTER inside", RISKY_EENTER, VEC_GP, 0, NOWHERE },
	{ "an unknown ENCLU leaf", RISKY_BADLEAF, VEC_GP, 0, NOWHERE },
	{ "read of a PROT_NONE page outside", RISKY_READ, VEC_PF, 0x4, HOST_NONE },
	{ "write to a PROT_NONE page outside", RISKY_WRITE, VEC_PF, 0x6, HOST_NONE },
	{ "write to a read-only page outside", RISKY_WRITE, VEC_PF, 0x7, HOST_RO },
	{ "read at 0", RISKY_READ, VEC_PF, 0x4, NULL_PAGE },
	{ "write to an enclave page that is mapped R", RISKY_WRITE, VEC_PF, 0x7, HEAP_RO },
	{ "a jump to an enclave page without X", RISKY_EXEC, VEC_PF, 0x15, HEAP },
	{ "read of its own TCS", RISKY_READ, VEC_PF, 0x8005, TCS_PAGE },
	{ "x87 division by zero", RISKY_MF, VEC_MF, 0, NOWHERE },
	{ "SSE division by zero", RISKY_XM, VEC_XM, 0, NOWHERE },
	{ "rdtsc, which SGX2 allows", RISKY_RDTSC, NO_FAULT, 0, NOWHERE },
};

static uint64_t place(enum where where)
{
	switch (where) {
	case HOST_NONE:
		return (uintptr_t)none + 0x128; /* only the page is told */
	case HOST_RO:
		return (uintptr_t)readonly;
	case HEAP:
		return e.base + e.heap;
	case HEAP_RO:
		return e.base + e.heap + 4096;
	case TCS_PAGE:
		return e.tcs[0];
	default:
		return 0;
	}
}

static long go(struct encl_op *op, uint32_t leaf, struct sgx_enclave_run *run)
{
	memset(run, 0, sizeof(*run));
	run->tcs = e.tcs[0];
	run->exception_vector = 0x77;
	run->exception_error_code = 0x7777;
	run->exception_addr = 0x7777;
	return vdso_enter((uintptr_t)op, 0, 0, leaf, 0, 0, run, fn);
}

static void check_ssa(const struct row *r, const struct encl_exc *exc, bool exinfo)
{
	bool conditional = r->vector == VEC_PF || r->vector == VEC_GP;
	uint32_t want = SGX_EXITINFO_VALID | SGX_EXITINFO_HARDWARE | r->vector;

	if (conditional && !exinfo)
		want = 0;
	TAP_CHECK((uint32_t)exc->exitinfo == want, "%s: EXITINFO %#x", r->name,
		  (uint32_t)exc->exitinfo);
	TAP_CHECK((exc->rip >= e.base + e.code &&
		   exc->rip < e.base + e.code + e.code_pages * 4096) ||
			  r->what == RISKY_EXEC,
		  "%s: the RIP saved is in the enclave's code", r->name);
	if (exinfo && conditional)
		TAP_CHECK(exc->errcd == r->error && (r->vector != VEC_PF ||
						     exc->maddr >> 12 == place(r->where) >> 12),
			  "%s: EXINFO: error code %#llx, address %#llx", r->name,
			  (unsigned long long)exc->errcd, (unsigned long long)exc->maddr);
}

static void check_row(const struct row *r, bool exinfo)
{
	struct encl_exc exc = { 0 };
	struct encl_op op = { .nr = OP_RISKY,
			      .arg = { r->what, place(r->where), (uintptr_t)&exc } };
	struct sgx_enclave_run run;
	long ret = go(&op, SGX_EENTER, &run);

	if (r->vector == NO_FAULT) {
		TAP_CHECK(!ret && run.function == SGX_EEXIT && !exc.count, "%s: no exception",
			  r->name);
		return;
	}
	if (!TAP_CHECK(!ret && run.function == SGX_ERESUME && run.exception_vector == r->vector,
		       "%s: vector %u (ret %ld, function %u, vector %u)", r->name, r->vector, ret,
		       run.function, run.exception_vector)) {
		if (run.function == SGX_EEXIT)
			return;
	} else {
		TAP_CHECK(run.exception_error_code == r->error, "%s: error code %#x (%#x)", r->name,
			  r->error, run.exception_error_code);
		if (r->vector == VEC_PF)
			TAP_CHECK(run.exception_addr == (place(r->where) & ~0xfffull),
				  "%s: address %#llx", r->name,
				  (unsigned long long)run.exception_addr);
	}
	ret = go(NULL, SGX_EENTER, &run);
	if (!TAP_CHECK(!ret && run.function == SGX_EEXIT, "%s: the enclave's handler runs",
		       r->name))
		exit(1);
	ret = go(NULL, SGX_ERESUME, &run);
	if (!TAP_CHECK(!ret && run.function == SGX_EEXIT && exc.count == 1 && exc.cssa == 1,
		       "%s: ERESUME goes on, the handler ran once", r->name))
		exit(1);
	check_ssa(r, &exc, exinfo);
}

static void check_all(uint32_t miscselect)
{
	struct client_conf conf = { .heap_pages = 4, .miscselect = miscselect };

	TAP_MUST(!client_create(&e, &conf), "an enclave with MISCSELECT %u", miscselect);
	mprotect((void *)(e.base + e.heap + 4096), 4096, PROT_READ);
	client_op(&e, 0, OP_READ, e.base + e.heap, 0, 0); /* so that translations are there */
	client_op(&e, 0, OP_READ, e.base + e.heap + 4096, 0, 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check_row(&rows[i], miscselect & SGX_MISC_EXINFO);
	client_destroy(&e);
}

/* The SSA holds NSSA frames: when they are used up, EENTER is #GP. */
static void check_nssa(void)
{
	struct client_conf conf = { .nssa = 1 };
	struct encl_op op = { .nr = OP_RISKY, .arg = { RISKY_UD2 } };
	struct sgx_enclave_run run;

	TAP_MUST(!client_create(&e, &conf), "an enclave with one SSA frame");
	go(&op, SGX_EENTER, &run);
	TAP_CHECK(run.exception_vector == VEC_UD, "its only frame takes an exception");
	go(NULL, SGX_EENTER, &run);
	TAP_CHECK(run.function == SGX_EENTER && run.exception_vector == VEC_GP,
		  "then EENTER is #GP: no frame is left (function %u, vector %u)", run.function,
		  run.exception_vector);
	go(NULL, SGX_ERESUME, &run);
	TAP_CHECK(run.function == SGX_ERESUME && run.exception_vector == VEC_UD,
		  "and ERESUME faults again on the same instruction");
	client_destroy(&e);
}

/* A handler that returns ERESUME or EENTER deals with exceptions without leaving the function. */
static int calls;

static int resolve(long rdi, long rsi, long rdx, long rsp, long r8, long r9,
		   struct sgx_enclave_run *run)
{
	(void)rsi, (void)rdx, (void)rsp, (void)r8, (void)r9;
	calls++;
	if (run->function == SGX_ERESUME)
		return SGX_EENTER;
	return rdi == ENCL_EXC_DONE ? SGX_ERESUME : 0;
}

static void check_user_handler(void)
{
	struct client_conf conf = { 0 };
	struct encl_exc exc = { 0 };
	struct encl_op op = { .nr = OP_RISKY, .arg = { RISKY_CPUID, 0, (uintptr_t)&exc } };
	struct sgx_enclave_run run = { .user_handler = (uintptr_t)resolve };
	long ret;
	int bad = 0;

	TAP_MUST(!client_create(&e, &conf), "an enclave for the user handler");
	run.tcs = e.tcs[0];
	ret = vdso_enter((uintptr_t)&op, 0, 0, SGX_EENTER, 0, 0, &run, fn);
	TAP_CHECK(!ret && calls == 3 && exc.count == 1,
		  "CPUID: exception, handler, ERESUME, all in one call (%d calls)", calls);
	for (int i = 0; i < 2000; i++) {
		calls = 0;
		ret = vdso_enter((uintptr_t)&op, 0, 0, SGX_EENTER, 0, 0, &run, fn);
		bad += ret || calls != 3;
	}
	TAP_CHECK(!bad, "2,000 times");
	client_destroy(&e);
}

/* EDECCSSA: the handler drops the frame, and the thread starts anew. */
static void check_edeccssa(void)
{
	struct client_conf conf = { 0 };
	struct encl_op op = { .nr = OP_RISKY, .arg = { RISKY_UD2 } };
	struct sgx_enclave_run run;
	uint32_t r[4];

	client_cpuid(0x12, 0, r);
	if (!(r[0] & SGX_CPUID_EDECCSSA)) {
		tap_skip("EDECCSSA", "CPUID says it is not there");
		return;
	}
	TAP_MUST(!client_create(&e, &conf), "an enclave for EDECCSSA");
	client_op(&e, 0, OP_EXC_MODE, EXC_EDECCSSA, 0, 0);
	go(&op, SGX_EENTER, &run);
	TAP_CHECK(run.exception_vector == VEC_UD, "an exception");
	go(NULL, SGX_EENTER, &run);
	TAP_CHECK(run.function == SGX_EEXIT, "the handler executes EDECCSSA and leaves");
	TAP_CHECK(!client_op(&e, 0, OP_NOP, 0, 0, 0), "the next EENTER starts at CSSA 0");
	go(NULL, SGX_ERESUME, &run);
	TAP_CHECK(run.function == SGX_ERESUME && run.exception_vector == VEC_GP,
		  "and there is nothing to resume: #GP");
	op = (struct encl_op){ .nr = OP_ENCLU, .arg = { SGX_EDECCSSA } };
	go(&op, SGX_EENTER, &run);
	TAP_CHECK(run.function == SGX_ERESUME && run.exception_vector == VEC_GP,
		  "EDECCSSA at CSSA 0: #GP");
	client_destroy(&e);
}

int main(void)
{
	none = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	readonly = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	(void)*(volatile uint8_t *)readonly; /* so that a translation is there */
	fn = vdso_by_hash(vdso_from_getauxval(), "__vdso_sgx_enter_enclave");
	TAP_MUST(fn, "the vDSO has the function");
	check_all(SGX_MISC_EXINFO);
	check_all(0);
	check_nssa();
	check_user_handler();
	check_edeccssa();
	return tap_done();
}
