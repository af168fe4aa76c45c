/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Raw EPC files: first touch, holes, exhaustion, REMOVE_ALL, the two passes of the end, zombies, and a
 * process that dies while it holds a file's lock.
 */
#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arch/sgx.h"
#include "cpu/cpu.h"
#include "cpu/cpu_priv.h"
#include "epc/window.h"
#include "lib/tap.h"
#include "lib/world.h"
#include "vepc/vepc.h"

#define PAGE   ((uint64_t)SGX_PAGE_SIZE)
#define EPC_NR 64u

struct fixture {
	struct world w;
	struct vepc_registry *registry;
};

static void setup(struct fixture *f)
{
	world_init(&f->w, EPC_NR, 0);
	TAP_MUST(vepc_registry_create(f->w.epc, &f->registry) == 0, "a registry of raw EPC");
}

static void teardown(struct fixture *f, const char *name)
{
	TAP_CHECK(vepc_zombie_nr(f->registry) == 0, "%s: no zombie is left", name);
	vepc_registry_destroy(f->registry);
	world_fini(&f->w, name);
}

static struct vepc *open_with(struct fixture *f, uint64_t pages)
{
	struct vepc *vepc;

	TAP_MUST(vepc_open(f->registry, &vepc) == 0 && vepc_reserve(vepc, 0, pages * PAGE) == 0,
		 "a file of %u pages", (unsigned int)pages);
	return vepc;
}

static uint32_t touch(struct vepc *vepc, uint64_t idx)
{
	return vepc_fault(vepc, idx * PAGE) == 0 ? vepc_page_nr(vepc, idx * PAGE) : CPU_NO_PAGE;
}

/* ---- enclaves, as a guest's kernel would build them ---------------------------------------------- */

static struct sgx_secs secs_source __attribute__((aligned(4096)));
static uint8_t page_source[4096] __attribute__((aligned(4096)));

static bool make_secs(struct fixture *f, uint32_t nr)
{
	struct sgx_secinfo secinfo = { .flags = SGX_SECINFO_TYPE(SGX_PT_SECS) };
	struct cpu_pageinfo pi = { .srcpge = &secs_source,
				   .secinfo = &secinfo,
				   .secs = CPU_NO_PAGE };

	secs_source = (struct sgx_secs){ .size = 1 << 20,
					 .baseaddr = 1 << 30,
					 .ssa_frame_size = 1,
					 .attributes = { SGX_ATTR_MODE64BIT, SGX_XFRM_LEGACY } };
	return cpu_ok(encls_ecreate(f->w.cpu, &pi, nr));
}

static bool make_child(struct fixture *f, uint32_t secs, uint32_t nr, uint64_t idx)
{
	struct sgx_secinfo secinfo = { .flags = FLAGS_RW };
	struct cpu_pageinfo pi = { .linaddr = (1 << 30) + idx * PAGE,
				   .srcpge = page_source,
				   .secinfo = &secinfo,
				   .secs = secs };

	return cpu_ok(encls_eadd(f->w.cpu, &pi, nr));
}

/* ---- the tests -------------------------------------------------------------------------------------- */

static void test_first_touch(void)
{
	struct fixture f;
	struct vepc *vepc;
	struct epc_stats stats;
	const uint8_t *bytes;
	uint32_t nr;

	setup(&f);
	vepc = open_with(&f, 8);
	epc_stats_read(f.w.epc, &stats);
	TAP_CHECK(stats.owned == 0 && vepc_page_nr(vepc, 0) == CPU_NO_PAGE,
		  "a mapping alone takes no EPC");
	nr = touch(vepc, 3);
	TAP_CHECK(nr != CPU_NO_PAGE && vepc_resident(vepc) == 1, "a touch takes one page");
	TAP_CHECK(vepc_page_nr(vepc, 2 * PAGE) == CPU_NO_PAGE &&
			  vepc_page_nr(vepc, 4 * PAGE) == CPU_NO_PAGE,
		  "and only that one");
	TAP_CHECK(touch(vepc, 3) == nr, "a second touch finds the same page");
	bytes = window_at(epc_window(f.w.epc), vepc_win_off(vepc, 3 * PAGE));
	TAP_CHECK(bytes == cpu_bytes(f.w.cpu, nr) && bytes[0] == 0 && bytes[4095] == 0,
		  "the window has it, zeroed, and the processor knows where");
	TAP_CHECK(!cpu_epcm_read(f.w.cpu, nr).valid, "it is no enclave's");
	epc_stats_read(f.w.epc, &stats);
	TAP_CHECK(stats.owned == 1 && stats.tracked == 0, "the reclaimer was not told of it");
	TAP_CHECK(epc_reclaim(f.w.epc) == 0 && vepc_page_nr(vepc, 3 * PAGE) == nr,
		  "and does not take it");
	world_audit(&f.w, "first touch");
	vepc_put(vepc);
	teardown(&f, "first touch");
}

