/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Key derivation: AES-CMAC over the dependencies with the platform's root key.
 *
 * The dependencies are those of the SDM's table "Key Derivation", except for the PKCS padding of
 * the signature: it is the same constant for every signature that EINIT takes, so it separates
 * nothing.  How hardware mixes them is not public; no key here equals a key of hardware.
 */
#include "cpu/keys.h"

#include <string.h>

#include "crypto/cmac.h"

void key_derive(const struct cpu *cpu, const struct key_deps *deps, uint8_t ret_key[16])
{
	cmac_aes128(cpu->config.fuses.root_key, deps, sizeof(*deps), ret_key);
}

bool key_cpusvn_reached(const struct cpu *cpu, const uint8_t cpusvn[16])
{
	for (unsigned int i = 0; i < 16; i++)
		if (cpusvn[i] > cpu->config.fuses.cpusvn[i])
			return false;
	return true;
}

void key_deps_report(const struct cpu *cpu, const struct sgx_targetinfo *target,
		     const uint8_t keyid[32], struct key_deps *ret_deps)
{
	const struct cpu_fuses *fuses = &cpu->config.fuses;

	*ret_deps = (struct key_deps){
		.keyname = SGX_KEY_REPORT,
		.configsvn = target->configsvn,
		.miscselect = target->miscselect,
		.cet_attributes = target->cet_attributes,
		.attributes = target->attributes,
	};
	memcpy(ret_deps->mrenclave, target->measurement, sizeof(ret_deps->mrenclave));
	memcpy(ret_deps->configid, target->configid, sizeof(ret_deps->configid));
	memcpy(ret_deps->keyid, keyid, sizeof(ret_deps->keyid));
	memcpy(ret_deps->ownerepoch, fuses->owner_epoch, sizeof(ret_deps->ownerepoch));
	memcpy(ret_deps->seal_fuses, fuses->seal_fuses, sizeof(ret_deps->seal_fuses));
	memcpy(ret_deps->cpusvn, fuses->cpusvn, sizeof(ret_deps->cpusvn));
}

void key_deps_einittoken(const struct cpu *cpu, const struct sgx_einittoken *token,
			 const uint64_t lepubkeyhash[4], struct key_deps *ret_deps)
{
	const struct cpu_fuses *fuses = &cpu->config.fuses;

	*ret_deps = (struct key_deps){
		.keyname = SGX_KEY_EINITTOKEN,
		.isvprodid = token->isvprodidle,
		.isvsvn = token->isvsvnle,
		.miscselect = token->maskedmiscselectle,
		.attributes = token->maskedattributesle,
	};
	memcpy(ret_deps->mrsigner, lepubkeyhash, sizeof(ret_deps->mrsigner));
	memcpy(ret_deps->keyid, token->keyid, sizeof(ret_deps->keyid));
	memcpy(ret_deps->cpusvn, token->cpusvnle, sizeof(ret_deps->cpusvn));
	memcpy(ret_deps->ownerepoch, fuses->owner_epoch, sizeof(ret_deps->ownerepoch));
	memcpy(ret_deps->seal_fuses, fuses->seal_fuses, sizeof(ret_deps->seal_fuses));
}
