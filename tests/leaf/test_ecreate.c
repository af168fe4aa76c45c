/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* ECREATE: every way it may end, in the order of the SDM's pseudo-code. */
#include "leaf/table.h"

static struct cpu_pageinfo pi;
static uint32_t page;

static void setup(struct machine *m)
{
	machine_secs(m);
	memset(&m->secinfo, 0, sizeof(m->secinfo));
	pi = (struct cpu_pageinfo){ .srcpge = &m->secs,
				    .secinfo = &m->secinfo,
				    .secs = CPU_NO_PAGE };
	page = P_SECS;
}

static struct cpu_outcome run(struct machine *m) { return encls_ecreate(m->cpu, &pi, page); }

static void not_epc(struct machine *m) { page = EPC_NR; }
static void src_misaligned(struct machine *m) { pi.srcpge = (uint8_t *)&m->secs + 64; }
static void info_misaligned(struct machine *m) { pi.secinfo = (void *)(m->page + 32); }
static void linaddr(struct machine *m) { pi.linaddr = SGX_PAGE_SIZE; }
static void secs(struct machine *m) { pi.secs = P_SPARE; }
static void info_flag(struct machine *m) { m->secinfo.flags |= 1u << 6; }
static void info_bytes(struct machine *m) { m->secinfo.reserved[6] = 1; }
static void info_type(struct machine *m) { m->secinfo.flags = SGX_SECINFO_TYPE(SGX_PT_REG); }
static void held(struct machine *m) { epcm_try_shared(entry(m, page)); }
static void held_excl(struct machine *m) { epcm_try_exclusive(entry(m, page)); }
static void valid(struct machine *m) { encls_epa(m->cpu, page); }
static void no_sse(struct machine *m) { m->secs.attributes.xfrm = 1; }
static void no_x87(struct machine *m) { m->secs.attributes.xfrm = 6; }
static void xfrm_beyond(struct machine *m) { m->secs.attributes.xfrm |= 1u << 9; }
static void xfrm_half_512(struct machine *m) { m->secs.attributes.xfrm |= 1u << 5; }
static void misc_beyond(struct machine *m) { m->secs.miscselect = SGX_MISC_CPINFO; }
static void no_ssa(struct machine *m) { m->secs.ssa_frame_size = 0; }
static void ssa_small(struct machine *m) { m->secs.attributes.xfrm |= 7u << 5; }
static void base_not_canonical(struct machine *m) { m->secs.baseaddr = 1ull << 50; }
static void base_32(struct machine *m)
{
	m->secs.attributes.flags &= ~SGX_ATTR_MODE64BIT;
	m->secs.baseaddr = 1ull << 32;
}
static void size_32(struct machine *m)
{
	m->secs.attributes.flags &= ~SGX_ATTR_MODE64BIT;
	m->secs.baseaddr = 0;
	m->secs.size = 1ull << 32;
}
static void size_64(struct machine *m)
{
	m->secs.size = 1ull << 37;
	m->secs.baseaddr = 0;
}
static void size_small(struct machine *m) { m->secs.size = 4096; }
static void size_zero(struct machine *m) { m->secs.size = 0; }
static void size_odd(struct machine *m) { m->secs.size = 3 * 4096; }
static void base_unaligned(struct machine *m) { m->secs.baseaddr += m->secs.size / 2; }
static void attr_beyond(struct machine *m) { m->secs.attributes.flags |= 1u << 3; }
static void attr_init(struct machine *m) { m->secs.attributes.flags |= SGX_ATTR_INIT; }
static void attr_cet(struct machine *m) { m->secs.attributes.flags |= SGX_ATTR_CET; }
static void cet(struct machine *m) { m->secs.cet_attributes = 1; }
static void cet_offset(struct machine *m) { m->secs.cet_leg_bitmap_offset[7] = 1; }
static void reserved1(struct machine *m) { m->secs.reserved1[14] = 1; }
static void reserved2(struct machine *m) { m->secs.reserved2[0] = 1; }
static void reserved3(struct machine *m) { m->secs.reserved3[31] = 1; }
static void reserved4(struct machine *m) { m->secs.reserved4[3833] = 1; }
static void configid(struct machine *m) { m->secs.configid[7] = 1; }
static void configsvn(struct machine *m) { m->secs.configsvn = 1; }
static void kss(struct machine *m)
{
	m->secs.configid[7] = 1;
	m->secs.configsvn = 1;
	m->secs.attributes.flags |= SGX_ATTR_KSS;
}
static void mode_32(struct machine *m)
{
	m->secs.attributes.flags = 0;
	m->secs.baseaddr = 0x10000000;
}
static void exinfo(struct machine *m) { m->secs.miscselect = SGX_MISC_EXINFO; }
static void size_largest(struct machine *m)
{
	m->secs.size = 1ull << 36;
	m->secs.baseaddr = 0;
}

