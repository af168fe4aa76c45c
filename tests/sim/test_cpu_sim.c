/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Random leaves on a small EPC, each run by the processor and by the reference (ref.h); how it ended,
 * and the whole state after it, must be the same.
 *
 *   test_cpu_sim [LEAVES [SEED]]
 *
 * Operands are drawn so that most leaves get far; every tenth or so is wild.  Between leaves software
 * does what it can: maps and unmaps, writes its memory, shoots translations down; and now and then
 * somebody else holds a page.  A difference prints the leaf and aborts: the same seed finds it again.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/arena.h"
#include "cpu/cpu_priv.h"
#include "cpu/secs.h"
#include "cpu/vmx.h"
#include "leaf/machine.h"
#include "lib/tap.h"
#include "sim/sim.h"

#define LEAVES 10000000u

struct sim sim;

/* ---- page tables --------------------------------------------------------------------------- */

int sim_walk(uint64_t la, unsigned int access)
{
	uint64_t k = (la - BASE(0)) / 0x100000, i = (la - BASE(0)) % 0x100000 / SGX_PAGE_SIZE;

	if (la < BASE(0) || k >= BASE_NR || i >= RANGE)
		return REF_NONE;
	if ((sim.map[k][i].prot & access) != access || !sim.map[k][i].prot)
		return REF_NONE;
	return sim.map[k][i].page;
}

static uint32_t mmu_walk(void *ctx, uint64_t la, unsigned int access, uint16_t *ret_pf_error)
{
	int page = sim_walk(la, access);

	(void)ctx;
	*ret_pf_error = 0;
	return page == REF_NONE ? CPU_NO_PAGE : (uint32_t)page;
}

static const struct cpu_mmu mmu = { .walk = mmu_walk };

static void map(uint64_t la, int page, unsigned int prot)
{
	uint64_t k = (la - BASE(0)) / 0x100000, i = (la - BASE(0)) % 0x100000 / SGX_PAGE_SIZE;

	if (la >= BASE(0) && k < BASE_NR && i < RANGE) {
		sim.map[k][i].page = page;
		sim.map[k][i].prot = prot;
	}
}

/* ---- running --------------------------------------------------------------------------------- */

/* Outside of VMX, root (where no control counts), or non-root operation with controls and bitmap. */
static struct cpu_vmx draw_vmx(struct ref_op *op)
{
	struct cpu_vmx vmx = { .mode = (enum cpu_vmx_mode)rnd(3) };

	op->ext = op->encls_exiting = op->enclv_exiting = false;
	op->bitmap = 0;
	if (vmx.mode == CPU_VMX_NON_ROOT || one_in(2)) {
		op->ext = one_in(2);
		op->encls_exiting = one_in(4);
		op->enclv_exiting = !one_in(4);
		op->bitmap = one_in(8) ? 1ull << (op->leaf < 63 ? op->leaf : 63)
				       : ~(1ull << (op->leaf & 31)) & ~(1ull << 63);
	}
	op->vmx = vmx.mode != CPU_VMX_OFF;
	op->non_root = vmx.mode == CPU_VMX_NON_ROOT;
	vmx.controls = (op->ext ? CPU_VMX_EPC_VIRT_EXT : 0) |
		       (op->encls_exiting ? CPU_VMX_ENCLS_EXITING : 0) |
		       (op->enclv_exiting ? CPU_VMX_ENCLV_EXITING : 0);
	vmx.encls_bitmap = vmx.enclv_bitmap = op->bitmap;
	return vmx;
}

static void check_exit(struct ref_out want, const struct cpu_exit *got, const struct ref_op *op,
		       const char *kind)
{
	if (want.fault == REF_EXIT &&
	    (got->reason != want.exit_reason || got->code != want.exit_code))
		differ("the exit", op, kind, op->leaf);
}

static uint32_t number(int page) { return page == REF_NONE ? CPU_NO_PAGE : (uint32_t)page; }

