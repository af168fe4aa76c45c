/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* The corpus of a fuzz target, once through: replay FILE... */
#include "fuzz/fuzz.h"
#include "lib/tap.h"

int main(int argc, char **argv)
{
	static uint8_t bytes[65536];

	LLVMFuzzerTestOneInput(bytes, 0);
	TAP_CHECK(true, "no bytes at all");
	for (int i = 1; i < argc; i++) {
		FILE *file = fopen(argv[i], "rb");
		size_t nr;

		TAP_MUST(file, "%s opens", argv[i]);
		nr = fread(bytes, 1, sizeof(bytes), file);
		fclose(file);
		LLVMFuzzerTestOneInput(bytes, nr);
		TAP_CHECK(nr > 0, "%s", argv[i]);
	}
	return tap_done();
}
