/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The runtime: what makes a process believe that it runs on a machine with SGX.
 *
 * A process is one place where file-scope state is right: there is one address space, one table of
 * signal handlers, one list of mapped ranges.  All of it hangs from `rt` here; what a forked child
 * must share with its parent hangs from rt.shared instead (base/arena.h).
 */
#ifndef SWSGX_RUNTIME_RT_H
#define SWSGX_RUNTIME_RT_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#include "base/lock.h"
#include "cpu/cpu.h"
#include "encl/encl.h"
#include "vepc/vepc.h"

struct arena;
struct rt_hold;
struct epc;

#define RT_SLOT_BYTES  0x40000u /* one thread: its block at the bottom, its signal stack above */
#define RT_SLOT_NR     16384u
#define RT_XSAVE_BYTES 16384u
#define RT_NSIG        65
#define RT_NO_SLOT     (~0u)

#define RT_DEFERRED_MAX 16u

/*
 * A thread that has met the runtime.  It lies at the bottom of the thread's signal stack, so that the
 * first-level handler finds it from RSP alone: in an enclave FS is the enclave's and TLS is out of
 * reach.  entry.S knows the offsets of the first members (RT_T_* in offsets.h).
 */
struct rt_thread {
	uint8_t selector;          /* syscall user dispatch: 0 allow, 1 block */
	uint8_t away;              /* FS and GS are not the runtime's, or are about to be no more */
	uint8_t fsgsbase;          /* copy of rt.fsgsbase */
	uint8_t load_xsave;        /* entry.S: xrstor tb->xsave before entering */
	uint8_t away_selector;     /* what the selector says while away */
	uint8_t below_rsp;         /* jump.rsp is the host's, and nobody needs what lies below it */
	uint8_t critical;          /* holds locks, or is in a handler: asynchronous signals wait */
	uint8_t deferred_nr;       /* so many do */
	uint64_t home_fs, home_gs; /* entry.S puts these back first thing in a handler */
	uint64_t away_fs, away_gs; /* and leaves here what it found */
	uint64_t xfrm;
	struct rt_jump { /* entry.S pops these to enter, the last five by IRETQ */
		uint64_t rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15;
		uint64_t rip, cs, rflags, rsp, ss;
	} jump;
	uint64_t
		stack_page; /* of the last vDSO call, by number: entry.S saw there that FS is right */
	uint64_t pad1[5];
	uint8_t xsave[RT_XSAVE_BYTES] __attribute__((aligned(64)));

	/* From here on only C looks. */
	struct cpu_regs regs; /* what jump was made from */
	bool sud_armed;
	bool foreign;  /* its TLS is borrowed (donor.c) */
	bool tls_made; /* and has no thread of its own */
	bool direct;   /* and the program makes its own system calls (direct.c) */
	struct rt_thread *donor_next;
	uint64_t direct_mask;
	bool locks_ours;        /* the kernel knows the list of the locks that the runtime has */
	uint64_t locks_program; /* and then that of the program's, or 0 */
	uint64_t let_in;        /* blocked critical signals that its wait at rt_gate lets in */
	bool entered_by_vdso;
	bool quick; /* the handler changes nothing that takes a sigreturn to load */
	struct rt_deferred {
		int sig;
		siginfo_t info;
	} deferred[RT_DEFERRED_MAX]; /* a ring, in the order in which they came */
	uint8_t deferred_in, deferred_out;
	bool deferred_masked;
	uint64_t deferred_mask; /* the mask to go back to, where all are blocked until then */
	int tid;
	struct cpu_lp *lp; /* &rlp->lp */
	struct rt_lp *rlp;
	stack_t client_stack;  /* what the client asked sigaltstack() for */
	struct rt_abort_page { /* abort page shown for one instruction (fault.c) */
		uint64_t la;
	} abort_page[4];
	unsigned int abort_nr;
	uint64_t abort_tf, abort_mask;
	struct rt_stack_change {
		stack_t stack;
		uint64_t mask;
	} change;           /* what rt_stack_stub does */
	bool stack_missing; /* the kernel still has the client's signal stack */
};

