/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * dlsym() on the handle of a library, by which languages with foreign functions (ctypes, JNA, P/Invoke) call libc: what
 * it finds in libc is ours where we have it, as it is for programs that are linked to libc.  And the vDSO's handle has
 * the function that the image at AT_SYSINFO_EHDR has.
 *
 * RTLD_DEFAULT finds us first, and RTLD_NEXT must not; both depend on who calls, so they go straight through.
 */
#include "runtime/hooks.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "runtime/rt.h"

#define VDSO_ENTER "__vdso_sgx_enter_enclave"

typedef void *dlsym_fn(void *handle, const char *name);

/* libc's, and the handles of ourselves and of libc. Of the process, like rt. */
__attribute__((visibility("hidden"))) dlsym_fn *rt_dlsym_real;
static void *self, *libc;

/* Where this library lies. */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern const char _end[] __attribute__((visibility("hidden")));

__attribute__((visibility("hidden"))) void rt_dlsym_find(void);
__attribute__((visibility("hidden"))) void *rt_dlsym_handle(void *handle, const char *name);

/* dlvsym() is nobody's hook. */
void rt_dlsym_find(void)
{
	*(void **)&rt_dlsym_real = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.34");
	if (!rt_dlsym_real)
		*(void **)&rt_dlsym_real = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
}

/*
 * Until then dlopen() would initialise it, ahead of its turn and without an environment.  We are initialised before
 * it, and what a program has in its .preinit_array runs before it.
 */
static bool libc_is_initialised(void)
{
	return environ || *program_invocation_name;
}

static void open_handles(void)
{
	Dl_info info;

	libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
	if (dladdr(__ehdr_start, &info))
		self = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
}

/* @name, when this library has it. What is not found is no error of the caller's. */
static void *own_symbol(const char *name)
{
	void *own;

	if (!rt.ready || !libc_is_initialised())
		return NULL;
	if (!self)
		open_handles();
	own = self ? rt_dlsym_real(self, name) : NULL;
	if (!own)
		dlerror();
	return own >= (const void *)__ehdr_start && own < (const void *)_end ? own : NULL;
}

static bool is_of_libc(const char *name, const void *found)
{
	void *of_libc = libc ? rt_dlsym_real(libc, name) : NULL;

	if (!of_libc)
		dlerror();
	return of_libc && of_libc == found;
}

void *rt_dlsym_handle(void *handle, const char *name)
{
	void *own = own_symbol(name), *found = rt_dlsym_real(handle, name);

	if (!own)
		return found;
	if (!strcmp(name, VDSO_ENTER)) {
		dlerror();
		return own;
	}
	return found && is_of_libc(name, found) ? own : found;
}

/* The return address says who calls: no frame of ours may come between. */
__asm__(".text\n"
	".globl dlsym\n"
	".type dlsym, @function\n"
	"dlsym:\n\t"
	"mov rt_dlsym_real(%rip), %rax\n\t"
	"test %rax, %rax\n\t"
	"jnz 1f\n\t"
	"push %rdi\n\t"
	"push %rsi\n\t"
	"sub $8, %rsp\n\t"
	"call rt_dlsym_find\n\t"
	"add $8, %rsp\n\t"
	"pop %rsi\n\t"
	"pop %rdi\n\t"
	"mov rt_dlsym_real(%rip), %rax\n"
	"1:\n\t"
	"lea 1(%rdi), %rcx\n\t" /* RTLD_NEXT is -1, RTLD_DEFAULT 0 */
	"cmp $1, %rcx\n\t"
	"ja rt_dlsym_handle\n\t"
	"jmp *%rax\n"
	".size dlsym, . - dlsym\n");
