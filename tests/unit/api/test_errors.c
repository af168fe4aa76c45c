/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The installed API: every error that its headers document, provoked; one row each.  A row that fails leaves what it should
 * have written as it was, and all that it made is gone: the frame audit and the group's pages say so at the end.
 *
 * What only the system could refuse is refused here: this program's own splice(), pipe2() and memfd_create() come before
 * the C library's.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <swsgx/backing.h>
#include <swsgx/stats.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/tap.h"
#include "unit/api/any_owner.h"

enum { PAGES = 64 };

/* ---- a system that refuses ------------------------------------------------------------------------ */

static struct {
	int memfd_create, pipe2, splice, vmsplice; /* errno; -1: copy instead of a reference */
} refuse;

static bool refused(int err)
{
	if (err > 0)
		errno = err;
	return err > 0;
}

__attribute__((visibility("default"))) int memfd_create(const char *name, unsigned int flags)
{
	return refused(refuse.memfd_create) ? -1 : (int)syscall(SYS_memfd_create, name, flags);
}

__attribute__((visibility("default"))) int pipe2(int fds[2], int flags)
{
	return refused(refuse.pipe2) ? -1 : (int)syscall(SYS_pipe2, fds, flags);
}

__attribute__((visibility("default"))) ssize_t splice(int in, off64_t *in_off, int out,
						      off64_t *out_off, size_t bytes,
						      unsigned int flags)
{
	char copy[4096];

	if (refused(refuse.splice))
		return -1;
	if (refuse.splice < 0)
		return write(out, copy, (size_t)pread(in, copy, sizeof(copy), *in_off));
	return syscall(SYS_splice, in, in_off, out, out_off, bytes, flags);
}

__attribute__((visibility("default"))) ssize_t vmsplice(int out, const struct iovec *iov, size_t nr,
							unsigned int flags)
{
	if (refused(refuse.vmsplice))
		return -1;
	if (refuse.vmsplice < 0)
		return writev(out, iov, (int)nr);
	return syscall(SYS_vmsplice, out, iov, nr, flags);
}

/* ---- swsgx_epc_create() ----------------------------------------------------------------------------- */

static char folder[] = "test_api_errors.XXXXXX";
static char in_folder[64], nowhere[64], is_there[64], too_long[5000];

static const struct swsgx_section_config two[] = { { .bytes = 32 << 12, .node = 0 },
						   { .bytes = 32 << 12, .node = 1 } };

