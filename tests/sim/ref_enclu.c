/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* The reference's ENCLU and AEX. Enclaves have SSA frames of one page, x87 and SSE, and no EXINFO. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <string.h>

#include "sim/ref.h"

enum { RAX, RCX, RDX, RBX, RSP, RBP };

/* CF PF AF ZF SF OF; TF; RF; and with DF, NT, AC, ID what ERESUME takes from the frame. */
#define STATUS  0x8d5ull
#define TF      0x100ull
#define RF      0x10000ull
#define RESUMED (STATUS | RF | 0x244400ull)

#define READ       1u
#define WRITE      2u
#define GPR_OFFSET (SGX_PAGE_SIZE - 184)

static struct ref_out gp(void) { return ref_fault(REF_GP); }

static struct ref_out pf(void) { return ref_fault(REF_PF); }

static bool canonical(uint64_t la) { return la >> 47 == 0 || la >> 47 == 0x1ffff; }

static bool page_is(const struct ref *ref, int page, int secs, uint64_t la)
{
	const struct ref_page *p = &ref->page[page];

	return p->valid && ref_is_child(p) && p->secs == secs && p->la == (la & ~0xfffull);
}

/* A REG page of the enclave that the EPCM lets one access so. REF_NONE: #PF. */
static int usable(const struct ref *ref, int secs, uint64_t la, unsigned int access)
{
	int page = ref->walk(la, access);
	const struct ref_page *p;

	if (page == REF_NONE || ref->held == page || !page_is(ref, page, secs, la))
		return REF_NONE;
	p = &ref->page[page];
	if (p->type != SGX_PT_REG || p->blocked || p->pending || p->modified)
		return REF_NONE;
	if ((access & READ && !p->r) || (access & WRITE && !p->w))
		return REF_NONE;
	return page;
}

static uint8_t *bytes_at(struct ref *ref, int page, uint64_t la)
{
	return ref->page[page].bytes + (la & 0xfff);
}

static bool legal(const struct ref *ref, const struct ref_lp *lp, uint64_t la, uint64_t align)
{
	const struct ref_encl *encl = &ref->page[lp->secs].encl;

	return la % align == 0 && la >= encl->base && la < encl->base + encl->size;
}

/* ---- in and out ---------------------------------------------------------------------------- */

static struct ref_out find_tcs(const struct ref *ref, const struct ref_regs *regs, int *ret_page)
{
	uint64_t la = regs->gpr[RBX];
	const struct ref_page *p;

	if (la % SGX_PAGE_SIZE)
		return gp();
	*ret_page = ref->walk(la, READ | WRITE);
	if (*ret_page == REF_NONE)
		return pf();
	if (!canonical(regs->gpr[RCX]))
		return gp();
	p = &ref->page[*ret_page];
	if (!p->valid || p->type != SGX_PT_TCS || p->la != la || p->blocked || p->pending ||
	    p->modified)
		return pf();
	if (ref->held == *ret_page || ref_tcs_busy(ref, *ret_page))
		return gp();
	return ref_done();
}

static struct ref_out check_tcs(const struct ref_encl *encl, const struct sgx_tcs *tcs)
{
	if (tcs->ossa % SGX_PAGE_SIZE || tcs->ofsbasgx % SGX_PAGE_SIZE ||
	    tcs->ogsbasgx % SGX_PAGE_SIZE)
		return gp();
	if (tcs->flags & ~3ull || !encl->init)
		return gp();
	if (!(tcs->flags & 1) && !!(tcs->flags & 2) != !!(encl->flags & SGX_ATTR_AEXNOTIFY))
		return gp();
	return ref_done();
}

static void enter(struct ref *ref, struct ref_lp *lp, const struct ref_regs *regs, int tcs_page,
		  uint64_t ssa_la)
{
	const struct ref_page *p = &ref->page[tcs_page];

	*lp = (struct ref_lp){
		.inside = true,
		.opt_in = ((const struct sgx_tcs *)p->bytes)->flags & 1,
		.tf = regs->rflags & TF,
		.secs = p->secs,
		.tcs = tcs_page,
		.tcs_la = p->la,
		.aep = regs->gpr[RCX],
		.ssa_la = ssa_la,
		.entry_epoch = ref->page[p->secs].encl.epoch,
		.fs = regs->fs,
		.gs = regs->gs,
	};
	((struct sgx_tcs *)ref->page[tcs_page].bytes)->aep = lp->aep;
}

