/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * RESTRICT_PERMISSIONS, MODIFY_TYPES, REMOVE_PAGES: one row an outcome, with result and count.
 *
 * The enclave: 0..2 a thread's pages (TCS, SSA, operands), 3..6 RW, 7 R, 8 RW trimmed and accepted, 9 RW
 * trimmed and not accepted, 10 augmented and PENDING, from 11 on nothing.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include "abi/caller.h"
#include "lib/tap.h"
#include "lib/thread.h"

#define PAGES(n) ((uint64_t)(n)*SGX_PAGE_SIZE)
#define TRIM     (SGX_SECINFO_TYPE(SGX_PT_TRIM) | SGX_SECINFO_MODIFIED)

enum op { RESTRICT, MODIFY, REMOVE };

static const struct row {
	const char *name;
	enum op op;
	uint64_t offset, length;
	uint64_t what; /* permissions, or page type */
	uint64_t result_in, count_in;
	int signal_after;
	long r;
	uint64_t result, count;
} cases[] = {
	/* What all three share. */
	{ "offset not aligned", RESTRICT, 8, PAGES(1), ENCL_R, 0, 0, -1, -EINVAL, 0, 0 },
	{ "offset not aligned", MODIFY, 8, PAGES(1), SGX_PT_TRIM, 0, 0, -1, -EINVAL, 0, 0 },
	{ "offset not aligned", REMOVE, 8, PAGES(1), 0, 0, 0, -1, -EINVAL, 0, 0 },
	{ "length 0", RESTRICT, 0, 0, ENCL_R, 0, 0, -1, -EINVAL, 0, 0 },
	{ "length 0", MODIFY, 0, 0, SGX_PT_TRIM, 0, 0, -1, -EINVAL, 0, 0 },
	{ "length 0", REMOVE, 0, 0, 0, 0, 0, -1, -EINVAL, 0, 0 },
	{ "length not aligned", RESTRICT, 0, 5, ENCL_R, 0, 0, -1, -EINVAL, 0, 0 },
	{ "length not aligned", MODIFY, 0, 5, SGX_PT_TRIM, 0, 0, -1, -EINVAL, 0, 0 },
	{ "length not aligned", REMOVE, 0, 5, 0, 0, 0, -1, -EINVAL, 0, 0 },
	{ "offset + length wraps", RESTRICT, PAGES(2), -PAGES(1), ENCL_R, 0, 0, -1, -EINVAL, 0, 0 },
	{ "offset + length wraps", MODIFY, PAGES(2), -PAGES(1), SGX_PT_TRIM, 0, 0, -1, -EINVAL, 0,
	  0 },
	{ "offset + length wraps", REMOVE, PAGES(2), -PAGES(1), 0, 0, 0, -1, -EINVAL, 0, 0 },
	{ "behind the enclave", RESTRICT, PAGES(15), PAGES(2), ENCL_R, 0, 0, -1, -EINVAL, 0, 0 },
	{ "behind the enclave", MODIFY, PAGES(15), PAGES(2), SGX_PT_TRIM, 0, 0, -1, -EINVAL, 0, 0 },
	{ "behind the enclave", REMOVE, PAGES(15), PAGES(2), 0, 0, 0, -1, -EINVAL, 0, 0 },
	{ "result not 0", RESTRICT, PAGES(3), PAGES(1), ENCL_R, 9, 0, -1, -EINVAL, 9, 0 },
	{ "result not 0", MODIFY, PAGES(3), PAGES(1), SGX_PT_TRIM, 9, 0, -1, -EINVAL, 9, 0 },
	{ "count not 0", RESTRICT, PAGES(3), PAGES(1), ENCL_R, 0, 9, -1, -EINVAL, 0, 9 },
	{ "count not 0", MODIFY, PAGES(3), PAGES(1), SGX_PT_TRIM, 0, 9, -1, -EINVAL, 0, 9 },
	{ "count not 0", REMOVE, PAGES(8), PAGES(1), 0, 0, 9, -1, -EINVAL, 0, 9 },
	{ "no such page", RESTRICT, PAGES(12), PAGES(1), ENCL_R, 0, 0, -1, -EFAULT, 0, 0 },
	{ "no such page", MODIFY, PAGES(12), PAGES(1), SGX_PT_TRIM, 0, 0, -1, -EFAULT, 0, 0 },
	{ "no such page", REMOVE, PAGES(12), PAGES(1), 0, 0, 0, -1, -EFAULT, 0, 0 },
	{ "a signal first", RESTRICT, PAGES(3), PAGES(3), ENCL_R, 0, 0, 0, -ABI_ERESTARTSYS, 0, 0 },
	{ "a signal first", MODIFY, PAGES(3), PAGES(3), SGX_PT_TRIM, 0, 0, 0, -ABI_ERESTARTSYS, 0,
	  0 },
	{ "a signal first", REMOVE, PAGES(8), PAGES(1), 0, 0, 0, 0, -ABI_ERESTARTSYS, 0, 0 },
	{ "a signal later", RESTRICT, PAGES(3), PAGES(3), ENCL_R, 0, 0, 2, 0, 0, PAGES(2) },
	{ "a signal later", MODIFY, PAGES(3), PAGES(3), SGX_PT_TRIM, 0, 0, 2, 0, 0, PAGES(2) },
	/* RESTRICT_PERMISSIONS. */
	{ "permissions beyond RWX", RESTRICT, PAGES(3), PAGES(1), 8 | ENCL_R, 0, 0, -1, -EINVAL, 0,
	  0 },
	{ "W without R", RESTRICT, PAGES(3), PAGES(1), ENCL_W, 0, 0, -1, -EINVAL, 0, 0 },
	{ "of a TCS", RESTRICT, 0, PAGES(1), ENCL_R, 0, 0, -1, -EINVAL, 0, 0 },
	{ "of a trimmed page", RESTRICT, PAGES(9), PAGES(1), ENCL_R, 0, 0, -1, -EINVAL, 0, 0 },
	{ "of a pending page", RESTRICT, PAGES(10), PAGES(1), ENCL_R, 0, 0, -1, -EFAULT,
	  SGX_PAGE_NOT_MODIFIABLE, 0 },
	{ "two of them fine, the third not there", RESTRICT, PAGES(3), PAGES(9), ENCL_R, 0, 0, -1,
	  -EINVAL, 0, PAGES(5) },
	{ "to R", RESTRICT, PAGES(3), PAGES(2), ENCL_R, 0, 0, -1, 0, 0, PAGES(2) },
	{ "to nothing", RESTRICT, PAGES(3), PAGES(1), 0, 0, 0, -1, 0, 0, PAGES(1) },
	{ "to more than there is", RESTRICT, PAGES(7), PAGES(1), ENCL_R | ENCL_W, 0, 0, -1, 0, 0,
	  PAGES(1) },
	/* MODIFY_TYPES. */
	{ "a type beyond 8 bits", MODIFY, PAGES(3), PAGES(1), 0x104, 0, 0, -1, -EINVAL, 0, 0 },
	{ "to REG", MODIFY, PAGES(3), PAGES(1), SGX_PT_REG, 0, 0, -1, -EINVAL, 0, 0 },
	{ "to SECS", MODIFY, PAGES(3), PAGES(1), SGX_PT_SECS, 0, 0, -1, -EINVAL, 0, 0 },
	{ "to VA", MODIFY, PAGES(3), PAGES(1), SGX_PT_VA, 0, 0, -1, -EINVAL, 0, 0 },
	{ "a TCS to TCS", MODIFY, 0, PAGES(1), SGX_PT_TCS, 0, 0, -1, -EINVAL, 0, 0 },
	{ "a trimmed page to TRIM", MODIFY, PAGES(9), PAGES(1), SGX_PT_TRIM, 0, 0, -1, -EINVAL, 0,
	  0 },
	{ "a trimmed page to TCS", MODIFY, PAGES(9), PAGES(1), SGX_PT_TCS, 0, 0, -1, -EINVAL, 0,
	  0 },
	{ "an R page to TCS", MODIFY, PAGES(7), PAGES(1), SGX_PT_TCS, 0, 0, -1, -EPERM, 0, 0 },
	{ "RW to TCS until the R page", MODIFY, PAGES(5), PAGES(4), SGX_PT_TCS, 0, 0, -1, -EPERM, 0,
	  PAGES(2) },
	{ "a pending page to TRIM", MODIFY, PAGES(10), PAGES(1), SGX_PT_TRIM, 0, 0, -1, -EFAULT,
	  SGX_PAGE_NOT_MODIFIABLE, 0 },
	{ "RW to TCS", MODIFY, PAGES(3), PAGES(2), SGX_PT_TCS, 0, 0, -1, 0, 0, PAGES(2) },
	{ "RW and R to TRIM", MODIFY, PAGES(3), PAGES(5), SGX_PT_TRIM, 0, 0, -1, 0, 0, PAGES(5) },
	{ "a TCS to TRIM", MODIFY, 0, PAGES(1), SGX_PT_TRIM, 0, 0, -1, 0, 0, PAGES(1) },
	/* REMOVE_PAGES. */
	{ "of a page that is not trimmed", REMOVE, PAGES(3), PAGES(1), 0, 0, 0, -1, -EPERM, 0, 0 },
	{ "of a TCS", REMOVE, 0, PAGES(1), 0, 0, 0, -1, -EPERM, 0, 0 },
	{ "of a trimmed page that was not accepted", REMOVE, PAGES(9), PAGES(1), 0, 0, 0, -1,
	  -EPERM, 0, 0 },
	{ "of one that was, and one that was not", REMOVE, PAGES(8), PAGES(2), 0, 0, 0, -1, -EPERM,
	  0, PAGES(1) },
	{ "of one that was accepted", REMOVE, PAGES(8), PAGES(1), 0, 0, 0, -1, 0, 0, PAGES(1) },
};

