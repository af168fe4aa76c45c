/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What can happen to a page of a guest whose EPC the host takes back, step by step: at each step that matters the guest
 * says so, and the host does what it does at that very moment (tests/vmm/test_scenarios.c).
 *
 * What is said does not depend on whether anybody listens: where the host does nothing it is the same.
 */
#include "kernel.h"

static struct enclave enclaves[8];
static uint8_t words[PAGE] __attribute__((aligned(4096)));
static volatile uint32_t stage[8]; /* how far each processor is */

#define WORDS_LA (USER_BASE + 0x300000)

static void evict(uint64_t page)
{
	call_vmm(NOW_EVICT, page);
}

static void evict_heap(const struct enclave *e)
{
	for (uint64_t i = 0; i < e->heap; i++)
		if (e->heap_page[i])
			evict(e->heap_page[i]);
}

static void evict_children(const struct enclave *e)
{
	evict_heap(e);
	for (uint64_t i = 0; i < ENCLAVE_HEAP; i++)
		if (e->page[i])
			evict(e->page[i]);
}

static void reach(uint32_t nr)
{
	__atomic_store_n(&stage[percpu()->id], nr, __ATOMIC_RELEASE);
}

static void await(uint64_t vcpu, uint32_t nr)
{
	while (__atomic_load_n(&stage[vcpu], __ATOMIC_ACQUIRE) < nr)
		relax();
}

/* ---- an enclave that is looked at ------------------------------------------------------------------ */

static void fill(struct enclave *e)
{
	uint64_t first = enclave_ask(e, 0, CALL_ACCEPT, ENCLAVE_HEAP, e->heap,
				     RW_FLAGS | SGX_SECINFO_PENDING);

	if (first == 0 && percpu()->fault.vector == NO_FAULT)
		(void)enclave_ask(e, 0, CALL_FILL, ENCLAVE_HEAP, e->heap, boot->args[ARG_SEED]);
	if (percpu()->fault.vector != NO_FAULT)
		end(93);
}

static struct enclave *build(uint64_t heap)
{
	struct enclave *e = &enclaves[percpu()->id];

	enclave_create(e, heap, 0);
	fill(e);
	return e;
}

static void hash(struct enclave *e, uint64_t first, uint64_t nr)
{
	uint64_t answer = enclave_ask(e, 0, CALL_HASH, ENCLAVE_HEAP + first, nr, 0);

	say("pages %u to %u: %x, ", first, first + nr - 1, answer);
	say_fault(&percpu()->fault);
}

static void remove_enclave(struct enclave *e)
{
	enclave_remove(e);
	say("removed\n");
}

static void say_word(const char *what, uint64_t epc)
{
	struct encls r = encls(SGX_EDBGRD, 0, epc, 0);

	say("%s: rax %x has %x, ", what, r.rax, r.rbx);
	say_fault(&percpu()->fault);
}

static struct evicted *evicted_new(struct enclave *e)
{
	struct evicted *to = memory_alloc(sizeof(*to));

	to->va = epc_alloc();
	encls_ok(SGX_EPA, SGX_PT_VA, to->va, 0);
	e->va[e->va_nr++] = to->va;
	return to;
}

static void say_ewb(const char *what, struct evicted *to, uint64_t page)
{
	struct pageinfo pi = { .srcpge = (uint64_t)to->page, .secinfo = (uint64_t)&to->pcmd };

	say_leaf(what, SGX_EWB, (uint64_t)&pi, page, to->va);
}

static void say_eldu(const char *what, const struct evicted *from, uint64_t la, uint64_t secs,
		     uint64_t page)
{
	struct pageinfo pi = { .linaddr = la,
			       .srcpge = (uint64_t)from->page,
			       .secinfo = (uint64_t)&from->pcmd,
			       .secs = secs };

	say_leaf(what, SGX_ELDU, (uint64_t)&pi, page, from->va);
}

/* ---- the scenarios ----------------------------------------------------------------------------------- */

