/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Finding the device: every path that programs try, by every call that they look with.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "client.h"
#include "lib/tap.h"

static const char *const nodes[] = { "/dev/sgx_enclave", "/dev/sgx/enclave", "/dev/sgx_provision",
				     "/dev/sgx/provision" };
static const char *const absent[] = { "/dev/isgx", "/dev/sgx/nothing", "/dev/sgx_enclave0" };

static bool mode_ok(mode_t mode, unsigned int maj)
{
	return S_ISCHR(mode) && maj == 10 && (mode & 0600) == 0600;
}

static void check_stat(const char *path)
{
	struct stat st;
	struct stat64 st64;
	struct statx stx;

	TAP_CHECK(!stat(path, &st) && mode_ok(st.st_mode, major(st.st_rdev)),
		  "%s: stat: a character device, major 10", path);
	if (strstr(path, "enclave"))
		TAP_CHECK(st.st_mode & 0111, "%s: an x bit, by which noexec is told", path);
	TAP_CHECK(!stat64(path, &st64) && mode_ok(st64.st_mode, major(st64.st_rdev)), "%s: stat64",
		  path);
	TAP_CHECK(!lstat(path, &st) && (S_ISCHR(st.st_mode) || S_ISLNK(st.st_mode)), "%s: lstat",
		  path);
	TAP_CHECK(!fstatat(AT_FDCWD, path, &st, 0) && mode_ok(st.st_mode, major(st.st_rdev)),
		  "%s: fstatat", path);
	TAP_CHECK(!statx(AT_FDCWD, path, 0, STATX_BASIC_STATS, &stx) &&
			  mode_ok(stx.stx_mode, stx.stx_rdev_major),
		  "%s: statx", path);
	TAP_CHECK(!access(path, F_OK) && !access(path, R_OK | W_OK), "%s: access", path);
	TAP_CHECK(!faccessat(AT_FDCWD, path, R_OK, 0), "%s: faccessat", path);
	TAP_CHECK(!faccessat(AT_FDCWD, path, R_OK, AT_EACCESS), "%s: faccessat AT_EACCESS", path);
	TAP_CHECK(!euidaccess(path, R_OK), "%s: euidaccess", path);
}

/* One fd, by whatever call it came: a device, and the same device as its path. */
static void check_fd(int fd, const char *path, const char *how)
{
	struct stat a, b;

	if (!TAP_CHECK(fd >= 0, "%s: %s: %s", path, how, fd < 0 ? strerror(errno) : "opened"))
		return;
	TAP_CHECK(!fstat(fd, &a) && !stat(path, &b) && mode_ok(a.st_mode, major(a.st_rdev)) &&
			  a.st_rdev == b.st_rdev,
		  "%s: fstat of the fd from %s agrees with stat", path, how);
	TAP_CHECK(!fstatat(fd, "", &a, AT_EMPTY_PATH) && S_ISCHR(a.st_mode),
		  "%s: fstatat with AT_EMPTY_PATH", path);
	TAP_CHECK(!close(fd), "%s: close", path);
	TAP_CHECK(fcntl(fd, F_GETFD) == -1 && errno == EBADF, "%s: and it is closed", path);
}

static void check_open(const char *path)
{
	int dir = open("/dev", O_RDONLY | O_DIRECTORY);
	FILE *f;

	check_fd(open(path, O_RDWR), path, "open");
	check_fd(open(path, O_RDWR | O_CLOEXEC), path, "open O_CLOEXEC");
	check_fd(open64(path, O_RDONLY), path, "open64 O_RDONLY");
	check_fd(openat(AT_FDCWD, path, O_RDWR), path, "openat");
	check_fd(openat64(AT_FDCWD, path, O_RDWR), path, "openat64");
	check_fd(openat(dir, path, O_RDWR), path, "openat, absolute path");
	check_fd(openat(dir, path + strlen("/dev/"), O_RDWR), path, "openat, relative to /dev");
	check_fd((int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR, 0), path, "syscall(SYS_openat)");
	check_fd((int)syscall(SYS_open, path, O_RDWR, 0), path, "syscall(SYS_open)");
	f = fopen(path, "r+");
	if (TAP_CHECK(f, "%s: fopen", path))
		fclose(f);
	close(dir);
}

static void check_relative(int dir, const char *path, bool there)
{
	struct stat st;
	int fd = openat(dir, path, O_RDWR);

	TAP_CHECK((fd >= 0) == there && (fstatat(dir, path, &st, 0) == 0) == there,
		  "%s from a folder: %s", path, there ? "there" : "not there");
	if (fd >= 0)
		close(fd);
}

