/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What profilers and SDKs do to a debug enclave of their own process, through /proc/self/mem: they let its threads be
 * debugged (TCS.FLAGS.DBGOPTIN), and read where a thread was interrupted. A production enclave is closed to them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "lib/tap.h"

#define PAGE 4096ull

static struct client_encl e;
static int mem;
static char path[32];

static uint64_t peek(uint64_t addr)
{
	uint64_t value = ~0ull;

	return pread(mem, &value, 8, (off_t)addr) == 8 ? value : ~0ull;
}

static bool poke(uint64_t addr, uint64_t value) { return pwrite(mem, &value, 8, (off_t)addr) == 8; }

static void check_heap(void)
{
	uint64_t heap = e.base + e.heap, value, bad = 0;
	static char bytes[2 * PAGE];

	client_op(&e, 0, OP_WRITE, heap + 8, 0x1122334455667788, 0);
	TAP_CHECK(peek(heap + 8) == 0x1122334455667788, "what the enclave wrote is read");
	TAP_CHECK(pread(mem, bytes, 3, (off_t)heap + 11) == 3 && !memcmp(bytes, "\x55\x44\x33", 3),
		  "three bytes of it");
	TAP_CHECK(poke(heap + 16, 0xabcd) && client_op(&e, 0, OP_READ, heap + 16, 0, 0) == 0xabcd,
		  "what is written the enclave reads");
	TAP_CHECK(pwrite(mem, "xy", 2, (off_t)heap + 23) == 2 &&
			  client_op(&e, 0, OP_READ, heap + 16, 0, 0) == 0x780000000000abcd &&
			  client_op(&e, 0, OP_READ, heap + 24, 0, 0) == 'y',
		  "two bytes, of two words, and no more");
	for (uint64_t i = 0; i < e.heap_pages; i++)
		client_op(&e, 0, OP_WRITE, heap + i * PAGE + 4088, i * 3 + 1, 0);
	for (uint64_t i = 0; i < e.heap_pages; i++)
		bad += peek(heap + i * PAGE + 4088) != i * 3 + 1;
	TAP_CHECK(!bad, "every page of more than the EPC holds (%llu wrong)",
		  (unsigned long long)bad);
	for (uint64_t i = 0; i < e.heap_pages; i++)
		bad += !poke(heap + i * PAGE + 4088, i * 5 + 2);
	for (uint64_t i = 0; i < e.heap_pages; i++)
		bad += client_op(&e, 0, OP_READ, heap + i * PAGE + 4088, 0, 0) != i * 5 + 2;
	TAP_CHECK(!bad, "and each can be written (%llu wrong)", (unsigned long long)bad);
	TAP_CHECK(pread(mem, bytes, sizeof(bytes), (off_t)heap + 4088) == sizeof(bytes) &&
			  (memcpy(&value, bytes, 8), value == 2) &&
			  (memcpy(&value, bytes + PAGE, 8), value == 7),
		  "a read of more than a page");
}

/* A thread's block of control. */
static void check_tcs(void)
{
	uint64_t tcs = e.tcs[0], flags = offsetof(struct sgx_tcs, flags);
	uint32_t nssa = 0;

	TAP_CHECK(peek(tcs + flags) == 0, "TCS.FLAGS is 0");
	TAP_CHECK(pread(mem, &nssa, 4, (off_t)(tcs + offsetof(struct sgx_tcs, nssa))) == 4 &&
			  nssa == e.nssa,
		  "NSSA is what it was added with (%u)", nssa);
	TAP_CHECK(!poke(tcs + offsetof(struct sgx_tcs, oentry), 0) && errno == EIO,
		  "OENTRY cannot be written: EIO");
	TAP_CHECK(pread(mem, &nssa, 4, (off_t)tcs + 4000) == -1 && errno == EIO,
		  "what is reserved cannot be read: EIO");
	for (unsigned int i = 0; i < e.threads; i++)
		TAP_CHECK(poke(e.tcs[i] + flags, SGX_TCS_DBGOPTIN) &&
				  peek(e.tcs[i] + flags) == SGX_TCS_DBGOPTIN,
			  "thread %u: DBGOPTIN is set", i);
}

static volatile sig_atomic_t traps;

static void on_trap(int signo, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)signo, (void)info;
	traps++;
	/* The enclave's handler moves on, the frame resumes. */
	uc->uc_mcontext.gregs[REG_RAX] = SGX_EENTER;
}