/* Index of the signature that fits what has been measured of @op->page, or any. */
static unsigned int fitting_sig(const struct ref_op *op)
{
	unsigned int i = rnd(RECIPE_NR + 1);
	uint8_t digest[32];
	SHA256_CTX hash;

	if (op->sig != SIG_GOOD)
		return op->sig == SIG_BAD_HEADER ? RECIPE_NR + 1 : RECIPE_NR + 2;
	if (op->page >= REF_PAGES || !is_secs(&sim.ref.page[op->page]) || one_in(8))
		return i;
	hash = sim.ref.page[op->page].encl.hash;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
	SHA256_Final(digest, &hash);
#pragma GCC diagnostic pop
	for (unsigned int k = 0; k <= RECIPE_NR; k++)
		if (memcmp(sim.sig[k].sig.enclavehash, digest, 32) == 0)
			i = k;
	return i;
}

static void tamper(const struct ref_op *op)
{
	uint8_t *pcmd = (uint8_t *)&sim.blob[REF_BLOBS].pcmd;

	sim.blob[REF_BLOBS] = sim.blob[op->blob];
	switch (rnd(4)) {
	case 0:
		sim.blob[REF_BLOBS].cipher[rnd(SGX_PAGE_SIZE)] ^= (uint8_t)(1u << rnd(8));
		break;
	case 1:
		pcmd[112 + rnd(16)] ^= (uint8_t)(1u << rnd(8));
		break;
	case 2:
		pcmd[0] ^= (uint8_t)(1u << rnd(6));
		break;
	default:
		pcmd[72 + rnd(40)] ^= (uint8_t)(1u << rnd(8));
		break;
	}
}

static void fill_operands(struct ref_op *op, struct cpu_operands *ops)
{
	const bool eld = op->leaf == SGX_ELDU || op->leaf == SGX_ELDB || op->leaf == SGX_ELDUC ||
			 op->leaf == SGX_ELDBC;
	unsigned int off = op->misaligned ? 8 : 0, sig;

	sim.secinfo[0] = (struct sgx_secinfo){ .flags = op->secinfo };
	if (op->secinfo_reserved)
		sim.secinfo[0].reserved[6] = 1;
	*ops = (struct cpu_operands){
		.leaf = op->leaf,
		.page = number(op->page),
		.offset = op->offset,
		.linear = GUEST_LA,
		.physical = op->physical,
		.pi = { .linaddr = op->linaddr,
			.srcpge = op->src ? (const uint8_t *)op->src + off : NULL,
			.secinfo = &sim.secinfo[0],
			.secs = number(op->secs) },
		.secinfo = &sim.secinfo[0],
		.rdinfo = &sim.rdinfo,
		.einittoken = &sim.token,
		.lepubkeyhash = op->signer_let_in ? sim.signer : NULL,
		.enclavecontext = &op->value,
		.secs = number(op->secs),
		.va = number(op->va),
		.slot = op->slot,
		.value = op->value,
	};
	if (op->leaf == SGX_EAUG) {
		ops->pi.secinfo = op->info_given ? &sim.secinfo[0] : NULL;
		ops->pi.srcpge = op->misaligned ? sim.page : NULL;
	} else if (op->leaf == SGX_EINIT) {
		sig = fitting_sig(op);
		ops->sigstruct = &sim.sig[sig].sig;
		op->sig_hash = sim.sig[sig].sig.enclavehash;
	} else if (op->leaf == SGX_EWB) {
		ops->pi.pcmd = &sim.blob[op->blob].pcmd;
		ops->out = sim.blob[op->blob].cipher + off;
	} else if (eld) {
		if (op->tampered)
			tamper(op);
		ops->pi.pcmd = &sim.blob[op->tampered ? REF_BLOBS : op->blob].pcmd;
		ops->pi.srcpge = sim.blob[op->tampered ? REF_BLOBS : op->blob].cipher + off;
	}
}

