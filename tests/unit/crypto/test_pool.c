/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The manners of the pool inside somebody else's process: nothing is allocated once it is ready, no
 * configuration file is read, no atexit() handler is left, slots are exclusive, and a child has all.
 */
#include "crypto/pool_priv.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "crypto/cmac.h"
#include "crypto/page_engine_priv.h"
#include "crypto/rsa3072.h"
#include "lib/tap.h"

static unsigned int allocations, exit_handlers;

static void *counted_malloc(size_t bytes, const char *file, int line)
{
	allocations++;
	return malloc(bytes);
}

static void *counted_realloc(void *p, size_t bytes, const char *file, int line)
{
	allocations++;
	return realloc(p, bytes);
}

static void counted_free(void *p, const char *file, int line) { free(p); }

/* Instead of libc's, for everything that is linked statically into this program. */
int atexit(void (*handler)(void))
{
	exit_handlers++;
	return 0;
}

static void use_all(bool *ret_ok)
{
	static struct page_key key;
	static uint8_t plain[4096], cipher[4096];
	uint8_t aad[PAGE_AAD_BYTES] = { 0 }, mac[16], raw[16] = { 1 };

	*ret_ok = page_key_init_engine(&key, raw, PAGE_ENGINE_OPENSSL);
	for (uint64_t version = 1; version < 50; version++) {
		page_encrypt(&key, version, aad, plain, cipher, mac);
		*ret_ok = *ret_ok && page_decrypt(&key, version, aad, cipher, plain, mac);
		cmac_aes128(raw, plain, 400, mac);
	}
}

/* Whoever opens this for reading waits for ever: a FIFO without a writer. */
static void test_no_config(void)
{
	char dir[] = "/tmp/swsgx-pool-XXXXXX", path[64];
	int status;
	pid_t pid;

	TAP_MUST(mkdtemp(dir) != NULL, "a directory");
	snprintf(path, sizeof(path), "%s/openssl.cnf", dir);
	TAP_MUST(mkfifo(path, 0600) == 0, "a FIFO");
	pid = fork();
	if (pid == 0) {
		uint8_t zero[384] = { 0 };
		bool ok;

		alarm(20);
		setenv("OPENSSL_CONF", path, 1);
		use_all(&ok);
		rsa3072_verify(zero, zero, zero);
		_exit(!ok);
	}
	waitpid(pid, &status, 0);
	TAP_CHECK(status == 0, "no configuration file is read");
	unlink(path);
	rmdir(dir);
}

static void test_claims(void)
{
	struct pool_slot *slots[64];
	unsigned int twice = 0;
	int status;
	pid_t pid;

	for (unsigned int i = 0; i < 64; i++) {
		slots[i] = pool_claim();
		for (unsigned int j = 0; j < i; j++)
			twice += slots[j] == slots[i];
	}
	TAP_CHECK(twice == 0, "64 claims are 64 slots");
	pid = fork();
	if (pid == 0) {
		bool ok;

		alarm(20);
		use_all(&ok);
		_exit(!ok);
	}
	waitpid(pid, &status, 0);
	TAP_CHECK(status == 0, "a child of a process that holds all of them has slots");
	for (unsigned int i = 0; i < 64; i++)
		pool_release(slots[i]);
}

int main(void)
{
	unsigned int before;
	bool ok;

	TAP_MUST(CRYPTO_set_mem_functions(counted_malloc, counted_realloc, counted_free) == 1,
		 "allocations are counted");
	test_no_config();
	pool_prepare();
	TAP_CHECK(allocations > 0, "getting ready allocates (%u times)", allocations);
	TAP_CHECK(exit_handlers == 0, "and leaves no atexit() handler");
	before = allocations;
	use_all(&ok);
	TAP_CHECK(ok, "pages and MACs");
	TAP_CHECK(allocations == before, "allocate nothing after that (%u)", allocations - before);
	test_claims();
	return tap_done();
}
