/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Slots of the installed API, in memory and in a file: what was written last comes back, or one of the errors of
 * swsgx/backing.h, each of which is provoked.
 *
 * The file has no name, but this process has it open: whoever looks through /proc/self/fd can do to it what storage does.
 * Writing to it goes through this program's own pwrite(), which can fail or stand still.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <swsgx/backing.h>
#include <swsgx/stats.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/tap.h"
#include "unit/api/any_owner.h"

enum { PAGES = 64, ENTRIES = 100, WAIT_MAX = 256 };

static atomic_int write_errno;
static atomic_bool write_stands, write_waits, no_room;

__attribute__((visibility("default"))) ssize_t pwrite(int fd, const void *bytes, size_t nr,
						      off_t offset)
{
	if (write_stands)
		write_waits = true;
	while (write_stands)
		usleep(1000);
	if (write_errno) {
		errno = write_errno;
		return -1;
	}
	return syscall(SYS_pwrite64, fd, bytes, nr, offset);
}

__attribute__((visibility("default"))) int fallocate(int fd, int mode, off_t offset, off_t bytes)
{
	if (no_room && !(mode & FALLOC_FL_PUNCH_HOLE)) {
		errno = ENOSPC;
		return -1;
	}
	return (int)syscall(SYS_fallocate, fd, mode, offset, bytes);
}

/* ---- an EPC with a page to write and one to read into, and one that batches may take --------------------- */

struct fixture {
	struct swsgx_epc *epc;
	struct swsgx_owner *owner;
	struct swsgx_slots *slots;
	struct swsgx_page *from, *to;
};

static void begin(struct fixture *f, const char *path, uint64_t bytes_max)
{
	struct swsgx_epc_config config = { .bytes = PAGES * SWSGX_PAGE_SIZE,
					   .backing_path = path,
					   .backing_bytes_max = bytes_max };

	TAP_MUST(swsgx_epc_create(&config, &f->epc) == 0 &&
			 swsgx_owner_create(swsgx_group_root(f->epc), &any_ops, NULL, &f->owner) ==
				 0 &&
			 swsgx_slots_create(f->epc, 4 * WAIT_MAX, &f->slots) == 0 &&
			 swsgx_page_alloc(f->owner, 0, &f->from) == 0 &&
			 swsgx_page_alloc(f->owner, 0, &f->to) == 0,
		 "an EPC%s%s", path ? " with a store in " : "", path ? path : "");
}

static void end(struct fixture *f)
{
	struct swsgx_epc_info info;

	swsgx_slots_destroy(f->slots);
	swsgx_epc_read(f->epc, &info);
	TAP_CHECK(info.backing_slots == 0 && info.backing_waiting == 0, "the store is empty");
	swsgx_page_free(f->owner, f->from);
	swsgx_page_free(f->owner, f->to);
	TAP_CHECK(swsgx_epc_audit(f->epc, 0, NULL, 0) == 0, "no page is lost");
	swsgx_owner_destroy(f->owner);
	swsgx_epc_destroy(f->epc);
}

/* Contents number @what. */
static void fill(unsigned char *bytes, unsigned int what)
{
	uint32_t x = what * 2654435761u + 1;

	for (unsigned int i = 0; i < SWSGX_PAGE_SIZE; i++) {
		x = x * 1664525 + 1013904223;
		bytes[i] = (unsigned char)(x >> 24);
	}
}

static int put_out(struct fixture *f, uint32_t i, unsigned int what)
{
	fill(swsgx_page_bytes(f->owner, f->from), what);
	return swsgx_slot_write(f->slots, i, f->from);
}

/* Entry @i has contents number @what: 0, an error, or 1 for other contents, which must never be. */
static int comes_back(struct fixture *f, uint32_t i, unsigned int what)
{
	unsigned char *bytes = swsgx_page_bytes(f->owner, f->to), want[SWSGX_PAGE_SIZE];
	int r;

	memset(bytes, 0x5a, SWSGX_PAGE_SIZE);
	r = swsgx_slot_read(f->slots, i, f->to);
	fill(want, what);
	return r < 0 ? r : memcmp(bytes, want, sizeof(want)) != 0;
}

