# A disk whose power can be cut: what was not flushed is gone then, for test/chaos. Needs root,
# and nbdkit and nbdfuse, of Debian's packages nbdkit and libnbd-bin.
#
#     my $disk = SMS3300::Disk->new($folder, $uid, $gid);    # mounted at "$folder/mount"
#     # from here on the caller may give root up
#     $disk->cut($pid);    # the end of the server that has this postmaster, and of the power
#     $disk->remove;
#
# The disk is a file in memory behind nbdkit's filter "cache", which hands writes on when they are
# flushed, and keeps them in a file of its own until then. Killed, it loses that file. nbdfuse
# makes a file of what nbdkit serves, and the kernel a device of the file, with ext4 on it. So
# each flush of the server goes through the file system's journal to the disk, or is lost.

package SMS3300::Disk;

use strict;
use warnings;

use IO::Handle;
use POSIX       qw(_exit);
use Socket      qw(AF_UNIX PF_UNSPEC SOCK_STREAM);
use Time::HiRes qw(sleep time);

use constant { SIZE => '8G', PATIENCE => 60, MEMORY => '/dev/shm' };

# Start the process that remains root, and have it make the disk.
sub new
{
	my ($class, $folder, $uid, $gid) = @_;
	my $self = bless { folder => $folder, uid => $uid, gid => $gid }, $class;
	$self->{image} = MEMORY . "/sms3300.$$.img";
	socketpair $self->{to}, my $from, AF_UNIX, SOCK_STREAM, PF_UNSPEC or die "could not create sockets: $!\n";
	my $pid = fork // die "could not fork: $!\n";
	if (!$pid)
	{
		close delete $self->{to};
		$SIG{INT} = $SIG{TERM} = 'IGNORE';
		eval { $self->serve($from); 1 } or print STDERR $@;
		eval { $self->take_away('gently'); 1 } or print STDERR $@;
		$self->discard unless $self->{made};
		_exit(0);
	}
	close $from;
	$self->{to}->autoflush(1);
	$self->{pid} = $pid;
	$self->ask('make') or die "could not make a disk whose power can be cut; see $folder/disk.log\n";
	return $self;
}

# End a server and cut the power at the same moment, and have the disk back as it is then.
sub cut
{
	my ($self, $postmaster) = @_;
	return $self->ask("lose_power $postmaster");
}

# Take it away; its file remains if it may be wanted.
sub remove
{
	my ($self, $keep) = @_;
	$self->ask('discard') unless $keep;
	close delete $self->{to};
	local $?;
	waitpid $self->{pid}, 0;
	return;
}

