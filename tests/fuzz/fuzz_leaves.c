/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Bytes as a program of leaves over a small EPC: every operand, and every structure that software
 * passes, may be anything.  After each leaf what must always hold is checked; a breach aborts.
 *
 * With libFuzzer (-DSWSGX_LIBFUZZER) it is a target like the others, see fuzz.h.  Without it
 * this is a test: programs by a seeded generator, and then those of the corpus, fuzz_leaves [FILE...].
 */
#include <stdlib.h>

#include "cpu/vmx.h"
#include "leaf/table.h"

#define PROGRAM_NR  200
#define PROGRAM_MAX 4096

struct input {
	const uint8_t *at, *end;
};

static uint32_t take(struct input *in, unsigned int bytes)
{
	uint32_t value = 0;

	while (bytes-- > 0)
		value = value << 8 | (in->at < in->end ? *in->at++ : 0);
	return value;
}

/* Mostly pages that exist. */
static uint32_t take_page(struct input *in)
{
	uint32_t page = take(in, 1);

	return page < 0xf0 ? page % EPC_NR : page == 0xff ? CPU_NO_PAGE : EPC_NR + page;
}

/* Mostly addresses of the enclave, aligned as the leaf wants them. */
static uint64_t take_la(struct input *in, uint64_t align)
{
	uint32_t how = take(in, 1);
	uint64_t la = ENCL_BASE + (uint64_t)take(in, 3) % (ENCL_SIZE + SGX_PAGE_SIZE);

	if (how < 0xe0)
		la &= ~(align - 1);
	return how > 0xf8 ? la ^ 1ull << (how - 0xf8) * 8 : la;
}

/* Flip some bytes of a structure that was right. */
static void spoil(struct input *in, void *what, size_t bytes)
{
	uint32_t nr = take(in, 1);

	for (nr = nr < 0xc0 ? 0 : nr & 3; nr > 0; nr--)
		((uint8_t *)what)[take(in, 2) % bytes] ^= (uint8_t)take(in, 1);
}

static void fill_secinfo(struct machine *m, struct input *in)
{
	memset(&m->secinfo, 0, sizeof(m->secinfo));
	m->secinfo.flags = take(in, 1) & 0x3f;
	m->secinfo.flags |= SGX_SECINFO_TYPE(take(in, 1) % 6);
	spoil(in, &m->secinfo, sizeof(m->secinfo));
}

static void fill_page(struct machine *m, struct input *in)
{
	memset(m->page, 0, sizeof(m->page));
	machine_tcs(m, take(in, 1) & 1);
	spoil(in, m->page, sizeof(struct sgx_tcs));
}

static void do_new_page(struct machine *m, struct input *in, uint32_t leaf, uint32_t page)
{
	struct cpu_pageinfo pi = { .secs = CPU_NO_PAGE };

	fill_secinfo(m, in);
	if (leaf == SGX_ECREATE) {
		machine_secs(m);
		spoil(in, &m->secs, sizeof(m->secs));
		m->secinfo.flags &= ~(uint64_t)SGX_SECINFO_TYPE_MASK;
		pi.srcpge = &m->secs;
		pi.secinfo = &m->secinfo;
		encls_ecreate(m->cpu, &pi, page);
		return;
	}
	fill_page(m, in);
	pi.secs = take_page(in);
	pi.linaddr = take_la(in, SGX_PAGE_SIZE);
	if (leaf == SGX_EAUG) {
		encls_eaug(m->cpu, &pi, page);
		return;
	}
	pi.srcpge = m->page;
	pi.secinfo = &m->secinfo;
	encls_eadd(m->cpu, &pi, page);
}

