/*
 * memory.c
 *		What a memory context does in the server: free what was left behind.
 *
 * PostgreSQL's JSON parser leaves that to its caller's context, of which there is
 * none here. Without this a long run would run out of memory.
 */
#undef NDEBUG
#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>

#include <sanitizer/allocator_interface.h>

#include "memory.h"

#define MAX_ALLOCATIONS 100000

static const volatile void *allocations[MAX_ALLOCATIONS];
static int	nallocations;
static bool recording;

/* Note what is allocated. */
static void
on_malloc(const volatile void *pointer, size_t size)
{
	if (!recording)
		return;
	assert(nallocations < MAX_ALLOCATIONS);
	allocations[nallocations++] = pointer;
}

/* Forget what is freed. */
static void
on_free(const volatile void *pointer)
{
	for (int i = nallocations; recording && i-- > 0;)
		if (allocations[i] == pointer)
		{
			allocations[i] = allocations[--nallocations];
			return;
		}
}

/* From now on everything that is allocated is the run's. */
void
memory_begin(void)
{
	static bool installed = false;

	if (!installed)
		assert(__sanitizer_install_malloc_and_free_hooks(on_malloc, on_free) != 0);
	installed = true;
	nallocations = 0;
	recording = true;
}

/* Free what is left of it. */
void
memory_end(void)
{
	recording = false;
	while (nallocations > 0)
		free((void *) allocations[--nallocations]);
}
