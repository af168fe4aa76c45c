/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* See epc_model.h. */
#include "sim/epc_model.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "epc/owner.h"
#include "epc/stats.h"
#include "epc/window.h"

/* Hooks of owners, topology and clock know of one simulation. */
static struct sim *running;
static unsigned int here;

static unsigned int node_here(void) { return here; }

static unsigned int distance(unsigned int from, unsigned int to)
{
	return from == to ? 10 : 20 + (from ^ to);
}

static const struct epc_topology topology = { node_here, distance };

static uint64_t fake_now_ns(void) { return running->clock_ns; }

static void fake_sleep(uint64_t ns) { running->clock_ns += ns; }

static const struct epc_clock fake_clock = { fake_now_ns, fake_sleep };

/* Each takes its time. */
static void on_op(struct fake_owner *owner, enum fake_op op)
{
	static const uint64_t takes_ns[FAKE_CALL_NR] = { 70, 110, 1300, 5700, 90 };

	running->clock_ns += takes_ns[op] + owner->id % 7;
	if (running->on_op)
		running->on_op(running, owner, op);
}

uint32_t sim_rnd(struct sim *sim, uint32_t below) { return draw(&sim->rng, below); }

int sim_create(struct sim *sim, const char *policy, uint32_t pages, unsigned int sections,
	       unsigned int shards)
{
	struct epc_config config = {
		.policy = policy, .topology = &topology, .clock = &fake_clock, .shards = shards
	};
	uint32_t size = pages / sections;
	struct cpu_config cpu;
	unsigned int i;

	running = sim;
	here = 0;
	sim->clock_ns = 1000000000;
	config.backing_path = sim->file ? "/dev/shm" : NULL;
	config.backing_bytes_max = sim->capped ? STORE_CAP * 4224 : 0;
	cpu_config_default(&cpu, (uint64_t)size * SGX_PAGE_SIZE);
	cpu.section[0].node = 0;
	for (i = 1; i < sections; i++)
		cpu_config_add_section(&cpu, (uint64_t)size * SGX_PAGE_SIZE, (int)i);
	sim->epc_pages = size * sections;
	sim->broken_max = pages / 6;
	sim->pinned_max = sim->epc_pages - sim->broken_max - 4;
	return fake_machine_create_as(&sim->m, &cpu, &config);
}

void sim_destroy(struct sim *sim) { fake_machine_destroy(&sim->m); }

void sim_move(unsigned int node) { here = node; }

void sim_break(struct sim *sim, uint32_t nr)
{
	if (sim->broken_nr >= sim->broken_max)
		return;
	(void)epc_poison(sim->m.epc, nr);
	sim->broken_nr += !sim->broken[nr];
	sim->broken[nr] = true;
}

struct model_owner *sim_model_of(struct sim *sim, const struct fake_owner *owner)
{
	unsigned int i = 0;

	while (sim->o[i].owner != owner)
		i++;
	return &sim->o[i];
}

/* ---- the view --------------------------------------------------------------------------------- */

static void look_at(const struct sim *sim, const struct model_owner *mo, uint32_t i,
		    bool frame_had[EPC_PAGES_MAX], struct model_view *v)
{
	const struct fake_page *fp = &mo->owner->page[i];
	uint32_t nr;

	v->evicted += fp->slot != UINT32_MAX;
	v->wrong += (fp->epc_page != NULL || fp->slot != UINT32_MAX) != mo->exists[i];
	if (!fp->epc_page)
		return;
	nr = epc_page_nr(sim->m.epc, fp->epc_page);
	v->wrong += frame_had[nr]; /* by two */
	frame_had[nr] = true;
	v->resident++;
	v->broken_kept += sim->broken[nr] && !mo->pinned[i];
	v->candidates += !sim->broken[nr] && !mo->pinned[i] && !mo->owner->dying;
}

static struct model_view look(const struct sim *sim)
{
	bool frame_had[EPC_PAGES_MAX] = { 0 };
	const struct model_owner *mo;
	struct model_view v = { 0 };
	uint32_t i;

	for (mo = sim->o; mo < sim->o + OWNERS; mo++) {
		if (!mo->owner || mo->owner->freed)
			continue;
		for (i = 0; i < mo->owner->page_nr; i++)
			look_at(sim, mo, i, frame_had, &v);
		v.wrong += mo->owner->wrong;
	}
	for (i = 0; i < sim->epc_pages; i++) {
		v.free += !frame_had[i] && !sim->broken[i];
		v.broken_idle += !frame_had[i] && sim->broken[i];
	}
	return v;
}

/* ---- steps ------------------------------------------------------------------------------------ */

