/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The policies as their papers have them: every use is seen, victims go one at a time, and nothing is forgotten but
 * what the paper forgets.  Obvious rather than fast, and none of the manager's code.
 *
 * Each gives the faults of a trace in an EPC of so many frames; and in @ret_in, where it is not NULL, which pages are in
 * there at the end.
 */
#ifndef SWSGX_TESTS_POLICY_MODEL_H
#define SWSGX_TESTS_POLICY_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/page_trace.h"

enum model_queue {
	MODEL_FIFO,
	MODEL_LRU,
	MODEL_CLOCK,
	MODEL_UPSTREAM, /* CLOCK, where a page that comes counts as used */
};

unsigned long model_queue(const struct page_trace *trace, uint32_t frames, enum model_queue rule,
			  bool *ret_in);
unsigned long model_sieve(const struct page_trace *trace, uint32_t frames, bool *ret_in);

/* Of what left the small queue: @take says whether the page is remembered, and forgets it. */
struct model_memory {
	void (*put)(void *state, uint32_t page);
	bool (*take)(void *state, uint32_t page);
	void *state;
};

/**
 * struct model_s3 - what S3-FIFO leaves open, or another could do otherwise
 * @use_max:      uses are counted so far; the paper: 3
 * @uses_to_main: so many take a page from the small queue to the main one; the paper: 2
 * @memory:       NULL: the paper's, a queue as long as the main one
 */
struct model_s3 {
	unsigned int use_max, uses_to_main;
	const struct model_memory *memory;
};

unsigned long model_s3fifo(const struct page_trace *trace, uint32_t frames,
			   const struct model_s3 *s3, bool *ret_in);
/* @cold: resident pages that are HIR.  A use that follows one of the same page is none, as in the authors' program. */
unsigned long model_lirs(const struct page_trace *trace, uint32_t frames, uint32_t cold,
			 bool *ret_in);
/* @cold_min: and all but so many are the bounds within which the number of cold pages adapts. */
unsigned long model_clockpro(const struct page_trace *trace, uint32_t frames, uint32_t cold_min,
			     bool *ret_in);

/* ---- for the models ------------------------------------------------------------------------------ */

/* Pages in a row, oldest first; the ends are one element that is no page. */
struct model_list {
	uint32_t *next, *prev;
	uint32_t end, nr;
};

void model_list_init(struct model_list *list, uint32_t pages);
void model_list_fini(struct model_list *list);
bool model_list_has(const struct model_list *list, uint32_t page);
void model_list_add(struct model_list *list, uint32_t page); /* the newest */
void model_list_del(struct model_list *list, uint32_t page);
static inline uint32_t model_list_oldest(const struct model_list *list)
{
	return list->next[list->end];
}

void *model_alloc(uint32_t nr, uint32_t bytes);

#endif
