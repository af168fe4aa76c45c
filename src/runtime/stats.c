/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What the EPC did, told when the process that made it ends (swsgx run --stats).
 *
 * Text goes out by system calls of our own: the program's stdio may be gone by now.  What it looks like is in
 * epc/tell.h; who asks while the program runs reads for himself (epc/peek.h).
 */
#include "runtime/rt.h"

#include "epc/epc.h"
#include "epc/stats.h"
#include "epc/tell.h"
#include "runtime/sys.h"

static void write_out(void *ctx, const char *text, size_t bytes)
{
	sys(SYS_write, rt.stats_fd, text, bytes);
}

static void put_section(struct tell *tell, unsigned int i)
{
	struct epc_section_stats stats;
	struct epc_section_info info;

	epc_section_read(rt.epc, i, &info);
	epc_section_stats_read(rt.epc, i, &stats);
	tell_section(tell, i, &info, &stats);
}

static void put_group(struct tell *tell, struct epc_group *group)
{
	struct epc_group_info info, parent;
	struct epc_group_stats stats;

	epc_group_read(group, &info);
	if (info.parent)
		epc_group_read(info.parent, &parent);
	epc_group_stats_read(group, &stats);
	tell_group(tell, &info, info.parent ? parent.name : NULL, &stats);
}

static void put_owners(struct tell *tell, struct epc_group *group)
{
	struct epc_group_info group_info;
	struct epc_owner_info info;

	epc_group_read(group, &group_info);
	for (unsigned int n = 0; epc_owner_read(group, n, &info); n++)
		tell_owner(tell, &info, group_info.name);
}

void rt_stats_print(void)
{
	struct tell tell = { .write = write_out, .json = rt.stats_json };
	struct epc_group *group;
	struct epc_stats stats;

	epc_census(rt.epc);
	epc_stats_read(rt.epc, &stats);
	tell_begin(&tell);
	tell_epc(&tell, &stats);
	tell_list(&tell, "sections");
	for (unsigned int i = 0; i < epc_section_nr(rt.epc); i++)
		put_section(&tell, i);
	tell_list_end(&tell);
	tell_list(&tell, "groups");
	for (group = NULL; (group = epc_group_next(rt.epc, group));)
		put_group(&tell, group);
	tell_list_end(&tell);
	tell_list(&tell, "owners");
	for (group = NULL; (group = epc_group_next(rt.epc, group));)
		put_owners(&tell, group);
	tell_list_end(&tell);
	tell_end(&tell);
}
