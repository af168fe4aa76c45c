/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A process that is killed at any instruction of what it does to an enclave costs those who share
 * it nothing.
 *
 * A table of steps: a load, a load that needs the SECS, EAUG, EADD, ECREATE, EINIT, the EDMM
 * ioctls, a VA page, an entry, an exit, the enclave's end.  A child runs the step with a trap after
 * each instruction and kills itself after so many; over the rounds the points are spread evenly
 * over all of them.  Then the parent goes on with the same enclave, finds every page with its
 * contents, brings the step to its end, and the frame audit holds to the last frame.
 *
 *   test_encl_kill [rounds [seed]]
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/arena.h"
#include "encl/encl_priv.h"
#include "epc/backing.h"
#include "lib/sigstruct.h"
#include "lib/tap.h"
#include "lib/thread.h"
#include "lib/world.h"

enum { EPC_PAGES = 32, NR = 40, TCS = 48, NEW = 64, VA_NR = SGX_VA_SLOTS - 2 };

struct scene {
	struct world w;
	struct build b;
	struct thread t; /* the parent's logical processor */
	struct cpu_lp *lp;
	struct sgx_secs *secs;
	struct sgx_sigstruct *sig;
	unsigned int bad;
};

struct step {
	const char *name;
	void (*prepare)(struct scene *s);
	void (*act)(struct scene *s);
	void (*go_on)(struct scene *s); /* the parent does what the child may not have done */
	bool fresh;                     /* an enclave for each round, made by prepare() */
	void *(*from)(
		struct
		scene *s); /* count from the first write to this page; NULL: from the first instruction */
};

static void fail_if(struct scene *s, bool bad, const char *what)
{
	if (bad)
		printf("# %s\n", what);
	s->bad += bad;
}

static void evict_all(struct scene *s)
{
	for (int i = 0; i < 60; i++)
		epc_reclaim(s->w.epc);
}

static void touch_all(struct scene *s)
{
	struct encl_fault f;

	for (uint64_t i = 0; i < NR; i++) {
		enum touch touch = touch_page(s->b.encl, i, 0, 0, &f);

		if (touch != TOUCH_OK)
			printf("# page %lu: %s %s\n", (unsigned long)i,
			       touch == TOUCH_WRONG ? "wrong" : "fault",
			       touch == TOUCH_FAULT && f.why ? f.why : "");
		s->bad += touch != TOUCH_OK;
	}
}

static void nothing(struct scene *s) {}

/* ---- loads ----------------------------------------------------------------------------------- */

static void some_out(struct scene *s)
{
	for (uint64_t i = 10; i < NR; i++)
		touch_page(s->b.encl, i, 0, 0, NULL);
}

static void touch_one(struct scene *s)
{
	encl_fault(s->b.encl, &encl_mm_none, s->b.base + 3 * SGX_PAGE_SIZE, ENCL_R, ENCL_R, true);
}

/* ---- EAUG and the EDMM ioctls ---------------------------------------------------------------- */

static void aug(struct scene *s)
{
	encl_fault(s->b.encl, &encl_mm_none, s->b.base + NEW * SGX_PAGE_SIZE, ENCL_W,
		   SGX_SECINFO_RWX, true);
}

static void accept(struct scene *s, uint64_t flags, const char *what)
{
	fail_if(s, !cpu_ok(thread_enter(&s->t)), "the parent cannot enter");
	fail_if(s, !cpu_ok(thread_eaccept(&s->t, NEW, flags)), what);
	fail_if(s, !cpu_ok(thread_exit(&s->t)), "the parent cannot leave");
}

static void take_away(struct scene *s)
{
	uint64_t result, count;

	fail_if(s,
		encl_modify_types(s->b.encl, &encl_mm_none, NEW * SGX_PAGE_SIZE, SGX_PAGE_SIZE,
				  SGX_PT_TRIM, &result, &count) != 0,
		"a page cannot be trimmed");
	accept(s, SGX_SECINFO_TYPE(SGX_PT_TRIM) | SGX_SECINFO_MODIFIED, "EACCEPT of TRIM");
	fail_if(s,
		encl_remove_pages(s->b.encl, &encl_mm_none, NEW * SGX_PAGE_SIZE, SGX_PAGE_SIZE,
				  &count) != 0,
		"a page cannot be removed");
}

