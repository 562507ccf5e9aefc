/* How a question is accepted, answered and ended, and how a session is claimed and deleted.
   docs/protocol.md reads along.

   An `atomic` is one transaction in SQL, or one script in Redis. Between two of them every other process may do
   anything, and the process itself may die. There is no time: what has a deadline may reach it at any moment.

   Who takes part is said by TWO_FRONTS, TWO_WORKERS, STOP, DELETE, CLAIM, LOSS (Redis forgets) and OWNED (the session
   is a user's from the beginning); how much, by CHARACTERS, MAX_ATTEMPTS and SNAPSHOTS. What can be taken out, to see
   what it is there for, is said by NO_... where it is. */

#ifndef CHARACTERS
#define CHARACTERS 2
#endif
#ifndef MAX_ATTEMPTS
#define MAX_ATTEMPTS 2
#endif
#define FIRST 1
#define SECOND 2
/* A character is the number of the attempt that wrote it, so that no two attempts write the same. An answer is the
   number whose digits to the base 4 are its characters. */
#define length(text) ((text) == 0 -> 0 : ((text) < 4 -> 1 : 2))

mtype:state = { absent, queued, running, ended };
mtype:session = { guest, user, gone };
mtype:lease = { none, kept, held };
mtype:result = { ok, fenced, lost, over, away };

/* ---- SQL: what is committed stays ---- */

typedef Row {
  mtype:state state = absent;
  byte attempt;
  bool in_line, stop, untold;
  byte text                     /* an owned session's answer, or its snapshot */
};
Row row[3];
mtype:session session = guest;
/* The outbox of removals: of all that a session has in Redis, or of a guest's words alone. 0 is the row of the delete
   or of the claim, the others are the fronts'. */
bool removal[3], words_removal[3];
#ifdef ONE_REMOVAL_PER_SESSION
#define own(g) 0
#else
#define own(g) (g)
#endif

/* One live generation a session: a partial unique index. */
#define live(g) (row[g].state == queued || row[g].state == running)

/* ---- Redis: may lose its newest part, or all ---- */

typedef Store {
  byte generation, attempt, text;
  bool finished;                /* the log has the generation's terminal event */
  bool begun[3];
  bool tombstone[3];            /* the generation has ended before its log had begun */
  byte ends[3];
  bool question[3], answer[3];  /* a guest's words */
  mtype:lease lease[3]
};
Store now;
Store saved;                    /* what is on its disk */
bool saves, losses;

/* ---- what is promised ---- */

bool one_end_each = true, no_character_lost_or_doubled = true, no_word_after_delete = true;
bool no_lease_without_generation = true, every_accepted_question_ends = true;

#define must(promise, condition) if :: condition :: else -> promise = false; assert(promise) fi

/* ---- what an observer remembers ---- */

byte seen[3];                   /* the answer as its readers have it */
bool inserted[3], told[3], retold[3];
bool admitted[3];               /* its front is about to insert it */
/* What is left for the maintenance task, which mends what the invariants find. */
bool stray_words, stray_lease[3], stray_end;

#ifdef LOSS
#define remember(what) what = true
#else
#define remember(what) skip
#endif
/* Told characters may only be lost when Redis has lost something and another process has had to take over besides. */
#define excused(g) (row[g].state == absent || losses && (row[g].attempt > 1 || retold[g]))

#ifdef NO_DROP_AT_ADMISSION
#define note_admission(g, whether) admitted[g] = whether
#else
#define note_admission(g, whether) skip
#endif

#define snapshot(g) (session == user -> row[g].text : 0)
#define written(g) (now.generation == g -> now.text : (session == user -> row[g].text : 0))

/* Whether the session was a guest's when its row was read. */
#ifdef CLAIM
#define owner_noted bool anonymous;
#define note_owner() anonymous = (session == guest)
#define forget_owner() anonymous = false
#else
#define owner_noted
#define note_owner() skip
#define forget_owner() skip
#define anonymous (session == guest)
#endif

