/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Threads run a few leaves each on one EPC, at once.  Then an order of the leaves is looked for in which
 * the reference (ref.h), that does one after the other, ends each of them as it ended, and ends up in the
 * state that the processor is in.  A leaf that was over before another began comes first.
 *
 * A leaf that met another one may have ended as a conflict does, and then it has done nothing.
 *
 * Leaves are short, and seldom meet by themselves.  So in some rounds each thread steps through its leaves
 * (RFLAGS.TF), and gives its CPU away behind one instruction of some.
 *
 *   test_cpu_order [ROUNDS [SEED]]
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "base/arena.h"
#include "cpu/cpu_priv.h"
#include "cpu/epoch.h"
#include "cpu/secs.h"
#include "cpu/vmx.h"
#include "leaf/machine.h"
#include "lib/tap.h"
#include "sim/sim.h"

#define ROUNDS     1500u
#define THREAD_MAX 8
#define STEP_MAX   8
#define SPINS      20000u
#define NODES_MAX  30000u /* of one search */
#define SEEN_NR    (4 * NODES_MAX)

/* Enclave A runs, B is being built; each logical processor has a TCS, a frame and data. */
enum {
	A,
	B,
	VA,
	TCS,
	SSA = TCS + REF_LPS,
	DATA = SSA + REF_LPS,
	NEW = DATA + REF_LPS,
	B_PAGE,
	FREE
};

#define PENDING_NR 2u
#define BLOB_NR    4 /* out of EPC at the start: 2 of A's, and 2 of nobody's that are never there */
#define A_LA(page) (BASE(0) + (uint64_t)(page)*SGX_PAGE_SIZE)
#define B_A_LA(i)  (BASE(1) + (uint64_t)(i)*SGX_PAGE_SIZE)

enum kind { ENCLS, ENCLV, ENCLU, AEX, FLUSH, NOTHING };

/* One leaf of one thread, as it was asked for and as it ended. */
struct step {
	enum kind kind;
	struct ref_op op;
	struct cpu_operands ops;
	struct sgx_secinfo secinfo;
	uint64_t leaf, rbx, rcx, rdx; /* of ENCLU */
	int blob;

	uint64_t began, ended; /* tickets */
	struct cpu_outcome out;
	struct cpu_regs before, after;
	struct sgx_rdinfo rdinfo __attribute__((aligned(32)));
	uint64_t version; /* that EWB gave */
	bool met;         /* another thread's leaf was under way meanwhile */
};

struct runner {
	pthread_t thread;
	unsigned int i;
	struct step step[STEP_MAX];
	unsigned int nr;
};

struct sim sim;

static struct {
	pthread_barrier_t barrier;
	_Atomic unsigned int arrived;
	_Atomic uint64_t ticket;
	_Atomic bool over;
	bool stepping;
	unsigned int nr;
	struct runner runner[THREAD_MAX];
	struct sgx_sigstruct *sig; /* of B as it is at the start */
	uint8_t sig_hash[32];
	uint8_t xsave[576]; /* what AEX leaves in a frame, with nothing to save */
	unsigned long leaves, met, conflicts;
	unsigned int nodes;
	uint64_t seen[SEEN_NR];
} w;

/* The state that each round starts from. */
static struct {
	struct cpu cpu;
	struct epcm_entry epcm[REF_PAGES];
	uint8_t epc[REF_PAGES][SGX_PAGE_SIZE];
	struct ref ref;
} start;

/* ---- page tables: a page has one address, whatever comes of it */

int sim_walk(uint64_t la, unsigned int access)
{
	(void)access;
	return la >= BASE(0) && la < A_LA(RANGE) ? (int)((la - BASE(0)) / SGX_PAGE_SIZE) : REF_NONE;
}

static uint32_t mmu_walk(void *ctx, uint64_t la, unsigned int access, uint16_t *ret_pf_error)
{
	int page = sim_walk(la, access);

	(void)ctx;
	*ret_pf_error = 0;
	return page == REF_NONE ? CPU_NO_PAGE : (uint32_t)page;
}

static const struct cpu_mmu mmu = { .walk = mmu_walk };
static const struct cpu_vmx root = { .mode = CPU_VMX_ROOT };

static uint32_t number(int page) { return page == REF_NONE ? CPU_NO_PAGE : (uint32_t)page; }

/* ---- one instruction after the other */

#ifdef __SANITIZE_THREAD__
#define CAN_STEP false
#else
#define CAN_STEP true
#endif

static _Thread_local struct {
	uint32_t random, left; /* instructions to the next place where another thread may come in */
} stepper;

