/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The memory of a program that 'swsgx stat' reads, when the program is no friend: the bytes are what it wrote over it, and
 * where.  Whoever reads gets a sample that holds together, or is told that there is none; and what is shown of it is a
 * table of text, or JSON, whatever the numbers are.
 */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/look.h"
#include "cli/session.h"
#include "cli/stat_show.h"
#include "epc/epc_priv.h"
#include "epc/peek.h"
#include "epc/refault_priv.h"
#include "fuzz/fuzz.h"
#include "lib/fake_owner.h"

enum { PAGES = 64, GROUPS = 4, WRITES_MAX = 8 };

static struct fake_machine m;
static struct epc_group *group[GROUPS];
static struct fake_owner *owner[GROUPS];

/* As a larger EPC has them. */
static void make_refaults(void)
{
	struct refaults *refaults = arena_alloc(m.arena, sizeof(*refaults));

	must(refaults, "refaults");
	atomic_store(&refaults->spared[1], 2);
	atomic_store(&refaults->beyond, 1);
	atomic_store(&m.epc->refaults.there, refaults);
}

static void make(void)
{
	static const char *const names[GROUPS] = { "", "a", "b", "c" };
	struct epc_group_limits limits = EPC_GROUP_UNLIMITED;
	struct epc_config config = { .shards = 2 };
	struct cpu_config cpu;

	cpu_config_default(&cpu, PAGES * SGX_PAGE_SIZE);
	m.arena = config.arena = cpu.arena = arena_create_shown(8u << 20);
	m.cpu = config.cpu = cpu_create(&cpu);
	must(m.arena && m.cpu && epc_create(&config, &m.epc) == 0, "an EPC");
	group[0] = epc_group_root(m.epc);
	for (unsigned int i = 0; i < GROUPS; i++) {
		if (i)
			must(epc_group_create(group[i / 2], names[i], &limits, &group[i]) == 0,
			     "group");
		owner[i] = fake_owner_create(m.epc, i, 8, true);
		for (unsigned int p = 0; p < 4; p++)
			must(fake_use(owner[i], p, 0) == 0, "a page");
	}
	make_refaults();
}

/* Mostly what is followed or counted by. */
static uint8_t *where(uint8_t what, uint16_t offset)
{
	struct epc *epc = m.epc;
	struct {
		void *at;
		size_t bytes;
	} part[] = {
		{ m.arena, sizeof(struct look_mark) },
		{ epc, sizeof(*epc) },
		{ group[0], sizeof(*group[0]) },
		{ group[1], sizeof(*group[0]) },
		{ group[3], sizeof(*group[0]) },
		{ epc->shard, 2 * sizeof(*epc->shard) },
		{ epc->section, sizeof(*epc->section) },
		{ epc->pages, PAGES * sizeof(*epc->pages) },
		{ epc->backing, 256 },
		{ LIST_ENTRY(group[0]->owners.next, struct epc_owner, node),
		  sizeof(struct epc_owner) },
		{ LIST_ENTRY(group[0]->owners.prev, struct epc_owner, node),
		  sizeof(struct epc_owner) },
		{ m.arena, 1 << 20 },
	};
	unsigned int i = what % (sizeof(part) / sizeof(part[0]));

	return (uint8_t *)part[i].at + offset % (part[i].bytes / 8) * 8;
}

static void check(const struct epc_sample *s)
{
	must(s->group_nr > 0 && s->group_nr <= EPC_GROUPS_MAX, "groups");
	must(s->section_nr <= EPC_SAMPLE_SECTIONS, "sections");
	for (unsigned int i = 0; i < s->group_nr; i++) {
		must(i ? s->group[i].parent >= 0 && s->group[i].parent < (int)i
		       : s->group[i].parent == -1,
		     "parents come before children");
		must(memchr(s->group[i].info.name, 0, sizeof(s->group[i].info.name)),
		     "a name ends");
	}
	for (unsigned int i = 0; i < s->owner_nr; i++) {
		must(s->owner[i].group < s->group_nr, "an owner is in a group");
		must(memchr(s->owner[i].info.name, 0, sizeof(s->owner[i].info.name)),
		     "a name ends");
	}
}

/* Everything that is shown goes to standard output. */
static void show(const struct epc_sample *sample, bool json)
{
	struct session_process process = { .pid = 1 };
	struct session session = { .nr = 1, .process = &process, .program = "program" };
	const struct stat_row row = { &session, sample->stats, sample->owner_nr, NULL };
	struct stat_part part = { .session = &session, .sample = sample };
	struct stat_part *parts[] = { &part, &part };
	struct json_tokener *parser = json_tokener_new();
	struct json_object *object;
	struct stat_show *shown = NULL;
	FILE *terminal = stdout;
	char *text = NULL;
	size_t bytes = 0;

	must(parser && stat_show_create(json, !json, &shown) == 0, "memory");
	stdout = open_memstream(&text, &bytes);
	must(stat_show_samples(shown, parts, 1) == 0, "it is shown");
	must(json || stat_show_samples(shown, parts, 2) == 0, "and with rates");
	if (!json)
		must(stat_show_list(shown, &row, 1) == 0, "and in a list");
	fclose(stdout);
	stat_part_fini(&part);
	stdout = terminal;
	for (size_t i = 0; i < bytes; i++)
		must(text[i] == '\n' || (text[i] >= ' ' && text[i] <= '~'), "it is text");
	if (json) {
		json_tokener_set_flags(parser, JSON_TOKENER_STRICT);
		object = json_tokener_parse_ex(parser, text, (int)bytes);
		must(json_object_is_type(object, json_type_object), "it is an object of JSON");
		json_object_put(object);
	}
	json_tokener_free(parser);
	stat_show_destroy(shown);
	free(text);
}

static void look(void)
{
	const struct epc_sample *sample;
	struct epc_peek *peek;
	struct look *look;
	int r = look_open(arena_fd(m.arena), &look);

	must(r == 0 || r == -EINVAL, "a file to look at, or none");
	if (r < 0)
		return;
	r = epc_peek_open(look, &peek);
	must(r == 0 || r == -ESRCH || r == -EPROTO, "an EPC, or none");
	if (r == 0) {
		r = epc_peek_read(peek, &sample);
		must(r == 0 || r == -ESRCH || r == -ENOMEM, "a sample, or none");
		if (r == 0) {
			check(sample);
			show(sample, false);
			show(sample, true);
		}
		epc_peek_close(peek);
	}
	look_close(look);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nr)
{
	struct {
		uint8_t what, how;
		uint16_t offset;
		uint64_t value;
	} __attribute__((packed)) w[WRITES_MAX];
	uint8_t *at[WRITES_MAX];
	uint64_t was[WRITES_MAX], value;
	unsigned int n = 0;

	if (!m.epc)
		make();
	for (; n < WRITES_MAX && overlay(&w[n], sizeof(w[n]), &bytes, &nr) == sizeof(w[n]); n++)
		at[n] = where(w[n].what, w[n].offset);
	for (unsigned int i = 0; i < n; i++) {
		memcpy(&was[i], at[i], 8);
		value = w[i].value;
		if (w[i].how % 3 == 1)
			value = was[i] ^ 1ull << value % 64;
		if (w[i].how % 3 == 2) /* a pointer to another such place */
			value = (uintptr_t)where((uint8_t)value, (uint16_t)(value >> 8));
		memcpy(at[i], &value, 8);
	}
	look();
	while (n-- > 0)
		memcpy(at[n], &was[n], 8);
	return 0;
}
