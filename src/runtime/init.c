/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The order of start-up, and what happens at fork and at the end.  Nothing else.
 *
 * The library is linked with -z initfirst: this constructor runs before any other of the process, so that a
 * program's own constructors find SGX there already.  When something is missing the process runs on as on a
 * machine without SGX; `swsgx run` has said so before it came to that.
 */
#include "runtime/rt.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/hide.h"
#include "base/report.h"
#include "cpu/platform.h"
#include "epc/epc.h"
#include "runtime/donor.h"
#include "runtime/exec.h"
#include "runtime/hooks.h"
#include "runtime/next.h"
#include "runtime/sys.h"
#include "runtime/vdso.h"

#define ARENA_BYTES (64ull << 30)
#define EPC_DEFAULT (128ull << 20)
#define SHOWN_BYTES 64ull /* of each page, at most */

struct rt rt = { .uffd = -1, .stats_fd = -1 };

static const char *env_of(char **envp, const char *name)
{
	size_t n = strlen(name);

	for (; *envp; envp++)
		if (!strncmp(*envp, name, n) && (*envp)[n] == '=')
			return *envp + n + 1;
	return NULL;
}

/* "bytes[@node][,bytes...]", checked by `swsgx run` already. */
static int configure_epc(struct cpu_config *config, const char *sizes)
{
	uint64_t bytes;
	char *end;
	int node;

	if (!sizes || !*sizes) {
		cpu_config_default(config, EPC_DEFAULT);
		return 0;
	}
	for (const char *p = sizes; *p; p = *end ? end + 1 : end) {
		bytes = strtoull(p, &end, 10);
		node = *end == '@' ? (int)strtol(end + 1, &end, 10) : -1;
		if (p == sizes) {
			cpu_config_default(config, bytes ? bytes : EPC_DEFAULT);
			config->section[0].node = node;
		} else if (!cpu_config_add_section(config, bytes, node)) {
			return -E2BIG;
		}
	}
	return 0;
}

static int make_platform(const char *path, struct cpu_fuses *fuses, struct report *rep)
{
	int r;

	if (!path || !*path)
		return platform_random(fuses);
	r = platform_open(path, fuses);
	if (!r)
		return 0;
	report_hint(rep, "name another with swsgx run --platform FILE");
	if (r == -EINVAL)
		return report_fail(rep, r, "'%s' is no platform file, or it is damaged", path);
	if (r == -EACCES)
		return report_fail(rep, r, "'%s' is not for us, or others may use it", path);
	return report_fail(rep, r, "cannot use the platform file '%s'", path);
}

static int make_epc(struct epc_config *config, struct report *rep)
{
	int r = epc_create(config, &rt.epc);

	if (!r || !config->backing_path)
		return r;
	report_hint(rep, "name another place with swsgx run --backing PATH");
	return report_fail(rep, r, "evicted pages cannot be kept in '%s'", config->backing_path);
}

static int make_machine(char **envp, struct report *rep)
{
	const char *features = env_of(envp, "SWSGX_CPU");
	const char *backing_max = env_of(envp, "SWSGX_BACKING_MAX");
	struct cpu_config config;
	struct epc_config epc = { .policy = env_of(envp, "SWSGX_POLICY"),
				  .backing_path = env_of(envp, "SWSGX_BACKING"),
				  .backing_bytes_max =
					  backing_max ? strtoull(backing_max, NULL, 10) : 0,
				  .unmap = rt_unmap };
	int r;

	r = configure_epc(&config, env_of(envp, "SWSGX_EPC"));
	if (!r && features)
		r = cpu_config_features(&config, features);
	if (r)
		return r;
	r = make_platform(env_of(envp, "SWSGX_PLATFORM"), &config.fuses, rep);
	if (r)
		return r;
	/* What others may look at lies behind the heap. */
	rt.arena = arena_create_shown(ARENA_BYTES + config.page_nr * SHOWN_BYTES);
	config.arena = rt.arena;
	rt.cpu = rt.arena ? cpu_create(&config) : NULL;
	if (!rt.cpu) {
		report_hint(rep, "is there a limit of address space (ulimit -v)?");
		return report_fail(rep, -ENOMEM, "%llu GB of addresses are not to be had",
				   ARENA_BYTES >> 30);
	}
	epc.cpu = rt.cpu;
	epc.arena = rt.arena;
	r = make_epc(&epc, rep);
	if (!r)
		r = encl_registry_create(rt.epc, &rt.registry);
	if (!r)
		encl_registry_on_starved(rt.registry, rt_process_reap);
	if (!r)
		r = vepc_registry_create(rt.epc, &rt.vepc_registry);
	return r;
}

static uint64_t xsave_bytes(const struct cpu_config *config)
{
	uint64_t bytes = 576;

	for (unsigned int i = 2; i < 63; i++)
		if ((config->xfrm_mask >> i & 1) &&
		    config->xsave_offset[i] + config->xsave_size[i] > bytes)
			bytes = config->xsave_offset[i] + config->xsave_size[i];
	return bytes;
}

