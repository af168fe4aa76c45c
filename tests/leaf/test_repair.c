/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Death inside a leaf, at every point of it: a child of ours runs EWB, EADD and EENTER until it is
 * killed; afterwards the enclave is repaired, and can be taken apart to the last page.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "leaf/table.h"
#include "lib/tied.h"

#define KILL_NR 200

static struct machine *m;

/* Pages come and go, an LP enters and leaves: until somebody ends us. */
static void churn(struct cpu_lp *lp)
{
	for (;;) {
		struct cpu_pageinfo pi = { .linaddr = LA(P_FREE), .secs = P_SECS };

		encls_eblock(m->cpu, P_DATA2);
		encls_etrack(m->cpu, P_SECS);
		machine_ewb(m, P_DATA2, 3);
		machine_eldu(m, P_DATA2, LA(P_DATA2), 3);
		encls_eaug(m->cpu, &pi, P_FREE);
		encls_eremove(m->cpu, P_FREE);
		machine_host_regs(m, 0);
		enclu_eenter(m->cpu, lp, &m->mmu, &m->regs, 0);
		enclu_eexit(m->cpu, lp, &m->regs, 0);
	}
}

static bool kill_once(struct cpu_lp *lp, unsigned int us)
{
	int status;
	pid_t pid = fork_tied();

	if (pid == 0) {
		churn(lp);
		_exit(1);
	}
	usleep(us);
	kill(pid, SIGKILL);
	return waitpid(pid, &status, 0) == pid && WIFSIGNALED(status);
}

static unsigned int held_nr(void)
{
	unsigned int nr = 0;

	for (uint32_t i = 0; i < EPC_NR; i++)
		nr += atomic_load(&entry(m, i)->lock) != 0;
	return nr;
}

