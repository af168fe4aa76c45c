/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What a program finds on a processor of the first generation: no SGX2, no KSS, no AEX-notify, no EDECCSSA.
 * Enclaves without them run, the ioctls of SGX2 are ENODEV.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "client.h"
#include "lib/tap.h"

int main(void)
{
	struct sgx_enclave_restrict_permissions restricted = { .length = 4096, .permissions = 1 };
	struct sgx_enclave_modify_types types = { .length = 4096, .page_type = SGX_PT_TRIM };
	struct client_conf conf = { .heap_pages = 2 };
	struct client_encl e;
	uint32_t r[4];
	int ret;

	client_cpuid(0x12, 0, r);
	if (r[0] & SGX_CPUID_SGX2)
		TAP_SKIP_ALL("this processor has SGX2");
	TAP_CHECK(r[0] == SGX_CPUID_SGX1, "leaf 12H.0: SGX1 and no more (%#x)", r[0]);
	client_cpuid(0x12, 1, r);
	TAP_CHECK(!(r[0] & (SGX_ATTR_KSS | SGX_ATTR_AEXNOTIFY)),
		  "leaf 12H.1: neither KSS nor AEX-notify (%#x)", r[0]);

	ret = client_create(&e, &conf);
	TAP_MUST(ret == 0, "an enclave without them (%d, %s)", ret, ret ? e.failed : "");
	client_op(&e, 0, OP_WRITE, e.base + e.heap, 7, 0);
	TAP_CHECK(client_op(&e, 0, OP_READ, e.base + e.heap, 0, 0) == 7, "runs");
	TAP_CHECK(ioctl(e.fd, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, &restricted) < 0 &&
			  errno == ENODEV,
		  "RESTRICT_PERMISSIONS: ENODEV");
	TAP_CHECK(ioctl(e.fd, SGX_IOC_ENCLAVE_MODIFY_TYPES, &types) < 0 && errno == ENODEV,
		  "MODIFY_TYPES: ENODEV");
	client_destroy(&e);

	conf.attributes = SGX_ATTR_KSS;
	TAP_CHECK(client_create(&e, &conf) < 0, "an enclave with KSS is refused");
	return tap_done();
}
