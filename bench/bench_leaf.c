/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * EWB and ELDU on warm pages against the cipher alone, in the same run and over the same buffers; and
 * two threads, each with an enclave of its own, against one.
 *
 *   bench_leaf [--json]
 *
 * Goals: 1.5 times the cipher at most, 1.8 times the pages of one thread at least.  Wall time is everybody's on
 * a machine with neighbours; CPU time is not: two threads that take no more of it for a page than one does page
 * twice as much, and at 1.11 times they page 1.8 times as much.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "cpu/cpu.h"
#include "crypto/page_cipher.h"
#include "measure.h"
#include "option.h"

enum { BATCH = 16, SAMPLES = 201, ROUNDS = 4000, THREADS = 2, TRIES = 5, PER_THREAD = BATCH + 2 };

static const uint64_t base = 0x7f0000000000;

struct side {
	pthread_t thread;
	const cpu_set_t *cpus; /* of the program */
	unsigned int nr;
	pthread_barrier_t *barrier;
	struct cpu *cpu;
	uint32_t secs, va; /* and BATCH pages behind them */
	uint8_t (*cipher)[SGX_PAGE_SIZE];
	struct sgx_pcmd *pcmd;
	uint64_t ns, cpu_ns;
};

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "bench_leaf: %s failed\n", what);
	exit(1);
}

static void must(struct cpu_outcome out, const char *leaf)
{
	if (!cpu_ok(out))
		die(leaf);
}

static void build(struct side *s)
{
	static struct sgx_secs secs __attribute__((aligned(4096)));
	static uint8_t src[SGX_PAGE_SIZE] __attribute__((aligned(4096)));
	struct sgx_secinfo info = { 0 };
	struct cpu_pageinfo pi = { .srcpge = &secs, .secinfo = &info, .secs = CPU_NO_PAGE };

	secs.size = 0x100000;
	secs.baseaddr = base;
	secs.ssa_frame_size = 1;
	secs.attributes.flags = SGX_ATTR_MODE64BIT;
	secs.attributes.xfrm = 3;
	must(encls_ecreate(s->cpu, &pi, s->secs), "ECREATE");
	must(encls_epa(s->cpu, s->va), "EPA");
	info.flags = SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_R | SGX_SECINFO_W;
	for (uint32_t i = 0; i < BATCH; i++) {
		memset(src, (int)i, sizeof(src));
		pi = (struct cpu_pageinfo){ .linaddr = base + i * SGX_PAGE_SIZE,
					    .srcpge = src,
					    .secinfo = &info,
					    .secs = s->secs };
		must(encls_eadd(s->cpu, &pi, s->va + 1 + i), "EADD");
	}
	s->cipher = aligned_alloc(4096, BATCH * SGX_PAGE_SIZE);
	s->pcmd = aligned_alloc(128, BATCH * sizeof(*s->pcmd));
	if (!s->cipher || !s->pcmd)
		die("memory");
}

static void block(struct side *s)
{
	for (uint32_t i = 0; i < BATCH; i++)
		must(encls_eblock(s->cpu, s->va + 1 + i), "EBLOCK");
	must(encls_etrack(s->cpu, s->secs), "ETRACK");
}

static void write_out(struct side *s)
{
	for (uint32_t i = 0; i < BATCH; i++) {
		struct cpu_pageinfo pi = { .pcmd = &s->pcmd[i], .secs = CPU_NO_PAGE };
		uint64_t la;

		must(encls_ewb(s->cpu, &pi, s->va + 1 + i, s->va, i, s->cipher[i], &la), "EWB");
	}
}

static void load(struct side *s)
{
	for (uint32_t i = 0; i < BATCH; i++) {
		struct cpu_pageinfo pi = { .linaddr = base + i * SGX_PAGE_SIZE,
					   .srcpge = s->cipher[i],
					   .pcmd = &s->pcmd[i],
					   .secs = s->secs };

		must(encls_eldu(s->cpu, &pi, s->va + 1 + i, s->va, i), "ELDU");
	}
}

static double us(uint64_t from, uint64_t to)
{
	return (double)(to - from) / 1e3 / BATCH;
}

