/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The guest's SGX driver: EPC, enclaves, and its own paging of them.
 *
 * Heap pages are EAUGed.  Those beyond ARG_KEEP are evicted (EBLOCK, ETRACK, EWB) in the order they came, and a
 * touch in the enclave brings them back.
 */
#include "kernel.h"

#define MSR_FEATURE_CONTROL 0x3a
#define MSR_HASH            0x8c

/* ---- EPC ---- */

static struct pool {
	uint64_t *free, nr;
} pools[8];

void epc_init(void)
{
	struct cpuid section = cpuid(0x12, 2);
	uint64_t base = (uint64_t)(section.b & 0xfffff) << 32 | (section.a & 0xfffff000);
	uint64_t bytes = (uint64_t)(section.d & 0xfffff) << 32 | (section.c & 0xfffff000);
	uint64_t nr = bytes / PAGE / boot->vcpu_nr, id = percpu()->id;
	struct pool *pool = &pools[id];

	/* Pages may come to one processor and be given back by another. */
	pool->free = memory_alloc(bytes / PAGE * sizeof(uint64_t));
	for (uint64_t i = 0; i < nr; i++)
		pool->free[i] = base + (id * nr + nr - 1 - i) * PAGE;
	pool->nr = nr;
}

uint64_t epc_alloc(void)
{
	struct pool *pool = &pools[percpu()->id];

	if (!pool->nr) {
		say("no EPC is left\n");
		end(95);
	}
	return pool->free[--pool->nr];
}

void epc_free(uint64_t page)
{
	struct pool *pool = &pools[percpu()->id];

	pool->free[pool->nr++] = page;
}

uint64_t epc_left(void)
{
	return pools[percpu()->id].nr;
}

/* ---- leaves ---- */

struct encls encls(uint64_t leaf, uint64_t rbx, uint64_t rcx, uint64_t rdx)
{
	struct encls regs = { .rax = leaf, .rbx = rbx, .rcx = rcx, .rdx = rdx };

	percpu()->fault.vector = NO_FAULT;
	encls_insn(&regs);
	return regs;
}

void encls_ok(uint64_t leaf, uint64_t rbx, uint64_t rcx, uint64_t rdx)
{
	struct encls regs = encls(leaf, rbx, rcx, rdx);
	bool status = leaf != SGX_ECREATE && leaf != SGX_EADD && leaf != SGX_EEXTEND &&
		      leaf != SGX_EPA && leaf != SGX_EAUG;

	if (percpu()->fault.vector == NO_FAULT && (!status || regs.rax == 0))
		return;
	say("leaf %x failed: rax %x, ", leaf, regs.rax);
	say_fault(&percpu()->fault);
	end(94);
}

bool sgx_enable(void)
{
	const uint64_t *hash = (const uint64_t *)(enclave_signed + SIGNED_HASH);

	/* Leaf 12H alone: there are KVMs that answer leaf 7 as the machine does, whatever the VMM says. */
	if (cpuid(0, 0).a < 0x12 || !(cpuid(0x12, 0).a & 1))
		return false;
	for (uint32_t i = 0; i < 4; i++)
		wrmsr(MSR_HASH + i, hash[i]);
	/* SGX on, launch key ours, locked. */
	wrmsr(MSR_FEATURE_CONTROL, 1ull << 18 | 1ull << 17 | 1);
	return true;
}

/* ---- building ---- */

void enclave_add(struct enclave *e, uint64_t at, uint64_t flags, const void *source)
{
	struct sgx_secinfo secinfo = { .flags = flags };
	struct pageinfo pi = { .linaddr = e->base + at * PAGE,
			       .srcpge = (uint64_t)source,
			       .secinfo = (uint64_t)&secinfo,
			       .secs = e->secs };
	uint64_t page = epc_alloc();

	encls_ok(SGX_EADD, (uint64_t)&pi, page, 0);
	for (uint64_t i = 0; i < PAGE; i += SGX_EXTEND_BYTES)
		encls_ok(SGX_EEXTEND, e->secs, page + i, 0);
	e->page[at] = page;
	map_user(e->base + at * PAGE, page, !(flags & SGX_SECINFO_X), flags & SGX_SECINFO_X);
}

static void add_tcs(struct enclave *e, uint64_t i)
{
	struct sgx_tcs *tcs = memory_alloc(PAGE);

	tcs->ossa = (ENCLAVE_SSA + i * ENCLAVE_FRAMES) * PAGE;
	tcs->nssa = ENCLAVE_FRAMES;
	tcs->oentry = ENCLAVE_CODE * PAGE;
	tcs->fslimit = tcs->gslimit = 0xfff;
	enclave_add(e, ENCLAVE_TCS + i, SGX_SECINFO_TYPE(SGX_PT_TCS), tcs);
}