static void test_holes(void)
{
	static const uint64_t far = 5 * VEPC_CHUNK_BYTES + 7 * PAGE;
	struct fixture f;
	struct vepc *vepc;

	setup(&f);
	vepc = open_with(&f, 1);
	TAP_CHECK(vepc_reserve(vepc, far, VEPC_CHUNK_BYTES) == 0, "a second mapping, far behind");
	TAP_CHECK(vepc_reserve(vepc, 2 * VEPC_CHUNK_BYTES, PAGE) == 0, "a third, in between");
	TAP_CHECK(vepc_reserve(vepc, far, PAGE) == 0, "a fourth, of what is mapped already");
	TAP_CHECK(touch(vepc, far / PAGE) != CPU_NO_PAGE && touch(vepc, 0) != CPU_NO_PAGE &&
			  touch(vepc, 2 * VEPC_CHUNK_BYTES / PAGE) != CPU_NO_PAGE &&
			  touch(vepc, 6 * VEPC_CHUNK_BYTES / PAGE) != CPU_NO_PAGE,
		  "a page in each, and one behind a border of chunks");
	TAP_CHECK(vepc_resident(vepc) == 4, "the holes cost nothing");
	TAP_CHECK(vepc_reserve(vepc, UINT64_MAX - PAGE + 1, PAGE) == -EINVAL,
		  "past the end of all offsets: EINVAL");
	TAP_CHECK(vepc_reserve(vepc, UINT64_MAX - 2 * PAGE + 1, PAGE) == 0 &&
			  touch(vepc, UINT64_MAX / PAGE - 1) != CPU_NO_PAGE,
		  "the last page that there can be");
	vepc_put(vepc);
	teardown(&f, "holes");
}

static void test_exhaustion(void)
{
	struct fixture f;
	struct vepc *vepc, *other;
	uint64_t idx = 0;

	setup(&f);
	vepc = open_with(&f, EPC_NR + 1);
	while (idx < EPC_NR && vepc_fault(vepc, idx * PAGE) == 0)
		idx++;
	TAP_CHECK(idx == EPC_NR, "the whole EPC can be had");
	TAP_CHECK(vepc_fault(vepc, EPC_NR * PAGE) == -ENOMEM, "then there is no page: ENOMEM");
	TAP_CHECK(vepc_fault(vepc, 0) == 0, "those there are stay good");
	other = open_with(&f, 1);
	TAP_CHECK(vepc_fault(other, 0) == -ENOMEM, "nor for another file");
	vepc_put(vepc);
	TAP_CHECK(vepc_fault(other, 0) == 0, "until the first is closed");
	vepc_put(other);
	teardown(&f, "exhaustion");
}

/* What a guest has goes before what a host enclave has: nothing of it ever goes. */
static void test_enclaves_make_room(void)
{
	struct fixture f;
	struct build b;
	struct vepc *vepc;
	struct epc_stats stats;
	uint64_t idx;

	setup(&f);
	TAP_MUST(build_create(&b, &f.w, 1 << 20, 0) == 0 && build_add_many(&b, 0, 48) == 0 &&
			 build_init(&b) == 0,
		 "a host enclave of 48 pages");
	vepc = open_with(&f, EPC_NR);
	for (idx = 0; idx < 40 && vepc_fault(vepc, idx * PAGE) == 0; idx++)
		;
	TAP_CHECK(idx == 40, "40 pages of 64 can be had, though 48 were in use");
	epc_stats_read(f.w.epc, &stats);
	TAP_CHECK(stats.evictions > 0 && vepc_resident(vepc) == 40,
		  "because pages of the enclave went");
	TAP_CHECK(touch_page(b.encl, 5, 0, 0, NULL) == TOUCH_OK &&
			  touch_page(b.encl, 47, 0, 0, NULL) == TOUCH_OK,
		  "which come back as they were");
	build_fini(&b);
	vepc_put(vepc);
	teardown(&f, "with a host enclave");
}

static void test_remove_all(void)
{
	struct fixture f;
	struct vepc *vepc;
	uint32_t secs, child, va;

	setup(&f);
	vepc = open_with(&f, 8);
	TAP_CHECK(vepc_remove_all(vepc) == 0, "of nothing: 0");
	secs = touch(vepc, 0);
	child = touch(vepc, 1);
	va = touch(vepc, 2);
	TAP_MUST(make_secs(&f, secs) && make_child(&f, secs, child, 0) &&
			 cpu_ok(encls_epa(f.w.cpu, va)),
		 "a SECS, a child, a VA page");
	TAP_CHECK(vepc_remove_all(vepc) == 1, "one SECS came before its child: 1");
	TAP_CHECK(cpu_epcm_read(f.w.cpu, secs).valid && !cpu_epcm_read(f.w.cpu, child).valid &&
			  !cpu_epcm_read(f.w.cpu, va).valid,
		  "everything else is invalid");
	TAP_CHECK(vepc_remove_all(vepc) == 0 && !cpu_epcm_read(f.w.cpu, secs).valid,
		  "again: 0, and the SECS is, too");
	TAP_CHECK(vepc_resident(vepc) == 3 && vepc_page_nr(vepc, PAGE) == child,
		  "the pages stay with the file");
	TAP_CHECK(make_secs(&f, child) && make_child(&f, child, secs, 0), "and can be used anew");
	TAP_CHECK(vepc_remove_all(vepc) == 0, "a SECS that comes behind its child: 0 at once");
	vepc_put(vepc);
	teardown(&f, "remove all");
}

