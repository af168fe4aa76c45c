/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* Bytes from the hexadecimal of a published test vector. */
#ifndef SWSGX_TESTS_HEX_H
#define SWSGX_TESTS_HEX_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Returns how many bytes @hex has; spaces between bytes are skipped. */
__attribute__((unused)) static size_t hex_bytes(const char *hex, uint8_t *ret_bytes)
{
	unsigned int byte;
	size_t nr = 0;
	int used;

	while (sscanf(hex, " %2x%n", &byte, &used) == 1) {
		ret_bytes[nr++] = (uint8_t)byte;
		hex += used;
	}
	assert(*hex == '\0');
	return nr;
}

#endif
