/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * SGX_IOC_ENCLAVE_INIT and SGX_IOC_ENCLAVE_PROVISION: one row an outcome.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "abi/caller.h"
#include "lib/sigstruct.h"
#include "lib/tap.h"

#define PAGES(n) ((uint64_t)(n)*SGX_PAGE_SIZE)

enum when { NEVER, BEFORE_CREATE, AFTER_CREATE, WRONG_FD };

static void nothing(struct sgx_sigstruct *sig) {}

static void vendor_intel(struct sgx_sigstruct *sig) { sig->vendor = 0x8086; }

static void vendor_other(struct sgx_sigstruct *sig) { sig->vendor = 0x1022; }

static void attribute_reserved(struct sgx_sigstruct *sig) { sig->attributes.flags |= 1ull << 3; }

static void attribute_reserved_unmasked(struct sgx_sigstruct *sig)
{
	sig->attributes.flags |= 1ull << 50;
	sig->attributemask.flags &= ~(1ull << 50);
}

static void attribute_init(struct sgx_sigstruct *sig) { sig->attributes.flags |= SGX_ATTR_INIT; }

static void misc_reserved(struct sgx_sigstruct *sig)
{
	sig->miscselect |= 1u << 20;
	sig->miscmask |= 1u << 20;
}

static void xfrm_reserved(struct sgx_sigstruct *sig) { sig->attributes.xfrm |= 1ull << 60; }

static void attribute_other(struct sgx_sigstruct *sig) { sig->attributes.flags |= SGX_ATTR_KSS; }

static void xfrm_other(struct sgx_sigstruct *sig) { sig->attributes.xfrm &= ~2ull; }

static void misc_other(struct sgx_sigstruct *sig)
{
	sig->miscselect |= SGX_MISC_EXINFO;
	sig->miscmask |= SGX_MISC_EXINFO;
}

static void measurement_other(struct sgx_sigstruct *sig) { sig->enclavehash[5] ^= 1; }

static void header_other(struct sgx_sigstruct *sig) { sig->header[0] = 7; }

static void exponent_other(struct sgx_sigstruct *sig) { sig->exponent = 17; }

static void signature_bit(struct sgx_sigstruct *sig) { sig->signature[100] ^= 4; }

static void modulus_bit(struct sgx_sigstruct *sig) { sig->modulus[10] ^= 4; }

static void q1_bit(struct sgx_sigstruct *sig) { sig->q1[10] ^= 4; }

static void q2_bit(struct sgx_sigstruct *sig) { sig->q2[10] ^= 4; }

static void body_after_signing(struct sgx_sigstruct *sig) { sig->isvsvn++; }

