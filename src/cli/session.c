/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A session is found by the descriptors of its processes: links to a file of that name, which all of them have.
 *
 * Whoever only looks at it has it open for reading at the most, and the links tell that too.
 */
#include "cli/session.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/look.h"
#include "base/report.h"

enum { PARTS_MAX = 256 /* of one process: more is no use that anybody has for EPCs */ };

#define LINK_NAME "/memfd:" LOOK_FILE_NAME " (deleted)"

/* ---- one process ------------------------------------------------------------------------------- */

/* A number, or -1. */
static int number_of(const char *name)
{
	char *end;
	long nr = strtol(name, &end, 10);

	return end != name && !*end && nr >= 0 && nr <= INT32_MAX ? (int)nr : -1;
}

static bool is_part(int dir, const char *name, struct stat *ret_st)
{
	char link[sizeof(LINK_NAME) + 1];
	ssize_t n = readlinkat(dir, name, link, sizeof(link));
	struct stat own;

	if (n != (ssize_t)sizeof(LINK_NAME) - 1 || memcmp(link, LINK_NAME, (size_t)n) != 0)
		return false;
	/* The link's own mode is how the file was opened. */
	return fstatat(dir, name, &own, AT_SYMLINK_NOFOLLOW) == 0 && (own.st_mode & S_IWUSR) &&
	       fstatat(dir, name, ret_st, 0) == 0;
}

/* Its descriptors, NULL and why not. */
static DIR *parts_open(int pid, int *ret_r)
{
	char path[32];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	*ret_r = dir ? 0 : errno == ENOENT ? -ESRCH : -errno;
	return dir;
}

/* The next descriptor by which a process has a part in a session; -ENODATA: no more. */
static int parts_next(DIR *dir, struct stat *ret_st)
{
	struct dirent *entry;

	while ((entry = readdir(dir))) {
		if (is_part(dirfd(dir), entry->d_name, ret_st))
			return number_of(entry->d_name);
	}
	return -ENODATA;
}

static void read_program(int pid, char *text, size_t bytes)
{
	char path[32];
	ssize_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, text, bytes - 1);
		close(fd);
	}
	/* Each argument ends with a zero, the last one too. */
	while (n > 0 && !text[n - 1])
		n--;
	text[n > 0 ? n : 0] = 0;
	for (ssize_t i = 0; i < n; i++)
		text[i] = !text[i] ? ' ' : text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
}

/* ---- all of them --------------------------------------------------------------------------------- */

/* That a process has a file of a session. */
struct part {
	dev_t dev;
	ino_t ino;
	struct session_process process;
};

struct parts {
	struct part *part;
	size_t nr, max;
};

static int by_process(const struct session_process *x, const struct session_process *y)
{
	if (x->pid != y->pid)
		return x->pid < y->pid ? -1 : 1;
	return x->fd < y->fd ? -1 : x->fd > y->fd;
}