/* What a handler keeps on its stack to go back with (entry.S). */
struct rt_back {
	uint64_t fs, gs; /* as they were found */
	struct rt_thread *t;
	uint64_t code; /* RT_BACK_* */
	struct {
		uint64_t rip, cs, rflags, rsp, ss;
	} iret;
};

/* A mapped range of the device, in this process: like a VMA. */
struct rt_range {
	uint64_t start, end;
	struct encl *encl;
	struct vepc *vepc;    /* or a raw EPC file, with encl NULL */
	uint64_t off;         /* of start in it */
	struct rt_hold *hold; /* on encl or vepc */
	uint8_t vma_rwx;      /* what mmap or mprotect asked for */
	uint8_t applied_rwx;  /* what the host's VMA has: less where the EPCM says so */
	bool backed;          /* the window is mapped here; else an empty reservation */
};

enum rt_fd_kind { RT_FD_NONE = 0, RT_FD_ENCLAVE, RT_FD_PROVISION, RT_FD_VEPC, RT_FD_PROC_MEM };

struct rt_fd {
	enum rt_fd_kind kind;
	struct encl *encl;
	struct vepc *vepc;
	struct rt_hold *hold; /* on the one that is set */
	uint64_t ino;
};

struct rt_client_act { /* what the client told sigaction(), the kernel's layout */
	union {
		void (*handler)(int);
		void (*action)(int, siginfo_t *, void *);
		uint64_t word;
	};
	uint64_t flags;
	void (*restorer)(void);
	uint64_t mask;
};

struct rt_shared; /* process.c */

/* A logical processor, where the other processes find it when its own has died. */
struct rt_lp {
	struct cpu_lp lp;
	struct encl *encl;    /* while lp.in_enclave, and on the way in and out */
	struct rt_hold *hold; /* on encl */
	struct rt_lp *next;
	bool used;
};

/* A mapping that ADD_PAGES took pages from, and what source.c found. */
struct rt_source {
	uint64_t start, end;
	int verdict;
};

#define RT_NODE_INO 0x5600u /* and the kind: what the nodes' inodes are said to be */

/* A listing of /dev that has come to its real end (hooks_dir.c). */
struct rt_listing {
	void *dir;
	unsigned int shown;
};
#define RT_LISTINGS 16u

struct rt {
	bool ready; /* SGX is offered in this process */
	bool used;  /* a node of the device has been opened: signals are wrapped from now on */
	bool fsgsbase;
	bool cpuid_faults;    /* where it is executed in this process */
	bool cpuid_rewritten; /* it is not executed: cpuid.c */
	int uffd;
	bool can_unmap;   /* rt_unmap() has not failed */
	struct lock lock; /* LOCK_PROCESS: ranges, fds */
	struct rt_range *range;
	size_t range_nr, range_max;
	struct rt_hold **grave; /* holds to let go of, see rt_range_bury() */
	size_t grave_nr;
	uint64_t range_low, range_high; /* bounds of all ranges, for a quick "not ours" */
	struct rt_fd *fd;               /* by number */
	size_t fd_max, fd_end;          /* its room, and one above the highest that was ever open */
	struct rt_source source;
	struct rt_listing listing[RT_LISTINGS];
	struct rt_thread *borrowed; /* every block made with a donor */
	struct rt_thread *spare;    /* one that nobody has */
	struct rt_thread *forking;  /* the one that forks is critical meanwhile: under lock */
	uint64_t interrupting;      /* signals that siginterrupt() was called for */
	bool threads_known;         /* libc has seen a second thread in this process */
	struct rt_client_act act[RT_NSIG];
	struct arena *arena;
	struct cpu *cpu;
	struct epc *epc;
	struct encl_registry *registry;
	struct vepc_registry *vepc_registry;
	struct rt_shared *shared;
	unsigned int proc_slot;  /* RT_NO_SLOT: the device has not been opened */
	struct rt_lp *early_lps; /* made before there was a slot to put them into */
	uint8_t *slots;          /* RT_SLOT_NR * RT_SLOT_BYTES, aligned */
	uint64_t slot_bitmap[RT_SLOT_NR / 64];
	void *vdso;
	unsigned long kernel_vdso;
	const unsigned long *auxv; /* on the initial stack, patched */
	bool proc_auxv_right;      /* /proc/self/auxv shows the same */
	bool proc_mem;             /* /proc/self/mem was opened once: read() and write() look */
	uint64_t xsave_bytes;
	int stats_fd;
	bool stats_json;
	bool background; /* a thread is lent to the manager */
	int creator_pid;
	int pid;
};

