/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Pages by intel-ipsec-mb, two to three times as fast where the CPU has AES-NI and more.
 *
 * Its GCM functions keep no state but the expanded key, which is plain bytes in struct page_key, and
 * a context on our stack; so they may run anywhere, also in a handler that has interrupted one of
 * them.  Its manager is needed only to learn which functions suit this CPU: they are copied out once
 * a process, behind pthread_once(), into the one file-scope object here, and never change.
 *
 * It does not compare MACs.  We do, before the caller can see that there is a plaintext.
 */
#include <assert.h>
#include <intel-ipsec-mb.h>
#include <pthread.h>
#include <stddef.h>

#include "crypto/cmac.h"
#include "page_engine_priv.h"
#include "pool_priv.h"

static_assert(sizeof(struct gcm_key_data) <= sizeof(((struct page_key *)NULL)->expanded),
	      "the expanded key fits");

static struct {
	pthread_once_t once;
	const char *name; /* NULL: not on this CPU */
	aes_gcm_pre_t pre;
	aes_gcm_enc_dec_t enc, dec;
} functions = { .once = PTHREAD_ONCE_INIT };

/* As init_mb_mgr_auto(), but it looks at CPUID alone and we also ask what the kernel lets us use. */
static const char *init_best(IMB_MGR *mgr)
{
	const uint64_t needed = IMB_FEATURE_AESNI | IMB_FEATURE_PCLMULQDQ;

	if ((mgr->features & needed) != needed)
		return NULL;
	__builtin_cpu_init();
	if ((mgr->features & IMB_CPUFLAGS_AVX512) == IMB_CPUFLAGS_AVX512 &&
	    __builtin_cpu_supports("avx512f")) {
		init_mb_mgr_avx512(mgr);
		return "ipsec-mb avx512";
	}
	if ((mgr->features & IMB_CPUFLAGS_AVX2) == IMB_CPUFLAGS_AVX2 &&
	    __builtin_cpu_supports("avx2")) {
		init_mb_mgr_avx2(mgr);
		return "ipsec-mb avx2";
	}
	init_mb_mgr_sse(mgr);
	return "ipsec-mb sse";
}

static void functions_find(void)
{
	IMB_MGR *mgr = alloc_mb_mgr(0);
	const char *name;

	if (!mgr)
		return;
	name = init_best(mgr);
	if (name && imb_get_errno(mgr) == 0) {
		functions.pre = mgr->gcm128_pre;
		functions.enc = mgr->gcm128_enc;
		functions.dec = mgr->gcm128_dec;
		functions.name = name;
	}
	free_mb_mgr(mgr);
}

static const char *ipsec_mb_prepare(void)
{
	crypto_must(pthread_once(&functions.once, functions_find) == 0);
	return functions.name;
}

/* A key may come from a process that is not our parent: it has not looked on our behalf. */
static void ready(void)
{
	crypto_must(ipsec_mb_prepare() != NULL);
}

static void ipsec_mb_expand(struct page_key *key)
{
	functions.pre(key->raw, (struct gcm_key_data *)key->expanded);
}

static void ipsec_mb_encrypt(const struct page_key *key, const uint8_t iv[PAGE_IV_BYTES],
			     const uint8_t *aad, const void *plain, void *ret_cipher,
			     uint8_t ret_mac[16])
{
	struct gcm_context_data ctx;

	ready();
	functions.enc((const struct gcm_key_data *)key->expanded, &ctx, ret_cipher, plain,
		      PAGE_BYTES, iv, aad, PAGE_AAD_BYTES, ret_mac, 16);
}

static bool ipsec_mb_decrypt(const struct page_key *key, const uint8_t iv[PAGE_IV_BYTES],
			     const uint8_t *aad, const void *cipher, void *ret_plain,
			     const uint8_t mac[16])
{
	struct gcm_context_data ctx;
	uint8_t got[16];

	ready();
	functions.dec((const struct gcm_key_data *)key->expanded, &ctx, ret_plain, cipher,
		      PAGE_BYTES, iv, aad, PAGE_AAD_BYTES, got, sizeof(got));
	return crypto_equal(got, mac, sizeof(got));
}

const struct page_engine page_engine_ipsec_mb = {
	.prepare = ipsec_mb_prepare,
	.expand = ipsec_mb_expand,
	.encrypt = ipsec_mb_encrypt,
	.decrypt = ipsec_mb_decrypt,
};
