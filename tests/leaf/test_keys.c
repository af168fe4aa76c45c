/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* EGETKEY, EREPORT: every way they may end; and what each key depends on. */
#include "leaf/table.h"

#include "cpu/platform.h"

#define REQ_LA    LA(P_DATA)
#define KEY_LA    (LA(P_DATA2) + 16)
#define TARGET_LA LA(P_DATA)
#define RDATA_LA  (LA(P_DATA) + 640)
#define REPORT_LA LA(P_DATA2)

static struct sgx_keyrequest *req(struct machine *m)
{
	return (struct sgx_keyrequest *)m->epc[P_DATA];
}
static uint8_t *key(struct machine *m) { return m->epc[P_DATA2] + 16; }

static struct cpu_outcome run(struct machine *m)
{
	return cpu_enclu(m->cpu, &m->lp, &m->mmu, &m->regs, m->xsave, XSAVE_SIZE);
}

/* ---- EGETKEY: outcomes */

static void build(struct machine *m, uint64_t flags)
{
	if (!m->secs.size)
		machine_secs(m);
	m->secs.attributes.flags |= flags;
	if (flags & SGX_ATTR_KSS)
		m->secs.configsvn = 7;
	machine_build(m);
	machine_enter(m, 0);
	memset(m->epc[P_DATA], 0, SGX_PAGE_SIZE);
	m->regs.rax = SGX_EGETKEY;
	m->regs.rbx = REQ_LA;
	m->regs.rcx = KEY_LA;
	req(m)->keyname = SGX_KEY_SEAL;
	req(m)->keypolicy = SGX_KEYPOLICY_MRSIGNER;
	memcpy(req(m)->cpusvn, m->cpu->config.fuses.cpusvn, 16);
	req(m)->isvsvn = 4;
}
static void setup(struct machine *m) { build(m, 0); }
static void setup_all(struct machine *m)
{
	build(m, SGX_ATTR_KSS | SGX_ATTR_PROVISIONKEY | SGX_ATTR_EINITTOKENKEY);
}

static void outside(struct machine *m)
{
	machine_exit(m);
	m->regs.rax = SGX_EGETKEY;
	m->regs.rbx = REQ_LA;
	m->regs.rcx = KEY_LA;
}
static void req_misaligned(struct machine *m) { m->regs.rbx += 128; }
static void req_outside(struct machine *m) { m->regs.rbx = ENCL_BASE + ENCL_SIZE; }
static void req_unmapped(struct machine *m) { machine_map(m, LA(P_DATA), 0, 0); }
static void req_not_valid(struct machine *m)
{
	machine_map(m, LA(P_DATA), P_SPARE, SGX_SECINFO_RWX);
}
static void req_blocked(struct machine *m) { encls_eblock(m->cpu, P_DATA); }
static void req_not_readable(struct machine *m) { epcm_change(entry(m, P_DATA), EPCM_R, 0); }
static void req_in_tcs(struct machine *m) { m->regs.rbx = LA(P_TCS1); }
static void key_misaligned(struct machine *m) { m->regs.rcx += 8; }
static void key_outside(struct machine *m) { m->regs.rcx = ENCL_BASE - 16; }
static void key_unmapped(struct machine *m) { machine_map(m, LA(P_DATA2), 0, 0); }
static void key_readonly(struct machine *m) { machine_map(m, LA(P_DATA2), P_DATA2, SGX_SECINFO_R); }
static void key_not_writable(struct machine *m) { epcm_change(entry(m, P_DATA2), EPCM_W, 0); }
static void key_pending(struct machine *m) { epcm_change(entry(m, P_DATA2), 0, EPCM_PENDING); }
static void req_reserved1(struct machine *m) { req(m)->reserved1 = 1; }
static void req_reserved2(struct machine *m) { req(m)->reserved2[433] = 1; }
static void policy_reserved(struct machine *m) { req(m)->keypolicy |= 0x40; }
static void policy_kss(struct machine *m) { req(m)->keypolicy |= SGX_KEYPOLICY_NOISVPRODID; }
static void configsvn(struct machine *m) { req(m)->configsvn = 1; }
static void name(struct machine *m) { req(m)->keyname = 5; }
static void cpusvn_new(struct machine *m) { req(m)->cpusvn[15] = 1; }
static void isvsvn_new(struct machine *m) { req(m)->isvsvn = 5; }
static void isvsvn_old(struct machine *m) { req(m)->isvsvn = 0; }
static void cpusvn_old(struct machine *m) { memset(req(m)->cpusvn, 0, 16); }
static void launch(struct machine *m) { req(m)->keyname = SGX_KEY_EINITTOKEN; }
static void provision(struct machine *m) { req(m)->keyname = SGX_KEY_PROVISION; }
static void provision_seal(struct machine *m) { req(m)->keyname = SGX_KEY_PROVISION_SEAL; }
static void report(struct machine *m)
{
	req(m)->keyname = SGX_KEY_REPORT;
	req(m)->isvsvn = 99; /* not looked at */
}

