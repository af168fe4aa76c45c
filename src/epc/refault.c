/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Refaults: see refault.h.
 *
 * The noted pages are in one array, the last one to go at the end.  One that comes back leaves a hole, and how far it went is how
 * many after it are none.  When the array is full the holes go, and if that is not enough, every second page by its name: those
 * that are left stand for twice as many.  When few are left, twice as many of those that go from then on are noted.
 *
 * Whoever dies in here leaves at worst a page that is noted twice, or not at all, until the holes go.
 */
#include "epc/refault_priv.h"

#include <string.h>

#include "epc/backing.h"
#include "epc/policy_ghost.h"

enum {
	PAGES_LEAST = 1024, /* of an EPC: in a smaller one there is no room for it */
	PAGES_A_GONE = 16,
	GONE_MAX = 512,
	SHIFT_MAX = 31, /* of a name of 32 bits */
};

/* ---- sizes ------------------------------------------------------------------------------------- */

uint64_t epc_larger_pages(uint64_t page_nr, unsigned int i)
{
	unsigned int step = i + 1, part = EPC_LARGER_A_DOUBLING;

	return (page_nr * (part + step % part) << step / part) / part;
}

double epc_larger_loads(const struct epc_larger *larger, unsigned int i)
{
	/* They are read one by one, while others count. */
	if (larger->spared[i] > larger->loads)
		return 0;
	return larger->loads ? 1 - (double)larger->spared[i] / (double)larger->loads : 1;
}

/* The smallest that has so many pages more; EPC_LARGER_NR: none. */
static unsigned int step_of(uint32_t page_nr, uint64_t more)
{
	unsigned int i = 0;

	while (i < EPC_LARGER_NR && epc_larger_pages(page_nr, i) - page_nr < more)
		i++;
	return i;
}

void refaults_sum(const struct refaults *refaults, struct epc_larger *ret_larger)
{
	uint64_t sum = 0;
	unsigned int i;

	memset(ret_larger, 0, sizeof(*ret_larger));
	if (!refaults)
		return;
	for (i = 0; i < EPC_LARGER_NR; i++) {
		sum += atomic_load_explicit(&refaults->spared[i], memory_order_relaxed);
		ret_larger->spared[i] = sum;
	}
	ret_larger->loads = sum + atomic_load_explicit(&refaults->beyond, memory_order_relaxed);
}

/* ---- the array --------------------------------------------------------------------------------- */

static uint32_t gone_max(const struct epc *epc)
{
	uint32_t nr = epc->page_nr / PAGES_A_GONE;

	return nr < GONE_MAX ? nr : GONE_MAX;
}

static void make(void *made, unsigned int max)
{
	struct refaults *refaults = made;

	refaults->max = max;
}

static void unmake(void *made) {}

static struct late_kind kind_of(const struct epc *epc)
{
	return (struct late_kind){
		sizeof(struct refaults) + gone_max(epc) * sizeof(struct refault_gone), make, unmake
	};
}

void refaults_begin(struct epc *epc)
{
	struct late_kind kind;

	if (late_there(&epc->refaults) || epc->page_nr < PAGES_LEAST)
		return;
	kind = kind_of(epc);
	(void)late_make(epc, &epc->refaults, &kind, gone_max(epc));
}

void refaults_fini(struct epc *epc)
{
	struct late_kind kind = kind_of(epc);

	late_fini(epc, &epc->refaults, &kind);
}

static bool is_noted(const struct refaults *refaults, uint32_t name)
{
	return (name & ((1u << refaults->shift) - 1)) == 0;
}

/* Without holes, and without those that are not noted any more. */
static void compact(struct refaults *refaults)
{
	uint32_t i, nr = 0;

	for (i = 0; i < refaults->nr; i++) {
		if (refaults->gone[i].owner && is_noted(refaults, refaults->gone[i].name))
			refaults->gone[nr++] = refaults->gone[i];
	}
	refaults->nr = refaults->away = nr;
}

