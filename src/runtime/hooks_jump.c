/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Masks in jump buffers and contexts: libc fills them with the kernel's, which has no critical signals in it.  Which of them
 * the client has blocked is kept beside it, in that part of the set for which there are no signals: the kernel writes eight
 * bytes of 128.
 *
 * What is called for a client's sigsetjmp() and its like has its caller's stack and registers to save, so jump.S stands in
 * front of it and jumps there when these are done.
 */
#undef _FORTIFY_SOURCE /* else longjmp is another function's name */

#include "runtime/hooks.h"

#include <setjmp.h>
#include <stddef.h>
#include <string.h>
#include <ucontext.h>

#include "runtime/next.h"
#include "runtime/rt.h"

#define KEPT_MAGIC 0x6b73614d53564c52ull

/* What a set is to us. */
struct kept_set {
	uint64_t word; /* the kernel's */
	uint64_t none[13];
	uint64_t magic, blocked;
};
_Static_assert(sizeof(struct kept_set) == sizeof(sigset_t), "sigset_t");

void *rt_jump_sigsetjmp(struct __jmp_buf_tag *env, int save);
void *rt_jump_setjmp(struct __jmp_buf_tag *env);
void *rt_jump_getcontext(ucontext_t *uc);
void *rt_jump_swapcontext(ucontext_t *to_save, ucontext_t *uc);

static void keep(sigset_t *set)
{
	struct kept_set *kept = (struct kept_set *)set;

	kept->magic = KEPT_MAGIC;
	kept->blocked = rt_client_blocked();
}

static void go_back(const struct __jmp_buf_tag *env)
{
	const struct kept_set *kept = (const struct kept_set *)&env->__saved_mask;

	if (rt.ready && env->__mask_was_saved && kept->magic == KEPT_MAGIC)
		rt_client_set_blocked(kept->blocked);
}

/* A mask that was written into it, or is that of a handler's frame, is the kernel's no further than to us. */
static void go_to(ucontext_t *uc)
{
	struct kept_set *kept = (struct kept_set *)&uc->uc_sigmask;
	uint64_t written = kept->word & RT_SIG_CRITICAL;

	if (written) {
		kept->word &= ~RT_SIG_CRITICAL;
		kept->magic = KEPT_MAGIC;
		kept->blocked = written;
	}
	rt_client_set_blocked(kept->magic == KEPT_MAGIC ? kept->blocked : 0);
}

void *rt_jump_sigsetjmp(struct __jmp_buf_tag *env, int save)
{
	if (save)
		keep(&env->__saved_mask);
	return (void *)NEXT(__sigsetjmp);
}

void *rt_jump_setjmp(struct __jmp_buf_tag *env)
{
	keep(&env->__saved_mask);
	return (void *)NEXT(setjmp);
}

void *rt_jump_getcontext(ucontext_t *uc)
{
	keep(&uc->uc_sigmask);
	return (void *)NEXT(getcontext);
}

void *rt_jump_swapcontext(ucontext_t *to_save, ucontext_t *uc)
{
	keep(&to_save->uc_sigmask);
	if (rt.ready)
		go_to(uc);
	return (void *)NEXT(swapcontext);
}

HOOK int setcontext(const ucontext_t *uc)
{
	if (rt.ready)
		go_to((ucontext_t *)uc);
	return NEXT(setcontext)(uc);
}

HOOK void longjmp(jmp_buf env, int value)
{
	go_back(env);
	NEXT(longjmp)(env, value);
	__builtin_unreachable();
}

HOOK void _longjmp(jmp_buf env, int value)
{
	go_back(env);
	NEXT(_longjmp)(env, value);
	__builtin_unreachable();
}

HOOK void siglongjmp(sigjmp_buf env, int value)
{
	go_back(env);
	NEXT(siglongjmp)(env, value);
	__builtin_unreachable();
}

void __longjmp_chk(jmp_buf env, int value);
HOOK void __longjmp_chk(jmp_buf env, int value)
{
	go_back(env);
	NEXT(__longjmp_chk)(env, value);
	__builtin_unreachable();
}
