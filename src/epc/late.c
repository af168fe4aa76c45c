/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * See late_priv.h.
 *
 * Two may need it at once, also of two processes: the one that comes later gives its own back.
 */
#include "epc/epc_priv.h"

void *late_make(struct epc *epc, struct late *late, const struct late_kind *kind,
		unsigned int index)
{
	void *made = late_there(late), *other = NULL;

	if (made)
		return made;
	made = arena_alloc(epc->arena, kind->bytes);
	if (!made)
		return NULL;
	kind->init(made, index);
	if (atomic_compare_exchange_strong(&late->there, &other, made)) {
		epc_grew(epc, kind->bytes);
		return made;
	}
	kind->fini(made);
	arena_free(epc->arena, made, kind->bytes);
	return other;
}

void late_fini(struct epc *epc, struct late *late, const struct late_kind *kind)
{
	void *made = late_there(late);

	if (!made)
		return;
	kind->fini(made);
	arena_free(epc->arena, made, kind->bytes);
}
