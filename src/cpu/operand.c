/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Operands of ENCLU (see operand.h).
 *
 * The walk and the pin are two steps, and the page may be evicted in between.  So a page that the
 * EPCM refuses is looked up again: only when the page tables still name it is the refusal real.
 * Otherwise the translation is gone, which is an ordinary page fault.
 */
#include "cpu/operand.h"

#define WALKS_MAX 4

static uint16_t error_of(unsigned int access)
{
	return SGX_PFEC_U | (access & SGX_SECINFO_W ? SGX_PFEC_W : 0);
}

static struct cpu_outcome fault(uint64_t la, uint16_t error)
{
	return (struct cpu_outcome){ .fault = CPU_PF, .pf_error = error, .pf_addr = la };
}

struct cpu_outcome operand_refused(uint64_t la, unsigned int access)
{
	return fault(la, error_of(access) | SGX_PFEC_P | SGX_PFEC_SGX);
}

struct cpu_outcome operand_absent(uint64_t la, unsigned int access)
{
	return fault(la, error_of(access));
}

struct cpu_outcome operand_walk(const struct cpu_mmu *mmu, uint64_t la, unsigned int access,
				uint32_t *ret_page)
{
	uint16_t pf_error = 0;

	*ret_page = mmu->walk(mmu->ctx, la, access, &pf_error);
	if (*ret_page == CPU_NO_PAGE)
		return fault(la, pf_error | error_of(access));
	return cpu_done();
}

struct cpu_outcome operand_settle(const struct cpu_mmu *mmu, uint64_t la, unsigned int access,
				  uint32_t page, struct cpu_outcome verdict)
{
	struct cpu_outcome out;
	uint32_t again;

	out = operand_walk(mmu, la, access, &again);
	if (!cpu_passed(out))
		return out;
	return again == page ? verdict : operand_absent(la, access);
}

static bool permits(uint64_t attr, unsigned int access)
{
	const uint64_t closed = EPCM_BLOCKED | EPCM_PENDING | EPCM_MODIFIED;
	uint64_t rwx = epcm_rwx_bits(access);

	return !(attr & closed) && epcm_pt(attr) == SGX_PT_REG && (attr & rwx) == rwx;
}

static bool is_ours(const struct operands *ops, const struct epcm_entry *e, uint64_t attr,
		    uint64_t la)
{
	return attr & EPCM_VALID && (attr & EPCM_LA) == (la & EPCM_LA) && epcm_secs(e) == ops->secs;
}

static bool pinnable(const struct operands *ops, const struct epcm_entry *e, uint64_t la,
		     unsigned int access, bool check)
{
	uint64_t attr = epcm_attr(e);

	return is_ours(ops, e, attr, la) && (!check || permits(attr, access));
}

/*
 * The entry is looked at before the pin as well: a pin on a page that meanwhile is somebody else's
 * would be in that one's way.
 */
static struct cpu_outcome pin(struct operands *ops, uint64_t la, unsigned int access, bool check,
			      void **ret_bytes)
{
	uint32_t refused = CPU_NO_PAGE;

	assert(ops->nr < OPERAND_NR_MAX);
	for (int i = 0; i < WALKS_MAX; i++) {
		struct epcm_entry *e;
		struct cpu_outcome out;
		uint32_t page;

		out = operand_walk(ops->mmu, la, access, &page);
		if (!cpu_passed(out))
			return out;
		if (page == refused)
			return operand_refused(la, access);
		refused = page;
		e = &ops->cpu->epcm[page];
		if (!pinnable(ops, e, la, access, check))
			continue;
		if (!epcm_try_pin(e))
			return operand_absent(la, access);
		if (pinnable(ops, e, la, access, check)) {
			ops->page[ops->nr++] = page;
			*ret_bytes = (uint8_t *)cpu_contents(ops->cpu, page) +
				     (la & (SGX_PAGE_SIZE - 1));
			return cpu_done();
		}
		epcm_put_pin(e);
	}
	return operand_absent(la, access);
}

struct cpu_outcome operand_pin(struct operands *ops, uint64_t la, unsigned int access,
			       void **ret_bytes)
{
	return pin(ops, la, access, true, ret_bytes);
}

struct cpu_outcome operand_pin_unchecked(struct operands *ops, uint64_t la, void **ret_bytes)
{
	return pin(ops, la, SGX_SECINFO_W, false, ret_bytes);
}

void operands_put(struct operands *ops)
{
	while (ops->nr > 0)
		epcm_put_pin(&ops->cpu->epcm[ops->page[--ops->nr]]);
}
