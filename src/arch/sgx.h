/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The layouts, codes and masks of SGX, as SDM Vol. 3D defines them.  Facts only, no behaviour.
 *
 * Section titles, so that a reader finds the source whatever the chapter number of the day:
 * "SGX Data Structures" for the structs, "SGX Instruction References" for leaf numbers and
 * codes, "CPUID Leaf 12H" for the enumeration.
 */
#ifndef SWSGX_ARCH_SGX_H
#define SWSGX_ARCH_SGX_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define SGX_PAGE_SIZE    4096u
#define SGX_PAGE_SHIFT   12
#define SGX_EXTEND_BYTES 256u /* one EEXTEND */
#define SGX_VA_SLOTS     512u /* 8-byte version slots in one VA page */

/* ENCLS: 0F 01 CF, ENCLU: 0F 01 D7, ENCLV: 0F 01 C0. */
enum sgx_encls {
	SGX_ECREATE = 0x00,
	SGX_EADD = 0x01,
	SGX_EINIT = 0x02,
	SGX_EREMOVE = 0x03,
	SGX_EDBGRD = 0x04,
	SGX_EDBGWR = 0x05,
	SGX_EEXTEND = 0x06,
	SGX_ELDB = 0x07,
	SGX_ELDU = 0x08,
	SGX_EBLOCK = 0x09,
	SGX_EPA = 0x0a,
	SGX_EWB = 0x0b,
	SGX_ETRACK = 0x0c,
	SGX_EAUG = 0x0d,
	SGX_EMODPR = 0x0e,
	SGX_EMODT = 0x0f,
	SGX_ERDINFO = 0x10,
	SGX_ETRACKC = 0x11,
	SGX_ELDBC = 0x12,
	SGX_ELDUC = 0x13,
	SGX_EUPDATESVN = 0x18,
};

enum sgx_enclu {
	SGX_EREPORT = 0x00,
	SGX_EGETKEY = 0x01,
	SGX_EENTER = 0x02,
	SGX_ERESUME = 0x03,
	SGX_EEXIT = 0x04,
	SGX_EACCEPT = 0x05,
	SGX_EMODPE = 0x06,
	SGX_EACCEPTCOPY = 0x07,
	SGX_EVERIFYREPORT2 = 0x08,
	SGX_EDECCSSA = 0x09,
};

enum sgx_enclv {
	SGX_EDECVIRTCHILD = 0x00,
	SGX_EINCVIRTCHILD = 0x01,
	SGX_ESETCONTEXT = 0x02,
};

/* What a leaf leaves in RAX. */
enum sgx_status {
	SGX_OK = 0,
	SGX_INVALID_SIG_STRUCT = 1,
	SGX_INVALID_ATTRIBUTE = 2,
	SGX_BLKSTATE = 3,
	SGX_INVALID_MEASUREMENT = 4,
	SGX_NOTBLOCKABLE = 5,
	SGX_PG_INVLD = 6,
	SGX_EPC_PAGE_CONFLICT = 7,
	SGX_LOCKFAIL = 7, /* the name that older leaves and EUPDATESVN have for it */
	SGX_INVALID_SIGNATURE = 8,
	SGX_MAC_COMPARE_FAIL = 9,
	SGX_PAGE_NOT_BLOCKED = 10,
	SGX_NOT_TRACKED = 11,
	SGX_VA_SLOT_OCCUPIED = 12,
	SGX_CHILD_PRESENT = 13,
	SGX_ENCLAVE_ACT = 14,
	SGX_ENTRYEPOCH_LOCKED = 15,
	SGX_INVALID_EINITTOKEN = 16,
	SGX_PREV_TRK_INCMPL = 17,
	SGX_PG_IS_SECS = 18,
	SGX_PAGE_ATTRIBUTES_MISMATCH = 19,
	SGX_PAGE_NOT_MODIFIABLE = 20,
	SGX_PAGE_NOT_DEBUGGABLE = 21,
	SGX_INVALID_COUNTER = 25,
	SGX_PG_NONEPC = 26,
	SGX_TRACK_NOT_REQUIRED = 27,
	SGX_INSUFFICIENT_ENTROPY = 29,
	SGX_EPC_NOT_READY = 30,
	SGX_NO_UPDATE = 31,
	SGX_INVALID_CPUSVN = 32,
	SGX_INVALID_ISVSVN = 64,
	SGX_UNMASKED_EVENT = 128,
	SGX_INVALID_KEYNAME = 256,
};

