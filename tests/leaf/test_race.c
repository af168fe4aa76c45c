/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Two to eight threads run random leaves on one EPC.  Each wins pages from a common pool and keeps a
 * ledger of them; it alone takes its pages away, everybody meddles with all of them.  The end must be
 * one that some order of the leaves gives: what is valid is what the ledgers say, counters are the sum
 * of what was counted, and a measurement, to which everybody adds one and the same record, is that of
 * as many records as were taken.
 *
 * To be run under TSan.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/arena.h"
#include "cpu/cpu_priv.h"
#include "cpu/epoch.h"
#include "cpu/secs.h"
#include "leaf/machine.h"
#include "lib/tap.h"

#define THREAD_MAX 8
#define LEAF_NR    100000u
#define PAGE_NR    96u
#define SIZE       0x100000ull
#define SLOT_NR    32u /* of each thread, one for each page that it may have out */

/* Two enclaves that run, one that is being added to, one that is being measured. */
enum { A, B, C, D, D_PAGE, VA0, VA1, FIRST_THREAD, POOL = FIRST_THREAD + 3 * THREAD_MAX };

enum role { TCS, SSA, DATA };

static struct {
	struct cpu *cpu;
	uint8_t (*epc)[SGX_PAGE_SIZE];
	_Atomic uint64_t eadd_nr, eextend_nr, virtchild[4], tracked[4];
} w;

static uint32_t page_of(unsigned int thread, enum role role)
{
	return FIRST_THREAD + 3 * thread + role;
}

/* A page has one address, in whatever enclave it is. */
static uint64_t la_of(uint32_t page) { return ENCL_BASE + (uint64_t)page * SGX_PAGE_SIZE; }

static uint32_t walk(void *ctx, uint64_t la, unsigned int access, uint16_t *ret_pf_error)
{
	uint64_t page = (la - ENCL_BASE) / SGX_PAGE_SIZE;

	(void)ctx;
	(void)access;
	*ret_pf_error = 0;
	return page < PAGE_NR ? (uint32_t)page : CPU_NO_PAGE;
}

static const struct cpu_mmu mmu = { .walk = walk };

/* ---- a thread */

enum place { NOT_MINE, RESIDENT, ADDED, OUT };

struct blob {
	uint8_t cipher[SGX_PAGE_SIZE] __attribute__((aligned(4096)));
	struct sgx_pcmd pcmd __attribute__((aligned(128)));
	bool used;
	uint32_t secs;
	uint64_t la, version;
	uint8_t mark;
};

struct runner {
	pthread_t thread;
	unsigned int i;
	uint64_t random;
	const char *wrong;
	enum place ledger[PAGE_NR];
	uint8_t mark[PAGE_NR]; /* the contents of a page that was AUGed */
	uint32_t parent[PAGE_NR];
	uint64_t la[PAGE_NR];
	struct blob blob[SLOT_NR];
	uint64_t versions[LEAF_NR]; /* all that EWB gave */
	unsigned int version_nr, conflicts;
	struct cpu_lp lp;
	struct cpu_regs regs;
};

static uint32_t rnd(struct runner *r, uint32_t below)
{
	r->random = r->random * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(r->random >> 33) % below;
}

static uint32_t pool(struct runner *r) { return POOL + rnd(r, PAGE_NR - POOL); }

/* A page of the pool that is @r's and at @place; CPU_NO_PAGE when a look around finds none. */
static uint32_t mine(struct runner *r, enum place place)
{
	uint32_t page = pool(r);

	for (uint32_t n = 0; n < PAGE_NR - POOL; n++) {
		if (r->ledger[page] == place)
			return page;
		page = page + 1 < PAGE_NR ? page + 1 : POOL;
	}
	return CPU_NO_PAGE;
}

static void saw(struct runner *r, struct cpu_outcome out)
{
	r->conflicts += is_code(out, SGX_EPC_PAGE_CONFLICT) || is_fault(out, CPU_GP);
	if (out.fault != CPU_NO_FAULT && out.fault != CPU_GP && out.fault != CPU_PF)
		r->wrong = "a vector that no leaf has";
}

