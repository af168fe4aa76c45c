/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * The enclave's one entry: take a request from the host, check it, do it, answer.
 *
 * Whatever comes from the host is copied in once and checked in the copy.  Pointers must lead
 * outside of the enclave, lest the host has us read or write our own memory for it; that they
 * lead to memory is the host's affair (if not, its thread gets the exception).
 *
 * The store is in one of the states below.  Operations that read or change it count themselves
 * in while it is OPEN; whoever freezes it waits until they have left.
 */
#include <emmintrin.h>

#include "keys.h"
#include "lib.h"
#include "seal.h"
#include "store.h"

void enclave_main(uint64_t request_la);

/* In the image's first page, filled by the loader, measured. */
extern const struct kv_layout kv_layout __attribute__((visibility("hidden")));

enum state {
	STATE_NEW,
	STATE_STARTING,
	STATE_OPEN,
	STATE_FREEZING,
	STATE_SEALING,
	STATE_OPENING,
	STATE_SPOILT,
};

/* An enclave is one instance of everything: this is its memory. */
static struct enclave {
	uint32_t state;        /* enum state, atomic */
	uint32_t users;        /* operations inside, atomic */
	struct spinlock admin; /* sealing, opening, initialising: one at a time */
	struct store store;
	struct seal seal; /* under admin */
} enclave;

static uint64_t enclave_base(void)
{
	return (uint64_t)(uintptr_t)&kv_layout;
}

/* True when all of [la, la + bytes) is the host's. */
static bool outside(uint64_t la, uint64_t bytes)
{
	uint64_t base = enclave_base();
	bool ok = la + bytes >= la && (la + bytes <= base || la >= base + kv_layout.size);

	_mm_lfence(); /* not even speculatively past a failed check */
	return ok;
}

static void *ptr(uint64_t la)
{
	return (void *)(uintptr_t)la;
}

/* The request with its key inside. */
struct call {
	struct kv_request in;
	uint8_t key[KV_KEY_MAX];
	uint32_t value_bytes; /* to answer */
};

static enum kv_status use_begin(void)
{
	uint32_t state;

	__atomic_fetch_add(&enclave.users, 1, __ATOMIC_SEQ_CST);
	state = __atomic_load_n(&enclave.state, __ATOMIC_SEQ_CST);
	if (state == STATE_OPEN)
		return KV_OK;
	__atomic_fetch_sub(&enclave.users, 1, __ATOMIC_SEQ_CST);
	return state == STATE_FREEZING ? KV_BUSY : KV_BAD_STATE;
}

static void use_end(void)
{
	__atomic_fetch_sub(&enclave.users, 1, __ATOMIC_SEQ_CST);
}

static void set_state(enum state to)
{
	__atomic_store_n(&enclave.state, to, __ATOMIC_SEQ_CST);
}

/* OPEN to @to, if nobody is inside. Pairs with use_begin(): it counts, then looks at the state. */
static enum kv_status freeze(enum state to)
{
	bool idle;

	if (enclave.state != STATE_OPEN)
		return KV_BAD_STATE;
	set_state(STATE_FREEZING);
	idle = __atomic_load_n(&enclave.users, __ATOMIC_SEQ_CST) == 0;
	set_state(idle ? to : STATE_OPEN);
	return idle ? KV_OK : KV_BUSY;
}

static enum kv_status do_init(struct call *call)
{
	uint64_t heap = enclave_base() + kv_layout.heap_off;

	if (enclave.state != STATE_NEW)
		return KV_BAD_STATE;
	set_state(STATE_STARTING);
	if (kv_layout.flags & KV_LAYOUT_EDMM) {
		for (uint64_t off = 0; off < kv_layout.heap_bytes; off += SGX_PAGE) {
			if (!keys_accept(heap + off))
				return KV_BAD_STATE;
		}
	}
	/* The heap isn't measured: what is in it now may be of the host's making. */
	if (!store_init(&enclave.store, ptr(heap), kv_layout.heap_bytes))
		return KV_FULL;
	set_state(STATE_OPEN);
	return KV_OK;
}

