/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* Drawing operands: so that most leaves get far, and every tenth or so is wild. */
#include <string.h>

#include "sim/sim.h"

unsigned int children(int secs)
{
	unsigned int nr = 0;

	for (int i = 0; i < REF_PAGES; i++)
		nr += is_child(&sim.ref.page[i]) && sim.ref.page[i].secs == secs;
	return nr;
}

/* ---- operands of ENCLS ------------------------------------------------------------------------ */

bool is_free(const struct ref_page *p) { return !p->valid; }
bool is_secs(const struct ref_page *p) { return p->valid && p->type == SGX_PT_SECS; }
bool is_va(const struct ref_page *p) { return p->valid && p->type == SGX_PT_VA; }
bool is_child(const struct ref_page *p) { return p->valid && ref_is_child(p); }
static bool is_reg(const struct ref_page *p) { return p->valid && p->type == SGX_PT_REG; }
static bool is_blocked(const struct ref_page *p) { return p->valid && p->blocked; }

/* One that fits if a few tries find one; sometimes anything, even no EPC page. */
int pick(page_fits *fits)
{
	int page = (int)rnd(REF_PAGES);

	if (one_in(32))
		return one_in(4) ? REF_PAGES + (int)rnd(3) : page;
	for (int i = 0; i < REF_PAGES; i++) {
		if (fits(&sim.ref.page[page]))
			return page;
		page = (page + 1) % REF_PAGES;
	}
	return page;
}

unsigned int how_many(page_fits *fits)
{
	unsigned int nr = 0;

	for (int i = 0; i < REF_PAGES; i++)
		nr += fits(&sim.ref.page[i]);
	return nr;
}

int parent(int page)
{
	if (page < REF_PAGES && is_child(&sim.ref.page[page]) && !one_in(16))
		return sim.ref.page[page].secs;
	return pick(is_secs);
}

uint64_t some_la(int secs)
{
	uint64_t base = secs >= 0 && secs < REF_PAGES && is_secs(&sim.ref.page[secs])
				? sim.ref.page[secs].encl.base
				: BASE(rnd(BASE_NR));

	return base + (uint64_t)rnd(RANGE + (one_in(16) ? 4 : 0)) * SGX_PAGE_SIZE +
	       (one_in(64) ? 8 : 0);
}

void fill_tcs(void)
{
	struct sgx_tcs tcs = { .ossa = 0x1000,
			       .nssa = 2,
			       .oentry = 0x3000,
			       .ofsbasgx = 0x4000,
			       .ogsbasgx = 0x5000,
			       .fslimit = 0xfff,
			       .gslimit = 0xfff,
			       .flags = one_in(8) ? rnd(8) : 0,
			       .cssa = one_in(8) };

	memset(sim.page, 0, sizeof(sim.page));
	memcpy(sim.page, &tcs, sizeof(tcs));
}

/* SECINFO.FLAGS of page @i of the recipe. */
uint64_t recipe(unsigned int i)
{
	const uint64_t reg = SGX_SECINFO_TYPE(SGX_PT_REG);

	if (i == 0)
		return SGX_SECINFO_TYPE(SGX_PT_TCS);
	return reg | (i == 3 ? SGX_SECINFO_R | SGX_SECINFO_X : SGX_SECINFO_R | SGX_SECINFO_W);
}

void draw_ecreate(struct ref_op *op)
{
	static const uint64_t flags[] = { SGX_ATTR_MODE64BIT,
					  SGX_ATTR_MODE64BIT | SGX_ATTR_DEBUG,
					  SGX_ATTR_MODE64BIT | SGX_ATTR_DEBUG,
					  SGX_ATTR_MODE64BIT | SGX_ATTR_PROVISIONKEY,
					  SGX_ATTR_MODE64BIT | SGX_ATTR_EINITTOKENKEY,
					  SGX_ATTR_DEBUG };

	op->page = pick(is_free);
	op->secs = one_in(64) ? 0 : REF_NONE;
	op->linaddr = one_in(64) ? SGX_PAGE_SIZE : 0;
	op->secinfo = one_in(64) ? 0x200 : 0;
	memset(&sim.secs, 0, 512);
	sim.secs.size = RANGE * SGX_PAGE_SIZE;
	sim.secs.baseaddr = BASE(rnd(BASE_NR));
	sim.secs.ssa_frame_size = one_in(64) ? 0 : 1;
	sim.secs.attributes.xfrm = one_in(64) ? rnd(8) : 3;
	sim.secs.attributes.flags = flags[one_in(4) ? rnd(6) : rnd(3)];
	if (one_in(64))
		sim.secs.size ^= 1ull << rnd(20);
	if (one_in(64))
		sim.secs.baseaddr += SGX_PAGE_SIZE;
	if (one_in(64))
		sim.secs.miscselect = 1;
	if (one_in(64))
		sim.secs.reserved1[rnd(15)] = 1;
	if (one_in(64))
		sim.secs.configsvn = 1;
	op->src = &sim.secs;
}