/* ---- the log: one script each, which leaves its result in the process's `r` ---- */

inline log_begin(g, guests) {
  if
  :: now.generation == g -> r = ok
  :: now.generation != g && now.tombstone[g] -> r = over
  :: else ->
     r = ok;
     now.generation = g; now.attempt = 0; now.text = 0; now.finished = false; now.begun[g] = true;
     if :: guests -> now.question[g] = true :: else fi
  fi
}

inline log_take_over(g, n) {
  if
  :: now.generation != g -> r = lost
  :: now.generation == g && now.attempt > n -> r = fenced
  :: else -> now.attempt = n; now.finished = false; text = now.text; r = ok
  fi
}

#ifdef NO_FENCE
#define is_fenced(n) false
#else
#define is_fenced(n) (now.attempt > n)
#endif

inline log_write(g, n, before, after) {
  if
  :: now.generation != g -> r = lost
  :: now.generation == g && is_fenced(n) -> r = fenced
  :: now.generation == g && !is_fenced(n) && now.attempt == n && now.finished -> r = ok   /* takes it for a repeat */
  :: now.generation == g && !is_fenced(n) && !(now.attempt == n && now.finished) &&
     length(now.text) != length(before) -> r = lost
  :: else ->
     must(no_character_lost_or_doubled, (before == 0 || now.text == seen[g] || excused(g)));
     must(no_character_lost_or_doubled, (before != 0 || after == n || after == seen[g] || excused(g)));
     now.attempt = n; now.text = after; seen[g] = after; r = ok
  fi
}

inline log_end(g, n) {
  if
#ifndef NO_TOMBSTONE
  :: now.generation != g && text == 0 -> now.tombstone[g] = true; remember(told[g]); r = ok
  :: now.generation != g && text != 0 -> r = lost
#else
  :: now.generation != g && text == 0 -> r = ok
  :: now.generation != g && text != 0 -> r = lost
#endif
  :: now.generation == g && is_fenced(n) -> r = fenced
  :: now.generation == g && !is_fenced(n) ->
     if
     :: now.attempt == n && now.finished -> r = ok
     :: !(now.attempt == n && now.finished) && length(now.text) != length(text) -> r = lost
     :: else ->
        must(no_character_lost_or_doubled, (now.text == text || excused(g)));
        now.attempt = n; now.finished = true; now.text = 0; now.ends[g]++; remember(told[g]); r = ok;
        must(one_end_each, now.ends[g] == 1);
        if :: anonymous -> now.answer[g] = true :: else fi;
        if :: anonymous && session != guest && losses -> stray_words = true :: else fi
     fi
  fi
}

inline log_begin_anew(g, n) {
  if
  :: now.tombstone[g] || now.generation > g ||
     (now.generation == g && (now.attempt > n || now.attempt == n && now.finished)) -> r = fenced
  :: else ->
     forget_log(); now.generation = g; now.attempt = n; now.begun[g] = true; r = ok
  fi
}

inline forget_log() {
  now.generation = 0; now.attempt = 0; now.text = 0; now.finished = false;
  now.begun[FIRST] = false; now.begun[SECOND] = false; now.ends[FIRST] = 0; now.ends[SECOND] = 0
}

inline forget_words() {
  now.question[FIRST] = false; now.question[SECOND] = false;
  now.answer[FIRST] = false; now.answer[SECOND] = false
}

inline close_log() {
  forget_log(); forget_words(); now.tombstone[FIRST] = false; now.tombstone[SECOND] = false
}

inline dies_with(stray) {
  if :: stray -> stray_words = true :: else fi
}

/* ---- steps that several processes take. They use the process's own g, n, text, r ---- */

/* Begin the log anew, with all that its readers have seen. */
inline restore() {
  atomic { log_begin_anew(g, n) };
  if
  :: r == ok ->
     if
     :: atomic { dies_with(session == gone); r = away }                /* it dies in between */
     :: atomic { true; if :: session == gone -> close_log(); r = over :: else fi }
     fi
  :: else
  fi;
  if
  :: r == ok && text != 0 -> atomic { log_write(g, n, 0, text) }
  :: else
  fi
}

