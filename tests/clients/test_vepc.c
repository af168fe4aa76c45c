/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Raw EPC, as a VMM uses it: finding the nodes, mappings and their holes, REMOVE_ALL's arguments, what a forked
 * child has of it, and what happens when there is none left, beside an enclave that must make room.
 *
 * How much EPC there is, is found out by taking it all: so every page that is lost on the way is noticed.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "lib/tap.h"

#define PAGE       4096ul
#define PAGES_MANY 4096ul /* more than the EPC has */

/* Of asm/sgx.h. */
#define VEPC_REMOVE_ALL _IO(0xA4, 0x04)

static const char *const nodes[] = { "/dev/sgx_vepc", "/dev/sgx/virt_epc", "/dev/sgx/epc" };

static sigjmp_buf out;
static volatile void *fault_at;
static volatile int fault_sig;

static void on_fault(int sig, siginfo_t *info, void *uc)
{
	fault_sig = sig;
	fault_at = info->si_addr;
	siglongjmp(out, 1);
}

/* 0, or the signal that a touch of @p raises. */
static int touch(volatile uint8_t *p, bool write)
{
	fault_sig = 0;
	if (!sigsetjmp(out, 1)) {
		if (write)
			*p = (uint8_t)(*p + 1);
		else
			(void)*p;
	}
	return fault_sig;
}

static void *map(int fd, unsigned long pages, unsigned long at)
{
	return mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)(at * PAGE));
}

/*
 * On hardware the processor keeps everybody but enclaves out of the EPC: a VMM reads ones and writes into
 * nothing.  So what a page holds is looked at elsewhere only.
 */
static bool holds(const volatile uint8_t *p, uint8_t byte)
{
	return *p == byte || getenv("SWSGX_CLIENTS_NATIVE");
}

static int open_vepc(void)
{
	int fd = open("/dev/sgx_vepc", O_RDWR);

	TAP_MUST(fd >= 0, "open /dev/sgx_vepc");
	return fd;
}

/* Touch pages until there are none left. */
static unsigned long take_all(uint8_t *mem)
{
	unsigned long nr = 0;

	while (nr < PAGES_MANY && !touch(mem + nr * PAGE, true))
		nr++;
	return nr;
}

static unsigned long count_epc(void)
{
	int fd = open("/dev/sgx_vepc", O_RDWR);
	uint8_t *mem = map(fd, PAGES_MANY, 0);
	unsigned long nr;

	TAP_MUST(fd >= 0 && mem != MAP_FAILED, "a mapping of more than there is");
	nr = take_all(mem);
	TAP_CHECK(nr > 0 && nr < PAGES_MANY && fault_sig == SIGBUS && fault_at == mem + nr * PAGE,
		  "after %lu pages: SIGBUS, at the page that is not to be had", nr);
	TAP_CHECK(!touch(mem, false), "those before are there");
	munmap(mem, PAGES_MANY * PAGE);
	close(fd);
	return nr;
}

static void test_nodes(void)
{
	struct stat st, fst;
	int fd;

	for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
		if (i && access(nodes[i], F_OK)) {
			tap_skip(nodes[i], "not on this machine");
			continue;
		}
		fd = open(nodes[i], O_RDWR | O_CLOEXEC);
		TAP_CHECK(fd >= 0, "%s: open", nodes[i]);
		TAP_CHECK(!stat(nodes[i], &st) && S_ISCHR(st.st_mode) && major(st.st_rdev) == 10,
			  "%s: a character device, major 10", nodes[i]);
		TAP_CHECK(!fstat(fd, &fst) && fst.st_rdev == st.st_rdev, "%s: fstat agrees",
			  nodes[i]);
		TAP_CHECK(ioctl(fd, VEPC_REMOVE_ALL, NULL) == 0, "%s: nothing to remove: 0",
			  nodes[i]);
		TAP_CHECK(!close(fd), "%s: close", nodes[i]);
	}
	TAP_CHECK(!stat("/dev/sgx_enclave", &fst) && fst.st_rdev != st.st_rdev,
		  "it is not the device of enclaves");
}

