/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The reader writes into a file of memory, so that nobody has to take what it writes from it.
 */
#include "reader.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "measure.h"

enum { WAIT_MS = 20000 };

static unsigned long samples(int fd)
{
	static char part[1 << 16];
	unsigned long lines = 0;
	off_t at = 0;
	ssize_t n;

	while ((n = pread(fd, part, sizeof(part), at)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			lines += part[i] == '\n';
		at += n;
	}
	return lines;
}

int reader_start(struct reader *reader, const char *swsgx, const cpu_set_t *cpus)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	reader->out = memfd_create("samples", MFD_CLOEXEC);
	reader->pid = reader->out < 0 ? -1 : fork();
	if (reader->pid == 0) {
		measure_pin_of(cpus, 1);
		dup2(reader->out, STDOUT_FILENO);
		execl(swsgx, swsgx, "stat", "--json", "--interval", "0.01", pid, (char *)NULL);
		_exit(127);
	}
	for (unsigned int ms = 0; reader->pid > 0 && ms < WAIT_MS; ms++) {
		if (samples(reader->out) > 0)
			return 0;
		usleep(1000);
	}
	return -1;
}

void reader_pause(struct reader *reader)
{
	kill(reader->pid, SIGSTOP);
	usleep(2000);
}

void reader_go_on(struct reader *reader)
{
	kill(reader->pid, SIGCONT);
}

unsigned long reader_stop(struct reader *reader)
{
	unsigned long nr;

	kill(reader->pid, SIGKILL);
	waitpid(reader->pid, NULL, 0);
	nr = samples(reader->out);
	close(reader->out);
	return nr;
}