static const char *const op_names[] = { "RESTRICT", "MODIFY", "REMOVE" };

/* Any of the three, with its own struct. */
static long call(struct caller *c, struct encl *encl, const struct row *row, uint64_t *result,
		 uint64_t *count)
{
	struct sgx_enclave_restrict_permissions restrict_arg = { row->offset, row->length,
								 row->what, row->result_in,
								 row->count_in };
	struct sgx_enclave_modify_types modify_arg = { row->offset, row->length, row->what,
						       row->result_in, row->count_in };
	struct sgx_enclave_remove_pages remove_arg = { row->offset, row->length, row->count_in };
	long r = 0;

	*result = *count = 0;
	switch (row->op) {
	case RESTRICT:
		r = caller_ioctl(c, encl, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, &restrict_arg);
		*result = restrict_arg.result;
		*count = restrict_arg.count;
		break;
	case MODIFY:
		r = caller_ioctl(c, encl, SGX_IOC_ENCLAVE_MODIFY_TYPES, &modify_arg);
		*result = modify_arg.result;
		*count = modify_arg.count;
		break;
	case REMOVE:
		r = caller_ioctl(c, encl, SGX_IOC_ENCLAVE_REMOVE_PAGES, &remove_arg);
		*count = remove_arg.count;
		break;
	}
	return r;
}

