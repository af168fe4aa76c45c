/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What the test enclave and its host agree on: operations, and the offsets of the block that GS
 * points at inside the enclave.  Shared with assembly, so the first part is macros only.
 *
 * One thread's pages, from low to high: FS page, GS page, exception stack, stack (3), TCS, SSA
 * frames.  The entry code finds everything from RBX, the TCS, and from GS.
 */
#ifndef SWSGX_TESTS_ENCL_ABI_H
#define SWSGX_TESTS_ENCL_ABI_H

#define TB_FS        0 /* pages from the start of a thread's block */
#define TB_GS        1
#define TB_EXC_STACK 2
#define TB_STACK     3
#define TB_STACK_NR  3
#define TB_TCS       6
#define TB_SSA       7
#define TB_BELOW_TCS (TB_TCS * 4096)
#define TB_EXC_TOP   (TB_STACK_NR * 4096) /* below the TCS */

/* The GS page.  The builder fills the first four, the rest starts as zero. */
#define GS_FRAME_BYTES 0x00 /* SECS.SSAFRAMESIZE in bytes */
#define GS_MAGIC       0x08
#define GS_THREAD      0x10
#define GS_TCS         0x18 /* from here on: at run time */
#define GS_HOST        0x20 /* RSP RBP RIP R12 R13 R14 R15 of the host, entry with CSSA 0 */
#define GS_HOST_EXC    0x60 /* the same, entry with CSSA > 0 */
#define GS_OCALL_RSP   0xa0
#define GS_OUT         0xa8  /* RDI RSI RDX R8 R9 as the host shall see them */
#define GS_IN          0x100 /* RAX RCX RDX RBX RSP RBP RSI RDI R8 .. R15 RFLAGS at EENTER */
#define GS_FIXUP       0x200 /* where the exception handler moves RIP to */
#define GS_EXC_COUNT   0x208
#define GS_EXC_INFO    0x210
#define GS_EXC_RIP     0x218
#define GS_EXC_MADDR   0x220
#define GS_EXC_ERRCD   0x228
#define GS_EXC_MODE    0x230
#define GS_EXC_RAX     0x238
#define GS_EXC_CSSA    0x240
#define GS_EXC_FSBASE  0x248
#define GS_EXC_GSBASE  0x250
#define GS_NOTIFIED    0x258 /* entries by ERESUME because of AEX-notify */
#define GS_NOTIFY_CSSA 0x260 /* CSSA at the last of them */

#define ENCL_GS_MAGIC     0x47534d4147494321
#define ENCL_FS_MAGIC     0x46534d4147494321
#define ENCL_EXC_DONE     0xe0c0 /* RDI: the exception handler is through, ERESUME now */
#define ENCL_EXC_DROPPED  0xe0c1 /* RDI: the frame is gone, there is nothing to resume */
#define ENCL_EXC_NOTIFIED 0xe0c2 /* in the enclave only */
#define ENCL_SECRET       0x5ec0de0000000000 /* upper half of every value that must not leak */

/* What the exception handler does; GS_EXC_MODE. */
#define EXC_FIXUP    0 /* RIP := fixup, when there is one */
#define EXC_EDECCSSA 1 /* drop the frame instead of resuming it */
#define EXC_NOTIFY   2 /* count, drop the frame, and go on from a copy of it */
#define EXC_COMMIT   3 /* a page that is PENDING: EACCEPT it, and the instruction again */

/* The copy: the XSAVE image first, as it must be aligned. */
#define NOTE_GPR   576
#define NOTE_BYTES 1024

#ifndef __ASSEMBLER__
#include <stdint.h>

enum encl_op_nr {
	OP_NOP,
	OP_READ,         /* ret = *(u64 *)a0 */
	OP_WRITE,        /* *(u64 *)a0 = a1 */
	OP_EACCEPT,      /* a0 flags, a1 address, a2 pages; ret = first status that is not 0 */
	OP_EMODPE,       /* a0 flags, a1 address */
	OP_EACCEPTCOPY,  /* a0 flags, a1 to, a2 from */
	OP_EREPORT,      /* a0 targetinfo, a1 report data, a2 report out */
	OP_EGETKEY,      /* a0 keyrequest, a1 key out */
	OP_ENTRY_REGS,   /* a0: u64[17] out */
	OP_SET_OUT,      /* a0..a4: RDI RSI RDX R8 R9 after EEXIT */
	OP_RISKY,        /* a0 enum encl_risky, a1 address; a2: struct encl_exc out */
	OP_SPIN,         /* until *(u32 *)a0; *(u64 *)a1 counts; ret = count */
	OP_REGS,         /* a0 flag or 0, a1 iterations, a2 level; ret = mismatches */
	OP_FSGS,         /* ret = 0 when FS and GS are the enclave's; a0,a1: their bases */
	OP_SETFS,        /* WRFSBASE a0, spin until *(u32 *)a1, ret = RDFSBASE */
	OP_FILL,         /* a0 heap, a1 pages, a2 seed: initialise slots */
	OP_WALK,         /* a0 heap, a1 pages, a2 steps, a3 seed, a4 slot; ret = errors */
	OP_SUM,          /* a0 heap, a1 pages, a2 slot, a3 seed; ret = steps seen; a4 errors */
	OP_OCALL,        /* exits with RDI = a0, RSI = a1; ret = RDI of the re-entry */
	OP_EXC_MODE,     /* a0: EXC_* */
	OP_EXC_GET,      /* a0: struct encl_exc out */
	OP_MAKE_TCS,     /* a0 page, a1 ossa, a2 nssa, a3 oentry, a4 ofsbase, a5 ogsbase */
	OP_CALL_SYSCALL, /* ret = getpid by SYSCALL, if it ever gets that far */
	OP_COPY_IN,      /* a0 to, a1 from, a2 bytes */
	OP_NOTIFY,       /* a0: AEXNOTIFY in SSA frame 0; ret = entries by it; a1 out: CSSA then */
	OP_ENCLU,        /* a0 leaf, a1 rbx, a2 rcx, a3 rdx; ret = RAX */
	OP_TOUCH,        /* a0 u32[a1] page numbers, a2 heap, a3: write as well; ret = sum */
};

enum encl_risky {
	RISKY_UD2,
	RISKY_DIV,
	RISKY_INT3,
	RISKY_SYSCALL,
	RISKY_CPUID,
	RISKY_INT80,
	RISKY_IN,
	RISKY_OUT,
	RISKY_HLT,
	RISKY_NONCANON, /* read of a non-canonical address */
	RISKY_READ,     /* read of a1 */
	RISKY_WRITE,    /* write to a1 */
	RISKY_EXEC,     /* jump to a1 */
	RISKY_MF,       /* unmasked x87 division by zero */
	RISKY_XM,       /* unmasked SSE division by zero */
	RISKY_EENTER,   /* EENTER from inside */
	RISKY_BADLEAF,  /* ENCLU with an unknown leaf */
	RISKY_RDTSC,
	RISKY_RDPMC,
	RISKY_AC, /* misaligned MOVAPS: #GP */
	RISKY_NR,
};

struct encl_op {
	uint64_t nr;
	uint64_t arg[6];
	uint64_t ret;
};

/* What the enclave's own exception handler read in the SSA. */
struct encl_exc {
	uint64_t count;
	uint64_t exitinfo;
	uint64_t rip; /* from the start of the enclave's code */
	uint64_t maddr;
	uint64_t errcd;
	uint64_t cssa;
	uint64_t fsbase, gsbase;
};
#endif
#endif
