/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Building: a page a call, whole segments, sources of each kind, the probe for EDMM, and what
 * makes INIT say no.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client.h"
#include "lib/tap.h"

#define PAGE 4096ull

static void check_sizes(void)
{
	static const struct {
		const char *name;
		struct client_conf conf;
	} rows[] = {
		{ "no heap", { 0 } },
		{ "1500 pages, a page a call", { .heap_pages = 1500, .one_page = true } },
		{ "1500 pages in one call", { .heap_pages = 1500 } },
		{ "RWX heap", { .heap_pages = 4, .heap_rwx = true } },
		{ "16 threads", { .threads = 16 } },
		{ "debug", { .attributes = SGX_ATTR_DEBUG } },
		{ "EXINFO", { .miscselect = SGX_MISC_EXINFO } },
		{ "KSS", { .attributes = SGX_ATTR_KSS, .configid = "config", .configsvn = 3 } },
		{ "the other signer", { .key = 1 } },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct client_encl e;
		int err = client_create(&e, &rows[i].conf);

		if (!TAP_CHECK(!err, "%s: built (%s, %d)", rows[i].name, err ? e.failed : "", err))
			continue;
		TAP_CHECK(!client_op(&e, e.threads - 1, OP_NOP, 0, 0, 0), "%s: entered",
			  rows[i].name);
		client_destroy(&e);
	}
}

/* XFRM as real loaders compute it: everything that is there. */
static void check_full_xfrm(void)
{
	uint32_t r[4];
	struct client_conf conf = { 0 };
	struct client_encl e;
	int err;

	client_cpuid(0x12, 1, r);
	conf.xfrm = client_xcr0() & (r[2] | (uint64_t)r[3] << 32);
	err = client_create(&e, &conf);
	if (TAP_CHECK(!err, "XFRM %#llx = XCR0 & CPUID: built (%s, %d)",
		      (unsigned long long)conf.xfrm, err ? e.failed : "", err)) {
		TAP_CHECK(!client_op(&e, 0, OP_NOP, 0, 0, 0), "and entered");
		client_destroy(&e);
	}
}

/* Add one page from @src to a created enclave. */
static int add_from(struct client_encl *e, uint64_t offset, const void *src)
{
	struct sgx_secinfo info
		__attribute__((aligned(64))) = { .flags = SGX_SECINFO_R | SGX_SECINFO_W |
							  SGX_SECINFO_TYPE(SGX_PT_REG) };
	struct sgx_enclave_add_pages arg = {
		.src = (uintptr_t)src, .offset = offset, .length = PAGE, .secinfo = (uintptr_t)&info
	};

	if (ioctl(e->fd, SGX_IOC_ENCLAVE_ADD_PAGES, &arg))
		return errno;
	return arg.count == PAGE ? 0 : -1;
}

static void check_sources(void)
{
	struct client_conf conf = { .no_init = true, .aug_pages = 16 };
	struct client_encl e;
	char path[] = "/tmp/swsgx-client-XXXXXX";
	int fd = mkstemp(path);
	void *file, *ro, *anon, *none;

	TAP_MUST(!client_create(&e, &conf), "an enclave without INIT");
	unlink(path);
	TAP_MUST(!ftruncate(fd, PAGE), "a file");
	file = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	ro = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	anon = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED | MAP_ANONYMOUS, -1,
		    0);
	none = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	TAP_CHECK(!add_from(&e, e.aug, file), "source: a private file mapping");
	TAP_CHECK(!add_from(&e, e.aug + PAGE, ro), "source: anonymous, read only, never touched");
	TAP_CHECK(!add_from(&e, e.aug + 2 * PAGE, anon), "source: shared, RWX");
	TAP_CHECK(add_from(&e, e.aug + 3 * PAGE, none) == EFAULT, "source: PROT_NONE: EFAULT");
	munmap(none, PAGE);
	TAP_CHECK(add_from(&e, e.aug + 3 * PAGE, none) == EFAULT, "source: nothing there: EFAULT");
	TAP_CHECK(add_from(&e, e.aug + 3 * PAGE, (char *)anon + 8) == EINVAL,
		  "source: not aligned: EINVAL");
	TAP_CHECK(add_from(&e, e.aug, anon) == EBUSY, "the same offset again: EBUSY");
	TAP_CHECK(!add_from(&e, e.aug + 3 * PAGE, anon), "and after all that, another page");
	close(fd);
	client_destroy(&e);
}