extern struct rt rt;

int rt_thread_init(void);
/* thread.c: this thread's block; made on first use. Never from inside an enclave. */
struct rt_thread *rt_thread_self(void);
/* The same, or NULL when this thread has none yet. */
struct rt_thread *rt_thread_peek(void);
void rt_thread_fork_child(void);
/* A block for a thread to come, without TLS; NULL when there is none left. */
struct rt_thread *rt_thread_new(void);
/* This thread, whose TLS is @t->home_fs, is @t's from now on. */
void rt_thread_adopt(struct rt_thread *t);
/* The calling thread's TLS is @t's, but not the thread. */
void rt_thread_lend(struct rt_thread *t);
/* Install @t's signal stack, now and over the return of the handler of @uc. Touches no TLS. */
void rt_thread_stack_to(struct rt_thread *t, ucontext_t *uc);
void rt_thread_show_stack(ucontext_t *uc);
stack_t rt_thread_stack(struct rt_thread *t);
/* Our signal stack is in place, or can be put there now. */
bool rt_thread_stack_ready(struct rt_thread *t);
/* Make t->jump, which entry.S loads, from @regs. */
void rt_jump_from_regs(struct rt_thread *t, const struct cpu_regs *regs);
void rt_go(struct rt_thread *t) __attribute__((noreturn));
/* Async signals wait between the two (they nest). */
void rt_critical_enter(struct rt_thread *t);
void rt_critical_leave(struct rt_thread *t);
/* @sig came while @t was critical. */
void rt_critical_defer(struct rt_thread *t, int sig, const siginfo_t *info);
bool rt_critical_take(struct rt_thread *t, struct rt_deferred *ret);
int rt_thread_arm_sud(struct rt_thread *t);
/* hooks_thread.c: pthread_create() of a thread of ours, which keeps the kernel's mask that it begins with. */
int rt_thread_create(pthread_t *ret_thread, const pthread_attr_t *attr, void *(*fn)(void *),
		     void *arg);

/* signal.c */
void rt_signal_init(void);
/* Wrap the handlers that were installed before rt_use(). */
void rt_signal_use(void);
long rt_sigaction(int sig, const struct rt_client_act *act, struct rt_client_act *ret_old);
long rt_sigprocmask(int how, const uint64_t *set, uint64_t *ret_old);
long rt_sigaltstack(const stack_t *stack, stack_t *ret_old);
/* The same for a caller whose stack pointer is @rsp; pointers may be wild. */
long rt_sigaltstack_at(const stack_t *stack, stack_t *ret_old, uint64_t rsp);
/* rt_sigprocmask() on *@mask instead of the kernel's. */
long rt_sigprocmask_virtual(int how, const uint64_t *set, uint64_t *mask, uint64_t *ret_old);
/* This handler goes on to what may fault: critical signals, which have been blocked since it began, may come upon it. */
void rt_signal_reopen(void);
/* And it is done with that. */
void rt_signal_shut(void);
/* Critical signals that the client believes blocked on this thread. */
uint64_t rt_client_blocked(void);
/* On @t's TLS, which it lends, a thread begins that believes @blocked blocked. Nothing waits for it. */
void rt_client_signals_new(struct rt_thread *t, uint64_t blocked);
/* Nor for the thread of a new process. */
void rt_client_fork_child(void);
/* This thread, just made by libc, believes @blocked blocked. */
void rt_client_thread_begins(uint64_t blocked);
/* What waited for the client to unblock it comes now. */
void rt_client_unpend(void);
/*
 * Between the two, those critical signals of @set that the client believes blocked are, and wait at the kernel: nothing
 * of the device may be touched.  The first returns what the second takes.
 */
