/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The code of the test enclave.  It is compiled into a section of its own (encl_text), which the
 * builder copies into the enclave: so it must be position independent and refer to nothing outside
 * that section, neither constants nor libc.
 */
#include "arch/sgx.h"
#include "encl_abi.h"

#define IN_ENCLAVE __attribute__((section("encl_text"), used))

#define GS64(off)        (*(volatile uint64_t __seg_gs *)(uintptr_t)(off))
#define FS64(off)        (*(volatile uint64_t __seg_fs *)(uintptr_t)(off))
#define REGS_DUMP_QWORDS (32 + 32 * 8)

void encl_main(struct encl_op *op);
struct encl_way {
	uint64_t what; /* RAX: ENCL_EXC_* */
	uint64_t copy; /* RDX: of ENCL_EXC_NOTIFIED */
};
struct encl_way encl_exception(uint64_t tcs, uint64_t cssa);
uint64_t encl_ocall(uint64_t rdi, uint64_t rsi);
void encl_regs(uint32_t *flag, uint64_t n, int level, void *out, uint64_t seed);
void encl_entry(void);

static inline uint64_t enclu(uint64_t leaf, uint64_t rbx, uint64_t rcx, uint64_t rdx)
{
	__asm__ volatile(".byte 0x0f, 0x01, 0xd7"
			 : "+a"(leaf), "+b"(rbx), "+c"(rcx), "+d"(rdx)
			 :
			 : "memory", "cc");
	return leaf;
}

static inline void copy_bytes(void *to, const void *from, uint64_t n)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

static inline void zero_bytes(void *to, uint64_t n)
{
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(0) : "memory");
}

IN_ENCLAVE static uint64_t do_accept(uint64_t flags, uint64_t addr, uint64_t pages)
{
	struct sgx_secinfo info __attribute__((aligned(64)));

	zero_bytes(&info, sizeof(info));
	info.flags = flags;
	for (uint64_t i = 0; i < pages; i++) {
		uint64_t status = enclu(SGX_EACCEPT, (uintptr_t)&info, addr + i * 4096, 0);

		if (status)
			return status;
	}
	return 0;
}

IN_ENCLAVE static uint64_t do_secinfo_leaf(uint64_t leaf, uint64_t flags, uint64_t rcx,
					   uint64_t rdx)
{
	struct sgx_secinfo info __attribute__((aligned(64)));

	zero_bytes(&info, sizeof(info));
	info.flags = flags;
	return enclu(leaf, (uintptr_t)&info, rcx, rdx);
}

IN_ENCLAVE static uint64_t do_ereport(const struct encl_op *op)
{
	struct {
		struct sgx_targetinfo target;
		struct sgx_report report; /* 512-aligned, as the one before is 512 long */
		uint8_t pad[512 - sizeof(struct sgx_report)];
		uint8_t data[64];
	} mem __attribute__((aligned(512)));
	uint64_t rax;

	copy_bytes(&mem.target, (void *)op->arg[0], sizeof(mem.target));
	copy_bytes(mem.data, (void *)op->arg[1], sizeof(mem.data));
	rax = enclu(SGX_EREPORT, (uintptr_t)&mem.target, (uintptr_t)mem.data,
		    (uintptr_t)&mem.report);
	copy_bytes((void *)op->arg[2], &mem.report, sizeof(mem.report));
	return rax == SGX_EREPORT ? 0 : rax; /* EREPORT leaves RAX alone */
}

IN_ENCLAVE static uint64_t do_egetkey(const struct encl_op *op)
{
	struct sgx_keyrequest request __attribute__((aligned(512)));
	uint8_t key[16] __attribute__((aligned(16)));
	uint64_t rax;

	zero_bytes(key, sizeof(key));
	copy_bytes(&request, (void *)op->arg[0], sizeof(request));
	rax = enclu(SGX_EGETKEY, (uintptr_t)&request, (uintptr_t)key, 0);
	copy_bytes((void *)op->arg[1], key, sizeof(key));
	return rax;
}

/* Any instruction that may fault; the exception handler goes on at 1. */
#define RISKY(insn, ...)                                                                     \
	__asm__ volatile("lea 1f(%%rip), %%r11\n\tmov %%r11, %%gs:0x200\n\t" insn "\n1:\n\t" \
			 "movq $0, %%gs:0x200"                                               \
			 :                                                                   \
			 : __VA_ARGS__                                                       \
			 : "r11", "rax", "rbx", "rcx", "rdx", "memory", "cc")

