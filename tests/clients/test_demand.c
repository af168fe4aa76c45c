/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Memory that is committed on demand: the range is mapped, nothing is in it, and the enclave's own handler EACCEPTs
 * each page when it is first touched, as SDKs and library OSes do it. Several threads touch the same pages at once, by
 * each way of entering, and there are more pages than the EPC holds.
 */
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "client.h"
#include "lib/tap.h"

#define PAGE  4096ull
#define PAGES 320
#define NR    4

static struct client_encl e;
static void *fn;

struct job {
	unsigned int nr;
	enum client_entry how;
	uint64_t bad;
};

/* An exception: the enclave's handler, and on with it. */
static int resolve(long rdi, long rsi, long rdx, long rsp, long r8, long r9,
		   struct sgx_enclave_run *run)
{
	(void)rsi, (void)rdx, (void)rsp, (void)r8, (void)r9;
	if (run->function == SGX_ERESUME)
		return SGX_EENTER;
	return rdi == ENCL_EXC_DONE ? SGX_ERESUME : 0;
}

static bool call(const struct job *j, struct encl_op *op)
{
	struct sgx_enclave_run run = { .user_handler = (uintptr_t)resolve, .tcs = e.tcs[j->nr] };

	if (j->how != ENTRY_VDSO) {
		client_enclu(&e, j->nr, op, j->how);
		return true;
	}
	return !vdso_enter((uintptr_t)op, 0, 0, SGX_EENTER, 0, 0, &run, fn) &&
	       run.function == SGX_EEXIT;
}

/* Each thread has a word of its own in each page; none of them knows who touches a page first. */
static void *touch_all(void *arg)
{
	struct job *j = arg;
	struct encl_op op = { .nr = OP_EXC_MODE, .arg = { EXC_COMMIT } };
	uint64_t at = e.base + e.aug + 8 * j->nr;

	j->bad += !call(j, &op);
	for (uint64_t i = 0; i < PAGES; i++) {
		op = (struct encl_op){ .nr = OP_WRITE, .arg = { at + i * PAGE, i * NR + j->nr } };
		j->bad += !call(j, &op);
	}
	for (uint64_t i = 0; i < PAGES; i++) {
		op = (struct encl_op){ .nr = OP_READ, .arg = { at + i * PAGE } };
		j->bad += !call(j, &op) || op.ret != i * NR + j->nr;
	}
	return NULL;
}

static void check(enum client_entry how)
{
	struct client_conf conf = {
		.threads = NR, .heap_pages = 4, .aug_pages = PAGES, .miscselect = SGX_MISC_EXINFO
	};
	const char *name = client_entry_name[how];
	struct job jobs[NR] = { 0 };
	pthread_t threads[NR];
	struct encl_exc exc = { 0 };
	struct encl_op get = { .nr = OP_EXC_GET, .arg = { (uintptr_t)&exc } };
	uint64_t bad = 0, committed = 0;

	TAP_MUST(!client_create(&e, &conf), "%s: an enclave", name);
	if (how != ENTRY_VDSO)
		client_catch(how == ENTRY_SELF ? FIXUP_REWRITE : FIXUP_NESTED,
			     SA_NODEFER | SA_RESTART);
	for (unsigned int i = 0; i < NR; i++) {
		jobs[i].nr = i;
		jobs[i].how = how;
		pthread_create(&threads[i], NULL, touch_all, &jobs[i]);
	}
	for (unsigned int i = 0; i < NR; i++) {
		pthread_join(threads[i], NULL);
		bad += jobs[i].bad;
	}
	TAP_CHECK(!bad, "%s: each page is committed, each word is there (%llu are not)", name,
		  (unsigned long long)bad);
	for (unsigned int i = 0; i < NR; i++) {
		call(&jobs[i], &get);
		committed += exc.count;
		bad += exc.count && (exc.errcd != 0x8007 || exc.maddr < e.base + e.aug ||
				     exc.maddr >= e.base + e.aug + PAGES * PAGE);
	}
	TAP_CHECK(committed >= PAGES, "%s: by exceptions (%llu)", name,
		  (unsigned long long)committed);
	TAP_CHECK(!bad, "%s: EXINFO says where, and why", name);
	if (how != ENTRY_VDSO)
		TAP_CHECK(client_seen.signo == SIGSEGV && client_seen.code == SEGV_ACCERR &&
				  client_seen.trapno == VEC_PF && client_seen.err == 0x8007,
			  "%s: which are SIGSEGV, SEGV_ACCERR, with the SGX bit (%d, %d, %#llx)",
			  name, client_seen.signo, client_seen.code,
			  (unsigned long long)client_seen.err);
	client_uncatch();
	client_destroy(&e);
}

int main(void)
{
	if (!client_has_sgx2())
		TAP_SKIP_ALL("no SGX2");
	fn = vdso_by_hash(vdso_from_getauxval(), "__vdso_sgx_enter_enclave");
	TAP_MUST(fn, "the vDSO has the function");
	for (int how = 0; how < ENTRY_RANGE; how++)
		check((enum client_entry)how);
	return tap_done();
}
