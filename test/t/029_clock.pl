
# The wall clock is set while messages wait, and while no worker is there. What is due by
# the clock is sent, without polling, and nothing waits for a step to pass. A library that
# is preloaded into the server shifts its clock by what a file says.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use SMS3300;
use Test::More;

my $shim  = tempfile_path('clock.so');
my $shift = tempfile_path('shift');

# Return the path of a file in a folder of this test's own.
sub tempfile_path
{
	my ($name) = @_;
	our $directory //= PostgreSQL::Test::Utils::tempdir();
	return "$directory/$name";
}

# Set the server's clock so many seconds off the system's. The content changes in one step.
sub set_clock
{
	my ($seconds) = @_;
	open my $file, '+<', $shift or die "could not open $shift: $!";
	syswrite $file, sprintf('%10d', $seconds);
	close $file;
	return;
}

# Compile the library. It stands in for the kernel: a timer that is cancelled when the
# clock is set becomes a watch on the file.
append_to_file("$shim.c", <<'END');
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static long
shift(void)
{
	static int fd = -1;
	char text[32] = "";

	if (fd < 0)
		fd = open(getenv("CLOCK_SHIFT"), O_RDONLY | O_CLOEXEC);
	return pread(fd, text, sizeof(text) - 1, 0) > 0 ? atol(text) : 0;
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
		now->tv_sec += shift();
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
system_or_bail('cc', '-shared', '-fPIC', '-o', $shim, "$shim.c", '-ldl');
append_to_file($shift, sprintf('%10d', 0));

my $gateway = new_gateway();
my $node    = do
{
	local $ENV{LD_PRELOAD}  = $shim;
	local $ENV{CLOCK_SHIFT} = $shift;
	new_node('main', conf => "sms3300.worker_idle_timeout = 1h\n");
};
create_account($node, 'postgres', url => $gateway->url, line => '983000330000');
my $hour = 3600;

# The worker waits.
my $id = queue($node, 'forward', send_after => \"clock_timestamp() + interval '1 hour'",
	send_before => \"clock_timestamp() + interval '2 hours'");
mark($node);
set_clock($hour + 60);
wait_for_status($node, $id, 'sent');
is_taken($gateway, 'forward', 1, 'set forward: sent by its worker, which does not poll');

# It is set back while a retry waits, and a request is on the wire.
alter_account($node, retention => undef, max_attempts => 3);
my $held  = queue_until_taken($node, $gateway, '#hold');
my $before = run_sql($node, 'SELECT request_time_sum FROM sms3300_stat_account');
set_clock(0);
is($gateway->release, 1, 'a request is under way');
wait_for_status($node, $held, 'sent');
$id = queue_until($node, 'sent', 'back');
is_taken($gateway, 'back', 1, 'set back: a new message is sent');
cmp_ok(run_sql($node, 'SELECT request_time_sum FROM sms3300_stat_account'), '>=', $before,
	'set back: no request takes less than no time');

# The launcher waits.
set_setting($node, 'sms3300.worker_idle_timeout', 0);
$id = queue($node, 'without a worker', send_after => \"clock_timestamp() + interval '1 hour'",
	send_before => \"clock_timestamp() + interval '2 hours'");
wait_for_workers($node, 0);
set_clock($hour + 60);
wait_until(sub { $gateway->taken('without a worker') }, 'the launcher to start a worker');
wait_for_status($node, $id, 'sent');
is_taken($gateway, 'without a worker', 1, 'set forward: the launcher starts a worker');

# A worker that ended comes back after its pause, not after the step.
set_setting($node, 'sms3300.worker_idle_timeout', '1h');
mark($node);
my $pid = worker_pid($node, 'postgres');
run_sql($node, "SELECT pg_terminate_backend($pid)");
wait_for_sql($node, 'postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
set_clock(0);
$id = queue_until($node, 'sent', 'after the pause');
is_taken($gateway, 'after the pause', 1, 'set back: a worker comes back after its pause');

$node->stop;
done_testing();
