/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The installed API and owners that behave badly: operations that fail at each of their calls, that ask for pages in the
 * midst of a batch, whose process dies there; pages that break at each of these moments; and callers that break a
 * precondition, which ends their program and nobody else's.
 *
 * An owner here has blocks with contents. Whatever happens, each block is in the EPC or saved, never both, never neither, with
 * what was written to it last; every get has its put; and the frame audit holds.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <swsgx/backing.h>
#include <swsgx/stats.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/tap.h"

enum { PAGES = 32, BLOCKS = 48, ROUNDS = 2 };

enum call { GET, RECLAIM, BLOCK, WRITE, PUT, CALL_NR };
static const char *const call_name[] = { "get", "reclaim", "block", "write", "put" };

/* What happens at call number @at of operation @call. */
enum deed { FAILS, ALLOCATES, RECLAIMS, BREAKS, DIES, DEED_NR };
static const char *const deed_name[] = { "fails", "allocates", "reclaims", "finds the page broken",
					 "dies" };

/* In memory that all processes share. */
struct blocks {
	struct swsgx_epc *epc;
	struct swsgx_owner *owner;
	struct swsgx_slots *slots;
	struct swsgx_page *page[BLOCKS]; /* NULL: saved, or never used */
	unsigned int uses[BLOCKS];       /* what its bytes say */
	bool lost[BLOCKS];               /* its page broke */
	bool died;                       /* a process, in a batch */
	enum call call;
	enum deed deed;
	unsigned int at, calls; /* of @call, so far */
	unsigned int gets, puts;
	unsigned int bad, surprises; /* results that must not be */
};

static void do_deed(struct blocks *b, struct swsgx_page *page)
{
	struct swsgx_page *more = NULL;
	int r;

	switch (b->deed) {
	case ALLOCATES:
		r = swsgx_page_alloc(b->owner, SWSGX_MAY_RECLAIM, &more);
		b->surprises += r != 0 && r != -EBUSY;
		if (r == 0)
			swsgx_page_free(b->owner, more);
		break;
	case RECLAIMS:
		b->surprises += swsgx_epc_reclaim(b->epc) != 0;
		swsgx_epc_recover(b->epc);
		break;
	case BREAKS:
		if (page)
			swsgx_epc_poison(b->epc, swsgx_page_nr(b->owner, page));
		break;
	case DIES:
		raise(SIGKILL);
		break;
	default:
		break;
	}
}

/* This call is the one: its deed is done, and whether it fails is the answer. */
static bool is_spoilt(struct blocks *b, enum call call, struct swsgx_page *page)
{
	if (call != b->call || b->calls++ != b->at)
		return false;
	do_deed(b, page);
	return b->deed == FAILS;
}

static bool get(void *arg, uint64_t i)
{
	struct blocks *b = arg;

	if (is_spoilt(b, GET, NULL))
		return false;
	b->gets++;
	return true;
}

static bool reclaim(void *arg, uint64_t i, struct swsgx_page *page)
{
	struct blocks *b = arg;

	b->bad += i >= BLOCKS || b->page[i] != page;
	return !is_spoilt(b, RECLAIM, page);
}

static bool block(void *arg, uint64_t i, struct swsgx_page *page)
{
	struct blocks *b = arg;

	b->bad += b->page[i] != page;
	return !is_spoilt(b, BLOCK, page);
}

static int save(void *arg, uint64_t i, struct swsgx_page *page)
{
	struct blocks *b = arg;
	int r;

	b->bad += swsgx_page_poisoned(b->owner, page);
	/* The second time, for a process that died behind that: it is saved. */
	if (b->page[i] != page)
		return 0;
	r = swsgx_slot_write(b->slots, (uint32_t)i, page);
	if (r < 0)
		return r;
	if (is_spoilt(b, WRITE, page))
		return -EIO;
	b->page[i] = NULL;
	return 0;
}

static void put(void *arg, uint64_t i)
{
	struct blocks *b = arg;

	(void)is_spoilt(b, PUT, NULL);
	b->puts++;
}

static const struct swsgx_owner_ops ops = {
	.name = "bad", .get = get, .reclaim = reclaim, .block = block, .write = save, .put = put
};

static struct blocks *create(void)
{
	struct swsgx_epc_config config = { .bytes = PAGES * SWSGX_PAGE_SIZE, .policy = "upstream" };
	struct swsgx_epc *epc;
	struct blocks *b;

	if (swsgx_epc_create(&config, &epc) < 0)
		return NULL;
	b = swsgx_shared_alloc(epc, sizeof(*b));
	b->epc = epc;
	if (swsgx_owner_create(swsgx_group_root(epc), &ops, b, &b->owner) < 0 ||
	    swsgx_slots_create(epc, BLOCKS, &b->slots) < 0)
		return NULL;
	return b;
}

