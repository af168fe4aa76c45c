/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What can happen to a page of a guest whose EPC is oversubscribed, on /dev/kvm: the sixteen cases of
 * tests/unit/virt/test_scenarios.c, by a guest that says at each step that matters "now" (guest/scenario.c), at which we
 * take that very page, and no other.
 *
 * Each guest runs twice: first nobody listens to it.  What it says must be the same, byte for byte, but where a case is
 * about a loss.
 */
#include "vmm/lib.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "cpu/vmx.h"
#include "epc/backing.h"
#include "virt/virt_priv.h"
#include "vmm/vmm_priv.h"

#define EPC_PAGES    512u
#define REGION_BYTES (1ull << 20)
#define TRIES        400
#define LEFT_FREE \
	32u /* pages, in an EPC that is full: two processors in enclaves need fifteen each */

struct scenario {
	unsigned int nr;
	const char *name;
	unsigned int vcpus;
	bool second;         /* a region of another file */
	bool ends_otherwise; /* than a guest that nobody takes from */
	int end;             /* how it ends */
	const char *lines[8];
};

struct run {
	struct host *h;
	const struct scenario *scenario;
	struct vmm *vmm;
	bool listens;
	unsigned int evicted, stayed; /* NOW_EVICTs that worked, and not */
	unsigned int went;            /* NOW_REFUSED that should not have worked */
	unsigned int misnamed;
	bool underflow;
	struct vepc *hog;
	atomic_int change; /* 1: wanted; 2: done; -1: it went wrong */
};

/* ---- one page -------------------------------------------------------------------------------------- */

static struct vepc *file_of(struct run *run, uint64_t gpa, uint64_t *ret_idx)
{
	bool second = gpa >= VMM_EPC_GPA + SECOND_REGION;

	*ret_idx = (gpa - VMM_EPC_GPA - (second ? SECOND_REGION : 0)) / SGX_PAGE_SIZE;
	return run->vmm->vepc[second];
}

static uint32_t nr_of(struct run *run, uint64_t gpa)
{
	uint64_t idx;
	struct vepc *vepc = file_of(run, gpa, &idx);

	return vepc_page_nr(vepc, idx * SGX_PAGE_SIZE);
}

/* The reclaimer is offered this page of the guest and no other, or all of them. */
static void offer(struct run *run, uint64_t gpa, bool alone)
{
	struct virt_guest *guest = run->vmm->guest;
	uint64_t at, idx;
	struct vepc *vepc = file_of(run, gpa, &at);

	guest_lock(guest);
	for (unsigned int i = 0; i < VMM_FILES; i++) {
		struct vepc *file = run->vmm->vepc[i];
		struct vepc_page *page;

		for (idx = 0; (page = vepc_page_next_locked(file, &idx)); idx++) {
			if (page->frame && alone && (file != vepc || idx != at))
				(void)guest_page_untrack_locked(guest, page);
			else if (page->frame)
				guest_page_track_locked(guest, page);
		}
	}
	guest_unlock(guest);
}

static bool evict_one(struct run *run, uint64_t gpa)
{
	offer(run, gpa, true);
	for (int i = 0; i < TRIES && nr_of(run, gpa) != CPU_NO_PAGE; i++)
		epc_reclaim(run->h->w.epc);
	offer(run, gpa, false);
	return nr_of(run, gpa) == CPU_NO_PAGE;
}

static uint64_t context_of(struct run *run, uint64_t gpa)
{
	struct sgx_rdinfo info __attribute__((aligned(32)));
	uint32_t nr = nr_of(run, gpa);

	if (nr == CPU_NO_PAGE || !cpu_ok(encls_erdinfo(run->h->w.cpu, &info, nr)))
		return UINT64_MAX;
	return info.enclavecontext;
}

static void underflow(struct run *run, uint64_t gpa)
{
	uint64_t idx;
	struct vepc *vepc = file_of(run, gpa, &idx);
	unsigned int taken = 0;
	uint32_t nr;

	(void)vepc_fault(vepc, idx * SGX_PAGE_SIZE);
	nr = nr_of(run, gpa);
	while (cpu_ok(enclv_edecvirtchild(run->h->w.cpu, nr, nr)))
		taken++;
	run->underflow =
		taken > 0 && enclv_edecvirtchild(run->h->w.cpu, nr, nr).eax == SGX_INVALID_COUNTER;
}