/* Programs tell kernels with EDMM from others by ioctl 5 with nothing in it. */
static void check_edmm_probe(void)
{
	struct sgx_enclave_restrict_permissions zero = { 0 };
	int fd = client_open();

	TAP_CHECK(ioctl(fd, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, &zero) == -1 &&
			  (client_has_sgx2() ? errno == EINVAL : errno == ENODEV),
		  "ioctl 5, all zero, fresh fd: not ENOTTY (%s)", strerror(errno));
	TAP_CHECK(ioctl(fd, _IOWR(0xa4, 0x4f, struct sgx_enclave_restrict_permissions), &zero) ==
				  -1 &&
			  errno == ENOTTY,
		  "an ioctl that is none: ENOTTY");
	close(fd);
}

static int create_err(const struct client_conf *conf, const char **step)
{
	struct client_encl e;
	int err = client_create(&e, conf);

	*step = err ? e.failed : "none";
	if (!err)
		client_destroy(&e);
	return err;
}

static void check_refusals(void)
{
	static const struct {
		const char *name;
		struct client_conf conf;
		int err;
		const char *step;
	} rows[] = {
		{ "SIGSTRUCT's attributes differ",
		  { .signed_attributes_xor = SGX_ATTR_KSS },
		  -EPERM,
		  "INIT" },
		{ "PROVISIONKEY without the device",
		  { .attributes = SGX_ATTR_PROVISIONKEY },
		  -EACCES,
		  "INIT" },
		{ "EINITTOKENKEY without the device",
		  { .attributes = SGX_ATTR_EINITTOKENKEY },
		  -EACCES,
		  "INIT" },
		{ "a reserved attribute", { .attributes = 0x8 }, -EIO, "CREATE" },
		{ "XFRM without x87", { .xfrm = 2 }, -EIO, "CREATE" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *step;
		int err = create_err(&rows[i].conf, &step);

		TAP_CHECK(err == rows[i].err && !strcmp(step, rows[i].step), "%s: %s at %s (%d)",
			  rows[i].name, strerror(-err), step, err);
	}
}

static int init_with(const struct client_conf *conf, size_t spoil_offset)
{
	struct client_encl e;
	int err = client_create(&e, conf);

	if (err)
		return err;
	((uint8_t *)e.sig)[spoil_offset] ^= 1;
	err = client_init(&e);
	client_destroy(&e);
	return err;
}

/* Signed by its owner with another type in the header: EINIT knows one header only. */
static int init_header_type(const struct client_conf *conf)
{
	struct client_encl e;
	int err = client_create(&e, conf);

	if (err)
		return err;
	e.sig->header[15] = 0x80;
	if (!client_sigstruct_sign(e.sig, client_keys[0]))
		err = -EKEYREJECTED;
	else
		err = client_init(&e);
	client_destroy(&e);
	return err;
}

static void check_signature(void)
{
	struct client_conf conf = { .no_init = true };

	TAP_CHECK(init_with(&conf, offsetof(struct sgx_sigstruct, signature)) == -EPERM,
		  "a bit of the signature: EPERM");
	TAP_CHECK(init_with(&conf, offsetof(struct sgx_sigstruct, enclavehash)) == -EPERM,
		  "a bit of ENCLAVEHASH: EPERM");
	TAP_CHECK(init_with(&conf, offsetof(struct sgx_sigstruct, q1) + 5) == -EPERM,
		  "a bit of Q1: EPERM");
	TAP_CHECK(init_with(&conf, offsetof(struct sgx_sigstruct, q2) + 5) == -EPERM,
		  "a bit of Q2: EPERM");
	TAP_CHECK(init_with(&conf, offsetof(struct sgx_sigstruct, exponent)) == -EPERM,
		  "another exponent: EPERM");
	TAP_CHECK(init_with(&conf, offsetof(struct sgx_sigstruct, vendor)) == -EINVAL,
		  "an unknown vendor: EINVAL");
	TAP_CHECK(init_with(&conf, offsetof(struct sgx_sigstruct, header) + 3) == -EPERM,
		  "a header type other than 0: EPERM");
	TAP_CHECK(init_header_type(&conf) == -EPERM,
		  "header type 0x80000000, as on the old launch enclave: EPERM");
	TAP_CHECK(init_with(&conf, offsetof(struct sgx_sigstruct, swdefined)) == -EPERM,
		  "SWDEFINED is signed: EPERM");
}

int main(void)
{
	check_sizes();
	check_full_xfrm();
	check_sources();
	check_edmm_probe();
	check_refusals();
	check_signature();
	return tap_done();
}
