/*
 * wake.pml
 *		Wake-ups, for Spin: whoever has queued a message, a worker comes and looks.
 *
 * A database's slot, its worker, the launcher, and callers.  Each step names the function
 * of the source that makes it.  What is done under the registry's lock is one step; a latch
 * is set after that.  There is no poll_interval here: nothing may depend on it.
 *
 * -DWITHOUT_<guard> takes a guard out.
 */

#ifndef CALLERS
#define CALLERS 2
#endif
#ifndef FAULTS
#define FAULTS 2				/* so many processes end, or do not start */
#endif

/* The slot's state: SlotState */
#define KNOWN 0
#define WANTED 1
#define STARTING 2
#define RUNNING 3
#define RESTARTING 4

byte state = KNOWN;
bit look;						/* the table should be looked at */
bit due;						/* a message is due at the one later time that there is */
bit attached;					/* a worker's latch is in the slot */

/* Latches */
bit worker_latch;
bit launcher_latch;

/* The table: messages that are committed and not sent, due now and later */
bit now_due;
bit later;
bit came;						/* the later time has come */

byte faults = FAULTS;

#ifdef WITHOUT_WORKER_DUE
#define SLOT_DUE false
#else
#define SLOT_DUE due
#endif

#ifdef WITHOUT_LOOK_CHECK
#define NOTHING_NEW true
#else
#define NOTHING_NEW (!look)
#endif

#define IS_DUE (look || (due && came))

inline set_latch(of_worker)
{
	if
	:: of_worker -> worker_latch = 1
	:: else -> launcher_latch = 1
	fi
}

/* A caller's transaction, and the end of its commit: at_release() */
proctype caller(bit for_later)
{
	bit of_worker;
	bit wakes;

	/* The rows are there for all to see */
	d_step {
		if
		:: for_later && !came -> later = 1
		:: else -> now_due = 1
		fi
	};

	/* registry_notify(): what is due by then, is due; slot_want(), slot_latch() */
	d_step {
		wakes = 0;
		of_worker = attached;
		if
		:: !for_later || came ->
			look = 1;
			state = (state == KNOWN -> WANTED : state);
			wakes = 1
		:: else ->
			wakes = !due;
			due = 1
		fi
	};
#ifndef WITHOUT_LATCH
	if
	:: wakes -> set_latch(of_worker)
	:: else
	fi
#endif
}

/* Time: what was for later is due */
proctype time()
{
	d_step { came = 1; now_due = now_due || later; later = 0 }
}

/* A worker's process, from its start to its end */
proctype work()
{
	bit knows_later;			/* it has read of a message for later */
	bit times;					/* its wait has an end: that of which it has read, or which is in the slot */
	bit leaves;					/* before worker_idle_timeout is over, nothing else ends its wait */

	/* registry_worker_attach(); slot_attach() */
	if
	:: d_step { !attached -> attached = 1; state = RUNNING; worker_latch = 0 }
	:: attached -> goto done
	fi;
	if
	:: leaves = 1
	:: leaves = 0
	fi;

serve:
	skip;
#ifdef WITHOUT_CLEAR_FIRST
	d_step { now_due = 0; knows_later = knows_later || later };
	d_step { look = 0; due = 0 };
#else
	/* registry_worker_begin_look() */
	d_step { look = 0; due = 0 };

	/* outbox_candidates(), claim_messages(); round_next_event() */
	d_step { now_due = 0; knows_later = knows_later || later };
#endif

idle:
	/* round_is_wanted(), registry_worker_wanted() */
	if
	:: d_step { IS_DUE || (knows_later && came) -> knows_later = knows_later && !came }; goto serve
	:: d_step { !IS_DUE && !(knows_later && came) -> times = knows_later || SLOT_DUE }	/* registry_worker_due() */
	fi;
#ifdef WITHOUT_RESET_FIRST
	worker_latch = 0;
#endif

end_wait:
	if
	/* http_wait(): until the latch is set, or the next message is due; then what is wanted is asked */
#ifdef WITHOUT_RESET_FIRST
	:: worker_latch || (times && came) -> goto idle
#else
	:: d_step { worker_latch || (times && came) -> worker_latch = 0 }; goto idle
#endif

	/* registry_worker_leave_idle(); slot_leave(), slot_wake_launcher() */
	:: d_step { leaves && NOTHING_NEW ->
		attached = 0;
		look = 0;
#ifndef WITHOUT_KEEP_DUE
		due = due || knows_later;
#endif
		state = KNOWN;
#ifndef WITHOUT_WAKE_LAUNCHER
		launcher_latch = 1;
#endif
		skip }; goto done
	:: leaves && !(NOTHING_NEW) -> goto serve

	/* registry_worker_detach(): it fails, or is terminated; slot_restart() */
	:: d_step { faults > 0 ->
		faults--;
		attached = 0;
#ifndef WITHOUT_RESTART_LOOKS
		look = 1;
#endif
		state = RESTARTING;
		launcher_latch = 1 }; goto done
	fi;

done:
	skip
}

#define IS_WANTED (IS_DUE && (state == KNOWN || state == WANTED || state == RESTARTING))

/* The launcher's process */
proctype launch()
{
	bit times;					/* its sleep has an end: the time that is in the slot */

start:
	skip;

	/* registry_launcher_attach(): what the former one was starting may never come */
	d_step {
		launcher_latch = 0;
#ifndef WITHOUT_GIVE_UP_START
		look = look || state == STARTING;
		state = (state == STARTING -> WANTED : state);
#endif
		skip };

scan:
	/* registry_take_wanted() */
	if
	:: d_step { IS_WANTED -> state = STARTING };
		if
		:: run work()
		/* It ends before it attaches: follow_starting(), registry_start_failed(), slot_start_failed() */
		:: d_step { faults > 0 ->
			faults--;
			state = RESTARTING;
			look = 1 }
		/* The launcher ends, before it has asked for the worker */
		:: d_step { faults > 0 -> faults-- }; goto start
		fi;
		goto scan
	:: d_step { !IS_WANTED -> times = due }
	fi;

end_sleep:
	/* sleep_until() */
	if
	:: d_step { launcher_latch -> launcher_latch = 0 }; goto scan
	:: d_step { times && came -> times = 0 }; goto scan
	:: d_step { faults > 0 -> faults-- }; goto start
	fi
}

/* Every message is found: where nothing goes on, and one is not, this is an invalid end state. */
active proctype judge()
{
	(came && !now_due && !later)
}

init
{
	byte k;

	atomic {
		for (k : 1 .. CALLERS) {
			run caller(0)
		};
		run caller(1);
		run time();
		run launch()
	}
}
