/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * ENCLS and ENCLV in root and non-root operation: what makes a VM exit, and what the guest sees.
 *
 * A conflict has one row, which runs in four modes.  With the EPC virtualisation extensions it is the
 * exit of the row; in the other three, and for a row without an exit always, it is what hardware
 * without VMX does.  Nothing may have changed in any of them.
 */
#include "cpu/vmx.h"
#include "leaf/table.h"

#define GUEST_LA 0xffff888001234000ull
#define GUEST_PA 0x12345000ull
#define CONTEXT  0x7f1234567001ull
#define NO_EXIT  0xffffu

static struct cpu_operands ops;
static struct cpu_exit guest_exit;
static struct sgx_rdinfo rdinfo __attribute__((aligned(32)));
static uint64_t hash[4], context = CONTEXT;

static const struct {
	const char *name;
	struct cpu_vmx vmx;
} modes[] = {
	{ "no VMX", { .mode = CPU_VMX_OFF } },
	{ "root", { CPU_VMX_ROOT, ~0u, ~0ull, ~0ull } },
	{ "non-root", { .mode = CPU_VMX_NON_ROOT } },
	{ "non-root with extensions", { CPU_VMX_NON_ROOT, CPU_VMX_EPC_VIRT_EXT, ~0ull, ~0ull } },
};
#define MODE_NR 4
#define ROOT    (&modes[1].vmx)
#define GUEST   (&modes[2].vmx)
#define EXT     (&modes[3].vmx)

static struct machine *new_machine(void)
{
	struct cpu_config config;
	struct machine *m;

	machine_config(&config);
	config.caps |= SGX_CPUID_ENCLS_C | SGX_CPUID_ENCLV | SGX_CPUID_UPDATESVN;
	m = machine_new(&config);
	machine_build(m);
	enclv_esetcontext(m->cpu, P_SECS, &context);
	return m;
}

/* ---- each leaf, so that nothing but what a row does is in its way */

static void operands(struct machine *m, uint32_t leaf, uint32_t page)
{
	machine_signer(&m->sig, hash);
	memset(&m->secinfo, 0, sizeof(m->secinfo));
	ops = (struct cpu_operands){
		.leaf = leaf,
		.page = page,
		.linear = GUEST_LA,
		.physical = GUEST_PA,
		.pi = { .srcpge = m->page, .secinfo = &m->secinfo, .secs = P_SECS },
		.secinfo = &m->secinfo,
		.rdinfo = &rdinfo,
		.sigstruct = &m->sig,
		.einittoken = &m->token,
		.lepubkeyhash = hash,
		.enclavecontext = &context,
		.secs = P_SECS,
		.va = P_VA,
		.out = m->cipher,
	};
	ops.pi.linaddr = LA(P_FREE);
	switch (leaf) {
	case SGX_ECREATE:
		ops.pi = (struct cpu_pageinfo){ .srcpge = &m->secs,
						.secinfo = &m->secinfo,
						.secs = CPU_NO_PAGE };
		break;
	case SGX_EADD:
		m->secinfo.flags = SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_R;
		break;
	case SGX_EAUG:
		ops.pi.srcpge = NULL;
		ops.pi.secinfo = NULL;
		break;
	case SGX_EMODT:
		m->secinfo.flags = SGX_SECINFO_TYPE(SGX_PT_TRIM);
		break;
	case SGX_EMODPR:
		m->secinfo.flags = SGX_SECINFO_R;
		break;
	case SGX_EWB:
		ops.pi = (struct cpu_pageinfo){ .pcmd = &m->pcmd, .secs = CPU_NO_PAGE };
		break;
	case SGX_ELDU:
	case SGX_ELDB:
	case SGX_ELDUC:
	case SGX_ELDBC:
		ops.pi.linaddr = LA(P_DATA2);
		ops.pi.srcpge = m->cipher;
		ops.pi.pcmd = &m->pcmd;
		break;
	}
}

