/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * CPUID where it cannot be made to fault: the first byte of each in the code of program files becomes one that is no
 * instruction in 64-bit mode, AAA's, which raises #UD.  That byte is written once, into this process's copy of the page;
 * whoever runs there meanwhile executes the one or the other.
 *
 * Code comes by the dynamic linker (rt_cpuid_scan(), called at the start and by the function that the linker has for
 * debuggers), or in programs that make their own system calls by mmap() (rt_cpuid_mapped()).
 */
#include "runtime/rt.h"

#include <fcntl.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "runtime/cpuid_sites.h"
#include "runtime/insn.h"
#include "runtime/sys.h"

#define AAA        RT_CPUID_REWRITTEN
#define MAPS_BYTES (64ul << 20) /* of addresses; what is not used costs nothing */
#define POOL_BYTES (1ul << 20)
#define JUMP_BYTES 14u
#define PLACES_MAX 65536u

/* A file that has been looked at. */
struct known {
	struct known *next;
	uint64_t dev, ino, size;
	struct timespec mtime;
	size_t nr;
	uint64_t offset[];
};

/*
 * Guarded by the dynamic linker's own lock: it calls us with it, and at the start there is but one thread.  Each is
 * whole before the list has it, for a child that is forked meanwhile.
 */
static struct known *known;
static uint8_t *pool;
static size_t pool_left;

