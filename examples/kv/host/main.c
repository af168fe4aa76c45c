/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * kv: a key-value store in an SGX enclave, and a workload for it.
 *
 * The first run fills the store, works on it, checks all of it and seals it to a file; a second
 * run opens the file and checks all of it again.  What it prints as answer and state depends on
 * the workload alone: not on the size of the EPC, the number of threads, or the signals that it
 * gets.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client.h"
#include "image.h"
#include "loader.h"
#include "sign.h"
#include "timer.h"
#include "workload.h"

enum { EXIT_WRONG = 1, EXIT_USAGE = 2, EXIT_NO_SGX = 3, EXIT_NOT_OPENED = 5 };

#define HEAP_MIN (1u << 20)
#define HEAP_MAX (1ull << 36)

struct options {
	struct image_options image;
	const char *key;
	const char *seal;
	const char *open;
	uint64_t seed;
	uint64_t ops;
	uint32_t keys;
	unsigned int timer_hz;
	int crash; /* -1: don't */
	bool json;
	bool quiet;
};

enum phase { PHASE_LOAD, PHASE_FILL, PHASE_WORK, PHASE_SEAL, PHASE_OPEN, PHASE_VERIFY, PHASE_NR };
static const char *const phase_names[PHASE_NR] = {
	"load", "fill", "work", "seal", "open", "verify"
};

struct run {
	struct options options;
	struct image image;
	struct sgx_sigstruct sig;
	struct loader loader;
	struct workload work;
	struct client clients[KV_THREADS_MAX];
	struct {
		bool done;
		double seconds;
		double cpu_seconds; /* of all threads */
	} phases[PHASE_NR];
	uint64_t state;
	uint64_t ticks;
	uint64_t sealed_bytes;
	uint32_t entries;
};

static const char usage[] =
	"usage: kv [OPTIONS]\n"
	"  --heap SIZE     the enclave's heap, with K, M or G (64M)\n"
	"  --threads N     threads in the enclave (1)\n"
	"  --keys N        keys to use (as many as fill the heap)\n"
	"  --ops N         operations after filling (two for each key)\n"
	"  --seed N        another workload (1)\n"
	"  --seal FILE     seal the store to FILE at the end\n"
	"  --open FILE     open FILE and check it, instead of filling and working\n"
	"  --timer HZ      be interrupted by a timer signal\n"
	"  --edmm          let the kernel add the heap when it is used (SGX2)\n"
	"  --debug         a debug enclave\n"
	"  --crash N       raise exception N (0, 1, 2) in the enclave, and be told of it\n"
	"  --enclave FILE  the enclave (beside this program)\n"
	"  --key FILE      the signer's key (beside this program)\n"
	"  --json          print one line of JSON\n"
	"  --quiet         don't show what is going on\n"
	"Exit status: 0; 1 wrong answers; 2 usage; 3 no SGX; 4 an exception in the enclave;\n"
	"5 the file can't be opened by this enclave on this machine.\n";

static uint64_t parse_number(const char *text, const char *option, uint64_t min, uint64_t max,
			     bool size)
{
	unsigned int shift = 0;
	uint64_t n;
	char *end;

	errno = 0;
	n = strtoull(text, &end, 0);
	if (size && *end && end != text) {
		shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 64;
		end++;
	}
	if (errno || end == text || *end || *text == '-' || shift == 64 || n > max >> shift ||
	    n << shift < min) {
		fprintf(stderr, "kv: %s %s: not a number from %" PRIu64 " to %" PRIu64 "\n", option,
			text, min, max);
		exit(EXIT_USAGE);
	}
	return n << shift;
}

enum {
	OPT_HEAP = 256,
	OPT_THREADS,
	OPT_KEYS,
	OPT_OPS,
	OPT_SEED,
	OPT_SEAL,
	OPT_OPEN,
	OPT_TIMER,
	OPT_EDMM,
	OPT_DEBUG,
	OPT_CRASH,
	OPT_ENCLAVE,
	OPT_KEY,
	OPT_JSON,
	OPT_QUIET,
	OPT_HELP
};