static void aug_go_on(struct scene *s)
{
	aug(s);
	accept(s, FLAGS_RW | SGX_SECINFO_PENDING, "EACCEPT of an augmented page");
	take_away(s);
}

static void have_new(struct scene *s)
{
	aug(s);
	accept(s, FLAGS_RW | SGX_SECINFO_PENDING, "EACCEPT of an augmented page");
}

static void restrict_new(struct scene *s)
{
	uint64_t result, count;

	encl_restrict_permissions(s->b.encl, &encl_mm_none, NEW * SGX_PAGE_SIZE, SGX_PAGE_SIZE,
				  SGX_SECINFO_R, &result, &count);
}

static void restrict_go_on(struct scene *s)
{
	restrict_new(s);
	accept(s, FLAGS_R | SGX_SECINFO_PR, "EACCEPT of a restriction");
	take_away(s);
}

static void trim_new(struct scene *s)
{
	uint64_t result, count;

	encl_modify_types(s->b.encl, &encl_mm_none, NEW * SGX_PAGE_SIZE, SGX_PAGE_SIZE, SGX_PT_TRIM,
			  &result, &count);
}

static void trim_go_on(struct scene *s)
{
	uint64_t count;

	trim_new(s);
	accept(s, SGX_SECINFO_TYPE(SGX_PT_TRIM) | SGX_SECINFO_MODIFIED, "EACCEPT of TRIM");
	fail_if(s,
		encl_remove_pages(s->b.encl, &encl_mm_none, NEW * SGX_PAGE_SIZE, SGX_PAGE_SIZE,
				  &count) != 0,
		"a page cannot be removed");
}

static void have_trimmed(struct scene *s)
{
	have_new(s);
	trim_new(s);
	accept(s, SGX_SECINFO_TYPE(SGX_PT_TRIM) | SGX_SECINFO_MODIFIED, "EACCEPT of TRIM");
}

static void remove_new(struct scene *s)
{
	uint64_t count;

	encl_remove_pages(s->b.encl, &encl_mm_none, NEW * SGX_PAGE_SIZE, SGX_PAGE_SIZE, &count);
}

static void remove_go_on(struct scene *s)
{
	remove_new(s);
	have_new(s);
	take_away(s);
}

/* ---- building -------------------------------------------------------------------------------- */

static void fresh(struct scene *s)
{
	fail_if(s, build_create(&s->b, &s->w, 1024 * SGX_PAGE_SIZE, 0) != 0, "no enclave");
}

static void some_added(struct scene *s)
{
	fresh(s);
	fail_if(s, build_add_many(&s->b, 0, NR) != 0, "no pages");
}

static int add_raw(struct scene *s, uint64_t idx, uint64_t flags, bool measure)
{
	struct sgx_secinfo secinfo = { .flags = flags };
	static uint8_t page[SGX_PAGE_SIZE] __attribute__((aligned(4096)));

	if (flags == FLAGS_TCS)
		thread_tcs((struct sgx_tcs *)(void *)page, idx);
	return encl_add_page(s->b.encl, &encl_mm_none, idx * SGX_PAGE_SIZE, page, &secinfo,
			     measure);
}

static void add(struct scene *s) { add_raw(s, NR, FLAGS_TCS, true); }

/* MRENCLAVE is right only when the page is in it once. */
static void add_go_on(struct scene *s)
{
	static uint8_t page[SGX_PAGE_SIZE] __attribute__((aligned(4096)));
	int r = add_raw(s, NR, FLAGS_TCS, true);

	fail_if(s, r != 0 && r != -EBUSY, "the page cannot be added");
	thread_tcs((struct sgx_tcs *)(void *)page, NR);
	measure_add(s->b.measure, NR * SGX_PAGE_SIZE, FLAGS_TCS);
	measure_extend(s->b.measure, NR * SGX_PAGE_SIZE, page);
	fail_if(s, build_init(&s->b) != 0, "the measurement is wrong");
}