static uint32_t step_random(void)
{
	stepper.random = stepper.random * 1664525u + 1013904223u;
	return stepper.random >> 8;
}

/* Near, as a rule, but sometimes behind a cipher. */
static void step_far(void) { stepper.left = 1 + step_random() % (1u << step_random() % 11); }

/* When its time has come the thread stands back, and does the rest of the leaf at full speed, or steps on. */
static void trap(int sig, siginfo_t *info, void *uc)
{
	greg_t *flags = &((ucontext_t *)uc)->uc_mcontext.gregs[REG_EFL];

	(void)sig;
	(void)info;
	if (--stepper.left > 0)
		return;
	sched_yield();
	if (step_random() % 2)
		step_far();
	else
		*flags &= ~0x100l;
}

static void tf_on(void)
{
	__asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; orq $0x100, (%%rsp); popfq; lea "
			 "128(%%rsp), %%rsp" ::
				 : "memory", "cc");
}

static void tf_off(void)
{
	__asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; andq $~0x100, (%%rsp); popfq; lea "
			 "128(%%rsp), %%rsp" ::
				 : "memory", "cc");
}

/* ---- running a step */

static void run_encls(struct step *s)
{
	struct cpu_exit vm_exit;

	s->out = s->kind == ENCLS ? cpu_encls(sim.cpu, &root, &s->ops, &vm_exit)
				  : cpu_enclv(sim.cpu, &root, &s->ops, &vm_exit);
	if (s->kind == ENCLS && s->op.leaf == SGX_EWB && s->out.fault == CPU_NO_FAULT)
		s->version =
			__atomic_load_n((uint64_t *)sim.epc[VA] + s->op.slot, __ATOMIC_RELAXED);
}

static void run_enclu(struct step *s, unsigned int i)
{
	struct cpu_event event = { .vector = CPU_NO_FAULT };
	struct cpu_regs *regs = &sim.regs[i];

	regs->rax = s->leaf;
	regs->rbx = s->rbx;
	regs->rcx = s->rcx;
	regs->rdx = s->rdx;
	s->before = *regs;
	if (s->kind == ENCLU)
		s->out = cpu_enclu(sim.cpu, &sim.lp[i], &mmu, regs, NULL, 0);
	else if (sim.lp[i].in_enclave)
		s->out = cpu_aex(sim.cpu, &sim.lp[i], &mmu, regs, NULL, 0, &event);
	else
		s->kind = NOTHING;
	s->after = *regs;
}

static void run(struct runner *r)
{
	for (unsigned int k = 0; k < r->nr; k++) {
		struct step *s = &r->step[k];

		bool stepping = w.stepping && s->op.leaf != SGX_EINIT; /* half a million */

		s->began = atomic_fetch_add(&w.ticket, 1);
		if (stepping) {
			step_far();
			tf_on();
		}
		if (s->kind == ENCLS || s->kind == ENCLV)
			run_encls(s);
		else if (s->kind == FLUSH)
			cpu_track_flush(sim.cpu, A);
		else
			run_enclu(s, r->i);
		if (stepping)
			tf_off();
		s->ended = atomic_fetch_add(&w.ticket, 1);
	}
}

static void *runner_main(void *arg)
{
	struct runner *r = arg;

	for (;;) {
		pthread_barrier_wait(&w.barrier);
		if (atomic_load(&w.over))
			return NULL;
		/* Off together, as far as there are CPUs. */
		atomic_fetch_add(&w.arrived, 1);
		for (unsigned int n = 1; atomic_load(&w.arrived) < w.nr; n++)
			if (n % SPINS == 0)
				sched_yield();
		run(r);
		pthread_barrier_wait(&w.barrier);
	}
}

/* ---- drawing */

static int any_page(void)
{
	return one_in(3)   ? NEW + (int)rnd(2)
	       : one_in(2) ? FREE + (int)rnd(3)
			   : DATA + (int)rnd(REF_LPS);
}

/* Where a page comes in: frames are few, so that two threads want one. */
static int frame(void) { return one_in(8) ? any_page() : FREE + (int)rnd(4); }

