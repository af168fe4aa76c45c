/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The host of 'swsgx vm'.
 *
 * Its enclave is built and never entered: what matters is that its pages are an owner's like the guests', which one of
 * ours looks at all the time.  Each page is looked at in the instant that the owner shows it, so that it cannot
 * be taken meanwhile.
 */
#include "cli/vm_host.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "base/report.h"
#include "cpu/cpu.h"
#include "cpu/platform.h"
#include "encl/encl.h"
#include "epc/epc.h"
#include "epc/window.h"
#include "vepc/vepc.h"

#define ARENA_BYTES  (4ull << 30)
#define ENCLAVE_BASE 0x700000000000ull
#define WORDS        (SGX_PAGE_SIZE / sizeof(uint64_t))

struct vm_host {
	struct arena *arena;
	struct cpu *cpu;
	struct epc *epc;
	struct encl_registry *encls;
	struct vepc_registry *vepcs;
	struct encl *encl;
	uint64_t pages; /* of the enclave */

	pthread_t thread;
	bool used;
	atomic_bool stop;
	uint64_t touched, wrong;
};

static int make_machine(struct vm_host *host, uint64_t epc_bytes, const char *policy)
{
	struct cpu_config *config = calloc(1, sizeof(*config));
	struct epc_config epc = { .policy = policy };
	int r;

	if (!config)
		return -ENOMEM;
	cpu_config_default(config, epc_bytes);
	/* What a VMM needs, and no processor to date has. */
	config->caps |= SGX_CPUID_ENCLV | SGX_CPUID_ENCLS_C;
	r = platform_random(&config->fuses);
	host->arena = arena_create_shown(ARENA_BYTES);
	config->arena = host->arena;
	if (r == 0 && host->arena)
		host->cpu = cpu_create(config);
	free(config);
	if (!host->cpu)
		return r ? r : -ENOMEM;
	epc.cpu = host->cpu;
	epc.arena = host->arena;
	r = epc_create(&epc, &host->epc);
	if (r == 0)
		r = encl_registry_create(host->epc, &host->encls);
	if (r == 0)
		r = vepc_registry_create(host->epc, &host->vepcs);
	return r;
}

/* ---- the enclave ------------------------------------------------------------------------------------ */

static uint64_t word_of(uint64_t page, uint64_t version, uint64_t i)
{
	uint64_t x = page * 0x9e3779b97f4a7c15ull + version * 0xbf58476d1ce4e5b9ull + i;

	return x ^ x >> 31;
}

static void fill(uint64_t *words, uint64_t page, uint64_t version)
{
	for (uint64_t i = 0; i < WORDS; i++)
		words[i] = word_of(page, version, i);
}

static bool is_filled(const uint64_t *words, uint64_t page, uint64_t version)
{
	for (uint64_t i = 0; i < WORDS; i++)
		if (words[i] != word_of(page, version, i))
			return false;
	return true;
}

static uint64_t size_for(uint64_t pages)
{
	uint64_t size = SGX_PAGE_SIZE * 2;

	while (size < pages * SGX_PAGE_SIZE)
		size *= 2;
	return size;
}

static int add_pages(struct vm_host *host, void *buffer)
{
	struct sgx_secinfo secinfo = { .flags = SGX_SECINFO_TYPE(SGX_PT_REG) | SGX_SECINFO_R |
						SGX_SECINFO_W };
	int r = 0;

	for (uint64_t i = 0; r == 0 && i < host->pages; i++) {
		fill(buffer, i, 0);
		r = encl_add_page(host->encl, &encl_mm_none, i * SGX_PAGE_SIZE, buffer, &secinfo,
				  false);
	}
	return r;
}

static int make_enclave(struct vm_host *host, uint64_t bytes)
{
	struct sgx_secs *secs = aligned_alloc(SGX_PAGE_SIZE, sizeof(*secs));
	int r;

	if (!secs)
		return -ENOMEM;
	host->pages = bytes / SGX_PAGE_SIZE;
	memset(secs, 0, sizeof(*secs));
	secs->size = size_for(host->pages);
	secs->baseaddr = ENCLAVE_BASE;
	secs->ssa_frame_size = 1;
	secs->attributes.flags = SGX_ATTR_MODE64BIT;
	secs->attributes.xfrm = SGX_XFRM_LEGACY;
	r = encl_open(host->encls, &host->encl);
	if (r == 0)
		r = encl_create(host->encl, secs);
	if (r == 0)
		r = add_pages(host, secs);
	free(secs);
	return r;
}

/* ---- its use ------------------------------------------------------------------------------------------ */

struct look {
	struct vm_host *host;
	uint64_t page, version;
	bool right;
};

static int look_map(void *mm, struct encl *encl, uint64_t la, uint64_t win_off, unsigned int rwx)
{
	struct look *look = mm;
	uint64_t *words = window_at(epc_window(look->host->epc), win_off);

	look->right = is_filled(words, look->page, look->version);
	fill(words, look->page, look->version + 1);
	return 0;
}