/* 1 */
static void invalid(void)
{
	uint64_t page = epc_alloc();

	say_leaf("EPA", SGX_EPA, SGX_PT_VA, page, 0);
	say_leaf("EREMOVE", SGX_EREMOVE, 0, page, 0);
	evict(page);
	say_leaf("EREMOVE of nothing", SGX_EREMOVE, 0, page, 0);
	evict(page);
	say_leaf("EPA", SGX_EPA, SGX_PT_VA, page, 0);
	say_leaf("EREMOVE", SGX_EREMOVE, 0, page, 0);
}

/* 2 */
static void resident(void)
{
	struct sgx_secinfo trim = { .flags = SGX_SECINFO_TYPE(SGX_PT_TRIM) };
	struct enclave *e = build(4);
	uint64_t last = e->heap_page[3];

	evict(e->page[ENCLAVE_TCS]);
	say_word("TCS", e->page[ENCLAVE_TCS] + 16);
	evict(e->page[ENCLAVE_CODE]);
	say_word("code", e->page[ENCLAVE_CODE]);
	evict(e->heap_page[0]);
	say_word("data", e->heap_page[0]);
	say_leaf("EMODT", SGX_EMODT, (uint64_t)&trim, last, 0);
	evict(last);
	say_leaf("EMODT, again", SGX_EMODT, (uint64_t)&trim, last, 0);
	evict_children(e);
	hash(e, 0, 3);
	say_leaf("ETRACK", SGX_ETRACK, 0, e->secs, 0);
	evict(last);
	say("ACCEPT: %x\n", enclave_ask(e, 0, CALL_ACCEPT, ENCLAVE_HEAP + 3, 1,
					SGX_SECINFO_TYPE(SGX_PT_TRIM) | SGX_SECINFO_MODIFIED));
	evict(last);
	remove_enclave(e);
}

/* 3 */
static void guest_blocked(void)
{
	struct enclave *e = build(4);
	struct evicted *to = evicted_new(e);
	uint64_t page = e->heap_page[1];

	unmap_user(heap_la(e, 1));
	say_leaf("EBLOCK", SGX_EBLOCK, 0, page, 0);
	evict(page);
	say_leaf("EBLOCK, again", SGX_EBLOCK, 0, page, 0);
	evict(page);
	say_leaf("ETRACK", SGX_ETRACK, 0, e->secs, 0);
	evict(page);
	say_ewb("EWB", to, page);
	evict(page);
	say_eldu("ELDU", to, heap_la(e, 1), e->secs, page);
	evict(page);
	map_user(heap_la(e, 1), page, true, false);
	hash(e, 0, 4);
	remove_enclave(e);
}

/* 4 */
static void va(void)
{
	struct enclave *e = build(4);
	struct evicted *to = evicted_new(e);
	uint64_t page = e->heap_page[1];

	unmap_user(heap_la(e, 1));
	encls_ok(SGX_EBLOCK, 0, page, 0);
	encls_ok(SGX_ETRACK, 0, e->secs, 0);
	evict(to->va);
	say_ewb("EWB", to, page);
	evict(to->va);
	say_eldu("ELDU", to, heap_la(e, 1), e->secs, page);
	evict(to->va);
	say_eldu("ELDU, again", to, heap_la(e, 1), e->secs, epc_alloc());
	map_user(heap_la(e, 1), page, true, false);
	hash(e, 0, 4);
	remove_enclave(e);
}

/* 5 */
static void secs_alone(void)
{
	struct enclave *e = &enclaves[0];

	enclave_begin(e, epc_alloc());
	evict(e->secs);
	enclave_add(e, ENCLAVE_DATA, RW_FLAGS, words);
	say_leaf("EREMOVE of the SECS", SGX_EREMOVE, 0, e->secs, 0);
	say_leaf("of its page", SGX_EREMOVE, 0, e->page[ENCLAVE_DATA], 0);
	evict(e->secs);
	say_leaf("of the SECS", SGX_EREMOVE, 0, e->secs, 0);
}

