/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What swsgx-guest, the kernel in guest/, is asked to do: guest_boot.args.
 */
#ifndef SWSGX_VMM_GUEST_ARGS_H
#define SWSGX_VMM_GUEST_ARGS_H

enum guest_arg {
	ARG_SCRIPT, /* enum guest_script */
	ARG_PAGES,  /* of heap, for each processor's enclave */
	ARG_ROUNDS,
	ARG_KEEP, /* heap pages that the kernel leaves in its EPC; 0: all */
	ARG_FLAGS,
	ARG_SEED,
};

enum guest_script {
	SCRIPT_LIFE,    /* of an enclave, with all that can be seen of it */
	SCRIPT_WORK,    /* rounds through the heap */
	SCRIPT_RUN,     /* until it is stopped */
	SCRIPT_SHARE,   /* all processors in one enclave, the first evicts its pages meanwhile */
	SCRIPT_HOSTILE, /* misbehave */
};

#define FLAG_FORWARD 1u /* the #UD handler begins with GUEST_PORT_UD */
#define FLAG_SPIN    2u /* be in enclaves long enough for interrupts */
#define FLAG_PATIENT 4u /* EPC may be gone for a moment: enter again */

#define VECTOR_TICK 0x40

#endif
