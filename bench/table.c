/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
#include "table.h"

#include <assert.h>
#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { COLUMN_WIDTH_MIN = 9 };

void table_open(struct table *table, bool json)
{
	*table = (struct table){ .json = json };
	if (json)
		table->all = json_object_new_array();
}

void table_close(struct table *table)
{
	if (!table->json)
		return;
	printf("%s\n", json_object_to_json_string_ext(table->all, JSON_C_TO_STRING_PRETTY));
	json_object_put(table->all);
}

static int width_of(const struct table_column *column)
{
	int width = (int)strlen(column->name) + 1;

	return width < COLUMN_WIDTH_MIN ? COLUMN_WIDTH_MIN : width;
}

static struct json_object *text(const char *s)
{
	return s ? json_object_new_string(s) : NULL;
}

static void begin_json(struct table *table, const char *title)
{
	struct json_object *one = json_object_new_object(), *units = json_object_new_object();
	unsigned int i;

	for (i = 0; i < table->column_nr; i++)
		json_object_object_add(units, table->column[i].name, text(table->column[i].unit));
	table->rows = json_object_new_array();
	json_object_object_add(one, "title", text(title));
	json_object_object_add(one, "units", units);
	json_object_object_add(one, "rows", table->rows);
	json_object_array_add(table->all, one);
}

void table_begin(struct table *table, const char *title,
		 const struct table_label label[TABLE_LABELS_MAX],
		 const struct table_column *column, unsigned int column_nr)
{
	unsigned int i;
	int width = 0;

	assert(column_nr <= TABLE_COLUMNS_MAX);
	memcpy(table->label, label, sizeof(table->label));
	memcpy(table->column, column, column_nr * sizeof(*column));
	table->column_nr = column_nr;
	if (table->json) {
		begin_json(table, title);
		return;
	}
	for (i = 0; i < TABLE_LABELS_MAX && label[i].name; i++)
		width += label[i].width + 1;
	printf("%s\n%*s", title, width, "");
	for (i = 0; i < column_nr; i++)
		printf("%*s", width_of(&column[i]), column[i].name);
	printf("\n");
	fflush(stdout);
}

static struct json_object *row_json(const struct table *table,
				    const char *const name[TABLE_LABELS_MAX], const double *value)
{
	struct json_object *row = json_object_new_object();
	unsigned int i;

	for (i = 0; i < TABLE_LABELS_MAX && table->label[i].name; i++)
		json_object_object_add(row, table->label[i].name, text(name[i]));
	for (i = 0; i < table->column_nr; i++)
		json_object_object_add(row, table->column[i].name,
				       isnan(value[i]) ? NULL : json_object_new_double(value[i]));
	json_object_array_add(table->rows, row);
	return row;
}

static void print_labels(const struct table *table, const char *const name[TABLE_LABELS_MAX])
{
	unsigned int i;

	for (i = 0; i < TABLE_LABELS_MAX && table->label[i].name; i++)
		printf("%-*s ", table->label[i].width, name[i]);
}

void table_row(struct table *table, const char *first, const char *second, const double *value)
{
	const char *const name[TABLE_LABELS_MAX] = { first, second };
	const struct table_column *column;
	unsigned int i;

	if (table->json) {
		(void)row_json(table, name, value);
		return;
	}
	print_labels(table, name);
	for (i = 0; i < table->column_nr; i++) {
		column = &table->column[i];
		if (isnan(value[i]))
			printf("%*s", width_of(column), "-");
		else
			printf("%*.*f", width_of(column), column->digits, value[i]);
	}
	printf("\n");
	fflush(stdout);
}

void table_row_percent(struct table *table, const char *first, const char *second,
		       const double *value, unsigned int nr)
{
	const char *const name[TABLE_LABELS_MAX] = { first, second };
	unsigned int none = table->column_nr - nr, i;
	double all[TABLE_COLUMNS_MAX];

	assert(nr <= table->column_nr);
	for (i = 0; i < table->column_nr; i++)
		all[i] = i < none ? NAN : value[i - none];
	if (table->json) {
		json_object_object_add(row_json(table, name, all), "unit", text("%"));
		return;
	}
	print_labels(table, name);
	for (i = 0; i < table->column_nr; i++) {
		if (i < none)
			printf("%*s", width_of(&table->column[i]), "");
		else
			printf("%*.1f%%", width_of(&table->column[i]) - 1, all[i]);
	}
	printf("\n");
	fflush(stdout);
}