IN_ENCLAVE static void risky_fp(uint64_t what)
{
	uint32_t mxcsr = 0x1d80, old_mxcsr = 0x1f80; /* ZM clear */
	uint16_t fcw = 0x037b;

	if (what == RISKY_MF) {
		__asm__ volatile("fninit; fldcw %0; fld1; fldz; fdivrp" : : "m"(fcw));
		RISKY("fwait", "m"(fcw));
		__asm__ volatile("fnclex; fninit");
		return;
	}
	__asm__ volatile("ldmxcsr %0; xorps %%xmm1, %%xmm1; pcmpeqd %%xmm0, %%xmm0; "
			 "pslld $25, %%xmm0; psrld $2, %%xmm0" /* 1.0 in each lane */
			 :
			 : "m"(mxcsr)
			 : "xmm0", "xmm1");
	RISKY("divps %%xmm1, %%xmm0", "m"(mxcsr));
	__asm__ volatile("ldmxcsr %0" : : "m"(old_mxcsr));
}

IN_ENCLAVE static void risky_memory(uint64_t what, uint64_t addr)
{
	switch (what) {
	case RISKY_NONCANON:
		RISKY("mov (%0), %%rax", "r"(0x800000000000ull));
		break;
	case RISKY_READ:
		RISKY("mov (%0), %%rax", "S"(addr));
		break;
	case RISKY_WRITE:
		RISKY("movq $1, (%0)", "S"(addr));
		break;
	case RISKY_EXEC:
		RISKY("jmp *%0", "S"(addr));
		break;
	case RISKY_AC:
		RISKY("movaps 1(%%rsp), %%xmm0", "S"(addr));
		break;
	}
}

IN_ENCLAVE static void risky_insn(uint64_t what)
{
	switch (what) {
	case RISKY_UD2:
		RISKY("ud2", "r"(0));
		break;
	case RISKY_DIV:
		RISKY("xor %%ecx, %%ecx; xor %%edx, %%edx; mov $7, %%eax; div %%ecx", "S"(0));
		break;
	case RISKY_INT3:
		RISKY("int3", "r"(0));
		break;
	case RISKY_SYSCALL:
		RISKY("mov $39, %%eax; syscall", "S"(0));
		break;
	case RISKY_CPUID:
		RISKY("xor %%eax, %%eax; xor %%ecx, %%ecx; cpuid", "S"(0));
		break;
	case RISKY_INT80:
		RISKY("mov $20, %%eax; int $0x80", "S"(0));
		break;
	case RISKY_IN:
		RISKY("mov $0x80, %%edx; in %%dx, %%al", "S"(0));
		break;
	case RISKY_OUT:
		RISKY("mov $0x80, %%edx; out %%al, %%dx", "S"(0));
		break;
	case RISKY_HLT:
		RISKY("hlt", "S"(0));
		break;
	case RISKY_EENTER:
		RISKY("mov $2, %%eax; mov %%gs:0x18, %%rbx; lea 1f(%%rip), %%rcx; "
		      ".byte 0x0f, 0x01, 0xd7",
		      "S"(0));
		break;
	case RISKY_BADLEAF:
		RISKY("mov $0x77, %%eax; .byte 0x0f, 0x01, 0xd7", "S"(0));
		break;
	case RISKY_RDTSC:
		RISKY("rdtsc", "S"(0));
		break;
	case RISKY_RDPMC:
		RISKY("xor %%ecx, %%ecx; rdpmc", "S"(0));
		break;
	}
}

IN_ENCLAVE static void exc_get(struct encl_exc *out)
{
	out->count = GS64(GS_EXC_COUNT);
	out->exitinfo = GS64(GS_EXC_INFO);
	out->rip = GS64(GS_EXC_RIP);
	out->maddr = GS64(GS_EXC_MADDR);
	out->errcd = GS64(GS_EXC_ERRCD);
	out->cssa = GS64(GS_EXC_CSSA);
	out->fsbase = GS64(GS_EXC_FSBASE);
	out->gsbase = GS64(GS_EXC_GSBASE);
}

IN_ENCLAVE static void do_risky(const struct encl_op *op)
{
	uint64_t what = op->arg[0];

	GS64(GS_EXC_COUNT) = 0;
	if (what == RISKY_MF || what == RISKY_XM)
		risky_fp(what);
	else if (what == RISKY_NONCANON || what == RISKY_READ || what == RISKY_WRITE ||
		 what == RISKY_EXEC || what == RISKY_AC)
		risky_memory(what, op->arg[1]);
	else
		risky_insn(what);
	if (op->arg[2])
		exc_get((struct encl_exc *)op->arg[2]);
}

