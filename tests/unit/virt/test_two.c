/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Two processors of a guest and a host at once: short random programs of each, in random orders of their
 * instructions, where a processor may be in the middle of a leaf, or in the enclave, while the others go on.
 *
 * What the two processors did is then done once more, in the order in which it came to be done, by a guest that is left alone
 * and has no extensions: every outcome must be the same, and every page.  Now and then the machine stands still for an hour.
 *
 *   test_two [runs [seed]]
 */
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "cpu/cpu_priv.h"
#include "cpu/secs.h"
#include "lib/thread.h"
#include "virt/virt_priv.h"
#include "vm.h"

enum { SECS = 0, FIRST = 1, CHILDREN = 4, TCS = 4, VA = 20, SPARE = 21, SPARES = 3 };
enum { OPS = 10, HOST_OPS = 5, POINTS = 70, LOG = 16 * OPS, XSAVE_BYTES = 4096 };

#define LA(idx) (VM_BASE + (uint64_t)(idx)*SGX_PAGE_SIZE)

enum kind {
	OP_LEAF,
	OP_HOLD_SHARED,
	OP_HOLD_EXCLUSIVE,
	OP_HOLD_TRACK,
	OP_LETGO,
	OP_ENTER,
	OP_EXIT
};

struct op {
	enum kind kind;
	enum sgx_encls leaf;
	uint32_t page, at; /* and the point before which it does not come */
};

struct processor {
	struct op op[OPS];
	unsigned int nr, done;
	bool stepping;        /* the one under way waits for a page */
	bool exited;          /* by a conflict, at the logged place, and the VMM has not answered */
	unsigned int exit_at; /* in the log */
	struct cpu_exit exit;
	uint64_t told;
};

/* One machine, with what its processors have. */
struct side {
	struct vm vm;
	struct vm_evicted blob[2];
	bool out[2];
	struct epcm_entry *held[2];
	uint32_t held_page[2];
	struct cpu_lp *lp[2];
	uint8_t xsave[XSAVE_BYTES] __attribute__((aligned(64)));
};

static struct side main_side, alone;
static struct processor processor[2];
static struct {
	unsigned int cpu, op;
	bool void_; /* it was run again, later */
	struct cpu_outcome out;
} done_log[LOG];
static unsigned int done_nr, point;
static unsigned long codes[4];
static uint64_t rng, conflicts, reruns, held_nr, waits;
static char why[300];

static uint32_t pick(uint32_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)(rng >> 20) % n;
}

/* Instead of libc's, in all that this program is made of. */
int clock_gettime(clockid_t clock, struct timespec *ret_ts)
{
	static uint64_t calls;
	static time_t ahead;
	int r = (int)syscall(SYS_clock_gettime, clock, ret_ts);

	if (++calls % 23 == 0)
		ahead += 3600;
	ret_ts->tv_sec += ahead;
	return r;
}

static uint64_t la_of(uint32_t page) { return LA(page - FIRST); }

/* ---- one operation ---------------------------------------------------------------------------------------- */

static uint32_t walk(void *ctx, uint64_t la, unsigned int access, uint16_t *ret_error)
{
	struct vm *vm = ctx;
	uint32_t page = FIRST + (uint32_t)((la - VM_BASE) / SGX_PAGE_SIZE), nr;

	*ret_error = 0;
	if (vm->in_hook)
		return vm_sees(vm, page, &nr) ? nr : CPU_NO_PAGE;
	return vm_nr(vm, page);
}

/* EENTER or EEXIT; a page that is away is brought in, but from a hook: then it waits. */
static struct cpu_outcome enclu(struct side *s, unsigned int cpu, enum sgx_enclu leaf)
{
	const struct cpu_mmu mmu = { .walk = walk, .ctx = &s->vm };
	struct cpu_outcome out;

	for (;;) {
		struct cpu_regs regs = { .rax = leaf, .rflags = 2, .rcx = 0x401000 };

		regs.rbx = leaf == SGX_EENTER ? LA(TCS + 2 * cpu) : 0x400200;
		out = cpu_enclu(s->vm.w.cpu, s->lp[cpu], &mmu, &regs, s->xsave, XSAVE_BYTES);
		if (out.fault != CPU_PF || (out.pf_error & SGX_PFEC_P))
			break;
		s->vm.waits = s->vm.in_hook;
		if (s->vm.in_hook ||
		    vm_touch(&s->vm, FIRST + (uint32_t)((out.pf_addr - VM_BASE) / SGX_PAGE_SIZE)))
			break;
	}
	return out;
}