/* A batch, behind which the store writes out what waits. */
static void run_batch(struct fixture *f)
{
	struct swsgx_page *page;

	if (swsgx_page_alloc(f->owner, 0, &page) < 0)
		return;
	swsgx_page_track(f->owner, page);
	swsgx_epc_reclaim(f->epc);
}

static uint64_t waiting(struct fixture *f)
{
	struct swsgx_epc_info info;

	swsgx_epc_read(f->epc, &info);
	return info.backing_waiting;
}

/* ---- memory ------------------------------------------------------------------------------------------- */

static void test_memory(void)
{
	struct swsgx_epc_info info;
	unsigned int bad = 0, i;
	struct fixture f;

	begin(&f, NULL, 0);
	TAP_CHECK(swsgx_slots_create(f.epc, 0, &f.slots) == -EINVAL, "a table of none: -EINVAL");
	TAP_CHECK(comes_back(&f, 7, 0) == -ENOENT, "read, nothing there: -ENOENT");
	for (i = 0; i < ENTRIES; i++)
		bad += put_out(&f, i, i) != 0;
	for (i = 0; i < ENTRIES; i++)
		bad += comes_back(&f, i, i) != 0 || comes_back(&f, i, i) != 0;
	TAP_CHECK(bad == 0, "what goes out comes back, as often as wanted");
	for (i = 0; i < ENTRIES; i++)
		bad += put_out(&f, i, i + 1000) != 0 || comes_back(&f, i, i + 1000) != 0;
	TAP_CHECK(bad == 0, "what went out last, that is");
	swsgx_epc_read(f.epc, &info);
	TAP_CHECK(info.backing_slots == ENTRIES, "in one place each");
	swsgx_slot_free(f.slots, 3);
	swsgx_slot_free(f.slots, 3);
	TAP_CHECK(comes_back(&f, 3, 0) == -ENOENT && comes_back(&f, 4, 1004) == 0,
		  "what is given back is gone, and nothing else");
	TAP_CHECK(put_out(&f, 4 * WAIT_MAX, 0) == -EINVAL &&
			  swsgx_slot_read(f.slots, UINT32_MAX, f.to) == -EINVAL,
		  "no such entry: -EINVAL");
	TAP_CHECK(swsgx_epc_poison(f.epc, swsgx_page_nr(f.owner, f.from)) == 0 &&
			  swsgx_slot_write(f.slots, 5, f.from) == -EHWPOISON,
		  "write, a page that broke: -EHWPOISON");
	TAP_CHECK(comes_back(&f, 5, 1005) == 0 || comes_back(&f, 5, 1005) == -ENOENT,
		  "and nothing else comes back for it");
	end(&f);
}

static void test_full(void)
{
	struct fixture f;
	unsigned int i;

	begin(&f, NULL, 3 * (4096 + 128));
	for (i = 0; i < 10 && put_out(&f, i, i) == 0; i++)
		;
	TAP_CHECK(i == 3 && put_out(&f, 9, 9) == -ENOSPC, "write, the store is full: -ENOSPC");
	TAP_CHECK(put_out(&f, 1, 11) == 0 && comes_back(&f, 1, 11) == 0,
		  "an entry that has a place keeps one");
	swsgx_slot_free(f.slots, 0);
	TAP_CHECK(put_out(&f, 9, 9) == 0 && comes_back(&f, 9, 9) == 0, "one free: one more");
	end(&f);
}

/* ---- a file -------------------------------------------------------------------------------------------- */

/* The one file that this process has open and that has lost its name; a memfd never had one. */
static int find_file(void)
{
	char path[64], target[64];
	struct stat st;
	ssize_t n;

	for (int fd = 3; fd < 1 << 20; fd++) {
		if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_nlink > 0)
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, target, sizeof(target));
		if (n > 0 && strncmp(target, "/memfd:", 7) != 0)
			return fd;
	}
	return -1;
}

/* To do things to the file that its own descriptor is too picky for. */
static int open_again(int fd)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_RDWR | O_CLOEXEC);
}

static void write_all_out(struct fixture *f)
{
	for (int i = 0; i < 100 && waiting(f) >= 16; i++)
		run_batch(f);
}

