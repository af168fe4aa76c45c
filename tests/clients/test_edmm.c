/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Pages that come, change and go while the enclave runs (SGX2): EAUG by a fault or by EACCEPT,
 * EMODPE, RESTRICT, EACCEPTCOPY, TRIM and REMOVE, a TCS made at run time.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "client.h"
#include "lib/tap.h"

#define PAGE    4096ull
#define REG     SGX_SECINFO_TYPE(SGX_PT_REG)
#define RW      (SGX_SECINFO_R | SGX_SECINFO_W)
#define PENDING SGX_SECINFO_PENDING
#define AUG     96

static struct client_encl e;
static void *fn;

static long go(uint32_t leaf, unsigned int thread, struct encl_op *op, struct sgx_enclave_run *run)
{
	memset(run, 0, sizeof(*run));
	run->tcs = e.tcs[thread];
	return vdso_enter((uintptr_t)op, 0, 0, leaf, 0, 0, run, fn);
}

static uint64_t accept(uint64_t flags, uint64_t addr, uint64_t pages)
{
	return client_op(&e, 1, OP_EACCEPT, flags, addr, pages);
}

static int restrict_to(uint64_t addr, uint64_t length, uint64_t perms,
		       struct sgx_enclave_restrict_permissions *ret)
{
	*ret = (struct sgx_enclave_restrict_permissions){ .offset = addr - e.base,
							  .length = length,
							  .permissions = perms };
	return ioctl(e.fd, SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, ret) ? errno : 0;
}

static int modify(uint64_t addr, uint64_t length, uint64_t type,
		  struct sgx_enclave_modify_types *ret)
{
	*ret = (struct sgx_enclave_modify_types){ .offset = addr - e.base,
						  .length = length,
						  .page_type = type };
	return ioctl(e.fd, SGX_IOC_ENCLAVE_MODIFY_TYPES, ret) ? errno : 0;
}

static int remove_pages(uint64_t addr, uint64_t length, struct sgx_enclave_remove_pages *ret)
{
	*ret = (struct sgx_enclave_remove_pages){ .offset = addr - e.base, .length = length };
	return ioctl(e.fd, SGX_IOC_ENCLAVE_REMOVE_PAGES, ret) ? errno : 0;
}

/* A write to a page that is not there: EAUG, a #PF for it is PENDING, EACCEPT, on it goes. */
static void check_augment(uint64_t addr)
{
	struct encl_op op = { .nr = OP_WRITE, .arg = { addr, 0x1122 } };
	struct sgx_enclave_run run;

	go(SGX_EENTER, 0, &op, &run);
	TAP_CHECK(run.function == SGX_ERESUME && run.exception_vector == VEC_PF &&
			  run.exception_error_code == 0x8007 && run.exception_addr == addr,
		  "first write: #PF, 0x8007, the page is pending (vector %u, error %#x)",
		  run.exception_vector, run.exception_error_code);
	TAP_CHECK(accept(RW | REG | PENDING, addr, 1) == 0, "another thread EACCEPTs it");
	go(SGX_ERESUME, 0, &op, &run);
	TAP_CHECK(run.function == SGX_EEXIT && client_op(&e, 1, OP_READ, addr, 0, 0) == 0x1122,
		  "ERESUME: the write is done");
	TAP_CHECK(accept(RW | REG | PENDING, addr, 1) == SGX_PAGE_ATTRIBUTES_MISMATCH,
		  "a second EACCEPT: SGX_PAGE_ATTRIBUTES_MISMATCH");
}

static void check_accept_first(uint64_t addr)
{
	TAP_CHECK(accept(RW | REG | PENDING, addr, 20) == 0,
		  "20 pages by EACCEPT alone: its faults bring them");
	TAP_CHECK(client_op(&e, 1, OP_READ, addr + 5 * PAGE, 0, 0) == 0, "they are zero");
	TAP_CHECK(!client_op(&e, 1, OP_WRITE, addr + 19 * PAGE, 0x19, 0) &&
			  client_op(&e, 1, OP_READ, addr + 19 * PAGE, 0, 0) == 0x19,
		  "and can be written");
	TAP_CHECK(accept(SGX_SECINFO_R | REG | PENDING, addr + 30 * PAGE, 1) ==
			  SGX_PAGE_ATTRIBUTES_MISMATCH,
		  "EACCEPT with other rights: SGX_PAGE_ATTRIBUTES_MISMATCH");
}

