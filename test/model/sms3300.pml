/*
 * sms3300.pml
 *		The life of messages, for Spin: what the gateway takes, and what the rows say.
 *
 * Each step names the function of the source that makes it.  A step is what that
 * function does in one transaction, or between two waits; everything else may
 * happen between two steps.  doc/model.md has the table of guards and bounds.
 *
 * -DWITHOUT_<guard> takes a guard out.  A world is chosen by
 *
 *	(nothing)	one database, one worker, what may break, what people may do
 *	-DSTANDBY	a standby that may be behind, and is promoted; its primary is fenced off
 *	-DSYNC		with it: the standby is named in synchronous_standby_names
 *	-DUNFENCED	with it: nobody fences the primary off
 *	-DCOPY		a physical copy that is started beside its origin
 *	-DARMED		with it: sms3300.armed_file is set, and the copy does not have the file
 *	-DDUMP		a dump that is restored elsewhere, and may be adopted there
 *	-DBACK		rows that are deleted, and come back out of a dump
 *	-DHAND		somebody with the right to do so queues by hand what is on the wire
 *	-DRESEND	the account's on_unknown is 'resend'
 *	-DRULES		a rule comes to forbid a message, or to allow it again
 *	-DREFUSED	the database refuses results: a constraint, an index
 *	-DTRACE		the runs that traces.h lists, instead of all runs
 *
 * -DSTRICT does not forgive what the README says can happen: it shows that it does.
 */

#ifndef MESSAGES
#define MESSAGES 2
#endif
#ifndef FAULTS
#define FAULTS 2				/* so many things break */
#endif
#ifndef DEEDS
#define DEEDS 2					/* people do so many */
#endif
#ifndef MAX_ATTEMPTS
#define MAX_ATTEMPTS 2			/* the account's max_attempts */
#endif

#if defined(STANDBY) || defined(COPY) || defined(DUMP)
#define TWO_SERVERS
#endif
#if defined(TWO_SERVERS) || defined(BACK) || defined(WITHOUT_ONE_WORKER)
#define PLACES 2
#else
#define PLACES 1
#endif

/* A message's status */
#define NONE 0
#define QUEUED 1
#define SENDING 2
#define SENT 3
#define REJECTED 4
#define FAILED 5
#define UNKNOWN 6
#define EXPIRED 7
#define CANCELLED 8
#define SUPPRESSED 9

/* Where a job is: a claimed message in a worker, from its claim to its result's commit */
#define NO_JOB 0
#define CLAIMED 1				/* in a transaction: nobody sees it, the row is locked */
#define FLUSHED 2				/* on disk; its commit waits for the standby */
#define WIRE 3					/* committed; the request's body has not left whole */
#define LEFT_NOTHING 4			/* it has; no reply will be readable */
#define LEFT_ACCEPTED 5			/* it has; the gateway's answer is on its way */
#define LEFT_REFUSED 6
#define LEFT_TRANSIENT 7
#define LEFT_ACCOUNT 8
#define LEFT_UNSURE 9
#define DONE_SENT 10			/* its verdict is to be recorded */
#define DONE_REJECTED 11
#define DONE_TRANSIENT 12
#define DONE_ACCOUNT 13
#define DONE_UNSURE 14			/* HTTP 503 without Retry-After: believed max_attempts times */
#define DONE_NOT_SENT 15
#define DONE_UNKNOWN 16
#define DONE_ORPHAN 17

/* What a person did, as events of the row tell it */
#define DID_CANCEL 18
#define DID_RESEND 19
#define DID_RESOLVE 20

#define LEFT(i) (job[i] >= LEFT_NOTHING && job[i] <= LEFT_UNSURE)
#define DONE(i) (job[i] >= DONE_SENT)
#define IS_COUNTED(job) (job == DONE_TRANSIENT || job == DONE_UNSURE)
#define LOCKED(i) (job[i] == CLAIMED || job[i] == FLUSHED)

/* A server, or a copy that may become one */
#define AWAY 0					/* not started, or gone for good */
#define REPLAYING 1
#define UP 2

/* A worker */
#define OFF 0
#define ON 1
#define STOPPING 2

/* What the gateway has said of a message */
#define ACCEPT 1
#define REFUSE 2

typedef Row
{
	byte status;
	byte attempts;
	byte claims;				/* how often it was claimed: stands for started_at */
	bit foreign;				/* its origin is another database */
	byte refusals;				/* for the properties: those that count, since it was queued */
};

/* By place and message: what statements see, what is on disk, and the worker's job */
Row row[PLACES * MESSAGES];
Row disk[PLACES * MESSAGES];
byte job[PLACES * MESSAGES];
byte claim_of_job[PLACES * MESSAGES];
bit seen[PLACES * MESSAGES];	/* among the candidates that a worker has read */
byte kept[PLACES * MESSAGES];	/* in shared memory: the result of a job that could not be recorded */
byte claim_of_kept[PLACES * MESSAGES];

