/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A machine for tests of the processor: one processor, its EPC, page tables, and one small enclave
 * that is built as a loader builds it.
 *
 * The measurement and the signature are made here, from the SDM, by OpenSSL directly: nothing of
 * src/ computes what src/cpu is compared with.
 */
#ifndef SWSGX_TESTS_LEAF_MACHINE_H
#define SWSGX_TESTS_LEAF_MACHINE_H

#include <openssl/evp.h>

#include "cpu/cpu.h"
#include "cpu/epcm_priv.h"

#define EPC_NR 48u

/* EPC pages of the enclave that machine_build() makes. */
enum page {
	P_SECS,
	P_TCS0,
	P_TCS1,
	P_SSA0,
	P_SSA0B,
	P_SSA1,
	P_SSA1B,
	P_CODE,
	P_DATA,
	P_DATA2,
	P_FREE, /* not added: linear addresses from OFF_FREE on */
	P_VA = 40,
	P_VA2,
	P_SPARE, /* and all behind it */
};

/* Offsets in the enclave: page number - 1, in pages. */
#define OFF(page)  (((uint64_t)(page)-P_TCS0) * SGX_PAGE_SIZE)
#define ENCL_BASE  0x7f0000000000ull
#define ENCL_SIZE  0x20000ull
#define LA(page)   (ENCL_BASE + OFF(page))
#define OENTRY     OFF(P_CODE)
#define AEP        0x401000ull
#define HOST_RSP   0x7ffffffde000ull
#define HOST_RBP   0x7ffffffde100ull
#define HOST_FS    0x7ffff7d80740ull
#define HOST_GS    0x1230ull
#define XSAVE_SIZE 832u /* x87, SSE, AVX */

struct mapping {
	uint64_t la;
	uint32_t page;
	unsigned int prot; /* SGX_SECINFO_R|W|X; 0: nothing there */
};

struct machine {
	struct cpu *cpu;
	uint8_t (*epc)[SGX_PAGE_SIZE];
	struct mapping map[EPC_NR];
	unsigned int map_nr;
	struct cpu_mmu mmu;
	struct cpu_lp lp;
	struct cpu_regs regs;
	uint8_t xsave[4096] __attribute__((aligned(64)));
	unsigned int walks;

	/* What software works with. */
	struct sgx_secs secs __attribute__((aligned(4096)));
	uint8_t page[SGX_PAGE_SIZE] __attribute__((aligned(4096)));
	uint8_t cipher[SGX_PAGE_SIZE] __attribute__((aligned(4096)));
	struct sgx_sigstruct sig __attribute__((aligned(4096)));
	struct sgx_einittoken token __attribute__((aligned(512)));
	struct sgx_secinfo secinfo __attribute__((aligned(64)));
	struct sgx_pcmd pcmd __attribute__((aligned(128)));
	EVP_MD_CTX *measure;
};

/* Everything that a leaf which fails may not have changed. */
struct snapshot {
	struct epcm_entry epcm[EPC_NR];
	uint8_t epc[EPC_NR][SGX_PAGE_SIZE];
	struct cpu_lp lp;
	struct cpu_regs regs;
	uint8_t xsave[4096];
	uint8_t cipher[SGX_PAGE_SIZE];
	struct sgx_pcmd pcmd;
	uint8_t cpu[8192]; /* the instance: keys, counters, configuration */
};

/* SGX1, SGX2, KSS, EDECCSSA, AEX-notify, EXINFO; x87, SSE, AVX. Secrets are fixed. */
void machine_config(struct cpu_config *config);
struct machine *machine_new(const struct cpu_config *config); /* NULL: machine_config() */
void machine_free(struct machine *m);

/* Page tables: @prot 0 takes the mapping away. */
void machine_map(struct machine *m, uint64_t la, uint32_t page, unsigned int prot);

/* The steps of a loader; each yields how its leaf ended. */
void machine_secs(struct machine *m); /* fill m->secs with what ECREATE takes */
struct cpu_outcome machine_ecreate(struct machine *m, uint32_t page);
/* @flags: SECINFO.FLAGS; contents in m->page. Maps the page; measures it, contents if asked. */
struct cpu_outcome machine_eadd(struct machine *m, uint32_t page, uint64_t la, uint64_t flags,
				bool measure);
void machine_tcs(struct machine *m, unsigned int i); /* into m->page */
/* SIGSTRUCT for what was measured, in m->sig; the key's hash into the processor's operand. */
void machine_sigstruct(struct machine *m);
void machine_sign(struct sgx_sigstruct *sig);
void machine_signer(const struct sgx_sigstruct *sig, uint64_t ret_hash[4]);
struct cpu_outcome machine_einit(struct machine *m);

/* The whole enclave, initialised; and a VA page. Ends the test when a step fails. */
void machine_build(struct machine *m);

/* Host registers before an EENTER at TCS @i. */
void machine_host_regs(struct machine *m, unsigned int i);
struct cpu_outcome machine_enter(struct machine *m, unsigned int i);
struct cpu_outcome machine_exit(struct machine *m);
struct cpu_outcome machine_aex(struct machine *m, uint8_t vector, uint32_t error, uint64_t cr2);
struct cpu_outcome machine_resume(struct machine *m, unsigned int i);

/* EBLOCK, ETRACK, EWB to m->cipher and m->pcmd; EDLU back. Slot @slot of P_VA. */
struct cpu_outcome machine_block_track(struct machine *m, uint32_t page);
struct cpu_outcome machine_ewb(struct machine *m, uint32_t page, uint32_t slot);
struct cpu_outcome machine_eldu(struct machine *m, uint32_t page, uint64_t la, uint32_t slot);

void snapshot_take(const struct machine *m, struct snapshot *s);
/* Contents of pages that were not valid are nobody's business. */
bool snapshot_same(const struct machine *m, const struct snapshot *s);

static inline bool is_fault(struct cpu_outcome out, enum cpu_vector vector)
{
	return out.fault == vector;
}

static inline bool is_code(struct cpu_outcome out, enum sgx_status eax)
{
	return out.fault == CPU_NO_FAULT && out.eax == (uint32_t)eax;
}

#endif
