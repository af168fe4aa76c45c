/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Time, which tests may make themselves (clock.c).
 */
#ifndef SWSGX_EPC_CLOCK_PRIV_H
#define SWSGX_EPC_CLOCK_PRIV_H

#include <stdint.h>

struct epc;

uint64_t epc_now_ns(const struct epc *epc);
/* Sleep for less than a second. */
void nap(const struct epc *epc, uint64_t ns);
/* Others may run first. */
void give_way(const struct epc *epc);

#endif