byte server[PLACES];
byte worker[PLACES];
bit slot_orphans[PLACES];		/* in shared memory: rows may be left 'sending' */
bit look[PLACES];				/* the worker is still to look for them */
byte faults = FAULTS;
byte deeds = DEEDS;
bit late[MESSAGES];				/* send_before has passed */
bit forbidden[MESSAGES];		/* by a rule of its account, or as its recipient has opted out */

/* What only the properties know */
byte taken[MESSAGES];			/* requests that may have been sent, since a person chose a resend */
byte said[PLACES * MESSAGES];	/* what the gateway has said to that place's worker, since then */
bit settled[PLACES * MESSAGES];			/* a person has said what an 'unknown' one is */
bit by_hand[MESSAGES];			/* somebody changed its status by hand */
bit excused[MESSAGES];			/* what the README says of twice holds for it */
bit closed[PLACES * MESSAGES];	/* cancelled or expired, and not sent again */

#define I(place, m) ((place) * MESSAGES + (m))

/* Where a worker's rows are; two workers of one database share them. */
#ifdef WITHOUT_ONE_WORKER
#define R(place, m) (m)
#else
#define R(place, m) I(place, m)
#endif

/* What happens, happens as often as the bounds let it; a trace is its own bound. */
#ifdef TRACE
#define CAN_BREAK true
#define BREAKS skip
#define CAN_DO false			/* what people do is among its events, or is not done */
#define DOES skip
#else
#define CAN(deed) CAN_DO
#define DID DOES
#define CAN_BREAK (faults > 0)
#define BREAKS faults--
#define CAN_DO (deeds > 0)
#define DOES deeds--
#endif

#if defined(SYNC) && !defined(WITHOUT_SYNC)
#define ACKNOWLEDGED(p, m) (p != 0 || \
	(server[1] == REPLAYING && disk[I(1, m)].claims == disk[I(0, m)].claims))
#else
#define ACKNOWLEDGED(p, m) true
#endif

/* A copy that is not armed claims nothing. */
#if defined(COPY) && defined(ARMED) && !defined(WITHOUT_ARMED)
#define IS_ARMED(p) (p == 0)
#else
#define IS_ARMED(p) true
#endif

#ifdef STRICT
#define FORGIVEN(m) false
#else
#define FORGIVEN(m) excused[m]
#endif

/* The place whose rows count: a copy's, or a dump's, are silent. */
#ifdef STANDBY
#define HERE (server[1] == UP -> 1 : 0)
#else
#define HERE 0
#endif

/* What is promised; -DONLY=<promise> looks at one of them.  ENDS is judge()'s. */
#define TWICE 1					/* no message is sent twice */
#define SAYS_SO 2				/* what is on the wire says so in the table: no request without its claim */
#define IN_TIME 3				/* nothing is claimed after its send_before */
#define SAID 4					/* sent, rejected and failed: the gateway said so */
#define DENIED 5				/* what it accepted is never called anything but sent or unknown */
#define KEPT 6					/* no result is thrown away */
#define LOST 7					/* what was committed is there after a promotion */
#define ENDS 8					/* every message ends */
#define ALLOWED 9				/* nothing is claimed that a rule forbids */
#ifdef ONLY
#define PROMISED(what, holds) assert(ONLY != what || (holds))
#else
#define PROMISED(what, holds) assert(holds)
#endif

/* What a claim asks of the row, once it holds its lock, and of the worker's own jobs. */
#ifdef WITHOUT_CLAIM_QUEUED
#define CLAIM_QUEUED(p, m) true
#else
#define CLAIM_QUEUED(p, m) (row[R(p, m)].status == QUEUED)
#endif
#ifdef WITHOUT_IN_TIME
#define IS_IN_TIME(m) true
#else
#define IS_IN_TIME(m) (!late[m])
#endif
#ifdef WITHOUT_ORIGIN
#define IS_OWN(p, m) true
#else
#define IS_OWN(p, m) (!row[R(p, m)].foreign)
#endif
#ifdef WITHOUT_LEAVE_OUT
#define LEFT_OUT(p, m) (job[I(p, m)] == WIRE)
#else
#define LEFT_OUT(p, m) (job[I(p, m)] != NO_JOB)
#endif
#ifdef WITHOUT_ONE_WORKER
#define LOCKED_BY_OTHER(p, m) LOCKED(I(1 - p, m))
#else
#define LOCKED_BY_OTHER(p, m) false
#endif
/* Whether the rules, asked again by the claim, forbid it; a trace tells only by its end. */
#if defined(TRACE) || defined(WITHOUT_JUDGE)
#define MAY_BE_SUPPRESSED(m) true
#define IS_ALLOWED(m) true
#else
#define MAY_BE_SUPPRESSED(m) forbidden[m]
#define IS_ALLOWED(m) (!forbidden[m])
#endif
#ifdef WITHOUT_JUDGE
#define IS_CANDIDATE(m) (!forbidden[m])
#else
#define IS_CANDIDATE(m) true
#endif
#define CLAIMABLE(p, m) \
	(CLAIM_QUEUED(p, m) && IS_IN_TIME(m) && IS_OWN(p, m) && !LEFT_OUT(p, m) && !LOCKED_BY_OTHER(p, m))