/* The row's last transition, and an owned session's words: one transaction. */
inline end_row() {
  row[g].state = ended; row[g].attempt = n; row[g].in_line = false; row[g].untold = true; r = ok;
  must(no_character_lost_or_doubled, (text == seen[g] || excused(g)));
  if :: session == user -> row[g].text = text :: else fi
}

/* The outbox of an end: release, settle, tell; and forget that only when all of it is done. */
inline tell(may_fail) {
  if
  :: now.lease[g] = none; released = true
  :: may_fail -> released = false
  fi;
  if
  :: atomic { true; log_end(g, n) }
  :: may_fail -> r = away
  fi;
  if
  :: r == lost ->
     restore();
     if :: r == ok -> atomic { log_end(g, n) } :: else fi
  :: else
  fi;
#ifdef NO_REPEATED_RELEASE
  released = true;
#endif
  if
  :: released && (r == ok || r == fenced || r == over) ->
     atomic { if :: row[g].state == ended -> row[g].untold = false :: else fi }
  :: else
  fi
}

/* Whoever ends a generation from outside its worker takes it over first. */
#ifdef NO_TAKEOVER_BEFORE_END
#define taken_over(condition) live(g) && row[g].attempt > 0 && (condition) -> n = row[g].attempt; r = lost
#else
#define taken_over(condition) live(g) && row[g].attempt > 0 && (condition) -> \
  row[g].state = running; row[g].attempt++; n = row[g].attempt; r = lost
#endif

inline end_from_outside(condition) {
  atomic {
    note_owner();
    if
    :: live(g) && row[g].attempt == 0 && (condition) -> n = 1; text = 0; end_row()
    :: taken_over(condition)
    :: else -> r = away
    fi
  };
  if
  :: r == lost ->
#ifdef NO_TAKEOVER_BEFORE_END
     text = written(g);
     atomic {
       if
       :: live(g) && row[g].attempt == n && (condition) -> n++; end_row()
       :: else -> r = away
       fi
     }
#else
     atomic { log_take_over(g, n) };
     if
     :: r == lost -> text = snapshot(g); restore()
     :: else
     fi;
     if
     :: r == ok -> atomic {
          if
          :: row[g].state == running && row[g].attempt == n -> end_row()
          :: else -> r = away
          fi
        }
     :: else
     fi
#endif
  :: else
  fi
}

/* Remove what the row of the outbox says, then that row and no other. */
inline remove(i, may_fail) {
  if
  :: atomic { close_log(); now.lease[FIRST] = none; now.lease[SECOND] = none }; removal[i] = false
  :: may_fail -> skip
  fi
}

inline remove_words(i, may_fail) {
  if
  :: atomic { forget_words() }; words_removal[i] = false
  :: may_fail -> skip
  fi
}

/* ---- the processes ---- */

#ifdef NO_ORDER_OF_IDS
#define ids_grow(g) true
#else
#define ids_grow(g) ((g) == SECOND || !inserted[SECOND])
#endif