static void draw_fill(struct step *s, unsigned int i, unsigned int k)
{
	struct ref_op *op = &s->op;

	op->page = frame();
	op->secs = one_in(16) ? VA : A;
	op->linaddr = A_LA(NEW + 2 + (int)rnd(2));
	if (op->leaf == SGX_EADD) {
		op->secs = B;
		op->linaddr = B_A_LA(i * STEP_MAX + k + 1);
		op->secinfo = SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_R;
	}
	if (op->leaf == SGX_ELDU || op->leaf == SGX_ELDB || op->leaf == SGX_ELDUC) {
		s->blob = (int)rnd(BLOB_NR);
		op->va = VA;
		op->slot = (unsigned int)s->blob;
		op->linaddr = sim.ref.blob[s->blob].page.la;
		op->secs = sim.ref.blob[s->blob].used ? A : REF_NONE;
	}
}

static void draw_encls(struct step *s, unsigned int i, unsigned int k)
{
	static const uint8_t leaves[] = {
		SGX_EADD,    SGX_EADD,   SGX_EAUG,   SGX_ELDU,    SGX_ELDB,   SGX_ELDU,
		SGX_ELDUC,   SGX_EPA,    SGX_EBLOCK, SGX_EBLOCK,  SGX_ETRACK, SGX_ETRACKC,
		SGX_EWB,     SGX_EWB,    SGX_EWB,    SGX_EMODPR,  SGX_EMODT,  SGX_EREMOVE,
		SGX_EEXTEND, SGX_EDBGRD, SGX_EDBGWR, SGX_ERDINFO, SGX_EINIT,
	};
	struct ref_op *op = &s->op;

	op->leaf = leaves[rnd(sizeof(leaves))];
	op->page = any_page();
	op->secinfo = rnd(2) | SGX_SECINFO_TYPE(one_in(2) ? SGX_PT_TRIM : SGX_PT_TCS);
	op->offset = rnd(8) * 256;
	op->value = sim.random;
	switch (op->leaf) {
	case SGX_EADD:
	case SGX_EAUG:
	case SGX_EPA:
	case SGX_ELDU:
	case SGX_ELDB:
	case SGX_ELDUC:
		draw_fill(s, i, k);
		break;
	case SGX_ETRACK:
	case SGX_ETRACKC:
		op->page = one_in(8) ? B : A;
		break;
	case SGX_EWB:
		s->blob = BLOB_NR + (int)(i + THREAD_MAX * k) % (REF_BLOBS - BLOB_NR);
		op->va = VA;
		op->slot = 16 + i * STEP_MAX + k;
		break;
	case SGX_EEXTEND:
		op->secs = B;
		op->page = B_PAGE;
		break;
	case SGX_EINIT:
		op->page = B;
		op->signer_let_in = true;
		op->sig_hash = w.sig_hash;
		break;
	}
}

static void draw_enclv(struct step *s)
{
	s->kind = ENCLV;
	s->op.leaf = rnd(3);
	s->op.page = s->op.secs = (int)rnd(2) ? A : B;
	s->op.value = sim.random;
}

/* SECINFOs lie in the data pages: write_data(). */
static void draw_enclu(struct step *s, unsigned int i)
{
	static const uint8_t leaves[] = { SGX_EENTER,  SGX_EENTER,      SGX_EENTER,  SGX_EEXIT,
					  SGX_ERESUME, SGX_EACCEPT,     SGX_EACCEPT, SGX_EMODPE,
					  SGX_EMODPE,  SGX_EACCEPTCOPY, SGX_EDECCSSA };

	s->kind = one_in(8) ? AEX : ENCLU;
	s->leaf = leaves[rnd(sizeof(leaves))];
	s->rbx = A_LA(DATA + (int)rnd(REF_LPS)) + rnd(8) * 64;
	s->rcx = A_LA(one_in(2) ? NEW : any_page());
	s->rdx = A_LA(DATA + (int)rnd(REF_LPS));
	if (s->leaf == SGX_EENTER || s->leaf == SGX_ERESUME) {
		s->rbx = A_LA(TCS + (one_in(4) ? rnd(REF_LPS) : i));
		s->rcx = AEP_LA;
	} else if (s->leaf == SGX_EEXIT) {
		s->rbx = AEP_LA;
	}
}

/* The operands as the processor wants them. */
static void fill_operands(struct step *s)
{
	const struct ref_op *op = &s->op;
	bool out = op->leaf == SGX_EWB;

	s->secinfo = (struct sgx_secinfo){ .flags = op->secinfo };
	s->ops = (struct cpu_operands){
		.leaf = op->leaf,
		.page = number(op->page),
		.offset = op->offset,
		.pi = { .linaddr = op->linaddr, .secs = number(op->secs) },
		.secinfo = &s->secinfo,
		.rdinfo = &s->rdinfo,
		.sigstruct = w.sig,
		.einittoken = &sim.token,
		.lepubkeyhash = sim.signer,
		.enclavecontext = &op->value,
		.secs = number(op->secs),
		.va = number(op->va),
		.slot = op->slot,
		.value = op->value,
	};
	if (op->leaf == SGX_EADD) {
		s->ops.pi.srcpge = sim.page;
		s->ops.pi.secinfo = &s->secinfo;
	} else if (op->leaf != SGX_EAUG) {
		s->ops.pi.pcmd = &sim.blob[s->blob].pcmd;
		s->ops.pi.srcpge = out ? NULL : sim.blob[s->blob].cipher;
		s->ops.out = sim.blob[s->blob].cipher;
	}
}