/* Whether a row awaits the result of a job */
#ifdef WITHOUT_AWAITS
#define SAME_CLAIM(p, m) true
#else
#define SAME_CLAIM(p, m) (row[R(p, m)].claims == claim_of_job[I(p, m)])
#endif
#define AWAITS(p, m) \
	((row[R(p, m)].status == SENDING || row[R(p, m)].status == QUEUED) && SAME_CLAIM(p, m))

#ifdef WITHOUT_EXPIRE_QUEUED
#define MAY_EXPIRE(status) (status == QUEUED || status == SENDING)
#else
#define MAY_EXPIRE(status) (status == QUEUED)
#endif
#ifdef WITHOUT_CANCEL_QUEUED
#define MAY_CANCEL(status) (status == QUEUED || status == SENDING)
#else
#define MAY_CANCEL(status) (status == QUEUED)
#endif

/* What a trace tells, where it is replayed: traces.h says how. */
#ifdef TRACE
#include "replay.pml"
#else
#define REQUEST_IS(answer) true
#define EVENT_IS(m, what) true
#define NEXT_REQUEST skip
#define NEXT_EVENT skip
#endif

inline copy_row(to, from)
{
	to.status = from.status;
	to.attempts = from.attempts;
	to.claims = from.claims;
	to.foreign = from.foreign;
	to.refusals = from.refusals
}

/* A commit that is flushed; others see it at once. */
inline commit(r)
{
	copy_row(disk[r], row[r])
}

/* A person has chosen that it goes once more: from here on it is counted anew. */
inline count_anew(p, m)
{
	row[I(p, m)].attempts = 0;
	row[I(p, m)].refusals = 0;
	said[I(p, m)] = (job[I(p, m)] == NO_JOB -> 0 : said[I(p, m)]);	/* a reply may be under way */
	settled[I(p, m)] = 0;
	taken[m] = (p == HERE -> 0 : taken[m])
}

/* A request leaves whole, and a gateway that takes it may send. */
inline request_leaves(r, m)
{
	PROMISED(SAYS_SO, by_hand[m] || (row[r].status == SENDING && !closed[r]))
}

inline gateway_takes(m)
{
	taken[m] = (taken[m] < 2 -> taken[m] + 1 : 2);
	PROMISED(TWICE, taken[m] < 2 || FORGIVEN(m))
}

/* The gateway accepted it, and the row does not say that it was, or may have been, sent. */
#define IS_DENIED(p, status, m) \
	((said[I(p, m)] & ACCEPT) && status != SENT && status != UNKNOWN && !settled[I(p, m)] && !by_hand[m])

/* ---------------------------------------------------------------------
 * A worker, and one message
 * ------------------------------------------------------------------- */

