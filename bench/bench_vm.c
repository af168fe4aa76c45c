/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What it costs on /dev/kvm to be oversubscribed: a touch by an enclave of a guest that evicts one page and loads
 * another, beside the same of an enclave of the host's, which is mapped under userfaultfd as a client of swsgx run has it.
 *
 *   bench_vm KERNEL [--json]
 *
 * The two take turns: when the guest says that it has touched its pages (GUEST_PORT_CALL) the thread of its processor touches
 * those of the host's enclave.  Goal: 1.5 times at most.  Then, guests whose pages are all in the EPC: one that could be
 * taken from, and one that could not; what they count must be equal.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "epc/window.h"
#include "guest/layout.h"
#include "measure.h"
#include "option.h"
#include "virt/virt.h"
#include "vmm/lib.h"
#include "vmm/vmm_priv.h"

enum { EPC_PAGES = 160, PAGES = 300, TOUCHES = 50, SAMPLES = 101, WARM = 12 };

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "bench_vm: %s failed\n", what);
	exit(1);
}

static uint64_t process_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* ---- the host's enclave -------------------------------------------------------------------------------- */

/* What its signal handler knows. */
static struct {
	struct world w;
	struct build build;
	volatile uint8_t *map;
	int uffd;
	uint32_t next;
	const char *failed;
} side;

static int map_page(void *ctx, struct encl *encl, uint64_t la, uint64_t win_off, unsigned int rwx)
{
	struct uffdio_continue c = {
		.range = { .start = (uintptr_t)side.map + (la - encl_base(encl)), .len = 4096 }
	};

	(void)ctx, (void)win_off, (void)rwx;
	return ioctl(side.uffd, UFFDIO_CONTINUE, &c) == 0 ? 0 : -EAGAIN;
}

static int place_page(void *ctx, struct encl *encl, uint64_t la, uint64_t win_off,
		      const void *bytes, unsigned int rwx)
{
	struct uffdio_copy c = { .dst = (uintptr_t)side.map + (la - encl_base(encl)),
				 .src = (uintptr_t)bytes,
				 .len = 4096 };

	(void)ctx, (void)win_off, (void)rwx;
	return ioctl(side.uffd, UFFDIO_COPY, &c) == 0;
}

static bool never(void *ctx)
{
	(void)ctx;
	return false;
}

static const struct encl_mm_ops mm_ops = { .map = map_page,
					   .place = place_page,
					   .signal_pending = never };
static const struct encl_mm mm = { .ops = &mm_ops };

static void on_sigbus(int sig, siginfo_t *info, void *uc)
{
	uint64_t off = ((uintptr_t)info->si_addr - (uintptr_t)side.map) & ~4095ull;
	struct encl_fault f = encl_fault(side.build.encl, &mm, encl_base(side.build.encl) + off,
					 ENCL_R, ENCL_R | ENCL_W, true);

	(void)sig, (void)uc;
	if (f.kind != ENCL_FAULT_DONE)
		_exit(1);
}

static void host_begin(void)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_SIGBUS | UFFD_FEATURE_MISSING_SHMEM |
					      UFFD_FEATURE_MINOR_SHMEM };
	struct sigaction sa = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING |
					       UFFDIO_REGISTER_MODE_MINOR };
	void *map;

	world_init(&side.w, EPC_PAGES, 0);
	if (build_create(&side.build, &side.w, 2 << 20, 0) < 0 ||
	    build_add_many(&side.build, 0, PAGES) < 0 || build_init(&side.build) < 0)
		die("a host enclave");
	map = mmap(NULL, 2 << 20, PROT_READ | PROT_WRITE, MAP_SHARED,
		   window_fd(epc_window(side.w.epc)), (off_t)encl_win_off(side.build.encl));
	side.map = map;
	side.uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | 1 /* UFFD_USER_MODE_ONLY */);
	reg.range = (struct uffdio_range){ .start = (uintptr_t)map, .len = 2 << 20 };
	if (map == MAP_FAILED || side.uffd < 0 || ioctl(side.uffd, UFFDIO_API, &api) < 0 ||
	    ioctl(side.uffd, UFFDIO_REGISTER, &reg) < 0)
		die("the host enclave's mapping");
	sigaction(SIGBUS, &sa, NULL);
}

static void host_touch(void)
{
	for (unsigned int i = 0; i < TOUCHES; i++, side.next++)
		(void)side.map[(uint64_t)TOUCH_ORDER(side.next, (uint64_t)PAGES) * SGX_PAGE_SIZE];
}