static struct cpu_outcome modify(struct side *s, const struct op *op)
{
	struct sgx_secinfo to = { .flags = op->leaf == SGX_EMODT ? SGX_SECINFO_TYPE(SGX_PT_TRIM)
								 : SGX_SECINFO_R };
	struct cpu_operands ops = { .leaf = op->leaf, .secinfo = &to };

	return vm_encls(&s->vm, &ops, op->page, VM_NONE, VM_NONE);
}

static struct cpu_outcome augment(struct side *s, const struct op *op)
{
	struct cpu_operands ops = { .leaf = SGX_EAUG, .pi.linaddr = la_of(op->page) };

	return vm_encls(&s->vm, &ops, op->page, SECS, VM_NONE);
}

static struct cpu_outcome leaf(struct side *s, unsigned int cpu, const struct op *op)
{
	struct cpu_outcome out = { .fault = CPU_NO_FAULT };

	switch (op->leaf) {
	case SGX_EWB:
		if (s->out[cpu])
			return out;
		out = vm_ewb(&s->vm, op->page, VA, 7 + cpu, &s->blob[cpu]);
		s->out[cpu] = cpu_ok(out);
		return out;
	case SGX_ELDU:
		if (!s->out[cpu])
			return out;
		out = vm_eldu(&s->vm, op->page, SECS, VA, 7 + cpu, &s->blob[cpu]);
		if (cpu_ok(out))
			s->out[cpu] = false;
		return out;
	case SGX_EMODT:
	case SGX_EMODPR:
		return modify(s, op);
	case SGX_EAUG:
		return augment(s, op);
	default:
		return vm_simple(&s->vm, op->leaf, op->page);
	}
}

/* The first part of some leaf: it has the page. What it found is told as the outcome. */
static struct cpu_outcome hold(struct side *s, unsigned int cpu, const struct op *op)
{
	struct cpu_outcome out = { .fault = CPU_NO_FAULT };
	struct epcm_entry *e;
	uint32_t nr = CPU_NO_PAGE;
	bool got;

	if (s->vm.in_hook) {
		s->vm.waits = !vm_sees(&s->vm, op->page, &nr);
		if (s->vm.waits)
			return out;
	} else if (vm_touch(&s->vm, op->page) == 0) {
		nr = vm_nr(&s->vm, op->page);
	}
	if (nr == CPU_NO_PAGE)
		return (struct cpu_outcome){ .fault = CPU_UD };
	e = &s->vm.w.cpu->epcm[nr];
	got = op->kind == OP_HOLD_SHARED      ? epcm_try_shared(e)
	      : op->kind == OP_HOLD_EXCLUSIVE ? epcm_try_exclusive(e) == EPCM_GOT
					      : epcm_try_extra(e, EPCM_LOCK_TRACK);
	s->held[cpu] = got ? e : NULL;
	s->held_page[cpu] = nr;
	out.eax = got;
	return out;
}

static void let_go(struct side *s, unsigned int cpu, enum kind kind)
{
	struct epcm_entry *e = s->held[cpu];

	s->held[cpu] = NULL;
	if (!e)
		return;
	if (kind == OP_HOLD_SHARED)
		epcm_put_shared(e);
	else if (kind == OP_HOLD_EXCLUSIVE)
		epcm_put_exclusive(e);
	else
		epcm_put_extra(e, EPCM_LOCK_TRACK);
}

static struct cpu_outcome execute(struct side *s, unsigned int cpu, const struct op *op)
{
	s->vm.waits = s->vm.conflicts = false;
	switch (op->kind) {
	case OP_LEAF:
		return leaf(s, cpu, op);
	case OP_LETGO:
		let_go(s, cpu, op[-1].kind);
		return (struct cpu_outcome){ .fault = CPU_NO_FAULT };
	case OP_ENTER:
		return enclu(s, cpu, SGX_EENTER);
	case OP_EXIT:
		return enclu(s, cpu, SGX_EEXIT);
	default:
		return hold(s, cpu, op);
	}
}

/* ---- processors and host ------------------------------------------------------------------------------------ */