proctype work(byte p; byte m)
{
end:
	do
	/* outbox_candidates().  They are claimed later, from what was read. */
	:: d_step { worker[p] == ON && !seen[I(p, m)] && row[R(p, m)].status == QUEUED && IS_OWN(p, m) &&
		IS_ARMED(p) && IS_CANDIDATE(m) && job[I(p, m)] != CLAIMED ->
		seen[I(p, m)] = 1 }

	/* claim_messages(), is_claimable(), judge_message(); leave_out_jobs() */
	:: d_step { worker[p] == ON && seen[I(p, m)] && !look[p] && IS_ALLOWED(m) ->
		seen[I(p, m)] = 0;
		if
		:: CLAIMABLE(p, m) ->
			PROMISED(IN_TIME, !late[m]);
			PROMISED(ALLOWED, !forbidden[m]);
			job[I(p, m)] = CLAIMED
		:: else
		fi }

#if defined(RULES) || defined(TRACE)
	/* claim_messages(); forbid_message() */
	:: d_step { worker[p] == ON && seen[I(p, m)] && !look[p] && MAY_BE_SUPPRESSED(m) ->
		seen[I(p, m)] = 0;
		if
		:: CLAIMABLE(p, m) ->
			row[R(p, m)].status = SUPPRESSED;
			closed[R(p, m)] = 1;
			commit(R(p, m))
		:: else
		fi }
#endif

	/* transaction_run() fails; dispatch_undo() */
	:: d_step { job[I(p, m)] == CLAIMED && CAN_BREAK ->
		BREAKS;
#ifdef WITHOUT_FORGET_CLAIMS
		job[I(p, m)] = WIRE
#else
		job[I(p, m)] = NO_JOB
#endif
		}

	/* transaction_run(): the commit, up to the flush of the claim */
	:: d_step { job[I(p, m)] == CLAIMED ->
		row[R(p, m)].claims++;
		row[R(p, m)].attempts++;
		row[R(p, m)].status = SENDING;
		claim_of_job[I(p, m)] = row[R(p, m)].claims;
#ifdef WITHOUT_FLUSH
		job[I(p, m)] = FLUSHED
#else
		commit(R(p, m));
		job[I(p, m)] = FLUSHED
#endif
		}
#ifdef WITHOUT_FLUSH
	/* PostgreSQL's walwriter, some time later */
	:: d_step { disk[R(p, m)].claims != row[R(p, m)].claims -> commit(R(p, m)) }
#endif

	/* The commit's end; then dispatch_send(); wire_submit() */
	:: d_step { job[I(p, m)] == FLUSHED && worker[p] == ON && ACKNOWLEDGED(p, m) -> job[I(p, m)] = WIRE }

#ifdef SYNC
	/* on_sigterm() ends the wait; dispatch_send() submits nothing then */
	:: d_step { job[I(p, m)] == FLUSHED && worker[p] == STOPPING ->
#ifdef WITHOUT_STOP_UNSENT
		job[I(p, m)] = WIRE
#else
		job[I(p, m)] = DONE_NOT_SENT
#endif
		}
#ifdef WITHOUT_COMMIT_UNCANCELLED
	/* on_sigint() */
	:: d_step { job[I(p, m)] == FLUSHED && worker[p] == ON && CAN_DO -> DOES; job[I(p, m)] = WIRE }
#endif
#else
	:: d_step { job[I(p, m)] == FLUSHED && worker[p] == STOPPING -> job[I(p, m)] = DONE_NOT_SENT }
#endif

	/* transfer_end(), request_left(): no connection, or the body did not leave whole */
	:: d_step { job[I(p, m)] == WIRE && CAN_BREAK -> BREAKS; job[I(p, m)] = DONE_NOT_SENT }

	/* The body left whole: lost on the way, or taken without an answer */
	:: d_step { job[I(p, m)] == WIRE && CAN_BREAK ->
		BREAKS;
		request_leaves(R(p, m), m);
		job[I(p, m)] = LEFT_NOTHING }
	:: d_step { job[I(p, m)] == WIRE && CAN_BREAK && REQUEST_IS(NOTHING) ->
		BREAKS;
		NEXT_REQUEST;
		request_leaves(R(p, m), m);
		gateway_takes(m);
		job[I(p, m)] = LEFT_NOTHING }

	/* The gateway takes it, and answers */
	:: d_step { job[I(p, m)] == WIRE && REQUEST_IS(ACCEPTED) ->
		NEXT_REQUEST;
		request_leaves(R(p, m), m);
		gateway_takes(m);
		said[I(p, m)] = said[I(p, m)] | ACCEPT;
		job[I(p, m)] = LEFT_ACCEPTED }
	:: d_step { job[I(p, m)] == WIRE && REQUEST_IS(REFUSED) ->
		NEXT_REQUEST;
		request_leaves(R(p, m), m);
		said[I(p, m)] = said[I(p, m)] | REFUSE;
		job[I(p, m)] = LEFT_REFUSED }
	:: d_step { job[I(p, m)] == WIRE && REQUEST_IS(REFUSED_FOR_NOW) ->
		NEXT_REQUEST;
		request_leaves(R(p, m), m);
		job[I(p, m)] = LEFT_TRANSIENT }
	:: d_step { job[I(p, m)] == WIRE && CAN_BREAK && REQUEST_IS(REFUSED_ACCOUNT) ->
		BREAKS;
		NEXT_REQUEST;
		request_leaves(R(p, m), m);
		job[I(p, m)] = LEFT_ACCOUNT }
	:: d_step { job[I(p, m)] == WIRE && CAN_BREAK && REQUEST_IS(REFUSED_UNSURE) ->
		BREAKS;
		NEXT_REQUEST;
		request_leaves(R(p, m), m);
		job[I(p, m)] = LEFT_UNSURE }

	/* job_finish(); gateway_verdict() */
	:: d_step { LEFT(I(p, m)) && job[I(p, m)] != LEFT_NOTHING ->
		job[I(p, m)] = job[I(p, m)] - LEFT_ACCEPTED + DONE_SENT }
	:: d_step { job[I(p, m)] == LEFT_NOTHING ->
#ifdef WITHOUT_STATUS
		job[I(p, m)] = DONE_SENT				/* somebody else's page, HTTP 200, taken for a yes */
#else
		job[I(p, m)] = DONE_UNKNOWN
#endif
		}

	/* The connection breaks, or the time is over, before the reply is there */
	:: d_step { LEFT(I(p, m)) && CAN_BREAK ->
		BREAKS;
#ifdef WITHOUT_EVIDENCE
		job[I(p, m)] = DONE_NOT_SENT
#else
		job[I(p, m)] = DONE_UNKNOWN
#endif
		}
#ifdef WITHOUT_WHOLE
	/* Half a reply: "status": 1 of "status": 15 */
	:: d_step { job[I(p, m)] == LEFT_TRANSIENT && CAN_BREAK -> BREAKS; job[I(p, m)] = DONE_REJECTED }
#endif
#ifdef WITHOUT_ONCE
	/* libcurl's own second try on another connection: on_begin() */
	:: d_step { LEFT(I(p, m)) && CAN_BREAK -> BREAKS; job[I(p, m)] = WIRE }
#endif

	/* stop(), after its patience; wire_abort() */
	:: d_step { job[I(p, m)] == WIRE && worker[p] == STOPPING -> job[I(p, m)] = DONE_NOT_SENT }
	:: d_step { LEFT(I(p, m)) && worker[p] == STOPPING -> job[I(p, m)] = DONE_UNKNOWN }

	/* results_record(); job_result(); recording_settle() */
	:: d_step { DONE(I(p, m)) && worker[p] != OFF && !LOCKED_BY_OTHER(p, m) && EVENT_IS(m, job[I(p, m)]) ->
		if
		:: AWAITS(p, m) ->
			NEXT_EVENT;
			if
			:: job[I(p, m)] == DONE_SENT ->
				PROMISED(SAID, said[I(p, m)] & ACCEPT);
				row[R(p, m)].status = SENT
			:: job[I(p, m)] == DONE_REJECTED ->
				PROMISED(SAID, said[I(p, m)] & REFUSE);
				row[R(p, m)].status = REJECTED
			:: IS_COUNTED(job[I(p, m)]) && row[R(p, m)].attempts >= MAX_ATTEMPTS ->
				row[R(p, m)].refusals++;
				PROMISED(SAID, by_hand[m] || row[R(p, m)].refusals >= MAX_ATTEMPTS);
				row[R(p, m)].status = FAILED
			:: IS_COUNTED(job[I(p, m)]) && row[R(p, m)].attempts < MAX_ATTEMPTS ->
				row[R(p, m)].refusals++;
				row[R(p, m)].status = QUEUED
			:: job[I(p, m)] == DONE_ACCOUNT || job[I(p, m)] == DONE_NOT_SENT ->
				row[R(p, m)].status = QUEUED;
#ifndef WITHOUT_UNCOUNTED
				row[R(p, m)].attempts = (row[R(p, m)].attempts > 0 -> row[R(p, m)].attempts - 1 : 0)
#endif
			:: job[I(p, m)] == DONE_UNKNOWN || job[I(p, m)] == DONE_ORPHAN ->
#ifdef RESEND
				if
				:: row[R(p, m)].attempts < MAX_ATTEMPTS ->
					row[R(p, m)].status = QUEUED;
					taken[m] = 0;				/* chosen by the account's owner */
					said[I(p, m)] = 0;
					row[R(p, m)].refusals++
				:: else -> row[R(p, m)].status = UNKNOWN
				fi
#else
				row[R(p, m)].status = UNKNOWN
#endif
			fi;
			PROMISED(DENIED, FORGIVEN(m) || !IS_DENIED(p, row[R(p, m)].status, m));
			commit(R(p, m))
		:: else ->
			PROMISED(KEPT, by_hand[m] || settled[I(p, m)])
		fi;
		job[I(p, m)] = NO_JOB;
		claim_of_job[I(p, m)] = 0;
		kept[I(p, m)] = NO_JOB;					/* stuck_remove() */
		claim_of_kept[I(p, m)] = 0 }
#ifdef REFUSED
	/* The database refuses the result: put_off(); job_keep() */
	:: d_step { DONE(I(p, m)) && worker[p] != OFF && kept[I(p, m)] == NO_JOB && CAN_BREAK ->
		BREAKS;
		kept[I(p, m)] = job[I(p, m)];
		claim_of_kept[I(p, m)] = claim_of_job[I(p, m)] }
#endif
#ifdef WITHOUT_KEEP
	/* transaction_run() fails; recorder_due() gives the job again */
	:: d_step { DONE(I(p, m)) && CAN_BREAK -> BREAKS; job[I(p, m)] = NO_JOB }
#endif

	/* expiry_run(); outbox_expiring(), outbox_expire() */
	:: d_step { worker[p] == ON && late[m] && !row[R(p, m)].foreign && !LOCKED(I(p, m)) &&
		MAY_EXPIRE(row[R(p, m)].status) ->
		row[R(p, m)].status = EXPIRED;
		closed[R(p, m)] = 1;
		commit(R(p, m)) }
	od
}

