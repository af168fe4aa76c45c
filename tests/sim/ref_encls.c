/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* The reference's ENCLS and ENCLV: each leaf from top to bottom, as the manual's pseudo-code reads. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <string.h>

#include "sim/ref.h"

static bool is_epc(int page) { return page >= 0 && page < REF_PAGES; }

/* NULL when it is no EPC page: the leaf has yet to find out. */
static struct ref_page *at(struct ref *ref, int page)
{
	return is_epc(page) ? &ref->page[page] : NULL;
}

bool ref_is_child(const struct ref_page *p)
{
	return p->type == SGX_PT_REG || p->type == SGX_PT_TCS || p->type == SGX_PT_TRIM;
}

static bool is_secs(const struct ref *ref, int page)
{
	return ref->page[page].valid && ref->page[page].type == SGX_PT_SECS;
}

static bool has_child(const struct ref *ref, int secs)
{
	for (int i = 0; i < REF_PAGES; i++)
		if (ref->page[i].valid && ref_is_child(&ref->page[i]) && ref->page[i].secs == secs)
			return true;
	return false;
}

static bool active(const struct ref *ref, int secs)
{
	for (int i = 0; i < REF_LPS; i++)
		if (ref->lp[i].inside && ref->lp[i].secs == secs)
			return true;
	return false;
}

bool ref_tcs_busy(const struct ref *ref, int page)
{
	for (int i = 0; i < REF_LPS; i++)
		if (ref->lp[i].inside && ref->lp[i].tcs == page)
			return true;
	return false;
}

/* Nobody is inside who entered in @epoch of the enclave or before. */
static bool all_left(const struct ref *ref, int secs, uint64_t epoch)
{
	for (int i = 0; i < REF_LPS; i++)
		if (ref->lp[i].inside && ref->lp[i].secs == secs && ref->lp[i].entry_epoch <= epoch)
			return false;
	return true;
}

bool ref_tracked(const struct ref *ref, const struct ref_page *p)
{
	if (!p->stamped)
		return true;
	return ref->page[p->secs].encl.epoch > p->stamp && all_left(ref, p->secs, p->stamp);
}

static void stamp(struct ref *ref, struct ref_page *p)
{
	p->stamped = true;
	p->stamp = ref->page[p->secs].encl.epoch;
}

/* Who wants a page whole, and who wants to share it. */
static bool busy_whole(const struct ref *ref, int page)
{
	return ref->held == page || ref->tracking == page;
}

static bool busy_shared(const struct ref *ref, int page) { return ref->held == page; }

static struct ref_out conflict(const struct ref_op *op, struct ref_out native, int code)
{
	if (op->non_root && op->ext)
		return (struct ref_out){ .fault = REF_EXIT, .exit_reason = 71, .exit_code = code };
	return native;
}

static struct ref_out gp(void) { return ref_fault(REF_GP); }

static struct ref_out pf(void) { return ref_fault(REF_PF); }

static int type_of(const struct ref_op *op) { return (int)(op->secinfo >> 8 & 0xff); }

static void set_rwx(struct ref_page *p, uint64_t flags)
{
	p->r = flags & 1;
	p->w = flags & 2;
	p->x = flags & 4;
}

static uint64_t flags_of(const struct ref_page *p)
{
	return (p->r ? 1u : 0) | (p->w ? 2u : 0) | (p->x ? 4u : 0) | (p->pending ? 8u : 0) |
	       (p->modified ? 16u : 0) | (p->pr ? 32u : 0) | (uint64_t)p->type << 8;
}

static bool in_range(const struct ref_encl *encl, uint64_t la)
{
	return la >= encl->base && la < encl->base + encl->size;
}

/* ---- building ------------------------------------------------------------------------------ */

#define ATTR_PERMITTED                                                                \
	(SGX_ATTR_DEBUG | SGX_ATTR_MODE64BIT | SGX_ATTR_PROVISIONKEY | SGX_ATTR_KSS | \
	 SGX_ATTR_EINITTOKENKEY | SGX_ATTR_AEXNOTIFY)

