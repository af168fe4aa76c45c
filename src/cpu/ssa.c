/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * SSA frames (see ssa.h): finding their pages, and moving XSAVE images in and out.
 *
 * Images are in the standard (not compacted) format.  Only components of XFRM are touched, on
 * either side; one that lies beyond the buffer that the caller has counts as initial.
 */
#include "cpu/ssa.h"

#include <string.h>

#define XSTATE_BV   512u /* header: offsets in the image */
#define XCOMP_BV    520u
#define XHEADER_END 576u

#define X87_LOW      0u /* FCW .. FDP */
#define X87_LOW_END  24u
#define FSW          2u
#define MXCSR        24u
#define MXCSR_MASK   28u
#define X87_HIGH     32u /* ST0 .. ST7 */
#define X87_HIGH_END 160u
#define XMM          160u
#define XMM_END      416u

#define FCW_INITIAL   0x037fu
#define MXCSR_INITIAL 0x1f80u
#define MXCSR_LEGAL   0xffffu
/* One unmasked exception, the invalid operation, that has happened: its mask clear, its flag set. */
#define FCW_OF_MF   0x037eu
#define FSW_OF_MF   0x8081u
#define MXCSR_OF_XM 0x1f01u

#define XFRM_X87 1ull
#define XFRM_SSE 2ull
#define XFRM_AVX 4ull

void ssa_locate(const struct sgx_secs *secs, const struct sgx_tcs *tcs, uint32_t cssa,
		struct ssa_frame *ret_frame)
{
	uint64_t frame_bytes = (uint64_t)secs->ssa_frame_size * SGX_PAGE_SIZE;

	ret_frame->la = secs->baseaddr + tcs->ossa + frame_bytes * cssa;
	ret_frame->gpr_la = ret_frame->la + frame_bytes - sizeof(struct sgx_ssa_gpr);
}

static struct cpu_outcome pin_page(struct operands *ops, uint64_t la, bool check, void **ret_bytes)
{
	if (check)
		return operand_pin(ops, la, SGX_SECINFO_R | SGX_SECINFO_W, ret_bytes);
	return operand_pin_unchecked(ops, la, ret_bytes);
}

static struct cpu_outcome pin_frame(struct operands *ops, const struct sgx_secs *secs, bool check,
				    struct ssa_frame *frame)
{
	size_t xsize = cpu_xsave_size(ops->cpu, secs->attributes.xfrm);
	unsigned int last = secs->ssa_frame_size - 1;
	struct cpu_outcome out;
	void *bytes;

	frame->xsave_nr = (unsigned int)((xsize + SGX_PAGE_SIZE - 1) / SGX_PAGE_SIZE);
	assert(frame->xsave_nr <= SSA_XSAVE_PAGES_MAX && frame->xsave_nr <= secs->ssa_frame_size);
	for (unsigned int i = 0; i < frame->xsave_nr; i++) {
		out = pin_page(ops, frame->la + (uint64_t)i * SGX_PAGE_SIZE, check, &bytes);
		if (!cpu_passed(out))
			return out;
		frame->xsave[i] = bytes;
	}
	if (last < frame->xsave_nr) {
		bytes = frame->xsave[last] + SGX_PAGE_SIZE - sizeof(struct sgx_ssa_gpr);
	} else {
		out = pin_page(ops, frame->gpr_la, check, &bytes);
		if (!cpu_passed(out))
			return out;
	}
	frame->gpr = bytes;
	return cpu_done();
}

struct cpu_outcome ssa_pin(struct operands *ops, const struct sgx_secs *secs,
			   struct ssa_frame *frame)
{
	return pin_frame(ops, secs, true, frame);
}

struct cpu_outcome ssa_pin_unchecked(struct operands *ops, const struct sgx_secs *secs,
				     struct ssa_frame *frame)
{
	return pin_frame(ops, secs, false, frame);
}

struct sgx_exinfo *ssa_exinfo(const struct ssa_frame *frame)
{
	return (struct sgx_exinfo *)frame->gpr - 1;
}

/* ---- extended state ------------------------------------------------------------------------ */