/* ---------------------------------------------------------------------
 * What is done to a message by people
 * ------------------------------------------------------------------- */

proctype people(byte p; byte m)
{
end:
	do
	/* The caller's own transaction; with a synchronous standby it has returned when that has the row */
	:: d_step { p == 0 && server[0] == UP && row[I(0, m)].status == NONE && !row[I(0, m)].claims &&
		taken[m] == 0 ->
		row[I(0, m)].status = QUEUED;
		commit(I(0, m)) }

	/* outbox_cancel() */
	:: d_step { server[p] == UP && CAN(DID_CANCEL) && !LOCKED(I(p, m)) && MAY_CANCEL(row[I(p, m)].status) ->
		DID;
		row[I(p, m)].status = CANCELLED;
		closed[I(p, m)] = 1;
		commit(I(p, m)) }

	/* outbox_requeue().  It has as long again before it expires. */
	:: d_step { server[p] == UP && CAN(DID_RESEND) && !LOCKED(I(p, m)) && row[I(p, m)].status >= REJECTED ->
		DID;
		row[I(p, m)].status = QUEUED;
		row[I(p, m)].foreign = 0;
		count_anew(p, m);
		commit(I(p, m));
		closed[I(p, m)] = 0;
		late[m] = 0;
#if defined(DUMP) || (defined(COPY) && !defined(ARMED))
		excused[m] = excused[m] || p == 1		/* chosen in each of two places */
#endif
#if defined(STANDBY) && defined(UNFENCED)
		excused[m] = excused[m] || (p == 1 && job[I(0, m)] == WIRE)	/* what was in doubt leaves now */
#endif
		}
#ifdef WITHOUT_RESEND_FINAL
	:: d_step { server[p] == UP && CAN_DO && !LOCKED(I(p, m)) && row[I(p, m)].status == SENT ->
		DOES;
		row[I(p, m)].status = QUEUED;
		commit(I(p, m)) }
#endif

	/* sms3300_resolve */
	:: d_step { server[p] == UP && CAN(DID_RESOLVE) && row[I(p, m)].status == UNKNOWN ->
		DID;
		settled[I(p, m)] = 1;
		row[I(p, m)].status = SENT;
		commit(I(p, m)) }
	:: d_step { server[p] == UP && CAN(DID_RESOLVE) && row[I(p, m)].status == UNKNOWN ->
		DID;
		settled[I(p, m)] = 1;
		row[I(p, m)].status = FAILED;
		commit(I(p, m)) }
#ifdef WITHOUT_RESOLVE_UNKNOWN
	:: d_step { server[p] == UP && CAN_DO && !LOCKED(I(p, m)) && row[I(p, m)].status == SENDING ->
		DOES;
		row[I(p, m)].status = FAILED;
		commit(I(p, m)) }
#endif

#ifdef RULES
	/* Its recipient opts out, or the account's options forbid it; or no longer */
	:: d_step { CAN_DO -> DOES; forbidden[m] = 1 - forbidden[m] }
#endif

#ifdef HAND
	/* UPDATE sms_outbox SET status = 'queued' */
	:: d_step { server[p] == UP && CAN_DO && !LOCKED(I(p, m)) && row[I(p, m)].status == SENDING ->
		DOES;
		by_hand[m] = 1;
		excused[m] = excused[m] || job[I(p, m)] == NO_JOB;	/* an orphan, before it was found */
		row[I(p, m)].status = QUEUED;
		commit(I(p, m)) }
	/* The table is made anew, and another message has the number */
	:: d_step { server[p] == UP && CAN_DO && LEFT(I(p, m)) && row[I(p, m)].status == SENDING ->
		DOES;
		by_hand[m] = 1;
		row[I(p, m)].status = QUEUED;
		row[I(p, m)].claims++;					/* its started_at is not the claim's */
		count_anew(p, m);
		said[I(p, m)] = 0;
		commit(I(p, m)) }
#endif

#ifdef BACK
	/* A finished row is deleted, and comes back out of a dump: sms3300_outbox_insert() */
	:: d_step { p == 0 && CAN_DO && row[I(0, m)].status >= SENT && disk[I(1, m)].status != NONE ->
		DOES;
		copy_row(row[I(0, m)], disk[I(1, m)]);
#ifndef WITHOUT_RESTORED_FOREIGN
		row[I(0, m)].foreign = 1;
#endif
		closed[I(0, m)] = 0;
		commit(I(0, m)) }
#endif

#if defined(DUMP) || defined(BACK)
	/* outbox_adopt() */
	:: d_step { server[p] == UP && CAN_DO && row[I(p, m)].foreign &&
		(row[I(p, m)].status == QUEUED || row[I(p, m)].status == SENDING) ->
		DOES;
		row[I(p, m)].foreign = 0;
		if
		:: row[I(p, m)].status == SENDING ->
#ifdef WITHOUT_ADOPT_UNKNOWN
			row[I(p, m)].status = QUEUED
#else
			row[I(p, m)].status = UNKNOWN
#endif
		:: else -> excused[m] = 1				/* adopted: its origin may have sent it */
		fi;
		commit(I(p, m)) }
#endif
	od
}