static bool secs_acceptable(const struct sgx_secs *secs)
{
	static const struct sgx_secs zero;

	if (secs->attributes.xfrm != 3 || secs->miscselect || !secs->ssa_frame_size)
		return false;
	if (!(secs->attributes.flags & SGX_ATTR_MODE64BIT))
		return false; /* no base of the driver is below 4 GiB */
	if (secs->size < 8192 || secs->size > 1ull << 36 || secs->size & (secs->size - 1))
		return false;
	if (secs->baseaddr % secs->size || secs->attributes.flags & ~ATTR_PERMITTED)
		return false;
	if (!(secs->attributes.flags & SGX_ATTR_KSS) && secs->configsvn)
		return false;
	return !memcmp(secs->reserved4, zero.reserved4, sizeof(zero.reserved4)) &&
	       !memcmp(secs->reserved1, zero.reserved1, sizeof(zero.reserved1));
}

static struct ref_out ecreate(struct ref *ref, const struct ref_op *op)
{
	struct ref_page *p = &ref->page[op->page];
	const struct sgx_secs *secs = op->src;
	uint8_t record[64] = "ECREATE";

	if (op->misaligned || op->linaddr || op->secs != REF_NONE)
		return gp();
	if (op->secinfo_reserved || type_of(op) != SGX_PT_SECS)
		return gp();
	if (busy_whole(ref, op->page))
		return conflict(op, gp(), 2);
	if (p->valid)
		return pf();
	if (!secs_acceptable(secs))
		return gp();
	*p = (struct ref_page){ .valid = true, .type = SGX_PT_SECS, .secs = REF_NONE };
	p->identity = ++ref->next_identity;
	p->encl.base = secs->baseaddr;
	p->encl.size = secs->size;
	p->encl.flags = secs->attributes.flags;
	p->encl.eid = ref->next_eid++;
	p->encl.context = op->non_root ? op->physical : (uint64_t)op->page * SGX_PAGE_SIZE;
	memcpy(record + 8, &secs->ssa_frame_size, 4);
	memcpy(record + 12, &secs->size, 8);
	SHA256_Init(&p->encl.hash);
	SHA256_Update(&p->encl.hash, record, sizeof(record));
	return ref_done();
}

static void measure_eadd(struct ref_encl *encl, uint64_t la, uint64_t secinfo)
{
	uint8_t record[64] = "EADD";
	uint64_t offset = la - encl->base;

	memcpy(record + 8, &offset, 8);
	memcpy(record + 16, &secinfo, 8);
	SHA256_Update(&encl->hash, record, sizeof(record));
}

static struct ref_out eadd(struct ref *ref, const struct ref_op *op)
{
	struct ref_page *p = &ref->page[op->page], *secs;
	struct sgx_tcs *tcs = (struct sgx_tcs *)p->bytes;
	uint64_t secinfo = op->secinfo;
	bool is_tcs = type_of(op) == SGX_PT_TCS;

	if (op->misaligned || op->linaddr % SGX_PAGE_SIZE)
		return gp();
	if (!is_epc(op->secs))
		return pf();
	if (op->secinfo_reserved || (type_of(op) != SGX_PT_REG && !is_tcs))
		return gp();
	if (busy_whole(ref, op->page))
		return conflict(op, gp(), 2);
	if (p->valid)
		return pf();
	if (op->secs == op->page || busy_shared(ref, op->secs))
		return gp();
	if (!is_secs(ref, op->secs))
		return pf();
	secs = &ref->page[op->secs];
	if (is_tcs && ((const struct sgx_tcs *)op->src)->flags & ~3ull)
		return gp();
	if (!is_tcs && (secinfo & 3) == 2)
		return gp();
	if (!in_range(&secs->encl, op->linaddr) || secs->encl.init)
		return gp();
	*p = (struct ref_page){
		.valid = true, .type = type_of(op), .secs = op->secs, .la = op->linaddr
	};
	p->identity = ++ref->next_identity;
	memcpy(p->bytes, op->src, SGX_PAGE_SIZE);
	if (is_tcs) {
		secinfo &= ~7ull;
		tcs->flags &= ~1ull;
		tcs->cssa = 0;
		tcs->aep = 0;
		tcs->state = 0;
	}
	set_rwx(p, secinfo);
	measure_eadd(&secs->encl, op->linaddr, secinfo);
	return ref_done();
}

