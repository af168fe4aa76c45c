/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The platform file: the same secrets again, one file whoever makes it, and every way to refuse.
 */
#include "cpu/platform.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/tap.h"

enum { FILE_BYTES = 144, MAKERS = 12 };

/* A file system without O_TMPFILE, when a test wants one. */
static bool no_tmpfile;

int __real_open64(const char *path, int flags, mode_t mode);
int __real_open(const char *path, int flags, mode_t mode);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);

static bool refused(int flags) { return no_tmpfile && (flags & O_TMPFILE) == O_TMPFILE; }

static mode_t mode_of(int flags, va_list ap)
{
	return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(ap, mode_t) : 0;
}

int __wrap_open64(const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	if (refused(flags)) {
		errno = EOPNOTSUPP;
		return -1;
	}
	return __real_open64(path, flags, mode);
}

int __wrap_open(const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = mode_of(flags, ap);
	va_end(ap);
	if (refused(flags)) {
		errno = EOPNOTSUPP;
		return -1;
	}
	return __real_open(path, flags, mode);
}

static char dir[] = "/tmp/swsgx-platform-XXXXXX", path[64];

static unsigned int files_in_dir(void)
{
	char command[128];
	unsigned int nr = 0;
	FILE *ls;

	snprintf(command, sizeof(command), "ls -A %s | wc -l", dir);
	ls = popen(command, "r");
	if (!ls || fscanf(ls, "%u", &nr) != 1)
		abort();
	pclose(ls);
	return nr;
}

static bool zero(const uint8_t *bytes, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		if (bytes[i])
			return false;
	return true;
}

static void test_again(const char *how)
{
	struct cpu_fuses one, two;
	struct stat st;

	unlink(path);
	umask(0777); /* the worst: our mode must not depend on it */
	TAP_CHECK(platform_open(path, &one) == 0, "%s: made on first use", how);
	umask(022);
	TAP_CHECK(stat(path, &st) == 0 && (st.st_mode & 07777) == 0600, "%s: mode 0600", how);
	TAP_CHECK(st.st_size == FILE_BYTES && st.st_nlink == 1 && files_in_dir() == 1,
		  "%s: one file, one name, nothing beside it", how);
	TAP_CHECK(platform_open(path, &two) == 0 && memcmp(&one, &two, sizeof(one)) == 0,
		  "%s: the same secrets again", how);
	TAP_CHECK(!zero(one.root_key, 16) && !zero(one.seal_fuses, 16) &&
			  !zero(one.owner_epoch, 16) && !zero(one.report_keyid, 32),
		  "%s: which are there", how);
	unlink(path);
	TAP_CHECK(platform_open(path, &two) == 0 && memcmp(one.root_key, two.root_key, 16) != 0,
		  "%s: another file is another platform", how);
}