static void do_new(struct runner *r)
{
	static const uint8_t src[SGX_PAGE_SIZE] __attribute__((aligned(4096)));
	const struct sgx_secinfo info = { .flags = SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_R };
	uint32_t page = pool(r), secs = rnd(r, 3);
	struct cpu_pageinfo pi = { .linaddr = la_of(page), .secs = secs };
	struct cpu_outcome out;

	if (secs == C) {
		pi = (struct cpu_pageinfo){
			.linaddr = ENCL_BASE, .srcpge = src, .secinfo = &info, .secs = C
		};
		out = encls_eadd(w.cpu, &pi, page);
		atomic_fetch_add(&w.eadd_nr, cpu_ok(out));
	} else {
		out = encls_eaug(w.cpu, &pi, page);
	}
	saw(r, out);
	if (!cpu_ok(out))
		return;
	if (r->ledger[page] == RESIDENT || r->ledger[page] == ADDED)
		r->wrong = "a page given out twice";
	r->ledger[page] = secs == C ? ADDED : RESIDENT;
	r->parent[page] = secs;
	r->la[page] = pi.linaddr;
	r->mark[page] = (uint8_t)rnd(r, 256);
	if (secs != C)
		memset(w.epc[page], r->mark[page], SGX_PAGE_SIZE);
}

static void do_ewb(struct runner *r)
{
	uint32_t page = mine(r, RESIDENT), k = rnd(r, SLOT_NR), slot = r->i * SLOT_NR + k;
	struct blob *b = &r->blob[k];
	struct cpu_pageinfo pi = { .pcmd = &b->pcmd, .secs = CPU_NO_PAGE };
	struct cpu_outcome out;
	uint64_t la;

	if (b->used || page == CPU_NO_PAGE)
		return;
	out = encls_eblock(w.cpu, page);
	saw(r, out);
	out = encls_etrack(w.cpu, r->parent[page]);
	atomic_fetch_add(&w.tracked[r->parent[page]], cpu_ok(out));
	cpu_track_flush(w.cpu, r->parent[page]);
	out = encls_ewb(w.cpu, &pi, page, VA0 + k % 2, slot, b->cipher, &la);
	saw(r, out);
	if (is_code(out, SGX_VA_SLOT_OCCUPIED))
		r->wrong = "a slot of ours in use";
	if (!cpu_ok(out))
		return;
	r->ledger[page] = NOT_MINE;
	b->used = true;
	b->secs = r->parent[page];
	b->la = la;
	b->mark = r->mark[page];
	b->version = ((uint64_t *)w.epc[VA0 + k % 2])[slot];
	r->versions[r->version_nr++] = b->version;
	if (la != r->la[page])
		r->wrong = "LINADDR";
}

static bool all(const uint8_t *bytes, uint8_t value)
{
	return bytes[0] == value && memcmp(bytes, bytes + 1, SGX_PAGE_SIZE - 1) == 0;
}

static void do_eldu(struct runner *r)
{
	uint32_t k = rnd(r, SLOT_NR), page = pool(r);
	struct blob *b = &r->blob[k];
	struct cpu_pageinfo pi = {
		.linaddr = b->la, .srcpge = b->cipher, .pcmd = &b->pcmd, .secs = b->secs
	};
	struct cpu_outcome out;

	if (!b->used)
		return;
	out = encls_eldu(w.cpu, &pi, page, VA0 + k % 2, r->i * SLOT_NR + k);
	saw(r, out);
	if (out.fault == CPU_NO_FAULT && out.eax)
		r->wrong = "ELDU of an untouched page refused";
	if (!cpu_ok(out))
		return;
	if (!all(w.epc[page], b->mark))
		r->wrong = "the contents of a page that came back";
	b->used = false;
	r->ledger[page] = RESIDENT;
	r->parent[page] = b->secs;
	r->la[page] = b->la;
	r->mark[page] = b->mark;
}

static void do_eremove(struct runner *r)
{
	uint32_t page = mine(r, rnd(r, 4) ? ADDED : RESIDENT);
	struct cpu_outcome out;

	if (page == CPU_NO_PAGE)
		return;
	out = encls_eremove(w.cpu, page);
	saw(r, out);
	if (cpu_ok(out))
		r->ledger[page] = NOT_MINE;
}