static const struct create_row {
	const char *what;
	struct swsgx_epc_config config;
	int memfd_create, pipe2, splice, vmsplice;
	rlim_t fsize; /* 0: no limit */
	int want;
} create_rows[] = {
	{ "a size that is no multiple", { .bytes = 64 * 4096 + 1 }, .want = -EINVAL },
	{ "15 pages", { .bytes = 15 * 4096 }, .want = -EINVAL },
	{ "16 pages", { .bytes = 16 * 4096 }, .want = 0 },
	{ "no pages", { .bytes = 0 }, .want = -EINVAL },
	{ "more than 1 TiB", { .bytes = (1ull << 40) + 4096 }, .want = -EINVAL },
	{ "more pages than have numbers", { .bytes = 1ull << 60 }, .want = -EINVAL },
	{ "both a size and sections",
	  { .bytes = 64 * 4096, .section = two, .section_nr = 2 },
	  .want = -EINVAL },
	{ "two sections", { .section = two, .section_nr = 2 }, .want = 0 },
	{ "nine sections", { .section = two, .section_nr = 9 }, .want = -EINVAL },
	{ "a section of nothing",
	  { .section = (struct swsgx_section_config[]){ { .bytes = 64 << 12 }, { 0 } },
	    .section_nr = 2 },
	  .want = -EINVAL },
	{ "half a page in a section",
	  { .section = (struct swsgx_section_config[]){ { .bytes = 2048 }, { .bytes = 1 << 20 } },
	    .section_nr = 2 },
	  .want = -EINVAL },
	{ "sections that wrap around",
	  { .section = (struct swsgx_section_config[]){ { .bytes = UINT64_MAX - 4095 },
							{ .bytes = 1 << 20 } },
	    .section_nr = 2 },
	  .want = -EINVAL },
	{ "node -2",
	  { .section = (struct swsgx_section_config[]){ { .bytes = 64 << 12, .node = -2 } },
	    .section_nr = 1 },
	  .want = -EINVAL },
	{ "node 1024",
	  { .section = (struct swsgx_section_config[]){ { .bytes = 64 << 12, .node = 1024 } },
	    .section_nr = 1 },
	  .want = -EINVAL },
	{ "a node that is not there",
	  { .section = (struct swsgx_section_config[]){ { .bytes = 64 << 12, .node = 1023 } },
	    .section_nr = 1 },
	  .want = 0 },
	{ "something newer in a section",
	  { .section = (struct swsgx_section_config[]){ { .bytes = 64 << 12, .reserved = 1 } },
	    .section_nr = 1 },
	  .want = -EINVAL },
	{ "something newer", { .bytes = 64 << 12, .reserved32 = 1 }, .want = -EINVAL },
	{ "something newer at the end",
	  { .bytes = 64 << 12, .reserved = { [7] = 1 } },
	  .want = -EINVAL },
	{ "no such policy", { .bytes = 64 << 12, .policy = "none" }, .want = -EINVAL },
	{ "a policy", { .bytes = 64 << 12, .policy = "upstream" }, .want = 0 },
	{ "shared memory without end",
	  { .bytes = 64 << 12, .shared_bytes = UINT64_MAX },
	  .want = -EINVAL },
	{ "too little of it",
	  { .section = two, .section_nr = 2, .shared_bytes = 4096 },
	  .want = -ENOMEM },
	{ "no room for a page in the store",
	  { .bytes = 64 << 12, .backing_bytes_max = 4096 },
	  .want = -ENOSPC },
	{ "room for one", { .bytes = 64 << 12, .backing_bytes_max = 4224 }, .want = 0 },
	{ "a folder for the store", { .bytes = 64 << 12, .backing_path = folder }, .want = 0 },
	{ "a file for it", { .bytes = 64 << 12, .backing_path = in_folder }, .want = 0 },
	{ "a file that is there",
	  { .bytes = 64 << 12, .backing_path = is_there },
	  .want = -EEXIST },
	{ "a file in no folder", { .bytes = 64 << 12, .backing_path = nowhere }, .want = -ENOENT },
	{ "a name without end",
	  { .bytes = 64 << 12, .backing_path = too_long },
	  .want = -ENAMETOOLONG },
	{ "no descriptor for the EPC",
	  { .bytes = 64 << 12 },
	  .memfd_create = EMFILE,
	  .want = -EMFILE },
	{ "no descriptors in the system",
	  { .bytes = 64 << 12 },
	  .memfd_create = ENFILE,
	  .want = -ENFILE },
	{ "none for its pipes", { .bytes = 64 << 12 }, .pipe2 = EMFILE, .want = -EMFILE },
	{ "short files", { .bytes = 64 << 12 }, .fsize = 1 << 20, .want = -EFBIG },
	{ "files that could be as long as the EPC",
	  { .bytes = 64 << 12 },
	  .fsize = 64 << 12,
	  .want = -EFBIG },
	{ "files of 4 GiB", { .bytes = 64 << 12 }, .fsize = 1ull << 32, .want = -EFBIG },
	{ "and of the EPC as well",
	  { .bytes = 64 << 12 },
	  .fsize = (1ull << 32) + (64 << 12),
	  .want = 0 },
	{ "a file for the store, and short ones",
	  { .bytes = 64 << 12, .backing_path = folder },
	  .fsize = 1 << 20,
	  .want = -EFBIG },
	{ "splice() that copies: vmsplice()", { .bytes = 64 << 12 }, .splice = -1, .want = 0 },
	{ "splice() is forbidden: vmsplice()", { .bytes = 64 << 12 }, .splice = EPERM, .want = 0 },
	{ "both copy", { .bytes = 64 << 12 }, .splice = -1, .vmsplice = -1, .want = -EOPNOTSUPP },
	{ "both are forbidden",
	  { .bytes = 64 << 12 },
	  .splice = EPERM,
	  .vmsplice = ENOSYS,
	  .want = -EOPNOTSUPP },
};

static unsigned int fds_open(void)
{
	unsigned int nr = 0;

	for (int fd = 0; fd < 4096; fd++)
		nr += fcntl(fd, F_GETFD) >= 0;
	return nr;
}

/* Memory that is shared, by mappings. */
static unsigned int mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512];
	unsigned int nr = 0;

	while (maps && fgets(line, sizeof(line), maps))
		nr += strstr(line, "/dev/zero") || strstr(line, "/memfd:");
	if (maps)
		fclose(maps);
	return nr;
}

