/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* A descriptor that was a session's and is another file's by now: that is not opened, for it could wait for ever. */
#include "cli/session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/report.h"
#include "lib/tap.h"

int main(void)
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
	return tap_done();
}
