/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The device nodes: which paths are they, which file descriptors are opens of them, and their ioctls.
 *
 * An open of a node is an empty epoll instance, so that the number, its duplicates and its closing are the kernel's
 * business, and read, write and a mmap that passes us by are refused as the device refuses them.  rt.fd says by
 * number what it stands for; the inode proves that the number was not given to a file meanwhile.
 */
#include "runtime/rt.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <asm/sgx.h>

#include "abi/ioctl.h"
#include "base/arena.h"
#include "epc/epc.h"
#include "epc/window.h"
#include "runtime/sys.h"

#define FD_MAX (1u << 20)

static const struct {
	const char *dir, *name;
	enum rt_fd_kind kind;
} nodes[] = {
	{ "/dev", "sgx_enclave", RT_FD_ENCLAVE },
	{ "/dev/sgx", "enclave", RT_FD_ENCLAVE },
	{ "/dev", "sgx_provision", RT_FD_PROVISION },
	{ "/dev/sgx", "provision", RT_FD_PROVISION },
	{ "/dev", "sgx_vepc", RT_FD_VEPC },
	/* As the node was called while the driver was under review. */
	{ "/dev/sgx", "virt_epc", RT_FD_VEPC },
	{ "/dev/sgx", "epc", RT_FD_VEPC },
};