static void start(struct world *w, struct build *b, struct thread *t)
{
	static const struct row trim = { "", MODIFY, PAGES(8), PAGES(2), SGX_PT_TRIM, 0, 0,
					 -1, 0,      0,        0 };
	struct encl_fault f;
	uint64_t result, count;
	struct caller c;

	world_init(w, 64, 0);
	caller_init(&c);
	TAP_MUST(build_create(b, w, PAGES(16), 0) == 0 && thread_pages(b, 0) == 0 &&
			 build_add_many(b, 3, 4) == 0 && build_add(b, 7, NULL, FLAGS_R) == 0 &&
			 build_add_many(b, 8, 2) == 0 && build_init(b) == 0,
		 "built");
	thread_init(t, b, 0);
	f = encl_fault(b->encl, &encl_mm_none, b->base + PAGES(10), ENCL_R, ENCL_R, true);
	TAP_MUST(f.kind == ENCL_FAULT_PF && call(&c, b->encl, &trim, &result, &count) == 0 &&
			 cpu_ok(thread_enter(t)) && cpu_ok(thread_eaccept(t, 8, TRIM)) &&
			 cpu_ok(thread_exit(t)),
		 "augmented, trimmed, accepted");
	caller_fini(&c);
}

static void run(const struct row *row)
{
	uint64_t result, count;
	struct caller c;
	struct world w;
	struct build b;
	struct thread t;
	char name[96];
	long r;

	snprintf(name, sizeof(name), "%s: %s", op_names[row->op], row->name);
	start(&w, &b, &t);
	caller_init(&c);
	c.signal_after = row->signal_after;
	r = call(&c, b.encl, row, &result, &count);
	TAP_CHECK(r == row->r && result == row->result && count == row->count,
		  "%s: %ld, %llu, %llu (%ld, %llu, %llu)", name, row->r,
		  (unsigned long long)row->result, (unsigned long long)row->count, r,
		  (unsigned long long)result, (unsigned long long)count);
	thread_fini(&t);
	build_fini(&b);
	caller_fini(&c);
	world_fini(&w, name);
}

