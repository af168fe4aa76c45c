/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What the guest reports: text, line by line, to the VMM's port.
 */
#include <stdarg.h>

#include "kernel.h"

void say_flush(void)
{
	struct percpu *pc = percpu();

	if (pc->text->bytes)
		__asm__ volatile("out %%eax, %1"
				 :
				 : "a"((uint32_t)(uint64_t)pc->text), "N"(GUEST_PORT_SAY)
				 : "memory");
	pc->text->bytes = 0;
}

static void put(char c)
{
	struct guest_text *text = percpu()->text;

	text->text[text->bytes++] = c;
	if (text->bytes == GUEST_TEXT_MAX)
		say_flush();
}

static void put_number(uint64_t n, unsigned int base)
{
	char digits[20];
	int nr = 0;

	do {
		digits[nr++] = "0123456789abcdef"[n % base];
		n /= base;
	} while (n);
	while (nr > 0)
		put(digits[--nr]);
}

void say(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	for (; *format; format++) {
		if (*format != '%') {
			put(*format);
			continue;
		}
		switch (*++format) {
		case 's':
			for (const char *s = va_arg(ap, const char *); *s; s++)
				put(*s);
			break;
		case 'x':
			put_number(va_arg(ap, uint64_t), 16);
			break;
		case 'u':
			put_number(va_arg(ap, uint64_t), 10);
			break;
		default:
			put(*format);
		}
	}
	va_end(ap);
}

void say_bytes(const char *what, const uint8_t *bytes, uint64_t nr)
{
	say("%s ", what);
	for (uint64_t i = 0; i < nr; i++) {
		put("0123456789abcdef"[bytes[i] >> 4]);
		put("0123456789abcdef"[bytes[i] & 15]);
	}
	put('\n');
}

void say_fault(const struct fault *fault)
{
	if (fault->vector == NO_FAULT)
		say("no fault\n");
	else if (fault->vector == 14)
		say("fault 14 error %x at %x\n", fault->error, fault->cr2);
	else
		say("fault %u error %x\n", fault->vector, fault->error);
}

void say_leaf(const char *what, uint64_t leaf, uint64_t rbx, uint64_t rcx, uint64_t rdx)
{
	struct encls r = encls(leaf, rbx, rcx, rdx);

	say("%s: ", what);
	if (percpu()->fault.vector == NO_FAULT)
		say("rax %x flags %x\n", r.rax, r.rflags & 0x41);
	else
		say_fault(&percpu()->fault);
}
