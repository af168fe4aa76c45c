/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * SGX_IOC_ENCLAVE_ADD_PAGES: one row an outcome, with the count that it leaves.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "abi/caller.h"
#include "lib/sigstruct.h"
#include "lib/tap.h"

#define PAGES(n)  ((uint64_t)(n)*SGX_PAGE_SIZE)
#define UNTOUCHED 0x1234567

/* Source: four pages, then some that cannot be read. */
enum source { SRC_OK, SRC_MISALIGNED, SRC_NULL, SRC_TWO_THEN_GAP, SRC_NOEXEC, SRC_PROT_NONE };

static const struct {
	const char *name;
	enum source source;
	uint64_t offset, length;
	uint64_t secinfo_flags;
	uint64_t secinfo_reserved;
	bool secinfo_wild;
	int signal_after;
	long r;
	uint64_t count;
} cases[] = {
	/* Arguments: nothing is written back. */
	{ "source not aligned", SRC_MISALIGNED, 0, PAGES(1), FLAGS_RW, 0, 0, -1, -EINVAL,
	  UNTOUCHED },
	{ "offset not aligned", SRC_OK, 16, PAGES(1), FLAGS_RW, 0, 0, -1, -EINVAL, UNTOUCHED },
	{ "length 0", SRC_OK, 0, 0, FLAGS_RW, 0, 0, -1, -EINVAL, UNTOUCHED },
	{ "length not aligned", SRC_OK, 0, 100, FLAGS_RW, 0, 0, -1, -EINVAL, UNTOUCHED },
	{ "offset + length wraps", SRC_OK, PAGES(4), -PAGES(1), FLAGS_RW, 0, 0, -1, -EINVAL,
	  UNTOUCHED },
	{ "one page too long", SRC_OK, PAGES(15), PAGES(2), FLAGS_RW, 0, 0, -1, -EINVAL,
	  UNTOUCHED },
	{ "offset behind the enclave", SRC_OK, PAGES(16), PAGES(1), FLAGS_RW, 0, 0, -1, -EINVAL,
	  UNTOUCHED },
	{ "SECINFO unreadable", SRC_OK, 0, PAGES(1), FLAGS_RW, 0, 1, -1, -EFAULT, UNTOUCHED },
	{ "type SECS", SRC_OK, 0, PAGES(1), ENCL_R, 0, 0, -1, -EINVAL, UNTOUCHED },
	{ "type VA", SRC_OK, 0, PAGES(1), SGX_SECINFO_TYPE(SGX_PT_VA), 0, 0, -1, -EINVAL,
	  UNTOUCHED },
	{ "type TRIM", SRC_OK, 0, PAGES(1), SGX_SECINFO_TYPE(SGX_PT_TRIM), 0, 0, -1, -EINVAL,
	  UNTOUCHED },
	{ "a type that does not exist", SRC_OK, 0, PAGES(1), 0x4200 | ENCL_R, 0, 0, -1, -EINVAL,
	  UNTOUCHED },
	{ "W without R", SRC_OK, 0, PAGES(1), SGX_SECINFO_TYPE(SGX_PT_REG) | ENCL_W, 0, 0, -1,
	  -EINVAL, UNTOUCHED },
	{ "TCS with R", SRC_OK, 0, PAGES(1), FLAGS_TCS | ENCL_R, 0, 0, -1, -EINVAL, UNTOUCHED },
	{ "TCS with X", SRC_OK, 0, PAGES(1), FLAGS_TCS | ENCL_X, 0, 0, -1, -EINVAL, UNTOUCHED },
	{ "PENDING", SRC_OK, 0, PAGES(1), FLAGS_RW | SGX_SECINFO_PENDING, 0, 0, -1, -EINVAL,
	  UNTOUCHED },
	{ "MODIFIED", SRC_OK, 0, PAGES(1), FLAGS_RW | SGX_SECINFO_MODIFIED, 0, 0, -1, -EINVAL,
	  UNTOUCHED },
	{ "PR", SRC_OK, 0, PAGES(1), FLAGS_RW | SGX_SECINFO_PR, 0, 0, -1, -EINVAL, UNTOUCHED },
	{ "a reserved flag", SRC_OK, 0, PAGES(1), FLAGS_RW | 1ull << 40, 0, 0, -1, -EINVAL,
	  UNTOUCHED },
	{ "reserved bytes", SRC_OK, 0, PAGES(1), FLAGS_RW, 1, 0, -1, -EINVAL, UNTOUCHED },
	/* The loop: the count tells how far it came. */
	{ "a signal before the first page", SRC_OK, 0, PAGES(2), FLAGS_RW, 0, 0, 0,
	  -ABI_ERESTARTSYS, 0 },
	{ "a signal before the third page", SRC_OK, 0, PAGES(4), FLAGS_RW, 0, 0, 2, 0, PAGES(2) },
	{ "a page is there already", SRC_OK, PAGES(8), PAGES(2), FLAGS_RW, 0, 0, -1, -EBUSY, 0 },
	{ "the second page is there already", SRC_OK, PAGES(7), PAGES(2), FLAGS_RW, 0, 0, -1,
	  -EBUSY, PAGES(1) },
	{ "it is there, and the source is not", SRC_NULL, PAGES(8), PAGES(1), FLAGS_RW, 0, 0, -1,
	  -EBUSY, 0 },
	{ "no mapping at the source", SRC_NULL, 0, PAGES(1), FLAGS_RW, 0, 0, -1, -EFAULT, 0 },
	{ "a source that cannot be read behind its second page", SRC_TWO_THEN_GAP, 0, PAGES(3),
	  FLAGS_RW, 0, 0, -1, -EFAULT, PAGES(2) },
	{ "a source that cannot be read", SRC_PROT_NONE, 0, PAGES(1), FLAGS_RW, 0, 0, -1, -EFAULT,
	  0 },
	{ "a source that may not be executable", SRC_NOEXEC, 0, PAGES(1), FLAGS_R, 0, 0, -1,
	  -EACCES, 0 },
	{ "EADD refuses a TCS with reserved fields", SRC_OK, 0, PAGES(1), FLAGS_TCS, 0, 0, -1, -EIO,
	  0 },
	{ "four pages", SRC_OK, 0, PAGES(4), FLAGS_RW, 0, 0, -1, 0, PAGES(4) },
	{ "the last page", SRC_OK, PAGES(15), PAGES(1), FLAGS_RWX, 0, 0, -1, 0, PAGES(1) },
};