static void do_encls(struct machine *m, struct input *in, uint32_t leaf)
{
	struct cpu_pageinfo pi = { .secs = CPU_NO_PAGE };
	uint32_t page = take_page(in), va = P_VA + take(in, 1) % 3, slot = take(in, 1);
	uint64_t value;

	switch (leaf) {
	case SGX_ECREATE:
	case SGX_EADD:
	case SGX_EAUG:
		do_new_page(m, in, leaf, page);
		break;
	case SGX_EEXTEND:
		encls_eextend(m->cpu, take_page(in), page, slot << 8);
		break;
	case SGX_EREMOVE:
		encls_eremove(m->cpu, page);
		break;
	case SGX_EDBGRD:
		encls_edbgrd(m->cpu, page, take(in, 2), &value);
		break;
	case SGX_EDBGWR:
		encls_edbgwr(m->cpu, page, take(in, 2), take(in, 4));
		break;
	case SGX_EBLOCK:
		encls_eblock(m->cpu, page);
		break;
	case SGX_EPA:
		encls_epa(m->cpu, page);
		break;
	case SGX_ETRACK:
		encls_etrack(m->cpu, page % 4 ? P_SECS : page);
		break;
	case SGX_EWB:
		pi.pcmd = &m->pcmd;
		if (cpu_ok(encls_eblock(m->cpu, page)))
			encls_etrack(m->cpu, P_SECS);
		encls_ewb(m->cpu, &pi, page, va, slot, m->cipher, &value);
		break;
	case SGX_ELDU:
	case SGX_ELDB:
		spoil(in, &m->pcmd, sizeof(m->pcmd));
		spoil(in, m->cipher, sizeof(m->cipher));
		pi = (struct cpu_pageinfo){ .srcpge = m->cipher, .pcmd = &m->pcmd };
		pi.secs = take(in, 1) < 0x40 ? CPU_NO_PAGE : P_SECS;
		pi.linaddr = take_la(in, SGX_PAGE_SIZE);
		(leaf == SGX_ELDU ? encls_eldu : encls_eldb)(m->cpu, &pi, page, va, slot);
		break;
	case SGX_EMODPR:
		fill_secinfo(m, in);
		encls_emodpr(m->cpu, &m->secinfo, page);
		break;
	case SGX_EMODT:
		fill_secinfo(m, in);
		encls_emodt(m->cpu, &m->secinfo, page);
		break;
	default:
		cpu_track_flush(m->cpu, P_SECS);
		break;
	}
}

/* What came after SGX2, in and out of VMX operation. */
static void do_virt(struct machine *m, struct input *in)
{
	static const uint32_t encls[] = { SGX_ERDINFO, SGX_ETRACKC, SGX_ELDBC,      SGX_ELDUC,
					  SGX_EREMOVE, SGX_EWB,     SGX_EUPDATESVN, 0x14 };
	struct sgx_rdinfo rdinfo __attribute__((aligned(32)));
	uint32_t what = take(in, 1), mode = take(in, 1), bitmap = take(in, 4);
	const struct cpu_vmx vmx = { .mode = mode % 3,
				     .controls = (mode & 0x70) << 25 | (mode & 0x80) << 8,
				     .encls_bitmap = bitmap,
				     .enclv_bitmap = bitmap >> 24 };
	uint64_t context = bitmap;
	struct cpu_operands ops = {
		.page = take_page(in),
		.secs = take_page(in),
		.va = P_VA + take(in, 1) % 3,
		.slot = take(in, 1),
		.pi = { .srcpge = m->cipher, .pcmd = &m->pcmd, .secs = P_SECS },
		.rdinfo = &rdinfo,
		.out = m->cipher,
		.enclavecontext = &context,
		.physical = 0x1000,
	};
	struct cpu_exit vm_exit;

	if (what & 8) {
		ops.leaf = what % 5;
		cpu_enclv(m->cpu, &vmx, &ops, &vm_exit);
		return;
	}
	ops.leaf = encls[what & 7];
	if (ops.leaf == SGX_EWB)
		ops.pi.secs = CPU_NO_PAGE;
	else
		ops.pi.linaddr = take_la(in, SGX_PAGE_SIZE);
	cpu_encls(m->cpu, &vmx, &ops, &vm_exit);
}

