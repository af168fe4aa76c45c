/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Mappings put upon pages of an enclave while they are evicted: what drops the enclave's pages must not drop what
 * lies there now.  One thread makes the EPC full, over and over; the other moves memory of its own onto a part of
 * an enclave, looks whether it is all there, and maps the enclave again.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "client.h"
#include "lib/tap.h"

#define PAGE 4096ull

enum { PART = 64, FILLING = 300, ROUNDS = 2000 };

static struct client_encl part, filling;
static atomic_bool stop;

static void *fill(void *arg)
{
	const volatile uint8_t *heap = (const uint8_t *)(filling.base + filling.heap);

	for (unsigned int i = 0; !atomic_load(&stop); i++)
		(void)heap[i % FILLING * PAGE];
	return arg;
}

static void touch_part(uint8_t *heap)
{
	for (unsigned int i = 0; i < PART; i++)
		(void)*(volatile uint8_t *)(heap + i * PAGE);
}

/* Memory with something in it, moved onto @heap; how many of its pages are empty there. */
static unsigned int move_onto(uint8_t *heap)
{
	unsigned int i, lost = 0;
	uint8_t *own =
		mmap(NULL, PART * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (own == MAP_FAILED)
		return PART;
	for (i = 0; i < PART; i++)
		own[i * PAGE] = (uint8_t)(i + 1);
	touch_part(heap);
	if (mremap(own, PART * PAGE, PART * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, heap) != heap)
		return PART;
	for (i = 0; i < PART; i++)
		lost += heap[i * PAGE] != i + 1;
	return lost;
}

static void check_moved_onto(void)
{
	uint8_t *heap = (uint8_t *)(part.base + part.heap), *p = heap;
	unsigned int round, lost = 0, wrong = 0;

	for (round = 0; round < ROUNDS && !lost && p == heap; round++) {
		lost = move_onto(heap);
		p = mmap(heap, PART * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, part.fd,
			 0);
	}
	TAP_CHECK(!lost,
		  "memory that is moved upon an enclave stays what it is (round %u: %u pages lost)",
		  round, lost);
	TAP_CHECK(p == heap, "the enclave can be mapped there again");
	for (unsigned int i = 0; i < PART && p == heap; i++)
		wrong +=
			client_op(&part, 0, OP_READ, (uintptr_t)heap + i * PAGE, 0, 0) != 0x100 + i;
	TAP_CHECK(!wrong, "and has kept its pages (%u wrong)", wrong);
}

int main(void)
{
	struct client_conf conf = { .heap_pages = FILLING };
	pthread_t thread;

	TAP_MUST(!client_create(&filling, &conf), "an enclave larger than the EPC");
	conf.heap_pages = PART;
	TAP_MUST(!client_create(&part, &conf), "another, to be mapped over");
	for (unsigned int i = 0; i < PART; i++)
		client_op(&part, 0, OP_WRITE, part.base + part.heap + i * PAGE, 0x100 + i, 0);
	pthread_create(&thread, NULL, fill, NULL);
	check_moved_onto();
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	client_destroy(&part);
	client_destroy(&filling);
	return tap_done();
}
