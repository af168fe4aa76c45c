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
	ARG_SCENARIO, /* 1 to 16 */
};

enum guest_script {
	SCRIPT_LIFE,     /* of an enclave, with all that can be seen of it */
	SCRIPT_WORK,     /* rounds through the heap */
	SCRIPT_RUN,      /* until it is stopped */
	SCRIPT_SHARE,    /* all processors in one enclave, the first evicts its pages meanwhile */
	SCRIPT_HOSTILE,  /* misbehave */
	SCRIPT_HAVOC,    /* ARG_SCENARIO is which */
	SCRIPT_TOUCH,    /* pages of the heap, as often as CALL_NEXT says; ARG_ROUNDS at a time */
	SCRIPT_SCENARIO, /* the host takes a page at a certain step, see enum guest_now */
};

/* guest_call.what. arg: steps done, and 2^32 times how many there are for this processor */
#define CALL_PROGRESS 0x100
/* Of SCRIPT_TOUCH: some are about to be touched, when the answer is 1; and have been */
#define CALL_NEXT 0x101
#define CALL_DONE 0x102
/* Of SCRIPT_RUN: this processor has its enclave */
#define CALL_BUILT 0x103

/* And of SCRIPT_SCENARIO: this is the moment for the host to do something. arg: a page, unless it says else */
enum guest_now {
	NOW_EVICT = 1, /* take it */
	NOW_REFUSED,   /* try to: it must not go */
	NOW_NAMED,     /* a SECS: it must be known by a name of the host's */
	NOW_UNNAMED,   /* by its guest-physical address */
	NOW_CHANGE,    /* no page: begin to change regions */
	NOW_CHANGED,   /* no page: the answer is 1 when that has been done */
	NOW_KILL,      /* no page */
	NOW_UNDERFLOW, /* a SECS: take all virtual children off its counter */
	NOW_TAMPER,    /* change a bit of its ciphertext */
	NOW_FILL,      /* no page: let there be hardly any EPC left */
	NOW_EMPTY,     /* no page: let there be as much as before */
};

/* What processor 0 does under SCRIPT_HAVOC; the others use enclaves of theirs until they are stopped. */
enum guest_havoc {
	HAVOC_TRIPLE, /* a fault of a fault of a fault */
	HAVOC_TABLES, /* page tables that are EPC */
	HAVOC_FETCH,  /* instructions from EPC */
	HAVOC_STACK,  /* a stack in EPC, and an ENCLS */
	HAVOC_IOPL,   /* an enclave that may use ports, and uses the VMM's */
	HAVOC_PORTS,  /* garbage to every port of the VMM's, then an end */
	HAVOC_SSA,    /* the SSA of a thread that is inside is not mapped for a while */
	HAVOC_LOOP,   /* leaves on pages that the host takes, for ever */
	HAVOC_SPIN,   /* in an enclave with interrupts off, for ever */
	HAVOC_HALT,   /* with interrupts off, for ever */
	HAVOC_NR
};

/* A second region, of another raw EPC file, in the scenarios that have one: so far above the first. */
#define SECOND_REGION (512ull << 20)

#define FLAG_FORWARD 1u /* the #UD handler begins with GUEST_PORT_UD */
#define FLAG_SPIN    2u /* be in enclaves long enough for interrupts */
#define FLAG_PATIENT 4u /* EPC may be gone for a moment: enter again */
#define FLAG_ANEW    8u /* SCRIPT_TOUCH: each page is mapped anew before it is touched */

#define VECTOR_TICK 0x40

#endif
