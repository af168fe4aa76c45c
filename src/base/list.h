/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * Circular doubly linked lists.  The link is a member of what is listed; the head is a link too.
 *
 * In shared memory the links are good in every process of the tree (base/arena.h).  A process that dies
 * between two stores of one operation leaves a list that list_check() refuses and list_repair()
 * mends: that is for whoever inherits its lock.
 */
#ifndef SWSGX_BASE_LIST_H
#define SWSGX_BASE_LIST_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *next;
	struct list *prev;
};

#define LIST_ENTRY(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

static inline void list_init(struct list *head)
{
	head->next = head;
	head->prev = head;
}

static inline bool list_empty(const struct list *head)
{
	return head->next == head;
}

/* True for a link that is on no list: list_init() and list_del() leave it so. */
static inline bool list_alone(const struct list *link)
{
	return link->next == link;
}

/* The compiler keeps stores on both sides in order, for whoever finds them half done. */
#define LIST_ORDERED() __asm__ volatile("" ::: "memory")

static inline void list_insert_between(struct list *link, struct list *prev, struct list *next)
{
	link->next = next;
	link->prev = prev;
	LIST_ORDERED();
	prev->next = link;
	LIST_ORDERED();
	next->prev = link;
}

static inline void list_add(struct list *head, struct list *link)
{
	list_insert_between(link, head, head->next);
}

static inline void list_add_tail(struct list *head, struct list *link)
{
	list_insert_between(link, head->prev, head);
}

static inline void list_del(struct list *link)
{
	assert(link->next->prev == link && link->prev->next == link);
	link->prev->next = link->next;
	LIST_ORDERED();
	link->next->prev = link->prev;
	LIST_ORDERED();
	list_init(link);
}

/* NULL when there is none. */
static inline struct list *list_first(const struct list *head)
{
	return list_empty(head) ? NULL : head->next;
}

static inline struct list *list_last(const struct list *head)
{
	return list_empty(head) ? NULL : head->prev;
}

#define list_for_each(pos, head) for ((pos) = (head)->next; (pos) != (head); (pos) = (pos)->next)

/* The same where the loop may remove @pos. */
#define list_for_each_safe(pos, tmp, head)                               \
	for ((pos) = (head)->next, (tmp) = (pos)->next; (pos) != (head); \
	     (pos) = (tmp), (tmp) = (pos)->next)

/*
 * After a death in the middle of an operation: the forward links are good at any moment, the backward
 * ones are made to agree.  What was being added or removed is in, or out.
 */
static inline void list_repair(struct list *head)
{
	struct list *pos = head;

	do {
		pos->next->prev = pos;
		pos = pos->next;
	} while (pos != head);
}

/* The links agree with each other; at most @nr_max of them. */
static inline bool list_check(const struct list *head, size_t nr_max)
{
	const struct list *pos = head;

	do {
		if (!pos->next || pos->next->prev != pos)
			return false;
		pos = pos->next;
	} while (pos != head && nr_max-- > 0);
	return pos == head;
}

#endif