static const struct row getkey_rows[] = {
	{ "the seal key", NULL, OK },
	{ "of an older ISVSVN", isvsvn_old, OK },
	{ "of an older CPUSVN", cpusvn_old, OK },
	{ "the report key", report, OK },
	{ "outside of an enclave", outside, GP },
	{ "KEYREQUEST not aligned", req_misaligned, GP },
	{ "KEYREQUEST outside of the enclave", req_outside, GP },
	{ "KEYREQUEST not mapped", req_unmapped, PF },
	{ "KEYREQUEST page is not valid", req_not_valid, PF },
	{ "KEYREQUEST page is BLOCKED", req_blocked, PF },
	{ "KEYREQUEST page not readable", req_not_readable, PF },
	{ "KEYREQUEST in a TCS", req_in_tcs, PF },
	{ "OUTPUTDATA not aligned", key_misaligned, GP },
	{ "OUTPUTDATA outside of the enclave", key_outside, GP },
	{ "OUTPUTDATA not mapped", key_unmapped, PF },
	{ "OUTPUTDATA mapped read-only", key_readonly, PF },
	{ "OUTPUTDATA page not writable", key_not_writable, PF },
	{ "OUTPUTDATA page is PENDING", key_pending, PF },
	{ "reserved byte", req_reserved1, GP },
	{ "reserved bytes", req_reserved2, GP },
	{ "KEYPOLICY reserved bits", policy_reserved, GP },
	{ "KEYPOLICY of KSS without KSS", policy_kss, GP },
	{ "CONFIGSVN without KSS", configsvn, GP },
};

/* These write RAX and ZF; nothing but registers changes. */
/* EGETKEY rows */
static const struct {
	const char *name;
	void (*spoil)(struct machine *m);
	uint32_t code;
} codes[] = {
	{ "KEYNAME", name, SGX_INVALID_KEYNAME },
	{ "CPUSVN beyond the processor's", cpusvn_new, SGX_INVALID_CPUSVN },
	{ "ISVSVN beyond the enclave's", isvsvn_new, SGX_INVALID_ISVSVN },
	{ "the launch key without the attribute", launch, SGX_INVALID_ATTRIBUTE },
	{ "the provisioning key without the attribute", provision, SGX_INVALID_ATTRIBUTE },
	{ "the provisioning seal key without the attribute", provision_seal,
	  SGX_INVALID_ATTRIBUTE },
};

static void cpusvn_launch(struct machine *m)
{
	launch(m);
	cpusvn_new(m);
}
static void cpusvn_provision(struct machine *m)
{
	provision(m);
	cpusvn_new(m);
}
static void isvsvn_launch(struct machine *m)
{
	launch(m);
	isvsvn_new(m);
}
static void isvsvn_provision_seal(struct machine *m)
{
	provision_seal(m);
	isvsvn_new(m);
}
static void configsvn_new(struct machine *m) { req(m)->configsvn = 8; }
static void configsvn_provision_seal(struct machine *m)
{
	provision_seal(m);
	configsvn_new(m);
}

