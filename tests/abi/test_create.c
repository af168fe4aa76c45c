/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * SGX_IOC_ENCLAVE_CREATE and what holds for all ioctls: one row an outcome.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "abi/caller.h"
#include "lib/tap.h"

static void nothing(struct sgx_secs *secs) {}

static void size_odd(struct sgx_secs *secs) { secs->size = 3 * SGX_PAGE_SIZE; }

static void size_zero(struct sgx_secs *secs) { secs->size = 0; }

static void size_one_page(struct sgx_secs *secs) { secs->size = SGX_PAGE_SIZE; }

static void size_huge(struct sgx_secs *secs) { secs->size = 1ull << 63; }

static void base_misaligned(struct sgx_secs *secs) { secs->baseaddr += SGX_PAGE_SIZE; }

static void attribute_reserved(struct sgx_secs *secs) { secs->attributes.flags |= 1ull << 3; }

static void attribute_unknown(struct sgx_secs *secs) { secs->attributes.flags |= 1ull << 50; }

static void xfrm_no_sse(struct sgx_secs *secs) { secs->attributes.xfrm = 1; }

static void misc_unknown(struct sgx_secs *secs) { secs->miscselect = 1u << 30; }

static void ssa_none(struct sgx_secs *secs) { secs->ssa_frame_size = 0; }

static void reserved_set(struct sgx_secs *secs) { secs->reserved4[100] = 1; }

static const struct {
	const char *name;
	void (*spoil)(struct sgx_secs *secs);
	long r;
} cases[] = {
	{ "size is no power of two", size_odd, -EINVAL },
	{ "size 0", size_zero, -EINVAL },
	{ "size below the minimum", size_one_page, -EIO },
	{ "size above the maximum", size_huge, -EIO },
	{ "base not aligned to the size", base_misaligned, -EIO },
	{ "reserved attribute", attribute_reserved, -EIO },
	{ "attribute that the CPU lacks", attribute_unknown, -EIO },
	{ "XFRM without SSE", xfrm_no_sse, -EIO },
	{ "MISCSELECT that the CPU lacks", misc_unknown, -EIO },
	{ "no SSA frame", ssa_none, -EIO },
	{ "reserved bytes set", reserved_set, -EIO },
	{ "all is well", nothing, 0 },
	{ "a second time", nothing, -EINVAL },
};

static void rows(void)
{
	struct sgx_enclave_create arg;
	struct sgx_secs *secs = page_before_gap();
	struct encl *encl;
	struct caller c;
	struct world w;
	long r;

	world_init(&w, 32, 0);
	caller_init(&c);
	TAP_MUST(encl_open(w.registry, &encl) == 0, "opened");
	r = caller_ioctl(&c, encl, SGX_IOC_ENCLAVE_CREATE, (void *)WILD);
	TAP_CHECK(r == -EFAULT, "argument unreadable: -EFAULT (%ld)", r);
	arg.src = WILD;
	r = caller_ioctl(&c, encl, SGX_IOC_ENCLAVE_CREATE, &arg);
	TAP_CHECK(r == -EFAULT, "SECS unreadable: -EFAULT (%ld)", r);
	arg.src = (uint64_t)secs + 1;
	r = caller_ioctl(&c, encl, SGX_IOC_ENCLAVE_CREATE, &arg);
	TAP_CHECK(r == -EFAULT, "the SECS's last byte unreadable: -EFAULT (%ld)", r);
	/* Each on the same file: what fails leaves it as it was. */
	arg.src = (uint64_t)secs;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		fill_secs(secs, 16, 0);
		cases[i].spoil(secs);
		r = caller_ioctl(&c, encl, SGX_IOC_ENCLAVE_CREATE, &arg);
		TAP_CHECK(r == cases[i].r, "%s: %ld (%ld)", cases[i].name, cases[i].r, r);
		TAP_CHECK(encl_created(encl) == (i + 2 >= sizeof(cases) / sizeof(cases[0])),
			  "%s: created, or not", cases[i].name);
	}
	/* Comes before a look at the argument. */
	r = caller_ioctl(&c, encl, SGX_IOC_ENCLAVE_CREATE, (void *)WILD);
	TAP_CHECK(r == -EINVAL, "a second time, unreadable: -EINVAL (%ld)", r);
	encl_put(encl);
	page_before_gap_free(secs);
	caller_fini(&c);
	world_fini(&w, "create");
}