/* A signal may be the first that the thread has of us, and must find that it is critical. */
LOCK_ATTR(no_thread_safety_analysis)
static void fork_prepare(void)
{
	struct rt_thread *t = rt.used ? rt_thread_self() : NULL;

	if (t)
		rt_critical_enter(t);
	rt_process_fork_room();
	lock_acquire(&rt.lock);
	rt.forking = t;
	rt_process_fork_prepare();
}

LOCK_ATTR(no_thread_safety_analysis)
static void fork_parent(void)
{
	struct rt_thread *t = rt.forking;

	lock_release(&rt.lock);
	rt_process_fork_parent();
	if (t)
		rt_critical_leave(t);
}

LOCK_ATTR(no_thread_safety_analysis)
static void fork_child(void)
{
	bool used = rt.proc_slot != RT_NO_SLOT, ours;

	lock_forget(&rt.lock);
	ours = rt_process_fork_child();
	rt_donor_fork_child();
	rt_thread_fork_child();
	if (!used) {
		/* The device has not been opened: nothing to hand on.  rt_process_join() opens one when needed. */
		if (rt.uffd >= 0)
			sys(SYS_close, rt.uffd, 0, 0);
		rt.uffd = -1;
		rt_device_fork_child(false);
		return;
	}
	rt_device_fork_child(ours);
	rt_range_fork_child(ours);
	rt_process_fork_done();
}

pid_t __fork(void);

/* libc does not tell fork_parent() that there is no child. */
HOOK pid_t fork(void)
{
	pid_t pid = __fork();

	if (pid < 0 && rt.ready) {
		int saved_errno = errno;

		rt_process_fork_failed();
		errno = saved_errno;
	}
	return pid;
}

void rt_use(void)
{
	uint64_t others = ~RT_SIG_CRITICAL, mask;

	if (rt.used)
		return;
	/* From the first line on a client's handler comes by us, and would find the ledger locked. */
	sys4(SYS_rt_sigprocmask, SIG_BLOCK, &others, &mask, 8);
	rt.used = true;
	rt_signal_use();
	rt_donor_keep_spare();
	rt_background_start();
	sys4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, 0, 8);
}

static const unsigned long *auxv_of(char **envp)
{
	while (*envp)
		envp++;
	return (const unsigned long *)(envp + 1);
}

static int start(char **envp, struct report *rep)
{
	const char *stats = env_of(envp, "SWSGX_STATS");
	const char *stats_fd = env_of(envp, "SWSGX_STATS_FD");
	int r;

	rt_next_init();
	rt.pid = rt.creator_pid = (int)sys(SYS_getpid, 0, 0, 0);
	rt.can_unmap = true;
	rt.fsgsbase = getauxval(AT_HWCAP2) & 2;
	r = make_machine(envp, rep);
	if (r)
		return r;
	rt.xsave_bytes = xsave_bytes(cpu_get_config(rt.cpu));
	if (rt.xsave_bytes > RT_XSAVE_BYTES)
		return -E2BIG;
	lock_init(&rt.lock, LOCK_PROCESS);
	r = exec_init(envp);
	if (r)
		return r;
	r = rt_process_init();
	if (!r)
		r = rt_thread_init();
	if (!r)
		r = rt_donor_init();
	if (!r)
		r = rt_range_init();
	if (!r)
		r = rt_device_init();
	if (r)
		return r;
	rt.uffd = rt_uffd_open();
	if (rt.uffd < 0)
		return rt.uffd;
	rt.kernel_vdso = getauxval(AT_SYSINFO_EHDR);
	r = rt_vdso_make(false, &rt.vdso);
	if (r)
		return r;
	rt.auxv = auxv_of(envp);
	if (!vdso_patch_auxv(envp, rt.vdso))
		rt.proc_auxv_right = vdso_patch_proc_auxv(envp) == 0;
	rt.background = env_of(envp, "SWSGX_BACKGROUND") != NULL;
	if (stats) {
		rt.stats_json = !strcmp(stats, "json");
		rt.stats_fd = fd_hide((int)sys(SYS_dup, stats_fd ? atoi(stats_fd) : 2, 0, 0));
	}
	pthread_atfork(fork_prepare, fork_parent, fork_child);
	rt_signal_init();
	rt_cpuid_init(env_of(envp, "SWSGX_CPUID"));
	return 0;
}

__attribute__((constructor)) static void init(int argc, char **argv, char **envp)
{
	struct report rep;
	char text[320];
	int r;

	report_init(&rep);
	r = start(envp, &rep);
	rt.ready = r == 0;
	if (!r)
		return;
	if (!rep.err)
		report_fail(&rep, r, "something that it needs is missing");
	if (!rep.hint[0])
		report_hint(&rep, "swsgx doctor looks at what is needed");
	dprintf(2, "swsgx: no SGX in this process: %s\n  hint: %s\n",
		report_text(&rep, text, sizeof(text)), rep.hint);
}

__attribute__((destructor)) static void fini(void)
{
	rt_end();
}

void rt_end(void)
{
	if (rt.ready && rt.used && rt.stats_fd >= 0 && rt.pid == rt.creator_pid)
		rt_stats_print();
	rt.stats_fd = -1;
}