static const struct option long_options[] = {
	{ "heap", required_argument, NULL, OPT_HEAP },
	{ "threads", required_argument, NULL, OPT_THREADS },
	{ "keys", required_argument, NULL, OPT_KEYS },
	{ "ops", required_argument, NULL, OPT_OPS },
	{ "seed", required_argument, NULL, OPT_SEED },
	{ "seal", required_argument, NULL, OPT_SEAL },
	{ "open", required_argument, NULL, OPT_OPEN },
	{ "timer", required_argument, NULL, OPT_TIMER },
	{ "edmm", no_argument, NULL, OPT_EDMM },
	{ "debug", no_argument, NULL, OPT_DEBUG },
	{ "crash", required_argument, NULL, OPT_CRASH },
	{ "enclave", required_argument, NULL, OPT_ENCLAVE },
	{ "key", required_argument, NULL, OPT_KEY },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "quiet", no_argument, NULL, OPT_QUIET },
	{ "help", no_argument, NULL, OPT_HELP },
	{ NULL, 0, NULL, 0 },
};

static void set_option(struct options *o, int option)
{
	switch (option) {
	case OPT_HEAP:
		o->image.heap_bytes = parse_number(optarg, "--heap", HEAP_MIN, HEAP_MAX, true);
		o->image.heap_bytes &= ~(uint64_t)(SGX_PAGE - 1);
		break;
	case OPT_THREADS:
		o->image.threads =
			(unsigned int)parse_number(optarg, "--threads", 1, KV_THREADS_MAX, false);
		break;
	case OPT_KEYS:
		o->keys = (uint32_t)parse_number(optarg, "--keys", 1, UINT32_MAX, false);
		break;
	case OPT_OPS:
		o->ops = parse_number(optarg, "--ops", 0, UINT64_MAX, false);
		break;
	case OPT_SEED:
		o->seed = parse_number(optarg, "--seed", 0, UINT64_MAX, false);
		break;
	case OPT_TIMER:
		o->timer_hz = (unsigned int)parse_number(optarg, "--timer", 1, 100000, false);
		break;
	case OPT_CRASH:
		o->crash = (int)parse_number(optarg, "--crash", 0, KV_CRASH_WRITE_CODE, false);
		break;
	case OPT_SEAL:
		o->seal = optarg;
		break;
	case OPT_OPEN:
		o->open = optarg;
		break;
	case OPT_ENCLAVE:
		o->image.path = optarg;
		break;
	case OPT_KEY:
		o->key = optarg;
		break;
	case OPT_EDMM:
		o->image.edmm = true;
		break;
	case OPT_DEBUG:
		o->image.debug = true;
		break;
	case OPT_JSON:
		o->json = true;
		break;
	case OPT_QUIET:
		o->quiet = true;
		break;
	case OPT_HELP:
		fputs(usage, stdout);
		exit(0);
	default:
		fputs(usage, stderr);
		exit(EXIT_USAGE);
	}
}

/* A file in the directory of this program. */
static const char *beside_program(const char *name)
{
	char self[PATH_MAX], *path;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[n < 0 ? 0 : n] = '\0';
	if (asprintf(&path, "%s/%s", dirname(self), name) < 0)
		abort();
	return path;
}

static void parse_options(struct options *o, int argc, char **argv)
{
	int option;

	*o = (struct options){ .seed = 1, .ops = UINT64_MAX, .crash = -1 };
	o->image.heap_bytes = 64u << 20;
	o->image.threads = 1;
	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1)
		set_option(o, option);
	if (optind != argc) {
		fputs(usage, stderr);
		exit(EXIT_USAGE);
	}
	if (!o->image.path)
		o->image.path = beside_program("kv-enclave.elf");
	if (!o->key)
		o->key = beside_program("dev-key.pem");
	if (!o->keys)
		o->keys = workload_keys(o->image.heap_bytes);
	if (o->ops == UINT64_MAX)
		o->ops = 2ull * o->keys;
}

struct moment {
	double wall;
	double cpu;
};

