/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* KEYREQUEST and TARGETINFO in enclave memory: EGETKEY and EREPORT of whatever they hold. */
#include "arch/sgx.h"
#include "fuzz/fuzz.h"
#include "leaf/machine.h"

#define TARGET 512u
#define KEY    1024u
#define DATA   1536u
#define REPORT 2048u

static struct machine *m;
static uint8_t *page;

static struct cpu_outcome leaf(uint32_t eax, uint32_t rbx, uint32_t rcx, uint32_t rdx)
{
	m->regs.rax = eax;
	m->regs.rbx = LA(P_DATA) + rbx;
	m->regs.rcx = LA(P_DATA) + rcx;
	m->regs.rdx = LA(P_DATA) + rdx;
	return cpu_enclu(m->cpu, &m->lp, &m->mmu, &m->regs, NULL, 0);
}

static void start(void)
{
	m = machine_new(NULL);
	machine_secs(m);
	m->secs.attributes.flags |= SGX_ATTR_KSS | SGX_ATTR_PROVISIONKEY;
	m->secs.configsvn = 3;
	m->secs.configid[2] = 7;
	machine_build(m);
	machine_enter(m, 0);
	page = m->epc[P_DATA];
}

/* The same request gives the same key, another KEYID another one where it counts. */
static void check_key(struct sgx_keyrequest *req)
{
	const bool by_id = req->keyname == SGX_KEY_SEAL || req->keyname == SGX_KEY_REPORT;
	uint8_t key[16], again[16];

	memcpy(key, page + KEY, 16);
	must(cpu_ok(leaf(SGX_EGETKEY, 0, KEY, 0)), "EGETKEY once more");
	must(memcmp(key, page + KEY, 16) == 0, "the same key");
	req->keyid[31] ^= 1;
	must(cpu_ok(leaf(SGX_EGETKEY, 0, KEY, 0)), "EGETKEY with another KEYID");
	memcpy(again, page + KEY, 16);
	must((memcmp(key, again, 16) != 0) == by_id, "KEYID counts where it should");
	must(req->keyname != SGX_KEY_EINITTOKEN, "this enclave launches nobody");
	must(req->keyname == SGX_KEY_REPORT || req->isvsvn <= 4, "ISVSVN");
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nr)
{
	struct sgx_keyrequest *req;
	struct cpu_outcome out;

	if (!m)
		start();
	memset(page, 0, SGX_PAGE_SIZE);
	req = (struct sgx_keyrequest *)page;
	req->keyname = SGX_KEY_SEAL;
	req->keypolicy = SGX_KEYPOLICY_MRSIGNER;
	overlay(req, sizeof(*req), &bytes, &nr);
	overlay(page + TARGET, sizeof(struct sgx_targetinfo), &bytes, &nr);
	out = leaf(SGX_EGETKEY, 0, KEY, 0);
	if (cpu_ok(out))
		check_key(req);
	else
		must((out.fault == CPU_NO_FAULT || out.fault == CPU_GP) && page[KEY] == 0 &&
			     memcmp(page + KEY, page + KEY + 1, 15) == 0,
		     "no key with an error");
	/* TARGETINFO's reserved fields do not matter, so it is always taken. */
	must(cpu_ok(leaf(SGX_EREPORT, TARGET, DATA, REPORT)), "EREPORT");
	return 0;
}