IN_ENCLAVE static uint64_t do_spin(const volatile uint32_t *flag, volatile uint64_t *count)
{
	uint64_t n = 0;

	while (!*flag) {
		n++;
		*count = n;
	}
	return n;
}

/* How many registers came out of the loop changed. */
IN_ENCLAVE static uint64_t do_regs(uint32_t *flag, uint64_t turns, int level)
{
	uint64_t dump[REGS_DUMP_QWORDS] __attribute__((aligned(64)));
	uint64_t seed = ENCL_SECRET, bad = 0;
	int vectors = level == 2 ? 32 : 16, lanes = 2 << level;

	encl_regs(flag, turns, level, dump, seed);
	for (int i = 0; i < 12; i++)
		bad += dump[i] != seed + i;
	bad += dump[12] != 0x7f80;
	for (int i = 0; i < 7; i++)
		bad += dump[13 + i] != (uint64_t)(206 - i);
	for (int v = 0; v < vectors; v++)
		for (int lane = 0; lane < lanes; lane++)
			bad += dump[32 + v * 8 + lane] != seed + 100 + v;
	if (level == 2)
		for (int k = 1; k < 8; k++)
			bad += dump[21 + k] != seed + 300 + k;
	return bad;
}

IN_ENCLAVE static uint64_t do_fsgs(struct encl_op *op)
{
	uint64_t fs, gs;

	__asm__ volatile("rdfsbase %0; rdgsbase %1" : "=r"(fs), "=r"(gs));
	op->arg[0] = fs;
	op->arg[1] = gs;
	if (FS64(0) != ENCL_FS_MAGIC)
		return 1;
	if (GS64(GS_MAGIC) != ENCL_GS_MAGIC)
		return 2;
	return 0;
}

/* A base of its own choice must survive every AEX, and be gone after EEXIT. */
IN_ENCLAVE static uint64_t do_setfs(uint64_t base, const volatile uint32_t *flag)
{
	uint64_t old, now;

	__asm__ volatile("rdfsbase %0; wrfsbase %1" : "=&r"(old) : "r"(base));
	while (!*flag)
		;
	__asm__ volatile("rdfsbase %0; wrfsbase %1" : "=&r"(now) : "r"(old));
	return now;
}

static inline uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdull;
	x ^= x >> 29;
	return x;
}

/* Eight slots a page, one a thread: [0] tag, [1] generation, [63] both. */
static inline uint64_t *slot_of(uint64_t heap, uint64_t page, uint64_t slot)
{
	return (uint64_t *)(heap + page * 4096 + slot * 512);
}

IN_ENCLAVE static void do_fill(uint64_t heap, uint64_t pages, uint64_t seed)
{
	for (uint64_t p = 0; p < pages; p++)
		for (uint64_t s = 0; s < 8; s++) {
			uint64_t *w = slot_of(heap, p, s);

			w[0] = mix(seed + p * 8 + s);
			w[1] = 0;
			w[63] = w[0];
		}
}

IN_ENCLAVE static uint64_t do_walk(const struct encl_op *op)
{
	uint64_t heap = op->arg[0], pages = op->arg[1], steps = op->arg[2], seed = op->arg[3];
	uint64_t slot = op->arg[4], errors = 0, x = mix(seed + slot * 7919 + 1) | 1;

	for (uint64_t i = 0; i < steps; i++) {
		uint64_t *w, page;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		page = x % pages;
		w = slot_of(heap, page, slot);
		errors += w[0] != mix(seed + page * 8 + slot) || w[63] != w[0] + w[1];
		w[1]++;
		w[63]++;
	}
	return errors;
}

IN_ENCLAVE static uint64_t do_sum(struct encl_op *op)
{
	uint64_t heap = op->arg[0], pages = op->arg[1], slot = op->arg[2], seed = op->arg[3];
	uint64_t sum = 0, errors = 0;

	for (uint64_t p = 0; p < pages; p++) {
		uint64_t *w = slot_of(heap, p, slot);

		errors += w[0] != mix(seed + p * 8 + slot) || w[63] != w[0] + w[1];
		sum += w[1];
	}
	op->arg[4] = errors;
	return sum;
}

