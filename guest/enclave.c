/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The guest's enclave: does what it is asked (layout.h).  It has no data of its own but its pages.
 */
#include <stdint.h>

#include "arch/sgx.h"
#include "layout.h"

uint64_t enclave_call(uint64_t call, uint64_t a, uint64_t b, uint64_t c);

static uint64_t base(void)
{
	uint64_t here;

	__asm__("lea enclave_entry(%%rip), %0" : "=r"(here));
	return here - ENCLAVE_CODE * 4096ull;
}

static uint64_t *page_at(uint64_t page)
{
	return (uint64_t *)(base() + page * 4096);
}

static uint64_t enclu(uint64_t leaf, const void *rbx, const void *rcx, const void *rdx)
{
	__asm__ volatile(".byte 0x0f, 0x01, 0xd7"
			 : "+a"(leaf)
			 : "b"(rbx), "c"(rcx), "d"(rdx)
			 : "memory", "cc");
	return leaf;
}

static uint64_t mix(uint64_t x)
{
	x ^= x >> 29;
	x *= 0x94d049bb133111ebull;
	return x ^ x >> 32;
}

static void fill(uint64_t page, uint64_t nr, uint64_t seed)
{
	for (uint64_t i = 0; i < nr * 512; i++)
		page_at(page)[i] = mix(seed + page * 512 + i);
}

static uint64_t hash(uint64_t page, uint64_t nr)
{
	uint64_t h = 0xcbf29ce484222325ull;

	for (uint64_t i = 0; i < nr * 512; i++)
		h = mix(h ^ page_at(page)[i]) + i;
	return h;
}

static void copy_out(uint64_t to, const uint8_t *from, uint64_t bytes)
{
	for (uint64_t i = 0; i < bytes; i++)
		((volatile uint8_t *)to)[i] = from[i];
}

static void clear(void *p, uint64_t bytes)
{
	for (uint64_t i = 0; i < bytes; i++)
		((volatile uint8_t *)p)[i] = 0;
}

static uint64_t report(uint64_t to, uint64_t data)
{
	struct sgx_targetinfo target __attribute__((aligned(512)));
	struct sgx_report out __attribute__((aligned(512)));
	uint64_t reportdata[8] __attribute__((aligned(128)));

	clear(&target, sizeof(target));
	clear(&out, sizeof(out));
	for (int i = 0; i < 8; i++)
		reportdata[i] = data + (uint64_t)i;
	enclu(SGX_EREPORT, &target, reportdata, &out);
	copy_out(to, (const uint8_t *)&out, sizeof(out));
	return 0;
}

static uint64_t key(uint64_t name, uint64_t policy, uint64_t to)
{
	struct sgx_keyrequest request __attribute__((aligned(512)));
	uint8_t out[16] __attribute__((aligned(16)));
	uint64_t r;

	clear(&request, sizeof(request));
	clear(out, sizeof(out));
	request.keyname = (uint16_t)name;
	request.keypolicy = (uint16_t)policy;
	request.attributemask.flags = ~0ull;
	r = enclu(SGX_EGETKEY, &request, out, 0);
	copy_out(to, out, sizeof(out));
	return r;
}

static uint64_t accept(uint64_t page, uint64_t nr, uint64_t flags)
{
	struct sgx_secinfo secinfo __attribute__((aligned(64)));
	uint64_t r = 0;

	clear(&secinfo, sizeof(secinfo));
	secinfo.flags = flags;
	for (uint64_t i = 0; r == 0 && i < nr; i++)
		r = enclu(SGX_EACCEPT, &secinfo, page_at(page + i), 0);
	return r;
}

static uint64_t emodpe(uint64_t page, uint64_t flags)
{
	struct sgx_secinfo secinfo __attribute__((aligned(64)));

	clear(&secinfo, sizeof(secinfo));
	secinfo.flags = flags;
	enclu(SGX_EMODPE, &secinfo, page_at(page), 0);
	return 0;
}

static uint64_t fault(uint64_t kind, uint64_t where)
{
	uint64_t one = 1, zero = 0;

	if (kind == FAULT_UD)
		__asm__ volatile("ud2");
	else if (kind == FAULT_DE)
		__asm__ volatile("xor %%edx, %%edx; div %1" : "+a"(one) : "r"(zero) : "rdx", "cc");
	else if (kind == FAULT_CPUID)
		__asm__ volatile("cpuid" : "+a"(zero) : : "rbx", "rcx", "rdx");
	else if (kind == FAULT_INT)
		__asm__ volatile("int $0x30");
	else if (kind == FAULT_OUT)
		__asm__ volatile("out %%al, $0xe7" : : "a"(1));
	else if (kind == FAULT_JUMP_OUT)
		__asm__ volatile("jmp *%0" : : "r"(where));
	else if (kind == FAULT_ENCLU)
		enclu(0x77, 0, 0, 0);
	else if (kind == FAULT_EENTER)
		enclu(SGX_EENTER, page_at(ENCLAVE_TCS), 0, 0);
	else if (kind == FAULT_HLT)
		__asm__ volatile("hlt");
	else if (kind == FAULT_INT3)
		__asm__ volatile("int3");
	return 0;
}

static uint64_t spin(uint64_t times)
{
	uint64_t h = 1;

	while (times-- > 0)
		h = mix(h + times);
	return h;
}

static uint64_t touch(uint64_t first, uint64_t nr, uint64_t pages)
{
	uint64_t sum = 0;

	for (uint64_t i = first; i < first + nr; i++)
		sum += *(volatile uint64_t *)page_at(ENCLAVE_HEAP + TOUCH_ORDER(i, pages));
	return sum;
}

static uint64_t wait(volatile uint64_t *word)
{
	word[1] = 1;
	while (!word[0])
		;
	return word[0];
}

uint64_t enclave_call(uint64_t call, uint64_t a, uint64_t b, uint64_t c)
{
	if (call == CALL_ADD)
		return a + b;
	if (call == CALL_FILL)
		fill(a, b, c);
	if (call == CALL_HASH)
		return hash(a, b);
	if (call == CALL_REPORT)
		return report(a, b);
	if (call == CALL_KEY)
		return key(a, b, c);
	if (call == CALL_ACCEPT)
		return accept(a, b, c);
	if (call == CALL_READ)
		return *(volatile uint64_t *)a;
	if (call == CALL_WRITE)
		*(volatile uint64_t *)a = b;
	if (call == CALL_FAULT)
		return fault(a, b);
	if (call == CALL_SPIN)
		return spin(a);
	if (call == CALL_EMODPE)
		return emodpe(a, b);
	if (call == CALL_TOUCH)
		return touch(a, b, c);
	if (call == CALL_WAIT)
		return wait((volatile uint64_t *)a);
	return 0;
}
