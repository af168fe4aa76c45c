/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The example's enclave as ordinary code: its border checks, its store under many threads,
 * sealing and opening.  The processor is replaced: entering is a call, keys come from a secret
 * that a test can change.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "enclave/keys.h"
#include "host/client.h"
#include "host/workload.h"
#include "lib/tap.h"

#define RANGE_BYTES (16u << 20)
#define HEAP_OFF    (1u << 20)

void enclave_main(uint64_t request_la);

/* ELRANGE.  The enclave knows it by the symbol at its begin; its code and data are elsewhere here. */
extern uint8_t range[RANGE_BYTES] __asm__("kv_layout");
uint8_t range[RANGE_BYTES] __attribute__((aligned(4096), visibility("hidden")));

/* What the processor would know; and EGETKEY fails on request. */
static uint8_t platform_secret;
static bool key_refused;

bool loader_enter(const struct loader *loader, unsigned int thread, struct kv_request *request,
		  struct sgx_enclave_run *run)
{
	enclave_main((uintptr_t)request);
	return true;
}

void loader_print_exception(const struct loader *loader, const struct sgx_enclave_run *run) {}

void keys_report_self(const uint8_t data[64], struct sgx_report *ret_report)
{
	memset(ret_report, 0, sizeof(*ret_report));
	ret_report->isvsvn = 7;
	memcpy(ret_report->reportdata, data, 64);
}

bool keys_report_verify(const struct sgx_report *report) { return report->mrenclave[0] == 0; }

bool keys_seal(const struct kv_seal_header *header, uint8_t ret_key[16])
{
	for (unsigned int i = 0; i < 16; i++)
		ret_key[i] = header->keyid[i] ^ header->keyid[16 + i] ^ platform_secret;
	ret_key[0] ^= (uint8_t)header->isvsvn;
	ret_key[1] ^= header->cpusvn[0];
	return !key_refused && header->isvsvn == 7;
}

bool keys_random(void *ret_bytes, uint32_t bytes) { return getentropy(ret_bytes, bytes) == 0; }

bool keys_accept(uint64_t la) { return false; }

static uint64_t at(uint64_t off) { return (uintptr_t)range + off; }

static uint32_t raw_call(struct kv_request request)
{
	request.status = KV_STATUS_NR;
	enclave_main((uintptr_t)&request);
	return request.status;
}

/*
 * The enclave's state is its memory; a fresh enclave is a fresh process.  So each test runs in a
 * child, and hands back its count.
 */
static void in_child(void (*test)(void))
{
	unsigned int counts[2];
	int pipe_fds[2];
	pid_t pid;

	if (pipe(pipe_fds) < 0) {
		printf("Bail out! no pipe\n");
		exit(1);
	}
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		struct kv_layout *layout = (void *)range;

		layout->magic = KV_LAYOUT_MAGIC;
		layout->size = RANGE_BYTES;
		layout->heap_off = HEAP_OFF;
		layout->heap_bytes = RANGE_BYTES - HEAP_OFF;
		test();
		fflush(stdout);
		counts[0] = tap_nr;
		counts[1] = tap_failed;
		_exit(write(pipe_fds[1], counts, sizeof(counts)) != sizeof(counts));
	}
	close(pipe_fds[1]);
	if (read(pipe_fds[0], counts, sizeof(counts)) != sizeof(counts)) {
		printf("Bail out! a child died\n");
		exit(1);
	}
	tap_nr = counts[0];
	tap_failed = counts[1];
	close(pipe_fds[0]);
	waitpid(pid, NULL, 0);
}

static const char file[] = "test_example_store.sealed";

