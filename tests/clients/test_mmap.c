/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The address space: each order in which loaders reserve, map, create and initialise, what the
 * device refuses, and what munmap, mprotect and mremap of parts do.
 */
#include <errno.h>
#include <setjmp.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client.h"
#include "lib/tap.h"

#define PAGE 4096ull

/* The enclave works: a word goes in and comes out. */
static bool works(struct client_encl *e)
{
	uint64_t addr = e->base + e->heap;

	return !client_op(e, 0, OP_WRITE, addr, 0xfeed, 0) &&
	       client_op(e, 0, OP_READ, addr, 0, 0) == 0xfeed;
}

static void check_order(const char *name, struct client_conf conf)
{
	struct client_encl e;
	int err;

	conf.heap_pages = 8;
	err = client_create(&e, &conf);
	if (!TAP_CHECK(!err, "%s: built (%s, %d)", name, err ? e.failed : "all steps", err))
		return;
	TAP_CHECK(works(&e), "%s: works", name);
	client_destroy(&e);
}

static void check_orders(void)
{
	check_order("reserve, CREATE, ADD_PAGES, map, INIT", (struct client_conf){ 0 });
	check_order("mapped after INIT", (struct client_conf){ .map_after_init = true });
	check_order("the whole range RWX before CREATE", (struct client_conf){ .premap = true });
	check_order("MAP_FIXED_NOREPLACE", (struct client_conf){ .noreplace = true });
	check_order("a page a call", (struct client_conf){ .one_page = true });
	check_order("the fd closed before the mapping", (struct client_conf){ .close_fd = true });
	check_order("code in the middle of the range", (struct client_conf){ .lead_pages = 100 });
	check_order("a range of 64 GiB", (struct client_conf){ .elrange_bytes = 1ull << 36 });
}

static void check_probes(void)
{
	int fd = client_open();
	void *p;

	p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	TAP_CHECK(p != MAP_FAILED, "an un-created fd: a page PROT_READ");
	munmap(p, PAGE);
	p = mmap(NULL, PAGE, PROT_EXEC, MAP_SHARED, fd, 0);
	TAP_CHECK(p != MAP_FAILED, "an un-created fd: a page PROT_EXEC");
	munmap(p, PAGE);
	p = mmap(NULL, 1 << 20, PROT_NONE, MAP_SHARED, fd, 0);
	TAP_CHECK(p != MAP_FAILED, "an un-created fd: a range PROT_NONE, by which some reserve");
	munmap(p, 1 << 20);
	p = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	TAP_CHECK(p == MAP_FAILED && errno == EINVAL, "MAP_PRIVATE: EINVAL");
	p = mmap(NULL, 0, PROT_READ, MAP_SHARED, fd, 0);
	TAP_CHECK(p == MAP_FAILED && errno == EINVAL, "no length: EINVAL");
	close(fd);
}

static sigjmp_buf touched;

static void on_touch(int signo) { siglongjmp(touched, signo); }

/* The signal that reading @p ends in; 0 when it can be read. */
static int read_signal(const volatile void *p)
{
	struct sigaction sa = { .sa_handler = on_touch }, segv, bus;
	int signo;

	sigaction(SIGSEGV, &sa, &segv);
	sigaction(SIGBUS, &sa, &bus);
	signo = sigsetjmp(touched, 1);
	if (!signo)
		(void)*(const volatile char *)p;
	sigaction(SIGSEGV, &segv, NULL);
	sigaction(SIGBUS, &bus, NULL);
	return signo;
}