/* EINIT is slow, so it is on its own: SIGSTRUCT and token are wild, the SECS is fresh. */
static void do_einit(struct machine *m, struct input *in)
{
	uint64_t hash[4];

	spoil(in, &m->sig, sizeof(m->sig));
	spoil(in, &m->token, sizeof(m->token));
	machine_signer(&m->sig, hash);
	encls_einit(m->cpu, &m->sig, take_page(in), &m->token, take(in, 1) & 1 ? hash : NULL);
}

static void do_enclu(struct machine *m, struct input *in, uint32_t leaf)
{
	static const uint64_t align[] = { 512, 512, 4096, 4096, 1, 64, 64, 64, 1, 1 };

	if (!m->lp.in_enclave) {
		machine_host_regs(m, take(in, 1) & 1);
		m->regs.rax = leaf & 1 ? SGX_EENTER : SGX_ERESUME;
		spoil(in, &m->regs.rbx, 16);
	} else if (leaf == 12) {
		machine_aex(m, (uint8_t)(take(in, 1) % 20), take(in, 1), take(in, 4));
		return;
	} else {
		uint64_t a = align[leaf % 10];

		m->regs.rax = leaf % 10;
		m->regs.rbx = take_la(in, a);
		m->regs.rcx = take_la(in, a == 512 ? 128 : SGX_PAGE_SIZE);
		m->regs.rdx = take_la(in, a == 512 ? 512 : SGX_PAGE_SIZE);
	}
	cpu_enclu(m->cpu, &m->lp, &m->mmu, &m->regs, m->xsave, XSAVE_SIZE);
}

/* The enclave's own code writes its memory, and the host its page tables. */
static void do_software(struct machine *m, struct input *in)
{
	static const uint32_t pages[] = { P_DATA, P_DATA2, P_SSA0, P_SSA1 };
	uint32_t page = pages[take(in, 1) % 4];
	struct cpu_epcm e = cpu_epcm_read(m->cpu, page);

	if (take(in, 1) & 1) {
		machine_map(m, LA(P_TCS0 + take(in, 1) % 16), take(in, 1) % EPC_NR,
			    take(in, 1) & SGX_SECINFO_RWX);
	} else if (e.valid && e.type == SGX_PT_REG && !e.pending) {
		spoil(in, m->epc[page], SGX_PAGE_SIZE);
		((struct sgx_secinfo *)m->epc[page])->flags = take(in, 2) & 0x73f;
	}
}

/* ---- what must always hold */

static void must(bool holds, const char *what)
{
	if (holds)
		return;
	printf("# broken: %s\n", what);
	abort();
}

static void check_page(struct machine *m, uint32_t page, unsigned int children[EPC_NR])
{
	struct cpu_epcm e = cpu_epcm_read(m->cpu, page);
	bool busy = m->lp.in_enclave && m->lp.tcs == page;

	must(atomic_load(&entry(m, page)->lock) == (busy ? EPCM_LOCK_PIN : 0),
	     "no hold outlives its leaf");
	if (!e.valid)
		return;
	must(e.type <= SGX_PT_TRIM, "page type");
	if (e.type == SGX_PT_SECS || e.type == SGX_PT_VA) {
		must(e.secs == CPU_NO_PAGE && !e.la && !e.rwx && !e.blocked && !e.pending &&
			     !e.modified && !e.pr,
		     "a page without a parent has nothing else");
		return;
	}
	must(e.secs < EPC_NR, "a child has a SECS");
	must(cpu_epcm_read(m->cpu, e.secs).valid &&
		     cpu_epcm_read(m->cpu, e.secs).type == SGX_PT_SECS,
	     "which is one");
	must(secs_in_range(&((struct secs_page *)m->epc[e.secs])->arch, e.la),
	     "its address is the enclave's");
	must(e.type == SGX_PT_REG || !e.rwx, "TCS and TRIM have no permissions");
	must(!(e.pending && e.modified), "not PENDING and MODIFIED");
	children[e.secs]++;
}