static void test_border(void)
{
	static struct client client;
	uint8_t key[KV_KEY_MAX] = "key", value[KV_VALUE_MAX] = "value", got[KV_VALUE_MAX];
	struct kv_request put = { .op = KV_PUT,
				  .key = (uintptr_t)key,
				  .key_bytes = 3,
				  .value = (uintptr_t)value,
				  .value_bytes = 5 };
	struct kv_request spoilt;
	struct kv_request *inside;
	uint32_t bytes = 0;

	TAP_CHECK(raw_call(put) == KV_BAD_STATE, "nothing before KV_INIT");
	TAP_CHECK(client_init(&client) == KV_OK, "KV_INIT");
	TAP_CHECK(client_init(&client) == KV_BAD_STATE, "only once");
	TAP_CHECK(raw_call(put) == KV_OK, "put");
	TAP_CHECK(client_get(&client, key, 3, got, &bytes) == KV_OK && bytes == 5 &&
			  !memcmp(got, "value", 5),
		  "get");

#define REFUSED(name, ...)                                                       \
	do {                                                                     \
		spoilt = put;                                                    \
		__VA_ARGS__;                                                     \
		TAP_CHECK(raw_call(spoilt) == KV_BAD_REQUEST, "refused: " name); \
	} while (0)
	REFUSED("a value in the enclave", spoilt.value = at(HEAP_OFF));
	REFUSED("a value that ends in the enclave", spoilt.value = at(0) - 4);
	REFUSED("a value that begins at the enclave's last byte",
		spoilt.value = at(RANGE_BYTES) - 1);
	REFUSED("a value that wraps around", spoilt.value = UINT64_MAX - 2);
	REFUSED("a value around the whole enclave", spoilt.value = 4096;
		spoilt.value_bytes = UINT32_MAX);
	REFUSED("a key in the enclave", spoilt.key = at(64));
	REFUSED("a key that ends in the enclave", spoilt.key = at(0) - 2);
	REFUSED("a key that wraps around", spoilt.key = UINT64_MAX - 1);
	REFUSED("no key", spoilt.key_bytes = 0);
	REFUSED("a key that is too long", spoilt.key_bytes = KV_KEY_MAX + 1);
	REFUSED("a value that is too long", spoilt.value_bytes = KV_VALUE_MAX + 1);
	REFUSED("no operation", spoilt.op = 99);
	REFUSED("a get with too little room", spoilt.op = KV_GET; spoilt.value_bytes = 4);
#undef REFUSED

	inside = (void *)(range + RANGE_BYTES - sizeof(*inside) / 2 - 16);
	*inside = put;
	inside->status = KV_STATUS_NR;
	enclave_main((uintptr_t)inside);
	TAP_CHECK(inside->status == KV_STATUS_NR, "a request in the enclave isn't even answered");
	TAP_CHECK(client_delete(&client, key, 3) == KV_OK, "delete");
	TAP_CHECK(client_delete(&client, key, 3) == KV_NOT_FOUND, "only once");
	TAP_CHECK(client_get(&client, key, 3, got, &bytes) == KV_NOT_FOUND, "it is gone");
}

static void test_full(void)
{
	static struct client client;
	uint8_t value[KV_VALUE_MAX], got[KV_VALUE_MAX];
	unsigned int n, wrong = 0;
	uint32_t bytes, entries;

	client_init(&client);
	memset(value, 1, sizeof(value));
	for (n = 0; client_put(&client, &n, sizeof(n), value, sizeof(value)) == KV_OK; n++)
		;
	TAP_CHECK(client_put(&client, &n, sizeof(n), value, sizeof(value)) == KV_FULL,
		  "a full heap says so (%u entries)", n);
	TAP_CHECK(client_count(&client, &entries) == KV_OK && entries == n, "and keeps its count");
	for (unsigned int i = 0; i < n; i++)
		wrong += client_get(&client, &i, sizeof(i), got, &bytes) != KV_OK ||
			 bytes != sizeof(value) || memcmp(got, value, bytes) != 0;
	TAP_CHECK(wrong == 0, "and all its entries");
	for (unsigned int i = 0; i < n; i++)
		wrong += client_delete(&client, &i, sizeof(i)) != KV_OK;
	for (unsigned int i = 0; i < n; i++)
		wrong += client_put(&client, &i, sizeof(i), value, sizeof(value)) != KV_OK;
	TAP_CHECK(wrong == 0, "and what is deleted can be used again");
}

struct worker {
	pthread_t thread;
	struct workload *work;
	struct client client;
	unsigned int threads;
	uint64_t state;
};

static void *work(void *arg)
{
	struct worker *me = arg;

	workload_fill(me->work, &me->client, me->client.thread, me->threads);
	workload_run(me->work, &me->client, me->client.thread, me->threads);
	workload_verify(me->work, &me->client, me->client.thread, me->threads, &me->state);
	return NULL;
}

#define KEYS 12000u
#define OPS  60000u

/* All of the workload in so many threads: what it answers, and the state's digest. */
static bool run_workload(unsigned int threads, uint64_t ret_digests[2])
{
	struct worker workers[KV_THREADS_MAX];
	struct client client = { 0 };
	struct workload load;
	bool ok;

	client_init(&client);
	workload_init(&load, 42, KEYS, OPS);
	for (unsigned int i = 0; i < threads; i++) {
		workers[i] =
			(struct worker){ .work = &load, .client.thread = i, .threads = threads };
		pthread_create(&workers[i].thread, NULL, work, &workers[i]);
	}
	ret_digests[1] = 0;
	for (unsigned int i = 0; i < threads; i++) {
		pthread_join(workers[i].thread, NULL);
		ret_digests[1] += workers[i].state;
	}
	ret_digests[0] = load.answer;
	ok = load.failures == 0;
	workload_fini(&load);
	return ok;
}

/* What the run with one thread found. */
static uint64_t first[2];

