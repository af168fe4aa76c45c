/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Lengths of instructions: some by hand, and where Zydis is installed, all that it knows.
 */
#include "runtime/insn.h"

#include <string.h>

#include "lib/tap.h"

#ifdef WITH_ZYDIS
#include <Zydis/Zydis.h>
#endif

static void check_known(void)
{
	static const struct {
		const char *what;
		uint8_t length, code[16];
	} known[] = {
		{ "CPUID", 2, { 0x0f, 0xa2 } },
		{ "REX.W CPUID", 3, { 0x48, 0x0f, 0xa2 } },
		{ "ENCLU", 3, { 0x0f, 0x01, 0xd7 } },
		{ "MOV RAX, imm64", 10, { 0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8 } },
		{ "MOV EAX, imm32", 5, { 0xb8, 0x0f, 0xa2, 0, 0 } },
		{ "MOV AX, imm16", 4, { 0x66, 0xb8, 0x0f, 0xa2 } },
		{ "MOV AL, [moffs64]", 9, { 0xa0, 1, 2, 3, 4, 5, 6, 7, 8 } },
		{ "MOV AL, [moffs32]", 6, { 0x67, 0xa0, 1, 2, 3, 4 } },
		{ "LEA RAX, [RIP + disp32]", 7, { 0x48, 0x8d, 0x05, 1, 2, 3, 4 } },
		{ "MOV EAX, [RBP + RCX * 4 + disp8]", 4, { 0x8b, 0x44, 0x8d, 1 } },
		{ "MOV EAX, [disp32], with a SIB", 7, { 0x8b, 0x04, 0x25, 1, 2, 3, 4 } },
		{ "TEST EAX, imm32", 6, { 0xf7, 0xc0, 1, 2, 3, 4 } },
		{ "NOT EAX", 2, { 0xf7, 0xd0 } },
		{ "ENTER", 4, { 0xc8, 1, 2, 3 } },
		{ "POP [RAX]", 2, { 0x8f, 0x00 } },
		{ "a long NOP", 11, { 0x66, 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0 } },
		{ "VZEROUPPER", 3, { 0xc5, 0xf8, 0x77 } },
		{ "VPSHUFB", 5, { 0xc4, 0xe2, 0x71, 0x00, 0xc2 } },
		{ "VPTERNLOGD", 7, { 0x62, 0xf3, 0x7d, 0x48, 0x25, 0xc1, 0xff } },
		{ "MOV CR0, with a mod of 0", 3, { 0x0f, 0x22, 0x05 } },
		{ "PUSH ES", 0, { 0x06 } },
		{ "AAA", 0, { 0x37, 0xa2 } },
		{ "16 prefixes",
		  0,
		  { 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
		    0x66, 0x66, 0x90 } },
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		size_t n = insn_length(known[i].code, sizeof(known[i].code));
		bool whole = true;

		TAP_CHECK(n == known[i].length, "%s: %u bytes (%zu)", known[i].what,
			  known[i].length, n);
		for (size_t bytes = 0; bytes < n; bytes++)
			whole = whole && insn_length(known[i].code, bytes) == 0;
		if (n)
			TAP_CHECK(whole, "%s: none where its end is missing", known[i].what);
	}
}

#ifdef WITH_ZYDIS
static uint64_t state = 0x9e3779b97f4a7c15;

static uint64_t next_random(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

/* What is likely to begin something: random bytes alone rarely get to the wide opcodes. */
static void make_code(uint8_t code[16])
{
	static const uint8_t starts[] = { 0x0f, 0x62, 0xc4, 0xc5, 0x8f, 0x66, 0x67,
					  0x48, 0xf2, 0xf3, 0xf6, 0xf7, 0xa0 };
	uint64_t r = next_random();

	for (int i = 0; i < 16; i += 8)
		memcpy(code + i, &(uint64_t){ next_random() }, 8);
	if (r & 1)
		code[0] = starts[(r >> 8) % sizeof(starts)];
	if (code[0] == 0x62 && (r & 2)) {
		code[1] = (uint8_t)((code[1] & 0xf4) | (1 + (r >> 16) % 3));
		code[2] |= 4;
	}
	if (code[0] == 0xc4 && (r & 2))
		code[1] = (uint8_t)((code[1] & 0xe0) | (1 + (r >> 16) % 3));
	if (code[0] == 0x0f && (r & 6) == 2)
		code[1] = r & 0x100000 ? 0x38 : 0x3a;
}

static bool same(const ZydisDecoder *decoder, const uint8_t *code, size_t bytes,
		 unsigned int *known)
{
	ZydisDecodedInstruction insn;

	if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(decoder, ZYAN_NULL, code, bytes, &insn)))
		return true;
	/* Knights Corner's took encodings that others have for something else, and no other processor has them. */
	if (insn.meta.isa_ext == ZYDIS_ISA_EXT_KNC || insn.meta.isa_ext == ZYDIS_ISA_EXT_KNCE ||
	    insn.meta.isa_ext == ZYDIS_ISA_EXT_KNCV)
		return true;
	(*known)++;
	if (insn.length == insn_length(code, bytes))
		return true;
	printf("# %s: %u, and not %zu:", ZydisMnemonicGetString(insn.mnemonic), insn.length,
	       insn_length(code, bytes));
	for (size_t i = 0; i < bytes; i++)
		printf(" %02x", code[i]);
	putchar('\n');
	return false;
}

static void check_zydis(void)
{
	unsigned int known = 0, wrong = 0;
	ZydisDecoder decoder;
	uint8_t code[16];

	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	for (int i = 0; i < 3000000 && wrong < 20; i++) {
		make_code(code);
		wrong += !same(&decoder, code, 15, &known);
	}
	TAP_CHECK(wrong == 0 && known > 1000000, "%u instructions are as long as Zydis says",
		  known);
}
#else
static void check_zydis(void) { tap_skip("Zydis", "libzydis-dev is not installed"); }
#endif

int main(void)
{
	check_known();
	check_zydis();
	return tap_done();
}
