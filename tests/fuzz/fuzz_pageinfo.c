/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * PAGEINFO, with SECINFO or PCMD behind it and a page: EADD, EAUG, EMODPR, EMODT, EWB, ELDU of
 * whatever they hold.  What is refused changes no entry; what is taken is what the manual allows.
 */
#include "arch/sgx.h"
#include "cpu/secs.h"
#include "fuzz/fuzz.h"
#include "leaf/machine.h"

#define OPEN_SECS P_SPARE       /* an enclave that is being built */
#define TARGET    (P_SPARE + 1) /* where pages come in */
#define OUT       P_DATA2       /* what goes out and comes back */

static struct machine *m;
static struct sgx_pcmd good_pcmd;
static uint8_t good_cipher[SGX_PAGE_SIZE];

static void start(void)
{
	m = machine_new(NULL);
	machine_build(m);
	must(cpu_ok(machine_ecreate(m, OPEN_SECS)), "ECREATE");
}

static uint32_t children(uint32_t secs) { return ((struct secs_page *)m->epc[secs])->own.child_nr; }

static void check_child(uint32_t page)
{
	struct cpu_epcm e = cpu_epcm_read(m->cpu, page);

	must(e.valid && (e.type == SGX_PT_REG || e.type == SGX_PT_TCS || e.type == SGX_PT_TRIM),
	     "a child");
	must(e.secs == P_SECS || e.secs == OPEN_SECS, "of an enclave");
	must(e.la >= ENCL_BASE && e.la < ENCL_BASE + ENCL_SIZE && !(e.la & 4095), "inside of it");
	must(e.type == SGX_PT_REG || !e.rwx, "permissions of a TCS");
	must(!(e.type == SGX_PT_REG && (e.rwx & 3) == 2), "W without R");
}

static struct cpu_outcome come_in(uint8_t leaf, const struct cpu_pageinfo *given)
{
	struct cpu_pageinfo pi = *given;
	uint32_t before = children(P_SECS) + children(OPEN_SECS);
	struct cpu_outcome out;

	if (leaf == 1) {
		pi.srcpge = NULL;
		pi.secinfo = NULL;
		out = encls_eaug(m->cpu, &pi, TARGET);
	} else {
		out = encls_eadd(m->cpu, &pi, TARGET);
	}
	must(out.fault == CPU_NO_FAULT || out.fault == CPU_GP || out.fault == CPU_PF, "vector");
	must(children(P_SECS) + children(OPEN_SECS) == before + cpu_ok(out), "children");
	must(cpu_epcm_read(m->cpu, TARGET).valid == cpu_ok(out), "VALID");
	if (cpu_ok(out)) {
		check_child(TARGET);
		must(cpu_ok(encls_eremove(m->cpu, TARGET)), "EREMOVE");
	}
	return out;
}

/* Out by the book, back by what the bytes made of it; and home again by the book. */
static void there_and_back(const uint8_t *bytes, size_t nr, struct cpu_pageinfo *pi)
{
	bool same;

	must(cpu_ok(machine_block_track(m, OUT)) && cpu_ok(machine_ewb(m, OUT, 0)), "EWB");
	good_pcmd = m->pcmd;
	memcpy(good_cipher, m->cipher, sizeof(good_cipher));
	pi->pcmd = &m->pcmd;
	pi->srcpge = m->cipher;
	for (size_t i = 0; i < nr; i++)
		((uint8_t *)&m->pcmd)[i % sizeof(m->pcmd)] ^= bytes[i];
	good_pcmd.enclaveid = m->pcmd.enclaveid; /* for software, nobody checks it */
	same = memcmp(&good_pcmd, &m->pcmd, sizeof(good_pcmd)) == 0 && pi->linaddr == LA(OUT) &&
	       pi->secs == P_SECS;
	must(cpu_ok(encls_eldu(m->cpu, pi, OUT, P_VA, 0)) == same, "only what went out comes back");
	if (!same) {
		m->pcmd = good_pcmd;
		must(cpu_ok(machine_eldu(m, OUT, LA(OUT), 0)), "ELDU by the book");
	}
}

static void modify(bool type, const struct sgx_secinfo *secinfo)
{
	static const uint8_t zero[SGX_PAGE_SIZE];
	struct cpu_pageinfo pi = { .linaddr = LA(P_FREE), .srcpge = zero, .secs = P_SECS };
	struct cpu_epcm before;
	struct cpu_outcome out;

	pi.srcpge = NULL;
	must(cpu_ok(encls_eaug(m->cpu, &pi, TARGET)), "EAUG");
	before = cpu_epcm_read(m->cpu, P_DATA);
	out = type ? encls_emodt(m->cpu, secinfo, TARGET) : encls_emodpr(m->cpu, secinfo, TARGET);
	must(!cpu_ok(out), "a pending page is not modifiable");
	must(cpu_ok(encls_eremove(m->cpu, TARGET)), "EREMOVE");
	out = encls_emodpr(m->cpu, secinfo, P_DATA);
	must((cpu_epcm_read(m->cpu, P_DATA).rwx & ~before.rwx) == 0, "EMODPR only restricts");
	must(cpu_ok(out) || cpu_epcm_read(m->cpu, P_DATA).rwx == before.rwx, "or does nothing");
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nr)
{
	struct cpu_pageinfo pi = { .linaddr = LA(P_FREE), .srcpge = NULL, .secs = OPEN_SECS };
	uint8_t leaf = 0;

	if (!m)
		start();
	overlay(&leaf, 1, &bytes, &nr);
	leaf %= 5;
	if (leaf == 1)
		pi.secs = P_SECS;
	if (leaf == 2) {
		pi.secs = P_SECS;
		pi.linaddr = LA(OUT);
	}
	overlay(&pi.linaddr, 2, &bytes, &nr);
	if (nr && bytes[0] & 1)
		overlay(&pi.secs, 1, &bytes, &nr);
	if (leaf == 2) {
		there_and_back(bytes, nr, &pi);
		return 0;
	}
	memset(m->page, 0, sizeof(m->page));
	machine_tcs(m, 0);
	m->secinfo = (struct sgx_secinfo){ .flags = SGX_SECINFO_TYPE(SGX_PT_TCS) };
	overlay(&m->secinfo, sizeof(m->secinfo), &bytes, &nr);
	overlay(m->page, 128, &bytes, &nr);
	pi.srcpge = m->page;
	pi.secinfo = &m->secinfo;
	if (leaf >= 3)
		modify(leaf == 4, &m->secinfo);
	else
		come_in(leaf, &pi);
	return 0;
}
