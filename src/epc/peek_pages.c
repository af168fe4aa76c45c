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
#include "epc/peek_priv.h"

enum { REST = 20 /* times as long as it takes to count, at least, until the next time */ };

struct census {
	struct epc_peek *peek;
	const struct section *sections;
	const struct shard *shards;
	const struct epc_page *pages;
	struct cpu_look epcm;
	const struct named *last;
};

/* False: it is not there, or no EPC. */
static bool census_begin(struct census *census, struct epc_peek *peek, const struct epc *epc)
{
	const struct look *look = peek->look;
	const struct section *section;
	const struct shard *shard;
	uint64_t pages_bytes = epc->page_nr * sizeof(struct epc_page);

	*census = (struct census){
		.peek = peek,
		.sections = look_at(look, (uintptr_t)epc->section,
				    epc->section_nr * sizeof(*census->sections),
				    _Alignof(struct section)),
		.shards = look_at(look, (uintptr_t)epc->shard,
				  epc->shard_nr * sizeof(*census->shards), _Alignof(struct shard)),
		.pages = look_at(look, (uintptr_t)epc->pages, pages_bytes,
				 _Alignof(struct epc_page)),
		.epcm = cpu_look(look, epc->page_nr),
	};
	if (!census->sections || !census->shards || !census->pages || !census->epcm.entry ||
	    epc->section_nr > EPC_SAMPLE_SECTIONS)
		return false;
	for (section = census->sections; section < census->sections + epc->section_nr; section++) {
		if (section->shard_first > epc->shard_nr ||
		    section->shard_nr > epc->shard_nr - section->shard_first)
			return false;
	}
	for (shard = census->shards; shard < census->shards + epc->shard_nr; shard++) {
		if (shard->first > epc->page_nr || shard->nr > epc->page_nr - shard->first)
			return false;
	}
	return true;
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

/* Pages from dirty_next on have nothing to tell, and maybe no memory. */
static void count_shard(struct census *census, const struct shard *shard, uint64_t *state,
			uint32_t *kinds)
{
	uint32_t end = atomic_load_explicit(&shard->dirty_next, memory_order_acquire);
	uint32_t ahead = shard->poisoned_ahead;
	uint64_t word;

	if (end - shard->first > shard->nr)
		end = shard->first + shard->nr;
	for (uint32_t nr = shard->first; nr < end; nr++) {
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
	state[EPC_PAGE_DIRTY] += shard->first + shard->nr - end - ahead;
	state[EPC_PAGE_POISONED] += ahead;
}

/* Of this thread: it may have to wait for a CPU. */
static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static int count_all(struct census *census, unsigned int section_nr)
{
	const struct epc_sample *sample = &census->peek->sample;
	struct counted *counted = &census->peek->counted;
	uint64_t begun = cpu_ns();
	const struct section *section;
	struct counted_owner *owner =
		realloc(counted->owner, (sample->owner_nr + 1) * sizeof(*owner));

	if (!owner)
		return -ENOMEM;
	counted->owner = owner;
	counted->owner_nr = sample->owner_nr;
	for (unsigned int o = 0; o < sample->owner_nr; o++)
		owner[o] = (struct counted_owner){ .key = sample->owner[o].key };
	memset(counted->section, 0, sizeof(counted->section));
	for (unsigned int i = 0; i < section_nr; i++) {
		section = &census->sections[i];
		for (unsigned int s = 0; s < section->shard_nr; s++)
			count_shard(census, &census->shards[section->shard_first + s],
				    counted->section[i].state, counted->section[i].kind);
	}
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
	const struct section *section = &census->sections[i];
	const struct shard *shard = &census->shards[section->shard_first];
	struct pressure pressure = section->pressure;

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
		shard_counts_add(&shard[s], told->stats.count);
		stats->free_lowest += atomic_load_explicit(&shard[s].lowest, memory_order_relaxed);
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

/* Most have the place that they had. */
static void tell_kinds(struct epc_peek *peek)
{
	const struct counted *counted = &peek->counted;
	struct epc_sample_owner *told;
	unsigned int c;

	for (unsigned int o = 0; o < peek->sample.owner_nr; o++) {
		told = &peek->sample.owner[o];
		c = o < counted->owner_nr && counted->owner[o].key == told->key ? o : 0;
		while (c < counted->owner_nr && counted->owner[c].key != told->key)
			c++;
		if (c < counted->owner_nr)
			memcpy(told->info.kind, counted->owner[c].kind, sizeof(told->info.kind));
	}
}

int peek_pages(struct epc_peek *peek, const struct epc *epc)
{
	unsigned int section_nr = epc->section_nr;
	struct census census;
	int r = 0;

	if (!census_begin(&census, peek, epc))
		return -ESRCH;
	if (is_due(peek))
		r = count_all(&census, section_nr);
	if (r < 0)
		return r;
	peek->sample.section_nr = section_nr;
	peek->sample.counted_ns = peek->counted.at_ns;
	for (unsigned int i = 0; i < section_nr; i++)
		tell_section(&census, i);
	tell_kinds(peek);
	return 0;
}