enum sgx_page_type {
	SGX_PT_SECS = 0,
	SGX_PT_TCS = 1,
	SGX_PT_REG = 2,
	SGX_PT_VA = 3,
	SGX_PT_TRIM = 4
};

/* SECINFO.FLAGS */
#define SGX_SECINFO_R          0x001u
#define SGX_SECINFO_W          0x002u
#define SGX_SECINFO_X          0x004u
#define SGX_SECINFO_PENDING    0x008u
#define SGX_SECINFO_MODIFIED   0x010u
#define SGX_SECINFO_PR         0x020u
#define SGX_SECINFO_RWX        0x007u
#define SGX_SECINFO_TYPE_SHIFT 8
#define SGX_SECINFO_TYPE_MASK  0xff00u
#define SGX_SECINFO_TYPE(pt)   ((uint64_t)(pt) << SGX_SECINFO_TYPE_SHIFT)
#define SGX_SECINFO_RESERVED   (~(uint64_t)(SGX_SECINFO_TYPE_MASK | 0x3fu))
#define SGX_RDINFO_BLOCKED     (1ull << 63)

/* Page-fault error code bits. */
#define SGX_PFEC_P   0x0001u
#define SGX_PFEC_W   0x0002u
#define SGX_PFEC_U   0x0004u
#define SGX_PFEC_I   0x0010u
#define SGX_PFEC_SGX 0x8000u

/* ATTRIBUTES.FLAGS */
#define SGX_ATTR_INIT          0x001ull
#define SGX_ATTR_DEBUG         0x002ull
#define SGX_ATTR_MODE64BIT     0x004ull
#define SGX_ATTR_PROVISIONKEY  0x010ull
#define SGX_ATTR_EINITTOKENKEY 0x020ull
#define SGX_ATTR_CET           0x040ull
#define SGX_ATTR_KSS           0x080ull
#define SGX_ATTR_AEXNOTIFY     0x400ull

#define SGX_XFRM_LEGACY 3ull /* x87 and SSE: always set */

#define SGX_MISC_EXINFO 0x1u
#define SGX_MISC_CPINFO 0x2u

/* CPUID.12H.0:EAX */
#define SGX_CPUID_SGX1      (1u << 0)
#define SGX_CPUID_SGX2      (1u << 1)
#define SGX_CPUID_ENCLV     (1u << 5)
#define SGX_CPUID_ENCLS_C   (1u << 6)
#define SGX_CPUID_VERIFY2   (1u << 7)
#define SGX_CPUID_UPDATESVN (1u << 10)
#define SGX_CPUID_EDECCSSA  (1u << 11)

struct sgx_attributes {
	uint64_t flags;
	uint64_t xfrm;
};

/* SECS, the part software sees.  The rest of the page is the processor's own (cpu/secs.h). */
struct sgx_secs {
	uint64_t size;           /* bytes, a power of two */
	uint64_t baseaddr;       /* enclave linear base, aligned to size */
	uint32_t ssa_frame_size; /* pages */
	uint32_t miscselect;
	uint8_t cet_leg_bitmap_offset[8];
	uint8_t cet_attributes;
	uint8_t reserved1[15];
	struct sgx_attributes attributes;
	uint8_t mrenclave[32];
	uint8_t reserved2[32];
	uint8_t mrsigner[32];
	uint8_t reserved3[32];
	uint64_t configid[8];
	uint16_t isvprodid;
	uint16_t isvsvn;
	uint16_t configsvn;
	uint8_t reserved4[3834];
};
static_assert(sizeof(struct sgx_secs) == 4096, "SECS");
static_assert(offsetof(struct sgx_secs, attributes) == 48, "SECS");
static_assert(offsetof(struct sgx_secs, mrenclave) == 64, "SECS");
static_assert(offsetof(struct sgx_secs, mrsigner) == 128, "SECS");
static_assert(offsetof(struct sgx_secs, configid) == 192, "SECS");
static_assert(offsetof(struct sgx_secs, isvprodid) == 256, "SECS");

