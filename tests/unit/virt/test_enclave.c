/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Two guests on one processor run the same enclave: one in EPC of its own, one whose EPC the host takes before each
 * instruction.  What the enclave and its host see must be equal, byte for byte: registers, faults, reports, keys, and the
 * state that an asynchronous exit saves.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "lib/sigstruct.h"
#include "lib/thread.h"
#include "vm.h"

enum { SECS = 0, FIRST = 1, TCS = 0, SSA = 1, OPERAND = 2, RESULT = 3, DATA = 4, PAGES = 8 };
enum { EPC_PAGES = 64, XSAVE_BYTES = 4096, NOTE_BYTES = 1 << 18 };

#define LA(idx) (VM_BASE + (uint64_t)(idx)*SGX_PAGE_SIZE)

/* A guest, a logical processor of it, and all that it saw. */
struct side {
	struct vm vm;
	struct cpu_lp *lp;
	struct cpu_regs regs;
	uint8_t *xsave;
	uint8_t note[NOTE_BYTES];
	size_t noted;
	unsigned long retries;
};

static struct side side[2];
static struct signer *signer;

static void note(struct side *s, const void *bytes, size_t nr)
{
	assert(s->noted + nr <= NOTE_BYTES);
	memcpy(s->note + s->noted, bytes, nr);
	s->noted += nr;
}

/* ---- building ------------------------------------------------------------------------------------------- */

static void contents(void *page, uint32_t idx)
{
	if (idx == TCS)
		thread_tcs(page, TCS);
	else
		page_pattern(page, idx, 7);
}

static bool add(struct side *s, struct measure *measure, uint32_t idx)
{
	struct sgx_secinfo secinfo = { .flags = idx == TCS ? FLAGS_TCS : FLAGS_RW };
	struct cpu_operands ops = { .leaf = SGX_EADD };
	void *src = aligned_alloc(4096, 4096);
	bool ok;

	contents(src, idx);
	ops.pi.linaddr = LA(idx);
	ops.pi.srcpge = src;
	ops.pi.secinfo = &secinfo;
	ok = cpu_ok(vm_encls(&s->vm, &ops, FIRST + idx, SECS, VM_NONE));
	if (measure)
		measure_add(measure, idx * SGX_PAGE_SIZE, secinfo.flags);
	free(src);
	return ok;
}

static bool init(struct side *s, const struct sgx_sigstruct *sig)
{
	static const struct sgx_einittoken none __attribute__((aligned(512)));
	struct cpu_operands ops = { .leaf = SGX_EINIT, .sigstruct = sig, .einittoken = &none };
	uint64_t hash[4];

	cpu_signer_hash(sig, hash);
	ops.lepubkeyhash = hash;
	return cpu_ok(vm_encls(&s->vm, &ops, SECS, VM_NONE, VM_NONE));
}

static bool build(struct side *s, struct sgx_sigstruct *sig, bool sign)
{
	struct sgx_attributes attributes = { SGX_ATTR_MODE64BIT, SGX_XFRM_LEGACY };
	struct measure *measure = sign ? measure_create(1, VM_SIZE) : NULL;
	bool ok = vm_ecreate(&s->vm, SECS);
	uint8_t mrenclave[32];

	for (uint32_t idx = 0; idx < PAGES; idx++)
		ok = ok && add(s, measure, idx);
	if (sign) {
		measure_final(measure, mrenclave);
		sigstruct_init(sig, mrenclave, attributes);
		sigstruct_sign(sig, signer);
	}
	s->lp = arena_alloc(s->vm.w.arena, sizeof(*s->lp));
	s->xsave = aligned_alloc(64, XSAVE_BYTES);
	memset(s->xsave, 0, XSAVE_BYTES);
	s->noted = 0;
	return ok && init(s, sig);
}

/* ---- running -------------------------------------------------------------------------------------------- */

static uint32_t walk(void *ctx, uint64_t la, unsigned int access, uint16_t *ret_pf_error)
{
	struct side *s = ctx;
	uint64_t idx = (la - VM_BASE) / SGX_PAGE_SIZE;

	*ret_pf_error = 0;
	return la >= VM_BASE && idx < PAGES ? vm_nr(&s->vm, FIRST + (uint32_t)idx) : CPU_NO_PAGE;
}

/* The host takes what it can; an instruction that meets a page that is away is run again, as after an EPT violation. */
static struct cpu_outcome run(struct side *s,
			      struct cpu_outcome (*leaf)(struct side *s, const struct cpu_mmu *mmu))
{
	const struct cpu_mmu mmu = { .walk = walk, .ctx = s };
	struct cpu_outcome out;

	if (s->vm.guest)
		vm_reclaim(&s->vm);
	for (;;) {
		struct cpu_regs before = s->regs;
		uint64_t idx;

		out = leaf(s, &mmu);
		idx = (out.pf_addr - VM_BASE) / SGX_PAGE_SIZE;
		if (out.fault != CPU_PF || (out.pf_error & SGX_PFEC_P) || idx >= PAGES)
			break;
		s->regs = before;
		s->retries++;
		if (vm_touch(&s->vm, FIRST + (uint32_t)idx) != 0)
			break;
	}
	out.context = out.fault == CPU_PF ? out.pf_addr : 0;
	note(s, &out.fault, sizeof(out.fault));
	note(s, &out.pf_error, sizeof(out.pf_error));
	note(s, &out.context, sizeof(out.context));
	note(s, &s->regs, sizeof(s->regs));
	return out;
}

