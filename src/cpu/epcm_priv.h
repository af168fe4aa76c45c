/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * One EPCM entry, 24 bytes, its lock, and what the manager of the EPC has beside it.
 *
 * The lock is tried, never waited for.  One word holds five kinds of hold.  Shared and exclusive are
 * the SDM's "base" accesses; three more are its "additional" ones: a leaf that changes the page's
 * attributes, one that changes the measurement, ETRACK.  A pin is what a translation in use is on
 * hardware: an ENCLU that works on the page, or a logical processor that is in the TCS.  A pin
 * conflicts with an exclusive hold only, and whoever wants that one learns that pins are all that is
 * in the way: on hardware the page could not have been tracked.
 *
 * A test that wants a conflict on purpose takes the hold itself.
 */
#ifndef SWSGX_CPU_EPCM_PRIV_H
#define SWSGX_CPU_EPCM_PRIV_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/sgx.h"
#include "cpu/cpu.h"

struct epcm_entry {
	_Atomic uint64_t attr; /* EPCM_*, and the linear address in the bits above */
	/* Where the contents are, a page's address; in the low bits the EPC page of the SECS, for TCS, REG and TRIM. */
	_Atomic uint64_t place;
	_Atomic uint32_t lock;
	_Atomic uint32_t stamp; /* epoch_stamp() of the last EBLOCK, EMODPR or EMODT */
	uint64_t beside[3];     /* the manager's: see cpu_records() */
};
static_assert(offsetof(struct epcm_entry, beside) == CPU_EPCM_BYTES &&
		      sizeof(struct epcm_entry) == CPU_RECORD_BYTES,
	      "of the 64 bytes of metadata a page may cost");

enum { EPCM_SECS_BITS = 29, EPCM_BYTES_SHIFT = SGX_PAGE_SHIFT };
#define EPCM_SECS      ((1ull << EPCM_SECS_BITS) - 1)
#define EPCM_BYTES_END (1ull << (64 - EPCM_SECS_BITS + EPCM_BYTES_SHIFT)) /* addresses are below */
static_assert(CPU_PAGE_NR_MAX <= EPCM_SECS, "any page may be a SECS, and all ones are none");

#define EPCM_VALID    0x001ull
#define EPCM_BLOCKED  0x002ull
#define EPCM_PENDING  0x004ull
#define EPCM_MODIFIED 0x008ull
#define EPCM_PR       0x010ull
#define EPCM_R        0x020ull
#define EPCM_W        0x040ull
#define EPCM_X        0x080ull
#define EPCM_RWX      0x0e0ull
#define EPCM_PT       0x700ull
#define EPCM_WAS_TCS  0x800ull /* ours: TRIM that was a TCS, and may still have somebody in it */
#define EPCM_LA       0xfffffffffffff000ull

#define EPCM_RWX_SHIFT 5
#define EPCM_PT_SHIFT  8

static inline uint64_t epcm_pt_bits(enum sgx_page_type pt)
{
	return (uint64_t)pt << EPCM_PT_SHIFT;
}

static inline enum sgx_page_type epcm_pt(uint64_t attr)
{
	return (enum sgx_page_type)((attr & EPCM_PT) >> EPCM_PT_SHIFT);
}

static inline uint64_t epcm_rwx_bits(uint64_t secinfo_flags)
{
	return (secinfo_flags & SGX_SECINFO_RWX) << EPCM_RWX_SHIFT;
}

/* The entry as SECINFO.FLAGS says it, and back; without VALID, BLOCKED and the address. */
uint64_t epcm_to_secinfo(uint64_t attr);
uint64_t epcm_from_secinfo(uint64_t flags);

static inline bool epcm_is_child(uint64_t attr)
{
	enum sgx_page_type pt = epcm_pt(attr);

	return pt == SGX_PT_REG || pt == SGX_PT_TCS || pt == SGX_PT_TRIM;
}

