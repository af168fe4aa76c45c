/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Local attestation and sealing as enclaves do them: a report made for another enclave verifies
 * with that one's report key, and the keys depend on what the SDM says and on nothing else.
 *
 * With arguments it does one step, so that a script can compare runs: "keys ..." prints a key, "target", "report" and
 * "verify" are the parts of a local attestation.
 */
#include <openssl/cmac.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "lib/tap.h"

static uint64_t get_key(struct client_encl *e, struct sgx_keyrequest *kr, uint8_t key[16])
{
	struct encl_op op = { .nr = OP_EGETKEY, .arg = { (uintptr_t)kr, (uintptr_t)key } };

	return client_call(e, 0, &op, ENTRY_VDSO) ? ~0ull : op.ret;
}

static uint64_t get_report(struct client_encl *e, const struct sgx_targetinfo *target,
			   const uint8_t data[64], struct sgx_report *report)
{
	struct encl_op op = { .nr = OP_EREPORT,
			      .arg = { (uintptr_t)target, (uintptr_t)data, (uintptr_t)report } };

	return client_call(e, 0, &op, ENTRY_VDSO) ? ~0ull : op.ret;
}

static void target_of(const struct client_encl *e, struct sgx_targetinfo *t)
{
	memset(t, 0, sizeof(*t));
	memcpy(t->measurement, e->sig->enclavehash, 32);
	t->attributes = e->secs->attributes;
	t->attributes.flags |= SGX_ATTR_INIT;
	t->miscselect = e->secs->miscselect;
	t->configsvn = e->secs->configsvn;
	memcpy(t->configid, e->secs->configid, 64);
}

static bool cmac(const uint8_t key[16], const void *data, size_t bytes, uint8_t mac[16])
{
	size_t mac_bytes = 16;
	EVP_MAC *alg = EVP_MAC_fetch(NULL, "CMAC", NULL);
	EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(alg);
	OSSL_PARAM params[] = { OSSL_PARAM_construct_utf8_string("cipher", (char *)"AES-128-CBC",
								 0),
				OSSL_PARAM_construct_end() };
	bool ok = EVP_MAC_init(ctx, key, 16, params) == 1 &&
		  EVP_MAC_update(ctx, data, bytes) == 1 &&
		  EVP_MAC_final(ctx, mac, &mac_bytes, 16) == 1;

	EVP_MAC_CTX_free(ctx);
	EVP_MAC_free(alg);
	return ok;
}

/* As a target does it: the report key for the report's KEYID, then the MAC over the body. */
static bool verifies(struct client_encl *target, const struct sgx_report *r)
{
	struct sgx_keyrequest kr = { .keyname = SGX_KEY_REPORT };
	uint8_t key[16], mac[16];

	memcpy(kr.keyid, r->keyid, 32);
	return get_key(target, &kr, key) == 0 &&
	       cmac(key, r, offsetof(struct sgx_report, keyid), mac) && !memcmp(mac, r->mac, 16);
}

static void check_body(const struct client_encl *e, const struct client_conf *c,
		       const struct sgx_report *r, const uint8_t data[64], const char *name)
{
	uint8_t mrsigner[32];

	client_mrsigner(e->sig, mrsigner);
	TAP_CHECK(!memcmp(r->mrenclave, e->sig->enclavehash, 32), "%s: MRENCLAVE", name);
	TAP_CHECK(!memcmp(r->mrsigner, mrsigner, 32), "%s: MRSIGNER is the hash of the modulus",
		  name);
	TAP_CHECK(r->attributes.flags == (e->secs->attributes.flags | SGX_ATTR_INIT) &&
			  r->attributes.xfrm == e->secs->attributes.xfrm,
		  "%s: ATTRIBUTES, with INIT", name);
	TAP_CHECK(r->isvprodid == c->isvprodid && r->isvsvn == c->isvsvn &&
			  r->miscselect == c->miscselect,
		  "%s: ISVPRODID ISVSVN MISCSELECT", name);
	TAP_CHECK(!memcmp(r->reportdata, data, 64), "%s: REPORTDATA", name);
	if (c->attributes & SGX_ATTR_KSS)
		TAP_CHECK(!memcmp(r->configid, c->configid, 64) && r->configsvn == c->configsvn &&
				  !memcmp(r->isvfamilyid, c->isvfamilyid, 16) &&
				  !memcmp(r->isvextprodid, c->isvextprodid, 16),
			  "%s: CONFIGID CONFIGSVN ISVFAMILYID ISVEXTPRODID", name);
}