static struct ref_out eextend(struct ref *ref, const struct ref_op *op)
{
	const struct ref_page *p = at(ref, op->page);
	struct ref_encl *encl;
	uint8_t record[64] = "EEXTEND";
	uint64_t offset;

	if (!is_epc(op->secs))
		return pf();
	if (op->offset % 256)
		return gp();
	if (!is_epc(op->page))
		return pf();
	if (busy_shared(ref, op->page))
		return gp();
	if (!p->valid || (p->type != SGX_PT_REG && p->type != SGX_PT_TCS))
		return pf();
	encl = &ref->page[op->secs].encl;
	if (p->secs != op->secs || encl->init)
		return gp();
	offset = p->la - encl->base + op->offset;
	memcpy(record + 8, &offset, 8);
	SHA256_Update(&encl->hash, record, sizeof(record));
	SHA256_Update(&encl->hash, p->bytes + op->offset, 256);
	return ref_done();
}

static struct ref_out einit(struct ref *ref, const struct ref_op *op)
{
	struct ref_encl *encl = &ref->page[op->page].encl;
	const uint64_t masked = ~SGX_ATTR_DEBUG;
	SHA256_CTX hash;
	uint8_t digest[32];

	if (op->sig == SIG_BAD_HEADER)
		return ref_error(SGX_INVALID_SIG_STRUCT);
	if (op->sig == SIG_BAD_SIGNATURE)
		return ref_error(SGX_INVALID_SIGNATURE);
	if (busy_shared(ref, op->page))
		return gp();
	if (!is_secs(ref, op->page))
		return pf();
	if (encl->init)
		return gp();
	hash = encl->hash;
	SHA256_Final(digest, &hash);
	if (memcmp(digest, op->sig_hash, sizeof(digest)))
		return ref_error(SGX_INVALID_MEASUREMENT);
	if (encl->flags & SGX_ATTR_EINITTOKENKEY && !op->signer_let_in)
		return ref_error(SGX_INVALID_ATTRIBUTE);
	if ((encl->flags & masked) != SGX_ATTR_MODE64BIT)
		return ref_error(SGX_INVALID_ATTRIBUTE);
	if (!op->signer_let_in)
		return ref_error(SGX_INVALID_EINITTOKEN);
	encl->init = true;
	encl->isvsvn = 4;
	memcpy(encl->mrenclave, digest, sizeof(digest));
	return ref_done();
}

static struct ref_out epa(struct ref *ref, const struct ref_op *op)
{
	if (busy_whole(ref, op->page))
		return conflict(op, gp(), 2);
	if (ref->page[op->page].valid)
		return pf();
	ref->page[op->page] =
		(struct ref_page){ .valid = true, .type = SGX_PT_VA, .secs = REF_NONE };
	ref->page[op->page].identity = ++ref->next_identity;
	return ref_done();
}

static bool child_seen(const struct ref *ref, const struct ref_op *op)
{
	return has_child(ref, op->page) ||
	       (op->non_root && op->ext && ref->page[op->page].encl.virtchild);
}

static struct ref_out eremove(struct ref *ref, const struct ref_op *op)
{
	struct ref_page *p = &ref->page[op->page];

	if (busy_whole(ref, op->page))
		return conflict(op, gp(), 2);
	if (ref_tcs_busy(ref, op->page))
		return ref_error(SGX_ENCLAVE_ACT);
	if (!p->valid)
		return ref_done();
	if (p->type == SGX_PT_SECS && child_seen(ref, op))
		return ref_error(SGX_CHILD_PRESENT);
	if (ref_is_child(p) && !(p->type == SGX_PT_TRIM && !p->modified) && active(ref, p->secs))
		return ref_error(SGX_ENCLAVE_ACT);
	p->valid = false;
	return ref_done();
}

