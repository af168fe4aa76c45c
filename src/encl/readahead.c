/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Read-ahead: pages that are loaded before they are touched, because those in front of them were touched one by one.
 *
 * A stream is a run of faults, each a little further on.  Once it is long enough the next pages that are away are loaded
 * with the fault, and mapped, but for the last one, the marker: so the stream faults once more when it has come that far,
 * which says that the pages before were used, and is the moment to load more.  Where a page leaves the EPC before that, or
 * nothing is heard of the stream until its place is needed for another, it was loaded in vain.
 *
 * How far it reads is learnt, and so is whether it does at all: an enclave starts with some trust, wins more with every page
 * used and loses it four times as fast with every page wasted.  Without any, streams are watched only, until those that
 * went on for long enough to have been worth it are as many as are needed, which is twice as many each time.  Random
 * access makes no streams, and costs a look at a few numbers.
 *
 * All streams together have no more pages ahead than the EPC was seen to keep until they were used.
 *
 * It takes no page that others would have to give, and waits for nothing: with no EPC page free it stops.
 */
#include "encl/encl_priv.h"

#include <errno.h>

#include "epc/epc.h"
#include "epc/stats.h"

enum {
	RUN_MIN = 3, /* faults before a run is believed to go on */
	NEAR_PAGES =
		8, /* so much further on is still the same run: pages between may be there already */
	AHEAD_MIN = 4,
	AHEAD_MAX = 16,
	TRUST_START = 32,
	TRUST_MAX = 256,
	WASTE_WEIGHT = 4,
	ROOM_START = 16,
	ROOM_MAX = 64,
	NEEDED_MIN = 4,
	NEEDED_MAX = 1024,
};
static_assert(AHEAD_MAX <= 32, "a bit each");

/* What was loaded ahead and is not known to have been used has been: @nr pages. */
static void used_locked(struct encl *encl, unsigned int nr) REQUIRES(&encl->lock)
{
	struct encl_readahead *ra = &encl->readahead;

	if (nr == 0)
		return;
	ra->trust = ra->trust + nr < TRUST_MAX ? ra->trust + nr : TRUST_MAX;
	ra->room = ra->room + 1 < ROOM_MAX ? ra->room + 1 : ROOM_MAX;
	if (ra->trust == TRUST_MAX)
		ra->needed = NEEDED_MIN;
	epc_count(encl->epc_owner, EPC_READAHEAD_USED, nr);
}

/* And this has not been. */
static void wasted_locked(struct encl *encl, unsigned int nr) REQUIRES(&encl->lock)
{
	struct encl_readahead *ra = &encl->readahead;

	if (nr == 0)
		return;
	epc_count(encl->epc_owner, EPC_READAHEAD_WASTED, nr);
	ra->room = ra->room > AHEAD_MIN + nr ? ra->room - nr : AHEAD_MIN;
	if (ra->trust == 0)
		return;
	ra->trust = ra->trust > nr * WASTE_WEIGHT ? ra->trust - nr * WASTE_WEIGHT : 0;
	if (ra->trust == 0) {
		ra->seen = 0;
		ra->needed = ra->needed * 2 < NEEDED_MAX ? ra->needed * 2 : NEEDED_MAX;
	}
}

/* Without trust: a stream has come so far that reading ahead would have been right. */
static void watch_locked(struct encl *encl) REQUIRES(&encl->lock)
{
	struct encl_readahead *ra = &encl->readahead;

	if (++ra->seen >= ra->needed)
		ra->trust = TRUST_START / 2;
}

void readahead_evicted_locked(struct encl *encl, uint64_t idx)
{
	struct encl_readahead *ra = &encl->readahead;
	struct encl_stream *s;

	for (s = ra->stream; s < ra->stream + ENCL_STREAMS; s++) {
		if (idx - s->first >= 32 || !(s->pending >> (idx - s->first) & 1))
			continue;
		s->pending &= ~(1u << (idx - s->first));
		s->ahead = AHEAD_MIN;
		wasted_locked(encl, 1);
		return;
	}
}

