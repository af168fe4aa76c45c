/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Calls into the test enclave, by any way of entering, and the signal handlers that a program
 * without the vDSO's function needs: they tell an exception inside the enclave by RIP, RAX, RBX and
 * RCX, let the enclave's own handler at it, and resume.
 */
#include "client.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

const char *const client_entry_name[ENTRY_NR] = { "vDSO", "AEP is the ENCLU", "AEP: enclu; ud2",
						  "AEP is a range" };

struct client_seen client_seen;
static enum client_fixup seen_fixup;

int client_vdso(struct client_encl *e, unsigned int thread, struct encl_op *op,
		struct sgx_enclave_run *run)
{
	static void *enter;
	struct sgx_enclave_run own = { 0 };

	if (!enter)
		enter = vdso_by_hash(vdso_from_getauxval(), "__vdso_sgx_enter_enclave");
	if (!enter)
		return -ENOSYS;
	if (!run)
		run = &own;
	run->tcs = e->tcs[thread];
	return vdso_enter((uintptr_t)op, 0, 0, SGX_EENTER, 0, 0, run, enter);
}

static enclu_fn entry_fn(enum client_entry how)
{
	return how == ENTRY_SELF ? enclu_self : how == ENTRY_UD2 ? enclu_ud2 : enclu_range;
}

void client_enclu(struct client_encl *e, unsigned int thread, struct encl_op *op,
		  enum client_entry how)
{
	struct enclu_out out;

	entry_fn(how)(op, 0, e->tcs[thread], SGX_EENTER, &out);
}

int client_call(struct client_encl *e, unsigned int thread, struct encl_op *op,
		enum client_entry how)
{
	struct sgx_enclave_run run = { 0 };
	int ret;

	if (how != ENTRY_VDSO) {
		client_enclu(e, thread, op, how);
		return 0;
	}
	ret = client_vdso(e, thread, op, &run);
	return ret ? ret : run.function == SGX_EEXIT ? 0 : -EFAULT;
}

uint64_t client_op(struct client_encl *e, unsigned int thread, uint64_t nr, uint64_t a0,
		   uint64_t a1, uint64_t a2)
{
	struct encl_op op = { .nr = nr, .arg = { a0, a1, a2 } };

	return client_call(e, thread, &op, ENTRY_VDSO) ? ~0ull : op.ret;
}

bool client_touch(struct client_encl *e, unsigned int thread, const uint32_t *page, uint32_t nr,
		  bool write)
{
	struct encl_op op = { .nr = OP_TOUCH,
			      .arg = { (uintptr_t)page, nr, e->base + e->heap, write } };

	return client_call(e, thread, &op, ENTRY_VDSO) == 0;
}

bool client_at_aep(uint64_t rip)
{
	return rip == (uintptr_t)enclu_aep_self || rip == (uintptr_t)enclu_aep_ud2 ||
	       (rip >= (uintptr_t)enclu_aep_range && rip < (uintptr_t)enclu_aep_range_end);
}

static uint64_t aep_of(uint64_t rip)
{
	return rip >= (uintptr_t)enclu_aep_range && rip < (uintptr_t)enclu_aep_range_end
		       ? (uintptr_t)enclu_aep_range
		       : rip;
}

static void on_exception(int signo, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	greg_t *r = uc->uc_mcontext.gregs;
	uint64_t rip = (uint64_t)r[REG_RIP];

	if (!client_at_aep(rip) || r[REG_RAX] != SGX_ERESUME) {
		static const char text[] = "# an exception that is none of the enclave's\n";

		signal(signo, SIG_DFL); /* let it kill us, with the right status */
		(void)!write(2, text, sizeof(text) - 1);
		return;
	}
	client_seen.count++;
	client_seen.signo = signo;
	client_seen.code = info->si_code;
	client_seen.addr = (uintptr_t)info->si_addr;
	client_seen.trapno = (uint64_t)r[REG_TRAPNO];
	client_seen.err = (uint64_t)r[REG_ERR];
	client_seen.rbx = (uint64_t)r[REG_RBX];
	client_seen.rsp = (uint64_t)r[REG_RSP];
	client_seen.handler_sp = (uintptr_t)__builtin_frame_address(0);
	client_seen.regs_ok = (uint64_t)r[REG_RCX] == aep_of(rip) && !r[REG_RDX] && !r[REG_RSI] &&
			      !r[REG_RDI] && !r[REG_R8] && !r[REG_R9] && !r[REG_R10] &&
			      !r[REG_R11] && !r[REG_R12] && !r[REG_R13] && !r[REG_R14] &&
			      !r[REG_R15];
	if (seen_fixup == FIXUP_REWRITE) {
		r[REG_RAX] = SGX_EENTER;
	} else {
		struct enclu_out out;

		enclu_ud2(NULL, 0, (uint64_t)r[REG_RBX], SGX_EENTER, &out);
		if (out.rdi != ENCL_EXC_DONE)
			_exit(99);
	}
}

static const int caught[] = { SIGSEGV, SIGFPE, SIGILL, SIGBUS, SIGTRAP };

void client_catch(enum client_fixup fixup, int flags)
{
	struct sigaction sa = { .sa_sigaction = on_exception, .sa_flags = SA_SIGINFO | flags };

	memset(&client_seen, 0, sizeof(client_seen));
	seen_fixup = fixup;
	sigemptyset(&sa.sa_mask);
	for (size_t i = 0; i < sizeof(caught) / sizeof(caught[0]); i++)
		sigaction(caught[i], &sa, NULL);
}

void client_uncatch(void)
{
	for (size_t i = 0; i < sizeof(caught) / sizeof(caught[0]); i++)
		signal(caught[i], SIG_DFL);
}