/* A web process that accepts the question `g`. Where it gives up after its row is there, the reaper ends that. */
proctype Front(byte g) {
  byte other; bool asked;
  mtype:session proof;
  mtype:result r = ok;

  atomic {
    other = 3 - g; proof = session;
    if :: session == gone || live(other) -> goto refused :: else fi
  };
admit:
  atomic {
    if
    :: now.lease[other] == none -> now.lease[g] = kept; note_admission(g, true)
    :: now.lease[other] == none -> now.lease[g] = kept; goto refused   /* its answer is lost */
    :: now.lease[other] != none && !asked -> goto ask
    :: goto refused                                                    /* it is refused, or Redis is away */
    fi
  };
  goto insert;
ask:
#ifdef NO_DROP_AT_ADMISSION
  atomic { must(no_lease_without_generation, (live(other) || admitted[other])); goto refused };
#endif
  asked = true;
  if
  :: live(other) -> goto refused
  :: !live(other) -> atomic { now.lease[other] = none; note_admission(other, false); goto admit }
  fi;
insert:
  atomic {
    if
    :: session == proof && !live(other) && ids_grow(g) ->
       row[g].state = queued; inserted[g] = true; note_admission(g, false);
       if :: row[other].untold -> goto retract :: else fi             /* the one before must have been told */
    :: else ->
       if :: now.lease[g] = none :: skip fi;
       goto refused
    :: goto refused                                                    /* it dies, its lease stays */
    fi
  };
  if
  :: atomic { true; log_begin(g, (proof == guest)) }
  :: atomic { true; log_begin(g, (proof == guest)); goto retract }    /* its answer is lost */
  :: goto retract
  :: goto refused
  fi;
  if :: r == over -> goto refused :: else -> goto check fi;
retract:
  atomic {
    if
    :: row[g].state == queued && row[g].attempt == 0 ->
       row[g].state = ended; row[g].attempt = 1; row[g].untold = true
    :: else
    fi
  };
check:
#ifndef NO_CHECK_AFTER_APPEND
  if
  :: atomic { dies_with(session != proof); goto refused }              /* it dies in between */
  :: atomic {
       true;
       if
       :: session == gone -> removal[own(g)] = true; goto remove_all
       :: session != gone && session != proof -> words_removal[own(g)] = true; goto remove_guests
       :: else
       fi
     }
  fi;
#endif
  atomic { if :: row[g].state == queued -> row[g].in_line = true :: else fi; goto refused };
remove_all:
  remove(own(g), true); goto refused;
remove_guests:
  remove_words(own(g), true);
refused:
  atomic { note_admission(g, false); proof = gone; asked = false; other = 0; r = ok }
}

proctype Worker() {
  byte g, n, text; bool released; owner_noted
  mtype:result r = ok;
end:
  do
  :: atomic {
       if
       :: row[FIRST].state == queued && row[FIRST].in_line -> g = FIRST
       :: row[SECOND].state == queued && row[SECOND].in_line -> g = SECOND
       fi;
       row[g].state = running; row[g].attempt++; n = row[g].attempt; note_owner()
     };
     atomic { now.lease[g] = held; log_take_over(g, n) };
     if :: r == lost -> text = snapshot(g) :: else fi;
     do
     :: r == ok && length(text) < CHARACTERS ->
        atomic {
          log_write(g, n, text, text * 4 + n);
          if :: r == ok -> text = text * 4 + n :: else fi
        }
     :: r == lost ->
        atomic { if :: row[g].state == running && row[g].attempt == n -> r = ok :: else -> r = away fi };
        if :: r == ok -> restore() :: else fi
#ifdef SNAPSHOTS
     :: atomic { r == ok && session == user && row[g].text != text ->
          if :: row[g].state == running && row[g].attempt == n -> row[g].text = text :: else -> r = away fi }
#endif
     :: r == ok && (length(text) == CHARACTERS || row[g].stop) ->
        atomic {
          if
          :: row[g].state == running && row[g].attempt == n -> end_row()
          :: else -> r = away
          fi
        };
        if :: r == ok -> tell(true) :: else fi;
        break
     :: break                                                          /* it dies, gives up, or Redis is away */
     od;
     atomic { g = 0; n = 0; text = 0; r = ok; released = false; forget_owner() }
  od
}

