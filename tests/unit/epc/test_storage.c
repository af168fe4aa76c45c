/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A backing store on a file system that can do less: no files without a name, no reserving of room, as NFS, 9p and ext2
 * are.  A filter of system calls plays it, on the file system that is here.
 */
#include "epc/backing.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arch/sgx.h"
#include "base/arena.h"
#include "epc/backing_priv.h"
#include "lib/tap.h"

enum { SLOTS = 100, TMPFILE_BIT = O_TMPFILE & ~O_DIRECTORY };

#define ARG(i) ((unsigned int)(offsetof(struct seccomp_data, args) + (i) * sizeof(uint64_t)))

/* From now on fallocate() of this process reserves nothing, but punches holes; and O_TMPFILE is not known. */
static int play_simple_storage(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fallocate, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ARG(1)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 4, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, ARG(2)),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, TMPFILE_BIT, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EOPNOTSUPP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(filter[0]), filter };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
			       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0
		       ? -errno
		       : 0;
}

static void test_reserve(const char *folder)
{
	int fd = backing_open(folder);
	struct stat st = { 0 };
	int r;

	TAP_CHECK(fallocate(fd, 0, 0, 4096) < 0 && errno == EOPNOTSUPP &&
			  open(folder, O_TMPFILE | O_RDWR, 0600) < 0,
		  "a file system that can do less");
	TAP_MUST(fd >= 0 && fstat(fd, &st) == 0 && st.st_nlink == 0,
		 "a file there all the same, and it has no name (%d)", fd);
	TAP_CHECK(fcntl(fd, F_SETFL, O_DIRECT) == 0 || errno == EINVAL, "with direct I/O, or not");
	r = backing_reserve(fd, 3, 64);
	fstat(fd, &st);
	TAP_CHECK(r == 0 && st.st_size == 67 * SGX_PAGE_SIZE &&
			  st.st_blocks * 512 >= 64 * SGX_PAGE_SIZE,
		  "room for 64 slots (%d)", r);
	close(fd);
}

/* What cannot be had, and why: a folder that is there is not said to be missing. */
static void test_none(void)
{
	/* Who is not root is told that it may not, before that it cannot. */
	TAP_CHECK(backing_open("/proc") == (access("/proc", W_OK) == 0 ? -EOPNOTSUPP : -EACCES),
		  "no file can be made in /proc");
	TAP_CHECK(backing_open("/no/such/folder/file") == -ENOENT, "a folder that is not there");
	TAP_CHECK(backing_open("/proc/version") == -EEXIST, "a file that is there stays as it is");
}

/* As much of a store as needs no memory to be reserved: all of memory is a file to the filter. */
static void test_store(const char *folder)
{
	uint32_t *slot = shared_map(SLOTS * sizeof(*slot));
	struct backing_stats stats;
	struct backing *backing;
	struct arena *arena = arena_create(1u << 20);
	unsigned int wrong = 0;
	int r = backing_create(arena, folder, 0, &backing);

	TAP_MUST(r == 0, "a store (%d)", r);
	for (uint32_t i = 0; i < SLOTS; i++) {
		r = backing_alloc(backing, &slot[i]);
		if (r < 0)
			break;
		memset(backing_page(backing, slot[i]), (int)i + 1, SGX_PAGE_SIZE);
		backing_complete(backing, slot[i]);
		backing_write_out(backing);
	}
	backing_stats_read(backing, &stats);
	TAP_CHECK(r == 0 && stats.written > SLOTS / 2 && stats.write_errors == 0,
		  "%u slots, %lu of them in the file", SLOTS, (unsigned long)stats.written);
	for (uint32_t i = 0; r == 0 && i < SLOTS; i++) {
		wrong += backing_fetch(backing, slot[i]) < 0;
		wrong += ((unsigned char *)backing_page(backing, slot[i]))[4000] != i + 1;
		backing_free(backing, &slot[i]);
	}
	TAP_CHECK(wrong == 0, "each comes back as it was");
	backing_destroy(backing);
	arena_destroy(arena);
	shared_unmap(slot, SLOTS * sizeof(*slot));
}

int main(void)
{
	char folder[] = "/tmp/swsgx-storage-XXXXXX";
	int status, r;
	pid_t pid;

	TAP_MUST(mkdtemp(folder), "a folder");
	test_none();
	pid = fork();
	if (pid == 0) {
		r = play_simple_storage();
		if (r < 0)
			tap_skip("a file system that can do less", strerror(-r));
		if (r == 0) {
			test_reserve(folder);
			test_store(folder);
		}
		tap_done();
		_exit(tap_failed > 0);
	}
	waitpid(pid, &status, 0);
	/* Only now: it is the child that counts. */
	return rmdir(folder) < 0 || status != 0;
}
