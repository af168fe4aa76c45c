/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* See explore.h. */
#include "explore.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "virt/virt_priv.h"

/* What a guest that is left alone gets. */
struct reference {
	struct cpu_outcome out[EXPLORE_GUEST_MAX];
	bool has_child[EXPLORE_GUEST_MAX + 1]; /* after so many instructions */
	struct cpu_epcm epcm[8];
	uint8_t bytes[8][SGX_PAGE_SIZE];
};

struct run {
	const struct scenario *scenario;
	const struct reference *ref;
	unsigned int at[EXPLORE_GUEST_MAX]; /* the point before which each instruction comes */
	struct vm vm;
	struct vm_evicted blob[EXPLORE_BLOBS];
	unsigned int point, done;
	bool failed;
	bool stepping; /* an instruction of the guest waits for a page: the next comes after it */
	struct explored *stats;
};

__attribute__((format(printf, 2, 3))) static void fail(struct run *run, const char *fmt, ...)
{
	struct explored *stats = run->stats;
	size_t used;
	va_list ap;

	if (run->failed)
		return;
	run->failed = true;
	va_start(ap, fmt);
	vsnprintf(stats->why, sizeof(stats->why), fmt, ap);
	va_end(ap);
	used = strlen(stats->why);
	for (unsigned int i = 0; i < run->scenario->guest_nr && used < sizeof(stats->why); i++)
		used += (size_t)snprintf(stats->why + used, sizeof(stats->why) - used, "%s%u",
					 i ? " " : ", schedule ", run->at[i]);
}

/* ---- the guest ---------------------------------------------------------------------------------------- */

static struct cpu_outcome execute(struct run *run, const struct guest_op *op)
{
	struct vm *vm = &run->vm;

	switch (op->leaf) {
	case SGX_ECREATE:
		return vm_ecreate_out(vm, op->page);
	case SGX_EADD:
		return vm_eadd_out(vm, op->secs, op->page, op->i, op->flags);
	case SGX_EWB:
		return vm_ewb(vm, op->page, op->va, op->slot, &run->blob[op->blob]);
	case SGX_ELDU:
		return vm_eldu(vm, op->page, op->secs, op->va, op->slot, &run->blob[op->blob]);
	default:
		return vm_simple(vm, op->leaf, op->page);
	}
}

static bool same(struct cpu_outcome a, struct cpu_outcome b)
{
	return a.fault == b.fault && a.eax == b.eax && a.rflags == b.rflags &&
	       a.pf_error == b.pf_error;
}

/* False: it waits for the host. */
static bool guest_step(struct run *run)
{
	const struct guest_op *op = &run->scenario->guest[run->done];
	struct cpu_outcome out, want = run->ref->out[run->done];

	run->stepping = true;
	out = execute(run, op);
	run->stepping = false;
	if (run->vm.in_hook && run->vm.waits) {
		run->stats->waits += !run->vm.conflicts;
		run->stats->conflicts += run->vm.conflicts;
		return false;
	}
	if (!run->scenario->damaged && !same(out, want))
		fail(run, "instruction %u (leaf %u): fault %u code %u, not %u %u", run->done,
		     op->leaf, out.fault, out.eax, want.fault, want.eax);
	run->done++;
	return true;
}

static void guest_steps(struct run *run)
{
	while (!run->stepping && run->done < run->scenario->guest_nr &&
	       run->at[run->done] <= run->point)
		if (!guest_step(run))
			return;
}

/* ---- at every step -------------------------------------------------------------------------------------- */

static void check_children(struct run *run)
{
	struct sgx_rdinfo info __attribute__((aligned(32)));
	uint64_t gpa = vm_gpa(&run->vm, run->scenario->secs), off;
	struct vepc_page *page;
	struct vepc *vepc;
	uint32_t nr;

	if (guest_region_find_locked(run->vm.guest, gpa, &vepc, &off) < 0)
		return;
	page = vepc_page_locked(vepc, off / SGX_PAGE_SIZE);
	if (!page || !guest_page_is_here(page))
		return;
	nr = epc_page_nr(run->vm.w.epc, page->frame);
	if (cpu_epcm_read(run->vm.w.cpu, nr).type != SGX_PT_SECS ||
	    !cpu_ok(encls_erdinfo(run->vm.w.cpu, &info, nr)))
		return;
	if ((info.status != 0) != run->ref->has_child[run->done])
		fail(run, "at point %u the SECS has %s child", run->point,
		     info.status ? "a" : "no");
}

static void check_audit(struct run *run)
{
	char why[200] = "";

	if (epc_audit(run->vm.w.epc, false, why, sizeof(why)) > 0)
		fail(run, "at point %u: %s", run->point, why);
}

static void hook(void *ctx, const char *before)
{
	struct run *run = ctx;

	run->vm.in_hook = true;
	if (!run->scenario->damaged)
		check_children(run);
	guest_steps(run);
	run->vm.in_hook = false;
	run->point++;
}

/* ---- a schedule ----------------------------------------------------------------------------------------- */