static struct ref_out eenter(struct ref *ref, struct ref_lp *lp, struct ref_regs *regs)
{
	const struct ref_encl *encl;
	struct sgx_tcs *tcs;
	struct sgx_ssa_gpr *gpr;
	struct ref_out out;
	int page, frame;
	uint64_t ssa_la;

	if (lp->inside)
		return gp();
	out = find_tcs(ref, regs, &page);
	if (!ref_is_ok(out))
		return out;
	encl = &ref->page[ref->page[page].secs].encl;
	tcs = (struct sgx_tcs *)ref->page[page].bytes;
	out = check_tcs(encl, tcs);
	if (!ref_is_ok(out))
		return out;
	if (!canonical(encl->base + tcs->ofsbasgx) || !canonical(encl->base + tcs->ogsbasgx))
		return gp();
	if (tcs->cssa >= tcs->nssa)
		return gp();
	ssa_la = encl->base + tcs->ossa + (uint64_t)tcs->cssa * SGX_PAGE_SIZE;
	frame = usable(ref, ref->page[page].secs, ssa_la, READ | WRITE);
	if (frame == REF_NONE)
		return pf();
	if (!canonical(encl->base + tcs->oentry))
		return gp();
	enter(ref, lp, regs, page, ssa_la);
	gpr = (struct sgx_ssa_gpr *)(ref->page[frame].bytes + GPR_OFFSET);
	gpr->ursp = regs->gpr[RSP];
	gpr->urbp = regs->gpr[RBP];
	if (!(tcs->flags & 1))
		regs->rflags &= ~TF;
	regs->gpr[RAX] = tcs->cssa;
	regs->gpr[RCX] = regs->rip + 3;
	regs->rip = encl->base + tcs->oentry;
	regs->fs = encl->base + tcs->ofsbasgx;
	regs->gs = encl->base + tcs->ogsbasgx;
	return out;
}

/* What XRSTOR would not load. */
static bool xsave_legal(const uint8_t *frame)
{
	static const uint8_t zero[16];
	uint32_t mxcsr;
	uint64_t bv;

	memcpy(&mxcsr, frame + 24, 4);
	memcpy(&bv, frame + 512, 8);
	return !(mxcsr & 0xffff0000) && !(bv & ~3ull) && !memcmp(frame + 520, zero, 16);
}

static struct ref_out eresume(struct ref *ref, struct ref_lp *lp, struct ref_regs *regs)
{
	const struct ref_encl *encl;
	const struct sgx_ssa_gpr *gpr;
	struct sgx_tcs *tcs;
	struct ref_out out;
	int page, frame;
	uint64_t ssa_la;

	if (lp->inside)
		return gp();
	out = find_tcs(ref, regs, &page);
	if (!ref_is_ok(out))
		return out;
	encl = &ref->page[ref->page[page].secs].encl;
	tcs = (struct sgx_tcs *)ref->page[page].bytes;
	out = check_tcs(encl, tcs);
	if (!ref_is_ok(out))
		return out;
	if (tcs->cssa == 0)
		return gp();
	ssa_la = encl->base + tcs->ossa + (uint64_t)(tcs->cssa - 1) * SGX_PAGE_SIZE;
	frame = usable(ref, ref->page[page].secs, ssa_la, READ | WRITE);
	if (frame == REF_NONE)
		return pf();
	gpr = (const struct sgx_ssa_gpr *)(ref->page[frame].bytes + GPR_OFFSET);
	if (!canonical(gpr->rip) || !canonical(gpr->fsbase) || !canonical(gpr->gsbase))
		return gp();
	if (!xsave_legal(ref->page[frame].bytes))
		return gp();
	enter(ref, lp, regs, page, ssa_la);
	memcpy(regs->gpr, gpr, sizeof(regs->gpr));
	regs->rflags = (regs->rflags & ~RESUMED) | (gpr->rflags & RESUMED);
	if (!(tcs->flags & 1))
		regs->rflags &= ~TF;
	regs->rip = gpr->rip;
	regs->fs = gpr->fsbase;
	regs->gs = gpr->gsbase;
	tcs->cssa--;
	return out;
}

/* Without opt-in nobody steps inside, and the way out gives the host its TF back. */
static void host_tf(const struct ref_lp *lp, struct ref_regs *regs)
{
	if (lp->opt_in)
		return;
	regs->rflags &= ~TF;
	if (lp->tf)
		regs->rflags |= TF;
}