#define SGX_TCS_DBGOPTIN  1ull
#define SGX_TCS_AEXNOTIFY 2ull

struct sgx_tcs {
	uint64_t state; /* the processor's own: 0 idle, else a logical processor is in it */
	uint64_t flags;
	uint64_t ossa; /* bytes from the enclave's base, page aligned */
	uint32_t cssa;
	uint32_t nssa;
	uint64_t oentry;
	uint64_t aep; /* the processor's own */
	uint64_t ofsbasgx;
	uint64_t ogsbasgx;
	uint32_t fslimit;
	uint32_t gslimit;
	uint64_t ocetssa;
	uint64_t prevssp;
	uint8_t reserved[4008];
};
static_assert(sizeof(struct sgx_tcs) == 4096, "TCS");
static_assert(offsetof(struct sgx_tcs, oentry) == 32, "TCS");
static_assert(offsetof(struct sgx_tcs, ofsbasgx) == 48, "TCS");

/* Operands must be aligned to 64 bytes, else #GP. */
struct sgx_secinfo {
	uint64_t flags;
	uint64_t reserved[7];
} __attribute__((aligned(64)));
static_assert(sizeof(struct sgx_secinfo) == 64, "SECINFO");

struct sgx_pcmd {
	struct sgx_secinfo secinfo;
	uint64_t enclaveid;
	uint8_t reserved[40];
	uint8_t mac[16];
};
static_assert(sizeof(struct sgx_pcmd) == 128, "PCMD");

/* GPRSGX: the last 184 bytes of an SSA frame. */
struct sgx_ssa_gpr {
	uint64_t rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi;
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
	uint64_t rflags;
	uint64_t rip;
	uint64_t ursp;
	uint64_t urbp;
	uint32_t exitinfo;
	uint8_t reserved[3];
	uint8_t aexnotify;
	uint64_t fsbase;
	uint64_t gsbase;
};
static_assert(sizeof(struct sgx_ssa_gpr) == 184, "GPRSGX");

#define SGX_EXITINFO_VALID    (1u << 31)
#define SGX_EXITINFO_HARDWARE (3u << 8) /* EXIT_TYPE */
#define SGX_EXITINFO_SOFTWARE (6u << 8)

struct sgx_exinfo {
	uint64_t maddr;
	uint32_t errcd;
	uint32_t reserved;
};
static_assert(sizeof(struct sgx_exinfo) == 16, "EXINFO");

struct sgx_sigstruct {
	uint8_t header[16];
	uint32_t vendor;
	uint32_t date;
	uint8_t header2[16];
	uint32_t swdefined;
	uint8_t reserved1[84];
	uint8_t modulus[384]; /* little endian, as the two below and q1, q2 */
	uint32_t exponent;
	uint8_t signature[384];
	/* Signed together with the first 128 bytes: */
	uint32_t miscselect;
	uint32_t miscmask;
	uint8_t cet_attributes;
	uint8_t cet_attributes_mask;
	uint8_t reserved2[2];
	uint8_t isvfamilyid[16];
	struct sgx_attributes attributes;
	struct sgx_attributes attributemask;
	uint8_t enclavehash[32];
	uint8_t reserved3[16];
	uint8_t isvextprodid[16];
	uint16_t isvprodid;
	uint16_t isvsvn;
	uint8_t reserved4[12];
	uint8_t q1[384];
	uint8_t q2[384];
};
static_assert(sizeof(struct sgx_sigstruct) == 1808, "SIGSTRUCT");
static_assert(offsetof(struct sgx_sigstruct, modulus) == 128, "SIGSTRUCT");
static_assert(offsetof(struct sgx_sigstruct, miscselect) == 900, "SIGSTRUCT");
static_assert(offsetof(struct sgx_sigstruct, attributes) == 928, "SIGSTRUCT");
static_assert(offsetof(struct sgx_sigstruct, enclavehash) == 960, "SIGSTRUCT");
static_assert(offsetof(struct sgx_sigstruct, isvprodid) == 1024, "SIGSTRUCT");
static_assert(offsetof(struct sgx_sigstruct, q1) == 1040, "SIGSTRUCT");

