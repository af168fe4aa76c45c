/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The ioctls of /dev/sgx_enclave, by a program that makes them as it likes: the bytes are calls with their arguments,
 * and touches of the enclave's pages in between, with less EPC than the enclave has pages.  Each call answers with a
 * known error, and when the enclave is gone nothing of it is left.
 */
#include <asm/sgx.h>
#include <errno.h>

#include "abi/caller.h"
#include "fuzz/fuzz.h"
#include "lib/sigstruct.h"

#define FRAMES  24 /* SECS and VA pages among them */
#define PAGES   32
#define OPS_MAX 96

struct input {
	const uint8_t *at, *end;
};

static struct world world;
static struct caller caller;
static struct signer *signer;
static struct measure *measure; /* of the enclave as it is; NULL: not created, or ended */

static uint64_t take(struct input *in, unsigned int bytes)
{
	uint64_t value = 0;

	while (bytes-- > 0)
		value = value << 8 | (in->at < in->end ? *in->at++ : 0);
	return value;
}

/* Flip some bytes of what was right; mostly none. */
static void spoil(struct input *in, void *what, size_t bytes)
{
	uint64_t nr = take(in, 1);

	for (nr = nr < 0xc0 ? 0 : nr & 3; nr > 0; nr--)
		((uint8_t *)what)[take(in, 2) % bytes] ^= (uint8_t)take(in, 1);
}

static uint64_t take_pages(struct input *in) { return take(in, 1) % PAGES * SGX_PAGE_SIZE; }

static long do_create(struct encl *encl, struct input *in)
{
	static struct sgx_secs secs __attribute__((aligned(SGX_PAGE_SIZE)));
	struct sgx_enclave_create arg = { .src = (uint64_t)&secs };
	long r;

	fill_secs(&secs, PAGES, take(in, 1) & 1 ? SGX_ATTR_DEBUG : 0);
	spoil(in, &secs, sizeof(secs));
	spoil(in, &arg, sizeof(arg));
	r = caller_ioctl(&caller, encl, SGX_IOC_ENCLAVE_CREATE, &arg);
	if (r == 0) {
		must(!measure, "a second CREATE");
		measure = measure_create(secs.ssa_frame_size, secs.size);
	}
	return r;
}

static long do_add(struct encl *encl, struct input *in)
{
	static const uint8_t zeroes[4 * SGX_PAGE_SIZE] __attribute__((aligned(SGX_PAGE_SIZE)));
	struct sgx_secinfo secinfo = { .flags = take(in, 1) & 7 };
	struct sgx_enclave_add_pages arg = { .src = (uint64_t)zeroes,
					     .secinfo = (uint64_t)&secinfo };
	long r;

	secinfo.flags |= SGX_SECINFO_TYPE(take(in, 1) & 1 ? SGX_PT_TCS : SGX_PT_REG);
	arg.offset = take_pages(in);
	arg.length = (1 + take(in, 1) % 4) * SGX_PAGE_SIZE;
	arg.flags = take(in, 1) & 1;
	spoil(in, &secinfo, sizeof(secinfo));
	spoil(in, &arg, sizeof(arg));
	r = caller_ioctl(&caller, encl, SGX_IOC_ENCLAVE_ADD_PAGES, &arg);
	if (r != 0)
		return r;
	must(arg.count && arg.count % SGX_PAGE_SIZE == 0 && arg.count <= arg.length,
	     "pages that were added are counted");
	for (uint64_t at = 0; measure && at < arg.count; at += SGX_PAGE_SIZE) {
		measure_add(measure, arg.offset + at, secinfo.flags);
		if (arg.flags & SGX_PAGE_MEASURE)
			measure_extend(measure, arg.offset + at, (const void *)(arg.src + at));
	}
	return r;
}

static long do_init(struct encl *encl, struct input *in)
{
	static struct sgx_sigstruct sig __attribute__((aligned(SGX_PAGE_SIZE)));
	struct sgx_attributes attributes = {
		SGX_ATTR_MODE64BIT | (take(in, 1) & 1 ? SGX_ATTR_DEBUG : 0), SGX_XFRM_LEGACY
	};
	struct sgx_enclave_init arg = { .sigstruct = (uint64_t)&sig };
	uint8_t mrenclave[32] = { 0 };

	if (measure)
		measure_final(measure, mrenclave);
	measure = NULL;
	sigstruct_init(&sig, mrenclave, attributes);
	sigstruct_sign(&sig, signer);
	spoil(in, &sig, sizeof(sig));
	spoil(in, &arg, sizeof(arg));
	return caller_ioctl(&caller, encl, SGX_IOC_ENCLAVE_INIT, &arg);
}