static void test_remove_all_in_files(void)
{
	struct fixture f;
	struct vepc *a, *b;
	uint32_t secs, child;

	setup(&f);
	a = open_with(&f, 4);
	b = open_with(&f, 4);
	secs = touch(a, 0);
	child = touch(b, 0);
	TAP_MUST(make_secs(&f, secs) && make_child(&f, secs, child, 0),
		 "a SECS in one file, its child in another");
	TAP_CHECK(vepc_remove_all(a) == 1 && vepc_remove_all(b) == 0, "first round: 1 in all");
	TAP_CHECK(vepc_remove_all(a) == 0 && vepc_remove_all(b) == 0, "second round: 0");
	vepc_put(a);
	vepc_put(b);
	teardown(&f, "remove all, two files");
}

static void test_remove_all_in_use(void)
{
	struct fixture f;
	struct vepc *vepc;
	uint32_t nr;

	setup(&f);
	vepc = open_with(&f, 4);
	touch(vepc, 0);
	nr = touch(vepc, 1);
	TAP_MUST(cpu_ok(encls_epa(f.w.cpu, nr)) && epcm_try_shared(&f.w.cpu->epcm[nr]),
		 "a page that another leaf works on");
	TAP_CHECK(vepc_remove_all(vepc) == -EBUSY, "EBUSY");
	epcm_put_shared(&f.w.cpu->epcm[nr]);
	TAP_CHECK(vepc_remove_all(vepc) == 0, "when that is over: 0");
	vepc_put(vepc);
	teardown(&f, "remove all, in use");
}

static void test_two_passes(void)
{
	struct fixture f;
	struct vepc *vepc;
	uint32_t secs, child;

	setup(&f);
	vepc = open_with(&f, 8);
	secs = touch(vepc, 0);
	child = touch(vepc, 5);
	TAP_MUST(make_secs(&f, secs) && make_child(&f, secs, child, 0), "a SECS before its child");
	vepc_put(vepc);
	TAP_CHECK(vepc_zombie_nr(f.registry) == 0, "the second pass took the SECS");
	teardown(&f, "two passes");
}

static void test_zombie(void)
{
	struct fixture f;
	struct vepc *a, *b, *c;
	struct epc_stats stats;
	uint32_t secs, child;

	setup(&f);
	a = open_with(&f, 4);
	b = open_with(&f, 4);
	c = open_with(&f, 4);
	secs = touch(a, 1);
	child = touch(b, 0);
	touch(a, 0);
	touch(c, 0);
	TAP_MUST(make_secs(&f, secs) && make_child(&f, secs, child, 0),
		 "a SECS in one file, its child in another");
	vepc_put(a);
	epc_stats_read(f.w.epc, &stats);
	TAP_CHECK(vepc_zombie_nr(f.registry) == 1 && stats.owned == 3,
		  "its file is closed: the SECS alone stays, a zombie");
	TAP_CHECK(cpu_epcm_read(f.w.cpu, child).valid, "the child's file is none the worse");
	vepc_put(c);
	TAP_CHECK(vepc_zombie_nr(f.registry) == 1, "the end of a third file changes nothing");
	TAP_CHECK(vepc_remove_all(b) == 0, "the child is removed");
	TAP_CHECK(vepc_zombie_nr(f.registry) == 1, "by itself that frees no zombie");
	vepc_put(b);
	TAP_CHECK(vepc_zombie_nr(f.registry) == 0, "the next end of a file does");
	teardown(&f, "zombie");
}

static void test_death(void)
{
	struct fixture f;
	struct vepc *vepc;
	int status;
	pid_t pid;

	setup(&f);
	vepc = open_with(&f, 4 * EPC_NR);
	touch(vepc, 0);
	for (int i = 0; i < 20; i++) {
		pid = fork();
		if (pid == 0)
			for (uint64_t idx = 1;; idx++) {
				vepc_fault(vepc, idx % EPC_NR * PAGE);
				vepc_page_nr(vepc, idx % EPC_NR * PAGE);
			}
		usleep(1000 + 137 * (useconds_t)i);
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
	}
	TAP_CHECK(vepc_fault(vepc, 0) == 0 && vepc_resident(vepc) >= 1,
		  "processes that were killed in the middle of faults: the file works");
	vepc_put(vepc);
	teardown(&f, "killed processes");
}

int main(void)
{
	test_first_touch();
	test_holes();
	test_exhaustion();
	test_enclaves_make_room();
	test_remove_all();
	test_remove_all_in_files();
	test_remove_all_in_use();
	test_two_passes();
	test_zombie();
	test_death();
	return tap_done();
}