static double seconds_of(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static struct moment now(void)
{
	return (struct moment){ seconds_of(CLOCK_MONOTONIC), seconds_of(CLOCK_PROCESS_CPUTIME_ID) };
}

static void phase_done(struct run *run, enum phase phase, struct moment since)
{
	run->phases[phase].done = true;
	run->phases[phase].seconds = now().wall - since.wall;
	run->phases[phase].cpu_seconds = now().cpu - since.cpu;
	if (!run->options.quiet)
		fprintf(stderr, "kv: %-6s %8.3f s\n", phase_names[phase],
			run->phases[phase].seconds);
}

struct worker {
	pthread_t thread;
	struct run *run;
	unsigned int nr;
	enum phase phase;
	uint64_t state;
};

static void *work(void *arg)
{
	struct worker *me = arg;
	struct run *run = me->run;
	struct client *client = &run->clients[me->nr];
	unsigned int threads = run->options.image.threads;

	timer_join();
	timer_block(false);
	if (me->phase == PHASE_FILL)
		workload_fill(&run->work, client, me->nr, threads);
	else if (me->phase == PHASE_WORK)
		workload_run(&run->work, client, me->nr, threads);
	else
		workload_verify(&run->work, client, me->nr, threads, &me->state);
	timer_leave();
	return NULL;
}

/* All threads at once, each with its share. */
static void in_parallel(struct run *run, enum phase phase)
{
	struct worker workers[KV_THREADS_MAX];
	struct moment since = now();

	timer_block(true);
	for (unsigned int i = 0; i < run->options.image.threads; i++) {
		workers[i] = (struct worker){ .run = run, .nr = i, .phase = phase };
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) {
			fprintf(stderr, "kv: cannot start thread %u\n", i);
			exit(EXIT_WRONG);
		}
	}
	for (unsigned int i = 0; i < run->options.image.threads; i++) {
		pthread_join(workers[i].thread, NULL);
		run->state += workers[i].state;
	}
	timer_block(false);
	phase_done(run, phase, since);
}

static int build(struct run *run)
{
	struct moment since = now();
	enum loader_result result;

	if (!image_open(&run->image, &run->options.image) ||
	    !sign_image(&run->image, run->options.key, &run->sig))
		return EXIT_WRONG;
	result = loader_open(&run->loader, &run->image, &run->sig);
	if (result != LOADER_OK)
		return result == LOADER_NO_SGX ? EXIT_NO_SGX : EXIT_WRONG;
	for (unsigned int i = 0; i < run->options.image.threads; i++)
		run->clients[i] = (struct client){ .loader = &run->loader, .thread = i };
	phase_done(run, PHASE_LOAD, since);
	return 0;
}

/* The enclave says, in a report that it has verified itself, that it is the one that we signed. */
static int check_report(struct run *run)
{
	struct sgx_report report;
	uint8_t data[64];
	enum kv_status status;

	memset(data, 0x5a, sizeof(data));
	status = client_report(&run->clients[0], data, &report);
	if (status != KV_OK) {
		fprintf(stderr, "kv: report: %s\n", client_strerror((int)status));
		return EXIT_WRONG;
	}
	if (memcmp(report.mrenclave, run->sig.enclavehash, 32) != 0 ||
	    memcmp(report.reportdata, data, 64) != 0 || report.isvprodid != SIGN_ISVPRODID ||
	    report.isvsvn != SIGN_ISVSVN) {
		fprintf(stderr, "kv: the report is about another enclave\n");
		return EXIT_WRONG;
	}
	return 0;
}

static int run_first(struct run *run)
{
	in_parallel(run, PHASE_FILL);
	in_parallel(run, PHASE_WORK);
	in_parallel(run, PHASE_VERIFY);
	return 0;
}

static int run_again(struct run *run)
{
	struct moment since = now();
	int r = client_open(&run->clients[0], run->options.open);

	if (r != 0) {
		fprintf(stderr, "kv: cannot open %s: %s\n", run->options.open, client_strerror(r));
		return EXIT_NOT_OPENED;
	}
	phase_done(run, PHASE_OPEN, since);
	/* What the first run did, in the model only. */
	workload_fill(&run->work, NULL, 0, 1);
	workload_run(&run->work, NULL, 0, 1);
	in_parallel(run, PHASE_VERIFY);
	return 0;
}

static int seal(struct run *run)
{
	struct moment since = now();
	int r = client_seal(&run->clients[0], run->options.seal, &run->sealed_bytes);

	if (r == 0)
		phase_done(run, PHASE_SEAL, since);
	else
		fprintf(stderr, "kv: cannot seal to %s: %s\n", run->options.seal,
			client_strerror(r));
	return r == 0 ? 0 : EXIT_WRONG;
}

