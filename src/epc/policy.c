/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* The policies there are.  The first is the default. */
#include "epc/policy.h"

#include <errno.h>
#include <string.h>

#include "base/arena.h"
#include "epc/policy_duel.h"
#include "epc/policy_ghost.h"
#include "epc/policy_sample.h"

static const struct epc_policy *const policies[] = {
	&policy_adaptive, /* LIRS's order, CLOCK's or Linux's, whichever does best */
	&policy_upstream, /* Linux's */
	&policy_clock,    /* CLOCK */
	&policy_sieve,    /* SIEVE */
	&policy_s3fifo,   /* S3-FIFO */
	&policy_lirs,     /* LIRS */
	&policy_clockpro, /* CLOCK-Pro */
	NULL,
};

const struct epc_policy *policy_at(unsigned int i)
{
	return i < sizeof(policies) / sizeof(policies[0]) ? policies[i] : NULL;
}

const struct epc_policy *policy_find(const char *name)
{
	unsigned int i;

	if (!name)
		return policies[0];
	for (i = 0; policies[i]; i++) {
		if (!strcmp(policies[i]->name, name))
			return policies[i];
	}
	return NULL;
}

static void init_shadows(struct policy_view *view, uint64_t room)
{
	uint64_t ghosts = ghosts_bytes(view->ghosts);

	view->shadows = shadows_create(view->page_nr, room > ghosts ? room - ghosts : 0);
	if (view->shadows)
		view->samples =
			samples_create(view->arena, view->page_nr, shadows_node_nr(view->shadows));
}

int policy_view_init(struct policy_view *view, uint64_t room)
{
	view->ghosts = ghosts_create(view->page_nr);
	if (view->ghosts)
		init_shadows(view, room);
	if (view->samples)
		return 0;
	policy_view_fini(view);
	return -ENOMEM;
}

void policy_view_fini(struct policy_view *view)
{
	shadows_destroy(view->shadows);
	ghosts_destroy(view->ghosts);
	samples_destroy(view->samples, view->arena);
}
