/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A guest that is repaired while it is at work: its processors go in and out of an enclave, by EEXIT or because
 * their threads end, and files with children of that enclave are closed; all the time somebody seems to have died with the
 * guest's lock held.  Nobody may lose its count or its pin, or keep one, and the SECS must know its children.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "cpu/cpu_priv.h"
#include "cpu/secs.h"
#include "lib/thread.h"
#include "virt/virt_priv.h"
#include "vm.h"

enum { EPC_PAGES = 256, THREADS = 3, FILES = 100, REPAIRS = 2000, XSAVE_BYTES = 4096 };
enum { SECS = 0, FIRST = 1, EACH = 2, CLOSED = 100, CLOSED_PAGES = 128 };

#define LA(idx) (VM_BASE + (uint64_t)(idx)*SGX_PAGE_SIZE)
/* Of the file that comes and goes. */
#define GPA_CLOSED  (16 * VM_GPA)
#define PAGE_CLOSED (VM_SECOND + (uint32_t)((GPA_CLOSED - 2 * VM_GPA) / SGX_PAGE_SIZE))

struct processor {
	pthread_t thread;
	struct virt_vcpu vcpu;
	struct cpu_lp *lp;
	struct cpu_regs regs;
	uint8_t *xsave;
	uint32_t tcs; /* the enclave's page */
	unsigned int bad;
};

static struct vm vm;
static atomic_bool over;
static atomic_uint files; /* that have been closed */

/* ---- in and out ----------------------------------------------------------------------------------------- */

static bool walk(void *ctx, uint64_t la, bool write, uint64_t *ret_gpa, uint16_t *ret_error)
{
	*ret_error = 0;
	*ret_gpa = vm_gpa(&vm, FIRST + (uint32_t)((la - VM_BASE) / SGX_PAGE_SIZE));
	return true;
}

static struct cpu_outcome step(void *ctx, struct cpu *cpu, const struct cpu_mmu *mmu)
{
	struct processor *p = ctx;
	struct cpu_regs regs = p->regs;
	struct cpu_outcome out = cpu_enclu(cpu, p->lp, mmu, &regs, p->xsave, XSAVE_BYTES);

	if (out.fault == CPU_NO_FAULT)
		p->regs = regs;
	return out;
}

static bool enclu(struct processor *p, enum sgx_enclu leaf, uint64_t rbx, uint64_t rcx)
{
	struct cpu_outcome out;

	p->regs.rax = leaf;
	p->regs.rbx = rbx;
	p->regs.rcx = rcx;
	return virt_enclu(&p->vcpu, step, p, &out) == 0 && out.fault == CPU_NO_FAULT;
}

static void *processor_main(void *arg)
{
	struct processor *p = arg;

	for (unsigned int i = 0; !atomic_load(&over) && !p->bad; i++) {
		p->bad += !enclu(p, SGX_EENTER, LA(p->tcs), 0x401000);
		if (i % 3 == 0)
			virt_lp_reset(vm.guest, p->lp);
		else
			p->bad += !enclu(p, SGX_EEXIT, 0x400200, 0);
		p->bad += p->lp->in_enclave;
		sched_yield();
	}
	return NULL;
}

static bool add_tcs(uint32_t idx)
{
	struct sgx_secinfo secinfo = { .flags = FLAGS_TCS };
	struct cpu_operands ops = { .leaf = SGX_EADD };
	void *src = aligned_alloc(4096, 4096);
	bool ok;

	thread_tcs(src, idx);
	ops.pi.linaddr = LA(idx);
	ops.pi.srcpge = src;
	ops.pi.secinfo = &secinfo;
	ok = cpu_ok(vm_encls(&vm, &ops, FIRST + idx, SECS, VM_NONE));
	free(src);
	return ok;
}

static void processor_init(struct processor *p, uint32_t tcs)
{
	struct virt_policy policy;

	virt_policy_host(vm.guest, false, &policy);
	virt_vcpu_init(&p->vcpu, vm.guest, &policy);
	p->vcpu.mmu = (struct virt_mmu){ .walk = walk };
	p->lp = arena_alloc(vm.w.arena, sizeof(*p->lp));
	p->xsave = aligned_alloc(64, XSAVE_BYTES);
	memset(p->xsave, 0, XSAVE_BYTES);
	p->regs.rflags = 2;
	p->tcs = tcs;
	TAP_MUST(add_tcs(tcs) && vm_eadd(&vm, SECS, FIRST + tcs + 1, tcs + 1, FLAGS_RW),
		 "a TCS and its SSA");
}