static void tamper(struct run *run, uint64_t gpa)
{
	uint64_t idx;
	struct vepc *vepc = file_of(run, gpa, &idx);
	uint32_t slot = virt_backing_slot(run->vmm->guest, vepc, idx * SGX_PAGE_SIZE);
	uint8_t *bytes = backing_page(epc_backing(run->h->w.epc), slot);

	bytes[99] ^= 1;
}

/* Somebody who gives nothing back takes all but a few pages. */
static void fill_epc(struct run *run)
{
	struct epc_stats stats;
	uint64_t nr = 0;

	if (vepc_open(run->h->registry, &run->hog) < 0 ||
	    vepc_reserve(run->hog, 0, EPC_PAGES * SGX_PAGE_SIZE) < 0)
		return;
	epc_stats_read(run->h->w.epc, &stats);
	while (nr < stats.pages - LEFT_FREE && vepc_fault(run->hog, nr * SGX_PAGE_SIZE) == 0)
		nr++;
}

/* ---- what the guest says now ------------------------------------------------------------------------- */

static void now_page(struct run *run, uint64_t what, uint64_t gpa)
{
	if (what == NOW_EVICT && evict_one(run, gpa))
		run->evicted++;
	else if (what == NOW_EVICT)
		run->stayed++;
	else if (what == NOW_REFUSED)
		run->went += evict_one(run, gpa);
	else if (what == NOW_NAMED)
		run->misnamed += !(context_of(run, gpa) & 1) || context_of(run, gpa) == UINT64_MAX;
	else if (what == NOW_UNNAMED)
		run->misnamed += context_of(run, gpa) != gpa;
	else if (what == NOW_UNDERFLOW)
		underflow(run, gpa);
	else if (what == NOW_TAMPER)
		tamper(run, gpa);
}

static uint64_t now(void *ctx, unsigned int vcpu, uint64_t what, uint64_t arg)
{
	struct run *run = ctx;

	(void)vcpu;
	if (!run->listens)
		return 1;
	switch (what) {
	case NOW_CHANGE:
		atomic_store(&run->change, 1);
		return 1;
	case NOW_CHANGED:
		return atomic_load(&run->change) != 1;
	case NOW_KILL:
		vmm_kill(run->vmm);
		return 1;
	case NOW_FILL:
		fill_epc(run);
		return 1;
	case NOW_EMPTY:
		run->hog = vepc_put(run->hog);
		return 1;
	default:
		now_page(run, what, arg);
		return 1;
	}
}

/* ---- regions that change: by a thread that is no processor -------------------------------------------- */

#define ELSEWHERE (VMM_EPC_GPA + (4ull << 30))

static bool change(struct run *run)
{
	const struct vmm_region region = { .gpa = VMM_EPC_GPA, .bytes = REGION_BYTES };
	uint64_t secs = VMM_EPC_GPA + REGION_BYTES - SGX_PAGE_SIZE;
	uint8_t *was = run->vmm->region[0].hva;
	struct vmm *vmm = run->vmm;
	void *blocker;
	bool ok = vmm_region_delete(vmm, 0) == 0;

	/* So that it cannot be mapped where it was. */
	blocker = mmap(was, REGION_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < 20; i++)
		epc_reclaim(run->h->w.epc);
	ok = ok && vmm_region_add(vmm, 0, &region) == 0 && vmm->region[0].hva != was;
	for (int i = 0; i < 20; i++)
		epc_reclaim(run->h->w.epc);
	ok = ok && vmm_region_move(vmm, 0, ELSEWHERE) == 0;
	/* The guest's last page is the first that it took: its enclave's SECS. */
	ok = ok && vepc_fault(vmm->vepc[0], secs - VMM_EPC_GPA) == 0 && context_of(run, secs) & 1;
	for (int i = 0; i < 20; i++)
		epc_reclaim(run->h->w.epc);
	ok = ok && vmm_region_move(vmm, 0, VMM_EPC_GPA) == 0;
	munmap(blocker, REGION_BYTES);
	return ok;
}

static void change_when_asked(struct run *run)
{
	const struct timespec ms = { .tv_nsec = 1000000 };

	for (int i = 0; i < (int)WAIT_MS && atomic_load(&run->change) == 0; i++) {
		if (vmm_wait(run->vmm, 1, NULL) != -ETIMEDOUT)
			return;
		nanosleep(&ms, NULL);
	}
	atomic_store(&run->change, change(run) ? 2 : -1);
}