static void draw(struct runner *r)
{
	r->nr = 1 + rnd(w.nr > 4 ? 3 : w.nr > 2 ? 5 : STEP_MAX);
	for (unsigned int k = 0; k < r->nr; k++) {
		struct step *s = &r->step[k];

		*s = (struct step){ .kind = ENCLS, .op = { .secs = REF_NONE, .va = REF_NONE } };
		s->op.src = sim.page;
		s->op.vmx = true;
		if (r->i < REF_LPS && one_in(2))
			draw_enclu(s, r->i);
		else if (one_in(12))
			draw_enclv(s);
		else if (one_in(12))
			s->kind = FLUSH;
		else
			draw_encls(s, r->i, k);
		s->op.blob = s->blob;
		fill_operands(s);
	}
}

/* ---- the reference does a step */

static void to_ref(const struct cpu_regs *regs, struct ref_regs *to)
{
	memcpy(to->gpr, regs, sizeof(to->gpr));
	to->rflags = regs->rflags;
	to->rip = regs->rip;
	to->fs = regs->fs_base;
	to->gs = regs->gs_base;
}

static bool same_out(struct ref_out want, struct cpu_outcome got)
{
	if (want.fault != got.fault)
		return false;
	return want.fault != REF_OK || (want.eax == got.eax && want.flags == got.rflags);
}

static bool do_encls(struct ref *ref, const struct step *s)
{
	struct ref_result res = { 0 };
	struct ref_out out =
		s->kind == ENCLS ? ref_encls(ref, &s->op, &res) : ref_enclv(ref, &s->op);

	if (!same_out(out, s->out))
		return false;
	if (out.fault != REF_OK || s->kind == ENCLV)
		return true;
	if (s->op.leaf == SGX_ERDINFO && out.eax == 0)
		return memcmp(&res.rdinfo, &s->rdinfo, sizeof(s->rdinfo)) == 0;
	if (s->op.leaf == SGX_EDBGRD && out.eax == 0)
		return res.value == s->ops.value;
	if (s->op.leaf == SGX_EWB && out.eax == 0) {
		ref->blob[s->blob].version = s->version;
		memcpy(ref->page[VA].bytes + (size_t)s->op.slot * 8, &s->version, 8);
	}
	return true;
}

static bool do_enclu(struct ref *ref, const struct step *s, unsigned int i)
{
	struct ref_lp *lp = &ref->lp[i];
	uint64_t ssa_la = lp->ssa_la;
	struct ref_regs regs, after;
	struct ref_out out;
	uint8_t *frame_bytes;

	to_ref(&s->before, &regs);
	if (s->kind == ENCLU)
		out = ref_enclu(ref, lp, &regs);
	else
		out = ref_aex(ref, lp, &regs, CPU_NO_FAULT);
	to_ref(&s->after, &after);
	if (!same_out(out, s->out) || memcmp(&regs, &after, sizeof(regs)))
		return false;
	if (s->kind == AEX && out.fault == REF_OK) {
		frame_bytes = ref->page[sim_walk(ssa_la, 0)].bytes;
		memcpy(frame_bytes, w.xsave, 416);
		memcpy(frame_bytes + 512, w.xsave + 512, 64);
	}
	return true;
}

static bool do_step(struct ref *ref, const struct step *s, unsigned int i)
{
	switch (s->kind) {
	case ENCLS:
	case ENCLV:
		return do_encls(ref, s);
	case ENCLU:
	case AEX:
		return do_enclu(ref, s, i);
	case FLUSH:
		for (int k = 0; k < REF_LPS; k++)
			if (ref->lp[k].inside && ref->lp[k].secs == A)
				ref->lp[k].entry_epoch = ref->page[A].encl.epoch;
		return true;
	default:
		return true;
	}
}