static void no_epc(void)
{
	struct sgx_secs *secs = page_before_gap();
	struct sgx_enclave_create arg = { .src = (uint64_t)secs };
	struct encl *one, *two;
	struct caller c;
	struct world w;
	long r;

	world_init(&w, 9, 0);
	caller_init(&c);
	one = make_encl(&c, &w, 16, 0);
	TAP_MUST(encl_open(w.registry, &two) == 0, "opened");
	fill_secs(secs, 16, 0);
	r = caller_ioctl(&c, two, SGX_IOC_ENCLAVE_CREATE, &arg);
	TAP_CHECK(r == -ENOMEM, "an EPC that would be too small for both: -ENOMEM (%ld)", r);
	encl_put(one);
	r = caller_ioctl(&c, two, SGX_IOC_ENCLAVE_CREATE, &arg);
	TAP_CHECK(r == 0, "with the other enclave gone: created (%ld)", r);
	encl_put(two);
	page_before_gap_free(secs);
	caller_fini(&c);
	world_fini(&w, "no EPC");
}

static long second_r, other_r, unknown_r;
static struct encl *other_encl;

/* While the first ioctl is copying its argument, on its own file and on another. */
static void second_ioctl(struct caller *c)
{
	struct encl *encl = c->encl;

	second_r = caller_ioctl(c, encl, SGX_IOC_ENCLAVE_CREATE, NULL);
	unknown_r = caller_ioctl(c, encl, 0xdead, NULL);
	other_r = caller_ioctl(c, other_encl, SGX_IOC_ENCLAVE_CREATE, NULL);
}

static void all_ioctls(void)
{
	static const unsigned long unknown[] = {
		0, 0xa408, SGX_IOC_VEPC_REMOVE_ALL, SGX_IOC_ENCLAVE_CREATE + 0x10000, 0x5401,
	};
	struct sgx_enclave_create arg = { 0 };
	struct encl *encl;
	struct caller c;
	struct world w;
	long r;

	world_init(&w, 32, 0);
	caller_init(&c);
	TAP_MUST(encl_open(w.registry, &encl) == 0 && encl_open(w.registry, &other_encl) == 0,
		 "opened");
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		r = caller_ioctl(&c, encl, unknown[i], &arg);
		TAP_CHECK(r == -ENOTTY, "request %#lx: -ENOTTY (%ld)", unknown[i], r);
	}
	r = caller_ioctl(&c, encl, SGX_IOC_ENCLAVE_CREATE | 0xffffffff00000000ul, &arg);
	TAP_CHECK(r == -EFAULT, "the upper half of a request is not looked at (%ld)", r);
	c.in_copy = second_ioctl;
	r = caller_ioctl(&c, encl, SGX_IOC_ENCLAVE_CREATE, &arg);
	TAP_CHECK(r == -EFAULT, "an ioctl with another one inside goes its way (%ld)", r);
	TAP_CHECK(second_r == -EBUSY, "that one is -EBUSY on the same file (%ld)", second_r);
	TAP_CHECK(unknown_r == -EBUSY, "even when it is unknown (%ld)", unknown_r);
	TAP_CHECK(other_r == -EFAULT, "and not on another file (%ld)", other_r);
	encl_put(encl);
	encl_put(other_encl);
	caller_fini(&c);
	world_fini(&w, "all ioctls");
}

int main(void)
{
	rows();
	no_epc();
	all_ioctls();
	return tap_done();
}
