/*
 * wiped.h
 *		Memory from malloc() that is overwritten before it is given back.
 */
#ifndef SMS3300_WIPED_H
#define SMS3300_WIPED_H

extern void wiped_free(void *memory);
extern void *wiped_realloc(void *memory, size_t size);

#endif							/* SMS3300_WIPED_H */
