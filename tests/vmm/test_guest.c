/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * One guest on /dev/kvm: an enclave's life as its kernel sees it, by each of the ways in which its instructions reach us,
 * and with its EPC taken from it all the time.
 */
#include "vmm/lib.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

static char *run(const struct vmm_config *config, const char *name, struct vmm_info *ret_info)
{
	struct vmm *vmm = guest_new(config);
	char *said = NULL;

	if (guest_ends(vmm, name)) {
		size_t bytes = 1;

		for (unsigned int i = 0; i < config->vcpus; i++)
			bytes += strlen(vmm_said(vmm, i));
		said = calloc(1, bytes);
		for (unsigned int i = 0; said && i < config->vcpus; i++)
			strcat(said, vmm_said(vmm, i));
	}
	vmm_info_read(vmm, ret_info);
	vmm_destroy(vmm);
	TAP_MUST(said, "%s: it said something", name);
	return said;
}

static void check_says(const char *said, const char *line)
{
	TAP_CHECK(strstr(said, line), "it says: %.*s", (int)strcspn(line, "\n"), line);
}

/* What the SDM has of these, whatever way they were executed in. */
static void check_life(const char *said)
{
	static const char *const lines[] = {
		"2 + 3: 5, no fault\n",
		"ECREATE misaligned: fault 13 error 0\n",
		"EREMOVE of a free page: rax 0 flags 0\n",
		"EREMOVE of the SECS: rax d flags 40\n",
		"EBLOCK of the SECS: rax 12 flags 1\n",
		"ERDINFO, not for guests: fault 13 error 0\n",
		"EREPORT 0 no fault\n",
		"EGETKEY 3 says 0 no fault\n",
		"EGETKEY 4 says 0 no fault\n",
		"provisioning key: 2, no fault\n",
		"read: 5ec7e7, no fault\n",
		"the kernel sees ffffffffffffffff\n",
		"user mode sees ffffffffffffffff no fault\n",
		"after the kernel wrote there: 5ec7e7, no fault\n",
		"EDBGRD 5ec7e7\n",
		"ENCLV: fault 6 error 0\n",
		"UD2 in user mode: fault 6 error 0\n",
		"evicted: 2 here\n",
		"loads 2, 4 here\n",
		"UD2: fault 6 error 0\n  cssa 1 exitinfo 80000306, recovered\n",
		"DIV by zero: fault 0 error 0\n  cssa 1 exitinfo 80000300, recovered\n",
		"INT: fault 6 error 0\n",
		"OUT: fault 6 error 0\n",
		"HLT: fault 13 error 0\n  cssa 1 exitinfo 0, recovered\n",
		"a jump out: fault 13 error 0\n",
		"ENCLU of no leaf: fault 13 error 0\n",
		"EENTER inside: fault 13 error 0\n",
		"EMODPR: rax 0 flags 0\n",
		"write: fault 14 error 8007 at 1000020000\nrecovered\n",
		"removed; EPC lost: 0 pages\n",
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		check_says(said, lines[i]);
}

static void test_life(struct host *h, char **ret_said)
{
	struct vmm_config config = host_config(h, SCRIPT_LIFE);
	struct vmm_info info;
	char *by_port;

	*ret_said = run(&config, "life", &info);
	check_life(*ret_said);
	TAP_CHECK(info.entries > 20 && info.aexs > 10, "it was in enclaves, and taken out of them");
	config.no_breakpoints = true;
	config.args[ARG_FLAGS] = FLAG_FORWARD;
	by_port = run(&config, "life by port", &info);
	TAP_CHECK(!strcmp(*ret_said, by_port), "the same, when its #UD handler forwards");
	config.no_breakpoints = false;
	free(by_port);
	by_port = run(&config, "life by both", &info);
	TAP_CHECK(!strcmp(*ret_said, by_port), "and when it is stopped there as well");
	free(by_port);
}

/* ---- with its EPC taken from it ------------------------------------------------------------------- */

struct taker {
	struct epc *epc;
	atomic_bool stop;
	uint64_t taken;
};

/* Pages are taken as fast as a guest can have them back: faster, and it would get nowhere. */
static void *take(void *arg)
{
	const struct timespec pause = { .tv_nsec = 300000 };
	struct taker *taker = arg;

	while (!atomic_load(&taker->stop)) {
		taker->taken += epc_reclaim(taker->epc);
		nanosleep(&pause, NULL);
	}
	return NULL;
}

static void test_taken(struct host *h, const struct vmm_config *config, const char *want,
		       const char *name)
{
	struct taker taker = { .epc = h->w.epc };
	struct vmm_info info;
	pthread_t thread;
	char *said;

	TAP_MUST(pthread_create(&thread, NULL, take, &taker) == 0, "a taker begins");
	said = run(config, name, &info);
	atomic_store(&taker.stop, true);
	pthread_join(thread, NULL);
	TAP_CHECK(info.evictions > 0 && info.loads > 0,
		  "%s: pages were taken from it and came back (%llu, %llu)", name,
		  (unsigned long long)info.evictions, (unsigned long long)info.loads);
	TAP_CHECK(!strcmp(said, want), "%s: it says the same, byte for byte", name);
	free(said);
	world_audit(&h->w, name);
}

/*
 * As where the real processor executes the guest's kernel and has no ENCLS, or KVM takes it away: #UD, and the VMM sees
 * it at the guest's handler.
 */
static void test_ud(struct host *h, const char *life)
{
	struct vmm_config config = host_config(h, SCRIPT_LIFE);
	struct vmm_info info;
	char *said;

	config.ud_first = true;
	said = run(&config, "life by #UD", &info);
	TAP_CHECK(!strcmp(life, said), "the same, where ENCLS is #UD and KVM stops the handler");
	TAP_CHECK(info.forwarded > info.encls && info.encls > 100,
		  "each of %llu ENCLS came that way (%llu with ENCLU)",
		  (unsigned long long)info.encls, (unsigned long long)info.forwarded);
	free(said);
	config.no_breakpoints = true;
	config.args[ARG_FLAGS] = FLAG_FORWARD;
	said = run(&config, "life by #UD and port", &info);
	TAP_CHECK(!strcmp(life, said) && info.forwarded > info.encls,
		  "and where the handler forwards it");
	free(said);
	config = host_config(h, SCRIPT_SHARE);
	config.ud_first = true;
	config.vcpus = 3;
	config.args[ARG_PAGES] = 40;
	config.args[ARG_ROUNDS] = 2;
	said = run(&config, "three in one enclave by #UD", &info);
	test_taken(h, &config, said, "three in one enclave by #UD, oversubscribed");
	free(said);
}

static void test_work(struct host *h)
{
	struct vmm_config config = host_config(h, SCRIPT_WORK);
	struct vmm_info info;
	char *said;

	config.args[ARG_PAGES] = 60;
	config.args[ARG_ROUNDS] = 3;
	config.args[ARG_KEEP] = 20;
	config.vcpus = 2;
	said = run(&config, "work", &info);
	check_says(said, "removed\n");
	test_taken(h, &config, said, "work, oversubscribed");
	config.args[ARG_FLAGS] = FLAG_SPIN;
	config.args[ARG_KEEP] = 0;
	config.tick_us = 2000;
	config.tick_vector = VECTOR_TICK;
	free(said);
	said = run(&config, "work under interrupts", &info);
	TAP_CHECK(info.interrupts > 10 && info.aexs > 10, "interrupts took it out of enclaves");
	test_taken(h, &config, said, "work under interrupts, oversubscribed");
	free(said);
}

/* Processors in one enclave; what one evicts another is in, and must have been out of. */
static void test_share(struct host *h)
{
	struct vmm_config config = host_config(h, SCRIPT_SHARE);
	struct vmm_info info;
	char *said;

	config.vcpus = 3;
	config.args[ARG_PAGES] = 60;
	config.args[ARG_ROUNDS] = 4;
	said = run(&config, "three in one enclave", &info);
	TAP_CHECK(strstr(said, "removed\n") && strstr(said, "HASH") && !strstr(said, "fault 14"),
		  "three in one enclave: no fault is seen");
	TAP_CHECK(info.interrupts >= 80, "and each eviction has interrupted the others");
	test_taken(h, &config, said, "three in one enclave, oversubscribed");
	free(said);
}

/* A guest that misbehaves gets what a processor would give it, and leaves nothing behind. */
static void test_hostile(struct host *h)
{
	static const char *const lines[] = {
		"nothing mapped: 0 fault 14 error 4 at 1000800000\nrecovered\n",
		"RAM in its range: 0 fault 14 error 8005 at 1000800000\nrecovered\n",
		("its own page, at another address: 0 fault 14 error 8005 at "
		 "1000800000\nrecovered\n"),
		"its SECS: 0 fault 14 error 8005 at 1000800000\nrecovered\n",
		"a page of nobody's: 0 fault 14 error 8005 at 1000800000\nrecovered\n",
		"no memory, in its range: 0 fault 14 error 8005 at 1000800000\nrecovered\n",
		"no memory, outside: ffffffffffffffff no fault\n",
		"EPC, outside: ffffffffffffffff no fault\n",
		"PAGEINFO nowhere: fault 14 error 0 at 7000000000\n",
		"PAGEINFO not canonical: fault 13 error 0\n",
		"ERESUME of what was not interrupted: fault 13 error 0\n",
		"EENTER, misaligned: fault 13 error 0\n",
		"EBLOCK, again: rax 3 flags 1\n",
		"a blocked page: 0 fault 14 error 8005 at 1000023000\nrecovered\n",
		"300 ETRACKs: 0 refused\n",
		"20 EREMOVEs of the SECS: 0 not refused\n",
		"and that was it\n",
	};
	struct vmm_config config = host_config(h, SCRIPT_HOSTILE);
	struct vmm_info info;
	char *said = run(&config, "hostile", &info);

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		check_says(said, lines[i]);
	test_taken(h, &config, said, "hostile, oversubscribed");
	free(said);
}

int main(int argc, char **argv)
{
	struct vmm_config config;
	static struct host h;
	char *said;

	(void)argc;
	host_init(&h, 1024, argv[1]);
	test_life(&h, &said);
	config = host_config(&h, SCRIPT_LIFE);
	test_taken(&h, &config, said, "life, oversubscribed");
	test_ud(&h, said);
	free(said);
	test_work(&h);
	test_share(&h);
	test_hostile(&h);
	host_fini(&h, "the end");
	return tap_done();
}
