/*
 * proof.h
 *		What the proofs share: values of which nothing is known.
 */
#ifndef SMS3300_TEST_PROOF_H
#define SMS3300_TEST_PROOF_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define assume(condition)	__CPROVER_assume(condition)

uint32_t	nondet_uint32(void);
size_t		nondet_size(void);
int			nondet_int(void);
bool		nondet_bool(void);

/* Return a text of any bytes, of any length from min to max, with nothing behind it. */
static inline char *
any_text(size_t min, size_t max, size_t *n)
{
	char	   *text;

	*n = nondet_size();
	assume(*n >= min && *n <= max);
	text = malloc(*n);
	assume(text != NULL);
	return text;
}

#endif							/* SMS3300_TEST_PROOF_H */