static void check_permissions(uint64_t addr)
{
	struct sgx_enclave_restrict_permissions r;
	struct encl_op op = { .nr = OP_WRITE, .arg = { addr, 0x77 } };
	struct sgx_enclave_run run;
	int err;

	accept(RW | REG | PENDING, addr, 2);
	err = restrict_to(addr, 2 * PAGE, SGX_SECINFO_R, &r);
	TAP_CHECK(!err && r.result == 0 && r.count == 2 * PAGE, "RESTRICT of two pages to R (%d)",
		  err);
	TAP_CHECK(accept(SGX_SECINFO_R | REG | SGX_SECINFO_PR, addr, 2) == 0, "EACCEPTed");
	go(SGX_EENTER, 0, &op, &run);
	TAP_CHECK(run.exception_vector == VEC_PF && run.exception_error_code == 0x8007,
		  "a write: #PF with the SGX bit (error %#x)", run.exception_error_code);
	TAP_CHECK(!client_op(&e, 1, OP_EMODPE, RW, addr, 0), "EMODPE to RW by another thread");
	go(SGX_ERESUME, 0, &op, &run);
	TAP_CHECK(run.function == SGX_EEXIT && client_op(&e, 1, OP_READ, addr, 0, 0) == 0x77,
		  "ERESUME: the write is done");
	err = restrict_to(addr, PAGE, SGX_SECINFO_W, &r);
	TAP_CHECK(err == EINVAL && !r.count, "RESTRICT to W without R: EINVAL");
	err = restrict_to(e.tcs[0], PAGE, SGX_SECINFO_R, &r);
	TAP_CHECK(err == EINVAL && !r.count && !r.result, "RESTRICT of a TCS: EINVAL");
	err = restrict_to(e.base + e.aug + (AUG - 1) * PAGE, PAGE, SGX_SECINFO_R, &r);
	TAP_CHECK(err == EFAULT, "RESTRICT of no page: EFAULT (%d)", err);
}

/* Code at run time, as loaders in enclaves do: EACCEPTCOPY, then it may be executed. */
static void check_acceptcopy(uint64_t addr, uint64_t from)
{
	client_op(&e, 1, OP_WRITE, from + 8, 0xc0de, 0);
	TAP_CHECK(client_op(&e, 1, OP_NOP, 0, 0, 0) == 0, "the source is filled");
	TAP_CHECK(client_op(&e, 1, OP_EACCEPTCOPY, SGX_SECINFO_RWX | REG, addr, from) == 0,
		  "EACCEPTCOPY into a page that is not there yet, as RWX");
	TAP_CHECK(client_op(&e, 1, OP_READ, addr + 8, 0, 0) == 0xc0de, "the contents are there");
	TAP_CHECK(client_op(&e, 1, OP_EACCEPTCOPY, SGX_SECINFO_RWX | REG, addr, from) ==
			  SGX_PAGE_ATTRIBUTES_MISMATCH,
		  "once more: SGX_PAGE_ATTRIBUTES_MISMATCH");
	client_op(&e, 1, OP_WRITE, addr, 0xc3, 0); /* ret */
	{
		struct encl_exc exc = { 0 };
		struct encl_op op = { .nr = OP_RISKY,
				      .arg = { RISKY_EXEC, addr + 0x100, (uintptr_t)&exc } };
		struct sgx_enclave_run run;

		client_op(&e, 0, OP_WRITE, addr + 0x100, 0x0b0f, 0); /* ud2 */
		go(SGX_EENTER, 0, &op, &run);
		TAP_CHECK(run.exception_vector == VEC_UD, "it can be executed (vector %u)",
			  run.exception_vector);
		go(SGX_EENTER, 0, NULL, &run);
		go(SGX_ERESUME, 0, NULL, &run);
		TAP_CHECK(run.function == SGX_EEXIT && exc.rip == addr + 0x100,
			  "and it was that code");
	}
}

static void check_trim(uint64_t addr)
{
	struct sgx_enclave_modify_types m;
	struct sgx_enclave_remove_pages r;
	struct encl_op op = { .nr = OP_READ, .arg = { addr } };
	struct sgx_enclave_run run;
	const uint64_t trimmed = SGX_SECINFO_TYPE(SGX_PT_TRIM) | SGX_SECINFO_MODIFIED;
	int err;

	accept(RW | REG | PENDING, addr, 4);
	client_op(&e, 1, OP_WRITE, addr, 0xdead, 0);
	err = remove_pages(addr, PAGE, &r);
	TAP_CHECK(err == EPERM && !r.count, "REMOVE of a REG page: EPERM");
	err = modify(addr, 4 * PAGE, SGX_PT_TRIM, &m);
	TAP_CHECK(!err && m.count == 4 * PAGE && !m.result, "MODIFY_TYPES to TRIM, four pages");
	err = remove_pages(addr, PAGE, &r);
	TAP_CHECK(err == EPERM && !r.count, "REMOVE before EACCEPT: EPERM");
	go(SGX_EENTER, 0, &op, &run);
	TAP_CHECK(run.exception_vector == VEC_PF && run.exception_error_code == 0x8005,
		  "a read: #PF, 0x8005 (error %#x)", run.exception_error_code);
	TAP_CHECK(accept(trimmed, addr, 4) == 0, "EACCEPT of TRIM");
	err = remove_pages(addr, 4 * PAGE, &r);
	TAP_CHECK(!err && r.count == 4 * PAGE, "REMOVE, four pages");
	TAP_CHECK(accept(RW | REG | PENDING, addr, 1) == 0, "the address can be used again");
	go(SGX_ERESUME, 0, NULL, &run);
	TAP_CHECK(run.function == SGX_EEXIT && op.ret == 0,
		  "and is empty, as the thread that waited sees");
}