/* ---- runs ---------------------------------------------------------------------------------------------- */

static void add_second(struct run *run)
{
	const struct vmm_region second = { .gpa = VMM_EPC_GPA + SECOND_REGION,
					   .bytes = REGION_BYTES,
					   .file = 1 };

	TAP_CHECK(vmm_region_add(run->vmm, 1, &second) == 0, "a region of another file");
}

/* All processors' words, one after the other. */
static char *words_of(struct vmm *vmm, unsigned int vcpus)
{
	size_t bytes = 1;
	char *said;

	for (unsigned int i = 0; i < vcpus; i++)
		bytes += strlen(vmm_said(vmm, i));
	said = calloc(1, bytes);
	for (unsigned int i = 0; said && i < vcpus; i++)
		strcat(said, vmm_said(vmm, i));
	return said;
}

static char *run_guest(struct run *run, int end)
{
	const struct scenario *s = run->scenario;
	struct vmm_config config = host_config(run->h, SCRIPT_SCENARIO);
	struct report rep;
	char *said;
	int r;

	report_init(&rep);
	config.epc_bytes = REGION_BYTES;
	config.vcpus = s->vcpus;
	config.args[ARG_SCENARIO] = s->nr;
	config.call = now;
	config.call_ctx = run;
	run->vmm = guest_new_stopped(&config);
	if (s->second)
		add_second(run);
	TAP_MUST(vmm_start(run->vmm, &rep) == 0, "%u. %s: it starts", s->nr, s->name);
	if (s->nr == 12 && run->listens)
		change_when_asked(run);
	r = vmm_wait(run->vmm, WAIT_MS, &rep);
	said = words_of(run->vmm, s->vcpus);
	TAP_CHECK(r == end, "%u. %s: it ends with %d (%d %s)", s->nr, s->name, end, r, rep.what);
	if (r != end || getenv("SAY"))
		print_said(run->vmm, s->vcpus);
	return said;
}

static const struct scenario scenarios[] = {
	{ .nr = 1,
	  .name = "a page without contents",
	  .lines = { "EREMOVE of nothing: rax 0 flags 0\n" } },
	{ .nr = 2,
	  .name = "REG, TCS and TRIM pages, not tracked",
	  .lines = { "EMODT, again: fault 14 error 8003 at ",
		     "ETRACK: rax 0 flags 0\nACCEPT: 0\nremoved\n" } },
	{ .nr = 3,
	  .name = "a page that the guest has blocked",
	  .lines = { "EBLOCK, again: rax 3 flags 1\nETRACK: rax 0 flags 0\nEWB: rax 0 flags 0\n"
		     "ELDU: rax 0 flags 0\n" } },
	{ .nr = 4,
	  .name = "a VA page",
	  .lines = { "EWB: rax 0 flags 0\nELDU: rax 0 flags 0\nELDU, again: rax 9 flags 40\n" } },
	{ .nr = 5,
	  .name = "a SECS without children",
	  .lines = { "EREMOVE of the SECS: rax d flags 40\nof its page: rax 0 flags 0\nof the "
		     "SECS: "
		     "rax 0 flags 0\n" } },
	{ .nr = 6,
	  .name = "a SECS that has virtual children alone",
	  .lines = { "EREMOVE of the SECS: rax d flags 40\n", "removed\n" } },
	{ .nr = 7, .name = "a SECS that has real children: it stays", .lines = { "removed\n" } },
	{ .nr = 8,
	  .name = "a SECS in another file",
	  .second = true,
	  .lines = { "EREMOVE of the SECS: rax d flags 40\n", "removed\n" } },
	{ .nr = 9,
	  .name = "a SECS that the host loads, and then the guest",
	  .lines = { "EWB of the SECS: rax 0 flags 0\nELDU elsewhere: rax 0 flags 0\n",
		     "removed\n" } },
	{ .nr = 10,
	  .name = "the guest's ETRACK while the host tracks",
	  .vcpus = 2,
	  .lines = { "ETRACK: rax 0 flags 0\nETRACK, again: rax 11 flags 40\nETRACK: rax 0 flags "
		     "0\nEWB: "
		     "rax 0 flags 0\nELDU: rax 0 flags 0\n",
		     "inside until 5, no fault\nETRACKs refused: 0\n" } },
	{ .nr = 11,
	  .name = "EREMOVE of a SECS all of whose children are away",
	  .lines = { "EREMOVE of the SECS: rax d flags 40\nEWB of the SECS: rax d flags "
		     "40\nEREMOVE of "
		     "the SECS: rax d flags 40\nremoved\n" } },
	{ .nr = 12, .name = "the region moves", .lines = { "removed\n" } },
	{ .nr = 13, .name = "killed with pages away", .ends_otherwise = true, .end = -EINTR },
	{ .nr = 14, .name = "EDECVIRTCHILD, down to nothing", .lines = { "removed\n" } },
	{ .nr = 15,
	  .name = "a page whose ciphertext is changed",
	  .vcpus = 2,
	  .ends_otherwise = true,
	  .lines = { "READ: fault 14 error 8", "EREMOVE of the SECS: rax d flags 40\n",
		     "removed\n" } },
	{ .nr = 16,
	  .name = "no free EPC when a page is loaded",
	  .vcpus = 2,
	  .lines = { "removed\n" } },
};

