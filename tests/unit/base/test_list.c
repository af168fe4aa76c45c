/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/* Lists, references, reports: the small things. */
#include "base/list.h"

#include <errno.h>
#include <string.h>

#include "base/ref.h"
#include "base/report.h"
#include "lib/tap.h"

struct item {
	int value;
	struct list link;
};

static void test_list(void)
{
	struct item items[5];
	struct list head, *pos, *tmp;
	int sum = 0, order = 0;
	int i;

	list_init(&head);
	TAP_CHECK(list_empty(&head) && !list_first(&head) && !list_last(&head), "an empty list");
	TAP_CHECK(list_check(&head, 0), "is whole");
	for (i = 0; i < 5; i++) {
		items[i].value = i;
		list_add_tail(&head, &items[i].link);
	}
	list_for_each (pos, &head)
		order = order * 10 + LIST_ENTRY(pos, struct item, link)->value;
	TAP_CHECK(order == 1234, "the order is that of list_add_tail()");
	list_del(&items[2].link);
	TAP_CHECK(list_alone(&items[2].link) && !list_alone(&items[1].link),
		  "a removed link is alone");
	list_add(&head, &items[2].link);
	TAP_CHECK(list_first(&head) == &items[2].link && list_last(&head) == &items[4].link,
		  "list_add() puts it first");
	TAP_CHECK(list_check(&head, 5) && !list_check(&head, 3), "a check counts");
	list_for_each_safe (pos, tmp, &head) {
		sum += LIST_ENTRY(pos, struct item, link)->value;
		list_del(pos);
	}
	TAP_CHECK(sum == 10 && list_empty(&head), "a walk may remove");
	list_add(&head, &items[0].link);
	items[0].link.prev = &items[1].link;
	TAP_CHECK(!list_check(&head, 5), "a torn list is found out");
}

static void test_ref(void)
{
	struct ref ref;

	ref_init(&ref);
	ref_get(&ref);
	TAP_CHECK(ref_count(&ref) == 2, "two references");
	TAP_CHECK(!ref_put(&ref), "the first put is not the last");
	TAP_CHECK(ref_tryget(&ref) && !ref_put(&ref), "a living object can be had");
	TAP_CHECK(ref_put(&ref), "the last put says so");
	TAP_CHECK(!ref_tryget(&ref), "a dead object cannot be had");
}

static void test_report(void)
{
	struct report rep;
	char text[300];
	char longer[400];

	report_init(&rep);
	report_hint(&rep, "try %d", 7);
	TAP_CHECK(report_fail(&rep, -ENOSPC, "cannot keep %d pages", 3) == -ENOSPC,
		  "the error comes through");
	TAP_CHECK(!strcmp(report_text(&rep, text, sizeof(text)),
			  "cannot keep 3 pages: No space left on device"),
		  "%s", text);
	TAP_CHECK(!strcmp(rep.hint, "try 7"), "the hint is kept");
	TAP_CHECK(report_fail(NULL, -EIO, "x") == -EIO, "nobody needs to listen");
	report_hint(NULL, "x");
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	report_fail(&rep, -EIO, "%s", longer);
	TAP_CHECK(strlen(rep.what) == sizeof(rep.what) - 1, "a long text is cut");
}

int main(void)
{
	test_list();
	test_ref();
	test_report();
	return tap_done();
}
