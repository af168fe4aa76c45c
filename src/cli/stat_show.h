/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * How 'swsgx stat' shows samples: tables whose columns stay where they are, or a line of JSON each (swsgx-stat(1)).
 */
#ifndef SWSGX_CLI_STAT_SHOW_H
#define SWSGX_CLI_STAT_SHOW_H

#include <stdbool.h>
#include <stdint.h>

#include "epc/epc.h"

struct epc_sample;
struct epc_sample_owner;
struct session;
struct stat_show;

/* @rates: there will be more than one sample.  0 or -ENOMEM. */
int stat_show_create(bool json, bool rates, struct stat_show **ret_show);
/* Takes NULL. */
void stat_show_destroy(struct stat_show *show);

/* What was shown of a session the last time. */
struct stat_past {
	uint64_t at_ns; /* 0: nothing was */
	unsigned int owner_nr;
	struct epc_sample_owner *owner; /* owner_nr of them, by key */
};

/* A session of which something is shown. */
struct stat_part {
	const struct session *session;
	const struct epc_sample *sample;
	struct stat_past past;
};
void stat_part_fini(struct stat_part *part);
/* One sample of each. 0, or -errno of writing it. */
int stat_show_samples(struct stat_show *show, struct stat_part *const *part, unsigned int nr);

/* A session in a list of them, as it was read; where it cannot be, @why. */
struct stat_row {
	const struct session *session;
	struct epc_stats stats;
	unsigned int owner_nr;
	const char *why; /* NULL: it was */
};
int stat_show_list(struct stat_show *show, const struct stat_row *row, unsigned int nr);

#endif
