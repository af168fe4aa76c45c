/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * EENTER and EEXIT through the vDSO's function: registers in and out, the run structure, the
 * handler, bad arguments, calls out of the enclave and back.
 */
#include <errno.h>
#include <string.h>

#include "client.h"
#include "lib/tap.h"

static struct client_encl e;
static void *fn;

static void check_put_get(void)
{
	uint64_t addr = e.base + e.heap;
	struct sgx_enclave_run run = { .user_data = 0x7788 };
	struct encl_op put = { .nr = OP_WRITE, .arg = { addr, 0x1122334455667788ull } };
	struct encl_op get = { .nr = OP_READ, .arg = { addr } };

	TAP_CHECK(!client_vdso(&e, 0, &put, &run) && run.function == SGX_EEXIT, "a word is put");
	TAP_CHECK(!client_vdso(&e, 0, &get, &run) && get.ret == 0x1122334455667788ull,
		  "and got back");
	TAP_CHECK(run.user_data == 0x7788 && !run.exception_vector && !run.exception_error_code &&
			  !run.exception_addr && run.tcs == e.tcs[0],
		  "the rest of the run structure is as it was");
}

static void check_registers_in(void)
{
	uint64_t regs[17] = { 0 }, here = (uintptr_t)regs;
	struct encl_op op = { .nr = OP_ENTRY_REGS, .arg = { (uintptr_t)regs } };
	struct sgx_enclave_run run = { .tcs = e.tcs[0] };

	vdso_enter((uintptr_t)&op, 0xaaa1, 0xbbb2, SGX_EENTER, 0xccc3, 0xddd4, &run, fn);
	TAP_CHECK(regs[0] == 0, "RAX is CSSA, 0");
	TAP_CHECK(regs[3] == e.tcs[0], "RBX is the TCS");
	TAP_CHECK(regs[1] && !(regs[1] >= e.base && regs[1] < e.base + e.size),
		  "RCX is an address outside, behind the EENTER");
	TAP_CHECK(regs[7] == (uintptr_t)&op && regs[6] == 0xaaa1 && regs[2] == 0xbbb2,
		  "RDI RSI RDX are the caller's");
	TAP_CHECK(regs[8] == 0xccc3 && regs[9] == 0xddd4, "R8 R9 are the caller's");
	TAP_CHECK(regs[4] - here + 65536 < 2 * 65536, "RSP is the host's");
}

/*
 * An enclave that leaves them alone gives the host the vector registers that it was entered with: the host's, or none.
 * What anybody else has left in them would be seen by both.
 */