static void frame_write(const struct ssa_frame *frame, size_t offset, const void *from,
			size_t bytes)
{
	const uint8_t *src = from;

	while (bytes > 0) {
		size_t in_page = offset % SGX_PAGE_SIZE, chunk = SGX_PAGE_SIZE - in_page;

		if (chunk > bytes)
			chunk = bytes;
		assert(offset / SGX_PAGE_SIZE < frame->xsave_nr);
		if (src) {
			memcpy(frame->xsave[offset / SGX_PAGE_SIZE] + in_page, src, chunk);
			src += chunk;
		} else {
			memset(frame->xsave[offset / SGX_PAGE_SIZE] + in_page, 0, chunk);
		}
		offset += chunk;
		bytes -= chunk;
	}
}

static void frame_read(const struct ssa_frame *frame, size_t offset, void *to, size_t bytes)
{
	uint8_t *dst = to;

	while (bytes > 0) {
		size_t in_page = offset % SGX_PAGE_SIZE, chunk = SGX_PAGE_SIZE - in_page;

		if (chunk > bytes)
			chunk = bytes;
		assert(offset / SGX_PAGE_SIZE < frame->xsave_nr);
		memcpy(dst, frame->xsave[offset / SGX_PAGE_SIZE] + in_page, chunk);
		dst += chunk;
		offset += chunk;
		bytes -= chunk;
	}
}

static uint64_t image_bv(const uint8_t *image, size_t image_bytes)
{
	uint64_t bv;

	if (!image || image_bytes < XHEADER_END)
		return 0;
	memcpy(&bv, image + XSTATE_BV, sizeof(bv));
	return bv;
}

static bool image_holds(const struct cpu *cpu, unsigned int i, size_t image_bytes)
{
	return (size_t)cpu->config.xsave_offset[i] + cpu->config.xsave_size[i] <= image_bytes;
}

/* Component i of the image has a value of its own: else it is initial. */
static bool image_has(const struct cpu *cpu, uint64_t bv, unsigned int i, size_t image_bytes)
{
	return bv >> i & 1 && (i < 2 || image_holds(cpu, i, image_bytes));
}

static void save_legacy(const struct ssa_frame *frame, uint64_t bv, const uint8_t *image)
{
	const uint16_t fcw = FCW_INITIAL;
	const uint32_t mxcsr = MXCSR_INITIAL, mxcsr_mask = MXCSR_LEGAL;
	bool x87 = bv & XFRM_X87, sse = bv & XFRM_SSE;

	frame_write(frame, X87_LOW, x87 ? image + X87_LOW : NULL, X87_LOW_END - X87_LOW);
	if (!x87)
		frame_write(frame, X87_LOW, &fcw, sizeof(fcw));
	frame_write(frame, X87_HIGH, x87 ? image + X87_HIGH : NULL, X87_HIGH_END - X87_HIGH);
	frame_write(frame, XMM, sse ? image + XMM : NULL, XMM_END - XMM);
	/* XSAVE writes MXCSR whatever XSTATE_BV says of SSE. */
	frame_write(frame, MXCSR, image ? image + MXCSR : (const uint8_t *)&mxcsr, sizeof(mxcsr));
	frame_write(frame, MXCSR_MASK, &mxcsr_mask, sizeof(mxcsr_mask));
}

static void reset_image(const struct cpu *cpu, uint64_t xfrm, uint8_t *image, size_t image_bytes)
{
	const uint16_t fcw = FCW_INITIAL;
	const uint32_t mxcsr = MXCSR_INITIAL;
	uint64_t bv = image_bv(image, image_bytes) & ~xfrm;

	memset(image + X87_LOW, 0, X87_LOW_END - X87_LOW);
	memcpy(image + X87_LOW, &fcw, sizeof(fcw));
	memset(image + X87_HIGH, 0, X87_HIGH_END - X87_HIGH);
	memset(image + XMM, 0, XMM_END - XMM);
	memcpy(image + MXCSR, &mxcsr, sizeof(mxcsr));
	for (unsigned int i = 2; i < 63; i++)
		if (xfrm >> i & 1 && image_holds(cpu, i, image_bytes))
			memset(image + cpu->config.xsave_offset[i], 0, cpu->config.xsave_size[i]);
	memcpy(image + XSTATE_BV, &bv, sizeof(bv));
}

