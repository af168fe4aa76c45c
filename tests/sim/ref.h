/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A processor as plain records, to compare the real one with.
 *
 * Nothing here is clever: a page is a record with a bool for each bit and its 4096 bytes, children are
 * counted by looking at all pages, tracking looks at every logical processor.  It shares layouts and
 * numbers (arch/sgx.h) with src/cpu, and no code.
 *
 * What the manual leaves to the processor (versions, ciphertext, keys) the reference takes over from
 * the real one after it has checked what can be checked.
 */
#ifndef SWSGX_TESTS_SIM_REF_H
#define SWSGX_TESTS_SIM_REF_H

#include <openssl/sha.h>
#include <stdbool.h>
#include <stdint.h>

#include "arch/sgx.h"

#define REF_PAGES 24
#define REF_LPS   3
#define REF_BLOBS 16
#define REF_NONE  (-1)

/* Vectors, and what is no vector. */
enum { REF_OK = 0xff, REF_EXIT = 0xfe, REF_UD = 6, REF_GP = 13, REF_PF = 14 };

struct ref_out {
	int fault;
	unsigned int eax, flags;
	int exit_reason, exit_code; /* the latter of an SGX_CONFLICT exit */
};

struct ref_encl {
	uint64_t base, size, flags;
	bool init;
	uint64_t eid, virtchild, context, epoch;
	unsigned int isvsvn;
	SHA256_CTX hash;
	uint8_t mrenclave[32];
};

struct ref_page {
	bool valid, blocked, pending, modified, pr, r, w, x;
	int type, secs;
	uint64_t la;
	bool stamped; /* blocked or changed, and not loaded since */
	uint64_t stamp;
	uint64_t identity;    /* a page has it for life, in EPC or out of it */
	struct ref_encl encl; /* of a SECS */
	uint8_t bytes[SGX_PAGE_SIZE];
};

struct ref_blob {
	bool used;
	struct ref_page page;
	uint64_t version, eid, key;
};

struct ref_lp {
	bool inside, opt_in, tf; /* TF as it was outside */
	int secs, tcs;
	uint64_t tcs_la, aep, ssa_la, entry_epoch, fs, gs;
};

struct ref {
	struct ref_page page[REF_PAGES];
	struct ref_blob blob[REF_BLOBS];
	struct ref_lp lp[REF_LPS];
	uint64_t next_eid, next_identity, key, last_version;
	unsigned int svn;   /* CPUSVN: this, and fifteen zeros */
	int held, tracking; /* pages that somebody else holds: exclusive; for tracking */
	/* The page tables: software's, so input to both. REF_NONE: a page fault. */
	int (*walk)(uint64_t la, unsigned int access);
};

enum ref_sig { SIG_GOOD, SIG_BAD_HEADER, SIG_BAD_SIGNATURE };

/* One leaf's operands, as the driver drew them. */
struct ref_op {
	uint32_t leaf;
	/* VMX: in it at all, in non-root operation, its controls, and the bitmap of either instruction. */
	bool vmx, non_root, ext, encls_exiting, enclv_exiting;
	uint64_t bitmap;
	bool info_given; /* EAUG */
	int page, secs, va;
	unsigned int offset, slot;
	uint64_t physical;
	uint64_t linaddr;
	bool misaligned;
	uint64_t secinfo;
	bool secinfo_reserved;
	const void *src; /* of EADD, a SECS for ECREATE */
	int blob;
	bool tampered;
	enum ref_sig sig;
	const uint8_t *sig_hash;
	bool signer_let_in;
	uint64_t value;   /* EDBGWR; ESETCONTEXT */
	bool svn_changed; /* EUPDATESVN */
};

/* What a leaf leaves to software, to be compared. */
struct ref_result {
	uint64_t value, linaddr, pcmd_eid, pcmd_flags;
	struct sgx_rdinfo rdinfo;
};

struct ref_regs {
	uint64_t gpr[16]; /* RAX RCX RDX RBX RSP RBP RSI RDI R8 .. R15 */
	uint64_t rflags, rip, fs, gs;
};

struct ref_out ref_encls(struct ref *ref, const struct ref_op *op, struct ref_result *res);
struct ref_out ref_enclv(struct ref *ref, const struct ref_op *op);
/* RAX is the leaf; RIP that of the ENCLU. */
struct ref_out ref_enclu(struct ref *ref, struct ref_lp *lp, struct ref_regs *regs);
struct ref_out ref_aex(struct ref *ref, struct ref_lp *lp, struct ref_regs *regs, int vector);

/* Shared by the two files. */
static inline struct ref_out ref_fault(int fault) { return (struct ref_out){ .fault = fault }; }

static inline struct ref_out ref_done(void) { return (struct ref_out){ .fault = REF_OK }; }

static inline struct ref_out ref_error(unsigned int eax)
{
	return (struct ref_out){ .fault = REF_OK, .eax = eax, .flags = 0x40 };
}

static inline struct ref_out ref_info(unsigned int eax)
{
	return (struct ref_out){ .fault = REF_OK, .eax = eax, .flags = 0x01 };
}

static inline bool ref_is_ok(struct ref_out out) { return out.fault == REF_OK && out.eax == 0; }

bool ref_is_child(const struct ref_page *p);
bool ref_tracked(const struct ref *ref, const struct ref_page *p);
/* A logical processor is in that TCS. */
bool ref_tcs_busy(const struct ref *ref, int page);

#endif
