/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* See vm.h. */
#include "vm.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "epc/epc.h"
#include "virt/virt_priv.h"

static const struct cpu_vmx non_root = { .mode = CPU_VMX_NON_ROOT,
					 .controls = CPU_VMX_EPC_VIRT_EXT };
/* A guest with EPC of its own needs none of that. */
static const struct cpu_vmx non_root_plain = { .mode = CPU_VMX_NON_ROOT };

static void join(struct vm *vm, const struct world *w, struct vepc_registry *registry,
		 uint32_t pages)
{
	memset(vm, 0, sizeof(*vm));
	vm->w = *w;
	vm->registry = registry;
	assert(virt_create(w->epc, &vm->guest) == 0);
	for (unsigned int i = 0; i < 2; i++) {
		struct virt_region region = { .slot = i,
					      .gpa = VM_GPA * (i + 1),
					      .bytes = pages * SGX_PAGE_SIZE,
					      .hva = VM_HVA + i * VM_GPA };

		vm->gpa[i] = region.gpa;
		assert(vepc_open(vm->registry, &vm->file[i]) == 0);
		assert(virt_keep(vm->guest, vm->file[i]) == 0);
		region.vepc = vm->file[i];
		assert(virt_set_region(vm->guest, &region) == 0);
	}
}

void vm_join(struct vm *vm, const struct world *w, struct vepc_registry *registry)
{
	join(vm, w, registry, VM_PAGES);
}

void vm_leave(struct vm *vm)
{
	vepc_put(vm->file[0]);
	vepc_put(vm->file[1]);
	virt_put(vm->guest);
}

void vm_init(struct vm *vm, uint32_t epc_pages) { vm_init_large(vm, epc_pages, VM_PAGES); }

void vm_init_large(struct vm *vm, uint32_t epc_pages, uint32_t pages)
{
	struct vepc_registry *registry;
	struct world w;

	world_init_caps(&w, epc_pages, 0, SGX_CPUID_ENCLV | SGX_CPUID_ENCLS_C);
	assert(vepc_registry_create(w.epc, &registry) == 0);
	join(vm, &w, registry, pages);
}

void vm_init_plain(struct vm *vm, uint32_t epc_pages)
{
	memset(vm, 0, sizeof(*vm));
	world_init_caps(&vm->w, epc_pages, 0, SGX_CPUID_ENCLV | SGX_CPUID_ENCLS_C);
	assert(vepc_registry_create(vm->w.epc, &vm->registry) == 0);
	for (unsigned int i = 0; i < 2; i++) {
		vm->gpa[i] = VM_GPA * (i + 1);
		assert(vepc_open(vm->registry, &vm->file[i]) == 0);
		assert(vepc_reserve(vm->file[i], 0, VM_PAGES * SGX_PAGE_SIZE) == 0);
	}
}

bool vm_end(struct vm *vm, char *why, size_t bytes)
{
	struct world_left left;
	bool ok;

	vm_leave(vm);
	ok = epc_audit(vm->w.epc, false, why, bytes) == 0 && vepc_zombie_nr(vm->registry) == 0;
	vepc_registry_destroy(vm->registry);
	if (world_left(&vm->w, &left)) {
		snprintf(why, bytes, "%llu frames, %llu slots, %llu bytes are left",
			 (unsigned long long)left.frames, (unsigned long long)left.slots,
			 (unsigned long long)left.bytes);
		ok = false;
	}
	world_destroy(&vm->w);
	return ok;
}

uint64_t vm_gpa(const struct vm *vm, uint32_t page)
{
	if (page < VM_SECOND)
		return vm->gpa[0] + (uint64_t)page * SGX_PAGE_SIZE;
	return vm->gpa[1] + (uint64_t)(page - VM_SECOND) * SGX_PAGE_SIZE;
}

struct vepc *vm_file(const struct vm *vm, uint32_t page, uint64_t *ret_off)
{
	*ret_off = (uint64_t)(page < VM_SECOND ? page : page - VM_SECOND) * SGX_PAGE_SIZE;
	return vm->file[page >= VM_SECOND];
}

uint32_t vm_nr(const struct vm *vm, uint32_t page)
{
	uint64_t off;
	struct vepc *file = vm_file(vm, page, &off);

	return vepc_page_nr(file, off);
}

int vm_touch(struct vm *vm, uint32_t page)
{
	uint64_t off;
	struct vepc *file = vm_file(vm, page, &off);

	return vepc_fault(file, off);
}

/* ---- instructions ------------------------------------------------------------------------------- */

struct run {
	struct vm *vm;
	struct cpu_operands *ops;
	int secs, va; /* which of the pages, or -1 */
};

static struct cpu_outcome run_step(void *ctx, struct cpu *cpu, const uint32_t *pages)
{
	struct run *run = ctx;

