/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What CPUID, executed inline, tells a program that looks for SGX.
 */
#include <pthread.h>
#include <unistd.h>

#include "client.h"
#include "lib/tap.h"

static void check_features(void)
{
	uint32_t r[4];

	client_cpuid(0, 0, r);
	TAP_CHECK(r[0] >= 0x12, "leaf 0: the highest leaf, %#x, is 12H or above", r[0]);
	client_cpuid(1, 0, r);
	TAP_CHECK(r[2] >> 27 & 1, "leaf 1: OSXSAVE");
	client_cpuid(7, 0, r);
	TAP_CHECK(r[1] >> 2 & 1, "leaf 7.0: EBX[2], SGX");
	TAP_CHECK(r[2] >> 30 & 1, "leaf 7.0: ECX[30], SGX_LC");
}

static void check_sgx_leaf(void)
{
	uint32_t r[4];
	uint64_t xfrm, xcr0 = client_xcr0();

	client_cpuid(0x12, 0, r);
	TAP_CHECK(r[0] & SGX_CPUID_SGX1, "leaf 12H.0: SGX1 (EAX %#x)", r[0]);
	TAP_CHECK((r[3] >> 8 & 0xff) >= 32 && (r[3] & 0xff) >= 31,
		  "leaf 12H.0: enclaves up to 2^%u bytes", r[3] >> 8 & 0xff);
	client_cpuid(0x12, 1, r);
	xfrm = r[2] | (uint64_t)r[3] << 32;
	TAP_CHECK((r[0] & 0x36) == 0x36,
		  "leaf 12H.1: DEBUG, MODE64BIT, PROVISIONKEY and EINITTOKENKEY may be set (%#x)",
		  r[0]);
	TAP_CHECK((xfrm & 3) == 3, "leaf 12H.1: x87 and SSE may be set in XFRM");
	TAP_CHECK((xcr0 & xfrm & 3) == 3, "XCR0 & XFRM has x87 and SSE");
	client_cpuid(0xd, 0, r);
	TAP_CHECK((xfrm & ~(r[0] | (uint64_t)r[3] << 32)) == 0,
		  "XFRM has nothing that leaf 0DH lacks");
}

static uint64_t epc_bytes(unsigned int *sections)
{
	uint64_t sum = 0;
	uint32_t r[4];

	*sections = 0;
	for (uint32_t i = 2; i < 40; i++) {
		client_cpuid(0x12, i, r);
		if ((r[0] & 0xf) != 1)
			break;
		sum += (r[2] & 0xfffff000) | (uint64_t)(r[3] & 0xfffff) << 32;
		(*sections)++;
	}
	return sum;
}

/* @expected: 0, any number. */
static void check_sections(unsigned int expected)
{
	unsigned int n;
	uint64_t sum = epc_bytes(&n);
	uint32_t r[4];

	TAP_CHECK(expected ? n == expected : n >= 1, "%u EPC section(s)", n);
	TAP_CHECK(sum >= 4096 && !(sum & 4095), "%llu bytes of EPC, whole pages",
		  (unsigned long long)sum);
	client_cpuid(0x12, 2 + n, r);
	TAP_CHECK(!(r[0] & 0xf), "the section after the last has type 0");
}

/* The sizes from which an SSA frame is made must hold what XSAVE writes. */
static void check_xsave(void)
{
	uint64_t xcr0 = client_xcr0();
	uint32_t r[4], total = 576;

	for (uint32_t i = 2; i < 63; i++) {
		if (!(xcr0 >> i & 1))
			continue;
		client_cpuid(0xd, i, r);
		TAP_CHECK(r[0] && r[1] >= 576, "leaf 0DH.%u: %u bytes at %u", i, r[0], r[1]);
		if (r[0] + r[1] > total)
			total = r[0] + r[1];
	}
	client_cpuid(0xd, 0, r);
	TAP_CHECK(r[1] == total, "leaf 0DH.0: EBX %u is the end of the last component, %u", r[1],
		  total);
	client_cpuid(0xd, 1, r);
	TAP_CHECK(1, "leaf 0DH.1: %#x", r[0]);
}

/* Registers that CPUID does not write stay as they are. */
static void check_registers(void)
{
	uint64_t rsi = 0x1111, rdi = 0x2222, r8 = 0x3333, rax = 0xffffffff00000012ull,
		 rcx = 0xffffffff00000000ull, rbx, rdx;
	register uint64_t r8v __asm__("r8") = r8;

	__asm__ volatile("cpuid"
			 : "+a"(rax), "=b"(rbx), "+c"(rcx), "=d"(rdx), "+S"(rsi), "+D"(rdi),
			   "+r"(r8v));
	TAP_CHECK(rsi == 0x1111 && rdi == 0x2222 && r8v == 0x3333, "other registers are kept");
	TAP_CHECK(!(rax >> 32) && !(rbx >> 32) && !(rcx >> 32) && !(rdx >> 32),
		  "upper halves of RAX RBX RCX RDX are clear");
}

static void *in_thread(void *arg)
{
	uint32_t r[4];

	client_cpuid(0x12, 0, r);
	*(uint32_t *)arg = r[0];
	return NULL;
}

static void check_thread(void)
{
	uint32_t eax = 0, r[4];
	pthread_t thread;

	client_cpuid(0x12, 0, r);
	pthread_create(&thread, NULL, in_thread, &eax);
	pthread_join(thread, NULL);
	TAP_CHECK(eax == r[0], "another thread sees the same");
}

/* test_cpuid [SECTIONS] */
int main(int argc, char **argv)
{
	check_features();
	check_sgx_leaf();
	check_sections(argc > 1 ? (unsigned int)(argv[1][0] - '0') : 0);
	check_xsave();
	check_registers();
	check_thread();
	return tap_done();
}