/* ---- paging -------------------------------------------------------------------------------- */

static struct ref_out eblock(struct ref *ref, const struct ref_op *op)
{
	struct ref_page *p = &ref->page[op->page];

	if (busy_shared(ref, op->page))
		return ref_error(SGX_EPC_PAGE_CONFLICT);
	if (!p->valid)
		return ref_error(SGX_PG_INVLD);
	if (!ref_is_child(p))
		return ref_info(p->type == SGX_PT_SECS ? SGX_PG_IS_SECS : SGX_NOTBLOCKABLE);
	if (p->blocked)
		return ref_info(SGX_BLKSTATE);
	if (ref->tracking == p->secs)
		return ref_error(SGX_ENTRYEPOCH_LOCKED);
	p->blocked = true;
	stamp(ref, p);
	return ref_done();
}

static struct ref_out track(struct ref *ref, const struct ref_op *op, int secs,
			    struct ref_out in_use)
{
	struct ref_encl *encl = &ref->page[secs].encl;

	if (ref->tracking == secs)
		return conflict(op, in_use, 0);
	if (encl->epoch > 0 && !all_left(ref, secs, encl->epoch - 1))
		return conflict(op, ref_error(SGX_PREV_TRK_INCMPL), 1);
	encl->epoch++;
	return ref_done();
}

static struct ref_out etrack(struct ref *ref, const struct ref_op *op)
{
	if (busy_shared(ref, op->page))
		return gp();
	if (!is_secs(ref, op->page))
		return pf();
	return track(ref, op, op->page, gp());
}

static struct ref_out etrackc(struct ref *ref, const struct ref_op *op)
{
	const struct ref_page *p = &ref->page[op->page];

	if (busy_shared(ref, op->page))
		return ref_error(SGX_EPC_PAGE_CONFLICT);
	if (!p->valid)
		return ref_error(SGX_PG_INVLD);
	if (p->type == SGX_PT_VA)
		return ref_info(SGX_TRACK_NOT_REQUIRED);
	return track(ref, op, p->type == SGX_PT_SECS ? op->page : p->secs,
		     ref_error(SGX_EPC_PAGE_CONFLICT));
}

static bool is_va(const struct ref *ref, int page)
{
	return ref->page[page].valid && ref->page[page].type == SGX_PT_VA;
}

static struct ref_out ewb_refused(const struct ref *ref, const struct ref_op *op)
{
	const struct ref_page *p = &ref->page[op->page];

	if (!is_epc(op->va))
		return pf();
	if (op->page == op->va || op->linaddr || op->secs != REF_NONE || op->misaligned)
		return gp();
	if (busy_whole(ref, op->page))
		return conflict(op, gp(), 2);
	if (ref_tcs_busy(ref, op->page))
		return ref_error(p->blocked ? SGX_NOT_TRACKED : SGX_PAGE_NOT_BLOCKED);
	if (busy_shared(ref, op->va))
		return gp();
	if (!p->valid || !is_va(ref, op->va))
		return pf();
	if (ref_is_child(p) && !p->blocked)
		return ref_error(SGX_PAGE_NOT_BLOCKED);
	if (ref_is_child(p) && !ref_tracked(ref, p))
		return ref_error(SGX_NOT_TRACKED);
	if (p->type == SGX_PT_SECS && child_seen(ref, op))
		return ref_error(SGX_CHILD_PRESENT);
	return ref_done();
}

/* The version in the slot comes from the processor, the driver puts it there. */
static struct ref_out ewb(struct ref *ref, const struct ref_op *op, struct ref_result *res)
{
	struct ref_page *p = &ref->page[op->page];
	struct ref_blob *b = &ref->blob[op->blob];
	struct ref_out out = ewb_refused(ref, op);
	uint64_t before;

