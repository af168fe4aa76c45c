/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The guest's page tables, as its processor walks them: four levels, long mode.
 *
 * Tables lie in RAM; one that does not is as one that is not there.  SMAP, SMEP and protection keys are not looked at:
 * what is walked here are operands of SGX instructions, and for code in an enclave KVM has asked about these
 * before.
 */
#include "vmm/vmm_priv.h"

#include <string.h>

#define CR0_PG   (1ull << 31)
#define CR0_WP   (1ull << 16)
#define EFER_LMA (1ull << 10)
#define EFER_NXE (1ull << 11)

#define PTE_ADDR 0x000ffffffffff000ull

struct paging paging_of(const struct kvm_sregs *sregs)
{
	return (struct paging){ .cr0 = sregs->cr0,
				.cr3 = sregs->cr3,
				.cr4 = sregs->cr4,
				.efer = sregs->efer,
				.cpl = sregs->ss.dpl };
}

static uint64_t *entry_at(struct vmm *vmm, uint64_t table, uint64_t la, unsigned int level)
{
	uint64_t gpa = (table & PTE_ADDR) + (la >> (12 + 9 * level) & 511) * sizeof(uint64_t);

	if (gpa >= vmm->config.ram_bytes)
		return NULL;
	return (uint64_t *)(vmm->ram + gpa);
}

static bool allows(const struct paging *paging, uint64_t rights, unsigned int access)
{
	bool user = paging->cpl == 3;

	if (user && !(rights & PTE_U))
		return false;
	if ((access & SGX_SECINFO_W) && !(rights & PTE_W) && (user || (paging->cr0 & CR0_WP)))
		return false;
	return !((access & SGX_SECINFO_X) && (rights & PTE_NX));
}

static uint16_t error_of(const struct paging *paging, unsigned int access, bool present)
{
	uint16_t error = present ? SGX_PFEC_P : 0;

	if (access & SGX_SECINFO_W)
		error |= SGX_PFEC_W;
	if (access & SGX_SECINFO_X)
		error |= SGX_PFEC_I;
	return paging->cpl == 3 ? error | SGX_PFEC_U : error;
}

bool paging_walk(struct vmm *vmm, const struct paging *paging, uint64_t la, unsigned int access,
		 struct translation *ret, uint16_t *ret_error)
{
	uint64_t rights = PTE_P | PTE_W | PTE_U, table = paging->cr3;
	uint64_t *entries[4], mask, value = 0;
	unsigned int level = 4, nr = 0;

	*ret_error = error_of(paging, access, false);
	if (!(paging->cr0 & CR0_PG) || !(paging->efer & EFER_LMA))
		return false;
	do {
		uint64_t *entry = entry_at(vmm, table, la, --level);

		value = entry ? __atomic_load_n(entry, __ATOMIC_RELAXED) : 0;
		if (!(value & PTE_P))
			return false;
		rights &= value | ~(PTE_W | PTE_U);
		rights |= paging->efer & EFER_NXE ? value & PTE_NX : 0;
		entries[nr++] = entry;
		table = value;
	} while (level > 0 && !((value & PTE_PS) && level < 3));

	if (!allows(paging, rights, access)) {
		*ret_error = error_of(paging, access, true);
		return false;
	}
	for (unsigned int i = 0; i < nr; i++)
		__atomic_fetch_or(entries[i],
				  i + 1 == nr && (access & SGX_SECINFO_W) ? PTE_A | PTE_D : PTE_A,
				  __ATOMIC_RELAXED);
	mask = (PAGE << (9 * level)) - 1;
	ret->gpa = (value & PTE_ADDR & ~mask) | (la & mask);
	ret->pte = rights | (value & PTE_D) | (access & SGX_SECINFO_W ? PTE_D : 0);
	return true;
}

bool paging_fetch(struct vmm *vmm, const struct paging *paging, uint64_t la, bool epc, void *to,
		  size_t bytes)
{
	uint8_t *out = to;

	while (bytes > 0) {
		size_t part = PAGE - la % PAGE;
		struct translation t;
		uint16_t error;

		if (part > bytes)
			part = bytes;
		if (!paging_walk(vmm, paging, la, SGX_SECINFO_R, &t, &error))
			return false;
		if (!memory_read(vmm, t.gpa, out, part) &&
		    !(epc && memory_is_epc(vmm, t.gpa) && memory_peek_epc(vmm, t.gpa, out, part)))
			return false;
		la += part;
		out += part;
		bytes -= part;
	}
	return true;
}