/* EGETKEY rows */
static const struct {
	const char *name;
	void (*spoil)(struct machine *m);
	uint32_t code;
} codes_all[] = {
	{ "the launch key", launch, SGX_OK },
	{ "the provisioning key", provision, SGX_OK },
	{ "the provisioning seal key", provision_seal, SGX_OK },
	{ "every policy bit", NULL, SGX_OK },
	{ "launch: CPUSVN beyond the processor's", cpusvn_launch, SGX_INVALID_CPUSVN },
	{ "launch: ISVSVN beyond the enclave's", isvsvn_launch, SGX_INVALID_ISVSVN },
	{ "provisioning: CPUSVN beyond the processor's", cpusvn_provision, SGX_INVALID_CPUSVN },
	{ "provisioning seal: ISVSVN beyond the enclave's", isvsvn_provision_seal,
	  SGX_INVALID_ISVSVN },
	{ "CONFIGSVN beyond the enclave's", configsvn_new, SGX_INVALID_ISVSVN },
	{ "provisioning seal: CONFIGSVN beyond the enclave's", configsvn_provision_seal,
	  SGX_INVALID_ISVSVN },
};

static void check_code(void (*set)(struct machine *m), void (*spoil)(struct machine *m),
		       uint32_t code, const char *what)
{
	static struct snapshot before;
	struct machine *m = machine_new(NULL);
	struct cpu_outcome out;

	set(m);
	if (!spoil)
		req(m)->keypolicy = 0x3f;
	else
		spoil(m);
	snapshot_take(m, &before);
	out = run(m);
	TAP_CHECK(is_code(out, code) && m->regs.rax == code &&
			  !!(m->regs.rflags & CPU_ZF) == (code != SGX_OK),
		  "EGETKEY: %s", what);
	before.regs = m->regs;
	if (code != SGX_OK)
		TAP_CHECK(snapshot_same(m, &before), "EGETKEY: %s: nothing changed", what);
	machine_free(m);
}

/* ---- EGETKEY: what keys depend on */

/* One key of one enclave on one platform; @m has been spoilt in one field. */
struct derivation {
	const char *field;
	void (*platform)(struct cpu_config *c);
	void (*secs)(struct machine *m); /* before ECREATE */
	void (*sig)(struct machine *m);  /* before EINIT */
	void (*ask)(struct machine *m);  /* KEYREQUEST */
	/* Differs: by key name, 's'eal, 'r'eport, 'l'aunch, 'p'rovisioning, 'q' provisioning seal. */
	const char *differs;
};

#define ALL "srlpq"

static void f_root(struct cpu_config *c) { c->fuses.root_key[0] ^= 1; }
static void f_seal(struct cpu_config *c) { c->fuses.seal_fuses[0] ^= 1; }
static void f_owner(struct cpu_config *c) { c->fuses.owner_epoch[0] ^= 1; }
static void f_cpusvn(struct cpu_config *c) { c->fuses.cpusvn[4] ^= 1; }
static void f_keyid(struct cpu_config *c) { c->fuses.report_keyid[0] ^= 1; }

static void s_debug(struct machine *m) { m->secs.attributes.flags ^= SGX_ATTR_DEBUG; }
static void s_notify(struct machine *m) { m->secs.attributes.flags |= SGX_ATTR_AEXNOTIFY; }
static void s_xfrm(struct machine *m) { m->secs.attributes.xfrm = 3; }
static void s_misc(struct machine *m) { m->secs.miscselect = SGX_MISC_EXINFO; }
static void s_configid(struct machine *m) { m->secs.configid[3] = 1; }
static void s_configsvn(struct machine *m) { m->secs.configsvn = 8; }
static void s_frame(struct machine *m) { m->secs.size *= 2; } /* another MRENCLAVE */