struct sources {
	uint8_t *four, *none;
};

static uint64_t source_of(const struct sources *s, const struct caller *c, enum source source)
{
	switch (source) {
	case SRC_OK:
		return (uint64_t)s->four;
	case SRC_MISALIGNED:
		return (uint64_t)s->four + 64;
	case SRC_NULL:
		return 0;
	case SRC_TWO_THEN_GAP:
		return (uint64_t)s->four + PAGES(2);
	case SRC_NOEXEC:
		return (uint64_t)c->noexec;
	case SRC_PROT_NONE:
		return (uint64_t)s->none;
	}
	return 0;
}

static void run(size_t i, const struct sources *s)
{
	struct sgx_secinfo secinfo = { .flags = cases[i].secinfo_flags };
	struct sgx_enclave_add_pages arg = { .count = UNTOUCHED };
	struct encl_info info;
	struct encl *encl;
	struct caller c;
	struct world w;
	long r;

	world_init(&w, 64, 0);
	caller_init(&c);
	encl = make_encl(&c, &w, 16, 0);
	TAP_MUST(add_zeroes(&c, encl, PAGES(8), FLAGS_RW) == 0, "page 8 is there");
	secinfo.reserved[3] = cases[i].secinfo_reserved;
	arg.src = source_of(s, &c, cases[i].source);
	arg.offset = cases[i].offset;
	arg.length = cases[i].length;
	arg.secinfo = cases[i].secinfo_wild ? WILD : (uint64_t)&secinfo;
	c.signal_after = cases[i].signal_after;
	r = caller_ioctl(&c, encl, SGX_IOC_ENCLAVE_ADD_PAGES, &arg);
	encl_info_read(encl, &info);
	TAP_CHECK(r == cases[i].r && arg.count == cases[i].count, "%s: %ld, count %llu (%ld, %llu)",
		  cases[i].name, cases[i].r, (unsigned long long)cases[i].count, r,
		  (unsigned long long)arg.count);
	TAP_CHECK(info.pages == 1 + (arg.count == UNTOUCHED ? 0 : arg.count / SGX_PAGE_SIZE),
		  "%s: so many pages are new", cases[i].name);
	encl_put(encl);
	caller_fini(&c);
	world_fini(&w, cases[i].name);
}