/* One word of each page: what is left of a program when only its faults are looked at. */
IN_ENCLAVE static uint64_t do_touch(const struct encl_op *op)
{
	const uint32_t *page = (const uint32_t *)op->arg[0];
	uint64_t sum = 0;

	for (uint64_t i = 0; i < op->arg[1]; i++) {
		volatile uint64_t *w = (uint64_t *)(op->arg[2] + page[i] * 4096ull);

		sum += *w;
		if (op->arg[3])
			*w = sum;
	}
	return sum;
}

IN_ENCLAVE static void do_make_tcs(const struct encl_op *op)
{
	struct sgx_tcs *tcs = (struct sgx_tcs *)op->arg[0];

	zero_bytes(tcs, sizeof(*tcs));
	tcs->ossa = op->arg[1];
	tcs->nssa = op->arg[2];
	tcs->oentry = op->arg[3];
	tcs->ofsbasgx = op->arg[4];
	tcs->ogsbasgx = op->arg[5];
	tcs->fslimit = tcs->gslimit = 0xffffffff;
}

IN_ENCLAVE static uint64_t do_syscall(void)
{
	uint64_t rax = 39;

	__asm__ volatile("syscall" : "+a"(rax) : : "rcx", "r11", "memory");
	return rax;
}

/* SSA frame 0 is where an AEX of this code goes: its flag says whether ERESUME shall come to us first. */
IN_ENCLAVE static void do_notify(struct encl_op *op)
{
	struct sgx_ssa_gpr *gpr =
		(void *)(GS64(GS_TCS) + 4096 + GS64(GS_FRAME_BYTES) - sizeof(struct sgx_ssa_gpr));

	op->ret = GS64(GS_NOTIFIED);
	op->arg[1] = GS64(GS_NOTIFY_CSSA);
	GS64(GS_EXC_MODE) = op->arg[0] ? EXC_NOTIFY : EXC_FIXUP;
	gpr->aexnotify = op->arg[0] != 0;
}

IN_ENCLAVE static void do_leaf_op(struct encl_op *op)
{
	uint64_t *a = op->arg;

	switch (op->nr) {
	case OP_EACCEPT:
		op->ret = do_accept(a[0], a[1], a[2]);
		break;
	case OP_EMODPE:
		op->ret = do_secinfo_leaf(SGX_EMODPE, a[0], a[1], 0);
		if (op->ret == SGX_EMODPE) /* there is no status: RAX stays */
			op->ret = 0;
		break;
	case OP_EACCEPTCOPY:
		op->ret = do_secinfo_leaf(SGX_EACCEPTCOPY, a[0], a[1], a[2]);
		break;
	case OP_EREPORT:
		op->ret = do_ereport(op);
		break;
	case OP_EGETKEY:
		op->ret = do_egetkey(op);
		break;
	case OP_ENCLU:
		op->ret = enclu(a[0], a[1], a[2], a[3]);
		break;
	}
}

IN_ENCLAVE static void do_cpu_op(struct encl_op *op)
{
	uint64_t *a = op->arg;

	switch (op->nr) {
	case OP_ENTRY_REGS:
		for (int i = 0; i < 17; i++)
			((uint64_t *)a[0])[i] = GS64(GS_IN + 8 * i);
		break;
	case OP_SET_OUT:
		for (int i = 0; i < 5; i++)
			GS64(GS_OUT + 8 * i) = a[i];
		break;
	case OP_RISKY:
		do_risky(op);
		break;
	case OP_REGS:
		op->ret = do_regs((uint32_t *)a[0], a[1], (int)a[2]);
		break;
	case OP_FSGS:
		op->ret = do_fsgs(op);
		break;
	case OP_SETFS:
		op->ret = do_setfs(a[0], (uint32_t *)a[1]);
		break;
	case OP_EXC_MODE:
		GS64(GS_EXC_MODE) = a[0];
		break;
	case OP_NOTIFY:
		do_notify(op);
		break;
	case OP_EXC_GET:
		exc_get((struct encl_exc *)a[0]);
		break;
	case OP_CALL_SYSCALL:
		op->ret = do_syscall();
		break;
	}
}

