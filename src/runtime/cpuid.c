/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * CPUID: where the CPU can be told to fault on it, programs are shown a CPU with SGX.
 */
#include "runtime/rt.h"

#include <cpuid.h>

#include <asm/prctl.h>

#include "runtime/sys.h"

#ifndef ARCH_SET_CPUID
#define ARCH_SET_CPUID 0x1012
#endif

/* Inherited by threads and forked children, gone at exec. */
void rt_cpuid_init(void)
{
	rt.cpuid_faults = sys(SYS_arch_prctl, ARCH_SET_CPUID, 0, 0) == 0;
}

void rt_cpuid_trap(ucontext_t *uc)
{
	greg_t *g = uc->uc_mcontext.gregs;
	struct cpu_cpuid host, out;
	uint32_t leaf = (uint32_t)g[REG_RAX], sub = (uint32_t)g[REG_RCX];

	sys(SYS_arch_prctl, ARCH_SET_CPUID, 1, 0);
	__cpuid_count(leaf, sub, host.eax, host.ebx, host.ecx, host.edx);
	sys(SYS_arch_prctl, ARCH_SET_CPUID, 0, 0);
	out = cpu_cpuid(rt.cpu, leaf, sub, host);
	g[REG_RAX] = out.eax;
	g[REG_RBX] = out.ebx;
	g[REG_RCX] = out.ecx;
	g[REG_RDX] = out.edx;
	g[REG_RIP] += 2;
}