static bool goes_on(const struct encl_stream *s, uint64_t idx)
{
	return s->run > 0 && idx - s->next < NEAR_PAGES;
}

void readahead_come_locked(struct encl *encl, uint64_t idx)
{
	struct encl_stream *s;

	for (s = encl->readahead.stream; s < encl->readahead.stream + ENCL_STREAMS; s++) {
		if (!s->pending || !goes_on(s, idx))
			continue;
		used_locked(encl, (unsigned int)__builtin_popcount(s->pending));
		s->pending = 0;
		s->ahead = s->ahead * 2 < AHEAD_MAX ? s->ahead * 2 : AHEAD_MAX;
		return;
	}
}

/* The stream that a fault at @idx goes on with; or a new one in place of the one that was quiet for longest. */
static struct encl_stream *stream_locked(struct encl *encl, uint64_t idx) REQUIRES(&encl->lock)
{
	struct encl_readahead *ra = &encl->readahead;
	struct encl_stream *s, *oldest = ra->stream;

	ra->clock++;
	for (s = ra->stream; s < ra->stream + ENCL_STREAMS; s++) {
		if (goes_on(s, idx)) {
			s->run++;
			s->used = ra->clock;
			return s;
		}
		if (s->used < oldest->used)
			oldest = s;
	}
	wasted_locked(encl, (unsigned int)__builtin_popcount(oldest->pending));
	*oldest = (struct encl_stream){ .run = 1, .used = ra->clock, .ahead = AHEAD_MIN };
	return oldest;
}

static bool is_away(struct encl *encl, uint64_t idx) REQUIRES(&encl->lock)
{
	const struct encl_page *page = pages_find_locked(encl, idx);

	return page && !page->epc_page && page->va && page->type == SGX_PT_REG &&
	       !(page->flags & ENCL_PAGE_LEAVING);
}

/* What all streams together have ahead is bounded by what the EPC was seen to keep for them. */
static uint32_t room_locked(struct encl *encl) REQUIRES(&encl->lock)
{
	const struct encl_readahead *ra = &encl->readahead;
	uint32_t ahead = 0;

	for (unsigned int i = 0; i < ENCL_STREAMS; i++)
		ahead += (uint32_t)__builtin_popcount(ra->stream[i].pending);
	return ra->room > ahead ? ra->room - ahead : 0;
}

/* The pages behind @idx that are away, s->ahead of them at the most. */
static void read_locked(struct encl *encl, struct bring *b, struct encl_stream *s, uint64_t idx)
	REQUIRES(&encl->lock)
{
	uint32_t room = room_locked(encl);
	uint64_t end = idx + 1 + (s->ahead < room ? s->ahead : room), last = idx, at;
	struct encl_page *page;
	unsigned int nr = 0;

	for (at = idx + 1; at < end; at++)
		last = is_away(encl, at) ? at : last;
	s->first = idx + 1;
	b->ahead = true;
	for (at = idx + 1; at <= last && last > idx; at++) {
		if (!is_away(encl, at))
			continue;
		b->unseen = at == last;
		if (bring_page_locked(encl, b, at, 0, 0, &page) < 0)
			break;
		s->pending |= 1u << (at - s->first);
		nr++;
		s->next = at;
	}
	b->ahead = b->unseen = false;
	/* Where it ended early the next fault is that of the page that could not be had. */
	s->next = at <= last && last > idx ? at : last > idx ? last : idx + 1;
	epc_count(encl->epc_owner, EPC_READAHEADS, nr);
}

void readahead_locked(struct encl *encl, struct bring *b, uint64_t idx)
{
	struct encl_readahead *ra = &encl->readahead;
	struct encl_stream *s = stream_locked(encl, idx);

	s->next = idx + 1;
	if (ra->trust > 0 && s->run >= RUN_MIN)
		read_locked(encl, b, s, idx);
	else if (ra->trust == 0 && s->run >= RUN_MIN + AHEAD_MIN)
		watch_locked(encl);
}

void readahead_init(struct encl *encl)
{
	encl->readahead.trust = TRUST_START;
	encl->readahead.needed = NEEDED_MIN;
	encl->readahead.room = ROOM_START;
}
