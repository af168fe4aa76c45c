/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* See policy_model.h. CLOCK-Pro is in policy_model_clockpro.c. */
#include "lib/policy_model.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum { NOT_IN = UINT32_MAX };

/* ---- lists ------------------------------------------------------------------------------------- */

void *model_alloc(uint32_t nr, uint32_t bytes)
{
	void *p = calloc(nr, bytes);

	if (!p) {
		perror("policy_model");
		exit(1);
	}
	return p;
}

void model_list_init(struct model_list *list, uint32_t pages)
{
	uint32_t i;

	list->next = model_alloc(pages + 1, sizeof(uint32_t));
	list->prev = model_alloc(pages + 1, sizeof(uint32_t));
	for (i = 0; i < pages; i++)
		list->next[i] = (uint32_t)NOT_IN;
	list->end = pages;
	list->next[pages] = list->prev[pages] = pages;
	list->nr = 0;
}

void model_list_fini(struct model_list *list)
{
	free(list->next);
	free(list->prev);
}

bool model_list_has(const struct model_list *list, uint32_t page)
{
	return list->next[page] != (uint32_t)NOT_IN;
}

void model_list_add(struct model_list *list, uint32_t page)
{
	assert(!model_list_has(list, page));
	list->next[page] = list->end;
	list->prev[page] = list->prev[list->end];
	list->next[list->prev[page]] = page;
	list->prev[list->end] = page;
	list->nr++;
}

void model_list_del(struct model_list *list, uint32_t page)
{
	assert(model_list_has(list, page));
	list->next[list->prev[page]] = list->next[page];
	list->prev[list->next[page]] = list->prev[page];
	list->next[page] = (uint32_t)NOT_IN;
	list->nr--;
}

static void renew(struct model_list *list, uint32_t page)
{
	model_list_del(list, page);
	model_list_add(list, page);
}

/* What is in there at the end: @a, and @b where there is one. */
static void tell(const struct page_trace *trace, const struct model_list *a,
		 const struct model_list *b, bool *ret_in)
{
	for (uint32_t i = 0; ret_in && i < trace->pages; i++)
		ret_in[i] = model_list_has(a, i) || (b && model_list_has(b, i));
}

/* ---- one queue ---------------------------------------------------------------------------------- */

unsigned long model_queue(const struct page_trace *trace, uint32_t frames, enum model_queue rule,
			  bool *ret_in)
{
	bool *used = model_alloc(trace->pages, sizeof(bool));
	struct model_list queue;
	unsigned long faults = 0;
	uint32_t page;
	size_t i;

	model_list_init(&queue, trace->pages);
	for (i = 0; i < trace->nr; i++) {
		page = trace->ref[i];
		if (model_list_has(&queue, page)) {
			if (rule == MODEL_LRU)
				renew(&queue, page);
			used[page] = rule == MODEL_CLOCK || rule == MODEL_UPSTREAM;
			continue;
		}
		faults++;
		while (queue.nr == frames) {
			if (used[model_list_oldest(&queue)]) {
				used[model_list_oldest(&queue)] = false;
				renew(&queue, model_list_oldest(&queue));
			} else {
				model_list_del(&queue, model_list_oldest(&queue));
			}
		}
		model_list_add(&queue, page);
		used[page] = rule == MODEL_UPSTREAM;
	}
	tell(trace, &queue, NULL, ret_in);
	model_list_fini(&queue);
	free(used);
	return faults;
}

/* ---- SIEVE -------------------------------------------------------------------------------------- */

unsigned long model_sieve(const struct page_trace *trace, uint32_t frames, bool *ret_in)
{
	bool *visited = model_alloc(trace->pages, sizeof(bool));
	struct model_list queue;
	unsigned long faults = 0;
	uint32_t page, hand;
	size_t i;

	model_list_init(&queue, trace->pages);
	hand = queue.end;
	for (i = 0; i < trace->nr; i++) {
		page = trace->ref[i];
		if (model_list_has(&queue, page)) {
			visited[page] = true;
			continue;
		}
		faults++;
		if (queue.nr == frames) {
			if (hand == queue.end)
				hand = model_list_oldest(&queue);
			while (visited[hand]) {
				visited[hand] = false;
				hand = queue.next[hand];
				if (hand == queue.end)
					hand = model_list_oldest(&queue);
			}
			hand = queue.next[hand];
			model_list_del(&queue, hand == queue.end ? queue.prev[queue.end]
								 : queue.prev[hand]);
		}
		model_list_add(&queue, page);
		if (hand == page) /* the queue was empty */
			hand = queue.end;
		visited[page] = false;
	}
	tell(trace, &queue, NULL, ret_in);
	model_list_fini(&queue);
	free(visited);
	return faults;
}

/* ---- S3-FIFO ------------------------------------------------------------------------------------ */

struct s3 {
	const struct model_s3 *how;
	struct model_list small, main, ghost;
	unsigned int *uses; /* since it came, or was put back */
	uint32_t frames;
};

static void s3_remember(struct s3 *s, uint32_t page)
{
	if (s->how->memory) {
		s->how->memory->put(s->how->memory->state, page);
		return;
	}
	model_list_add(&s->ghost, page);
	if (s->ghost.nr > s->frames - s->frames / 10)
		model_list_del(&s->ghost, model_list_oldest(&s->ghost));
}