static const struct {
	const char *name;
	uint64_t attributes;
	enum when provision;
	void (*spoil)(struct sgx_sigstruct *sig); /* before it is signed */
	void (*spoil_signed)(struct sgx_sigstruct *sig);
	long r;
} cases[] = {
	{ "all is well", 0, NEVER, nothing, nothing, 0 },
	{ "Intel's vendor number", 0, NEVER, vendor_intel, nothing, 0 },
	{ "another vendor", 0, NEVER, vendor_other, nothing, -EINVAL },
	{ "debug", SGX_ATTR_DEBUG, NEVER, nothing, nothing, 0 },
	{ "key separation", SGX_ATTR_KSS, NEVER, nothing, nothing, 0 },
	{ "AEX-notify", SGX_ATTR_AEXNOTIFY, NEVER, nothing, nothing, 0 },
	{ "provisioning key, not allowed", SGX_ATTR_PROVISIONKEY, NEVER, nothing, nothing,
	  -EACCES },
	{ "provisioning key, wrong file", SGX_ATTR_PROVISIONKEY, WRONG_FD, nothing, nothing,
	  -EACCES },
	{ "provisioning key, allowed", SGX_ATTR_PROVISIONKEY, AFTER_CREATE, nothing, nothing, 0 },
	{ "provisioning key, allowed before CREATE", SGX_ATTR_PROVISIONKEY, BEFORE_CREATE, nothing,
	  nothing, -EACCES },
	{ "launch key", SGX_ATTR_EINITTOKENKEY, NEVER, nothing, nothing, -EACCES },
	{ "launch key, provisioning allowed", SGX_ATTR_EINITTOKENKEY, AFTER_CREATE, nothing,
	  nothing, -EACCES },
	{ "not allowed comes before the platform's limits", SGX_ATTR_PROVISIONKEY, NEVER,
	  attribute_reserved, nothing, -EACCES },
	{ "insists on a reserved attribute", 0, NEVER, attribute_reserved, nothing, -EINVAL },
	{ "insists on INIT", 0, NEVER, attribute_init, nothing, -EINVAL },
	{ "has one, does not insist", 0, NEVER, attribute_reserved_unmasked, nothing, 0 },
	{ "insists on MISCSELECT that the CPU lacks", 0, NEVER, misc_reserved, nothing, -EINVAL },
	{ "insists on XFRM that the CPU lacks", 0, NEVER, xfrm_reserved, nothing, -EINVAL },
	{ "other attributes than the enclave's", 0, NEVER, attribute_other, nothing, -EPERM },
	{ "other XFRM than the enclave's", 0, NEVER, xfrm_other, nothing, -EPERM },
	{ "other MISCSELECT than the enclave's", 0, NEVER, misc_other, nothing, -EPERM },
	{ "another measurement", 0, NEVER, measurement_other, nothing, -EPERM },
	{ "a header that is none", 0, NEVER, header_other, nothing, -EPERM },
	{ "another exponent", 0, NEVER, exponent_other, nothing, -EPERM },
	{ "one bit of the signature", 0, NEVER, nothing, signature_bit, -EPERM },
	{ "one bit of the modulus", 0, NEVER, nothing, modulus_bit, -EPERM },
	{ "one bit of q1", 0, NEVER, nothing, q1_bit, -EPERM },
	{ "one bit of q2", 0, NEVER, nothing, q2_bit, -EPERM },
	{ "changed after signing", 0, NEVER, nothing, body_after_signing, -EPERM },
};

static long provision(struct caller *c, struct encl *encl, uint64_t fd)
{
	struct sgx_enclave_provision arg = { .fd = fd };

	return caller_ioctl(c, encl, SGX_IOC_ENCLAVE_PROVISION, &arg);
}

static struct encl *prepare(struct caller *c, struct world *w, size_t i)
{
	struct sgx_secs *secs = malloc(sizeof(*secs));
	struct sgx_enclave_create create = { .src = (uint64_t)secs };
	struct encl *encl;

	TAP_MUST(encl_open(w->registry, &encl) == 0, "opened");
	if (cases[i].provision == BEFORE_CREATE)
		TAP_CHECK(provision(c, encl, PROVISION_FD) == 0, "allowed before CREATE");
	fill_secs(secs, 16, cases[i].attributes);
	TAP_MUST(caller_ioctl(c, encl, SGX_IOC_ENCLAVE_CREATE, &create) == 0, "created");
	if (cases[i].provision == AFTER_CREATE)
		TAP_CHECK(provision(c, encl, PROVISION_FD) == 0, "allowed");
	if (cases[i].provision == WRONG_FD)
		TAP_CHECK(provision(c, encl, 3) == -EINVAL, "not allowed");
	TAP_MUST(add_zeroes(c, encl, 0, FLAGS_RW) == 0, "a page");
	free(secs);
	return encl;
}

static void sign(struct sgx_sigstruct *sig, const struct signer *signer, size_t i)
{
	static const uint8_t zeroes[SGX_PAGE_SIZE];
	struct sgx_attributes attributes = { SGX_ATTR_MODE64BIT | cases[i].attributes,
					     SGX_XFRM_LEGACY };
	struct measure *m = measure_create(1, PAGES(16));
	uint8_t mrenclave[32];

	measure_add(m, 0, FLAGS_RW);
	measure_extend(m, 0, zeroes);
	measure_final(m, mrenclave);
	sigstruct_init(sig, mrenclave, attributes);
	cases[i].spoil(sig);
	sigstruct_sign(sig, signer);
	cases[i].spoil_signed(sig);
}