/* As the kernel takes a path apart. */
static void check_spellings(void)
{
	static const char *const same[] = { "/dev//sgx_enclave", "//dev/./sgx_enclave",
					    "/dev/sgx//enclave", "/dev/./sgx/./provision" };
	int dev = open("/dev", O_RDONLY | O_DIRECTORY), root = open("/", O_RDONLY | O_DIRECTORY);

	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
		check_fd(open(same[i], O_RDWR), same[i], "open");
	check_relative(dev, "./sgx_enclave", true);
	check_relative(dev, "sgx//enclave", true);
	check_relative(dev, ".//sgx/enclave", true);
	check_relative(root, "dev/sgx_enclave", true);
	check_relative(root, "./dev/sgx/enclave", true);
	check_relative(root, "sgx_enclave", false);
	check_relative(dev, "sg/enclave", false);
	check_relative(dev, "dev/sgx_enclave", false);
	close(dev);
	close(root);
}

static void check_cloexec(void)
{
	int a = open("/dev/sgx_enclave", O_RDWR), b = open("/dev/sgx_enclave", O_RDWR | O_CLOEXEC);

	TAP_CHECK(a >= 0 && fcntl(a, F_GETFD) == 0, "no O_CLOEXEC: FD_CLOEXEC is clear");
	TAP_CHECK(b >= 0 && fcntl(b, F_GETFD) == FD_CLOEXEC, "O_CLOEXEC: FD_CLOEXEC is set");
	TAP_CHECK((fcntl(a, F_GETFL) & O_ACCMODE) == O_RDWR, "F_GETFL says O_RDWR");
	close(a);
	close(b);
}

/* An enclave may go on through any copy of the fd. */
static void check_dup(void)
{
	struct client_encl e;
	struct client_conf conf = { .no_init = true };
	int copy, at5;

	TAP_MUST(!client_create(&e, &conf), "an enclave to try copies of its fd with");
	copy = dup(e.fd);
	close(e.fd);
	at5 = dup2(copy, 77);
	e.fd = fcntl(at5, F_DUPFD_CLOEXEC, 100);
	close(copy);
	close(at5);
	TAP_CHECK(e.fd >= 100 && !client_init(&e),
		  "dup, dup2, F_DUPFD_CLOEXEC, then INIT on the last");
	TAP_CHECK(!client_op(&e, 0, OP_NOP, 0, 0, 0), "and it can be entered");
	client_destroy(&e);
}

static void check_absent(void)
{
	struct stat st;

	for (size_t i = 0; i < sizeof(absent) / sizeof(absent[0]); i++) {
		TAP_CHECK(open(absent[i], O_RDWR) == -1 && (errno == ENOENT || errno == ENOTDIR),
			  "%s: open fails", absent[i]);
		TAP_CHECK(stat(absent[i], &st) == -1 && access(absent[i], F_OK) == -1,
			  "%s: nor can it be seen", absent[i]);
	}
	/* What the 2018 driver had: a device of that very name. A directory is today's. */
	TAP_CHECK(stat("/dev/sgx", &st) == -1 || S_ISDIR(st.st_mode), "/dev/sgx is no device");
	TAP_CHECK(open("/dev/sgx", O_RDWR) == -1, "/dev/sgx: cannot be opened for writing");
}

static void check_other_calls(void)
{
	char byte[64];
	int fd = open("/dev/sgx_enclave", O_RDWR), prov = open("/dev/sgx_provision", O_RDONLY);

	TAP_CHECK(read(fd, byte, 1) == -1 && errno == EINVAL, "read: EINVAL, there is none");
	TAP_CHECK(write(fd, "x", 1) == -1 && errno == EINVAL, "write: EINVAL");
	TAP_CHECK(ioctl(fd, 0x5401, byte) == -1 && errno == ENOTTY, "TCGETS: ENOTTY");
	TAP_CHECK(!isatty(fd), "isatty: no");
	TAP_CHECK(ioctl(prov, SGX_IOC_ENCLAVE_CREATE, byte) == -1 && errno == ENOTTY,
		  "ioctl on the provision device: ENOTTY");
	TAP_CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, prov, 0) == MAP_FAILED && errno == ENODEV,
		  "mmap of the provision device: ENODEV");
	close(fd);
	close(prov);
}

int main(void)
{
	for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
		if (access(nodes[i], F_OK) && i % 2) { /* udev's second names */
			tap_skip(nodes[i], "not on this machine");
			continue;
		}
		check_stat(nodes[i]);
		check_open(nodes[i]);
	}
	check_spellings();
	check_cloexec();
	check_dup();
	check_absent();
	check_other_calls();
	return tap_done();
}
