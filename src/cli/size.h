/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Sizes as people write them: 4096, 64K, 128M, 1G, 1T; and 64M@0, a size on a NUMA node.
 */
#ifndef SWSGX_CLI_SIZE_H
#define SWSGX_CLI_SIZE_H

#include <stdint.h>

struct report;

/* 0, or -EINVAL and what is wrong with it in @rep.  @option is named in the text. */
int size_parse(const char *text, const char *option, uint64_t *ret_bytes, struct report *rep);

/* An EPC section: a multiple of the page size, 1 TiB at most. @ret_node: -1 when none is named. */
int size_parse_epc(const char *text, uint64_t *ret_bytes, int *ret_node, struct report *rep);

#endif
