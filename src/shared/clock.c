/*
 * clock.c
 *		The clock for durations, and a watch on the clock that tells the time.
 */
#include "postgres.h"

#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "utils/timestamp.h"

#include "shared/clock.h"

int64
clock_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * USECS_PER_SEC + now.tv_nsec / 1000;
}

/* Set a timer that never expires, but is cancelled when the clock is set. */
static bool
arm(int watch)
{
	struct itimerspec never = {.it_value = {.tv_sec = (time_t) 1 << 33}};

	return timerfd_settime(watch, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) == 0;
}

int
clock_watch_open(void)
{
	int			watch = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);

	if (watch >= 0 && !arm(watch))
	{
		close(watch);
		return -1;
	}
	return watch;
}

void
clock_watch_reset(int watch)
{
	uint64		expirations;

	/* This fails with ECANCELED if the clock was set.  It is called again if it was interrupted. */
	if (read(watch, &expirations, sizeof(expirations)) < 0 && errno == EINTR)
		return;
	(void) arm(watch);
}

int64
clock_difference(void)
{
	return GetCurrentTimestamp() - clock_us();
}

int64
clock_step(int64 *known)
{
	int64		difference = clock_difference();
	int64		step = difference - *known;

	/* What is known does not follow small corrections, so that they add up. */
	if (step <= CLOCK_TOLERANCE && step >= -CLOCK_TOLERANCE)
		return 0;
	*known = difference;
	return step;
}
