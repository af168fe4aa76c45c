/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Hands of threads that died with the enclave's lock: what they had pinned may go, what the living have pinned stays.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "encl/encl_priv.h"
#include "lib/tap.h"
#include "lib/world.h"

enum { NR = 20, OF_DEAD = 3, OF_BOTH = 7, OF_LIVING = 11 };

static struct world w;
static struct build b;

static void evict_all(void)
{
	for (int i = 0; i < 100; i++)
		epc_reclaim(w.epc);
}

static uint64_t resident(void)
{
	struct encl_info info;

	encl_info_read(b.encl, &info);
	return info.resident;
}

/* Two pages, and the hand is returned; the lock is held still. */
static struct encl_hand *pin_locked(uint64_t one, uint64_t other) REQUIRES(&b.encl->lock)
{
	struct encl_hand *hand = hand_get_locked(b.encl);

	if (!hand || !hand_pin_locked(b.encl, hand, pages_find_locked(b.encl, one)) ||
	    !hand_pin_locked(b.encl, hand, pages_find_locked(b.encl, other)))
		return NULL;
	return hand;
}

static void test_pins_of_dead(void)
{
	struct encl_hand *hand;
	int status = -1;
	pid_t pid;

	encl_lock(b.encl);
	hand = pin_locked(OF_LIVING, OF_BOTH);
	encl_unlock(b.encl);
	TAP_MUST(hand, "somebody has two pages in hand");
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		encl_lock(b.encl);
		_exit(pin_locked(OF_DEAD, OF_BOTH) ? 0 : 1);
	}
	waitpid(pid, &status, 0);
	TAP_CHECK(status == 0,
		  "another one dies with two in hand and the lock, one of them the same");
	evict_all();
	TAP_CHECK(resident() == 2, "what the living one has stays, and nothing else (%llu pages)",
		  (unsigned long long)resident());
	encl_lock(b.encl);
	while (hand->pin_nr > 0)
		hand_unpin_locked(b.encl, hand);
	encl_unlock(b.encl);
	hand_put(hand);
	evict_all();
	TAP_CHECK(resident() == 0, "it lets go of them, and no page stays (%llu)",
		  (unsigned long long)resident());
}

int main(void)
{
	world_init(&w, 64, 0);
	TAP_MUST(build_create(&b, &w, 32 * SGX_PAGE_SIZE, 0) == 0 &&
			 build_add_many(&b, 0, NR) == 0 && build_init(&b) == 0,
		 "an enclave");
	test_pins_of_dead();
	build_fini(&b);
	world_fini(&w, "hands");
	return tap_done();
}