/* A page that broke is given up, with what it held. */
static void drop_broken(struct blocks *b, uint32_t i)
{
	struct swsgx_page *page = b->page[i];

	if (!page || !swsgx_page_poisoned(b->owner, page))
		return;
	b->bad += swsgx_page_untrack(b->owner, page) != 0;
	swsgx_page_free(b->owner, page);
	b->page[i] = NULL;
	b->lost[i] = true;
	b->uses[i] = 0;
	swsgx_slot_free(b->slots, i);
}

static bool holds(const unsigned char *bytes, unsigned int what)
{
	return bytes[0] == what && !memcmp(bytes, bytes + 1, SWSGX_PAGE_SIZE - 1);
}

static int use(struct blocks *b, uint32_t i)
{
	struct swsgx_page *page;
	unsigned char *bytes;
	int r;

	drop_broken(b, i);
	page = b->page[i];
	if (!page) {
		r = swsgx_page_alloc(b->owner, SWSGX_MAY_RECLAIM, &page);
		if (r < 0)
			return r;
		r = swsgx_slot_read(b->slots, i, page);
		b->bad += r != (b->uses[i] ? 0 : -ENOENT);
		if (r < 0)
			memset(swsgx_page_bytes(b->owner, page), 0, SWSGX_PAGE_SIZE);
		swsgx_page_set_cookie(page, i);
		b->page[i] = page;
		swsgx_page_track(b->owner, page);
	}
	bytes = swsgx_page_bytes(b->owner, page);
	b->bad += !holds(bytes, b->uses[i]);
	b->uses[i]++;
	memset(bytes, (int)b->uses[i], SWSGX_PAGE_SIZE);
	return 0;
}

static unsigned int run(struct blocks *b)
{
	unsigned int failed = 0;

	for (unsigned int n = 0; n < ROUNDS * BLOCKS; n++)
		failed += use(b, n % BLOCKS) != 0;
	return failed;
}

/* Where everything is, with nobody at work: the first thing that is wrong, or NULL. */
static const char *look(struct blocks *b)
{
	static char why[128];
	struct swsgx_epc_info info;
	unsigned int have = 0, broken = 0;

	swsgx_epc_recover(b->epc);
	if (swsgx_epc_audit(b->epc, 0, why, sizeof(why)) > 0)
		return why;
	for (uint32_t i = 0; i < BLOCKS; i++) {
		drop_broken(b, i);
		broken += b->lost[i];
		have += b->page[i] != NULL;
		if (b->page[i] && !holds(swsgx_page_bytes(b->owner, b->page[i]), b->uses[i]))
			return "a block has other contents";
	}
	swsgx_epc_read(b->epc, &info);
	if (info.owned + info.tracked != have || info.in_batch != 0)
		return "a page is nobody's";
	if (info.poisoned != info.machine_checks || broken > info.machine_checks)
		return "a broken page is not with the broken ones";
	if ((info.recovered > 0) != b->died)
		return "nobody has noticed a death, or there was none";
	return b->bad ? "an operation or a caller saw something that must not be"
		      : (b->surprises ? "a call in a batch did something" : NULL);
}

static void destroy(struct blocks *b)
{
	for (uint32_t i = 0; i < BLOCKS; i++) {
		if (b->page[i]) {
			(void)swsgx_page_untrack(b->owner, b->page[i]);
			swsgx_page_free(b->owner, b->page[i]);
		}
	}
	swsgx_slots_destroy(b->slots);
	swsgx_owner_destroy(b->owner);
	swsgx_epc_destroy(b->epc);
}

/* How often each operation is called when nothing happens. */
static unsigned int count_calls(enum call call)
{
	struct blocks *b = create();
	unsigned int nr;

	TAP_MUST(b, "an owner");
	b->call = call;
	b->at = UINT32_MAX;
	TAP_MUST(run(b) == 0 && !look(b) && b->gets == b->puts, "nothing happens");
	nr = b->calls;
	destroy(b);
	return nr;
}

/* In a child, for a deed that ends it. */
static unsigned int run_and_die(struct blocks *b)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		(void)run(b);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	/* What it used last it may not have counted. */
	b->bad += !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL;
	b->deed = FAILS;
	b->at = UINT32_MAX;
	b->died = true;
	return 0;
}

/* One call is spoilt; then everything is in its place, and goes on. */
static const char *spoil(enum call call, enum deed deed, unsigned int at)
{
	const char *why = "no owner";
	struct blocks *b = create();
	unsigned int failed;

	if (!b)
		return why;
	b->call = call;
	b->deed = deed;
	b->at = at;
	failed = deed == DIES ? run_and_die(b) : run(b);
	why = failed ? "an allocation failed" : look(b);
	/* A get that was not noted any more is what may die with a process. */
	if (!why && (b->gets < b->puts || b->gets > b->puts + (deed == DIES ? 16 : 0)))
		why = "gets and puts do not match";
	if (!why && run(b) > 0)
		why = "it does not go on";
	if (!why)
		why = look(b);
	destroy(b);
	return why;
}