static long do_edmm(struct encl *encl, struct input *in, unsigned int which)
{
	struct sgx_enclave_restrict_permissions restricts = { 0 };
	struct sgx_enclave_modify_types types = { 0 };
	struct sgx_enclave_remove_pages removes = { 0 };
	uint64_t offset = take_pages(in), length = (1 + take(in, 1) % 4) * SGX_PAGE_SIZE;

	switch (which) {
	case 0:
		restricts.offset = offset;
		restricts.length = length;
		restricts.permissions = take(in, 1) & 7;
		spoil(in, &restricts, sizeof(restricts));
		return caller_ioctl(&caller, encl, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS,
				    &restricts);
	case 1:
		types.offset = offset;
		types.length = length;
		types.page_type = take(in, 1) & 1 ? SGX_PT_TRIM : SGX_PT_TCS;
		spoil(in, &types, sizeof(types));
		return caller_ioctl(&caller, encl, SGX_IOC_ENCLAVE_MODIFY_TYPES, &types);
	default:
		removes.offset = offset;
		removes.length = length;
		spoil(in, &removes, sizeof(removes));
		return caller_ioctl(&caller, encl, SGX_IOC_ENCLAVE_REMOVE_PAGES, &removes);
	}
}

static long do_other(struct encl *encl, struct input *in)
{
	struct sgx_enclave_provision provision = { .fd = take(in, 1) & 1 ? PROVISION_FD : 0 };
	uint64_t request = SGX_IOC_ENCLAVE_CREATE;

	spoil(in, &provision, sizeof(provision));
	if (take(in, 1) & 1)
		return caller_ioctl(&caller, encl, SGX_IOC_ENCLAVE_PROVISION, &provision);
	request ^= take(in, 4);
	return caller_ioctl(&caller, encl, request, (const void *)(WILD + take(in, 1)));
}

static long do_touch(struct encl *encl, struct input *in)
{
	uint64_t la = encl_base(encl) + take_pages(in);
	unsigned int access = 1u << take(in, 1) % 3, vma = (unsigned int)take(in, 1) & 7;
	struct encl_fault fault;

	fault = encl_fault(encl, &caller.mm, la, access, vma, take(in, 1) & 1);
	must(fault.kind <= ENCL_FAULT_POISON, "a fault ends in some way");
	must(fault.kind != ENCL_FAULT_POISON, "nobody has poisoned anything");
	return 0;
}

static void must_be_known(long r)
{
	static const int known[] = { 0,   EINVAL, EFAULT, EBUSY,  EACCES,         EPERM,
				     EIO, ENOMEM, ENOTTY, EAGAIN, ABI_ERESTARTSYS };

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (r == -known[i])
			return;
	fprintf(stderr, "%ld\n", r);
	must(false, "an error that nobody expects");
}

static void run(struct encl *encl, struct input *in)
{
	for (unsigned int i = 0; i < OPS_MAX && in->at < in->end; i++) {
		unsigned int op = (unsigned int)take(in, 1);

		caller.signal_after = op & 0x80 ? (int)take(in, 1) % 8 : -1;
		switch (op % 11) {
		case 0:
			must_be_known(do_create(encl, in));
			break;
		case 1:
		case 2:
			must_be_known(do_add(encl, in));
			break;
		case 3:
			must_be_known(do_init(encl, in));
			break;
		case 4:
		case 5:
		case 6:
			must_be_known(do_edmm(encl, in, op % 11 - 4));
			break;
		case 7:
			must_be_known(do_other(encl, in));
			break;
		default:
			do_touch(encl, in);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nr)
{
	struct input in = { bytes, bytes + nr };
	uint8_t unused[32];
	struct world_left left;
	struct encl *encl;
	char why[256] = "";

	if (!signer) {
		signer = signer_create();
		world_init(&world, FRAMES, 0);
		caller_init(&caller);
	}
	must(encl_open(world.registry, &encl) == 0, "opened");
	run(encl, &in);
	if (measure)
		measure_final(measure, unused);
	measure = NULL;
	must(epc_audit(world.epc, false, why, sizeof(why)) == 0, why);
	encl_put(encl);
	must(!world_left(&world, &left), "something of the enclave is left");
	return 0;
}
