/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A program that was built with a sanitizer, under swsgx run: threads that enter an enclave larger than the EPC and
 * read it from outside, and a lock of their own beside.  The sanitizer's runtime is the test as well: what it finds
 * ends the program with a code of its own.
 */
#include <pthread.h>

#include "client.h"
#include "lib/tap.h"

enum { THREADS = 8, PAGES = 400, ROUNDS = 3 };

static struct client_encl e;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned int done, wrong; /* under lock */

/* A word of its own in each page: in by the enclave, out by the host and by the enclave. */
static void *page_through(void *arg)
{
	uint64_t own = (uintptr_t)arg, heap = e.base + e.heap + own * 8;
	unsigned int bad = 0;

	for (unsigned int round = 1; round <= ROUNDS; round++) {
		for (uint64_t i = 0; i < PAGES; i++)
			client_op(&e, (unsigned int)own, OP_WRITE, heap + i * 4096, round + i, 0);
		for (uint64_t i = 0; i < PAGES; i++) {
			bad += *(volatile uint64_t *)(heap + i * 4096) != round + i;
			bad += client_op(&e, (unsigned int)own, OP_READ, heap + i * 4096, 0, 0) !=
			       round + i;
		}
	}
	pthread_mutex_lock(&lock);
	done++;
	wrong += bad;
	pthread_mutex_unlock(&lock);
	return NULL;
}

int main(void)
{
	struct client_conf conf = { .threads = THREADS, .heap_pages = PAGES };
	pthread_t thread[THREADS];

	TAP_MUST(!client_create(&e, &conf), "an enclave larger than the EPC");
	for (uintptr_t i = 0; i < THREADS; i++)
		pthread_create(&thread[i], NULL, page_through, (void *)i);
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	TAP_CHECK(done == THREADS, "%u threads come to their end", THREADS);
	TAP_CHECK(!wrong, "every word is right (%u wrong)", wrong);
	client_destroy(&e);
	return tap_done();
}
