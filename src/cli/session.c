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

/* The first one of process @pid; -ENODATA: it has none. */
static int part_of(int pid, struct stat *ret_st)
{
	DIR *dir;
	int r;

	dir = parts_open(pid, &r);
	if (!dir)
		return r;
	r = parts_next(dir, ret_st);
	closedir(dir);
	return r;
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

static int by_pid(const void *a, const void *b)
{
	const struct session_process *x = a, *y = b;

	return x->pid < y->pid ? -1 : x->pid > y->pid;
}

static int sessions_by_pid(const void *a, const void *b)
{
	const struct session *x = a, *y = b;
	int by = by_pid(x->process, y->process);

	return by ? by : x->process->fd - y->process->fd;
}

static int add_process(struct session *session, struct session_process process)
{
	unsigned int max = session->max ? 2 * session->max : 4;
	struct session_process *grown;

	if (session->nr == session->max) {
		grown = realloc(session->process, max * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		session->process = grown;
		session->max = max;
	}
	session->process[session->nr++] = process;
	return 0;
}

/* A process may have made several, and have a descriptor twice. */
static int add_part(struct session **sessions, unsigned int *nr, const struct stat *st,
		    struct session_process process)
{
	struct session *grown, *session;
	unsigned int i;

	for (i = 0; i < *nr; i++) {
		if ((*sessions)[i].dev == st->st_dev && (*sessions)[i].ino == st->st_ino)
			break;
	}
	if (i == *nr) {
		grown = realloc(*sessions, (i + 1) * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		*sessions = grown;
		grown[i] = (struct session){ .dev = st->st_dev, .ino = st->st_ino };
		++*nr;
	}
	session = &(*sessions)[i];
	if (session->nr > 0 && session->process[session->nr - 1].pid == process.pid)
		return 0;
	return add_process(session, process);
}

/* @only: nobody but this one; NULL: all, and new ones are added. */
static int add(struct session **sessions, unsigned int *nr, const struct session *only, int pid)
{
	struct stat st;
	int fd, r = 0;
	DIR *dir;

	/* They come and go, and those of others are not ours to see. */
	dir = parts_open(pid, &r);
	if (!dir)
		return 0;
	for (r = 0; r == 0 && (fd = parts_next(dir, &st)) >= 0;) {
		if (!only || (only->dev == st.st_dev && only->ino == st.st_ino))
			r = add_part(sessions, nr, &st, (struct session_process){ pid, fd });
	}
	closedir(dir);
	return r;
}

static int scan(struct session **sessions, unsigned int *nr, const struct session *only)
{
	struct dirent *entry;
	DIR *dir = opendir("/proc");
	int r = 0, pid;

	if (!dir)
		return -errno;
	while (r == 0 && (entry = readdir(dir))) {
		pid = number_of(entry->d_name);
		if (pid > 0)
			r = add(sessions, nr, only, pid);
	}
	closedir(dir);
	for (unsigned int i = 0; i < *nr; i++) {
		struct session *s = &(*sessions)[i];

		qsort(s->process, s->nr, sizeof(*s->process), by_pid);
		read_program(s->process[0].pid, s->program, sizeof(s->program));
	}
	return r;
}

int session_list(struct session **ret_sessions, unsigned int *ret_nr, struct report *rep)
{
	int r;

	*ret_sessions = NULL;
	*ret_nr = 0;
	r = scan(ret_sessions, ret_nr, NULL);
	if (r < 0) {
		session_list_free(*ret_sessions, *ret_nr);
		return report_fail(rep, r, "cannot see what runs (/proc)");
	}
	if (*ret_nr > 0)
		qsort(*ret_sessions, *ret_nr, sizeof(**ret_sessions), sessions_by_pid);
	return 0;
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

int session_find(int pid, struct session *ret_session, struct report *rep)
{
	struct session *found = NULL, only;
	unsigned int nr = 0;
	struct stat st;
	int r = part_of(pid, &st);

	if (r < 0)
		return refuse(pid, r, rep);
	only = (struct session){ .dev = st.st_dev, .ino = st.st_ino };
	r = scan(&found, &nr, &only);
	if (r == 0 && nr == 0)
		r = -ESRCH;
	if (r < 0) {
		session_list_free(found, nr);
		return refuse(pid, r, rep);
	}
	*ret_session = found[0];
	free(found);
	return 0;
}

void session_free(struct session *session)
{
	free(session->process);
	session->process = NULL;
	session->nr = 0;
}

bool session_refresh(struct session *session)
{
	struct session *found = NULL;
	unsigned int nr = 0;

	/* Not for want of memory: then it is as it was. */
	if (scan(&found, &nr, session) < 0) {
		session_list_free(found, nr);
		return true;
	}
	if (nr == 0) {
		free(found);
		return false;
	}
	session_free(session);
	*session = found[0];
	free(found);
	return true;
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
