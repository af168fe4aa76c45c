/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * One table a leaf, one row a check of its pseudo-code, in its order.  Each row starts from a state
 * in which the leaf succeeds and spoils one thing; a leaf that fails must have changed nothing.
 */
#ifndef SWSGX_TESTS_LEAF_TABLE_H
#define SWSGX_TESTS_LEAF_TABLE_H

#include <string.h>

#include "cpu/cpu_priv.h"
#include "cpu/secs.h"
#include "leaf/machine.h"
#include "lib/tap.h"

struct row {
	const char *name;
	void (*spoil)(struct machine *m); /* NULL: nothing is spoilt */
	uint8_t fault;
	uint32_t eax;
};

#define OK      CPU_NO_FAULT, SGX_OK
#define GP      CPU_GP, SGX_OK
#define PF      CPU_PF, SGX_OK
#define CODE(c) CPU_NO_FAULT, (c)

struct leaf_test {
	const char *leaf;
	void (*config)(struct cpu_config *config); /* NULL: machine_config() alone */
	void (*setup)(struct machine *m);
	struct cpu_outcome (*run)(struct machine *m);
	uint32_t completes_with; /* a code with which the leaf does its work all the same */
	bool registers;          /* an ENCLU leaf: a code goes to RAX and RFLAGS, RIP moves on */
};

static inline struct epcm_entry *entry(struct machine *m, uint32_t page)
{
	return &m->cpu->epcm[page];
}

static inline struct secs_page *secs_of(struct machine *m)
{
	return (struct secs_page *)m->epc[P_SECS];
}

__attribute__((unused)) static void run_row(const struct leaf_test *t, const struct row *row)
{
	static struct snapshot before;
	struct cpu_config config;
	struct machine *m;
	struct cpu_outcome out;

	machine_config(&config);
	if (t->config)
		t->config(&config);
	m = machine_new(&config);
	t->setup(m);
	if (row->spoil)
		row->spoil(m);
	snapshot_take(m, &before);
	out = t->run(m);
	if (t->registers && out.fault == CPU_NO_FAULT)
		before.regs = m->regs;
	if (!TAP_CHECK(out.fault == row->fault &&
			       (out.fault != CPU_NO_FAULT || out.eax == row->eax),
		       "%s: %s", t->leaf, row->name))
		printf("# fault %u eax %u, wanted %u %u\n", out.fault, out.eax, row->fault,
		       row->eax);
	if (!cpu_ok(out) && !(t->completes_with && is_code(out, t->completes_with)))
		TAP_CHECK(snapshot_same(m, &before), "%s: %s: nothing changed", t->leaf, row->name);
	machine_free(m);
}

#define RUN_ROWS(test, rows)                                                   \
	do {                                                                   \
		for (size_t i_ = 0; i_ < sizeof(rows) / sizeof(*(rows)); i_++) \
			run_row(&(test), &(rows)[i_]);                         \
	} while (0)

#endif
