/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A process that makes ioctls, as abi/ sees one: its memory is this program's, wild pointers included.
 */
#ifndef SWSGX_TESTS_ABI_CALLER_H
#define SWSGX_TESTS_ABI_CALLER_H

#include <asm/sgx.h>
#include <stdbool.h>
#include <stdint.h>

#include "abi/ioctl.h"
#include "encl/encl.h"
#include "lib/world.h"

#define PROVISION_FD 77
#define WILD         0x10000 /* nothing is mapped there, or in the page behind */

struct caller {
	struct abi_caller abi;
	struct encl_mm mm;
	uint8_t *noexec;  /* a page that may not be made executable */
	int signal_after; /* a signal waits from this question on; -1: never */
	void (*in_copy)(struct caller *caller); /* runs once, in the next copy_in() */
	struct encl *encl;
};

void caller_init(struct caller *c);
void caller_fini(struct caller *c);
/* 0 or -errno. */
long caller_ioctl(struct caller *c, struct encl *encl, unsigned long request, const void *arg);

/* A page of memory with one behind it that cannot be read: what straddles its end cannot be read. */
void *page_before_gap(void);
void page_before_gap_free(void *page);

/* Open and create an enclave of @pages pages; @attributes beside MODE64BIT. */
struct encl *make_encl(struct caller *c, struct world *w, uint64_t pages, uint64_t attributes);
/* ADD_PAGES of one page of zeroes with these SECINFO.FLAGS. */
long add_zeroes(struct caller *c, struct encl *encl, uint64_t offset, uint64_t flags);

/* SECS as make_encl() has it. */
void fill_secs(struct sgx_secs *secs, uint64_t pages, uint64_t attributes);

#endif
