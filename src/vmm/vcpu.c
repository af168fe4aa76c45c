/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A processor of the guest: a thread that calls KVM_RUN, and what it does at each exit.
 *
 * Registers go in and out with KVM_RUN (KVM_CAP_SYNC_REGS), so an exit costs one system call.
 *
 * Not here: what others want of it (event.c), SGX instructions (sgx.c), what is different in an enclave (enclave.c).
 */
#include "vmm/vmm_priv.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "epc/epc.h"
#include "vmm/kvm.h"

#define VCPU_KICK   SIGUSR1
#define VECTOR_UD   6u
#define DR7_L0_EXEC 0x403u /* DR0, execution, local; and the bit that is always set */
#define RFLAGS_IF   0x200u
#define SYNC_ALL    (KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS)
#define INSN_FLAG   KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES

/* ---- registers ----------------------------------------------------------------------------------- */

void vcpu_regs_get(const struct vcpu *vcpu, struct cpu_regs *regs)
{
	const struct kvm_regs *r = &vcpu->run->s.regs.regs;

	*regs = (struct cpu_regs){
		.rax = r->rax,
		.rcx = r->rcx,
		.rdx = r->rdx,
		.rbx = r->rbx,
		.rsp = r->rsp,
		.rbp = r->rbp,
		.rsi = r->rsi,
		.rdi = r->rdi,
		.r8 = r->r8,
		.r9 = r->r9,
		.r10 = r->r10,
		.r11 = r->r11,
		.r12 = r->r12,
		.r13 = r->r13,
		.r14 = r->r14,
		.r15 = r->r15,
		.rflags = r->rflags,
		.rip = r->rip,
		.fs_base = vcpu->run->s.regs.sregs.fs.base,
		.gs_base = vcpu->run->s.regs.sregs.gs.base,
	};
}

void vcpu_regs_set(struct vcpu *vcpu, const struct cpu_regs *regs)
{
	struct kvm_sregs *sregs = &vcpu->run->s.regs.sregs;

	vcpu->run->s.regs.regs = (struct kvm_regs){
		.rax = regs->rax,
		.rcx = regs->rcx,
		.rdx = regs->rdx,
		.rbx = regs->rbx,
		.rsp = regs->rsp,
		.rbp = regs->rbp,
		.rsi = regs->rsi,
		.rdi = regs->rdi,
		.r8 = regs->r8,
		.r9 = regs->r9,
		.r10 = regs->r10,
		.r11 = regs->r11,
		.r12 = regs->r12,
		.r13 = regs->r13,
		.r14 = regs->r14,
		.r15 = regs->r15,
		.rflags = regs->rflags,
		.rip = regs->rip,
	};
	vcpu->run->kvm_dirty_regs |= KVM_SYNC_X86_REGS;
	if (sregs->fs.base == regs->fs_base && sregs->gs.base == regs->gs_base)
		return;
	sregs->fs.base = regs->fs_base;
	sregs->gs.base = regs->gs_base;
	vcpu->run->kvm_dirty_regs |= KVM_SYNC_X86_SREGS;
}

void vcpu_fault(struct vcpu *vcpu, uint8_t vector, uint32_t error, uint64_t cr2)
{
	struct kvm_sync_regs *sync = &vcpu->run->s.regs;

	memset(&sync->events.exception, 0, sizeof(sync->events.exception));
	sync->events.exception.injected = 1;
	sync->events.exception.nr = vector;
	sync->events.exception.has_error_code =
		vector == CPU_GP || vector == CPU_PF || vector == CPU_AC;
	sync->events.exception.error_code = error;
	vcpu->run->kvm_dirty_regs |= KVM_SYNC_X86_EVENTS;
	vcpu->faulted = true;
	vcpu->real_ud = vector == CPU_UD;
	if (vector != CPU_PF)
		return;
	sync->sregs.cr2 = cr2;
	vcpu->run->kvm_dirty_regs |= KVM_SYNC_X86_SREGS;
}

/* ---- the end ------------------------------------------------------------------------------------- */

