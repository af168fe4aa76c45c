/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Page faults of an enclave whose heap is four times the EPC: each evicts one page and loads another.
 *
 * The enclave touches one word of each page that is away, so faults are all there is: mincore() tells which are
 * here, for a good policy keeps some of a heap that is gone round and round, and a touch of those costs nothing.
 * Two thousand faults are one sample: pages are evicted in batches, so a single fault pays for none or for sixteen.
 * Some policies look at all pages in one go, once for as many faults as there are EPC pages; so one row has samples as long as that.
 *
 * The floor is an empty userfaultfd fault of a process without SGX, in turn with ours.
 *
 * With --read it is something else that is measured: faults while 'swsgx stat' reads the numbers of this very program a
 * hundred times a second, in turn with faults while nobody does.
 *
 *   swsgx run --epc 32M bench_fault [--json] [--read SWSGX]
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "client.h"
#include "floor.h"
#include "measure.h"
#include "option.h"
#include "reader.h"

enum { ROUNDS = 60, TURNS = 15, FAULTS = 2000, MANY = 10000, HEAP_PER_EPC = 4 };

struct bench {
	struct client_encl encl;
	uint32_t pages;
	uint32_t *random, *sequential;
	uint32_t random_at, sequential_at;
	cpu_set_t cpus;
	unsigned char *here; /* as mincore() says it */
	uint32_t *list[2];
};

static void touch(struct bench *b, unsigned int thread, const uint32_t *order, uint32_t nr,
		  bool write)
{
	if (!client_touch(&b->encl, thread, order, nr, write)) {
		fprintf(stderr, "bench_fault: the enclave could not go on\n");
		exit(1);
	}
}

/* Into a list: the next @nr pages of @order, which is gone round and round, that are away. */
static const uint32_t *next(struct bench *b, unsigned int list, const uint32_t *order, uint32_t *at,
			    uint32_t nr)
{
	void *heap = (void *)(b->encl.base + b->encl.heap);
	uint32_t n = 0;

	if (mincore(heap, b->pages * 4096ul, b->here) < 0) {
		fprintf(stderr, "bench_fault: cannot tell which pages are here\n");
		exit(1);
	}
	for (uint32_t looked = 0; n < nr; looked++) {
		if (looked == b->pages) {
			fprintf(stderr, "bench_fault: too few pages are away\n");
			exit(1);
		}
		if (!(b->here[order[*at]] & 1))
			b->list[list][n++] = order[*at];
		*at = (*at + 1) % b->pages;
	}
	return b->list[list];
}

static double faults_us(struct bench *b, const uint32_t *order, uint32_t *at, uint32_t nr,
			bool write)
{
	const uint32_t *part = next(b, 0, order, at, nr);
	uint64_t start = measure_thread_ns();

	touch(b, 0, part, nr, write);
	return (double)(measure_thread_ns() - start) / nr / 1000;
}

static double pass_us(struct bench *b, const uint32_t *order, uint32_t *at, bool write)
{
	return faults_us(b, order, at, FAULTS, write);
}

/* What is in the EPC has come in this order, so that it goes in this order: pages side by side go for less. */
static void fill(struct bench *b, const uint32_t *order, uint32_t *at)
{
	for (uint32_t n = 0; n < 2 * b->pages / HEAP_PER_EPC; n += FAULTS)
		pass_us(b, order, at, true);
}

struct walker {
	struct bench *b;
	unsigned int thread;
	const uint32_t *order;
};

static void *walk(void *arg)
{
	struct walker *w = arg;

	measure_pin_of(&w->b->cpus, w->thread);
	touch(w->b, w->thread, w->order, FAULTS, true);
	return NULL;
}

/* Wall time for one fault with two threads at work; both figures, of a fault and of the pair. */
static double pair_us(struct bench *b)
{
	struct walker first = { b, 0, next(b, 0, b->random, &b->random_at, FAULTS) };
	struct walker second = { b, 1, next(b, 1, b->random, &b->random_at, FAULTS) };
	uint64_t start = measure_wall_ns();
	pthread_t other;

	if (pthread_create(&other, NULL, walk, &second) != 0)
		exit(1);
	walk(&first);
	pthread_join(other, NULL);
	return (double)(measure_wall_ns() - start) / (2 * FAULTS) / 1000;
}