static void in_use(struct machine *m) { epcm_try_exclusive(entry(m, ops.page)); }
static void tracking(struct machine *m) { epcm_try_extra(entry(m, P_SECS), EPCM_LOCK_TRACK); }
static void modifying(struct machine *m) { epcm_try_extra(entry(m, ops.page), EPCM_LOCK_MODIFY); }
static void va_in_use(struct machine *m) { epcm_try_exclusive(entry(m, P_VA)); }
static void secs_in_use(struct machine *m) { epcm_try_exclusive(entry(m, P_SECS)); }
static void untracked(struct machine *m)
{
	machine_enter(m, 0);
	encls_etrack(m->cpu, P_SECS);
}

static const struct conflict {
	const char *name;
	uint32_t leaf, page;
	void (*conflict)(struct machine *m);
	uint8_t fault;
	uint32_t eax;
	uint32_t code; /* of the exit */
} conflicts[] = {
	{ "ECREATE: page in use", SGX_ECREATE, P_SPARE, in_use, GP, 2 },
	{ "EADD: page in use", SGX_EADD, P_SPARE, in_use, GP, 2 },
	{ "EADD: SECS in use", SGX_EADD, P_SPARE, secs_in_use, GP, NO_EXIT },
	{ "EAUG: page in use", SGX_EAUG, P_SPARE, in_use, GP, 2 },
	{ "EAUG: SECS in use", SGX_EAUG, P_SPARE, secs_in_use, GP, NO_EXIT },
	{ "EPA: page in use", SGX_EPA, P_SPARE, in_use, GP, 2 },
	{ "EREMOVE: page in use", SGX_EREMOVE, P_DATA, in_use, GP, 2 },
	{ "EWB: page in use", SGX_EWB, P_DATA, in_use, GP, 2 },
	{ "EWB: VA page in use", SGX_EWB, P_DATA, va_in_use, GP, NO_EXIT },
	{ "ELDU: page in use", SGX_ELDU, P_SPARE, in_use, GP, 2 },
	{ "ELDU: VA page in use", SGX_ELDU, P_SPARE, va_in_use, GP, NO_EXIT },
	{ "ELDU: SECS in use", SGX_ELDU, P_SPARE, secs_in_use, GP, NO_EXIT },
	{ "ELDB: page in use", SGX_ELDB, P_SPARE, in_use, GP, 2 },
	{ "ELDUC: page in use", SGX_ELDUC, P_SPARE, in_use, CODE(SGX_EPC_PAGE_CONFLICT), 3 },
	{ "ELDBC: page in use", SGX_ELDBC, P_SPARE, in_use, CODE(SGX_EPC_PAGE_CONFLICT), 3 },
	{ "ELDUC: VA page in use", SGX_ELDUC, P_SPARE, va_in_use, CODE(SGX_EPC_PAGE_CONFLICT),
	  NO_EXIT },
	{ "ELDBC: SECS in use", SGX_ELDBC, P_SPARE, secs_in_use, CODE(SGX_EPC_PAGE_CONFLICT),
	  NO_EXIT },
	{ "EMODT: page in use", SGX_EMODT, P_DATA, in_use, CODE(SGX_EPC_PAGE_CONFLICT), 3 },
	/* EACCEPT and its like hold the page shared too, so it is the exclusive access that fails. */
	{ "EMODT: being modified", SGX_EMODT, P_DATA, modifying, CODE(SGX_EPC_PAGE_CONFLICT), 3 },
	{ "EMODPR: page in use", SGX_EMODPR, P_DATA, in_use, GP, NO_EXIT },
	{ "EMODPR: being modified", SGX_EMODPR, P_DATA, modifying, CODE(SGX_EPC_PAGE_CONFLICT),
	  NO_EXIT },
	{ "ETRACK: facility in use", SGX_ETRACK, P_SECS, tracking, GP, 0 },
	{ "ETRACK: cycle incomplete", SGX_ETRACK, P_SECS, untracked, CODE(SGX_PREV_TRK_INCMPL), 1 },
	{ "ETRACK: SECS in use", SGX_ETRACK, P_SECS, in_use, GP, NO_EXIT },
	{ "ETRACKC: facility in use", SGX_ETRACKC, P_DATA, tracking, CODE(SGX_EPC_PAGE_CONFLICT),
	  0 },
	{ "ETRACKC: cycle incomplete", SGX_ETRACKC, P_DATA, untracked, CODE(SGX_PREV_TRK_INCMPL),
	  1 },
	{ "ETRACKC: page in use", SGX_ETRACKC, P_DATA, in_use, CODE(SGX_EPC_PAGE_CONFLICT),
	  NO_EXIT },
	{ "EBLOCK: page in use", SGX_EBLOCK, P_DATA, in_use, CODE(SGX_EPC_PAGE_CONFLICT), NO_EXIT },
	{ "ERDINFO: page in use", SGX_ERDINFO, P_DATA, in_use, CODE(SGX_EPC_PAGE_CONFLICT),
	  NO_EXIT },
	{ "EEXTEND: page in use", SGX_EEXTEND, P_DATA, in_use, GP, NO_EXIT },
	{ "EDBGRD: page in use", SGX_EDBGRD, P_DATA, in_use, GP, NO_EXIT },
	{ "EDBGWR: page in use", SGX_EDBGWR, P_DATA, in_use, GP, NO_EXIT },
	{ "EINIT: SECS in use", SGX_EINIT, P_SECS, in_use, GP, NO_EXIT },
	{ "EUPDATESVN: a page in use", SGX_EUPDATESVN, P_DATA, in_use, CODE(SGX_LOCKFAIL),
	  NO_EXIT },
};

