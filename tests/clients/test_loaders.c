/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Whole loaders, each with the habits of one kind of real program: in which order it reserves, maps, adds and
 * initialises, from where its pages come, what it tries first, and how it lives with its enclave afterwards.
 * Parts of this are in other tests by themselves; here it is what they do together that counts.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client.h"
#include "lib/tap.h"

#define PAGE 4096ull
#define RW   (PROT_READ | PROT_WRITE)
#define RWX  (PROT_READ | PROT_WRITE | PROT_EXEC)
#define REG  SGX_SECINFO_TYPE(SGX_PT_REG)

static struct client_encl e;

static bool works(void)
{
	uint64_t addr = e.base + e.heap;

	return !client_op(&e, 0, OP_WRITE, addr, 0xfeed, 0) &&
	       client_op(&e, 0, OP_READ, addr, 0, 0) == 0xfeed;
}

static int create(const struct client_conf *c)
{
	struct sgx_enclave_create arg = { .src = (uintptr_t)e.secs };

	memset(e.secs, 0, sizeof(*e.secs));
	e.secs->size = e.size;
	e.secs->baseaddr = e.base;
	e.secs->ssa_frame_size = e.ssa_frame_pages;
	e.secs->attributes.flags = SGX_ATTR_MODE64BIT | c->attributes;
	e.secs->attributes.xfrm = SGX_XFRM_LEGACY;
	return ioctl(e.fd, SGX_IOC_ENCLAVE_CREATE, &arg) ? errno : 0;
}

/* ADD_PAGES as those do it who go on after a short count. */
static int add(uint64_t offset, const void *src, uint64_t bytes, uint64_t flags, bool measure,
	       bool advance)
{
	struct sgx_secinfo info __attribute__((aligned(64))) = { .flags = flags };
	struct sgx_enclave_add_pages arg = { .src = (uintptr_t)src,
					     .offset = offset,
					     .length = bytes,
					     .secinfo = (uintptr_t)&info,
					     .flags = measure ? SGX_PAGE_MEASURE : 0 };

	while (arg.length) {
		arg.count = 0;
		if (ioctl(e.fd, SGX_IOC_ENCLAVE_ADD_PAGES, &arg)) {
			if (errno == EINTR)
				continue;
			return errno;
		}
		if (!arg.count)
			return EPROTO;
		arg.offset += arg.count;
		arg.length -= arg.count;
		arg.src += advance ? arg.count : 0;
	}
	return 0;
}

static int map(uint64_t offset, uint64_t bytes, int prot)
{
	void *at = (void *)(e.base + offset);

	return mmap(at, bytes, prot, MAP_SHARED | MAP_FIXED, e.fd, 0) == at ? 0 : errno;
}

static void finish(void)
{
	for (unsigned int i = 0; i < e.threads; i++)
		e.tcs[i] += e.base;
	e.failed = NULL;
}

