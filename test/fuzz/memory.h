/*
 * memory.h
 *		What a memory context does in the server: free what was left behind.
 */
#ifndef FUZZ_MEMORY_H
#define FUZZ_MEMORY_H

extern void memory_begin(void);
extern void memory_end(void);

#endif							/* FUZZ_MEMORY_H */
