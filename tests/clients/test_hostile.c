/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Bad input: wild pointers to every ioctl, sizes that overflow, sources that are not there,
 * concurrent ioctls on one fd.  Each gets its errno, and the next enclave works.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "client.h"
#include "lib/tap.h"

#define PAGE 4096ull

static void *wild[6];

static void make_wild(void)
{
	uint8_t *two =
		mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	munmap(two + PAGE, PAGE);
	wild[0] = NULL;
	wild[1] = (void *)8;
	wild[2] = (void *)0x7fffffffe000ull;
	wild[3] = (void *)0xffffffff80000000ull;
	wild[4] = two + PAGE - 4; /* half of it is there */
	wild[5] = (void *)0x8000000000000000ull;
}

static const struct {
	const char *name;
	unsigned long request;
} ioctls[] = {
	{ "CREATE", SGX_IOC_ENCLAVE_CREATE },
	{ "ADD_PAGES", SGX_IOC_ENCLAVE_ADD_PAGES },
	{ "INIT", SGX_IOC_ENCLAVE_INIT },
	{ "PROVISION", SGX_IOC_ENCLAVE_PROVISION },
	{ "RESTRICT", SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS },
	{ "MODIFY_TYPES", SGX_IOC_ENCLAVE_MODIFY_TYPES },
	{ "REMOVE_PAGES", SGX_IOC_ENCLAVE_REMOVE_PAGES },
};

/* The state in which each ioctl gets as far as reading its argument. */
static void check_wild_arguments(void)
{
	struct client_conf created = { .no_init = true }, ready = { 0 };
	struct client_encl a, b;
	int fresh = client_open();

	TAP_MUST(!client_create(&a, &created) && !client_create(&b, &ready), "two enclaves");
	for (size_t i = 0; i < sizeof(ioctls) / sizeof(ioctls[0]); i++) {
		int fd = i == 0 ? fresh : i <= 3 ? a.fd : b.fd, bad = 0;

		for (size_t w = 0; w < sizeof(wild) / sizeof(wild[0]); w++) {
			/* half of a 4-byte fd and of an 8-byte pointer is not "half" */
			if (w == 4 && ioctls[i].request == SGX_IOC_ENCLAVE_PROVISION)
				continue;
			bad += ioctl(fd, ioctls[i].request, wild[w]) != -1 || errno != EFAULT;
		}
		TAP_CHECK(!bad, "%s: a wild argument: EFAULT (%d others)", ioctls[i].name, bad);
	}
	close(fresh);
	client_destroy(&a);
	client_destroy(&b);
}

static void check_wild_inner(void)
{
	struct client_conf conf = { .no_init = true, .aug_pages = 2 };
	struct client_encl e;
	uint8_t *page = aligned_alloc(PAGE, PAGE);
	struct sgx_secinfo info __attribute__((
		aligned(64))) = { .flags = SGX_SECINFO_R | SGX_SECINFO_TYPE(SGX_PT_REG) };
	int fd = client_open();

	TAP_MUST(!client_create(&e, &conf), "an enclave without INIT");
	for (size_t w = 0; w < sizeof(wild) / sizeof(wild[0]); w++) {
		struct sgx_enclave_create c = { .src = (uintptr_t)wild[w] };
		struct sgx_enclave_init i = { .sigstruct = (uintptr_t)wild[w] };
		struct sgx_enclave_add_pages a = { .src = (uintptr_t)page,
						   .offset = e.aug,
						   .length = PAGE,
						   .secinfo = (uintptr_t)wild[w] };

		TAP_CHECK(ioctl(fd, SGX_IOC_ENCLAVE_CREATE, &c) == -1 && errno == EFAULT,
			  "CREATE: SECS at %p: EFAULT", wild[w]);
		TAP_CHECK(ioctl(e.fd, SGX_IOC_ENCLAVE_INIT, &i) == -1 && errno == EFAULT,
			  "INIT: SIGSTRUCT at %p: EFAULT", wild[w]);
		TAP_CHECK(ioctl(e.fd, SGX_IOC_ENCLAVE_ADD_PAGES, &a) == -1 && errno == EFAULT,
			  "ADD_PAGES: SECINFO at %p: EFAULT", wild[w]);
		a.secinfo = (uintptr_t)&info;
		a.src = (uintptr_t)wild[w] & ~(PAGE - 1);
		if (w == 4)
			a.src += PAGE;
		a.count = 99;
		TAP_CHECK(ioctl(e.fd, SGX_IOC_ENCLAVE_ADD_PAGES, &a) == -1 && errno == EFAULT &&
				  a.count == 0,
			  "ADD_PAGES: source at %#llx: EFAULT, count 0", (unsigned long long)a.src);
	}
	close(fd);
	TAP_CHECK(!client_init(&e), "and INIT goes on");
	client_destroy(&e);
	free(page);
}