/* The bytes are a TCS, with a STATE: what is to be one is none before the enclave has accepted it. */
static inline bool epcm_has_tcs(uint64_t attr)
{
	if (!(attr & EPCM_VALID))
		return false;
	if (epcm_pt(attr) == SGX_PT_TCS)
		return !(attr & EPCM_MODIFIED);
	return attr & EPCM_WAS_TCS;
}

static inline uint64_t epcm_attr(const struct epcm_entry *e)
{
	return atomic_load_explicit(&e->attr, memory_order_acquire);
}

static inline uint32_t epcm_secs(const struct epcm_entry *e)
{
	return atomic_load_explicit(&e->place, memory_order_relaxed) & EPCM_SECS;
}

static inline void *epcm_bytes(const struct epcm_entry *e)
{
	uint64_t place = atomic_load_explicit(&e->place, memory_order_acquire);

	return (void *)(uintptr_t)(place >> EPCM_SECS_BITS << EPCM_BYTES_SHIFT);
}

/* Each leaves what the other is about. */
void epcm_set_secs(struct epcm_entry *e, uint32_t secs);
void epcm_set_bytes(struct epcm_entry *e, const void *bytes);

/*
 * Change attribute bits only: EBLOCK may set BLOCKED at the same moment, so it is one exchange. Returns what
 * was there before.
 */
uint64_t epcm_change(struct epcm_entry *e, uint64_t clear, uint64_t set);
/*
 * The page was changed in the epoch of @stamp, of its enclave's @track.  EBLOCK and EMODPR may be at it at once, with an
 * ETRACK between them: the later epoch stays, so that the page counts as tracked for both.
 */
void epcm_stamp(struct epcm_entry *e, const _Atomic uint64_t *track, uint32_t stamp);
/* A new page: everything but the lock and the contents. */
void epcm_install(struct epcm_entry *e, uint64_t attr, uint32_t secs);
void epcm_invalidate(struct epcm_entry *e);

/* ---- holds --------------------------------------------------------------------------------- */

#define EPCM_LOCK_SHARED    0x00000001u
#define EPCM_LOCK_SHARED_NR 0x00001fffu
#define EPCM_LOCK_EXCLUSIVE 0x00002000u
#define EPCM_LOCK_MODIFY    0x00004000u /* EACCEPT, EACCEPTCOPY, EMODPE, EMODPR, EMODT */
#define EPCM_LOCK_MEASURE   0x00008000u /* of a SECS: EADD, EEXTEND, EINIT */
#define EPCM_LOCK_TRACK     0x00010000u /* of a SECS: ETRACK, ETRACKC */
#define EPCM_LOCK_PIN       0x00020000u
#define EPCM_LOCK_PIN_NR    0xfffe0000u

enum epcm_try { EPCM_GOT, EPCM_CONFLICT, EPCM_PINNED };

bool epcm_try_shared(struct epcm_entry *e);
void epcm_put_shared(struct epcm_entry *e);
/* EPCM_PINNED, and nothing taken, when pins are all that is in the way. */
enum epcm_try epcm_try_exclusive(struct epcm_entry *e);
/*
 * For a leaf that leaves the contents alone, and for one that fills an invalid page: whoever has
 * pinned that has yet to find out that it is not the page it wants.
 */
bool epcm_try_exclusive_pinned(struct epcm_entry *e);
void epcm_put_exclusive(struct epcm_entry *e);
/* One of MODIFY, MEASURE, TRACK. */
bool epcm_try_extra(struct epcm_entry *e, uint32_t which);
void epcm_put_extra(struct epcm_entry *e, uint32_t which);
bool epcm_try_pin(struct epcm_entry *e);
void epcm_put_pin(struct epcm_entry *e);
/* Whoever held it is dead: @pin_nr pins stay. */
void epcm_break(struct epcm_entry *e, unsigned int pin_nr);
unsigned int epcm_pin_nr(const struct epcm_entry *e);

#endif
