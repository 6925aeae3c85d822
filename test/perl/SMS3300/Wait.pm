# Waiting for a condition in a test. A wait that takes too long dies, and names the lines of
# the test that it was called from.
#
#     wait_until(sub { -e $file }, 'the file');

package SMS3300::Wait;

use strict;
use warnings;

use Exporter    qw(import);
use List::Util  qw(min);
use Time::HiRes qw(clock_gettime usleep CLOCK_MONOTONIC);

our @EXPORT_OK = qw(test_lines wait_until);

# What is printed as well when a wait takes too long: a function, set by who knows more.
our $report = sub { '' };

# Wait until a condition holds, and return what it returned. $what, a text or a function
# that returns one, says what is waited for. It takes too long when nothing has happened for
# PG_TEST_TIMEOUT_DEFAULT seconds: as long as $progress, a function, returns other values,
# the wait goes on, up to ten times as long.
sub wait_until
{
	my ($condition, $what, $progress) = @_;
	my $seconds  = $ENV{PG_TEST_TIMEOUT_DEFAULT} || 180;
	my $started  = clock_gettime(CLOCK_MONOTONIC);
	my $moved    = $started;
	my $last     = '';
	my $pause    = 5_000;
	while (1)
	{
		my $holds = $condition->();
		return $holds if $holds;

		my $now     = clock_gettime(CLOCK_MONOTONIC);
		my $current = $progress ? $progress->() : '';
		($moved, $pause) = ($now, min($pause, 80_000)) if $current ne $last;
		$last = $current;
		last if $now - $moved > $seconds || $now - $started > 10 * $seconds;
		usleep($pause);
		$pause = $pause < 80_000 ? 2 * $pause : min(1.1 * $pause, 400_000);
	}
	my $waited = int(clock_gettime(CLOCK_MONOTONIC) - $started);
	$what = $what->() if ref $what;
	die test_lines() . ": timed out after $waited s waiting for $what\n" . $report->();
}

# Return the lines of the program that led here, the innermost first.
sub test_lines
{
	my @lines;
	for (my $i = 0; my (undef, $file, $line) = caller $i; $i++)
	{
		push @lines, "line $line" if $file eq $0 && "line $line" ne ($lines[-1] // '');
	}
	return "$0 " . join ', called from ', @lines;
}

1;
