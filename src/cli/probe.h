/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What swsgx needs of a machine, each thing really tried.
 */
#ifndef SWSGX_CLI_PROBE_H
#define SWSGX_CLI_PROBE_H

#include <stdbool.h>
#include <stddef.h>

enum probe_need {
	PROBE_REQUIRED, /* nothing runs without it */
	PROBE_DIRECT,   /* programs that make their own system calls don't run without it */
	PROBE_HELPS,    /* something is missing without it, and @without says what */
	PROBE_SPEED,    /* it only goes slower */
};

#define PROBE_DETAIL 160

/*
 * @try:     true when the machine has it; what was seen goes to @detail (PROBE_DETAIL bytes).  Runs
 *           in a process that was made for tries, so it may install handlers and lose its life.
 * @without: what one loses where it is missing
 * @advice:  what to do about it
 */
struct probe {
	const char *name;
	enum probe_need need;
	bool (*try)(char *detail);
	const char *without;
	const char *advice;
};

extern const struct probe probes[];
extern const size_t probes_nr;

/* Run one. False too when it died or took longer than ten seconds. */
bool probe_run(const struct probe *probe, char *detail);

/* The first of the needs in @needs (1u << enum probe_need) that is missing, or NULL. Quicker than one by one. */
const struct probe *probe_first_missing(unsigned int needs, char *detail);

/* The tries that fault on purpose: probe_fault.c */
bool try_userfaultfd(char *detail);
bool try_enclu(char *detail);
bool try_cpuid_faulting(char *detail);
bool try_syscall_dispatch(char *detail);
bool try_fsgsbase(char *detail);

#endif