static void check_reports(const struct client_conf *a_conf, const struct client_conf *b_conf,
			  const char *name)
{
	struct client_encl a, b;
	struct sgx_targetinfo t;
	struct sgx_report r, spoiled;
	uint8_t data[64] = "report data";

	TAP_MUST(!client_create(&a, a_conf) && !client_create(&b, b_conf), "%s: two enclaves",
		 name);
	target_of(&b, &t);
	memset(&r, 0, sizeof(r));
	TAP_CHECK(get_report(&a, &t, data, &r) == 0, "%s: EREPORT", name);
	check_body(&a, a_conf, &r, data, name);
	TAP_CHECK(verifies(&b, &r), "%s: the target verifies it", name);
	TAP_CHECK(!verifies(&a, &r), "%s: nobody else can", name);
	spoiled = r;
	spoiled.isvsvn ^= 1;
	TAP_CHECK(!verifies(&b, &spoiled), "%s: a changed body does not verify", name);
	t.attributes.flags ^= SGX_ATTR_DEBUG;
	get_report(&a, &t, data, &r);
	TAP_CHECK(!verifies(&b, &r), "%s: nor does one for other attributes", name);
	client_destroy(&a);
	client_destroy(&b);
}

static void seal_request(struct sgx_keyrequest *kr, uint16_t policy)
{
	memset(kr, 0, sizeof(*kr));
	kr->keyname = SGX_KEY_SEAL;
	kr->keypolicy = policy;
	kr->attributemask.flags = SGX_ATTR_INIT | SGX_ATTR_DEBUG;
	kr->keyid[0] = 0x5a;
}

/* One seal key of a fresh enclave. */
static uint64_t seal_of(const struct client_conf *c, uint16_t policy, uint16_t isvsvn,
			uint8_t key[16])
{
	struct client_encl e;
	struct sgx_keyrequest kr;
	uint64_t ret;

	if (client_create(&e, c))
		return ~1ull;
	seal_request(&kr, policy);
	kr.isvsvn = isvsvn;
	ret = get_key(&e, &kr, key);
	client_destroy(&e);
	return ret;
}

static bool same_key(const struct client_conf *a, const struct client_conf *b, uint16_t policy)
{
	uint8_t ka[16] = { 1 }, kb[16] = { 2 };

	if (seal_of(a, policy, 0, ka) || seal_of(b, policy, 0, kb))
		return false;
	return !memcmp(ka, kb, 16);
}

static void check_policies(void)
{
	const uint16_t by_enclave = SGX_KEYPOLICY_MRENCLAVE, by_signer = SGX_KEYPOLICY_MRSIGNER;
	struct client_conf base = { .isvprodid = 1, .isvsvn = 2 }, other = base, c;

	other.salt = 1;
	TAP_CHECK(same_key(&base, &base, by_enclave), "two loads of one enclave have one key");
	TAP_CHECK(!same_key(&base, &other, by_enclave),
		  "MRENCLAVE policy: another enclave, another key");
	TAP_CHECK(same_key(&base, &other, by_signer),
		  "MRSIGNER policy: the same signer, the same key");
	c = base, c.key = 1;
	TAP_CHECK(!same_key(&base, &c, by_signer), "MRSIGNER policy: another signer, another key");
	c = base, c.isvprodid = 9;
	TAP_CHECK(!same_key(&base, &c, by_signer), "another ISVPRODID, another key");
	c = base, c.isvsvn = 3;
	TAP_CHECK(same_key(&base, &c, by_signer), "a newer ISVSVN derives the key of the older");
	c = base, c.attributes = SGX_ATTR_DEBUG;
	TAP_CHECK(!same_key(&base, &c, by_signer), "a debug enclave has another key");
}

