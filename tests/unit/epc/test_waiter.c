/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The line: who is before whom, for pages of which group; who is forgotten, passed by, and where
 * there is no place.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "epc/epc_priv.h"
#include "epc/waiter_priv.h"
#include "lib/bare_owner.h"
#include "lib/fake_owner.h"
#include "lib/tap.h"

enum { PAGES = 16, MAX = 4, ROUNDS = 20 };
#define MS 1000000ull

struct scene {
	struct fake_machine m;
	struct epc_group *root, *group;
	struct epc_owner *owner;
	struct waiter outside; /* for whom there is no place */
};

static void scene_init(struct scene *s)
{
	struct epc_group_limits limits = EPC_GROUP_UNLIMITED;

	fake_machine_create(&s->m, PAGES, NULL, NULL, 0);
	s->root = epc_group_root(s->m.epc);
	limits.max_pages = MAX;
	TAP_MUST(epc_group_create(s->root, "limited", &limits, &s->group) == 0, "a group");
	s->owner = bare_owner_create(s->m.epc, NULL);
}

static void scene_fini(struct scene *s)
{
	TAP_CHECK(s->m.epc->waiting == 0 && s->m.epc->asleep == 0 && s->m.epc->hungry == 0,
		  "nobody is left in line");
	epc_owner_destroy(s->owner);
	fake_machine_destroy(&s->m);
}

static struct waiter *begin(struct scene *s, struct epc_group *top)
{
	return waiter_begin(s->m.epc, top, &s->outside);
}

/* The places. */
static struct waiter *late_line(struct scene *s) { return late_there(&s->m.epc->line); }

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void take_all(struct scene *s)
{
	struct epc_page *page;

	while (epc_alloc(s->m.epc, s->owner, 0, &page) == 0)
		;
}

/* ---- order ----------------------------------------------------------------------------------- */

static void test_order(void)
{
	struct waiter *a, *b, *c;
	struct scene s;

	scene_init(&s);
	TAP_CHECK(waiters_before(s.m.epc, NULL, s.root) == 0, "an empty line");
	a = begin(&s, s.root);
	b = begin(&s, s.group);
	c = begin(&s, s.root);
	TAP_CHECK(waiters_before(s.m.epc, a, s.root) == 0 &&
			  waiters_before(s.m.epc, c, s.root) == 1 &&
			  waiters_before(s.m.epc, NULL, s.root) == 2,
		  "who came first is before who came later, and all are before who is not in line");
	TAP_CHECK(waiters_before(s.m.epc, c, s.group) == 1 &&
			  waiters_before(s.m.epc, a, s.group) == 0,
		  "of those who wait for a group's");
	waiter_wants(b, s.root);
	TAP_CHECK(waiters_before(s.m.epc, c, s.root) == 2 &&
			  waiters_before(s.m.epc, NULL, s.group) == 0,
		  "who wants another keeps the place that he had");
	waiter_end(s.m.epc, a);
	TAP_CHECK(waiters_before(s.m.epc, c, s.root) == 1, "who goes is before nobody");
	a = begin(&s, s.root);
	TAP_CHECK(waiters_before(s.m.epc, a, s.root) == 2, "and comes back as the last");
	waiter_end(s.m.epc, a);
	waiter_end(s.m.epc, b);
	waiter_end(s.m.epc, c);
	scene_fini(&s);
}

/* ---- the dead, and those who do not come ----------------------------------------------------- */

static void wait_in_line(struct scene *s, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++)
		(void)begin(s, s->root);
	for (;;)
		pause();
}

static pid_t child_in_line(struct scene *s, unsigned int nr)
{
	uint64_t tickets = s->m.epc->tickets;
	pid_t pid = fork();

	if (pid == 0)
		wait_in_line(s, nr);
	while (s->m.epc->tickets < tickets + nr)
		usleep(1000);
	usleep(10000);
	return pid;
}