	if (!ref_is_ok(out))
		return out;
	memcpy(&before, ref->page[op->va].bytes + (size_t)op->slot * 8, 8);
	*b = (struct ref_blob){ .used = true, .page = *p, .key = ref->key };
	if (ref_is_child(p))
		b->eid = ref->page[p->secs].encl.eid;
	res->linaddr = p->la;
	res->pcmd_flags = flags_of(p);
	res->pcmd_eid = p->type == SGX_PT_SECS ? p->encl.eid : b->eid;
	p->valid = false;
	return before ? ref_info(SGX_VA_SLOT_OCCUPIED) : ref_done();
}

static struct ref_out eld_refused(const struct ref *ref, const struct ref_op *op)
{
	const struct ref_blob *b = &ref->blob[op->blob];
	bool code = op->leaf == SGX_ELDBC || op->leaf == SGX_ELDUC;
	struct ref_out in_use = code ? ref_error(SGX_EPC_PAGE_CONFLICT) : gp();

	if (!is_epc(op->va))
		return pf();
	if (op->misaligned)
		return gp();
	if (busy_whole(ref, op->page))
		return conflict(op, in_use, code ? 3 : 2);
	if (op->va == op->page || busy_shared(ref, op->va))
		return in_use;
	if (ref->page[op->page].valid || !is_va(ref, op->va))
		return pf();
	if (b->used && ref_is_child(&b->page)) {
		if (!is_epc(op->secs))
			return pf();
		if (op->secs == op->page || busy_shared(ref, op->secs))
			return in_use;
		if (!is_secs(ref, op->secs))
			return pf();
	} else if (op->secs != REF_NONE) {
		return gp();
	}
	return ref_done();
}

static bool eld_authentic(const struct ref *ref, const struct ref_op *op)
{
	const struct ref_blob *b = &ref->blob[op->blob];
	uint64_t version;

	memcpy(&version, ref->page[op->va].bytes + (size_t)op->slot * 8, 8);
	if (!b->used || op->tampered || b->key != ref->key || version != b->version)
		return false;
	if (op->linaddr != b->page.la)
		return false;
	return !ref_is_child(&b->page) || ref->page[op->secs].encl.eid == b->eid;
}

static struct ref_out eld(struct ref *ref, const struct ref_op *op)
{
	struct ref_page *p = &ref->page[op->page];
	struct ref_out out = eld_refused(ref, op);

	if (!ref_is_ok(out))
		return out;
	if (!eld_authentic(ref, op))
		return ref_error(SGX_MAC_COMPARE_FAIL);
	*p = ref->blob[op->blob].page;
	p->stamped = false;
	p->secs = op->secs;
	p->blocked = ref_is_child(p) && (op->leaf == SGX_ELDB || op->leaf == SGX_ELDBC);
	if (p->type == SGX_PT_SECS)
		p->encl.context = op->non_root ? op->physical : (uint64_t)op->page * SGX_PAGE_SIZE;
	memset(ref->page[op->va].bytes + (size_t)op->slot * 8, 0, 8);
	return ref_done();
}

/* ---- SGX2 ---------------------------------------------------------------------------------- */

static struct ref_out eaug(struct ref *ref, const struct ref_op *op)
{
	struct ref_page *p = &ref->page[op->page];

	if (op->linaddr % SGX_PAGE_SIZE || op->misaligned)
		return gp();
	if (!is_epc(op->secs))
		return pf();
	if (busy_whole(ref, op->page))
		return conflict(op, gp(), 2);
	if (p->valid)
		return pf();
	if (op->info_given || op->secs == op->page || busy_shared(ref, op->secs))
		return gp();
	if (!is_secs(ref, op->secs))
		return pf();
	if (!ref->page[op->secs].encl.init || !in_range(&ref->page[op->secs].encl, op->linaddr))
		return gp();
	*p = (struct ref_page){ .valid = true,
				.type = SGX_PT_REG,
				.secs = op->secs,
				.la = op->linaddr,
				.pending = true,
				.r = true,
				.w = true };
	p->identity = ++ref->next_identity;
	return ref_done();
}

static struct ref_out emodpr(struct ref *ref, const struct ref_op *op)
{
	struct ref_page *p = &ref->page[op->page];

