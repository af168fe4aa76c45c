/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * EGETKEY: which enclave may have which key, and what it depends on.
 */
#include <string.h>

#include "cpu/cpu.h"
#include "cpu/cpu_priv.h"
#include "cpu/enclu_priv.h"
#include "cpu/keys.h"
#include "cpu/operand.h"
#include "cpu/secs.h"

#define KEYREQUEST_ALIGN 512u
#define KEY_ALIGN        16u
#define KEY_BYTES        16u

#define POLICY_KSS                                                                        \
	(SGX_KEYPOLICY_NOISVPRODID | SGX_KEYPOLICY_CONFIGID | SGX_KEYPOLICY_ISVFAMILYID | \
	 SGX_KEYPOLICY_ISVEXTPRODID)
#define POLICY_KNOWN (SGX_KEYPOLICY_MRENCLAVE | SGX_KEYPOLICY_MRSIGNER | POLICY_KSS)

/* Always in the key, whatever the mask says. */
#define REQUIRED_SEALING_FLAGS (SGX_ATTR_INIT | SGX_ATTR_DEBUG)

struct key_asked {
	const struct cpu *cpu;
	const struct secs_page *secs;
	const struct sgx_keyrequest *req;
	struct key_deps deps;
};

static bool request_well_formed(const struct sgx_keyrequest *req, bool kss)
{
	if (req->reserved1 || !cpu_is_zero(req->reserved2, sizeof(req->reserved2)) ||
	    req->keypolicy & ~POLICY_KNOWN)
		return false;
	return kss || (!(req->keypolicy & POLICY_KSS) && req->configsvn == 0);
}

/* What every key but the report key has in common. */
static struct cpu_outcome check_svn(const struct key_asked *k)
{
	if (!key_cpusvn_reached(k->cpu, k->req->cpusvn))
		return cpu_fail(SGX_INVALID_CPUSVN);
	if (k->req->isvsvn > k->secs->arch.isvsvn)
		return cpu_fail(SGX_INVALID_ISVSVN);
	return cpu_done();
}

static void deps_common(struct key_asked *k)
{
	const struct sgx_secs *secs = &k->secs->arch;
	const struct sgx_keyrequest *req = k->req;

	k->deps = (struct key_deps){
		.keyname = req->keyname,
		.isvprodid = secs->isvprodid,
		.isvsvn = req->isvsvn,
		.miscselect = req->miscmask & secs->miscselect,
		.cet_attributes = req->cet_attributes_mask & secs->cet_attributes,
		.attributes.flags = (req->attributemask.flags | REQUIRED_SEALING_FLAGS) &
				    secs->attributes.flags,
		.attributes.xfrm = req->attributemask.xfrm & secs->attributes.xfrm,
	};
	memcpy(k->deps.cpusvn, req->cpusvn, sizeof(k->deps.cpusvn));
}

static void deps_masks(struct key_asked *k)
{
	k->deps.attributesmask = k->req->attributemask;
	k->deps.miscmask = ~k->req->miscmask;
	k->deps.cet_attributes_mask = (uint8_t)~k->req->cet_attributes_mask;
}

static void deps_owner(struct key_asked *k)
{
	memcpy(k->deps.ownerepoch, k->cpu->config.fuses.owner_epoch, sizeof(k->deps.ownerepoch));
}

static void deps_seal_fuses(struct key_asked *k)
{
	memcpy(k->deps.seal_fuses, k->cpu->config.fuses.seal_fuses, sizeof(k->deps.seal_fuses));
}

static void deps_signer(struct key_asked *k)
{
	memcpy(k->deps.mrsigner, k->secs->arch.mrsigner, sizeof(k->deps.mrsigner));
}

/* What KEYPOLICY of a KSS enclave adds, or takes out, of sealing keys. */
static void deps_policy(struct key_asked *k)
{
	uint16_t policy = k->req->keypolicy;

	k->deps.keypolicy = policy;
	if (policy & SGX_KEYPOLICY_ISVFAMILYID)
		memcpy(k->deps.isvfamilyid, k->secs->own.isvfamilyid, sizeof(k->deps.isvfamilyid));
	if (policy & SGX_KEYPOLICY_NOISVPRODID)
		k->deps.isvprodid = 0;
	if (policy & SGX_KEYPOLICY_CONFIGID) {
		memcpy(k->deps.configid, k->secs->arch.configid, sizeof(k->deps.configid));
		k->deps.configsvn = k->req->configsvn;
	}
	if (policy & SGX_KEYPOLICY_ISVEXTPRODID)
		memcpy(k->deps.isvextprodid, k->secs->own.isvextprodid,
		       sizeof(k->deps.isvextprodid));
}

static struct cpu_outcome ask_seal(struct key_asked *k)
{
	struct cpu_outcome out = check_svn(k);

