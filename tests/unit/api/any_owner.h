/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* An owner, of those that know the installed API alone, that lets every page go and does nothing with any. */
#ifndef SWSGX_TESTS_ANY_OWNER_H
#define SWSGX_TESTS_ANY_OWNER_H

#include <stdbool.h>
#include <stdint.h>
#include <swsgx/epc.h>

static bool any_get(void *arg, uint64_t i) { return true; }

static bool any_page(void *arg, uint64_t i, struct swsgx_page *page) { return true; }

static int any_write(void *arg, uint64_t i, struct swsgx_page *page) { return 0; }

static void any_put(void *arg, uint64_t i) {}

static const struct swsgx_owner_ops any_ops = { .name = "any",
						.get = any_get,
						.reclaim = any_page,
						.block = any_page,
						.write = any_write,
						.put = any_put };

#endif
