/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Rows of measurements and how they are shown: medians with the tenth and the ninetieth percentile,
 * and the ratio to the row that is the limit.  Nothing here judges: a benchmark never fails on time.
 */
#ifndef SWSGX_BENCH_MEASURE_H
#define SWSGX_BENCH_MEASURE_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MEASURE_SAMPLES_MAX = 512, MEASURE_ROWS_MAX = 32 };

struct measure_row {
	const char *name;
	const char *unit; /* "us", "GB/s": the same in rows that are compared */
	int base;         /* the row it is compared with, or -1 */
	double goal;      /* the ratio that is aimed at, 0: none */
	unsigned int nr;
	double sample[MEASURE_SAMPLES_MAX];
};

struct measure {
	const char *title;
	bool json;
	unsigned int row_nr;
	struct measure_row row[MEASURE_ROWS_MAX];
};

uint64_t measure_wall_ns(void);
uint64_t measure_thread_ns(void); /* CPU time of this thread, the kernel's part included */

/* A new row; its index. */
int measure_row(struct measure *m, const char *name, const char *unit, int base, double goal);
void measure_sample(struct measure *m, int row, double sample);
double measure_percentile(const struct measure *m, int row, unsigned int percent);
/* The table, or with json the same as one object. */
void measure_print(struct measure *m);

/* This thread stays on one CPU; where there is but one, or it may not, nothing happens. */
void measure_pin(unsigned int cpu);
/* The same for a thread that was made by one that is pinned: @all are those that the program had at first. */
void measure_pin_of(const cpu_set_t *all, unsigned int cpu);
/* A row of numbers below @n, each once, in an order without rhyme: the same with every run. */
void measure_shuffle(uint32_t *order, uint32_t n, uint64_t seed);

#endif