	if (!cpu_passed(out))
		return out;
	if (k->req->configsvn > k->secs->arch.configsvn)
		return cpu_fail(SGX_INVALID_ISVSVN);
	deps_common(k);
	deps_masks(k);
	deps_owner(k);
	deps_seal_fuses(k);
	deps_policy(k);
	if (k->req->keypolicy & SGX_KEYPOLICY_MRENCLAVE)
		memcpy(k->deps.mrenclave, k->secs->arch.mrenclave, sizeof(k->deps.mrenclave));
	if (k->req->keypolicy & SGX_KEYPOLICY_MRSIGNER)
		deps_signer(k);
	memcpy(k->deps.keyid, k->req->keyid, sizeof(k->deps.keyid));
	return cpu_done();
}

/* The key with which others make reports for this enclave. */
static struct cpu_outcome ask_report(struct key_asked *k)
{
	const struct sgx_secs *secs = &k->secs->arch;
	struct sgx_targetinfo self = {
		.attributes = secs->attributes,
		.cet_attributes = secs->cet_attributes,
		.configsvn = secs->configsvn,
		.miscselect = secs->miscselect,
	};

	memcpy(self.measurement, secs->mrenclave, sizeof(self.measurement));
	memcpy(self.configid, secs->configid, sizeof(self.configid));
	key_deps_report(k->cpu, &self, k->req->keyid, &k->deps);
	return cpu_done();
}

static struct cpu_outcome ask_einittoken(struct key_asked *k)
{
	struct cpu_outcome out;

	if (!(k->secs->arch.attributes.flags & SGX_ATTR_EINITTOKENKEY))
		return cpu_fail(SGX_INVALID_ATTRIBUTE);
	out = check_svn(k);
	if (!cpu_passed(out))
		return out;
	deps_common(k);
	k->deps.cet_attributes = 0;
	deps_owner(k);
	deps_seal_fuses(k);
	deps_signer(k);
	memcpy(k->deps.keyid, k->req->keyid, sizeof(k->deps.keyid));
	return cpu_done();
}

/* Neither depends on the owner's epoch, nor on KEYID: a platform has one of each. */
static struct cpu_outcome ask_provision(struct key_asked *k, bool seal)
{
	struct cpu_outcome out;

	if (!(k->secs->arch.attributes.flags & SGX_ATTR_PROVISIONKEY))
		return cpu_fail(SGX_INVALID_ATTRIBUTE);
	out = check_svn(k);
	if (!cpu_passed(out))
		return out;
	if (seal && k->req->configsvn > k->secs->arch.configsvn)
		return cpu_fail(SGX_INVALID_ISVSVN);
	deps_common(k);
	deps_masks(k);
	deps_signer(k);
	if (seal) {
		deps_seal_fuses(k);
		deps_policy(k);
	}
	return cpu_done();
}

static struct cpu_outcome ask(struct key_asked *k)
{
	switch (k->req->keyname) {
	case SGX_KEY_SEAL:
		return ask_seal(k);
	case SGX_KEY_REPORT:
		return ask_report(k);
	case SGX_KEY_EINITTOKEN:
		return ask_einittoken(k);
	case SGX_KEY_PROVISION:
		return ask_provision(k, false);
	case SGX_KEY_PROVISION_SEAL:
		return ask_provision(k, true);
	default:
		return cpu_fail(SGX_INVALID_KEYNAME);
	}
}

static struct cpu_outcome egetkey(struct cpu *cpu, const struct cpu_lp *lp, struct operands *ops,
				  const struct cpu_regs *regs)
{
	struct key_asked k = { .cpu = cpu, .secs = secs_page(cpu, lp->secs) };
	struct sgx_keyrequest req;
	struct cpu_outcome out;
	uint8_t key[KEY_BYTES];
	void *from, *to;

	if (!enclu_operand_legal(lp, regs->rbx, KEYREQUEST_ALIGN))
		return cpu_gp();
	out = operand_pin(ops, regs->rbx, SGX_SECINFO_R, &from);
	if (!cpu_passed(out))
		return out;
	if (!enclu_operand_legal(lp, regs->rcx, KEY_ALIGN))
		return cpu_gp();
	out = operand_pin(ops, regs->rcx, SGX_SECINFO_W, &to);
	if (!cpu_passed(out))
		return out;
	memcpy(&req, from, sizeof(req));
	if (!request_well_formed(&req, k.secs->arch.attributes.flags & SGX_ATTR_KSS))
		return cpu_gp();
	k.req = &req;
	out = ask(&k);
	if (cpu_passed(out)) {
		key_derive(cpu, &k.deps, key);
		memcpy(to, key, sizeof(key));
		explicit_bzero(key, sizeof(key));
	}
	return out;
}

struct cpu_outcome enclu_egetkey(struct cpu *cpu, struct cpu_lp *lp, const struct cpu_mmu *mmu,
				 struct cpu_regs *regs)
{
	struct operands ops;
	struct cpu_outcome out;

	if (!lp->in_enclave)
		return cpu_gp();
	operands_init(&ops, cpu, mmu, lp->secs);
	out = egetkey(cpu, lp, &ops, regs);
	operands_put(&ops);
	return enclu_retire(out, regs);
}