/* What has lapsed goes back into the line, or is ended; what has not been told is told. */
proctype Reaper() {
  byte g, n, text; bool released; owner_noted
  mtype:result r = ok;
end:
  do
  :: atomic {
       if
       :: live(FIRST) || row[FIRST].untold -> g = FIRST
       :: live(SECOND) || row[SECOND].untold -> g = SECOND
       fi;
       if
       :: row[g].state == running && row[g].attempt < MAX_ATTEMPTS && !row[g].stop ->
          row[g].state = queued; g = 0; goto end
       :: row[g].state == ended ->
          n = row[g].attempt; text = written(g); note_owner(); remember(retold[g]); goto telling
       :: else
       fi
     };
     end_from_outside(row[g].state == queued || row[g].attempt >= MAX_ATTEMPTS || row[g].stop);
     if :: r == ok -> goto telling :: else -> goto next fi;
telling:
     tell(false);
next:
     atomic { g = 0; n = 0; text = 0; r = ok; released = false; forget_owner() }
  :: removal[0] -> remove(0, false)
  :: removal[FIRST] -> remove(FIRST, false)
  :: removal[SECOND] -> remove(SECOND, false)
  :: words_removal[0] -> remove_words(0, false)
  :: words_removal[FIRST] -> remove_words(FIRST, false)
  :: words_removal[SECOND] -> remove_words(SECOND, false)
  od
}

#ifdef STOP
/* A web process that stops the answer. */
proctype Stop() {
  byte g, n, text; bool released; owner_noted
  mtype:result r = ok;
  atomic {
    if
    :: live(FIRST) -> g = FIRST; row[g].stop = true
    :: live(SECOND) -> g = SECOND; row[g].stop = true
    :: goto done
    fi
  };
  /* What is on its way to the queue is ended by who puts it there, as the reaper may end it at any time. */
  end_from_outside(row[g].state == queued && row[g].in_line);
  if :: r == ok -> tell(true) :: else fi;
  atomic { g = 0; n = 0; text = 0; r = ok; released = false; forget_owner() };
done:
  skip
}
#endif

#ifdef DELETE
/* A delete by the session's holder, or the sweep. What either may delete is not looked at here. */
inline forget_row(g) {
  row[g].state = absent; row[g].attempt = 0; row[g].in_line = false; row[g].stop = false; row[g].untold = false;
  row[g].text = 0
}

proctype Delete() {
  atomic {
    session = gone; forget_row(FIRST); forget_row(SECOND);
#ifndef NO_REMOVALS_OUTBOX
    removal[0] = true
#endif
  };
  remove(0, true)
}
#endif

#ifdef CLAIM
/* A user claims the guest's session. */
#define newest (row[SECOND].state != absent -> SECOND : FIRST)

proctype Claim() {
  bool questions[3], answers[3];
  byte tries, told_before;
  if
  :: session == guest
  :: goto done
  fi;
again:
  atomic {
    questions[FIRST] = now.question[FIRST]; questions[SECOND] = now.question[SECOND];
    answers[FIRST] = now.answer[FIRST]; answers[SECOND] = now.answer[SECOND]
  };
  atomic {
    if
    :: session != guest || live(FIRST) || live(SECOND) || tries == 3 -> goto done
    :: else ->
       if
#ifdef NO_SECOND_READ
       :: row[newest].state == ended && newest != told_before && !answers[newest] &&
          (questions[FIRST] || questions[SECOND] || answers[FIRST] || answers[SECOND]) ->
          told_before = (row[newest].untold -> 0 : newest); tries++; goto again
#else
       :: row[FIRST].untold || row[SECOND].untold -> tries++; goto again
       :: !row[FIRST].untold && !row[SECOND].untold &&
          row[newest].state == ended && newest != told_before && !answers[newest] ->
          told_before = newest; tries++; goto again
#endif
       :: else ->
          must(no_character_lost_or_doubled, (losses ||
            ((!now.question[FIRST] || questions[FIRST]) && (!now.question[SECOND] || questions[SECOND]) &&
             (!now.answer[FIRST] || answers[FIRST]) && (!now.answer[SECOND] || answers[SECOND]))));
          session = user; words_removal[0] = true
       fi
    fi
  };
  remove_words(0, true);
done:
  atomic {
    questions[FIRST] = false; questions[SECOND] = false; answers[FIRST] = false; answers[SECOND] = false;
    tries = 0; told_before = 0
  }
}
#endif