static int look_place(void *mm, struct encl *encl, uint64_t la, uint64_t win_off, const void *bytes,
		      unsigned int rwx)
{
	struct look *look = mm;
	int r;

	if (la != ENCLAVE_BASE + look->page * SGX_PAGE_SIZE)
		return 0; /* read ahead: not the one that is looked at, and nothing is mapped here */
	r = window_give(epc_window(look->host->epc), win_off, bytes);

	if (r == 0)
		look_map(mm, encl, la, win_off, rwx);
	return r < 0 ? r : 1;
}

static bool look_signal_pending(void *mm)
{
	return false;
}

static void touch(struct vm_host *host, uint64_t page, uint64_t version)
{
	static const struct encl_mm_ops ops = {
		.map = look_map,
		.place = look_place,
		.signal_pending = look_signal_pending,
	};
	struct look look = { .host = host, .page = page, .version = version };
	struct encl_mm mm = { .ops = &ops, .ctx = &look };
	struct encl_fault fault = encl_fault(host->encl, &mm, ENCLAVE_BASE + page * SGX_PAGE_SIZE,
					     ENCL_W, ENCL_R | ENCL_W, true);

	host->touched++;
	host->wrong += fault.kind != ENCL_FAULT_DONE || !look.right;
}

static void *use(void *arg)
{
	const struct timespec pause = { .tv_nsec = 10000000 };
	struct vm_host *host = arg;

	for (uint64_t version = 0; !atomic_load(&host->stop); version++) {
		for (uint64_t page = 0; page < host->pages; page++)
			touch(host, page, version);
		/* The guests need the CPU, too. */
		nanosleep(&pause, NULL);
	}
	return NULL;
}

int vm_host_use(struct vm_host *host, struct report *rep)
{
	int r;

	if (!host->encl)
		return 0;
	r = pthread_create(&host->thread, NULL, use, host);
	host->used = r == 0;
	return r ? report_fail(rep, -r, "cannot use the host's enclave") : 0;
}

void vm_host_stop(struct vm_host *host, struct vm_host_use *ret_use)
{
	struct encl_info info = { 0 };

	if (host->used) {
		atomic_store(&host->stop, true);
		pthread_join(host->thread, NULL);
		host->used = false;
	}
	if (host->encl)
		encl_info_read(host->encl, &info);
	*ret_use = (struct vm_host_use){ .touched = host->touched,
					 .wrong = host->wrong,
					 .evictions = info.evictions,
					 .loads = info.loads };
}

/* ---- life ---------------------------------------------------------------------------------------------- */

static bool audit(struct vm_host *host, struct report *rep)
{
	struct epc_stats stats;
	char why[96] = "";

	if (epc_audit(host->epc, false, why, sizeof(why))) {
		report_fail(rep, -EIO, "the EPC's pages do not add up: %s", why);
		return false;
	}
	epc_stats_read(host->epc, &stats);
	if (stats.free + stats.dirty == stats.pages)
		return true;
	report_fail(rep, -EIO, "%llu EPC pages were not given back",
		    (unsigned long long)(stats.pages - stats.free - stats.dirty));
	return false;
}

bool vm_host_destroy(struct vm_host *host, struct report *rep)
{
	bool ok = true;

	if (!host)
		return true;
	encl_put(host->encl);
	if (host->vepcs)
		ok = audit(host, rep);
	if (ok && host->vepcs)
		vepc_registry_destroy(host->vepcs);
	if (ok && host->encls)
		encl_registry_destroy(host->encls);
	if (ok && host->epc)
		epc_destroy(host->epc);
	if (ok && host->cpu)
		cpu_destroy(host->cpu);
	if (ok)
		arena_destroy(host->arena);
	free(host);
	return ok;
}

int vm_host_create(uint64_t epc_bytes, uint64_t enclave_bytes, const char *policy,
		   struct vm_host **ret_host, struct report *rep)
{
	struct vm_host *host = calloc(1, sizeof(*host));
	int r = host ? make_machine(host, epc_bytes, policy) : -ENOMEM;

	if (r == -EINVAL && policy)
		report_fail(rep, r, "there is no policy '%s'", policy);
	else if (r < 0)
		report_fail(rep, r, "cannot make a processor with an EPC");
	if (r == 0 && enclave_bytes) {
		r = make_enclave(host, enclave_bytes);
		if (r < 0)
			report_fail(rep, r, "cannot make an enclave of the host's");
	}
	if (r < 0)
		(void)vm_host_destroy(host, NULL);
	else
		*ret_host = host;
	return r;
}

struct epc *vm_host_epc(struct vm_host *host)
{
	return host->epc;
}

struct vepc_registry *vm_host_registry(struct vm_host *host)
{
	return host->vepcs;
}
