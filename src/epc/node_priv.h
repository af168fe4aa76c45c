/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Which sections a thread tries first: those of its NUMA node (node.c).
 */
#ifndef SWSGX_EPC_NODE_PRIV_H
#define SWSGX_EPC_NODE_PRIV_H

#include <stdint.h>

struct epc;
struct epc_topology;

/* 0 or -ENOMEM. The sections are there. */
int nodes_init(struct epc *epc, const struct epc_topology *topology);
void nodes_fini(struct epc *epc);
/* The sections in the order in which the calling thread tries them. */
const uint8_t *nodes_order(const struct epc *epc);

#endif