static void opened(struct scene *s)
{
	memset(&s->b, 0, sizeof(s->b));
	s->b.world = &s->w;
	s->b.base = BUILD_BASE;
	s->b.size = 1024 * SGX_PAGE_SIZE;
	s->b.attributes.flags = SGX_ATTR_MODE64BIT;
	s->b.attributes.xfrm = SGX_XFRM_LEGACY;
	memset(s->secs, 0, sizeof(*s->secs));
	s->secs->size = s->b.size;
	s->secs->baseaddr = s->b.base;
	s->secs->ssa_frame_size = 1;
	s->secs->attributes = s->b.attributes;
	fail_if(s, encl_open(s->w.registry, &s->b.encl) != 0, "not opened");
	s->b.measure = measure_create(1, s->b.size);
}

static void create(struct scene *s) { encl_create(s->b.encl, s->secs); }

static void create_go_on(struct scene *s)
{
	if (!encl_created(s->b.encl))
		fail_if(s, encl_create(s->b.encl, s->secs) != 0, "it cannot be created");
	fail_if(s, build_add_many(&s->b, 0, NR) != 0 || build_init(&s->b) != 0,
		"it cannot be built");
}

static void signed_one(struct scene *s)
{
	static struct signer *signer;
	uint8_t mrenclave[32];

	some_added(s);
	if (!signer)
		signer = signer_create();
	measure_final(s->b.measure, mrenclave);
	s->b.measure = NULL;
	sigstruct_init(s->sig, mrenclave, s->b.attributes);
	sigstruct_sign(s->sig, signer);
}

static void init(struct scene *s) { encl_init(s->b.encl, &encl_mm_none, s->sig); }

/* The signature's check takes long, and changes nothing. */
static void *secs_bytes(struct scene *s)
{
	struct encl *encl = s->b.encl;

	return cpu_bytes(encl->cpu, epc_page_nr(encl->epc, encl->secs.epc_page));
}

static void init_go_on(struct scene *s)
{
	struct encl_info info;

	if (!encl_initialized(s->b.encl))
		fail_if(s, encl_init(s->b.encl, &encl_mm_none, s->sig) != 0, "EINIT is refused");
	encl_info_read(s->b.encl, &info);
	fail_if(s, memcmp(info.mrenclave, s->sig->enclavehash, 32) != 0, "MRENCLAVE is not told");
}

static void nearly_full(struct scene *s)
{
	some_added(s);
	for (uint64_t i = NR; i < VA_NR; i++)
		fail_if(s, add_raw(s, i, FLAGS_RW, false) != 0, "a page cannot be added");
}

static void add_beyond(struct scene *s)
{
	for (uint64_t i = VA_NR; i < VA_NR + 3; i++)
		add_raw(s, i, FLAGS_RW, false);
}

static void add_beyond_go_on(struct scene *s)
{
	struct encl_info info;

	add_beyond(s);
	encl_info_read(s->b.encl, &info);
	fail_if(s, info.pages != VA_NR + 3 || info.va_pages < 2, "pages are missing");
}

/* ---- entry ----------------------------------------------------------------------------------- */

static struct cpu_outcome step_in(void *ctx, struct cpu *cpu, const struct cpu_mmu *mmu)
{
	struct scene *s = ctx;
	struct cpu_regs regs = { .rax = SGX_EENTER, .rbx = s->b.base + TCS * SGX_PAGE_SIZE };

	return cpu_enclu(cpu, s->lp, mmu, &regs, s->t.xsave, 4096);
}

static struct cpu_outcome step_out(void *ctx, struct cpu *cpu, const struct cpu_mmu *mmu)
{
	struct scene *s = ctx;
	struct cpu_regs regs = { .rax = SGX_EEXIT, .rbx = 0x1000 };

	return cpu_enclu(cpu, s->lp, mmu, &regs, s->t.xsave, 4096);
}

static void enter(struct scene *s)
{
	encl_step(s->b.encl, &encl_mm_none, step_in, s, NULL);
	encl_step(s->b.encl, &encl_mm_none, step_out, s, NULL);
}

static void inside(struct scene *s)
{
	evict_all(s);
	encl_step(s->b.encl, &encl_mm_none, step_in, s, NULL);
}

/* Not under the lock: nobody but the reset of its logical processor finds out. */
static void leave(struct scene *s)
{
	struct cpu_regs regs = { .rax = SGX_EEXIT, .rbx = 0x1000 };

	encl_eexit(s->b.encl, s->lp, &regs);
}