static struct ref_out eexit(struct ref_lp *lp, struct ref_regs *regs)
{
	if (!lp->inside || !canonical(regs->gpr[RBX]))
		return gp();
	regs->rip = regs->gpr[RBX];
	regs->gpr[RCX] = lp->aep;
	regs->fs = lp->fs;
	regs->gs = lp->gs;
	host_tf(lp, regs);
	lp->inside = false;
	return ref_done();
}

static uint32_t exitinfo(int vector)
{
	static const int reported[] = { 0, 1, 3, 5, 6, 16, 17, 19 };

	for (unsigned int i = 0; i < sizeof(reported) / sizeof(*reported); i++)
		if (vector == reported[i])
			return 1u << 31 | 3u << 8 | (uint32_t)vector;
	return 0;
}

struct ref_out ref_aex(struct ref *ref, struct ref_lp *lp, struct ref_regs *regs, int vector)
{
	int frame = ref->walk(lp->ssa_la, WRITE);
	struct sgx_ssa_gpr *gpr;

	if (frame == REF_NONE || frame == ref->held || !page_is(ref, frame, lp->secs, lp->ssa_la))
		return pf();
	gpr = (struct sgx_ssa_gpr *)(ref->page[frame].bytes + GPR_OFFSET);
	memcpy(gpr, regs->gpr, sizeof(regs->gpr));
	gpr->rip = regs->rip;
	gpr->rflags = regs->rflags & ~TF;
	gpr->fsbase = regs->fs;
	gpr->gsbase = regs->gs;
	gpr->exitinfo = exitinfo(vector);
	((struct sgx_tcs *)ref->page[lp->tcs].bytes)->cssa++;
	*regs = (struct ref_regs){
		.rflags = regs->rflags & ~(STATUS | RF), .rip = lp->aep, .fs = lp->fs, .gs = lp->gs
	};
	regs->gpr[RAX] = SGX_ERESUME;
	regs->gpr[RBX] = lp->tcs_la;
	regs->gpr[RCX] = lp->aep;
	regs->gpr[RSP] = gpr->ursp;
	regs->gpr[RBP] = gpr->urbp;
	host_tf(lp, regs);
	lp->inside = false;
	return ref_done();
}

static struct ref_out edeccssa(struct ref *ref, struct ref_lp *lp)
{
	const struct ref_encl *encl = &ref->page[lp->secs].encl;
	struct sgx_tcs *tcs = (struct sgx_tcs *)ref->page[lp->tcs].bytes;
	uint64_t ssa_la;

	if (ref->held == lp->tcs || tcs->cssa == 0)
		return gp();
	ssa_la = encl->base + tcs->ossa + (uint64_t)(tcs->cssa - 1) * SGX_PAGE_SIZE;
	if (usable(ref, lp->secs, ssa_la, READ | WRITE) == REF_NONE)
		return pf();
	tcs->cssa--;
	lp->ssa_la = ssa_la;
	return ref_done();
}

/* ---- SGX2 ---------------------------------------------------------------------------------- */

static bool secinfo_reserved(const struct sgx_secinfo *secinfo)
{
	static const uint64_t zero[7];

	return secinfo->flags & ~0xff3full || memcmp(secinfo->reserved, zero, sizeof(zero)) != 0;
}

static int type_of(const struct sgx_secinfo *secinfo) { return (int)(secinfo->flags >> 8 & 0xff); }

static bool accept_request_legal(const struct sgx_secinfo *secinfo)
{
	bool pending = secinfo->flags & 8, modified = secinfo->flags & 16, pr = secinfo->flags & 32;
	int type = type_of(secinfo);

	if (type == SGX_PT_REG)
		return (pr || pending) && !modified;
	return (type == SGX_PT_TCS || type == SGX_PT_TRIM) && modified && !pr && !pending;
}

static bool accept_matches(const struct ref_page *p, const struct sgx_secinfo *secinfo, uint64_t la)
{
	uint64_t f = secinfo->flags;

	return p->la == la && p->type == type_of(secinfo) && p->pending == !!(f & 8) &&
	       p->modified == !!(f & 16) && p->r == !!(f & 1) && p->w == !!(f & 2) &&
	       p->x == !!(f & 4);
}

static struct ref_out accept_tcs(const struct sgx_tcs *tcs)
{
	static const uint8_t zero[sizeof(tcs->reserved)];