static void check_exit(const struct conflict *c)
{
	const bool track = c->code < 2;

	TAP_CHECK(guest_exit.reason == 71 && guest_exit.code == c->code &&
			  guest_exit.error == (c->code == 3 ? SGX_EPC_PAGE_CONFLICT : 0),
		  "%s: qualification %u", c->name, c->code);
	TAP_CHECK(guest_exit.guest_linear == (track ? 0 : GUEST_LA) &&
			  guest_exit.guest_physical == (track ? CONTEXT : GUEST_PA),
		  "%s: the addresses of the exit", c->name);
}

static void run_conflict(const struct conflict *c, unsigned int mode)
{
	static struct snapshot before;
	struct machine *m = new_machine();
	const struct cpu_exit none = { 0 };
	bool exits = c->code != NO_EXIT && mode == 3;
	struct cpu_outcome out;

	operands(m, c->leaf, c->page);
	if (c->leaf >= SGX_ELDB && c->leaf <= SGX_ELDUC &&
	    (c->leaf <= SGX_ELDU || c->leaf >= SGX_ELDBC))
		TAP_MUST(cpu_ok(machine_block_track(m, P_DATA2)) &&
				 cpu_ok(machine_ewb(m, P_DATA2, 0)),
			 "a page to load");
	c->conflict(m);
	snapshot_take(m, &before);
	guest_exit = none;
	out = cpu_encls(m->cpu, &modes[mode].vmx, &ops, &guest_exit);
	if (exits)
		TAP_CHECK(out.fault == CPU_VM_EXIT, "%s: %s: exit", c->name, modes[mode].name);
	else
		TAP_CHECK(out.fault == c->fault && out.eax == c->eax && !guest_exit.reason,
			  "%s: %s: fault %u code %u", c->name, modes[mode].name, c->fault, c->eax);
	if (exits)
		check_exit(c);
	TAP_CHECK(snapshot_same(m, &before), "%s: %s: nothing changed", c->name, modes[mode].name);
	machine_free(m);
}

/* ---- exiting bitmaps */