static void *pages(size_t bytes)
{
	long p = sys6(SYS_mmap, 0, (long)bytes, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p < 0 && p > -4096 ? NULL : (void *)p;
}

static struct known *make_known(size_t nr)
{
	size_t bytes = sizeof(struct known) + nr * sizeof(uint64_t);
	struct known *k;

	if (bytes > pool_left) {
		size_t room = bytes > POOL_BYTES ? bytes : POOL_BYTES;

		pool = pages(room);
		pool_left = pool ? room : 0;
		if (!pool)
			return NULL;
	}
	k = (struct known *)pool;
	pool += bytes;
	pool_left -= bytes;
	k->nr = nr;
	return k;
}

/* ---- files --------------------------------------------------------------------------------------------------- */

/* Calls @then with what cpuid_sites_find() finds in the file at @fd, which has @bytes. */
static void with_sites(int fd, size_t bytes,
		       void (*then)(void *arg, const struct cpuid_site *sites, size_t nr),
		       void *arg)
{
	/* Four times what there is to be expected; a file that is made so that there are more is looked at in part. */
	size_t max = 4096 + bytes / 16384, room = max * sizeof(struct cpuid_site);
	long file = sys6(SYS_mmap, 0, (long)bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	struct cpuid_site *sites;

	if (file < 0 && file > -4096)
		return;
	sites = pages(room);
	if (sites) {
		then(arg, sites, cpuid_sites_find((const uint8_t *)file, bytes, sites, max));
		sys(SYS_munmap, sites, room, 0);
	}
	sys(SYS_munmap, file, bytes, 0);
}

static void note(void *arg, const struct cpuid_site *sites, size_t nr)
{
	struct known **ret = arg, *k = make_known(nr);

	for (size_t i = 0; k && i < nr; i++)
		k->offset[i] = sites[i].offset;
	*ret = k;
}

static const struct known *look_at(const char *path)
{
	struct known *k = NULL;
	struct stat st;
	long fd = sys4(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);

	if (fd < 0)
		return NULL;
	if (sys(SYS_fstat, fd, &st, 0) < 0 || !S_ISREG(st.st_mode) || st.st_size <= 0)
		goto close_fd;
	for (k = known; k; k = k->next)
		if (k->dev == st.st_dev && k->ino == st.st_ino && k->size == (uint64_t)st.st_size &&
		    k->mtime.tv_sec == st.st_mtim.tv_sec && k->mtime.tv_nsec == st.st_mtim.tv_nsec)
			goto close_fd;
	with_sites((int)fd, (size_t)st.st_size, note, &k);
	if (!k)
		goto close_fd;
	k->dev = st.st_dev;
	k->ino = st.st_ino;
	k->size = (uint64_t)st.st_size;
	k->mtime = st.st_mtim;
	k->next = known;
	__atomic_store_n(&known, k, __ATOMIC_RELEASE);
close_fd:
	sys(SYS_close, fd, 0, 0);
	return k;
}

/* ---- code in memory ------------------------------------------------------------------------------------------ */

/* Where it was done, for rt_cpuid_restore(); an address may have gone since. When there is no room, no more is done. */
static uint64_t *places;
static size_t places_nr;

/* One that is written must be known first. */
static bool remember(uint64_t addr)
{
	size_t nr = __atomic_load_n(&places_nr, __ATOMIC_ACQUIRE), i;

	for (i = 0; i < nr && i < PLACES_MAX; i++)
		if (__atomic_load_n(&places[i], __ATOMIC_RELAXED) == addr)
			return true;
	i = __atomic_fetch_add(&places_nr, 1, __ATOMIC_ACQ_REL);
	if (i >= PLACES_MAX) {
		__atomic_store_n(&places_nr, PLACES_MAX, __ATOMIC_RELEASE);
		return false;
	}
	__atomic_store_n(&places[i], addr, __ATOMIC_RELEASE);
	return true;
}

void rt_cpuid_restore(uint8_t *copy, uint64_t from, size_t bytes)
{
	size_t nr = __atomic_load_n(&places_nr, __ATOMIC_ACQUIRE);

	for (size_t i = 0; i < nr && i < PLACES_MAX; i++) {
		uint64_t at = __atomic_load_n(&places[i], __ATOMIC_ACQUIRE) - from;

		if (at < bytes && copy[at] == AAA && (at + 1 == bytes || copy[at + 1] == 0xa2))
			copy[at] = 0x0f;
	}
}

struct mapping {
	uint64_t start, end, offset;
	long memory; /* /proc/self/mem, or -errno */
};

/* That way the page stays executable, for those who run in it; a kernel may refuse it (proc_mem.force_override). */
static void write_byte(const struct mapping *m, uint8_t *at, uint8_t byte)
{
	uintptr_t page = (uintptr_t)at & ~4095ul;

	if (sys4(SYS_pwrite64, m->memory, &byte, 1, at) == 1)
		return;
	if (sys(SYS_mprotect, page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC) < 0)
		return;
	__atomic_store_n(at, byte, __ATOMIC_RELAXED);
	sys(SYS_mprotect, page, 4096, PROT_READ | PROT_EXEC);
}

static void rewrite(const struct mapping *m, uint64_t offset)
{
	uint8_t *at;

	if (offset < m->offset || offset - m->offset + 2 > m->end - m->start)
		return;
	at = (uint8_t *)(m->start + (offset - m->offset));
	if (at[0] == 0x0f && at[1] == 0xa2 && remember((uint64_t)at))
		write_byte(m, at, AAA);
}

static void rewrite_all(void *arg, const struct cpuid_site *sites, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		rewrite(arg, sites[i].offset);
}

static long open_memory(void)
{
	return sys4(SYS_openat, AT_FDCWD, "/proc/self/mem", O_RDWR | O_CLOEXEC, 0);
}

void rt_cpuid_mapped(uint64_t addr, uint64_t bytes, int prot, int flags, int fd, uint64_t offset)
{
	struct mapping m = { .start = addr, .end = addr + bytes, .offset = offset };
	struct stat st;

	if (!rt.cpuid_rewritten || fd < 0 || (flags & MAP_ANONYMOUS) ||
	    (flags & MAP_TYPE) != MAP_PRIVATE ||
	    (prot & (PROT_READ | PROT_EXEC)) != (PROT_READ | PROT_EXEC) ||
	    sys(SYS_fstat, fd, &st, 0) < 0 || !S_ISREG(st.st_mode) ||
	    (uint64_t)st.st_size <= offset)
		return;
	/* Behind the end of the file is nothing that could be read. */
	if (m.end - m.start > (uint64_t)st.st_size - offset)
		m.end = m.start + ((uint64_t)st.st_size - offset);
	m.memory = open_memory();
	with_sites(fd, (size_t)st.st_size, rewrite_all, &m);
	if (m.memory >= 0)
		sys(SYS_close, m.memory, 0, 0);
}

/* A line of /proc/self/maps, "start-end perms offset dev inode   path": code of a file, that is not ours? */
static bool is_code(char *line, struct mapping *m, const char **ret_path)
{
	char *at;

	m->start = strtoull(line, &at, 16);
	if (*at != '-')
		return false;
	m->end = strtoull(at + 1, &at, 16);
	if (strncmp(at, " r-xp ", 6) != 0)
		return false;
	m->offset = strtoull(at + 6, &at, 16);
	*ret_path = strchr(at, '/');
	if (!*ret_path)
		return false;
	at = strstr(*ret_path, " (deleted)");
	return (!at || at[strlen(" (deleted)")]) &&
	       ((uint64_t)rt_cpuid_trap < m->start || (uint64_t)rt_cpuid_trap >= m->end);
}

static void scan_lines(char *text)
{
	struct mapping m = { .memory = open_memory() };
	char *line, *rest = text;

	while ((line = rest) && *line) {
		const struct known *k = NULL;
		const char *path;

		rest = strchr(line, '\n');
		if (rest)
			*rest++ = 0;
		if (is_code(line, &m, &path))
			k = look_at(path);
		for (size_t i = 0; k && i < k->nr; i++)
			rewrite(&m, k->offset[i]);
	}
	if (m.memory >= 0)
		sys(SYS_close, m.memory, 0, 0);
}

void rt_cpuid_scan(void)
{
	size_t have = 0;
	char *text;
	long fd, n;

	if (!rt.cpuid_rewritten)
		return;
	fd = sys4(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return;
	text = pages(MAPS_BYTES);
	if (text) {
		while (have < MAPS_BYTES - 1 &&
		       (n = sys(SYS_read, fd, text + have, MAPS_BYTES - 1 - have)) > 0)
			have += (size_t)n;
		scan_lines(text);
		sys(SYS_munmap, text, MAPS_BYTES, 0);
	}
	sys(SYS_close, fd, 0, 0);
}

/* ---- the dynamic linker -------------------------------------------------------------------------------------- */

/* It calls this whenever its list of libraries has changed: new ones are mapped, and nothing of theirs has run. */
static void linker_state(void)
{
	if (_r_debug.r_state == RT_CONSISTENT)
		rt_cpuid_scan();
}

/* How many bytes from @code on are a return and fillers behind it, which nobody executes. */
static size_t empty_function(const uint8_t *code)
{
	static const uint8_t endbr64[] = { 0xf3, 0x0f, 0x1e, 0xfa };
	size_t at = memcmp(code, endbr64, sizeof(endbr64)) == 0 ? sizeof(endbr64) : 0, n;

	if (code[at++] != 0xc3)
		return 0;
	for (; at < JUMP_BYTES; at += n) {
		size_t op = at;

		n = insn_length(code + at, INSN_MAX);
		while (code[op] == 0x66 || code[op] == 0x2e)
			op++;
		if (!n || !(code[op] == 0x90 || code[op] == 0xcc ||
			    (code[op] == 0x0f && code[op + 1] == 0x1f)))
			return 0;
	}
	return at;
}

/*
 * dlopen() finds out from its return address who calls, so that no hook can see its end.  But the linker calls an empty
 * function on the way, for debuggers to break at: it jumps to us.  Where it is not as expected (a debugger has its
 * breakpoint there), libraries that come later are left as they are.
 */
static void follow_linker(void)
{
	uint8_t jump[JUMP_BYTES] = { 0xff, 0x25 }; /* JMP [RIP] */
	uint8_t *at = (uint8_t *)_r_debug.r_brk;
	uint64_t to = (uint64_t)linker_state;
	long memory;

	if (!at || empty_function(at) < JUMP_BYTES)
		return;
	memcpy(jump + 6, &to, sizeof(to));
	memory = open_memory();
	if (memory < 0)
		return;
	sys4(SYS_pwrite64, memory, jump, JUMP_BYTES, at);
	sys(SYS_close, memory, 0, 0);
}

void rt_cpuid_rewrite(void)
{
	places = pages(PLACES_MAX * sizeof(*places));
	rt.cpuid_rewritten = places != NULL;
	rt_cpuid_scan();
	if (rt.cpuid_rewritten)
		follow_linker();
}