/* In the order of guest/sign.c. */
static void add_all(struct enclave *e)
{
	const uint8_t *zero = memory_alloc(PAGE);

	for (uint64_t i = 0; i < ENCLAVE_THREADS; i++)
		add_tcs(e, i);
	for (uint64_t i = 0; i < ENCLAVE_THREADS * ENCLAVE_FRAMES; i++)
		enclave_add(e, ENCLAVE_SSA + i, RW_FLAGS, zero);
	for (uint64_t i = 0; i < ENCLAVE_CODES; i++)
		enclave_add(e, ENCLAVE_CODE + i, RX_FLAGS, enclave_code + i * PAGE);
	for (uint64_t i = 0; i < ENCLAVE_DATAS; i++)
		enclave_add(e, ENCLAVE_DATA + i, RW_FLAGS, zero);
	for (uint64_t i = 0; i < ENCLAVE_THREADS; i++)
		enclave_add(e, ENCLAVE_STACK + i, RW_FLAGS, zero);
}

void enclave_begin(struct enclave *e, uint64_t page)
{
	struct sgx_secs *secs = memory_alloc(PAGE);
	struct sgx_secinfo secinfo = { .flags = SGX_SECINFO_TYPE(SGX_PT_SECS) };
	struct pageinfo pi = { .srcpge = (uint64_t)secs, .secinfo = (uint64_t)&secinfo };

	*e = (struct enclave){ .base = ENCLAVE_BASE + percpu()->id * ENCLAVE_SIZE, .secs = page };
	secs->size = ENCLAVE_SIZE;
	secs->baseaddr = e->base;
	secs->ssa_frame_size = 1;
	secs->attributes.flags = SGX_ATTR_MODE64BIT | SGX_ATTR_DEBUG;
	secs->attributes.xfrm = SGX_XFRM_LEGACY;
	encls_ok(SGX_ECREATE, (uint64_t)&pi, e->secs, 0);
}

void enclave_create_at(struct enclave *e, uint64_t secs, uint64_t heap, uint64_t keep)
{
	void *token = memory_alloc(PAGE);

	enclave_begin(e, secs);
	e->keep = keep;
	e->heap_page = memory_alloc((heap + 1) * sizeof(uint64_t));
	e->heap_evicted = memory_alloc((heap + 1) * sizeof(void *));
	add_all(e);
	encls_ok(SGX_EINIT, (uint64_t)enclave_signed, e->secs, (uint64_t)token);
	percpu()->enclave = e;
	e->heap = heap;
}

void enclave_create(struct enclave *e, uint64_t heap, uint64_t keep)
{
	enclave_create_at(e, epc_alloc(), heap, keep);
}

uint64_t heap_la(const struct enclave *e, uint64_t heap_page)
{
	return e->base + (ENCLAVE_HEAP + heap_page) * PAGE;
}

/* ---- paging ---- */

static struct pageinfo evicted_pageinfo(struct evicted *to)
{
	return (struct pageinfo){ .srcpge = (uint64_t)to->page, .secinfo = (uint64_t)&to->pcmd };
}

static void slot_alloc(struct enclave *e, struct evicted *to)
{
	if (!e->va_nr || e->va_used == SGX_VA_SLOTS) {
		if (e->va_nr == VA_MAX)
			end(92);
		e->va[e->va_nr] = epc_alloc();
		encls_ok(SGX_EPA, SGX_PT_VA, e->va[e->va_nr++], 0);
		e->va_used = 0;
	}
	to->va = e->va[e->va_nr - 1];
	to->slot = e->va_used++;
}

void enclave_evict(struct enclave *e, uint64_t i)
{
	struct evicted *to = e->heap_evicted[i] ? e->heap_evicted[i] : memory_alloc(sizeof(*to));
	struct pageinfo pi = evicted_pageinfo(to);

	/* A page that has been out has a slot already. */
	if (!e->heap_evicted[i])
		slot_alloc(e, to);
	unmap_user(heap_la(e, i));
	encls_ok(SGX_EBLOCK, 0, e->heap_page[i], 0);
	encls_ok(SGX_ETRACK, 0, e->secs, 0);
	if (e->shared)
		ipi_all();
	encls_ok(SGX_EWB, (uint64_t)&pi, e->heap_page[i], to->va + to->slot * 8);
	epc_free(e->heap_page[i]);
	e->heap_evicted[i] = to;
	e->heap_page[i] = 0;
	e->here--;
	e->evictions++;
}