/* What is to be true of the host's side. */
static void check_host(const struct run *run)
{
	const struct scenario *s = run->scenario;
	struct virt_info info;

	virt_info_read(run->vmm->guest, &info);
	TAP_CHECK(run->stayed == 0 && run->went == 0 && (run->evicted > 0 || s->nr == 16),
		  "%u. %s: each of %u pages went at its step (%u stayed, %u should have)", s->nr,
		  s->name, run->evicted, run->stayed, run->went);
	TAP_CHECK(run->misnamed == 0 && !info.dead, "%u. %s: the SECS has the name it should",
		  s->nr, s->name);
	switch (s->nr) {
	case 1:
		TAP_CHECK(info.evictions == 0,
			  "1. nothing was written for a page without contents");
		break;
	case 12:
		TAP_CHECK(atomic_load(&run->change) == 2,
			  "12. it was deleted, made anew and moved");
		break;
	case 13:
		TAP_CHECK(info.away > 20, "13. %llu pages are away", (unsigned long long)info.away);
		break;
	case 14:
		TAP_CHECK(run->underflow, "14. INVALID_COUNTER in the end");
		break;
	case 15:
		TAP_CHECK(info.lost > 0, "15. the page is lost, each time it is asked for");
		break;
	case 16:
		TAP_CHECK(info.evictions > 50, "16. each load was a reclaim (%llu evictions)",
			  (unsigned long long)info.evictions);
		break;
	default:
		break;
	}
}

static void one(struct host *h, const struct scenario *s)
{
	struct run plain = { .h = h, .scenario = s }, run = plain;
	char *want = NULL, *said;

	run.listens = true;
	if (s->nr != 13) {
		want = run_guest(&plain, 0);
		vmm_destroy(plain.vmm);
	}
	said = run_guest(&run, s->end);
	for (size_t i = 0; i < 8 && s->lines[i]; i++)
		TAP_CHECK(strstr(said, s->lines[i]), "%u. %s: it says: %.*s", s->nr, s->name,
			  (int)strcspn(s->lines[i], "\n"), s->lines[i]);
	if (!s->ends_otherwise &&
	    !TAP_CHECK(!strcmp(said, want), "%u. %s: it says the same", s->nr, s->name))
		print_said(run.vmm, s->vcpus);
	check_host(&run);
	world_audit(&h->w, s->name);
	vmm_destroy(run.vmm);
	world_audit(&h->w, s->name);
	free(said);
	free(want);
}

int main(int argc, char **argv)
{
	static struct host h;
	unsigned int only = argc > 2 ? (unsigned int)atoi(argv[2]) : 0;

	host_init(&h, EPC_PAGES, argv[1]);
	for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
		struct scenario s = scenarios[i];

		s.vcpus = s.vcpus ? s.vcpus : 1;
		if (!only || only == s.nr)
			one(&h, &s);
	}
	tap_skip("10. SGX_CONFLICT exits of the host's doing",
		 "a VMM without such hardware executes ENCLS with the lock held that the host's "
		 "own leaves "
		 "have: one waits for the other; see tests/unit/virt/test_conflicts.c");
	host_fini(&h, "the end");
	return tap_done();
}
