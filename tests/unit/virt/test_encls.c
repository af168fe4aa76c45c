/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * ENCLS of a guest: which leaves exit, what ECREATE and EINIT are refused, whose fault a fault becomes, and that no
 * operand can be changed between its check and its use.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu_priv.h"
#include "cpu/secs.h"
#include "lib/sigstruct.h"
#include "machine.h"

#define BIT(leaf) (1ull << (leaf))
#define SGX1_BITS ((2ull << SGX_ETRACK) - 1)
#define SGX2_BITS (BIT(SGX_EAUG) | BIT(SGX_EMODPR) | BIT(SGX_EMODT))

static struct machine m;

static bool is_gp(int r) { return r == 0 && m.out.fault == CPU_GP; }

static bool is_pf(int r, uint64_t la, uint16_t error)
{
	return r == 0 && m.out.fault == CPU_PF && m.out.pf_addr == la && m.out.pf_error == error;
}

/* ---- the bitmap and the MSRs ------------------------------------------------------------------------- */

static void test_bitmap(void)
{
	struct virt_policy *policy = &m.vcpu.policy;

	machine_init(&m, 64, true);
	TAP_CHECK(virt_encls_bitmap(&m.vcpu) == (~(SGX1_BITS | SGX2_BITS) | BIT(SGX_EINIT)),
		  "a guest that has all that there is: EINIT exits, and what it does not know");
	policy->provisioning = false;
	TAP_CHECK(virt_encls_bitmap(&m.vcpu) & BIT(SGX_ECREATE), "no provisioning: ECREATE, too");
	policy->provisioning = true;
	policy->leaf12[1].ecx ^= 4;
	TAP_CHECK(virt_encls_bitmap(&m.vcpu) & BIT(SGX_ECREATE), "less XFRM: ECREATE");
	policy->leaf12[1].ecx ^= 4;
	policy->leaf12[0].edx--;
	TAP_CHECK(virt_encls_bitmap(&m.vcpu) & BIT(SGX_ECREATE), "smaller enclaves: ECREATE");
	policy->leaf12[0].edx++;
	policy->leaf12[0].ebx = 0;
	TAP_CHECK(virt_encls_bitmap(&m.vcpu) & BIT(SGX_ECREATE), "no MISCSELECT: ECREATE");
	policy->leaf12[0].ebx = SGX_MISC_EXINFO;
	TAP_CHECK(!(virt_encls_bitmap(&m.vcpu) & BIT(SGX_ECREATE)), "all as it was: it doesn't");
	policy->leaf12[0].eax &= ~SGX_CPUID_SGX2;
	TAP_CHECK((virt_encls_bitmap(&m.vcpu) & SGX2_BITS) == SGX2_BITS, "SGX1: SGX2's exit");
	TAP_CHECK(is_gp(machine_encls(&m, SGX_EAUG, 0, 0, 0)), "to be #GP");
	m.vcpu.feature_control = VIRT_FEATURE_SGX_ENABLED;
	TAP_CHECK(virt_encls_bitmap(&m.vcpu) == UINT64_MAX, "not locked: all exit");
	TAP_CHECK(is_gp(machine_encls(&m, SGX_EPA, SGX_PT_VA, vm_gpa(&m.vm, 0), 0)), "to be #GP");
	m.vcpu.feature_control = VIRT_FEATURE_LOCKED;
	TAP_CHECK(virt_encls_bitmap(&m.vcpu) == UINT64_MAX, "locked, but off: the same");
	policy->sgx = false;
	TAP_CHECK(machine_encls(&m, SGX_EPA, SGX_PT_VA, vm_gpa(&m.vm, 0), 0) == 0 &&
			  m.out.fault == CPU_UD,
		  "a guest without SGX: #UD");
	machine_fini(&m, "bitmap");
}

