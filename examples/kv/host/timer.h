/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A timer signal that interrupts everybody, enclaves too, and whose handler uses thread-local
 * data: it works only if the host's FS base is back whenever a handler runs.
 */
#ifndef KV_HOST_TIMER_H
#define KV_HOST_TIMER_H

#include <stdbool.h>
#include <stdint.h>

/* @hz signals a second for the process; false, with the reason printed. */
bool timer_begin(unsigned int hz);
void timer_end(void);

/* Each thread, once, before it takes part; and once after, when its ticks are counted. */
void timer_join(void);
void timer_leave(void);
/* While others work, the first thread should not take all the signals. */
void timer_block(bool block);

/* Signals seen. False when one found another thread's data, or the counts don't add up. */
bool timer_check(uint64_t *ret_ticks);

#endif
