/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Leaving without the enclave's lock while the enclave is repaired: threads go in and out, and all the time somebody
 * seems to have died with the lock held.  Nobody may lose its count or its pin, or keep one.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "encl/encl_priv.h"
#include "lib/tap.h"
#include "lib/thread.h"
#include "lib/world.h"

enum { EPC_PAGES = 64, THREADS = 3, ROUNDS = 20000, REPAIRS = 3000, TCS = 4 };

struct leaver {
	pthread_t thread;
	struct thread t;
	unsigned int bad;
};

static struct world w;
static struct build b;
static atomic_bool over;

static bool leave(struct thread *t)
{
	t->regs.rax = SGX_EEXIT;
	t->regs.rbx = 0x1000;
	return cpu_ok(encl_eexit(t->encl, t->lp, &t->regs));
}

static void *leaver_main(void *arg)
{
	struct leaver *l = arg;

	for (unsigned int i = 0; i < ROUNDS && !atomic_load(&over) && !l->bad; i++)
		l->bad += !cpu_ok(thread_enter(&l->t)) || !leave(&l->t);
	return NULL;
}

/* As after the death of a holder: whoever takes the lock next repairs. */
LOCK_ATTR(no_thread_safety_analysis) static void seem_dead(struct encl *encl)
{
	lock_acquire(&encl->lock);
	encl->lock.holder_died = true;
	lock_release(&encl->lock);
	encl_lock(encl);
	encl_unlock(encl);
}

static uint32_t inside(void)
{
	uint32_t nr;

	encl_lock(b.encl);
	nr = cpu_active_nr(b.encl->cpu, epc_page_nr(b.encl->epc, b.encl->secs.epc_page));
	encl_unlock(b.encl);
	return nr;
}

static bool all_can_go(void)
{
	struct encl_info info;

	for (int i = 0; i < 60; i++)
		epc_reclaim(w.epc);
	encl_info_read(b.encl, &info);
	return info.resident == 0;
}

static void test_race(void)
{
	static struct leaver leaver[THREADS];
	unsigned int bad = 0;

	for (unsigned int i = 0; i < THREADS; i++) {
		thread_init(&leaver[i].t, &b, TCS + 3 * i);
		TAP_MUST(!pthread_create(&leaver[i].thread, NULL, leaver_main, &leaver[i]),
			 "thread %u", i);
	}
	for (unsigned int i = 0; i < REPAIRS; i++)
		seem_dead(b.encl);
	atomic_store(&over, true);
	for (unsigned int i = 0; i < THREADS; i++) {
		pthread_join(leaver[i].thread, NULL);
		bad += leaver[i].bad;
	}
	TAP_CHECK(!bad, "all enter and leave while the enclave is repaired %u times", REPAIRS);
	TAP_CHECK(inside() == 0, "nobody is counted any more");
	TAP_CHECK(all_can_go(), "and no page is pinned");
	for (unsigned int i = 0; i < THREADS; i++)
		thread_fini(&leaver[i].t);
}

/* Killed when it was no longer inside, but its count and its pin were still there. */
LOCK_ATTR(no_thread_safety_analysis)
static void test_half_out(void)
{
	struct thread t;
	pid_t pid;

	thread_init(&t, &b, TCS);
	TAP_MUST(cpu_ok(thread_enter(&t)), "somebody enters");
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		for (unsigned int i = 0; i < ENCL_GATES; i++)
			if (!lock_try(&t.encl->gate[i].lock))
				_exit(1);
		t.lp->in_enclave = false;
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	TAP_CHECK(inside() == 1, "whoever dies half way out is counted still");
	encl_lp_reset(b.encl, t.lp);
	TAP_CHECK(inside() == 0, "not when its logical processor is reset");
	TAP_CHECK(cpu_ok(thread_enter(&t)) && leave(&t), "and others enter and leave");
	TAP_CHECK(all_can_go(), "and no page is pinned");
	thread_fini(&t);
}

int main(void)
{
	bool ok;

	world_init(&w, EPC_PAGES, 0);
	ok = build_create(&b, &w, 32 * SGX_PAGE_SIZE, 0) == 0 && build_add_many(&b, 0, TCS) == 0;
	for (unsigned int i = 0; i < THREADS; i++)
		ok = ok && thread_pages(&b, TCS + 3 * i) == 0;
	TAP_MUST(ok && build_init(&b) == 0, "an enclave");
	test_half_out();
	test_race();
	build_fini(&b);
	world_fini(&w, "leave");
	return tap_done();
}
