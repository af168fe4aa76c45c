/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* See machine.h. */
#include "machine.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory ---------------------------------------------------------------------------------------- */

static bool walk(void *ctx, uint64_t la, bool write, uint64_t *ret_gpa, uint16_t *ret_error)
{
	if ((la & ~0xfffull) == LA_UNMAPPED) {
		*ret_error = 0;
		return false;
	}
	*ret_gpa = la;
	return true;
}

/* In words, each at once: other processors may be writing. */
static bool ram_read(void *ctx, uint64_t gpa, void *to, size_t bytes)
{
	struct machine *m = ctx;

	if (gpa > RAM_BYTES - bytes)
		return false;
	for (size_t i = 0; i < bytes; i += 8) {
		uint64_t word = __atomic_load_n(&m->ram[(gpa + i) / 8], __ATOMIC_RELAXED);

		memcpy((uint8_t *)to + i, &word, bytes - i < 8 ? bytes - i : 8);
	}
	m->reads++;
	if (m->after_read)
		m->after_read(m, gpa, bytes);
	return true;
}

static bool ram_write(void *ctx, uint64_t gpa, const void *from, size_t bytes)
{
	struct machine *m = ctx;

	if (gpa > RAM_BYTES - bytes)
		return false;
	memcpy((uint8_t *)m->ram + gpa, from, bytes);
	return true;
}

void *machine_ram(struct machine *m, uint64_t gpa)
{
	assert(gpa < RAM_BYTES);
	return (uint8_t *)m->ram + gpa;
}

/* ---- life -------------------------------------------------------------------------------------------- */

static void join(struct machine *m, bool provisioning)
{
	struct virt_policy policy;

	m->ram = calloc(1, RAM_BYTES);
	virt_policy_host(m->vm.guest, provisioning, &policy);
	virt_vcpu_init(&m->vcpu, m->vm.guest, &policy);
	m->vcpu.mmu =
		(struct virt_mmu){ .walk = walk, .read = ram_read, .write = ram_write, .ctx = m };
	assert(virt_wrmsr(&m->vcpu, VIRT_MSR_FEATURE_CONTROL,
			  VIRT_FEATURE_LOCKED | VIRT_FEATURE_SGX_ENABLED | VIRT_FEATURE_SGX_LC) ==
	       0);
}

void machine_init(struct machine *m, uint32_t epc_pages, bool provisioning)
{
	memset(m, 0, sizeof(*m));
	vm_init(&m->vm, epc_pages);
	join(m, provisioning);
}

void machine_join(struct machine *m, const struct world *w, struct vepc_registry *registry)
{
	memset(m, 0, sizeof(*m));
	vm_join(&m->vm, w, registry);
	join(m, true);
}

void machine_leave(struct machine *m)
{
	free(m->ram);
	vm_leave(&m->vm);
}

/* ---- instructions ------------------------------------------------------------------------------------ */

int machine_encls(struct machine *m, enum sgx_encls leaf, uint64_t rbx, uint64_t rcx, uint64_t rdx)
{
	m->regs = (struct cpu_regs){ .rax = leaf, .rbx = rbx, .rcx = rcx, .rdx = rdx };
	m->reads = 0;
	return virt_encls(&m->vcpu, &m->regs, &m->out);
}

void machine_pageinfo(struct machine *m, uint64_t linaddr, uint64_t srcpge, uint64_t secinfo,
		      uint64_t secs)
{
	uint64_t *pageinfo = machine_ram(m, AT_PAGEINFO);

	pageinfo[0] = linaddr;
	pageinfo[1] = srcpge;
	pageinfo[2] = secinfo;
	pageinfo[3] = secs;
}

struct sgx_secs *machine_secs(struct machine *m)
{
	struct sgx_secinfo *secinfo = machine_ram(m, AT_SECINFO);
	struct sgx_secs *src = machine_ram(m, AT_SOURCE);

	memset(secinfo, 0, sizeof(*secinfo));
	secinfo->flags = SGX_SECINFO_TYPE(SGX_PT_SECS);
	memset(src, 0, sizeof(*src));
	src->size = VM_SIZE;
	src->baseaddr = VM_BASE;
	src->ssa_frame_size = 1;
	src->attributes.flags = SGX_ATTR_MODE64BIT;
	src->attributes.xfrm = SGX_XFRM_LEGACY;
	machine_pageinfo(m, 0, AT_SOURCE, AT_SECINFO, 0);
	return src;
}

int machine_ecreate(struct machine *m, uint32_t secs)
{
	return machine_encls(m, SGX_ECREATE, AT_PAGEINFO, vm_gpa(&m->vm, secs), 0);
}

int machine_eadd(struct machine *m, uint32_t secs, uint32_t page, uint64_t i, uint64_t flags)
{
	struct sgx_secinfo *secinfo = machine_ram(m, AT_SECINFO);

	memset(secinfo, 0, sizeof(*secinfo));
	secinfo->flags = flags;
	vm_source(machine_ram(m, AT_SOURCE), i, flags);
	machine_pageinfo(m, VM_BASE + i * SGX_PAGE_SIZE, AT_SOURCE, AT_SECINFO,
			 vm_gpa(&m->vm, secs));
	return machine_encls(m, SGX_EADD, AT_PAGEINFO, vm_gpa(&m->vm, page), 0);
}
