/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Page traces, and how many faults a policy has on one: through the real manager, with real batches and real watermarks,
 * of pages without contents; and how many the optimum has, which knows the future.
 *
 * Traces are read from files, or made by seeded families of programs (trace_family_at()), always the same.
 */
#ifndef SWSGX_TESTS_PAGE_TRACE_H
#define SWSGX_TESTS_PAGE_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "epc/refault.h"

struct page_trace {
	uint32_t *ref; /* pages, numbered from 0 by first use */
	size_t nr;
	uint32_t pages;
};

/* A page number a line; .zst is read by way of zstd(1). False: it could not be read. */
bool page_trace_read(struct page_trace *trace, const char *path);
void page_trace_fini(struct page_trace *trace);

/* Belady's: evicts the page whose next use is farthest. */
unsigned long page_trace_optimum(const struct page_trace *trace, uint32_t epc_pages);
/* @ret_soft: soft faults, by which uses were seen. */
unsigned long page_trace_faults(const struct page_trace *trace, uint32_t epc_pages,
				const char *policy, unsigned long *ret_soft);
/* The same of the @nth owner that there is, whose pages are others to what policies go by: samples, and ghosts. */
unsigned long page_trace_faults_of(const struct page_trace *trace, uint32_t epc_pages,
				   const char *policy, unsigned int nth, unsigned long *ret_soft);

/* And what the EPC then says of larger ones. */
unsigned long page_trace_larger(const struct page_trace *trace, uint32_t epc_pages,
				const char *policy, struct epc_larger *ret_larger);

struct page_gen;

/**
 * struct trace_family - one kind of program
 * @name: of the family
 * @held_out: no constant of a policy may be chosen by it: it tells whether those that were hold elsewhere
 * @make: adds uses to a trace of about so many pages
 */
struct trace_family {
	const char *name;
	bool held_out;
	void (*make)(struct page_gen *gen, uint32_t pages);
};

/* NULL behind the last. */
const struct trace_family *trace_family_at(unsigned int i);
void page_trace_make(struct page_trace *trace, const struct trace_family *family, uint32_t pages,
		     uint64_t seed);

#endif
