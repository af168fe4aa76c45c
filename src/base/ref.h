/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Reference counts.  This is the only place that counts.
 */
#ifndef SWSGX_BASE_REF_H
#define SWSGX_BASE_REF_H

#include <assert.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>

struct ref {
	atomic_uint count;
};

/* One reference: the caller's. */
static inline void ref_init(struct ref *ref)
{
	atomic_init(&ref->count, 1);
}

/* Only for someone who has a reference already, so relaxed is enough. */
static inline void ref_get(struct ref *ref)
{
	unsigned int old = atomic_fetch_add_explicit(&ref->count, 1, memory_order_relaxed);

	assert(old > 0 && old < UINT_MAX);
}

/* False once the last reference is gone: the object is being torn down. */
static inline bool ref_tryget(struct ref *ref)
{
	unsigned int old = atomic_load(&ref->count);

	while (old > 0) {
		if (atomic_compare_exchange_weak(&ref->count, &old, old + 1))
			return true;
	}
	return false;
}

/* True when this was the last reference and the caller must free the object. */
static inline bool ref_put(struct ref *ref)
{
	unsigned int old = atomic_fetch_sub_explicit(&ref->count, 1, memory_order_acq_rel);

	assert(old > 0);
	return old == 1;
}

/* For audits and tests: it may have changed when it is looked at. */
static inline unsigned int ref_count(const struct ref *ref)
{
	return atomic_load_explicit(&ref->count, memory_order_relaxed);
}

#endif