/* Leaves that leave pages where they are: on anybody's. */
static void do_meddle(struct runner *r)
{
	struct sgx_secinfo info = { .flags = rnd(r, 2) | SGX_SECINFO_TYPE(SGX_PT_TRIM) };
	struct sgx_rdinfo rdinfo __attribute__((aligned(32)));
	uint32_t page = pool(r), secs = rnd(r, 4);
	struct cpu_outcome out = { .fault = CPU_NO_FAULT };
	uint64_t value;

	switch (rnd(r, 9)) {
	case 0:
		out = encls_eblock(w.cpu, page);
		break;
	case 1:
		out = encls_emodpr(w.cpu, &info, page);
		break;
	case 2:
		out = encls_emodt(w.cpu, &info, page);
		break;
	case 3:
		out = encls_erdinfo(w.cpu, &rdinfo, page);
		break;
	case 4:
		out = encls_etrackc(w.cpu, secs);
		atomic_fetch_add(&w.tracked[secs], cpu_ok(out));
		break;
	case 5:
		out = enclv_eincvirtchild(w.cpu, secs, secs);
		atomic_fetch_add(&w.virtchild[secs], cpu_ok(out));
		break;
	case 6:
		out = enclv_edecvirtchild(w.cpu, secs, secs);
		atomic_fetch_sub(&w.virtchild[secs], cpu_ok(out));
		break;
	case 7:
		out = encls_edbgrd(w.cpu, VA0, rnd(r, 512) * 8, &value);
		break;
	default:
		out = encls_eextend(w.cpu, D, D_PAGE, 0);
		atomic_fetch_add(&w.eextend_nr, cpu_ok(out));
		break;
	}
	saw(r, out);
}

static struct cpu_outcome enclu(struct runner *r, uint32_t leaf)
{
	r->regs.rax = leaf;
	return cpu_enclu(w.cpu, &r->lp, &mmu, &r->regs, NULL, 0);
}

/* Into A by one's own TCS, to accept or extend whatever there is, and out. */
static void do_inside(struct runner *r)
{
	struct sgx_secinfo *info = (struct sgx_secinfo *)w.epc[page_of(r->i, DATA)];
	uint32_t page = pool(r);

	r->regs = (struct cpu_regs){ .rbx = la_of(page_of(r->i, TCS)), .rcx = AEP };
	if (!cpu_ok(enclu(r, SGX_EENTER))) {
		r->wrong = "EENTER";
		return;
	}
	for (unsigned int n = rnd(r, 4); n > 0; n--) {
		info->flags = rnd(r, 8) | rnd(r, 8) << 3 | SGX_SECINFO_TYPE(rnd(r, 2) ? 2 : 4);
		r->regs.rbx = la_of(page_of(r->i, DATA));
		r->regs.rcx = la_of(page);
		saw(r, enclu(r, rnd(r, 3) ? SGX_EACCEPT : SGX_EMODPE));
	}
	r->regs.rbx = 0x400503;
	if (!cpu_ok(enclu(r, SGX_EEXIT)))
		r->wrong = "EEXIT";
}

static void *runner_main(void *arg)
{
	struct runner *r = arg;

	for (unsigned int n = 0; n < LEAF_NR && !r->wrong; n++) {
		uint32_t what = rnd(r, 100);

		if (what < 25)
			do_new(r);
		else if (what < 40)
			do_ewb(r);
		else if (what < 55)
			do_eldu(r);
		else if (what < 65)
			do_eremove(r);
		else if (what < 95)
			do_meddle(r);
		else
			do_inside(r);
	}
	return NULL;
}

/* ---- before and after */

static bool ecreate(uint32_t page)
{
	static struct sgx_secs secs __attribute__((aligned(4096)));
	const struct sgx_secinfo info = { 0 };
	struct cpu_pageinfo pi = { .srcpge = &secs, .secinfo = &info, .secs = CPU_NO_PAGE };

	secs.size = SIZE;
	secs.baseaddr = ENCL_BASE;
	secs.ssa_frame_size = 1;
	secs.attributes.flags = SGX_ATTR_MODE64BIT;
	secs.attributes.xfrm = 7;
	return cpu_ok(encls_ecreate(w.cpu, &pi, page));
}

static bool eadd(uint32_t page, uint32_t secs, uint64_t la, const void *src, uint64_t flags)
{
	const struct sgx_secinfo info = { .flags = flags };
	struct cpu_pageinfo pi = { .linaddr = la, .srcpge = src, .secinfo = &info, .secs = secs };

	return cpu_ok(encls_eadd(w.cpu, &pi, page));
}