static void check_create(const struct create_row *row)
{
	struct swsgx_epc *const untouched = (void *)&refuse, *epc = untouched;
	struct rlimit no_limit, limit;
	unsigned int fds = fds_open(), maps = mappings();
	int r;

	getrlimit(RLIMIT_FSIZE, &no_limit);
	limit = no_limit;
	limit.rlim_cur = row->fsize ? row->fsize : no_limit.rlim_cur;
	setrlimit(RLIMIT_FSIZE, &limit);
	refuse.memfd_create = row->memfd_create;
	refuse.pipe2 = row->pipe2;
	refuse.splice = row->splice;
	refuse.vmsplice = row->vmsplice;
	r = swsgx_epc_create(&row->config, &epc);
	memset(&refuse, 0, sizeof(refuse));
	setrlimit(RLIMIT_FSIZE, &no_limit);
	TAP_CHECK(r == row->want && (r == 0) == (epc != untouched), "create, %s: %d", row->what, r);
	if (r == 0)
		swsgx_epc_destroy(epc);
	TAP_CHECK(fds_open() == fds && mappings() == maps,
		  "and neither descriptor nor memory is left");
}

static void test_create(void)
{
	int fd;

	TAP_MUST(mkdtemp(folder), "a folder");
	snprintf(in_folder, sizeof(in_folder), "%s/store", folder);
	snprintf(nowhere, sizeof(nowhere), "%s/none/store", folder);
	snprintf(is_there, sizeof(is_there), "%s/there", folder);
	memset(too_long, 'x', sizeof(too_long) - 1);
	fd = open(is_there, O_CREAT | O_RDWR, 0600);
	for (size_t i = 0; i < sizeof(create_rows) / sizeof(create_rows[0]); i++)
		check_create(&create_rows[i]);
	close(fd);
	TAP_CHECK(unlink(is_there) == 0 && rmdir(folder) == 0, "and no file is left");
	swsgx_epc_destroy(NULL);
	swsgx_owner_destroy(NULL);
	swsgx_slots_destroy(NULL);
}

/* ---- owners and pages --------------------------------------------------------------------------------- */

/* Operations, with what is at @offset gone, or of a later version. */
static const struct ops_row {
	const char *what;
	size_t offset;
	bool newer;
	int want;
} ops_rows[] = {
	{ "no name", offsetof(struct swsgx_owner_ops, name), false, -EINVAL },
	{ "no get", offsetof(struct swsgx_owner_ops, get), false, -EINVAL },
	{ "no reclaim", offsetof(struct swsgx_owner_ops, reclaim), false, -EINVAL },
	{ "no block", offsetof(struct swsgx_owner_ops, block), false, -EINVAL },
	{ "no write", offsetof(struct swsgx_owner_ops, write), false, -EINVAL },
	{ "no put", offsetof(struct swsgx_owner_ops, put), false, -EINVAL },
	{ "nobody who says what runs", offsetof(struct swsgx_owner_ops, running), false, 0 },
	{ "something newer", offsetof(struct swsgx_owner_ops, reserved[0]), true, -EINVAL },
	{ "something newer at the end", offsetof(struct swsgx_owner_ops, reserved[2]), true,
	  -EINVAL },
};

static void check_ops(struct swsgx_group *root, const struct ops_row *row)
{
	struct swsgx_owner *const untouched = (void *)&refuse, *owner = untouched;
	struct swsgx_owner_ops ops = any_ops;
	int r;

	memset((char *)&ops + row->offset, row->newer, sizeof(void *));
	r = swsgx_owner_create(root, &ops, NULL, &owner);
	TAP_CHECK(r == row->want && (r == 0) == (owner != untouched), "owner, %s: %d", row->what,
		  r);
	if (r == 0)
		swsgx_owner_destroy(owner);
}

static void test_owners(struct swsgx_group *root)
{
	for (size_t i = 0; i < sizeof(ops_rows) / sizeof(ops_rows[0]); i++)
		check_ops(root, &ops_rows[i]);
}

