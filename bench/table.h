/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Tables of numbers, for people or, as one JSON object with all of them, for programs.  For people a row is there as soon as it
 * is known.  Medians beside a limit are in measure.h.
 */
#ifndef SWSGX_BENCH_TABLE_H
#define SWSGX_BENCH_TABLE_H

#include <stdbool.h>

enum { TABLE_COLUMNS_MAX = 16, TABLE_LABELS_MAX = 2 };

struct json_object;

struct table_column {
	const char *name;
	const char *unit; /* "ns", "%"; NULL: a ratio or a count.  For people the title says it */
	int digits;       /* behind the point, for people */
};

/* What the rows are of: the name for programs, and how many characters for people. */
struct table_label {
	const char *name; /* NULL: there is no such label */
	int width;
};

struct table {
	bool json;
	struct json_object *all, *rows;
	struct table_label label[TABLE_LABELS_MAX];
	unsigned int column_nr;
	struct table_column column[TABLE_COLUMNS_MAX];
};

/* The first of all, and the last: then programs get theirs. */
void table_open(struct table *table, bool json);
void table_close(struct table *table);
/* The next one.  Names are not copied. */
void table_begin(struct table *table, const char *title,
		 const struct table_label label[TABLE_LABELS_MAX],
		 const struct table_column *column, unsigned int column_nr);
/* @value: one for each column; NAN where there is none. */
void table_row(struct table *table, const char *first, const char *second, const double *value);
/* One whose numbers are all per cent, whatever the columns say: the last @nr of these, the others have none. */
void table_row_percent(struct table *table, const char *first, const char *second,
		       const double *value, unsigned int nr);

#endif