/* It is not there any more: the next use makes it anew. */
static void forget(struct model_owner *mo, uint32_t i)
{
	mo->exists[i] = false;
	mo->uses[i] = 0;
}

/* A page that is there is used, or lost for good. */
static bool used_resident(struct sim *sim, unsigned int step, struct model_owner *mo, uint32_t i,
			  int r)
{
	uint32_t nr = epc_page_nr(sim->m.epc, mo->owner->page[i].epc_page);

	MUST(r == (sim->broken[nr] ? -EHWPOISON : 0));
	if (r == 0) {
		MUST(mo->owner->page[i].uses == ++mo->uses[i]);
		return true;
	}
	if (mo->pinned[i])
		return true;
	MUST(fake_remove(mo->owner, i) == 0);
	forget(mo, i);
	sim->lost++;
	return true;
}

/* One that had to be brought: @before is how it was. */
static bool used_brought(struct sim *sim, unsigned int step, struct model_owner *mo, uint32_t i,
			 const struct model_view *before, bool may_reclaim, int r)
{
	struct model_view after;

	if (before->free == 0 && !may_reclaim) {
		sim->ebusy++;
		MUST(r == -EBUSY);
		return true;
	}
	if (r == 0) {
		mo->uses[i] = mo->exists[i] ? mo->uses[i] + 1 : 1;
		mo->exists[i] = true;
		MUST(mo->owner->page[i].uses == mo->uses[i]);
		return true;
	}
	if (r == -EIO) {
		MUST((sim->failing || sim->refused) && sim->file && mo->exists[i]);
		sim->read_errors++;
		return true;
	}
	sim->enomem++;
	after = look(sim);
	MUST(r == -ENOMEM && before->free == 0 && after.free == 0);
	/* With a page to evict, a store to write to and owners that agree, there is no excuse. */
	MUST(sim->failing || after.candidates == 0 || (sim->capped && after.evicted == STORE_CAP));
	return true;
}

bool sim_use(struct sim *sim, unsigned int step, struct model_owner *mo, uint32_t i)
{
	unsigned int flags = sim_rnd(sim, 8) ? EPC_MAY_RECLAIM : 0;
	struct fake_owner *owner = mo->owner;
	struct model_view before = look(sim);
	bool resident = owner->page[i].epc_page, ok;
	uint64_t loads = owner->loads, start_ns = sim->clock_ns;
	int r;

	/* Whoever uses it keeps it alive. */
	ref_get(&owner->refs);
	r = fake_use(owner, i, flags);
	sim->uses++;
	/* It stood still for as long as it had to make others give. */
	if (!resident && before.free == 0 && flags) {
		mo->stalls++;
		sim->stalls++;
		mo->stall_ns += sim->clock_ns - start_ns;
		sim->stall_ns += sim->clock_ns - start_ns;
	} else {
		MUST(sim->clock_ns == start_ns);
	}
	if (resident)
		ok = used_resident(sim, step, mo, i, r);
	else
		ok = used_brought(sim, step, mo, i, &before, flags, r);
	MUST(ok && owner->loads == loads + (!resident && r == 0));
	fake_owner_put(owner);
	return true;
}

bool sim_remove(struct sim *sim, unsigned int step, struct model_owner *mo, uint32_t i)
{
	if (mo->pinned[i])
		return true;
	MUST(fake_remove(mo->owner, i) == 0);
	forget(mo, i);
	sim->removes++;
	return true;
}

bool sim_pin(struct sim *sim, unsigned int step, struct model_owner *mo, uint32_t i)
{
	struct epc_page *page = mo->owner->page[i].epc_page;

	if (mo->pinned[i]) {
		epc_track(sim->m.epc, page);
		sim->pinned_nr--;
	} else {
		if (!page || sim->pinned_nr >= sim->pinned_max)
			return true;
		MUST(epc_untrack(sim->m.epc, page) == 0);
		epc_keep(sim->m.epc, page);
		sim->pinned_nr++;
	}
	mo->pinned[i] = !mo->pinned[i];
	return true;
}

void sim_unpin_all(struct sim *sim, struct model_owner *mo)
{
	uint32_t i;

	for (i = 0; i < mo->owner->page_nr; i++) {
		if (mo->pinned[i])
			(void)sim_pin(sim, 0, mo, i);
	}
}