static enum kv_status do_get(struct call *call)
{
	uint8_t value[KV_VALUE_MAX];
	enum kv_status status;
	uint32_t bytes = 0;

	status = store_get(&enclave.store, call->key, call->in.key_bytes, value, &bytes);
	if (status != KV_OK)
		return status;
	if (bytes > call->in.value_bytes)
		return KV_BAD_REQUEST;
	memcpy(ptr(call->in.value), value, bytes);
	call->value_bytes = bytes;
	return KV_OK;
}

/* Operations on keys. */
static enum kv_status do_use(struct call *call)
{
	enum kv_status status = use_begin();

	if (status != KV_OK)
		return status;
	status = KV_BAD_REQUEST;
	switch (call->in.op) {
	case KV_PUT:
		if (call->in.value_bytes <= KV_VALUE_MAX)
			status = store_put(&enclave.store, call->key, call->in.key_bytes,
					   ptr(call->in.value), call->in.value_bytes);
		break;
	case KV_GET:
		status = do_get(call);
		break;
	case KV_DELETE:
		status = store_delete(&enclave.store, call->key, call->in.key_bytes);
		break;
	case KV_COUNT:
		call->value_bytes = (uint32_t)enclave.store.entries;
		status = KV_OK;
		break;
	}
	use_end();
	return status;
}

static enum kv_status do_seal_begin(struct call *call)
{
	enum kv_status status;

	if (call->in.value_bytes < sizeof(enclave.seal.header))
		return KV_BAD_REQUEST;
	status = freeze(STATE_SEALING);
	if (status != KV_OK)
		return status;
	status = seal_begin(&enclave.seal, &enclave.store);
	if (status != KV_OK) {
		set_state(STATE_OPEN);
		return status;
	}
	call->value_bytes = sizeof(enclave.seal.header);
	memcpy(ptr(call->in.value), &enclave.seal.header, call->value_bytes);
	return KV_OK;
}

static enum kv_status do_seal_next(struct call *call)
{
	struct kv_seal_chunk chunk;
	uint8_t *to = ptr(call->in.value);

	if (call->in.value_bytes < sizeof(chunk) + KV_SEAL_CHUNK_BYTES)
		return KV_BAD_REQUEST;
	if (enclave.state != STATE_SEALING)
		return KV_BAD_STATE;
	seal_next(&enclave.seal, &enclave.store, &chunk);
	memcpy(to, &chunk, sizeof(chunk));
	memcpy(to + sizeof(chunk), enclave.seal.buffer, chunk.bytes);
	call->value_bytes = (uint32_t)sizeof(chunk) + chunk.bytes;
	if (chunk.last) {
		seal_end(&enclave.seal);
		set_state(STATE_OPEN);
	}
	return KV_OK;
}

static enum kv_status do_open_begin(struct call *call)
{
	struct kv_seal_header header;
	enum kv_status status;

	if (call->in.value_bytes != sizeof(header))
		return KV_BAD_REQUEST;
	if (enclave.store.entries)
		return KV_BAD_STATE;
	status = freeze(STATE_OPENING);
	if (status != KV_OK)
		return status;
	memcpy(&header, ptr(call->in.value), sizeof(header));
	status = seal_open_begin(&enclave.seal, &header);
	if (status != KV_OK)
		set_state(STATE_OPEN);
	return status;
}

static enum kv_status do_open_next(struct call *call)
{
	const uint8_t *from = ptr(call->in.value);
	struct kv_seal_chunk chunk;
	enum kv_status status;