static void check(struct machine *m)
{
	unsigned int children[EPC_NR] = { 0 };

	for (uint32_t i = 0; i < EPC_NR; i++)
		check_page(m, i, children);
	for (uint32_t i = 0; i < EPC_NR; i++) {
		struct cpu_epcm e = cpu_epcm_read(m->cpu, i);
		bool inside = m->lp.in_enclave && m->lp.secs == i;

		if (!e.valid || e.type != SGX_PT_SECS)
			continue;
		must(((struct secs_page *)m->epc[i])->own.child_nr == children[i], "child count");
		must(cpu_active_nr(m->cpu, i) == inside, "who is inside");
	}
}

static unsigned long steps;

/* Building is slow, and always the same: what it made is kept, and put back for each program. */
static struct image {
	struct machine machine;
	struct cpu cpu;
	struct epcm_entry epcm[EPC_NR];
	uint8_t epc[EPC_NR][SGX_PAGE_SIZE];
} images[2];

static void begin(struct machine *m, bool fresh)
{
	if (fresh) {
		machine_secs(m);
		machine_ecreate(m, P_SECS);
		machine_sigstruct(m);
	} else {
		machine_build(m);
		encls_epa(m->cpu, P_VA2);
	}
}

static struct machine *machine_of(bool fresh)
{
	static struct machine *machines[2];
	struct machine *m = machines[fresh];
	struct image *image = &images[fresh];
	struct cpu_config config;

	if (m) {
		memcpy(m, &image->machine, sizeof(*m));
		memcpy(m->cpu, &image->cpu, sizeof(image->cpu));
		memcpy(m->cpu->epcm, image->epcm, sizeof(image->epcm));
		memcpy(m->epc, image->epc, sizeof(image->epc));
		return m;
	}
	machine_config(&config);
	config.caps |= SGX_CPUID_ENCLS_C | SGX_CPUID_ENCLV | SGX_CPUID_UPDATESVN;
	m = machines[fresh] = machine_new(&config);
	begin(m, fresh);
	memcpy(&image->machine, m, sizeof(*m));
	memcpy(&image->cpu, m->cpu, sizeof(image->cpu));
	memcpy(image->epcm, m->cpu->epcm, sizeof(image->epcm));
	memcpy(image->epc, m->epc, sizeof(image->epc));
	return m;
}

static void run_program(const uint8_t *bytes, size_t nr)
{
	struct input in = { bytes, bytes + nr };
	bool fresh = take(&in, 1) < 0x10;
	struct machine *m = machine_of(fresh);

	if (fresh)
		do_einit(m, &in);
	while (in.at < in.end) {
		uint32_t op = take(&in, 1);

		if (op < 0x70)
			do_encls(m, &in, op & 0x0f);
		else if (op < 0x80)
			do_virt(m, &in);
		else if (op < 0xe0)
			do_enclu(m, &in, op & 0x0f);
		else
			do_software(m, &in);
		check(m);
		steps++;
		if (!cpu_epcm_read(m->cpu, P_SECS).valid ||
		    cpu_epcm_read(m->cpu, P_SECS).type != SGX_PT_SECS)
			break; /* the enclave is gone */
	}
}

#ifdef SWSGX_LIBFUZZER

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nr);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nr)
{
	run_program(bytes, nr);
	return 0;
}

#else

static void run_file(const char *path)
{
	static uint8_t bytes[PROGRAM_MAX];
	FILE *file = fopen(path, "rb");
	size_t nr;

	TAP_MUST(file, "%s opens", path);
	nr = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	run_program(bytes, nr);
	TAP_CHECK(nr > 0, "%s", path);
}

int main(int argc, char **argv)
{
	static uint8_t bytes[PROGRAM_MAX];

	srandom(1);
	for (unsigned int n = 0; n < PROGRAM_NR; n++) {
		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)random();
		run_program(bytes, sizeof(bytes));
	}
	printf("# %lu steps\n", steps);
	TAP_CHECK(true, "%u programs of random leaves broke nothing", PROGRAM_NR);
	for (int i = 1; i < argc; i++)
		run_file(argv[i]);
	return tap_done();
}

#endif
