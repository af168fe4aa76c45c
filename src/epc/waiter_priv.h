/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The line of those who wait for a page (waiter.c).
 */
#ifndef SWSGX_EPC_WAITER_PRIV_H
#define SWSGX_EPC_WAITER_PRIV_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/lock.h"

struct epc;
struct epc_group;

enum { EPC_WAITERS_MAX = 64 };

/* An allocation that found no page (waiter.c). */
struct waiter {
	struct lock lock; /* of the thread, as long as it waits */
	_Atomic uint64_t ticket;
	_Atomic(struct epc_group *) top; /* whose pages it waits for */
	_Atomic uint32_t wakes;          /* a futex */
	_Atomic uint64_t alive_ns;       /* the last sign of life */
	_Atomic uint32_t missed;         /* others have slept since: see waiter.c */
	atomic_bool late;                /* asleep because of all those before it */
};

void waiters_init(struct epc *epc);
void waiters_fini(struct epc *epc);
/*
 * Get in line for a page of @top, or of any group where it is the root; and out of it.  @outside: what to be where there is
 * no place.
 */
struct waiter *waiter_begin(struct epc *epc, struct epc_group *top, struct waiter *outside);
void waiter_end(struct epc *epc, struct waiter *self);
/* It needs one of @top now, its place in line stays; and it lives. */
void waiter_wants(struct waiter *self, struct epc_group *top);
/* How many pages of @top are for others than @self, or than somebody who is not in line. */
uint32_t waiters_before(const struct epc *epc, const struct waiter *self,
			const struct epc_group *top);
/* One of the first: who sees to it that there are pages. */
bool waiter_is_early(const struct epc *epc, const struct waiter *self);
/* Until there is a page for @self, or something to reclaim, or for a moment. */
void waiter_sleep(struct epc *epc, struct waiter *self);
/* There are pages, or fewer waiters: whoever's turn it is. */
void waiters_wake(struct epc *epc);
/* There is something to reclaim, or less to hope for. */
void waiters_offer(struct epc *epc);
/* @group goes: whoever still waits for its pages is dead. */
void waiters_forget(struct epc *epc, const struct epc_group *group);

static inline struct epc_group *waiter_top(const struct waiter *waiter)
{
	return atomic_load_explicit(&waiter->top, memory_order_relaxed);
}

#endif
