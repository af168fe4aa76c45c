/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Sessions: the EPCs that run now, each with the processes that share it, as /proc shows them.
 *
 * Nothing is registered anywhere, so nothing is left behind: a session is there as long as a process has its file
 * (base/look.h) open for writing, which is as long as one lives.
 */
#ifndef SWSGX_CLI_SESSION_H
#define SWSGX_CLI_SESSION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct look;
struct report;

struct session {
	dev_t dev;
	ino_t ino;
	unsigned int nr; /* of processes; 0: it has ended */
	struct session_process {
		int pid;
		int fd;
	} * process;       /* by pid, the least first */
	char program[128]; /* of the first, as it was called; what is no text is '?' */
};

/* All that this user may look at, by pid and descriptor, up to 256 of a process. 0 or -errno. */
int session_list(struct session **ret_sessions, unsigned int *ret_nr, struct report *rep);
void session_list_free(struct session *sessions, unsigned int nr);

/*
 * Those that process @pid has a part in, likewise.  0, or:
 *   -ESRCH   there is no such process
 *   -EACCES  it is not ours to look at
 *   -ENODATA it has no EPC
 */
int session_find(int pid, struct session **ret_sessions, unsigned int *ret_nr, struct report *rep);
/* Somebody whom we know still has a part in it. */
bool session_lives(const struct session *session);
/* Look again who has a part in each. */
void session_refresh(struct session *sessions, unsigned int nr);
/* For reading alone. 0 or -errno. */
int session_look(const struct session *session, struct look **ret_look, struct report *rep);

#endif