IN_ENCLAVE void encl_main(struct encl_op *op)
{
	uint64_t *a = op->arg;

	switch (op->nr) {
	case OP_NOP:
		break;
	case OP_READ:
		op->ret = *(volatile uint64_t *)a[0];
		break;
	case OP_WRITE:
		*(volatile uint64_t *)a[0] = a[1];
		break;
	case OP_SPIN:
		op->ret = do_spin((uint32_t *)a[0], (uint64_t *)a[1]);
		break;
	case OP_FILL:
		do_fill(a[0], a[1], a[2]);
		break;
	case OP_WALK:
		op->ret = do_walk(op);
		break;
	case OP_SUM:
		op->ret = do_sum(op);
		break;
	case OP_TOUCH:
		op->ret = do_touch(op);
		break;
	case OP_OCALL:
		op->ret = encl_ocall(a[0], a[1]);
		break;
	case OP_MAKE_TCS:
		do_make_tcs(op);
		break;
	case OP_COPY_IN:
		copy_bytes((void *)a[0], (void *)a[1], a[2]);
		break;
	default:
		do_leaf_op(op);
		do_cpu_op(op);
	}
}

/* A copy of the frame's state below the stack that it was on, at the place that EDECCSSA leaves alone. */
IN_ENCLAVE static uint64_t copy_frame(const struct sgx_ssa_gpr *gpr, const void *xsave)
{
	uint64_t copy = (gpr->rsp - 128 - NOTE_BYTES) & ~63ull;

	copy_bytes((void *)copy, xsave, NOTE_GPR);
	copy_bytes((void *)(copy + NOTE_GPR), gpr, sizeof(*gpr));
	return copy;
}

IN_ENCLAVE static void note_exception(const struct sgx_ssa_gpr *gpr, uint64_t cssa)
{
	const struct sgx_exinfo *ex = (void *)((uintptr_t)gpr - sizeof(*ex));

	GS64(GS_EXC_COUNT) = GS64(GS_EXC_COUNT) + 1;
	GS64(GS_EXC_INFO) = gpr->exitinfo;
	GS64(GS_EXC_RIP) = gpr->rip;
	GS64(GS_EXC_MADDR) = ex->maddr;
	GS64(GS_EXC_ERRCD) = ex->errcd;
	GS64(GS_EXC_RAX) = gpr->rax;
	GS64(GS_EXC_CSSA) = cssa;
	GS64(GS_EXC_FSBASE) = gpr->fsbase;
	GS64(GS_EXC_GSBASE) = gpr->gsbase;
}

/* Entered with CSSA > 0: look at the frame below, note it, and move its RIP to the fix-up. */
/* What memory managers do at a #PF of the EPCM: the page is there now, or another thread was faster. */
IN_ENCLAVE static int commits(const struct sgx_ssa_gpr *gpr)
{
	struct sgx_secinfo info
		__attribute__((aligned(64))) = { .flags = SGX_SECINFO_R | SGX_SECINFO_W |
							  SGX_SECINFO_TYPE(SGX_PT_REG) |
							  SGX_SECINFO_PENDING };
	uint64_t status;

	if ((gpr->exitinfo & 0xff) != 14 || !(GS64(GS_EXC_ERRCD) & SGX_PFEC_SGX))
		return 0;
	status = enclu(SGX_EACCEPT, (uint64_t)&info, GS64(GS_EXC_MADDR) & ~4095ull, 0);
	return !status || status == SGX_PAGE_ATTRIBUTES_MISMATCH;
}

IN_ENCLAVE struct encl_way encl_exception(uint64_t tcs, uint64_t cssa)
{
	uint64_t frame = GS64(GS_FRAME_BYTES), mode = GS64(GS_EXC_MODE);
	struct sgx_ssa_gpr *gpr = (void *)(tcs + 4096 + cssa * frame - sizeof(struct sgx_ssa_gpr));

	if (mode == EXC_NOTIFY && !(gpr->exitinfo & SGX_EXITINFO_VALID)) {
		GS64(GS_NOTIFIED) = GS64(GS_NOTIFIED) + 1;
		GS64(GS_NOTIFY_CSSA) = cssa;
		return (struct encl_way){ ENCL_EXC_NOTIFIED,
					  copy_frame(gpr,
						     (void *)(tcs + 4096 + (cssa - 1) * frame)) };
	}
	note_exception(gpr, cssa);
	if (mode == EXC_EDECCSSA) {
		enclu(SGX_EDECCSSA, 0, 0, 0);
		return (struct encl_way){ ENCL_EXC_DROPPED, 0 };
	}
	if (mode == EXC_COMMIT && commits(gpr))
		return (struct encl_way){ ENCL_EXC_DONE, 0 };
	if (GS64(GS_FIXUP))
		gpr->rip = GS64(GS_FIXUP);
	return (struct encl_way){ ENCL_EXC_DONE, 0 };
}