uint64_t rt_client_lend(uint64_t set);
void rt_client_lend_end(uint64_t lent);
/*
 * Around a call that waits with the mask @set: critical signals that the client has blocked, and @set has not, end it, and
 * their handlers run.  The first gives what the second takes, if it comes to that: a handler may jump out.
 */
struct rt_wait {
	uint64_t blocked, lent;
};
struct rt_wait rt_client_wait(uint64_t set);
void rt_client_wait_end(const struct rt_wait *wait);
/* The client has those of @blocked blocked that are critical, and no others of them. */
void rt_client_set_blocked(uint64_t blocked);
/* One of @set that waits, which does so no longer; 0: none does. */
int rt_client_take(uint64_t set, siginfo_t *ret_info);
/* Around a call that executes a program, which is to begin with what the client has blocked and ignored. */
uint64_t rt_signal_exec_begin(void);
void rt_signal_exec_end(uint64_t lent);
/* Critical signals that wait for the client to unblock them: a set, for sigpending(). */
uint64_t rt_pending_critical(void);
/* rt_sigpending of the client, who has @blocked blocked at the kernel. */
long rt_sigpending(void *ret_set, size_t bytes, uint64_t blocked);
/* What sigreturn does with the frame at @frame: into @uc, which our own sigreturn loads. */
void rt_frame_restore(ucontext_t *uc, uint64_t frame);
void rt_signal_install(int sig, uint64_t client_flags);
/* Put t->xsave into the frame: sigreturn loads it. */
void rt_xsave_to_frame(struct rt_thread *t, ucontext_t *uc);
size_t rt_frame_xsave_bytes(const ucontext_t *uc);
/* It is an XSAVE image, and says of what. */
bool rt_frame_has_xsave(const ucontext_t *uc);
/*
 * entry.S: the handler's work.  @back is on its stack, below the frame; NULL on a stack of the client's.  @away: the
 * bases in @back are what it found.  What it returns is how to go back, RT_BACK_*.
 */
unsigned int rt_signal(int sig, siginfo_t *info, ucontext_t *uc, struct rt_back *back, bool away);
/* And what came meanwhile. False: that has to wait, as something below the handler is critical. */
bool rt_signal_drain(struct rt_back *back);
/* Give the signal to the client's handler, as the kernel would in the state @uc; may not return. */
void rt_deliver(int sig, siginfo_t *info, ucontext_t *uc);
/* The thread has no block: give it one and let the signal come on its stack. False: it cannot. */
bool rt_come_again(int sig, siginfo_t *info, ucontext_t *uc);
void rt_regs_from_uc(struct cpu_regs *regs, const ucontext_t *uc);
void rt_regs_to_uc(ucontext_t *uc, const struct cpu_regs *regs);
#define RT_SIGBIT(s) (1ull << ((s)-1))
/* Signals the runtime itself needs: never blocked, never without our handler. */
#define RT_SIG_CRITICAL                                                                   \
	(RT_SIGBIT(SIGSEGV) | RT_SIGBIT(SIGBUS) | RT_SIGBIT(SIGILL) | RT_SIGBIT(SIGSYS) | \
	 RT_SIGBIT(SIGTRAP) | RT_SIGBIT(SIGFPE))

/* enclu.c: the two ways into and out of an enclave through a signal. */
/* ENCLU in host mode or in the enclave at uc's RIP. True when handled (maybe as a fault delivered). */
void rt_enclu_trap(siginfo_t *info, ucontext_t *uc, struct rt_thread *t, bool in_enclave);
/* The enclave gets event @ev; then the client is told: exception report or signal (sig 0: none). */
void rt_exception(int sig, siginfo_t *info, ucontext_t *uc, struct rt_thread *t,
		  struct cpu_event ev);
/* AEX for a signal that is not the enclave's doing. */
void rt_interrupt(ucontext_t *uc, struct rt_thread *t);

