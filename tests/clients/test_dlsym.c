/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Programs that look their functions up by name at run time, as the foreign function interfaces of other languages do
 * (ctypes, JNA, P/Invoke): in libc's handle, in the program's, in the vDSO's.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client.h"
#include "lib/tap.h"

/* ISO C has no cast from an object to a function. */
#define LOOK_UP(to, handle, name) (*(void **)&(to) = dlsym(handle, name))

static int (*p_open)(const char *, int, ...);
static int (*p_ioctl)(int, unsigned long, ...);
static int (*p_fstat)(int, struct stat *);
static int (*p_close)(int);
static void *(*p_mmap)(void *, size_t, int, int, int, off_t);

static void check_device(void *handle, const char *name)
{
	struct sgx_enclave_create arg = { 0 };
	struct stat st;
	void *p;
	int fd;

	TAP_CHECK(LOOK_UP(p_open, handle, "open") && LOOK_UP(p_ioctl, handle, "ioctl") &&
			  LOOK_UP(p_fstat, handle, "fstat") && LOOK_UP(p_close, handle, "close") &&
			  LOOK_UP(p_mmap, handle, "mmap"),
		  "%s: has what a loader needs", name);
	TAP_CHECK(!dlerror(), "%s: without an error", name);
	fd = p_open("/dev/sgx_enclave", O_RDWR);
	TAP_CHECK(fd >= 0 && !p_fstat(fd, &st) && S_ISCHR(st.st_mode), "%s: open, fstat", name);
	TAP_CHECK(p_ioctl(fd, SGX_IOC_ENCLAVE_CREATE, &arg) == -1 && errno == EFAULT, "%s: ioctl",
		  name);
	p = p_mmap(NULL, 4096, PROT_EXEC, MAP_SHARED, fd, 0);
	TAP_CHECK(p != MAP_FAILED && !munmap(p, 4096), "%s: mmap", name);
	TAP_CHECK(!p_close(fd), "%s: close", name);
}

static void check_errors(void *libc)
{
	double (*p_cos)(double);
	void *math;

	TAP_CHECK(!dlsym(libc, "no_such_function"), "what is not there is not found");
	TAP_CHECK(dlerror() && !dlerror(), "and is an error, once");
	TAP_CHECK(dlsym(libc, "qsort") && !dlerror(), "what is there is none");
	TAP_CHECK(!dlsym(libc, "__vdso_no_such") && dlerror(), "nor is any vDSO function invented");
	math = dlopen("libm.so.6", RTLD_LAZY);
	TAP_CHECK(math && LOOK_UP(p_cos, math, "cos") && !dlerror() && p_cos(0) == 1,
		  "another library's functions are its own");
	dlclose(math);
}

/* Who asks for the next one must not get the first. */
static void check_next(void)
{
	size_t (*next)(const char *);
	void *first = dlsym(RTLD_DEFAULT, "dlsym_next_test"), *own;

	TAP_CHECK(!first && dlerror(), "RTLD_DEFAULT: not found");
	TAP_CHECK(LOOK_UP(next, RTLD_NEXT, "strlen") && next("four") == 4, "RTLD_NEXT");
	own = dlsym(RTLD_NEXT, "main");
	TAP_CHECK(!own && dlerror(), "RTLD_NEXT begins behind the program");
}

static void check_own(const char *path)
{
	int (*p_closefrom)(int), (*p_access)(int, const char *, int, int);
	void *own = dlopen(path, RTLD_LAZY | RTLD_LOCAL);

	TAP_MUST(own, "a library that has functions with names of libc's (%s)", path);
	TAP_CHECK(LOOK_UP(p_closefrom, own, "closefrom") && p_closefrom(1) == 4712,
		  "its own is found in it");
	TAP_CHECK(LOOK_UP(p_access, own, "faccessat") && p_access(1, "", 2, 4) == 7, "and another");
	dlclose(own);
}

static void check_vdso(void)
{
	struct client_conf conf = { .heap_pages = 1 };
	void *vdso = dlopen("linux-vdso.so.1", RTLD_LAZY | RTLD_LOCAL | RTLD_NOLOAD), *fn;
	long (*p_gettime)(int, struct timespec *);
	struct timespec now = { 0 };
	struct client_encl e;
	struct encl_op op = { .nr = OP_WRITE };
	struct sgx_enclave_run run = { 0 };

	TAP_MUST(vdso, "the vDSO has a handle");
	TAP_CHECK(LOOK_UP(p_gettime, vdso, "__vdso_clock_gettime") && !p_gettime(0, &now) &&
			  now.tv_sec,
		  "the kernel's functions are found by it");
	fn = dlsym(vdso, "__vdso_sgx_enter_enclave");
	TAP_MUST(fn && !dlerror(), "and so is the way into enclaves");
	TAP_CHECK(dlsym(RTLD_DEFAULT, "__vdso_sgx_enter_enclave") != NULL, "by RTLD_DEFAULT too");
	TAP_MUST(!client_create(&e, &conf), "an enclave");
	op.arg[0] = e.base + e.heap;
	op.arg[1] = 0x1234;
	run.tcs = e.tcs[0];
	TAP_CHECK(!vdso_enter((uintptr_t)&op, 0, 0, SGX_EENTER, 0, 0, &run, fn) &&
			  client_op(&e, 0, OP_READ, e.base + e.heap, 0, 0) == 0x1234,
		  "which works");
	client_destroy(&e);
}

/* Before libc is initialised, as instrumented programs do it. */
static void *early;

static void look_up_early(void) { early = dlsym(dlopen(NULL, RTLD_LAZY), "open"); }

__attribute__((section(".preinit_array"), used)) static void (*const preinit)(void) = look_up_early;

static void check_early(void)
{
	TAP_CHECK(early != NULL, "dlsym() works before libc is initialised");
	TAP_CHECK(getenv("PATH") != NULL, "and the program has its environment");
}

int main(int argc, char **argv)
{
	void *libc = dlopen("libc.so.6", RTLD_LAZY), *program = dlopen(NULL, RTLD_LAZY);

	TAP_MUST(libc && program, "handles of libc and of the program");
	check_early();
	check_device(libc, "libc");
	check_device(program, "the program");
	check_device(RTLD_DEFAULT, "RTLD_DEFAULT");
	check_errors(libc);
	check_next();
	if (argc > 1)
		check_own(argv[1]);
	check_vdso();
	return tap_done();
}