static void states(const struct sources *s)
{
	struct sgx_secinfo secinfo = { .flags = FLAGS_RW };
	struct sgx_enclave_add_pages *arg = mmap(NULL, SGX_PAGE_SIZE, PROT_READ | PROT_WRITE,
						 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct encl *encl;
	struct build b;
	struct caller c;
	struct world w;
	long r;

	world_init(&w, 64, 0);
	caller_init(&c);
	*arg = (struct sgx_enclave_add_pages){ .src = (uint64_t)s->four,
					       .length = PAGES(1),
					       .secinfo = (uint64_t)&secinfo };
	TAP_MUST(encl_open(w.registry, &encl) == 0, "opened");
	r = caller_ioctl(&c, encl, SGX_IOC_ENCLAVE_ADD_PAGES, arg);
	TAP_CHECK(r == -EINVAL, "not created: -EINVAL (%ld)", r);
	r = caller_ioctl(&c, encl, SGX_IOC_ENCLAVE_ADD_PAGES, (void *)WILD);
	TAP_CHECK(r == -EINVAL, "not created, argument unreadable: -EINVAL (%ld)", r);
	encl_put(encl);
	TAP_MUST(build_create(&b, &w, PAGES(16), 0) == 0, "created");
	r = caller_ioctl(&c, b.encl, SGX_IOC_ENCLAVE_ADD_PAGES, (void *)WILD);
	TAP_CHECK(r == -EFAULT, "argument unreadable: -EFAULT (%ld)", r);
	/* Written back at the end, so it must be writable; the page is there all the same. */
	mprotect(arg, SGX_PAGE_SIZE, PROT_READ);
	r = caller_ioctl(&c, b.encl, SGX_IOC_ENCLAVE_ADD_PAGES, arg);
	TAP_CHECK(r == -EFAULT, "argument read-only: -EFAULT at the end (%ld)", r);
	r = caller_ioctl(&c, b.encl, SGX_IOC_ENCLAVE_ADD_PAGES, arg);
	mprotect(arg, SGX_PAGE_SIZE, PROT_READ | PROT_WRITE);
	r = caller_ioctl(&c, b.encl, SGX_IOC_ENCLAVE_ADD_PAGES, arg);
	TAP_CHECK(r == -EBUSY, "and the page was added (%ld)", r);
	build_fini(&b);
	TAP_MUST(build_create(&b, &w, PAGES(16), 0) == 0 && build_init(&b) == 0, "initialised");
	r = caller_ioctl(&c, b.encl, SGX_IOC_ENCLAVE_ADD_PAGES, arg);
	TAP_CHECK(r == -EINVAL, "initialised: -EINVAL (%ld)", r);
	build_fini(&b);
	munmap(arg, SGX_PAGE_SIZE);
	caller_fini(&c);
	world_fini(&w, "states");
}

static void no_epc(const struct sources *s)
{
	struct sgx_secinfo secinfo = { .flags = FLAGS_RW };
	struct sgx_enclave_add_pages arg = { .src = (uint64_t)s->four,
					     .length = PAGES(4),
					     .secinfo = (uint64_t)&secinfo };
	struct encl *encl;
	struct hog hog;
	struct caller c;
	struct world w;
	long r;

	world_init(&w, 16, 0);
	caller_init(&c);
	encl = make_encl(&c, &w, 16, 0);
	hog_init(&hog, &w);
	r = caller_ioctl(&c, encl, SGX_IOC_ENCLAVE_ADD_PAGES, &arg);
	TAP_CHECK(r == -ENOMEM && arg.count == 0, "no EPC page, none to reclaim: -ENOMEM (%ld)", r);
	hog_fini(&hog, &w);
	encl_put(encl);
	caller_fini(&c);
	world_fini(&w, "no EPC");
}

/* MEASURE is bit 0; a page added without it is not in MRENCLAVE but for its EADD. */
static void measured(const struct sources *s)
{
	static const uint64_t flags[] = { 0, SGX_PAGE_MEASURE, 6, 7 };
	struct signer *signer = signer_create();
	struct sgx_secinfo secinfo = { .flags = FLAGS_RW };
	struct sgx_sigstruct *sig = aligned_alloc(SGX_PAGE_SIZE, SGX_PAGE_SIZE);
	struct sgx_attributes attributes = { SGX_ATTR_MODE64BIT, SGX_XFRM_LEGACY };
	struct sgx_enclave_init init = { .sigstruct = (uint64_t)sig };
	struct caller c;
	struct world w;

	world_init(&w, 64, 0);
	caller_init(&c);
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		struct sgx_enclave_add_pages arg = { .src = (uint64_t)s->four,
						     .length = PAGES(1),
						     .flags = flags[i],
						     .secinfo = (uint64_t)&secinfo };
		struct encl *encl = make_encl(&c, &w, 16, 0);
		struct measure *m = measure_create(1, PAGES(16));
		uint8_t mrenclave[32];
		long r;

		TAP_MUST(caller_ioctl(&c, encl, SGX_IOC_ENCLAVE_ADD_PAGES, &arg) == 0, "added");
		measure_add(m, 0, FLAGS_RW);
		if (flags[i] & SGX_PAGE_MEASURE)
			measure_extend(m, 0, s->four);
		measure_final(m, mrenclave);
		sigstruct_init(sig, mrenclave, attributes);
		sigstruct_sign(sig, signer);
		r = caller_ioctl(&c, encl, SGX_IOC_ENCLAVE_INIT, &init);
		TAP_CHECK(r == 0, "flags %#llx: measured as they say (%ld)",
			  (unsigned long long)flags[i], r);
		encl_put(encl);
	}
	signer_destroy(signer);
	free(sig);
	caller_fini(&c);
	world_fini(&w, "measured");
}

int main(void)
{
	struct sources s;

	s.four = mmap(NULL, PAGES(6), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mprotect(s.four + PAGES(4), PAGES(2), PROT_NONE);
	memset(s.four, 0xa5, PAGES(4));
	s.none = mmap(NULL, PAGES(1), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		run(i, &s);
	states(&s);
	no_epc(&s);
	measured(&s);
	return tap_done();
}