/* All pages taken; and each flag that is none. */
static void test_pages(struct swsgx_epc *epc, struct swsgx_owner *owner)
{
	struct swsgx_page *page[PAGES], *const untouched = (void *)&refuse, *more = untouched;
	struct swsgx_owner_info info;
	unsigned int nr;

	for (nr = 0; nr < PAGES && swsgx_page_alloc(owner, 0, &page[nr]) == 0; nr++)
		swsgx_page_keep(owner, page[nr]);
	TAP_CHECK(nr == PAGES, "%u pages", nr);
	TAP_CHECK(swsgx_page_alloc(owner, 0, &more) == -EBUSY && more == untouched,
		  "alloc, all are taken: -EBUSY");
	TAP_CHECK(swsgx_page_alloc(owner, SWSGX_MAY_RECLAIM, &more) == -ENOMEM && more == untouched,
		  "and none can go: -ENOMEM");
	swsgx_owner_read(owner, &info);
	TAP_CHECK(info.count[SWSGX_STALL_NS] < 500000000, "at once, for all are kept: %lu us",
		  info.count[SWSGX_STALL_NS] / 1000);
	for (unsigned int bit = 1; bit < 32; bit++)
		nr -= swsgx_page_alloc(owner, 1u << bit, &more) != -EINVAL || more != untouched;
	TAP_CHECK(nr == PAGES, "alloc, with a flag that is none: -EINVAL");
	TAP_CHECK(swsgx_epc_poison(epc, PAGES) == -EINVAL &&
			  swsgx_epc_poison(epc, UINT32_MAX) == -EINVAL,
		  "poison, no such page: -EINVAL");
	TAP_CHECK(swsgx_epc_audit(epc, 2, NULL, 0) == -EINVAL, "audit, no such flag: -EINVAL");
	while (nr-- > 0)
		swsgx_page_free(owner, page[nr]);
}

/* An operation calls untrack() for the page that it is asked about: that is in a batch. */
static struct swsgx_owner *asking_owner;
static int untrack_result, quiet_faults, live_faults;

static bool untrack_in_batch(void *arg, uint64_t i, struct swsgx_page *page)
{
	untrack_result = swsgx_page_untrack(asking_owner, page);
	quiet_faults = swsgx_epc_audit(arg, 0, NULL, 0);
	live_faults = swsgx_epc_audit(arg, SWSGX_AUDIT_LIVE, NULL, 0);
	return false;
}

static void test_untrack(struct swsgx_epc *epc)
{
	struct swsgx_owner_ops ops = any_ops;
	struct swsgx_page *page;

	ops.reclaim = untrack_in_batch;
	TAP_MUST(swsgx_owner_create(swsgx_group_root(epc), &ops, epc, &asking_owner) == 0 &&
			 swsgx_page_alloc(asking_owner, 0, &page) == 0,
		 "a page");
	swsgx_page_track(asking_owner, page);
	TAP_CHECK(swsgx_epc_reclaim(epc) == 0 && untrack_result == -EBUSY,
		  "untrack, in a batch: -EBUSY");
	TAP_CHECK(quiet_faults == 1 && live_faults == 0,
		  "audit, in a batch: no quiet moment, but nothing wrong");
	TAP_CHECK(swsgx_page_untrack(asking_owner, page) == 0, "and after it: 0");
	swsgx_page_free(asking_owner, page);
	swsgx_owner_destroy(asking_owner);
}

/* ---- numbers ------------------------------------------------------------------------------------------ */

static void test_numbers(struct swsgx_epc *epc, struct swsgx_owner *owner)
{
	struct swsgx_section_info section = { .first = 99 };
	unsigned int own = 0, bad = 0, named = 0;

	TAP_CHECK(swsgx_section_read(epc, 1, &section) == -EINVAL && section.first == 99 &&
			  swsgx_section_read(epc, UINT32_MAX, &section) == -EINVAL,
		  "section, there is none: -EINVAL");
	TAP_CHECK(swsgx_section_read(epc, 0, &section) == 0 && section.pages == PAGES &&
			  section.node == SWSGX_NO_NODE,
		  "section 0");
	for (uint32_t what = 0; what < 1000; what++) {
		own += swsgx_owner_count(owner, NULL, what, 0) == 0;
		bad += swsgx_owner_count(owner, NULL, what, 0) == -EINVAL;
		named += swsgx_count_name(what) != NULL;
	}
	TAP_CHECK(own == SWSGX_CONFLICTS - SWSGX_FAULTS + 1 && own + bad == 1000,
		  "count, what is not the owner's: -EINVAL");
	TAP_CHECK(named == SWSGX_CONFLICTS + 1, "numbers without a name have none");
}

static const struct swsgx_group_limits no_limits = {
	SWSGX_NO_LIMIT, SWSGX_NO_LIMIT, 0, 100, { 0 }
};

/* ---- everything that needs shared memory --------------------------------------------------------------- */