static void test_encls_bitmap(struct machine *m)
{
	static const uint32_t leaves[] = { 0,    1,    2,    3,   4,   5,   6,   7,    8,
					   9,    0xa,  0xb,  0xc, 0xd, 0xe, 0xf, 0x10, 0x11,
					   0x12, 0x13, 0x18, 62,  63,  64,  ~0u };
	static struct snapshot before;
	bool exits = true, only = true;

	snapshot_take(m, &before);
	for (unsigned int i = 0; i < sizeof(leaves) / sizeof(*leaves); i++) {
		uint64_t bit = 1ull << (leaves[i] < 63 ? leaves[i] : 63);
		struct cpu_vmx vmx = { CPU_VMX_NON_ROOT, CPU_VMX_ENCLS_EXITING, bit, 0 };

		operands(m, leaves[i], EPC_NR);
		guest_exit.reason = 0;
		exits &= cpu_encls(m->cpu, &vmx, &ops, &guest_exit).fault == CPU_VM_EXIT &&
			 guest_exit.reason == 60;
		vmx.encls_bitmap = ~bit;
		only &= cpu_encls(m->cpu, &vmx, &ops, &guest_exit).fault != CPU_VM_EXIT;
		vmx = (struct cpu_vmx){ CPU_VMX_NON_ROOT, 0, ~0ull, 0 };
		only &= cpu_encls(m->cpu, &vmx, &ops, &guest_exit).fault != CPU_VM_EXIT;
		vmx = (struct cpu_vmx){ CPU_VMX_ROOT, ~0u, ~0ull, ~0ull };
		only &= cpu_encls(m->cpu, &vmx, &ops, &guest_exit).fault != CPU_VM_EXIT;
	}
	TAP_CHECK(exits, "ENCLS: a bit set is an exit 60, bit 63 stands for all leaves from 63 on");
	TAP_CHECK(only, "ENCLS: no exit by another bit, without the control, in root operation");
	TAP_CHECK(snapshot_same(m, &before), "ENCLS: an exit changes nothing");
	operands(m, 0x14, P_DATA);
	TAP_CHECK(is_fault(cpu_encls(m->cpu, ROOT, &ops, &guest_exit), CPU_GP),
		  "ENCLS: an undefined leaf is #GP");
}

static void test_enclv(struct machine *m)
{
	struct cpu_vmx vmx = { CPU_VMX_NON_ROOT, CPU_VMX_ENCLV_EXITING, 0, 0 };
	bool exits = true, runs = true;

	operands(m, SGX_EINCVIRTCHILD, P_DATA);
	TAP_CHECK(is_fault(cpu_enclv(m->cpu, &modes[0].vmx, &ops, &guest_exit), CPU_UD),
		  "ENCLV: #UD outside of VMX operation");
	TAP_CHECK(is_fault(cpu_enclv(m->cpu, EXT, &ops, &guest_exit), CPU_UD),
		  "ENCLV: #UD in non-root operation without the control");
	for (uint32_t leaf = SGX_EDECVIRTCHILD; leaf <= SGX_ESETCONTEXT; leaf++) {
		operands(m, SGX_EINCVIRTCHILD, P_DATA);
		runs &= cpu_ok(cpu_enclv(m->cpu, ROOT, &ops, &guest_exit));
		operands(m, leaf, leaf == SGX_ESETCONTEXT ? P_SECS : P_DATA);
		vmx.enclv_bitmap = 1ull << leaf;
		exits &= cpu_enclv(m->cpu, &vmx, &ops, &guest_exit).fault == CPU_VM_EXIT &&
			 guest_exit.reason == 70;
		vmx.enclv_bitmap = ~vmx.enclv_bitmap;
		runs &= cpu_ok(cpu_enclv(m->cpu, &vmx, &ops, &guest_exit)) &&
			cpu_ok(cpu_enclv(m->cpu, ROOT, &ops, &guest_exit)) == (leaf != 0);
	}
	TAP_CHECK(exits, "ENCLV: a bit set is an exit 70");
	TAP_CHECK(runs, "ENCLV: a bit clear, or root operation, runs the leaf");
	operands(m, 3, P_DATA);
	TAP_CHECK(is_fault(cpu_enclv(m->cpu, ROOT, &ops, &guest_exit), CPU_GP),
		  "ENCLV: an undefined leaf is #GP");
	operands(m, 99, P_DATA);
	vmx.enclv_bitmap = 1ull << 63;
	TAP_CHECK(cpu_enclv(m->cpu, &vmx, &ops, &guest_exit).fault == CPU_VM_EXIT,
		  "ENCLV: bit 63 stands for all leaves from 63 on");
}