/* What the manual says of a leaf that met another; pins make the rest (docs/sdm-map.md, 1 and 3). */
static bool may_be_conflict(const struct step *s)
{
	if (s->kind == FLUSH || s->kind == NOTHING || !s->met)
		return false;
	if (s->out.fault != CPU_NO_FAULT)
		return s->out.fault == CPU_GP || (s->kind != ENCLS && s->out.fault == CPU_PF);
	switch (s->out.eax) {
	case SGX_EPC_PAGE_CONFLICT:
	case SGX_ENTRYEPOCH_LOCKED:
		return true;
	case SGX_NOT_TRACKED:
		return s->kind == ENCLU || s->op.leaf == SGX_EWB;
	case SGX_PAGE_NOT_BLOCKED:
		return s->kind == ENCLS && s->op.leaf == SGX_EWB;
	case SGX_ENCLAVE_ACT:
		return s->kind == ENCLS && s->op.leaf == SGX_EREMOVE;
	default:
		return false;
	}
}

/* ---- looking for an order */

/* The measurement, and who is tracked: what state_differs() leaves out. */
static bool same_hidden(const struct ref *ref)
{
	for (int i = 0; i < REF_PAGES; i++) {
		const struct ref_page *p = &ref->page[i];
		const struct epcm_entry *e = &sim.cpu->epcm[i];
		const struct secs_page *secs;

		if (p->valid && p->type == SGX_PT_SECS) {
			struct sha256 got = ((const struct secs_page *)sim.epc[i])->own.measurement;
			SHA256_CTX want = p->encl.hash;
			uint8_t a[32], b[32];

			sha256_final(&got, a);
			SHA256_Final(b, &want);
			if (memcmp(a, b, 32))
				return false;
		} else if (p->valid && ref_is_child(p)) {
			secs = (const struct secs_page *)sim.epc[p->secs];
			if (epoch_tracked(&secs->own.track, atomic_load(&e->stamp)) !=
			    ref_tracked(ref, p))
				return false;
		}
	}
	return true;
}

static bool end_agrees(const struct ref *ref)
{
	sim.ref = *ref;
	return !state_differs(REF_NONE, REF_NONE, true) && same_hidden(ref);
}

/* Nobody who has yet to come was over before @s began. */
static bool may_be_next(const struct step *s, const unsigned int done[THREAD_MAX])
{
	for (unsigned int i = 0; i < w.nr; i++)
		if (done[i] < w.runner[i].nr && w.runner[i].step[done[i]].ended < s->began)
			return false;
	return true;
}

/* Orders that come to the same are looked at once. */
static uint64_t digest_of(const struct ref *ref, const unsigned int done[THREAD_MAX])
{
	const uint64_t *word = (const uint64_t *)ref;
	uint64_t hash = 1;

	static_assert(sizeof(*ref) % 8 == 0, "words");
	for (size_t i = 0; i < sizeof(*ref) / 8; i++)
		hash = (hash ^ word[i]) * 0x9e3779b97f4a7c15ull ^ hash >> 29;
	for (unsigned int i = 0; i < w.nr; i++)
		hash = (hash ^ done[i]) * 0x9e3779b97f4a7c15ull ^ hash >> 29;
	return hash | 1;
}

static bool seen_before(uint64_t hash)
{
	uint64_t i = hash % SEEN_NR;

	while (w.seen[i] && w.seen[i] != hash)
		i = (i + 1) % SEEN_NR;
	if (w.seen[i])
		return true;
	w.seen[i] = hash;
	return false;
}

static bool search(const struct ref *ref, unsigned int done[THREAD_MAX])
{
	bool all = true, found = false;
	struct ref *next;

	if (seen_before(digest_of(ref, done)))
		return false;
	next = malloc(sizeof(*next));
	if (!next || w.nodes++ == NODES_MAX)
		abort(); /* neither found nor ruled out */
	for (unsigned int i = 0; i < w.nr && !found; i++) {
		const struct step *s = &w.runner[i].step[done[i]];

		if (done[i] == w.runner[i].nr)
			continue;
		all = false;
		if (!may_be_next(s, done))
			continue;
		done[i]++;
		*next = *ref;
		found = do_step(next, s, i) && search(next, done);
		if (!found && may_be_conflict(s))
			found = search(ref, done);
		done[i]--;
	}
	free(next);
	return found || (all && end_agrees(ref));
}

static void mark_met(void)
{
	for (unsigned int i = 0; i < w.nr; i++)
		for (unsigned int k = 0; k < w.runner[i].nr; k++) {
			struct step *s = &w.runner[i].step[k];

			for (unsigned int j = 0; j < w.nr; j++)
				for (unsigned int m = 0; m < w.runner[j].nr && j != i; m++)
					s->met |= w.runner[j].step[m].began < s->ended &&
						  w.runner[j].step[m].ended > s->began;
			w.leaves++;
			w.met += s->met;
			w.conflicts += may_be_conflict(s);
		}
}

