/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Building an enclave with the ioctls of /dev/sgx_enclave, and entering it through the vDSO.
 *
 * The order is Linux's: reserve the range, CREATE, ADD_PAGES, INIT, then map each part with the
 * rights that it was added with.  A signal may cut ADD_PAGES short (it then says how far it
 * came) or interrupt it; both just go on.
 */
#include "loader.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vdso.h"

int enclave_call(uint64_t request, unsigned int function, struct sgx_enclave_run *run, void *vdso);

#define ZEROES_BYTES (1u << 20) /* the source of pages that begin empty, a piece at a time */

static int device_open(void)
{
	static const char *const paths[] = { "/dev/sgx_enclave", "/dev/sgx/enclave" };
	int fd = -1;

	for (unsigned int i = 0; fd < 0 && i < sizeof(paths) / sizeof(paths[0]); i++)
		fd = open(paths[i], O_RDWR | O_CLOEXEC);
	if (fd < 0)
		fprintf(stderr, "kv: /dev/sgx_enclave: %s\n", strerrordesc_np(errno));
	return fd;
}

/* ELRANGE is aligned to its size: take twice as much, give back what is too much. */
static bool reserve(struct loader *loader, uint64_t size)
{
	uint64_t area, end;
	void *p = mmap(NULL, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		perror("kv: no room for the enclave");
		return false;
	}
	area = (uint64_t)(uintptr_t)p;
	end = area + 2 * size;
	loader->base = (area + size - 1) & ~(size - 1);
	loader->size = size;
	if (loader->base > area)
		munmap(p, loader->base - area);
	if (loader->base + size < end)
		munmap((void *)(uintptr_t)(loader->base + size), end - loader->base - size);
	return true;
}

static bool create(struct loader *loader, const struct image *image)
{
	static struct sgx_secs secs __attribute__((aligned(4096)));
	struct sgx_enclave_create create = { .src = (uintptr_t)&secs };

	secs = image->secs;
	secs.base = loader->base;
	if (ioctl(loader->fd, SGX_IOC_ENCLAVE_CREATE, &create) == 0)
		return true;
	perror("kv: SGX_IOC_ENCLAVE_CREATE");
	return false;
}

static bool add_pages(const struct loader *loader, const struct image_range *range, uint64_t from,
		      uint64_t bytes, const uint8_t *contents)
{
	struct sgx_secinfo secinfo = { .flags = range->secinfo };
	uint64_t done = 0;

	while (done < bytes) {
		struct sgx_enclave_add_pages add = {
			.src = (uintptr_t)contents + done,
			.offset = range->off + from + done,
			.length = bytes - done,
			.secinfo = (uintptr_t)&secinfo,
			.flags = range->measured ? SGX_PAGE_MEASURE : 0,
		};
		int r = ioctl(loader->fd, SGX_IOC_ENCLAVE_ADD_PAGES, &add);

		if (r < 0 && errno != EINTR) {
			fprintf(stderr, "kv: SGX_IOC_ENCLAVE_ADD_PAGES at 0x%llx: %s\n",
				add.offset + add.count, strerrordesc_np(errno));
			return false;
		}
		done += add.count;
	}
	return true;
}

static bool add_range(const struct loader *loader, const struct image_range *range,
		      const uint8_t *zeroes)
{
	if (range->contents)
		return add_pages(loader, range, 0, range->bytes, range->contents);
	for (uint64_t off = 0; off < range->bytes; off += ZEROES_BYTES) {
		uint64_t rest = range->bytes - off;

		if (!add_pages(loader, range, off, rest < ZEROES_BYTES ? rest : ZEROES_BYTES,
			       zeroes))
			return false;
	}
	return true;
}