static void test_leaves_refused(void)
{
	machine_init(&m, 64, true);
	for (uint32_t leaf = SGX_ERDINFO; leaf <= SGX_EUPDATESVN + 1; leaf++)
		if (!is_gp(machine_encls(&m, (enum sgx_encls)leaf, 0, vm_gpa(&m.vm, 0), 0)))
			TAP_CHECK(false, "leaf %u is refused", leaf);
	TAP_CHECK(is_gp(machine_encls(&m, (enum sgx_encls)UINT32_MAX, 0, 0, 0)),
		  "leaves that are the VMM's, and unknown ones: #GP");
	m.vcpu.cpl = 3;
	TAP_CHECK(machine_encls(&m, SGX_EPA, SGX_PT_VA, vm_gpa(&m.vm, 0), 0) == 0 &&
			  m.out.fault == CPU_UD,
		  "CPL 3: #UD");
	m.vcpu.cpl = 0;
	m.vcpu.paging = false;
	TAP_CHECK(is_gp(machine_encls(&m, SGX_EPA, SGX_PT_VA, vm_gpa(&m.vm, 0), 0)),
		  "without paging: #GP");
	machine_fini(&m, "refused leaves");
}

static bool msr_is(uint32_t msr, uint64_t want)
{
	uint64_t value = ~want;

	return virt_rdmsr(&m.vcpu, msr, &value) == 0 && value == want;
}

static void test_msrs(void)
{
	const uint32_t hash = VIRT_MSR_LEPUBKEYHASH0;
	struct virt_policy policy;
	uint64_t value;

	machine_init(&m, 64, true);
	policy = m.vcpu.policy;
	virt_vcpu_init(&m.vcpu, m.vm.guest, &policy);
	TAP_CHECK(msr_is(VIRT_MSR_FEATURE_CONTROL, 0), "FEATURE_CONTROL is 0 at reset");
	TAP_CHECK(msr_is(hash, 0xa6053e051270b7acull) && msr_is(hash + 1, 0x6cfbe8ba8b3b413dull) &&
			  msr_is(hash + 2, 0xc4916d99f2b3735dull) &&
			  msr_is(hash + 3, 0xd4f8c05909f9bb3bull),
		  "the launch key is the one of the reset");
	TAP_CHECK(virt_wrmsr(&m.vcpu, hash + 3, 5) == 0 && msr_is(hash + 3, 5),
		  "and can be changed until the lock");
	TAP_CHECK(virt_wrmsr(&m.vcpu, VIRT_MSR_FEATURE_CONTROL, 1ull << 40) == -EPERM,
		  "a bit that there is not: #GP");
	TAP_CHECK(virt_wrmsr(&m.vcpu, VIRT_MSR_FEATURE_CONTROL,
			     VIRT_FEATURE_LOCKED | VIRT_FEATURE_SGX_ENABLED) == 0,
		  "locked without SGX_LC");
	TAP_CHECK(virt_wrmsr(&m.vcpu, hash, 5) == -EPERM && msr_is(hash, 0xa6053e051270b7acull),
		  "the hash cannot be changed");
	TAP_CHECK(virt_wrmsr(&m.vcpu, VIRT_MSR_FEATURE_CONTROL, VIRT_FEATURE_LOCKED) == -EPERM,
		  "nor FEATURE_CONTROL");
	virt_vcpu_init(&m.vcpu, m.vm.guest, &policy);
	TAP_CHECK(virt_wrmsr(&m.vcpu, VIRT_MSR_FEATURE_CONTROL,
			     VIRT_FEATURE_LOCKED | VIRT_FEATURE_SGX_LC) == 0 &&
			  virt_wrmsr(&m.vcpu, hash, 5) == 0 && msr_is(hash, 5),
		  "locked with SGX_LC: it can");
	policy.sgx_lc = false;
	virt_vcpu_init(&m.vcpu, m.vm.guest, &policy);
	TAP_CHECK(virt_rdmsr(&m.vcpu, hash, &value) == -EPERM &&
			  virt_wrmsr(&m.vcpu, hash, 5) == -EPERM,
		  "a guest without launch control has no such MSR");
	TAP_CHECK(virt_wrmsr(&m.vcpu, VIRT_MSR_FEATURE_CONTROL, VIRT_FEATURE_SGX_LC) == -EPERM,
		  "and no such bit");
	TAP_CHECK(virt_rdmsr(&m.vcpu, 0x10, &value) == -ENOENT &&
			  virt_wrmsr(&m.vcpu, 0x10, 0) == -ENOENT,
		  "other MSRs are not ours");
	machine_fini(&m, "MSRs");
}

/* ---- ECREATE ------------------------------------------------------------------------------------------- */

static void narrow(struct virt_policy *policy)
{
	policy->leaf12[0].ebx = 0;
	policy->leaf12[0].edx = 24u << 8 | 22;
	policy->leaf12[1].eax &= ~(uint32_t)SGX_ATTR_KSS;
}

