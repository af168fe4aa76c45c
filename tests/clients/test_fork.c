/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * fork() with an enclave: its memory is shared with the child, as MAP_SHARED memory is.  Both enter
 * it, both page it, and whatever the child does or dies of, the parent's enclave goes on.
 */
#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "lib/tap.h"

#define PAGES 1024 /* of heap: more than the EPC that this test is meant to have */

static struct client_encl e;

static int wait_status(pid_t pid)
{
	int status = -1;

	waitpid(pid, &status, 0);
	return status;
}

static uint64_t walk(unsigned int thread, uint64_t steps)
{
	struct encl_op op = { .nr = OP_WALK,
			      .arg = { e.base + e.heap, PAGES, steps, 1, thread },
			      .ret = 1 };

	struct sgx_enclave_run run = { 0 };
	int ret = client_vdso(&e, thread, &op, &run);

	if (ret || run.function != SGX_EEXIT)
		printf("# thread %u: ret %d, function %u, vector %u, error %#x, address %#llx\n",
		       thread, ret, run.function, run.exception_vector, run.exception_error_code,
		       (unsigned long long)(run.exception_addr - e.base));
	return op.ret;
}

static uint64_t sum(unsigned int slot, uint64_t *errors)
{
	struct encl_op op = { .nr = OP_SUM, .arg = { e.base + e.heap, PAGES, slot, 1 } };

	client_call(&e, 0, &op, ENTRY_VDSO);
	*errors += op.arg[4];
	return op.ret;
}

static void check_sharing(void)
{
	uint64_t addr = e.base + e.heap;
	pid_t pid;
	int status;

	client_op(&e, 0, OP_WRITE, addr, 0x1111, 0);
	pid = fork();
	if (!pid) {
		if (client_op(&e, 1, OP_READ, addr, 0, 0) != 0x1111)
			_exit(1);
		if (client_op(&e, 1, OP_WRITE, addr + 8, 0x2222, 0))
			_exit(2);
		_exit(0);
	}
	status = wait_status(pid);
	TAP_CHECK(status == 0, "the child reads and writes the parent's enclave (status %#x)",
		  status);
	TAP_CHECK(client_op(&e, 0, OP_READ, addr + 8, 0, 0) == 0x2222,
		  "the parent sees what the child wrote");
}

static void check_paging(void)
{
	uint64_t errors = 0, parent, child;
	pid_t pid;
	int status;

	client_op(&e, 0, OP_FILL, e.base + e.heap, PAGES, 1);
	pid = fork();
	if (!pid)
		_exit(walk(1, 20000) ? 1 : 0);
	errors += walk(0, 20000);
	status = wait_status(pid);
	TAP_CHECK(!errors && !status, "both walk it at once, under EPC pressure (%llu, status %#x)",
		  (unsigned long long)errors, status);
	parent = sum(0, &errors);
	child = sum(1, &errors);
	TAP_CHECK(!errors && parent == 20000 && child == 20000, "and no step of either is lost");
}

/* Children that die in each way, some while inside. */
static void check_deaths(void)
{
	volatile uint32_t *flags =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t errors;
	pid_t pid;
	int status;

	pid = fork();
	if (!pid)
		exit(client_op(&e, 1, OP_NOP, 0, 0, 0) != 0);
	TAP_CHECK(wait_status(pid) == 0, "a child ends by exit()");
	for (int i = 0; i < 5; i++) {
		flags[0] = 0;
		flags[2] = 0;
		pid = fork();
		if (!pid) {
			client_op(&e, 1 + (unsigned int)i, OP_SPIN, (uintptr_t)&flags[0],
				  (uintptr_t)&flags[2], 0);
			_exit(0);
		}
		while (!flags[2])
			usleep(1000);
		kill(pid, SIGKILL);
		status = wait_status(pid);
		TAP_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
			  "a child is killed inside, round %d", i);
		errors = walk(0, 3000);
		TAP_CHECK(!errors, "the parent's enclave goes on, pages in and out");
	}
}

/* Children that are killed while they change what both share: they page all the time. */
static void check_killed_paging(void)
{
	int bad = 0;

	for (int i = 0; i < 40; i++) {
		pid_t pid = fork();

		if (!pid) {
			walk(6, 100000000);
			_exit(0);
		}
		usleep((useconds_t)(3000 + i * 500));
		kill(pid, SIGKILL);
		/* Not waited for at first: it is a zombie, and dead all the same. */
		bad += walk(0, 300) != 0;
		wait_status(pid);
	}
	TAP_CHECK(!bad, "40 children killed while they page cost the parent nothing (%d)", bad);
}

static volatile bool done;

/* In and out, all the time. */
static void *passer(void *arg)
{
	uint64_t *bad = arg;

	while (!done)
		*bad += client_op(&e, 5, OP_NOP, 0, 0, 0) != 0;
	return NULL;
}

