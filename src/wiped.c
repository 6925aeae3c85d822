/*
 * wiped.c
 *		Memory from malloc() that is overwritten before it is given back.
 *
 * A library that copies a secret leaves the copies where it allocated them; one
 * that lets its memory functions be chosen gets these.
 */
#include "postgres.h"

#include <malloc.h>

#include "wiped.h"

/* Overwrite and free. */
void
wiped_free(void *memory)
{
	if (memory == NULL)
		return;
	explicit_bzero(memory, malloc_usable_size(memory));
	free(memory);
}

/* Change the size, leaving nothing behind where the memory moves. */
void *
wiped_realloc(void *memory, size_t size)
{
	void	   *moved = malloc(size);

	if (moved == NULL || memory == NULL)
		return moved;
	memcpy(moved, memory, Min(size, malloc_usable_size(memory)));
	wiped_free(memory);
	return moved;
}