/* INT3 is #BP now, which no way of entering reports but by a signal. */
static void check_opt_in(void)
{
	struct sigaction sa = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_NODEFER };
	struct encl_exc exc = { 0 };
	struct encl_op op = { .nr = OP_RISKY, .arg = { RISKY_INT3, 0, (uintptr_t)&exc } };

	sigaction(SIGTRAP, &sa, NULL);
	client_enclu(&e, 0, &op, ENTRY_SELF);
	TAP_CHECK(traps == 1 && exc.count == 1, "INT3 inside is a SIGTRAP (%d), and it goes on",
		  (int)traps);
	TAP_CHECK((exc.exitinfo & 0xff) == VEC_BP && (exc.exitinfo >> 8 & 7) == 6,
		  "a software exception, by EXITINFO (%#llx)", (unsigned long long)exc.exitinfo);
	signal(SIGTRAP, SIG_DFL);
}

/* Where a thread was when it left by an exception: what profilers sample. */
static void check_ssa(void)
{
	struct encl_op op = { .nr = OP_RISKY, .arg = { RISKY_UD2 } };
	struct sgx_enclave_run run = { 0 };
	struct sgx_ssa_gpr gpr;
	uint64_t ossa = peek(e.tcs[1] + offsetof(struct sgx_tcs, ossa)), at;
	uint32_t cssa = 0;

	client_vdso(&e, 1, &op, &run);
	TAP_CHECK(run.function == SGX_ERESUME && run.exception_vector == VEC_UD, "an exception");
	TAP_CHECK(pread(mem, &cssa, 4, (off_t)(e.tcs[1] + offsetof(struct sgx_tcs, cssa))) == 4 &&
			  cssa == 1,
		  "TCS.CSSA is 1 (%u)", cssa);
	at = e.base + ossa + e.ssa_frame_pages * PAGE - sizeof(gpr);
	TAP_CHECK(pread(mem, &gpr, sizeof(gpr), (off_t)at) == sizeof(gpr), "the SSA is read");
	TAP_CHECK(gpr.rip >= e.base + e.code && gpr.rip < e.base + e.code + e.code_pages * PAGE,
		  "RIP is in the enclave's code");
	TAP_CHECK(*(uint8_t *)&gpr.exitinfo == VEC_UD, "EXITINFO says #UD");
}

static void check_position(void)
{
	uint64_t heap = e.base + e.heap, value = 0x77;
	int ro = open("/proc/self/mem", O_RDONLY);

	TAP_CHECK(lseek(mem, (off_t)heap, SEEK_SET) == (off_t)heap && write(mem, &value, 8) == 8,
		  "seek and write");
	TAP_CHECK(read(mem, &value, 8) == 8 && lseek(mem, 0, SEEK_CUR) == (off_t)heap + 16,
		  "read goes on behind it");
	TAP_CHECK(client_op(&e, 0, OP_READ, heap, 0, 0) == 0x77, "it was written");
	TAP_CHECK(pread(ro, &value, 8, (off_t)heap) == 8 && value == 0x77, "by a read-only file");
	TAP_CHECK(pwrite(ro, &value, 8, (off_t)heap) == -1 && errno == EBADF, "EBADF to write it");
	close(ro);
}

static void check_rest(void)
{
	uint64_t mine = 0x4711, value = 0;
	void *wild = (void *)8;
	char *p = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	__asm__("" : "+r"(wild));
	TAP_CHECK(peek((uintptr_t)&mine) == 0x4711, "other memory is read as ever");
	TAP_CHECK(poke((uintptr_t)&mine, 3) && mine == 3, "and written");
	TAP_CHECK(poke((uintptr_t)p, 9) && *(uint64_t *)p == 9, "even if it is read only");
	munmap(p, PAGE);
	TAP_CHECK(pread(mem, &value, 8, (off_t)(uintptr_t)p) == -1 && errno == EIO,
		  "EIO where nothing is mapped");
	TAP_CHECK(pread(mem, wild, 8, (off_t)(e.base + e.heap)) == -1 && errno == EFAULT,
		  "EFAULT for a wild buffer");
	TAP_CHECK(pread(mem, &value, 8, (off_t)(e.base + e.aug)) == -1 && errno == EIO,
		  "EIO where the enclave has no page");
}

