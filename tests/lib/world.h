/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A processor, an EPC of any size, and enclaves in it, for tests of src/encl and src/abi.
 *
 * world_fini() is a test by itself: the frame audit holds, every frame is free again, nothing of the
 * arena or the backing store is left over.
 */
#ifndef SWSGX_TESTS_WORLD_H
#define SWSGX_TESTS_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/sgx.h"
#include "encl/encl.h"
#include "epc/epc.h"
#include "lib/tap.h"

struct arena;
struct cpu;
struct epc;
struct encl_registry;
struct measure;

struct world {
	struct arena *arena;
	struct cpu *cpu;
	struct epc *epc;
	struct encl_registry *registry;
	size_t arena_bytes; /* in use with no enclave open */
	size_t manager_bytes;
};

/* @caps_off: SGX_CPUID_* bits that this processor lacks. */
void world_init(struct world *w, uint32_t epc_pages, uint32_t caps_off);
/* And @caps_on that it has, though one is not made with them: for a VMM. */
void world_init_caps(struct world *w, uint32_t epc_pages, uint32_t caps_off, uint32_t caps_on);
/* With what @config says beside processor and arena. */
void world_init_epc(struct world *w, uint32_t epc_pages, const struct epc_config *config);
/* What is in use though no enclave is open. */
struct world_left {
	uint64_t frames, slots, bytes;
};
bool world_left(struct world *w, struct world_left *ret_left);
void world_destroy(struct world *w);

/* The audit alone, with @name in its line. */
static inline bool world_audit(struct world *w, const char *name)
{
	char why[256] = "";
	unsigned int bad = epc_audit(w->epc, false, why, sizeof(why));

	return TAP_CHECK(bad == 0, "%s: every frame is accounted for%s%s", name, bad ? ": " : "",
			 why);
}

static inline void world_fini(struct world *w, const char *name)
{
	struct world_left left;
	bool some;

	world_audit(w, name);
	some = world_left(w, &left);
	TAP_CHECK(!some, "%s: nothing is left over (%llu frames, %llu slots, %llu bytes)", name,
		  (unsigned long long)left.frames, (unsigned long long)left.slots,
		  (unsigned long long)left.bytes);
	world_destroy(w);
}

/* Somebody who has all the EPC that is free, and gives none up. */
struct hog {
	struct epc_owner *owner;
	struct epc_page *frame[64];
	unsigned int nr;
};
void hog_init(struct hog *hog, struct world *w);
void hog_fini(struct hog *hog, struct world *w);

/* An enclave under construction. */
struct build {
	struct world *world;
	struct encl *encl;
	struct measure *measure;
	bool unmeasured; /* what is in its pages: to measure that takes longer than all else */
	struct sgx_attributes attributes;
	uint64_t base, size;
};

#define BUILD_BASE 0x700000000000ull

/* Opens and creates; 64-bit, legacy XFRM, and @more_flags. */
int build_create(struct build *b, struct world *w, uint64_t size, uint64_t more_flags);
/* Page @idx, measured. @contents: 4096 bytes, any alignment; NULL: page_pattern(idx, 0). */
int build_add(struct build *b, uint64_t idx, const void *contents, uint64_t secinfo_flags);
/* Pages @first .. @first + nr - 1, readable and writable, each with its pattern. */
int build_add_many(struct build *b, uint64_t first, uint64_t nr);
int build_init(struct build *b);
/* Drops the reference; the enclave's end. */
void build_fini(struct build *b);

#define FLAGS_RW  (SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_R | SGX_SECINFO_W)
#define FLAGS_R   (SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_R)
#define FLAGS_RX  (SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_R | SGX_SECINFO_X)
#define FLAGS_RWX (SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_RWX)
#define FLAGS_TCS SGX_SECINFO_TYPE(SGX_PT_TCS)

/* 4096 bytes that depend on page and version, and tell when they are not those. */
void page_pattern(void *page, uint64_t idx, uint64_t version);
bool page_has_pattern(const void *page, uint64_t idx, uint64_t version);

/*
 * Touch page @idx as an enclave thread would, by a fault; with the enclave's lock still held check
 * that it has version @version of its pattern and, when @next is not the same, give it that version.
 */
enum touch {
	TOUCH_OK,
	TOUCH_WRONG, /* contents are not what they must be */
	TOUCH_FAULT, /* see @ret_fault */
};
enum touch touch_page(struct encl *encl, uint64_t idx, uint64_t version, uint64_t next,
		      struct encl_fault *ret_fault);

#endif