static bool add_all(const struct loader *loader, const struct image *image)
{
	uint8_t *zeroes = mmap(NULL, ZEROES_BYTES, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool ok = zeroes != MAP_FAILED;

	for (unsigned int i = 0; ok && i < image->range_nr; i++) {
		if (image->ranges[i].add)
			ok = add_range(loader, &image->ranges[i], zeroes);
	}
	if (zeroes != MAP_FAILED)
		munmap(zeroes, ZEROES_BYTES);
	return ok;
}

static bool init(const struct loader *loader, const struct sgx_sigstruct *sig)
{
	static struct sgx_sigstruct copy __attribute__((aligned(4096)));
	struct sgx_enclave_init arg = { .sigstruct = (uintptr_t)&copy };
	int r;

	copy = *sig;
	do {
		r = ioctl(loader->fd, SGX_IOC_ENCLAVE_INIT, &arg);
	} while (r < 0 && errno == EINTR);
	if (r == 0)
		return true;
	if (r > 0)
		fprintf(stderr, "kv: SGX_IOC_ENCLAVE_INIT: SGX code %d\n", r);
	else
		perror("kv: SGX_IOC_ENCLAVE_INIT");
	return false;
}

static bool map_all(const struct loader *loader, const struct image *image)
{
	for (unsigned int i = 0; i < image->range_nr; i++) {
		const struct image_range *range = &image->ranges[i];
		void *at = (void *)(uintptr_t)(loader->base + range->off);

		if (mmap(at, range->bytes, range->prot, MAP_SHARED | MAP_FIXED, loader->fd, 0) ==
		    at)
			continue;
		fprintf(stderr, "kv: cannot map the enclave at 0x%" PRIx64 ": %s\n", range->off,
			strerrordesc_np(errno));
		return false;
	}
	return true;
}

enum loader_result loader_open(struct loader *loader, const struct image *image,
			       const struct sgx_sigstruct *sig)
{
	memset(loader, 0, sizeof(*loader));
	loader->fd = device_open();
	if (loader->fd < 0)
		return LOADER_NO_SGX;
	loader->enter = vdso_function("__vdso_sgx_enter_enclave");
	if (!loader->enter) {
		fprintf(stderr, "kv: the vDSO has no __vdso_sgx_enter_enclave\n");
		close(loader->fd);
		return LOADER_NO_SGX;
	}
	if (!reserve(loader, image->secs.size)) {
		close(loader->fd);
		return LOADER_FAILED;
	}
	if (!create(loader, image) || !add_all(loader, image) || !init(loader, sig) ||
	    !map_all(loader, image)) {
		loader_close(loader);
		return LOADER_FAILED;
	}
	loader->threads = image->threads;
	for (unsigned int i = 0; i < image->threads; i++)
		loader->tcs[i] = loader->base + image->tcs_off[i];
	return LOADER_OK;
}

void loader_close(struct loader *loader)
{
	munmap((void *)(uintptr_t)loader->base, loader->size);
	close(loader->fd);
	loader->fd = -1;
}

bool loader_enter(const struct loader *loader, unsigned int thread, struct kv_request *request,
		  struct sgx_enclave_run *run)
{
	int r;

	memset(run, 0, sizeof(*run));
	run->tcs = loader->tcs[thread];
	r = enclave_call((uintptr_t)request, SGX_EENTER, run, loader->enter);
	if (r == 0 && run->function == SGX_EEXIT)
		return true;
	if (r != 0) {
		fprintf(stderr, "kv: __vdso_sgx_enter_enclave: %s\n", strerrordesc_np(-r));
		abort();
	}
	return false;
}

static const char *vector_name(unsigned int vector)
{
	static const char *const names[] = {
		[0] = "#DE",  [1] = "#DB",  [3] = "#BP",  [5] = "#BR",  [6] = "#UD",
		[13] = "#GP", [14] = "#PF", [16] = "#MF", [17] = "#AC", [19] = "#XM"
	};

	return vector < sizeof(names) / sizeof(names[0]) && names[vector] ? names[vector] : "?";
}

void loader_print_exception(const struct loader *loader, const struct sgx_enclave_run *run)
{
	uint64_t addr = run->exception_addr;

	fprintf(stderr, "kv: exception %u (%s), error code 0x%x, address 0x%" PRIx64,
		run->exception_vector, vector_name(run->exception_vector),
		run->exception_error_code, addr);
	if (addr >= loader->base && addr < loader->base + loader->size)
		fprintf(stderr, " (enclave + 0x%" PRIx64 ")", addr - loader->base);
	fprintf(stderr, ", %s\n", run->function == SGX_EENTER ? "at EENTER" : "in the enclave");
}
