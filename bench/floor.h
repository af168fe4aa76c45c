/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What the kernel alone takes for the events that swsgx is made of: the floor under its figures.
 *
 * A process of its own measures it, so that nothing of swsgx is in the way: no hook, no system call
 * user dispatch, no handler.  It works only while it is asked.
 */
#ifndef SWSGX_BENCH_FLOOR_H
#define SWSGX_BENCH_FLOOR_H

#include <stdbool.h>

struct floor {
	int pid;
	int ask, answer;
};

enum floor_what {
	FLOOR_SYSCALL, /* getppid() */
	FLOOR_TRAP,    /* ENCLU where there is no SGX: a signal whose handler steps over it */
	FLOOR_FAULT, /* userfaultfd's SIGBUS, served with UFFDIO_CONTINUE by the faulting thread */
	FLOOR_NR,
};

/* Before the program has touched SGX. 0 or -1. */
int floor_start(struct floor *f);
/* This machine has it; only then may it be asked for. */
bool floor_can(struct floor *f, enum floor_what what);
/* Microseconds each. */
double floor_us(struct floor *f, enum floor_what what);
void floor_stop(struct floor *f);

#endif