static int prepare(struct bench *b)
{
	uint64_t epc = client_epc_pages();
	struct client_conf conf = { .threads = 2, .heap_pages = epc * HEAP_PER_EPC };

	if (epc < 1024 || epc > 1u << 20) {
		fprintf(stderr, "bench_fault: wants an EPC of 4 MiB to 4 GiB, not of %lu pages\n",
			(unsigned long)epc);
		return -1;
	}
	b->pages = (uint32_t)conf.heap_pages;
	b->random = malloc(b->pages * sizeof(uint32_t));
	b->sequential = malloc(b->pages * sizeof(uint32_t));
	b->list[0] = malloc(b->pages * sizeof(uint32_t));
	b->list[1] = malloc(b->pages * sizeof(uint32_t));
	b->here = malloc(b->pages);
	if (!b->random || !b->sequential || !b->list[0] || !b->list[1] || !b->here)
		return -1;
	measure_shuffle(b->random, b->pages, 7);
	for (uint32_t i = 0; i < b->pages; i++)
		b->sequential[i] = i;
	if (client_create(&b->encl, &conf) < 0) {
		fprintf(stderr, "bench_fault: no enclave: %s\n", b->encl.failed);
		return -1;
	}
	return 0;
}

/* Nobody reads twice a round, so that it is seen by how much two of the same differ. */
static int while_read(struct bench *b, struct measure *m, const char *swsgx)
{
	struct reader reader;
	int alone, again, read;

	if (reader_start(&reader, swsgx, &b->cpus) < 0) {
		fprintf(stderr, "bench_fault: '%s stat' reads nothing\n", swsgx);
		return 1;
	}
	reader_pause(&reader);
	m->title = "A fault while somebody reads the numbers";
	alone = measure_row(m, "random, written to; nobody reads", "us", -1, 0);
	again = measure_row(m, "the same again", "us", alone, 0);
	read = measure_row(m, "swsgx stat reads a hundred times a second", "us", alone, 0);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		measure_sample(m, alone, faults_us(b, b->random, &b->random_at, MANY, true));
		reader_go_on(&reader);
		measure_sample(m, read, faults_us(b, b->random, &b->random_at, MANY, true));
		reader_pause(&reader);
		measure_sample(m, again, faults_us(b, b->random, &b->random_at, MANY, true));
	}
	measure_print(m);
	fprintf(stderr, "read %lu times\n", reader_stop(&reader));
	return 0;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	const char **swsgx = state->input;

	if (key != 'r')
		return ARGP_ERR_UNKNOWN;
	*swsgx = arg;
	return 0;
}

int main(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{ "read", 'r', "SWSGX", 0, "the same while SWSGX stat reads, and nothing else", 0 },
		{ 0 },
	};
	static const struct argp own = { .options = options, .parser = parse };
	static struct measure m = { .title = "A fault that evicts a page and loads another" };
	const char *swsgx = NULL;
	static struct bench b;
	struct floor floor;
	int empty, random, sequential, read, turn, pair;

	m.json = option_parse(argc, argv, m.title, &own, &swsgx);
	if (sched_getaffinity(0, sizeof(b.cpus), &b.cpus) < 0)
		return 1;
	measure_pin_of(&b.cpus, 0);
	if (floor_start(&floor) < 0)
		return 1;
	if (!swsgx && !floor_can(&floor, FLOOR_FAULT)) {
		printf("SKIP: no userfaultfd here that tells of faults by SIGBUS: there is nothing "
		       "to compare with\n");
		floor_stop(&floor);
		return 77;
	}
	if (prepare(&b) < 0)
		return 1;
	if (swsgx) {
		fill(&b, b.random, &b.random_at);
		return while_read(&b, &m, swsgx);
	}
	empty = measure_row(&m, "an empty userfaultfd fault, in the thread", "us", -1, 0);
	random = measure_row(&m, "random, written to", "us", empty, 3.3);
	read = measure_row(&m, "random, only read", "us", empty, 3.3);
	turn = measure_row(&m, "random, as many as the EPC has pages", "us", empty, 3.3);
	sequential = measure_row(&m, "sequential, written to", "us", empty, 3.3);
	pair = measure_row(&m, "random, two threads: wall time for each fault", "us", empty, 0);
	fill(&b, b.random, &b.random_at);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		measure_sample(&m, empty, floor_us(&floor, FLOOR_FAULT));
		measure_sample(&m, random, pass_us(&b, b.random, &b.random_at, true));
		measure_sample(&m, read, pass_us(&b, b.random, &b.random_at, false));
	}
	for (unsigned int i = 0; i < TURNS; i++) {
		measure_sample(&m, empty, floor_us(&floor, FLOOR_FAULT));
		measure_sample(&m, turn,
			       faults_us(&b, b.random, &b.random_at, b.pages / HEAP_PER_EPC, true));
	}
	for (unsigned int i = 0; i < ROUNDS / 4; i++)
		measure_sample(&m, pair, pair_us(&b));
	fill(&b, b.sequential, &b.sequential_at);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		measure_sample(&m, empty, floor_us(&floor, FLOOR_FAULT));
		measure_sample(&m, sequential, pass_us(&b, b.sequential, &b.sequential_at, true));
	}
	measure_print(&m);
	client_destroy(&b.encl);
	floor_stop(&floor);
	return 0;
}
