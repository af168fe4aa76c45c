/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Where everything lies in the test enclave's linear range: [lead] code, thread blocks, heap, room
 * for EAUG; the size is the next power of two.  Pages with the same SECINFO that follow each other
 * are one segment.
 */
#include "client.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

extern const uint8_t __start_encl_text[], __stop_encl_text[];
void encl_entry(void);

#define PAGE 4096ull

void client_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	__asm__ volatile("cpuid"
			 : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3])
			 : "a"(leaf), "c"(subleaf));
}

uint64_t client_epc_pages(void)
{
	uint64_t bytes = 0;
	uint32_t r[4];

	for (uint32_t sub = 2; sub < 10; sub++) {
		client_cpuid(0x12, sub, r);
		if ((r[0] & 0xf) != 1)
			break;
		bytes += (r[2] & 0xfffff000u) | (uint64_t)(r[3] & 0xfffffu) << 32;
	}
	return bytes / 4096;
}

uint64_t client_xcr0(void)
{
	uint32_t lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return lo | (uint64_t)hi << 32;
}

bool client_has_sgx2(void)
{
	uint32_t r[4];

	client_cpuid(0x12, 0, r);
	return r[0] & SGX_CPUID_SGX2;
}

/* Pages that one SSA frame takes: XSAVE in standard format, MISC, GPRs. */
uint32_t client_ssa_pages(uint64_t xfrm)
{
	uint32_t bytes = 576, r[4];

	for (int i = 2; i < 63; i++) {
		if (!(xfrm >> i & 1))
			continue;
		client_cpuid(0xd, i, r);
		if (r[0] + r[1] > bytes)
			bytes = r[0] + r[1];
	}
	bytes += sizeof(struct sgx_ssa_gpr) + sizeof(struct sgx_exinfo);
	return (bytes + PAGE - 1) / PAGE;
}

static struct client_segment *add_segment(struct client_encl *e, uint64_t offset, uint64_t pages,
					  uint64_t flags, bool measure)
{
	struct client_segment *s;

	assert(e->segment_nr < CLIENT_SEGMENTS);
	s = &e->segment[e->segment_nr++];
	*s = (struct client_segment){ offset, pages, flags, measure, NULL };
	return s;
}

static uint64_t thread_pages(const struct client_encl *e)
{
	return TB_SSA + (uint64_t)e->nssa * e->ssa_frame_pages;
}

static void fill_thread(struct client_encl *e, const struct client_conf *c, unsigned int i,
			uint64_t offset, uint8_t *bytes)
{
	uint64_t *fs = (void *)(bytes + TB_FS * PAGE), *gs = (void *)(bytes + TB_GS * PAGE);
	struct sgx_tcs *tcs = (void *)(bytes + TB_TCS * PAGE);

	fs[0] = ENCL_FS_MAGIC;
	fs[1] = c->salt;
	gs[GS_FRAME_BYTES / 8] = e->ssa_frame_pages * PAGE;
	gs[GS_MAGIC / 8] = ENCL_GS_MAGIC;
	gs[GS_THREAD / 8] = i;
	tcs->flags = c->attributes & SGX_ATTR_AEXNOTIFY ? SGX_TCS_AEXNOTIFY : 0;
	tcs->ossa = offset + TB_SSA * PAGE;
	tcs->nssa = e->nssa;
	tcs->oentry = e->code + ((uintptr_t)encl_entry - (uintptr_t)__start_encl_text);
	tcs->ofsbasgx = offset + TB_FS * PAGE;
	tcs->ogsbasgx = offset + TB_GS * PAGE;
	tcs->fslimit = tcs->gslimit = 0xffffffff;
	e->tcs[i] = offset + TB_TCS * PAGE; /* the base is added when it is known */
}

static void layout_threads(struct client_encl *e, const struct client_conf *c, uint64_t at,
			   uint64_t first)
{
	const uint64_t rw = SGX_SECINFO_R | SGX_SECINFO_W | SGX_SECINFO_TYPE(SGX_PT_REG);

	for (unsigned int i = 0; i < e->threads; i++) {
		uint8_t *bytes = e->image + (at - first);

		fill_thread(e, c, i, at, bytes);
		add_segment(e, at, TB_TCS, rw, true)->bytes = bytes;
		add_segment(e, at + TB_TCS * PAGE, 1, SGX_SECINFO_TYPE(SGX_PT_TCS), true)->bytes =
			bytes + TB_TCS * PAGE;
		add_segment(e, at + TB_SSA * PAGE, thread_pages(e) - TB_SSA, rw, true)->bytes =
			bytes + TB_SSA * PAGE;
		at += thread_pages(e) * PAGE;
	}
}

int client_layout(struct client_encl *e, const struct client_conf *c)
{
	size_t text = (size_t)(__stop_encl_text - __start_encl_text);
	uint64_t at;

	memset(e, 0, sizeof(*e));
	e->fd = -1;
	e->failed = "layout";
	e->threads = c->threads ? c->threads : 1;
	e->nssa = c->nssa ? c->nssa : 3;
	e->secs = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (e->secs == MAP_FAILED)
		return -errno;
	e->sig = (void *)(e->secs + 1);
	e->ssa_frame_pages = client_ssa_pages(c->xfrm ? c->xfrm : SGX_XFRM_LEGACY);
	e->code = c->lead_pages * PAGE;
	e->code_pages = (text + PAGE - 1) / PAGE;
	e->image_bytes = (e->code_pages + e->threads * thread_pages(e)) * PAGE;
	e->image = mmap(NULL, e->image_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			-1, 0);
	if (e->image == MAP_FAILED)
		return -errno;
	memcpy(e->image, __start_encl_text, text);
	add_segment(e, e->code, e->code_pages,
		    SGX_SECINFO_R | SGX_SECINFO_X | SGX_SECINFO_TYPE(SGX_PT_REG), true)
		->bytes = e->image;
	layout_threads(e, c, e->code + e->code_pages * PAGE, e->code);
	at = e->code + e->image_bytes;
	e->heap = at;
	e->heap_pages = c->heap_pages;
	if (c->heap_pages)
		add_segment(e, at, c->heap_pages,
			    SGX_SECINFO_R | SGX_SECINFO_W | (c->heap_rwx ? SGX_SECINFO_X : 0) |
				    SGX_SECINFO_TYPE(SGX_PT_REG),
			    false);
	e->aug = at += c->heap_pages * PAGE;
	e->aug_pages = c->aug_pages;
	at += c->aug_pages * PAGE;
	for (e->size = 2 * PAGE; e->size < at || e->size < c->elrange_bytes; e->size *= 2)
		;
	return 0;
}