/* How many of the first ENTRIES end as @want says; the rest must be right. */
static unsigned int count_ends(struct fixture *f, unsigned int what, int want)
{
	unsigned int nr = 0, wrong = 0;
	int r;

	for (unsigned int i = 0; i < ENTRIES; i++) {
		r = comes_back(f, i, i + what);
		nr += r == want;
		wrong += r == 1;
	}
	if (wrong > 0)
		TAP_CHECK(false, "%u times something is believed that is wrong", wrong);
	return nr;
}

static void put_all_out(struct fixture *f, unsigned int what)
{
	unsigned int bad = 0;

	for (unsigned int i = 0; i < ENTRIES; i++)
		bad += put_out(f, i, i + what) != 0;
	write_all_out(f);
	TAP_MUST(bad == 0 && waiting(f) < 16, "%u pages, in the file but for a few", ENTRIES);
}

/* What @fd has from begin to end, or puts it there. */
static void copy_file(int fd, char *bytes, size_t nr, bool back)
{
	ssize_t n =
		back ? (ssize_t)syscall(SYS_pwrite64, fd, bytes, nr, 0) : pread(fd, bytes, nr, 0);

	TAP_MUST(n >= 0, "the file can be got at");
}

static void test_lies(struct fixture *f, int fd)
{
	static char before[2 * ENTRIES * SWSGX_PAGE_SIZE], zeros[sizeof(before)];
	struct swsgx_epc_info before_reads, info;
	unsigned int nr;

	put_all_out(f, 0);
	swsgx_epc_read(f->epc, &before_reads);
	TAP_CHECK(count_ends(f, 0, 0) == ENTRIES, "all come back from the file");
	swsgx_epc_read(f->epc, &info);
	TAP_CHECK(info.backing_written > ENTRIES / 2 && before_reads.backing_read == 0 &&
			  info.backing_read == info.backing_written,
		  "%lu written, %lu read", info.backing_written, info.backing_read);
	put_all_out(f, 200);
	copy_file(fd, before, sizeof(before), false);
	put_all_out(f, 400);
	copy_file(fd, before, sizeof(before), true);
	nr = count_ends(f, 400, -EBADMSG);
	TAP_CHECK(nr > ENTRIES / 2, "read, older contents: -EBADMSG (%u of %u)", nr, ENTRIES);
	put_all_out(f, 600);
	copy_file(fd, zeros, sizeof(zeros), true);
	nr = count_ends(f, 600, -EBADMSG);
	TAP_CHECK(nr > ENTRIES / 2, "read, no contents: -EBADMSG (%u)", nr);
}

/* Contents that are all the same: in the file no two of them are, and none is what it was. */
static void test_ciphertext(struct fixture *f, int fd)
{
	static unsigned char file[2 * ENTRIES][SWSGX_PAGE_SIZE], plain[SWSGX_PAGE_SIZE];
	static const unsigned char nothing[SWSGX_PAGE_SIZE];
	unsigned int nr = 0, same = 0, i, j;

	for (i = 0; i < ENTRIES; i++)
		same += put_out(f, i, 42) != 0;
	write_all_out(f);
	fill(plain, 42);
	copy_file(fd, (char *)file, sizeof(file), false);
	for (i = 0; i < 2 * ENTRIES; i++) {
		nr += memcmp(file[i], nothing, sizeof(nothing)) != 0;
		same += memcmp(file[i], plain, sizeof(plain)) == 0;
		for (j = 0; j < i; j++)
			same += !memcmp(file[i], file[j], 16) && memcmp(file[i], nothing, 16);
	}
	TAP_CHECK(nr > ENTRIES / 2 && same == 0, "%u pages of the file, each by its own version",
		  nr);
}

