/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What this processor is: the configuration that fits the machine below it, and CPUID as a program
 * should see it.
 *
 * SDM Vol. 3D, "CPUID Leaf 12H"; Vol. 1, "Enumeration of CPU support for XSAVE" (leaf 0DH).
 *
 * cpu_config_default() executes CPUID and XGETBV: call it before CPUID is made to fault.
 * cpu_cpuid() executes nothing, it edits the answer that it is given.
 */
#include "cpu/cpu.h"

#include <assert.h>
#include <cpuid.h>
#include <string.h>

#include "cpu/platform.h"

#define LEAF_FEATURES 0x07u
#define LEAF_XSAVE    0x0du
#define LEAF_SGX      0x12u

#define ECX1_OSXSAVE  (1u << 27)
#define EBX7_SGX      (1u << 2)
#define ECX7_SGX_LC   (1u << 30)
#define XFRM_AMX      (3ull << 17)
#define SECTION_VALID 1u /* EAX[3:0]: a section; ECX[3:0]: confidential and integrity protected */

/*
 * The largest 64-bit enclave.  A base is a multiple of the size, and user space has 47 bits: of the
 * two ranges of 2^46 the program lies in one and stacks and libraries in the other, so 2^45 is the
 * largest that can be mapped.  (Hardware says 36 or 56.)  A 32-bit one has what hardware says.
 */
#define SIZE_64_LOG2 45
#define SIZE_32_LOG2 31

/*
 * Physical address of the EPC: above any RAM that a program may reason about, 4 GiB aligned, and
 * with 256 GiB of EPC still within the 39 bits of the smallest machines that had SGX.
 */
#define EPC_BASE 0x4000000000ull

/* SHA-256 of Intel's launch key, what the MSRs hold at reset. */
static const uint64_t intel_hash[4] = { 0xa6053e051270b7acull, 0x6cfbe8ba8b3b413dull,
					0xc4916d99f2b3735dull, 0xd4f8c05909f9bb3bull };

/* XCR0: the state components that the kernel lets programs use. 0: there is no XSAVE. */
static uint64_t read_xcr0(void)
{
	uint32_t eax, ebx, ecx, edx;

	if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & ECX1_OSXSAVE))
		return 0;
	__asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
	return (uint64_t)edx << 32 | eax;
}

/* Where XSAVE puts each component, and which of them an enclave may have. */
static void config_xsave(struct cpu_config *config)
{
	uint64_t xcr0 = read_xcr0(), described;
	uint32_t eax, ebx, ecx, edx;

	/* The legacy region has its place by definition: x87 and SSE, which leaf 0DH leaves out. */
	config->xsave_offset[0] = 0;
	config->xsave_size[0] = 160;
	config->xsave_offset[1] = 160;
	config->xsave_size[1] = 256;
	config->xfrm_mask = SGX_XFRM_LEGACY;
	if (!xcr0 || !__get_cpuid_count(LEAF_XSAVE, 0, &eax, &ebx, &ecx, &edx))
		return;

	described = (uint64_t)edx << 32 | eax;
	for (unsigned int i = 2; i < 63; i++) {
		if (!(described & 1ull << i))
			continue;
		__cpuid_count(LEAF_XSAVE, i, eax, ebx, ecx, edx);
		config->xsave_offset[i] = ebx;
		config->xsave_size[i] = eax;
	}
	/*
	 * AMX is in XCR0 of every process, but using it takes a permission that a process asks for
	 * later, if at all; and its 8 KiB would be in every SSA frame.
	 */
	config->xfrm_mask |= xcr0 & described & ~XFRM_AMX;
}

void cpu_config_default(struct cpu_config *config, uint64_t epc_bytes)
{
	uint64_t page_nr = epc_bytes >> SGX_PAGE_SHIFT;

	assert(page_nr > 0 && page_nr <= CPU_PAGE_NR_MAX);
	memset(config, 0, sizeof(*config));
	config->caps = SGX_CPUID_SGX1 | SGX_CPUID_SGX2 | SGX_CPUID_EDECCSSA;
	config->misc_mask = SGX_MISC_EXINFO;
	config->attr_mask = SGX_ATTR_DEBUG | SGX_ATTR_MODE64BIT | SGX_ATTR_PROVISIONKEY |
			    SGX_ATTR_EINITTOKENKEY | SGX_ATTR_KSS | SGX_ATTR_AEXNOTIFY;
	config_xsave(config);
	config->size_64_log2 = SIZE_64_LOG2;
	config->size_32_log2 = SIZE_32_LOG2;
	platform_random(&config->fuses); /* until the caller knows better */
	memcpy(config->lepubkeyhash, intel_hash, sizeof(intel_hash));
	cpu_config_add_section(config, page_nr << SGX_PAGE_SHIFT, -1);
}

bool cpu_config_add_section(struct cpu_config *config, uint64_t bytes, int node)
{
	uint64_t page_nr = config->page_nr + (bytes >> SGX_PAGE_SHIFT);
	uint32_t i = config->section_nr;

	if (i == sizeof(config->section) / sizeof(config->section[0]) || page_nr > CPU_PAGE_NR_MAX)
		return false;
	config->section[i].base = EPC_BASE + ((uint64_t)config->page_nr << SGX_PAGE_SHIFT);
	config->section[i].size = bytes;
	config->section[i].node = node;
	config->section_nr = i + 1;
	config->page_nr = (uint32_t)page_nr;
	return true;
}

static struct cpu_cpuid leaf_sgx(const struct cpu_config *config, uint32_t subleaf)
{
	struct cpu_cpuid out = { 0 };
	uint64_t flags = config->attr_mask & ~SGX_ATTR_INIT;

	if (subleaf == 0) {
		out.eax = config->caps;
		out.ebx = config->misc_mask;
		out.edx = (uint32_t)config->size_64_log2 << 8 | config->size_32_log2;
	} else if (subleaf == 1) {
		out.eax = (uint32_t)flags;
		out.ebx = (uint32_t)(flags >> 32);
		out.ecx = (uint32_t)config->xfrm_mask;
		out.edx = (uint32_t)(config->xfrm_mask >> 32);
	} else if (subleaf - 2 < config->section_nr) {
		uint64_t base = config->section[subleaf - 2].base;
		uint64_t size = config->section[subleaf - 2].size;

		/* Bits 31:12 beside the type, bits 51:32 in the next register. */
		out.eax = ((uint32_t)base & 0xfffff000u) | SECTION_VALID;
		out.ebx = (uint32_t)(base >> 32) & 0xfffffu;
		out.ecx = ((uint32_t)size & 0xfffff000u) | SECTION_VALID;
		out.edx = (uint32_t)(size >> 32) & 0xfffffu;
	}
	return out;
}

struct cpu_cpuid cpu_cpuid(const struct cpu *cpu, uint32_t leaf, uint32_t subleaf,
			   struct cpu_cpuid host)
{
	const struct cpu_config *config = cpu_get_config(cpu);

	if (leaf == 0 && host.eax < LEAF_SGX)
		host.eax = LEAF_SGX;
	if (leaf == LEAF_FEATURES && subleaf == 0) {
		host.ebx |= EBX7_SGX;
		if (config->lepubkeyhash_locked)
			host.ecx &= ~ECX7_SGX_LC;
		else
			host.ecx |= ECX7_SGX_LC;
	}
	return leaf == LEAF_SGX ? leaf_sgx(config, subleaf) : host;
}
