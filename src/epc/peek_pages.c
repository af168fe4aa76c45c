/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Pages, counted one by one from outside: by state, and by kind for sections and owners.
 *
 * Who reads a cache line that another CPU writes to takes it away from that one, and each page has a line or two that
 * its faults write to.  So to count is what costs the program something, and it is not done with every sample (peek.h): in
 * between there is what was counted last.  Events are of a few lines for all pages, and are read each time.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cpu/cpu.h"
#include "epc/count_priv.h"
#include "epc/peek_priv.h"

enum {
	REST = 20, /* times as long as it takes to count, at least, until the next time */
	SLACK_BYTES = 1 << 20, /* pages that are being handed out */
};

/* A shard as it was looked at, once. Pages from @first to @end were handed out. */
struct run {
	const struct shard *live;
	uint32_t first, nr, end, ahead;
};

struct census {
	struct epc_peek *peek;
	const struct epc_page *pages;
	struct cpu_look epcm;
	const struct named *last;
	struct section section[EPC_SECTIONS_MAX];
	struct pressure pressure[EPC_SECTIONS_MAX]; /* of each */
	struct run run[EPC_SHARDS_MAX];
};

/* Sections and shards are in order, each behind the other: no page is counted twice, whatever is said of them. */
static bool runs_begin(struct census *census, const struct shard *shard)
{
	const struct epc *epc = &census->peek->epc;
	uint32_t first = 0, out;
	struct run *run;

	for (run = census->run; run < census->run + epc->shard_nr; run++, shard++) {
		*run = (struct run){ shard, shard->first, shard->nr, 0, shard->poisoned_ahead };
		out = atomic_load_explicit(&shard->dirty_next, memory_order_acquire) - run->first;
		run->end = run->first + (out < run->nr ? out : run->nr);
		if (run->first != first || run->nr > epc->page_nr - first)
			return false;
		first += run->nr;
	}
	return true;
}

static bool sections_begin(struct census *census, const struct section *sections)
{
	const struct epc *epc = &census->peek->epc;
	const struct pressure *pressure;
	unsigned int shard = 0;

	memcpy(census->section, sections, epc->section_nr * sizeof(*sections));
	for (unsigned int i = 0; i < epc->section_nr; i++) {
		if (census->section[i].shard_first != shard ||
		    census->section[i].shard_nr > epc->shard_nr - shard)
			return false;
		pressure = LOOK(census->peek->look, census->section[i].pressure, struct pressure);
		if (!pressure)
			return false;
		census->pressure[i] = *pressure;
		shard += census->section[i].shard_nr;
	}
	return true;
}

/* What was handed out was written to: to look at more than there is would make it be there. */
static bool are_there(const struct census *census)
{
	uint64_t nr = 0;

	for (unsigned int i = 0; i < census->peek->epc.shard_nr; i++)
		nr += census->run[i].end - census->run[i].first;
	return nr * sizeof(struct epc_page) <= look_bytes_there(census->peek->look) + SLACK_BYTES;
}

/* False: it is not there, or no EPC. */
static bool census_begin(struct census *census, struct epc_peek *peek)
{
	const struct look *look = peek->look;
	const struct epc *epc = &peek->epc;
	const struct section *sections;
	const struct shard *shards;

	census->peek = peek;
	census->last = NULL;
	if (epc->section_nr > EPC_SECTIONS_MAX || epc->shard_nr > EPC_SHARDS_MAX)
		return false;
	sections = look_at(look, (uintptr_t)epc->section, epc->section_nr * sizeof(*sections),
			   _Alignof(struct section));
	shards = look_at(look, (uintptr_t)epc->shard, epc->shard_nr * sizeof(*shards),
			 _Alignof(struct shard));
	census->pages = look_at(look, (uintptr_t)epc->pages, epc->page_nr * sizeof(struct epc_page),
				_Alignof(struct epc_page));
	census->epcm = cpu_look(look, epc->page_nr);
	return sections && shards && census->pages && census->epcm.entry &&
	       runs_begin(census, shards) && sections_begin(census, sections) && are_there(census);
}

/* ---- counting ------------------------------------------------------------------------------------- */

static enum epc_kind kind_of(const struct census *census, uint32_t nr)
{
	struct cpu_epcm epcm = cpu_look_epcm(census->epcm, nr);

	return epcm.valid && epcm.type < EPC_BLANK ? (enum epc_kind)epcm.type : EPC_BLANK;
}

static void count_for_owner(struct census *census, enum epc_kind kind, uint64_t owner_at)
{
	struct counted *counted = &census->peek->counted;

	if (!census->last || census->last->at != owner_at)
		census->last = peek_find(census->peek, owner_at);
	if (census->last && census->last->told < counted->owner_nr)
		counted->owner[census->last->told].kind[kind]++;
}

/* Pages that were never handed out have nothing to tell, and maybe no memory. */
static void count_run(struct census *census, const struct run *run, uint64_t *state,
		      uint32_t *kinds)
{
	uint64_t word;

	for (uint32_t nr = run->first; nr < run->end; nr++) {
		unsigned int s;

		word = atomic_load_explicit(&census->pages[nr].word, memory_order_relaxed);
		s = (uint8_t)word & ~(unsigned int)PAGE_STATE_KEPT;
		state[s < EPC_PAGE_STATE_NR ? s : EPC_PAGE_OWNED]++;
		if (word >> PAGE_OWNER_SHIFT) {
			enum epc_kind kind = kind_of(census, nr);

			kinds[kind]++;
			count_for_owner(census, kind, word >> PAGE_OWNER_SHIFT);
		}
	}
	state[EPC_PAGE_DIRTY] += run->first + run->nr - run->end - run->ahead;
	state[EPC_PAGE_POISONED] += run->ahead;
}