static void test_unreadable(struct fixture *f, int fd)
{
	static char kept[2 * ENTRIES * SWSGX_PAGE_SIZE];
	struct swsgx_epc_info info;
	unsigned int nr;

	put_all_out(f, 800);
	copy_file(fd, kept, sizeof(kept), false);
	TAP_MUST(ftruncate(fd, 0) == 0, "the file is cut");
	nr = count_ends(f, 800, -EIO);
	swsgx_epc_read(f->epc, &info);
	TAP_CHECK(info.backing_read_errors == nr, "each is counted");
	TAP_CHECK(nr > ENTRIES / 2, "read, the file gives nothing: -EIO (%u)", nr);
	copy_file(fd, kept, sizeof(kept), true);
	no_room = true;
	nr = count_ends(f, 800, -ENOSPC);
	no_room = false;
	TAP_CHECK(nr > ENTRIES / 2, "read, no memory: -ENOSPC (%u)", nr);
	TAP_CHECK(count_ends(f, 800, 0) == ENTRIES, "and all can be tried again");
}

/* The first ENTRIES entries are as they were: how many can be written behind them, and why not more. */
static int fill_up(struct fixture *f, unsigned int *ret_nr)
{
	int r = 0;

	for (*ret_nr = 0; *ret_nr < 2 * WAIT_MAX; ++*ret_nr) {
		r = put_out(f, ENTRIES + *ret_nr, 5000 + *ret_nr);
		if (r < 0)
			break;
	}
	return r;
}

static void check_filled(struct fixture *f, unsigned int nr)
{
	unsigned int bad = 0, i;

	for (i = 0; i < nr; i++) {
		bad += comes_back(f, ENTRIES + i, 5000 + i) != 0;
		swsgx_slot_free(f->slots, ENTRIES + i);
	}
	TAP_CHECK(bad == 0, "and what it had taken comes back");
}

static void *batch_that_stands(void *arg)
{
	run_batch(arg);
	return NULL;
}

static void test_unwritable(struct fixture *f)
{
	struct rlimit limit, no_limit;
	struct swsgx_epc_info info;
	pthread_t thread;
	unsigned int nr;
	int r;

	no_room = true;
	r = fill_up(f, &nr);
	no_room = false;
	TAP_CHECK(r == -ENOSPC, "write, the disk is full: -ENOSPC, after %u", nr);
	check_filled(f, nr);
	getrlimit(RLIMIT_FSIZE, &no_limit);
	limit = no_limit;
	limit.rlim_cur = 2 * ENTRIES * SWSGX_PAGE_SIZE;
	setrlimit(RLIMIT_FSIZE, &limit);
	r = fill_up(f, &nr);
	setrlimit(RLIMIT_FSIZE, &no_limit);
	TAP_CHECK(r == -ENOSPC && nr <= ENTRIES,
		  "write, files may not be longer: -ENOSPC, after %u, and no signal", nr);
	check_filled(f, nr);

	write_errno = EIO;
	r = fill_up(f, &nr);
	TAP_CHECK(r == -EIO && nr > WAIT_MAX / 2 && nr <= WAIT_MAX,
		  "write, the file takes nothing: -EIO, behind %u pages that wait", nr);
	swsgx_epc_read(f->epc, &info);
	TAP_CHECK(info.backing_write_errors > 0 && info.backing_refused > 0, "which is counted");
	write_errno = 0;
	check_filled(f, nr);

	r = fill_up(f, &nr);
	TAP_CHECK(r == 0, "and then it takes all again");
	check_filled(f, nr);

	for (nr = 0; nr < 32; nr++)
		(void)put_out(f, ENTRIES + nr, 5000 + nr);
	write_stands = true;
	pthread_create(&thread, NULL, batch_that_stands, f);
	while (!write_waits)
		usleep(1000);
	r = fill_up(f, &nr);
	TAP_CHECK(r == -EAGAIN, "write, another is at it and the file stands still: -EAGAIN (%d)",
		  r);
	write_stands = false;
	pthread_join(thread, NULL);
	check_filled(f, nr);
}

static void test_file(void)
{
	struct fixture f;
	int fd;

	begin(&f, ".", 0);
	fd = find_file();
	TAP_MUST(fd >= 0 && (fd = open_again(fd)) >= 0, "the file of the store");
	test_lies(&f, fd);
	test_ciphertext(&f, fd);
	test_unreadable(&f, fd);
	test_unwritable(&f);
	close(fd);
	end(&f);
}

int main(void)
{
	test_memory();
	test_full();
	test_file();
	return tap_done();
}