/* What software got must be right, and what only the processor knows goes to the reference. */
static void check_results(const struct ref_op *op, const struct ref_result *res,
			  const struct cpu_operands *ops)
{
	struct ref_blob *b = &sim.ref.blob[op->blob];
	const struct sgx_pcmd *pcmd = &sim.blob[op->blob].pcmd;
	uint64_t version;

	switch (op->leaf) {
	case SGX_ERDINFO:
		if (memcmp(&res->rdinfo, &sim.rdinfo, sizeof(sim.rdinfo)))
			differ("RDINFO", op, "ENCLS", op->leaf);
		break;
	case SGX_EDBGRD:
		if (res->value != ops->value &&
		    (op->offset || sim.ref.page[op->page].type != SGX_PT_TCS))
			differ("the value", op, "ENCLS", op->leaf);
		break;
	case SGX_EWB:
		memcpy(&version, sim.epc[op->va] + (size_t)op->slot * 8, 8);
		if (version <= sim.ref.last_version)
			differ("a version given twice", op, "ENCLS", op->leaf);
		sim.ref.last_version = b->version = version;
		memcpy(sim.ref.page[op->va].bytes + (size_t)op->slot * 8, &version, 8);
		if (res->linaddr != ops->linaddr || pcmd->enclaveid != res->pcmd_eid ||
		    pcmd->secinfo.flags != res->pcmd_flags)
			differ("PCMD", op, "ENCLS", op->leaf);
		break;
	}
}

/* Somebody else has a page. */
static void hold(void)
{
	if (one_in(24))
		sim.ref.held = (int)rnd(REF_PAGES);
	else if (one_in(64))
		sim.ref.tracking = (int)rnd(REF_PAGES);
	if (sim.ref.held != REF_NONE && !epcm_try_exclusive_pinned(&sim.cpu->epcm[sim.ref.held]))
		differ("a hold that nobody has", NULL, "before", 0);
	if (sim.ref.tracking != REF_NONE &&
	    !epcm_try_extra(&sim.cpu->epcm[sim.ref.tracking], EPCM_LOCK_TRACK))
		differ("a hold that nobody has", NULL, "before", 0);
}

static void let_go(void)
{
	if (sim.ref.held != REF_NONE)
		epcm_put_exclusive(&sim.cpu->epcm[sim.ref.held]);
	if (sim.ref.tracking != REF_NONE)
		epcm_put_extra(&sim.cpu->epcm[sim.ref.tracking], EPCM_LOCK_TRACK);
	sim.ref.held = sim.ref.tracking = REF_NONE;
}

static void run_encls_in(struct cpu_vmx vmx, struct ref_op *op)
{
	struct ref_result res = { 0 };
	struct cpu_operands ops;
	struct cpu_exit vm_exit = { 0 };
	struct cpu_outcome got;
	struct ref_out want;

	op->physical = GUEST_PA + (uint64_t)rnd(64) * SGX_PAGE_SIZE;
	fill_operands(op, &ops);
	want = ref_encls(&sim.ref, op, &res);
	got = cpu_encls(sim.cpu, &vmx, &ops, &vm_exit);
	let_go();
	check_outcome(want, got, op, 0, op->leaf);
	check_exit(want, &vm_exit, op, "ENCLS");
	if (want.fault == REF_OK && (want.eax == 0 || want.eax == SGX_VA_SLOT_OCCUPIED))
		check_results(op, &res, &ops);
	sim.leaves++;
	check_state(op, "ENCLS", op->leaf, op->page, op->va);
	if (ref_is_ok(want) && is_child(&sim.ref.page[op->page]) && !one_in(16))
		map(sim.ref.page[op->page].la, op->page, 7);
}

static void run_encls(struct ref_op *op) { run_encls_in(draw_vmx(op), op); }

static void run_native(struct ref_op *op)
{
	run_encls_in((struct cpu_vmx){ .mode = CPU_VMX_OFF }, op);
}

static bool fills_a_page(uint32_t leaf)
{
	return leaf == SGX_EADD || leaf == SGX_EAUG || leaf == SGX_ELDU || leaf == SGX_ELDB ||
	       leaf == SGX_ELDUC || leaf == SGX_ELDBC;
}