static void enter_go_on(struct scene *s)
{
	struct encl_info info;

	encl_lp_reset(s->b.encl, s->lp);
	memset(s->lp, 0, sizeof(*s->lp));
	fail_if(s, !cpu_ok(thread_enter(&s->t)) || !cpu_ok(thread_exit(&s->t)),
		"the TCS cannot be entered any more");
	evict_all(s);
	encl_info_read(s->b.encl, &info);
	fail_if(s, info.resident != 0, "a page of the dead one's is held for ever");
}

/* ---- the end --------------------------------------------------------------------------------- */

static void let_go(struct scene *s) { encl_put(s->b.encl); }

static void let_go_go_on(struct scene *s)
{
	/* The child's reference, unless it was let go of. */
	for (unsigned int n = 0;; n++) {
		struct encl *encl = encl_registry_get(s->w.registry, n);
		bool ours = encl == s->b.encl;

		if (encl)
			encl_put(encl);
		if (ours)
			encl_put(encl);
		if (ours || !encl)
			break;
	}
	s->b.encl = NULL;
}

/* ---- the rounds ------------------------------------------------------------------------------ */

static const struct step steps[] = {
	{ .name = "load", .prepare = some_out, .act = touch_one, .go_on = nothing },
	{ .name = "load after the SECS", .prepare = evict_all, .act = touch_one, .go_on = nothing },
	{ .name = "EAUG", .prepare = nothing, .act = aug, .go_on = aug_go_on },
	{ .name = "restrict", .prepare = have_new, .act = restrict_new, .go_on = restrict_go_on },
	{ .name = "modify", .prepare = have_new, .act = trim_new, .go_on = trim_go_on },
	{ .name = "remove", .prepare = have_trimmed, .act = remove_new, .go_on = remove_go_on },
	{ .name = "enter", .prepare = evict_all, .act = enter, .go_on = enter_go_on },
	{ .name = "leave", .prepare = inside, .act = leave, .go_on = enter_go_on },
	{ .name = "create",
	  .prepare = opened,
	  .act = create,
	  .go_on = create_go_on,
	  .fresh = true },
	{ .name = "add", .prepare = some_added, .act = add, .go_on = add_go_on, .fresh = true },
	{ .name = "VA page",
	  .prepare = nearly_full,
	  .act = add_beyond,
	  .go_on = add_beyond_go_on,
	  .fresh = true },
	{ .name = "EINIT",
	  .prepare = signed_one,
	  .act = init,
	  .go_on = init_go_on,
	  .fresh = true,
	  .from = secs_bytes },
	{ .name = "end",
	  .prepare = some_added,
	  .act = let_go,
	  .go_on = let_go_go_on,
	  .fresh = true },
};

/* In the child: what is left to be done of its instructions, and what was. */
static unsigned long steps_left, *steps_done;

static void on_step(int sig)
{
	++*steps_done;
	if (--steps_left == 0)
		kill(getpid(), SIGKILL);
}

#define TRAP_FLAG 0x100

static void trap_flag(bool on)
{
	unsigned long flags;

	__asm__ volatile("pushfq; popq %0" : "=r"(flags)::"memory");
	flags = on ? flags | TRAP_FLAG : flags & ~(unsigned long)TRAP_FLAG;
	__asm__ volatile("pushq %0; popfq" ::"r"(flags) : "memory", "cc");
}

static void on_write(int sig, siginfo_t *info, void *uc)
{
	uintptr_t page = (uintptr_t)info->si_addr & ~(uintptr_t)(SGX_PAGE_SIZE - 1);

	if (mprotect((void *)page, SGX_PAGE_SIZE, PROT_READ | PROT_WRITE) < 0)
		abort();
	((ucontext_t *)uc)->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
}

static void act(struct scene *s, const struct step *step)
{
	struct sigaction trap = { .sa_handler = on_step };
	struct sigaction write = { .sa_sigaction = on_write, .sa_flags = SA_SIGINFO };

	sigaction(SIGTRAP, &trap, NULL);
	sigaction(SIGSEGV, &write, NULL);
	if (step->from)
		mprotect(step->from(s), SGX_PAGE_SIZE, PROT_READ);
	else
		trap_flag(true);
	step->act(s);
	trap_flag(false);
}

/* How many instructions the child did before it ended by itself, or was killed after @most. */
static unsigned long step_and_kill(struct scene *s, const struct step *step, unsigned long most)
{
	int status;
	pid_t pid;

	*steps_done = 0;
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		steps_left = most;
		act(s, step);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	fail_if(s, !WIFEXITED(status) && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL),
		"the child ended in another way");
	return *steps_done;
}