static bool s3_remembers(struct s3 *s, uint32_t page)
{
	if (s->how->memory)
		return s->how->memory->take(s->how->memory->state, page);
	if (!model_list_has(&s->ghost, page))
		return false;
	model_list_del(&s->ghost, page);
	return true;
}

/* One goes, unless the small queue had none that could. */
static void s3_evict_small(struct s3 *s)
{
	uint32_t page;

	while (s->small.nr > 0) {
		page = model_list_oldest(&s->small);
		model_list_del(&s->small, page);
		if (s->uses[page] < s->how->uses_to_main) {
			s3_remember(s, page);
			return;
		}
		model_list_add(&s->main, page);
		s->uses[page] = 0;
	}
}

static void s3_evict_main(struct s3 *s)
{
	uint32_t page;

	while (s->main.nr > 0) {
		page = model_list_oldest(&s->main);
		if (s->uses[page] == 0) {
			model_list_del(&s->main, page);
			return;
		}
		s->uses[page]--;
		renew(&s->main, page);
	}
}

unsigned long model_s3fifo(const struct page_trace *trace, uint32_t frames,
			   const struct model_s3 *s3, bool *ret_in)
{
	struct s3 s = { .frames = frames, .how = s3 };
	unsigned long faults = 0;
	uint32_t page;
	size_t i;

	s.uses = model_alloc(trace->pages, sizeof(*s.uses));
	model_list_init(&s.small, trace->pages);
	model_list_init(&s.main, trace->pages);
	model_list_init(&s.ghost, trace->pages);
	for (i = 0; i < trace->nr; i++) {
		page = trace->ref[i];
		if (model_list_has(&s.small, page) || model_list_has(&s.main, page)) {
			s.uses[page] += s.uses[page] < s3->use_max;
			continue;
		}
		faults++;
		while (s.small.nr + s.main.nr == frames) {
			if (s.small.nr * 10 >= frames)
				s3_evict_small(&s);
			else
				s3_evict_main(&s);
		}
		model_list_add(s3_remembers(&s, page) ? &s.main : &s.small, page);
		s.uses[page] = 0;
	}
	tell(trace, &s.small, &s.main, ret_in);
	model_list_fini(&s.small);
	model_list_fini(&s.main);
	model_list_fini(&s.ghost);
	free(s.uses);
	return faults;
}

/* ---- LIRS --------------------------------------------------------------------------------------- */

struct lirs {
	struct model_list stack; /* S */
	struct model_list queue; /* Q: resident HIR pages */
	bool *lir;
	uint32_t lir_nr;
};

/* The bottom of the stack is a LIR page. */
static void lirs_prune(struct lirs *l)
{
	while (l->stack.nr > 0 && !l->lir[model_list_oldest(&l->stack)])
		model_list_del(&l->stack, model_list_oldest(&l->stack));
}

static void lirs_renew(struct lirs *l, uint32_t page)
{
	if (model_list_has(&l->stack, page))
		model_list_del(&l->stack, page);
	model_list_add(&l->stack, page);
}

/* It was used again before the LIR page at the bottom was: they change places. */
static void lirs_exchange(struct lirs *l, uint32_t page)
{
	uint32_t bottom = model_list_oldest(&l->stack);

	lirs_renew(l, page);
	l->lir[page] = true;
	l->lir[bottom] = false;
	model_list_add(&l->queue, bottom);
	lirs_prune(l);
}

static void lirs_hit(struct lirs *l, uint32_t page)
{
	if (l->lir[page]) {
		lirs_renew(l, page);
		lirs_prune(l);
		return;
	}
	model_list_del(&l->queue, page);
	if (model_list_has(&l->stack, page)) {
		lirs_exchange(l, page);
		return;
	}
	lirs_renew(l, page);
	model_list_add(&l->queue, page);
}

static void lirs_miss(struct lirs *l, uint32_t page, uint32_t frames, uint32_t cold)
{
	if (l->lir_nr + l->queue.nr == frames)
		model_list_del(&l->queue, model_list_oldest(&l->queue));
	if (l->lir_nr < frames - cold) {
		l->lir[page] = true;
		l->lir_nr++;
		lirs_renew(l, page);
	} else if (model_list_has(&l->stack, page)) {
		lirs_exchange(l, page);
	} else {
		lirs_renew(l, page);
		model_list_add(&l->queue, page);
	}
}

unsigned long model_lirs(const struct page_trace *trace, uint32_t frames, uint32_t cold,
			 bool *ret_in)
{
	struct lirs l = { .lir_nr = 0 };
	unsigned long faults = 0;
	uint32_t page;
	size_t i;

	l.lir = model_alloc(trace->pages, sizeof(bool));
	model_list_init(&l.stack, trace->pages);
	model_list_init(&l.queue, trace->pages);
	for (i = 0; i < trace->nr; i++) {
		page = trace->ref[i];
		if (i > 0 && page == trace->ref[i - 1])
			continue;
		if (l.lir[page] || model_list_has(&l.queue, page)) {
			lirs_hit(&l, page);
			continue;
		}
		faults++;
		lirs_miss(&l, page, frames, cold);
	}
	for (page = 0; ret_in && page < trace->pages; page++)
		ret_in[page] = l.lir[page] || model_list_has(&l.queue, page);
	model_list_fini(&l.stack);
	model_list_fini(&l.queue);
	free(l.lir);
	return faults;
}