static void *zero_pages(uint64_t bytes)
{
	return mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* ---- a library OS -------------------------------------------------------------------------------------------- */

/*
 * The base is the size, or 0 where the program in the enclave is not position independent; the device is mapped RWX
 * over all of the range that may be mapped, by MAP_FIXED, before CREATE; then each area is added and mapped again,
 * the heap from one read-only anonymous mapping that nobody ever wrote to.
 */
static void check_library_os(uint64_t base, uint64_t size, uint64_t lead)
{
	struct client_conf conf = { .heap_pages = 64, .elrange_bytes = size, .lead_pages = lead };
	uint64_t from = base ? base : 0x10000;
	int err;

	if ((uintptr_t)check_library_os < base + size) {
		tap_skip("a range that this program lies in", "it is not position independent");
		return;
	}
	TAP_MUST(!client_layout(&e, &conf), "the layout");
	e.base = base;
	e.fd = open("/dev/sgx_enclave", O_RDWR | O_CLOEXEC);
	e.reserved = mmap((void *)from, base + size - from, RWX, MAP_SHARED | MAP_FIXED, e.fd, 0);
	e.reserved_bytes = base + size - from;
	TAP_MUST(e.reserved == (void *)from, "library OS: %#llx bytes from %#llx mapped RWX",
		 (unsigned long long)e.reserved_bytes, (unsigned long long)from);
	err = create(&conf);
	TAP_MUST(!err, "CREATE (%d)", err);
	for (unsigned int i = 0; i < e.segment_nr && !err; i++) {
		const struct client_segment *s = &e.segment[i];
		const void *src = s->bytes ? s->bytes : zero_pages(s->pages * PAGE);

		err = add(s->offset, src, s->pages * PAGE, s->flags, s->measure, true);
		if (!err)
			err = map(s->offset, s->pages * PAGE, client_secinfo_prot(s->flags));
		if (!s->bytes)
			munmap((void *)src, s->pages * PAGE);
	}
	TAP_CHECK(!err, "each area is added and mapped anew (%d)", err);
	TAP_MUST(!client_sign(&e, &conf) && !client_init(&e), "INIT");
	finish();
	TAP_CHECK(works(), "it runs");
	if (client_has_sgx2()) {
		uint64_t at = e.base + e.heap + 100 * PAGE;

		TAP_CHECK(!client_op(&e, 0, OP_EACCEPT,
				     SGX_SECINFO_R | SGX_SECINFO_W | REG | SGX_SECINFO_PENDING, at,
				     8) &&
				  !client_op(&e, 0, OP_READ, at + PAGE, 0, 0),
			  "EACCEPT in what was mapped before CREATE");
	}
	client_destroy(&e);
}

/* ---- an SDK -------------------------------------------------------------------------------------------------- */

/*
 * Twice the size is reserved, aligned and trimmed; pages are added one at a time, and a run of pages with one
 * protection is mapped when the next run begins; the last one ahead of INIT.
 */
static int load_by_page(int reserve_flags, int reserve_fd)
{
	struct client_conf conf = { .heap_pages = 16, .aug_pages = 32, .threads = 2 };
	struct {
		uint64_t at, bytes;
		int prot;
	} run = { 0 };
	void *zero = zero_pages(PAGE);
	uint8_t *p;
	int err;

	if (client_layout(&e, &conf))
		return ENOMEM;
	p = mmap(NULL, 2 * e.size, PROT_NONE, reserve_flags, reserve_fd, 0);
	if (p == MAP_FAILED)
		return errno;
	e.base = ((uintptr_t)p + e.size - 1) & ~(e.size - 1);
	if (e.base != (uintptr_t)p)
		munmap(p, e.base - (uintptr_t)p);
	munmap((void *)(e.base + e.size), (uintptr_t)p + e.size - e.base);
	e.reserved = (void *)e.base;
	e.reserved_bytes = e.size;
	e.fd = client_open();
	err = create(&conf);
	for (unsigned int i = 0; i < e.segment_nr && !err; i++) {
		const struct client_segment *s = &e.segment[i];
		int prot = client_secinfo_prot(s->flags);

		for (uint64_t page = 0; page < s->pages && !err; page++) {
			uint64_t at = s->offset + page * PAGE;

			err = add(at, s->bytes ? s->bytes + page * PAGE : zero, PAGE, s->flags,
				  s->measure, true);
			if (run.bytes && (run.prot != prot || run.at + run.bytes != at)) {
				err = err ? err : map(run.at, run.bytes, run.prot);
				run.bytes = 0;
			}
			if (!run.bytes)
				run.at = at;
			run.prot = prot;
			run.bytes += PAGE;
		}
	}
	munmap(zero, PAGE);
	err = err ? err : map(run.at, run.bytes, run.prot);
	return err ? err : client_sign(&e, &conf);
}

/* An INIT with a token, as drivers before Linux 5.11 wanted it: told by ENOTTY to do without. */
static int init_as_older(void)
{
	struct {
		uint64_t addr, sigstruct, token;
	} __attribute__((packed)) arg = { e.base, (uintptr_t)e.sig, 0 };
	struct {
		uint64_t addr, sigstruct;
	} shorter = { e.base, (uintptr_t)e.sig };

	if (ioctl(e.fd, _IOW(SGX_MAGIC, 2, arg), &arg) != -1 || errno != ENOTTY)
		return EPROTO;
	if (ioctl(e.fd, _IOW(SGX_MAGIC, 2, shorter), &shorter) != -1 || errno != ENOTTY)
		return EPROTO;
	return client_init(&e);
}

static uint64_t op(uint64_t nr, uint64_t a0, uint64_t a1, uint64_t a2)
{
	return client_op(&e, 1, nr, a0, a1, a2);
}

static int modify(uint64_t addr, uint64_t bytes, uint64_t type)
{
	struct sgx_enclave_modify_types arg = { .offset = addr - e.base,
						.length = bytes,
						.page_type = type };

	while (arg.length) {
		int ret = ioctl(e.fd, SGX_IOC_ENCLAVE_MODIFY_TYPES, &arg);

		if (ret && !arg.count && errno != EBUSY && errno != EAGAIN)
			return errno;
		arg.offset += arg.count;
		arg.length -= arg.count;
		arg.result = arg.count = 0;
	}
	return 0;
}

static int restrict_to(uint64_t addr, uint64_t bytes, uint64_t prot)
{
	struct sgx_enclave_restrict_permissions arg = { .offset = addr - e.base,
							.length = bytes,
							.permissions = prot };

	return ioctl(e.fd, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, &arg) || arg.count != bytes ? errno
											     : 0;
}

static int remove_pages(uint64_t addr, uint64_t bytes)
{
	struct sgx_enclave_remove_pages arg = { .offset = addr - e.base, .length = bytes };

	return ioctl(e.fd, SGX_IOC_ENCLAVE_REMOVE_PAGES, &arg) || arg.count != bytes ? errno : 0;
}

/* What an SDK's memory manager does with a range that it commits, protects, and gives back. */
static void check_dynamic_memory(const char *name)
{
	const uint64_t rw = SGX_SECINFO_R | SGX_SECINFO_W | REG, bytes = 8 * PAGE;
	const uint64_t trimmed = SGX_SECINFO_TYPE(SGX_PT_TRIM) | SGX_SECINFO_MODIFIED;
	uint64_t at = e.base + e.aug;

	if (!client_has_sgx2()) {
		tap_skip(name, "no SGX2");
		return;
	}
	for (int round = 0; round < 3; round++) {
		TAP_CHECK(!map(e.aug, bytes, RW), "%s: a range is mapped RW after INIT", name);
		TAP_CHECK(!op(OP_EACCEPT, rw | SGX_SECINFO_PENDING, at, 8), "and committed");
		TAP_CHECK(!op(OP_WRITE, at + PAGE, 0x1234, 0) &&
				  op(OP_READ, at + PAGE, 0, 0) == 0x1234,
			  "and used");
		/* RW to RX: EMODPE adds X, RESTRICT takes W, mprotect follows. */
		TAP_CHECK(!op(OP_EMODPE, SGX_SECINFO_RWX | REG, at, 0), "EMODPE to RWX");
		TAP_CHECK(!mprotect((void *)at, PAGE, RWX), "mprotect to RWX");
		TAP_CHECK(!restrict_to(at, PAGE, PROT_READ | PROT_EXEC), "RESTRICT to RX");
		TAP_CHECK(!mprotect((void *)at, PAGE, PROT_READ | PROT_EXEC), "mprotect to RX");
		TAP_CHECK(!op(OP_EACCEPT, SGX_SECINFO_R | SGX_SECINFO_X | REG | SGX_SECINFO_PR, at,
			      1),
			  "EACCEPT of RX");
		/* To nothing: what is EACCEPTed has to be readable by its page table, so mprotect is last. */
		TAP_CHECK(!restrict_to(at + 2 * PAGE, PAGE, 0), "RESTRICT to nothing");
		TAP_CHECK(!op(OP_EACCEPT, REG | SGX_SECINFO_PR, at + 2 * PAGE, 1), "EACCEPT of it");
		TAP_CHECK(!mprotect((void *)(at + 2 * PAGE), PAGE, PROT_NONE), "mprotect to NONE");
		/* It comes back: mprotect first this time, and EMODPE. */
		TAP_CHECK(!mprotect((void *)(at + 2 * PAGE), PAGE, RW) &&
				  !op(OP_EMODPE, rw, at + 2 * PAGE, 0) &&
				  !op(OP_WRITE, at + 2 * PAGE, 5, 0),
			  "and RW again");
		TAP_CHECK(!modify(at, bytes, SGX_PT_TRIM), "TRIM");
		TAP_CHECK(!op(OP_EACCEPT, trimmed, at, 8), "EACCEPT of TRIM");
		if (round == 1) /* some unmap first */
			TAP_CHECK(!munmap((void *)at, bytes), "munmap");
		TAP_CHECK(!remove_pages(at, bytes), "REMOVE");
		if (round == 0)
			TAP_CHECK(!mprotect((void *)at, bytes, PROT_NONE), "mprotect to NONE");
	}
	TAP_CHECK(works(), "%s: the rest is as it was", name);
}

static void check_sdk(const char *name, int flags, int fd, bool older)
{
	int err = load_by_page(flags, fd);

	TAP_MUST(!err, "%s: a page at a time, mapped in runs (%d)", name, err);
	err = older ? init_as_older() : client_init(&e);
	TAP_MUST(!err, "%s: INIT (%d)", name, err);
	finish();
	TAP_CHECK(works(), "%s: it runs", name);
	check_dynamic_memory(name);
	client_destroy(&e);
}

/* ---- a loader that maps last ----------------------------------------------------------------------------------- */

/*
 * Everything is added and initialised before anything is mapped; then each segment, by a copy of the descriptor that
 * is closed at once, and all of the rest of the range RWX for the heap. System calls of the enclave are exceptions:
 * the same TCS is entered at CSSA 1 to be told what it wants, and resumed.
 */
static void check_map_last(void)
{
	struct client_conf conf = { .heap_pages = 16, .threads = 2, .elrange_bytes = 64ull << 20 };
	struct encl_exc exc = { 0 };
	struct encl_op cpuid = { .nr = OP_RISKY, .arg = { RISKY_CPUID, 0, (uintptr_t)&exc } };
	void *fn = vdso_by_hash(vdso_from_getauxval(), "__vdso_sgx_enter_enclave");
	struct sgx_enclave_run run;
	uint64_t end, bad = 0;
	int err = 0;

	TAP_MUST(!client_layout(&e, &conf) && !client_reserve(&e, &conf), "map last: the range");
	e.fd = client_open();
	err = create(&conf);
	err = err ? err : client_add_pages(&e, &conf);
	err = err ? err : client_sign(&e, &conf);
	err = err ? err : client_init(&e);
	TAP_MUST(!err, "CREATE, ADD_PAGES, INIT without a mapping (%d)", err);
	for (unsigned int i = 0; i < e.segment_nr && !err; i++) {
		const struct client_segment *s = &e.segment[i];
		int copy = fcntl(e.fd, F_DUPFD_CLOEXEC, 3), own = e.fd;

		e.fd = copy;
		err = map(s->offset, s->pages * PAGE, client_secinfo_prot(s->flags));
		e.fd = own;
		close(copy);
	}
	end = e.aug;
	TAP_CHECK(!err && !map(end, e.size - end, RWX), "then the mappings, by copies (%d)", err);
	finish();
	TAP_CHECK(works(), "it runs");
	for (int i = 0; i < 200; i++) {
		const uint32_t leaf[] = { SGX_EENTER, SGX_EENTER, SGX_ERESUME };

		for (int step = 0; step < 3; step++) {
			memset(&run, 0, sizeof(run));
			run.tcs = e.tcs[0];
			bad += vdso_enter((uintptr_t)&cpuid, 0, 0, leaf[step], 0, 0, &run, fn) != 0;
			bad += run.function != (step ? SGX_EEXIT : SGX_ERESUME);
			bad += !step && run.exception_vector != VEC_UD;
		}
	}
	TAP_CHECK(!bad && exc.count, "EENTER, #UD, EENTER, ERESUME: 200 times (%llu wrong)",
		  (unsigned long long)bad);
	if (client_has_sgx2())
		TAP_CHECK(!op(OP_EACCEPT, SGX_SECINFO_R | SGX_SECINFO_W | REG | SGX_SECINFO_PENDING,
			      e.base + e.size - PAGE, 1),
			  "EACCEPT of the last page of the range");
	client_destroy(&e);
}

/* ---- a handler that makes a call of its own ------------------------------------------------------------------- */

static void *nested_fn;
static int nested_calls;

/* An exception: the enclave's handler is called by the vDSO function once more, on the same TCS, from here. */
static int by_nested_call(long rdi, long rsi, long rdx, long rsp, long r8, long r9,
			  struct sgx_enclave_run *run)
{
	struct sgx_enclave_run inner = { .tcs = run->tcs };

	(void)rdi, (void)rsi, (void)rdx, (void)rsp, (void)r8, (void)r9;
	if (run->function != SGX_ERESUME)
		return run->function == SGX_EEXIT ? 0 : -1;
	nested_calls++;
	if (vdso_enter(0, 0, 0, SGX_EENTER, 0, 0, &inner, nested_fn) || inner.function != SGX_EEXIT)
		return -2;
	return SGX_ERESUME;
}

static void check_nested(void)
{
	struct client_conf conf = { .heap_pages = 4 };
	struct encl_exc exc = { 0 };
	struct encl_op ud = { .nr = OP_RISKY, .arg = { RISKY_UD2, 0, (uintptr_t)&exc } };
	struct sgx_enclave_run run = { .user_handler = (uintptr_t)by_nested_call };
	int bad = 0;

	nested_fn = vdso_by_hash(vdso_from_getauxval(), "__vdso_sgx_enter_enclave");
	TAP_MUST(!client_create(&e, &conf), "an enclave for nested calls");
	run.tcs = e.tcs[0];
	for (int i = 0; i < 500; i++)
		bad += vdso_enter((uintptr_t)&ud, 0, 0, SGX_EENTER, 0, 0, &run, nested_fn) != 0;
	TAP_CHECK(!bad && nested_calls == 500,
		  "a handler calls the function itself and lets the outer one resume (%d, %d)", bad,
		  nested_calls);
	client_destroy(&e);
}

int main(void)
{
	const int anon = MAP_ANONYMOUS;

	check_library_os(256ull << 20, 256ull << 20, 0x100);
	check_library_os(1ull << 36, 1ull << 36, 0x400);
	check_library_os(0, 512ull << 20, 0x10);
	check_library_os(0, 64ull << 30, 0x400);
	check_sdk("an SDK", MAP_PRIVATE | anon, -1, false);
	check_sdk("one that reserves by a shared mapping", MAP_SHARED | anon | MAP_NORESERVE, 0,
		  true);
	check_sdk("one with a device of old", MAP_SHARED | anon, -1, true);
	check_map_last();
	check_nested();
	return tap_done();
}