	if (run->vm->before_step)
		run->vm->before_step(run->vm);
	run->vm->leaves++;
	run->ops->page = pages[0];
	if (run->secs >= 0)
		run->ops->pi.secs = run->ops->secs = pages[run->secs];
	if (run->va >= 0)
		run->ops->va = pages[run->va];
	return cpu_encls(cpu, run->vm->guest ? &non_root : &non_root_plain, run->ops,
			 &run->vm->exit);
}

/* The pages by number, when no touch of them would have to wait. The lock is held, by who called the hook. */
static bool all_here_locked(struct vm *vm, const uint64_t *gpas, unsigned int nr,
			    uint32_t *ret_pages)
{
	for (unsigned int i = 0; i < nr; i++) {
		struct vepc_page *page;
		struct vepc *vepc;
		uint64_t off;

		if (guest_region_find_locked(vm->guest, gpas[i], &vepc, &off) < 0)
			return false;
		page = vepc_page_locked(vepc, off / SGX_PAGE_SIZE);
		if (!page || !guest_page_is_here(page))
			return false;
		ret_pages[i] = epc_page_nr(vm->w.epc, page->frame);
	}
	return true;
}

bool vm_sees(struct vm *vm, uint32_t page, uint32_t *ret_nr)
{
	uint64_t gpa = vm_gpa(vm, page);

	return all_here_locked(vm, &gpa, 1, ret_nr);
}

/* First touches are faults; then the pages are there for good. */
static struct cpu_outcome encls_plain(struct vm *vm, struct run *run, const uint64_t *gpas,
				      unsigned int nr)
{
	uint32_t pages[VIRT_PAGES_MAX];

	for (unsigned int i = 0; i < nr; i++) {
		unsigned int file = gpas[i] >= vm->gpa[1];
		uint64_t off = gpas[i] - vm->gpa[file];

		pages[i] = vepc_page_nr(vm->file[file], off);
		if (pages[i] == CPU_NO_PAGE && vepc_fault(vm->file[file], off) == 0)
			pages[i] = vepc_page_nr(vm->file[file], off);
	}
	return run_step(run, vm->w.cpu, pages);
}

static struct cpu_outcome encls_in_hook(struct vm *vm, struct run *run, const uint64_t *gpas,
					unsigned int nr)
{
	struct cpu_outcome out = { .fault = CPU_VM_EXIT };
	uint32_t pages[VIRT_PAGES_MAX];

	vm->waits = !all_here_locked(vm, gpas, nr, pages);
	if (vm->waits)
		return out;
	out = run_step(run, vm->w.cpu, pages);
	vm->waits = vm->conflicts = out.fault == CPU_VM_EXIT;
	return out;
}

struct cpu_outcome vm_encls(struct vm *vm, struct cpu_operands *ops, uint32_t page, uint32_t secs,
			    uint32_t va)
{
	struct run run = { .vm = vm, .ops = ops, .secs = -1, .va = -1 };
	struct cpu_outcome out = { .fault = CPU_UD };
	uint64_t gpas[VIRT_PAGES_MAX];
	unsigned int nr = 0;

	ops->physical = gpas[nr++] = vm_gpa(vm, page);
	if (secs == VM_NONE)
		ops->pi.secs = CPU_NO_PAGE;
	if (secs != VM_NONE) {
		run.secs = (int)nr;
		gpas[nr++] = vm_gpa(vm, secs);
	}
	if (va != VM_NONE) {
		run.va = (int)nr;
		gpas[nr++] = vm_gpa(vm, va);
	}
	if (!vm->guest)
		return encls_plain(vm, &run, gpas, nr);
	if (vm->in_hook)
		return encls_in_hook(vm, &run, gpas, nr);
	for (;;) {
		if (virt_step(vm->guest, gpas, nr, run_step, &run, &out) != 0)
			return (struct cpu_outcome){ .fault = CPU_UD };
		if (out.fault != CPU_VM_EXIT || vm->raw_exits)
			return out;
		vm->exits++;
		if (!virt_conflict_is_ours(vm->guest, &vm->exit, &vm->told))
			return virt_conflict_outcome(&vm->exit, ops->leaf);
		vm->reruns++;
	}
}

struct cpu_outcome vm_encls_raw(struct vm *vm, struct cpu_operands *ops, uint32_t page)
{
	ops->physical = vm_gpa(vm, page);
	return cpu_encls(vm->w.cpu, &non_root, ops, &vm->exit);
}

struct cpu_outcome vm_simple(struct vm *vm, enum sgx_encls leaf, uint32_t page)
{
	struct cpu_operands ops = { .leaf = leaf };

	return vm_encls(vm, &ops, page, VM_NONE, VM_NONE);
}

bool vm_ecreate(struct vm *vm, uint32_t secs) { return cpu_ok(vm_ecreate_out(vm, secs)); }

struct cpu_outcome vm_ecreate_out(struct vm *vm, uint32_t secs)
{
	struct sgx_secinfo secinfo = { .flags = SGX_SECINFO_TYPE(SGX_PT_SECS) };
	struct cpu_operands ops = { .leaf = SGX_ECREATE };
	struct sgx_secs *src = aligned_alloc(4096, 4096);
	struct cpu_outcome out;

