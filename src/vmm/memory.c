/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The guest's memory: RAM, and regions of raw EPC that come and go while it runs.
 *
 * A region is three things that are kept in step: a mapping of the raw EPC in this process, under userfaultfd; KVM's
 * memory slot with that mapping; and virt's region, which says where in guest-physical memory the EPC is.
 * On the way in virt's comes before KVM's, on the way out after it: a guest that reaches EPC finds a region.
 *
 * Moving is deleting the slot and making it anew, with the same mapping.  While a region moves or goes the guest's
 * processors are paused outside of enclaves, so that nobody is in one whose SSA is not there.
 */
#include "vmm/vmm_priv.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "epc/epc.h"
#include "epc/window.h"
#include "vepc/vepc.h"
#include "vmm/kvm.h"

static void *map_anonymous(uint64_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

int memory_init(struct vmm *vmm, struct report *rep)
{
	uint64_t hidden = vmm->config.vcpus * HIDDEN_BYTES;
	int r;

	vmm->ram = map_anonymous(vmm->config.ram_bytes);
	vmm->hidden = map_anonymous(hidden);
	if (!vmm->ram || !vmm->hidden)
		return report_fail(rep, -ENOMEM, "cannot have memory for a guest");
	r = kvm_slot_set(vmm->vm_fd, SLOT_RAM, 0, vmm->config.ram_bytes, vmm->ram);
	if (r == 0)
		r = kvm_slot_set(vmm->vm_fd, SLOT_HIDDEN, vmm->hidden_gpa, hidden, vmm->hidden);
	return r < 0 ? report_fail(rep, r, "cannot give memory to a guest") : 0;
}

static void region_unmap(struct vmm *vmm, const struct region *region)
{
	server_unregister(vmm, region->hva, region->at.bytes);
	munmap(region->hva, region->at.bytes);
}

void memory_fini(struct vmm *vmm)
{
	for (unsigned int i = 0; i < VMM_REGIONS; i++)
		if (vmm->region[i].at.bytes)
			region_unmap(vmm, &vmm->region[i]);
	if (vmm->ram)
		munmap(vmm->ram, vmm->config.ram_bytes);
	if (vmm->hidden)
		munmap(vmm->hidden, vmm->config.vcpus * HIDDEN_BYTES);
}

bool memory_read(struct vmm *vmm, uint64_t gpa, void *to, size_t bytes)
{
	if (gpa >= vmm->config.ram_bytes || bytes > vmm->config.ram_bytes - gpa)
		return false;
	memcpy(to, vmm->ram + gpa, bytes);
	return true;
}

bool memory_write(struct vmm *vmm, uint64_t gpa, const void *from, size_t bytes)
{
	if (gpa >= vmm->config.ram_bytes || bytes > vmm->config.ram_bytes - gpa)
		return false;
	memcpy(vmm->ram + gpa, from, bytes);
	return true;
}

/* A copy, or false. It may be gone when it is used: then so has the memory behind it. */
static bool region_at(struct vmm *vmm, uint64_t gpa, struct region *ret_region)
{
	bool found = false;

	lock_acquire(&vmm->lock);
	for (unsigned int i = 0; i < VMM_REGIONS && !found; i++) {
		*ret_region = vmm->region[i];
		found = gpa - ret_region->at.gpa < ret_region->at.bytes;
	}
	lock_release(&vmm->lock);
	return found;
}

bool memory_is_epc(struct vmm *vmm, uint64_t gpa)
{
	struct region region;

	return region_at(vmm, gpa, &region);
}

void memory_show_epc(struct vmm *vmm, uint64_t gpa)
{
	struct region region;

	if (region_at(vmm, gpa, &region))
		(void)server_show(vmm, (uintptr_t)region.hva + (gpa - region.at.gpa));
}

struct peek {
	uint64_t offset;
	void *to;
	size_t bytes;
};

static struct cpu_outcome peek_step(void *ctx, struct cpu *cpu, const uint32_t *pages)
{
	struct peek *peek = ctx;

	memcpy(peek->to, (uint8_t *)cpu_bytes(cpu, pages[0]) + peek->offset, peek->bytes);
	return (struct cpu_outcome){ .fault = CPU_NO_FAULT };
}

bool memory_peek_epc(struct vmm *vmm, uint64_t gpa, void *to, size_t bytes)
{
	struct peek peek = { .offset = gpa % PAGE, .to = to, .bytes = bytes };
	struct cpu_outcome out;

	return virt_step(vmm->guest, &gpa, 1, peek_step, &peek, &out) == 0;
}

/* ---- regions -------------------------------------------------------------------------------------- */

/* Offsets of the file are in the window chunk by chunk; here they are next to each other. */
static int map_chunks(struct vmm *vmm, uint8_t *hva, const struct vmm_region *at)
{
	struct window *window = epc_window(vmm->epc);
	uint64_t off = at->off, bytes = at->bytes;

	while (bytes > 0) {
		uint64_t part = VEPC_CHUNK_BYTES - off % VEPC_CHUNK_BYTES;

		if (part > bytes)
			part = bytes;
		if (mmap(hva, part, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED | MAP_FIXED,
			 window_fd(window),
			 (off_t)vepc_win_off(vmm->vepc[at->file], off)) == MAP_FAILED)
			return -errno;
		/* A forked child has no business in a guest. */
		(void)madvise(hva, part, MADV_DONTFORK);
		hva += part;
		off += part;
		bytes -= part;
	}
	return 0;
}

static int region_map(struct vmm *vmm, struct region *region)
{
	const struct vmm_region *at = &region->at;
	uint8_t *hva;
	int r = vepc_reserve(vmm->vepc[at->file], at->off, at->bytes);

	if (r < 0)
		return r;
	hva = mmap(NULL, at->bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (hva == MAP_FAILED)
		return -errno;
	r = map_chunks(vmm, hva, at);
	if (r == 0)
		r = server_register(vmm, hva, at->bytes);
	if (r < 0)
		munmap(hva, at->bytes);
	else
		region->hva = hva;
	return r;
}

static int virt_region_set(struct vmm *vmm, unsigned int slot, const struct region *region,
			   uint64_t bytes)
{
	struct virt_region virt = {
		.slot = slot,
		.gpa = region->at.gpa,
		.bytes = bytes,
		.hva = (uintptr_t)region->hva,
		.vepc = vmm->vepc[region->at.file],
		.off = region->at.off,
	};

	return virt_set_region(vmm->guest, &virt);
}

/* The list alone. KVM's slots change without it: a fault that KVM waits for may be waiting for the list. */
static void region_note(struct vmm *vmm, unsigned int slot, const struct region *region)
{
	lock_acquire(&vmm->lock);
	vmm->region[slot] = *region;
	lock_release(&vmm->lock);
}

static int region_add_locked(struct vmm *vmm, unsigned int slot, const struct region *region)
	REQUIRES(&vmm->change)
{
	int r = virt_region_set(vmm, slot, region, region->at.bytes);

	if (r < 0)
		return r;
	region_note(vmm, slot, region);
	r = kvm_slot_set(vmm->vm_fd, SLOT_EPC + slot, vmm->alias + region->at.gpa, region->at.bytes,
			 region->hva);
	if (r < 0) {
		region_note(vmm, slot, &(struct region){ 0 });
		(void)virt_region_set(vmm, slot, region, 0);
	}
	return r;
}

/* False: it is not where a guest may have EPC. */
static bool place_is_legal(const struct vmm *vmm, uint64_t gpa, uint64_t bytes)
{
	return bytes && bytes % PAGE == 0 && gpa % PAGE == 0 && gpa >= vmm->config.ram_bytes &&
	       gpa < vmm->alias && bytes <= vmm->alias - gpa;
}

int vmm_region_add(struct vmm *vmm, unsigned int slot, const struct vmm_region *at)
{
	struct region region = { .at = *at };
	int r;

	if (slot >= VMM_REGIONS || at->file >= VMM_FILES || at->off % PAGE ||
	    !place_is_legal(vmm, at->gpa, at->bytes))
		return -EINVAL;
	lock_acquire(&vmm->change);
	r = vmm->region[slot].at.bytes ? -EEXIST : region_map(vmm, &region);
	if (r == 0) {
		r = region_add_locked(vmm, slot, &region);
		if (r < 0)
			region_unmap(vmm, &region);
	}
	lock_release(&vmm->change);
	return r;
}

int vmm_region_move(struct vmm *vmm, unsigned int slot, uint64_t gpa)
{
	struct region old, new;
	int r = -EINVAL;

	if (slot >= VMM_REGIONS)
		return -EINVAL;
	lock_acquire(&vmm->change);
	event_pause(vmm);
	old = new = vmm->region[slot];
	new.at.gpa = gpa;
	if (old.at.bytes && place_is_legal(vmm, gpa, old.at.bytes)) {
		r = kvm_slot_set(vmm->vm_fd, SLOT_EPC + slot, 0, 0, NULL);
		if (r == 0)
			r = region_add_locked(vmm, slot, &new);
		if (r < 0)
			(void)region_add_locked(vmm, slot, &old);
	}
	event_resume(vmm);
	lock_release(&vmm->change);
	return r;
}

int vmm_region_delete(struct vmm *vmm, unsigned int slot)
{
	struct region region;
	int r = -EINVAL;

	if (slot >= VMM_REGIONS)
		return -EINVAL;
	lock_acquire(&vmm->change);
	event_pause(vmm);
	region = vmm->region[slot];
	if (region.at.bytes) {
		r = kvm_slot_set(vmm->vm_fd, SLOT_EPC + slot, 0, 0, NULL);
		if (r == 0)
			r = virt_region_set(vmm, slot, &region, 0);
	}
	if (r == 0) {
		region_note(vmm, slot, &(struct region){ 0 });
		region_unmap(vmm, &region);
	}
	event_resume(vmm);
	lock_release(&vmm->change);
	return r;
}

int memory_remap(struct vmm *vmm)
{
	int r = 0;

	for (unsigned int i = 0; r == 0 && i < VMM_REGIONS; i++) {
		struct region region = vmm->region[i];

		if (!region.at.bytes)
			continue;
		r = vmm_region_delete(vmm, i);
		if (r == 0)
			r = vmm_region_add(vmm, i, &region.at);
	}
	return r;
}

/* What a guest finds in RAM at first: nothing. */
void memory_clear(struct vmm *vmm)
{
	(void)madvise(vmm->ram, vmm->config.ram_bytes, MADV_DONTNEED);
	(void)madvise(vmm->hidden, vmm->config.vcpus * HIDDEN_BYTES, MADV_DONTNEED);
}
