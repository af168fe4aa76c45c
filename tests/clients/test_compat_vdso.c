/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What a large SDK's runtime makes of the vDSO function: it takes the range of its symbol for the place of the AEP,
 * finds the run structure through the RBP of a signal's context, enters the same TCS once more from the
 * handler, and passes an out-call's result in registers that the handler leaves behind.  Another one links to
 * the function by its name, and passes more in registers than the prototype says.
 */
#include <elf.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "client.h"
#include "lib/tap.h"

#define INTERRUPT 64 /* the last real-time signal */

int by_name(unsigned long rdi, unsigned long rsi, unsigned long rdx, unsigned int leaf,
	    unsigned long r8, unsigned long r9, void *run) __asm__("__vdso_sgx_enter_enclave")
	__attribute__((weak));

static struct client_encl e;
static void *fn;
static uint64_t fn_bytes;

/* ---- the symbol ---------------------------------------------------------------------------------- */

static uint64_t size_of_symbol(const uint8_t *image, const char *name)
{
	const Elf64_Ehdr *eh = (const void *)image;
	const Elf64_Shdr *sh = (const void *)(image + eh->e_shoff);
	const char *names = (const char *)image + sh[eh->e_shstrndx].sh_offset, *strings = NULL;
	const Elf64_Shdr *dynsym = NULL;

	for (unsigned int i = 0; i < eh->e_shnum; i++) {
		if (!strcmp(names + sh[i].sh_name, ".dynstr"))
			strings = (const char *)image + sh[i].sh_offset;
		if (!strcmp(names + sh[i].sh_name, ".dynsym"))
			dynsym = &sh[i];
	}
	for (uint64_t i = 0; strings && dynsym && i < dynsym->sh_size / dynsym->sh_entsize; i++) {
		const Elf64_Sym *sym = (const Elf64_Sym *)(image + dynsym->sh_offset) + i;

		if (!strcmp(strings + sym->st_name, name))
			return sym->st_size;
	}
	return 0;
}

/* ---- a signal in the enclave ------------------------------------------------------------------------ */

static struct {
	volatile sig_atomic_t in_range, elsewhere, enclu, tcs, run, entered;
	struct sgx_enclave_run *run_at;
	volatile uint32_t stop;
	volatile uint64_t spun;
} seen;

static void on_interrupt(int sig, siginfo_t *info, void *context)
{
	const greg_t *g = ((ucontext_t *)context)->uc_mcontext.gregs;
	struct sgx_enclave_run nested = { .tcs = e.tcs[0] };
	uint64_t rip = (uint64_t)g[REG_RIP];

	if (rip < (uintptr_t)fn || rip > (uintptr_t)fn + fn_bytes || g[REG_RAX] != SGX_ERESUME) {
		seen.elsewhere++;
		return;
	}
	seen.in_range++;
	seen.enclu += !memcmp((const void *)rip, "\x0f\x01\xd7", 3);
	seen.tcs += (uint64_t)g[REG_RBX] == nested.tcs;
	seen.run += *(struct sgx_enclave_run **)(g[REG_RBP] + 16) == seen.run_at;
	seen.entered += vdso_enter(0, 0, 0, SGX_EENTER, 0, 0, &nested, fn) == 0 &&
			nested.function == SGX_EEXIT;
	if (seen.in_range == 20)
		seen.stop = 1;
}

static void test_interrupt(void)
{
	struct sigaction sa = { .sa_sigaction = on_interrupt, .sa_flags = SA_SIGINFO };
	struct sigevent to = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = INTERRUPT };
	struct itimerspec every = { { 0, 2000000 }, { 0, 2000000 } },
			  never = { { 0, 0 }, { 0, 0 } };
	struct encl_op op = { .nr = OP_SPIN,
			      .arg = { (uintptr_t)&seen.stop, (uintptr_t)&seen.spun } };
	struct sgx_enclave_run run = { .tcs = e.tcs[0] };
	timer_t timer;
	int r;

	seen.run_at = &run;
	sigfillset(&sa.sa_mask);
	sigaction(INTERRUPT, &sa, NULL);
	TAP_MUST(!timer_create(CLOCK_MONOTONIC, &to, &timer), "a timer");
	timer_settime(timer, 0, &every, NULL);
	r = vdso_enter((uintptr_t)&op, 0, 0, SGX_EENTER, 0, 0, &run, fn);
	timer_settime(timer, 0, &never, NULL);
	TAP_CHECK(r == 0 && run.function == SGX_EEXIT && op.ret == seen.spun,
		  "an enclave that is interrupted comes to its end");
	TAP_CHECK(seen.in_range >= 20, "signals find RIP in the range of the vDSO function");
	TAP_CHECK(seen.enclu == seen.in_range, "at an ENCLU");
	TAP_CHECK(seen.tcs == seen.in_range, "with the TCS in RBX");
	TAP_CHECK(seen.run == seen.in_range, "and the run structure where RBP says");
	TAP_CHECK(seen.entered == seen.in_range, "the handler enters the same TCS");
	timer_delete(timer);
}

