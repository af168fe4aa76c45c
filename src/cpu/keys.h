/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* Key derivation: what keys depend on, and the keys. */
#ifndef SWSGX_CPU_KEYS_H
#define SWSGX_CPU_KEYS_H

#include "cpu/cpu_priv.h"

/* KEYDEPENDENCIES of the SDM, without padding: its bytes are the derivation's input. */
struct key_deps {
	uint16_t keyname;
	uint16_t isvprodid;
	uint16_t isvsvn;
	uint16_t configsvn;
	uint32_t miscselect;
	uint32_t miscmask;
	uint16_t keypolicy;
	uint8_t cet_attributes;
	uint8_t cet_attributes_mask;
	uint32_t zero;
	struct sgx_attributes attributes;
	struct sgx_attributes attributesmask;
	uint8_t isvfamilyid[16];
	uint8_t isvextprodid[16];
	uint8_t ownerepoch[16];
	uint8_t seal_fuses[16];
	uint8_t cpusvn[16];
	uint8_t mrenclave[32];
	uint8_t mrsigner[32];
	uint8_t keyid[32];
	uint64_t configid[8];
};
static_assert(sizeof(struct key_deps) == 24 + 32 + 5 * 16 + 3 * 32 + 64, "no padding is hashed");

void key_derive(const struct cpu *cpu, const struct key_deps *deps, uint8_t ret_key[16]);
/* A CPUSVN that this processor has reached: no component is beyond its own. */
bool key_cpusvn_reached(const struct cpu *cpu, const uint8_t cpusvn[16]);

/* The report key of the enclave that @target describes. */
void key_deps_report(const struct cpu *cpu, const struct sgx_targetinfo *target,
		     const uint8_t keyid[32], struct key_deps *ret_deps);
/* The key that a launch enclave makes @token's MAC with. */
void key_deps_einittoken(const struct cpu *cpu, const struct sgx_einittoken *token,
			 const uint64_t lepubkeyhash[4], struct key_deps *ret_deps);

#endif
