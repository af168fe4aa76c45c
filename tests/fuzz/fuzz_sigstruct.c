/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * SIGSTRUCT, EINITTOKEN, and attributes of the enclave: the bytes lie over what EINIT takes.  By the
 * first byte the result is signed anew, so that what lies behind the signature is reached.
 */
#include <openssl/sha.h>

#include "arch/sgx.h"
#include "fuzz/fuzz.h"
#include "leaf/machine.h"

#define SIGN      1u
#define TOKEN     2u
#define LOCKED    4u
#define KEEP_HASH 8u

static struct machine *m;
static struct sgx_sigstruct
	base; /* signing is slow, and an enclave without pages is always the same */

static void check_opened(const struct sgx_sigstruct *sig)
{
	const struct sgx_secs *secs = (const struct sgx_secs *)m->epc[P_SECS];
	uint8_t signer[32];

	SHA256(sig->modulus, sizeof(sig->modulus), signer);
	must(memcmp(secs->mrsigner, signer, 32) == 0, "MRSIGNER");
	must(memcmp(secs->mrenclave, sig->enclavehash, 32) == 0, "MRENCLAVE");
	must(secs->isvprodid == sig->isvprodid && secs->isvsvn == sig->isvsvn, "ISV fields");
	must(secs->attributes.flags & SGX_ATTR_INIT, "INIT");
	must(((secs->attributes.flags ^ sig->attributes.flags) & sig->attributemask.flags &
	      ~SGX_ATTR_INIT) == 0,
	     "ATTRIBUTES");
	must(sig->exponent == 3 && (sig->vendor == 0 || sig->vendor == 0x8086), "header");
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nr)
{
	uint8_t how = 0, hash[32];
	uint64_t signer[4];
	struct cpu_outcome out;

	if (!m)
		m = machine_new(NULL);
	overlay(&how, 1, &bytes, &nr);
	machine_secs(m);
	overlay(&m->secs.attributes.flags, 1, &bytes, &nr);
	if (!cpu_ok(machine_ecreate(m, P_SECS)))
		return 0;
	if (!base.exponent) {
		machine_sigstruct(m);
		base = m->sig;
	}
	m->sig = base;
	memset(&m->token, 0, sizeof(m->token));
	memcpy(hash, m->sig.enclavehash, 32);
	if (how & TOKEN)
		overlay(&m->token, sizeof(m->token), &bytes, &nr);
	/* The signed body first: bytes are few. */
	overlay(&m->sig.miscselect, 128, &bytes, &nr);
	overlay(&m->sig, sizeof(m->sig), &bytes, &nr);
	if (how & KEEP_HASH)
		memcpy(m->sig.enclavehash, hash, 32);
	if (how & SIGN)
		machine_sign(&m->sig);
	machine_signer(&m->sig, signer);
	out = encls_einit(m->cpu, &m->sig, P_SECS, &m->token, how & LOCKED ? NULL : signer);
	if (cpu_ok(out)) {
		must(!(how & LOCKED) || m->token.valid & 1, "a signer that nobody let in");
		check_opened(&m->sig);
	} else {
		must(out.fault == CPU_NO_FAULT, "EINIT answers with a code");
		must(!(((struct sgx_secs *)m->epc[P_SECS])->attributes.flags & SGX_ATTR_INIT),
		     "a refused enclave is closed");
	}
	must(cpu_ok(encls_eremove(m->cpu, P_SECS)), "EREMOVE");
	return 0;
}
