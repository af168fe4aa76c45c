/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What a guest kernel and the VMM agree on: where it begins, and the ports that it may write to.
 *
 * A kernel is an ELF file with physical addresses.  Each of its processors begins at the entry point, in long
 * mode, at CPL 0 with interrupts off, the first 4 GiB mapped one to one, RDI its number, and RSI the address of
 * a struct guest_boot.  It has no stack.
 *
 * A kernel that knows nothing of these ports runs as well; it just cannot say anything.
 */
#ifndef SWSGX_VMM_GUEST_ABI_H
#define SWSGX_VMM_GUEST_ABI_H

/*
 * For the first instruction of a #UD handler, which changes no register and no flag: when it was an ENCLS or
 * ENCLU the VMM executes that, and the handler is not come back to.
 */
#define GUEST_PORT_UD 0xe5
/* EAX: physical address of a struct guest_text, which the VMM adds to what the processor has said. */
#define GUEST_PORT_SAY 0xe6
/* The guest is done. AL: how. */
#define GUEST_PORT_END 0xe7
/* EAX: a processor's number * 256 + the vector of an interrupt for it. */
#define GUEST_PORT_IPI 0xe8

/* Whoever waits for another processor: that one may need the real one that this one runs on. */
#define GUEST_PORT_YIELD 0xe9

/* EAX: physical address of a struct guest_call. Nobody may answer. */
#define GUEST_PORT_CALL 0xea

#ifndef __ASSEMBLER__
#include <stdint.h>

#define GUEST_ARGS 8
struct guest_boot {
	uint64_t ram_bytes;
	uint64_t vcpu_nr;
	uint64_t args[GUEST_ARGS]; /* the kernel's business */
};

struct guest_call {
	uint64_t what, arg; /* between the kernel and whoever has made the machine */
	uint64_t answer;
};

#define GUEST_TEXT_MAX 3072
struct guest_text {
	uint32_t bytes;
	char text[GUEST_TEXT_MAX];
};
#endif

#endif