static void check_vectors(void)
{
	struct encl_op op = { .nr = OP_NOP };
	struct sgx_enclave_run run = { .tcs = e.tcs[0] };
	uint32_t before = 0x3fa0, after = 0, normal = 0x1f80;
	uint64_t got[8][2] = { { 0 } };
	int odd = 0;

	__asm__ volatile("ldmxcsr %0\n\t"
			 "pcmpeqd %%xmm8, %%xmm8; pcmpeqd %%xmm9, %%xmm9\n\t"
			 "pcmpeqd %%xmm10, %%xmm10; pcmpeqd %%xmm11, %%xmm11\n\t"
			 "pcmpeqd %%xmm12, %%xmm12; pcmpeqd %%xmm13, %%xmm13\n\t"
			 "pcmpeqd %%xmm14, %%xmm14; pcmpeqd %%xmm15, %%xmm15"
			 :
			 : "m"(before)
			 : "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
	vdso_enter((uintptr_t)&op, 0, 0, SGX_EENTER, 0, 0, &run, fn);
	__asm__ volatile("movdqu %%xmm8, (%1); movdqu %%xmm9, 16(%1)\n\t"
			 "movdqu %%xmm10, 32(%1); movdqu %%xmm11, 48(%1)\n\t"
			 "movdqu %%xmm12, 64(%1); movdqu %%xmm13, 80(%1)\n\t"
			 "movdqu %%xmm14, 96(%1); movdqu %%xmm15, 112(%1)\n\t"
			 "stmxcsr %0; ldmxcsr %2"
			 : "=m"(after)
			 : "r"(got), "m"(normal)
			 : "memory");
	for (int i = 0; i < 8; i++)
		odd += got[i][0] != got[i][1] || (got[i][0] != 0 && got[i][0] != ~0ull);
	TAP_CHECK(!odd, "XMM8 to XMM15 are the host's or initial (%d not)", odd);
	TAP_CHECK(after == before, "MXCSR is the host's (%x)", after);
}

struct handler_saw {
	long rdi, rsi, rdx, r8, r9;
	struct sgx_enclave_run *run;
	bool aligned;
	int calls, ret;
};
static struct handler_saw saw;

static int handler(long rdi, long rsi, long rdx, long rsp, long r8, long r9,
		   struct sgx_enclave_run *run)
{
	int calls = saw.calls + 1, ret = saw.ret;

	saw = (struct handler_saw){ rdi, rsi, rdx, r8, r9, run, !(rsp & 7), calls, ret };
	saw.aligned = !((uintptr_t)__builtin_frame_address(0) & 15);
	return ret;
}

static void check_registers_out(void)
{
	struct encl_op op = { .nr = OP_SET_OUT, .arg = { 0x11, 0x22, 0x33, 0x44, 0x55 } };
	struct sgx_enclave_run run = { .tcs = e.tcs[0], .user_handler = (uintptr_t)handler };
	long ret;

	saw = (struct handler_saw){ .ret = 0 };
	ret = vdso_enter((uintptr_t)&op, 0, 0, SGX_EENTER, 0, 0, &run, fn);
	TAP_CHECK(ret == 0 && saw.calls == 1, "the handler is called once, its 0 is returned");
	TAP_CHECK(saw.rdi == 0x11 && saw.rsi == 0x22 && saw.rdx == 0x33,
		  "with RDI RSI RDX of the enclave");
	TAP_CHECK(saw.r8 == 0x44 && saw.r9 == 0x55, "with R8 R9 of the enclave");
	TAP_CHECK(saw.run == &run && run.function == SGX_EEXIT, "with the run structure");
	TAP_CHECK(saw.aligned, "on an aligned stack");
	saw = (struct handler_saw){ .ret = -77 };
	ret = vdso_enter((uintptr_t)&op, 0, 0, SGX_EENTER, 0, 0, &run, fn);
	TAP_CHECK(ret == -77, "a negative value of it is returned as it is");
}

/* An ocall: the handler returns EENTER, with what the enclave asked for in the registers. */
static int ocall_handler(long rdi, long rsi, long rdx, long rsp, long r8, long r9,
			 struct sgx_enclave_run *run)
{
	(void)rdx, (void)rsp, (void)r8, (void)r9;
	saw.calls++;
	if (rdi != 0x0ca11)
		return 0;
	saw.rsi = rsi;
	run->user_data = 1;
	return SGX_EENTER;
}

static void check_ocall(void)
{
	struct encl_op op = { .nr = OP_OCALL, .arg = { 0x0ca11, 0x5151 } };
	struct sgx_enclave_run run = { .tcs = e.tcs[0], .user_handler = (uintptr_t)ocall_handler };
	long ret;

	saw = (struct handler_saw){ 0 };
	ret = vdso_enter((uintptr_t)&op, 0, 0, SGX_EENTER, 0, 0, &run, fn);
	TAP_CHECK(ret == 0 && saw.calls == 2 && saw.rsi == 0x5151,
		  "the handler's EENTER goes back in, the second exit ends it");
}

/* The enclave keeps the callee-saved registers, so the pointer may be called as C. */
static void check_as_c_function(void)
{
	vdso_sgx_enter_enclave_t enter = (vdso_sgx_enter_enclave_t)fn;
	struct encl_op op = { .nr = OP_READ, .arg = { e.base + e.heap } };
	struct sgx_enclave_run run = { .tcs = e.tcs[0] };

	TAP_CHECK(!enter((uintptr_t)&op, 0, 0, SGX_EENTER, 0, 0, &run) &&
			  op.ret == 0x1122334455667788ull,
		  "called as a C function");
}

static void check_bad_arguments(void)
{
	struct encl_op op = { .nr = OP_NOP };
	struct sgx_enclave_run run = { .tcs = e.tcs[0] };
	static const uint32_t leaves[] = { 0, 1, 4, 5, 0x80000002 };

	for (size_t i = 0; i < sizeof(leaves) / sizeof(leaves[0]); i++)
		TAP_CHECK(vdso_enter((uintptr_t)&op, 0, 0, leaves[i], 0, 0, &run, fn) == -EINVAL,
			  "leaf %#x: EINVAL", leaves[i]);
	for (size_t i = 0; i < sizeof(run.reserved); i += 43) {
		run.reserved[i] = 1;
		TAP_CHECK(vdso_enter((uintptr_t)&op, 0, 0, SGX_EENTER, 0, 0, &run, fn) == -EINVAL,
			  "reserved[%zu]: EINVAL", i);
		run.reserved[i] = 0;
	}
	run.reserved[sizeof(run.reserved) - 1] = 1;
	TAP_CHECK(vdso_enter((uintptr_t)&op, 0, 0, SGX_EENTER, 0, 0, &run, fn) == -EINVAL,
		  "the last reserved byte: EINVAL");
}

/* Faults of the ENCLU itself: function stays EENTER. */
static void check_bad_tcs(void)
{
	struct encl_op op = { .nr = OP_NOP };
	struct sgx_enclave_run run = { .tcs = e.tcs[0] + 8 };
	int ret = vdso_enter((uintptr_t)&op, 0, 0, SGX_EENTER, 0, 0, &run, fn);

	TAP_CHECK(!ret && run.function == SGX_EENTER && run.exception_vector == VEC_GP,
		  "a TCS that is not aligned: #GP of EENTER (function %u, vector %u)", run.function,
		  run.exception_vector);
	run.tcs = e.base + e.heap;
	ret = vdso_enter((uintptr_t)&op, 0, 0, SGX_EENTER, 0, 0, &run, fn);
	TAP_CHECK(!ret && run.function == SGX_EENTER && run.exception_vector == VEC_PF &&
			  run.exception_addr == e.base + e.heap,
		  "a TCS that is none: #PF of EENTER (vector %u, addr %#llx)", run.exception_vector,
		  (unsigned long long)run.exception_addr);
	run.tcs = 0;
	ret = vdso_enter((uintptr_t)&op, 0, 0, SGX_EENTER, 0, 0, &run, fn);
	TAP_CHECK(!ret && run.function == SGX_EENTER && run.exception_vector == VEC_PF &&
			  !run.exception_addr,
		  "a TCS at 0: #PF of EENTER (vector %u)", run.exception_vector);
	run.tcs = e.tcs[0];
	ret = vdso_enter((uintptr_t)&op, 0, 0, SGX_ERESUME, 0, 0, &run, fn);
	TAP_CHECK(!ret && run.function == SGX_ERESUME && run.exception_vector == VEC_GP,
		  "ERESUME with CSSA 0: #GP of ERESUME (function %u, vector %u)", run.function,
		  run.exception_vector);
	TAP_CHECK(!client_op(&e, 0, OP_NOP, 0, 0, 0), "and none of it did any harm");
}

static void check_many(void)
{
	int bad = 0;

	for (int i = 0; i < 20000; i++)
		bad += client_op(&e, i & 1, OP_NOP, 0, 0, 0) != 0;
	TAP_CHECK(!bad, "20,000 calls");
}

int main(void)
{
	struct client_conf conf = { .threads = 2, .heap_pages = 4 };
	int err = client_create(&e, &conf);

	TAP_MUST(!err, "an enclave: %s", err ? e.failed : "built");
	fn = vdso_by_hash(vdso_from_getauxval(), "__vdso_sgx_enter_enclave");
	TAP_MUST(fn, "the vDSO has the function");
	check_put_get();
	check_registers_in();
	check_registers_out();
	check_vectors();
	check_ocall();
	check_as_c_function();
	check_bad_arguments();
	check_bad_tcs();
	check_many();
	client_destroy(&e);
	return tap_done();
}