static bool add_thread(unsigned int i)
{
	static uint8_t src[SGX_PAGE_SIZE] __attribute__((aligned(4096)));
	const uint64_t rw = SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_R | SGX_SECINFO_W;
	const struct sgx_tcs tcs = { .ossa = la_of(page_of(i, SSA)) - ENCL_BASE, .nssa = 1 };

	memset(src, 0, sizeof(src));
	if (!eadd(page_of(i, SSA), A, la_of(page_of(i, SSA)), src, rw) ||
	    !eadd(page_of(i, DATA), A, la_of(page_of(i, DATA)), src, rw))
		return false;
	memcpy(src, &tcs, sizeof(tcs));
	return eadd(page_of(i, TCS), A, la_of(page_of(i, TCS)), src, SGX_SECINFO_TYPE(SGX_PT_TCS));
}

static bool einit(uint32_t page)
{
	static const uint8_t header[16] = { 6, 0, 0, 0, 0xe1, 0, 0, 0, 0, 0, 1 };
	static const uint8_t header2[16] = { 1, 1, 0, 0, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 1 };
	static struct sgx_sigstruct sig __attribute__((aligned(4096)));
	static const struct sgx_einittoken token __attribute__((aligned(512)));
	struct sha256 hash = ((struct secs_page *)w.epc[page])->own.measurement;
	uint64_t signer[4];

	memset(&sig, 0, sizeof(sig));
	memcpy(sig.header, header, 16);
	memcpy(sig.header2, header2, 16);
	sig.exponent = 3;
	sig.attributes.flags = SGX_ATTR_MODE64BIT;
	sha256_final(&hash, sig.enclavehash);
	machine_sign(&sig);
	machine_signer(&sig, signer);
	return cpu_ok(encls_einit(w.cpu, &sig, page, &token, signer));
}

static void build(void)
{
	static const uint8_t src[SGX_PAGE_SIZE] __attribute__((aligned(4096)));
	struct cpu_config config;
	bool ok = true;

	machine_config(&config);
	config.page_nr = PAGE_NR;
	config.caps |= SGX_CPUID_ENCLS_C | SGX_CPUID_ENCLV;
	memset(&w, 0, sizeof(w));
	w.cpu = cpu_create(&config);
	w.epc = shared_map((size_t)PAGE_NR * SGX_PAGE_SIZE);
	TAP_MUST(w.cpu && w.epc, "a processor");
	for (uint32_t i = 0; i < PAGE_NR; i++)
		cpu_set_bytes(w.cpu, i, w.epc[i]);
	for (uint32_t secs = A; secs <= D; secs++)
		ok &= ecreate(secs);
	for (unsigned int i = 0; i < THREAD_MAX; i++)
		ok &= add_thread(i);
	ok &= eadd(D_PAGE, D, ENCL_BASE, src, SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_R);
	ok &= einit(A) && einit(B) && cpu_ok(encls_epa(w.cpu, VA0)) &&
	      cpu_ok(encls_epa(w.cpu, VA1));
	TAP_MUST(ok, "four enclaves");
}

