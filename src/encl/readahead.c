/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Read-ahead: pages that are loaded before they are touched, because others at equal distances were, one after the other.
 *
 * A stream is three faults side by side, or four at any distance up to STRIDE_MAX, upwards or downwards; they are found
 * among the last faults that belonged to no stream, so that several walks at once are seen each by itself.  With a
 * fault of a stream the next pages that are away are loaded, and mapped, but for the last one, the marker: so the
 * stream faults once more when it has come that far, which says that the pages before were used, and is the moment to
 * load more.  While there is little trust none is mapped, and each use is seen.
 *
 * How far it reads is learnt, and so is whether it does at all: an enclave starts with some trust, wins more with every
 * page used and loses it four times as fast with every page wasted.  Without any, streams are watched only, until
 * those that went on for long enough to have been worth it are as many as are needed, which is twice as many each time.
 * Random access makes no streams, and costs a look at a few numbers.
 *
 * All streams that go on together have no more pages ahead than the EPC was seen to keep until they were used.
 *
 * Invariant: a page read ahead has ENCL_PAGE_AHEAD until it is counted as used (touched, passed by its stream, or asked
 * for by an instruction) or as wasted (it left the EPC without), once.
 *
 * It takes no page that others would have to give, and waits for nothing: with no EPC page free it stops.
 */
#include "encl/encl_priv.h"

#include <errno.h>

#include "epc/epc.h"
#include "epc/stats.h"

enum {
	RUN_SIDE = 3, /* faults side by side that are believed to go on */
	RUN_APART = 4,
	STRIDE_MAX = 64,
	NEAR_STEPS =
		8, /* so much further on is still the same stream, if the pages between are there already */
	QUIET = 64, /* faults of streams, none of them its own: it has ended */
	AHEAD_MIN = 4,
	AHEAD_MAX = 16,
	TRUST_START = 32,
	TRUST_SURE = 64,
	TRUST_MAX = 256,
	WASTE_WEIGHT = 4,
	ROOM_START = 16,
	ROOM_MAX = 64,
	NEEDED_MIN = 4,
	NEEDED_MAX = 1024,
};

#define NO_STRAY (UINT64_MAX / 2) /* no page is near it */

/* ---- what was learnt ------------------------------------------------------------------------------ */

static void win_trust_locked(struct encl *encl) REQUIRES(&encl->lock)
{
	struct encl_readahead *ra = &encl->readahead;

	if (ra->trust < TRUST_MAX)
		ra->trust++;
	else
		ra->needed = NEEDED_MIN;
}