static void test_makers(const char *how)
{
	struct cpu_fuses *seen = mmap(NULL, MAKERS * sizeof(*seen), PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned int rounds = 20, wrong = 0;
	pid_t pids[MAKERS];
	int status, go[2];
	char byte;

	TAP_MUST(seen != MAP_FAILED, "shared memory");
	while (rounds--) {
		unlink(path);
		if (pipe(go) < 0)
			abort();
		for (unsigned int i = 0; i < MAKERS; i++) {
			pids[i] = fork();
			if (pids[i] == 0) {
				close(go[1]);
				(void)!read(go[0], &byte, 1); /* ends for all of them at once */
				_exit(platform_open(path, &seen[i]) != 0);
			}
		}
		close(go[0]);
		close(go[1]);
		for (unsigned int i = 0; i < MAKERS; i++) {
			waitpid(pids[i], &status, 0);
			wrong += status != 0 || memcmp(&seen[i], &seen[0], sizeof(*seen)) != 0;
		}
	}
	TAP_CHECK(wrong == 0, "%s: 12 makers at once agree, 20 times", how);
	TAP_CHECK(files_in_dir() == 1, "%s: and leave one file", how);
	munmap(seen, MAKERS * sizeof(*seen));
}

/* 0 is not taken; the fuses of a caller that is refused stay as they were. */
static void refuses(int want, const char *what)
{
	struct cpu_fuses fuses, before;
	int ret;

	memset(&fuses, 0x77, sizeof(fuses));
	before = fuses;
	ret = platform_open(path, &fuses);
	TAP_CHECK(ret == want && memcmp(&fuses, &before, sizeof(fuses)) == 0, "%s: %d", what, ret);
}

static void put_file(const uint8_t *bytes, size_t nr)
{
	int fd;

	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (fd < 0 || write(fd, bytes, nr) != (ssize_t)nr)
		abort();
	close(fd);
}

static void test_damage(void)
{
	uint8_t bytes[FILE_BYTES + 1] = { 0 };
	struct cpu_fuses fuses;
	unsigned int taken = 0;
	int fd;

	unlink(path);
	platform_open(path, &fuses);
	fd = open(path, O_RDONLY);
	TAP_MUST(read(fd, bytes, sizeof(bytes)) == FILE_BYTES, "a good file");
	close(fd);

	for (size_t at = 0; at < FILE_BYTES; at++) {
		bytes[at] ^= 0x10;
		put_file(bytes, FILE_BYTES);
		taken += platform_open(path, &fuses) != -EINVAL;
		bytes[at] ^= 0x10;
	}
	TAP_CHECK(taken == 0, "a damaged byte anywhere is refused");
	put_file(bytes, 0);
	refuses(-EINVAL, "an empty file");
	put_file(bytes, FILE_BYTES - 1);
	refuses(-EINVAL, "a byte short");
	put_file(bytes, FILE_BYTES + 1);
	refuses(-EINVAL, "a byte long");
	put_file(bytes, FILE_BYTES);
	TAP_CHECK(platform_open(path, &fuses) == 0, "and the good one is still good");
}

static void test_access(void)
{
	static const mode_t open_modes[] = { 0640, 0620, 0604, 0602, 0601, 0777 };

	for (size_t i = 0; i < sizeof(open_modes) / sizeof(open_modes[0]); i++) {
		chmod(path, open_modes[i]);
		refuses(-EACCES, "others have rights");
	}
	chmod(path, 0400);
	TAP_CHECK(platform_open(path, &(struct cpu_fuses){ 0 }) == 0, "read only is enough");
	unlink(path);
	mkdir(path, 0700);
	refuses(-EINVAL, "a directory");
	rmdir(path);
	mkfifo(path, 0600);
	refuses(-EINVAL, "a FIFO, without waiting for its writer");
	unlink(path);
	if (symlink("no/where", path) < 0)
		abort();
	refuses(-ENOENT, "a link to nowhere");
	unlink(path);
	snprintf(path, sizeof(path), "%s/none/platform", dir);
	refuses(-ENOENT, "no directory");
	snprintf(path, sizeof(path), "/proc/platform");
	refuses(-ENOENT, "a file system that makes no files");
	snprintf(path, sizeof(path), "%s/platform", dir);
}

/* Names without a directory, or right in the current one. */
static void test_relative(void)
{
	struct cpu_fuses one, two;

	if (chdir(dir) < 0)
		abort();
	TAP_CHECK(platform_open("relative", &one) == 0, "a name without a slash");
	TAP_CHECK(platform_open("./relative", &two) == 0 && memcmp(&one, &two, sizeof(one)) == 0,
		  "is in the current directory");
	unlink("relative");
	if (chdir("/") < 0)
		abort();
}

int main(void)
{
	struct cpu_fuses one, two;

	TAP_MUST(mkdtemp(dir) != NULL, "a directory");
	snprintf(path, sizeof(path), "%s/platform", dir);
	test_again("unnamed");
	test_makers("unnamed");
	no_tmpfile = true;
	test_again("named");
	test_makers("named");
	no_tmpfile = false;
	test_damage();
	test_access();
	test_relative();

	TAP_CHECK(platform_random(&one) == 0 && platform_random(&two) == 0 &&
			  memcmp(one.root_key, two.root_key, 16) != 0 &&
			  memcmp(one.cpusvn, two.cpusvn, 16) == 0,
		  "platforms of one run differ, their CPUSVN does not");
	rmdir(dir);
	return tap_done();
}
