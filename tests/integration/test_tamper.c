/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Whoever keeps the backing store may change it, and put back what was there before: the enclave gets a fault,
 * never wrong data, and everything else goes on.
 *
 * A program with an enclave larger than its EPC that knows, as no real one would, which of its file descriptors
 * is the store.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client.h"
#include "lib/tap.h"

#define PAGES 1024u /* four times the EPC of 1 MiB */

static struct client_encl e;
static void *fn;
static uint8_t *store;
static size_t store_bytes;

static int find_store(void)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	int found = -1;

	while (dir && found < 0 && (entry = readdir(dir))) {
		char path[300], to[256];
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/fd/%s", entry->d_name);
		n = readlink(path, to, sizeof(to) - 1);
		if (n <= 0)
			continue;
		to[n] = 0;
		if (strstr(to, "sgx_backing"))
			found = open(path, O_RDWR);
	}
	if (dir)
		closedir(dir);
	return found;
}

/* The store is sparse: its data lie between @from and @to, counted by SEEK_DATA and SEEK_HOLE. */
static void map_store(void)
{
	int fd = find_store();
	off_t from, to;

	TAP_MUST(fd >= 0, "the store is among the open files");
	if (store)
		munmap(store, store_bytes);
	from = lseek(fd, 0, SEEK_DATA);
	to = lseek(fd, from, SEEK_HOLE);
	TAP_MUST(from == 0 && to > 0, "it has data");
	store_bytes = (size_t)to;
	store = mmap(NULL, store_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	TAP_MUST(store != MAP_FAILED, "and can be mapped (%zu KiB)", store_bytes / 1024);
	close(fd);
}

/* READ or WRITE of one word of heap page @page: true when it went through, false when it faulted. */
static bool word(unsigned int nr, unsigned int page, uint64_t *value, struct sgx_enclave_run *run)
{
	struct encl_op op = { .nr = nr,
			      .arg = { e.base + e.heap + page * 4096ull, *value },
			      .ret = 0 };

	memset(run, 0, sizeof(*run));
	run->tcs = e.tcs[0];
	if (vdso_enter((uintptr_t)&op, 0, 0, SGX_EENTER, 0, 0, run, fn))
		return false;
	if (run->function != SGX_EEXIT)
		return false;
	*value = op.ret;
	return true;
}

static uint64_t contents(unsigned int page, unsigned int round)
{
	return 0x1234567800000000ull + page * 1000ull + round;
}

static void fill(unsigned int round)
{
	struct sgx_enclave_run run;
	unsigned int bad = 0;

	for (unsigned int i = 0; i < PAGES; i++) {
		uint64_t v = contents(i, round);

		bad += !word(OP_WRITE, i, &v, &run);
	}
	TAP_CHECK(!bad, "round %u: every page is written (%u not)", round, bad);
}

static void build(void)
{
	struct client_conf conf = { .threads = 1, .nssa = 3, .heap_pages = PAGES };

	TAP_MUST(!client_create(&e, &conf), "an enclave of four times its EPC");
}

/*
 * Read until something is refused. Pages read before are right; what is refused is told as a page fault on it.
 */
static void read_all(unsigned int round, const char *what)
{
	struct sgx_enclave_run run;
	unsigned int wrong = 0, refused = 0;

	for (unsigned int i = 0; i < PAGES && !refused; i++) {
		uint64_t v = 0;

		if (word(OP_READ, i, &v, &run)) {
			wrong += v != contents(i, round);
			continue;
		}
		refused++;
		TAP_CHECK(run.exception_vector == VEC_PF, "%s: told as a page fault (vector %u)",
			  what, run.exception_vector);
	}
	TAP_CHECK(!wrong, "%s: nothing read is wrong", what);
	TAP_CHECK(refused, "%s: it is refused", what);
}

static void check_changed(void)
{
	build();
	fill(1);
	map_store();
	for (size_t at = 100; at < store_bytes; at += 4096)
		store[at] ^= 0x10;
	read_all(1, "one bit of each page changed");
	client_destroy(&e);
}

static void check_replayed(void)
{
	uint8_t *before;

	build();
	fill(1);
	map_store();
	before = malloc(store_bytes);
	memcpy(before, store, store_bytes);
	fill(2);
	memcpy(store, before, store_bytes);
	free(before);
	read_all(2, "the store of before put back");
	client_destroy(&e);
}

static void check_untouched(void)
{
	struct sgx_enclave_run run;
	unsigned int wrong = 0;

	build();
	fill(3);
	for (unsigned int i = 0; i < PAGES; i++) {
		uint64_t v = 0;

		wrong += !word(OP_READ, i, &v, &run) || v != contents(i, 3);
	}
	TAP_CHECK(!wrong, "an enclave that nobody meddles with is whole (%u pages wrong)", wrong);
	client_destroy(&e);
}

int main(void)
{
	fn = vdso_by_hash(vdso_from_getauxval(), "__vdso_sgx_enter_enclave");
	TAP_MUST(fn, "the vDSO");
	check_untouched();
	check_changed();
	check_replayed();
	check_untouched();
	return tap_done();
}