static bool ledgers_agree(const struct runner *runner, unsigned int nr)
{
	for (uint32_t page = POOL; page < PAGE_NR; page++) {
		struct cpu_epcm e = cpu_epcm_read(w.cpu, page);
		unsigned int owners = 0;

		for (unsigned int i = 0; i < nr; i++) {
			const struct runner *r = &runner[i];

			if (r->ledger[page] == NOT_MINE)
				continue;
			owners++;
			if (e.secs != r->parent[page] || e.la != r->la[page])
				return false;
		}
		if (owners != (e.valid ? 1 : 0))
			return false;
	}
	return true;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static bool versions_unique(const struct runner *runner, unsigned int nr)
{
	static uint64_t all_versions[THREAD_MAX * LEAF_NR];
	size_t n = 0;

	for (unsigned int i = 0; i < nr; i++)
		for (unsigned int k = 0; k < runner[i].version_nr; k++)
			all_versions[n++] = runner[i].versions[k];
	qsort(all_versions, n, sizeof(*all_versions), by_value);
	for (size_t i = 1; i < n; i++)
		if (all_versions[i] == all_versions[i - 1])
			return false;
	return n > 0;
}

/* As many records as were taken, one after the other. */
static bool measured(uint32_t secs, uint64_t eadds, uint64_t eextends)
{
	struct sha256 got = ((struct secs_page *)w.epc[secs])->own.measurement;
	uint8_t create[64] = "ECREATE", add[64] = "EADD", extend[64 + 256] = "EEXTEND";
	uint8_t digest[32], want[32];
	const uint32_t frame = 1;
	const uint64_t size = SIZE, flags = SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_R;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	memcpy(create + 8, &frame, 4);
	memcpy(create + 12, &size, 8);
	memcpy(add + 16, &flags, 8);
	EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);
	EVP_DigestUpdate(ctx, create, sizeof(create));
	while (eadds-- > 0)
		EVP_DigestUpdate(ctx, add, sizeof(add));
	while (eextends-- > 0)
		EVP_DigestUpdate(ctx, extend, sizeof(extend));
	EVP_DigestFinal_ex(ctx, want, NULL);
	EVP_MD_CTX_free(ctx);
	sha256_final(&got, digest);
	return memcmp(digest, want, 32) == 0;
}

static void check_end(const struct runner *runner, unsigned int nr)
{
	unsigned int children[4] = { 0 };
	bool counts = true, held = false;

	for (uint32_t page = 0; page < PAGE_NR; page++) {
		struct cpu_epcm e = cpu_epcm_read(w.cpu, page);

		held |= atomic_load(&w.cpu->epcm[page].lock) != 0;
		if (e.valid && e.secs != CPU_NO_PAGE)
			children[e.secs]++;
	}
	for (uint32_t secs = A; secs <= D; secs++) {
		const struct secs_page *s = (const struct secs_page *)w.epc[secs];

		counts &= s->own.child_nr == children[secs] &&
			  s->own.virtchildcnt == w.virtchild[secs] &&
			  cpu_active_nr(w.cpu, secs) == 0 &&
			  epoch_stamp(&s->own.track) >> 1 == 1 + w.tracked[secs];
	}
	TAP_CHECK(!held, "%u threads: no hold is left", nr);
	TAP_CHECK(counts, "%u threads: children, virtual children, threads, epochs are the sums",
		  nr);
	TAP_CHECK(ledgers_agree(runner, nr), "%u threads: what is valid is what was won", nr);
	TAP_CHECK(versions_unique(runner, nr), "%u threads: no version twice", nr);
	TAP_CHECK(measured(C, w.eadd_nr, 0), "%u threads: measurement of %lu EADDs", nr,
		  (unsigned long)w.eadd_nr);
	TAP_CHECK(measured(D, 1, w.eextend_nr), "%u threads: measurement of %lu EEXTENDs", nr,
		  (unsigned long)w.eextend_nr);
}

static void race(unsigned int nr)
{
	struct runner *runner = aligned_alloc(4096, (nr * sizeof(*runner) + 4095) & ~(size_t)4095);
	unsigned int conflicts = 0, evictions = 0;
	bool ran = runner != NULL;

	TAP_MUST(ran, "memory for %u threads", nr);
	memset(runner, 0, nr * sizeof(*runner));
	build();
	for (unsigned int i = 0; i < nr; i++) {
		runner[i].i = i;
		runner[i].random = nr * 100 + i;
		ran &= pthread_create(&runner[i].thread, NULL, runner_main, &runner[i]) == 0;
	}
	TAP_MUST(ran, "%u threads are made", nr);
	for (unsigned int i = 0; i < nr; i++) {
		pthread_join(runner[i].thread, NULL);
		conflicts += runner[i].conflicts;
		evictions += runner[i].version_nr;
		TAP_CHECK(!runner[i].wrong, "%u threads: thread %u%s%s", nr, i,
			  runner[i].wrong ? ", wrong: " : "",
			  runner[i].wrong ? runner[i].wrong : "");
	}
	printf("# %u evictions, %u conflicts and #GPs\n", evictions, conflicts);
	check_end(runner, nr);
	free(runner);
	munmap(w.epc, (size_t)PAGE_NR * SGX_PAGE_SIZE);
	cpu_destroy(w.cpu);
}

int main(void)
{
	race(2);
	race(4);
	race(THREAD_MAX);
	return tap_done();
}
