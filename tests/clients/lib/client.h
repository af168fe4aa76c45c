/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What a small hand-written loader has: it lays out an enclave, measures and signs it, builds it
 * through the ioctls of Linux, and enters it by the vDSO or by ENCLU instructions of its own.
 * Nothing here knows swsgx; it runs on hardware unchanged.
 */
#ifndef SWSGX_TESTS_CLIENT_H
#define SWSGX_TESTS_CLIENT_H

#include <asm/sgx.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#include "arch/sgx.h"
#include "encl_abi.h"

#define CLIENT_MAX_THREADS 16

enum { VEC_DE = 0, VEC_BP = 3, VEC_UD = 6, VEC_GP = 13, VEC_PF = 14, VEC_MF = 16, VEC_XM = 19 };
#define CLIENT_SEGMENTS (2 + 3 * CLIENT_MAX_THREADS)

/* ---- the enclave to be ---------------------------------------------------------------------- */

struct client_conf {
	unsigned int threads;   /* 0: one */
	unsigned int nssa;      /* 0: three */
	uint64_t heap_pages;    /* added unmeasured, RW */
	uint64_t aug_pages;     /* left free behind the heap, mapped RWX, for EAUG */
	uint64_t elrange_bytes; /* at least */
	uint64_t lead_pages;    /* left free ahead of the code */
	uint64_t attributes;    /* beside MODE64BIT */
	uint64_t xfrm;          /* 0: 3 */
	uint32_t miscselect;
	bool heap_rwx;       /* SECINFO of the heap */
	bool premap;         /* the whole range RWX, before CREATE; then mprotect */
	bool map_after_init; /* segments are mapped after EINIT */
	bool one_page;       /* ADD_PAGES a page a call */
	bool close_fd;       /* as soon as it is mapped */
	bool zero_based;     /* SECS.BASEADDR 0: lead_pages says where it begins */
	bool noreplace;      /* MAP_FIXED_NOREPLACE, on a range given back just before */
	bool provision;      /* open the provision device and ask for the key */
	bool no_init;
	unsigned int key; /* of client_keys */
	uint16_t isvprodid, isvsvn, configsvn;
	uint8_t configid[64], isvfamilyid[16], isvextprodid[16];
	uint64_t signed_attributes_xor; /* to make a SIGSTRUCT that does not match */
	uint8_t salt;                   /* put into a measured page: another MRENCLAVE */
};

struct client_segment {
	uint64_t offset, pages;
	uint64_t flags; /* SECINFO.FLAGS */
	bool measure;
	const uint8_t *bytes;
};

struct client_encl {
	int fd;
	uint64_t base, size; /* of the linear range */
	void *reserved;      /* what was reserved for it, and how much */
	size_t reserved_bytes;
	uint64_t code, code_pages, heap, heap_pages, aug, aug_pages;
	uint64_t tcs[CLIENT_MAX_THREADS];
	unsigned int threads, nssa;
	uint32_t ssa_frame_pages;
	uint8_t *image; /* the bytes of code and thread blocks, in order of their pages */
	size_t image_bytes;
	struct client_segment segment[CLIENT_SEGMENTS];
	unsigned int segment_nr;
	struct sgx_secs *secs;
	struct sgx_sigstruct *sig; /* both in one mapping, too large for a stack */
	const char *failed;        /* the step that failed */
};

extern const char *const client_keys[2];

/* 0 or -errno, with encl->failed set. */
int client_create(struct client_encl *encl, const struct client_conf *conf);
void client_destroy(struct client_encl *encl);

/* The steps of it. */
int client_layout(struct client_encl *encl, const struct client_conf *conf);
int client_reserve(struct client_encl *encl, const struct client_conf *conf);
int client_add_pages(struct client_encl *encl, const struct client_conf *conf);
int client_map(struct client_encl *encl, const struct client_conf *conf);
int client_sign(struct client_encl *encl, const struct client_conf *conf);
int client_init(struct client_encl *encl);

int client_open(void); /* the enclave device, by the first name that is there */
int client_open_provision(void);
int client_secinfo_prot(uint64_t flags);
uint32_t client_ssa_pages(uint64_t xfrm);
uint64_t client_xcr0(void);
void client_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
bool client_has_sgx2(void);
/* Pages of all EPC sections, from CPUID.12H as any program sees them. */
uint64_t client_epc_pages(void);

/* ---- measuring and signing ------------------------------------------------------------------ */

