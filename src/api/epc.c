/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The installed API (include/swsgx/epc.h) over the manager: an EPC as a whole.
 *
 * What a program may get wrong at its making is answered; what the manager would find by an assertion, it finds.
 */
#include <swsgx/epc.h>

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "api/api_priv.h"
#include "arch/sgx.h"
#include "base/arena.h"
#include "cpu/cpu.h"
#include "crypto/random.h"

#define ARENA_BYTES   (64ull << 20)
#define EPC_PAGES_MIN 16u
#define EPC_BYTES_MAX (1ull << 40) /* as of swsgx run; pages are numbered in 32 bits */
#define NODES         1024         /* as many as Linux can be made to know */

static_assert(SWSGX_PAGE_SIZE == SGX_PAGE_SIZE, "pages of the API are the processor's");
static_assert(SWSGX_SECTIONS_MAX == sizeof(((struct cpu_config *)0)->section) /
					    sizeof(((struct cpu_config *)0)->section[0]),
	      "as many sections as the processor shows");
static_assert(sizeof(struct swsgx_section_config) == 16, "part of the ABI");
static_assert(sizeof(struct swsgx_epc_config) == 120 &&
		      offsetof(struct swsgx_epc_config, reserved) == 56,
	      "part of the ABI");

static bool section_ok(const struct swsgx_section_config *section)
{
	return section->bytes > 0 && section->bytes % SGX_PAGE_SIZE == 0 &&
	       section->bytes <= EPC_BYTES_MAX && section->node >= SWSGX_NO_NODE &&
	       section->node < NODES && section->reserved == 0;
}

static bool sections_ok(const struct swsgx_section_config *section, uint32_t nr)
{
	uint64_t bytes = 0;
	uint32_t i;

	if (nr > SWSGX_SECTIONS_MAX)
		return false;
	for (i = 0; i < nr; i++) {
		if (!section_ok(&section[i]))
			return false;
		bytes += section[i].bytes;
	}
	return bytes >= EPC_PAGES_MIN * SGX_PAGE_SIZE && bytes <= EPC_BYTES_MAX;
}

static bool config_ok(const struct swsgx_epc_config *config)
{
	return config->reserved32 == 0 && api_is_zero(config->reserved, sizeof(config->reserved)) &&
	       config->shared_bytes <= EPC_BYTES_MAX && !(config->bytes && config->section_nr);
}

/* The processor's sections, of what is asked for: false when it makes no sense. */
static bool configure_cpu(struct cpu_config *cpu_config, const struct swsgx_epc_config *config)
{
	const struct swsgx_section_config one = { .bytes = config->bytes, .node = SWSGX_NO_NODE };
	const struct swsgx_section_config *section = config->section_nr ? config->section : &one;
	uint32_t nr = config->section_nr ? config->section_nr : 1, i;

	if (!config_ok(config) || !sections_ok(section, nr))
		return false;
	cpu_config_default(cpu_config, section[0].bytes);
	cpu_config->section[0].node = section[0].node;
	for (i = 1; i < nr; i++) {
		if (!cpu_config_add_section(cpu_config, section[i].bytes, section[i].node))
			return false;
	}
	return true;
}

/* What the program asked for, and behind it the records of pages, which others look at too (swsgx stat). */
static size_t arena_bytes(const struct swsgx_epc_config *config,
			  const struct cpu_config *cpu_config)
{
	return (config->shared_bytes ? config->shared_bytes : ARENA_BYTES) +
	       arena_map_bytes((size_t)cpu_config->page_nr * CPU_RECORD_BYTES);
}

static void make_key(struct swsgx_epc *epc)
{
	uint8_t raw[16];

	random_bytes(raw, sizeof(raw));
	page_key_init(&epc->slots_key, raw);
	explicit_bzero(raw, sizeof(raw));
}

int swsgx_epc_create(const struct swsgx_epc_config *config, struct swsgx_epc **ret_epc)
{
	struct epc_config epc_config = { .policy = config->policy,
					 .backing_path = config->backing_path,
					 .backing_bytes_max = config->backing_bytes_max };
	struct cpu_config cpu_config;
	struct swsgx_epc *epc;
	struct arena *arena;
	int r = -ENOMEM;

	if (!configure_cpu(&cpu_config, config))
		return -EINVAL;
	arena = arena_create_shown(arena_bytes(config, &cpu_config));
	if (!arena)
		return -ENOMEM;
	epc = arena_alloc(arena, sizeof(*epc));
	if (!epc)
		goto destroy_arena;
	epc->arena = arena;
	make_key(epc);
	cpu_config.arena = arena;
	epc->cpu = cpu_create(&cpu_config);
	if (!epc->cpu)
		goto destroy_arena;
	epc_config.cpu = epc->cpu;
	epc_config.arena = arena;
	r = epc_create(&epc_config, &epc->epc);
	if (r < 0)
		goto destroy_cpu;
	*ret_epc = epc;
	return 0;

destroy_cpu:
	cpu_destroy(epc->cpu);
destroy_arena:
	arena_destroy(arena);
	return r;
}

void swsgx_epc_destroy(struct swsgx_epc *epc)
{
	if (!epc)
		return;
	epc_destroy(epc->epc);
	cpu_destroy(epc->cpu);
	explicit_bzero(&epc->slots_key, sizeof(epc->slots_key));
	arena_destroy(epc->arena);
}

void *swsgx_shared_alloc(struct swsgx_epc *epc, size_t bytes)
{
	return bytes ? arena_alloc(epc->arena, bytes) : NULL;
}

void swsgx_shared_free(struct swsgx_epc *epc, void *p, size_t bytes)
{
	if (p)
		arena_free(epc->arena, p, bytes);
}

unsigned int swsgx_epc_reclaim(struct swsgx_epc *epc)
{
	return epc_reclaim(epc->epc);
}

void swsgx_epc_recover(struct swsgx_epc *epc)
{
	epc_recover(epc->epc);
}

int swsgx_background_run(struct swsgx_epc *epc)
{
	return epc_background_run(epc->epc);
}

void swsgx_background_stop(struct swsgx_epc *epc)
{
	epc_background_stop(epc->epc);
}

int swsgx_epc_poison(struct swsgx_epc *epc, uint32_t nr)
{
	return epc_poison(epc->epc, nr);
}

int swsgx_epc_audit(struct swsgx_epc *epc, unsigned int flags, char *why, size_t bytes)
{
	if (flags & ~SWSGX_AUDIT_LIVE)
		return -EINVAL;
	return (int)epc_audit(epc->epc, flags & SWSGX_AUDIT_LIVE, why, bytes);
}
