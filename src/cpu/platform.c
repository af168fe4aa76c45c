/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The platform file: magic, version, the fuses, and a SHA-256 over all of that.  The digest finds
 * damage; it is no protection from the owner of the file, who holds the secrets anyway.
 *
 * A file appears under its name whole or not at all, and never replaces another: it is written
 * without a name, synced, and then linked, which fails when the name exists.  So of several makers
 * one wins, and the others read the winner's file.
 *
 * A file that others may read is refused, not repaired: its secrets may be out already.
 */
#include "cpu/platform.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/cmac.h"
#include "crypto/random.h"
#include "crypto/sha256.h"

#define PLATFORM_MAGIC   "SWSGXPF\n"
#define PLATFORM_VERSION 1u

struct platform_file {
	char magic[8];
	uint32_t version; /* little endian, as the next */
	uint32_t bytes;   /* of the whole file */
	struct cpu_fuses fuses;
	uint8_t digest[32]; /* of everything before it */
};
static_assert(sizeof(struct cpu_fuses) == 96, "a change of the fuses is a new PLATFORM_VERSION");
static_assert(sizeof(struct platform_file) == 144, "no padding");

int platform_random(struct cpu_fuses *fuses)
{
	random_bytes(fuses, sizeof(*fuses));
	/* A version, not a secret: the first one of this processor, with room above and below. */
	memset(fuses->cpusvn, 0, sizeof(fuses->cpusvn));
	fuses->cpusvn[0] = 1;
	return 0;
}

static void seal(struct platform_file *file)
{
	memcpy(file->magic, PLATFORM_MAGIC, sizeof(file->magic));
	file->version = PLATFORM_VERSION;
	file->bytes = sizeof(*file);
	sha256_once(file, offsetof(struct platform_file, digest), file->digest);
}

static bool sealed_right(const struct platform_file *file)
{
	uint8_t digest[32];

	sha256_once(file, offsetof(struct platform_file, digest), digest);
	return memcmp(file->magic, PLATFORM_MAGIC, sizeof(file->magic)) == 0 &&
	       file->version == PLATFORM_VERSION && file->bytes == sizeof(*file) &&
	       crypto_equal(file->digest, digest, sizeof(digest));
}

/* 0 when exactly @bytes were there, -EINVAL when fewer. */
static int read_all(int fd, void *to, size_t bytes)
{
	char *at = to;

	while (bytes) {
		ssize_t got = read(fd, at, bytes);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			return -EINVAL;
		at += got;
		bytes -= (size_t)got;
	}
	return 0;
}

static int write_all(int fd, const void *from, size_t bytes)
{
	const char *at = from;

	while (bytes) {
		ssize_t put = write(fd, at, bytes);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		at += put;
		bytes -= (size_t)put;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

static int check_access(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (st.st_mode & (S_IRWXG | S_IRWXO))
		return -EACCES;
	/* Its owner can read it whatever its mode says.  Root may use anybody's. */
	if (st.st_uid != geteuid() && geteuid() != 0)
		return -EACCES;
	return st.st_size == (off_t)sizeof(struct platform_file) ? 0 : -EINVAL;
}

static int load(const char *path, struct cpu_fuses *fuses)
{
	struct platform_file file;
	int fd, ret;

	/* Not to wait for ever on a FIFO, and no terminal of ours. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -errno;
	ret = check_access(fd);
	if (ret == 0)
		ret = read_all(fd, &file, sizeof(file));
	if (ret == 0 && !sealed_right(&file))
		ret = -EINVAL;
	if (ret == 0)
		*fuses = file.fuses;
	explicit_bzero(&file, sizeof(file));
	close(fd);
	return ret;
}

/* A file that has no name yet, in @dir. */
static int make_unnamed(const char *dir, const struct platform_file *file, const char *path)
{
	char proc[40];
	int fd, ret;

	fd = open(dir, O_TMPFILE | O_WRONLY | O_CLOEXEC, S_IRUSR | S_IWUSR);
	if (fd < 0)
		return -errno;
	ret = fchmod(fd, S_IRUSR | S_IWUSR) < 0 ? -errno : 0; /* whatever the umask took */
	if (ret == 0)
		ret = write_all(fd, file, sizeof(*file));
	if (ret == 0) {
		/* Linking the descriptor itself would need a capability. */
		snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
		if (linkat(AT_FDCWD, proc, AT_FDCWD, path, AT_SYMLINK_FOLLOW) < 0)
			ret = -errno;
	}
	close(fd);
	return ret;
}

/* The same for file systems without O_TMPFILE, and without /proc: by a name of its own. */
static int make_named(const struct platform_file *file, const char *path)
{
	char *temp;
	int fd, ret;

	if (asprintf(&temp, "%s.XXXXXX", path) < 0)
		return -ENOMEM;
	fd = mkostemp(temp, O_CLOEXEC); /* mode 0600 */
	if (fd < 0) {
		ret = -errno;
		free(temp);
		return ret;
	}
	ret = fchmod(fd, S_IRUSR | S_IWUSR) < 0 ? -errno : 0;
	if (ret == 0)
		ret = write_all(fd, file, sizeof(*file));
	if (ret == 0 && link(temp, path) < 0)
		ret = -errno;
	unlink(temp);
	close(fd);
	free(temp);
	return ret;
}

/* The name is what sealed data depend on: it too should survive a power cut. Best effort. */
static void sync_directory(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	fsync(fd);
	close(fd);
}

static char *directory_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return strdup(".");
	return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

/* -EEXIST: somebody else was first, which is as good. */
static int make(const char *path)
{
	struct platform_file file;
	char *dir = directory_of(path);
	int ret;

	if (!dir)
		return -ENOMEM;
	platform_random(&file.fuses);
	seal(&file);
	ret = make_unnamed(dir, &file, path);
	if (ret < 0 && ret != -EEXIST)
		ret = make_named(&file, path); /* its error is the one that counts */
	if (ret == 0)
		sync_directory(dir);
	explicit_bzero(&file, sizeof(file));
	free(dir);
	return ret;
}

int platform_open(const char *path, struct cpu_fuses *fuses)
{
	int ret = load(path, fuses);

	if (ret != -ENOENT)
		return ret;
	ret = make(path);
	if (ret < 0 && ret != -EEXIST)
		return ret;
	return load(path, fuses);
}
