/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Parsing of sizes.  Nothing is rounded: a size that isn't exact is refused.
 */
#include "cli/size.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/report.h"

#define EPC_PAGE 4096u
#define EPC_MAX  (1ull << 40)
#define NODE_MAX 1023

/* The unit that @c stands for, as a shift; -1 for none. */
static int unit_shift(char c)
{
	switch (c) {
	case 'k':
	case 'K':
		return 10;
	case 'm':
	case 'M':
		return 20;
	case 'g':
	case 'G':
		return 30;
	case 't':
	case 'T':
		return 40;
	default:
		return -1;
	}
}

static void hint_size(struct report *rep)
{
	report_hint(rep, "a size is a number, and K, M, G or T behind it: 64M");
}

static int parse_prefix(const char *text, const char *option, const char **ret_end,
			uint64_t *ret_bytes, struct report *rep)
{
	unsigned long long n;
	char *end;
	int shift;

	errno = 0;
	n = strtoull(text, &end, 10);
	/* strtoull() would take a sign, and any white space before it. */
	if (text[0] < '0' || text[0] > '9') {
		hint_size(rep);
		return report_fail(rep, -EINVAL, "'%s' for %s is not a size", text, option);
	}
	shift = unit_shift(*end);
	if (shift >= 0)
		end++;
	else
		shift = 0;
	if (errno == ERANGE || (n << shift) >> shift != n)
		return report_fail(rep, -ERANGE, "'%s' for %s is too large", text, option);
	*ret_end = end;
	*ret_bytes = n << shift;
	return 0;
}

int size_parse(const char *text, const char *option, uint64_t *ret_bytes, struct report *rep)
{
	const char *end = text;
	int r;

	r = parse_prefix(text, option, &end, ret_bytes, rep);
	if (r < 0)
		return r;
	if (*end) {
		hint_size(rep);
		return report_fail(rep, -EINVAL, "'%s' for %s is not a size", text, option);
	}
	return 0;
}

static int parse_node(const char *text, const char *at, int *ret_node, struct report *rep)
{
	unsigned long node;
	char *end;

	errno = 0;
	node = strtoul(at, &end, 10);
	if (end == at || *end || at[0] < '0' || at[0] > '9' || node > NODE_MAX) {
		report_hint(rep, "a NUMA node is a number behind the @: 64M@0");
		return report_fail(rep, -EINVAL, "'%s' for --epc names no node", text);
	}
	*ret_node = (int)node;
	return 0;
}

int size_parse_epc(const char *text, uint64_t *ret_bytes, int *ret_node, struct report *rep)
{
	const char *end = text;
	int r;

	*ret_node = -1;
	r = parse_prefix(text, "--epc", &end, ret_bytes, rep);
	if (r < 0)
		return r;
	if (*end == '@') {
		r = parse_node(text, end + 1, ret_node, rep);
		if (r < 0)
			return r;
	} else if (*end) {
		hint_size(rep);
		return report_fail(rep, -EINVAL, "'%s' for --epc is not a size", text);
	}
	if (*ret_bytes == 0 || *ret_bytes % EPC_PAGE) {
		report_hint(rep, "EPC comes in pages of 4096 bytes");
		return report_fail(rep, -EINVAL, "'%s' for --epc is no whole number of pages",
				   text);
	}
	if (*ret_bytes > EPC_MAX)
		return report_fail(rep, -ERANGE, "'%s' for --epc is too large (1T at most)", text);
	return 0;
}
