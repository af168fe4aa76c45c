/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Tracking: the packed word against a model that keeps a list of who is inside and when each of
 * them last had its translations dropped.
 */
#include <stdlib.h>
#include <string.h>

#include "cpu/epcm_priv.h"
#include "cpu/epoch.h"
#include "lib/tap.h"

#define LP_NR    6
#define STAMP_NR 8
#define STEP_NR  2000000u

/* A page is tracked when an ETRACK came after its EBLOCK and everybody inside is younger. */
struct model {
	uint64_t now; /* one more with every step */
	uint64_t last_track;
	bool inside[LP_NR];
	uint64_t clean_since[LP_NR]; /* entered, or was flushed */
	uint64_t blocked_at[STAMP_NR];
	uint64_t tracked_at[STAMP_NR]; /* the first ETRACK after it; 0: none */
};

static bool model_cycle_complete(const struct model *m)
{
	for (int i = 0; i < LP_NR; i++)
		if (m->inside[i] && m->clean_since[i] < m->last_track)
			return false;
	return true;
}

static bool model_tracked(const struct model *m, int stamp)
{
	if (!m->tracked_at[stamp])
		return false;
	/* A later ETRACK was only possible when the first cycle had ended. */
	if (m->tracked_at[stamp] < m->last_track)
		return true;
	for (int i = 0; i < LP_NR; i++)
		if (m->inside[i] && m->clean_since[i] < m->tracked_at[stamp])
			return false;
	return true;
}

static unsigned int model_inside(const struct model *m)
{
	unsigned int nr = 0;

	for (int i = 0; i < LP_NR; i++)
		nr += m->inside[i];
	return nr;
}

static void test_random(unsigned int seed)
{
	struct model m = { .now = 1 };
	_Atomic uint64_t track;
	uint64_t entry[LP_NR];
	uint32_t stamp[STAMP_NR];
	unsigned int advanced = 0, refused = 0, wrong = 0;

	epoch_init(&track);
	srandom(seed);
	for (int i = 0; i < STAMP_NR; i++) {
		stamp[i] = epoch_stamp(&track);
		m.blocked_at[i] = m.now;
	}
	for (unsigned int step = 0; step < STEP_NR && !wrong; step++) {
		int i = (int)(random() % LP_NR), s = (int)(random() % STAMP_NR);

		m.now++;
		switch (random() % 6) {
		case 0:
		case 1:
			if (m.inside[i]) {
				epoch_leave(&track, entry[i]);
				m.inside[i] = false;
			} else {
				wrong += !epoch_enter(&track, &entry[i]);
				m.inside[i] = true;
				m.clean_since[i] = m.now;
			}
			break;
		case 2: {
			bool could = model_cycle_complete(&m);

			wrong += epoch_advance(&track) != could;
			if (could) {
				advanced++;
				m.last_track = m.now;
				for (int k = 0; k < STAMP_NR; k++)
					if (!m.tracked_at[k])
						m.tracked_at[k] = m.now;
			} else {
				refused++;
			}
			break;
		}
		case 3:
			if (random() % 4)
				break;
			epoch_flush(&track);
			for (int k = 0; k < LP_NR; k++)
				if (m.inside[k])
					m.clean_since[k] = m.now;
			break;
		default:
			stamp[s] = epoch_stamp(&track);
			m.blocked_at[s] = m.now;
			m.tracked_at[s] = 0;
			break;
		}
		wrong += epoch_active_nr(&track) != model_inside(&m);
		for (int k = 0; k < STAMP_NR; k++)
			wrong += epoch_tracked(&track, stamp[k]) != model_tracked(&m, k);
	}
	TAP_CHECK(!wrong, "%u random steps with seed %u agree with the model", STEP_NR, seed);
	TAP_CHECK(advanced > 1000 && refused > 1000, "ETRACK said yes %u and no %u times", advanced,
		  refused);
}