static void test_absent(void)
{
	struct cpu_config config;
	struct machine *m;

	machine_config(&config);
	m = machine_new(&config);
	operands(m, SGX_EINCVIRTCHILD, P_DATA);
	TAP_CHECK(is_fault(cpu_enclv(m->cpu, ROOT, &ops, &guest_exit), CPU_UD),
		  "ENCLV: #UD when CPUID does not have it");
	machine_free(m);
	config.caps = 0;
	m = machine_new(&config);
	operands(m, SGX_EPA, P_VA);
	TAP_CHECK(is_fault(cpu_encls(m->cpu, ROOT, &ops, &guest_exit), CPU_UD),
		  "ENCLS: #UD when CPUID does not have it");
	machine_free(m);
}

/* ---- children that the VMM has taken out */

static struct cpu_outcome encls(struct machine *m, const struct cpu_vmx *vmx, uint32_t leaf,
				uint32_t page)
{
	operands(m, leaf, page);
	return cpu_encls(m->cpu, vmx, &ops, &guest_exit);
}

static void test_virtual_children(void)
{
	struct machine *m = new_machine();

	enclv_eincvirtchild(m->cpu, P_DATA, P_SECS);
	TAP_CHECK(cpu_ok(encls(m, EXT, SGX_ERDINFO, P_DATA)) && rdinfo.enclavecontext == CONTEXT,
		  "a guest's ERDINFO of a child: its enclave's context");
	for (uint32_t i = P_TCS0; i <= P_DATA2; i++)
		encls_eremove(m->cpu, i);
	TAP_CHECK(cpu_ok(encls(m, EXT, SGX_ERDINFO, P_SECS)) && rdinfo.status == 1 &&
			  rdinfo.enclavecontext == 0,
		  "with extensions, ERDINFO: a virtual child is a child, and no context");
	TAP_CHECK(cpu_ok(encls(m, GUEST, SGX_ERDINFO, P_SECS)) && rdinfo.status == 2 &&
			  rdinfo.enclavecontext == CONTEXT,
		  "without extensions, ERDINFO: a virtual child");
	TAP_CHECK(cpu_ok(encls(m, ROOT, SGX_ERDINFO, P_SECS)) && rdinfo.status == 2,
		  "in root operation, ERDINFO: a virtual child");
	TAP_CHECK(is_code(encls(m, EXT, SGX_EREMOVE, P_SECS), SGX_CHILD_PRESENT),
		  "with extensions, EREMOVE: CHILD_PRESENT");
	TAP_CHECK(is_code(encls(m, EXT, SGX_EWB, P_SECS), SGX_CHILD_PRESENT),
		  "with extensions, EWB: CHILD_PRESENT");
	TAP_CHECK(cpu_ok(encls(m, GUEST, SGX_EWB, P_SECS)), "without extensions, EWB: it goes out");
	operands(m, SGX_ELDU, P_SECS);
	ops.pi.secs = CPU_NO_PAGE;
	ops.pi.linaddr = 0;
	TAP_CHECK(cpu_ok(cpu_encls(m->cpu, EXT, &ops, &guest_exit)), "a guest's ELDU of the SECS");
	encls(m, ROOT, SGX_ERDINFO, P_SECS);
	TAP_CHECK(rdinfo.status == 2 && rdinfo.enclavecontext == GUEST_PA,
		  "VIRTCHILDCNT came back, ENCLAVECONTEXT is the guest-physical address");
	TAP_CHECK(is_code(encls(m, EXT, SGX_EREMOVE, P_SECS), SGX_CHILD_PRESENT),
		  "it counts still");
	enclv_edecvirtchild(m->cpu, P_SECS, P_SECS);
	TAP_CHECK(cpu_ok(encls(m, EXT, SGX_ERDINFO, P_SECS)) && rdinfo.status == 0, "no child");
	TAP_CHECK(cpu_ok(encls(m, EXT, SGX_EREMOVE, P_SECS)), "without children, EREMOVE");
	encls(m, EXT, SGX_ECREATE, P_SECS);
	encls(m, ROOT, SGX_ERDINFO, P_SECS);
	TAP_CHECK(rdinfo.enclavecontext == GUEST_PA, "a guest's ECREATE: guest-physical address");
	encls_eremove(m->cpu, P_SECS);
	encls(m, ROOT, SGX_ECREATE, P_SPARE);
	encls(m, ROOT, SGX_ERDINFO, P_SPARE);
	TAP_CHECK(rdinfo.enclavecontext == (uint64_t)P_SPARE << 12,
		  "ECREATE in root operation: the page's own address");
	machine_free(m);
}

