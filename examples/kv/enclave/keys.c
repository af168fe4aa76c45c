/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * ENCLU, RDRAND, and the requests that go with them.
 *
 * The operands of EREPORT and EGETKEY must lie inside the enclave and be aligned (512 bytes the
 * most): they are on the thread's stack.
 */
#include <immintrin.h>

#include "aes.h"
#include "keys.h"
#include "lib.h"

/* Debug and production enclaves get different keys, and so do initialised ones and others. */
#define KEY_ATTRIBUTES (SGX_ATTR_INIT | SGX_ATTR_DEBUG)

static uint32_t enclu(uint32_t leaf, const void *rbx, const void *rcx, void *rdx)
{
	uint32_t eax = leaf;

	__asm__ volatile("enclu" : "+a"(eax) : "b"(rbx), "c"(rcx), "d"(rdx) : "memory", "cc");
	return eax;
}

void keys_report_self(const uint8_t data[64], struct sgx_report *ret_report)
{
	struct sgx_targetinfo target __attribute__((aligned(512)));
	struct sgx_report report __attribute__((aligned(512)));
	uint8_t in[64] __attribute__((aligned(128)));

	memcpy(in, data, sizeof(in));
	memset(&target, 0, sizeof(target));
	/* A report for nobody, to learn who we are; then one for ourselves. */
	enclu(SGX_EREPORT, &target, in, &report);
	memcpy(target.mrenclave, report.mrenclave, sizeof(target.mrenclave));
	target.attributes = report.attributes;
	target.miscselect = report.miscselect;
	enclu(SGX_EREPORT, &target, in, &report);
	memcpy(ret_report, &report, sizeof(report));
}

/* @ret_key is not aligned as EGETKEY wants it. */
static bool get_key(struct sgx_keyrequest *request, uint8_t ret_key[16])
{
	uint8_t key[16] __attribute__((aligned(16)));
	bool ok = enclu(SGX_EGETKEY, request, key, NULL) == 0;

	if (ok)
		memcpy(ret_key, key, sizeof(key));
	wipe(key, sizeof(key));
	return ok;
}

bool keys_report_verify(const struct sgx_report *report)
{
	struct sgx_keyrequest request __attribute__((aligned(512)));
	struct aes_key key;
	uint8_t bytes[16], mac[16];

	memset(&request, 0, sizeof(request));
	request.keyname = SGX_KEY_REPORT;
	memcpy(request.keyid, report->keyid, sizeof(request.keyid));
	if (!get_key(&request, bytes))
		return false;
	aes_key_init(&key, bytes);
	aes_cmac(&key, report, offsetof(struct sgx_report, keyid), mac);
	wipe(&key, sizeof(key));
	wipe(bytes, sizeof(bytes));
	return same_mac(mac, report->mac);
}

bool keys_seal(const struct kv_seal_header *header, uint8_t ret_key[16])
{
	struct sgx_keyrequest request __attribute__((aligned(512)));

	memset(&request, 0, sizeof(request));
	request.keyname = SGX_KEY_SEAL;
	request.keypolicy = SGX_KEYPOLICY_MRSIGNER;
	request.isvsvn = header->isvsvn;
	memcpy(request.cpusvn, header->cpusvn, sizeof(request.cpusvn));
	memcpy(request.keyid, header->keyid, sizeof(request.keyid));
	request.attributemask.flags = KEY_ATTRIBUTES;
	return get_key(&request, ret_key);
}

bool keys_random(void *ret_bytes, uint32_t bytes)
{
	uint8_t *to = ret_bytes;
	unsigned long long word;
	uint32_t n;

	for (; bytes; bytes -= n, to += n) {
		int tries = 100;

		while (!_rdrand64_step(&word)) {
			if (tries-- == 0)
				return false;
		}
		n = bytes < sizeof(word) ? bytes : (uint32_t)sizeof(word);
		memcpy(to, &word, n);
	}
	return true;
}

bool keys_accept(uint64_t la)
{
	struct sgx_secinfo secinfo = { 0 };

	secinfo.flags = SGX_SECINFO_REG | SGX_SECINFO_R | SGX_SECINFO_W | SGX_SECINFO_PENDING;
	return enclu(SGX_EACCEPT, &secinfo, (const void *)(uintptr_t)la, NULL) == 0;
}