static void make_room(struct enclave *e)
{
	while (e->keep && e->here >= e->keep) {
		e->hand = (e->hand + 1) % e->heap;
		if (e->heap_page[e->hand])
			enclave_evict(e, e->hand);
	}
}

static void load(struct enclave *e, uint64_t i)
{
	struct evicted *from = e->heap_evicted[i];
	struct pageinfo pi = evicted_pageinfo(from);
	uint64_t page;

	make_room(e);
	page = epc_alloc();
	pi.linaddr = heap_la(e, i);
	pi.secs = e->secs;
	encls_ok(SGX_ELDU, (uint64_t)&pi, page, from->va + from->slot * 8);
	e->heap_page[i] = page;
	e->here++;
	e->loads++;
	map_user(heap_la(e, i), page, true, false);
}

static void augment(struct enclave *e, uint64_t i)
{
	struct pageinfo pi = { .linaddr = heap_la(e, i), .secs = e->secs };
	uint64_t page;

	make_room(e);
	page = epc_alloc();
	encls_ok(SGX_EAUG, (uint64_t)&pi, page, 0);
	e->heap_page[i] = page;
	e->here++;
	map_user(heap_la(e, i), page, true, false);
}

static volatile uint32_t paging_lock;

static bool fault(struct enclave *e, uint64_t i, uint64_t error)
{
	/* Another processor may have brought it since. */
	if (e->heap_page[i])
		return e->shared && !(error & SGX_PFEC_P);
	if (e->heap_evicted[i])
		load(e, i);
	else
		augment(e, i);
	return true;
}

bool enclave_fault(struct enclave *e, uint64_t la, uint64_t error)
{
	uint64_t i = (la - heap_la(e, 0)) / PAGE;
	bool served;

	if (la < heap_la(e, 0) || i >= e->heap)
		return false;
	if (e->shared)
		lock(&paging_lock);
	served = fault(e, i, error);
	if (e->shared)
		unlock(&paging_lock);
	return served;
}

void enclave_evict_next(struct enclave *e)
{
	lock(&paging_lock);
	e->hand = (e->hand + 1) % e->heap;
	if (e->heap_page[e->hand])
		enclave_evict(e, e->hand);
	unlock(&paging_lock);
}

/* ---- use ---- */

static uint64_t enter(struct user_regs *regs)
{
	struct percpu *pc = percpu();

	pc->fault.vector = NO_FAULT;
	pc->answer = 0;
	user_call(regs);
	return pc->answer;
}

static struct user_regs entry_of(const struct enclave *e, uint64_t leaf, uint64_t tcs)
{
	uint64_t off = (uint64_t)user_begin;

	return (struct user_regs){ .rax = leaf,
				   .rbx = e->base + (ENCLAVE_TCS + tcs) * PAGE,
				   .rcx = USER_BASE + ((uint64_t)user_aep - off),
				   .rip = USER_BASE + ((uint64_t)user_enter - off),
				   .rflags = percpu()->rflags ? percpu()->rflags : USER_RFLAGS };
}

uint64_t enclave_ask(struct enclave *e, uint64_t tcs, uint64_t call, uint64_t a, uint64_t b,
		     uint64_t c)
{
	struct user_regs regs = entry_of(e, SGX_EENTER, tcs);

	regs.rdi = call;
	regs.rsi = a;
	regs.rdx = b;
	regs.r8 = c;
	return enter(&regs);
}

bool enclave_recover(struct enclave *e, uint64_t tcs)
{
	struct user_regs handler = entry_of(e, SGX_EENTER, tcs), resume;

	if (enter(&handler) != 0xa || percpu()->fault.vector != NO_FAULT)
		return false;
	resume = entry_of(e, SGX_ERESUME, tcs);
	return enter(&resume) == 0xdead && percpu()->fault.vector == NO_FAULT;
}

void enclave_remove(struct enclave *e)
{
	for (uint64_t i = 0; i < e->heap; i++) {
		if (!e->heap_page[i])
			continue;
		unmap_user(heap_la(e, i));
		encls_ok(SGX_EREMOVE, 0, e->heap_page[i], 0);
		epc_free(e->heap_page[i]);
	}
	for (uint64_t i = 0; i < ENCLAVE_HEAP; i++) {
		if (!e->page[i])
			continue;
		unmap_user(e->base + i * PAGE);
		encls_ok(SGX_EREMOVE, 0, e->page[i], 0);
		epc_free(e->page[i]);
	}
	while (e->va_nr) {
		encls_ok(SGX_EREMOVE, 0, e->va[--e->va_nr], 0);
		epc_free(e->va[e->va_nr]);
	}
	encls_ok(SGX_EREMOVE, 0, e->secs, 0);
	epc_free(e->secs);
	percpu()->enclave = 0;
}