static void test_calls(void)
{
	static uint8_t buffer[4096];
	int fd = open_vepc();

	TAP_CHECK(ioctl(fd, VEPC_REMOVE_ALL, (void *)1) == -1 && errno == EINVAL,
		  "REMOVE_ALL with an argument: EINVAL");
	TAP_CHECK(ioctl(fd, VEPC_REMOVE_ALL, buffer) == -1 && errno == EINVAL,
		  "even if it is a pointer: EINVAL");
	TAP_CHECK(ioctl(fd, SGX_IOC_ENCLAVE_CREATE, buffer) == -1 && errno == ENOTTY,
		  "CREATE: ENOTTY");
	TAP_CHECK(ioctl(fd, _IO(0xA4, 0x05), NULL) == -1 && errno == ENOTTY,
		  "another number: ENOTTY");
	TAP_CHECK(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED && errno == EINVAL,
		  "a private mapping: EINVAL");
	TAP_CHECK(mmap(NULL, 0, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED && errno == EINVAL,
		  "of no length: EINVAL");
	TAP_CHECK(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 100) == MAP_FAILED && errno == EINVAL,
		  "an offset that is no page's: EINVAL");
	TAP_CHECK(read(fd, buffer, 1) == -1 && errno == EINVAL, "read: EINVAL");
	close(fd);
	TAP_CHECK(ioctl(fd, VEPC_REMOVE_ALL, NULL) == -1 && errno == EBADF, "after close: EBADF");
}

static void test_mappings(void)
{
	int fd = open_vepc();
	uint8_t *a = map(fd, 8, 0), *b = map(fd, 8, 4), *c = map(fd, 1, 1ul << 20);
	uint8_t *moved;

	TAP_MUST(a != MAP_FAILED && b != MAP_FAILED && c != MAP_FAILED,
		 "three mappings: pages 0 to 7, 4 to 11, and one far behind");
	TAP_CHECK(!touch(a + 5 * PAGE, true) && !touch(b + 1 * PAGE, false), "touched in both");
	a[5 * PAGE + 17] = 0x42;
	TAP_CHECK(holds(&b[1 * PAGE + 17], 0x42), "page 5 is one page, by whichever mapping");
	b[2 * PAGE] = 0x43;
	TAP_CHECK(holds(&a[6 * PAGE], 0x43), "also one that the second mapping touched first");
	TAP_CHECK(!touch(c, true), "the one far behind");
	close(fd);
	TAP_CHECK(!touch(c, true) && !touch(a, true), "all after close of the fd");
	TAP_CHECK(!munmap(a + 2 * PAGE, 2 * PAGE) && touch(a + 2 * PAGE, false) == SIGSEGV &&
			  !touch(a + 1 * PAGE, false) && !touch(a + 4 * PAGE, false),
		  "a hole in a mapping: SIGSEGV in it, not beside it");
	TAP_CHECK(!mprotect(a + 5 * PAGE, PAGE, PROT_READ) &&
			  touch(a + 5 * PAGE, true) == SIGSEGV && holds(&a[5 * PAGE + 17], 0x42) &&
			  !touch(b + 1 * PAGE, true),
		  "mprotect to read-only: SIGSEGV for a write there, not by the other mapping");
	moved = mmap(NULL, 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	TAP_CHECK(mremap(b, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, moved) == moved &&
			  holds(&moved[1 * PAGE + 17], 0x42) && touch(b + PAGE, false) == SIGSEGV &&
			  holds(&b[2 * PAGE], 0x43),
		  "a part of a mapping moves with its pages");
	TAP_CHECK(mmap(c, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		       0) == c &&
			  *c == 0,
		  "something else mapped over one");
	munmap(a, 8 * PAGE);
	munmap(b, 8 * PAGE);
	munmap(moved, 2 * PAGE);
	munmap(c, PAGE);
}

/* A mapping over more than one chunk of the file, touched on both sides of each border. */
static void test_large(void)
{
	const unsigned long chunk = 128ul << 20;
	int fd = open_vepc();
	uint8_t *mem = mmap(NULL, 3 * chunk, PROT_READ | PROT_WRITE, MAP_SHARED, fd, PAGE);
	uint8_t *again;
	bool ok = true;

	TAP_MUST(mem != MAP_FAILED, "384 MiB mapped, from page 1 on");
	for (unsigned long at = chunk; at <= 3 * chunk; at += chunk) {
		ok = ok && !touch(mem + at - 2 * PAGE, true) && !touch(mem + at - PAGE, true);
		mem[at - 2 * PAGE] = (uint8_t)(at >> 20);
		mem[at - PAGE] = (uint8_t)((at >> 20) + 1);
	}
	TAP_CHECK(ok, "pages on both sides of every border");
	again = mmap(NULL, 4 * chunk, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	for (unsigned long at = chunk; at <= 3 * chunk; at += chunk)
		ok = ok && holds(&again[at - PAGE], (uint8_t)(at >> 20)) &&
		     holds(&again[at], (uint8_t)((at >> 20) + 1));
	TAP_CHECK(ok, "are where they must be by another mapping");
	munmap(mem, 3 * chunk);
	munmap(again, 4 * chunk);
	close(fd);
}

static int child_of(int fd, uint8_t *mem)
{
	uint8_t *own;

	if (touch(mem, false) != SIGSEGV)
		return 1;
	if (ioctl(fd, VEPC_REMOVE_ALL, NULL) != 0)
		return 2;
	own = map(fd, 4, 0);
	if (own == MAP_FAILED || touch(own, true) || !holds(&own[1], 0x51))
		return 3;
	if (touch(own + PAGE, true))
		return 4;
	own[PAGE + 1] = 0x52;
	return 0;
}

static void test_fork(void)
{
	int fd = open_vepc(), status = -1;
	uint8_t *mem = map(fd, 4, 0);
	pid_t pid;

	touch(mem, true);
	mem[1] = 0x51;
	pid = fork();
	if (pid == 0)
		_exit(child_of(fd, mem));
	waitpid(pid, &status, 0);
	TAP_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0,
		  "a forked child does not have the mapping, but the file (%d)", status >> 8);
	TAP_CHECK(holds(&mem[1], 0x51) && holds(&mem[PAGE + 1], 0x52),
		  "what it did by a mapping of its own is seen here");
	munmap(mem, 4 * PAGE);
	close(fd);
}

/* The page is the file's: neither munmap nor REMOVE_ALL gives it back, the last close does. */
static void test_keeping(unsigned long all)
{
	int fd = open_vepc();
	uint8_t *mem = map(fd, 10, 0);

	for (int i = 0; i < 10; i++)
		touch(mem + (unsigned long)i * PAGE, true);
	TAP_CHECK(ioctl(fd, VEPC_REMOVE_ALL, NULL) == 0, "REMOVE_ALL of pages of no enclave: 0");
	munmap(mem, 10 * PAGE);
	TAP_CHECK(count_epc() == all - 10, "ten pages stay with the open file");
	close(fd);
	TAP_CHECK(count_epc() == all, "and none when it is closed");
}

static void kill_a_holder(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		int fd = open("/dev/sgx_vepc", O_RDWR);

		touch(map(fd, 4, 0), true);
		raise(SIGKILL);
	}
	waitpid(pid, &status, 0);
}