static void draw_encls(void)
{
	static const uint8_t leaves[] = {
		SGX_ECREATE, SGX_EADD,   SGX_EADD,       SGX_EADD,  SGX_EREMOVE, SGX_EDBGRD,
		SGX_EDBGWR,  SGX_ELDB,   SGX_ELDU,       SGX_ELDU,  SGX_ELDU,    SGX_ELDU,
		SGX_EBLOCK,  SGX_EBLOCK, SGX_EPA,        SGX_EWB,   SGX_EWB,     SGX_ETRACK,
		SGX_EAUG,    SGX_EAUG,   SGX_EMODPR,     SGX_EMODT, SGX_ERDINFO, SGX_ETRACKC,
		SGX_ELDBC,   SGX_ELDUC,  SGX_EUPDATESVN,
	};
	static const uint32_t absent[] = { 0x14, 0x17, 0x19, 0x34, 63, 64 + 0x15, 0xfffffff6 };
	struct ref_op op = { .secs = REF_NONE, .va = REF_NONE, .src = sim.page };

	op.leaf = one_in(64) ? absent[rnd(7)] : leaves[rnd(sizeof(leaves))];
	/* Pages without an enclave must leave room for those with one. */
	if (op.leaf == SGX_ECREATE && how_many(is_secs) > 2 && !one_in(32))
		op.leaf = SGX_ETRACK;
	if (op.leaf == SGX_EPA && how_many(is_va) > 1 && !one_in(32))
		op.leaf = SGX_ELDU;
	if ((op.leaf == SGX_EREMOVE || op.leaf == SGX_EMODT) && !one_in(3))
		op.leaf = SGX_EAUG;
	/* And where nothing is free something has to go. */
	if (fills_a_page(op.leaf) && !how_many(is_free) && !one_in(4))
		op.leaf = one_in(4) ? SGX_EREMOVE : one_in(2) ? SGX_EBLOCK : SGX_EWB;
	if (one_in(64))
		op.leaf = one_in(4) ? SGX_EEXTEND : SGX_EINIT;
	hold();
	if (op.leaf == SGX_ECREATE)
		draw_ecreate(&op);
	else if (op.leaf == SGX_EADD)
		draw_eadd(&op);
	else if (op.leaf == SGX_EWB || (op.leaf >= SGX_ELDBC && op.leaf <= SGX_ELDUC) ||
		 op.leaf == SGX_ELDU || op.leaf == SGX_ELDB)
		draw_paging(&op);
	else
		draw_page(&op);
	op.misaligned = one_in(128);
	op.info_given = one_in(64);
	op.secinfo_reserved = one_in(128) || op.secinfo & ~0xff3full;
	run_encls(&op);
}

static void draw_enclv(void)
{
	struct ref_op op = { .leaf = SGX_EBLOCK, .secs = REF_NONE, .va = REF_NONE };
	struct cpu_operands ops;
	struct cpu_exit vm_exit = { 0 };
	struct cpu_vmx vmx;
	struct ref_out want;

	hold();
	draw_page(&op);
	op.leaf = one_in(64) ? 3 + rnd(80) : rnd(3);
	op.secs = parent(op.page);
	vmx = draw_vmx(&op);
	if (op.leaf == SGX_ESETCONTEXT && !one_in(16))
		op.page = pick(is_secs);
	fill_operands(&op, &ops);
	want = ref_enclv(&sim.ref, &op);
	check_outcome(want, cpu_enclv(sim.cpu, &vmx, &ops, &vm_exit), &op, 2, op.leaf);
	check_exit(want, &vm_exit, &op, "ENCLV");
	let_go();
	sim.leaves++;
	check_state(&op, "ENCLV", op.leaf, op.page, REF_NONE);
}

/* ---- ENCLU ------------------------------------------------------------------------------------ */

static void to_ref(const struct cpu_regs *regs, struct ref_regs *to)
{
	memcpy(to->gpr, regs, sizeof(to->gpr));
	to->rflags = regs->rflags;
	to->rip = regs->rip;
	to->fs = regs->fs_base;
	to->gs = regs->gs_base;
}

/* Where the processor wrote what only it knows. */
static void adopt(uint64_t la, size_t bytes)
{
	int page = sim_walk(la, 0);

	memcpy(sim.ref.page[page].bytes + (la & 0xfff), sim.epc[page] + (la & 0xfff), bytes);
}