static void check_kss(void)
{
	struct client_conf base = { .attributes = SGX_ATTR_KSS,
				    .configid = "one",
				    .configsvn = 2,
				    .isvfamilyid = "family",
				    .isvextprodid = "product" };
	struct client_conf c = base;
	const uint16_t signer = SGX_KEYPOLICY_MRSIGNER;

	c.configid[0] = 'O';
	TAP_CHECK(same_key(&base, &c, signer), "KSS: CONFIGID matters not without its policy");
	TAP_CHECK(!same_key(&base, &c, signer | SGX_KEYPOLICY_CONFIGID), "KSS: CONFIGID policy");
	c = base, c.isvfamilyid[0] = 'F';
	TAP_CHECK(!same_key(&base, &c, signer | SGX_KEYPOLICY_ISVFAMILYID),
		  "KSS: ISVFAMILYID policy");
	c = base, c.isvextprodid[0] = 'P';
	TAP_CHECK(!same_key(&base, &c, signer | SGX_KEYPOLICY_ISVEXTPRODID),
		  "KSS: ISVEXTPRODID policy");
	c = base, c.isvprodid = 7;
	TAP_CHECK(same_key(&base, &c, signer | SGX_KEYPOLICY_NOISVPRODID),
		  "KSS: NOISVPRODID policy");
}

static void check_errors(void)
{
	struct client_conf conf = { .isvsvn = 2 };
	struct client_encl e;
	struct sgx_keyrequest kr;
	uint8_t key[16];

	TAP_MUST(!client_create(&e, &conf), "an enclave for wrong requests");
	seal_request(&kr, 1);
	kr.isvsvn = 3;
	TAP_CHECK(get_key(&e, &kr, key) == SGX_INVALID_ISVSVN, "an ISVSVN above its own: 64");
	seal_request(&kr, 1);
	kr.keyname = 77;
	TAP_CHECK(get_key(&e, &kr, key) == SGX_INVALID_KEYNAME, "an unknown key: 256");
	seal_request(&kr, 1);
	memset(kr.cpusvn, 0xff, 16);
	TAP_CHECK(get_key(&e, &kr, key) == SGX_INVALID_CPUSVN, "a CPUSVN above the CPU's: 32");
	seal_request(&kr, 1);
	kr.keyname = SGX_KEY_PROVISION;
	TAP_CHECK(get_key(&e, &kr, key) == SGX_INVALID_ATTRIBUTE, "PROVISION without the bit: 2");
	kr.keyname = SGX_KEY_EINITTOKEN;
	TAP_CHECK(get_key(&e, &kr, key) == SGX_INVALID_ATTRIBUTE, "EINITTOKEN without the bit: 2");
	client_destroy(&e);
}

static void check_provision(void)
{
	struct client_conf conf = { .provision = true };
	struct client_encl e;
	struct sgx_keyrequest kr;
	uint8_t key[16], seal[16];
	int err = client_create(&e, &conf);

	TAP_MUST(!err, "an enclave with PROVISIONKEY and the device's leave (%s)",
		 err ? e.failed : "built");
	seal_request(&kr, 0);
	kr.keyname = SGX_KEY_PROVISION;
	TAP_CHECK(get_key(&e, &kr, key) == 0, "PROVISION key");
	kr.keyname = SGX_KEY_PROVISION_SEAL;
	TAP_CHECK(get_key(&e, &kr, seal) == 0 && memcmp(key, seal, 16),
		  "PROVISION_SEAL key, another");
	client_destroy(&e);
}

/* ---- for other processes, and other runs ------------------------------------------------------------------ */

/* The two who attest to each other: different enclaves of different signers. */
static const struct client_conf prover = { .isvprodid = 3, .isvsvn = 4 };
static const struct client_conf verifier = { .key = 1, .salt = 9, .isvprodid = 7 };

static bool in_file(const char *path, void *bytes, size_t nr, bool write)
{
	FILE *file = fopen(path, write ? "wb" : "rb");
	bool ok = file && (write ? fwrite(bytes, nr, 1, file) : fread(bytes, nr, 1, file)) == 1;

	return file && !fclose(file) && ok;
}

static int write_target(const char *path)
{
	struct sgx_targetinfo t;
	struct client_encl e;

	if (client_create(&e, &verifier))
		return 1;
	target_of(&e, &t);
	client_destroy(&e);
	return !in_file(path, &t, sizeof(t), true);
}

