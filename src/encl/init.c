/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * EINIT, and who may have the provisioning key.
 *
 * Launch control is as in Linux: the signer's own hash goes into the launch-key MSRs, so that any signer
 * will do, and the only gate is the provisioning attribute.
 */
#include "encl/encl_priv.h"

#include <errno.h>
#include <string.h>

#include "epc/epc.h"

/* Attribute bits that Linux itself refuses in a SIGSTRUCT, whatever the CPU knows. */
#define ATTR_RESERVED \
	(1ull << 3 | SGX_ATTR_CET | 1ull << 8 | 1ull << 9 | ~(uint64_t)((1ull << 11) - 1))
#define MISC_RESERVED (~(uint32_t)SGX_MISC_EXINFO)

static const struct sgx_einittoken no_token __attribute__((aligned(512)));

/* What the SIGSTRUCT insists on must exist on this platform. */
static int init_check_platform(struct encl *encl, const struct sgx_sigstruct *sig)
{
	const struct cpu_config *config = cpu_get_config(encl->cpu);

	if (sig->attributes.flags & sig->attributemask.flags & (~config->attr_mask | ATTR_RESERVED))
		return -EINVAL;
	if (sig->miscselect & sig->miscmask & (~config->misc_mask | MISC_RESERVED))
		return -EINVAL;
	if (sig->attributes.xfrm & sig->attributemask.xfrm & ~config->xfrm_mask)
		return -EINVAL;
	return 0;
}

int encl_init(struct encl *encl, const struct encl_mm *mm, const struct sgx_sigstruct *sig)
{
	uint64_t signer[4];
	struct cpu_outcome out;
	int r;

	r = encl_may_add(encl);
	if (r < 0)
		return r;
	if (sig->vendor != 0 && sig->vendor != 0x8086)
		return -EINVAL;
	if (encl->attributes & ~encl->attributes_allowed)
		return -EACCES;
	r = init_check_platform(encl, sig);
	if (r < 0)
		return r;
	cpu_signer_hash(sig, signer);

	encl_lock(encl);
	/* Before: whoever has to see EINIT through does not have the SIGSTRUCT. */
	memcpy(encl->mrenclave, sig->enclavehash, sizeof(encl->mrenclave));
	encl_begin_locked(encl, ENCL_CHANGING, NULL, 0);
	out = encls_einit(encl->cpu, sig, epc_page_nr(encl->epc, encl->secs.epc_page), &no_token,
			  signer);
	if (cpu_ok(out)) {
		atomic_fetch_or(&encl->flags, ENCL_INITIALIZED);
		if (encl->child_nr == 0)
			page_track_locked(encl, &encl->secs);
	}
	encl_end_locked(encl);
	encl_unlock(encl);
	if (out.fault != CPU_NO_FAULT)
		return -EIO;
	return out.eax == SGX_OK ? 0 : -EPERM;
}

int encl_provision(struct encl *encl)
{
	encl_lock(encl);
	encl->attributes_allowed |= SGX_ATTR_PROVISIONKEY;
	encl_unlock(encl);
	return 0;
}