/* Mostly the next page of the recipe. */
void draw_eadd(struct ref_op *op)
{
	unsigned int next;

	op->page = pick(is_free);
	op->secs = pick(is_secs);
	for (int i = 0; i < 4 && op->secs < REF_PAGES && sim.ref.page[op->secs].encl.init; i++)
		op->secs = pick(is_secs);
	next = op->secs < REF_PAGES ? children(op->secs) : 0;
	op->linaddr = some_la(op->secs);
	op->secinfo = recipe(next % RECIPE_NR);
	if (op->secs < REF_PAGES && is_secs(&sim.ref.page[op->secs]) && !one_in(16))
		op->linaddr = sim.ref.page[op->secs].encl.base + next * SGX_PAGE_SIZE;
	if (one_in(32))
		op->secinfo = rnd(0x600);
	if ((op->secinfo >> 8 & 0xff) == SGX_PT_TCS)
		fill_tcs();
	else
		memset(sim.page, (int)rnd(256), sizeof(sim.page));
	op->src = sim.page;
}

void draw_paging(struct ref_op *op)
{
	bool out = op->leaf == SGX_EWB;

	op->va = pick(is_va);
	op->slot = rnd(one_in(4) ? SGX_VA_SLOTS : 24);
	op->blob = (int)rnd(REF_BLOBS);
	op->secs = REF_NONE;
	if (out) {
		op->page = one_in(3) ? pick(is_secs) : one_in(6) ? pick(is_va) : pick(is_blocked);
		op->linaddr = one_in(128) ? SGX_PAGE_SIZE : 0;
		return;
	}
	op->page = pick(is_free);
	if (sim.ref.blob[op->blob].used && !one_in(16)) {
		const struct ref_blob *b = &sim.ref.blob[op->blob];

		/* Where its version is. */
		for (int va = 0; va < REF_PAGES; va++)
			for (unsigned int s = 0; s < 24 && is_va(&sim.ref.page[va]); s++)
				if (((uint64_t *)sim.ref.page[va].bytes)[s] == b->version) {
					op->va = va;
					op->slot = s;
				}
		op->linaddr = one_in(16) ? some_la(REF_NONE) & ~0xfffull : b->page.la;
		for (int i = 0; i < REF_PAGES && ref_is_child(&b->page); i++)
			if (is_secs(&sim.ref.page[i]) && sim.ref.page[i].encl.eid == b->eid)
				op->secs = i;
	}
	if (one_in(16))
		op->secs = pick(is_secs);
	op->tampered = one_in(12);
}

/* What is in RBX and RDX of the leaves that are left. */
void draw_page(struct ref_op *op)
{
	switch (op->leaf) {
	case SGX_EINIT:
	case SGX_ETRACK:
		op->page = one_in(64) ? pick(is_child) : pick(is_secs);
		break;
	case SGX_EPA:
		op->page = pick(is_free);
		break;
	case SGX_EAUG:
		op->page = pick(is_free);
		op->secs = pick(is_secs);
		op->linaddr = some_la(op->secs);
		break;
	case SGX_EREMOVE:
		op->page = one_in(8) ? (int)rnd(REF_PAGES) : pick(is_child);
		break;
	default:
		op->page = one_in(8) ? (int)rnd(REF_PAGES + 1) : pick(is_reg);
		break;
	}
	if (op->leaf == SGX_EEXTEND)
		op->secs = parent(op->page);
	op->offset = op->leaf == SGX_EEXTEND ? rnd(16) * 256 + one_in(16) * 8
					     : rnd(512) * 8 + one_in(16);
	if (one_in(2) && op->leaf != SGX_EEXTEND)
		op->offset = 8;
	op->secinfo = rnd(8) | (uint64_t)(one_in(2) ? SGX_PT_TRIM : SGX_PT_TCS) << 8;
	op->sig = one_in(32) ? SIG_BAD_SIGNATURE : one_in(16) ? SIG_BAD_HEADER : SIG_GOOD;
	op->signer_let_in = !one_in(8);
	op->value = sim.random;
}

/* The enclave's own code writes @bytes at @la, if its page tables and the EPCM let it. */
static void enclave_writes(int secs, uint64_t la, const void *from, size_t bytes)
{
	int page = sim_walk(la, 2);
	struct ref_page *p;

	if (page == REF_NONE)
		return;
	p = &sim.ref.page[page];
	if (!is_reg(p) || p->secs != secs || p->la != (la & ~0xfffull) || p->pending ||
	    p->modified || p->blocked || !p->w)
		return;
	memcpy(p->bytes + (la & 0xfff), from, bytes);
	memcpy(sim.epc[page] + (la & 0xfff), from, bytes);
}

/* SECINFO for the page at @la: mostly what the EPCM says of it. */
static void write_secinfo(int secs, uint64_t info_la, uint64_t la, bool accept)
{
	struct sgx_secinfo info = { 0 };
	int page = sim_walk(la, 0);

	if (!accept && !one_in(8)) {
		info.flags = rnd(8) | SGX_SECINFO_TYPE(SGX_PT_REG);
	} else if (page != REF_NONE && !one_in(8)) {
		const struct ref_page *p = &sim.ref.page[page];

		info.flags = (p->r ? 1u : 0) | (p->w ? 2u : 0) | (p->x ? 4u : 0) |
			     (p->pending ? 8u : 0) | (p->modified ? 16u : 0) | (p->pr ? 32u : 0) |
			     (uint64_t)p->type << 8;
	} else {
		info.flags = rnd(64) | (uint64_t)rnd(5) << 8;
	}
	if (one_in(64))
		info.reserved[rnd(7)] = 1;
	enclave_writes(secs, info_la, &info, sizeof(info));
}