static int by_file(const struct part *x, const struct part *y)
{
	if (x->dev != y->dev)
		return x->dev < y->dev ? -1 : 1;
	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

static int parts_in_order(const void *a, const void *b)
{
	const struct part *x = a, *y = b;
	int by = by_file(x, y);

	return by ? by : by_process(&x->process, &y->process);
}

static int sessions_in_order(const void *a, const void *b)
{
	const struct session *x = a, *y = b;

	return by_process(x->process, y->process);
}

static int parts_add(struct parts *parts, const struct part *part)
{
	size_t max = parts->max ? 2 * parts->max : 16;
	struct part *grown;

	if (parts->nr == parts->max) {
		grown = realloc(parts->part, max * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		parts->part = grown;
		parts->max = max;
	}
	parts->part[parts->nr++] = *part;
	return 0;
}

/* Those of one process, as many as anybody will want to see. */
static int parts_of(struct parts *parts, int pid)
{
	struct part part = { .process = { .pid = pid } };
	unsigned int nr = 0;
	struct stat st;
	int fd, r = 0;
	DIR *dir;

	/* They come and go, and those of others are not ours to see. */
	dir = parts_open(pid, &r);
	if (!dir)
		return 0;
	for (r = 0; r == 0 && nr < PARTS_MAX && (fd = parts_next(dir, &st)) >= 0; nr++) {
		part.dev = st.st_dev;
		part.ino = st.st_ino;
		part.process.fd = fd;
		r = parts_add(parts, &part);
	}
	closedir(dir);
	return r;
}

/* Of a session, sorted: a process may have a descriptor twice. */
static int session_init(struct session *session, const struct part *part, size_t nr)
{
	*session = (struct session){ .dev = part->dev, .ino = part->ino };
	session->process = calloc(nr, sizeof(*session->process));
	if (!session->process)
		return -ENOMEM;
	for (size_t i = 0; i < nr; i++) {
		if (i == 0 || part[i].process.pid != part[i - 1].process.pid)
			session->process[session->nr++] = part[i].process;
	}
	read_program(session->process[0].pid, session->program, sizeof(session->program));
	return 0;
}

/* @part: all that there are, sorted. What was made is the caller's also where it is not all. */
static int sessions_make(const struct parts *parts, struct session **ret_sessions,
			 unsigned int *ret_nr)
{
	const struct part *part = parts->part, *end = part + parts->nr, *first;
	struct session *sessions = calloc(parts->nr, sizeof(*sessions));
	int r = 0;

	*ret_sessions = sessions;
	*ret_nr = 0;
	if (!sessions)
		return -ENOMEM;
	while (r == 0 && part < end) {
		for (first = part; part < end && by_file(part, first) == 0;)
			part++;
		r = session_init(&sessions[*ret_nr], first, (size_t)(part - first));
		*ret_nr += r == 0;
	}
	qsort(sessions, *ret_nr, sizeof(*sessions), sessions_in_order);
	return r;
}

static int scan(struct session **ret_sessions, unsigned int *ret_nr)
{
	struct parts parts = { .nr = 0 };
	struct dirent *entry;
	DIR *dir = opendir("/proc");
	int r = 0, pid;

	*ret_sessions = NULL;
	*ret_nr = 0;
	if (!dir)
		return -errno;
	while (r == 0 && (entry = readdir(dir))) {
		pid = number_of(entry->d_name);
		if (pid > 0)
			r = parts_of(&parts, pid);
	}
	closedir(dir);
	if (r == 0 && parts.nr > 0) {
		qsort(parts.part, parts.nr, sizeof(*parts.part), parts_in_order);
		r = sessions_make(&parts, ret_sessions, ret_nr);
	}
	free(parts.part);
	if (r < 0) {
		session_list_free(*ret_sessions, *ret_nr);
		*ret_sessions = NULL;
		*ret_nr = 0;
	}
	return r;
}

int session_list(struct session **ret_sessions, unsigned int *ret_nr, struct report *rep)
{
	int r = scan(ret_sessions, ret_nr);

	return r < 0 ? report_fail(rep, r, "cannot see what runs (/proc)") : 0;
}

void session_list_free(struct session *sessions, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++)
		free(sessions[i].process);
	free(sessions);
}

/* ---- one of them --------------------------------------------------------------------------------- */

static int refuse(int pid, int r, struct report *rep)
{
	if (r == -ESRCH)
		return report_fail(rep, r, "cannot find process %d", pid);
	if (r == -EACCES || r == -EPERM) {
		report_hint(rep, "processes of others, and those that forbid it, are for root");
		return report_fail(rep, -EACCES, "cannot look at process %d", pid);
	}
	if (r == -ENODATA) {
		report_hint(rep, "swsgx stat lists those that have one");
		return report_fail(rep, r, "process %d has no EPC of swsgx", pid);
	}
	return report_fail(rep, r, "cannot look at process %d", pid);
}

/* The descriptor by which process @pid has a part in it; -1: it has none. */
static int fd_of(const struct session *session, int pid)
{
	for (unsigned int i = 0; i < session->nr; i++) {
		if (session->process[i].pid == pid)
			return session->process[i].fd;
	}
	return -1;
}

int session_find(int pid, struct session **ret_sessions, unsigned int *ret_nr, struct report *rep)
{
	struct session *all;
	unsigned int nr, kept = 0;
	DIR *dir;
	int r;

	*ret_sessions = NULL;
	*ret_nr = 0;
	dir = parts_open(pid, &r);
	if (!dir)
		return refuse(pid, r, rep);
	closedir(dir);
	r = scan(&all, &nr);
	if (r < 0)
		return refuse(pid, r, rep);
	for (unsigned int i = 0; i < nr; i++) {
		if (fd_of(&all[i], pid) >= 0)
			all[kept++] = all[i];
		else
			free(all[i].process);
	}
	if (kept == 0) {
		free(all);
		return refuse(pid, -ENODATA, rep);
	}
	*ret_sessions = all;
	*ret_nr = kept;
	return 0;
}

static struct session *session_same(struct session *among, unsigned int nr,
				    const struct session *session)
{
	for (unsigned int i = 0; i < nr; i++) {
		if (among[i].dev == session->dev && among[i].ino == session->ino)
			return &among[i];
	}
	return NULL;
}

void session_refresh(struct session *sessions, unsigned int nr)
{
	struct session *now, *same, empty;
	unsigned int now_nr;

	/* Not for want of memory: then they are as they were. */
	if (scan(&now, &now_nr) < 0)
		return;
	for (unsigned int i = 0; i < nr; i++) {
		same = session_same(now, now_nr, &sessions[i]);
		empty = (struct session){ .dev = sessions[i].dev, .ino = sessions[i].ino };
		free(sessions[i].process);
		sessions[i] = same ? *same : empty;
		if (same)
			same->process = NULL;
	}
	session_list_free(now, now_nr);
}

static void path_of(const struct session_process *process, char path[48])
{
	snprintf(path, 48, "/proc/%d/fd/%d", process->pid, process->fd);
}

bool session_lives(const struct session *session)
{
	char path[48];
	struct stat st;

	for (unsigned int i = 0; i < session->nr; i++) {
		path_of(&session->process[i], path);
		if (stat(path, &st) == 0 && st.st_dev == session->dev && st.st_ino == session->ino)
			return true;
	}
	return false;
}

/*
 * The number may have been given to another file.  To open that for reading may wait for ever (a pipe), or do something (a
 * device), so it is not opened before it is known to be ours.
 */
static int open_part(const struct session *session, const char *path)
{
	char own[32];
	struct stat st;
	int at = open(path, O_PATH | O_CLOEXEC), fd = -ESRCH;

	if (at < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	if (fstat(at, &st) == 0 && st.st_dev == session->dev && st.st_ino == session->ino) {
		snprintf(own, sizeof(own), "/proc/self/fd/%d", at);
		fd = open(own, O_RDONLY | O_CLOEXEC);
		fd = fd < 0 ? -errno : fd;
	}
	close(at);
	return fd;
}

int session_look(const struct session *session, struct look **ret_look, struct report *rep)
{
	char path[48];
	int fd, r = -ESRCH;

	for (unsigned int i = 0; i < session->nr && r < 0; i++) {
		path_of(&session->process[i], path);
		fd = open_part(session, path);
		r = fd < 0 ? fd : look_open(fd, ret_look);
		if (fd >= 0)
			close(fd);
	}
	return r < 0 ? refuse(session->process[0].pid, r, rep) : 0;
}
