/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What is told of larger EPCs, against what is known: by a model that keeps all pages that are away in the order in which they
 * went, where all are noted; by arithmetic, where a part is; and by what a larger EPC then does.
 */
#include "epc/refault.h"

#include <string.h>

#include "epc/epc_priv.h"
#include "epc/owner.h"
#include "epc/refault_priv.h"
#include "epc/tell.h"
#include "lib/fake_owner.h"
#include "lib/tap.h"

enum { EPC_PAGES = 1024, AWAY = 64 /* that an EPC of this size notes */ };

static uint64_t random_of(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static struct epc_larger larger_of(struct epc *epc)
{
	struct epc_stats stats;

	epc_stats_read(epc, &stats);
	return stats.larger;
}

static bool is_near(double is, double should_be, double bound)
{
	return is >= should_be - bound && is <= should_be + bound;
}

/* ---- sizes ------------------------------------------------------------------------------------- */

static void test_sizes(void)
{
	struct epc_larger none = { 0 };
	bool grows = true;
	unsigned int i;

	TAP_CHECK(epc_larger_pages(1024, 0) == 1280 && epc_larger_pages(1024, 1) == 1536 &&
			  epc_larger_pages(1024, 3) == 2048 && epc_larger_pages(1024, 4) == 2560 &&
			  epc_larger_pages(1024, 7) == 4096,
		  "a quarter, a half, twice, two and a half times, four times");
	TAP_CHECK(epc_larger_pages(1u << 28, EPC_LARGER_NR - 1) == 512ull << 28,
		  "up to 512 times, of 1 TiB as well");
	for (i = 1; i < EPC_LARGER_NR; i++)
		grows &= epc_larger_pages(17, i) > epc_larger_pages(17, i - 1);
	TAP_CHECK(grows, "each is larger than the last");
	TAP_CHECK(epc_larger_loads(&none, 0) == 1, "where nothing is known all loads are left");
}

static void keep_text(void *text, const char *bytes, size_t nr) { strncat(text, bytes, nr); }

/* What is told comes from other processes as well, and may be anything. */
static void test_told(void)
{
	struct epc_stats stats = { .pages = EPC_PAGES,
				   .loads = UINT64_MAX,
				   .larger = { .loads = 1 } };
	static char text[1 << 14];
	struct tell tell = { .write = keep_text, .ctx = text, .json = true };

	tell_begin(&tell);
	tell_epc(&tell, &stats);
	tell_end(&tell);
	TAP_CHECK(strstr(text, "{\"pages\":1280,\"loads\":18446744073709551615}"),
		  "no size has more loads than there are");
}

/* ---- where all are noted ------------------------------------------------------------------------ */

/* Those that are away, the last to go first. */
struct model {
	uint32_t away[4 * AWAY], nr;
	uint64_t loads, spared[EPC_LARGER_NR];
};

static void model_gone(struct model *model, uint32_t page)
{
	memmove(model->away + 1, model->away, model->nr++ * sizeof(*model->away));
	model->away[0] = page;
}

static void model_came(struct model *model, uint32_t page)
{
	uint32_t i, k;

	for (i = 0; i < model->nr && model->away[i] != page; i++)
		;
	if (i == model->nr)
		return;
	memmove(model->away + i, model->away + i + 1, (--model->nr - i) * sizeof(*model->away));
	model->loads++;
	for (k = 0; k < EPC_LARGER_NR; k++)
		model->spared[k] += epc_larger_pages(EPC_PAGES, k) > EPC_PAGES + i;
}

/* What has gone since the model looked last. */
static void model_look(struct model *model, const struct fake_owner *owner, bool *was)
{
	uint32_t i;

	for (i = 0; i < owner->page_nr; i++) {
		if (was[i] && !owner->page[i].epc_page)
			model_gone(model, i);
		was[i] &= owner->page[i].epc_page != NULL;
	}
}

static void test_model(void)
{
	static bool was[EPC_PAGES + AWAY / 2];
	struct model model = { .nr = 0 };
	uint64_t seed = 0x9e3779b97f4a7c15ull;
	struct fake_owner *owner;
	struct epc_larger larger;
	struct fake_machine m;
	unsigned int step;
	bool same = true, came;
	uint32_t page;

	TAP_MUST(fake_machine_create(&m, EPC_PAGES, "upstream", NULL, 0) == 0, "an EPC");
	owner = fake_owner_create(m.epc, 1, EPC_PAGES + AWAY / 2, false);
	/* Of a batch nobody out here knows who went first. */
	m.epc->batch_nr = 1;
	for (step = 0; step < 20000 && same; step++) {
		page = step < owner->page_nr ? step : (uint32_t)(random_of(&seed) % owner->page_nr);
		came = !owner->page[page].epc_page;
		same = fake_use_surely(owner, page);
		model_look(&model, owner, was);
		if (came)
			model_came(&model, page);
		was[page] = true;
		larger = larger_of(m.epc);
		same &= larger.loads == model.loads &&
			!memcmp(larger.spared, model.spared, sizeof(larger.spared));
	}
	TAP_CHECK(same && model.loads > 300, "%lu loads are as the model has them, each step",
		  (unsigned long)model.loads);
	fake_owner_put(owner);
	fake_machine_destroy(&m);
}

/* ---- where a part is noted ------------------------------------------------------------------------ */

/* Loads of the owner's pages, in no order, so many times. */
static struct epc_larger use_in_no_order(struct fake_machine *m, uint32_t pages, unsigned int times)
{
	struct fake_owner *owner = fake_owner_create(m->epc, 1, pages, false);
	uint64_t seed = 0xda942042e4dd58b5ull;
	struct epc_larger larger;
	unsigned int i;
	bool ok = true;

	for (i = 0; i < times && ok; i++)
		ok = fake_use_surely(owner, (uint32_t)(random_of(&seed) % pages));
	TAP_CHECK(ok, "%u uses of %u pages in no order", times, pages);
	larger = larger_of(m->epc);
	fake_owner_put(owner);
	return larger;
}

/* Each page is as likely as the next, so loads are as many as pages that are not there. */
static void test_no_order(void)
{
	struct epc_larger larger;
	struct fake_machine m;
	unsigned int i;

	TAP_MUST(fake_machine_create(&m, EPC_PAGES, "upstream", NULL, 0) == 0, "an EPC");
	larger = use_in_no_order(&m, 4 * EPC_PAGES, 60000);
	for (i = 0; epc_larger_pages(EPC_PAGES, i) <= 4 * EPC_PAGES; i++) {
		double loads = (4 - (double)epc_larger_pages(EPC_PAGES, i) / EPC_PAGES) / 3;

		TAP_CHECK(is_near(epc_larger_loads(&larger, i), loads, 0.08),
			  "%lu pages: %.3f of the loads, and %.3f are right",
			  (unsigned long)epc_larger_pages(EPC_PAGES, i),
			  epc_larger_loads(&larger, i), loads);
	}
	TAP_CHECK(larger_of(m.epc).loads == larger.loads, "the end of an owner is no load");
	fake_machine_destroy(&m);
}

/* Pages of an owner that has gone are not between those that others wait for. */
static void test_forget(void)
{
	struct fake_owner *stays, *goes;
	struct refaults *refaults;
	unsigned int i, wrong = 0;
	struct fake_machine m;
	bool ok = true;

	TAP_MUST(fake_machine_create(&m, EPC_PAGES, NULL, NULL, 0) == 0, "an EPC");
	stays = fake_owner_create(m.epc, 1, EPC_PAGES, false);
	goes = fake_owner_create(m.epc, 2, EPC_PAGES, false);
	for (i = 0; i < 2 * EPC_PAGES && ok; i++)
		ok = fake_use_surely(i % 2 ? goes : stays, i / 2);
	refaults = late_there(&m.epc->refaults);
	TAP_MUST(ok && refaults && refaults->max == AWAY && refaults->shift > 0, "a part is noted");
	fake_owner_put(goes);
	for (i = 0; i < refaults->nr; i++)
		wrong += refaults->gone[i].owner != stays->epc_owner->number;
	TAP_CHECK(wrong == 0 && refaults->nr > 0 && refaults->away == refaults->nr,
		  "no page of an owner that has gone is noted, and %u of another", refaults->nr);
	fake_owner_put(stays);
	TAP_CHECK(refaults->nr == 0 && refaults->away == 0 && refaults->shift == 0,
		  "and none of him either when he has gone: then it begins anew");
	fake_machine_destroy(&m);
}

/*
 * Once very many pages were away, of which few were noted.  When they have gone for good as large a part is noted of those that
 * come then as if they had never been.
 */
static void test_less(void)
{
	struct fake_owner *owner;
	uint64_t seed = 0xda942042e4dd58b5ull, before, loads;
	struct fake_machine m;
	unsigned int i;
	bool ok = true;

	TAP_MUST(fake_machine_create(&m, EPC_PAGES, "upstream", NULL, 0) == 0, "an EPC");
	before = use_in_no_order(&m, 32 * EPC_PAGES, 40 * EPC_PAGES).loads;
	/* So few are away that there is room for each. */
	m.epc->batch_nr = 1;
	owner = fake_owner_create(m.epc, 2, EPC_PAGES + AWAY / 2, false);
	for (i = 0; i < 40 * EPC_PAGES && ok; i++)
		ok = fake_use_surely(owner, (uint32_t)(random_of(&seed) % owner->page_nr));
	loads = larger_of(m.epc).loads - before;
	/* The first use of a page brings it in as well. */
	TAP_CHECK(ok && loads > 300 && loads == owner->loads - owner->page_nr,
		  "of %u loads all are noted, where far more were before: %lu",
		  owner->loads - owner->page_nr, (unsigned long)loads);
	fake_owner_put(owner);
	fake_machine_destroy(&m);
}

/* ---- memory --------------------------------------------------------------------------------------- */

static void test_memory(void)
{
	struct epc_larger larger;
	struct fake_machine m;

	TAP_MUST(fake_machine_create(&m, EPC_PAGES, NULL, NULL, 0) == 0, "an EPC");
	(void)use_in_no_order(&m, EPC_PAGES, EPC_PAGES / 2);
	TAP_CHECK(!late_there(&m.epc->refaults), "before a page goes there is nothing to note");
	fake_machine_destroy(&m);
	TAP_MUST(fake_machine_create(&m, EPC_PAGES / 2, NULL, NULL, 0) == 0, "a small EPC");
	larger = use_in_no_order(&m, EPC_PAGES, 4 * EPC_PAGES);
	TAP_CHECK(!late_there(&m.epc->refaults) && larger.loads == 0 && larger.spared[0] == 0,
		  "a small EPC has no room for it");
	fake_machine_destroy(&m);
}

int main(void)
{
	test_sizes();
	test_told();
	test_model();
	test_no_order();
	test_forget();
	test_less();
	test_memory();
	return tap_done();
}