static void processor_fini(struct processor *p)
{
	arena_free(vm.w.arena, p->lp, sizeof(*p->lp));
	free(p->xsave);
}

/* ---- files that go ---------------------------------------------------------------------------------------- */

static bool augment(uint32_t page, uint32_t idx)
{
	struct cpu_operands ops = { .leaf = SGX_EAUG, .pi.linaddr = LA(idx) };

	return cpu_ok(vm_encls(&vm, &ops, page, SECS, VM_NONE));
}

/* EREMOVE is refused while somebody is inside; the end of any file tries again. */
static void close_file(struct vepc *file)
{
	vepc_put(file);
	while (vepc_zombie_nr(vm.registry) > 0) {
		struct vepc *empty;

		sched_yield();
		if (vepc_open(vm.registry, &empty) == 0)
			vepc_put(empty);
	}
}

static void *closer_main(void *arg)
{
	struct virt_region r = { .slot = 7,
				 .gpa = GPA_CLOSED,
				 .bytes = CLOSED_PAGES * SGX_PAGE_SIZE };
	unsigned int *bad = arg;

	r.hva = VM_HVA + GPA_CLOSED;
	while (!atomic_load(&over) && !*bad) {
		*bad += vepc_open(vm.registry, &r.vepc) != 0 || virt_keep(vm.guest, r.vepc) != 0 ||
			virt_set_region(vm.guest, &r) != 0;
		for (uint32_t i = 0; i < CLOSED_PAGES; i++)
			*bad += !augment(PAGE_CLOSED + i, CLOSED + i);
		close_file(r.vepc);
		atomic_fetch_add(&files, 1);
	}
	/* Something is wrong: the others need not go on. */
	atomic_store(&over, true);
	return NULL;
}

/* As after the death of a holder: whoever takes the lock next repairs. */
LOCK_ATTR(no_thread_safety_analysis) static void seem_dead(struct virt_guest *guest)
{
	lock_acquire(&guest->lock);
	guest->lock.holder_died = true;
	lock_release(&guest->lock);
	guest_lock(guest);
	guest_unlock(guest);
}

static bool remove_page(uint32_t page) { return cpu_ok(vm_simple(&vm, SGX_EREMOVE, page)); }

int main(void)
{
	static struct processor processor[THREADS];
	unsigned int bad = 0, repairs = 0;
	pthread_t closer;
	uint32_t secs;

	vm_init(&vm, EPC_PAGES);
	TAP_MUST(vm_ecreate(&vm, SECS), "an enclave");
	for (uint32_t i = 0; i < THREADS; i++)
		processor_init(&processor[i], i * EACH);
	/* As EINIT does. */
	secs_page(vm.w.cpu, vm_nr(&vm, SECS))->arch.attributes.flags |= SGX_ATTR_INIT;
	atomic_store(&secs_page(vm.w.cpu, vm_nr(&vm, SECS))->own.initialized, 1);
	pthread_create(&closer, NULL, closer_main, &bad);
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_create(&processor[i].thread, NULL, processor_main, &processor[i]);
	while ((repairs < REPAIRS || atomic_load(&files) < FILES) && !atomic_load(&over)) {
		seem_dead(vm.guest);
		repairs++;
		sched_yield();
	}
	atomic_store(&over, true);
	pthread_join(closer, NULL);
	TAP_CHECK(!bad, "%u files with children are closed while the guest is repaired %u times",
		  atomic_load(&files), repairs);
	for (unsigned int i = 0; i < THREADS; i++) {
		pthread_join(processor[i].thread, NULL);
		TAP_CHECK(!processor[i].bad, "processor %u enters and leaves meanwhile", i);
	}
	TAP_MUST(vm_touch(&vm, SECS) == 0, "the SECS is here");
	secs = vm_nr(&vm, SECS);
	TAP_CHECK(cpu_active_nr(vm.w.cpu, secs) == 0, "nobody is counted any more");
	bad = 0;
	for (uint32_t i = 0; i < THREADS * EACH; i++) {
		bad += vm_simple(&vm, SGX_EREMOVE, SECS).eax != SGX_CHILD_PRESENT;
		bad += !remove_page(FIRST + i);
	}
	TAP_CHECK(bad == 0 && remove_page(SECS),
		  "the SECS has the children that are left, and no page is pinned");
	for (unsigned int i = 0; i < THREADS; i++)
		processor_fini(&processor[i]);
	vm_fini(&vm, "leave");
	return tap_done();
}