struct sgx_einittoken {
	uint32_t valid;
	uint8_t reserved1[44];
	struct sgx_attributes attributes;
	uint8_t mrenclave[32];
	uint8_t reserved2[32];
	uint8_t mrsigner[32];
	uint8_t reserved3[32];
	uint8_t cpusvnle[16];
	uint16_t isvprodidle;
	uint16_t isvsvnle;
	uint8_t reserved4[24];
	uint32_t maskedmiscselectle;
	struct sgx_attributes maskedattributesle;
	uint8_t keyid[32];
	uint8_t mac[16];
};
static_assert(sizeof(struct sgx_einittoken) == 304, "EINITTOKEN");

struct sgx_report {
	uint8_t cpusvn[16];
	uint32_t miscselect;
	uint8_t cet_attributes;
	uint8_t reserved1[11];
	uint8_t isvextprodid[16];
	struct sgx_attributes attributes;
	uint8_t mrenclave[32];
	uint8_t reserved2[32];
	uint8_t mrsigner[32];
	uint8_t reserved3[32];
	uint64_t configid[8];
	uint16_t isvprodid;
	uint16_t isvsvn;
	uint16_t configsvn;
	uint8_t reserved4[42];
	uint8_t isvfamilyid[16];
	uint8_t reportdata[64];
	uint8_t keyid[32]; /* the MAC covers everything before this */
	uint8_t mac[16];
};
static_assert(sizeof(struct sgx_report) == 432, "REPORT");
static_assert(offsetof(struct sgx_report, keyid) == 384, "REPORT");

struct sgx_targetinfo {
	uint8_t measurement[32];
	struct sgx_attributes attributes;
	uint8_t cet_attributes;
	uint8_t reserved1[1];
	uint16_t configsvn;
	uint32_t miscselect;
	uint8_t reserved2[8];
	uint64_t configid[8];
	uint8_t reserved3[384];
};
static_assert(sizeof(struct sgx_targetinfo) == 512, "TARGETINFO");

enum sgx_keyname {
	SGX_KEY_EINITTOKEN = 0,
	SGX_KEY_PROVISION = 1,
	SGX_KEY_PROVISION_SEAL = 2,
	SGX_KEY_REPORT = 3,
	SGX_KEY_SEAL = 4,
};

#define SGX_KEYPOLICY_MRENCLAVE    0x01u
#define SGX_KEYPOLICY_MRSIGNER     0x02u
#define SGX_KEYPOLICY_NOISVPRODID  0x04u
#define SGX_KEYPOLICY_CONFIGID     0x08u
#define SGX_KEYPOLICY_ISVFAMILYID  0x10u
#define SGX_KEYPOLICY_ISVEXTPRODID 0x20u

struct sgx_keyrequest {
	uint16_t keyname;
	uint16_t keypolicy;
	uint16_t isvsvn;
	uint8_t cet_attributes_mask;
	uint8_t reserved1;
	uint8_t cpusvn[16];
	struct sgx_attributes attributemask;
	uint8_t keyid[32];
	uint32_t miscmask;
	uint16_t configsvn;
	uint8_t reserved2[434];
};
static_assert(sizeof(struct sgx_keyrequest) == 512, "KEYREQUEST");

struct sgx_rdinfo {
	uint64_t status; /* bit 0 CHLDPRESENT, bit 1 VIRTCHLDPRESENT */
	uint64_t flags;  /* as SECINFO.FLAGS, and SGX_RDINFO_BLOCKED */
	uint64_t enclavecontext;
	uint64_t reserved;
};
static_assert(sizeof(struct sgx_rdinfo) == 32, "RDINFO");

#endif