void client_measure(const struct client_encl *encl, uint8_t mrenclave[32]);
/* Fill in modulus, signature, q1 and q2 over header and body; false when OpenSSL says no. */
bool client_sigstruct_sign(struct sgx_sigstruct *sig, const char *pem);
void client_mrsigner(const struct sgx_sigstruct *sig, uint8_t mrsigner[32]);

/* ---- the vDSO ------------------------------------------------------------------------------- */

void *vdso_by_hash(const void *image, const char *name);     /* DT_HASH */
void *vdso_by_sections(const void *image, const char *name); /* .dynsym by section headers */
const void *vdso_from_auxv_file(void);
const void *vdso_from_stack(void);
const void *vdso_from_getauxval(void);
unsigned int vdso_symbols(const void *image, const char *names[], unsigned int max);

/* ---- entering ------------------------------------------------------------------------------- */

int vdso_enter(uint64_t rdi, uint64_t rsi, uint64_t rdx, uint32_t leaf, uint64_t r8, uint64_t r9,
	       struct sgx_enclave_run *run, void *fn);

/* RDI RSI RDX R8 R9 RAX RCX RBX as EEXIT left them. */
struct enclu_out {
	uint64_t rdi, rsi, rdx, r8, r9, rax, rcx, rbx;
};

/*
 * ENCLU with leaf @leaf. @self: AEP is the ENCLU itself, and when RDI comes back as ENCL_EXC_DONE
 * it resumes. @ud2: AEP is "enclu; ud2" elsewhere. @range: AEP is some way ahead of the ENCLU.
 */
void enclu_self(void *rdi, uint64_t rsi, uint64_t tcs, uint64_t leaf, struct enclu_out *out);
void enclu_ud2(void *rdi, uint64_t rsi, uint64_t tcs, uint64_t leaf, struct enclu_out *out);
void enclu_range(void *rdi, uint64_t rsi, uint64_t tcs, uint64_t leaf, struct enclu_out *out);
extern const char enclu_aep_self[], enclu_aep_ud2[], enclu_aep_range[], enclu_aep_range_end[];
typedef void (*enclu_fn)(void *, uint64_t, uint64_t, uint64_t, struct enclu_out *);

enum client_entry { ENTRY_VDSO, ENTRY_SELF, ENTRY_UD2, ENTRY_RANGE, ENTRY_NR };
extern const char *const client_entry_name[ENTRY_NR];

/*
 * Run @op on thread @thread of the enclave. By the vDSO an exception ends the call: 0 or what the
 * vDSO function returned, and run->function tells; @run may be NULL.
 */
int client_vdso(struct client_encl *encl, unsigned int thread, struct encl_op *op,
		struct sgx_enclave_run *run);
void client_enclu(struct client_encl *encl, unsigned int thread, struct encl_op *op,
		  enum client_entry how);
int client_call(struct client_encl *encl, unsigned int thread, struct encl_op *op,
		enum client_entry how);
/* Simple operations by the vDSO: the op's ret, or ~0 when the call ended in an exception. */
uint64_t client_op(struct client_encl *encl, unsigned int thread, uint64_t nr, uint64_t a0,
		   uint64_t a1, uint64_t a2);
/* A word of each of @nr pages of the heap, in the order of @page; false when the enclave could not go on. */
bool client_touch(struct client_encl *encl, unsigned int thread, const uint32_t *page, uint32_t nr,
		  bool write);

/* ---- exceptions, the signal way ------------------------------------------------------------- */

/* What the handlers saw. */
struct client_seen {
	volatile sig_atomic_t count; /* of exceptions inside the enclave */
	int signo, code;
	uint64_t addr;
	uint64_t trapno, err;
	bool regs_ok; /* RAX 3, RBX TCS, RCX AEP, the rest 0 */
	uint64_t rbx, rsp;
	uint64_t handler_sp; /* an address on the stack that the handler ran on */
};
extern struct client_seen client_seen;

/* Whether to enter the enclave's handler by a nested call, or by making RAX 2. */
enum client_fixup { FIXUP_NESTED, FIXUP_REWRITE };

/* SEGV FPE ILL BUS TRAP, SA_SIGINFO and @flags. */
void client_catch(enum client_fixup fixup, int flags);
void client_uncatch(void);

/* Whether @rip is at one of our AEPs. */
bool client_at_aep(uint64_t rip);

#endif