static void test_full(void)
{
	_Atomic uint64_t track;
	uint64_t entry, first = 0;
	unsigned int nr = 0;

	epoch_init(&track);
	while (nr < 100000 && epoch_enter(&track, &entry)) {
		if (!nr++)
			first = entry;
		if (nr == 5000)
			epoch_advance(&track);
	}
	TAP_CHECK(nr == 16383, "16383 logical processors may be inside at once");
	TAP_CHECK(epoch_active_nr(&track) == nr, "and are counted over an epoch");
	epoch_leave(&track, first);
	TAP_CHECK(epoch_enter(&track, &entry), "when one leaves another may enter");
}

/* EBLOCK and EMODPR at once, and ETRACK between: the epoch that was read last need not be stored last. */
static void test_stamp(void)
{
	_Atomic uint64_t track;
	struct epcm_entry e = { 0 };
	uint32_t first, second;

	epoch_init(&track);
	first = epoch_stamp(&track);
	epoch_advance(&track);
	second = epoch_stamp(&track);
	epcm_stamp(&e, &track, second);
	epcm_stamp(&e, &track, first);
	TAP_CHECK(atomic_load(&e.stamp) == second, "a page keeps the later of two epochs");
	TAP_CHECK(!epoch_tracked(&track, atomic_load(&e.stamp)), "so it is not tracked too early");
	atomic_store(&track, ~0ull << 29);
	first = epoch_stamp(&track);
	epoch_advance(&track);
	second = epoch_stamp(&track);
	TAP_CHECK(epoch_later(&track, second, first) && !epoch_later(&track, first, second) &&
			  second < first,
		  "later it is, too, where epochs begin again at 0");
}

/*
 * A stamp of any age, beside a new one: it may have been in the page for as many epochs as there can be.  Whoever
 * stamps the page may have read the epoch some time before.  The page is never tracked before both of them are.
 */
static void test_old_stamp(void)
{
	static const uint64_t ages[] = { 0,
					 1,
					 2,
					 3,
					 (1ull << 30) - 1,
					 1ull << 30,
					 (1ull << 30) + 1,
					 (1ull << 31) - 1,
					 1ull << 31,
					 (1ull << 31) + 1,
					 (1ull << 31) + 2,
					 3ull << 30,
					 1ull << 32,
					 (1ull << 34) + 7,
					 (1ull << 35) - 1 };
	enum { AGES = sizeof(ages) / sizeof(ages[0]), LATER = 3, EPOCHS = 4 };
	unsigned int early = 0, never = 0, wrong_age = 0;
	const uint64_t now = (1ull << 35) - 3;

	for (unsigned int i = 0; i < AGES * LATER; i++) {
		uint64_t since = i % LATER;
		_Atomic uint64_t track = (now - ages[i / LATER]) << 29;
		struct epcm_entry e = { .stamp = epoch_stamp(&track) };
		uint32_t stamp;

		atomic_store(&track, (now - since) << 29);
		stamp = epoch_stamp(&track);
		atomic_store(&track, now << 29);
		wrong_age += ages[i / LATER] >= 2 && !epoch_tracked(&track, e.stamp) &&
			     ages[i / LATER] % (1ull << 31) != 0;
		epcm_stamp(&e, &track, stamp);
		/* Nobody is ever inside, so each ETRACK is complete at once. */
		early += epoch_tracked(&track, e.stamp) && (since == 0 || ages[i / LATER] == 0);
		for (unsigned int more = 1; more < EPOCHS; more++) {
			epoch_advance(&track);
			never += !epoch_tracked(&track, e.stamp);
		}
	}
	TAP_CHECK(!early, "a page is not tracked for a stamp that is there from any time before");
	TAP_CHECK(!never, "one ETRACK later it is");
	TAP_CHECK(!wrong_age, "an old stamp is tracked, but at a multiple of 2^31 epochs");
}

int main(int argc, char **argv)
{
	_Atomic uint64_t never = 0;

	test_random(argc > 1 ? (unsigned int)atoi(argv[1]) : 1);
	test_random(2);
	test_full();
	test_stamp();
	test_old_stamp();
	TAP_CHECK(epoch_tracked(&never, 0), "no stamp: nothing to wait for");
	return tap_done();
}