int vmm_stop(struct vmm *vmm, int end, const char *what, ...)
{
	int none = END_NONE;
	va_list ap;

	if (atomic_compare_exchange_strong(&vmm->end, &none, end)) {
		va_start(ap, what);
		vmm->why.err = end;
		vsnprintf(vmm->why.what, sizeof(vmm->why.what), what, ap);
		va_end(ap);
		for (unsigned int i = 0; i < vmm->config.vcpus; i++)
			vcpu_kick(&vmm->vcpu[i]);
	}
	return -EIO;
}

/* ---- ports and memory that is not there ------------------------------------------------------------ */

static void say(struct vcpu *vcpu, uint64_t gpa)
{
	struct guest_text text;
	char *said;

	if (!memory_read(vcpu->vmm, gpa, &text, sizeof(text)) || text.bytes > GUEST_TEXT_MAX) {
		vmm_stop(vcpu->vmm, -EIO, "a guest says something that is no text");
		return;
	}
	if (vcpu->said_bytes + text.bytes + 1 > vcpu->said_room) {
		said = realloc(vcpu->said, 2 * vcpu->said_room + text.bytes + 1);
		if (!said) {
			vmm_stop(vcpu->vmm, -ENOMEM, "no memory for what a guest says");
			return;
		}
		vcpu->said = said;
		vcpu->said_room = 2 * vcpu->said_room + text.bytes + 1;
	}
	memcpy(vcpu->said + vcpu->said_bytes, text.text, text.bytes);
	vcpu->said_bytes += text.bytes;
	vcpu->said[vcpu->said_bytes] = 0;
}

static void call(struct vcpu *vcpu, uint64_t gpa)
{
	const struct vmm_config *config = &vcpu->vmm->config;
	struct guest_call call;

	if (!config->call || !memory_read(vcpu->vmm, gpa, &call, sizeof(call)))
		return;
	call.answer = config->call(config->call_ctx, vcpu->id, call.what, call.arg);
	(void)memory_write(vcpu->vmm, gpa, &call, sizeof(call));
}

static int port(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	uint32_t eax = (uint32_t)run->s.regs.regs.rax;
	int r = 0;

	if (run->io.direction == KVM_EXIT_IO_IN) {
		vcpu->unfinished = true;
		memset((uint8_t *)run + run->io.data_offset, 0xff,
		       (size_t)run->io.size * run->io.count);
		return 0;
	}
	switch (run->io.port) {
	case HIDDEN_PORT:
		return vcpu->lp->in_enclave ? enclave_exception(vcpu) : 0;
	case GUEST_PORT_UD:
		/* It may be that first instruction that is stepped over. */
		if (!vcpu->step)
			(void)sgx_forwarded(vcpu, &r);
		return r;
	case GUEST_PORT_SAY:
		say(vcpu, eax);
		return 0;
	case GUEST_PORT_CALL:
		call(vcpu, eax);
		return 0;
	case GUEST_PORT_END:
		vmm_stop(vcpu->vmm, (uint8_t)eax, "it said so");
		return 0;
	case GUEST_PORT_YIELD:
		sched_yield();
		return 0;
	case GUEST_PORT_IPI:
		if (eax >> 8 < vcpu->vmm->config.vcpus)
			vcpu_interrupt(&vcpu->vmm->vcpu[eax >> 8], (uint8_t)eax);
		return 0;
	default:
		return 0;
	}
}

/* Nothing answers: ones, as from the abort page, and what is written is lost. */
static void mmio(struct vcpu *vcpu)
{
	vcpu->unfinished = true;
	if (!vcpu->run->mmio.is_write)
		memset(vcpu->run->mmio.data, 0xff, sizeof(vcpu->run->mmio.data));
}

/* ---- exits --------------------------------------------------------------------------------------- */

