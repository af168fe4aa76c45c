/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What the sanitizers that a program was built with are told, in GCC's shared runtimes: they ask functions that the
 * program may define, and this library comes before them.  A program's own come before these.
 *
 * ThreadSanitizer takes the place of libc's mutexes and memory functions, and its own have no business in a signal
 * handler in the middle of it: calls from here are to go straight to libc.  AddressSanitizer refuses to come second.
 */
#include "runtime/hooks.h"

const char *__tsan_default_suppressions(void);
const char *__asan_default_options(void);

HOOK const char *__tsan_default_suppressions(void)
{
	return "called_from_lib:libswsgx_runtime.so\n";
}

HOOK const char *__asan_default_options(void)
{
	return "verify_asan_link_order=0";
}