static void write_keyrequest(int secs, uint64_t la)
{
	static const uint16_t names[] = { SGX_KEY_SEAL, SGX_KEY_SEAL, SGX_KEY_REPORT,
					  SGX_KEY_PROVISION, 9 };
	struct sgx_keyrequest req = { .keyname = names[rnd(5)],
				      .keypolicy = (uint16_t)rnd(4),
				      .isvsvn = (uint16_t)rnd(7) };

	req.cpusvn[0] = (uint8_t)rnd(3);
	if (one_in(16))
		req.cpusvn[rnd(16)] = 1;
	if (one_in(16))
		req.keypolicy = 0x80;
	if (one_in(32))
		req.reserved2[rnd(434)] = 1;
	enclave_writes(secs, la, &req, sizeof(req));
}

static bool is_tcs(const struct ref_page *p) { return p->valid && p->type == SGX_PT_TCS; }
/* One that EENTER would take, as far as one can see from outside: there, mapped, and so is its frame. */
bool is_open_tcs(const struct ref_page *p)
{
	const struct sgx_tcs *tcs = (const struct sgx_tcs *)p->bytes;
	int page = (int)(p - sim.ref.page), frame;

	if (!is_tcs(p) || p->blocked || p->pending || p->modified || ref_tcs_busy(&sim.ref, page) ||
	    !sim.ref.page[p->secs].encl.init || sim_walk(p->la, 3) != page)
		return false;
	frame = sim_walk(sim.ref.page[p->secs].encl.base + tcs->ossa +
				 (uint64_t)tcs->cssa * SGX_PAGE_SIZE,
			 3);
	return frame != REF_NONE && is_reg(&sim.ref.page[frame]) && !sim.ref.page[frame].blocked;
}

static bool is_data(const struct ref_page *p) { return is_reg(p) && p->w && !p->pending; }
static bool is_new(const struct ref_page *p) { return is_child(p) && (p->pending || p->modified); }

/* Where a page of the enclave is that fits; sometimes anywhere. */
static uint64_t la_of(int secs, page_fits *fits)
{
	int page = (int)rnd(REF_PAGES);

	for (int i = 0; i < REF_PAGES && !one_in(64); i++) {
		const struct ref_page *p = &sim.ref.page[page];

		if (is_child(p) && fits(p) && (secs == REF_NONE || p->secs == secs))
			return p->la;
		page = (page + 1) % REF_PAGES;
	}
	return some_la(secs);
}

void draw_regs(int i)
{
	struct cpu_regs *regs = &sim.regs[i];
	const struct ref_lp *lp = &sim.ref.lp[i];
	static const uint8_t leaves[] = { SGX_EREPORT, SGX_EGETKEY,     SGX_EACCEPT, SGX_EACCEPT,
					  SGX_EMODPE,  SGX_EACCEPTCOPY, SGX_EDECCSSA };

	regs->rcx = AEP_LA;
	if (!lp->inside) {
		regs->rax = one_in(16) ? rnd(12) : one_in(3) ? SGX_ERESUME : SGX_EENTER;
		regs->rbx = la_of(REF_NONE, one_in(4) ? is_tcs : is_open_tcs);
		regs->rflags ^= one_in(16) ? 0x100 : 0;
		regs->rcx = one_in(64) ? 1ull << 47 : AEP_LA;
		regs->rsp = 0x7ff000 + rnd(4096);
		regs->rbp = 0x7fe000 + rnd(4096);
		return;
	}
	regs->rax = one_in(24) ? rnd(12) : leaves[rnd(sizeof(leaves))];
	regs->rcx = la_of(lp->secs, is_new);
	regs->rdx = la_of(lp->secs, is_data);
	regs->rbx = (la_of(lp->secs, is_data) & ~0xfffull) + rnd(8) * 512;
	regs->rip = sim.ref.page[lp->secs].encl.base + 0x3000 + rnd(64);
	regs->rflags ^= one_in(4) ? 1ull << rnd(22) : 0;
	if (regs->rax == SGX_EEXIT) {
		regs->rbx = one_in(32) ? 1ull << 63 : AEP_LA;
	} else if (regs->rax == SGX_EGETKEY) {
		regs->rcx = la_of(lp->secs, is_data) + rnd(16) * 16;
		write_keyrequest(lp->secs, regs->rbx);
	} else if (regs->rax == SGX_EREPORT) {
		regs->rcx = la_of(lp->secs, is_data) + rnd(4) * 128;
	} else {
		if (regs->rax == SGX_EMODPE)
			regs->rcx = la_of(lp->secs, is_reg);
		write_secinfo(lp->secs, regs->rbx, regs->rcx, regs->rax == SGX_EACCEPT);
	}
}
