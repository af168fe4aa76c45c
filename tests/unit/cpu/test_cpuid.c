/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * CPUID as a program decodes it, against the configuration that it was made from, and the default
 * configuration against what the machine itself says.
 */
#include "cpu/cpu.h"

#include <cpuid.h>
#include <string.h>

#include "lib/tap.h"

/* CPUID depends on the configuration alone: here a processor is nothing else. */
const struct cpu_config *cpu_get_config(const struct cpu *cpu)
{
	return (const struct cpu_config *)cpu;
}

static struct cpu_cpuid ask(const struct cpu_config *config, uint32_t leaf, uint32_t subleaf,
			    struct cpu_cpuid host)
{
	return cpu_cpuid((const struct cpu *)config, leaf, subleaf, host);
}

static bool same(struct cpu_cpuid a, struct cpu_cpuid b)
{
	return a.eax == b.eax && a.ebx == b.ebx && a.ecx == b.ecx && a.edx == b.edx;
}

static const struct cpu_cpuid zeros, ones = { ~0u, ~0u, ~0u, ~0u },
				     odd = { 0x11111111, 0x22222222, 0x33333333, 0x44444444 };

static void test_sgx_leaf(struct cpu_config *config)
{
	struct cpu_cpuid got;

	/* What the host says of leaf 12H must not shine through: it may have SGX of its own. */
	got = ask(config, 0x12, 0, ones);
	TAP_CHECK(got.eax == 0x803, "SGX1, SGX2, EDECCSSA");
	TAP_CHECK(got.ebx == 1 && got.ecx == 0, "EXINFO, and a reserved register");
	TAP_CHECK(got.edx == 0x2d1f, "sizes: 2^31 and 2^45");

	got = ask(config, 0x12, 1, ones);
	TAP_CHECK(got.eax == 0x4b6 && got.ebx == 0,
		  "attributes: debug, 64 bit, two keys, KSS, AEX-notify; INIT is no choice");
	TAP_CHECK(((uint64_t)got.edx << 32 | got.ecx) == config->xfrm_mask, "XFRM");

	config->attr_mask |= SGX_ATTR_INIT | 1ull << 40;
	got = ask(config, 0x12, 1, ones);
	TAP_CHECK(!(got.eax & 1) && got.ebx == 0x100, "attributes above bit 31 in EBX");
	config->attr_mask &= ~(SGX_ATTR_INIT | 1ull << 40);

	config->caps |= SGX_CPUID_ENCLS_C | SGX_CPUID_ENCLV;
	TAP_CHECK(ask(config, 0x12, 0, zeros).eax == 0x863, "ENCLV and ENCLS_C when configured");
	config->caps &= ~(SGX_CPUID_ENCLS_C | SGX_CPUID_ENCLV);
}

static void test_sections(struct cpu_config *config)
{
	static const struct {
		uint64_t base, size;
	} want[] = {
		{ 0x80200000, 0x5d80000 },                        /* a laptop's */
		{ 0x4000000000, 0x4000000000 },                   /* 256 GiB */
		{ 0xffffffff00000000 & 0xfffffffffffff, 0x1000 }, /* the highest bits */
	};
	struct cpu_config own = *config;
	unsigned int wrong = 0;

	own.section_nr = sizeof(want) / sizeof(want[0]);
	for (uint32_t i = 0; i < own.section_nr; i++) {
		own.section[i].base = want[i].base;
		own.section[i].size = want[i].size;
	}
	for (uint32_t i = 0; i < own.section_nr; i++) {
		struct cpu_cpuid got = ask(&own, 0x12, 2 + i, ones);

		wrong += (got.eax & 0xf) != 1 || (got.ecx & 0xf) != 1;
		wrong += ((got.eax & 0xfffff000) | (uint64_t)(got.ebx & 0xfffff) << 32) !=
			 want[i].base;
		wrong += ((got.ecx & 0xfffff000) | (uint64_t)(got.edx & 0xfffff) << 32) !=
			 want[i].size;
		wrong += (got.eax & 0xff0) || (got.ecx & 0xff0) || got.ebx >> 20 || got.edx >> 20;
	}
	TAP_CHECK(wrong == 0, "base and size of three sections");
	TAP_CHECK(same(ask(&own, 0x12, 5, ones), zeros) && same(ask(&own, 0x12, 9, ones), zeros) &&
			  same(ask(&own, 0x12, ~0u, ones), zeros),
		  "after the last section there is nothing");
}

