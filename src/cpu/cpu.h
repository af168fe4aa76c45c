/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The processor: what ENCLS, ENCLU and ENCLV do, as functions over one instance.
 *
 * An EPC page is named by its number, 0 .. page_nr - 1 (its "physical address" divided by 4096).
 * Where the page's 4096 bytes lie is told by whoever manages the EPC with cpu_set_bytes(); a leaf
 * that needs the contents of a page that has none aborts: that is a bug of the caller.
 *
 * Every leaf is two functions inside: *_check, in the SDM's order, changes nothing; *_commit cannot
 * fail.  Leaves may run on any number of threads and processes at once: EPCM entries are locked,
 * shared or exclusive, for the length of a leaf, and a conflicting leaf gets what the SDM says
 * (#GP or SGX_EPC_PAGE_CONFLICT), it never waits.  The caller keeps the bytes of the pages it names
 * in place for the length of the call.
 *
 * The instance lives in shared memory (base/arena.h) and holds no pointer to private memory.
 */
#ifndef SWSGX_CPU_CPU_H
#define SWSGX_CPU_CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/sgx.h"

#define CPU_NO_PAGE     UINT32_MAX
#define CPU_PAGE_NR_MAX (1u << 28) /* of EPC: 1 TiB */

struct arena;
struct cpu;
struct epcm_entry;
struct look;

enum cpu_vector {
	CPU_DE = 0,
	CPU_DB = 1,
	CPU_BP = 3,
	CPU_BR = 5,
	CPU_UD = 6,
	CPU_GP = 13,
	CPU_PF = 14,
	CPU_MF = 16,
	CPU_AC = 17,
	CPU_XM = 19,
	CPU_VM_EXIT = 0xfe, /* neither retired nor faulted: vmx.h */
	CPU_NO_FAULT = 0xff,
};

#define CPU_ZF 0x40u
#define CPU_CF 0x01u

/* How an instruction ended: a fault (then nothing was changed), or RAX and the flags it set. */
struct cpu_outcome {
	uint8_t fault;     /* enum cpu_vector; CPU_NO_FAULT: it retired */
	uint8_t rflags;    /* CPU_ZF, CPU_CF: as left by the leaf */
	uint16_t pf_error; /* of a #PF: error code */
	uint16_t eax;      /* enum sgx_status, when it retired */
	uint16_t conflict; /* enum cpu_conflict: why it ended so, when that can make a VM exit */
	union {
		/* Of a #PF: the linear address, or the EPC page number * 4096 for ENCLS. */
		uint64_t pf_addr;
		uint64_t context; /* of a tracking conflict: the enclave's ENCLAVECONTEXT */
	};
};

/* "SGX_CONFLICT VM Exit Qualification" of the SDM's concurrency tables; the code is one less. */
enum cpu_conflict {
	CPU_NO_CONFLICT = 0,
	CPU_TRACKING_RESOURCE = 1,
	CPU_TRACKING_REFERENCE = 2,
	CPU_PAGE_EXCEPTION = 3,
	CPU_PAGE_ERROR = 4,
};

static inline bool cpu_ok(struct cpu_outcome out)
{
	return out.fault == CPU_NO_FAULT && out.eax == SGX_OK;
}

/* ---- the instance ------------------------------------------------------------------------- */

/* The secrets that hardware has fused; kept in the platform file (platform.h). */
struct cpu_fuses {
	uint8_t root_key[16]; /* derives report, seal, provisioning keys */
	uint8_t seal_fuses[16];
	uint8_t owner_epoch[16];
	uint8_t report_keyid
		[32]; /* CR_REPORT_KEYID: normally new at every boot, here of the platform,
				    * so that reports verify across the processes of one tree */
	uint8_t cpusvn[16];
};

struct cpu_config {
	uint32_t page_nr;     /* EPC pages */
	uint32_t caps;        /* SGX_CPUID_*: what CPUID.12H.0:EAX shows */
	uint32_t misc_mask;   /* permitted MISCSELECT bits, CPUID.12H.0:EBX */
	uint64_t attr_mask;   /* permitted ATTRIBUTES.FLAGS, INIT excluded */
	uint64_t xfrm_mask;   /* permitted ATTRIBUTES.XFRM */
	uint8_t size_64_log2; /* largest 64-bit enclave */
	uint8_t size_32_log2;
	uint32_t xsave_offset[64]; /* CPUID.0DH.n:EBX, standard format, per XFRM bit */
	uint32_t xsave_size[64];   /* CPUID.0DH.n:EAX */
	struct cpu_fuses fuses;
	uint64_t lepubkeyhash[4]; /* reset value of IA32_SGXLEPUBKEYHASHn */
	bool lepubkeyhash_locked; /* FLC off: EINIT needs a token for any other signer */
	struct {                  /* for CPUID.12H.2 and on; sizes sum to page_nr */
		uint64_t base;    /* bytes */
		uint64_t size;    /* bytes */
		int node;         /* NUMA node, -1: any. Told by ACPI, not by CPUID */
	} section[8];
	uint32_t section_nr;
	struct arena *arena; /* where the EPCM is shown to those who look (base/look.h), or NULL */
};

/* Everything SGX2, KSS, EDECCSSA, AEX-notify, EXINFO; XFRM as this machine's XCR0 and CPUID allow. */
void cpu_config_default(struct cpu_config *config, uint64_t epc_bytes);
/* One section more, behind those that are there. False: there can be no more, or not so many pages. */
bool cpu_config_add_section(struct cpu_config *config, uint64_t bytes, int node);

/*
 * "no-sgx2,updatesvn": features taken away from @config, or given.  Names: sgx2, exinfo, kss, edeccssa, aex-notify,
 * encls-c, enclv, updatesvn.  -EINVAL for any other, and nothing has changed.
 */
int cpu_config_features(struct cpu_config *config, const char *list);

/* NULL when memory is refused.  All EPCM entries start invalid, the paging key is new. */
struct cpu *cpu_create(const struct cpu_config *config);
void cpu_destroy(struct cpu *cpu);
const struct cpu_config *cpu_get_config(const struct cpu *cpu);

/* Where the bytes of a page are now: page aligned, valid in every process. NULL: nowhere. */
void cpu_set_bytes(struct cpu *cpu, uint32_t page, void *bytes);
void *cpu_bytes(const struct cpu *cpu, uint32_t page);
/* A version in a VA page is about to be asked for. */
void cpu_prefetch_version(const struct cpu *cpu, uint32_t va, uint32_t slot);
/*
 * The records of all pages, by number, CPU_RECORD_BYTES each.  The first CPU_EPCM_BYTES of one are the page's EPCM entry;
 * what comes behind, zeroed at first, belongs to whoever manages the EPC.  The two are needed together, and where
 * the EPC is large a record is in no cache: so it is one wait for memory, and one translation.
 */
enum { CPU_EPCM_BYTES = 24, CPU_RECORD_BYTES = 48 };
void *cpu_records(struct cpu *cpu);

/* The IA32_SGXLEPUBKEYHASH MSRs of the logical processor that executes EINIT are an operand here. */

/* ---- EPCM, as a debugger (or a test, or the driver's assertions) may see it ---------------- */

struct cpu_epcm {
	bool valid, blocked, pending, modified, pr;
	uint8_t type;  /* enum sgx_page_type */
	uint8_t rwx;   /* SGX_SECINFO_R|W|X */
	uint32_t secs; /* EPC page of the SECS, CPU_NO_PAGE for SECS and VA */
	uint64_t la;   /* enclave linear address */
};
struct cpu_epcm cpu_epcm_read(const struct cpu *cpu, uint32_t page);

/* The EPCM of a processor that others run, of which no more is shown. @entry is NULL when it is not, or not like ours. */
struct cpu_look {
	const struct epcm_entry *entry;
};
struct cpu_look cpu_look(const struct look *look, uint32_t page_nr);
struct cpu_epcm cpu_look_epcm(struct cpu_look epcm, uint32_t page);

/* ---- ENCLS.  RCX is an EPC page number; other operands are host pointers ------------------- */

struct cpu_pageinfo {
	uint64_t linaddr;
	const void *srcpge; /* page aligned, else #GP */
	union {
		const struct sgx_secinfo *secinfo; /* 64-byte aligned, else #GP */
		struct sgx_pcmd *pcmd;             /* EWB, ELD*: 128-byte aligned, else #GP */
	};
	uint32_t secs; /* EPC page, or CPU_NO_PAGE */
};

struct cpu_outcome encls_ecreate(struct cpu *cpu, const struct cpu_pageinfo *pi, uint32_t page);
struct cpu_outcome encls_eadd(struct cpu *cpu, const struct cpu_pageinfo *pi, uint32_t page);
/* 256 bytes at @offset of @page. */
struct cpu_outcome encls_eextend(struct cpu *cpu, uint32_t secs, uint32_t page, uint32_t offset);
/* Sixteen EEXTENDs, over all of @page in order: the same outcome, at less cost. */
struct cpu_outcome encls_eextend_page(struct cpu *cpu, uint32_t secs, uint32_t page);
/* @lepubkeyhash: the MSRs; NULL means cpu_config's. @token may not be NULL: all-zero is "none". */
struct cpu_outcome encls_einit(struct cpu *cpu, const struct sgx_sigstruct *sig, uint32_t secs,
			       const struct sgx_einittoken *token, const uint64_t lepubkeyhash[4]);
/* MRSIGNER of @sig, as the MSRs must have it for its signer to be let in. */
void cpu_signer_hash(const struct sgx_sigstruct *sig, uint64_t ret_lepubkeyhash[4]);
struct cpu_outcome encls_eremove(struct cpu *cpu, uint32_t page);
struct cpu_outcome encls_edbgrd(struct cpu *cpu, uint32_t page, uint32_t offset,
				uint64_t *ret_value);
struct cpu_outcome encls_edbgwr(struct cpu *cpu, uint32_t page, uint32_t offset, uint64_t value);
struct cpu_outcome encls_epa(struct cpu *cpu, uint32_t page);
struct cpu_outcome encls_eblock(struct cpu *cpu, uint32_t page);
struct cpu_outcome encls_etrack(struct cpu *cpu, uint32_t secs);
/*
 * @pi: linaddr and secs must be 0 and CPU_NO_PAGE on input; @ret_linaddr gets the address.
 * @out: 4096 bytes of ciphertext. @slot: 0 .. 511 of @va.
 */
struct cpu_outcome encls_ewb(struct cpu *cpu, const struct cpu_pageinfo *pi, uint32_t page,
			     uint32_t va, uint32_t slot, void *out, uint64_t *ret_linaddr);
struct cpu_outcome encls_eldu(struct cpu *cpu, const struct cpu_pageinfo *pi, uint32_t page,
			      uint32_t va, uint32_t slot);
struct cpu_outcome encls_eldb(struct cpu *cpu, const struct cpu_pageinfo *pi, uint32_t page,
			      uint32_t va, uint32_t slot);
struct cpu_outcome encls_eaug(struct cpu *cpu, const struct cpu_pageinfo *pi, uint32_t page);
struct cpu_outcome encls_emodpr(struct cpu *cpu, const struct sgx_secinfo *secinfo, uint32_t page);
struct cpu_outcome encls_emodt(struct cpu *cpu, const struct sgx_secinfo *secinfo, uint32_t page);

/* ---- for a VMM: ENCLS_C and ENCLV, where cpu_config's caps have them --------------------------- */

struct cpu_outcome encls_erdinfo(struct cpu *cpu, struct sgx_rdinfo *rdinfo, uint32_t page);
struct cpu_outcome encls_etrackc(struct cpu *cpu, uint32_t page);
struct cpu_outcome encls_elduc(struct cpu *cpu, const struct cpu_pageinfo *pi, uint32_t page,
			       uint32_t va, uint32_t slot);
struct cpu_outcome encls_eldbc(struct cpu *cpu, const struct cpu_pageinfo *pi, uint32_t page,
			       uint32_t va, uint32_t slot);
struct cpu_outcome enclv_eincvirtchild(struct cpu *cpu, uint32_t page, uint32_t secs);
struct cpu_outcome enclv_edecvirtchild(struct cpu *cpu, uint32_t page, uint32_t secs);
struct cpu_outcome enclv_esetcontext(struct cpu *cpu, uint32_t secs, const uint64_t *context);

/*
 * EUPDATESVN: with the EPC empty, the SVN of the microcode that cpu_load_microcode() gave becomes CPUSVN,
 * and the paging key is new.
 */
struct cpu_outcome encls_eupdatesvn(struct cpu *cpu);
/* A microcode update; what it brings shows after the next EUPDATESVN (or boot) only. */
void cpu_load_microcode(struct cpu *cpu, const uint8_t cpusvn[16]);

/* ---- tracking ------------------------------------------------------------------------------ */

/*
 * Every logical processor inside the enclave of @secs drops its cached translations now, as if an
 * IPI had taken it out by an AEX and ERESUME had put it back.  The caller has removed the
 * translations from every page table and the host kernel has shot them down: no logical processor
 * can have one.  After it, a tracking cycle that ETRACK has begun is complete.
 */
void cpu_track_flush(struct cpu *cpu, uint32_t secs);

/* ---- ENCLU --------------------------------------------------------------------------------- */

/* The order of the first eighteen is that of GPRSGX. */
struct cpu_regs {
	uint64_t rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi;
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
	uint64_t rflags;
	uint64_t rip;
	uint64_t fs_base;
	uint64_t gs_base;
};

/* A logical processor: one thread that enters enclaves.  In shared memory, made by the runtime. */
struct cpu_lp {
	bool in_enclave;
	bool aexnotify_pending; /* the processor's own */
	bool opt_in;            /* entered by a TCS with DBGOPTIN: INT3 is #BP, and not #UD */
	bool host_tf;           /* RFLAGS.TF at an entry without opt-in: the way out restores it */
	uint32_t secs;          /* EPC pages, while in an enclave */
	uint32_t tcs;
	uint64_t tcs_la;
	uint64_t elrange_base, elrange_size;
	uint64_t attributes_flags, xfrm;
	uint32_t miscselect, ssa_frame_size;
	uint64_t entry_epoch;
	uint64_t aep;
	uint64_t host_fs_base, host_gs_base;
	uint64_t gpr_la;   /* linear address of GPRSGX of the current SSA frame */
	uint64_t xsave_la; /* and of its XSAVE area */
};

/*
 * The page walk of a logical processor: which EPC page is mapped at @la.
 *
 * Returns its number, or CPU_NO_PAGE with *ret_pf_error set for a #PF whose P bit tells whether
 * a translation was there.  Must not load or evict.  @access: SGX_SECINFO_R|W|X bits, and 0 for
 * "only tell".  The EPCM is not its business: the leaf checks that.
 */
struct cpu_mmu {
	uint32_t (*walk)(void *ctx, uint64_t la, unsigned int access, uint16_t *ret_pf_error);
	void *ctx;
};

/*
 * EENTER, with RBX = TCS, RCX = AEP.  @next_rip: address behind the ENCLU.  On success @regs holds
 * the state in which the enclave starts, FS and GS bases included; on a fault nothing has changed.
 */
struct cpu_outcome enclu_eenter(struct cpu *cpu, struct cpu_lp *lp, const struct cpu_mmu *mmu,
				struct cpu_regs *regs, uint64_t next_rip);
/* ERESUME; @xsave (64-byte aligned, standard format, xsave_bytes) receives the SSA's image. */
struct cpu_outcome enclu_eresume(struct cpu *cpu, struct cpu_lp *lp, const struct cpu_mmu *mmu,
				 struct cpu_regs *regs, void *xsave, size_t xsave_bytes);
struct cpu_outcome enclu_eexit(struct cpu *cpu, struct cpu_lp *lp, struct cpu_regs *regs,
			       uint64_t next_rip);

/*
 * Asynchronous exit.  @regs: interrupted state in, synthetic state out (RAX = 3, RBX = TCS,
 * RCX = RIP = AEP, RSP and RBP of the host, its FS and GS bases).  @xsave: the interrupted XSAVE
 * image, standard format; components in XFRM are set to their initial state in it, but for what
 * explains an #MF or #XM: FCW and FSW, or MXCSR.
 *
 * A #PF outcome means that the SSA is not mapped now (see @pf_addr): nothing has changed, bring the
 * page in and call again.
 */
struct cpu_event {
	uint8_t vector; /* enum cpu_vector, or CPU_NO_FAULT for an interrupt */
	bool software;  /* INT3, INTO: EXIT_TYPE 6 */
	uint32_t error; /* error code of #PF, #GP */
	uint64_t cr2;   /* of #PF */
};
struct cpu_outcome cpu_aex(struct cpu *cpu, struct cpu_lp *lp, const struct cpu_mmu *mmu,
			   struct cpu_regs *regs, void *xsave, size_t xsave_bytes,
			   const struct cpu_event *event);

/* The leaves that stay inside; operands in RBX, RCX, RDX of @regs, results into @regs (RAX, ZF). */
struct cpu_outcome enclu_ereport(struct cpu *cpu, struct cpu_lp *lp, const struct cpu_mmu *mmu,
				 struct cpu_regs *regs);
struct cpu_outcome enclu_egetkey(struct cpu *cpu, struct cpu_lp *lp, const struct cpu_mmu *mmu,
				 struct cpu_regs *regs);
struct cpu_outcome enclu_eaccept(struct cpu *cpu, struct cpu_lp *lp, const struct cpu_mmu *mmu,
				 struct cpu_regs *regs);
struct cpu_outcome enclu_emodpe(struct cpu *cpu, struct cpu_lp *lp, const struct cpu_mmu *mmu,
				struct cpu_regs *regs);
struct cpu_outcome enclu_eacceptcopy(struct cpu *cpu, struct cpu_lp *lp, const struct cpu_mmu *mmu,
				     struct cpu_regs *regs);
struct cpu_outcome enclu_edeccssa(struct cpu *cpu, struct cpu_lp *lp, const struct cpu_mmu *mmu,
				  struct cpu_regs *regs);

/*
 * Whatever ENCLU leaf RAX names, with the checks that come before any leaf: an unknown leaf, or one
 * on the wrong side of the enclave boundary, is #GP.  RIP of @regs is that of the ENCLU; it is moved
 * on as the leaf does, and left alone on a fault.
 */
struct cpu_outcome cpu_enclu(struct cpu *cpu, struct cpu_lp *lp, const struct cpu_mmu *mmu,
			     struct cpu_regs *regs, void *xsave, size_t xsave_bytes);

/*
 * A logical processor that died: when it was inside, or on its way in or out, its TCS is free again
 * and the enclave no longer counts it.
 */
void cpu_lp_reset(struct cpu *cpu, struct cpu_lp *lp);

/*
 * Somebody died inside a leaf that may have worked on @page: the holds that it left are broken, and a
 * SECS counts its children and its logical processors anew (that takes a look at the whole EPCM).
 * Call it for every page of the enclave, the SECS last, with all other leaves on the enclave kept
 * away.  A page that was on its way in or out is valid or not, but never half.
 */
void cpu_repair_page(struct cpu *cpu, uint32_t page);

/* Has EINIT let the enclave of @secs in? */
bool cpu_initialized(const struct cpu *cpu, uint32_t secs);

/*
 * The running measurement of an enclave that is being built.  Hardware is never stopped inside EADD or
 * EEXTEND; a process is, and goes back to the measurement that was before.
 */
struct cpu_measurement {
	uint64_t state[16];
};
void cpu_measurement_save(const struct cpu *cpu, uint32_t secs, struct cpu_measurement *to);
void cpu_measurement_restore(struct cpu *cpu, uint32_t secs, const struct cpu_measurement *from);

/* Threads inside the enclave of @secs. */
uint32_t cpu_active_nr(const struct cpu *cpu, uint32_t secs);

/* ---- CPUID --------------------------------------------------------------------------------- */

struct cpu_cpuid {
	uint32_t eax, ebx, ecx, edx;
};
/* What a CPU with this SGX answers; @host: what the machine's CPU answers to the same question. */
struct cpu_cpuid cpu_cpuid(const struct cpu *cpu, uint32_t leaf, uint32_t subleaf,
			   struct cpu_cpuid host);

#endif