void ssa_save_extended(const struct cpu *cpu, const struct ssa_frame *frame, uint64_t xfrm,
		       void *xsave, size_t xsave_bytes)
{
	uint8_t *image = xsave_bytes >= XHEADER_END ? xsave : NULL;
	uint64_t have = image_bv(image, xsave_bytes) & xfrm, bv = 0;

	for (unsigned int i = 0; i < 63; i++) {
		bool has = image_has(cpu, have, i, xsave_bytes);

		if (has)
			bv |= 1ull << i;
		if (i >= 2 && xfrm >> i & 1)
			frame_write(frame, cpu->config.xsave_offset[i],
				    has ? image + cpu->config.xsave_offset[i] : NULL,
				    cpu->config.xsave_size[i]);
	}
	save_legacy(frame, bv, image);
	frame_write(frame, XSTATE_BV, &bv, sizeof(bv));
	frame_write(frame, XCOMP_BV, NULL, XHEADER_END - XCOMP_BV);
	if (image)
		reset_image(cpu, xfrm, image, xsave_bytes);
}

static void add_to_bv(uint8_t *image, uint64_t component)
{
	uint64_t bv;

	memcpy(&bv, image + XSTATE_BV, sizeof(bv));
	bv |= component;
	memcpy(image + XSTATE_BV, &bv, sizeof(bv));
}

void ssa_synthesize(uint8_t vector, void *xsave, size_t xsave_bytes)
{
	const uint16_t fcw = FCW_OF_MF, fsw = FSW_OF_MF;
	const uint32_t mxcsr = MXCSR_OF_XM;
	uint8_t *image = xsave;

	if (!image || xsave_bytes < XHEADER_END)
		return;
	if (vector == CPU_MF) {
		memcpy(image + X87_LOW, &fcw, sizeof(fcw));
		memcpy(image + FSW, &fsw, sizeof(fsw));
		add_to_bv(image, XFRM_X87);
	} else if (vector == CPU_XM) {
		memcpy(image + MXCSR, &mxcsr, sizeof(mxcsr));
		add_to_bv(image, XFRM_SSE);
	}
}

bool ssa_extended_legal(const struct cpu *cpu, const struct ssa_frame *frame, uint64_t xfrm)
{
	uint64_t bv, compact[2];
	uint32_t mxcsr;

	frame_read(frame, XSTATE_BV, &bv, sizeof(bv));
	frame_read(frame, XCOMP_BV, compact, sizeof(compact));
	frame_read(frame, MXCSR, &mxcsr, sizeof(mxcsr));
	return !(bv & ~xfrm) && !compact[0] && !compact[1] && !(mxcsr & ~MXCSR_LEGAL);
}

static void load_legacy(const struct ssa_frame *frame, uint64_t bv, uint8_t *image)
{
	if (bv & XFRM_X87) {
		frame_read(frame, X87_LOW, image + X87_LOW, X87_LOW_END - X87_LOW);
		frame_read(frame, X87_HIGH, image + X87_HIGH, X87_HIGH_END - X87_HIGH);
	}
	if (bv & XFRM_SSE)
		frame_read(frame, XMM, image + XMM, XMM_END - XMM);
	/* XRSTOR loads MXCSR with SSE or AVX asked for, and SSE always is. */
	frame_read(frame, MXCSR, image + MXCSR, sizeof(uint32_t));
}

void ssa_load_extended(const struct cpu *cpu, const struct ssa_frame *frame, uint64_t xfrm,
		       void *xsave, size_t xsave_bytes)
{
	uint8_t *image = xsave;
	uint64_t bv, new_bv;

	if (!image || xsave_bytes < XHEADER_END)
		return;
	reset_image(cpu, xfrm, image, xsave_bytes);
	frame_read(frame, XSTATE_BV, &bv, sizeof(bv));
	new_bv = image_bv(image, xsave_bytes);
	load_legacy(frame, bv, image);
	for (unsigned int i = 0; i < 63; i++) {
		if (!image_has(cpu, bv, i, xsave_bytes))
			continue;
		new_bv |= 1ull << i;
		if (i >= 2)
			frame_read(frame, cpu->config.xsave_offset[i],
				   image + cpu->config.xsave_offset[i], cpu->config.xsave_size[i]);
	}
	memcpy(image + XSTATE_BV, &new_bv, sizeof(new_bv));
}