static const struct ecreate_row {
	const char *name;
	uint64_t flags, xfrm, size;
	uint32_t miscselect;
	bool ok;
} ecreate_rows[] = {
	{ "what CPUID allows", SGX_ATTR_MODE64BIT | SGX_ATTR_DEBUG, 3, VM_SIZE, 0, true },
	{ "an attribute that it does not", SGX_ATTR_MODE64BIT | SGX_ATTR_KSS, 3, VM_SIZE, 0,
	  false },
	{ "PROVISIONKEY", SGX_ATTR_MODE64BIT | SGX_ATTR_PROVISIONKEY, 3, VM_SIZE, 0, false },
	{ "an attribute of the upper half", SGX_ATTR_MODE64BIT | 1ull << 40, 3, VM_SIZE, 0, false },
	{ "a MISCSELECT", SGX_ATTR_MODE64BIT, 3, VM_SIZE, SGX_MISC_EXINFO, false },
	{ "XFRM without SSE", SGX_ATTR_MODE64BIT, 1, VM_SIZE, 0, false },
	{ "XFRM that nobody has", SGX_ATTR_MODE64BIT, 3 | 1ull << 62, VM_SIZE, 0, false },
	{ "half of the largest size", SGX_ATTR_MODE64BIT, 3, 1 << 23, 0, true },
	{ "the largest size", SGX_ATTR_MODE64BIT, 3, 1 << 24, 0, false },
	{ "half of the largest size of 32 bits", 0, 3, 1 << 21, 0, true },
	{ "the largest size of 32 bits", 0, 3, 1 << 22, 0, false },
};

static void test_ecreate_filter(void)
{
	for (size_t i = 0; i < sizeof(ecreate_rows) / sizeof(ecreate_rows[0]); i++) {
		const struct ecreate_row *row = &ecreate_rows[i];
		struct sgx_secs *secs;
		int r;

		machine_init(&m, 64, false);
		narrow(&m.vcpu.policy);
		secs = machine_secs(&m);
		secs->attributes.flags = row->flags;
		secs->attributes.xfrm = row->xfrm;
		secs->miscselect = row->miscselect;
		secs->size = row->size;
		r = machine_ecreate(&m, 0);
		TAP_CHECK(row->ok ? r == 0 && cpu_ok(m.out) : is_gp(r), "ECREATE, %s: %s",
			  row->name, row->ok ? "works" : "#GP");
		vm_touch(&m.vm, 0);
		TAP_CHECK(cpu_epcm_read(m.vm.w.cpu, vm_nr(&m.vm, 0)).valid == row->ok,
			  "ECREATE, %s: the page says the same", row->name);
		machine_fini(&m, row->name);
	}
}

static void test_ecreate_more(void)
{
	struct sgx_secs *secs;

	machine_init(&m, 64, false);
	secs = machine_secs(&m);
	secs->attributes.flags |= SGX_ATTR_PROVISIONKEY;
	m.vcpu.policy.leaf12[1].eax |= SGX_ATTR_PROVISIONKEY;
	TAP_CHECK(is_gp(machine_ecreate(&m, 0)),
		  "PROVISIONKEY that CPUID shows, and nobody allowed: #GP");
	m.vcpu.policy.provisioning = true;
	TAP_CHECK(machine_ecreate(&m, 0) == 0 && cpu_ok(m.out) && m.vcpu.exits == 1,
		  "allowed: it works, and ECREATE does not exit");
	machine_fini(&m, "provisioning");

	machine_init(&m, 64, false);
	secs = machine_secs(&m);
	secs->attributes.xfrm = m.vcpu.policy.leaf12[1].ecx & 7;
	if (secs->attributes.xfrm == 7) {
		secs->ssa_frame_size = 4;
		m.vcpu.policy.xcr0 = 3;
		TAP_CHECK(is_gp(machine_ecreate(&m, 0)), "XFRM outside of XCR0: #GP");
		m.vcpu.policy.xcr0 = 7;
		TAP_CHECK(machine_ecreate(&m, 0) == 0 && cpu_ok(m.out), "inside: it works");
	} else {
		tap_skip("XFRM outside of XCR0", "no AVX");
	}
	m.vcpu.policy.has_leaf12 = false;
	machine_secs(&m);
	TAP_CHECK(machine_ecreate(&m, 1) == -ENOTSUP,
		  "without CPUID leaf 12H nobody can tell: the VMM is asked");
	machine_fini(&m, "XCR0");
}

