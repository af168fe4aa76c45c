/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A process that dies while it holds a guest's lock, before any instruction of the host's and at any machine
 * instruction after: the guest and everybody else go on, with every page.
 *
 * The child stops itself at the k-th instruction, for every k that there is, is stepped on from there for
 * a random number of machine instructions, and killed.
 *
 *   test_kill [tries [seed]]    how often at each instruction
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cpu/cpu_priv.h"
#include "vm.h"

enum { PAGES = 10, DEEP_PAGES = 520, STEPS_MAX = 4000 };

static struct vm vm;
static pid_t parent;
static unsigned int calls, stop_at;
static unsigned int seed = 1;
static int tries = 1;
static uint32_t pages; /* of the enclave */

static void stop_here(void)
{
	if (getpid() != parent && calls++ == stop_at)
		raise(SIGSTOP);
}

static void hook(void *ctx, const char *before) { stop_here(); }

static void before_step(struct vm *m) { stop_here(); }

/* ---- what the child does -------------------------------------------------------------------------------- */

static void evict(void)
{
	for (int i = 0; i < 40; i++)
		epc_reclaim(vm.w.epc);
}

static void load_one(void) { vm_touch(&vm, DEEP_PAGES / 2); }

static void load(void)
{
	for (uint32_t page = 0; page <= pages; page++)
		vm_touch(&vm, page);
	vm_touch(&vm, VM_SECOND);
}

static void remove_all(void)
{
	vepc_remove_all(vm.file[0]);
	vepc_remove_all(vm.file[0]);
}

static void instructions(void)
{
	vm_simple(&vm, SGX_EBLOCK, 3);
	vm_simple(&vm, SGX_ETRACK, 0);
	vm_simple(&vm, SGX_EREMOVE, 5);
	vm_simple(&vm, SGX_EREMOVE, 6);
	vm_eadd(&vm, 0, 5, 4, FLAGS_RW);
}

/* ---- what must hold afterwards -------------------------------------------------------------------------- */

static bool is_alive(void)
{
	struct virt_info info;

	virt_info_read(vm.guest, &info);
	return !info.dead && info.lost == 0;
}

static uint64_t away(void)
{
	struct virt_info info;

	virt_info_read(vm.guest, &info);
	return info.away;
}

/* All pages are what they were; and when all are here the SECS has no virtual child. */
static bool is_whole(void)
{
	for (uint32_t i = 0; i < pages; i++)
		if (!vm_is_intact(&vm, 1 + i, i, FLAGS_RW))
			return false;
	return vm_touch(&vm, 0) == 0 && (vm_rdinfo(&vm, 0).status == VM_CHILD || away() > 0);
}

static bool remove_page(uint32_t page)
{
	struct cpu_outcome out = vm_simple(&vm, SGX_EREMOVE, page);

	return out.fault == CPU_NO_FAULT && out.eax == SGX_OK;
}

/* Some pages may have gone; the SECS counts the others rightly. */
static bool is_removable(void)
{
	for (uint32_t page = pages; page > 0; page--)
		if (!remove_page(page))
			return false;
	return remove_page(0);
}

static bool build(void)
{
	bool ok = vm_ecreate(&vm, 0);

	for (uint32_t i = 0; i < pages; i++)
		ok = ok && vm_eadd(&vm, 0, 1 + i, i, FLAGS_RW);
	return ok;
}

/* ---- rounds ----------------------------------------------------------------------------------------------- */

enum before { ALL_HERE, ALL_AWAY, HALF_AWAY, ONE_HERE };

struct scene {
	const char *name;
	void (*act)(void);
	bool (*holds)(void);
	enum before before;
	bool built;  /* it holds until the next round */
	bool frames; /* it takes EPC pages; one that it had in hand is found when the file ends */
	bool deep;   /* so many pages that VA pages leave as well */
};

/* True when the child did come to the @stop_at-th call. */
static bool kill_at(const struct scene *scene, unsigned int steps)
{
	int status = 0;
	bool stopped;
	pid_t pid;

	pid = fork();
	if (pid == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		calls = 0;
		scene->act();
		_exit(0);
	}
	/* It stops where it may not be traced, too, and is killed there. */
	waitpid(pid, &status, WUNTRACED);
	stopped = WIFSTOPPED(status);
	while (WIFSTOPPED(status) && steps-- > 0) {
		if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) < 0)
			break;
		waitpid(pid, &status, 0);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return stopped;
}

static bool audit(const struct scene *scene)
{
	char why[256] = "";

	if (scene->frames || epc_audit(vm.w.epc, false, why, sizeof(why)) == 0)
		return true;
	printf("# %s\n", why);
	return false;
}

