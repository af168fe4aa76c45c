/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* What the random driver has: a processor, its reference, software's memory; and how it draws. */
#ifndef SWSGX_TESTS_SIM_SIM_H
#define SWSGX_TESTS_SIM_SIM_H

#include "cpu/cpu.h"
#include "sim/ref.h"

#define BASE_NR   3
#define RANGE     16 /* pages of an enclave */
#define BASE(k)   (0x7f0000000000ull + (uint64_t)(k)*0x100000)
#define RECIPE_NR 6 /* pages that an enclave is built of */
#define AEP_LA    0x401000ull
#define GUEST_PA  0x200000ull
#define GUEST_LA  0xffff888000200000ull

struct padded_sig {
	struct sgx_sigstruct sig;
	uint8_t pad[SGX_PAGE_SIZE - sizeof(struct sgx_sigstruct)];
};

struct sim {
	struct cpu *cpu;
	uint8_t (*epc)[SGX_PAGE_SIZE];
	struct ref ref;
	struct cpu_lp lp[REF_LPS];
	struct cpu_regs regs[REF_LPS];
	uint8_t xsave[576] __attribute__((aligned(64)));
	uint64_t random;

	struct {
		int page;
		unsigned int prot;
	} map[BASE_NR][RANGE];

	/* Software's memory. */
	struct {
		uint8_t cipher[SGX_PAGE_SIZE] __attribute__((aligned(4096)));
		struct sgx_pcmd pcmd __attribute__((aligned(128)));
	} blob[REF_BLOBS + 1]; /* and one to tamper with */
	struct padded_sig sig[RECIPE_NR + 3] __attribute__((aligned(4096)));
	uint64_t signer[4];
	struct sgx_einittoken token __attribute__((aligned(512)));
	struct sgx_secs secs __attribute__((aligned(4096)));
	uint8_t page[SGX_PAGE_SIZE] __attribute__((aligned(4096)));
	struct sgx_secinfo secinfo[2];
	struct sgx_rdinfo rdinfo __attribute__((aligned(32)));

	unsigned long leaves, seen[3][32][40]; /* ENCLS ENCLU ENCLV; leaf; outcome */
};
extern struct sim sim;

static inline uint32_t rnd(uint32_t below)
{
	sim.random ^= sim.random << 13;
	sim.random ^= sim.random >> 7;
	sim.random ^= sim.random << 17;
	return (uint32_t)(sim.random >> 32) % below;
}

static inline bool one_in(uint32_t n) { return rnd(n) == 0; }

/* ---- page tables (test_cpu_sim.c) */
int sim_walk(uint64_t la, unsigned int access);

/* ---- comparing (sim_check.c) */
/* What differs, or NULL. Contents of pages @a and @b, or of all. */
const char *state_differs(int a, int b, bool all);
/* A difference is the end. */
_Noreturn void differ(const char *what, const struct ref_op *op, const char *kind, uint64_t leaf);
/* Contents of pages @a and @b; now and then of all. */
void check_state(const struct ref_op *op, const char *kind, uint64_t leaf, int a, int b);
/* @kind: 0 ENCLS, 1 ENCLU, 2 ENCLV. */
void check_outcome(struct ref_out want, struct cpu_outcome got, const struct ref_op *op,
		   unsigned int kind, uint64_t leaf);

/* ---- drawing (sim_draw.c) */
typedef bool page_fits(const struct ref_page *p);
bool is_free(const struct ref_page *p);
bool is_secs(const struct ref_page *p);
bool is_va(const struct ref_page *p);
bool is_child(const struct ref_page *p);
bool is_open_tcs(const struct ref_page *p);
/* One that fits if there is one; sometimes anything, even no EPC page. */
int pick(page_fits *fits);
unsigned int how_many(page_fits *fits);
unsigned int children(int secs);
/* The SECS of @page, mostly. */
int parent(int page);
uint64_t some_la(int secs);
/* SECINFO.FLAGS of page @i of an enclave that is built by the book. */
uint64_t recipe(unsigned int i);
void fill_tcs(void);
void draw_ecreate(struct ref_op *op);
void draw_eadd(struct ref_op *op);
void draw_paging(struct ref_op *op);
void draw_page(struct ref_op *op);
/* Registers of logical processor @i before an ENCLU, and what its operands point to. */
void draw_regs(int i);

#endif