	if (memcmp(tcs->reserved, zero, sizeof(zero)) || tcs->prevssp || tcs->flags & ~2ull)
		return gp();
	if (tcs->cssa >= tcs->nssa || tcs->aep || tcs->state)
		return gp();
	return ref_done();
}

static struct ref_out eaccept(struct ref *ref, const struct ref_lp *lp,
			      const struct sgx_secinfo *secinfo, uint64_t la)
{
	struct ref_out out = ref_done();
	struct ref_page *p;
	int page;

	if (secinfo_reserved(secinfo) || !legal(ref, lp, la, SGX_PAGE_SIZE))
		return gp();
	page = ref->walk(la, READ);
	if (page == REF_NONE)
		return pf();
	if (!accept_request_legal(secinfo))
		return gp();
	p = &ref->page[page];
	if (!p->valid || !ref_is_child(p) || p->secs != lp->secs || p->blocked)
		return pf();
	if (ref->held == page)
		return gp();
	if (!accept_matches(p, secinfo, la))
		return ref_error(SGX_PAGE_ATTRIBUTES_MISMATCH);
	if (!ref_tracked(ref, p) || (p->modified && ref_tcs_busy(ref, page)))
		return ref_error(SGX_NOT_TRACKED);
	if (p->type == SGX_PT_TCS)
		out = accept_tcs((const struct sgx_tcs *)p->bytes);
	if (ref_is_ok(out))
		p->pending = p->modified = p->pr = false;
	return out;
}

static struct ref_out emodpe(struct ref *ref, const struct ref_lp *lp,
			     const struct sgx_secinfo *secinfo, uint64_t la)
{
	int page = ref->walk(la, READ);
	struct ref_page *p;

	if (page == REF_NONE)
		return pf();
	if (secinfo_reserved(secinfo))
		return gp();
	p = &ref->page[page];
	if (!page_is(ref, page, lp->secs, la) || p->type != SGX_PT_REG || p->blocked ||
	    p->pending || p->modified || ref->held == page)
		return pf();
	if (!p->r && !(secinfo->flags & 1) && secinfo->flags & 2)
		return gp();
	p->r |= !!(secinfo->flags & 1);
	p->w |= !!(secinfo->flags & 2);
	p->x |= !!(secinfo->flags & 4);
	return ref_done();
}

static struct ref_out eacceptcopy(struct ref *ref, const struct ref_lp *lp,
				  const struct sgx_secinfo *secinfo, uint64_t la, uint64_t from_la)
{
	int page = ref->walk(la, READ | WRITE), from;
	struct ref_page *p;

	if (page == REF_NONE || ref->walk(from_la, READ) == REF_NONE)
		return pf();
	if (secinfo_reserved(secinfo) || (secinfo->flags & 3) == 2 ||
	    type_of(secinfo) != SGX_PT_REG)
		return gp();
	from = usable(ref, lp->secs, from_la, READ);
	if (from == REF_NONE)
		return pf();
	p = &ref->page[page];
	if (!p->valid || p->type != SGX_PT_REG || p->secs != lp->secs || !p->pending ||
	    p->modified || p->blocked)
		return ref_error(SGX_PAGE_ATTRIBUTES_MISMATCH);
	if (ref->held == page)
		return pf();
	if (p->la != la || !p->r || !p->w || p->x)
		return ref_error(SGX_PAGE_ATTRIBUTES_MISMATCH);
	memcpy(p->bytes, ref->page[from].bytes, SGX_PAGE_SIZE);
	p->pending = false;
	p->r = secinfo->flags & 1;
	p->w = secinfo->flags & 2;
	p->x = secinfo->flags & 4;
	return ref_done();
}

/* The three that take a SECINFO. */
static struct ref_out sgx2(struct ref *ref, struct ref_lp *lp, const struct ref_regs *regs)
{
	uint64_t info_la = regs->gpr[RBX], la = regs->gpr[RCX], from_la = regs->gpr[RDX];
	uint32_t leaf = (uint32_t)regs->gpr[RAX];
	struct sgx_secinfo secinfo;
	int page;

