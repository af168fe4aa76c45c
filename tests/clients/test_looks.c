/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What else programs, and the libraries and language runtimes below them, do with a path or a descriptor before they
 * use it: resolve it, ask what it is, try to wait for it, open it from a folder.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "client.h"
#include "lib/tap.h"

static const char node[] = "/dev/sgx_enclave";

static bool is(const char *what, ssize_t n, const char *buf)
{
	return n == (ssize_t)strlen(what) && !memcmp(buf, what, (size_t)n);
}

static void check_resolve(void)
{
	char buf[PATH_MAX], *p = realpath(node, buf), *q = realpath(node, NULL);
	int dev = open("/dev", O_RDONLY | O_DIRECTORY);

	TAP_CHECK(p == buf && !strcmp(buf, node), "realpath of the node is the node");
	TAP_CHECK(q && !strcmp(q, node), "in memory of its own too");
	free(q);
	q = realpath("/dev/../dev", NULL);
	TAP_CHECK(q && !strcmp(q, "/dev"), "other paths are resolved as ever");
	free(q);
	TAP_CHECK(!realpath("/dev/sgx_no_such_node", NULL) && errno == ENOENT, "or not");
	TAP_CHECK(readlink(node, buf, sizeof(buf)) == -1 && errno == EINVAL,
		  "readlink of the node: EINVAL, it is no link");
	TAP_CHECK(readlinkat(dev, "sgx_enclave", buf, sizeof(buf)) == -1 && errno == EINVAL,
		  "from its folder too");
	TAP_CHECK(syscall(SYS_readlink, node, buf, sizeof(buf)) == -1 && errno == EINVAL,
		  "and by syscall()");
	close(dev);
}

/* The link of a descriptor, by each name that it has. */
static void check_links(void)
{
	int fd = open(node, O_RDWR), prov = open("/dev/sgx/provision", O_RDONLY), dir, null;
	char path[64], buf[64];

	TAP_MUST(fd >= 0, "the device is open");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	TAP_CHECK(is(node, readlink(path, buf, sizeof(buf)), buf), "%s says what it is of", path);
	TAP_CHECK(is("/dev", readlink(path, buf, 4), buf), "as much of it as there is room for");
	TAP_CHECK(readlink(path, buf, 0) == -1 && errno == EINVAL, "no room: EINVAL");
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", getpid(), fd);
	TAP_CHECK(is(node, readlink(path, buf, sizeof(buf)), buf), "so does %s", path);
	snprintf(path, sizeof(path), "/dev/fd/%d", fd);
	TAP_CHECK(is(node, readlink(path, buf, sizeof(buf)), buf), "so does %s", path);
	dir = open("/proc/self/fd", O_RDONLY | O_DIRECTORY);
	snprintf(path, sizeof(path), "%d", fd);
	TAP_CHECK(is(node, readlinkat(dir, path, buf, sizeof(buf)), buf), "and from its folder");
	close(dir);
	if (prov >= 0) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", prov);
		TAP_CHECK(is("/dev/sgx_provision", readlink(path, buf, sizeof(buf)), buf),
			  "the other node");
		close(prov);
	}
	null = open("/dev/null", O_RDONLY);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", null);
	TAP_CHECK(is("/dev/null", readlink(path, buf, sizeof(buf)), buf), "any other file");
	close(null);
	close(fd);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	TAP_CHECK(readlink(path, buf, sizeof(buf)) == -1 && errno == ENOENT, "ENOENT when closed");
}

/* Language runtimes try to wait for what they open, and take a plain file's way when they are told EPERM. */
static void check_epoll(void)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET };
	int fd = open(node, O_RDWR | O_CLOEXEC), ep = epoll_create1(EPOLL_CLOEXEC), p[2];

	TAP_CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event) == -1 && errno == EPERM,
		  "it cannot be waited for: EPERM");
	TAP_CHECK(epoll_ctl(fd, EPOLL_CTL_ADD, ep, &event) == -1 && errno == EINVAL,
		  "nor is it an epoll instance: EINVAL");
	TAP_CHECK(!pipe(p) && !epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &event),
		  "anything else can be waited for");
	close(p[0]);
	close(p[1]);
	close(ep);
	close(fd);
}

static bool has_sgx(int fd)
{
	char *line = NULL;
	size_t room = 0;
	bool found = false;
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");

	while (f && getline(&line, &room, f) > 0)
		found |= !strncmp(line, "flags", 5) && strstr(line, " sgx ");
	free(line);
	if (f)
		fclose(f);
	return found;
}

