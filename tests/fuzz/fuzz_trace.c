/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A trace of pages, as the benchmarks and tests of policies read it: the bytes are the file.  What is read is what an obvious
 * reader makes of it.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz/fuzz.h"
#include "lib/page_trace.h"

enum { REFS_MAX = 2048 };

static const char *file_of(const uint8_t *bytes, size_t nr)
{
	static char path[40];
	static int fd = -1;

	if (fd < 0) {
		fd = memfd_create("trace", MFD_CLOEXEC);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	must(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, bytes, nr, 0) == (ssize_t)nr, "a file");
	return path;
}

/* The numbers that @text begins with. */
static size_t numbers(const char *text, unsigned long long *ret)
{
	size_t n = 0;
	char *end;

	for (; n < REFS_MAX; n++, text = end) {
		ret[n] = strtoull(text, &end, 10);
		if (end == text)
			break;
	}
	return n;
}

static void check(const struct page_trace *trace, const unsigned long long *name, size_t nr)
{
	uint32_t pages = 0;

	must(trace->nr == nr, "as many references");
	for (size_t i = 0; i < nr; i++) {
		size_t first = 0;

		while (name[first] != name[i])
			first++;
		must(first < i ? trace->ref[i] == trace->ref[first] : trace->ref[i] == pages++,
		     "pages are numbered as they come");
	}
	must(trace->pages == pages, "as many pages");
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nr)
{
	static unsigned long long name[REFS_MAX];
	struct page_trace trace;
	const char *path;
	char *text;
	size_t n;

	nr = nr < REFS_MAX ? nr : REFS_MAX;
	path = file_of(bytes, nr);
	text = calloc(nr + 1, 1);
	must(text, "memory");
	if (nr)
		memcpy(text, bytes, nr);
	n = numbers(text, name);
	must(page_trace_read(&trace, path) == (n > 0), "a trace, or none");
	check(&trace, name, n);
	page_trace_fini(&trace);
	free(text);
	return 0;
}
