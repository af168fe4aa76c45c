/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * EREPORT: what the enclave is, with a MAC that only the target on the same platform can make.
 *
 * The report is made aside and written when it is whole, so operands may overlap.
 */
#include <string.h>

#include "cpu/cpu.h"
#include "cpu/cpu_priv.h"
#include "cpu/enclu_priv.h"
#include "cpu/keys.h"
#include "cpu/operand.h"
#include "cpu/secs.h"
#include "crypto/cmac.h"

#define TARGETINFO_ALIGN 512u
#define REPORTDATA_ALIGN 128u
#define REPORT_ALIGN     512u

static void fill_report(const struct cpu *cpu, const struct secs_page *page, const void *reportdata,
			struct sgx_report *report)
{
	const struct sgx_secs *secs = &page->arch;

	*report = (struct sgx_report){
		.miscselect = secs->miscselect,
		.cet_attributes = secs->cet_attributes,
		.attributes = secs->attributes,
		.isvprodid = secs->isvprodid,
		.isvsvn = secs->isvsvn,
		.configsvn = secs->configsvn,
	};
	memcpy(report->cpusvn, cpu->config.fuses.cpusvn, sizeof(report->cpusvn));
	memcpy(report->isvextprodid, page->own.isvextprodid, sizeof(report->isvextprodid));
	memcpy(report->isvfamilyid, page->own.isvfamilyid, sizeof(report->isvfamilyid));
	memcpy(report->mrenclave, secs->mrenclave, sizeof(report->mrenclave));
	memcpy(report->mrsigner, secs->mrsigner, sizeof(report->mrsigner));
	memcpy(report->configid, secs->configid, sizeof(report->configid));
	memcpy(report->reportdata, reportdata, sizeof(report->reportdata));
	memcpy(report->keyid, cpu->config.fuses.report_keyid, sizeof(report->keyid));
}

static void mac_report(const struct cpu *cpu, const struct sgx_targetinfo *target,
		       struct sgx_report *report)
{
	struct key_deps deps;
	uint8_t key[16];

	key_deps_report(cpu, target, report->keyid, &deps);
	key_derive(cpu, &deps, key);
	cmac_aes128(key, report, offsetof(struct sgx_report, keyid), report->mac);
	explicit_bzero(key, sizeof(key));
}

static struct cpu_outcome ereport(struct cpu *cpu, const struct cpu_lp *lp, struct operands *ops,
				  const struct cpu_regs *regs)
{
	struct sgx_targetinfo target;
	struct sgx_report report;
	struct cpu_outcome out;
	void *from, *data, *to;

	if (!enclu_operand_legal(lp, regs->rbx, TARGETINFO_ALIGN))
		return cpu_gp();
	out = operand_pin(ops, regs->rbx, SGX_SECINFO_R, &from);
	if (!cpu_passed(out))
		return out;
	if (!enclu_operand_legal(lp, regs->rcx, REPORTDATA_ALIGN))
		return cpu_gp();
	out = operand_pin(ops, regs->rcx, SGX_SECINFO_R, &data);
	if (!cpu_passed(out))
		return out;
	if (!enclu_operand_legal(lp, regs->rdx, REPORT_ALIGN))
		return cpu_gp();
	out = operand_pin(ops, regs->rdx, SGX_SECINFO_W, &to);
	if (!cpu_passed(out))
		return out;
	memcpy(&target, from, sizeof(target));
	fill_report(cpu, secs_page(cpu, lp->secs), data, &report);
	mac_report(cpu, &target, &report);
	memcpy(to, &report, sizeof(report));
	return out;
}

struct cpu_outcome enclu_ereport(struct cpu *cpu, struct cpu_lp *lp, const struct cpu_mmu *mmu,
				 struct cpu_regs *regs)
{
	struct operands ops;
	struct cpu_outcome out;

	if (!lp->in_enclave)
		return cpu_gp();
	operands_init(&ops, cpu, mmu, lp->secs);
	out = ereport(cpu, lp, &ops, regs);
	operands_put(&ops);
	return out;
}