bool rt_folder(int dir, char *to, size_t bytes)
{
	char link[32];
	long n;

	snprintf(link, sizeof(link), dir == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", dir);
	n = sys4(SYS_readlinkat, AT_FDCWD, link, to, bytes - 1);
	if (n <= 0)
		return false;
	to[n] = 0;
	return true;
}

const char *rt_device_name(enum rt_fd_kind kind)
{
	static const char *const name[] = { [RT_FD_ENCLAVE] = "/dev/sgx_enclave",
					    [RT_FD_PROVISION] = "/dev/sgx_provision",
					    [RT_FD_VEPC] = "/dev/sgx_vepc" };

	return name[kind];
}

/* Each name in the @n bytes of @path after a slash; "." and empty ones are none. The length, or 0 where it is too long. */
static size_t append_folders(char *to, size_t len, size_t bytes, const char *path, size_t n)
{
	const char *end = path + n;
	size_t part;

	for (; path < end; path += part) {
		path += *path == '/';
		part = strcspn(path, "/");
		if (part > (size_t)(end - path))
			part = (size_t)(end - path);
		if (part == 0 || (part == 1 && *path == '.'))
			continue;
		if (len + 1 + part >= bytes)
			return 0;
		to[len++] = '/';
		memcpy(to + len, path, part);
		len += part;
	}
	to[len] = 0;
	return len;
}

int rt_device_path_at(int dir, const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	size_t i, len = 0;
	char in[64];

	/* Nearly every path ends here. */
	for (i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++)
		if (!strcmp(name, nodes[i].name))
			break;
	if (i == sizeof(nodes) / sizeof(nodes[0]))
		return RT_FD_NONE;
	if (path[0] != '/') {
		if (!rt_folder(dir, in, sizeof(in)))
			return RT_FD_NONE;
		len = strcmp(in, "/") ? strlen(in) : 0;
	}
	if (!append_folders(in, len, sizeof(in), path, (size_t)(name - path)))
		return RT_FD_NONE;
	for (; i < sizeof(nodes) / sizeof(nodes[0]); i++)
		if (!strcmp(name, nodes[i].name) && !strcmp(in, nodes[i].dir))
			return (int)nodes[i].kind;
	return RT_FD_NONE;
}

int rt_device_init(void)
{
	void *map = mmap(NULL, FD_MAX * sizeof(struct rt_fd), PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (map == MAP_FAILED)
		return -ENOMEM;
	rt.fd = map;
	rt.fd_max = FD_MAX;
	return 0;
}

static uint64_t inode_of(int fd)
{
	struct stat st;

	/* The kernel's struct stat is libc's on x86-64. */
	return sys(SYS_fstat, fd, &st, 0) < 0 ? 0 : st.st_ino;
}

/* This process's hold on what @file is an open of. */
static void hold(struct rt_fd *file)
{
	if (file->encl)
		file->hold = rt_process_hold(file->encl);
	else if (file->vepc)
		file->hold = rt_process_hold_vepc(file->vepc);
}

static void set_locked(long fd, struct rt_fd file)
{
	rt.fd[fd] = file;
	if ((size_t)fd >= rt.fd_end)
		rt.fd_end = (size_t)fd + 1;
}

long rt_device_open(enum rt_fd_kind kind, int flags)
{
	struct rt_fd file = { .kind = kind };
	long fd;
	int r;

	r = rt_process_join();
	if (r)
		return r;
	rt_process_reap();
	if (kind == RT_FD_ENCLAVE)
		r = encl_open(rt.registry, &file.encl);
	else if (kind == RT_FD_VEPC)
		r = vepc_open(rt.vepc_registry, &file.vepc);
	if (r)
		return r;
	fd = sys(SYS_epoll_create1, flags & O_CLOEXEC ? EPOLL_CLOEXEC : 0, 0, 0);
	if (fd < 0 || fd >= (long)rt.fd_max) {
		encl_put(file.encl);
		vepc_put(file.vepc);
		return fd < 0 ? fd : -EMFILE;
	}
	hold(&file);
	encl_put(file.encl);
	vepc_put(file.vepc);
	file.ino = inode_of((int)fd);
	/* Who had the number before may have closed it past us. */
	rt_fd_closed((int)fd);
	lock_acquire(&rt.lock);
	set_locked(fd, file);
	lock_release(&rt.lock);
	return fd;
}

bool rt_fd_get(int fd, struct rt_fd *ret_fd)
{
	bool found;

	if (fd < 0 || (size_t)fd >= rt.fd_max || rt.fd[fd].kind == RT_FD_NONE)
		return false;
	lock_acquire(&rt.lock);
	*ret_fd = rt.fd[fd];
	found = ret_fd->kind != RT_FD_NONE && inode_of(fd) == ret_fd->ino;
	if (found && ret_fd->hold)
		rt_process_hold_more(ret_fd->hold);
	lock_release(&rt.lock);
	return found;
}

void rt_fd_put(const struct rt_fd *fd)
{
	if (fd->hold)
		rt_process_unhold(fd->hold);
}

bool rt_fd_ours(int fd)
{
	return fd >= 0 && (size_t)fd < rt.fd_max && rt.fd[fd].kind != RT_FD_NONE;
}

enum rt_fd_kind rt_fd_node(int fd)
{
	struct rt_fd file = { .kind = RT_FD_NONE };
	struct rt_thread *t;

	if (!rt.used || !rt_fd_ours(fd))
		return RT_FD_NONE;
	t = rt_thread_self();
	rt_critical_enter(t);
	if (rt_fd_get(fd, &file))
		rt_fd_put(&file);
	else
		file.kind = RT_FD_NONE;
	rt_critical_leave(t);
	return file.kind == RT_FD_PROC_MEM ? RT_FD_NONE : file.kind;
}

void rt_fd_set_proc_mem(int fd)
{
	struct rt_fd file = { .kind = RT_FD_PROC_MEM, .ino = inode_of(fd) };

	if (fd < 0 || (size_t)fd >= rt.fd_max)
		return;
	rt_fd_closed(fd);
	lock_acquire(&rt.lock);
	set_locked(fd, file);
	lock_release(&rt.lock);
	rt.proc_mem = true;
}

void rt_fd_closed(int fd)
{
	struct rt_fd old;

	if (fd < 0 || (size_t)fd >= rt.fd_max || rt.fd[fd].kind == RT_FD_NONE)
		return;
	lock_acquire(&rt.lock);
	old = rt.fd[fd];
	rt.fd[fd] = (struct rt_fd){ .kind = RT_FD_NONE };
	lock_release(&rt.lock);
	rt_fd_put(&old);
}

void rt_fd_dup(int from, int to)
{
	struct rt_fd file;

	if (to < 0 || (size_t)to >= rt.fd_max)
		return;
	rt_fd_closed(to);
	if (!rt_fd_get(from, &file))
		return;
	lock_acquire(&rt.lock);
	set_locked(to, file); /* the reference goes with it */
	lock_release(&rt.lock);
}

bool rt_fd_hidden(int fd)
{
	return rt.ready && fd >= 0 &&
	       (fd == rt.uffd || epc_owns_fd(rt.epc, fd) || fd == rt_process_live_fd() ||
		fd == arena_fd(rt.arena) || fd == rt.stats_fd);
}

void rt_device_fork_child(bool ours)
{
	for (size_t fd = 0; fd < rt.fd_end; fd++) {
		if (rt.fd[fd].kind == RT_FD_NONE)
			continue;
		/* The parent's /proc/self/mem goes on being the parent's. */
		if (ours && rt.fd[fd].kind != RT_FD_PROC_MEM)
			hold(&rt.fd[fd]);
		else
			rt.fd[fd] = (struct rt_fd){ .kind = RT_FD_NONE };
	}
}

/* ---- ioctl ------------------------------------------------------------------------------------------ */

static int copy_in(void *ctx, void *to, uint64_t from, size_t bytes)
{
	int r = rt_copy_user(to, (const void *)from, bytes);

	if (!r && rt.cpuid_rewritten)
		rt_cpuid_restore(to, from, bytes);
	return r;
}

static int copy_out(void *ctx, uint64_t to, const void *from, size_t bytes)
{
	return rt_copy_user((void *)to, from, bytes);
}

static int source_check(void *ctx, uint64_t addr)
{
	return rt_source_check(addr);
}

static bool is_provision_fd(void *ctx, int fd)
{
	struct rt_fd file;

	if (!rt_fd_get(fd, &file))
		return false;
	rt_fd_put(&file);
	return file.kind == RT_FD_PROVISION;
}

static const struct abi_caller_ops caller_ops = {
	.copy_in = copy_in,
	.copy_out = copy_out,
	.source_check = source_check,
	.is_provision_fd = is_provision_fd,
};

long rt_device_ioctl(const struct rt_fd *fd, unsigned long request, uint64_t arg)
{
	const struct abi_caller caller = { .ops = &caller_ops, .mm = &rt_mm };
	struct rt_thread *t = rt_thread_self();
	bool was_created;
	long r;

	if (fd->kind == RT_FD_VEPC) {
		rt_critical_enter(t);
		r = abi_vepc_ioctl(fd->vepc, request, arg);
		rt_critical_leave(t);
		return r;
	}
	if (fd->kind != RT_FD_ENCLAVE)
		return -ENOTTY;
	was_created = encl_created(fd->encl);
	rt_critical_enter(t);
	r = abi_encl_ioctl(fd->encl, &caller, request, arg);
	if (!was_created && encl_created(fd->encl))
		rt_range_back(fd->encl);
	rt_critical_leave(t);
	return r == -ABI_ERESTARTSYS ? -EINTR : r;
}
