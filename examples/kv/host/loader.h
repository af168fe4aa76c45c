/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * An enclave in this process: built, entered, gone.
 */
#ifndef KV_HOST_LOADER_H
#define KV_HOST_LOADER_H

#include <asm/sgx.h>
#include <stdbool.h>
#include <stdint.h>

#include "image.h"

struct loader {
	int fd;
	uint64_t base;
	uint64_t size;
	uint64_t tcs[KV_THREADS_MAX];
	unsigned int threads;
	void *enter; /* __vdso_sgx_enter_enclave */
};

enum loader_result { LOADER_OK, LOADER_NO_SGX, LOADER_FAILED };

/* Anything but LOADER_OK has been told on stderr. */
enum loader_result loader_open(struct loader *loader, const struct image *image,
			       const struct sgx_sigstruct *sig);
void loader_close(struct loader *loader);

/*
 * Enter with the thread's TCS. False when the thread came out by an exception, which is described
 * in @run; it can't come in again then.
 */
bool loader_enter(const struct loader *loader, unsigned int thread, struct kv_request *request,
		  struct sgx_enclave_run *run);
/* A line about the exception. */
void loader_print_exception(const struct loader *loader, const struct sgx_enclave_run *run);

#endif
