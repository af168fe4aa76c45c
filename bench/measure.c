/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
#include "measure.h"

#include <assert.h>
#include <json-c/json.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t measure_wall_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t measure_thread_ns(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

int measure_row(struct measure *m, const char *name, const char *unit, int base, double goal)
{
	assert(m->row_nr < MEASURE_ROWS_MAX && base < (int)m->row_nr);
	m->row[m->row_nr] =
		(struct measure_row){ .name = name, .unit = unit, .base = base, .goal = goal };
	return (int)m->row_nr++;
}

void measure_sample(struct measure *m, int row, double sample)
{
	struct measure_row *r = &m->row[row];

	assert(row >= 0 && r->nr < MEASURE_SAMPLES_MAX);
	r->sample[r->nr++] = sample;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double measure_percentile(const struct measure *m, int row, unsigned int percent)
{
	const struct measure_row *r = &m->row[row];
	double sorted[MEASURE_SAMPLES_MAX];

	if (r->nr == 0)
		return 0;
	memcpy(sorted, r->sample, r->nr * sizeof(sorted[0]));
	qsort(sorted, r->nr, sizeof(sorted[0]), by_value);
	return sorted[(size_t)(r->nr - 1) * percent / 100];
}

static double ratio_of(const struct measure *m, int row)
{
	double base = m->row[row].base < 0 ? 0 : measure_percentile(m, m->row[row].base, 50);

	return base > 0 ? measure_percentile(m, row, 50) / base : 0;
}

static void add_number(struct json_object *row, const char *name, double value)
{
	json_object_object_add(row, name, json_object_new_double(value));
}

static void print_json(struct measure *m)
{
	struct json_object *all = json_object_new_object(), *rows = json_object_new_array(), *row;
	const struct measure_row *r;

	for (int i = 0; i < (int)m->row_nr; i++) {
		r = &m->row[i];
		row = json_object_new_object();
		json_object_object_add(row, "name", json_object_new_string(r->name));
		json_object_object_add(row, "unit", json_object_new_string(r->unit));
		json_object_object_add(row, "samples", json_object_new_int((int)r->nr));
		add_number(row, "median", measure_percentile(m, i, 50));
		add_number(row, "p10", measure_percentile(m, i, 10));
		add_number(row, "p90", measure_percentile(m, i, 90));
		if (r->base >= 0) {
			json_object_object_add(row, "base",
					       json_object_new_string(m->row[r->base].name));
			add_number(row, "ratio", ratio_of(m, i));
		}
		if (r->goal > 0)
			add_number(row, "goal", r->goal);
		json_object_array_add(rows, row);
	}
	json_object_object_add(all, "title", json_object_new_string(m->title));
	json_object_object_add(all, "rows", rows);
	printf("%s\n", json_object_to_json_string_ext(all, JSON_C_TO_STRING_PRETTY));
	json_object_put(all);
}

void measure_print(struct measure *m)
{
	if (m->json) {
		print_json(m);
		return;
	}
	printf("%s\n%-52s %8s %8s %8s %-5s %7s\n", m->title, "", "median", "p10", "p90", "",
	       "ratio");
	for (int i = 0; i < (int)m->row_nr; i++) {
		const struct measure_row *r = &m->row[i];

		printf("%-52s %8.2f %8.2f %8.2f %-5s", r->name, measure_percentile(m, i, 50),
		       measure_percentile(m, i, 10), measure_percentile(m, i, 90), r->unit);
		if (r->base >= 0)
			printf(" %7.2f of row %d", ratio_of(m, i), r->base + 1);
		if (r->goal > 0)
			printf(" (goal %.2f)", r->goal);
		printf("\n");
	}
	fflush(stdout);
}

void measure_pin(unsigned int cpu)
{
	cpu_set_t all;

	if (sched_getaffinity(0, sizeof(all), &all) == 0)
		measure_pin_of(&all, cpu);
}

void measure_pin_of(const cpu_set_t *all, unsigned int cpu)
{
	cpu_set_t one;

	for (unsigned int i = 0; i < CPU_SETSIZE; i++) {
		if (!CPU_ISSET(i, all) || cpu-- > 0)
			continue;
		CPU_ZERO(&one);
		CPU_SET(i, &one);
		(void)sched_setaffinity(0, sizeof(one), &one); /* unpinned is a figure as well */
		return;
	}
}

void measure_shuffle(uint32_t *order, uint32_t n, uint64_t seed)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15ull | 1;

	for (uint32_t i = 0; i < n; i++)
		order[i] = i;
	for (uint32_t i = n; i > 1; i--) {
		uint32_t j, swap;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		j = (uint32_t)((x >> 16) % i);
		swap = order[i - 1];
		order[i - 1] = order[j];
		order[j] = swap;
	}
}
