/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The numbers of an EPC as text: a table, or JSON of the layout that swsgx-stats(5) describes.
 *
 * Whoever tells begins, tells the whole EPC, then a list of sections, one of groups and one of owners, and ends.  Text
 * goes out in parts by a function of the caller's: it may be told in somebody else's process, whose stdio is gone by then.
 */
#ifndef SWSGX_EPC_TELL_H
#define SWSGX_EPC_TELL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "epc/epc.h"
#include "epc/group.h"
#include "epc/stats.h"

struct tell {
	void (*write)(void *ctx, const char *text, size_t bytes);
	void *ctx;
	bool json;

	/* tell.c's */
	bool comma; /* something stands before this */
	size_t nr;
	char text[4096];
};

/* One object, "layout" first. */
void tell_begin(struct tell *tell);
void tell_end(struct tell *tell);
/* Members of the caller's; only JSON has them.  Any text is fine. */
void tell_number(struct tell *tell, const char *name, uint64_t value);
void tell_text(struct tell *tell, const char *name, const char *value);
void tell_flag(struct tell *tell, const char *name, bool value);
/* Around a list, and around an object in one. */
void tell_list(struct tell *tell, const char *name);
void tell_list_end(struct tell *tell);
void tell_object(struct tell *tell);
void tell_object_end(struct tell *tell);
/* An element of a list that is a number. */
void tell_element(struct tell *tell, uint64_t value);

void tell_epc(struct tell *tell, const struct epc_stats *stats);
void tell_section(struct tell *tell, unsigned int i, const struct epc_section_info *info,
		  const struct epc_section_stats *stats);
/* @parent: its name, NULL for the root. */
void tell_group(struct tell *tell, const struct epc_group_info *info, const char *parent,
		const struct epc_group_stats *stats);
void tell_owner(struct tell *tell, const struct epc_owner_info *info, const char *group);

#endif