bool sim_life(struct sim *sim, unsigned int step, struct model_owner *mo)
{
	if (!mo->owner) {
		memset(mo, 0, sizeof(*mo));
		mo->owner =
			fake_owner_create(sim->m.epc, ++sim->next_id,
					  10 + sim_rnd(sim, PAGES_MAX - 10), sim_rnd(sim, 4) != 0);
		MUST(mo->owner);
		mo->owner->on_op = on_op;
		sim->births++;
		return true;
	}
	sim_unpin_all(sim, mo);
	fake_owner_put(mo->owner);
	MUST(mo->owner->freed && mo->owner->wrong == 0);
	mo->owner = NULL;
	sim->deaths++;
	return true;
}

bool sim_buried(struct sim *sim, unsigned int step, struct model_owner *mo)
{
	MUST(mo->owner->freed && mo->owner->wrong == 0);
	mo->owner = NULL;
	return true;
}

/* ---- what must hold between steps ---------------------------------------------------------------- */

static unsigned long window_pages(const struct sim *sim)
{
	struct stat st;

	fstat(window_fd(epc_window(sim->m.epc)), &st);
	return (unsigned long)st.st_blocks * 512 / SGX_PAGE_SIZE;
}

/* Each owner stood still as the model says. */
static bool check_owners(const struct sim *sim, unsigned int step)
{
	struct epc_group *root = epc_group_root(sim->m.epc);
	const struct model_owner *mo;
	struct epc_owner_info info;
	unsigned int n, alive = 0;

	for (mo = sim->o; mo < sim->o + OWNERS; mo++)
		alive += mo->owner != NULL;
	for (n = 0; epc_owner_read(root, n, &info); n++) {
		for (mo = sim->o; mo < sim->o + OWNERS; mo++) {
			if (mo->owner && mo->owner->id == info.id)
				break;
		}
		MUST(mo < sim->o + OWNERS);
		MUST(info.count[EPC_STALLS] == mo->stalls);
		MUST(info.count[EPC_STALL_NS] == mo->stall_ns);
		MUST(info.pressure[EPC_SOME].total_ns == mo->stall_ns);
	}
	MUST(n == alive);
	return true;
}

/* Together they have what the root has. */
static bool check_sections(const struct sim *sim, unsigned int step, struct epc_group_stats *all)
{
	struct epc_section_stats s;

	for (unsigned int i = 0; i < epc_section_nr(sim->m.epc); i++) {
		epc_section_stats_read(sim->m.epc, i, &s);
		for (enum epc_count c = 0; c < EPC_COUNT_NR; c++)
			all->count[c] -= s.count[c];
		all->pressure[EPC_SOME].total_ns -= s.pressure[EPC_SOME].total_ns;
	}
	for (enum epc_count c = 0; c < EPC_COUNT_NR; c++)
		MUST(all->count[c] == 0);
	MUST(all->pressure[EPC_SOME].total_ns == 0);
	return true;
}

static bool check_sums(const struct sim *sim, unsigned int step, const struct model_view *v)
{
	struct epc_group_stats all;
	struct epc_stats s;

	epc_stats_read(sim->m.epc, &s);
	MUST(s.free + s.dirty == v->free && s.poisoned == v->broken_idle);
	MUST(s.tracked == v->resident - sim->pinned_nr - v->broken_kept);
	MUST(s.owned == sim->pinned_nr + v->broken_kept && s.in_batch == 0);
	MUST(s.machine_checks == sim->broken_nr && s.allocs - s.frees == v->resident);
	MUST(s.backing_slots == v->evicted && s.backing_slots <= s.backing_slots_peak);
	MUST(s.stalls == sim->stalls && s.stall_ns == sim->stall_ns);
	epc_group_stats_read(epc_group_root(sim->m.epc), &all);
	MUST(all.count[EPC_ALLOCS] - all.count[EPC_FREES] - all.count[EPC_EVICTIONS] ==
	     v->resident);
	MUST(all.count[EPC_BLOCKS] == all.count[EPC_EVICTIONS] + all.count[EPC_EVICT_FAILURES]);
	MUST(all.count[EPC_STALLS] == sim->stalls);
	MUST(all.count[EPC_STALL_NS] == sim->stall_ns);
	MUST(all.pressure[EPC_SOME].total_ns == sim->stall_ns);
	return check_sections(sim, step, &all);
}

bool sim_check(struct sim *sim, unsigned int step, bool closely)
{
	struct model_view v = look(sim);
	unsigned long pages = window_pages(sim);
	char why[200];

	MUST(v.wrong == 0);
	/* The bytes of a page that broke in use are gone. */
	MUST(pages <= v.resident && pages + sim->broken_nr >= v.resident);
	if (epc_audit(sim->m.epc, false, why, sizeof(why)) > 0) {
		printf("# step %u: %s\n", step, why);
		return false;
	}
	return check_sums(sim, step, &v) && (!closely || check_owners(sim, step));
}