static bool round_of(const struct scene *scene, unsigned int steps, bool *ret_stopped)
{
	bool alive, first, holds;

	if (scene->before != ALL_HERE)
		vm_reclaim(&vm);
	if (scene->before == HALF_AWAY)
		for (uint32_t page = 1; page <= pages / 2; page++)
			vm_touch(&vm, page);
	if (scene->before == ONE_HERE)
		load_one();
	*ret_stopped = kill_at(scene, steps);
	epc_recover(vm.w.epc);
	alive = is_alive();
	first = audit(scene);
	holds = scene->holds();
	if (alive && first && holds && audit(scene) && (scene->built || build()))
		return true;
	printf("# %s: call %u, %u steps: alive %d, audit %d, holds %d\n", scene->name, stop_at,
	       steps, alive, first, holds);
	return false;
}

/* The guest ends, and nothing of it is in the EPC. */
static bool end(const struct scene *scene, unsigned int kills)
{
	struct world_left left;
	char why[256] = "";
	bool ok;

	virt_set_hook(vm.guest, NULL, NULL);
	vepc_put(vm.file[0]);
	vepc_put(vm.file[1]);
	virt_put(vm.guest);
	world_left(&vm.w, &left);
	ok = epc_audit(vm.w.epc, false, why, sizeof(why)) == 0 && left.frames == 0 &&
	     vepc_zombie_nr(vm.registry) == 0 && left.slots <= kills;
	if (!ok)
		printf("# %s: %llu frames, %llu slots left %s\n", scene->name,
		       (unsigned long long)left.frames, (unsigned long long)left.slots, why);
	vepc_registry_destroy(vm.registry);
	world_destroy(&vm.w);
	return ok;
}

/* Between two instructions, and then at some points of the second. */
static bool run_at(const struct scene *scene, bool *ret_stopped)
{
	bool ok, stopped;

	pages = scene->deep ? DEEP_PAGES : PAGES;
	vm_init_large(&vm, 64, 2 * DEEP_PAGES);
	virt_set_hook(vm.guest, hook, NULL);
	vm.before_step = before_step;
	ok = build() && round_of(scene, 0, ret_stopped);
	for (int i = 0; ok && i < tries; i++)
		ok = round_of(scene, (unsigned int)rand_r(&seed) % STEPS_MAX, &stopped);
	return end(scene, (unsigned int)tries + 1) && ok;
}

static void run(const struct scene *scene)
{
	bool ok = true, stopped = true;

	for (stop_at = 0; ok && stopped; stop_at++)
		ok = run_at(scene, &stopped);
	TAP_CHECK(ok && stop_at > 4, "%s: killed before each of %u instructions, and in them",
		  scene->name, stop_at - 1);
}

static const struct scene scenes[] = {
	{ "evicting", evict, is_whole, ALL_HERE, true, false, false },
	{ "evicting what is left", evict, is_whole, HALF_AWAY, true, false, false },
	{ "loading", load, is_whole, ALL_AWAY, true, true, false },
	{ "REMOVE_ALL", remove_all, is_removable, ALL_HERE, false, false, false },
	{ "REMOVE_ALL with pages away", remove_all, is_removable, HALF_AWAY, false, false, false },
	{ "instructions of the guest", instructions, is_removable, HALF_AWAY, false, true, false },
	{ "evicting VA pages", evict, is_whole, ONE_HERE, true, false, true },
	{ "loading VA pages", load_one, is_whole, ALL_AWAY, true, true, true },
};

/* The moment that steps hit too rarely: the version is in the hand of a load that does not come to its end. */
static void test_version(void)
{
	static struct vm_evicted out;
	uint64_t *slot;

	pages = PAGES;
	vm_init(&vm, 64);
	TAP_MUST(build() && vm_epa(&vm, 20) && cpu_ok(vm_simple(&vm, SGX_EBLOCK, 2)) &&
			 cpu_ok(vm_simple(&vm, SGX_ETRACK, 0)) &&
			 cpu_ok(vm_ewb(&vm, 2, 20, 7, &out)),
		 "a page that the guest has evicted");
	slot = (uint64_t *)cpu_bytes(vm.w.cpu, vm_nr(&vm, 20)) + 7;
	*slot |= CPU_VERSION_TAKEN;
	TAP_CHECK(vm_eldu(&vm, 2, 0, 20, 7, &out).fault == CPU_GP,
		  "another load has its version: #GP");
	cpu_repair_page(vm.w.cpu, vm_nr(&vm, 20));
	TAP_CHECK(cpu_ok(vm_eldu(&vm, 2, 0, 20, 7, &out)) && vm_is_intact(&vm, 2, 1, FLAGS_RW) &&
			  *slot == 0,
		  "that one is dead, and repaired: the page can be loaded");
	vm_fini(&vm, "version");
}

int main(int argc, char **argv)
{
	parent = getpid();
	if (argc > 1)
		tries = atoi(argv[1]);
	if (argc > 2)
		seed = (unsigned int)atoi(argv[2]);
	for (size_t i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++)
		run(&scenes[i]);
	test_version();
	return tap_done();
}