static void check_rules(void)
{
	struct client_conf conf = { .heap_pages = 8, .aug_pages = 4 };
	struct client_encl e;
	uint8_t *heap, *code;
	void *p;

	TAP_MUST(!client_create(&e, &conf), "an enclave for the rules");
	heap = (uint8_t *)(e.base + e.heap);
	code = (uint8_t *)(e.base + e.code);
	p = mmap(heap, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED | MAP_FIXED, e.fd, 0);
	TAP_CHECK(p == MAP_FAILED && errno == EACCES, "mmap of an RW page as RWX: EACCES");
	p = mmap(code, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, e.fd, 0);
	TAP_CHECK(p == MAP_FAILED && errno == EACCES, "mmap of an RX page as RW: EACCES");
	p = mmap((void *)(e.base + e.size), PAGE, PROT_READ, MAP_SHARED | MAP_FIXED_NOREPLACE, e.fd,
		 0);
	TAP_CHECK(p == MAP_FAILED && (errno == EACCES || errno == EEXIST),
		  "mmap behind the range: EACCES");
	p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, e.fd, 0);
	TAP_CHECK(p == MAP_FAILED && errno == EACCES, "mmap anywhere else after INIT: EACCES");
	TAP_CHECK(mprotect(heap, PAGE, PROT_READ | PROT_EXEC) == -1 && errno == EACCES,
		  "mprotect of an RW page to RX: EACCES");
	TAP_CHECK(!mprotect(heap, PAGE, PROT_READ), "mprotect of an RW page to R");
	TAP_CHECK(client_op(&e, 0, OP_WRITE, (uintptr_t)heap, 1, 0) == ~0ull,
		  "then the enclave cannot write it");
	TAP_CHECK(!mprotect(heap, PAGE, PROT_NONE), "mprotect to NONE is always right");
	TAP_CHECK(!mprotect(heap, PAGE, PROT_READ | PROT_WRITE), "and back to RW");
	client_destroy(&e);
	conf.nssa = 6;
	TAP_MUST(!client_create(&e, &conf), "another");
	TAP_CHECK(works(&e), "works after the refusals");
	TAP_CHECK(!mprotect((void *)(e.base + e.aug), PAGE, PROT_READ | PROT_EXEC),
		  "a hole may get any protection");
	client_destroy(&e);
}

static void check_parts(void)
{
	struct client_conf conf = { .heap_pages = 8, .nssa = 8 };
	struct client_encl e;
	uint8_t *heap, *p;

	TAP_MUST(!client_create(&e, &conf), "an enclave to take apart");
	heap = (uint8_t *)(e.base + e.heap);
	client_op(&e, 0, OP_WRITE, (uintptr_t)heap + 3 * PAGE, 0x333, 0);
	client_op(&e, 0, OP_WRITE, (uintptr_t)heap + 5 * PAGE, 0x555, 0);
	TAP_CHECK(!munmap(heap + 3 * PAGE, PAGE), "a page out of the middle is unmapped");
	TAP_CHECK(read_signal(heap + 3 * PAGE) == SIGSEGV, "the host gets SIGSEGV there");
	TAP_CHECK(client_op(&e, 0, OP_READ, (uintptr_t)heap + 5 * PAGE, 0, 0) == 0x555,
		  "its neighbours are as they were");
	p = mmap(heap + 3 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, e.fd, 0);
	TAP_CHECK(p == heap + 3 * PAGE, "it is mapped again");
	client_destroy(&e);
	/* A fault inside left CSSA at 1 nowhere above, so another enclave tells about contents. */
	TAP_MUST(!client_create(&e, &conf), "one more");
	heap = (uint8_t *)(e.base + e.heap);
	client_op(&e, 0, OP_WRITE, (uintptr_t)heap + 3 * PAGE, 0x333, 0);
	munmap(heap + 2 * PAGE, 3 * PAGE);
	p = mmap(heap + 2 * PAGE, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, e.fd,
		 0);
	TAP_CHECK(p == heap + 2 * PAGE &&
			  client_op(&e, 0, OP_READ, (uintptr_t)heap + 3 * PAGE, 0, 0) == 0x333,
		  "what was unmapped and mapped again has its contents");
	p = mremap(heap, 2 * PAGE, 4 * PAGE, MREMAP_MAYMOVE);
	TAP_CHECK(p == MAP_FAILED && errno == EFAULT,
		  "mremap cannot grow it (VM_DONTEXPAND): EFAULT");
	p = mremap(heap, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, heap + PAGE);
	TAP_CHECK(p == MAP_FAILED && errno == EINVAL, "mremap onto a part of itself: EINVAL");
	p = mremap(heap, 2 * PAGE, 2 * PAGE, MREMAP_FIXED, heap + 4 * PAGE);
	TAP_CHECK(p == MAP_FAILED && errno == EINVAL, "fixed, but not to be moved: EINVAL");
	p = mremap(heap + 1, 2 * PAGE, PAGE, 0);
	TAP_CHECK(p == MAP_FAILED && errno == EINVAL, "from the middle of a page: EINVAL");
	TAP_CHECK(works(&e), "none of these has changed anything");
	p = mremap(heap, 2 * PAGE, PAGE, 0);
	TAP_CHECK(p == heap && read_signal(heap + PAGE) == SIGSEGV, "mremap can shrink it");
	TAP_CHECK(client_op(&e, 0, OP_READ, (uintptr_t)heap + 3 * PAGE, 0, 0) == 0x333,
		  "and the rest is there");
	client_destroy(&e);
}