static void test_dead(void)
{
	struct waiter *self;
	struct scene s;
	pid_t pid;

	scene_init(&s);
	take_all(&s);
	/* The line is one of both processes. */
	self = begin(&s, s.group);
	waiter_end(s.m.epc, self);
	pid = child_in_line(&s, 3);
	self = begin(&s, s.root);
	TAP_CHECK(waiters_before(s.m.epc, self, s.root) == 3,
		  "three of another process are before");
	waiter_sleep(s.m.epc, self);
	TAP_CHECK(waiters_before(s.m.epc, self, s.root) == 3, "and stay so while they live");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	waiter_sleep(s.m.epc, self);
	TAP_CHECK(waiters_before(s.m.epc, self, s.root) == 0,
		  "who sleeps finds them dead, and forgets them");
	waiter_end(s.m.epc, self);
	scene_fini(&s);
}

/* One who is stopped is waited for so long, and then passed by, until he gives a sign of life. */
static void test_passed_by(void)
{
	struct waiter *self, *other;
	unsigned int slept = 0;
	struct scene s;
	uint64_t start;
	pid_t pid;

	scene_init(&s);
	take_all(&s);
	self = begin(&s, s.group);
	waiter_end(s.m.epc, self);
	pid = child_in_line(&s, 1);
	kill(pid, SIGSTOP);
	self = begin(&s, s.root);
	start = now_ns();
	while (waiters_before(s.m.epc, self, s.root) > 0 && now_ns() - start < 5000 * MS) {
		waiter_sleep(s.m.epc, self);
		slept++;
	}
	start = now_ns() - start;
	TAP_CHECK((slept > ROUNDS || start >= 700 * MS) && start < 5000 * MS,
		  "one who does nothing is passed by when another has slept %u times", slept);
	other = begin(&s, s.root);
	TAP_CHECK(waiters_before(s.m.epc, other, s.root) == 1, "and by all who come later");
	/* Its own process does that when it goes on. */
	waiter_wants(&late_line(&s)[0], s.root);
	TAP_CHECK(waiters_before(s.m.epc, other, s.root) == 2,
		  "he who shows himself is there again");
	waiter_end(s.m.epc, other);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	waiter_sleep(s.m.epc, self);
	waiter_end(s.m.epc, self);
	scene_fini(&s);
}

/* ---- no place -------------------------------------------------------------------------------- */

static void *get_in_line(void *arg)
{
	struct scene *s = arg;

	return begin(s, s->root);
}

/* Signs of life: the test takes longer than anybody is waited for. */
static void show(struct scene *s, struct waiter **line)
{
	for (unsigned int i = 0; i < EPC_WAITERS_MAX; i++)
		waiter_wants(line[i], s->root);
}

static void test_full(void)
{
	struct waiter *line[EPC_WAITERS_MAX], *outside;
	struct scene s;
	pthread_t thread;
	uint64_t start;
	unsigned int i;
	void *late;

	scene_init(&s);
	for (i = 0; i < EPC_WAITERS_MAX; i++)
		line[i] = begin(&s, s.root);
	TAP_CHECK(waiters_before(s.m.epc, NULL, s.root) == EPC_WAITERS_MAX, "%u are in line",
		  EPC_WAITERS_MAX);
	start = now_ns();
	outside = begin(&s, s.root);
	TAP_CHECK(outside == &s.outside && now_ns() - start >= 400 * MS,
		  "one for whom there is no place for long goes without");
	show(&s, line);
	TAP_CHECK(waiters_before(s.m.epc, outside, s.root) == EPC_WAITERS_MAX,
		  "and all who have one are before him");
	waiter_end(s.m.epc, outside);
	TAP_CHECK(waiters_before(s.m.epc, NULL, s.root) == EPC_WAITERS_MAX,
		  "his end is nobody else's");
	pthread_create(&thread, NULL, get_in_line, &s);
	usleep(20000);
	waiter_end(s.m.epc, line[5]);
	pthread_join(thread, &late);
	show(&s, line);
	TAP_CHECK(late == line[5] && waiters_before(s.m.epc, late, s.root) == EPC_WAITERS_MAX - 1,
		  "the next one has the first place that there is, behind all others");
	for (i = 0; i < EPC_WAITERS_MAX; i++) {
		if (i != 5)
			waiter_end(s.m.epc, line[i]);
	}
	/* Its thread has ended, in line: as one who was killed. */
	line[0] = begin(&s, s.root);
	waiter_sleep(s.m.epc, line[0]);
	waiter_end(s.m.epc, line[0]);
	scene_fini(&s);
}

int main(void)
{
	test_order();
	test_dead();
	test_passed_by();
	test_full();
	return tap_done();
}
