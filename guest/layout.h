/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The guest's enclave, page by page: what its kernel builds, its author signs, and its code relies on.
 */
#ifndef SWSGX_GUEST_LAYOUT_H
#define SWSGX_GUEST_LAYOUT_H

#define ENCLAVE_SIZE    (64ull << 20)
#define ENCLAVE_BASE    0x1000000000ull /* of the first; the others follow */
#define ENCLAVE_THREADS 4
#define ENCLAVE_FRAMES  2 /* SSA frames of a thread */

/* Page numbers. */
#define ENCLAVE_TCS   0
#define ENCLAVE_SSA   4
#define ENCLAVE_CODE  12
#define ENCLAVE_CODES 2
#define ENCLAVE_DATA  16
#define ENCLAVE_DATAS 4
#define ENCLAVE_STACK 24
#define ENCLAVE_HEAP  32 /* EAUGed */

/* The i-th of @pages in CALL_TOUCH: each comes once in @pages, which 7919 does not divide. */
#define TOUCH_ORDER(i, pages) ((i)*7919 % (pages))

#ifndef __ASSEMBLER__
/* What it is asked to do, in RDI; operands in RSI, RDX, R8; the answer is in RSI. */
enum enclave_call {
	CALL_ADD,    /* RSI + RDX */
	CALL_FILL,   /* RDX pages from page RSI on get the pattern of seed R8 */
	CALL_HASH,   /* of RDX pages from page RSI on */
	CALL_REPORT, /* into the untrusted 432 bytes at RSI; reportdata from RDX */
	CALL_KEY, /* key RSI by policy RDX, into the untrusted 16 bytes at R8: what EGETKEY says */
	CALL_ACCEPT, /* RDX pages from page RSI on, with SECINFO flags R8: the first answer that is not 0 */
	CALL_READ,   /* the word at RSI, wherever */
	CALL_WRITE,  /* RDX to the word at RSI, wherever */
	CALL_FAULT,  /* enum enclave_fault in RSI */
	CALL_SPIN,   /* RSI times round a loop */
	CALL_EMODPE, /* page RSI gets flags RDX */
	CALL_TOUCH, /* a word each of RDX of R8 heap pages, from the RSI-th on in an order with no rhyme */
	CALL_WAIT, /* the untrusted word behind the one at RSI becomes 1; until the one at RSI is not 0 */
};

enum enclave_fault {
	FAULT_UD,
	FAULT_DE,
	FAULT_CPUID,
	FAULT_INT,
	FAULT_OUT,
	FAULT_JUMP_OUT, /* to RDX */
	FAULT_ENCLU,    /* a leaf that there is none of */
	FAULT_EENTER,
	FAULT_HLT,
	FAULT_INT3,
};

#endif

/* The signed part of the image: a SIGSTRUCT, and the hash of its key for the MSRs. */
#define SIGNED_HASH  2048u
#define SIGNED_BYTES 4096u

#endif