static void check_report(int i, uint64_t la)
{
	const struct sgx_report *report =
		(const struct sgx_report *)(sim.epc[sim_walk(la, 0)] + (la & 0xfff));
	const struct ref_encl *encl = &sim.ref.page[sim.ref.lp[i].secs].encl;

	if (memcmp(report->mrenclave, encl->mrenclave, 32) ||
	    report->attributes.flags != (encl->flags | 1) || report->cpusvn[0] != sim.ref.svn)
		differ("REPORT", NULL, "ENCLU", SGX_EREPORT);
	adopt(la, sizeof(*report));
}

static void check_regs(int i, const struct ref_regs *want, uint64_t leaf)
{
	struct ref_regs got;

	to_ref(&sim.regs[i], &got);
	if (memcmp(&got, want, sizeof(got)))
		differ("registers", NULL, "ENCLU", leaf);
}

static void run_enclu(int i)
{
	struct cpu_regs before = sim.regs[i];
	struct ref_regs want_regs;
	struct ref_out want;
	struct cpu_outcome got;
	uint64_t leaf = before.rax;

	to_ref(&before, &want_regs);
	want = ref_enclu(&sim.ref, &sim.ref.lp[i], &want_regs);
	got = cpu_enclu(sim.cpu, &sim.lp[i], &mmu, &sim.regs[i], sim.xsave, sizeof(sim.xsave));
	let_go();
	check_outcome(want, got, NULL, 1, leaf);
	check_regs(i, &want_regs, leaf);
	if (ref_is_ok(want) && leaf == SGX_EREPORT)
		check_report(i, before.rdx);
	if (ref_is_ok(want) && leaf == SGX_EGETKEY)
		adopt(before.rcx, 16);
	sim.leaves++;
	check_state(NULL, "ENCLU", leaf, sim_walk(before.rcx, 0), sim_walk(before.rbx, 0));
}

static void run_aex(int i)
{
	struct cpu_event event = { .vector = one_in(3) ? CPU_NO_FAULT : (uint8_t)rnd(21) };
	uint64_t ssa_la = sim.ref.lp[i].ssa_la;
	struct ref_regs want_regs;
	struct cpu_outcome got;
	struct ref_out want;

	to_ref(&sim.regs[i], &want_regs);
	want = ref_aex(&sim.ref, &sim.ref.lp[i], &want_regs, event.vector);
	got = cpu_aex(sim.cpu, &sim.lp[i], &mmu, &sim.regs[i], sim.xsave, sizeof(sim.xsave),
		      &event);
	let_go();
	check_outcome(want, got, NULL, 1, 31);
	check_regs(i, &want_regs, 31);
	if (ref_is_ok(want))
		adopt(ssa_la, 576);
	sim.leaves++;
	check_state(NULL, "AEX", 0, sim_walk(ssa_la, 0), REF_NONE);
}

static void draw_enclu(void)
{
	int i = (int)rnd(REF_LPS);

	if (sim.ref.lp[i].inside && one_in(10)) {
		hold();
		run_aex(i);
		return;
	}
	draw_regs(i);
	hold();
	run_enclu(i);
}

/* ---- software, and the whole ------------------------------------------------------------------ */

static void software(void)
{
	int page = (int)rnd(REF_PAGES);
	const struct ref_page *p = &sim.ref.page[page];

	switch (rnd(4)) {
	case 0:
		map(some_la(REF_NONE), page, rnd(8));
		break;
	case 1:
	case 2:
		if (is_child(p))
			map(p->la, page, 7);
		break;
	default:
		if (!is_secs(p))
			break;
		cpu_track_flush(sim.cpu, (uint32_t)page);
		for (int i = 0; i < REF_LPS; i++)
			if (sim.ref.lp[i].inside && sim.ref.lp[i].secs == page)
				sim.ref.lp[i].entry_epoch = p->encl.epoch;
		break;
	}
}

static bool is_open(const struct ref_page *p) { return is_secs(p) && p->encl.init; }