/* Of this thread: it may have to wait for a CPU. */
static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static int by_key(const void *a, const void *b)
{
	const struct counted_owner *x = a, *y = b;

	return x->key < y->key ? -1 : x->key > y->key;
}

static int count_all(struct census *census)
{
	const struct epc_sample *sample = &census->peek->sample;
	struct counted *counted = &census->peek->counted;
	uint64_t begun = cpu_ns();
	const struct section *section = census->section;
	struct counted_owner *owner =
		realloc(counted->owner, (sample->owner_nr + 1) * sizeof(*owner));

	if (!owner)
		return -ENOMEM;
	counted->owner = owner;
	counted->owner_nr = sample->owner_nr;
	for (unsigned int o = 0; o < sample->owner_nr; o++)
		owner[o] = (struct counted_owner){ .key = sample->owner[o].key };
	memset(counted->section, 0, sizeof(counted->section));
	for (unsigned int i = 0; i < census->peek->epc.section_nr; i++, section++) {
		for (unsigned int s = 0; s < section->shard_nr; s++)
			count_run(census, &census->run[section->shard_first + s],
				  counted->section[i].state, counted->section[i].kind);
	}
	/* Until here in the order of the sample. */
	qsort(owner, counted->owner_nr, sizeof(*owner), by_key);
	counted->at_ns = peek_now_ns();
	counted->took_ns = cpu_ns() - begun;
	return 0;
}

static bool is_due(const struct epc_peek *peek)
{
	const struct counted *counted = &peek->counted;
	uint64_t since = peek->sample.at_ns - counted->at_ns;

	return !counted->at_ns || peek->every_ns == 0 ||
	       (since >= peek->every_ns && since / REST >= counted->took_ns);
}

/* ---- telling --------------------------------------------------------------------------------------- */

static void tell_section(const struct census *census, unsigned int i)
{
	struct epc_sample_section *told = &census->peek->sample.section[i];
	struct epc_stats *stats = &census->peek->sample.stats;
	const uint64_t *state = census->peek->counted.section[i].state;
	const struct section *section = &census->section[i];
	const struct run *run = &census->run[section->shard_first];
	struct pressure pressure = census->pressure[i];

	*told = (struct epc_sample_section){
		.info = { .first = section->first,
			  .pages = section->nr,
			  .node = section->node,
			  .free = state[EPC_PAGE_FREE],
			  .dirty = state[EPC_PAGE_DIRTY],
			  .poisoned = state[EPC_PAGE_POISONED] },
	};
	memset(&told->stats, 0, sizeof(told->stats));
	memcpy(told->stats.kind, census->peek->counted.section[i].kind, sizeof(told->stats.kind));
	pressure_tell(&pressure, census->peek->sample.at_ns, told->stats.pressure);
	for (unsigned int s = 0; s < section->shard_nr; s++) {
		shard_counts_add(run[s].live, told->stats.count);
		stats->free_lowest +=
			atomic_load_explicit(&run[s].live->lowest, memory_order_relaxed);
	}
	told->info.allocs = told->stats.count[EPC_ALLOCS];
	told->info.evictions = told->stats.count[EPC_EVICTIONS];
	told->info.frees = told->stats.count[EPC_FREES] + told->info.evictions;
	stats->allocs += told->info.allocs;
	stats->frees += told->info.frees;
	stats->free += state[EPC_PAGE_FREE];
	stats->dirty += state[EPC_PAGE_DIRTY];
	stats->owned += state[EPC_PAGE_OWNED];
	stats->tracked += state[EPC_PAGE_TRACKED];
	stats->in_batch += state[EPC_PAGE_IN_BATCH];
	stats->poisoned += state[EPC_PAGE_POISONED];
}

static void tell_kinds(struct epc_peek *peek)
{
	const struct counted *counted = &peek->counted;
	const struct counted_owner *found;
	struct epc_sample_owner *told;
	struct counted_owner key;

	for (unsigned int o = 0; o < peek->sample.owner_nr && counted->owner_nr > 0; o++) {
		told = &peek->sample.owner[o];
		key.key = told->key;
		found = bsearch(&key, counted->owner, counted->owner_nr, sizeof(key), by_key);
		if (found)
			memcpy(told->info.kind, found->kind, sizeof(told->info.kind));
	}
}

int peek_pages(struct epc_peek *peek)
{
	unsigned int section_nr = peek->epc.section_nr;
	struct census census;
	int r = 0;

	if (!census_begin(&census, peek))
		return -ESRCH;
	if (is_due(peek))
		r = count_all(&census);
	if (r < 0)
		return r;
	peek->sample.section_nr = section_nr;
	peek->sample.counted_ns = peek->counted.at_ns;
	for (unsigned int i = 0; i < section_nr; i++)
		tell_section(&census, i);
	tell_kinds(peek);
	return 0;
}
