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
	uint64_t entry[LP_NR], stamp[STAMP_NR];
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
	uint64_t first, second;

	epoch_init(&track);
	first = epoch_stamp(&track);
	epoch_advance(&track);
	second = epoch_stamp(&track);
	epcm_stamp(&e, second);
	epcm_stamp(&e, first);
	TAP_CHECK(atomic_load(&e.stamp) == second, "a page keeps the later of two epochs");
	TAP_CHECK(!epoch_tracked(&track, atomic_load(&e.stamp)), "so it is not tracked too early");
	atomic_store(&track, ~0ull << 29);
	first = epoch_stamp(&track);
	epoch_advance(&track);
	second = epoch_stamp(&track);
	TAP_CHECK(epoch_later(second, first) && !epoch_later(first, second) && second < first,
		  "later it is, too, where epochs begin again at 0");
}

int main(int argc, char **argv)
{
	test_random(argc > 1 ? (unsigned int)atoi(argv[1]) : 1);
	test_random(2);
	test_full();
	test_stamp();
	TAP_CHECK(epoch_tracked(&(_Atomic uint64_t){ 0 }, 0), "no stamp: nothing to wait for");
	return tap_done();
}