/* What a child had in hand is seen to while others come out of the enclave. */
static void check_killed_by_passers(void)
{
	uint64_t bad = 0;
	pthread_t thread;

	done = false;
	pthread_create(&thread, NULL, passer, &bad);
	for (int i = 0; i < 60; i++) {
		pid_t pid = fork();

		if (!pid) {
			walk(6, 100000000);
			_exit(0);
		}
		usleep((useconds_t)(3000 + i * 200));
		kill(pid, SIGKILL);
		wait_status(pid);
		bad += walk(0, 100) != 0;
	}
	done = true;
	pthread_join(thread, NULL);
	TAP_CHECK(!bad, "60 children killed while another thread comes and goes (%llu)",
		  (unsigned long long)bad);
}

static void check_child_alone(void)
{
	struct client_conf conf = { .heap_pages = 8 };
	pid_t pid = fork();

	if (!pid) {
		struct client_encl own;

		if (client_create(&own, &conf))
			_exit(1);
		if (client_op(&own, 0, OP_WRITE, own.base + own.heap, 5, 0) ||
		    client_op(&own, 0, OP_READ, own.base + own.heap, 0, 0) != 5)
			_exit(2);
		client_destroy(&own);
		munmap(e.reserved, e.reserved_bytes);
		close(e.fd);
		_exit(0);
	}
	TAP_CHECK(wait_status(pid) == 0, "a child makes an enclave of its own and unmaps ours");
	TAP_CHECK(!client_op(&e, 0, OP_NOP, 0, 0, 0), "ours goes on in the parent");
}

static void check_orphan(void)
{
	int p[2];
	char byte = 'n';
	pid_t pid;

	TAP_MUST(!pipe(p), "a pipe");
	pid = fork();
	if (!pid) {
		if (!fork()) { /* the grandchild outlives its parent, the child */
			usleep(100000);
			byte = walk(2, 2000) ? 'n' : 'y';
			_exit(write(p[1], &byte, 1) != 1);
		}
		_exit(0);
	}
	wait_status(pid);
	close(p[1]);
	TAP_CHECK(read(p[0], &byte, 1) == 1 && byte == 'y',
		  "a grandchild uses it after its parent's end");
	close(p[0]);
}

static void check_generations(void)
{
	int bad = 0;

	for (int i = 0; i < 30; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(walk(3, 300) ? 1 : 0);
		bad += wait_status(pid) != 0;
	}
	TAP_CHECK(!bad, "30 children, one after the other");
}

static void *walker(void *arg)
{
	uint64_t *slot = arg;

	*slot = walk((unsigned int)*slot, 100);
	return NULL;
}

/* How many of two threads did not do their work. */
static uint64_t walk_in_threads(void)
{
	uint64_t slot[2] = { 3, 4 };
	pthread_t thread[2];

	for (int i = 0; i < 2; i++)
		if (pthread_create(&thread[i], NULL, walker, &slot[i]))
			return 1;
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	return slot[0] + slot[1];
}

static int forked_by_thread(unsigned int generations);

static void *forker(void *arg)
{
	unsigned int generations = *(unsigned int *)arg;
	pid_t pid = fork();

	if (!pid)
		_exit(walk_in_threads() || forked_by_thread(generations - 1) || walk_in_threads());
	*(int *)arg = wait_status(pid);
	return NULL;
}

/* A child of a thread's, and so on; how the first one ended. */
static int forked_by_thread(unsigned int generations)
{
	int status = (int)generations;
	pthread_t thread;

	if (!generations)
		return 0;
	if (pthread_create(&thread, NULL, forker, &status))
		return -1;
	pthread_join(thread, NULL);
	return status;
}

/* Children of a program that has had threads, and whose threads fork, have threads themselves. */
static void check_threads_of_children(void)
{
	uint64_t bad = walk_in_threads();
	int status;
	pid_t pid;

	for (int i = 0; i < 5; i++) {
		pid = fork();
		if (!pid)
			_exit(walk_in_threads() != 0);
		status = wait_status(pid);
		TAP_CHECK(!status, "a child has threads, as its parent had (status %#x)", status);
	}
	status = forked_by_thread(4);
	TAP_CHECK(!status, "and so have four generations whose threads fork (status %#x)", status);
	bad += walk_in_threads();
	TAP_CHECK(!bad, "the parent's go on");
}

#define THREADS 3  /* that the parent has */
#define LODGERS 12 /* that a child has */

static struct client_encl house;
static sem_t in, leave;

/* Been inside, and still there when the process forks. */
static void *resident(void *unused)
{
	client_op(&house, 0, OP_NOP, 0, 0, 0);
	sem_post(&in);
	sem_wait(&leave);
	return unused;
}

static void *lodger(void *arg)
{
	uint64_t *tcs = arg;

	*tcs = client_op(&house, (unsigned int)*tcs, OP_NOP, 0, 0, 0);
	return NULL;
}