/* ---------------------------------------------------------------------
 * A worker's process, and its server
 * ------------------------------------------------------------------- */

/* For some message, and for all */
#if MESSAGES == 1
#define SOME(is, p) (is(p, 0))
#elif MESSAGES == 2
#define SOME(is, p) (is(p, 0) || is(p, 1))
#else
#define SOME(is, p) (is(p, 0) || is(p, 1) || is(p, 2))
#endif

#define HAS_JOB(p, m) (job[I(p, m)] != NO_JOB)
#define IS_UNDER_WAY(p, m) (HAS_JOB(p, m) && !DONE(I(p, m)))
#define IS_UNRECORDED(p, m) DONE(I(p, m))
#define IS_WANTED(p, m) (HAS_JOB(p, m) || \
	(row[R(p, m)].status == QUEUED && !row[R(p, m)].foreign && IS_ARMED(p)))

/* What a worker knew is lost. */
inline lose_worker(p)
{
	for (k : 0 .. MESSAGES - 1) {
		excused[k] = excused[k] || (by_hand[k] && job[I(p, k)] != NO_JOB);
		job[I(p, k)] = NO_JOB;
		claim_of_job[I(p, k)] = 0;
		seen[I(p, k)] = 0
	};
	worker[p] = OFF;
	look[p] = 0;
	slot_orphans[p] = 1;
	k = 0
}