static void lose_trust_locked(struct encl *encl, unsigned int pages) REQUIRES(&encl->lock)
{
	struct encl_readahead *ra = &encl->readahead;

	ra->room = ra->room > AHEAD_MIN + pages ? ra->room - pages : AHEAD_MIN;
	if (ra->trust == 0 || pages == 0)
		return;
	ra->trust = ra->trust > pages * WASTE_WEIGHT ? ra->trust - pages * WASTE_WEIGHT : 0;
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

/* ---- streams -------------------------------------------------------------------------------------- */

/* So many strides is @idx behind @from: below @max, or -1. */
static int64_t steps(uint64_t from, uint64_t idx, int64_t stride, uint32_t max)
{
	int64_t d = (int64_t)(idx - from);

	if (stride < 0) {
		d = -d;
		stride = -stride;
	}
	if (d < 0 || d >= stride * max)
		return -1;
	if (stride == 1)
		return d;
	return d % stride ? -1 : d / stride;
}

static uint64_t at_step(uint64_t from, int64_t stride, uint64_t n)
{
	return from + (uint64_t)stride * n;
}

static bool is_away(const struct encl_page *page)
{
	return page && !page->epc_page && page->va && page->type == SGX_PT_REG &&
	       !(page->flags & ENCL_PAGE_LEAVING);
}

/* Page @idx is where the stream should be now, or behind that with nothing to load between. */
static bool goes_on_locked(struct encl *encl, const struct encl_stream *s, uint64_t idx)
	REQUIRES(&encl->lock)
{
	int64_t n = s->stride ? steps(s->next, idx, s->stride, NEAR_STEPS) : -1;

	for (int64_t i = 0; i < n; i++) {
		const struct encl_page *page =
			pages_find_locked(encl, at_step(s->next, s->stride, (uint64_t)i));

		if (!page || is_away(page))
			return false;
	}
	return n >= 0;
}

/* It is one that the stream had loaded. */
static bool is_of(const struct encl_stream *s, uint64_t idx)
{
	return s->nr && steps(s->first, idx, s->stride, s->nr) >= 0;
}

/* The one that a fault at page @idx belongs to; NULL: none. */
static struct encl_stream *find_locked(struct encl *encl, uint64_t idx) REQUIRES(&encl->lock)
{
	struct encl_stream *s, *end = encl->readahead.stream + ENCL_STREAMS;

	if (encl->readahead.stream_nr == 0)
		return NULL;
	for (s = encl->readahead.stream; s < end; s++) {
		if (s->stride && (idx == s->next || is_of(s, idx)))
			return s;
	}
	for (s = encl->readahead.stream; s < end; s++) {
		if (goes_on_locked(encl, s, idx))
			return s;
	}
	return NULL;
}

static struct encl_stream *stream_of_locked(struct encl *encl, uint64_t idx) REQUIRES(&encl->lock)
{
	struct encl_stream *s;

	for (s = encl->readahead.stream; s < encl->readahead.stream + ENCL_STREAMS; s++) {
		if (is_of(s, idx))
			return s;
	}
	return NULL;
}

static void pending_less(struct encl_stream *s)
{
	if (s && s->pending > 0)
		s->pending--;
}

void readahead_used_locked(struct encl *encl, uint64_t idx, struct encl_page *page)
{
	page->flags &= (uint8_t)~ENCL_PAGE_AHEAD;
	epc_count(encl->epc_owner, page->epc_page, EPC_READAHEAD_USED, 1);
	win_trust_locked(encl);
	pending_less(stream_of_locked(encl, idx));
}

void readahead_wasted_locked(struct encl *encl, uint64_t idx, struct encl_page *page,
			     const struct epc_page *frame)
{
	struct encl_stream *s = stream_of_locked(encl, idx);

	page->flags &= (uint8_t)~ENCL_PAGE_AHEAD;
	epc_count(encl->epc_owner, frame, EPC_READAHEAD_WASTED, 1);
	/* Where its stream has gone on or was given up that was known before. */
	if (!s)
		return;
	pending_less(s);
	s->ahead = AHEAD_MIN;
	lose_trust_locked(encl, 1);
}

/* The page that is @n steps behind the first, when it came ahead and its use would not have been seen. */
static struct encl_page *unknown_locked(struct encl *encl, const struct encl_stream *s, uint32_t n)
	REQUIRES(&encl->lock)
{
	uint64_t at = at_step(s->first, s->stride, n);
	struct encl_page *page;

	if (!s->shown || at == s->next)
		return NULL;
	page = pages_find_locked(encl, at);
	return page && page->flags & ENCL_PAGE_AHEAD ? page : NULL;
}

/* The stream has come to page @idx: what it has mapped before that has been used. */
static void passed_locked(struct encl *encl, struct encl_stream *s, uint64_t idx)
	REQUIRES(&encl->lock)
{
	struct encl_page *page;
	uint64_t at;

	for (uint32_t n = 0; n < s->nr && s->pending > 0; n++) {
		at = at_step(s->first, s->stride, n);
		if (at == idx)
			break;
		page = unknown_locked(encl, s, n);
		if (!page)
			continue;
		epc_touch(encl->epc, page->epc_page);
		readahead_used_locked(encl, at, page);
	}
}

void readahead_come_locked(struct encl *encl, uint64_t idx)
{
	struct encl_stream *s = find_locked(encl, idx);

	if (s)
		passed_locked(encl, s, idx);
}

/*
 * What was loaded for it and has not been used will not be, for what is known: nobody trusts in it any more.  The manager
 * takes it for used, so that a use would be seen, and it is counted when there is one, or when it leaves.
 */
static void give_up_locked(struct encl *encl, struct encl_stream *s) REQUIRES(&encl->lock)
{
	struct encl_page *page;

	for (uint32_t n = 0; n < s->nr; n++) {
		page = unknown_locked(encl, s, n);
		if (page)
			epc_touch(encl->epc, page->epc_page);
	}
	lose_trust_locked(encl, s->pending);
	s->ahead = AHEAD_MIN;
}

/* The stream is behind what was loaded for it. */
static void leave_behind_locked(struct encl *encl, struct encl_stream *s) REQUIRES(&encl->lock)
{
	if (s->pending > 0) {
		give_up_locked(encl, s);
	} else if (s->nr > 0) {
		s->ahead = s->ahead * 2 < AHEAD_MAX ? s->ahead * 2 : AHEAD_MAX;
		if (encl->readahead.room < ROOM_MAX)
			encl->readahead.room++;
	}
	s->nr = s->pending = 0;
}

/* ---- finding them --------------------------------------------------------------------------------- */

/* The @n-th stray fault from the latest one on. */
static uint64_t stray(const struct encl_readahead *ra, unsigned int n)
{
	return ra->stray[(ra->stray_at - 1 - n) % ENCL_STRAYS];
}

/* Page @idx was among those before the @n-th, which becomes its number. */
static bool was_before(const struct encl_readahead *ra, uint64_t idx, unsigned int *n)
{
	while (++*n < ENCL_STRAYS) {
		if (stray(ra, *n) == idx)
			return true;
	}
	return false;
}

/* The shortest distance at which a run of faults ends at @idx, or 0. */
static int64_t find_stride(const struct encl_readahead *ra, uint64_t idx)
{
	int64_t d, best = 0;

	for (unsigned int i = 0; i < ENCL_STRAYS; i++) {
		unsigned int n = i;

		d = (int64_t)(idx - stray(ra, i));
		/* Mostly it is far away: one comparison each. */
		if ((uint64_t)d + STRIDE_MAX > 2 * STRIDE_MAX)
			continue;
		if (d == 0 || (best && d * d >= best * best))
			continue;
		if (was_before(ra, at_step(idx, -d, 2), &n) &&
		    (d * d == 1 || was_before(ra, at_step(idx, -d, 3), &n)))
			best = d;
	}
	return best;
}

/* The run that ends at @idx is a stream's: what begins at other pages of it would be none. */
static void forget_strays(struct encl_readahead *ra, uint64_t idx, int64_t stride)
{
	for (unsigned int i = 0; i < ENCL_STRAYS; i++) {
		if (steps(ra->stray[i], idx, stride, RUN_APART) >= 0)
			ra->stray[i] = NO_STRAY;
	}
}

/* One that begins at a fault at @idx, in place of the one that was quiet for longest; NULL: none does. */
static struct encl_stream *new_stream_locked(struct encl *encl, uint64_t idx) REQUIRES(&encl->lock)
{
	struct encl_readahead *ra = &encl->readahead;
	struct encl_stream *s, *oldest = ra->stream;
	int64_t stride = find_stride(ra, idx);

	if (!stride) {
		ra->stray[ra->stray_at++ % ENCL_STRAYS] = idx;
		return NULL;
	}
	for (s = ra->stream; s < ra->stream + ENCL_STREAMS; s++) {
		if (s->used < oldest->used)
			oldest = s;
	}
	forget_strays(ra, idx, stride);
	leave_behind_locked(encl, oldest);
	ra->stream_nr += !oldest->stride;
	*oldest = (struct encl_stream){
		.stride = stride,
		.run = (stride == 1 || stride == -1 ? RUN_SIDE : RUN_APART) - 1,
		.ahead = AHEAD_MIN,
	};
	return oldest;
}

/* ---- reading -------------------------------------------------------------------------------------- */

/*
 * What all streams together have ahead is bounded by what the EPC was seen to keep for them.  Those that have ended, and
 * are remembered in case they have not, need no room.
 */
static uint32_t room_locked(struct encl *encl) REQUIRES(&encl->lock)
{
	const struct encl_readahead *ra = &encl->readahead;
	uint32_t ahead = 0;

	for (unsigned int i = 0; i < ENCL_STREAMS; i++) {
		if (ra->clock - ra->stream[i].used < QUIET)
			ahead += ra->stream[i].pending;
	}
	return ra->room > ahead ? ra->room - ahead : 0;
}

/* Page @other is there, and of the same kind as page @idx. */
static bool is_like_locked(struct encl *encl, uint64_t idx, uint64_t other) REQUIRES(&encl->lock)
{
	const struct encl_page *a = pages_find_locked(encl, idx),
			       *b = pages_find_locked(encl, other);

	return a && b && b->type == SGX_PT_REG && a->max_rwx == b->max_rwx;
}

/*
 * How many steps behind @idx the last page is that can be had: it is away, and up to there all pages are of the same
 * kind as this one.
 */
static uint32_t last_step_locked(struct encl *encl, const struct encl_stream *s, uint64_t idx)
	REQUIRES(&encl->lock)
{
	uint32_t room = room_locked(encl), last = 0;

	for (uint32_t n = 1; n <= s->ahead && n <= room; n++) {
		if (!is_like_locked(encl, idx, at_step(idx, s->stride, n)))
			break;
		if (is_away(pages_find_locked(encl, at_step(idx, s->stride, n))))
			last = n;
	}
	return last;
}

static void read_locked(struct encl *encl, struct bring *b, struct encl_stream *s, uint64_t idx)
	REQUIRES(&encl->lock)
{
	uint32_t last = last_step_locked(encl, s, idx);
	struct encl_page *page;
	uint64_t at;

	s->shown = encl->readahead.trust >= TRUST_SURE;
	s->first = s->next;
	b->ahead = true;
	for (uint32_t n = 1; n <= last; n++) {
		at = at_step(idx, s->stride, n);
		page = pages_find_locked(encl, at);
		if (is_away(page)) {
			/* Where it ends early the next fault is that of the page that could not be had. */
			s->next = at;
			b->unseen = n == last || !s->shown;
			if (bring_page_locked(encl, b, at, 0, 0, &page) < 0)
				break;
			epc_count(encl->epc_owner, page->epc_page, EPC_READAHEADS, 1);
		}
		s->nr = n;
		s->pending += (page->flags & ENCL_PAGE_AHEAD) != 0;
	}
	b->ahead = b->unseen = false;
}

void readahead_locked(struct encl *encl, struct bring *b, uint64_t idx)
{
	struct encl_readahead *ra = &encl->readahead;
	struct encl_stream *s = find_locked(encl, idx);
	bool marker;

	if (!s && b->loaded)
		s = new_stream_locked(encl, idx);
	if (!s)
		return;
	s->used = ++ra->clock;
	/* A page that was here, of those that were loaded: there is nothing new. */
	if (!b->loaded && idx != s->next && is_of(s, idx))
		return;
	marker = s->nr > 0;
	s->run++;
	leave_behind_locked(encl, s);
	s->next = at_step(idx, s->stride, 1);
	if (!is_like_locked(encl, idx, s->next)) {
		*s = (struct encl_stream){ 0 };
		ra->stream_nr--;
		return;
	}
	if (!b->loaded && !marker)
		return;
	if (ra->trust > 0)
		read_locked(encl, b, s, idx);
	else if (s->run >= RUN_APART + AHEAD_MIN)
		watch_locked(encl);
}

void readahead_init(struct encl *encl)
{
	struct encl_readahead *ra = &encl->readahead;

	ra->trust = TRUST_START;
	ra->needed = NEEDED_MIN;
	ra->room = ROOM_START;
	for (unsigned int i = 0; i < ENCL_STRAYS; i++)
		ra->stray[i] = NO_STRAY;
}