/* 6 */
static void secs_virtual(void)
{
	struct enclave *e = build(6);

	evict_children(e);
	evict(e->secs);
	say_leaf("EREMOVE of the SECS", SGX_EREMOVE, 0, e->secs, 0);
	evict(e->secs);
	hash(e, 0, 6);
	evict_children(e);
	evict(e->secs);
	remove_enclave(e);
}

/* 7 */
static void secs_real(void)
{
	struct enclave *e = build(6);

	evict_heap(e);
	call_vmm(NOW_REFUSED, e->secs);
	hash(e, 0, 6);
	for (uint64_t i = 1; i < e->heap; i++)
		evict(e->heap_page[i]);
	call_vmm(NOW_REFUSED, e->secs);
	hash(e, 0, 6);
	remove_enclave(e);
}

/* 8 */
static void second_file(void)
{
	struct enclave *e = &enclaves[0];
	uint64_t secs = EPC_BASE + SECOND_REGION + 3 * PAGE;

	enclave_create_at(e, secs, 6, 0);
	fill(e);
	evict_children(e);
	evict(secs);
	hash(e, 0, 6);
	evict_children(e);
	say_leaf("EREMOVE of the SECS", SGX_EREMOVE, 0, secs, 0);
	evict(secs);
	hash(e, 0, 6);
	remove_enclave(e);
}

/* 9 */
static void contexts(void)
{
	struct enclave *e = &enclaves[0];
	struct evicted *to;
	uint64_t elsewhere = epc_alloc();

	enclave_begin(e, epc_alloc());
	to = evicted_new(e);
	call_vmm(NOW_UNNAMED, e->secs);
	evict(e->secs);
	say_leaf("EBLOCK of the SECS", SGX_EBLOCK, 0, e->secs, 0);
	call_vmm(NOW_NAMED, e->secs);
	say_ewb("EWB of the SECS", to, e->secs);
	say_eldu("ELDU elsewhere", to, 0, 0, elsewhere);
	call_vmm(NOW_UNNAMED, elsewhere);
	e->secs = elsewhere;
	enclave_add(e, ENCLAVE_DATA, RW_FLAGS, words);
	evict(e->page[ENCLAVE_DATA]);
	evict(e->secs);
	say_word("its page", e->page[ENCLAVE_DATA]);
	call_vmm(NOW_NAMED, e->secs);
	remove_enclave(e);
}

/* 10: another processor is in the enclave, so that a cycle does not end by itself. */
static void track(void)
{
	struct enclave *e = build(6);
	struct evicted *to = evicted_new(e);
	volatile uint64_t *word = (volatile uint64_t *)words;
	uint64_t page = e->heap_page[0];

	reach(1);
	while (!word[1])
		relax();
	unmap_user(heap_la(e, 0));
	say_leaf("EBLOCK", SGX_EBLOCK, 0, page, 0);
	evict(e->heap_page[1]);
	say_leaf("ETRACK", SGX_ETRACK, 0, e->secs, 0);
	say_leaf("ETRACK, again", SGX_ETRACK, 0, e->secs, 0);
	ipi_all();
	evict(e->heap_page[2]);
	say_leaf("ETRACK", SGX_ETRACK, 0, e->secs, 0);
	ipi_all();
	say_ewb("EWB", to, page);
	word[0] = 5;
	await(1, 1);
	/* Now it tracks, all the time. */
	for (int i = 0; i < 10; i++) {
		evict(e->heap_page[3]);
		evict(e->heap_page[4]);
		(void)encls(SGX_EDBGRD, 0, e->heap_page[3], 0);
		(void)encls(SGX_EDBGRD, 0, e->heap_page[4], 0);
	}
	reach(2);
	await(1, 2);
	say_eldu("ELDU", to, heap_la(e, 0), e->secs, page);
	map_user(heap_la(e, 0), page, true, false);
	hash(e, 0, 6);
	remove_enclave(e);
}

