/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * What the files of the signal family share: frame.c, sigstate.c, signal.c.
 */
#ifndef SWSGX_RUNTIME_SIGNAL_PRIV_H
#define SWSGX_RUNTIME_SIGNAL_PRIV_H

#include "runtime/rt.h"
#include "runtime/sys.h"

#define SA_RESTORER_FLAG 0x04000000ul

/*
 * What an ENCLU raises, and a page that is not there.  Their handlers run with the mask that they found, to go back
 * without a sigreturn.
 */
#define RT_SIG_OPEN (RT_SIGBIT(SIGSEGV) | RT_SIGBIT(SIGILL) | RT_SIGBIT(SIGBUS))

static inline uint64_t *uc_mask(ucontext_t *uc)
{
	return (uint64_t *)&uc->uc_sigmask;
}

static inline void kernel_act(int sig, const struct rt_client_act *act)
{
	sys4(SYS_rt_sigaction, sig, act, 0, 8);
}

static inline bool on_stack(const stack_t *stack, uint64_t sp)
{
	return sp - (uint64_t)stack->ss_sp < stack->ss_size;
}

/* Around the work of a handler on a stack of the client's: critical signals that are sent meanwhile wait. */
void rt_elsewhere_begin(void);
void rt_elsewhere_end(void);
/* Such a handler is at work on this thread. */
bool rt_elsewhere(void);
/* A handler of the client's for @sig is about to run its first instruction. */
bool rt_frame_waits(int sig, const ucontext_t *uc);
/* One of those was sent: it waits. */
void rt_client_pend(int sig, const siginfo_t *info);

#endif