/* So is what all processes did; of what was committed, all that was flushed is there. */
inline lose_memory(p)
{
	lose_worker(p);
	for (k : 0 .. MESSAGES - 1) {
		kept[I(p, k)] = NO_JOB;
		claim_of_kept[I(p, k)] = 0;
		copy_row(row[R(p, k)], disk[R(p, k)])
	};
	k = 0
}

/* The result that a former worker has left of a row's claim; what a 503 was, is not kept. */
#ifdef WITHOUT_KEPT_CLAIM
#define HAS_KEPT(p, m) (kept[I(p, m)] != NO_JOB)
#else
#define HAS_KEPT(p, m) (kept[I(p, m)] != NO_JOB && claim_of_kept[I(p, m)] == row[R(p, m)].claims)
#endif
#ifdef WITHOUT_INHERIT
#define INHERITED(p, m) DONE_ORPHAN
#else
#define INHERITED(p, m) (kept[I(p, m)] == DONE_UNSURE -> DONE_ACCOUNT : kept[I(p, m)])
#endif

proctype serve(byte p)
{
	byte k;

end:
	do
	/* start_worker(); registry_worker_attach() */
	:: d_step { server[p] == UP && worker[p] == OFF && (slot_orphans[p] || SOME(IS_WANTED, p)) ->
		worker[p] = ON;
#ifndef WITHOUT_ORPHANS
		look[p] = slot_orphans[p];
#endif
		slot_orphans[p] = 1 }

	/* find_orphans(); recorder_find_orphans(); job_inherit() */
	:: d_step { worker[p] == ON && look[p] ->
		for (k : 0 .. MESSAGES - 1) {
			if
			:: row[R(p, k)].status == SENDING && !row[R(p, k)].foreign && job[I(p, k)] == NO_JOB ->
#ifdef WITHOUT_ORPHAN_UNKNOWN
				job[I(p, k)] = DONE_NOT_SENT;
#else
				job[I(p, k)] = (HAS_KEPT(p, k) -> INHERITED(p, k) : DONE_ORPHAN);
#endif
				PROMISED(KEPT, kept[I(p, k)] == NO_JOB || job[I(p, k)] != DONE_ORPHAN ||
					kept[I(p, k)] == DONE_ORPHAN || claim_of_kept[I(p, k)] != row[R(p, k)].claims);
				claim_of_job[I(p, k)] = row[R(p, k)].claims
			:: else
			fi
		};
		look[p] = 0;
		k = 0 }

	/* round_stay_until(); registry_worker_leave_idle() */
	:: d_step { worker[p] == ON && !look[p] && !SOME(IS_WANTED, p) ->
		for (k : 0 .. MESSAGES - 1) { seen[I(p, k)] = 0 };
		k = 0;
		worker[p] = OFF;
		slot_orphans[p] = 0 }

	/* on_sigterm(): a termination, or the server is stopped in good order */
	:: d_step { worker[p] == ON && CAN_BREAK -> BREAKS; worker[p] = STOPPING }

	/* stop(), when all is recorded; registry_worker_detach() */
	:: d_step { worker[p] == STOPPING && !SOME(HAS_JOB, p) ->
		worker[p] = OFF;
		slot_orphans[p] = look[p];
#ifdef WITHOUT_STOP_LOOKS
		slot_orphans[p] = 0;
#endif
		look[p] = 0 }

	/* stop(), when its time is over before that */
	:: d_step { worker[p] == STOPPING && SOME(IS_UNRECORDED, p) && !SOME(IS_UNDER_WAY, p) && CAN_BREAK ->
		BREAKS;
		lose_worker(p);
#ifdef WITHOUT_STOP_FAILED
		slot_orphans[p] = 0
#endif
		}

	/* kill -9 of any process, an immediate stop, a power cut: and the server starts again */
	:: d_step { server[p] == UP && CAN_BREAK -> BREAKS; lose_memory(p) }
	od
}