static void check_add_sizes(void)
{
	static const struct {
		uint64_t offset, length;
	} rows[] = {
		{ 0, 0 },
		{ 0, 1 },
		{ 1, PAGE },
		{ 0, PAGE + 1 },
		{ 0, -PAGE },
		{ -PAGE, PAGE },
		{ -PAGE, 2 * PAGE },
		{ PAGE, -PAGE },
		{ 1ull << 40, PAGE },
		{ 0, 1ull << 40 },
		{ 0, ~0ull },
		{ 1ull << 63, 1ull << 63 },
	};
	struct client_conf conf = { .no_init = true };
	struct client_encl e;
	uint8_t *page = aligned_alloc(PAGE, PAGE);
	struct sgx_secinfo info __attribute__((
		aligned(64))) = { .flags = SGX_SECINFO_R | SGX_SECINFO_TYPE(SGX_PT_REG) };

	TAP_MUST(!client_create(&e, &conf), "an enclave without INIT");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct sgx_enclave_add_pages a = { .src = (uintptr_t)page,
						   .offset = rows[i].offset,
						   .length = rows[i].length,
						   .secinfo = (uintptr_t)&info };

		TAP_CHECK(ioctl(e.fd, SGX_IOC_ENCLAVE_ADD_PAGES, &a) == -1 && errno == EINVAL,
			  "ADD_PAGES: offset %#llx length %#llx: EINVAL",
			  (unsigned long long)a.offset, (unsigned long long)a.length);
	}
	TAP_CHECK(!client_init(&e), "and INIT goes on");
	client_destroy(&e);
	free(page);
}

static int create_with(uint64_t size, uint64_t base, uint32_t frame)
{
	struct sgx_secs secs = { .size = size, .baseaddr = base, .ssa_frame_size = frame };
	struct sgx_enclave_create c = { .src = (uintptr_t)&secs };
	int fd = client_open(), err;

	secs.attributes.flags = SGX_ATTR_MODE64BIT;
	secs.attributes.xfrm = 3;
	err = ioctl(fd, SGX_IOC_ENCLAVE_CREATE, &c) ? errno : 0;
	close(fd);
	return err;
}

static void check_create_sizes(void)
{
	TAP_CHECK(create_with(0x3000, 0x100000000, 1) == EINVAL, "size not a power of two: EINVAL");
	TAP_CHECK(create_with(0, 0, 1) != 0, "size 0: refused");
	TAP_CHECK(create_with(0x1000, 0x100000000, 1) == EIO, "one page: EIO");
	TAP_CHECK(create_with(0x10000, 0x100001000, 1) == EIO, "base not aligned to size: EIO");
	TAP_CHECK(create_with(0x10000, 0x100000000, 0) == EIO, "no SSA frame: EIO");
	TAP_CHECK(create_with(1ull << 62, 0, 1) != 0, "2^62 bytes: refused");
	TAP_CHECK(create_with(1ull << 63, 0, 1) != 0, "2^63 bytes: refused");
	TAP_CHECK(create_with(0x10000, 0x100000000, 1) == 0, "and a good one is made");
}

/* Two ioctls on one fd at once: one of them is told EBUSY, nobody is harmed. */
static struct client_encl shared;
static volatile int busy, done, wrong;

static void *other_ioctl(void *arg)
{
	(void)arg;
	while (!done) {
		struct sgx_enclave_init i = { .sigstruct = 8 };

		if (ioctl(shared.fd, SGX_IOC_ENCLAVE_INIT, &i) == 0)
			wrong++;
		else if (errno == EBUSY)
			busy++;
		else if (errno != EFAULT)
			wrong++;
	}
	return NULL;
}

