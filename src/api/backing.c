/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The installed API (include/swsgx/backing.h): contents of an owner's pages, encrypted, in the store of the EPC.
 *
 * An entry is a slot of the store and the version that its contents have.  No version is used twice with a key, and it stays
 * in memory: contents that are changed, older, or another entry's do not decrypt.  Who has a slot is written by the store
 * in one step with its taking; an entry that a process died in has a slot and no contents to speak of, and is written
 * anew, slot and all.
 */
#include "epc/backing.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <swsgx/backing.h>

#include "api/api_priv.h"
#include "arch/sgx.h"
#include "base/arena.h"
#include "cpu/cpu.h"

struct slot_entry {
	uint32_t slot;    /* BACKING_NO_SLOT: empty */
	uint64_t version; /* 0: not written to the end */
};
static_assert(sizeof(struct slot_entry) == 16, "as swsgx_slots_create() says");

struct swsgx_slots {
	struct swsgx_epc *epc;
	struct backing *backing;
	uint32_t nr;
	struct slot_entry entry[];
};

/* All that there is to say of contents is in the version. */
static const uint8_t no_aad[PAGE_AAD_BYTES];

static size_t slots_bytes(uint32_t nr)
{
	return sizeof(struct swsgx_slots) + nr * sizeof(struct slot_entry);
}

static void *bytes_of(const struct swsgx_slots *slots, struct swsgx_page *page)
{
	return cpu_bytes(slots->epc->cpu, epc_page_nr(slots->epc->epc, api_page(page)));
}

int swsgx_slots_create(struct swsgx_epc *epc, uint32_t nr, struct swsgx_slots **ret_slots)
{
	struct swsgx_slots *slots;

	if (nr == 0)
		return -EINVAL;
	slots = arena_alloc(epc->arena, slots_bytes(nr));
	if (!slots)
		return -ENOMEM;
	slots->epc = epc;
	slots->backing = epc_backing(epc->epc);
	slots->nr = nr;
	for (uint32_t i = 0; i < nr; i++)
		slots->entry[i].slot = BACKING_NO_SLOT;
	*ret_slots = slots;
	return 0;
}

/* The version first: whoever dies in between has left no entry that says that it has contents, and has no slot. */
static void entry_clear(struct swsgx_slots *slots, struct slot_entry *entry)
{
	entry->version = 0;
	atomic_signal_fence(memory_order_seq_cst);
	if (entry->slot != BACKING_NO_SLOT)
		backing_free(slots->backing, &entry->slot);
}

void swsgx_slots_destroy(struct swsgx_slots *slots)
{
	if (!slots)
		return;
	for (uint32_t i = 0; i < slots->nr; i++)
		entry_clear(slots, &slots->entry[i]);
	arena_free(slots->epc->arena, slots, slots_bytes(slots->nr));
}

int swsgx_slot_write(struct swsgx_slots *slots, uint32_t i, struct swsgx_page *page)
{
	struct slot_entry *entry;
	struct sgx_pcmd *pcmd;
	uint64_t version;
	int r;

	if (i >= slots->nr)
		return -EINVAL;
	if (epc_page_poisoned(api_page(page)))
		return -EHWPOISON;
	entry = &slots->entry[i];
	entry_clear(slots, entry);
	r = backing_alloc(slots->backing, &entry->slot);
	if (r < 0)
		return r;
	version =
		atomic_fetch_add_explicit(&slots->epc->slots_version, 1, memory_order_relaxed) + 1;
	pcmd = backing_pcmd(slots->backing, entry->slot);
	memset(pcmd, 0, sizeof(*pcmd));
	page_encrypt(&slots->epc->slots_key, version, no_aad, bytes_of(slots, page),
		     backing_page(slots->backing, entry->slot), pcmd->mac);
	entry->version = version;
	backing_complete(slots->backing, entry->slot);
	return 0;
}

int swsgx_slot_read(struct swsgx_slots *slots, uint32_t i, struct swsgx_page *page)
{
	const struct slot_entry *entry;
	int r;

	if (i >= slots->nr)
		return -EINVAL;
	entry = &slots->entry[i];
	if (entry->version == 0)
		return -ENOENT;
	r = backing_fetch(slots->backing, entry->slot);
	if (r < 0)
		return r;
	if (!page_decrypt(&slots->epc->slots_key, entry->version, no_aad,
			  backing_page(slots->backing, entry->slot), bytes_of(slots, page),
			  backing_pcmd(slots->backing, entry->slot)->mac))
		return -EBADMSG;
	return 0;
}

void swsgx_slot_free(struct swsgx_slots *slots, uint32_t i)
{
	assert(i < slots->nr);
	entry_clear(slots, &slots->entry[i]);
}