static void track_other(void)
{
	struct enclave *e = &enclaves[0];
	uint64_t refused = 0;

	map_user(WORDS_LA, (uint64_t)words, true, false);
	await(0, 1);
	percpu()->enclave = e;
	say("inside until %u, ", enclave_ask(e, 1, CALL_WAIT, WORDS_LA, 0, 0));
	say_fault(&percpu()->fault);
	percpu()->enclave = 0;
	reach(1);
	do {
		refused += encls(SGX_ETRACK, 0, e->secs, 0).rax != 0;
	} while (__atomic_load_n(&stage[0], __ATOMIC_ACQUIRE) < 2);
	say("ETRACKs refused: %u\n", refused);
	reach(2);
}

/* 11 */
static void remove_secs(void)
{
	struct enclave *e = build(4);
	struct evicted *to = evicted_new(e);

	evict_children(e);
	say_leaf("EREMOVE of the SECS", SGX_EREMOVE, 0, e->secs, 0);
	say_ewb("EWB of the SECS", to, e->secs);
	evict(e->secs);
	say_leaf("EREMOVE of the SECS", SGX_EREMOVE, 0, e->secs, 0);
	remove_enclave(e);
}

/* 12 */
static void moved(void)
{
	struct enclave *e = build(8);

	evict_children(e);
	evict(e->secs);
	hash(e, 0, 3);
	call_vmm(NOW_CHANGE, 0);
	while (!call_vmm(NOW_CHANGED, 0))
		relax();
	hash(e, 0, 8);
	evict_children(e);
	evict(e->secs);
	hash(e, 0, 8);
	remove_enclave(e);
}

/* 13 */
static void killed(void)
{
	struct enclave *e = build(12);

	evict_children(e);
	evict(e->secs);
	hash(e, 0, 4);
	evict(e->heap_page[2]);
	call_vmm(NOW_KILL, 0);
}

/* 14 */
static void underflow(void)
{
	struct enclave *e = build(5);

	evict_heap(e);
	call_vmm(NOW_UNDERFLOW, e->secs);
	hash(e, 0, 5);
	evict_children(e);
	evict(e->secs);
	hash(e, 0, 5);
	remove_enclave(e);
}

/* 15 */
static void tampered(void)
{
	struct enclave *e = build(4);

	evict(e->heap_page[2]);
	call_vmm(NOW_TAMPER, e->heap_page[2]);
	hash(e, 0, 2);
	(void)enclave_ask(e, 1, CALL_READ, heap_la(e, 2), 0, 0);
	say("READ: ");
	say_fault(&percpu()->fault);
	hash(e, 3, 1);
	say_word("EDBGRD", e->heap_page[2]);
	say_leaf("EREMOVE of the SECS", SGX_EREMOVE, 0, e->secs, 0);
	reach(1);
	await(1, 1);
}

static void tampered_other(void)
{
	struct enclave *e = build(4);

	await(0, 1);
	evict_children(e);
	hash(e, 0, 4);
	remove_enclave(e);
	reach(1);
}

/* 16: both processors. */
static void full(void)
{
	struct enclave *e = build(24);
	uint64_t other = percpu()->id ^ 1;

	reach(1);
	await(other, 1);
	if (percpu()->id == 0)
		call_vmm(NOW_FILL, 0);
	reach(2);
	await(other, 2);
	for (int i = 0; i < 4; i++)
		hash(e, 0, 24);
	reach(3);
	await(other, 3);
	if (percpu()->id == 0)
		call_vmm(NOW_EMPTY, 0);
	reach(4);
	await(other, 4);
	remove_enclave(e);
}

void script_scenario(void)
{
	static void (*const first[])(void) = { invalid,    resident,     guest_blocked, va,
					       secs_alone, secs_virtual, secs_real,     second_file,
					       contexts,   track,        remove_secs,   moved,
					       killed,     underflow,    tampered,      full };
	uint64_t i = boot->args[ARG_SCENARIO] - 1;

	if (i >= sizeof(first) / sizeof(first[0]))
		end(97);
	if (percpu()->id == 0)
		first[i]();
	else if (first[i] == track)
		track_other();
	else if (first[i] == tampered)
		tampered_other();
	else if (first[i] == full)
		full();
}