/* Each frame that is not free is a page, a VA page, or a SECS. */
static void check_frames(struct scene *s)
{
	struct epc_stats stats;
	uint64_t frames, known = 0, encls = 0;
	char why[256];

	fail_if(s, epc_audit(s->w.epc, false, why, sizeof(why)) != 0, why);
	epc_stats_read(s->w.epc, &stats);
	frames = stats.owned + stats.tracked + stats.in_batch;
	for (;; encls++) {
		struct encl *encl = encl_registry_get(s->w.registry, (unsigned int)encls);
		struct encl_info info;

		if (!encl)
			break;
		encl_info_read(encl, &info);
		known += info.resident + info.va_resident;
		encl_put(encl);
	}
	if (frames < known || frames > known + encls)
		printf("# %lu frames in use, %lu known\n", (unsigned long)frames,
		       (unsigned long)known);
	s->bad += frames < known || frames > known + encls;
}

static void one_round(struct scene *s, const struct step *step, unsigned long after)
{
	step->prepare(s);
	step_and_kill(s, step, after);
	encl_reap(s->w.registry);
	step->go_on(s);
	if (s->b.encl && encl_created(s->b.encl)) {
		touch_all(s);
		check_frames(s);
	}
	if (step->fresh)
		build_fini(&s->b);
}

static void run(const struct step *step, unsigned int rounds, unsigned int seed)
{
	struct scene s = { .bad = 0 };
	struct world_left left;
	unsigned long total, after;
	unsigned int round;

	world_init(&s.w, EPC_PAGES, 0);
	s.secs = aligned_alloc(SGX_PAGE_SIZE, SGX_PAGE_SIZE);
	s.sig = aligned_alloc(SGX_PAGE_SIZE, SGX_PAGE_SIZE);
	s.lp = arena_alloc(s.w.arena, sizeof(*s.lp));
	if (!step->fresh) {
		TAP_MUST(build_create(&s.b, &s.w, 128 * SGX_PAGE_SIZE, 0) == 0 &&
				 build_add_many(&s.b, 0, NR) == 0 && thread_pages(&s.b, TCS) == 0 &&
				 build_init(&s.b) == 0,
			 "%s: an enclave", step->name);
		thread_init(&s.t, &s.b, TCS);
	}
	step->prepare(&s);
	total = step_and_kill(&s, step, ~0ul);
	encl_reap(s.w.registry);
	step->go_on(&s);
	if (step->fresh)
		build_fini(&s.b);
	for (round = 0; round < rounds && s.bad == 0; round++) {
		after = 1 + total * round / rounds +
			(unsigned int)rand_r(&seed) % (total / rounds + 1);
		one_round(&s, step, after);
		if (s.bad)
			printf("# after %lu instructions\n", after);
	}
	TAP_CHECK(s.bad == 0, "%s: killed %u times among its %lu instructions", step->name, round,
		  total);
	if (!step->fresh) {
		thread_fini(&s.t);
		build_fini(&s.b);
	}
	arena_free(s.w.arena, s.lp, sizeof(*s.lp));
	world_audit(&s.w, step->name);
	world_left(&s.w, &left);
	TAP_CHECK(left.frames == 0 && left.slots == 0,
		  "%s: nothing is left over (%lu frames, %lu slots, %lu bytes)", step->name,
		  (unsigned long)left.frames, (unsigned long)left.slots, (unsigned long)left.bytes);
	world_destroy(&s.w);
	free(s.secs);
	free(s.sig);
}

int main(int argc, char **argv)
{
	unsigned int rounds = argc > 1 ? (unsigned int)strtoul(argv[1], NULL, 0) : 4;
	unsigned int seed = argc > 2 ? (unsigned int)strtoul(argv[2], NULL, 0) : 1;
	const char *only = argc > 3 ? argv[3] : NULL;

#ifdef __SANITIZE_THREAD__
	TAP_SKIP_ALL("no threads here, and TSan makes ten times as many instructions of it");
#endif
	steps_done = mmap(NULL, sizeof(*steps_done), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		if (!only || !strcmp(only, steps[i].name))
			run(&steps[i], rounds, seed + (unsigned int)i);
	return tap_done();
}