/* fault.c */
enum rt_fault_result {
	RT_FAULT_NOT_OURS,
	RT_FAULT_DONE,
	RT_FAULT_PF,
	RT_FAULT_BUS,
	RT_FAULT_POISON
};
enum rt_fault_result rt_fault(ucontext_t *uc, uint64_t addr, uint64_t err, bool in_enclave,
			      uint16_t *ret_pf_error);
bool rt_abort_page_step(struct rt_thread *t, ucontext_t *uc, uint64_t la, struct rt_range *range);
bool rt_abort_page_trap(struct rt_thread *t, ucontext_t *uc);
extern const struct encl_mm rt_mm;

/* map.c: the mmap family on the device's ranges. Plain syscalls where a range is not ours. */
long rt_mmap(uint64_t addr, uint64_t len, int prot, int flags, int fd, uint64_t off);
long rt_munmap(uint64_t addr, uint64_t len);
long rt_mprotect(uint64_t addr, uint64_t len, int prot);
long rt_mremap(uint64_t addr, uint64_t old_len, uint64_t new_len, int flags, uint64_t new_addr);
long rt_madvise(uint64_t addr, uint64_t len, int advice);

/* range.c */
/* Copy of the range at @addr, with a reference on its enclave; false when none. */
bool rt_range_get(uint64_t addr, struct rt_range *ret_range);
struct rt_range *rt_range_find_locked(uint64_t addr) REQUIRES(&rt.lock);
/* Make the host's VMA at page @la allow what @rwx and the mapping do. 0 or -EAGAIN. */
void rt_range_restore_locked(uint64_t la) REQUIRES(&rt.lock);
int rt_range_init(void);
int rt_range_apply_locked(struct rt_range *range, uint64_t la, unsigned int rwx) REQUIRES(&rt.lock);
/* The enclave has been created: its ranges get the window. */
void rt_range_back(struct encl *encl);
/* @ours: the enclaves are still there. */
void rt_range_fork_child(bool ours);
/* Let go of the enclaves and files whose ranges were removed: after rt.lock has been released. */
void rt_range_bury(void);

/* uffd.c */
int rt_uffd_open(void);
int rt_uffd_register(int fd, uint64_t start, uint64_t len);
int rt_uffd_continue(uint64_t la);
int rt_uffd_copy(uint64_t la, const void *bytes);
/* This process forgets its translations of the pages at @win_offs, as far as it can do so at once. */
void rt_unmap(const uint64_t *win_offs, unsigned int nr);

/* device.c */
/* The node that @path, from folder @dir on, names: enum rt_fd_kind. */
int rt_device_path_at(int dir, const char *path);
/* The node itself, whatever name it was opened by. */
const char *rt_device_name(enum rt_fd_kind kind);
/* The folder that a relative path begins in, from @dir on; false when it cannot be told, or is too long. */
bool rt_folder(int dir, char *to, size_t bytes);
long rt_device_open(enum rt_fd_kind kind, int flags);
bool rt_fd_get(int fd, struct rt_fd *ret_fd); /* with a hold */
void rt_fd_put(const struct rt_fd *fd);
bool rt_fd_ours(int fd);
/* The node that @fd is of; RT_FD_NONE: it is of any other file. */
enum rt_fd_kind rt_fd_node(int fd);
/* @fd is of this process's /proc/self/mem. */
void rt_fd_set_proc_mem(int fd);
void rt_fd_closed(int fd);
void rt_fd_dup(int from, int to);
bool rt_fd_hidden(int fd);
void rt_device_fork_child(bool ours);
int rt_device_init(void);
long rt_device_ioctl(const struct rt_fd *fd, unsigned long request, uint64_t arg);

/* source.c: 0, -EACCES (a noexec mount), -EFAULT (nothing mapped there) */
int rt_source_check(uint64_t addr);
/* The address space changes. */
void rt_source_forget(void);