static unsigned int log_done(unsigned int cpu, struct cpu_outcome out)
{
	struct processor *p = &processor[cpu];

	done_log[done_nr].cpu = cpu;
	done_log[done_nr].op = p->done++;
	done_log[done_nr].void_ = false;
	done_log[done_nr].out = out;
	return done_nr++;
}

/* The VMM, when the host has let go of the guest. */
static void answer(unsigned int cpu)
{
	struct processor *p = &processor[cpu];
	const struct op *op = &p->op[p->done - 1];

	p->exited = false;
	if (!virt_conflict_is_ours(main_side.vm.guest, &p->exit, &p->told)) {
		done_log[p->exit_at].out = virt_conflict_outcome(&p->exit, op->leaf);
		return;
	}
	reruns++;
	done_log[p->exit_at].void_ = true;
	p->done--;
}

static void processor_steps(unsigned int cpu)
{
	struct processor *p = &processor[cpu];
	struct vm *vm = &main_side.vm;

	while (!p->stepping && p->done <= p->nr) {
		struct cpu_outcome out;

		if (p->exited && vm->in_hook)
			return;
		if (p->exited)
			answer(cpu);
		if (p->done == p->nr || p->op[p->done].at > point || done_nr == LOG)
			return;
		p->stepping = !vm->in_hook;
		out = execute(&main_side, cpu, &p->op[p->done]);
		p->stepping = false;
		if (vm->in_hook && vm->waits && !vm->conflicts) {
			waits++;
			return;
		}
		held_nr += main_side.held[cpu] != NULL;
		p->exited = vm->in_hook && vm->conflicts;
		if (p->exited) {
			conflicts++;
			codes[vm->exit.code & 3]++;
			p->exit = vm->exit;
		}
		p->exit_at = log_done(cpu, out);
	}
}

static void steps(void)
{
	unsigned int first = pick(2);

	processor_steps(first);
	processor_steps(!first);
}

/* Pages that a processor works on stay where they are. */
static void check_held(void)
{
	for (unsigned int i = 0; i < 2 && !why[0]; i++)
		if (main_side.held[i] &&
		    main_side.held[i] != &main_side.vm.w.cpu->epcm[main_side.held_page[i]])
			snprintf(why, sizeof(why), "a page that is held has moved");
	if (!why[0])
		epc_audit(main_side.vm.w.epc, true, why, sizeof(why));
}

static void hook(void *ctx, const char *before)
{
	bool was = main_side.vm.in_hook;

	main_side.vm.in_hook = true;
	steps();
	main_side.vm.in_hook = was;
	point++;
}

static uint32_t some_page(void)
{
	return pick(4) == 0 ? SECS : pick(5) == 0 ? VA : FIRST + pick(CHILDREN);
}

static void host_act(void)
{
	struct vm *vm = &main_side.vm;
	struct virt_region r = {
		.slot = 0, .bytes = VM_PAGES * SGX_PAGE_SIZE, .hva = VM_HVA, .vepc = vm->file[0]
	};

	switch (pick(6)) {
	case 0:
		vm_touch(vm, some_page());
		break;
	case 1:
		r.gpa = vm->gpa[0] == VM_GPA ? 9 * VM_GPA : VM_GPA;
		if (virt_set_region(vm->guest, &r) == 0)
			vm->gpa[0] = r.gpa;
		break;
	default:
		epc_reclaim(vm->w.epc);
		break;
	}
}

/* ---- a run --------------------------------------------------------------------------------------------------- */

static void add_op(struct processor *p, enum kind kind, enum sgx_encls leaf, uint32_t page)
{
	uint32_t last = p->nr ? p->op[p->nr - 1].at : 0;

	p->op[p->nr++] = (struct op){
		.kind = kind, .leaf = leaf, .page = page, .at = last + pick(POINTS / OPS * 2)
	};
}

