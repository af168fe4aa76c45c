/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What a processor has beyond SGX1, by name: so that programs can be tried on older ones, or on newer ones
 * than the default.
 *
 * A feature is bits of the configuration, and of nothing else: CPUID leaf 12H shows those bits, and each leaf and
 * each check asks for them.
 */
#include <errno.h>
#include <string.h>

#include "cpu/cpu.h"

static const struct feature {
	const char *name;
	uint32_t caps, misc;
	uint64_t attr;
} features[] = {
	{ "sgx2", .caps = SGX_CPUID_SGX2 },
	{ "exinfo", .misc = SGX_MISC_EXINFO },
	{ "kss", .attr = SGX_ATTR_KSS },
	{ "edeccssa", .caps = SGX_CPUID_EDECCSSA },
	{ "aex-notify", .attr = SGX_ATTR_AEXNOTIFY },
	{ "encls-c", .caps = SGX_CPUID_ENCLS_C },
	{ "enclv", .caps = SGX_CPUID_ENCLV },
	{ "updatesvn", .caps = SGX_CPUID_UPDATESVN },
};

static const struct feature *find(const char *name, size_t bytes)
{
	for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++)
		if (strlen(features[i].name) == bytes && !memcmp(features[i].name, name, bytes))
			return &features[i];
	return NULL;
}

static void apply(struct cpu_config *config, const struct feature *f, bool on)
{
	config->caps = on ? config->caps | f->caps : config->caps & ~f->caps;
	config->misc_mask = on ? config->misc_mask | f->misc : config->misc_mask & ~f->misc;
	config->attr_mask = on ? config->attr_mask | f->attr : config->attr_mask & ~f->attr;
}

int cpu_config_features(struct cpu_config *config, const char *list)
{
	const struct feature *f;
	struct cpu_config own = *config;

	for (const char *at = list; *at;) {
		size_t bytes = strcspn(at, ",");
		bool on = bytes < 3 || memcmp(at, "no-", 3) != 0;

		f = find(on ? at : at + 3, on ? bytes : bytes - 3);
		if (!f)
			return -EINVAL;
		apply(&own, f, on);
		at += bytes;
		at += *at == ',';
	}
	*config = own;
	return 0;
}