# Have the other process do something; returns whether it did.
sub ask
{
	my ($self, $what) = @_;
	print { $self->{to} } "$what\n";
	return (readline($self->{to}) // '') eq "done\n";
}

# ---------------------------------------------------------------------------
# The process that remains root
# ---------------------------------------------------------------------------

# Do what is asked for, until the caller ends.
sub serve
{
	my ($self, $from) = @_;
	$from->autoflush(1);
	while (my $line = <$from>)
	{
		my ($what, @words) = split ' ', $line;
		my $done = eval { $self->$what(@words); 1 };
		print $from $done ? "done\n" : "failed\n";
		die $@ unless $done;
	}
	return;
}

# Make the disk, and see that it keeps what was flushed, and only that.
sub make
{
	my ($self) = @_;
	my ($folder, $mount) = ($self->{folder}, "$self->{folder}/mount");
	mkdir "$folder/$_" for 'nbd', 'mount';
	truncate_to($self->{image}, SIZE);
	symlink $self->{image}, "$folder/disk.img";
	$self->attach;
	$self->run('mkfs.ext4', '-q', '-E', 'lazy_itable_init=0,nodiscard', $self->{device});
	$self->run('mount', $self->{device}, $mount);

	write_file("$mount/kept");
	$self->run('sync', "$mount/kept");
	write_file("$mount/lost");
	$self->lose_power;
	die "the disk did not keep what was flushed\n" unless -s "$mount/kept";
	die "the disk kept what was not flushed\n" if -s "$mount/lost";
	unlink "$mount/kept";
	mkdir "$mount/data", 0700;
	chown $self->{uid}, $self->{gid}, "$mount/data";
	$self->{made} = 1;
	return;
}

# Have the file go with the disk.
sub discard
{
	my ($self) = @_;
	unlink $self->{image};
	return;
}

# Create a sparse file.
sub truncate_to
{
	my ($path, $size) = @_;
	system('truncate', '-s', $size, $path) == 0 or die "could not create \"$path\"\n";
	return;
}

sub write_file
{
	my ($path) = @_;
	open my $file, '>', $path or die "could not create \"$path\": $!\n";
	print $file "here\n" x 1000;
	close $file;
	return;
}

# Run a command, with what it prints in a file; dies if it fails.
sub run
{
	my ($self, @command) = @_;
	my $pid = $self->start(@command);
	waitpid $pid, 0;
	die "@command failed\n" if $? != 0;
	return;
}

# Start a command.
sub start
{
	my ($self, @command) = @_;
	my $pid = fork // die "could not fork: $!\n";
	if (!$pid)
	{
		local $ENV{TMPDIR} = MEMORY;
		open STDOUT, '>>', "$self->{folder}/disk.log";
		open STDERR, '>&', \*STDOUT;
		exec { $command[0] } @command or _exit(127);
	}
	return $pid;
}

# Wait until something is there.
sub await
{
	my ($what, $condition) = @_;
	my $deadline = time + PATIENCE;
	until ($condition->())
	{
		die "no $what\n" if time > $deadline;
		sleep 0.01;
	}
	return;
}

# Switch the disk on.
sub attach
{
	my ($self) = @_;
	my $folder = $self->{folder};
	unlink "$folder/disk.sock";
	$self->{nbdkit} = $self->start('nbdkit', '--foreground', '--unix', "$folder/disk.sock", '--filter=cache',
		'file', $self->{image}, 'cache=writeback');
	await('socket', sub { -S "$folder/disk.sock" });
	$self->{nbdfuse} = $self->start('nbdfuse', "$folder/nbd/", "nbd+unix:///?socket=$folder/disk.sock");
	await('file of the disk', sub { -f "$folder/nbd/nbd" });
	chomp($self->{device} = qx(losetup --find --show "$folder/nbd/nbd"));
	die "no device\n" unless $self->{device};
	return;
}

# Switch the disk off: with its power, what the file system still has to write fails; with
# $gently, nothing is lost.
sub take_away
{
	my ($self, $gently) = @_;
	my $folder = $self->{folder};
	$self->end('nbdkit') unless $gently;
	await('end of the mount', sub { system("umount $folder/mount >>$folder/disk.log 2>&1") == 0 })
	  if system("mountpoint -q $folder/mount") == 0;
	$self->run('losetup', '--detach', $self->{device});
	$self->run('umount', "$folder/nbd");
	$self->end($_) for 'nbdfuse', 'nbdkit';
	return;
}

# End one of the disk's two processes, if it runs: what it still has in its hands is lost.
sub end
{
	my ($self, $name) = @_;
	my $pid = delete $self->{$name} or return;
	kill KILL => $pid;
	waitpid $pid, 0;
	return;
}

# End a postmaster and its children, and cut the power; then switch it on again. The journal of
# the file system is replayed by the mount.
sub lose_power
{
	my ($self, $postmaster) = @_;
	my @server = $postmaster ? ($postmaster, children($postmaster)) : ();
	kill KILL => @server, $self->{nbdkit};
	await('end of the server', sub { !grep { kill 0 => $_ } @server });
	$self->take_away;
	$self->attach;
	$self->run('mount', $self->{device}, "$self->{folder}/mount");
	return;
}

# Return the children of a process.
sub children
{
	my ($pid) = @_;
	open my $file, '<', "/proc/$pid/task/$pid/children" or return;
	return split ' ', <$file> // '';
}

1;