static void draw(struct processor *p, unsigned int cpu)
{
	static const enum sgx_encls on_child[] = { SGX_EBLOCK, SGX_EWB,    SGX_EWB,    SGX_EREMOVE,
						   SGX_EMODT,  SGX_EMODPR, SGX_EBLOCK, SGX_ELDU };

	*p = (struct processor){ 0 };
	while (p->nr + 2 < OPS) {
		uint32_t child = FIRST + pick(CHILDREN);

		switch (pick(9)) {
		case 0:
			add_op(p, OP_HOLD_SHARED + pick(2), 0, some_page());
			add_op(p, OP_LETGO, 0, 0);
			break;
		case 1:
			add_op(p, OP_HOLD_TRACK, 0, SECS);
			add_op(p, OP_LETGO, 0, 0);
			break;
		case 2:
			add_op(p, OP_ENTER, 0, 0);
			add_op(p, OP_EXIT, 0, 0);
			break;
		case 3:
			add_op(p, OP_LEAF, SGX_ETRACK, SECS);
			break;
		case 4:
			add_op(p, OP_LEAF, pick(2) ? SGX_EREMOVE : SGX_EMODT, SECS);
			break;
		case 5:
			add_op(p, OP_LEAF, SGX_EAUG, SPARE + pick(SPARES));
			break;
		default:
			add_op(p, OP_LEAF, on_child[pick(8)], child);
			break;
		}
	}
}

static bool add_tcs(struct side *s, uint32_t idx)
{
	struct sgx_secinfo secinfo = { .flags = FLAGS_TCS };
	struct cpu_operands ops = { .leaf = SGX_EADD, .pi.linaddr = LA(idx) };
	void *src = aligned_alloc(4096, 4096);
	bool ok;

	thread_tcs(src, idx);
	ops.pi.srcpge = src;
	ops.pi.secinfo = &secinfo;
	ok = cpu_ok(vm_encls(&s->vm, &ops, FIRST + idx, SECS, VM_NONE));
	free(src);
	return ok;
}

static bool build(struct side *s)
{
	bool ok = vm_ecreate(&s->vm, SECS) && vm_epa(&s->vm, VA);

	for (uint32_t i = 0; i < CHILDREN; i++)
		ok = ok && vm_eadd(&s->vm, SECS, FIRST + i, i, FLAGS_RW);
	for (uint32_t i = 0; i < 2; i++) {
		ok = ok && add_tcs(s, TCS + 2 * i) &&
		     vm_eadd(&s->vm, SECS, FIRST + TCS + 2 * i + 1, TCS + 2 * i + 1, FLAGS_RW);
		s->lp[i] = arena_alloc(s->vm.w.arena, sizeof(*s->lp[i]));
		s->out[i] = false;
		s->held[i] = NULL;
	}
	vm_touch(&s->vm, SECS);
	secs_page(s->vm.w.cpu, vm_nr(&s->vm, SECS))->arch.attributes.flags |= SGX_ATTR_INIT;
	atomic_store(&secs_page(s->vm.w.cpu, vm_nr(&s->vm, SECS))->own.initialized, 1);
	return ok;
}

static void end(struct side *s)
{
	for (unsigned int i = 0; i < 2; i++) {
		cpu_lp_reset(s->vm.w.cpu, s->lp[i]);
		arena_free(s->vm.w.arena, s->lp[i], sizeof(*s->lp[i]));
	}
	if (!vm_end(&s->vm, why + strlen(why), sizeof(why) - strlen(why)))
		strcat(why, " (in the end)");
}

static bool same(struct cpu_outcome a, struct cpu_outcome b)
{
	return a.fault == b.fault && a.eax == b.eax && a.rflags == b.rflags &&
	       a.pf_error == b.pf_error;
}

/* A cycle of the host's has seen one of the guest's through; see docs/guests.md. */
static bool was_tracked(struct cpu_outcome a, struct cpu_outcome b)
{
	return b.fault == CPU_NO_FAULT &&
	       (b.eax == SGX_NOT_TRACKED || b.eax == SGX_PREV_TRK_INCMPL) && !same(a, b);
}

static struct cpu_outcome replay_one(unsigned int cpu, const struct op *op, struct cpu_outcome want)
{
	struct cpu_outcome out = execute(&alone, cpu, op);
	uint32_t nr;

	if (!was_tracked(want, out))
		return out;
	if (out.eax == SGX_NOT_TRACKED) {
		/* This page alone: others that are blocked need not have been. */
		nr = vm_nr(&alone.vm, op->page);
		atomic_store(&alone.vm.w.cpu->epcm[nr].stamp, 0);
	} else {
		cpu_track_flush(alone.vm.w.cpu, vm_nr(&alone.vm, SECS));
	}
	return execute(&alone, cpu, op);
}