	if (call->in.value_bytes < sizeof(chunk))
		return KV_BAD_REQUEST;
	if (enclave.state != STATE_OPENING)
		return KV_BAD_STATE;
	memcpy(&chunk, from, sizeof(chunk));
	if (chunk.bytes > KV_SEAL_CHUNK_BYTES ||
	    chunk.bytes != call->in.value_bytes - sizeof(chunk))
		return KV_BAD_REQUEST;
	memcpy(enclave.seal.buffer, from + sizeof(chunk), chunk.bytes);
	status = seal_open_next(&enclave.seal, &enclave.store, &chunk);
	if (status != KV_OK || chunk.last) {
		seal_end(&enclave.seal);
		set_state(status == KV_OK ? STATE_OPEN : STATE_SPOILT);
	}
	return status;
}

static enum kv_status do_report(struct call *call)
{
	struct sgx_report report;

	if (call->in.key_bytes != sizeof(report.reportdata) ||
	    call->in.value_bytes < sizeof(report))
		return KV_BAD_REQUEST;
	keys_report_self(call->key, &report);
	if (!keys_report_verify(&report))
		return KV_BAD_REPORT;
	/* A verifier that says yes to everything would have said yes too. */
	report.mrenclave[0] ^= 1;
	if (keys_report_verify(&report))
		return KV_BAD_REPORT;
	report.mrenclave[0] ^= 1;
	memcpy(ptr(call->in.value), &report, sizeof(report));
	call->value_bytes = sizeof(report);
	return KV_OK;
}

/* Raise an exception, so that one can see how the host learns of it. */
static enum kv_status do_crash(struct call *call)
{
	/* The last thread's block is before the heap, and begins with a page that isn't there. */
	uint64_t gap = enclave_base() + kv_layout.heap_off - KV_THREAD_PAGES * SGX_PAGE;
	uint64_t code = (uint64_t)(uintptr_t)enclave_main;

	switch (call->in.key_bytes) {
	case KV_CRASH_READ_NOWHERE:
		(void)*(volatile uint8_t *)ptr(gap);
		break;
	case KV_CRASH_INVALID_OPCODE:
		__asm__ volatile("ud2");
		break;
	case KV_CRASH_WRITE_CODE:
		*(volatile uint8_t *)ptr(code) = 0xcc;
		break;
	}
	return KV_BAD_REQUEST;
}

static enum kv_status do_admin(struct call *call)
{
	enum kv_status status = KV_BAD_REQUEST;

	if (!spin_try(&enclave.admin, 1000))
		return KV_BUSY;
	switch (call->in.op) {
	case KV_INIT:
		status = do_init(call);
		break;
	case KV_SEAL_BEGIN:
		status = do_seal_begin(call);
		break;
	case KV_SEAL_NEXT:
		status = do_seal_next(call);
		break;
	case KV_OPEN_BEGIN:
		status = do_open_begin(call);
		break;
	case KV_OPEN_NEXT:
		status = do_open_next(call);
		break;
	}
	spin_unlock(&enclave.admin);
	return status;
}

static enum kv_status do_call(struct call *call)
{
	const struct kv_request *in = &call->in;

	if (!outside(in->value, in->value_bytes))
		return KV_BAD_REQUEST;
	if (in->op == KV_CRASH)
		return do_crash(call);
	if (in->op == KV_PUT || in->op == KV_GET || in->op == KV_DELETE || in->op == KV_REPORT) {
		if (in->key_bytes == 0 || in->key_bytes > KV_KEY_MAX ||
		    !outside(in->key, in->key_bytes))
			return KV_BAD_REQUEST;
		memcpy(call->key, ptr(in->key), in->key_bytes);
	}
	switch (in->op) {
	case KV_PUT:
	case KV_GET:
	case KV_DELETE:
	case KV_COUNT:
		return do_use(call);
	case KV_REPORT:
		return do_report(call);
	default:
		return do_admin(call);
	}
}

void enclave_main(uint64_t request_la)
{
	struct kv_request *request = ptr(request_la);
	struct call call;

	if (!outside(request_la, sizeof(*request)))
		return;
	memcpy(&call.in, request, sizeof(call.in));
	call.value_bytes = 0;
	request->status = do_call(&call);
	request->value_bytes = call.value_bytes;
}
