/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* The manager over a file that fails, is full, or lies: pages stay in the EPC, allocations are told, nothing is lost. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "epc/backing.h"
#include "lib/fake_owner.h"
#include "lib/tap.h"

enum { EPC_PAGES = 64, PAGES = 1000 };

static struct epc_stats stats_of(struct epc *epc)
{
	struct epc_stats stats;

	epc_stats_read(epc, &stats);
	return stats;
}

static void check_audit(struct epc *epc, const char *when)
{
	char why[200];
	unsigned int faults = epc_audit(epc, false, why, sizeof(why));

	TAP_CHECK(faults == 0, "audit %s%s%s", when, faults ? ": " : "", why);
}

static unsigned int sweep(struct fake_owner *owner)
{
	unsigned int ok = 0;
	uint32_t i;

	for (i = 0; i < owner->page_nr; i++)
		ok += fake_use_surely(owner, i);
	return ok;
}

static void test_failing(const char *dir, int err)
{
	struct backing_faults faults = { .write = err }, none = { 0 };
	struct fake_owner *owner;
	struct fake_machine m;
	struct epc_stats s;
	unsigned int had;
	uint32_t resident;

	TAP_MUST(fake_machine_create(&m, EPC_PAGES, NULL, dir, 0) == 0, "an EPC over a file");
	owner = fake_owner_create(m.epc, 1, PAGES, true);
	TAP_CHECK(sweep(owner) == PAGES && sweep(owner) == PAGES && owner->wrong == 0,
		  "pages go to the file and come back");
	s = stats_of(m.epc);
	TAP_CHECK(s.backing_written > PAGES && s.backing_read > PAGES / 2 && s.backing_waiting < 64,
		  "%lu were written, %lu read", (unsigned long)s.backing_written,
		  (unsigned long)s.backing_read);
	backing_fail_file(epc_backing(m.epc), &faults);
	had = sweep(owner);
	s = stats_of(m.epc);
	resident = fake_resident(owner);
	TAP_CHECK(had < PAGES && s.backing_write_errors > 0 && s.backing_refused > 0,
		  "writes fail with %d: %u of %u uses can be served", err, had, PAGES);
	TAP_CHECK(resident == EPC_PAGES && s.backing_waiting <= 384,
		  "the EPC is full of pages that stay, %lu wait in memory",
		  (unsigned long)s.backing_waiting);
	check_audit(m.epc, "while writes fail");
	backing_fail_file(epc_backing(m.epc), &none);
	TAP_CHECK(sweep(owner) == PAGES && owner->wrong == 0,
		  "when they work again, every page is there");
	fake_owner_put(owner);
	s = stats_of(m.epc);
	TAP_CHECK(s.backing_slots == 0 && s.backing_waiting == 0,
		  "and the store is empty at last, with nothing that waits for the file");
	check_audit(m.epc, "at the end");
	fake_machine_destroy(&m);
}

static void test_unreadable(const char *dir)
{
	struct backing_faults faults = { .read = -EIO }, none = { 0 };
	unsigned int failed = 0, other = 0;
	struct fake_owner *owner;
	struct fake_machine m;
	uint32_t i;
	int r;

	fake_machine_create(&m, EPC_PAGES, NULL, dir, 0);
	owner = fake_owner_create(m.epc, 1, PAGES, false);
	sweep(owner);
	backing_fail_file(epc_backing(m.epc), &faults);
	for (i = 0; i < PAGES; i++) {
		r = fake_use(owner, i, EPC_MAY_RECLAIM);
		failed += r == -EIO;
		other += r != 0 && r != -EIO;
	}
	TAP_CHECK(failed > PAGES / 2 && other == 0 && stats_of(m.epc).backing_read_errors == failed,
		  "reads fail: %u pages cannot be had now, and their owner is told", failed);
	check_audit(m.epc, "while reads fail");
	backing_fail_file(epc_backing(m.epc), &none);
	TAP_CHECK(sweep(owner) == PAGES && owner->wrong == 0, "later they can");
	fake_owner_put(owner);
	check_audit(m.epc, "at the end");
	fake_machine_destroy(&m);
}

/* 100 slots are all there is. */
static void test_capped(const char *dir)
{
	struct fake_owner *owner;
	struct fake_machine m;
	unsigned int had;

	fake_machine_create(&m, EPC_PAGES, NULL, dir, 100 * 4224);
	owner = fake_owner_create(m.epc, 1, PAGES, true);
	had = sweep(owner);
	TAP_CHECK(had == EPC_PAGES + 100 && stats_of(m.epc).backing_slots == 100,
		  "a cap of 100 pages: EPC and store together hold %u", had);
	TAP_CHECK(fake_use(owner, PAGES - 1, EPC_MAY_RECLAIM) == -ENOMEM,
		  "and who wants more is told");
	TAP_CHECK(stats_of(m.epc).backing_refused > 0, "it is counted");
	check_audit(m.epc, "of a full store");
	fake_owner_put(owner);
	TAP_CHECK(stats_of(m.epc).backing_waiting == 0, "what is gone does not wait for the file");
	check_audit(m.epc, "at the end");
	fake_machine_destroy(&m);
}

/* The owner's end comes while its pages wait for a file that takes none. */
static void test_gone(const char *dir)
{
	struct backing_faults faults = { .write = -EIO };
	struct fake_owner *owner;
	struct fake_machine m;

	fake_machine_create(&m, EPC_PAGES, NULL, dir, 0);
	backing_fail_file(epc_backing(m.epc), &faults);
	owner = fake_owner_create(m.epc, 1, PAGES, true);
	sweep(owner);
	TAP_CHECK(stats_of(m.epc).backing_waiting > 100, "%lu pages wait for a file that fails",
		  (unsigned long)stats_of(m.epc).backing_waiting);
	fake_owner_put(owner);
	TAP_CHECK(stats_of(m.epc).backing_waiting == 0, "none does when they are gone");
	fake_machine_destroy(&m);
}

int main(void)
{
	char dir[] = "/tmp/swsgx-store-XXXXXX";

	TAP_MUST(mkdtemp(dir), "a directory");
	test_failing(dir, -EIO);
	test_failing(dir, -ENOSPC);
	test_unreadable(dir);
	test_capped(dir);
	test_gone(dir);
	TAP_CHECK(rmdir(dir) == 0, "nothing is left behind");
	return tap_done();
}
