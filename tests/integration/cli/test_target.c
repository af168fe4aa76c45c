/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Which dynamic programs are taken for ones that make their own system calls: those that name a node of the
 * device and have no help to speak to it, and no others.  usage: test_target { direct|dynamic PROGRAM } ...
 */
#include <string.h>

#include "lib/tap.h"
#include "runtime/program.h"

int main(int argc, char **argv)
{
	TAP_MUST(argc > 2, "programs to look at");
	for (int i = 1; i + 1 < argc; i += 2) {
		enum program_kind want =
			!strcmp(argv[i], "direct") ? PROGRAM_DIRECT : PROGRAM_DYNAMIC;
		const char *slash = strrchr(argv[i + 1], '/');
		enum program_kind kind;

		TAP_CHECK(!program_kind(argv[i + 1], &kind) && kind == want, "%s is %s",
			  slash ? slash + 1 : argv[i + 1], argv[i]);
	}
	return tap_done();
}