static void g_prodid(struct machine *m) { m->sig.isvprodid++; }
static void g_svn(struct machine *m) { m->sig.isvsvn++; }
static void g_family(struct machine *m) { m->sig.isvfamilyid[0] ^= 1; }
static void g_ext(struct machine *m) { m->sig.isvextprodid[0] ^= 1; }

static void q_svn(struct machine *m) { req(m)->isvsvn = 3; }
static void q_cpusvn(struct machine *m) { req(m)->cpusvn[0]--; }
static void q_keyid(struct machine *m) { req(m)->keyid[31] ^= 1; }
static void q_attrmask(struct machine *m) { req(m)->attributemask.flags ^= 1ull << 40; }
static void q_xfrmmask(struct machine *m) { req(m)->attributemask.xfrm ^= 1ull << 40; }
static void q_cetmask(struct machine *m) { req(m)->cet_attributes_mask ^= 4; }
static void q_miscmask(struct machine *m) { req(m)->miscmask ^= 1u << 20; }
static void q_mrenclave(struct machine *m) { req(m)->keypolicy ^= SGX_KEYPOLICY_MRENCLAVE; }
static void q_mrsigner(struct machine *m) { req(m)->keypolicy ^= SGX_KEYPOLICY_MRSIGNER; }
static void q_prodid(struct machine *m) { req(m)->keypolicy ^= SGX_KEYPOLICY_NOISVPRODID; }
static void q_configid(struct machine *m) { req(m)->keypolicy ^= SGX_KEYPOLICY_CONFIGID; }
static void q_family(struct machine *m) { req(m)->keypolicy ^= SGX_KEYPOLICY_ISVFAMILYID; }
static void q_ext(struct machine *m) { req(m)->keypolicy ^= SGX_KEYPOLICY_ISVEXTPRODID; }
static void q_configsvn(struct machine *m) { req(m)->configsvn = 6; }

/* The request: all masks open, all policies of KSS on but NOISVPRODID, MRSIGNER. */
static const struct derivation derivations[] = {
	{ "nothing", NULL, NULL, NULL, NULL, "" },
	{ "the platform's root key", f_root, NULL, NULL, NULL, ALL },
	{ "the seal fuses", f_seal, NULL, NULL, NULL, "srlq" },
	{ "the owner epoch", f_owner, NULL, NULL, NULL, "srl" },
	{ "the processor's CPUSVN", f_cpusvn, NULL, NULL, NULL, "r" },
	{ "the platform's report KEYID", f_keyid, NULL, NULL, NULL, "" },
	{ "ATTRIBUTES.DEBUG", NULL, s_debug, NULL, NULL, ALL },
	{ "an attribute in the mask", NULL, s_notify, NULL, NULL, ALL },
	{ "XFRM in the mask", NULL, s_xfrm, NULL, NULL, ALL },
	{ "MISCSELECT in the mask", NULL, s_misc, NULL, NULL, ALL },
	{ "CONFIGID", NULL, s_configid, NULL, NULL, "srq" },
	{ "CONFIGSVN of the enclave", NULL, s_configsvn, NULL, NULL, "r" },
	{ "MRENCLAVE, with the policy of MRSIGNER", NULL, s_frame, NULL, NULL, "r" },
	{ "ISVPRODID", NULL, NULL, g_prodid, NULL, "slpq" },
	{ "ISVSVN of the enclave", NULL, NULL, g_svn, NULL, "" },
	{ "ISVFAMILYID", NULL, NULL, g_family, NULL, "sq" },
	{ "ISVEXTPRODID", NULL, NULL, g_ext, NULL, "sq" },
	{ "ISVSVN of the request", NULL, NULL, NULL, q_svn, "slpq" },
	{ "CPUSVN of the request", NULL, NULL, NULL, q_cpusvn, "slpq" },
	{ "KEYID", NULL, NULL, NULL, q_keyid, "srl" },
	{ "ATTRIBUTEMASK.FLAGS", NULL, NULL, NULL, q_attrmask, "spq" },
	{ "ATTRIBUTEMASK.XFRM", NULL, NULL, NULL, q_xfrmmask, "spq" },
	{ "CET_ATTRIBUTES_MASK", NULL, NULL, NULL, q_cetmask, "spq" },
	{ "MISCMASK", NULL, NULL, NULL, q_miscmask, "spq" },
	{ "KEYPOLICY.MRENCLAVE", NULL, NULL, NULL, q_mrenclave, "sq" },
	{ "KEYPOLICY.MRSIGNER", NULL, NULL, NULL, q_mrsigner, "sq" },
	{ "KEYPOLICY.NOISVPRODID", NULL, NULL, NULL, q_prodid, "sq" },
	{ "KEYPOLICY.CONFIGID", NULL, NULL, NULL, q_configid, "sq" },
	{ "KEYPOLICY.ISVFAMILYID", NULL, NULL, NULL, q_family, "sq" },
	{ "KEYPOLICY.ISVEXTPRODID", NULL, NULL, NULL, q_ext, "sq" },
	{ "CONFIGSVN of the request", NULL, NULL, NULL, q_configsvn, "sq" },
};