static void test_kill(void)
{
	struct cpu_lp *lp =
		mmap(NULL, sizeof(*lp), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned int killed = 0, found_held = 0, left_held = 0, stuck = 0, children = 0;

	for (unsigned int i = 0; i < KILL_NR; i++) {
		uint32_t valid = 0;

		m = machine_new(NULL);
		memset(lp, 0, sizeof(*lp));
		machine_build(m);
		killed += kill_once(lp, 300 + i * 7);
		cpu_lp_reset(m->cpu, lp);
		found_held += held_nr() != 0;
		for (uint32_t p = P_TCS0; p < EPC_NR; p++)
			cpu_repair_page(m->cpu, p);
		cpu_repair_page(m->cpu, P_SECS);
		for (uint32_t p = P_TCS0; p < EPC_NR; p++)
			valid += cpu_epcm_read(m->cpu, p).valid && p != P_VA;
		children += secs_of(m)->own.child_nr != valid;
		left_held += held_nr();
		for (uint32_t p = P_TCS0; p < EPC_NR; p++)
			stuck += !cpu_ok(encls_eremove(m->cpu, p));
		stuck += !cpu_ok(encls_eremove(m->cpu, P_SECS));
		machine_free(m);
	}
	printf("# %u of %u deaths left a hold behind\n", found_held, killed);
	TAP_CHECK(killed == KILL_NR, "killed %u times inside leaves", killed);
	TAP_CHECK(!left_held, "no hold is left after the repair");
	TAP_CHECK(!children, "the SECS counts the children that are there");
	TAP_CHECK(!stuck, "all pages can be removed, the SECS last");
	munmap(lp, sizeof(*lp));
}

/* Somebody else is inside while the dead one's holds are broken. */
static void test_live(void)
{
	m = machine_new(NULL);
	machine_build(m);
	machine_enter(m, 1);
	epcm_try_exclusive(entry(m, P_DATA));
	epcm_try_extra(entry(m, P_SECS), EPCM_LOCK_MEASURE);
	secs_of(m)->own.child_nr++;
	for (uint32_t p = P_TCS0; p < EPC_NR; p++)
		cpu_repair_page(m->cpu, p);
	cpu_repair_page(m->cpu, P_SECS);
	TAP_CHECK(cpu_active_nr(m->cpu, P_SECS) == 1 && epcm_pin_nr(entry(m, P_TCS1)) == 1,
		  "who lives is still inside");
	TAP_CHECK(secs_of(m)->own.child_nr == 9 && held_nr() == 1, "holds and counts are right");
	TAP_CHECK(cpu_ok(machine_exit(m)) && held_nr() == 0 && cpu_active_nr(m->cpu, P_SECS) == 0,
		  "and leaves as ever");
	machine_free(m);
}

/* What is to be a TCS, but has not been accepted: its bytes say nothing yet. */
static void test_tcs_to_be(void)
{
	m = machine_new(NULL);
	machine_build(m);
	memset(cpu_bytes(m->cpu, P_DATA2), 0x41, SGX_PAGE_SIZE);
	memset(&m->secinfo, 0, sizeof(m->secinfo));
	m->secinfo.flags = SGX_SECINFO_TYPE(SGX_PT_TCS);
	TAP_CHECK(cpu_ok(encls_emodt(m->cpu, &m->secinfo, P_DATA2)), "a page is to be a TCS");
	cpu_repair_page(m->cpu, P_DATA2);
	cpu_repair_page(m->cpu, P_SECS);
	TAP_CHECK(cpu_active_nr(m->cpu, P_SECS) == 0 && held_nr() == 0,
		  "and nobody is in it, whatever it holds");
	machine_free(m);
}

static bool repaired_with_one_inside(void)
{
	for (uint32_t p = P_TCS0; p < EPC_NR; p++)
		cpu_repair_page(m->cpu, p);
	cpu_repair_page(m->cpu, P_SECS);
	return cpu_active_nr(m->cpu, P_SECS) == 1 && epcm_pin_nr(entry(m, P_TCS1)) == 1;
}

/* EMODT takes the TCS of one who is inside; and what was never one is not taken for one. */
static void test_trimmed(void)
{
	m = machine_new(NULL);
	machine_build(m);
	machine_enter(m, 1);
	memset(cpu_bytes(m->cpu, P_DATA2), 0x41, SGX_PAGE_SIZE);
	memset(&m->secinfo, 0, sizeof(m->secinfo));
	m->secinfo.flags = SGX_SECINFO_TYPE(SGX_PT_TRIM);
	TAP_CHECK(cpu_ok(encls_emodt(m->cpu, &m->secinfo, P_TCS1)) &&
			  cpu_ok(encls_emodt(m->cpu, &m->secinfo, P_DATA2)),
		  "a TCS with somebody in it is trimmed, and a page that is none");
	TAP_CHECK(repaired_with_one_inside(), "who is inside is still counted");
	TAP_CHECK(cpu_ok(machine_exit(m)) && held_nr() == 0 && cpu_active_nr(m->cpu, P_SECS) == 0,
		  "and leaves as ever");
	machine_free(m);
}

/* EINIT sets the attribute before the word that counts: who died in between has not initialised anything. */
static void test_einit(void)
{
	m = machine_new(NULL);
	machine_secs(m);
	TAP_MUST(cpu_ok(machine_ecreate(m, P_SECS)), "ECREATE");
	secs_of(m)->arch.attributes.flags |= SGX_ATTR_INIT;
	cpu_repair_page(m->cpu, P_SECS);
	TAP_CHECK(!(secs_of(m)->arch.attributes.flags & SGX_ATTR_INIT) &&
			  !cpu_initialized(m->cpu, P_SECS),
		  "an EINIT that was cut short has not been");
	machine_sigstruct(m);
	TAP_CHECK(cpu_ok(machine_einit(m)), "and the next one finds what SIGSTRUCT says");
	TAP_CHECK(cpu_initialized(m->cpu, P_SECS), "and initialises");
	cpu_repair_page(m->cpu, P_SECS);
	TAP_CHECK(secs_of(m)->arch.attributes.flags & SGX_ATTR_INIT, "which no repair takes back");
	machine_free(m);
}

int main(void)
{
	test_einit();
	test_tcs_to_be();
	test_live();
	test_trimmed();
	test_kill();
	return tap_done();
}