inline copy(to, from) {
  to.generation = from.generation; to.attempt = from.attempt; to.text = from.text; to.finished = from.finished;
  to.begun[FIRST] = from.begun[FIRST]; to.begun[SECOND] = from.begun[SECOND];
  to.tombstone[FIRST] = from.tombstone[FIRST]; to.tombstone[SECOND] = from.tombstone[SECOND];
  to.ends[FIRST] = from.ends[FIRST]; to.ends[SECOND] = from.ends[SECOND];
  to.question[FIRST] = from.question[FIRST]; to.question[SECOND] = from.question[SECOND];
  to.answer[FIRST] = from.answer[FIRST]; to.answer[SECOND] = from.answer[SECOND];
  to.lease[FIRST] = from.lease[FIRST]; to.lease[SECOND] = from.lease[SECOND]
}

#define guests_words (now.question[FIRST] || now.question[SECOND] || now.answer[FIRST] || now.answer[SECOND])
#define words (now.begun[FIRST] || now.begun[SECOND] || guests_words)

#ifdef LOSS
/* Redis writes to its disk once a second. What came after that may be lost. */
proctype Redis() {
  if
  :: atomic { copy(saved, now); saves = true }
  :: skip
  fi;
  atomic {
    copy(now, saved); losses = true;
    if :: session != guest && guests_words || session == gone && words -> stray_words = true :: else fi;
    if :: now.lease[FIRST] == kept && !live(FIRST) -> stray_lease[FIRST] = true :: else fi;
    if :: now.lease[SECOND] == kept && !live(SECOND) -> stray_lease[SECOND] = true :: else fi;
    if
    :: told[FIRST] && now.ends[FIRST] == 0 && !now.tombstone[FIRST] ||
       told[SECOND] && now.ends[SECOND] == 0 && !now.tombstone[SECOND] -> stray_end = true
    :: else
    fi;
    saves = false; saved.generation = 0; saved.attempt = 0; saved.text = 0; saved.finished = false;
    saved.begun[FIRST] = false; saved.begun[SECOND] = false;
    saved.tombstone[FIRST] = false; saved.tombstone[SECOND] = false;
    saved.ends[FIRST] = 0; saved.ends[SECOND] = 0;
    saved.question[FIRST] = false; saved.question[SECOND] = false;
    saved.answer[FIRST] = false; saved.answer[SECOND] = false;
    saved.lease[FIRST] = none; saved.lease[SECOND] = none
  }
}
#endif

/* Nothing is left to be done. */
#define has_ended(g) (!live(g) && !row[g].untold)
#define has_one_end(g) (row[g].state != ended || !now.begun[g] || now.ends[g] == 1 || stray_end)
#define has_no_lease(g) (!inserted[g] || now.lease[g] != kept || stray_lease[g])

proctype Observer() {
  timeout;
  must(every_accepted_question_ends, (has_ended(FIRST) && has_ended(SECOND)));
  must(one_end_each, (has_one_end(FIRST) && has_one_end(SECOND)));
  must(no_word_after_delete, (session != gone || !words || stray_words));
  must(no_word_after_delete, (session == guest || !guests_words || stray_words));
  must(no_lease_without_generation, (has_no_lease(FIRST) && has_no_lease(SECOND)))
}

init {
  atomic {
    now.lease[FIRST] = none; now.lease[SECOND] = none; saved.lease[FIRST] = none; saved.lease[SECOND] = none;
#ifdef OWNED
    session = user;
#endif
    run Front(FIRST);
#ifdef TWO_FRONTS
    run Front(SECOND);
#endif
    run Worker();
#ifdef TWO_WORKERS
    run Worker();
#endif
    run Reaper();
#ifdef STOP
    run Stop();
#endif
#ifdef DELETE
    run Delete();
#endif
#ifdef CLAIM
    run Claim();
#endif
#ifdef LOSS
    run Redis();
#endif
    run Observer()
  }
}