static const struct {
	char letter;
	uint16_t keyname;
	const char *name;
} key_names[] = {
	{ 's', SGX_KEY_SEAL, "seal" },
	{ 'r', SGX_KEY_REPORT, "report" },
	{ 'l', SGX_KEY_EINITTOKEN, "launch" },
	{ 'p', SGX_KEY_PROVISION, "provisioning" },
	{ 'q', SGX_KEY_PROVISION_SEAL, "provisioning seal" },
};
#define KEY_NAME_NR (sizeof(key_names) / sizeof(key_names[0]))

/* An enclave with DATA pages only as many as are needed; everything else as machine_build(). */
static void derive(const struct derivation *d, uint8_t ret_keys[KEY_NAME_NR][16])
{
	const uint64_t rw = SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_R | SGX_SECINFO_W;
	struct cpu_config config;
	struct machine *m;
	bool ok = true;

	machine_config(&config);
	if (d->platform)
		d->platform(&config);
	m = machine_new(&config);
	machine_secs(m);
	m->secs.attributes.flags |= SGX_ATTR_KSS | SGX_ATTR_PROVISIONKEY | SGX_ATTR_EINITTOKENKEY;
	m->secs.configsvn = 7;
	if (d->secs)
		d->secs(m);
	ok &= cpu_ok(machine_ecreate(m, P_SECS));
	memset(m->page, 0, sizeof(m->page));
	machine_tcs(m, 0);
	((struct sgx_tcs *)m->page)->flags = 0; /* the same measurement, AEX-notify or not */
	if (m->secs.attributes.flags & SGX_ATTR_AEXNOTIFY)
		((struct sgx_tcs *)m->page)->flags = SGX_TCS_AEXNOTIFY;
	ok &= cpu_ok(machine_eadd(m, P_TCS0, LA(P_TCS0), SGX_SECINFO_TYPE(SGX_PT_TCS), false));
	ok &= cpu_ok(machine_eadd(m, P_SSA0, LA(P_SSA0), rw, false));
	ok &= cpu_ok(machine_eadd(m, P_DATA, LA(P_DATA), rw, false));
	ok &= cpu_ok(machine_eadd(m, P_DATA2, LA(P_DATA2), rw, false));
	machine_sigstruct(m);
	if (d->sig)
		d->sig(m);
	machine_sign(&m->sig);
	ok &= cpu_ok(machine_einit(m));
	for (size_t i = 0; i < KEY_NAME_NR; i++) {
		ok &= cpu_ok(machine_enter(m, 0));
		memset(req(m), 0, sizeof(*req(m)));
		req(m)->keyname = key_names[i].keyname;
		req(m)->keypolicy = 0x3f & ~(SGX_KEYPOLICY_NOISVPRODID | SGX_KEYPOLICY_MRENCLAVE);
		req(m)->isvsvn = 4;
		req(m)->configsvn = 7;
		req(m)->attributemask.flags = ~0ull;
		req(m)->attributemask.xfrm = ~0ull;
		req(m)->miscmask = ~0u;
		memset(req(m)->cpusvn, 0, 16);
		memset(req(m)->cpusvn, 5, 4);
		if (d->ask)
			d->ask(m);
		m->regs.rax = SGX_EGETKEY;
		m->regs.rbx = REQ_LA;
		m->regs.rcx = KEY_LA;
		ok &= cpu_ok(run(m));
		memcpy(ret_keys[i], key(m), 16);
		ok &= cpu_ok(machine_exit(m));
	}
	if (!ok)
		TAP_MUST(false, "five keys with another %s", d->field);
	machine_free(m);
}

