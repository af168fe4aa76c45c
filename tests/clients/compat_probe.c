/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What test_compat_exec starts: 0 when there is SGX here and the arguments came as they should, else the
 * number of what is wrong.
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int fd = open("/dev/sgx_enclave", O_RDWR);

	if (fd < 0)
		return 1;
	if (argc != 2 || strcmp(argv[0], "zero") != 0 || strcmp(argv[1], "one") != 0)
		return 2;
	return 0;
}
