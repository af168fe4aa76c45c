/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * One processor: its EPCM, its paging key, its counters, its limits.
 *
 * The instance and the EPCM are shared mappings without pointers to private memory, so that every
 * process of a fork tree sees the same processor.
 *
 * Not here: leaves (encls_*.c, enclu_*.c), CPUID (cpuid.c), fused secrets (platform.c).
 */
#include "cpu/cpu.h"

#include <string.h>
#include <sys/mman.h>

#include "base/arena.h"
#include "cpu/cpu_priv.h"
#include "cpu/epoch.h"
#include "cpu/secs.h"
#include "crypto/random.h"

/* 0 is what an empty slot holds; and EDBGRD takes a slot for empty whose upper 61 bits are 0. */
#define FIRST_VERSION 8u

#define XSAVE_LEGACY_BYTES 576u /* FXSAVE image and header */
#define XSAVE_EXTENDED     (~3ull & ~(1ull << 63))

/* Changes with the layout of what cpu_look_epcm() looks at. */
#define EPCM_LAYOUT                                                                            \
	((uint64_t)sizeof(struct epcm_entry) << 32 | offsetof(struct epcm_entry, attr) << 16 | \
	 EPCM_PT)

struct cpu *cpu_create(const struct cpu_config *config)
{
	size_t epcm_bytes = (size_t)config->page_nr * sizeof(struct epcm_entry);
	struct cpu *cpu = shared_map(sizeof(*cpu));
	uint8_t raw[16];

	assert(config->page_nr <= CPU_PAGE_NR_MAX);
	if (!cpu)
		return NULL;
	cpu->epcm = arena_map(config->arena, epcm_bytes);
	if (!cpu->epcm) {
		munmap(cpu, sizeof(*cpu));
		return NULL;
	}
	cpu->epcm_bytes = epcm_bytes;
	cpu->config = *config;
	if (config->arena)
		arena_show(config->arena, LOOK_EPCM, cpu->epcm, EPCM_LAYOUT);
	random_bytes(raw, sizeof(raw));
	page_key_init(&cpu->paging_key, raw);
	explicit_bzero(raw, sizeof(raw));
	memcpy(cpu->microcode_svn, config->fuses.cpusvn, sizeof(cpu->microcode_svn));
	atomic_init(&cpu->next_version, FIRST_VERSION);
	atomic_init(&cpu->next_eid, 1);
	return cpu;
}

void cpu_destroy(struct cpu *cpu)
{
	if (!cpu)
		return;
	if (cpu->config.arena)
		arena_show(cpu->config.arena, LOOK_EPCM, NULL, 0);
	arena_unmap(cpu->config.arena, cpu->epcm, cpu->epcm_bytes);
	munmap(cpu, sizeof(*cpu));
}

const struct cpu_config *cpu_get_config(const struct cpu *cpu)
{
	return &cpu->config;
}

void cpu_set_bytes(struct cpu *cpu, uint32_t page, void *bytes)
{
	assert(cpu_is_epc(cpu, page));
	epcm_set_bytes(&cpu->epcm[page], bytes);
}

void *cpu_bytes(const struct cpu *cpu, uint32_t page)
{
	assert(cpu_is_epc(cpu, page));
	return epcm_bytes(&cpu->epcm[page]);
}

void cpu_prefetch_version(const struct cpu *cpu, uint32_t va, uint32_t slot)
{
	const uint64_t *bytes = cpu_bytes(cpu, va);

	if (bytes)
		__builtin_prefetch(bytes + slot);
}

void *cpu_records(struct cpu *cpu)
{
	return cpu->epcm;
}

static struct cpu_epcm epcm_read(const struct epcm_entry *entry)
{
	uint64_t attr = epcm_attr(entry);

	if (!(attr & EPCM_VALID))
		return (struct cpu_epcm){ .secs = CPU_NO_PAGE };
	return (struct cpu_epcm){
		.valid = true,
		.blocked = attr & EPCM_BLOCKED,
		.pending = attr & EPCM_PENDING,
		.modified = attr & EPCM_MODIFIED,
		.pr = attr & EPCM_PR,
		.type = (uint8_t)epcm_pt(attr),
		.rwx = (uint8_t)((attr & EPCM_RWX) >> EPCM_RWX_SHIFT),
		.secs = epcm_is_child(attr) ? epcm_secs(entry) : CPU_NO_PAGE,
		.la = attr & EPCM_LA,
	};
}

struct cpu_epcm cpu_epcm_read(const struct cpu *cpu, uint32_t page)
{
	assert(cpu_is_epc(cpu, page));
	return epcm_read(&cpu->epcm[page]);
}

struct cpu_look cpu_look(const struct look *look, uint32_t page_nr)
{
	uint64_t layout;
	uint64_t at = look_root(look, LOOK_EPCM, &layout);

	if (layout != EPCM_LAYOUT)
		return (struct cpu_look){ NULL };
	return (struct cpu_look){ look_at(look, at, page_nr * sizeof(struct epcm_entry),
					  _Alignof(struct epcm_entry)) };
}

struct cpu_epcm cpu_look_epcm(struct cpu_look epcm, uint32_t page)
{
	return epcm_read(&epcm.entry[page]);
}

static struct secs_page *assert_secs(const struct cpu *cpu, uint32_t secs)
{
	uint64_t attr;

	assert(cpu_is_epc(cpu, secs));
	attr = epcm_attr(&cpu->epcm[secs]);
	assert(attr & EPCM_VALID && epcm_pt(attr) == SGX_PT_SECS);
	return secs_page(cpu, secs);
}

void cpu_track_flush(struct cpu *cpu, uint32_t secs)
{
	epoch_flush(&assert_secs(cpu, secs)->own.track);
}

uint32_t cpu_active_nr(const struct cpu *cpu, uint32_t secs)
{
	return epoch_active_nr(&assert_secs(cpu, secs)->own.track);
}

/* ---- XFRM and MISCSELECT ------------------------------------------------------------------- */

size_t cpu_xsave_size(const struct cpu *cpu, uint64_t xfrm)
{
	size_t size = XSAVE_LEGACY_BYTES;

	/* Every entry asks: only the bits that are set are looked at. */
	for (xfrm &= XSAVE_EXTENDED; xfrm; xfrm &= xfrm - 1) {
		unsigned int i = (unsigned int)__builtin_ctzll(xfrm);
		size_t end = (size_t)cpu->config.xsave_offset[i] + cpu->config.xsave_size[i];

		if (end > size)
			size = end;
	}
	return size;
}

size_t cpu_misc_size(uint32_t miscselect)
{
	return miscselect & SGX_MISC_EXINFO ? sizeof(struct sgx_exinfo) : 0;
}

static bool all_or_none(uint64_t xfrm, uint64_t bits)
{
	return (xfrm & bits) == 0 || (xfrm & bits) == bits;
}

/* What XSETBV would take, of what this processor permits. */
bool cpu_xfrm_legal(const struct cpu *cpu, uint64_t xfrm)
{
	const uint64_t sse = 1u << 1, avx = 1u << 2, mpx = 3u << 3, avx512 = 7u << 5;
	const uint64_t amx = 3u << 17;

	if (xfrm & ~cpu->config.xfrm_mask)
		return false;
	if ((xfrm & SGX_XFRM_LEGACY) != SGX_XFRM_LEGACY)
		return false;
	if (xfrm & avx && !(xfrm & sse))
		return false;
	if (xfrm & avx512 && !(xfrm & avx))
		return false;
	return all_or_none(xfrm, mpx) && all_or_none(xfrm, avx512) && all_or_none(xfrm, amx);
}
