/*
 * clock.h
 *		The clock for durations, and a watch on the clock that tells the time.
 *
 * What is due is told by the wall clock, which may be set; durations by the monotonic
 * clock.  A process that sleeps until something is due also waits for a clock watch.
 */
#ifndef SMS3300_SHARED_CLOCK_H
#define SMS3300_SHARED_CLOCK_H

/* Return the monotonic clock in microseconds. */
extern int64 clock_us(void);

/*
 * Open a descriptor that becomes readable when the wall clock is set, also while the
 * machine slept.  Returns -1, and errno, if the operating system refuses.
 */
extern int	clock_watch_open(void);

/* Make it wait for the next time. */
extern void clock_watch_reset(int watch);

/* Corrections of the clock are ignored until they add up to more than this. */
#define CLOCK_TOLERANCE USECS_PER_SEC

/* Return by how many microseconds the wall clock is ahead of the monotonic one. */
extern int64 clock_difference(void);

/*
 * Return by how many microseconds the wall clock has been set since a difference was known,
 * which is brought up to date; negative: it was set back.
 */
extern int64 clock_step(int64 *known);

#endif							/* SMS3300_SHARED_CLOCK_H */