/* ---- an out-call whose result is left in a register --------------------------------------------------- */

/* handler(rdi, rsi, ...): RDI 0xca11 is an out-call: RDI := RSI + 1, and EENTER; else 0. */
int out_call(long rdi, long rsi, long rdx, long rsp, long r8, long r9, void *run);
__asm__(".text\n"
	"out_call:\n\t"
	"cmp $0xca11, %rdi\n\t"
	"jne 1f\n\t"
	"lea 1(%rsi), %rdi\n\t"
	"mov $2, %eax\n\t"
	"ret\n"
	"1:\n\t"
	"xor %eax, %eax\n\t"
	"ret\n");

static void test_out_call(void)
{
	struct encl_op op = { .nr = OP_OCALL, .arg = { 0xca11, 0x5150 } };
	struct sgx_enclave_run run = { .tcs = e.tcs[0], .user_handler = (uintptr_t)out_call };
	int r = vdso_enter((uintptr_t)&op, 0, 0, SGX_EENTER, 0, 0, &run, fn);

	TAP_CHECK(r == 0 && op.ret == 0x5151, "the enclave gets the RDI that the handler left");
}

/* ---- registers that the prototype does not name --------------------------------------------------------- */

static int enter_with_more(void *to, struct encl_op *op, struct sgx_enclave_run *run)
{
	int r;

	__asm__ volatile("push %%rbx\n\t"
			 "push %%rbp\n\t"
			 "mov $0x1010, %%r10d\n\t"
			 "mov $0x1111, %%r11d\n\t"
			 "mov $0x1212, %%r12d\n\t"
			 "mov $0x1313, %%r13d\n\t"
			 "mov $0x1414, %%r14d\n\t"
			 "mov $0x1515, %%r15d\n\t"
			 "push %[run]\n\t"
			 "push %[run]\n\t"
			 "call *%[to]\n\t"
			 "add $16, %%rsp\n\t"
			 "pop %%rbp\n\t"
			 "pop %%rbx"
			 : "=a"(r), "+D"(op)
			 : [to] "d"(to), [run] "S"(run), "c"(SGX_EENTER)
			 : "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
	return r;
}

static void test_registers(void)
{
	static uint64_t regs[17];
	struct encl_op op = { .nr = OP_ENTRY_REGS, .arg = { (uintptr_t)regs } };
	struct sgx_enclave_run run = { .tcs = e.tcs[0] };

	TAP_CHECK(!enter_with_more(fn, &op, &run) && run.function == SGX_EEXIT, "a call");
	TAP_CHECK(regs[10] == 0x1010 && regs[11] == 0x1111, "the enclave sees R10 and R11");
	TAP_CHECK(regs[12] == 0x1212 && regs[13] == 0x1313 && regs[14] == 0x1414 &&
			  regs[15] == 0x1515,
		  "and R12 to R15");
}

static void test_name(void)
{
	struct encl_op op = { .nr = OP_READ, .arg = { e.base + e.heap } };
	struct sgx_enclave_run run = { .tcs = e.tcs[0] };

	if (!by_name) {
		tap_skip("by its name", "this program is not linked to linux-vdso.so.1");
		return;
	}
	TAP_CHECK(!vdso_enter((uintptr_t)&op, 0, 0, SGX_EENTER, 0, 0, &run, (void *)by_name) &&
			  run.function == SGX_EEXIT,
		  "the function is found by its name");
}

int main(void)
{
	struct client_conf conf = { .heap_pages = 1 };
	const void *image = vdso_from_getauxval();

	fn = vdso_by_sections(image, "__vdso_sgx_enter_enclave");
	TAP_MUST(fn, "the vDSO has the function");
	fn_bytes = size_of_symbol(image, "__vdso_sgx_enter_enclave");
	TAP_CHECK(fn_bytes > 32 && fn_bytes < 4096, "and tells its size");
	TAP_MUST(!client_create(&e, &conf), "an enclave");
	test_interrupt();
	test_out_call();
	test_registers();
	test_name();
	client_destroy(&e);
	return tap_done();
}