static int cannot_emulate(struct vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;
	const struct kvm_regs *regs = &run->s.regs.regs;
	struct paging paging = paging_of(&run->s.regs.sregs);
	struct translation t;
	uint16_t error;
	enum insn insn = INSN_OTHER;

	if (run->emulation_failure.suberror == KVM_INTERNAL_ERROR_EMULATION &&
	    run->emulation_failure.ndata >= 3 && (run->emulation_failure.flags & INSN_FLAG))
		insn = insn_of(run->emulation_failure.insn_bytes, run->emulation_failure.insn_size);
	if (insn != INSN_OTHER && vcpu->vmm->config.ud_first) {
		vcpu_fault(vcpu, CPU_UD, 0, 0);
		vcpu->real_ud = false;
		return 0;
	}
	if (insn != INSN_OTHER) {
		memset(&vcpu->run->s.regs.events.exception, 0,
		       sizeof(vcpu->run->s.regs.events.exception));
		vcpu->run->kvm_dirty_regs |= KVM_SYNC_X86_EVENTS;
		return sgx_execute(vcpu, insn);
	}
	/* It fetches from the abort page: ones are no instruction. */
	if (!vcpu->lp->in_enclave &&
	    paging_walk(vcpu->vmm, &paging, regs->rip, SGX_SECINFO_X, &t, &error) &&
	    memory_is_epc(vcpu->vmm, t.gpa)) {
		vcpu_fault(vcpu, CPU_UD, 0, 0);
		return 0;
	}
	return vmm_stop(vcpu->vmm, -EIO, "KVM cannot go on with a guest (error %u, at %#llx)",
			run->internal.suberror, (unsigned long long)regs->rip);
}

static int debug_set(struct vcpu *vcpu)
{
	struct kvm_guest_debug debug = { 0 };

	if (vcpu->step) {
		debug.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
	} else if (vcpu->ud_handler) {
		debug.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
		debug.arch.debugreg[0] = vcpu->ud_handler;
		debug.arch.debugreg[7] = DR7_L0_EXEC;
	}
	return ioctl(vcpu->fd, KVM_SET_GUEST_DEBUG, &debug) < 0
		       ? vmm_stop(vcpu->vmm, -EIO, "KVM does not stop a guest at its #UD handler")
		       : 0;
}

/* Where the guest's #UD handler is now, if it has one. */
static int watch_ud(struct vcpu *vcpu)
{
	const struct kvm_sregs *sregs = &vcpu->run->s.regs.sregs;
	struct paging paging = paging_of(sregs);
	uint64_t gate[2], handler = 0;

	if (vcpu->vmm->config.no_breakpoints || vcpu->lp->in_enclave || vcpu->step)
		return 0;
	paging.cpl = 0;
	if (sregs->idt.limit >= 16 * VECTOR_UD + 15 &&
	    paging_fetch(vcpu->vmm, &paging, sregs->idt.base + 16ull * VECTOR_UD, false, gate,
			 sizeof(gate)))
		handler = (gate[0] & 0xffff) | (gate[0] >> 48 << 16) | gate[1] << 32;
	if (handler == vcpu->ud_handler)
		return 0;
	vcpu->ud_handler = handler;
	return debug_set(vcpu);
}

static int debug(struct vcpu *vcpu)
{
	int r = 0;

	if (vcpu->step) {
		vcpu->step = false;
		return debug_set(vcpu);
	}
	if (sgx_forwarded(vcpu, &r))
		return r;
	/* Not ours. Over its first instruction, then the handler is watched again. */
	vcpu->step = true;
	return debug_set(vcpu);
}

static int ran(struct vcpu *vcpu)
{
	switch (vcpu->run->exit_reason) {
	case KVM_EXIT_IO:
		return port(vcpu);
	case KVM_EXIT_MMIO:
		mmio(vcpu);
		return 0;
	case KVM_EXIT_HLT:
		event_halt(vcpu);
		return 0;
	case KVM_EXIT_DEBUG:
		return debug(vcpu);
	case KVM_EXIT_INTERNAL_ERROR:
		return cannot_emulate(vcpu);
	case KVM_EXIT_X86_RDMSR:
	case KVM_EXIT_X86_WRMSR:
		vcpu->unfinished = true;
		cpuid_msr(vcpu);
		return 0;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		return 0;
	case KVM_EXIT_SHUTDOWN:
		return vmm_stop(vcpu->vmm, -EIO, "a guest has shut down: a fault of a fault");
	default:
		return vmm_stop(vcpu->vmm, -EIO, "KVM leaves a guest for reason %u",
				vcpu->run->exit_reason);
	}
}

