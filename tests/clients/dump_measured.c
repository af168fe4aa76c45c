/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Builds an enclave, writes to FILE what it asked for, record for record as the manual has them measured (which
 * is the SGXS format of other loaders), and prints the MRENCLAVE that EREPORT says.  It hashes nothing.
 *
 *   dump_measured FILE [THREADS [SALT]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"

static void write_page(FILE *file, const struct client_segment *s, uint64_t page)
{
	uint64_t offset = s->offset + page * 4096;
	uint8_t record[64] = "EADD";

	memcpy(record + 8, &offset, 8);
	memcpy(record + 16, &s->flags, 8);
	fwrite(record, 1, sizeof(record), file);
	for (unsigned int at = 0; s->measure && at < 4096; at += 256) {
		uint64_t where = offset + at;

		memset(record, 0, sizeof(record));
		memcpy(record, "EEXTEND", 7);
		memcpy(record + 8, &where, 8);
		fwrite(record, 1, sizeof(record), file);
		fwrite(s->bytes + page * 4096 + at, 1, 256, file);
	}
}

static int write_stream(const struct client_encl *e, const char *path)
{
	FILE *file = fopen(path, "wb");
	uint8_t record[64] = "ECREATE";

	if (!file)
		return -1;
	memcpy(record + 8, &e->ssa_frame_pages, 4);
	memcpy(record + 12, &e->size, 8);
	fwrite(record, 1, sizeof(record), file);
	for (unsigned int i = 0; i < e->segment_nr; i++)
		for (uint64_t page = 0; page < e->segment[i].pages; page++)
			write_page(file, &e->segment[i], page);
	return fclose(file);
}

int main(int argc, char **argv)
{
	struct client_conf conf = { .heap_pages = 3 };
	const struct sgx_targetinfo target = { 0 };
	const uint8_t data[64] = { 0 };
	struct client_encl e;
	struct sgx_report report;
	struct encl_op op = { .nr = OP_EREPORT,
			      .arg = { (uintptr_t)&target, (uintptr_t)data, (uintptr_t)&report } };

	if (argc < 2)
		return 2;
	conf.threads = argc > 2 ? (unsigned int)atoi(argv[2]) : 1;
	conf.salt = argc > 3 ? (uint8_t)atoi(argv[3]) : 0;
	if (client_create(&e, &conf) || write_stream(&e, argv[1]) ||
	    client_call(&e, 0, &op, ENTRY_VDSO) || op.ret)
		return 1;
	for (unsigned int i = 0; i < sizeof(report.mrenclave); i++)
		printf("%02x", report.mrenclave[i]);
	printf("\n");
	client_destroy(&e);
	return 0;
}