static void check_other_fd(void)
{
	struct client_conf conf = { .heap_pages = 2 };
	struct client_encl a, b;

	TAP_MUST(!client_create(&a, &conf) && !client_create(&b, &conf), "two enclaves at once");
	client_op(&a, 0, OP_WRITE, a.base + a.heap, 0xa, 0);
	client_op(&b, 0, OP_WRITE, b.base + b.heap, 0xb, 0);
	TAP_CHECK(client_op(&a, 0, OP_READ, a.base + a.heap, 0, 0) == 0xa &&
			  client_op(&b, 0, OP_READ, b.base + b.heap, 0, 0) == 0xb,
		  "each has its own pages");
	client_destroy(&a);
	TAP_CHECK(client_op(&b, 0, OP_READ, b.base + b.heap, 0, 0) == 0xb,
		  "one outlives the other");
	client_destroy(&b);
}

static void check_maps_file(void)
{
	struct client_conf conf = { .heap_pages = 2 };
	struct client_encl e;
	char line[512];
	bool found = false;
	FILE *f;

	TAP_MUST(!client_create(&e, &conf), "an enclave for /proc/self/maps");
	f = fopen("/proc/self/maps", "r");
	while (f && fgets(line, sizeof(line), f)) {
		unsigned long long from, to;

		if (sscanf(line, "%llx-%llx", &from, &to) == 2 && from <= e.base + e.heap &&
		    to > e.base + e.heap)
			found = strstr(line, "sgx_enclave") || strstr(line, "sgx/enclave");
	}
	if (f)
		fclose(f);
	TAP_CHECK(found, "/proc/self/maps names the device on the enclave's line");
	client_destroy(&e);
}

static void check_zero_based(uint64_t elrange_bytes, uint64_t lead_pages)
{
	unsigned long min = 0;
	FILE *f = fopen("/proc/sys/vm/mmap_min_addr", "r");
	struct client_conf conf = { .zero_based = true,
				    .lead_pages = lead_pages,
				    .elrange_bytes = elrange_bytes,
				    .heap_pages = 8 };
	struct client_encl e;
	int err;

	if (f) {
		(void)!fscanf(f, "%lu", &min);
		fclose(f);
	}
	if (min > 0x10000) {
		tap_skip("zero-based enclave", "vm.mmap_min_addr is too high");
		return;
	}
	err = client_create(&e, &conf);
	if (!TAP_CHECK(!err, "zero-based, %#llx bytes, mapped from %#llx: built (%s, %d)",
		       (unsigned long long)elrange_bytes, (unsigned long long)lead_pages << 12,
		       err ? e.failed : "all steps", err))
		return;
	TAP_CHECK(e.base == 0 && works(&e), "zero-based: works");
	client_destroy(&e);
}

int main(void)
{
	check_probes();
	check_orders();
	check_rules();
	check_parts();
	check_other_fd();
	check_maps_file();
	check_zero_based(0, 0x10);
	check_zero_based(1ull << 36, 0x21);
	return tap_done();
}