/* Leaves and cipher take turns, so that both meet the same machine. */
static void against_cipher(struct measure *m, struct side *s, uint8_t (*epc)[SGX_PAGE_SIZE])
{
	static struct page_key key;
	static const uint8_t raw[16] = { 1 }, aad[PAGE_AAD_BYTES] = { 2 };
	static uint8_t mac[BATCH][16];
	uint32_t first = s->va + 1;
	int enc = measure_row(m, "encrypt", "us", -1, 0);
	int ewb = measure_row(m, "EWB", "us", enc, 1.5);
	int dec = measure_row(m, "decrypt", "us", -1, 0);
	int eldu = measure_row(m, "ELDU", "us", dec, 1.5);

	page_key_init(&key, raw);
	fprintf(stderr, "cipher: %s\n", page_key_engine(&key));
	for (unsigned int n = 0; n < SAMPLES; n++) {
		uint64_t t[3];

		block(s);
		t[0] = measure_thread_ns();
		write_out(s);
		t[1] = measure_thread_ns();
		load(s);
		t[2] = measure_thread_ns();
		measure_sample(m, ewb, us(t[0], t[1]));
		measure_sample(m, eldu, us(t[1], t[2]));
		t[0] = measure_thread_ns();
		for (uint32_t i = 0; i < BATCH; i++)
			page_encrypt(&key, n * BATCH + i, aad, epc[first + i], s->cipher[i],
				     mac[i]);
		t[1] = measure_thread_ns();
		for (uint32_t i = 0; i < BATCH; i++)
			if (!page_decrypt(&key, n * BATCH + i, aad, s->cipher[i], epc[first + i],
					  mac[i]))
				die("the cipher");
		t[2] = measure_thread_ns();
		measure_sample(m, enc, us(t[0], t[1]));
		measure_sample(m, dec, us(t[1], t[2]));
	}
}

static void *pages(void *arg)
{
	struct side *s = arg;
	uint64_t began, cpu_began;

	measure_pin_of(s->cpus, s->nr);
	pthread_barrier_wait(s->barrier);
	began = measure_wall_ns();
	cpu_began = measure_thread_ns();
	for (unsigned int n = 0; n < ROUNDS / BATCH; n++) {
		block(s);
		write_out(s);
		load(s);
	}
	s->ns = measure_wall_ns() - began;
	s->cpu_ns = measure_thread_ns() - cpu_began;
	return NULL;
}

/* Pages a millisecond, in and out, of @nr threads: until the last is through. */
static double rate(struct side *side, unsigned int nr, double *ret_cpu_us)
{
	pthread_barrier_t barrier;
	uint64_t longest = 0, cpu_ns = 0;

	pthread_barrier_init(&barrier, NULL, nr);
	for (unsigned int i = 0; i < nr; i++) {
		side[i].barrier = &barrier;
		if (pthread_create(&side[i].thread, NULL, pages, &side[i]))
			die("a thread");
	}
	for (unsigned int i = 0; i < nr; i++) {
		pthread_join(side[i].thread, NULL);
		longest = side[i].ns > longest ? side[i].ns : longest;
		cpu_ns += side[i].cpu_ns;
	}
	pthread_barrier_destroy(&barrier);
	*ret_cpu_us = (double)cpu_ns / 1e3 / nr / ROUNDS;
	return (double)nr * ROUNDS * 1e6 / (double)longest;
}

/* The best of a few in a row is what neighbours let through. */
static void best_rate(struct measure *m, struct side *side, unsigned int nr, int row, int cpu_row)
{
	double best = 0, cpu_us, least = 0;

	for (unsigned int n = 0; n < TRIES; n++) {
		double got = rate(side, nr, &cpu_us);

		best = got > best ? got : best;
		least = n == 0 || cpu_us < least ? cpu_us : least;
	}
	measure_sample(m, row, best);
	measure_sample(m, cpu_row, least);
}

static void two_threads(struct measure *m, struct side *side)
{
	int one = measure_row(m, "one thread, best of 5", "pages/ms", -1, 0);
	int two = measure_row(m, "two threads, best of 5", "pages/ms", one, 1.8);
	int cpu_one = measure_row(m, "CPU time of a page out and in, one thread", "us", -1, 0);
	int cpu_two = measure_row(m, "the same, two threads", "us", cpu_one, 1.11);

	for (unsigned int n = 0; n < 31; n++) {
		best_rate(m, side, 1, one, cpu_one);
		best_rate(m, side, 2, two, cpu_two);
	}
}

int main(int argc, char **argv)
{
	struct cpu_config config;
	static struct measure m = {
		.title = "EWB and ELDU on warm pages, the cipher alone beside them"
	};
	static struct side side[THREADS];
	static cpu_set_t cpus;
	uint8_t(*epc)[SGX_PAGE_SIZE] = shared_map(THREADS * PER_THREAD * SGX_PAGE_SIZE);

	m.json = option_parse(argc, argv, m.title, NULL, NULL);
	if (sched_getaffinity(0, sizeof(cpus), &cpus) < 0)
		die("sched_getaffinity");
	measure_pin_of(&cpus, 0);
	cpu_config_default(&config, THREADS * PER_THREAD * SGX_PAGE_SIZE);
	side[0].cpu = side[1].cpu = cpu_create(&config);
	if (!epc || !side[0].cpu)
		die("memory");
	for (uint32_t i = 0; i < THREADS * PER_THREAD; i++)
		cpu_set_bytes(side[0].cpu, i, epc[i]);
	for (uint32_t i = 0; i < THREADS; i++) {
		side[i].cpus = &cpus;
		side[i].nr = i;
		side[i].secs = i * PER_THREAD;
		side[i].va = side[i].secs + 1;
		build(&side[i]);
	}
	against_cipher(&m, &side[0], epc);
	two_threads(&m, side);
	measure_print(&m);
	return 0;
}