static void test_derivation(void)
{
	uint8_t base[KEY_NAME_NR][16], keys[KEY_NAME_NR][16];
	bool distinct = true;

	derive(&derivations[0], base);
	for (size_t i = 0; i < KEY_NAME_NR; i++)
		for (size_t j = 0; j < i; j++)
			distinct &= memcmp(base[i], base[j], 16) != 0;
	TAP_CHECK(distinct, "five key names, five keys");
	for (size_t d = 0; d < sizeof(derivations) / sizeof(derivations[0]); d++) {
		derive(&derivations[d], keys);
		for (size_t i = 0; i < KEY_NAME_NR; i++) {
			bool differs = memcmp(base[i], keys[i], 16) != 0;
			bool wanted = strchr(derivations[d].differs, key_names[i].letter) != NULL;

			TAP_CHECK(differs == wanted, "the %s key %s on %s", key_names[i].name,
				  wanted ? "depends" : "does not depend", derivations[d].field);
		}
	}
}

/* ---- EREPORT */

static struct sgx_targetinfo *target(struct machine *m)
{
	return (struct sgx_targetinfo *)m->epc[P_DATA];
}
static void setup_report(struct machine *m)
{
	setup(m);
	memset(m->epc[P_DATA], 0, SGX_PAGE_SIZE);
	m->regs.rax = SGX_EREPORT;
	m->regs.rbx = TARGET_LA;
	m->regs.rcx = RDATA_LA;
	m->regs.rdx = REPORT_LA;
}
static void report_outside(struct machine *m)
{
	machine_exit(m);
	m->regs.rax = SGX_EREPORT;
	m->regs.rbx = TARGET_LA;
	m->regs.rcx = RDATA_LA;
}
static void target_misaligned(struct machine *m) { m->regs.rbx += 256; }
static void target_outside(struct machine *m) { m->regs.rbx = 0x1000; }
static void data_misaligned(struct machine *m) { m->regs.rcx += 64; }
static void data_outside(struct machine *m) { m->regs.rcx = ENCL_BASE + ENCL_SIZE; }
static void data_unmapped(struct machine *m) { m->regs.rcx = LA(P_FREE); }
static void data_blocked(struct machine *m)
{
	m->regs.rcx = LA(P_SSA1);
	encls_eblock(m->cpu, P_SSA1);
}
static void out_misaligned(struct machine *m) { m->regs.rdx += 256; }
static void out_outside(struct machine *m) { m->regs.rdx = ENCL_BASE - 512; }
static void out_code(struct machine *m) { m->regs.rdx = LA(P_CODE); }