static int check_count(struct run *run)
{
	enum kv_status status = client_count(&run->clients[0], &run->entries);

	if (status == KV_OK && run->entries == workload_entries(&run->work))
		return 0;
	fprintf(stderr, "kv: the enclave holds %u entries, not %u\n", run->entries,
		workload_entries(&run->work));
	return EXIT_WRONG;
}

/* In the enclave, from its first moment to the last. */
static int use(struct run *run)
{
	enum kv_status status = client_init(&run->clients[0]);
	int r;

	if (status != KV_OK) {
		fprintf(stderr, "kv: cannot initialise: %s\n", client_strerror((int)status));
		return EXIT_WRONG;
	}
	if (run->options.crash >= 0)
		client_crash(&run->clients[0], (enum kv_crash)run->options.crash);
	r = check_report(run);
	if (r == 0)
		r = run->options.open ? run_again(run) : run_first(run);
	if (r == 0)
		r = check_count(run);
	if (r == 0 && run->options.seal)
		r = seal(run);
	if (r == 0 && run->work.failures) {
		fprintf(stderr, "kv: %" PRIu64 " wrong answers\n", run->work.failures);
		r = EXIT_WRONG;
	}
	return r;
}

static void print_hex(const uint8_t *bytes, unsigned int n)
{
	while (n--)
		printf("%02x", *bytes++);
}

/* Of its pages, not of its range. */
static uint64_t enclave_bytes(const struct run *run)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < run->image.range_nr; i++)
		bytes += run->image.ranges[i].bytes;
	return bytes;
}

/* One number, under its name. */
static void print_number(bool json, const char *name, uint64_t n)
{
	printf(json ? "\"%s\": %" PRIu64 ", " : "%-14s %" PRIu64 "\n", name, n);
}

static void print_seconds(bool json, const char *name, const char *suffix, double seconds)
{
	if (json)
		printf("\"%s_%s\": %.6f, ", name, suffix, seconds);
}

static void print_result(const struct run *run)
{
	const struct options *o = &run->options;
	uint64_t calls = 0, busy = 0;
	bool json = o->json;

	for (unsigned int i = 0; i < o->image.threads; i++) {
		calls += run->clients[i].calls;
		busy += run->clients[i].busy;
	}
	printf(json ? "{" : "");
	print_number(json, "heap_bytes", o->image.heap_bytes);
	print_number(json, "enclave_bytes", enclave_bytes(run));
	print_number(json, "threads", o->image.threads);
	print_number(json, "keys", o->keys);
	print_number(json, "ops", o->open ? 0 : o->ops);
	print_number(json, "entries", run->entries);
	print_number(json, "calls", calls);
	print_number(json, "busy", busy);
	print_number(json, "ticks", run->ticks);
	print_number(json, "sealed_bytes", run->sealed_bytes);
	for (unsigned int i = 0; i < PHASE_NR; i++) {
		if (!run->phases[i].done)
			continue;
		print_seconds(json, phase_names[i], "s", run->phases[i].seconds);
		print_seconds(json, phase_names[i], "cpu_s", run->phases[i].cpu_seconds);
	}
	printf(json ? "\"mrenclave\": \"" : "mrenclave      ");
	print_hex(run->sig.enclavehash, 32);
	if (!o->open)
		printf(json ? "\", \"answer\": \"%016" PRIx64 : "\nanswer         %016" PRIx64,
		       run->work.answer);
	printf(json ? "\", \"state\": \"%016" PRIx64 "\"}\n" : "\nstate          %016" PRIx64 "\n",
	       run->state);
}

int main(int argc, char **argv)
{
	static struct run run;
	int r;

	parse_options(&run.options, argc, argv);
	if (!workload_init(&run.work, run.options.seed, run.options.keys, run.options.ops)) {
		perror("kv");
		return EXIT_WRONG;
	}
	timer_join();
	if (run.options.timer_hz && !timer_begin(run.options.timer_hz))
		return EXIT_WRONG;
	r = build(&run);
	if (r == 0) {
		r = use(&run);
		loader_close(&run.loader);
	}
	timer_end();
	timer_leave();
	if (r == 0 && !timer_check(&run.ticks))
		r = EXIT_WRONG;
	if (r == 0)
		print_result(&run);
	if (run.image.memory)
		image_close(&run.image);
	workload_fini(&run.work);
	return r;
}
