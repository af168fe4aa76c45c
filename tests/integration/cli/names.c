/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A program that names the device, NODE, and has the help to speak to it that HELP_* says.  It is looked at,
 * not run.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

int lib_speak(void);

int main(void)
{
	puts(NODE);
#ifdef HELP_IOCTL
	return ioctl(0, 0);
#endif
#ifdef HELP_SYSCALL
	return (int)syscall(39);
#endif
#ifdef HELP_DLOPEN
	return dlopen(NULL, RTLD_NOW) == NULL;
#endif
#ifdef HELP_LIBRARY
	return lib_speak();
#endif
	return 0;
}

#ifdef OWN_IOCTL
/* Defined and not imported: like an ioctl() that is its own SYSCALL. */
__attribute__((visibility("default"))) int ioctl(int fd, unsigned long request, ...) { return 0; }
#endif