static void test_other_leaves(struct cpu_config *config)
{
	struct cpu_cpuid host = odd, got, want;
	unsigned int wrong = 0;

	host.eax = 0x0d;
	want = host;
	want.eax = 0x12;
	TAP_CHECK(same(ask(config, 0, 0, host), want), "leaf 0: 12H is reachable");
	host.eax = 0x20;
	TAP_CHECK(same(ask(config, 0, 0, host), host), "leaf 0: a higher maximum stays");

	got = ask(config, 7, 0, zeros);
	want = (struct cpu_cpuid){ .ebx = 1u << 2, .ecx = 1u << 30 };
	TAP_CHECK(same(got, want), "leaf 7: SGX and SGX_LC, nothing else");
	TAP_CHECK(same(ask(config, 7, 0, ones), ones), "leaf 7: the rest is the host's");
	config->lepubkeyhash_locked = true;
	want = ones;
	want.ecx &= ~(1u << 30);
	TAP_CHECK(same(ask(config, 7, 0, ones), want), "leaf 7: no SGX_LC with locked MSRs");
	config->lepubkeyhash_locked = false;
	TAP_CHECK(same(ask(config, 7, 1, odd), odd), "leaf 7.1 is the host's");

	for (uint32_t leaf = 1; leaf < 0x40; leaf++)
		if (leaf != 7 && leaf != 0x12)
			wrong += !same(ask(config, leaf, 0, odd), odd);
	wrong += !same(ask(config, 0x40000000, 0, odd), odd);
	wrong += !same(ask(config, 0x80000008, 0, odd), odd);
	TAP_CHECK(wrong == 0, "every other leaf is the host's");
}

static void test_default(const struct cpu_config *config, uint64_t epc_bytes)
{
	uint64_t last = config->section[0].base + config->section[0].size;
	uint32_t eax, ebx, ecx, edx;
	unsigned int wrong = 0;

	TAP_CHECK(config->page_nr == epc_bytes / 4096 && config->section_nr == 1 &&
			  config->section[0].size == epc_bytes,
		  "one section of all pages");
	TAP_CHECK(config->section[0].base % (4ull << 30) == 0 && last <= 1ull << 39,
		  "4 GiB aligned, within 39 bits");
	TAP_CHECK(!config->lepubkeyhash_locked && config->lepubkeyhash[0] == 0xa6053e051270b7ac &&
			  config->lepubkeyhash[3] == 0xd4f8c05909f9bb3b,
		  "launch key hash of the reset state");

	TAP_CHECK((config->xfrm_mask & 3) == 3, "x87 and SSE are always there");
	TAP_CHECK(!(config->xfrm_mask & 3ull << 17), "AMX is not");
	__builtin_cpu_init();
	TAP_CHECK(!!(config->xfrm_mask & 4) == !!__builtin_cpu_supports("avx"), "AVX as usable");
	TAP_CHECK(((config->xfrm_mask & 0xe0) == 0xe0) == !!__builtin_cpu_supports("avx512f"),
		  "AVX-512 as usable, all three components");

	for (unsigned int i = 2; i < 64; i++) {
		if (!(config->xfrm_mask & 1ull << i))
			continue;
		/* In the standard format: behind the header, and within what XCR0 needs. */
		__cpuid_count(0x0d, 0, eax, ebx, ecx, edx);
		wrong += config->xsave_offset[i] < 576 || config->xsave_size[i] == 0 ||
			 config->xsave_offset[i] + config->xsave_size[i] > ebx;
	}
	TAP_CHECK(wrong == 0, "components lie in the XSAVE area");
	if (config->xfrm_mask & 4)
		TAP_CHECK(config->xsave_offset[2] == 576 && config->xsave_size[2] == 256,
			  "AVX where the architecture puts it");
	else
		tap_skip("AVX where the architecture puts it", "no AVX");
}

int main(void)
{
	struct cpu_config config, big;

	memset(&config, 0xff, sizeof(config));
	cpu_config_default(&config, 64 << 20);
	test_default(&config, 64 << 20);
	cpu_config_default(&big, 256ull << 30);
	test_default(&big, 256ull << 30);
	TAP_CHECK(memcmp(config.fuses.root_key, big.fuses.root_key, 16) != 0,
		  "a platform of its own until a file is read");
	test_sgx_leaf(&config);
	test_sections(&config);
	test_other_leaves(&config);
	return tap_done();
}
