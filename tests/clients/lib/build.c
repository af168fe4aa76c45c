/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Building the enclave through the ioctls of Linux: reserve, CREATE, ADD_PAGES, map, INIT.  The
 * flags of client_conf choose between the orders and ways in which real loaders do it.
 */
#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096ull

int client_open(void)
{
	int fd = open("/dev/sgx_enclave", O_RDWR | O_CLOEXEC);

	return fd >= 0 ? fd : open("/dev/sgx/enclave", O_RDWR | O_CLOEXEC);
}

int client_open_provision(void)
{
	int fd = open("/dev/sgx_provision", O_RDONLY);

	return fd >= 0 ? fd : open("/dev/sgx/provision", O_RDONLY);
}

int client_secinfo_prot(uint64_t flags)
{
	if ((flags & SGX_SECINFO_TYPE_MASK) == SGX_SECINFO_TYPE(SGX_PT_TCS))
		return PROT_READ | PROT_WRITE;
	return (flags & SGX_SECINFO_R ? PROT_READ : 0) | (flags & SGX_SECINFO_W ? PROT_WRITE : 0) |
	       (flags & SGX_SECINFO_X ? PROT_EXEC : 0);
}

/* Find a naturally aligned place of the enclave's size. */
int client_reserve(struct client_encl *e, const struct client_conf *c)
{
	uint8_t *p;
	uintptr_t base;

	e->failed = "reserve";
	if (c->zero_based) { /* only what is used, at the address that its offset is */
		uint64_t from = e->code, end = e->aug + e->aug_pages * PAGE;

		p = mmap((void *)from, end - from, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		if (p == MAP_FAILED)
			return -errno;
		e->base = 0;
		e->reserved = p;
		e->reserved_bytes = end - from;
		return 0;
	}
	if (c->premap)
		p = mmap(NULL, 2 * e->size, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED, e->fd,
			 0);
	else
		p = mmap(NULL, 2 * e->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	base = ((uintptr_t)p + e->size - 1) & ~(e->size - 1);
	if (base > (uintptr_t)p)
		munmap(p, base - (uintptr_t)p);
	munmap((void *)(base + e->size), (uintptr_t)p + e->size - base);
	e->base = base;
	e->reserved = (void *)base;
	e->reserved_bytes = e->size;
	return 0;
}

static int create_ioctl(struct client_encl *e, const struct client_conf *c)
{
	struct sgx_enclave_create arg = { .src = (uintptr_t)e->secs };

	e->failed = "CREATE";
	memset(e->secs, 0, sizeof(*e->secs));
	e->secs->size = e->size;
	e->secs->baseaddr = e->base;
	e->secs->ssa_frame_size = e->ssa_frame_pages;
	e->secs->miscselect = c->miscselect;
	e->secs->attributes.flags =
		SGX_ATTR_MODE64BIT | c->attributes | (c->provision ? SGX_ATTR_PROVISIONKEY : 0);
	e->secs->attributes.xfrm = c->xfrm ? c->xfrm : SGX_XFRM_LEGACY;
	e->secs->configsvn = c->configsvn;
	memcpy(e->secs->configid, c->configid, sizeof(c->configid));
	return ioctl(e->fd, SGX_IOC_ENCLAVE_CREATE, &arg) ? -errno : 0;
}

static int add_range(struct client_encl *e, const struct client_segment *s, uint64_t first,
		     uint64_t pages, const uint8_t *src)
{
	struct sgx_secinfo info __attribute__((aligned(64))) = { .flags = s->flags };
	struct sgx_enclave_add_pages arg = {
		.src = (uintptr_t)src,
		.offset = s->offset + first * PAGE,
		.length = pages * PAGE,
		.secinfo = (uintptr_t)&info,
		.flags = s->measure ? SGX_PAGE_MEASURE : 0,
	};

	if (ioctl(e->fd, SGX_IOC_ENCLAVE_ADD_PAGES, &arg))
		return -errno;
	return arg.count == arg.length ? 0 : -EPROTO;
}

int client_add_pages(struct client_encl *e, const struct client_conf *c)
{
	int err = 0;

	e->failed = "ADD_PAGES";
	for (unsigned int i = 0; i < e->segment_nr && !err; i++) {
		const struct client_segment *s = &e->segment[i];
		uint8_t *zero = NULL;
		const uint8_t *src = s->bytes;

		if (!src) {
			zero = mmap(NULL, s->pages * PAGE, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			if (zero == MAP_FAILED)
				return -errno;
			src = zero;
		}
		if (c->one_page)
			for (uint64_t p = 0; p < s->pages && !err; p++)
				err = add_range(e, s, p, 1, src + p * PAGE);
		else
			err = add_range(e, s, 0, s->pages, src);
		if (zero)
			munmap(zero, s->pages * PAGE);
	}
	return err;
}

static int map_range(struct client_encl *e, const struct client_conf *c, uint64_t offset,
		     uint64_t pages, int prot)
{
	void *at = (void *)(e->base + offset);
	int fixed = MAP_FIXED;

	if (c->premap)
		return mprotect(at, pages * PAGE, prot) ? -errno : 0;
	if (c->noreplace) {
		if (munmap(at, pages * PAGE))
			return -errno;
		fixed = MAP_FIXED_NOREPLACE;
	}
	return mmap(at, pages * PAGE, prot, MAP_SHARED | fixed, e->fd, 0) == at ? 0 : -errno;
}

int client_map(struct client_encl *e, const struct client_conf *c)
{
	int err = 0;

	e->failed = "mmap";
	for (unsigned int i = 0; i < e->segment_nr && !err; i++) {
		const struct client_segment *s = &e->segment[i];

		err = map_range(e, c, s->offset, s->pages, client_secinfo_prot(s->flags));
	}
	if (e->aug_pages && !err)
		err = map_range(e, c, e->aug, e->aug_pages, PROT_READ | PROT_WRITE | PROT_EXEC);
	return err;
}

int client_sign(struct client_encl *e, const struct client_conf *c)
{
	static const uint8_t header1[16] = { 6, 0, 0, 0, 0xe1, 0, 0, 0, 0, 0, 1 };
	static const uint8_t header2[16] = { 1, 1, 0, 0, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 1 };
	struct sgx_sigstruct *s = e->sig;

	e->failed = "signing";
	memset(s, 0, sizeof(*s));
	memcpy(s->header, header1, 16);
	memcpy(s->header2, header2, 16);
	s->date = 0x20240229;
	s->miscselect = e->secs->miscselect;
	s->miscmask = 0xffffffff;
	s->attributes = e->secs->attributes;
	s->attributes.flags ^= c->signed_attributes_xor;
	s->attributemask.flags = ~SGX_ATTR_DEBUG;
	s->attributemask.xfrm = ~0ull;
	s->attributes.flags &= s->attributemask.flags;
	s->isvprodid = c->isvprodid;
	s->isvsvn = c->isvsvn;
	memcpy(s->isvfamilyid, c->isvfamilyid, 16);
	memcpy(s->isvextprodid, c->isvextprodid, 16);
	client_measure(e, s->enclavehash);
	return client_sigstruct_sign(s, client_keys[c->key]) ? 0 : -EKEYREJECTED;
}

int client_init(struct client_encl *e)
{
	struct sgx_enclave_init arg = { .sigstruct = (uintptr_t)e->sig };

	e->failed = "INIT";
	return ioctl(e->fd, SGX_IOC_ENCLAVE_INIT, &arg) ? -errno : 0;
}

static int provision_ioctl(struct client_encl *e)
{
	struct sgx_enclave_provision arg = { 0 };
	int fd = client_open_provision(), err = 0;

	e->failed = "PROVISION";
	if (fd < 0)
		return -errno;
	arg.fd = fd;
	if (ioctl(e->fd, SGX_IOC_ENCLAVE_PROVISION, &arg))
		err = -errno;
	close(fd);
	return err;
}

static int build(struct client_encl *e, const struct client_conf *c)
{
	int err;

	e->failed = "open";
	e->fd = client_open();
	if (e->fd < 0)
		return -errno;
	if ((err = client_reserve(e, c)) || (err = create_ioctl(e, c)))
		return err;
	if (c->provision && (err = provision_ioctl(e)))
		return err;
	if ((err = client_add_pages(e, c)))
		return err;
	if (!c->map_after_init && (err = client_map(e, c)))
		return err;
	if ((err = client_sign(e, c)))
		return err;
	if (!c->no_init && (err = client_init(e)))
		return err;
	if (c->map_after_init && (err = client_map(e, c)))
		return err;
	for (unsigned int i = 0; i < e->threads; i++)
		e->tcs[i] += e->base;
	if (c->close_fd) {
		close(e->fd);
		e->fd = -1;
	}
	e->failed = NULL;
	return 0;
}

int client_create(struct client_encl *e, const struct client_conf *c)
{
	int err = client_layout(e, c);

	if (!err)
		err = build(e, c);
	if (err) {
		const char *failed = e->failed;

		client_destroy(e);
		e->failed = failed;
	}
	return err;
}

void client_destroy(struct client_encl *e)
{
	if (e->reserved)
		munmap(e->reserved, e->reserved_bytes);
	if (e->fd >= 0)
		close(e->fd);
	if (e->image && e->image != MAP_FAILED)
		munmap(e->image, e->image_bytes);
	if (e->secs)
		munmap(e->secs, 2 * PAGE);
	memset(e, 0, sizeof(*e));
	e->fd = -1;
}
