/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * CPUID: programs are shown a CPU with SGX.  Where the CPU can be told to fault on it, it is; elsewhere (virtual machines
 * mostly) it is rewritten (cpuid_code.c).
 */
#include "runtime/rt.h"

#include <cpuid.h>
#include <string.h>

#include <asm/prctl.h>

#include "runtime/sys.h"

#ifndef ARCH_SET_CPUID
#define ARCH_SET_CPUID 0x1012
#endif

/* What is done is inherited by threads and forked children, and gone at exec. */
void rt_cpuid_init(const char *how)
{
	if (how && !strcmp(how, "host"))
		return;
	if (!how || strcmp(how, "rewrite") != 0)
		rt.cpuid_faults = sys(SYS_arch_prctl, ARCH_SET_CPUID, 0, 0) == 0;
	if (rt.cpuid_faults)
		return;
	rt_cpuid_rewrite();
}

bool rt_is_cpuid(const uint8_t op[2], const ucontext_t *uc)
{
	greg_t vector = uc->uc_mcontext.gregs[REG_TRAPNO];

	return op[1] == 0xa2 &&
	       ((op[0] == 0x0f && vector == CPU_GP) ||
		(op[0] == RT_CPUID_REWRITTEN && vector == CPU_UD && rt.cpuid_rewritten));
}

void rt_cpuid_trap(ucontext_t *uc)
{
	greg_t *g = uc->uc_mcontext.gregs;
	struct cpu_cpuid host, out;
	uint32_t leaf = (uint32_t)g[REG_RAX], sub = (uint32_t)g[REG_RCX];

	if (rt.cpuid_faults)
		sys(SYS_arch_prctl, ARCH_SET_CPUID, 1, 0);
	__cpuid_count(leaf, sub, host.eax, host.ebx, host.ecx, host.edx);
	if (rt.cpuid_faults)
		sys(SYS_arch_prctl, ARCH_SET_CPUID, 0, 0);
	out = cpu_cpuid(rt.cpu, leaf, sub, host);
	g[REG_RAX] = out.eax;
	g[REG_RBX] = out.ebx;
	g[REG_RCX] = out.ecx;
	g[REG_RDX] = out.edx;
	g[REG_RIP] += 2;
}