/* Add @pages pages beside the other thread; the errno that is neither 0 nor EBUSY. */
static int add_beside(uint8_t *src, uint64_t pages, uint64_t *ret_added)
{
	struct sgx_secinfo info
		__attribute__((aligned(64))) = { .flags = SGX_SECINFO_R | SGX_SECINFO_W |
							  SGX_SECINFO_TYPE(SGX_PT_REG) };
	uint64_t added = 0;
	time_t end = time(NULL) + 20;
	int err = 0;

	/* EBUSY for as long as the other is not scheduled in the middle of its call. */
	while (added < pages * PAGE && time(NULL) < end) {
		struct sgx_enclave_add_pages a = { .src = (uintptr_t)src + added,
						   .offset = shared.aug + added,
						   .length = pages * PAGE - added,
						   .secinfo = (uintptr_t)&info };

		err = ioctl(shared.fd, SGX_IOC_ENCLAVE_ADD_PAGES, &a) ? errno : 0;
		if (err && err != EBUSY)
			break;
		if (err)
			sched_yield();
		added += err ? 0 : a.count;
	}
	*ret_added = added;
	return err == EBUSY ? 0 : err;
}

static void check_concurrent(void)
{
	struct client_conf conf = { .no_init = true, .aug_pages = 2048 };
	const uint64_t pages = 2048;
	uint8_t *src = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			    -1, 0);
	uint64_t added = pages * PAGE;
	int err = 0;

	/* Whether the two meet is the scheduler's choice. */
	for (int round = 0; round < 30 && !busy && !err && added == pages * PAGE; round++) {
		pthread_t thread;

		err = -client_create(&shared, &conf);
		if (err)
			break;
		done = 0;
		pthread_create(&thread, NULL, other_ioctl, NULL);
		err = add_beside(src, pages, &added);
		done = 1;
		pthread_join(thread, NULL);
		client_destroy(&shared);
	}
	TAP_CHECK(added == pages * PAGE && !err && !wrong,
		  "all pages went in beside EBUSYs (errno %d, %d wrong)", err, wrong);
	TAP_CHECK(busy > 0, "the other thread was told EBUSY %d times", busy);
	munmap(src, pages * PAGE);
}

static void check_states(void)
{
	struct client_conf conf = { 0 };
	struct client_encl e;
	struct sgx_enclave_create c;
	struct sgx_enclave_init i;
	struct sgx_enclave_add_pages a = { 0 };
	struct sgx_enclave_provision p = { .fd = -1 };
	int fd = client_open();

	TAP_MUST(!client_create(&e, &conf), "an enclave");
	c.src = (uintptr_t)e.secs;
	i.sigstruct = (uintptr_t)e.sig;
	TAP_CHECK(ioctl(e.fd, SGX_IOC_ENCLAVE_CREATE, &c) == -1 && errno == EINVAL,
		  "CREATE twice: EINVAL");
	TAP_CHECK(ioctl(e.fd, SGX_IOC_ENCLAVE_INIT, &i) == -1 && errno == EINVAL,
		  "INIT twice: EINVAL");
	TAP_CHECK(ioctl(e.fd, SGX_IOC_ENCLAVE_ADD_PAGES, &a) == -1 && errno == EINVAL,
		  "ADD_PAGES after INIT: EINVAL");
	TAP_CHECK(ioctl(fd, SGX_IOC_ENCLAVE_INIT, &i) == -1 && errno == EINVAL,
		  "INIT before CREATE: EINVAL");
	TAP_CHECK(ioctl(fd, SGX_IOC_ENCLAVE_ADD_PAGES, &a) == -1 && errno == EINVAL,
		  "ADD_PAGES before CREATE: EINVAL");
	TAP_CHECK(ioctl(fd, SGX_IOC_ENCLAVE_PROVISION, &p) == -1 && errno == EINVAL,
		  "PROVISION with fd -1: EINVAL");
	p.fd = 0;
	TAP_CHECK(ioctl(fd, SGX_IOC_ENCLAVE_PROVISION, &p) == -1 && errno == EINVAL,
		  "PROVISION with another fd: EINVAL");
	close(fd);
	TAP_CHECK(ioctl(fd, SGX_IOC_ENCLAVE_CREATE, &c) == -1 && errno == EBADF,
		  "an ioctl on a closed fd: EBADF");
	client_destroy(&e);
}

static void check_leaks(void)
{
	int bad = 0;

	for (int n = 0; n < 300; n++) {
		struct client_conf conf = { .heap_pages = 20, .no_init = n & 1 };
		struct client_encl e;

		bad += client_create(&e, &conf) != 0;
		if (!bad)
			client_destroy(&e);
	}
	TAP_CHECK(!bad, "300 enclaves made and thrown away: nothing runs out");
}

int main(void)
{
	make_wild();
	check_wild_arguments();
	check_wild_inner();
	check_add_sizes();
	check_create_sizes();
	check_concurrent();
	check_states();
	check_leaks();
	return tap_done();
}
