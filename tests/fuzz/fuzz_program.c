/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Files that somebody wants to run: the bytes are one.  The tool and the runtime look what kind of program it is, what
 * makes its own system calls is loaded into a process that is there already, and the VMM takes it for a guest's kernel.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuzz/fuzz.h"
#include "runtime/cpuid_sites.h"
#include "runtime/load.h"
#include "runtime/program.h"
#include "vmm/vmm_priv.h"

#define RAM (1u << 20)

/* A file by name; it is the same one for all inputs. */
static const char *file_of(const uint8_t *bytes, size_t nr)
{
	static char path[40];
	static int fd = -1;

	if (fd < 0) {
		fd = memfd_create("program", MFD_CLOEXEC);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	must(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, bytes, nr, 0) == (ssize_t)nr, "a file");
	return path;
}

static void check_kind(const char *path, const uint8_t *bytes, size_t nr)
{
	bool elf = nr >= 4 && !memcmp(bytes,
				      "\x7f"
				      "ELF",
				      4);
	enum program_kind kind = 99, again = 99;

	must(program_kind(path, &kind) == 0 && kind <= PROGRAM_FOREIGN, "a file is of some kind");
	must((kind == PROGRAM_SCRIPT) == !elf, "what is no ELF file is for the shell");
	must(kind == PROGRAM_SCRIPT || kind == PROGRAM_FOREIGN || nr >= 64, "a header is whole");
	must(program_kind(path, &again) == 0 && again == kind, "and of the same one later");
}

/*
 * What is loaded stays, so a child does it, and lives; or gets the SIGBUS of a segment that ends past the end of the file, as
 * execve() kills such a one.
 */
static void check_load(const char *path)
{
	struct load_image image;
	int status = 0, r;
	pid_t pid;

#ifdef __SANITIZE_THREAD__
	return; /* it ends a program that maps something where it does not want it */
#endif
	pid = fork();
	must(pid >= 0, "fork");
	if (pid == 0) {
		signal(SIGBUS, SIG_DFL);
		r = load_program(path, &image);
		_exit(r <= 0 && r > -4096 ? 0 : 1);
	}
	must(waitpid(pid, &status, 0) == pid, "its end");
	must((WIFEXITED(status) && WEXITSTATUS(status) == 0) ||
		     (WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS),
	     "it is loaded, or it isn't");
}

/* The bytes lie as they are in what libFuzzer gave, so that it sees who looks behind them. */
static void check_sites(const uint8_t *bytes, size_t nr)
{
	static struct cpuid_site sites[256];
	size_t found = cpuid_sites_find(bytes, nr, sites, 256);

	must(found <= 256, "as many as there is room for");
	for (size_t i = 0; i < found; i++) {
		must(sites[i].offset + 2 <= nr && !memcmp(bytes + sites[i].offset, "\x0f\xa2", 2),
		     "each is one");
		must(!i || sites[i].vaddr > sites[i - 1].vaddr, "in order");
	}
}

/* Behind the guest's RAM there is nothing that may be touched. */
static void check_image(const char *path)
{
	static uint8_t *ram;
	struct report rep = { 0 };
	struct vmm *vmm = calloc(1, sizeof(*vmm));
	int r;

	if (!ram) {
		ram = mmap(NULL, 3 * RAM, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		must(ram != MAP_FAILED && !mprotect(ram + RAM, RAM, PROT_READ | PROT_WRITE), "RAM");
		ram += RAM;
	}
	must(vmm, "memory");
	vmm->ram = ram;
	vmm->config.ram_bytes = RAM;
	vmm->config.image = path;
	r = image_load(vmm, &rep);
	must(r == 0 || r == -ENOEXEC, "it is an image, or it is none");
	must(r == 0 || (rep.err == r && rep.what[0]), "which is told");
	free(vmm);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t nr)
{
	const char *path = file_of(bytes, nr);

	check_kind(path, bytes, nr);
	check_sites(bytes, nr);
	check_load(path);
	check_image(path);
	return 0;
}