/* ---- operands --------------------------------------------------------------------------------------------- */

/* One operand of ECREATE is somewhere else. */
static int ecreate_at(uint64_t pageinfo, uint64_t srcpge, uint64_t secinfo, uint64_t rcx)
{
	machine_secs(&m);
	machine_pageinfo(&m, 0, srcpge, secinfo, 0);
	return machine_encls(&m, SGX_ECREATE, pageinfo, rcx, 0);
}

static void operands(void)
{
	const uint64_t p = AT_PAGEINFO, s = AT_SOURCE, i = AT_SECINFO, c = vm_gpa(&m.vm, 0);
	const uint64_t bad = 1ull << 50;

	TAP_CHECK(is_gp(ecreate_at(p + 8, s, i, c)) && is_gp(ecreate_at(p, s + 8, i, c)) &&
			  is_gp(ecreate_at(p, s, i + 8, c)) && is_gp(ecreate_at(p, s, i, c + 8)),
		  "an operand that is not aligned: #GP");
	TAP_CHECK(is_gp(ecreate_at(bad, s, i, c)) && is_gp(ecreate_at(p, bad, i, c)) &&
			  is_gp(ecreate_at(p, s, bad, c)) && is_gp(ecreate_at(p, s, i, bad)),
		  "not canonical: #GP");
	TAP_CHECK(is_pf(ecreate_at(LA_UNMAPPED, s, i, c), LA_UNMAPPED, 0) &&
			  is_pf(ecreate_at(p, LA_UNMAPPED, i, c), LA_UNMAPPED, 0) &&
			  is_pf(ecreate_at(p, s, LA_UNMAPPED, c), LA_UNMAPPED, 0) &&
			  is_pf(ecreate_at(p, s, i, LA_UNMAPPED), LA_UNMAPPED, SGX_PFEC_W),
		  "not mapped: the guest's own #PF");
	TAP_CHECK(ecreate_at(LA_HOLE, s, i, c) == -EFAULT &&
			  ecreate_at(p, LA_HOLE, i, c) == -EFAULT &&
			  ecreate_at(p, s, LA_HOLE, c) == -EFAULT,
		  "mapped to nothing: the VMM is asked");
	TAP_CHECK(is_pf(ecreate_at(p, s, i, AT_SOURCE), AT_SOURCE, SGX_PFEC_P | SGX_PFEC_W),
		  "RCX outside of the EPC: #PF");
	TAP_CHECK(is_gp(ecreate_at(p, vm_gpa(&m.vm, 5), i, c)),
		  "a source in the EPC reads as ones: such a SECS is #GP");
	machine_secs(&m);
	machine_pageinfo(&m, 0, AT_SOURCE, AT_SECINFO, vm_gpa(&m.vm, 1));
	TAP_CHECK(is_gp(machine_ecreate(&m, 0)), "a PAGEINFO that names a SECS: #GP");
	machine_secs(&m);
	TAP_CHECK(machine_ecreate(&m, 0) == 0 && cpu_ok(m.out) && m.reads == 3,
		  "all in place: it works; PAGEINFO, SECINFO and source were read once each");
}

static void test_operands(void)
{
	machine_init(&m, 64, true);
	operands();
	machine_fini(&m, "operands");
	machine_init(&m, 64, false);
	operands();
	machine_fini(&m, "operands of an ECREATE that exits");
}