/* A SYSCALL in an enclave is an exception, whoever had this thread's place before. */
static void *caller(void *arg)
{
	struct encl_op op = { .nr = OP_RISKY, .arg = { RISKY_SYSCALL } };
	struct sgx_enclave_run run = { 0 };
	uint64_t *tcs = arg;
	int ret = client_vdso(&house, (unsigned int)*tcs, &op, &run);

	*tcs = ret || run.function != SGX_ERESUME || run.exception_vector != VEC_UD;
	return NULL;
}

/* How many of @nr threads, all at once, were not served as they should. */
static int lodge(unsigned int nr, void *(*does)(void *))
{
	uint64_t tcs[LODGERS], bad = 0;
	pthread_t thread[LODGERS];

	for (unsigned int i = 0; i < nr; i++) {
		tcs[i] = i;
		if (pthread_create(&thread[i], NULL, does, &tcs[i]))
			return (int)nr;
	}
	for (unsigned int i = 0; i < nr; i++) {
		pthread_join(thread[i], NULL);
		bad += tcs[i] != 0;
	}
	return (int)bad;
}

/* A child's threads have the places of those that its parent had, and nothing that those left there. */
static void check_more_threads(void)
{
	struct client_conf conf = { .threads = LODGERS };
	pthread_t thread[THREADS];
	int bad = 0, status;
	pid_t pid;

	TAP_MUST(!client_create(&house, &conf), "an enclave for %u threads", LODGERS);
	sem_init(&in, 0, 0);
	sem_init(&leave, 0, 0);
	for (int i = 0; i < THREADS; i++) {
		pthread_create(&thread[i], NULL, resident, NULL);
		sem_wait(&in);
	}
	for (int i = 0; i < 10; i++) {
		pid = fork();
		if (!pid)
			_exit(lodge(LODGERS, lodger));
		status = wait_status(pid);
		bad += status != 0;
	}
	TAP_CHECK(!bad, "10 children have more threads each than their parent (%d had not)", bad);
	pid = fork();
	if (!pid)
		_exit(lodge(LODGERS, caller));
	status = wait_status(pid);
	TAP_CHECK(!status, "and a SYSCALL of one of them in an enclave is #UD (status %#x)",
		  status);
	for (int i = 0; i < THREADS; i++)
		sem_post(&leave);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	client_destroy(&house);
}

/* ---- threads that are at something meanwhile ------------------------------------------------------------- */

#define AT_WORK 5 /* that a child has: OP_WALK has eight slots in a page for all */

static volatile bool over;

static uint64_t walk_house(unsigned int tcs)
{
	struct encl_op op = { .nr = OP_WALK,
			      .arg = { house.base + house.heap, PAGES, 30, 1, tcs } };

	return client_vdso(&house, tcs, &op, NULL) ? 1 : op.ret;
}

/* At work when the process forks, and mostly in the runtime, as the enclave is larger than the EPC. */
static void *worker(void *arg)
{
	uint64_t *tcs = arg, bad = 0;

	while (!over)
		bad += walk_house((unsigned int)*tcs);
	*tcs = bad;
	return NULL;
}

static void *lodger_at_work(void *arg)
{
	uint64_t *tcs = arg;

	*tcs = walk_house((unsigned int)*tcs);
	return NULL;
}

/* Of what the fork found its parent's threads at, a child's threads know nothing. */
static void check_threads_at_work(void)
{
	struct client_conf conf = { .threads = AT_WORK + THREADS, .heap_pages = PAGES };
	pthread_t thread[THREADS];
	uint64_t tcs[THREADS];
	int bad = 0;

	TAP_MUST(!client_create(&house, &conf), "an enclave that is larger than the EPC");
	client_op(&house, 0, OP_FILL, house.base + house.heap, PAGES, 1);
	for (unsigned int i = 0; i < THREADS; i++) {
		tcs[i] = AT_WORK + i;
		pthread_create(&thread[i], NULL, worker, &tcs[i]);
	}
	for (int i = 0; i < 250; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(lodge(AT_WORK, lodger_at_work));
		bad += wait_status(pid) != 0;
	}
	TAP_CHECK(!bad, "250 children have threads, while their parent's page (%d had not)", bad);
	over = true;
	for (int i = 0; i < THREADS; i++) {
		pthread_join(thread[i], NULL);
		TAP_CHECK(!tcs[i], "thread %d of the parent's lost nothing", i);
	}
	client_destroy(&house);
}

int main(void)
{
	struct client_conf conf = { .threads = 8, .heap_pages = PAGES };
	int err = client_create(&e, &conf);

	TAP_MUST(!err, "an enclave (%s)", err ? e.failed : "built");
	check_sharing();
	check_paging();
	check_deaths();
	check_child_alone();
	check_orphan();
	check_generations();
	check_threads_of_children();
	check_more_threads();
	check_threads_at_work();
	check_killed_paging();
	check_killed_by_passers();
	TAP_CHECK(!client_op(&e, 0, OP_NOP, 0, 0, 0), "after all of them");
	client_destroy(&e);
	return tap_done();
}
