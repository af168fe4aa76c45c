/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
#ifndef KV_HOST_VDSO_H
#define KV_HOST_VDSO_H

/* The address of a function of the vDSO, or NULL. */
void *vdso_function(const char *name);

#endif