static uint64_t loads_of(struct epc *epc)
{
	struct epc_stats stats;

	epc_stats_read(epc, &stats);
	return stats.loads;
}

/* ---- turns ------------------------------------------------------------------------------------------------ */

struct turns {
	struct measure *m;
	struct host guest; /* its EPC */
	int wall[2], cpu[2];
	unsigned int nr, wanted; /* rounds */
	uint64_t at_ns, at_cpu, at_loads;
	double load_sum[2];
};

static void begin(struct turns *t, struct epc *epc)
{
	t->at_loads = loads_of(epc);
	t->at_cpu = process_ns();
	t->at_ns = measure_wall_ns();
}

static void end(struct turns *t, struct epc *epc, unsigned int who)
{
	double wall = (double)(measure_wall_ns() - t->at_ns) / 1e3;
	double cpu = (double)(process_ns() - t->at_cpu) / 1e3;
	double loads = (double)(loads_of(epc) - t->at_loads);

	if (t->nr < WARM || loads < 1)
		return;
	t->load_sum[who] += loads;
	measure_sample(t->m, t->wall[who], wall / loads);
	measure_sample(t->m, t->cpu[who], cpu / loads);
}

static uint64_t called(void *ctx, unsigned int vcpu, uint64_t what, uint64_t arg)
{
	struct turns *t = ctx;

	(void)vcpu, (void)arg;
	if (what == CALL_NEXT) {
		if (t->nr == t->wanted)
			return 0;
		begin(t, t->guest.w.epc);
		return 1;
	}
	if (what != CALL_DONE)
		return 0;
	end(t, t->guest.w.epc, 1);
	begin(t, side.w.epc);
	host_touch();
	end(t, side.w.epc, 0);
	t->nr++;
	return 0;
}

static void guest_epc(struct host *h, uint32_t pages, const char *kernel)
{
	world_init_caps(&h->w, pages, 0, SGX_CPUID_ENCLV | SGX_CPUID_ENCLS_C);
	if (vepc_registry_create(h->w.epc, &h->registry) < 0)
		die("raw EPC");
	h->image = kernel;
}

static struct vmm_config touching(struct host *h, uint64_t pages)
{
	struct vmm_config config = host_config(h, SCRIPT_TOUCH);

	config.args[ARG_PAGES] = pages;
	config.args[ARG_ROUNDS] = TOUCHES;
	return config;
}

static void run(const struct vmm_config *config, void (*before)(struct vmm *vmm, void *ctx),
		void (*after)(struct vmm *vmm, void *ctx), void *ctx)
{
	struct vmm *vmm = NULL;
	struct report rep;

	report_init(&rep);
	if (vmm_create(config, &vmm, &rep) < 0) {
		fprintf(stderr, "%s\n", rep.what);
		die("a guest");
	}
	if (before)
		before(vmm, ctx);
	if (vmm_start(vmm, &rep) < 0 || vmm_wait(vmm, 0, &rep) != 0) {
		fprintf(stderr, "%s %s\n", rep.what, vmm_said(vmm, 0));
		die("a guest");
	}
	if (after)
		after(vmm, ctx);
	vmm_destroy(vmm);
}

static void evict_and_load(struct measure *m, struct host *h)
{
	struct turns t = { .m = m, .guest = *h, .wanted = SAMPLES + WARM };
	struct vmm_config config = touching(h, PAGES);

	t.wall[0] = measure_row(m, "host enclave: evict one, load another", "us", -1, 0);
	t.wall[1] = measure_row(m, "guest: evict one, load another", "us", t.wall[0], 1.5);
	t.cpu[0] = measure_row(m, "the same in CPU time: host enclave", "us", -1, 0);
	t.cpu[1] = measure_row(m, "guest, all threads", "us", t.cpu[0], 1.5);
	config.call = called;
	config.call_ctx = &t;
	run(&config, NULL, NULL, NULL);
	if (!m->json)
		printf("loads a touch: host enclave %.2f, guest %.2f\n",
		       t.load_sum[0] / SAMPLES / TOUCHES, t.load_sum[1] / SAMPLES / TOUCHES);
}

/* What of that is the way out of the guest and back: pages that are in the EPC, and that it has no translation of. */
struct here {
	struct measure *m;
	int row;
	unsigned int nr;
	uint64_t at_cpu;
};

