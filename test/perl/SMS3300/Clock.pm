# A server whose wall clock tests set. A library that is preloaded into it shifts its clock
# by what a file says; PostgreSQL forks workers from a signal handler, which libfaketime does
# not survive.
#
#     my $node = new_shifted_node('main', OPTION => VALUE...)    as new_node() of SMS3300
#     restart_shifted($node)       it keeps its clock
#     start_shifted($node)         the same, of one that was stopped
#     set_time($node, $time)       set it to a time, in one step
#     set_clock($seconds)          set it so many seconds off the system's, to a millisecond
#     pass_time($seconds)          let so much time pass at once: for durations, too

package SMS3300::Clock;

use strict;
use warnings;

use Exporter qw(import);
use PostgreSQL::Test::Utils;
use SMS3300;

our @EXPORT = qw(new_shifted_node pass_time restart_shifted set_clock set_time start_shifted);

# The library, the file that it reads, and what is in it: by how much the wall clock and the
# one for durations are off.
my ($shim, $shift);
my ($wall, $durations) = (0, 0);

# It stands in for the kernel, too: a timer that is cancelled when the clock is set becomes
# a watch on the file.
my $source = <<'END';
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

/* Shift a time by as many milliseconds as stand at a place of the file. */
static void
shift(struct timespec *now, int place)
{
	static int fd = -1;
	char text[17] = "";
	long by;

	if (fd < 0)
		fd = open(getenv("CLOCK_SHIFT"), O_RDONLY | O_CLOEXEC);
	by = pread(fd, text, 16, 16 * place) > 0 ? atol(text) : 0;
	now->tv_sec += by / 1000;
	now->tv_nsec += by % 1000 * 1000000;
	if (now->tv_nsec >= 1000000000)
	{
		now->tv_sec++;
		now->tv_nsec -= 1000000000;
	}
	if (now->tv_nsec < 0)
	{
		now->tv_sec--;
		now->tv_nsec += 1000000000;
	}
}

int
clock_gettime(clockid_t clock, struct timespec *now)
{
	static int (*real)(clockid_t, struct timespec *);
	int result;

	if (!real)
		real = dlsym(RTLD_NEXT, "clock_gettime");
	result = real(clock, now);
	if (clock == CLOCK_REALTIME)
		shift(now, 0);
	if (clock == CLOCK_MONOTONIC)
		shift(now, 1);
	return result;
}

int
gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec precise;

	clock_gettime(CLOCK_REALTIME, &precise);
	now->tv_sec = precise.tv_sec;
	now->tv_usec = precise.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *result)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (result)
		*result = now.tv_sec;
	return now.tv_sec;
}

int
timerfd_create(int clock, int flags)
{
	int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

	inotify_add_watch(fd, getenv("CLOCK_SHIFT"), IN_MODIFY);
	return fd;
}

int
timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old)
{
	char events[4096];

	if (flags & TFD_TIMER_CANCEL_ON_SET)
		while (read(fd, events, sizeof(events)) > 0)
			;
	return 0;
}
END

# Start a server with the library, whose clock is right at first.
sub new_shifted_node
{
	my ($name, %option) = @_;
	my $directory = PostgreSQL::Test::Utils::tempdir();
	($shim, $shift) = ("$directory/clock.so", "$directory/shift");
	append_to_file("$shim.c", $source);
	system_or_bail('cc', '-shared', '-fPIC', '-o', $shim, "$shim.c", '-ldl');
	append_to_file($shift, sprintf('%16d%16d', 0, 0));
	local $ENV{LD_PRELOAD}  = $shim;
	local $ENV{CLOCK_SHIFT} = $shift;
	return new_node($name, %option);
}

# Start or restart such a server, which keeps its clock.
sub start_shifted   { return with_clock(start   => @_); }
sub restart_shifted { return with_clock(restart => @_); }

sub with_clock
{
	my ($method, $node) = @_;
	local $ENV{LD_PRELOAD}  = $shim;
	local $ENV{CLOCK_SHIFT} = $shift;
	return $node->$method;
}

# Set the server's clock to a time.
sub set_time
{
	my ($node, $time) = @_;
	set_clock(run_sql($node, "SELECT extract(epoch FROM timestamptz '$time')::bigint", 'template1') - time());
	return;
}

# Set the server's clock so many seconds off the system's. The content changes in one step.
sub set_clock
{
	my ($seconds) = @_;
	$wall = $seconds;
	return write_shift();
}

# Let time pass: both clocks are so many seconds further.
sub pass_time
{
	my ($seconds) = @_;
	$wall      += $seconds;
	$durations += $seconds;
	return write_shift();
}

# Write the file, in one step.
sub write_shift
{
	open my $file, '+<', $shift or die "could not open $shift: $!";
	syswrite $file, sprintf('%16.0f%16.0f', 1000 * $wall, 1000 * $durations);
	close $file;
	return;
}

1;
