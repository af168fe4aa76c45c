/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
#include "option.h"

#include <errno.h>
#include <stdlib.h>

struct common {
	void *input; /* the benchmark's own parser's */
	bool has_own, json;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct common *common = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		if (common->has_own)
			state->child_inputs[0] = common->input;
		return 0;
	case 'j':
		common->json = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

bool option_parse(int argc, char **argv, const char *doc, const struct argp *own, void *input)
{
	static const struct argp_option options[] = {
		{ "json", 'j', NULL, 0, "the same for programs", -1 },
		{ 0 },
	};
	const struct argp_child children[] = { { .argp = own }, { 0 } };
	const struct argp argp = {
		.options = options,
		.parser = parse,
		.doc = doc,
		.children = own ? children : NULL,
	};
	struct common common = { .input = input, .has_own = own != NULL };

	argp_err_exit_status = 2;
	argp_parse(&argp, argc, argv, 0, NULL, &common);
	return common.json;
}

error_t option_argument(int key, char *arg, struct argp_state *state)
{
	char **argument = state->input;

	switch (key) {
	case ARGP_KEY_ARG:
		if (*argument)
			return ARGP_ERR_UNKNOWN;
		*argument = arg;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_usage(state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

unsigned long option_number(const struct argp_state *state, const char *what, const char *text)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || value == 0)
		argp_error(state, "%s: '%s' is no number above 0", what, text);
	return value;
}
