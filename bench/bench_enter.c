/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * An enclave call that does nothing, by the vDSO and by ENCLU instructions of the program's own.
 *
 * An SGX program like any other: it also runs on hardware.  Here an EEXIT costs a signal at least, and
 * an ENCLU in host mode a second one, so the floor is what the kernel takes for those.
 *
 *   swsgx run bench_enter [--json]
 */
#include <stdio.h>
#include <string.h>

#include "client.h"
#include "floor.h"
#include "measure.h"
#include "option.h"

enum { ROUNDS = 200, CALLS = 500 };

static double call_us(struct client_encl *encl, enum client_entry how)
{
	struct encl_op op = { .nr = OP_NOP };
	uint64_t start = measure_thread_ns();

	for (unsigned int i = 0; i < CALLS; i++)
		if (client_call(encl, 0, &op, how) != 0)
			fprintf(stderr, "bench_enter: a call failed\n");
	return (double)(measure_thread_ns() - start) / CALLS / 1000;
}

int main(int argc, char **argv)
{
	static struct measure m = { .title = "An empty enclave call" };
	struct client_conf conf = { 0 }, conf512 = { .xfrm = client_xcr0() & 0xe7 };
	struct client_encl encl, wide;
	struct floor floor;
	int syscall_row, trap, vdso, enclu, vdso512;

	m.json = option_parse(argc, argv, m.title, NULL, NULL);
	measure_pin(0);
	if (floor_start(&floor) < 0)
		return 1;
	if (client_create(&encl, &conf) < 0 || client_create(&wide, &conf512) < 0) {
		fprintf(stderr, "bench_enter: no enclave: %s\n", encl.failed);
		return 1;
	}
	syscall_row = measure_row(&m, "a system call (getppid)", "us", -1, 0);
	trap = measure_row(&m, "an ENCLU that traps, signal and return", "us", -1, 0);
	vdso = measure_row(&m, "EENTER and EEXIT by the vDSO", "us", trap, 0);
	enclu = measure_row(&m, "EENTER and EEXIT by ENCLU", "us", trap, 0);
	vdso512 = measure_row(&m, "by the vDSO, with all of XFRM", "us", trap, 0);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		measure_sample(&m, syscall_row, floor_us(&floor, FLOOR_SYSCALL));
		measure_sample(&m, trap, floor_us(&floor, FLOOR_TRAP));
		measure_sample(&m, vdso, call_us(&encl, ENTRY_VDSO));
		measure_sample(&m, enclu, call_us(&encl, ENTRY_UD2));
		measure_sample(&m, vdso512, call_us(&wide, ENTRY_VDSO));
	}
	measure_print(&m);
	client_destroy(&wide);
	client_destroy(&encl);
	floor_stop(&floor);
	return 0;
}
