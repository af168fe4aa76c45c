/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What people write behind options: sizes, sections of the EPC, numbers, features of the processor.  The bytes are
 * one text.  What is taken has to mean what it says, and what is refused has to be told why.
 */
#include <errno.h>

#include "base/report.h"
#include "cli/option.h"
#include "cli/size.h"
#include "cpu/cpu.h"
#include "fuzz/fuzz.h"

/* The number that @text begins with, worked out digit by digit; -1: none, or over 64 bits. */
static __int128 number(const char *text, const char **ret_end)
{
	__int128 n = 0;

	*ret_end = text;
	for (; **ret_end >= '0' && **ret_end <= '9'; (*ret_end)++) {
		n = n * 10 + (**ret_end - '0');
		if (n > UINT64_MAX)
			return -1;
	}
	return *ret_end == text ? -1 : n;
}

static __int128 size(const char *text, const char **ret_end)
{
	static const char units[] = "KMGT";
	__int128 n = number(text, ret_end);
	const char *unit = **ret_end >= 'A' ? strchr(units, **ret_end & ~0x20) : NULL;

	if (n < 0 || !unit)
		return n;
	++*ret_end;
	return n << 10 * (unit - units + 1);
}

static void must_tell(int r, const struct report *rep)
{
	must(r == 0 || r == -EINVAL || r == -ERANGE, "an error that nobody expects");
	must(r == 0 || rep->err == r, "the error is told");
	must(memchr(rep->what, 0, sizeof(rep->what)) && memchr(rep->hint, 0, sizeof(rep->hint)),
	     "what is told ends");
	must(r == 0 || rep->what[0], "something is told");
}

static void check_size(const char *text)
{
	struct report rep = { 0 };
	const char *end;
	__int128 is = size(text, &end);
	uint64_t bytes;
	int r = size_parse(text, "--backing-max", &bytes, &rep);

	must_tell(r, &rep);
	must((r == 0) == (is >= 0 && is <= UINT64_MAX && !*end), "what is a size, and what is not");
	must(r != 0 || bytes == (uint64_t)is, "a size is what it says");
}

static void check_epc(const char *text)
{
	struct report rep = { 0 };
	const char *end, *node_end = "";
	__int128 is = size(text, &end), on = -1;
	bool right = is > 0 && is % 4096 == 0 && is <= (__int128)1 << 40;
	uint64_t bytes;
	int node, r = size_parse_epc(text, &bytes, &node, &rep);

	if (*end == '@') {
		on = number(end + 1, &node_end);
		right &= on >= 0 && on <= 1023 && !*node_end;
	} else {
		right &= !*end;
	}
	must_tell(r, &rep);
	must((r == 0) == right, "what is a section of EPC, and what is not");
	must(r != 0 || (bytes == (uint64_t)is && node == (int)on), "a section is what it says");
}

static void check_number(const char *text)
{
	struct report rep = { 0 };
	const char *end;
	__int128 is = number(text, &end);
	uint64_t n;
	int r = option_number(text, "--seconds", 3, 5000, &n, &rep);

	must_tell(r, &rep);
	must((r == 0) == (is >= 3 && is <= 5000 && !*end), "what is a number, and what is not");
	must(r != 0 || n == (uint64_t)is, "a number is what it says");
}

static void check_features(const char *text)
{
	struct cpu_config config, before;
	int r;

	memset(&config, 0, sizeof(config));
	cpu_config_default(&config, 1 << 20);
	before = config;
	r = cpu_config_features(&config, text);
	must(r == 0 || r == -EINVAL, "an error that nobody expects");
	must(r == 0 || !memcmp(&config, &before, sizeof(config)), "nothing of it in part");
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nr)
{
	char *text = malloc(nr + 1);

	must(text, "memory");
	if (nr)
		memcpy(text, bytes, nr);
	text[nr] = 0;
	check_size(text);
	check_epc(text);
	check_number(text);
	check_features(text);
	free(text);
	return 0;
}