/* As lscpu does it: the folder first. */
static void check_folders(void)
{
	int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC), root = open("/", O_PATH);
	int dev = open("/dev", O_RDONLY | O_DIRECTORY), fd;
	struct open_how how = { .flags = O_RDWR | O_CLOEXEC };
	struct stat st;

	TAP_CHECK(has_sgx(openat(proc, "cpuinfo", O_RDONLY)), "cpuinfo, from /proc, says sgx");
	TAP_CHECK(has_sgx(openat(root, "proc/cpuinfo", O_RDONLY)), "and from /");
	TAP_CHECK(!has_sgx(openat(proc, "self/status", O_RDONLY)), "other files are as they are");
	TAP_CHECK(!faccessat(dev, "sgx_enclave", R_OK, 0), "faccessat from /dev");
	TAP_CHECK(!syscall(SYS_faccessat2, dev, "sgx_enclave", R_OK, AT_EACCESS), "faccessat2");
	fd = (int)syscall(SYS_openat2, dev, "sgx_enclave", &how, sizeof(how));
	TAP_CHECK(fd >= 0 && !fstat(fd, &st) && S_ISCHR(st.st_mode), "openat2 from /dev");
	TAP_CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC, "with its flags");
	close(fd);
	how.flags = O_RDONLY;
	fd = (int)syscall(SYS_openat2, AT_FDCWD, "/dev/null", &how, sizeof(how));
	TAP_CHECK(fd >= 0 && !fstat(fd, &st) && S_ISCHR(st.st_mode), "openat2 of another file");
	close(fd);
	TAP_CHECK(syscall(SYS_openat2, AT_FDCWD, "/dev/null", NULL, sizeof(how)) == -1 &&
			  errno == EFAULT,
		  "without its structure: EFAULT");
	close(dev);
	close(root);
	close(proc);
}

#ifndef CLIENT_RAW
/* How often @name is listed in @dir; -1 when it is, and is said to be something else than @type. */
static int listed(DIR *dir, const char *name, unsigned char type)
{
	struct dirent *entry;
	int nr = 0;

	while ((entry = readdir(dir)))
		if (!strcmp(entry->d_name, name))
			nr += entry->d_type == type ? 1 : -1000;
	return nr;
}

static void check_listing(void)
{
	DIR *dir = opendir("/dev"), *second = opendir("/dev"), *other = opendir("/proc/self");
	long begin;

	TAP_MUST(dir && second && other, "folders");
	begin = telldir(dir);
	TAP_CHECK(listed(dir, "sgx_enclave", DT_CHR) == 1, "/dev lists sgx_enclave, once");
	TAP_CHECK(!readdir(dir) && !readdir(dir), "and has an end");
	TAP_CHECK(listed(second, "sgx_provision", DT_CHR) == 1, "a second listing sgx_provision");
	rewinddir(dir);
	TAP_CHECK(listed(dir, "null", DT_CHR) == 1, "begun anew it lists what it has always had");
	rewinddir(dir);
	TAP_CHECK(listed(dir, "sgx_enclave", DT_CHR) == 1, "and the node again");
	seekdir(dir, begin);
	TAP_CHECK(listed(dir, "sgx_enclave", DT_CHR) == 1, "and from a place that was noted");
	TAP_CHECK(listed(other, "sgx_enclave", DT_CHR) == 0, "other folders do not");
	TAP_CHECK(!closedir(dir) && !closedir(second) && !closedir(other), "closed");
	for (int i = 0; i < 100; i++) {
		dir = opendir("/dev");
		if (listed(dir, "sgx_enclave", DT_CHR) != 1)
			break;
		closedir(dir);
		dir = NULL;
	}
	TAP_CHECK(!dir, "a hundred times");
}

/* As ls does it. */
static void check_attributes(void)
{
	char value[64];

	TAP_CHECK(lgetxattr(node, "security.selinux", value, sizeof(value)) == -1 &&
			  (errno == ENODATA || errno == EOPNOTSUPP),
		  "it has no extended attributes");
	TAP_CHECK(getxattr(node, "system.posix_acl_access", value, sizeof(value)) == -1 &&
			  (errno == ENODATA || errno == EOPNOTSUPP),
		  "nor an access control list");
	TAP_CHECK(listxattr(node, value, sizeof(value)) >= 0 &&
			  llistxattr(node, value, sizeof(value)) >= 0,
		  "which a list of them agrees with");
	TAP_CHECK(getxattr("/dev/sgx_no_such_node", "user.x", value, sizeof(value)) == -1 &&
			  errno == ENOENT,
		  "what is not there has none either");
}
#endif

int main(void)
{
#ifndef CLIENT_RAW
	check_listing();
	check_attributes();
#endif
	check_resolve();
	check_links();
	check_epoll();
	check_folders();
	return tap_done();
}