/* A signal is what it ended with: somebody wants something, or it is the tick. */
static int interrupted(struct vcpu *vcpu)
{
	static const struct timespec now = { 0 };
	sigset_t kick;

	sigemptyset(&kick);
	sigaddset(&kick, VCPU_KICK);
	while (sigtimedwait(&kick, NULL, &now) == VCPU_KICK)
		;
	if (vcpu->vmm->config.tick_us)
		atomic_fetch_or(&vcpu->irqs[vcpu->vmm->config.tick_vector / 64],
				1ull << vcpu->vmm->config.tick_vector % 64);
	return 0;
}

static int run_once(struct vcpu *vcpu)
{
	int r = event_take(vcpu);

	if (r < 0)
		return r;
	vcpu->faulted = vcpu->unfinished = false;
	count(&vcpu->counts.exits);
	r = ioctl(vcpu->fd, KVM_RUN, 0) < 0 ? -errno : 0;
	/* Refused with what we gave it: it has not been taken. */
	if (r == 0 || r == -EINTR || r == -EAGAIN)
		vcpu->run->kvm_dirty_regs = 0;
	if (r == 0)
		r = ran(vcpu);
	else if (r == -EINTR || r == -EAGAIN)
		r = interrupted(vcpu);
	else if (r == -EFAULT)
		r = vcpu->lp->in_enclave
			    ? enclave_lost(vcpu)
			    : vmm_stop(vcpu->vmm, r, "a guest uses memory that cannot be had");
	else
		r = vmm_stop(vcpu->vmm, r, "KVM does not run a guest");
	return r < 0 ? r : watch_ud(vcpu);
}

static bool tick_begin(const struct vcpu *vcpu, timer_t *ret_timer)
{
	uint32_t us = vcpu->vmm->config.tick_us;
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = VCPU_KICK };
	struct itimerspec every = { .it_interval = { .tv_sec = us / 1000000,
						     .tv_nsec = us % 1000000 * 1000L } };

	if (!us)
		return false;
	event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
	every.it_value = every.it_interval;
	return timer_create(CLOCK_MONOTONIC, &event, ret_timer) == 0 &&
	       timer_settime(*ret_timer, 0, &every, NULL) == 0;
}

