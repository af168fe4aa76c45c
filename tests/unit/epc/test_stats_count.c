/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* Counters: threads that run at once add to different ones, wherever their stacks are, and no count is lost. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "epc/epc_priv.h"
#include "lib/bare_owner.h"
#include "lib/fake_owner.h"
#include "lib/tap.h"

/* A sanitizer wants most of a megabyte of a stack for itself. */
enum { PAGES = 64, STACKS = 24, STACK_BYTES = 1088 * 1024, ADDS = 20000 };

struct adder {
	struct epc_owner *owner;
	int cpu; /* -1: any */
	uint64_t n;
};

static void *add(void *arg)
{
	struct adder *a = arg;
	cpu_set_t set;

	if (a->cpu >= 0) {
		CPU_ZERO(&set);
		CPU_SET(a->cpu, &set);
		pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
	}
	for (uint64_t i = 0; i < a->n; i++)
		epc_count(a->owner, NULL, EPC_FAULTS, 1);
	return NULL;
}

/* One event by a thread with its stack there; false: it cannot be made. */
static bool add_on_stack(struct epc_owner *owner, int cpu, char *stack)
{
	struct adder adder = { owner, cpu, 1 };
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setstack(&attr, stack, STACK_BYTES);
	if (pthread_create(&thread, &attr, add, &adder) != 0)
		return false;
	pthread_join(thread, NULL);
	pthread_attr_destroy(&attr);
	return true;
}

static uint32_t slots_used(const struct epc_owner *owner)
{
	uint32_t used = 0;

	for (uint32_t i = 0; i < owner->epc->count_slot_nr; i++)
		used |= (uint32_t)(owner->counts[i].nr[EPC_FAULTS] > 0) << i;
	return used;
}

/*
 * Many stacks, so that by any rule which looks at them two on different CPUs would have a slot in common.
 */
static void test_apart(void)
{
	uint32_t used, others = 0, made;
	struct epc_owner *owner;
	struct fake_machine m;
	cpu_set_t may;
	unsigned int cpus = 0, i;
	char *stacks;

	fake_machine_create(&m, PAGES, NULL, NULL, 0);
	stacks = mmap(NULL, (size_t)STACKS * STACK_BYTES, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	TAP_MUST(stacks != MAP_FAILED && sched_getaffinity(0, sizeof(may), &may) == 0, "stacks");
	for (int cpu = 0; cpu < CPU_SETSIZE && cpus < m.epc->count_slot_nr && cpus < 4; cpu++) {
		if (!CPU_ISSET(cpu, &may))
			continue;
		owner = bare_owner_create(m.epc, NULL);
		for (i = made = 0; i < STACKS; i++)
			made += add_on_stack(owner, cpu, stacks + (size_t)i * STACK_BYTES);
		used = slots_used(owner);
		TAP_CHECK(made == STACKS && __builtin_popcount(used) == 1,
			  "CPU %d: one slot for %u threads", cpu, STACKS);
		if (cpu < EPC_COUNT_SLOTS_MAX)
			TAP_CHECK(!(used & others), "and no other CPU's");
		others |= used;
		epc_owner_destroy(owner);
		cpus++;
	}
	munmap(stacks, (size_t)STACKS * STACK_BYTES);
	fake_machine_destroy(&m);
}

/* Threads go from CPU to CPU in the midst of it, processes are forked and killed. */
static void test_none_is_lost(void)
{
	struct adder adder = { .cpu = -1, .n = ADDS };
	struct epc_owner_info info;
	struct fake_machine m;
	pthread_t thread[8];
	uint64_t before;
	unsigned int i;
	pid_t pid;

	fake_machine_create(&m, PAGES, NULL, NULL, 0);
	adder.owner = bare_owner_create(m.epc, NULL);
	for (i = 0; i < 8; i++)
		pthread_create(&thread[i], NULL, add, &adder);
	pid = fork();
	if (pid == 0) {
		add(&adder);
		_exit(0);
	}
	for (i = 0; i < 8; i++)
		pthread_join(thread[i], NULL);
	waitpid(pid, NULL, 0);
	(void)epc_owner_read(epc_group_root(m.epc), 0, &info);
	TAP_CHECK(info.count[EPC_FAULTS] == 9ull * ADDS, "%lu events of eight threads and a child",
		  (unsigned long)info.count[EPC_FAULTS]);
	before = info.count[EPC_FAULTS];
	adder.n = UINT64_MAX; /* without an end */
	pid = fork();
	if (pid == 0) {
		add(&adder);
		_exit(0);
	}
	while (info.count[EPC_FAULTS] < before + ADDS)
		(void)epc_owner_read(epc_group_root(m.epc), 0, &info);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	(void)epc_owner_read(epc_group_root(m.epc), 0, &info);
	before = info.count[EPC_FAULTS];
	adder.n = ADDS;
	add(&adder);
	(void)epc_owner_read(epc_group_root(m.epc), 0, &info);
	TAP_CHECK(info.count[EPC_FAULTS] == before + ADDS, "who is killed takes none with it");
	epc_owner_destroy(adder.owner);
	fake_machine_destroy(&m);
}

/* What a group is charged by threads of different CPUs, they do not write into one cache line. */
static void test_charges_apart(void)
{
	unsigned int nr, i, at, near = 0, out = 0, met = 0;
	uint64_t seen;

	for (nr = 1; nr <= EPC_CHARGE_PLACES; nr++) {
		for (seen = 0, i = 0; i < nr; i++) {
			at = charge_index(nr, i);
			out += at >= charge_places(nr) || charge_places(nr) > EPC_CHARGE_PLACES;
			met += seen >> at % EPC_CHARGE_PLACES & 1;
			seen |= 1ull << at % EPC_CHARGE_PLACES;
			near += i > 0 &&
				at / CHARGES_A_LINE == charge_index(nr, i - 1) / CHARGES_A_LINE;
		}
	}
	TAP_CHECK(out == 0 && met == 0, "every shard has its place");
	TAP_CHECK(near == 0, "on another line than its neighbour's");
}

int main(void)
{
	test_apart();
	test_none_is_lost();
	test_charges_apart();
	return tap_done();
}
