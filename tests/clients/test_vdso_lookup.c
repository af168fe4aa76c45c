/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The vDSO: found in each way that programs find it, searched in each way that they search it, with
 * the kernel's own functions still there; and from a constructor, before main().
 */
#include <string.h>
#include <sys/time.h>
#include <time.h>

#include "client.h"
#include "ctor.h"
#include "lib/tap.h"

#define ENTER "__vdso_sgx_enter_enclave"

typedef int (*clock_fn)(clockid_t, struct timespec *);
typedef long (*getcpu_fn)(unsigned int *, unsigned int *, void *);

static void check_image(const void *image, const char *how)
{
	void *by_hash = vdso_by_hash(image, ENTER), *by_sections = vdso_by_sections(image, ENTER);

	TAP_CHECK(image, "%s: there is an image", how);
	TAP_CHECK(by_hash, "%s: " ENTER " by DT_HASH", how);
	TAP_CHECK(by_sections, "%s: " ENTER " by section headers", how);
	TAP_CHECK(by_hash == by_sections, "%s: both find the same", how);
	TAP_CHECK(!vdso_by_hash(image, "__vdso_no_such_function"), "%s: but not anything", how);
}

static void check_kernel_functions(const void *image)
{
	clock_fn by_hash = (clock_fn)vdso_by_hash(image, "__vdso_clock_gettime");
	clock_fn by_sections = (clock_fn)vdso_by_sections(image, "__vdso_clock_gettime");
	getcpu_fn getcpu_ptr = (getcpu_fn)vdso_by_hash(image, "__vdso_getcpu");
	struct timespec a, b, c;
	unsigned int cpu = 12345;

	if (!TAP_CHECK(by_hash && by_sections, "__vdso_clock_gettime is found both ways"))
		return;
	clock_gettime(CLOCK_MONOTONIC, &a);
	TAP_CHECK(!by_hash(CLOCK_MONOTONIC, &b) && !by_sections(CLOCK_MONOTONIC, &c), "and works");
	TAP_CHECK((b.tv_sec - a.tv_sec) * 1000000000ll + b.tv_nsec - a.tv_nsec >= 0 &&
			  b.tv_sec - a.tv_sec < 5,
		  "and tells the time");
	TAP_CHECK(getcpu_ptr && !getcpu_ptr(&cpu, NULL, NULL) && cpu < 12345,
		  "__vdso_getcpu works");
	TAP_CHECK(time(NULL) > 1600000000, "libc's own use of the vDSO goes on working");
}

static void check_constructor(void)
{
	TAP_CHECK(ctor_seen.ran, "a shared object's constructor ran before main()");
	TAP_CHECK(ctor_seen.stat_ok, "it could stat the device");
	TAP_CHECK(ctor_seen.access_ok, "and access() it");
	TAP_CHECK(ctor_seen.open_ok, "and open it");
	TAP_CHECK(ctor_seen.vdso && ctor_seen.vdso == vdso_from_getauxval(),
		  "and asked for the vDSO");
	TAP_CHECK(vdso_by_hash(ctor_seen.vdso, ENTER), "in which it would have found " ENTER);
	TAP_CHECK(ctor_seen.cpuid_eax & SGX_CPUID_SGX1, "and CPUID said SGX1 (%#x)",
		  ctor_seen.cpuid_eax);
}

int main(void)
{
	check_image(vdso_from_getauxval(), "getauxval");
	check_image(vdso_from_auxv_file(), "/proc/self/auxv");
	check_image(vdso_from_stack(), "the stack");
	check_kernel_functions(vdso_from_getauxval());
	check_constructor();
	return tap_done();
}