static void test_no_memory(void)
{
	struct swsgx_epc_config config = { .bytes = PAGES * SWSGX_PAGE_SIZE,
					   .shared_bytes = 1 << 20 };
	struct swsgx_owner *owner, *other = NULL;
	struct swsgx_page *page[PAGES], *more;
	struct swsgx_group *group = NULL;
	struct swsgx_slots *slots = NULL;
	unsigned char *block, *last = NULL;
	struct swsgx_epc *epc;
	unsigned int nr = 0;

	TAP_MUST(swsgx_epc_create(&config, &epc) == 0 &&
			 swsgx_owner_create(swsgx_group_root(epc), &any_ops, NULL, &owner) == 0,
		 "an EPC with 1 MiB of shared memory");
	TAP_CHECK(!swsgx_shared_alloc(epc, 0) && !swsgx_shared_alloc(epc, 1ull << 60),
		  "none for nothing, none without end");
	for (size_t bytes = 1 << 19; bytes >= 64; bytes /= 2) {
		while ((block = swsgx_shared_alloc(epc, bytes)))
			last = block;
	}
	TAP_CHECK(!swsgx_shared_alloc(epc, 1), "it is all taken");
	memset(last, 0xff, 64);
	swsgx_shared_free(epc, last, 64);
	swsgx_shared_free(epc, NULL, 64);
	block = swsgx_shared_alloc(epc, 64);
	TAP_CHECK(block == last && !block[0] && !memcmp(block, block + 1, 63) &&
			  !swsgx_shared_alloc(epc, 1),
		  "what is given back can be had again, zeroed");
	TAP_CHECK(swsgx_owner_create(swsgx_group_root(epc), &any_ops, NULL, &other) == -ENOMEM &&
			  !other,
		  "owner, no memory: -ENOMEM");
	TAP_CHECK(swsgx_group_create(swsgx_group_root(epc), "g", &no_limits, &group) == -ENOMEM &&
			  !group,
		  "group, no memory: -ENOMEM");
	TAP_CHECK(swsgx_slots_create(epc, 1, &slots) == -ENOMEM && !slots,
		  "slots, no memory: -ENOMEM");
	TAP_CHECK(swsgx_background_run(epc) == -EBUSY, "background, no memory: -EBUSY");
	for (nr = 0; nr < PAGES && swsgx_page_alloc(owner, 0, &page[nr]) == 0; nr++)
		swsgx_page_track(owner, page[nr]);
	TAP_CHECK(nr == PAGES && swsgx_page_alloc(owner, SWSGX_MAY_RECLAIM, &more) == 0,
		  "alloc, no memory for a line of those who wait: one waits without");
	TAP_CHECK(swsgx_epc_audit(epc, 0, NULL, 0) == 0, "nothing is lost");
	swsgx_epc_destroy(epc);
}

/* Often enough to use up the shared memory if any of it were lost. */
static void test_leaks(void)
{
	struct swsgx_epc_config config = { .bytes = PAGES * SWSGX_PAGE_SIZE,
					   .shared_bytes = 1 << 20 };
	struct swsgx_owner *owner;
	struct swsgx_slots *slots;
	struct swsgx_group *group;
	unsigned int failed = 0, i;
	struct swsgx_epc *epc;

	TAP_MUST(swsgx_epc_create(&config, &epc) == 0, "an EPC");
	for (i = 0; i < 20000 && failed == 0; i++) {
		failed += swsgx_group_create(swsgx_group_root(epc), "g", &no_limits, &group) != 0 ||
			  swsgx_owner_create(group, &any_ops, NULL, &owner) != 0 ||
			  swsgx_slots_create(epc, 1, &slots) != 0;
		if (failed > 0)
			break;
		swsgx_slots_destroy(slots);
		swsgx_owner_destroy(owner);
		failed += swsgx_group_destroy(group) != 0;
	}
	TAP_CHECK(failed == 0, "%u groups, owners and tables came and went", i);
	swsgx_epc_destroy(epc);
}

int main(void)
{
	struct swsgx_epc_config config = { .bytes = PAGES * SWSGX_PAGE_SIZE };
	struct swsgx_owner *owner;
	struct swsgx_epc_info info;
	struct swsgx_epc *epc;
	char why[100];

	test_create();
	TAP_MUST(swsgx_epc_create(&config, &epc) == 0 &&
			 swsgx_owner_create(swsgx_group_root(epc), &any_ops, NULL, &owner) == 0,
		 "an EPC and an owner");
	test_owners(swsgx_group_root(epc));
	test_pages(epc, owner);
	test_untrack(epc);
	test_numbers(epc, owner);
	swsgx_epc_read(epc, &info);
	TAP_CHECK(info.free + info.dirty == PAGES && swsgx_epc_audit(epc, 0, why, sizeof(why)) == 0,
		  "no page is lost %s", why);
	swsgx_owner_destroy(owner);
	swsgx_epc_destroy(epc);
	test_no_memory();
	test_leaks();
	return tap_done();
}