static void print_history(void)
{
	static const char *const kind[] = { "ENCLS", "ENCLV", "ENCLU", "AEX", "flush", "nothing" };

	for (unsigned int i = 0; i < w.nr; i++)
		for (unsigned int k = 0; k < w.runner[i].nr; k++) {
			const struct step *s = &w.runner[i].step[k];

			printf("# thread %u, %lu to %lu: %s %#lx page %d secs %d slot %u la %#lx "
			       "rbx %#lx "
			       "rcx %#lx: fault %u code %u%s\n",
			       i, (unsigned long)s->began, (unsigned long)s->ended, kind[s->kind],
			       (unsigned long)(s->kind == ENCLU ? s->leaf : s->op.leaf), s->op.page,
			       s->op.secs, s->op.slot, (unsigned long)s->op.linaddr,
			       (unsigned long)s->rbx, (unsigned long)s->rcx, s->out.fault,
			       s->out.eax, s->met ? ", met another" : "");
		}
}

/* ---- the start, and rounds */

static bool both(struct ref_op op, const struct cpu_operands *ops)
{
	struct cpu_operands copy = *ops;
	struct ref_result res;
	struct cpu_exit vm_exit;

	copy.leaf = op.leaf;
	copy.page = number(op.page);
	copy.pi.secs = copy.secs = number(op.secs);
	copy.pi.linaddr = op.linaddr;
	op.vmx = true;
	return ref_is_ok(ref_encls(&sim.ref, &op, &res)) &&
	       cpu_ok(cpu_encls(sim.cpu, &root, &copy, &vm_exit));
}

static bool create(int page, uint64_t base)
{
	const struct ref_op op = {
		.leaf = SGX_ECREATE, .page = page, .secs = REF_NONE, .src = &sim.secs
	};

	memset(&sim.secinfo[0], 0, sizeof(sim.secinfo[0]));
	memset(&sim.secs, 0, sizeof(sim.secs));
	sim.secs.size = 0x40 * SGX_PAGE_SIZE;
	sim.secs.baseaddr = base;
	sim.secs.ssa_frame_size = 1;
	sim.secs.attributes.flags = SGX_ATTR_MODE64BIT | SGX_ATTR_DEBUG;
	sim.secs.attributes.xfrm = 3;
	return both(op, &(struct cpu_operands){
				.pi = { .srcpge = &sim.secs, .secinfo = &sim.secinfo[0] } });
}

static bool add(int page, int secs, uint64_t la, uint64_t flags)
{
	const struct ref_op op = { .leaf = SGX_EADD,
				   .page = page,
				   .secs = secs,
				   .linaddr = la,
				   .secinfo = flags,
				   .src = sim.page };

	sim.secinfo[0].flags = flags;
	return both(op, &(struct cpu_operands){
				.pi = { .srcpge = sim.page, .secinfo = &sim.secinfo[0] } });
}

static bool init(int page, struct padded_sig *sig, uint8_t hash[32])
{
	static const uint8_t header[16] = { 6, 0, 0, 0, 0xe1, 0, 0, 0, 0, 0, 1 };
	static const uint8_t header2[16] = { 1, 1, 0, 0, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 1 };
	struct ref_op op = {
		.leaf = SGX_EINIT, .page = page, .secs = REF_NONE, .signer_let_in = true
	};
	SHA256_CTX ctx = sim.ref.page[page].encl.hash;

	memcpy(sig->sig.header, header, 16);
	memcpy(sig->sig.header2, header2, 16);
	sig->sig.exponent = 3;
	sig->sig.attributes.flags = SGX_ATTR_MODE64BIT;
	sig->sig.attributemask.flags = ~SGX_ATTR_DEBUG;
	sig->sig.isvsvn = 4;
	SHA256_Final(sig->sig.enclavehash, &ctx);
	memcpy(hash, sig->sig.enclavehash, 32);
	machine_sign(&sig->sig);
	machine_signer(&sig->sig, sim.signer);
	op.sig_hash = hash;
	return page == B || both(op, &(struct cpu_operands){ .sigstruct = &sig->sig,
							     .einittoken = &sim.token,
							     .lepubkeyhash = sim.signer });
}