/* An enclave by the book, so that there is always one to run. */
static void build(void)
{
	struct ref_op op = { .leaf = SGX_ECREATE, .secs = REF_NONE, .va = REF_NONE };
	int secs;

	draw_ecreate(&op);
	op.secs = REF_NONE;
	op.linaddr = op.secinfo = 0;
	secs = op.page;
	run_native(&op);
	if (secs >= REF_PAGES || !is_secs(&sim.ref.page[secs]))
		return;
	for (unsigned int i = 0; i < RECIPE_NR; i++) {
		op = (struct ref_op){ .leaf = SGX_EADD, .secs = secs, .va = REF_NONE };
		op.page = pick(is_free);
		op.linaddr = sim.ref.page[secs].encl.base + i * SGX_PAGE_SIZE;
		op.secinfo = recipe(i);
		fill_tcs();
		op.src = sim.page;
		run_native(&op);
	}
	op = (struct ref_op){ .leaf = SGX_EINIT, .page = secs, .va = REF_NONE };
	op.signer_let_in = true;
	run_native(&op);
}

/* Everything goes, as at the end of the machine's day, and the microcode may be new. */
static void drain(void)
{
	struct ref_op op = { .leaf = SGX_EREMOVE, .secs = REF_NONE, .va = REF_NONE };
	uint8_t svn[16] = { 0 };

	for (int i = 0; i < REF_LPS; i++) {
		sim.regs[i].rax = SGX_EEXIT;
		sim.regs[i].rbx = AEP_LA;
		run_enclu(i);
	}
	for (int pass = 0; pass < 2; pass++)
		for (op.page = 0; op.page < REF_PAGES; op.page++)
			run_native(&op);
	for (op.page = 0; op.page < REF_PAGES; op.page++) {
		const struct cpu_outcome out = encls_eremove(sim.cpu, (uint32_t)op.page);

		if (!cpu_ok(out))
			differ("the end", &op, "ENCLS", SGX_EREMOVE);
		sim.ref.page[op.page].valid = false;
	}
	op = (struct ref_op){ .leaf = SGX_EUPDATESVN, .page = 0, .va = REF_NONE };
	op.svn_changed = one_in(2) && sim.ref.svn < 200;
	svn[0] = (uint8_t)(sim.ref.svn + op.svn_changed);
	cpu_load_microcode(sim.cpu, svn);
	run_native(&op);
}

static bool somebody_inside(void)
{
	for (int i = 0; i < REF_LPS; i++)
		if (sim.ref.lp[i].inside)
			return true;
	return false;
}

static void step(void)
{
	uint32_t kind = rnd(100);

	if (one_in(12))
		software();
	if (kind < 62)
		draw_encls();
	else if (kind < 66)
		draw_enclv();
	else
		draw_enclu();
	/* Where nobody is inside, and nobody can get in, there is little left to see. */
	if (one_in(somebody_inside() || how_many(is_open_tcs) ? 2000 : 48))
		drain();
	if (one_in(4) && how_many(is_open) < 2 && how_many(is_free) > RECIPE_NR)
		build();
}

/* A signature for each prefix of the recipe; one with a bad header, one that does not verify. */
static void make_signatures(void)
{
	static const uint8_t header[16] = { 6, 0, 0, 0, 0xe1, 0, 0, 0, 0, 0, 1 };
	static const uint8_t header2[16] = { 1, 1, 0, 0, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 1 };
	uint8_t record[RECIPE_NR + 1][64] = { "ECREATE" };
	const uint32_t frame = 1;
	const uint64_t size = RANGE * SGX_PAGE_SIZE;

	memcpy(record[0] + 8, &frame, 4);
	memcpy(record[0] + 12, &size, 8);
	for (unsigned int i = 0; i < RECIPE_NR; i++) {
		uint64_t offset = i * SGX_PAGE_SIZE, flags = recipe(i);

		memcpy(record[i + 1], "EADD", 4);
		memcpy(record[i + 1] + 8, &offset, 8);
		memcpy(record[i + 1] + 16, &flags, 8);
	}
	for (unsigned int i = 0; i <= RECIPE_NR; i++) {
		struct sgx_sigstruct *sig = &sim.sig[i].sig;

		memcpy(sig->header, header, 16);
		memcpy(sig->header2, header2, 16);
		sig->exponent = 3;
		sig->attributes.flags = SGX_ATTR_MODE64BIT;
		sig->attributemask.flags = ~SGX_ATTR_DEBUG;
		sig->attributes.xfrm = sig->attributemask.xfrm = 3;
		sig->isvsvn = 4;
		SHA256(record[0], (i + 1) * sizeof(record[0]), sig->enclavehash);
		machine_sign(sig);
	}
	sim.sig[RECIPE_NR + 1] = sim.sig[RECIPE_NR + 2] = sim.sig[0];
	sim.sig[RECIPE_NR + 1].sig.header[0] ^= 1;
	sim.sig[RECIPE_NR + 2].sig.signature[5] ^= 1;
	machine_signer(&sim.sig[0].sig, sim.signer);
}

