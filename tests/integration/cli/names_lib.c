/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * A library that speaks to the device for a program, by its name.
 */
__attribute__((visibility("default"))) int lib_speak(void);

int lib_speak(void) { return 1; }