/* A fault of what ran for the guest: the page in RCX is there already. */
static void test_faults(void)
{
	uint16_t sgx_pf = SGX_PFEC_P | SGX_PFEC_W | SGX_PFEC_SGX;

	machine_init(&m, 64, false);
	machine_secs(&m);
	TAP_MUST(machine_ecreate(&m, 0) == 0 && cpu_ok(m.out), "a SECS");
	machine_secs(&m);
	TAP_CHECK(is_pf(machine_ecreate(&m, 0), vm_gpa(&m.vm, 0), sgx_pf) && sgx_pf == 0x8003,
		  "ECREATE there again: #PF 0x8003 at RCX");
	m.vcpu.policy.leaf12[0].eax &= ~SGX_CPUID_SGX2;
	machine_secs(&m);
	TAP_CHECK(is_gp(machine_ecreate(&m, 0)), "a guest with SGX1: #GP");
	machine_secs(&m)->attributes.xfrm = 0;
	m.vcpu.policy.leaf12[0].eax |= SGX_CPUID_SGX2;
	TAP_CHECK(is_gp(machine_ecreate(&m, 1)), "what is #GP stays one");
	TAP_CHECK(is_pf(machine_eadd(&m, 5, 6, 0, FLAGS_RW), vm_gpa(&m.vm, 5), sgx_pf),
		  "EADD to what is no SECS: #PF at the guest's address of that");
	machine_fini(&m, "faults");

	/* A processor without SGX2 has no #PF of the EPCM's own. */
	machine_init(&m, 64, false);
	machine_secs(&m);
	TAP_MUST(machine_ecreate(&m, 0) == 0 && cpu_ok(m.out), "a SECS");
	m.vm.w.cpu->config.caps &= ~SGX_CPUID_SGX2;
	machine_secs(&m)->size = 3;
	TAP_CHECK(is_pf(machine_ecreate(&m, 1), vm_gpa(&m.vm, 1), sgx_pf),
		  "a host with SGX1, a guest that believes in SGX2: any fault is #PF 0x8003");
	m.vcpu.policy.leaf12[0].eax &= ~SGX_CPUID_SGX2;
	machine_secs(&m)->size = 3;
	TAP_CHECK(is_gp(machine_ecreate(&m, 1)), "both with SGX1: #GP");
	machine_fini(&m, "faults on SGX1");
}

/* ---- EINIT -------------------------------------------------------------------------------------------------- */

static struct signer *signer;

static int einit(uint32_t secs)
{
	return machine_encls(&m, SGX_EINIT, AT_SIG, vm_gpa(&m.vm, secs), AT_TOKEN);
}

/* SECS in page 0, one page in page 1, and SIGSTRUCT in place. */
static void built(void)
{
	struct sgx_attributes attributes = { SGX_ATTR_MODE64BIT, SGX_XFRM_LEGACY };
	struct measure *measure = measure_create(1, VM_SIZE);
	uint8_t mrenclave[32];

	machine_secs(&m);
	TAP_MUST(machine_ecreate(&m, 0) == 0 && cpu_ok(m.out) &&
			 machine_eadd(&m, 0, 1, 0, FLAGS_RW) == 0 && cpu_ok(m.out),
		 "an enclave");
	measure_add(measure, 0, FLAGS_RW);
	measure_final(measure, mrenclave);
	sigstruct_init(machine_ram(&m, AT_SIG), mrenclave, attributes);
	sigstruct_sign(machine_ram(&m, AT_SIG), signer);
	memset(machine_ram(&m, AT_TOKEN), 0, sizeof(struct sgx_einittoken));
}

static void set_signer(void)
{
	uint64_t hash[4];

	cpu_signer_hash(machine_ram(&m, AT_SIG), hash);
	for (uint32_t i = 0; i < 4; i++)
		if (virt_wrmsr(&m.vcpu, VIRT_MSR_LEPUBKEYHASH0 + i, hash[i]) < 0)
			TAP_CHECK(false, "the guest writes its launch key");
}

static bool initialized(uint32_t secs)
{
	return secs_is_initialized(secs_page(m.vm.w.cpu, vm_nr(&m.vm, secs)));
}