static void start(uint64_t seed)
{
	struct cpu_config config;

	machine_config(&config);
	config.page_nr = REF_PAGES;
	config.caps |= SGX_CPUID_ENCLS_C | SGX_CPUID_ENCLV | SGX_CPUID_UPDATESVN;
	config.xfrm_mask = 3;
	config.misc_mask = 0;
	memset(config.fuses.cpusvn, 0, sizeof(config.fuses.cpusvn));
	sim.cpu = cpu_create(&config);
	sim.epc = shared_map((size_t)REF_PAGES * SGX_PAGE_SIZE);
	TAP_MUST(sim.cpu && sim.epc, "a processor with %u pages", REF_PAGES);
	for (uint32_t i = 0; i < REF_PAGES; i++)
		cpu_set_bytes(sim.cpu, i, sim.epc[i]);
	sim.random = seed * 0x9e3779b97f4a7c15ull + 1;
	sim.ref.walk = sim_walk;
	sim.ref.next_eid = 1;
	sim.ref.held = sim.ref.tracking = REF_NONE;
	for (int i = 0; i < REF_LPS; i++)
		sim.regs[i] = (struct cpu_regs){ .rflags = 0x202, .rip = 0x400500 };
	make_signatures();
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Which outcomes were met: a driver that never gets anywhere would prove nothing. */
static void report_seen(void)
{
	static const char *const name[] = { "ENCLS", "ENCLU", "ENCLV" };
	static const char *const fault[] = { "#GP", "#PF", "exit" };
	static const uint32_t have[] = { 0x010fffff, 0x800002ff, 0x7 };

	for (unsigned int kind = 0; kind < 3; kind++)
		for (unsigned int leaf = 0; leaf < 32; leaf++) {
			const unsigned long *seen = sim.seen[kind][leaf];

			if (!(have[kind] >> leaf & 1))
				continue;
			printf("# %s %02x:", name[kind], leaf);
			for (unsigned int how = 0; how < 40; how++)
				if (seen[how] && how > 32 && how < 36)
					printf(" %s %lu", fault[how - 33], seen[how]);
				else if (seen[how] && how == 38)
					printf(" #UD %lu", seen[how]);
				else if (seen[how])
					printf(" code-%u %lu", how, seen[how]);
			printf("\n");
			TAP_CHECK(seen[0] > 0, "%s %02x succeeded", name[kind], leaf);
		}
}

int main(int argc, char **argv)
{
	unsigned long leaves = argc > 1 ? strtoul(argv[1], NULL, 0) : LEAVES;
	unsigned long seed = argc > 2 ? strtoul(argv[2], NULL, 0) : 1;
	double began = now();

	start(seed);
	while (sim.leaves < leaves)
		step();
	drain();
	printf("# seed %lu: %lu leaves in %.1f s\n", seed, sim.leaves, now() - began);
	report_seen();
	TAP_CHECK(true, "processor and reference agree on every leaf");
	munmap(sim.epc, (size_t)REF_PAGES * SGX_PAGE_SIZE);
	cpu_destroy(sim.cpu);
	return tap_done();
}
