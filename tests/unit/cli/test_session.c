/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Sessions of programs that are no friends: a descriptor that was a session's and is another file's by now, which is not
 * opened, for it could wait for ever; and very many of them.
 */
#include "cli/session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/look.h"
#include "base/report.h"
#include "lib/tap.h"

enum { SHOWN = 256, FILES = 600 };

static void test_pipe(void)
{
	char path[64];
	struct session_process process = { .pid = getpid() };
	struct session session = { .ino = 1, .nr = 1, .process = &process };
	struct report rep = { 0 };
	struct look *look;

	snprintf(path, sizeof(path), "/tmp/swsgx-session-%d", process.pid);
	TAP_MUST(mkfifo(path, 0600) == 0, "a pipe with a name");
	process.fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	unlink(path);
	TAP_MUST(process.fd >= 0, "that nobody writes to");
	alarm(10);
	TAP_CHECK(session_look(&session, &look, &rep) == -ESRCH, "it is not waited for");
	close(process.fd);
}

/* How many of @sessions are this process's, each another file's. */
static unsigned int mine(const struct session *sessions, unsigned int nr)
{
	unsigned int found = 0;

	for (unsigned int i = 0; i < nr; i++) {
		found += sessions[i].process[0].pid == getpid() &&
			 (i == 0 || sessions[i].ino != sessions[i - 1].ino);
	}
	return found;
}

static void test_many(void)
{
	struct report rep = { 0 };
	struct session *sessions;
	unsigned int nr, i;
	int fd[FILES];

	for (i = 0; i < 2; i++)
		fd[i] = memfd_create(LOOK_FILE_NAME, MFD_CLOEXEC);
	fd[2] = dup(fd[1]);
	TAP_MUST(fd[2] >= 0 && session_find(getpid(), &sessions, &nr, &rep) == 0, "sessions");
	TAP_CHECK(nr == 2 && mine(sessions, nr) == 2 && sessions[0].process[0].fd == fd[0] &&
			  sessions[1].process[0].fd == fd[1],
		  "two of this process, the first one first");
	close(fd[0]);
	session_refresh(sessions, nr);
	TAP_CHECK(sessions[0].nr == 0 && sessions[1].nr == 1 && session_lives(&sessions[1]),
		  "one of them ends");
	session_list_free(sessions, nr);
	for (i = 3; i < FILES; i++)
		fd[i] = memfd_create(LOOK_FILE_NAME, MFD_CLOEXEC);
	TAP_MUST(fd[FILES - 1] >= 0 && session_list(&sessions, &nr, &rep) == 0, "very many");
	TAP_CHECK(mine(sessions, nr) == SHOWN - 1,
		  "of %d descriptors of one process %d are looked at: %u sessions", FILES - 1,
		  SHOWN, mine(sessions, nr));
	session_list_free(sessions, nr);
	for (i = 1; i < FILES; i++)
		close(fd[i]);
}

int main(void)
{
	test_pipe();
	test_many();
	return tap_done();
}