static void check_pages(struct run *run)
{
	const struct scenario *scenario = run->scenario;

	for (unsigned int i = 0; i < scenario->page_nr; i++) {
		const struct cpu_epcm *want = &run->ref->epcm[i];
		uint32_t page = scenario->pages[i], nr;
		struct cpu_epcm have;

		if (vm_touch(&run->vm, page) != 0) {
			fail(run, "page %u cannot be had", page);
			return;
		}
		nr = vm_nr(&run->vm, page);
		have = cpu_epcm_read(run->vm.w.cpu, nr);
		if (have.valid != want->valid ||
		    (have.valid &&
		     (have.type != want->type || have.rwx != want->rwx || have.la != want->la ||
		      have.blocked != want->blocked || have.modified != want->modified)))
			fail(run, "page %u is not what it should be: valid %u, type %u, blocked %u",
			     page, have.valid, have.type, have.blocked);
		else if (have.valid && have.type != SGX_PT_SECS && have.type != SGX_PT_VA &&
			 memcmp(cpu_bytes(run->vm.w.cpu, nr), run->ref->bytes[i], SGX_PAGE_SIZE))
			fail(run, "page %u has other contents", page);
	}
}

static void run_schedule(struct run *run)
{
	const struct scenario *scenario = run->scenario;
	struct virt_info info;
	char why[200] = "";

	run->point = run->done = 0;
	run->failed = run->stepping = false;
	vm_init(&run->vm, scenario->epc_pages ? scenario->epc_pages : 16);
	scenario->setup(&run->vm);
	virt_set_hook(run->vm.guest, hook, run);
	for (unsigned int i = 0; i < EXPLORE_HOST_MAX && scenario->host[i]; i++) {
		guest_steps(run);
		run->point++;
		scenario->host[i](&run->vm);
		check_audit(run);
	}
	run->stats->points = run->point > run->stats->points ? run->point : run->stats->points;
	run->point = UINT32_MAX / 2; /* it goes on counting */
	if (!scenario->ends)
		guest_steps(run);
	virt_set_hook(run->vm.guest, NULL, NULL);
	virt_info_read(run->vm.guest, &info);
	run->stats->evictions += info.evictions;
	if (info.dead || (info.lost && !scenario->damaged))
		fail(run, "the guest is dead, or a page is lost");
	if (!scenario->ends && !scenario->damaged)
		check_pages(run);
	check_audit(run);
	if (!vm_end(&run->vm, why, sizeof(why)))
		fail(run, "in the end %s", why);
	run->stats->schedules++;
}

/* Instructions from @g on, none before the one in front of it. */
static bool each_schedule(struct run *run, unsigned int g, unsigned int first)
{
	if (g == run->scenario->guest_nr) {
		run_schedule(run);
		return !run->failed;
	}
	/* How long the host takes depends on the guest: the limit moves while we go. */
	for (unsigned int at = first; at <= run->stats->points; at++) {
		run->at[g] = at;
		if (!each_schedule(run, g + 1, at))
			return false;
	}
	return true;
}

/* ---- the reference -------------------------------------------------------------------------------------- */

static bool has_child(struct run *run)
{
	bool here = vm_touch(&run->vm, run->scenario->secs) == 0;
	uint32_t nr = here ? vm_nr(&run->vm, run->scenario->secs) : CPU_NO_PAGE;
	struct sgx_rdinfo info __attribute__((aligned(32)));

	return nr != CPU_NO_PAGE && cpu_epcm_read(run->vm.w.cpu, nr).type == SGX_PT_SECS &&
	       cpu_ok(encls_erdinfo(run->vm.w.cpu, &info, nr)) && info.status != 0;
}

static void run_reference(struct run *run, struct reference *ref)
{
	const struct scenario *scenario = run->scenario;
	char why[200];

	vm_init(&run->vm, 128);
	scenario->setup(&run->vm);
	ref->has_child[0] = has_child(run);
	for (unsigned int i = 0; i < scenario->guest_nr; i++) {
		ref->out[i] = execute(run, &scenario->guest[i]);
		ref->has_child[i + 1] = has_child(run);
	}
	for (unsigned int i = 0; i < scenario->page_nr; i++) {
		uint32_t nr;

		vm_touch(&run->vm, scenario->pages[i]);
		nr = vm_nr(&run->vm, scenario->pages[i]);
		ref->epcm[i] = cpu_epcm_read(run->vm.w.cpu, nr);
		memcpy(ref->bytes[i], cpu_bytes(run->vm.w.cpu, nr), SGX_PAGE_SIZE);
	}
	vm_end(&run->vm, why, sizeof(why));
}

bool explore(const struct scenario *scenario, struct explored *ret)
{
	struct reference *ref = calloc(1, sizeof(*ref));
	struct run *run = aligned_alloc(SGX_PAGE_SIZE, sizeof(*run));
	bool ok;

	memset(ret, 0, sizeof(*ret));
	memset(run, 0, sizeof(*run));
	run->scenario = scenario;
	run->stats = ret;
	run_reference(run, ref);
	run->ref = ref;
	ok = each_schedule(run, 0, 0);
	free(run);
	free(ref);
	return ok;
}
