/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Looking at the shared memory of other processes, which know nothing of it.
 *
 * An arena that is shown (base/arena.h) is a file without a name, and whoever may look into /proc/PID/fd can map it. The
 * mapping is for reading only: nothing there is written, no lock is taken, and a looker that is killed leaves nothing
 * behind.  So everything that is seen may be in the middle of a change; whoever follows a pointer asks look_at()
 * for it, which knows what lies in the file and what does not.
 *
 * Those whose memory it is may mean harm.  The file is sealed against getting shorter, or it is not looked at, so what is
 * mapped stays: there is no SIGBUS.  But each look at the same place may find something else there: whatever is checked and
 * then relied upon has to be copied first.
 */
#ifndef SWSGX_BASE_LOOK_H
#define SWSGX_BASE_LOOK_H

#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Not a word that programs search /proc/self/maps for. */
#define LOOK_FILE_NAME "swepc"
#define LOOK_MAGIC     0x316b6f6f6c657773ull

/* What others begin with. */
enum look_root { LOOK_EPC, LOOK_EPCM, LOOK_ROOT_NR };

/* The beginning of the file. It stays as it is, whatever the version. */
struct look_mark {
	_Atomic uint64_t magic;
	void *base; /* where those whose it is have it, all at the same address */
	uint64_t bytes;
	struct {
		uint64_t layout;
		_Atomic uint64_t at; /* 0: nothing */
	} root[LOOK_ROOT_NR];
};

struct look;

/* The seals that the file has. */
#define LOOK_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/*
 * @fd: the file, which stays the caller's.  0, or:
 *   -EINVAL  it is no such file, or nobody has finished making it, or it could get shorter
 *   -ENOMEM
 */
int look_open(int fd, struct look **ret_look);
/* Takes NULL. */
void look_close(struct look *look);
/* The address of a root, for look_at(); 0: there is none. */
uint64_t look_root(const struct look *look, enum look_root which, uint64_t *ret_layout);
/* How much of the file has memory: all else was never touched. */
uint64_t look_bytes_there(const struct look *look);
/* What lies at @at there, @bytes of it, aligned to @align (a power of two). NULL: that is not in the file. */
const void *look_at(const struct look *look, uint64_t at, size_t bytes, size_t align);

/* What @pointer of type T * there points to; NULL. */
#define LOOK(look, pointer, T) \
	((const T *)look_at((look), (uintptr_t)(pointer), sizeof(T), _Alignof(T)))

#endif