static void test_one_thread(void)
{
	FILE *out = fopen("test_example_store.digests", "w");

	TAP_CHECK(run_workload(1, first), "one thread: every answer is right");
	TAP_CHECK(out && fwrite(first, sizeof(first), 1, out) == 1 && fclose(out) == 0, "noted");
}

static void test_eight_threads(void)
{
	FILE *in = fopen("test_example_store.digests", "r");
	uint64_t digests[2], entries_before;
	struct client client = { 0 };
	uint64_t bytes = 0;
	uint32_t entries = 0;
	int r;

	TAP_MUST(in && fread(first, sizeof(first), 1, in) == 1 && fclose(in) == 0, "what one said");
	TAP_CHECK(run_workload(8, digests), "eight threads: every answer is right");
	TAP_CHECK(digests[0] == first[0] && digests[1] == first[1], "and the same as with one");
	client_count(&client, &entries);
	entries_before = entries;
	r = client_seal(&client, file, &bytes);
	TAP_CHECK(r == 0 && bytes > entries_before * 128, "sealed: %llu bytes",
		  (unsigned long long)bytes);
	TAP_CHECK(client_count(&client, &entries) == KV_OK && entries == entries_before,
		  "and goes on as before");
}

static void check_opens(void)
{
	struct client client = { 0 };
	struct workload load;
	uint64_t state;

	workload_init(&load, 42, KEYS, OPS);
	workload_fill(&load, NULL, 0, 1);
	workload_run(&load, NULL, 0, 1);
	client_init(&client);
	TAP_CHECK(client_open(&client, file) == 0, "opened");
	workload_verify(&load, &client, 0, 1, &state);
	TAP_CHECK(load.failures == 0, "each entry is as it was sealed");
	TAP_CHECK(client_open(&client, file) == KV_BAD_STATE, "a store with entries opens nothing");
}

static void test_other_platform(void)
{
	struct client client = { 0 };
	uint8_t got[KV_VALUE_MAX];
	uint32_t bytes;

	client_init(&client);
	platform_secret = 1;
	TAP_CHECK(client_open(&client, file) == KV_NOT_AUTHENTIC, "another platform can't open it");
	TAP_CHECK(client_get(&client, "k", 1, got, &bytes) == KV_BAD_STATE,
		  "and the spoilt store can't be used");
}

static void test_key_refused(void)
{
	struct client client = { 0 };
	uint64_t bytes;

	client_init(&client);
	key_refused = true;
	TAP_CHECK(client_open(&client, file) == KV_NO_KEY, "EGETKEY refuses: told");
	TAP_CHECK(client_seal(&client, "test_example_store.not", &bytes) == KV_NO_KEY,
		  "likewise for sealing");
	TAP_CHECK(access("test_example_store.not", F_OK) < 0 &&
			  access("test_example_store.not.new", F_OK) < 0,
		  "which leaves no file");
	key_refused = false;
	TAP_CHECK(client_put(&client, "k", 1, "v", 1) == KV_OK, "the store is still of use");
}

/* One byte of the file changed, or the file cut, by what the parent chose. */
static off_t spoil_at;
static bool spoil_cut;

static void test_spoilt_file(void)
{
	static const char spoilt[] = "test_example_store.spoilt";
	struct client client = { 0 };
	FILE *in = fopen(file, "r"), *out = fopen(spoilt, "w");
	int c, r;

	for (off_t i = 0; (c = getc(in)) != EOF && !(spoil_cut && i == spoil_at); i++)
		putc(i == spoil_at ? c ^ 0x10 : c, out);
	fclose(in);
	fclose(out);
	client_init(&client);
	r = client_open(&client, spoilt);
	TAP_CHECK(r != 0, "refused: %s at byte %lld (%s)", spoil_cut ? "cut" : "changed",
		  (long long)spoil_at, client_strerror(r));
	unlink(spoilt);
}

static void test_spoilt_files(void)
{
	/* In the header, field by field; in a chunk's head; in its data; at the end. */
	static const off_t places[] = { 0,  8,  12, 16, 32,  63,  64,  75,
					80, 88, 92, 96, 104, 119, 120, 60000 };
	struct stat st = { 0 };

	TAP_MUST(stat(file, &st) == 0, "there is a file");
	for (unsigned int i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		spoil_at = places[i];
		in_child(test_spoilt_file);
	}
	spoil_at = st.st_size - 1;
	in_child(test_spoilt_file);
	spoil_cut = true;
	in_child(test_spoilt_file);
	spoil_at = 88;
	in_child(test_spoilt_file);
	spoil_at = 40;
	in_child(test_spoilt_file);
}

int main(void)
{
	in_child(test_border);
	in_child(test_full);
	in_child(test_one_thread);
	in_child(test_eight_threads);
	in_child(check_opens);
	in_child(test_other_platform);
	in_child(test_key_refused);
	test_spoilt_files();
	unlink(file);
	unlink("test_example_store.digests");
	return tap_done();
}