	if (op->secinfo_reserved || (op->secinfo & 3) == 2)
		return gp();
	if (busy_shared(ref, op->page))
		return gp();
	if (!p->valid)
		return pf();
	if (p->pending || p->modified)
		return ref_error(SGX_PAGE_NOT_MODIFIABLE);
	if (p->type != SGX_PT_REG)
		return pf();
	if (!ref->page[p->secs].encl.init)
		return gp();
	p->pr = true;
	p->r = p->r && op->secinfo & 1;
	p->w = p->w && op->secinfo & 2;
	p->x = p->x && op->secinfo & 4;
	stamp(ref, p);
	return ref_done();
}

static struct ref_out emodt(struct ref *ref, const struct ref_op *op)
{
	struct ref_page *p = &ref->page[op->page];
	int to = type_of(op);

	if (op->secinfo_reserved || (to != SGX_PT_TCS && to != SGX_PT_TRIM))
		return gp();
	if (busy_whole(ref, op->page))
		return conflict(op, ref_error(SGX_EPC_PAGE_CONFLICT), 3);
	if (!p->valid)
		return pf();
	if (p->type != SGX_PT_REG && !(p->type == SGX_PT_TCS && to == SGX_PT_TRIM))
		return pf();
	if (p->pending || p->modified)
		return ref_error(SGX_PAGE_NOT_MODIFIABLE);
	if (!ref->page[p->secs].encl.init)
		return gp();
	p->pr = p->r = p->w = p->x = false;
	p->modified = true;
	p->type = to;
	stamp(ref, p);
	return ref_done();
}

/* ---- the rest ------------------------------------------------------------------------------ */

static struct ref_out erdinfo(struct ref *ref, const struct ref_op *op, struct ref_result *res)
{
	const struct ref_page *p = at(ref, op->page);

	if (!is_epc(op->page))
		return ref_info(SGX_PG_NONEPC);
	if (busy_shared(ref, op->page))
		return ref_error(SGX_EPC_PAGE_CONFLICT);
	if (!p->valid)
		return ref_info(SGX_PG_INVLD);
	res->rdinfo = (struct sgx_rdinfo){ .flags = flags_of(p) };
	if (p->blocked)
		res->rdinfo.flags |= 1ull << 63;
	if (ref_is_child(p))
		res->rdinfo.enclavecontext = ref->page[p->secs].encl.context;
	if (p->type == SGX_PT_SECS && op->non_root && op->ext)
		res->rdinfo.status = has_child(ref, op->page) || p->encl.virtchild;
	if (p->type == SGX_PT_SECS && !(op->non_root && op->ext)) {
		res->rdinfo.status = has_child(ref, op->page) | (p->encl.virtchild ? 2 : 0);
		res->rdinfo.enclavecontext = p->encl.context;
	}
	return ref_done();
}

static struct ref_out edbg(struct ref *ref, const struct ref_op *op, struct ref_result *res)
{
	struct ref_page *p = at(ref, op->page);
	bool write = op->leaf == SGX_EDBGWR;

	if (op->offset % 8)
		return gp();
	if (!is_epc(op->page))
		return pf();
	if (busy_shared(ref, op->page))
		return gp();
	if (!p->valid || p->type == SGX_PT_SECS || p->type == SGX_PT_TRIM)
		return pf();
	if (p->type == SGX_PT_VA && write)
		return pf();
	if (p->pending || p->modified)
		return ref_error(SGX_PAGE_NOT_DEBUGGABLE);
	if (p->type == SGX_PT_TCS && (op->offset >= 72 || (write && op->offset != 8)))
		return gp();
	if (p->type != SGX_PT_VA && !(ref->page[p->secs].encl.flags & SGX_ATTR_DEBUG))
		return gp();
	if (write)
		memcpy(p->bytes + op->offset, &op->value, 8);
	memcpy(&res->value, p->bytes + op->offset, 8);
	if (p->type == SGX_PT_VA)
		res->value = res->value & ~7ull ? ~0ull : 0;
	return ref_done();
}

