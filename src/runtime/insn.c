/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
#include "runtime/insn.h"

#include <stdbool.h>

/* What follows an opcode. */
enum {
	NO = 0,
	M = 1 << 0,   /* ModRM, and what it asks for */
	B = 1 << 1,   /* an immediate byte */
	W = 1 << 2,   /* two bytes */
	Z = 1 << 3,   /* two bytes with 66H and without REX.W, four otherwise */
	V = 1 << 4,   /* as Z, but eight with REX.W */
	D = 1 << 5,   /* four bytes, whatever the prefixes */
	A = 1 << 6,   /* an address: eight bytes, four with 67H */
	G = 1 << 7,   /* group 3: TEST has an immediate, the others have none */
	XX = 1 << 15, /* no instruction in 64-bit mode, or a prefix */
};

/* clang-format off */
static const uint16_t one_byte[256] = {
	/*       0  1  2  3  4  5  6  7  8    9    A  B    C  D  E  F */
	/* 0 */ M, M, M, M, B, Z, XX, XX, M, M, M, M, B, Z, XX, XX,
	/* 1 */ M, M, M, M, B, Z, XX, XX, M, M, M, M, B, Z, XX, XX,
	/* 2 */ M, M, M, M, B, Z, XX, XX, M, M, M, M, B, Z, XX, XX,
	/* 3 */ M, M, M, M, B, Z, XX, XX, M, M, M, M, B, Z, XX, XX,
	/* 4 */ XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX, XX,
	/* 5 */ NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
	/* 6 */ XX, XX, XX, M, XX, XX, XX, XX, Z, M | Z, B, M | B, NO, NO, NO, NO,
	/* 7 */ B, B, B, B, B, B, B, B, B, B, B, B, B, B, B, B,
	/* 8 */ M | B, M | Z, XX, M | B, M, M, M, M, M, M, M, M, M, M, M, M,
	/* 9 */ NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, XX, NO, NO, NO, NO, NO,
	/* A */ A, A, A, A, NO, NO, NO, NO, B, Z, NO, NO, NO, NO, NO, NO,
	/* B */ B, B, B, B, B, B, B, B, V, V, V, V, V, V, V, V,
	/* C */ M | B, M | B, W, NO, XX, XX, M | B, M | Z, W | B, NO, W, NO, NO, B, XX, NO,
	/* D */ M, M, M, M, XX, XX, XX, NO, M, M, M, M, M, M, M, M,
	/* E */ B, B, B, B, B, B, B, B, D, D, XX, B, NO, NO, NO, NO,
	/* F */ XX, NO, XX, XX, NO, NO, M | G | B, M | G | Z, NO, NO, NO, NO, NO, NO, M, M,
};

static const uint16_t two_byte[256] = {
	/* 0 */ M, M, M, M, XX, NO, NO, NO, NO, NO, XX, NO, XX, M, NO, M | B,
	/* 1 */ M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,
	/* 2 */ M, M, M, M, XX, XX, XX, XX, M, M, M, M, M, M, M, M,
	/* 3 */ NO, NO, NO, NO, NO, NO, XX, NO, XX, XX, XX, XX, XX, XX, XX, XX,
	/* 4 */ M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,
	/* 5 */ M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,
	/* 6 */ M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,
	/* 7 */ M | B, M | B, M | B, M | B, M, M, M, NO, M, M, XX, XX, M, M, M, M,
	/* 8 */ D, D, D, D, D, D, D, D, D, D, D, D, D, D, D, D,
	/* 9 */ M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,
	/* A */ NO, NO, NO, M, M | B, M, M, M, NO, NO, NO, M, M | B, M, M, M,
	/* B */ M, M, M, M, M, M, M, M, M, M, M | B, M, M, M, M, M,
	/* C */ M, M, M | B, M, M | B, M | B, M | B, M, NO, NO, NO, NO, NO, NO, NO, NO,
	/* D */ M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,
	/* E */ M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,
	/* F */ M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,
};
/* clang-format on */

struct insn {
	const uint8_t *code;
	size_t at, bytes;
	bool size16, address32, repne, rex_w, any_simd_prefix;
};

static bool take(struct insn *i, uint8_t *ret)
{
	if (i->at >= i->bytes)
		return false;
	*ret = i->code[i->at++];
	return true;
}

