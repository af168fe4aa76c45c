/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What programs and scripts look for in /proc: the processor's flags, and the device's name in their own maps.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client.h"
#include "lib/tap.h"

static bool has_word(const char *line, const char *word)
{
	size_t n = strlen(word);

	for (const char *at = strstr(line, word); at; at = strstr(at + 1, word))
		if (at > line && at[-1] == ' ' && (at[n] == ' ' || at[n] == '\n' || !at[n]))
			return true;
	return false;
}

/* Lines that begin with "flags" and have both words; -1: one has not. */
static int flag_lines(FILE *file)
{
	static char line[16384];
	int nr = 0, bad = 0;

	while (fgets(line, sizeof(line), file)) {
		if (strncmp(line, "flags\t", 6) != 0)
			continue;
		nr++;
		bad += !has_word(line, "sgx") || !has_word(line, "sgx_lc") ||
		       !has_word(line, "fpu");
	}
	fclose(file);
	return bad ? -1 : nr;
}

static void check_cpuinfo(void)
{
	int fd = open("/proc/cpuinfo", O_RDONLY | O_CLOEXEC);
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	FILE *file = fopen("/proc/cpuinfo", "r");
	char text[64] = "";

	TAP_CHECK(fd >= 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC), "cpuinfo can be opened");
	TAP_CHECK(flag_lines(fdopen(fd, "r")) == cpus,
		  "sgx and sgx_lc in each of %ld lines, by open()", cpus);
	TAP_CHECK(file && flag_lines(file) == cpus, "by fopen()");
	fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/cpuinfo", O_RDONLY);
	TAP_CHECK(flag_lines(fdopen(fd, "r")) == cpus, "by syscall()");
	file = popen("grep -w sgx_lc /proc/cpuinfo | grep -cw sgx", "r");
	TAP_CHECK(file && fgets(text, sizeof(text), file) && atol(text) == cpus,
		  "and what grep sees (%ld)", atol(text));
	if (file)
		pclose(file);
	file = popen("wc -l < /proc/cpuinfo", "r");
	TAP_CHECK(file && fgets(text, sizeof(text), file) && atol(text) > cpus, "all lines of it");
	if (file)
		pclose(file);
}

/* The mapping that holds @addr, by the name that its line has. */
static bool is_mapped_as(FILE *file, uint64_t addr, const char *name)
{
	static char line[4096];
	bool is = false;

	while (file && fgets(line, sizeof(line), file)) {
		uint64_t start = 0, end = 0;

		sscanf(line, "%lx-%lx", &start, &end);
		line[strcspn(line, "\n")] = 0;
		if (addr >= start && addr < end)
			is = strlen(line) > strlen(name) &&
			     !strcmp(line + strlen(line) - strlen(name), name);
	}
	if (file)
		fclose(file);
	return is;
}

static void check_maps(void)
{
	struct client_conf conf = { .threads = 1 };
	struct client_encl e;
	char path[64];

	TAP_MUST(!client_create(&e, &conf), "an enclave");
	TAP_CHECK(is_mapped_as(fopen("/proc/self/maps", "r"), e.tcs[0], "/dev/sgx_enclave"),
		  "/proc/self/maps names the device");
	snprintf(path, sizeof(path), "/proc/%d/maps", getpid());
	TAP_CHECK(is_mapped_as(fopen(path, "r"), e.tcs[0], "/dev/sgx_enclave"), "by number too");
	TAP_CHECK(!is_mapped_as(fopen("/proc/self/maps", "r"), (uintptr_t)&e, "/dev/sgx_enclave"),
		  "and nothing else is it");
	client_destroy(&e);
}

static void check_cmdline(const char *name)
{
	char line[4096] = "";
	FILE *file = fopen("/proc/self/cmdline", "r");

	TAP_CHECK(file && fread(line, 1, sizeof(line) - 1, file) > 0 && !strcmp(line, name),
		  "/proc/self/cmdline begins with the program (%s)", line);
	if (file)
		fclose(file);
}

int main(int argc, char **argv)
{
	check_cmdline(argv[argc - 1]);
	check_cpuinfo();
	check_maps();
	return tap_done();
}