static void check_tcs(uint64_t addr)
{
	struct sgx_enclave_modify_types m;
	const uint64_t tcs = addr + TB_TCS * PAGE, pages = TB_SSA + 3 * e.ssa_frame_pages;
	uint64_t entry = 0;
	struct encl_op make = { .nr = OP_MAKE_TCS };
	int err;

	accept(RW | REG | PENDING, addr, pages);
	/* What the builder writes into a GS page; and the entry point as the other TCSs have it. */
	client_op(&e, 1, OP_WRITE, addr + TB_FS * PAGE, ENCL_FS_MAGIC, 0);
	client_op(&e, 1, OP_WRITE, addr + TB_GS * PAGE + GS_FRAME_BYTES, e.ssa_frame_pages * PAGE,
		  0);
	client_op(&e, 1, OP_WRITE, addr + TB_GS * PAGE + GS_MAGIC, ENCL_GS_MAGIC, 0);
	for (unsigned int i = 0; i < e.segment_nr; i++)
		if (e.segment[i].offset + e.base == e.tcs[0])
			memcpy(&entry, e.segment[i].bytes + 32, 8);
	make.arg[0] = tcs;
	make.arg[1] = addr + TB_SSA * PAGE - e.base;
	make.arg[2] = 3;
	make.arg[3] = entry;
	make.arg[4] = addr + TB_FS * PAGE - e.base;
	make.arg[5] = addr + TB_GS * PAGE - e.base;
	TAP_CHECK(!client_call(&e, 1, &make, ENTRY_VDSO), "the enclave writes a TCS");
	/* A TCS is never executable, so a mapping with X would not be let near it. */
	TAP_MUST(!mprotect((void *)tcs, PAGE, PROT_READ | PROT_WRITE), "its mapping loses X");
	err = modify(tcs, PAGE, SGX_PT_TCS, &m);
	TAP_CHECK(!err && m.count == PAGE && !m.result, "MODIFY_TYPES to TCS (%d)", err);
	TAP_CHECK(accept(SGX_SECINFO_TYPE(SGX_PT_TCS) | SGX_SECINFO_MODIFIED, tcs, 1) == 0,
		  "EACCEPT of it");
	e.tcs[2] = tcs;
	{
		struct encl_op op = { .nr = OP_FSGS, .ret = 9 };

		TAP_CHECK(!client_call(&e, 2, &op, ENTRY_VDSO) && op.ret == 0,
			  "it can be entered, with FS and GS of its own");
		TAP_CHECK(!client_call(&e, 2, &op, ENTRY_UD2) && op.ret == 0, "by ENCLU as well");
	}
}

static void check_bad(void)
{
	struct sgx_enclave_modify_types m;
	struct sgx_enclave_restrict_permissions r;
	struct sgx_enclave_remove_pages rm;

	TAP_CHECK(modify(e.base, PAGE, SGX_PT_REG, &m) == EINVAL, "MODIFY_TYPES to REG: EINVAL");
	TAP_CHECK(modify(e.base, PAGE, 0x104, &m) == EINVAL, "MODIFY_TYPES to 0x104: EINVAL");
	TAP_CHECK(modify(e.base + 8, PAGE, SGX_PT_TRIM, &m) == EINVAL, "not aligned: EINVAL");
	TAP_CHECK(modify(e.base, 0, SGX_PT_TRIM, &m) == EINVAL, "no length: EINVAL");
	TAP_CHECK(modify(e.base + e.size, PAGE, SGX_PT_TRIM, &m) == EINVAL,
		  "behind the range: EINVAL");
	TAP_CHECK(restrict_to(e.base, PAGE, 8, &r) == EINVAL, "RESTRICT to 8: EINVAL");
	TAP_CHECK(remove_pages(e.base, -PAGE, &rm) == EINVAL, "REMOVE of too much: EINVAL");
	TAP_CHECK(modify(e.base + e.code, PAGE, SGX_PT_TCS, &m) == EPERM,
		  "an RX page to TCS: EPERM");
	TAP_CHECK(client_op(&e, 1, OP_ENCLU, SGX_EACCEPT, e.base + e.heap + 8, e.base + e.heap) ==
			  ~0ull,
		  "EACCEPT with a SECINFO that is not aligned: #GP");
}

int main(void)
{
	struct client_conf conf = { .threads = 3, .heap_pages = 4, .aug_pages = AUG };
	uint64_t aug;

	if (!client_has_sgx2())
		TAP_SKIP_ALL("this machine has no SGX2");
	TAP_MUST(!client_create(&e, &conf), "an enclave");
	fn = vdso_by_hash(vdso_from_getauxval(), "__vdso_sgx_enter_enclave");
	aug = e.base + e.aug;
	check_augment(aug);
	check_accept_first(aug + PAGE);
	check_permissions(aug + 40 * PAGE);
	check_acceptcopy(aug + 45 * PAGE, e.base + e.heap);
	check_trim(aug + 50 * PAGE);
	check_tcs(aug + 60 * PAGE);
	check_bad();
	client_destroy(&e);
	return tap_done();
}