static void test_each_call(void)
{
	for (enum call call = GET; call < CALL_NR; call++) {
		unsigned int nr = count_calls(call);

		for (enum deed deed = FAILS; deed < DEED_NR; deed++) {
			const char *why = NULL;
			unsigned int at;

			if ((deed == FAILS && call == PUT) ||
			    (deed == BREAKS && (call == GET || call == PUT)))
				continue;
			for (at = 0; at < nr && !why; at++)
				why = spoil(call, deed, at);
			TAP_CHECK(nr > 0 && !why, "each of %u calls of %s %s%s%s", nr,
				  call_name[call], deed_name[deed], why ? ", " : "",
				  why ? why : "");
		}
	}
}

/* ---- preconditions ---------------------------------------------------------------------------------- */

struct broken {
	struct blocks *b;
	struct swsgx_owner *other;
	struct swsgx_page *owned, *tracked, *others, *freed;
};

static void free_tracked(struct broken *x) { swsgx_page_free(x->b->owner, x->tracked); }

static void free_twice(struct broken *x) { swsgx_page_free(x->b->owner, x->freed); }

static void free_others(struct broken *x) { swsgx_page_free(x->b->owner, x->others); }

static void track_twice(struct broken *x) { swsgx_page_track(x->b->owner, x->tracked); }

static void track_ahead_twice(struct broken *x) { swsgx_page_track_ahead(x->b->owner, x->tracked); }

static void track_others(struct broken *x) { swsgx_page_track(x->b->owner, x->others); }

static void untrack_untracked(struct broken *x) { swsgx_page_untrack(x->b->owner, x->owned); }

static void untrack_freed(struct broken *x) { swsgx_page_untrack(x->b->owner, x->freed); }

static void keep_tracked(struct broken *x) { swsgx_page_keep(x->b->owner, x->tracked); }

static void bytes_of_others(struct broken *x) { swsgx_page_bytes(x->b->owner, x->others); }

static void number_of_freed(struct broken *x) { swsgx_page_nr(x->b->owner, x->freed); }

static void slot_of_none(struct broken *x) { swsgx_slot_free(x->b->slots, BLOCKS); }

static const struct broken_row {
	const char *what;
	void (*does)(struct broken *x);
} broken_rows[] = {
	{ "frees a tracked page", free_tracked },
	{ "frees one twice", free_twice },
	{ "frees another owner's", free_others },
	{ "tracks one twice", track_twice },
	{ "tracks one twice, ahead", track_ahead_twice },
	{ "tracks another owner's", track_others },
	{ "untracks one that is not tracked", untrack_untracked },
	{ "untracks one that is freed", untrack_freed },
	{ "keeps a tracked one", keep_tracked },
	{ "looks at another owner's bytes", bytes_of_others },
	{ "asks for the number of one that is freed", number_of_freed },
	{ "frees a slot that there is not", slot_of_none },
};

/* The program ends by SIGABRT. */
static bool ends(struct broken *x, void (*does)(struct broken *x))
{
	struct rlimit none = { 0 };
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &none);
		if (!freopen("/dev/null", "w", stderr))
			_exit(2);
		does(x);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void test_preconditions(void)
{
	struct broken x = { .b = create() };
	struct blocks *b = x.b;

	TAP_MUST(b && swsgx_owner_create(swsgx_group_root(b->epc), &ops, b, &x.other) == 0 &&
			 swsgx_page_alloc(b->owner, 0, &x.owned) == 0 &&
			 swsgx_page_alloc(b->owner, 0, &x.tracked) == 0 &&
			 swsgx_page_alloc(x.other, 0, &x.others) == 0 &&
			 swsgx_page_alloc(b->owner, 0, &x.freed) == 0,
		 "two owners with pages");
	swsgx_page_track(b->owner, x.tracked);
	swsgx_page_free(b->owner, x.freed);
	for (size_t i = 0; i < sizeof(broken_rows) / sizeof(broken_rows[0]); i++)
		TAP_CHECK(ends(&x, broken_rows[i].does), "who %s ends", broken_rows[i].what);
	TAP_CHECK(swsgx_page_untrack(b->owner, x.tracked) == 0 &&
			  swsgx_epc_audit(b->epc, 0, NULL, 0) == 0,
		  "and nobody else's pages are touched");
	swsgx_page_free(b->owner, x.tracked);
	swsgx_page_free(b->owner, x.owned);
	swsgx_page_free(x.other, x.others);
	swsgx_owner_destroy(x.other);
	destroy(b);
}

int main(void)
{
	test_each_call();
	test_preconditions();
	return tap_done();
}
