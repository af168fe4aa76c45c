/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * An enclave eight times the EPC: every page keeps its contents, with one thread and with four, with
 * timer signals, by the vDSO and by ENCLU, and with two enclaves at once.
 */
#include <pthread.h>
#include <string.h>
#include <sys/time.h>

#include "client.h"
#include "lib/tap.h"

static struct client_encl e, other;
static uint64_t pages, steps;

static uint64_t epc_pages(void)
{
	uint64_t sum = 0;
	uint32_t r[4];

	for (uint32_t i = 2; i < 10; i++) {
		client_cpuid(0x12, i, r);
		if ((r[0] & 0xf) != 1)
			break;
		sum += (r[2] & 0xfffff000) | (uint64_t)(r[3] & 0xfffff) << 32;
	}
	return sum / 4096;
}

struct job {
	struct client_encl *encl;
	unsigned int nr;
	enum client_entry how;
	uint64_t errors;
};

static void *walk(void *arg)
{
	struct job *j = arg;
	struct encl_op op = { .nr = OP_WALK,
			      .arg = { j->encl->base + j->encl->heap, pages, steps, 1, j->nr },
			      .ret = 1 };

	client_call(j->encl, j->nr, &op, j->how);
	j->errors = op.ret;
	return NULL;
}

static uint64_t total(struct client_encl *encl, unsigned int threads, uint64_t *errors)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < threads; i++) {
		struct encl_op op = { .nr = OP_SUM,
				      .arg = { encl->base + encl->heap, pages, i, 1 } };

		client_call(encl, 0, &op, ENTRY_VDSO);
		sum += op.ret;
		*errors += op.arg[4];
	}
	return sum;
}

static void check(const char *name, unsigned int threads, unsigned int enclaves,
		  enum client_entry how)
{
	struct job jobs[8];
	pthread_t ids[8];
	uint64_t errors = 0, sum = 0;

	for (unsigned int n = 0; n < enclaves; n++) {
		struct client_encl *encl = n ? &other : &e;

		client_op(encl, 0, OP_FILL, encl->base + encl->heap, pages, 1);
	}
	for (unsigned int i = 0; i < threads * enclaves; i++) {
		jobs[i] = (struct job){ i / threads ? &other : &e, i % threads, how, 0 };
		pthread_create(&ids[i], NULL, walk, &jobs[i]);
	}
	for (unsigned int i = 0; i < threads * enclaves; i++) {
		pthread_join(ids[i], NULL);
		errors += jobs[i].errors;
	}
	for (unsigned int n = 0; n < enclaves; n++)
		sum += total(n ? &other : &e, threads, &errors);
	TAP_CHECK(!errors, "%s: every word is right (%llu wrong)", name,
		  (unsigned long long)errors);
	TAP_CHECK(sum == (uint64_t)threads * enclaves * steps, "%s: no step is lost", name);
}

static volatile int ticks;

static void on_tick(int signo)
{
	(void)signo;
	ticks++;
}

int main(void)
{
	struct client_conf conf = { .threads = 4 };
	struct sigaction sa = { .sa_handler = on_tick, .sa_flags = SA_RESTART };
	struct itimerval ms = { { 0, 1000 }, { 0, 1000 } }, off = { { 0, 0 }, { 0, 0 } };
	int err;

	pages = epc_pages() * 8;
	if (pages > 64 * 1024)
		TAP_SKIP_ALL("the EPC is too large to oversubscribe in a test: try --epc 1M");
	steps = 20000;
	conf.heap_pages = pages;
	err = client_create(&e, &conf);
	TAP_MUST(!err, "an enclave with %llu pages of heap (%s, %d)", (unsigned long long)pages,
		 err ? e.failed : "built", err);
	check("one thread", 1, 1, ENTRY_VDSO);
	check("one thread, by ENCLU", 1, 1, ENTRY_RANGE);
	check("four threads", 4, 1, ENTRY_VDSO);
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &ms, NULL);
	check("four threads and a 1 kHz timer", 4, 1, ENTRY_SELF);
	setitimer(ITIMER_REAL, &off, NULL);
	err = client_create(&other, &conf);
	TAP_MUST(!err, "a second one of the same size (%s)", err ? other.failed : "built");
	check("two enclaves, two threads each", 2, 2, ENTRY_VDSO);
	client_destroy(&other);
	check("after the second has gone", 1, 1, ENTRY_VDSO);
	client_destroy(&e);
	err = client_create(&e, &conf);
	TAP_CHECK(!err, "and another after all is freed");
	client_destroy(&e);
	return tap_done();
}
