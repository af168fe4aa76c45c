/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The few SGX layouts and codes that this example needs, from SDM Vol. 3D "SGX Data Structures".
 *
 * The example has a copy of its own, so that it stands alone: everything below examples/kv can be
 * taken elsewhere and built for real SGX hardware.
 */
#ifndef KV_SGX_H
#define KV_SGX_H

#include <assert.h>
#include <stdint.h>

#define SGX_PAGE    4096u
#define SGX_EEXTEND 256u

#define SGX_EREPORT 0
#define SGX_EGETKEY 1
#define SGX_EENTER  2
#define SGX_ERESUME 3
#define SGX_EEXIT   4
#define SGX_EACCEPT 5

#define SGX_ATTR_INIT      0x1ull
#define SGX_ATTR_DEBUG     0x2ull
#define SGX_ATTR_MODE64BIT 0x4ull
#define SGX_XFRM_LEGACY    0x3ull /* x87 and SSE: all that the enclave uses */

#define SGX_SECINFO_R       0x001u
#define SGX_SECINFO_W       0x002u
#define SGX_SECINFO_X       0x004u
#define SGX_SECINFO_PENDING 0x008u
#define SGX_SECINFO_TCS     0x100u
#define SGX_SECINFO_REG     0x200u

struct sgx_attributes {
	uint64_t flags;
	uint64_t xfrm;
};

struct sgx_secinfo {
	uint64_t flags;
	uint64_t reserved[7];
} __attribute__((aligned(64)));

struct sgx_secs {
	uint64_t size;
	uint64_t base;
	uint32_t ssa_frame_pages;
	uint32_t miscselect;
	uint8_t reserved1[24];
	struct sgx_attributes attributes;
	uint8_t mrenclave[32];
	uint8_t reserved2[32];
	uint8_t mrsigner[32];
	uint8_t reserved3[96];
	uint16_t isvprodid;
	uint16_t isvsvn;
	uint8_t reserved4[3836];
};
static_assert(sizeof(struct sgx_secs) == 4096, "SECS");

struct sgx_tcs {
	uint64_t state;
	uint64_t flags;
	uint64_t ossa;
	uint32_t cssa;
	uint32_t nssa;
	uint64_t oentry;
	uint64_t aep;
	uint64_t ofsbase;
	uint64_t ogsbase;
	uint32_t fslimit;
	uint32_t gslimit;
	uint8_t reserved[4024];
};
static_assert(sizeof(struct sgx_tcs) == 4096, "TCS");

struct sgx_sigstruct {
	uint8_t header[16];
	uint32_t vendor;
	uint32_t date;
	uint8_t header2[16];
	uint32_t swdefined;
	uint8_t reserved1[84];
	uint8_t modulus[384]; /* this and the other numbers: little endian */
	uint32_t exponent;
	uint8_t signature[384];
	uint32_t miscselect;
	uint32_t miscmask;
	uint8_t reserved2[20];
	struct sgx_attributes attributes;
	struct sgx_attributes attributemask;
	uint8_t enclavehash[32];
	uint8_t reserved3[32];
	uint16_t isvprodid;
	uint16_t isvsvn;
	uint8_t reserved4[12];
	uint8_t q1[384];
	uint8_t q2[384];
} __attribute__((packed));
static_assert(sizeof(struct sgx_sigstruct) == 1808, "SIGSTRUCT");

struct sgx_targetinfo {
	uint8_t mrenclave[32];
	struct sgx_attributes attributes;
	uint8_t reserved1[4];
	uint32_t miscselect;
	uint8_t reserved2[456];
};
static_assert(sizeof(struct sgx_targetinfo) == 512, "TARGETINFO");

struct sgx_report {
	uint8_t cpusvn[16];
	uint32_t miscselect;
	uint8_t reserved1[28];
	struct sgx_attributes attributes;
	uint8_t mrenclave[32];
	uint8_t reserved2[32];
	uint8_t mrsigner[32];
	uint8_t reserved3[96];
	uint16_t isvprodid;
	uint16_t isvsvn;
	uint8_t reserved4[60];
	uint8_t reportdata[64];
	uint8_t keyid[32]; /* the MAC covers all before this */
	uint8_t mac[16];
};
static_assert(sizeof(struct sgx_report) == 432, "REPORT");

#define SGX_KEY_REPORT         3
#define SGX_KEY_SEAL           4
#define SGX_KEYPOLICY_MRSIGNER 2

struct sgx_keyrequest {
	uint16_t keyname;
	uint16_t keypolicy;
	uint16_t isvsvn;
	uint16_t reserved1;
	uint8_t cpusvn[16];
	struct sgx_attributes attributemask;
	uint8_t keyid[32];
	uint32_t miscmask;
	uint8_t reserved2[436];
};
static_assert(sizeof(struct sgx_keyrequest) == 512, "KEYREQUEST");

#endif