static void *vcpu_main(void *arg)
{
	struct vcpu *vcpu = arg;
	struct vmm *vmm = vcpu->vmm;
	timer_t timer;
	bool ticks = tick_begin(vcpu, &timer);

	/* Before the first look at vmm.end: whoever has set it by then sees this, or is seen. */
	vcpu->self = pthread_self();
	atomic_store(&vcpu->reachable, true);
	while (atomic_load(&vmm->end) == END_NONE && run_once(vcpu) == 0)
		;
	if (ticks)
		timer_delete(timer);
	/* Its thread is gone, and with it the processor: what it was in is free for others, and for the reset. */
	if (vcpu->lp->in_enclave)
		virt_lp_reset(vmm->guest, vcpu->lp);
	if (atomic_fetch_sub(&vmm->running, 1) == 1)
		syscall(SYS_futex, &vmm->running, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
	return NULL;
}

/* ---- life ---------------------------------------------------------------------------------------- */

static bool walk_operand(void *ctx, uint64_t la, bool write, uint64_t *ret_gpa, uint16_t *ret_error)
{
	struct vcpu *vcpu = ctx;
	struct translation t;

	if (vcpu->exiting && enclave_ssa(vcpu, la, ret_gpa))
		return true;
	if (!paging_walk(vcpu->vmm, &vcpu->operands, la, write ? SGX_SECINFO_W : SGX_SECINFO_R, &t,
			 ret_error))
		return false;
	*ret_gpa = t.gpa;
	return true;
}

static bool read_operand(void *ctx, uint64_t gpa, void *to, size_t bytes)
{
	return memory_read(((struct vcpu *)ctx)->vmm, gpa, to, bytes);
}

static bool write_operand(void *ctx, uint64_t gpa, const void *from, size_t bytes)
{
	return memory_write(((struct vcpu *)ctx)->vmm, gpa, from, bytes);
}

/* Signals that are open while KVM_RUN runs: all that are, and the kick. */
static int open_kick(const struct vcpu *vcpu)
{
	const uint32_t bytes = sizeof(uint64_t);
	uint8_t mask[sizeof(struct kvm_signal_mask) + sizeof(uint64_t)] __attribute__((aligned(8)));
	sigset_t now;

	pthread_sigmask(SIG_SETMASK, NULL, &now);
	sigdelset(&now, VCPU_KICK);
	memcpy(mask + offsetof(struct kvm_signal_mask, len), &bytes, sizeof(bytes));
	memcpy(mask + offsetof(struct kvm_signal_mask, sigset), &now, bytes);
	return ioctl(vcpu->fd, KVM_SET_SIGNAL_MASK, mask) < 0 ? -errno : 0;
}

int vcpu_init(struct vmm *vmm, struct vcpu *vcpu, unsigned int id)
{
	int r;

	vcpu->vmm = vmm;
	vcpu->id = id;
	vcpu->fd = kvm_vcpu_create(vmm->kvm_fd, vmm->vm_fd, id, &vcpu->run);
	if (vcpu->fd < 0)
		return vcpu->fd;
	vcpu->lp = arena_alloc(epc_arena(vmm->epc), sizeof(*vcpu->lp));
	vcpu->xsave = aligned_alloc(PAGE, PAGE);
	vcpu->shown = calloc(SHOWN_MAX, sizeof(*vcpu->shown));
	vcpu->said_room = 4096;
	vcpu->said = calloc(1, vcpu->said_room);
	if (!vcpu->lp || !vcpu->xsave || !vcpu->shown || !vcpu->said)
		return -ENOMEM;
	r = cpuid_set(vmm, vcpu);
	if (r == 0)
		r = open_kick(vcpu);
	vcpu->run->kvm_valid_regs = SYNC_ALL;
	return r < 0 ? r : vcpu_reset(vcpu);
}

int vcpu_reset(struct vcpu *vcpu)
{
	struct kvm_vcpu_events none = { 0 };

	virt_vcpu_init(&vcpu->virt, vcpu->vmm->guest, &vcpu->vmm->policy);
	vcpu->virt.mmu = (struct virt_mmu){
		.walk = walk_operand, .read = read_operand, .write = write_operand, .ctx = vcpu
	};
	hidden_init(vcpu->vmm, vcpu->id);
	vcpu->shown_nr = 0;
	vcpu->step = vcpu->real_ud = vcpu->faulted = vcpu->unfinished = false;
	for (unsigned int i = 0; i < 4; i++)
		atomic_store(&vcpu->irqs[i], 0);
	vcpu->said_bytes = 0;
	vcpu->said[0] = 0;
	vcpu->ud_handler = 0;
	vcpu->run->kvm_dirty_regs = 0;
	if (ioctl(vcpu->fd, KVM_SET_VCPU_EVENTS, &none) < 0)
		return -errno;
	return debug_set(vcpu) < 0 ? -EIO : image_begin(vcpu->vmm, vcpu);
}

void vcpu_fini(struct vcpu *vcpu)
{
	struct vmm *vmm = vcpu->vmm;

	if (!vmm)
		return;
	if (vcpu->run)
		munmap(vcpu->run, vmm->run_bytes);
	if (vcpu->fd >= 0)
		close(vcpu->fd);
	if (vcpu->lp)
		arena_free(epc_arena(vmm->epc), vcpu->lp, sizeof(*vcpu->lp));
	free(vcpu->xsave);
	free(vcpu->shown);
	free(vcpu->said);
}

int vcpu_start(struct vcpu *vcpu)
{
	sigset_t kick, old;
	int r;

	sigemptyset(&kick);
	sigaddset(&kick, VCPU_KICK);
	pthread_sigmask(SIG_BLOCK, &kick, &old);
	r = pthread_create(&vcpu->thread, NULL, vcpu_main, vcpu);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	vcpu->started = r == 0;
	return -r;
}
