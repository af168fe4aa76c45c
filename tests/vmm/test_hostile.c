/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Guests on /dev/kvm that do not want to live, or do not let others, all at once: each ends as it should or can be ended,
 * and beside them, from the same EPC, a guest says what it says alone.
 */
#include "vmm/lib.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#define EPC_PAGES 384u
#define RUNNING   1000 /* it is killed in the end */
#define ELSEWHERE (VMM_EPC_GPA + (8ull << 30))

static const struct {
	enum guest_havoc havoc;
	const char *name;
	unsigned int vcpus;
	bool ud_first;
	int end;
	const char *says; /* any of its processors */
} guests[] = {
	{ HAVOC_TRIPLE, "a triple fault", 2, false, -EIO, NULL },
	{ HAVOC_TABLES, "page tables in EPC", 1, false, -EIO, NULL },
	{ HAVOC_FETCH, "instructions from EPC", 1, false, 99, "trap 6 " },
	{ HAVOC_STACK, "a stack in EPC", 1, true, -EIO, NULL },
	{ HAVOC_IOPL, "ports in an enclave", 1, false, 90, NULL },
	{ HAVOC_PORTS, "garbage to ports", 1, false, 0, "ports\n" },
	{ HAVOC_SSA, "an SSA that is not mapped", 2, false, 0, "inside until 5, no fault\n" },
	{ HAVOC_LOOP, "leaves for ever", 2, false, RUNNING, NULL },
	{ HAVOC_SPIN, "an enclave for ever", 1, false, RUNNING, NULL },
	{ HAVOC_HALT, "halted for ever", 1, false, RUNNING, NULL },
};
#define GUESTS (sizeof(guests) / sizeof(guests[0]))

static atomic_bool stop;

static void *take(void *arg)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	struct host *h = arg;

	while (!atomic_load(&stop)) {
		epc_reclaim(h->w.epc);
		nanosleep(&pause, NULL);
	}
	return NULL;
}

static struct vmm *start(struct host *h, size_t i)
{
	struct vmm_config config = host_config(h, SCRIPT_HAVOC);

	config.epc_bytes = 1u << 20;
	config.vcpus = guests[i].vcpus;
	config.ud_first = guests[i].ud_first;
	config.args[ARG_SCENARIO] = guests[i].havoc;
	config.args[ARG_FLAGS] = FLAG_PATIENT;
	return guest_new(&config);
}

static bool says(const struct vmm *vmm, size_t i)
{
	for (unsigned int k = 0; k < guests[i].vcpus; k++)
		if (strstr(vmm_said(vmm, k), guests[i].says))
			return true;
	return false;
}

static void check_end(struct vmm *vmm, size_t i)
{
	int end = vmm_wait(vmm, guests[i].end == RUNNING ? 1 : WAIT_MS, NULL);

	if (guests[i].end != RUNNING) {
		TAP_CHECK(end == guests[i].end, "%s: it ends with %d (%d)", guests[i].name,
			  guests[i].end, end);
	} else {
		TAP_CHECK(end == -ETIMEDOUT, "%s: it is there still (%d)", guests[i].name, end);
		TAP_CHECK(vmm_region_move(vmm, 0, ELSEWHERE) == 0 &&
				  vmm_region_move(vmm, 0, VMM_EPC_GPA) == 0,
			  "%s: its EPC can be moved", guests[i].name);
		vmm_kill(vmm);
		TAP_CHECK(vmm_wait(vmm, WAIT_MS, NULL) == -EINTR, "%s: it can be killed",
			  guests[i].name);
	}
	if (guests[i].says && !TAP_CHECK(says(vmm, i), "%s: it says: %.*s", guests[i].name,
					 (int)strcspn(guests[i].says, "\n"), guests[i].says))
		print_said(vmm, guests[i].vcpus);
}

static struct vmm *neighbour(struct host *h)
{
	struct vmm_config config = host_config(h, SCRIPT_WORK);

	config.args[ARG_PAGES] = 60;
	config.args[ARG_ROUNDS] = 2;
	return guest_new(&config);
}

int main(int argc, char **argv)
{
	struct vmm *vmm[GUESTS], *good;
	struct report rep;
	static struct host h;
	pthread_t taker;
	char *want;

	(void)argc;
	host_init(&h, EPC_PAGES, argv[1]);
	good = neighbour(&h);
	guest_ends(good, "a neighbour, alone");
	want = strdup(vmm_said(good, 0));
	vmm_destroy(good);

	TAP_MUST(pthread_create(&taker, NULL, take, &h) == 0, "somebody takes pages all the time");
	for (size_t i = 0; i < GUESTS; i++)
		vmm[i] = start(&h, i);
	good = neighbour(&h);
	guest_ends(good, "the neighbour, among them");
	TAP_CHECK(!strcmp(want, vmm_said(good, 0)), "it says what it says alone");
	for (size_t i = 0; i < GUESTS; i++)
		check_end(vmm[i], i);
	world_audit(&h.w, "all ended");
	report_init(&rep);
	for (size_t i = 0; i < GUESTS; i++) {
		TAP_CHECK(vmm_reset(vmm[i], &rep) == 0, "%s: it can be reset %s", guests[i].name,
			  rep.what);
		vmm_destroy(vmm[i]);
	}
	atomic_store(&stop, true);
	pthread_join(taker, NULL);
	vmm_destroy(good);
	free(want);
	host_fini(&h, "the end");
	return tap_done();
}