static uint64_t here_called(void *ctx, unsigned int vcpu, uint64_t what, uint64_t arg)
{
	struct here *here = ctx;

	(void)vcpu, (void)arg;
	if (what == CALL_DONE && here->nr >= WARM)
		measure_sample(here->m, here->row,
			       (double)(process_ns() - here->at_cpu) / 1e3 / TOUCHES);
	here->at_cpu = process_ns();
	return what == CALL_NEXT && here->nr++ < SAMPLES + WARM;
}

static void exits_alone(struct measure *m, const char *kernel)
{
	static struct host h;
	struct here here = { .m = m };
	struct vmm_config config;

	guest_epc(&h, 1024, kernel);
	here.row = measure_row(m, "guest, of a page that is here (CPU)", "us", 2, 0);
	config = touching(&h, PAGES);
	config.args[ARG_FLAGS] = FLAG_ANEW;
	config.call = here_called;
	config.call_ctx = &here;
	run(&config, NULL, NULL, &here);
}

/* ---- a working set that fits ------------------------------------------------------------------------------- */

enum { FITS = 100, COUNTS = 6 };

static const char *const count_names[COUNTS] = {
	"exits", "ENCLS", "ENCLU", "faults of enclaves", "pages brought", "leaves of the host's",
};

struct counts {
	uint64_t nr[COUNTS];
	unsigned int rounds;
	uint64_t leaves, faults; /* pages brought before */
};

static void hook(void *ctx, const char *before)
{
	struct counts *c = ctx;

	(void)before;
	c->leaves++;
}

static void set_hook(struct vmm *vmm, void *ctx)
{
	struct epc_stats stats;

	epc_stats_read(vmm->epc, &stats);
	((struct counts *)ctx)->faults = stats.faults;
	virt_set_hook(vmm->guest, hook, ctx);
}

static uint64_t fits_called(void *ctx, unsigned int vcpu, uint64_t what, uint64_t arg)
{
	struct counts *c = ctx;

	(void)vcpu, (void)arg;
	return what == CALL_NEXT && c->rounds++ < 20;
}

static void read_counts(struct vmm *vmm, void *ctx)
{
	struct counts *c = ctx;
	struct vmm_info info;
	struct epc_stats stats;

	epc_stats_read(vmm->epc, &stats);
	stats.faults -= c->faults;
	vmm_info_read(vmm, &info);
	memcpy(c->nr,
	       (uint64_t[COUNTS]){ info.exits, info.encls, info.enclu, info.enclave_faults,
				   stats.faults, c->leaves },
	       sizeof(c->nr));
}

static void counted(struct host *h, bool reserved, struct counts *c)
{
	struct vmm_config config = touching(h, FITS);

	config.reserved = reserved;
	config.call = fits_called;
	config.call_ctx = c;
	run(&config, set_hook, read_counts, c);
}

static void counts(struct measure *m, const char *kernel)
{
	struct counts own = { .rounds = 0 }, kept = own;
	static char names[2 * COUNTS][64];
	static struct host h;

	guest_epc(&h, 1024, kernel);
	counted(&h, true, &own);
	counted(&h, false, &kept);
	for (int i = 0; i < COUNTS; i++) {
		int base;

		snprintf(names[2 * i], sizeof(names[0]), "fits: %s, EPC of its own",
			 count_names[i]);
		snprintf(names[2 * i + 1], sizeof(names[0]), "%s, oversubscribable",
			 count_names[i]);
		base = measure_row(m, names[2 * i], "", -1, 0);
		measure_sample(m, base, (double)own.nr[i]);
		measure_sample(m,
			       measure_row(m, names[2 * i + 1], "", own.nr[i] ? base : -1,
					   own.nr[i] ? 1 : 0),
			       (double)kept.nr[i]);
	}
}

int main(int argc, char **argv)
{
	static const struct argp own = { .parser = option_argument, .args_doc = "KERNEL" };
	static struct measure m = { .title = "A guest on /dev/kvm, and an enclave of the host's" };
	static struct host h;
	struct report rep;
	char *kernel = NULL;
	char text[256];

	m.json = option_parse(argc, argv, m.title, &own, &kernel);
	report_init(&rep);
	if (vmm_probe(&rep) < 0) {
		printf("bench_vm: skipped: %s\n", report_text(&rep, text, sizeof(text)));
		return 77;
	}
	host_begin();
	guest_epc(&h, EPC_PAGES, kernel);
	evict_and_load(&m, &h);
	exits_alone(&m, kernel);
	counts(&m, kernel);
	measure_print(&m);
	return 0;
}