static void run(size_t i, const struct signer *signer)
{
	struct sgx_sigstruct *sig = malloc(sizeof(*sig));
	struct sgx_enclave_init init = { .sigstruct = (uint64_t)sig };
	struct encl *encl;
	struct caller c;
	struct world w;
	long r;

	world_init(&w, 64, 0);
	caller_init(&c);
	encl = prepare(&c, &w, i);
	sign(sig, signer, i);
	r = caller_ioctl(&c, encl, SGX_IOC_ENCLAVE_INIT, &init);
	TAP_CHECK(r == cases[i].r, "%s: %ld (%ld)", cases[i].name, cases[i].r, r);
	TAP_CHECK(encl_initialized(encl) == (r == 0), "%s: initialised, or not", cases[i].name);
	r = caller_ioctl(&c, encl, SGX_IOC_ENCLAVE_INIT, &init);
	TAP_CHECK(r == (cases[i].r ? cases[i].r : -EINVAL), "%s: and again (%ld)", cases[i].name,
		  r);
	encl_put(encl);
	free(sig);
	caller_fini(&c);
	world_fini(&w, cases[i].name);
}

static void states(void)
{
	struct sgx_sigstruct *sig = page_before_gap();
	struct sgx_enclave_init init = { .sigstruct = (uint64_t)sig };
	struct encl *encl;
	struct caller c;
	struct world w;
	long r;

	world_init(&w, 64, 0);
	caller_init(&c);
	TAP_MUST(encl_open(w.registry, &encl) == 0, "opened");
	r = caller_ioctl(&c, encl, SGX_IOC_ENCLAVE_INIT, &init);
	TAP_CHECK(r == -EINVAL, "not created: -EINVAL (%ld)", r);
	r = provision(&c, encl, 3);
	TAP_CHECK(r == -EINVAL, "PROVISION, another file: -EINVAL (%ld)", r);
	r = provision(&c, encl, (uint64_t)-1);
	TAP_CHECK(r == -EINVAL, "PROVISION, no file: -EINVAL (%ld)", r);
	r = provision(&c, encl, PROVISION_FD);
	TAP_CHECK(r == 0, "PROVISION, not created: 0 (%ld)", r);
	r = caller_ioctl(&c, encl, SGX_IOC_ENCLAVE_PROVISION, (void *)WILD);
	TAP_CHECK(r == -EFAULT, "PROVISION, argument unreadable: -EFAULT (%ld)", r);
	encl_put(encl);
	encl = make_encl(&c, &w, 16, 0);
	r = caller_ioctl(&c, encl, SGX_IOC_ENCLAVE_INIT, (void *)WILD);
	TAP_CHECK(r == -EFAULT, "argument unreadable: -EFAULT (%ld)", r);
	init.sigstruct = WILD;
	r = caller_ioctl(&c, encl, SGX_IOC_ENCLAVE_INIT, &init);
	TAP_CHECK(r == -EFAULT, "SIGSTRUCT unreadable: -EFAULT (%ld)", r);
	init.sigstruct = (uint64_t)sig + SGX_PAGE_SIZE - sizeof(*sig) + 1;
	r = caller_ioctl(&c, encl, SGX_IOC_ENCLAVE_INIT, &init);
	TAP_CHECK(r == -EFAULT, "its last byte unreadable: -EFAULT (%ld)", r);
	init.sigstruct -= 1;
	r = caller_ioctl(&c, encl, SGX_IOC_ENCLAVE_INIT, &init);
	TAP_CHECK(r == -EPERM, "readable, all zero: -EPERM (%ld)", r);
	encl_put(encl);
	page_before_gap_free(sig);
	caller_fini(&c);
	world_fini(&w, "states");
}

int main(void)
{
	struct signer *signer = signer_create();

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		run(i, signer);
	states();
	signer_destroy(signer);
	return tap_done();
}