/* What comes before the argument is looked at, and the argument itself. */
static void states(enum op op)
{
	static const unsigned long requests[] = {
		[RESTRICT] = SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS,
		[MODIFY] = SGX_IOC_ENCLAVE_MODIFY_TYPES,
		[REMOVE] = SGX_IOC_ENCLAVE_REMOVE_PAGES,
	};
	static const struct row good[] = {
		[RESTRICT] = { "", RESTRICT, PAGES(3), PAGES(1), ENCL_R, 0, 0, -1, 0, 0, 0 },
		[MODIFY] = { "", MODIFY, PAGES(3), PAGES(1), SGX_PT_TRIM, 0, 0, -1, 0, 0, 0 },
		[REMOVE] = { "", REMOVE, PAGES(8), PAGES(1), 0, 0, 0, -1, 0, 0, 0 },
	};
	uint64_t result, count, *readonly;
	const char *name = op_names[op];
	struct caller c;
	struct world w;
	struct build b;
	struct thread t;
	long r;

	caller_init(&c);
	world_init(&w, 64, SGX_CPUID_SGX2);
	TAP_MUST(build_create(&b, &w, PAGES(16), 0) == 0, "created");
	r = caller_ioctl(&c, b.encl, requests[op], (void *)WILD);
	TAP_CHECK(r == -ENODEV, "%s, a CPU without SGX2: -ENODEV first of all (%ld)", name, r);
	build_fini(&b);
	world_fini(&w, name);

	world_init(&w, 64, 0);
	TAP_MUST(build_create(&b, &w, PAGES(16), 0) == 0, "created");
	r = caller_ioctl(&c, b.encl, requests[op], (void *)WILD);
	TAP_CHECK(r == -EINVAL, "%s, not initialised: -EINVAL before the argument (%ld)", name, r);
	build_fini(&b);
	world_fini(&w, name);

	start(&w, &b, &t);
	r = caller_ioctl(&c, b.encl, requests[op], (void *)WILD);
	TAP_CHECK(r == -EFAULT, "%s, argument unreadable: -EFAULT (%ld)", name, r);
	readonly = mmap(NULL, SGX_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			-1, 0);
	memcpy(readonly, (uint64_t[]){ good[op].offset, good[op].length }, 16);
	if (op != REMOVE)
		readonly[2] = good[op].what;
	mprotect(readonly, SGX_PAGE_SIZE, PROT_READ);
	r = caller_ioctl(&c, b.encl, requests[op], readonly);
	TAP_CHECK(r == -EFAULT, "%s, argument read-only: -EFAULT at the end (%ld)", name, r);
	munmap(readonly, SGX_PAGE_SIZE);
	r = call(&c, b.encl, &good[op], &result, &count);
	TAP_CHECK(r == (op == RESTRICT ? 0
			: op == MODIFY ? -EINVAL
				       : -EFAULT),
		  "%s: it was done all the same (%ld)", name, r);
	thread_fini(&t);
	build_fini(&b);
	world_fini(&w, name);
	caller_fini(&c);
}

int main(void)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		run(&cases[i]);
	for (enum op op = RESTRICT; op <= REMOVE; op++)
		states(op);
	return tap_done();
}