static void replay(void)
{
	for (unsigned int i = 0; i < done_nr && !why[0]; i++) {
		unsigned int cpu = done_log[i].cpu;
		const struct op *op = &processor[cpu].op[done_log[i].op];
		struct cpu_outcome out, have = done_log[i].out;

		if (done_log[i].void_)
			continue;
		out = replay_one(cpu, op, have);
		if (!same(have, out))
			snprintf(why, sizeof(why),
				 "step %u, processor %u: kind %u, leaf %u, page %u: fault %u code "
				 "%u "
				 "flags %lx error %x, and alone %u %u %lx %x",
				 i, cpu, op->kind, op->leaf, op->page, have.fault, have.eax,
				 (unsigned long)have.rflags, have.pf_error, out.fault, out.eax,
				 (unsigned long)out.rflags, out.pf_error);
	}
}

static void compare_pages(void)
{
	for (uint32_t page = 0; page < SPARE + SPARES && !why[0]; page++) {
		struct side *sides[2] = { &main_side, &alone };
		struct cpu_epcm e[2];
		uint32_t nr[2];

		for (int t = 0; t < 2; t++) {
			vm_touch(&sides[t]->vm, page);
			nr[t] = vm_nr(&sides[t]->vm, page);
			e[t] = cpu_epcm_read(sides[t]->vm.w.cpu, nr[t]);
		}
		if (e[0].valid != e[1].valid ||
		    (e[0].valid &&
		     (e[0].type != e[1].type || e[0].rwx != e[1].rwx || e[0].la != e[1].la ||
		      e[0].blocked != e[1].blocked || e[0].pending != e[1].pending ||
		      e[0].modified != e[1].modified)))
			snprintf(why, sizeof(why), "page %u is not the same", page);
		else if (e[0].valid && e[0].type == SGX_PT_REG && page < FIRST + CHILDREN &&
			 memcmp(cpu_bytes(main_side.vm.w.cpu, nr[0]),
				cpu_bytes(alone.vm.w.cpu, nr[1]), SGX_PAGE_SIZE))
			snprintf(why, sizeof(why), "page %u has other contents", page);
	}
}

static bool run(uint64_t seed)
{
	rng = (seed + 1) * 0x9e3779b97f4a7c15ull;
	why[0] = 0;
	done_nr = point = 0;
	vm_init(&main_side.vm, 20);
	vm_init_plain(&alone.vm, 64);
	if (!build(&main_side) || !build(&alone))
		snprintf(why, sizeof(why), "an enclave cannot be built");
	draw(&processor[0], 0);
	draw(&processor[1], 1);
	virt_set_hook(main_side.vm.guest, hook, NULL);
	for (unsigned int i = 0; i < HOST_OPS && !why[0]; i++) {
		steps();
		point++;
		host_act();
		check_held();
	}
	point = UINT32_MAX / 2;
	while (!why[0] && done_nr < LOG &&
	       (processor[0].done < processor[0].nr || processor[1].done < processor[1].nr ||
		processor[0].exited || processor[1].exited))
		steps();
	virt_set_hook(main_side.vm.guest, NULL, NULL);
	replay();
	compare_pages();
	for (unsigned int i = 0; i < 2; i++)
		if (!why[0] && (main_side.held[i] || alone.held[i]))
			snprintf(why, sizeof(why), "something is held in the end");
	/* Where something is wrong it may be held for good: the machines are left as they are. */
	if (!why[0]) {
		end(&main_side);
		end(&alone);
	}
	if (!why[0])
		return true;
	printf("# seed %lu: %s\n", (unsigned long)seed, why);
	return false;
}

int main(int argc, char **argv)
{
	unsigned long runs = argc > 1 ? strtoul(argv[1], NULL, 0) : 4000;
	unsigned long first = argc > 2 ? strtoul(argv[2], NULL, 0) : 0, bad = 0;

	for (unsigned long i = 0; i < runs && bad < 5; i++)
		bad += !run(first + i);
	TAP_CHECK(bad == 0,
		  "%lu programs of two processors, with the host and without: no difference", runs);
	TAP_CHECK(conflicts > runs / 20 && reruns > 0 && held_nr > runs && waits > runs &&
			  (runs < 4000 || (codes[0] && codes[1] && codes[2] && codes[3])),
		  "conflicts 0: %lu, 1: %lu, 2: %lu, 3: %lu, the host's: %lu; leaves that took "
		  "long: %lu, that waited: %lu",
		  codes[0], codes[1], codes[2], codes[3], (unsigned long)reruns,
		  (unsigned long)held_nr, (unsigned long)waits);
	return tap_done();
}