static const struct row report_rows[] = {
	{ "for another enclave", NULL, OK },
	{ "outside of an enclave", report_outside, GP },
	{ "TARGETINFO not aligned", target_misaligned, GP },
	{ "TARGETINFO outside of the enclave", target_outside, GP },
	{ "TARGETINFO not mapped", req_unmapped, PF },
	{ "TARGETINFO page is not valid", req_not_valid, PF },
	{ "TARGETINFO page is BLOCKED", req_blocked, PF },
	{ "TARGETINFO page not readable", req_not_readable, PF },
	{ "REPORTDATA not aligned", data_misaligned, GP },
	{ "REPORTDATA outside of the enclave", data_outside, GP },
	{ "REPORTDATA not mapped", data_unmapped, PF },
	{ "REPORTDATA page is BLOCKED", data_blocked, PF },
	{ "OUTPUTDATA not aligned", out_misaligned, GP },
	{ "OUTPUTDATA outside of the enclave", out_outside, GP },
	{ "OUTPUTDATA not mapped", key_unmapped, PF },
	{ "OUTPUTDATA mapped without W", out_code, PF },
	{ "OUTPUTDATA page not writable", key_not_writable, PF },
	{ "OUTPUTDATA page is PENDING", key_pending, PF },
};

static void test_report_effect(void)
{
	struct machine *m = machine_new(NULL);
	const struct sgx_report *r = (struct sgx_report *)m->epc[P_DATA2];
	uint8_t mac[16];
	uint64_t rax, rflags;

	machine_secs(m);
	m->secs.attributes.flags |= SGX_ATTR_KSS;
	m->secs.configid[0] = 0xc0;
	m->secs.configsvn = 7;
	m->secs.miscselect = SGX_MISC_EXINFO;
	setup_report(m);
	rax = m->regs.rax;
	rflags = m->regs.rflags |= 0x41;
	run(m);
	TAP_CHECK(m->regs.rax == rax && m->regs.rflags == rflags, "EREPORT: no register changes");
	TAP_CHECK(r->configid[0] == 0xc0 && r->configsvn == 7 && r->miscselect == 1 &&
			  memcmp(r->mrsigner, secs_of(m)->arch.mrsigner, 32) == 0 &&
			  memcmp(r->cpusvn, m->cpu->config.fuses.cpusvn, 16) == 0 &&
			  memcmp(r->keyid, m->cpu->config.fuses.report_keyid, 32) == 0,
		  "EREPORT: fields of the SECS and the platform");
	memcpy(mac, r->mac, 16);
	target(m)->measurement[0] ^= 1;
	run(m);
	TAP_CHECK(memcmp(mac, r->mac, 16) != 0, "EREPORT: the MAC is for the target's MRENCLAVE");
	target(m)->measurement[0] ^= 1;
	target(m)->attributes.flags ^= SGX_ATTR_DEBUG;
	run(m);
	TAP_CHECK(memcmp(mac, r->mac, 16) != 0, "EREPORT: and its ATTRIBUTES");
	target(m)->attributes.flags ^= SGX_ATTR_DEBUG;
	target(m)->configsvn ^= 1;
	run(m);
	TAP_CHECK(memcmp(mac, r->mac, 16) != 0, "EREPORT: and its CONFIGSVN");
	target(m)->configsvn ^= 1;
	run(m);
	TAP_CHECK(memcmp(mac, r->mac, 16) == 0, "EREPORT: the same again is the same");
	machine_free(m);
}

int main(void)
{
	const struct leaf_test getkey = { "EGETKEY", NULL, setup, run, 0, false };
	const struct leaf_test ereport = { "EREPORT", NULL, setup_report, run, 0, false };

	RUN_ROWS(getkey, getkey_rows);
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		check_code(setup, codes[i].spoil, codes[i].code, codes[i].name);
	for (size_t i = 0; i < sizeof(codes_all) / sizeof(codes_all[0]); i++)
		check_code(setup_all, codes_all[i].spoil, codes_all[i].code, codes_all[i].name);
	test_derivation();
	RUN_ROWS(ereport, report_rows);
	test_report_effect();
	return tap_done();
}
