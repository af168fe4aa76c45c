/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Threads that run in one enclave while a pager takes its pages away: each enters by a TCS of its
 * own, gets a key, is interrupted, resumed, leaves.  A thread that meets a page that is out waits
 * for it, as a host does; no other outcome is right, and no page may ever hold wrong contents.
 *
 * To be run under TSan.
 */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu_priv.h"
#include "cpu/secs.h"
#include "leaf/machine.h"
#include "lib/tap.h"

#define THREAD_NR 4
#define ROUND_NR  10000
#define PAGE_NR   (THREAD_NR * 3) /* TCS, SSA frame, data, for each */

/* Page tables, and where the pages are that are out. */
static struct {
	struct machine *m;
	_Atomic uint32_t map[PAGE_NR]; /* EPC page, or CPU_NO_PAGE */
	_Atomic bool stop;
	uint8_t key[16];
	_Atomic unsigned int faults, evictions, not_tracked;
} world;

static uint64_t la_of(unsigned int i) { return ENCL_BASE + (uint64_t)i * SGX_PAGE_SIZE; }

static uint32_t walk(void *ctx, uint64_t la, unsigned int access, uint16_t *ret_pf_error)
{
	uint64_t i = (la - ENCL_BASE) / SGX_PAGE_SIZE;

	(void)ctx;
	(void)access;
	*ret_pf_error = 0;
	return i < PAGE_NR ? atomic_load(&world.map[i]) : CPU_NO_PAGE;
}

static const struct cpu_mmu mmu = { .walk = walk };

/* A #PF of a page that is not there: the only outcome besides success that may be seen. */
static bool is_absent(struct cpu_outcome out)
{
	return out.fault == CPU_PF && !(out.pf_error & SGX_PFEC_P);
}

static bool wait_for_page(struct cpu_outcome out)
{
	atomic_fetch_add(&world.faults, 1);
	sched_yield();
	return is_absent(out);
}

struct runner {
	pthread_t thread;
	unsigned int i;
	const char *wrong;
	struct cpu_lp lp;
	struct cpu_regs regs;
	uint8_t xsave[XSAVE_SIZE] __attribute__((aligned(64)));
};

static bool again(struct runner *r, uint32_t leaf)
{
	struct cpu_regs before = r->regs;
	struct cpu_outcome out;

	for (;;) {
		r->regs.rax = leaf;
		out = cpu_enclu(world.m->cpu, &r->lp, &mmu, &r->regs, r->xsave, XSAVE_SIZE);
		if (cpu_ok(out))
			return true;
		if (!wait_for_page(out))
			return false;
		before.rax = leaf;
		if (memcmp(&before, &r->regs, sizeof(before)))
			return false;
	}
}

static bool aex(struct runner *r)
{
	const struct cpu_event event = { .vector = CPU_NO_FAULT };
	struct cpu_outcome out;

	for (;;) {
		out = cpu_aex(world.m->cpu, &r->lp, &mmu, &r->regs, r->xsave, XSAVE_SIZE, &event);
		if (cpu_ok(out))
			return true;
		if (!wait_for_page(out))
			return false;
	}
}

static void host_regs(struct runner *r)
{
	r->regs = (struct cpu_regs){
		.rbx = la_of(r->i), .rcx = AEP, .rsp = HOST_RSP, .rbp = HOST_RBP, .rip = 0x400500
	};
}

static const char *one_round(struct runner *r)
{
	uint64_t data = la_of(2 * THREAD_NR + r->i);

	host_regs(r);
	if (!again(r, SGX_EENTER))
		return "EENTER";
	r->regs.rbx = data;
	r->regs.rcx = data + 1024;
	if (!again(r, SGX_EGETKEY))
		return "EGETKEY";
	r->regs.r12 = 0x1200 + r->i;
	r->regs.rip = la_of(0) + 5;
	if (!aex(r))
		return "AEX";
	if (r->regs.r12 || r->regs.rsp != HOST_RSP)
		return "the host's state after AEX";
	host_regs(r);
	if (!again(r, SGX_ERESUME))
		return "ERESUME";
	if (r->regs.r12 != 0x1200 + r->i)
		return "the state after ERESUME";
	r->regs.rbx = 0x400503;
	return again(r, SGX_EEXIT) ? NULL : "EEXIT";
}

static void *runner_main(void *arg)
{
	struct runner *r = arg;

	for (unsigned int n = 0; n < ROUND_NR && !r->wrong; n++)
		r->wrong = one_round(r);
	return NULL;
}

/* ---- the pager */

struct pager {
	pthread_t thread;
	const char *wrong;
	uint8_t cipher[SGX_PAGE_SIZE] __attribute__((aligned(4096)));
	struct sgx_pcmd pcmd __attribute__((aligned(128)));
};

/* What a driver does: unmap, block, track, write; and, when it is still in use, again. */
static const char *evict(struct pager *p, unsigned int i, uint32_t page)
{
	struct cpu *cpu = world.m->cpu;
	struct cpu_pageinfo pi = { .pcmd = &p->pcmd, .secs = CPU_NO_PAGE };
	uint64_t la;

	atomic_store(&world.map[i], CPU_NO_PAGE);
	if (!cpu_ok(encls_eblock(cpu, page)))
		return "EBLOCK";
	for (;;) {
		struct cpu_outcome out;

		out = encls_etrack(cpu, P_SECS);
		if (!cpu_ok(out) && !is_code(out, SGX_PREV_TRK_INCMPL))
			return "ETRACK";
		cpu_track_flush(cpu, P_SECS);
		out = encls_ewb(cpu, &pi, page, P_VA, i, p->cipher, &la);
		if (cpu_ok(out))
			return la == la_of(i) ? NULL : "LINADDR";
		if (!is_code(out, SGX_NOT_TRACKED))
			return "EWB";
		atomic_fetch_add(&world.not_tracked, 1);
		sched_yield();
	}
}