/* Every leaf once by its number, in a guest with nothing in the way. */
static void test_dispatch(void)
{
	struct machine *m = new_machine();
	bool ok = true;

	ok &= cpu_ok(encls(m, EXT, SGX_EPA, P_VA2)) && cpu_ok(encls(m, EXT, SGX_EAUG, P_SPARE)) &&
	      cpu_ok(encls(m, EXT, SGX_EMODPR, P_DATA)) && cpu_ok(encls(m, EXT, SGX_EMODT, P_DATA));
	operands(m, SGX_EDBGWR, P_DATA2);
	ops.value = 0x1122334455667788;
	ops.offset = 64;
	ok &= cpu_ok(cpu_encls(m->cpu, EXT, &ops, &guest_exit));
	ops.leaf = SGX_EDBGRD;
	ops.value = 0;
	ok &= cpu_ok(cpu_encls(m->cpu, EXT, &ops, &guest_exit)) && ops.value == 0x1122334455667788;
	ok &= cpu_ok(encls(m, EXT, SGX_EBLOCK, P_DATA2)) &&
	      cpu_ok(encls(m, EXT, SGX_ETRACKC, P_DATA2));
	ok &= cpu_ok(encls(m, EXT, SGX_EWB, P_DATA2)) && ops.linaddr == LA(P_DATA2);
	ok &= cpu_ok(encls(m, EXT, SGX_ELDBC, P_DATA2)) && cpu_epcm_read(m->cpu, P_DATA2).blocked;
	ok &= cpu_ok(encls(m, EXT, SGX_ETRACK, P_SECS)) && cpu_ok(encls(m, EXT, SGX_EWB, P_DATA2));
	ok &= cpu_ok(encls(m, EXT, SGX_ELDUC, P_DATA2)) && !cpu_epcm_read(m->cpu, P_DATA2).blocked;
	TAP_CHECK(ok, "a guest's leaves on an enclave that runs");
	for (uint32_t i = EPC_NR; i-- > 0;)
		ok &= cpu_ok(encls(m, EXT, SGX_EREMOVE, i));
	TAP_CHECK(ok && is_code(encls(m, EXT, SGX_EUPDATESVN, 0), SGX_NO_UPDATE),
		  "removes it, and EUPDATESVN");
	machine_free(m);
}

static void test_dispatch_build(void)
{
	struct machine *m = machine_new(NULL);

	machine_secs(m);
	TAP_CHECK(cpu_ok(encls(m, EXT, SGX_ECREATE, P_SECS)) &&
			  cpu_ok(encls(m, EXT, SGX_EADD, P_DATA)) &&
			  cpu_ok(encls(m, EXT, SGX_EEXTEND, P_DATA)) &&
			  is_code(encls(m, EXT, SGX_EINIT, P_SECS), SGX_INVALID_SIG_STRUCT),
		  "a guest builds an enclave; EINIT looks at the signature first");
	machine_free(m);
}

int main(void)
{
	struct machine *m;

	for (size_t i = 0; i < sizeof(conflicts) / sizeof(*conflicts); i++)
		for (unsigned int mode = 0; mode < MODE_NR; mode++)
			run_conflict(&conflicts[i], mode);
	m = new_machine();
	test_encls_bitmap(m);
	test_enclv(m);
	machine_free(m);
	test_absent();
	test_virtual_children();
	test_dispatch();
	test_dispatch_build();
	return tap_done();
}