/* Legacy prefixes, and a REX when it is the last one. */
static bool prefixes(struct insn *i, uint8_t *ret_opcode)
{
	uint8_t b;

	while (take(i, &b)) {
		switch (b) {
		case 0x66:
			i->size16 = i->any_simd_prefix = true;
			break;
		case 0x67:
			i->address32 = true;
			break;
		case 0xf2:
			i->repne = i->any_simd_prefix = true;
			break;
		case 0xf0:
		case 0xf3:
			i->any_simd_prefix = true;
			break;
		case 0x26:
		case 0x2e:
		case 0x36:
		case 0x3e:
		case 0x64:
		case 0x65:
			break;
		default:
			if ((b & 0xf0) != 0x40) {
				*ret_opcode = b;
				return true;
			}
			i->rex_w = b & 8;
			if (!take(i, &b))
				return false;
			if ((b & 0xf0) == 0x40 || b == 0x66 || b == 0x67 || b == 0xf0 ||
			    b == 0xf2 || b == 0xf3 || (b & 0xe7) == 0x26 || b == 0x64 ||
			    b == 0x65) {
				i->rex_w = false; /* not the last: it does not count */
				i->at--;
				break;
			}
			/* No prefix may come before VEX, EVEX and XOP that says the same. */
			if (b == 0xc4 || b == 0xc5 || b == 0x62)
				return false;
			*ret_opcode = b;
			return true;
		}
	}
	return false;
}

/* ModRM, SIB and displacement; @registers: of any form the operands are registers (MOV to and from CR and DR). */
static bool modrm(struct insn *i, bool registers, uint8_t *ret_reg)
{
	size_t displacement = 0;
	uint8_t b, sib = 0;

	if (!take(i, &b))
		return false;
	*ret_reg = b >> 3 & 7;
	if (b >> 6 == 3 || registers)
		return true;
	if ((b & 7) == 4 && !take(i, &sib))
		return false;
	if (b >> 6 == 1)
		displacement = 1;
	else if (b >> 6 == 2 || (b & 7) == 5 || ((b & 7) == 4 && (sib & 7) == 5))
		displacement = 4;
	i->at += displacement;
	return true;
}

static size_t operands(struct insn *i, unsigned int what, bool registers)
{
	size_t z = i->size16 && !i->rex_w ? 2 : 4;
	uint8_t reg = 0;

	if (what & XX)
		return 0;
	if ((what & M) && !modrm(i, registers, &reg))
		return 0;
	if ((what & G) && reg > 1)
		what = 0;
	if (what & B)
		i->at += 1;
	if (what & W)
		i->at += 2;
	if (what & Z)
		i->at += z;
	if (what & V)
		i->at += i->rex_w ? 8 : z;
	if (what & D)
		i->at += 4;
	if (what & A)
		i->at += i->address32 ? 4 : 8;
	return i->at <= i->bytes ? i->at : 0;
}

/* Behind 0FH. */
static size_t escaped(struct insn *i)
{
	uint8_t op;

	if (!take(i, &op))
		return 0;
	if (op == 0x38)
		return take(i, &op) ? operands(i, M, false) : 0;
	if (op == 0x3a)
		return take(i, &op) ? operands(i, M | B, false) : 0;
	if (op == 0x78 && (i->size16 || i->repne)) /* EXTRQ, INSERTQ */
		return operands(i, M | W, false);
	return operands(i, two_byte[op], op >= 0x20 && op <= 0x23);
}

/* An opcode of one of the maps that VEX and EVEX name. */
static size_t mapped(struct insn *i, unsigned int map, bool evex)
{
	uint8_t op;

	if (i->any_simd_prefix || !take(i, &op))
		return 0;
	switch (map) {
	case 1:
		if (op == 0x77 && !evex)
			return operands(i, NO, false); /* VZEROUPPER */
		return operands(i, M | (two_byte[op] & M ? two_byte[op] & B : 0), false);
	case 2:
		return operands(i, M, false);
	case 3:
		return operands(i, M | B, false);
	case 5:
	case 6:
		return evex ? operands(i, M, false) : 0;
	default:
		return 0;
	}
}

static size_t vex(struct insn *i, uint8_t op)
{
	uint8_t p0, p1, p2;

	if (!take(i, &p0))
		return 0;
	if (op == 0xc5)
		return mapped(i, 1, false);
	if (!take(i, &p1))
		return 0;
	if (op == 0xc4)
		return mapped(i, p0 & 0x1f, false);
	if ((p0 & 8) || !(p1 & 4) || !take(i, &p2))
		return 0;
	return mapped(i, p0 & 7, true);
}

static size_t xop(struct insn *i)
{
	uint8_t p0, p1, op;

	if (i->any_simd_prefix || !take(i, &p0) || !take(i, &p1) || !take(i, &op))
		return 0;
	switch (p0 & 0x1f) {
	case 8:
		return operands(i, M | B, false);
	case 9:
		return operands(i, M, false);
	case 10:
		return operands(i, M | D, false);
	default:
		return 0;
	}
}

size_t insn_length(const uint8_t *code, size_t bytes)
{
	struct insn i = { .code = code, .bytes = bytes < INSN_MAX ? bytes : INSN_MAX };
	uint8_t op;

	if (!prefixes(&i, &op))
		return 0;
	if (op == 0x0f)
		return escaped(&i);
	if (op == 0x62 || op == 0xc4 || op == 0xc5)
		return vex(&i, op);
	/* The map of an XOP is 8 or more, where POP has 0 in its ModRM. */
	if (op == 0x8f && i.at < i.bytes && (code[i.at] & 0x1f) >= 8)
		return xop(&i);
	return operands(&i, one_byte[op], false);
}
