/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A shared object that looks for SGX in its constructor, as SDK libraries do: it may run before the
 * constructor of anything that was preloaded.
 */
#include "ctor.h"

#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#pragma GCC visibility push(default)
struct ctor_seen ctor_seen;
#pragma GCC visibility pop

__attribute__((constructor(101))) static void look(void)
{
	struct stat st;
	uint32_t a = 0x12, b, c = 0, d;
	int fd;

	ctor_seen.ran = true;
	ctor_seen.stat_ok = !stat("/dev/sgx_enclave", &st) && S_ISCHR(st.st_mode);
	ctor_seen.access_ok = !access("/dev/sgx_enclave", R_OK | W_OK);
	fd = open("/dev/sgx_enclave", O_RDWR);
	ctor_seen.open_ok = fd >= 0;
	if (fd >= 0)
		close(fd);
	ctor_seen.vdso = (const void *)getauxval(AT_SYSINFO_EHDR);
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	ctor_seen.cpuid_eax = a;
}
