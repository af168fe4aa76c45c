/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * An enclave, and the address space of a process that uses it: page tables are modelled, so that a touch faults when
 * a real one would.
 *
 * A page that is mapped, still in the EPC, and whose translation the manager has not dropped to see its next use, is
 * touched and nobody hears of it.
 */
#ifndef SWSGX_TESTS_SPACE_H
#define SWSGX_TESTS_SPACE_H

#include "epc/stats.h"
#include "lib/world.h"

struct space {
	struct world w;
	struct build b;
	uint64_t pages;
	struct epc_page *
		*mapped; /* of each page: the frame that the page tables show; NULL: none */
	uint64_t *version;
	unsigned long touches, faults, wrong;
};

/*
 * An enclave of @pages pages, all of which can be read and written.  One at a time: the manager's hint to drop
 * translations knows no space. @policy: NULL for the default.
 */
void space_init(struct space *s, uint32_t epc_pages, uint64_t pages, const char *policy);
/* The same in two steps, between which the caller adds the pages to s->b. */
void space_create(struct space *s, uint32_t epc_pages, uint64_t pages, const char *policy);
void space_start(struct space *s);
/* It reads nothing ahead from now on. */
void space_no_readahead(struct space *s);
/* As one instruction does it: faults until the page is mapped, looks whether it is what it must be, and changes it. */
void space_touch(struct space *s, uint64_t idx);
uint64_t space_count(const struct space *s, enum epc_count what);
/* Pages that were read ahead, and are neither used nor wasted yet. */
uint64_t space_ahead(struct space *s);

void space_destroy(struct space *s);

static inline void space_check(struct space *s, const char *name)
{
	unsigned long ahead = space_count(s, EPC_READAHEADS),
		      used = space_count(s, EPC_READAHEAD_USED),
		      wasted = space_count(s, EPC_READAHEAD_WASTED), rest = space_ahead(s);

	TAP_CHECK(ahead == used + wasted + rest,
		  "%s: of %lu pages read ahead %lu were used, %lu wasted, of %lu it is not known",
		  name, ahead, used, wasted, rest);
}

static inline void space_fini(struct space *s, const char *name)
{
	TAP_CHECK(s->wrong == 0, "%s: every touch found what it had to", name);
	space_check(s, name);
	build_fini(&s->b);
	TAP_CHECK(space_count(s, EPC_READAHEADS) ==
			  space_count(s, EPC_READAHEAD_USED) + space_count(s, EPC_READAHEAD_WASTED),
		  "%s: all that was read ahead was used or wasted", name);
	world_fini(&s->w, name);
	space_destroy(s);
}

#endif