/* By several pieces: each call that reads or writes. */
static void check_vectors(void)
{
	off_t heap = (off_t)(e.base + e.heap);
	uint64_t low = 0x11, high = 0x2233;
	struct iovec iov[] = { { &low, 8 }, { &high, 2 }, { (void *)8, 1 } };
	size_t too_many = SIZE_MAX;
	void *wild = (void *)8;
	int nr = -1;
	char *p;

	__asm__("" : "+r"(wild), "+r"(too_many), "+r"(nr));
	TAP_CHECK(pwritev(mem, iov, 2, heap) == 10 && peek((uint64_t)heap + 8) << 48 >> 48 == high,
		  "pwritev");
	low = high = 0;
	TAP_CHECK(preadv(mem, iov, 2, heap) == 10 && low == 0x11 && high == 0x2233, "preadv");
	TAP_CHECK(preadv(mem, iov, 3, heap) == 10, "as far as it goes");
	TAP_CHECK(preadv(mem, iov + 2, 1, heap) == -1 && errno == EFAULT, "a wild piece: EFAULT");
	TAP_CHECK(preadv(mem, wild, 1, heap) == -1 && errno == EFAULT, "a wild array: EFAULT");
	TAP_CHECK(preadv(mem, iov, nr, heap) == -1 && errno == EINVAL, "less than none: EINVAL");
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	TAP_CHECK(pread(mem, p, too_many, heap) == -1 && errno == EFAULT && !*p,
		  "more than there are addresses: EFAULT, and nothing is read");
	munmap(p, PAGE);
	low = 0x44;
	lseek(mem, heap, SEEK_SET);
	TAP_CHECK(writev(mem, iov, 1) == 8 && peek((uint64_t)heap) == 0x44, "writev");
	TAP_CHECK(pwritev2(mem, iov + 1, 1, -1, 0) == 2 && lseek(mem, 0, SEEK_CUR) == heap + 10,
		  "pwritev2 at the position, which moves on");
	lseek(mem, heap, SEEK_SET);
	low = 0;
	TAP_CHECK(readv(mem, iov, 2) == 10 && low == 0x44, "readv");
	low = 0;
	TAP_CHECK(preadv2(mem, iov, 1, heap, 0) == 8 && low == 0x44, "preadv2");
	TAP_CHECK(preadv2(mem, iov, 1, heap, RWF_DSYNC) == -1 && errno == EOPNOTSUPP,
		  "with a flag that such a file does not know: EOPNOTSUPP");
}

static void check_production(void)
{
	struct client_conf conf = { .heap_pages = 4 };
	uint64_t value;
	struct iovec iov = { &value, 8 };

	TAP_MUST(!client_create(&e, &conf), "a production enclave");
	TAP_CHECK(pread(mem, &value, 8, (off_t)(e.base + e.heap)) == -1 && errno == EIO,
		  "its heap: EIO");
	client_op(&e, 0, OP_WRITE, e.base + e.heap, 1, 0);
	TAP_CHECK(preadv(mem, &iov, 1, (off_t)(e.base + e.heap)) == -1 && errno == EIO,
		  "by preadv as well");
	lseek(mem, (off_t)(e.base + e.heap), SEEK_SET);
	TAP_CHECK(readv(mem, &iov, 1) == -1 && errno == EIO, "and by readv");
	TAP_CHECK(!poke(e.tcs[0] + 8, SGX_TCS_DBGOPTIN) && errno == EIO, "DBGOPTIN: EIO");
	TAP_CHECK(!client_op(&e, 0, OP_NOP, 0, 0, 0), "and it runs");
	client_destroy(&e);
}

/* A descriptor from before a fork is of the parent's memory, where there is no such enclave. */
static void check_inherited(const struct client_conf *conf)
{
	pid_t child = fork();
	int status = -1;

	if (child == 0) {
		uint64_t value;
		int own;

		if (client_create(&e, conf))
			_exit(1);
		client_op(&e, 0, OP_WRITE, e.base + e.heap, 1, 0);
		own = open("/proc/self/mem", O_RDONLY);
		if (pread(own, &value, 8, (off_t)(e.base + e.heap)) != 8)
			_exit(2);
		_exit(pread(mem, &value, 8, (off_t)(e.base + e.heap)) == -1 ? 0 : 3);
	}
	waitpid(child, &status, 0);
	TAP_CHECK(status == 0, "a child reads its own memory, and its parent's (%#x)",
		  (unsigned int)status);
}

int main(void)
{
	struct client_conf conf = { .threads = 2,
				    .heap_pages = 300,
				    .aug_pages = 4,
				    .attributes = SGX_ATTR_DEBUG,
				    .miscselect = SGX_MISC_EXINFO };

	snprintf(path, sizeof(path), "/proc/%d/mem", getpid());
	mem = open(path, O_RDWR | O_LARGEFILE | O_CLOEXEC);
	TAP_MUST(mem >= 0, "%s can be opened", path);
	check_inherited(&conf);
	TAP_MUST(!client_create(&e, &conf), "a debug enclave");
	check_heap();
	check_tcs();
	check_opt_in();
	check_ssa();
	check_position();
	check_vectors();
	check_rest();
	client_destroy(&e);
	check_production();
	close(mem);
	return tap_done();
}