	if (!legal(ref, lp, info_la, 64))
		return gp();
	if (leaf != SGX_EACCEPT && !legal(ref, lp, la, SGX_PAGE_SIZE))
		return gp();
	if (leaf == SGX_EACCEPTCOPY && !legal(ref, lp, from_la, SGX_PAGE_SIZE))
		return gp();
	page = usable(ref, lp->secs, info_la, READ);
	if (page == REF_NONE)
		return pf();
	memcpy(&secinfo, bytes_at(ref, page, info_la), sizeof(secinfo));
	if (leaf == SGX_EACCEPT)
		return eaccept(ref, lp, &secinfo, la);
	if (leaf == SGX_EMODPE)
		return emodpe(ref, lp, &secinfo, la);
	return eacceptcopy(ref, lp, &secinfo, la, from_la);
}

/* ---- keys: how they end; what they write comes from the processor --------------------------- */

static struct ref_out ereport(const struct ref *ref, const struct ref_lp *lp,
			      const struct ref_regs *regs)
{
	static const struct {
		int reg;
		uint64_t align;
		unsigned int access;
	} operand[] = { { RBX, 512, READ }, { RCX, 128, READ }, { RDX, 512, WRITE } };

	for (unsigned int i = 0; i < 3; i++) {
		uint64_t la = regs->gpr[operand[i].reg];

		if (!legal(ref, lp, la, operand[i].align))
			return gp();
		if (usable(ref, lp->secs, la, operand[i].access) == REF_NONE)
			return pf();
	}
	return ref_done();
}

static struct ref_out egetkey(struct ref *ref, const struct ref_lp *lp, const struct ref_regs *regs)
{
	static const uint8_t zero[sizeof(((struct sgx_keyrequest *)0)->reserved2)];
	struct sgx_keyrequest req;
	int page;

	if (!legal(ref, lp, regs->gpr[RBX], 512))
		return gp();
	page = usable(ref, lp->secs, regs->gpr[RBX], READ);
	if (page == REF_NONE)
		return pf();
	if (!legal(ref, lp, regs->gpr[RCX], 16))
		return gp();
	if (usable(ref, lp->secs, regs->gpr[RCX], WRITE) == REF_NONE)
		return pf();
	memcpy(&req, bytes_at(ref, page, regs->gpr[RBX]), sizeof(req));
	/* No enclave here has KSS. */
	if (req.reserved1 || memcmp(req.reserved2, zero, sizeof(zero)) || req.keypolicy & ~3u ||
	    req.configsvn)
		return gp();
	if (req.keyname == SGX_KEY_REPORT)
		return ref_done();
	if (req.keyname != SGX_KEY_SEAL)
		return ref_error(req.keyname > SGX_KEY_SEAL ? SGX_INVALID_KEYNAME
							    : SGX_INVALID_ATTRIBUTE);
	for (unsigned int i = 0; i < 16; i++)
		if (req.cpusvn[i] > (i == 0 ? ref->svn : 0))
			return ref_error(SGX_INVALID_CPUSVN);
	if (req.isvsvn > ref->page[lp->secs].encl.isvsvn)
		return ref_error(SGX_INVALID_ISVSVN);
	return ref_done();
}

static struct ref_out inside_leaf(struct ref *ref, struct ref_lp *lp, struct ref_regs *regs)
{
	switch (regs->gpr[RAX]) {
	case SGX_EREPORT:
		return ereport(ref, lp, regs);
	case SGX_EGETKEY:
		return egetkey(ref, lp, regs);
	case SGX_EACCEPT:
	case SGX_EMODPE:
	case SGX_EACCEPTCOPY:
		return sgx2(ref, lp, regs);
	case SGX_EDECCSSA:
		return edeccssa(ref, lp);
	default:
		return gp();
	}
}

struct ref_out ref_enclu(struct ref *ref, struct ref_lp *lp, struct ref_regs *regs)
{
	uint64_t leaf = regs->gpr[RAX];
	struct ref_out out;

	if (leaf == SGX_EENTER)
		return eenter(ref, lp, regs);
	if (leaf == SGX_ERESUME)
		return eresume(ref, lp, regs);
	if (leaf == SGX_EEXIT)
		return eexit(lp, regs);
	if (!lp->inside)
		return gp();
	out = inside_leaf(ref, lp, regs);
	if (out.fault != REF_OK)
		return out;
	regs->rip += 3;
	if (leaf == SGX_EACCEPT || leaf == SGX_EACCEPTCOPY || leaf == SGX_EGETKEY) {
		regs->gpr[RAX] = out.eax;
		regs->rflags = (regs->rflags & ~STATUS) | out.flags;
	}
	return out;
}