/* process.c: processes of a fork tree, and what the dead leave */
int rt_process_init(void);
/* First open of a node: from here on the client's signals pass through us. */
void rt_use(void);
struct rt_hold *rt_process_hold(struct encl *encl);
struct rt_hold *rt_process_hold_vepc(struct vepc *vepc);
void rt_process_drop(struct encl *encl);
/* One more for someone who has one, and giving one back: no lock, unless it is the last. */
void rt_process_hold_more(struct rt_hold *hold);
void rt_process_unhold(struct rt_hold *hold);
/*
 * Before anything of the device is held in this process: its place in the ledger, its userfaultfd.
 * -ENOMEM: too many processes, or what userfaultfd() said.
 */
int rt_process_join(void);
/* Around a fork: with no lock; with rt.lock; in the parent, with none, and when there is no child. */
void rt_process_fork_room(void);
void rt_process_fork_prepare(void) REQUIRES(&rt.lock);
void rt_process_fork_parent(void);
void rt_process_fork_failed(void);
/* First in the child: false when what its tables name may be gone. */
bool rt_process_fork_child(void);
/* Last, when the child has made its own holds. */
void rt_process_fork_done(void);
void rt_process_reap(void);
struct rt_lp *rt_process_lp(void);
void rt_process_lp_done(struct rt_lp *lp);
int rt_process_live_fd(void);

/* cpuid.c */
/* @how of `swsgx run --cpuid`: NULL, "rewrite" or "host". */
void rt_cpuid_init(const char *how);
/* @op is a CPUID outside of enclaves, or was one. */
bool rt_is_cpuid(const uint8_t op[2], const ucontext_t *uc);

/* cpuid_code.c */
#define RT_CPUID_REWRITTEN 0x37 /* in place of 0FH */
/* From now on they are, in code that is there and that comes. */
void rt_cpuid_rewrite(void);
/* The code that has come since the last time is rewritten, when it is that way. The dynamic linker's lock is held. */
void rt_cpuid_scan(void);
/* As above for what mmap() has just put to @addr, whatever that was. */
void rt_cpuid_mapped(uint64_t addr, uint64_t bytes, int prot, int flags, int fd, uint64_t offset);
/* @copy is of the @bytes at @from: the CPUIDs in it are what they were, for an enclave that is made of them. */
void rt_cpuid_restore(uint8_t *copy, uint64_t from, size_t bytes);
void rt_cpuid_trap(ucontext_t *uc);

/* usercopy.S and C around it: 0 or -EFAULT, any address is safe. */
int rt_copy_user(void *to, const void *from, size_t bytes);
/* RIP is in the copy and the access cannot be served: go to its error exit. */
bool rt_copy_user_fixup(ucontext_t *uc);
/* The beginning of a client's string, terminated; false when it cannot be read. */
bool rt_peek_path(const char *path, char *ret_head, size_t bytes);

/* vdso_code.c: the image that the client is told of. @by_trap: its FS is not the runtime's. 0 or -errno. */
int rt_vdso_make(bool by_trap, void **ret_image);
/* @rip is the ENCLU of the vDSO function; where its exception exit is. */
bool rt_vdso_is_enclu(uint64_t rip);
/* Where EEXIT comes back to the vDSO function; for entry.S as well. */
extern uint64_t rt_vdso_resume __attribute__((visibility("hidden")));
uint64_t rt_vdso_exception_at(void);

/* background.c */
void rt_background_start(void);

/* init.c */
void rt_end(void);

/* stats.c */
void rt_stats_print(void);

/* entry.S */
void rt_stack_stub(void);
void rt_sigentry(int sig, siginfo_t *info, void *uc);
void rt_restorer(void);
extern char rt_restorer_end[];
void rt_direct_restorer(void);
void rt_vdso_fast(void);
void rt_kick(void);
long rt_execve(const char *path, char *const *argv, char *const *envp, const uint64_t *mask,
	       const uint8_t *deferred_nr);
/* Run @handler(sig, info, uc) with the mask *@blocked, on stack @sp, whose first word is its return address. */
void rt_call_client(int sig, void *info, void *uc, void *handler, uint64_t sp,
		    const uint64_t *blocked) __attribute__((noreturn));
extern char rt_call_client_end[];

#endif
