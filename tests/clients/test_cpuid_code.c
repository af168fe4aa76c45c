/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * CPUID in code that comes later, and what only looks like it.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "lib/tap.h"

/* In a function, but no instruction; and data behind its end. */
__asm__(".text\n"
	".type cpuid_immediate, @function\n"
	"cpuid_immediate:\n"
	".cfi_startproc\n"
	"	mov $0xa20f, %eax\n"
	"	ret\n"
	".cfi_endproc\n"
	".size cpuid_immediate, . - cpuid_immediate\n"
	"cpuid_data: .byte 0x0f, 0xa2, 0x0f, 0xa2\n"
	".balign 4096\n"
	".type cpuid_page, @function\n"
	"cpuid_page:\n"
	".cfi_startproc\n"
	"	push %rbx\n"
	".cfi_adjust_cfa_offset 8\n"
	"	mov $0x12, %eax\n"
	"	xor %ecx, %ecx\n"
	"cpuid_in_page: cpuid\n"
	"	pop %rbx\n"
	".cfi_adjust_cfa_offset -8\n"
	"	ret\n"
	".cfi_endproc\n"
	".size cpuid_page, . - cpuid_page\n"
	".balign 4096\n");
uint32_t cpuid_page(void);
extern const uint8_t cpuid_in_page[];
uint32_t cpuid_immediate(void);
extern const uint8_t cpuid_data[];

static volatile sig_atomic_t illegal;

static uint32_t leaf12(void)
{
	uint32_t r[4];

	client_cpuid(0x12, 0, r);
	return r[0];
}

static void load(const char *path, int i)
{
	void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	const uint32_t *seen = lib ? dlsym(lib, "late_leaf12") : NULL;

	TAP_MUST(seen, "a library is loaded, time %d", i);
	TAP_CHECK(*seen == leaf12(), "its constructor sees SGX, as everybody does (%#x)", *seen);
	dlclose(lib);
}

static void *ask(void *arg)
{
	uint32_t want = leaf12(), wrong = 0;

	for (int i = 0; i < 2000; i++)
		wrong += leaf12() != want;
	return (void *)(uintptr_t)(wrong || !(want & SGX_CPUID_SGX1));
}

static void check_threads(void)
{
	pthread_t thread[4];
	uintptr_t wrong = 0;
	void *ret;

	for (int i = 0; i < 4; i++)
		TAP_MUST(!pthread_create(&thread[i], NULL, ask, NULL), "thread %d", i);
	for (int i = 0; i < 4; i++) {
		pthread_join(thread[i], &ret);
		wrong |= (uintptr_t)ret;
	}
	TAP_CHECK(!wrong, "four threads see it at once");
}

static void check_child(void)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0)
		_exit(leaf12() & SGX_CPUID_SGX1 ? 7 : 8);
	if (pid > 0)
		waitpid(pid, &status, 0);
	TAP_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7, "a child sees it (%#x)", status);
}

static void on_ill(int sig, siginfo_t *info, void *ctx)
{
	ucontext_t *uc = ctx;

	illegal += (uint64_t)info->si_addr == (uint64_t)uc->uc_mcontext.gregs[REG_RIP];
	uc->uc_mcontext.gregs[REG_RIP] += 1;
}

static void check_illegal(void)
{
	struct sigaction act = { .sa_sigaction = on_ill, .sa_flags = SA_SIGINFO };

	sigaction(SIGILL, &act, NULL);
	__asm__ volatile(".byte 0x37\n\tnop"); /* AAA */
	TAP_CHECK(illegal == 1, "what is no instruction is SIGILL all the same");
	signal(SIGILL, SIG_DFL);
}

/* An enclave that is made of code as it is mapped is measured as its maker has it in a file. */
static void check_enclave(void)
{
	struct client_conf conf = { .no_init = true, .aug_pages = 1, .attributes = SGX_ATTR_DEBUG };
	uint64_t in_page = (uint64_t)cpuid_in_page - (uint64_t)cpuid_page;
	uint8_t code[2] = { 0 };
	struct client_encl e;
	struct sgx_secinfo secinfo __attribute__((
		aligned(64))) = { .flags = SGX_SECINFO_R | SGX_SECINFO_TYPE(SGX_PT_REG) };
	struct sgx_enclave_add_pages add = { .src = (uintptr_t)cpuid_page,
					     .length = 4096,
					     .secinfo = (uintptr_t)&secinfo,
					     .flags = SGX_PAGE_MEASURE };
	int mem = open("/proc/self/mem", O_RDONLY | O_CLOEXEC), r;

	TAP_MUST(!client_create(&e, &conf), "an enclave that is being made");
	add.offset = e.aug;
	r = ioctl(e.fd, SGX_IOC_ENCLAVE_ADD_PAGES, &add);
	TAP_CHECK(!r && mmap((void *)(e.base + e.aug), 4096, PROT_READ, MAP_SHARED | MAP_FIXED,
			     e.fd, 0) != MAP_FAILED,
		  "a page of this program's code is added");
	TAP_CHECK(pread(mem, code, 2, (off_t)(e.base + e.aug + in_page)) == 2 && code[0] == 0x0f &&
			  code[1] == 0xa2,
		  "and has a CPUID, whatever runs here in its place");
	TAP_CHECK(cpuid_page() & SGX_CPUID_SGX1, "which sees SGX");
	client_destroy(&e);
	close(mem);
}

int main(int argc, char **argv)
{
	TAP_MUST(argc == 2, "a library to load");
	TAP_CHECK(leaf12() & SGX_CPUID_SGX1, "leaf 12H.0: SGX1");
	TAP_CHECK(cpuid_immediate() == 0xa20f,
		  "an immediate that looks like CPUID is what it is (%#x)", cpuid_immediate());
	TAP_CHECK(!memcmp(cpuid_data, "\x0f\xa2\x0f\xa2", 4), "and so is data");
	for (int i = 0; i < 3; i++)
		load(argv[1], i);
	check_threads();
	check_child();
	check_illegal();
	check_enclave();
	return tap_done();
}