/*
 * Few are left of those that were away: as large a part is noted from now on as there is room for again.  The few then stand for
 * less than they are, until they have come back.
 */
static void note_more(struct refaults *refaults)
{
	uint32_t nr = refaults->nr;

	for (; refaults->shift > 0 && nr <= refaults->max / 8; nr *= 2)
		refaults->shift--;
}

static void make_room(struct refaults *refaults)
{
	compact(refaults);
	note_more(refaults);
	/* A few holes would be used up soon, and all looked at again. */
	while (refaults->nr > refaults->max / 4 * 3 && refaults->shift < SHIFT_MAX) {
		refaults->shift++;
		compact(refaults);
	}
	if (refaults->nr == refaults->max)
		refaults->nr = refaults->away = 0; /* names are no hashes then */
}

static struct refault_gone gone_of(const struct epc *epc, uint32_t nr)
{
	return (struct refault_gone){
		.name = (uint32_t)ghost_key(&epc->view, nr),
		.owner = (uint32_t)page_owner(&epc->pages[nr])->number,
	};
}

void refault_gone_locked(struct epc *epc, uint32_t nr)
{
	struct refaults *refaults = late_there(&epc->refaults);
	struct refault_gone gone;

	if (!refaults)
		return;
	gone = gone_of(epc, nr);
	if (!is_noted(refaults, gone.name))
		return;
	if (refaults->nr == refaults->max)
		make_room(refaults);
	if (!is_noted(refaults, gone.name))
		return;
	refaults->gone[refaults->nr++] = gone;
	refaults->away++;
}

/*
 * Pages for each noted one.  As many as that by their names, but few are as many more or fewer as chance would have it; what is
 * in the store is known, where the owners use it.
 */
static double stands_for(const struct epc *epc, const struct refaults *refaults)
{
	double by_name = (double)(1ull << refaults->shift);
	double by_store =
		(double)backing_used(epc->backing) / (refaults->away ? refaults->away : 1);

	if (refaults->shift == 0 || by_store < by_name / 2 || by_store > by_name * 2)
		return by_name;
	return by_store;
}

/* One noted page comes back, after which @newer went that are still away. */
static void count_refault(const struct epc *epc, struct refaults *refaults, uint32_t newer)
{
	double each = stands_for(epc, refaults);
	/* Room for all that went later, and for the one in the middle of those that it stands for. */
	unsigned int i = step_of(epc->page_nr, (uint64_t)(newer * each + (each + 1) / 2));

	count(i < EPC_LARGER_NR ? &refaults->spared[i] : &refaults->beyond,
	      1ull << refaults->shift);
}

void refault_came_locked(struct epc *epc, uint32_t nr)
{
	struct refaults *refaults = late_there(&epc->refaults);
	struct refault_gone gone, *at;
	uint32_t newer = 0;

	if (!refaults)
		return;
	gone = gone_of(epc, nr);
	if (!is_noted(refaults, gone.name))
		return;
	for (at = refaults->gone + refaults->nr; at-- > refaults->gone;) {
		if (at->name == gone.name && at->owner == gone.owner) {
			count_refault(epc, refaults, newer);
			at->owner = 0;
			refaults->away--;
			return;
		}
		newer += at->owner != 0;
	}
}

void refaults_forget(struct epc *epc, const struct epc_owner *owner)
{
	struct refaults *refaults = late_there(&epc->refaults);
	bool any = false;
	uint32_t i;

	if (!refaults)
		return;
	order_lock(epc);
	for (i = 0; i < refaults->nr; i++) {
		if (refaults->gone[i].owner != (uint32_t)owner->number)
			continue;
		refaults->gone[i].owner = 0;
		any = true;
	}
	if (any) {
		compact(refaults);
		note_more(refaults);
	}
	order_unlock(epc);
}
