/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What the author of the guest's enclave does, when it is built: measures and signs it, with a key that nobody keeps.
 *
 *   sign ENCLAVE OUT
 */
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../guest/layout.h"
#include "lib/sigstruct.h"

#define PAGE 4096u
#define RW   (SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_R | SGX_SECINFO_W)
#define RX   (SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_R | SGX_SECINFO_X)

static void add(struct measure *m, uint64_t page, uint64_t flags, const void *bytes)
{
	measure_add(m, page * PAGE, flags);
	measure_extend(m, page * PAGE, bytes);
}

/* In the order of guest/driver.c. */
static void measure_all(struct measure *m, const uint8_t *code)
{
	static struct sgx_tcs tcs;
	static uint8_t zero[PAGE];

	for (uint64_t i = 0; i < ENCLAVE_THREADS; i++) {
		tcs.ossa = (ENCLAVE_SSA + i * ENCLAVE_FRAMES) * PAGE;
		tcs.nssa = ENCLAVE_FRAMES;
		tcs.oentry = ENCLAVE_CODE * PAGE;
		tcs.fslimit = tcs.gslimit = 0xfff;
		add(m, ENCLAVE_TCS + i, SGX_SECINFO_TYPE(SGX_PT_TCS), &tcs);
	}
	for (uint64_t i = 0; i < ENCLAVE_THREADS * ENCLAVE_FRAMES; i++)
		add(m, ENCLAVE_SSA + i, RW, zero);
	for (uint64_t i = 0; i < ENCLAVE_CODES; i++)
		add(m, ENCLAVE_CODE + i, RX, code + i * PAGE);
	for (uint64_t i = 0; i < ENCLAVE_DATAS; i++)
		add(m, ENCLAVE_DATA + i, RW, zero);
	for (uint64_t i = 0; i < ENCLAVE_THREADS; i++)
		add(m, ENCLAVE_STACK + i, RW, zero);
}

static void sign(const uint8_t *code, uint8_t *out)
{
	struct sgx_attributes attributes = { .flags = SGX_ATTR_MODE64BIT | SGX_ATTR_DEBUG,
					     .xfrm = SGX_XFRM_LEGACY };
	struct measure *m = measure_create(1, ENCLAVE_SIZE);
	struct signer *signer = signer_create();
	struct sgx_sigstruct *sig = calloc(1, sizeof(*sig));
	uint8_t mrenclave[32];

	if (!m || !signer || !sig)
		abort();
	measure_all(m, code);
	measure_final(m, mrenclave);
	sigstruct_init(sig, mrenclave, attributes);
	sigstruct_sign(sig, signer);
	memcpy(out, sig, sizeof(*sig));
	SHA256(sig->modulus, sizeof(sig->modulus), out + SIGNED_HASH);
	signer_destroy(signer);
	free(sig);
}

int main(int argc, char **argv)
{
	static uint8_t code[ENCLAVE_CODES * PAGE], out[SIGNED_BYTES];
	FILE *f = argc == 3 ? fopen(argv[1], "rb") : NULL;

	if (!f)
		return 2;
	if (fread(code, 1, sizeof(code), f) == 0)
		return 1;
	fclose(f);
	sign(code, out);
	f = fopen(argv[2], "wb");
	if (!f || fwrite(out, 1, sizeof(out), f) != sizeof(out) || fclose(f) != 0)
		return 1;
	return 0;
}