static void test_einit(void)
{
	signer = signer_create();
	machine_init(&m, 64, true);
	built();
	TAP_CHECK(einit(0) == 0 && m.regs.rax == SGX_INVALID_EINITTOKEN &&
			  (m.regs.rflags & CPU_ZF) && !initialized(0),
		  "EINIT by a signer that the guest's MSRs don't name, without a token");
	set_signer();
	TAP_CHECK(einit(0) == 0 && m.regs.rax == 0 && !(m.regs.rflags & CPU_ZF) && initialized(0),
		  "by the one that they name: it works");
	TAP_CHECK(m.reads == 2 && m.vcpu.exits == 2, "SIGSTRUCT and token were read once each");
	TAP_CHECK(is_gp(einit(0)), "a second time: #GP");
	TAP_CHECK(is_pf(einit(1), vm_gpa(&m.vm, 1), 0x8003), "of no SECS: #PF 0x8003 at RCX");
	m.vcpu.policy.leaf12[0].eax &= ~SGX_CPUID_SGX2;
	TAP_CHECK(is_gp(einit(1)), "for a guest with SGX1: #GP");
	TAP_CHECK(
		is_gp(machine_encls(&m, SGX_EINIT, AT_SIG + 64, vm_gpa(&m.vm, 0), AT_TOKEN)) &&
			is_gp(machine_encls(&m, SGX_EINIT, AT_SIG, vm_gpa(&m.vm, 0), AT_TOKEN + 8)),
		"operands that are not aligned: #GP");
	machine_fini(&m, "EINIT");

	/* Two guests, each with its own key: one processor, and its MSRs are neither's. */
	machine_init(&m, 64, true);
	built();
	m.vm.w.cpu->config.lepubkeyhash[0] ^= 1;
	set_signer();
	TAP_CHECK(einit(0) == 0 && m.regs.rax == 0, "the host's own launch key does not matter");
	machine_fini(&m, "EINIT, host's key");

	machine_init(&m, 64, true);
	built();
	m.vm.w.cpu->config.lepubkeyhash_locked = true;
	set_signer();
	TAP_CHECK(!(virt_encls_bitmap(&m.vcpu) & BIT(SGX_EINIT)) && einit(0) == 0 &&
			  m.regs.rax == SGX_INVALID_EINITTOKEN,
		  "a processor whose key is locked: EINIT doesn't exit, and that key counts");
	machine_fini(&m, "EINIT, locked");
}

/* ---- check and use -------------------------------------------------------------------------------------------- */

static void flip_after(struct machine *machine, uint64_t gpa, size_t bytes)
{
	struct sgx_secs *secs = machine_ram(machine, AT_SOURCE);

	if (gpa == AT_SOURCE)
		secs->attributes.flags ^= SGX_ATTR_PROVISIONKEY;
}

static void flip_sig(struct machine *machine, uint64_t gpa, size_t bytes)
{
	if (gpa == AT_SIG)
		memset(machine_ram(machine, AT_SIG), 0, sizeof(struct sgx_sigstruct));
}

/* At the worst moment: right after the read. */
static void test_changed_operands(void)
{
	const struct secs_page *secs;

	machine_init(&m, 64, false);
	machine_secs(&m);
	m.after_read = flip_after;
	TAP_CHECK(machine_ecreate(&m, 0) == 0 && cpu_ok(m.out), "ECREATE of harmless attributes");
	secs = secs_page(m.vm.w.cpu, vm_nr(&m.vm, 0));
	TAP_CHECK(!(secs->arch.attributes.flags & SGX_ATTR_PROVISIONKEY) &&
			  (((struct sgx_secs *)machine_ram(&m, AT_SOURCE))->attributes.flags &
			   SGX_ATTR_PROVISIONKEY),
		  "PROVISIONKEY, which came into the source meanwhile, is not in the enclave");
	m.after_read = NULL;
	machine_secs(&m)->attributes.flags |= SGX_ATTR_PROVISIONKEY;
	m.after_read = flip_after;
	TAP_CHECK(is_gp(machine_ecreate(&m, 1)), "nor does its going away help");
	m.after_read = NULL;
	machine_fini(&m, "changed SECS");

	machine_init(&m, 64, false);
	built();
	set_signer();
	m.after_read = flip_sig;
	TAP_CHECK(einit(0) == 0 && m.regs.rax == 0,
		  "SIGSTRUCT goes away while it is checked: what was read counts");
	m.after_read = NULL;
	machine_fini(&m, "changed SIGSTRUCT");
}

static _Atomic bool stop;

/* Another processor of the guest. */
static void *flipper(void *arg)
{
	struct sgx_secs *secs = machine_ram(&m, AT_SOURCE);

	while (!stop)
		__atomic_fetch_xor(&secs->attributes.flags, SGX_ATTR_PROVISIONKEY,
				   __ATOMIC_RELAXED);
	return NULL;
}