/* Eight SECINFOs: what EACCEPT may be asked for, and permissions for EMODPE and EACCEPTCOPY. */
static void write_data(void)
{
	const uint64_t reg = SGX_SECINFO_TYPE(SGX_PT_REG), rw = SGX_SECINFO_R | SGX_SECINFO_W;
	const uint64_t flags[8] = {
		reg | rw | SGX_SECINFO_PENDING,
		reg | rw | SGX_SECINFO_PENDING,
		reg | SGX_SECINFO_R | SGX_SECINFO_PR,
		reg | SGX_SECINFO_PR,
		SGX_SECINFO_TYPE(SGX_PT_TRIM) | SGX_SECINFO_MODIFIED,
		reg | rw,
		reg | SGX_SECINFO_RWX,
		reg | SGX_SECINFO_R,
	};

	memset(sim.page, 0, sizeof(sim.page));
	for (unsigned int i = 0; i < 8; i++)
		memcpy(sim.page + (size_t)i * 64, &flags[i], 8);
}

static bool build_a(void)
{
	const uint64_t rw = SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_R | SGX_SECINFO_W;
	bool ok = create(A, BASE(0));

	for (int i = 0; i < REF_LPS; i++) {
		struct sgx_tcs tcs = { .ossa = A_LA(SSA + i) - BASE(0), .nssa = 1 };

		memset(sim.page, 0, sizeof(sim.page));
		memcpy(sim.page, &tcs, sizeof(tcs));
		ok &= add(TCS + i, A, A_LA(TCS + i), SGX_SECINFO_TYPE(SGX_PT_TCS));
		memset(sim.page, 0, sizeof(sim.page));
		ok &= add(SSA + i, A, A_LA(SSA + i), rw);
		write_data();
		ok &= add(DATA + i, A, A_LA(DATA + i), rw);
	}
	return ok && init(A, &sim.sig[0], w.sig_hash);
}

/* Two pages of A are out, one is PENDING; B has a page, and a signature that fits it as it is. */
static bool build(void)
{
	struct ref_op op = { .leaf = SGX_EPA, .page = VA, .secs = REF_NONE };
	bool ok = create(B, BASE(1)) && build_a() && both(op, &(struct cpu_operands){ 0 });

	ok &= add(B_PAGE, B, B_A_LA(0), SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_R);
	ok &= init(B, &sim.sig[1], w.sig_hash);
	w.sig = &sim.sig[1].sig;
	for (int i = 0; i < 3 && ok; i++) {
		op = (struct ref_op){ .leaf = SGX_EAUG, .page = i < 2 ? FREE : NEW, .secs = A };
		op.linaddr = A_LA(i < 2 ? NEW + 2 + i : NEW);
		ok &= both(op, &(struct cpu_operands){ 0 });
		if (i == 2)
			break;
		op = (struct ref_op){ .leaf = SGX_EBLOCK, .page = FREE, .secs = REF_NONE };
		ok &= both(op, &(struct cpu_operands){ 0 });
		op = (struct ref_op){ .leaf = SGX_ETRACK, .page = A, .secs = REF_NONE };
		ok &= both(op, &(struct cpu_operands){ 0 });
		op = (struct ref_op){ .leaf = SGX_EWB, .page = FREE, .secs = REF_NONE, .va = VA };
		op.slot = (unsigned int)(op.blob = i);
		ok &= both(op, &(struct cpu_operands){ .pi.pcmd = &sim.blob[i].pcmd,
						       .out = sim.blob[i].cipher,
						       .va = VA,
						       .slot = op.slot });
		memcpy(&sim.ref.blob[i].version, sim.epc[VA] + (size_t)i * 8, 8);
		memcpy(sim.ref.page[VA].bytes + (size_t)i * 8, sim.epc[VA] + (size_t)i * 8, 8);
	}
	return ok;
}

/* What an AEX with nothing to save writes. */
static bool learn_xsave(void)
{
	struct cpu_event event = { .vector = CPU_NO_FAULT };
	struct cpu_regs regs = { .rax = SGX_EENTER, .rbx = A_LA(TCS), .rcx = AEP_LA };
	struct cpu_lp lp = { 0 };
	bool ok = cpu_ok(cpu_enclu(sim.cpu, &lp, &mmu, &regs, NULL, 0)) &&
		  cpu_ok(cpu_aex(sim.cpu, &lp, &mmu, &regs, NULL, 0, &event));

	memcpy(w.xsave, sim.epc[SSA], sizeof(w.xsave));
	return ok;
}

