/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* An EPC, and the same one as another process would look at it. */
#ifndef SWSGX_TESTS_SEEN_H
#define SWSGX_TESTS_SEEN_H

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/look.h"
#include "epc/peek.h"
#include "lib/fake_owner.h"
#include "lib/tap.h"

struct seen {
	struct fake_machine m;
	struct look *look;
	struct epc_peek *peek;
	int fd; /* as another process has it */
};

/* Of the sections in @cpu. */
static void seen_open(struct seen *s, struct cpu_config *cpu, unsigned int shards,
		      size_t arena_bytes)
{
	struct epc_config config = { .shards = shards };
	char path[32];

	s->m.arena = config.arena = cpu->arena = arena_create_shown(arena_bytes);
	s->m.cpu = config.cpu = cpu_create(cpu);
	TAP_MUST(s->m.arena && s->m.cpu && epc_create(&config, &s->m.epc) == 0, "an EPC");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", arena_fd(s->m.arena));
	s->fd = open(path, O_RDONLY | O_CLOEXEC);
	TAP_MUST(s->fd >= 0 && look_open(s->fd, &s->look) == 0 &&
			 epc_peek_open(s->look, &s->peek) == 0,
		 "it can be looked at");
	epc_peek_count_every(s->peek, 0);
}

static void seen_destroy(struct seen *s)
{
	epc_peek_close(s->peek);
	look_close(s->look);
	close(s->fd);
	fake_machine_destroy(&s->m);
}

#endif
