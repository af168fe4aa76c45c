/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Looking up the calls behind our hooks.  Nothing else.
 */
/* Both spellings of each call are looked up, so the headers may not turn one into the other. */
#undef _FILE_OFFSET_BITS

#include "runtime/next.h"

#include <dlfcn.h>

/* Of the process, like rt: written before the program runs, read from then on. */
struct rt_next rt_next;

void rt_next_init(void)
{
	/* Functions and objects are alike on this machine; ISO C has no cast that says so. */
#define X(type, name, args) *(void **)&rt_next.name = dlsym(RTLD_NEXT, #name);
	NEXT_CALLS(X)
#undef X
}