static void keep(void)
{
	memcpy(&start.cpu, sim.cpu, sizeof(start.cpu));
	memcpy(start.epcm, sim.cpu->epcm, sizeof(start.epcm));
	memcpy(start.epc, sim.epc, sizeof(start.epc));
	start.ref = sim.ref;
}

static void restore(void)
{
	memcpy(sim.cpu, &start.cpu, sizeof(start.cpu));
	memcpy(sim.cpu->epcm, start.epcm, sizeof(start.epcm));
	memcpy(sim.epc, start.epc, sizeof(start.epc));
	sim.ref = start.ref;
	for (int i = 0; i < REF_LPS; i++) {
		sim.lp[i] = (struct cpu_lp){ 0 };
		sim.regs[i] = (struct cpu_regs){ .rflags = 0x202, .rip = 0x400500 };
	}
	memset(sim.page, 0x5a, sizeof(sim.page));
}

static void prepare(void)
{
	struct cpu_config config;

	machine_config(&config);
	config.page_nr = REF_PAGES;
	config.caps |= SGX_CPUID_ENCLS_C | SGX_CPUID_ENCLV;
	config.xfrm_mask = 3;
	config.misc_mask = 0;
	sim.cpu = cpu_create(&config);
	sim.epc = shared_map((size_t)REF_PAGES * SGX_PAGE_SIZE);
	TAP_MUST(sim.cpu && sim.epc, "a processor with %u pages", REF_PAGES);
	for (uint32_t i = 0; i < REF_PAGES; i++)
		cpu_set_bytes(sim.cpu, i, sim.epc[i]);
	sim.ref.walk = sim_walk;
	sim.ref.next_eid = 1;
	sim.ref.held = sim.ref.tracking = REF_NONE;
	TAP_MUST(build(), "two enclaves");
	keep();
	TAP_MUST(learn_xsave(), "an exit");
	restore();
}

static bool round_ok(void)
{
	unsigned int done[THREAD_MAX] = { 0 };

	restore();
	for (unsigned int i = 0; i < w.nr; i++)
		draw(&w.runner[i]);
	atomic_store(&w.arrived, 0);
	pthread_barrier_wait(&w.barrier);
	pthread_barrier_wait(&w.barrier);
	mark_met();
	w.nodes = 0;
	memset(w.seen, 0, sizeof(w.seen));
	if (search(&start.ref, done))
		return true;
	print_history();
	return false;
}

static void rounds(unsigned int threads, unsigned int nr, bool stepping)
{
	const char *how = stepping ? "threads that step" : "threads";
	bool ok = true;
	unsigned int n;

	w.nr = threads;
	w.stepping = stepping;
	w.leaves = w.met = w.conflicts = 0;
	atomic_store(&w.over, false);
	pthread_barrier_init(&w.barrier, NULL, threads + 1);
	for (unsigned int i = 0; i < threads; i++) {
		w.runner[i].i = i;
		ok &= !pthread_create(&w.runner[i].thread, NULL, runner_main, &w.runner[i]);
	}
	TAP_MUST(ok, "%u threads are made", threads);
	for (n = 0; n < nr && ok; n++)
		ok = round_ok();
	atomic_store(&w.over, true);
	pthread_barrier_wait(&w.barrier);
	for (unsigned int i = 0; i < threads; i++)
		pthread_join(w.runner[i].thread, NULL);
	pthread_barrier_destroy(&w.barrier);
	printf("# %u rounds, %lu leaves, %lu met another, %lu ended as conflicts do\n", n, w.leaves,
	       w.met, w.conflicts);
	TAP_CHECK(ok, "%u %s: each end is one that some order of the leaves gives", threads, how);
	if (stepping)
		TAP_CHECK(w.met > 0, "%u %s: leaves met each other", threads, how);
}

int main(int argc, char **argv)
{
	unsigned int nr = argc > 1 ? (unsigned int)strtoul(argv[1], NULL, 0) : ROUNDS;
	unsigned long seed = argc > 2 ? strtoul(argv[2], NULL, 0) : 1;

	const struct sigaction action = { .sa_sigaction = trap, .sa_flags = SA_SIGINFO };

	sim.random = seed * 0x9e3779b97f4a7c15ull + 1;
	prepare();
	sigaction(SIGTRAP, &action, NULL);
	for (unsigned int threads = 2; threads <= THREAD_MAX; threads *= 2) {
		rounds(threads, nr / threads * 2, false);
		if (CAN_STEP)
			rounds(threads, nr / threads / 8, true);
	}
	munmap(sim.epc, (size_t)REF_PAGES * SGX_PAGE_SIZE);
	cpu_destroy(sim.cpu);
	return tap_done();
}