static int write_report(const char *target, const char *path)
{
	const uint8_t data[64] = "from another process";
	struct sgx_targetinfo t;
	struct sgx_report r;
	struct client_encl e;

	memset(&r, 0, sizeof(r));
	if (!in_file(target, &t, sizeof(t), false) || client_create(&e, &prover) ||
	    get_report(&e, &t, data, &r))
		return 1;
	client_destroy(&e);
	return !in_file(path, &r, sizeof(r), true);
}

/* 0 when it verifies; 3 when it does not. */
static int verify_report(const char *path)
{
	struct sgx_report r;
	struct client_encl e;
	bool ok;

	if (!in_file(path, &r, sizeof(r), false) || client_create(&e, &verifier))
		return 1;
	ok = verifies(&e, &r) && r.isvprodid == prover.isvprodid;
	client_destroy(&e);
	return ok ? 0 : 3;
}

static int wait_for(pid_t pid)
{
	int status = -1;

	waitpid(pid, &status, 0);
	return status;
}

/* Each does its part in a child of its own, the files between them. */
static void check_processes(void)
{
	char folder[] = "/tmp/attestXXXXXX", target[64], report[64];
	pid_t pid;

	TAP_MUST(mkdtemp(folder), "a folder");
	snprintf(target, sizeof(target), "%s/target", folder);
	snprintf(report, sizeof(report), "%s/report", folder);
	pid = fork();
	if (!pid)
		_exit(write_target(target));
	TAP_CHECK(wait_for(pid) == 0, "a process says who its enclave is");
	pid = fork();
	if (!pid)
		_exit(write_report(target, report));
	TAP_CHECK(wait_for(pid) == 0, "another reports to it");
	pid = fork();
	if (!pid)
		_exit(verify_report(report));
	TAP_CHECK(wait_for(pid) == 0, "a third, with the same enclave, verifies the report");
	unlink(target);
	unlink(report);
	rmdir(folder);
}

/* keys [mrsigner | provision] [debug] [salt] [signer] */
static int print_key(int argc, char **argv)
{
	struct client_conf conf = { .isvprodid = 1 };
	uint16_t policy = SGX_KEYPOLICY_MRENCLAVE;
	struct sgx_keyrequest kr;
	struct client_encl e;
	uint8_t key[16];

	for (int i = 2; i < argc; i++) {
		if (!strcmp(argv[i], "mrsigner"))
			policy = SGX_KEYPOLICY_MRSIGNER;
		conf.provision |= !strcmp(argv[i], "provision");
		conf.attributes |= strcmp(argv[i], "debug") ? 0 : SGX_ATTR_DEBUG;
		conf.salt += !strcmp(argv[i], "salt");
		conf.key += !strcmp(argv[i], "signer");
	}
	seal_request(&kr, conf.provision ? 0 : policy);
	if (conf.provision)
		kr.keyname = SGX_KEY_PROVISION;
	if (client_create(&e, &conf) || get_key(&e, &kr, key))
		return 1;
	client_destroy(&e);
	for (int i = 0; i < 16; i++)
		printf("%02x", key[i]);
	printf("\n");
	return 0;
}

int main(int argc, char **argv)
{
	struct client_conf plain = { .isvprodid = 11, .isvsvn = 22 };
	struct client_conf salted = { .isvprodid = 11, .isvsvn = 22, .salt = 3 };
	struct client_conf debug = { .attributes = SGX_ATTR_DEBUG, .miscselect = 1 };
	struct client_conf kss = { .attributes = SGX_ATTR_KSS,
				   .configid = "config id",
				   .configsvn = 5,
				   .isvfamilyid = "family id",
				   .isvextprodid = "ext prod id" };

	if (argc > 1 && !strcmp(argv[1], "keys"))
		return print_key(argc, argv);
	if (argc > 2 && !strcmp(argv[1], "target"))
		return write_target(argv[2]);
	if (argc > 3 && !strcmp(argv[1], "report"))
		return write_report(argv[2], argv[3]);
	if (argc > 2 && !strcmp(argv[1], "verify"))
		return verify_report(argv[2]);
	check_reports(&plain, &salted, "production");
	check_reports(&debug, &plain, "debug to production");
	check_reports(&plain, &debug, "production to debug");
	check_reports(&kss, &plain, "KSS");
	check_reports(&plain, &kss, "to KSS");
	check_policies();
	check_kss();
	check_errors();
	check_provision();
	check_processes();
	return tap_done();
}