static struct cpu_outcome enclu(struct side *s, const struct cpu_mmu *mmu)
{
	return cpu_enclu(s->vm.w.cpu, s->lp, mmu, &s->regs, s->xsave, XSAVE_BYTES);
}

static struct cpu_outcome aex(struct side *s, const struct cpu_mmu *mmu)
{
	struct cpu_event event = { .vector = CPU_NO_FAULT };

	return cpu_aex(s->vm.w.cpu, s->lp, mmu, &s->regs, s->xsave, XSAVE_BYTES, &event);
}

static bool execute(struct side *s, enum sgx_enclu leaf, uint64_t rbx, uint64_t rcx, uint64_t rdx)
{
	s->regs.rax = leaf;
	s->regs.rbx = rbx;
	s->regs.rcx = rcx;
	s->regs.rdx = rdx;
	return run(s, enclu).fault == CPU_NO_FAULT;
}

static void *bytes_at(struct side *s, uint32_t idx)
{
	vm_touch(&s->vm, FIRST + idx);
	return cpu_bytes(s->vm.w.cpu, vm_nr(&s->vm, FIRST + idx));
}

static void note_page(struct side *s, uint32_t idx, size_t nr) { note(s, bytes_at(s, idx), nr); }

static bool enter(struct side *s)
{
	memset(&s->regs, 0, sizeof(s->regs));
	s->regs.rip = 0x400100;
	s->regs.rflags = 2;
	return execute(s, SGX_EENTER, LA(TCS), 0x401000, 0);
}

static bool report(struct side *s)
{
	/* TARGETINFO of nobody, REPORTDATA 512 bytes on; the page may go before the leaf is run. */
	memset(bytes_at(s, OPERAND), 0x31, 1024);
	memset(bytes_at(s, OPERAND), 0, sizeof(struct sgx_targetinfo));
	if (!execute(s, SGX_EREPORT, LA(OPERAND), LA(OPERAND) + 512, LA(RESULT)))
		return false;
	note_page(s, RESULT, sizeof(struct sgx_report));
	return true;
}

static bool key(struct side *s, uint16_t name)
{
	struct sgx_keyrequest *request = bytes_at(s, OPERAND);

	memset(request, 0, sizeof(*request));
	request->keyname = name;
	request->keypolicy = SGX_KEYPOLICY_MRENCLAVE;
	memset(request->keyid, 9, sizeof(request->keyid));
	if (!execute(s, SGX_EGETKEY, LA(OPERAND), LA(RESULT), 0))
		return false;
	note_page(s, RESULT, 16);
	return true;
}

/* True: all was as it should be; what it was is in the notes. */
static bool program(struct side *s)
{
	bool ok = enter(s) && report(s);

	for (uint16_t name = SGX_KEY_EINITTOKEN; name <= SGX_KEY_SEAL; name++)
		ok = ok && key(s, name);
	s->regs.r8 = 0x1234567890ull;
	ok = ok && run(s, aex).fault == CPU_NO_FAULT;
	note_page(s, SSA, SGX_PAGE_SIZE);
	s->regs.rax = SGX_ERESUME;
	s->regs.rbx = LA(TCS);
	s->regs.rcx = 0x401000;
	ok = ok && run(s, enclu).fault == CPU_NO_FAULT && s->regs.r8 == 0x1234567890ull;
	/* What does not work must not work in the same way. */
	ok = ok && !execute(s, SGX_EGETKEY, LA(OPERAND) + 1, LA(RESULT), 0);
	ok = ok && !execute(s, SGX_EREPORT, LA(TCS), LA(OPERAND) + 512, LA(RESULT));
	ok = ok && !execute(s, SGX_EENTER, LA(TCS), 0x401000, 0);
	ok = ok && execute(s, SGX_EEXIT, 0x400200, 0, 0);
	for (uint32_t idx = DATA; idx < PAGES; idx++)
		note_page(s, idx, SGX_PAGE_SIZE);
	return ok;
}

static void end(struct side *s)
{
	arena_free(s->vm.w.arena, s->lp, sizeof(*s->lp));
	free(s->xsave);
}

int main(void)
{
	static struct sgx_sigstruct sig __attribute__((aligned(4096)));
	struct virt_info info;

	signer = signer_create();
	vm_init_plain(&side[0].vm, EPC_PAGES);
	vm_join(&side[1].vm, &side[0].vm.w, side[0].vm.registry);
	TAP_MUST(build(&side[0], &sig, true) && build(&side[1], &sig, false),
		 "one enclave in two guests");
	for (int i = 0; i < 3; i++)
		TAP_CHECK(program(&side[0]) && program(&side[1]), "it is run, %d", i);
	virt_info_read(side[1].vm.guest, &info);
	TAP_CHECK(side[0].retries == 0 && side[1].retries > 50 && info.evictions > 50,
		  "%llu pages were taken from one of them, %lu instructions met one that was away",
		  (unsigned long long)info.evictions, side[1].retries);
	TAP_CHECK(side[0].noted == side[1].noted && side[0].noted > 20000 &&
			  !memcmp(side[0].note, side[1].note, side[0].noted),
		  "the same %zu bytes were seen: registers, faults, reports, keys, pages",
		  side[0].noted);
	end(&side[0]);
	end(&side[1]);
	vm_leave(&side[1].vm);
	vm_fini(&side[0].vm, "two guests");
	signer_destroy(signer);
	return tap_done();
}