static const struct row rows[] = {
	{ "a legal SECS", NULL, OK },
	{ "with KSS, CONFIGID and CONFIGSVN", kss, OK },
	{ "a 32-bit enclave", mode_32, OK },
	{ "with EXINFO", exinfo, OK },
	{ "of the largest size", size_largest, OK },
	{ "RCX is no EPC page", not_epc, PF },
	{ "SRCPGE not aligned", src_misaligned, GP },
	{ "SECINFO not aligned", info_misaligned, GP },
	{ "LINADDR is not 0", linaddr, GP },
	{ "PAGEINFO.SECS is not 0", secs, GP },
	{ "SECINFO reserved flag", info_flag, GP },
	{ "SECINFO reserved bytes", info_bytes, GP },
	{ "SECINFO of another page type", info_type, GP },
	{ "page held shared by another", held, GP },
	{ "page held exclusive by another", held_excl, GP },
	{ "page is valid", valid, PF },
	{ "XFRM without SSE", no_sse, GP },
	{ "XFRM without x87", no_x87, GP },
	{ "XFRM beyond the processor's", xfrm_beyond, GP },
	{ "XFRM with a part of AVX-512", xfrm_half_512, GP },
	{ "MISCSELECT beyond the processor's", misc_beyond, GP },
	{ "no SSA frame", no_ssa, GP },
	{ "SSA frame too small for XFRM", ssa_small, GP },
	{ "BASEADDR not canonical", base_not_canonical, GP },
	{ "32-bit: BASEADDR over 4 GiB", base_32, GP },
	{ "32-bit: SIZE too large", size_32, GP },
	{ "64-bit: SIZE too large", size_64, GP },
	{ "SIZE of one page", size_small, GP },
	{ "SIZE 0", size_zero, GP },
	{ "SIZE no power of two", size_odd, GP },
	{ "BASEADDR not aligned to SIZE", base_unaligned, GP },
	{ "ATTRIBUTES beyond the processor's", attr_beyond, GP },
	{ "ATTRIBUTES.INIT", attr_init, GP },
	{ "ATTRIBUTES.CET", attr_cet, GP },
	{ "CET_ATTRIBUTES", cet, GP },
	{ "CET_LEG_BITMAP_OFFSET", cet_offset, GP },
	{ "reserved bytes 1", reserved1, GP },
	{ "reserved bytes 2", reserved2, GP },
	{ "reserved bytes 3", reserved3, GP },
	{ "reserved bytes 4", reserved4, GP },
	{ "CONFIGID without KSS", configid, GP },
	{ "CONFIGSVN without KSS", configsvn, GP },
};

/* AVX-512 of 2,600 bytes more than a page holds. */
static void config(struct cpu_config *c)
{
	c->xfrm_mask |= 7u << 5;
	c->xsave_offset[7] = 3400;
	c->xsave_size[7] = 1024;
}

static void test_effect(void)
{
	struct machine *m = machine_new(NULL);
	struct cpu_epcm e;

	setup(m);
	memset(m->secs.mrenclave, 0xee, 32);
	memset(m->secs.mrsigner, 0xee, 32);
	m->secs.isvsvn = 9;
	run(m);
	e = cpu_epcm_read(m->cpu, page);
	TAP_CHECK(e.valid && e.type == SGX_PT_SECS && e.rwx == 0 && e.la == 0 &&
			  e.secs == CPU_NO_PAGE && !e.blocked && !e.pending && !e.modified && !e.pr,
		  "ECREATE: the EPCM entry");
	TAP_CHECK(secs_of(m)->arch.isvsvn == 0 && secs_of(m)->arch.mrsigner[0] == 0,
		  "ECREATE: identity is not taken from software");
	TAP_CHECK(!secs_is_initialized(secs_of(m)), "ECREATE: the enclave is not initialised");
	TAP_CHECK(secs_of(m)->own.enclavecontext == (uint64_t)page << 12,
		  "ECREATE: ENCLAVECONTEXT is the page's address");
	page = P_SPARE;
	run(m);
	TAP_CHECK(((struct secs_page *)m->epc[P_SPARE])->own.eid != secs_of(m)->own.eid,
		  "ECREATE: every enclave has an EID of its own");
	machine_free(m);
}

int main(void)
{
	const struct leaf_test t = { "ECREATE", config, setup, run, 0, false };

	RUN_ROWS(t, rows);
	test_effect();
	return tap_done();
}