static void *pager_main(void *arg)
{
	struct pager *p = arg;
	uint32_t spare = P_SPARE;

	for (unsigned int n = 0; !atomic_load(&world.stop) && !p->wrong; n++) {
		unsigned int i = n * 7 % PAGE_NR;
		uint32_t page = atomic_load(&world.map[i]);
		struct cpu_pageinfo pi = {
			.linaddr = la_of(i), .srcpge = p->cipher, .pcmd = &p->pcmd, .secs = P_SECS
		};

		p->wrong = evict(p, i, page);
		if (p->wrong)
			break;
		atomic_fetch_add(&world.evictions, 1);
		if (n % 4 == 0)
			sched_yield(); /* somebody may want it now */
		if (!cpu_ok(encls_eldu(world.m->cpu, &pi, spare, P_VA, i)))
			p->wrong = "ELDU";
		atomic_store(&world.map[i], spare);
		spare = page;
	}
	return NULL;
}

/* ---- the enclave */

static void build(void)
{
	struct machine *m = machine_new(NULL);
	const uint64_t rw = SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_R | SGX_SECINFO_W;
	bool ok = true;

	world.m = m;
	machine_secs(m);
	ok &= cpu_ok(machine_ecreate(m, P_SECS));
	for (unsigned int i = 0; i < PAGE_NR; i++) {
		struct sgx_keyrequest req = { .keyname = SGX_KEY_SEAL,
					      .keypolicy = SGX_KEYPOLICY_MRENCLAVE };
		bool tcs = i < THREAD_NR;

		memset(m->page, 0, sizeof(m->page));
		if (tcs) {
			machine_tcs(m, 0);
			((struct sgx_tcs *)m->page)->ossa = la_of(THREAD_NR + i) - ENCL_BASE;
			((struct sgx_tcs *)m->page)->nssa = 1;
		} else if (i >= 2 * THREAD_NR) {
			memcpy(m->page, &req, sizeof(req));
			memset(m->page + 2048, (int)i, 2048);
		}
		ok &= cpu_ok(machine_eadd(m, 1 + i, la_of(i),
					  tcs ? SGX_SECINFO_TYPE(SGX_PT_TCS) : rw, false));
		atomic_store(&world.map[i], 1 + i);
	}
	machine_sigstruct(m);
	ok &= cpu_ok(machine_einit(m)) && cpu_ok(encls_epa(m->cpu, P_VA));
	TAP_MUST(ok, "an enclave of %u threads", THREAD_NR);
}

static void check_end(void)
{
	struct machine *m = world.m;
	bool keys = true, contents = true, holds = true;
	uint8_t *first = NULL;

	for (unsigned int i = 2 * THREAD_NR; i < PAGE_NR; i++) {
		uint8_t *page = m->epc[atomic_load(&world.map[i])];

		if (!first)
			first = page + 1024;
		keys &= memcmp(first, page + 1024, 16) == 0 && !cpu_is_zero(page + 1024, 16);
		for (unsigned int k = 2048; k < 4096; k++)
			contents &= page[k] == (uint8_t)i;
	}
	TAP_CHECK(keys, "every thread got the same key");
	TAP_CHECK(contents, "every page has its contents");
	for (uint32_t i = 0; i < EPC_NR; i++)
		holds &= atomic_load(&m->cpu->epcm[i].lock) == 0;
	TAP_CHECK(holds, "no EPCM entry is held");
	TAP_CHECK(cpu_active_nr(m->cpu, P_SECS) == 0, "nobody is inside");
	TAP_CHECK(((struct secs_page *)m->epc[P_SECS])->own.child_nr == PAGE_NR,
		  "the SECS has all its children");
}

int main(void)
{
	static struct runner runner[THREAD_NR];
	static struct pager pager;
	bool ran = true;

	build();
	for (unsigned int i = 0; i < THREAD_NR; i++) {
		runner[i].i = i;
		ran &= pthread_create(&runner[i].thread, NULL, runner_main, &runner[i]) == 0;
	}
	ran &= pthread_create(&pager.thread, NULL, pager_main, &pager) == 0;
	TAP_MUST(ran, "threads are made");
	for (unsigned int i = 0; i < THREAD_NR; i++)
		pthread_join(runner[i].thread, NULL);
	atomic_store(&world.stop, true);
	pthread_join(pager.thread, NULL);
	for (unsigned int i = 0; i < THREAD_NR; i++)
		TAP_CHECK(!runner[i].wrong, "thread %u ran %u rounds%s%s", i, ROUND_NR,
			  runner[i].wrong ? ", wrong: " : "",
			  runner[i].wrong ? runner[i].wrong : "");
	TAP_CHECK(!pager.wrong, "the pager%s%s", pager.wrong ? ", wrong: " : "",
		  pager.wrong ? pager.wrong : "");
	printf("# %u evictions, %u faults, %u times not tracked\n", world.evictions, world.faults,
	       world.not_tracked);
	TAP_CHECK(world.evictions > 0 && world.faults > 0, "they did meet");
	check_end();
	machine_free(world.m);
	return tap_done();
}
