/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * How 'swsgx stat' shows samples: tables whose columns stay where they are, or a line of JSON each (swsgx-stat(1)).
 */
#ifndef SWSGX_CLI_STAT_SHOW_H
#define SWSGX_CLI_STAT_SHOW_H

#include <stdbool.h>
#include <stdio.h>

struct epc_sample;
struct session;
struct stat_show;

/* @rates: there will be more than one sample.  0 or -ENOMEM. */
int stat_show_create(bool json, bool rates, struct stat_show **ret_show);
/* Takes NULL. */
void stat_show_destroy(struct stat_show *show);
/* One sample of one session. 0, or -errno of writing it. */
int stat_show_sample(struct stat_show *show, const struct session *session,
		     const struct epc_sample *sample);

/* A session in a list of them; @sample is NULL where it cannot be read: @why. */
struct stat_row {
	const struct session *session;
	const struct epc_sample *sample;
	const char *why;
};
int stat_show_list(struct stat_show *show, const struct stat_row *row, unsigned int nr);

#endif