static struct ref_out eupdatesvn(struct ref *ref, const struct ref_op *op)
{
	if (ref->held != REF_NONE || ref->tracking != REF_NONE)
		return ref_error(SGX_LOCKFAIL);
	for (int i = 0; i < REF_PAGES; i++)
		if (ref->page[i].valid)
			return ref_error(SGX_EPC_NOT_READY);
	ref->key++;
	ref->svn += op->svn_changed;
	return op->svn_changed ? ref_done() : ref_info(SGX_NO_UPDATE);
}

/* ---- which leaf ----------------------------------------------------------------------------- */

/* Bit n is leaf n; bit 63 is all from there on. */
static bool intercepted(const struct ref_op *op)
{
	unsigned int bit = op->leaf < 63 ? op->leaf : 63;

	return op->bitmap & 1ull << bit;
}

static struct ref_out vm_exit(int reason)
{
	return (struct ref_out){ .fault = REF_EXIT, .exit_reason = reason };
}

static bool encls_has(uint32_t leaf) { return leaf <= SGX_ELDUC || leaf == SGX_EUPDATESVN; }

struct ref_out ref_encls(struct ref *ref, const struct ref_op *op, struct ref_result *res)
{
	if (op->non_root && op->encls_exiting && intercepted(op))
		return vm_exit(60);
	if (!encls_has(op->leaf))
		return gp();
	switch (op->leaf) {
	case SGX_ERDINFO:
		return erdinfo(ref, op, res);
	case SGX_EDBGRD:
	case SGX_EDBGWR:
		return edbg(ref, op, res);
	case SGX_EEXTEND:
		return eextend(ref, op);
	case SGX_EUPDATESVN:
		return eupdatesvn(ref, op);
	}
	if (!is_epc(op->page))
		return pf();
	switch (op->leaf) {
	case SGX_ECREATE:
		return ecreate(ref, op);
	case SGX_EADD:
		return eadd(ref, op);
	case SGX_EINIT:
		return einit(ref, op);
	case SGX_EREMOVE:
		return eremove(ref, op);
	case SGX_EPA:
		return epa(ref, op);
	case SGX_EBLOCK:
		return eblock(ref, op);
	case SGX_ETRACK:
		return etrack(ref, op);
	case SGX_ETRACKC:
		return etrackc(ref, op);
	case SGX_EWB:
		return ewb(ref, op, res);
	case SGX_ELDU:
	case SGX_ELDB:
	case SGX_ELDUC:
	case SGX_ELDBC:
		return eld(ref, op);
	case SGX_EAUG:
		return eaug(ref, op);
	case SGX_EMODPR:
		return emodpr(ref, op);
	case SGX_EMODT:
		return emodt(ref, op);
	default:
		return gp();
	}
}

struct ref_out ref_enclv(struct ref *ref, const struct ref_op *op)
{
	const struct ref_page *p = at(ref, op->page);
	uint64_t *count;

	if (!op->vmx || (op->non_root && !op->enclv_exiting))
		return ref_fault(REF_UD);
	if (op->non_root && intercepted(op))
		return vm_exit(70);
	if (op->leaf > SGX_ESETCONTEXT)
		return gp();
	if (!is_epc(op->page))
		return pf();
	if (op->leaf != SGX_ESETCONTEXT && !is_epc(op->secs))
		return pf();
	if (busy_shared(ref, op->page))
		return ref_error(SGX_EPC_PAGE_CONFLICT);
	if (op->leaf == SGX_ESETCONTEXT) {
		if (!is_secs(ref, op->page))
			return pf();
		ref->page[op->page].encl.context = op->value;
		return ref_done();
	}
	if (!p->valid || p->type == SGX_PT_VA)
		return pf();
	if (op->secs != (p->type == SGX_PT_SECS ? op->page : p->secs))
		return gp();
	count = &ref->page[op->secs].encl.virtchild;
	if (op->leaf == SGX_EDECVIRTCHILD && *count == 0)
		return ref_error(SGX_INVALID_COUNTER);
	*count += op->leaf == SGX_EINCVIRTCHILD ? 1 : -1ull;
	return ref_done();
}