static void test_race(void)
{
	unsigned int made = 0, refused = 0, through = 0;
	pthread_t thread;

	machine_init(&m, 64, false);
	machine_secs(&m);
	stop = false;
	pthread_create(&thread, NULL, flipper, NULL);
	for (unsigned int i = 0; i < 200000 && (made < 500 || refused < 500); i++) {
		int r = machine_ecreate(&m, 0);
		const struct secs_page *secs;

		if (is_gp(r)) {
			refused++;
			continue;
		}
		made++;
		secs = secs_page(m.vm.w.cpu, vm_nr(&m.vm, 0));
		through += !!(secs->arch.attributes.flags & SGX_ATTR_PROVISIONKEY);
		machine_encls(&m, SGX_EREMOVE, 0, vm_gpa(&m.vm, 0), 0);
	}
	stop = true;
	pthread_join(thread, NULL);
	TAP_CHECK(made > 0 && refused > 0 && through == 0,
		  "a processor that flips PROVISIONKEY all the time: %u made, %u refused, none "
		  "with it",
		  made, refused);
	machine_fini(&m, "race");
}

/* ---- all leaves ----------------------------------------------------------------------------------------------- */

static bool done(int r) { return r == 0 && m.out.fault == CPU_NO_FAULT && m.regs.rax == 0; }

/* EBLOCK, ETRACK, EWB, ELDU by registers, beside a host that takes everything in between. */
static void test_paging(void)
{
	uint64_t page, va, *pageinfo;

	machine_init(&m, 64, true);
	machine_secs(&m);
	TAP_MUST(machine_ecreate(&m, 0) == 0 && machine_eadd(&m, 0, 1, 3, FLAGS_RW) == 0 &&
			 cpu_ok(m.out),
		 "an enclave");
	page = vm_gpa(&m.vm, 1);
	va = vm_gpa(&m.vm, VM_SECOND + 2);
	TAP_CHECK(is_gp(machine_encls(&m, SGX_EPA, SGX_PT_REG, va, 0)), "EPA of another type: #GP");
	TAP_CHECK(machine_encls(&m, SGX_EPA, SGX_PT_VA, va, 0) == 0 && cpu_ok(m.out), "EPA");
	TAP_CHECK(machine_encls(&m, SGX_EEXTEND, vm_gpa(&m.vm, 0), page + 512, 0) == 0 &&
			  cpu_ok(m.out) && m.regs.rax == SGX_EEXTEND,
		  "EEXTEND at an offset, which leaves RAX alone");
	vm_reclaim(&m.vm);
	TAP_CHECK(done(machine_encls(&m, SGX_EBLOCK, 0, page, 0)), "EBLOCK");
	vm_reclaim(&m.vm);
	TAP_CHECK(done(machine_encls(&m, SGX_ETRACK, 0, vm_gpa(&m.vm, 0), 0)), "ETRACK");
	machine_pageinfo(&m, 0, AT_SOURCE, AT_PCMD, 0);
	memset(machine_ram(&m, AT_SOURCE), 0, 4096);
	vm_reclaim(&m.vm);
	TAP_CHECK(done(machine_encls(&m, SGX_EWB, AT_PAGEINFO, page, va + 8 * 17)), "EWB");
	pageinfo = machine_ram(&m, AT_PAGEINFO);
	TAP_CHECK(pageinfo[0] == VM_BASE + 3 * SGX_PAGE_SIZE, "it says where the page was");
	pageinfo[3] = vm_gpa(&m.vm, 0);
	vm_reclaim(&m.vm);
	TAP_CHECK(done(machine_encls(&m, SGX_ELDU, AT_PAGEINFO, page, va + 8 * 17)), "ELDU");
	TAP_CHECK(vm_is_intact(&m.vm, 1, 3, FLAGS_RW), "the page is what it was");
	TAP_CHECK(machine_encls(&m, SGX_EREMOVE, 0, vm_gpa(&m.vm, 0), 0) == 0 &&
			  m.regs.rax == SGX_CHILD_PRESENT && (m.regs.rflags & CPU_ZF),
		  "EREMOVE of a SECS with a child: a code and ZF");
	machine_fini(&m, "paging by registers");
}