	memset(src, 0, sizeof(*src));
	src->size = VM_SIZE;
	src->baseaddr = VM_BASE;
	src->ssa_frame_size = 1;
	src->attributes.flags = SGX_ATTR_MODE64BIT;
	src->attributes.xfrm = SGX_XFRM_LEGACY;
	ops.pi.srcpge = src;
	ops.pi.secinfo = &secinfo;
	out = vm_encls(vm, &ops, secs, VM_NONE, VM_NONE);
	free(src);
	return out;
}

void vm_source(void *page, uint64_t i, uint64_t flags)
{
	struct sgx_tcs *tcs = page;

	page_pattern(page, VM_PATTERN(i), 0);
	if ((flags & SGX_SECINFO_TYPE_MASK) != SGX_SECINFO_TYPE(SGX_PT_TCS))
		return;
	memset(page, 0, 4096);
	tcs->nssa = 1;
	tcs->ossa = i * SGX_PAGE_SIZE;
	tcs->fslimit = tcs->gslimit = 0xfff;
}

bool vm_eadd(struct vm *vm, uint32_t secs, uint32_t page, uint64_t i, uint64_t flags)
{
	return cpu_ok(vm_eadd_out(vm, secs, page, i, flags));
}

struct cpu_outcome vm_eadd_out(struct vm *vm, uint32_t secs, uint32_t page, uint64_t i,
			       uint64_t flags)
{
	struct sgx_secinfo secinfo = { .flags = flags };
	struct cpu_operands ops = { .leaf = SGX_EADD };
	void *src = aligned_alloc(4096, 4096);
	struct cpu_outcome out;

	vm_source(src, i, flags);
	ops.pi.linaddr = VM_BASE + i * SGX_PAGE_SIZE;
	ops.pi.srcpge = src;
	ops.pi.secinfo = &secinfo;
	out = vm_encls(vm, &ops, page, secs, VM_NONE);
	free(src);
	return out;
}

bool vm_epa(struct vm *vm, uint32_t va) { return cpu_ok(vm_simple(vm, SGX_EPA, va)); }

struct cpu_outcome vm_ewb(struct vm *vm, uint32_t page, uint32_t va, uint32_t slot,
			  struct vm_evicted *to)
{
	struct cpu_operands ops = { .leaf = SGX_EWB, .slot = slot, .out = to->bytes };
	struct cpu_outcome out;

	ops.pi.pcmd = &to->pcmd;
	out = vm_encls(vm, &ops, page, VM_NONE, va);
	to->la = ops.linaddr;
	return out;
}

struct cpu_outcome vm_eldu(struct vm *vm, uint32_t page, uint32_t secs, uint32_t va, uint32_t slot,
			   const struct vm_evicted *from)
{
	struct cpu_operands ops = { .leaf = SGX_ELDU, .slot = slot };
	struct sgx_pcmd *pcmd = aligned_alloc(128, sizeof(*pcmd));
	struct cpu_outcome out;

	*pcmd = from->pcmd;
	ops.pi.pcmd = pcmd;
	ops.pi.srcpge = from->bytes;
	ops.pi.linaddr = from->la;
	out = vm_encls(vm, &ops, page, secs, va);
	free(pcmd);
	return out;
}

/* ---- the host ------------------------------------------------------------------------------------ */

void vm_reclaim(struct vm *vm)
{
	unsigned int idle = 0;

	while (idle < 40)
		idle = epc_reclaim(vm->w.epc) ? 0 : idle + 1;
}

bool vm_is_intact(struct vm *vm, uint32_t page, uint64_t i, uint64_t flags)
{
	uint8_t *want = aligned_alloc(4096, 4096);
	struct cpu_epcm epcm;
	uint32_t nr;
	bool ok;

	vm_source(want, i, flags);
	if (vm_touch(vm, page) != 0) {
		free(want);
		return false;
	}
	nr = vm_nr(vm, page);
	epcm = cpu_epcm_read(vm->w.cpu, nr);
	ok = epcm.valid && !epcm.blocked && epcm.la == VM_BASE + i * SGX_PAGE_SIZE &&
	     SGX_SECINFO_TYPE(epcm.type) == (flags & SGX_SECINFO_TYPE_MASK) &&
	     epcm.rwx == (flags & SGX_SECINFO_RWX) && !memcmp(want, cpu_bytes(vm->w.cpu, nr), 4096);
	free(want);
	return ok;
}

struct sgx_rdinfo vm_rdinfo(struct vm *vm, uint32_t page)
{
	struct sgx_rdinfo *info = aligned_alloc(32, sizeof(*info)), copy;

	assert(cpu_ok(encls_erdinfo(vm->w.cpu, info, vm_nr(vm, page))));
	copy = *info;
	free(info);
	return copy;
}
