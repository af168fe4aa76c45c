/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Sizes on the command line: what is taken, and what is refused and how it is told.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/report.h"
#include "cli/size.h"
#include "lib/tap.h"

static const struct {
	const char *text;
	int r;
	uint64_t bytes;
} sizes[] = {
	{ "0", 0, 0 },
	{ "1", 0, 1 },
	{ "64K", 0, 64 << 10 },
	{ "64k", 0, 64 << 10 },
	{ "128M", 0, 128 << 20 },
	{ "2G", 0, 2ull << 30 },
	{ "1T", 0, 1ull << 40 },
	{ "18446744073709551615", 0, UINT64_MAX },
	{ "18446744073709551616", -ERANGE, 0 },
	{ "17179869184G", -ERANGE, 0 },
	{ "16777216T", -ERANGE, 0 },
	{ "", -EINVAL, 0 },
	{ "M", -EINVAL, 0 },
	{ "-1", -EINVAL, 0 },
	{ "+1", -EINVAL, 0 },
	{ " 1", -EINVAL, 0 },
	{ "\t1", -EINVAL, 0 },
	{ "1 ", -EINVAL, 0 },
	{ "1P", -EINVAL, 0 },
	{ "1KB", -EINVAL, 0 },
	{ "1.5M", -EINVAL, 0 },
	{ "0x10", -EINVAL, 0 },
	{ "64M@0", -EINVAL, 0 },
};

static const struct {
	const char *text;
	int r;
	uint64_t bytes;
	int node;
} sections[] = {
	{ "4096", 0, 4096, -1 },       { "64M", 0, 64 << 20, -1 },    { "64M@0", 0, 64 << 20, 0 },
	{ "64M@12", 0, 64 << 20, 12 }, { "1T", 0, 1ull << 40, -1 },   { "1025G", -ERANGE, 0, 0 },
	{ "0", -EINVAL, 0, 0 },        { "4095", -EINVAL, 0, 0 },     { "6K", -EINVAL, 0, 0 },
	{ "64M@", -EINVAL, 0, 0 },     { "64M@x", -EINVAL, 0, 0 },    { "64M@-1", -EINVAL, 0, 0 },
	{ "64M@0@1", -EINVAL, 0, 0 },  { "64M@9999", -EINVAL, 0, 0 }, { "@0", -EINVAL, 0, 0 },
	{ "64Mx", -EINVAL, 0, 0 },
};

int main(void)
{
	struct report rep;
	uint64_t bytes;
	int node, r;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		report_init(&rep);
		r = size_parse(sizes[i].text, "--backing-max", &bytes, &rep);
		TAP_CHECK(r == sizes[i].r && (r || bytes == sizes[i].bytes), "size '%s': %d",
			  sizes[i].text, r);
		if (r < 0)
			TAP_CHECK(rep.err == r && strstr(rep.what, "--backing-max"),
				  "and it is told: %s", rep.what);
	}
	for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
		report_init(&rep);
		r = size_parse_epc(sections[i].text, &bytes, &node, &rep);
		TAP_CHECK(r == sections[i].r &&
				  (r || (bytes == sections[i].bytes && node == sections[i].node)),
			  "section '%s': %d", sections[i].text, r);
		if (r < 0)
			TAP_CHECK(rep.err == r && strstr(rep.what, "--epc"), "and it is told: %s",
				  rep.what);
	}
	return tap_done();
}