static void test_faults_by_gpa(void)
{
	uint64_t win_off = 0;

	machine_init(&m, 64, true);
	TAP_CHECK(virt_page_nr(m.vm.guest, vm_gpa(&m.vm, 4)) == CPU_NO_PAGE,
		  "nothing is at an address that nobody has touched");
	TAP_CHECK(virt_fault(m.vm.guest, vm_gpa(&m.vm, 4) + 5, &win_off) == 0 &&
			  win_off == vepc_win_off(m.vm.file[0], 4 * SGX_PAGE_SIZE) &&
			  virt_page_nr(m.vm.guest, vm_gpa(&m.vm, 4) + 99) == vm_nr(&m.vm, 4),
		  "an EPT violation brings a page, and says where it is");
	TAP_CHECK(virt_fault(m.vm.guest, 0x1000, &win_off) == -ENOENT &&
			  virt_page_nr(m.vm.guest, 0x1000) == CPU_NO_PAGE,
		  "ordinary memory is not ours");
	machine_fini(&m, "EPT violations");
}

/* ---- anything ----------------------------------------------------------------------------------------------------- */

static uint64_t rng = 0x9e3779b97f4a7c15ull;

static uint32_t pick(uint32_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)(rng >> 20) % n;
}

static uint64_t some_address(void)
{
	static const uint64_t places[] = { AT_PAGEINFO, AT_SECINFO, AT_PCMD,     AT_SOURCE,
					   AT_SIG,      AT_TOKEN,   LA_UNMAPPED, LA_HOLE,
					   0,           UINT64_MAX, 1ull << 47 };

	switch (pick(8)) {
	case 0:
		return rng;
	case 1:
		return places[pick(sizeof(places) / sizeof(places[0]))] + pick(64) * 8;
	case 2:
		return vm_gpa(&m.vm, pick(12)) + pick(512) * 8;
	case 3:
	case 4:
		return vm_gpa(&m.vm, pick(2) ? pick(12) : VM_SECOND + pick(4));
	default:
		return places[pick(sizeof(places) / sizeof(places[0]))];
	}
}

/* PAGEINFO, SECINFO and source of something that may well work. */
static void some_operands(void)
{
	static const uint64_t flags[] = { FLAGS_RW, FLAGS_TCS, FLAGS_RX, SGX_SECINFO_TYPE(0), 0 };
	struct sgx_secinfo *secinfo = machine_ram(&m, AT_SECINFO);

	switch (pick(4)) {
	case 0:
		machine_secs(&m)->attributes.flags ^= 1ull << pick(8);
		return;
	case 1:
		machine_pageinfo(&m, VM_BASE + pick(16) * SGX_PAGE_SIZE, AT_SOURCE, AT_SECINFO,
				 vm_gpa(&m.vm, pick(3)));
		secinfo->flags = flags[pick(5)];
		return;
	case 2:
		machine_pageinfo(&m, pick(2) ? 0 : rng, AT_SOURCE, AT_PCMD,
				 pick(2) ? 0 : vm_gpa(&m.vm, 0));
		return;
	default:
		machine_pageinfo(&m, some_address(), some_address(), some_address(),
				 some_address());
	}
}

static void test_anything(void)
{
	unsigned int retired = 0, faulted = 0, stopped = 0, wrong = 0;

	machine_init(&m, 24, false);
	machine_secs(&m);
	TAP_MUST(machine_ecreate(&m, 0) == 0 && cpu_ok(m.out), "a SECS to begin with");
	for (unsigned int i = 0; i < 30000; i++) {
		uint32_t leaf = pick(20);
		int r;

		some_operands();
		r = machine_encls(&m, (enum sgx_encls)leaf,
				  leaf == SGX_EPA && pick(4) ? SGX_PT_VA : some_address(),
				  some_address(), some_address());
		if (r == -EFAULT)
			stopped++;
		else if (r == 0 && m.out.fault == CPU_NO_FAULT)
			retired++;
		else if (r == 0 && (m.out.fault == CPU_GP || m.out.fault == CPU_PF))
			faulted++;
		else
			wrong++;
		if (pick(3) == 0)
			epc_reclaim(m.vm.w.epc);
	}
	TAP_CHECK(!wrong && retired > 1000 && faulted > 1000 && stopped > 100,
		  "30000 instructions of anything: %u retired, %u faulted, %u went nowhere, none "
		  "else",
		  retired, faulted, stopped);
	machine_fini(&m, "anything");
}

int main(void)
{
	test_bitmap();
	test_leaves_refused();
	test_msrs();
	test_ecreate_filter();
	test_ecreate_more();
	test_operands();
	test_faults();
	test_einit();
	test_changed_operands();
	test_race();
	test_paging();
	test_faults_by_gpa();
	test_anything();
	signer_destroy(signer);
	return tap_done();
}