static void test_beside_enclave(unsigned long all)
{
	struct client_conf conf = { .heap_pages = 40 };
	struct client_encl e;
	struct encl_op op;
	int fd = open_vepc();
	uint8_t *mem = map(fd, PAGES_MANY, 0);
	unsigned long nr = 0;

	TAP_MUST(!client_create(&e, &conf), "an enclave");
	TAP_CHECK(!client_op(&e, 0, OP_FILL, e.base + e.heap, e.heap_pages, 7),
		  "it fills its heap");
	while (nr < all - 20 && !touch(mem + nr * PAGE, true))
		nr++;
	TAP_CHECK(nr == all - 20,
		  "all of the EPC but 20 pages goes to a file; the enclave makes room");
	op = (struct encl_op){ .nr = OP_WALK,
			       .arg = { e.base + e.heap, e.heap_pages, 2000, 7, 0 } };
	TAP_CHECK(!client_vdso(&e, 0, &op, NULL) && op.ret == 0,
		  "and runs on, in what is left, with its heap as it was");
	munmap(mem, PAGES_MANY * PAGE);
	close(fd);
	client_destroy(&e);
}

int main(void)
{
	struct sigaction sa = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
	unsigned long all;

	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGSEGV, &sa, NULL);
	if (access("/dev/sgx_vepc", F_OK)) {
		tap_skip("raw EPC", "no /dev/sgx_vepc on this machine");
		return tap_done();
	}
	test_nodes();
	test_calls();
	all = count_epc();
	test_mappings();
	test_large();
	test_fork();
	test_keeping(all);
	kill_a_holder();
	TAP_CHECK(count_epc() == all, "a child that was killed leaves nothing");
	test_beside_enclave(all);
	TAP_CHECK(count_epc() == all, "in the end all of the EPC can be had, as at first");
	return tap_done();
}
