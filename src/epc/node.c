/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * NUMA nodes: which section a thread tries first, and which then.
 *
 * There is one order for each node that a thread may run on: the nearest section first, by the system's distances,
 * and of those equally far the one that was given first.  A section of no node, or of one that the
 * system does not have, is as far as any remote one.
 *
 * Nodes matter for who gets which free page, and for nothing else: no page is evicted while another section has a free one,
 * and when none has, those go that are needed least, wherever they are.  A page on a remote node costs a
 * tenth of a microsecond for each line that is read of it; to evict one and load it again costs ten and more.
 *
 * The orders are made once.  Where there is one section there is nothing to choose, and nothing is asked.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "epc/epc_priv.h"
#include "epc/node_priv.h"

enum {
	NODES = 1024, /* as many as Linux can be made to know */
	DISTANCE_LOCAL = 10,
	DISTANCE_REMOTE = 20,
	TEXT_BYTES = 2048,
};

struct nodes {
	unsigned int (*node)(void);
	uint8_t order[NODES][EPC_SECTIONS_MAX];
};

static unsigned int system_node(void)
{
	unsigned int node;

	return getcpu(NULL, &node) == 0 ? node : 0;
}

/* A file of a line; empty when it cannot be read. */
static void read_line(const char *path, char *text, size_t bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, bytes - 1);

	text[n > 0 ? n : 0] = '\0';
	if (fd >= 0)
		close(fd);
}

/* How many nodes stand before @node in a list like "0-3,7"; -1: it is not in the list. */
static int place_in_list(const char *online, unsigned long node)
{
	unsigned long from, to, place = 0;
	char *end;

	while (*online >= '0' && *online <= '9') {
		from = to = strtoul(online, &end, 10);
		if (*end == '-')
			to = strtoul(end + 1, &end, 10);
		if (node >= from && node <= to)
			return (int)(place + node - from);
		place += to - from + 1;
		online = *end == ',' ? end + 1 : end;
	}
	return -1;
}

/* The lists hold the distances to the nodes that are online, in order. */
static unsigned int system_distance(unsigned int from, unsigned int to)
{
	char path[64], text[TEXT_BYTES], *p = text, *end;
	unsigned long distance = 0;
	int place;

	if (from == to)
		return DISTANCE_LOCAL;
	read_line("/sys/devices/system/node/online", text, sizeof(text));
	place = place_in_list(text, to);
	snprintf(path, sizeof(path), "/sys/devices/system/node/node%u/distance", from);
	read_line(path, text, sizeof(text));
	for (; place >= 0; place--, p = end) {
		distance = strtoul(p, &end, 10);
		if (end == p)
			return DISTANCE_REMOTE;
	}
	return distance > DISTANCE_LOCAL ? (unsigned int)distance : DISTANCE_REMOTE;
}

static void order_for(const struct epc *epc, const struct epc_topology *topology, unsigned int node,
		      uint8_t *order)
{
	unsigned int distance[EPC_SECTIONS_MAX], d;
	unsigned int i, at;

	for (i = 0; i < epc->section_nr; i++) {
		d = epc->section[i].node < 0
			    ? DISTANCE_REMOTE
			    : topology->distance(node, (unsigned int)epc->section[i].node);
		for (at = i; at > 0 && distance[at - 1] > d; at--) {
			distance[at] = distance[at - 1];
			order[at] = order[at - 1];
		}
		distance[at] = d;
		order[at] = (uint8_t)i;
	}
}

/* Nodes that there are not have the distance of remote ones to everything: the order as given. */
static bool node_matters(const struct epc *epc, const char *online, unsigned int node)
{
	unsigned int i;

	for (i = 0; i < epc->section_nr; i++) {
		if (epc->section[i].node == (int)node)
			return true;
	}
	return place_in_list(online, node) >= 0;
}

int nodes_init(struct epc *epc, const struct epc_topology *topology)
{
	static const struct epc_topology of_the_system = { system_node, system_distance };
	char online[TEXT_BYTES];
	struct nodes *nodes;
	unsigned int node, i;

	if (epc->section_nr == 1)
		return 0;
	nodes = arena_alloc(epc->arena, sizeof(*nodes));
	if (!nodes)
		return -ENOMEM;
	nodes->node = topology ? topology->node : system_node;
	read_line("/sys/devices/system/node/online", online, sizeof(online));
	for (node = 0; node < NODES; node++) {
		if (topology || node_matters(epc, online, node))
			order_for(epc, topology ? topology : &of_the_system, node,
				  nodes->order[node]);
		else
			for (i = 0; i < epc->section_nr; i++)
				nodes->order[node][i] = (uint8_t)i;
	}
	epc->nodes = nodes;
	return 0;
}

void nodes_fini(struct epc *epc)
{
	if (epc->nodes)
		arena_free(epc->arena, epc->nodes, sizeof(*epc->nodes));
}

unsigned int epc_node_nr(const struct epc *epc)
{
	unsigned int nr = 0, i, j;

	for (i = 0; i < epc->section_nr; i++) {
		for (j = 0; j < i && epc->section[j].node != epc->section[i].node; j++)
			;
		nr += j == i;
	}
	return nr;
}

const uint8_t *nodes_order(const struct epc *epc)
{
	static const uint8_t only[1];
	unsigned int node;

	if (!epc->nodes)
		return only;
	node = epc->nodes->node();
	return epc->nodes->order[node < NODES ? node : 0];
}