/* ---------------------------------------------------------------------
 * Other places, and time
 * ------------------------------------------------------------------- */

#ifdef STRICT
#define MAY_BE_BEHIND false
#else
#define MAY_BE_BEHIND true
#endif

#ifdef STANDBY
#define FROM_PRIMARY REPLAYING
#else
#define FROM_PRIMARY AWAY
#endif

#if defined(TWO_SERVERS) || defined(BACK)
/* Whether the other place's disk is not what the primary's is */
#define IS_BEHIND(p, m) (disk[I(1, m)].status != disk[I(0, m)].status || \
	disk[I(1, m)].claims != disk[I(0, m)].claims || disk[I(1, m)].attempts != disk[I(0, m)].attempts || \
	disk[I(1, m)].foreign != disk[I(0, m)].foreign)

proctype other()
{
	byte k;

end:
	do
	/*
	 * PostgreSQL replays, or backs up, or dumps.  A standby has every state that
	 * the primary's disk had, or any that is older: so have copies and dumps.
	 */
	:: d_step { server[1] == FROM_PRIMARY && server[0] == UP && SOME(IS_BEHIND, 1) ->
		for (k : 0 .. MESSAGES - 1) { copy_row(disk[I(1, k)], disk[I(0, k)]) };
		k = 0 }

#ifdef STANDBY
	/* It is promoted */
	:: d_step { server[1] == REPLAYING && CAN_BREAK ->
		BREAKS;
		for (k : 0 .. MESSAGES - 1) {
#ifndef SYNC
			/* Behind: a claim, or the message itself, may be lost with the primary. */
			PROMISED(LOST, disk[I(1, k)].status != NONE || disk[I(0, k)].status == NONE || MAY_BE_BEHIND);
			excused[k] = excused[k] || disk[I(1, k)].claims != disk[I(0, k)].claims ||
				disk[I(1, k)].status != disk[I(0, k)].status
#ifdef UNFENCED
			; excused[k] = 1
#endif
#else
			skip
#endif
		};
#ifndef UNFENCED
		lose_memory(0);
		server[0] = AWAY;
#endif
		lose_memory(1);
		server[1] = UP }
#endif

#if defined(COPY) || defined(DUMP)
	/* The copy is started; of a dump every row is foreign: outbox_origin() */
	:: d_step { server[1] == AWAY && CAN_BREAK ->
		BREAKS;
		for (k : 0 .. MESSAGES - 1) {
#ifdef DUMP
			disk[I(1, k)].foreign = 1
#else
			skip
#ifndef ARMED
			; excused[k] = excused[k] || disk[I(1, k)].status == QUEUED
#endif
#endif
		};
		lose_memory(1);
		server[1] = UP }
#endif
	od
}
#endif

proctype time(byte m)
{
end:
	do
	:: d_step { !late[m] && CAN_BREAK -> BREAKS; late[m] = 1 }
	od
}

/* ---------------------------------------------------------------------
 * All of it
 * ------------------------------------------------------------------- */

#define IS_OPEN(p, m) (row[R(p, m)].status != NONE && row[R(p, m)].status < SENT && !row[R(p, m)].foreign)

/* Every message ends: where nothing goes on, and one has not, this is an invalid end state. */
#ifdef TRACE
proctype judge()
{
	d_step { next_request == 0 && next_event == 0 && job[0] == NO_JOB && row[0].status == last_status ->
		c_code { say_known(); } }
}
#else
proctype judge()
{
	(!SOME(IS_OPEN, HERE))
}
#endif

init
{
	byte k;

	atomic {
#ifdef TRACE
		do
		:: which < TRACES - 1 -> which++
		:: break
		od;
		c_code { read_trace(); };
#endif
		server[0] = UP;
		slot_orphans[0] = 1;
#ifdef WITHOUT_ONE_WORKER
		server[1] = UP;
		slot_orphans[1] = 1;
#endif
#ifdef STANDBY
		server[1] = REPLAYING;
#endif
		for (k : 0 .. MESSAGES - 1) {
			run work(0, k);
			run people(0, k);
			run time(k);
#if defined(TWO_SERVERS) || defined(WITHOUT_ONE_WORKER)
			run work(1, k);
#endif
#ifdef TWO_SERVERS
			run people(1, k)
#endif
		};
		run serve(0);
#if defined(TWO_SERVERS) || defined(WITHOUT_ONE_WORKER)
		run serve(1);
#endif
#if defined(TWO_SERVERS) || defined(BACK)
		run other();
#endif
		run judge()
	}
}
