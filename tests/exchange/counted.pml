/* The counted exchange of the persistent kernel (counted_exchange.cuh), for the model checker spin, as exchange.pml
 * has the others. One cluster; each warp is a process, and one more lets stores land.
 *
 * A word's value is the number of the state that it belongs to. A store lands at any moment after it was issued, before or
 * after any other; then the word is written and counted, in one step. An mbarrier counts words here, not bytes. A warp looks
 * at all words when its wait ends and again when it publishes: values only grow, so what it reads in between is the same.
 * It issues all stores of a state in one step: each may land as late as if it had been issued later. Not modelled: a store
 * that is issued before the reads that it depends on (docs/exchange.md).
 *
 * A wait that finds nothing changes nothing, so it is no step here.
 */

#ifndef CTAS
#define CTAS 2        /* of the cluster */
#endif
#ifndef WARPS
#define WARPS 2       /* of a CTA */
#endif
#ifndef LANES
#define LANES 1       /* of a warp, 1 or 2: each waits by itself */
#endif
#ifndef WORDS
#define WORDS 1       /* of a state, that a warp publishes */
#endif
#ifndef STEPS
#define STEPS 6
#endif
#ifndef EXPIRIES
#define EXPIRIES 0    /* lanes whose deadline passes, at any moment, whether or not the words would have come */
#endif
#ifndef ELSEWHERE
#define ELSEWHERE 0   /* 1: another cluster may give up, at any moment */
#endif
#ifndef GIVEN_UP
#define GIVEN_UP 0    /* 1: an earlier launch of the same run was */
#endif

#define ALL_WARPS (CTAS * WARPS)
#define STATE (ALL_WARPS * WORDS)     /* words of a state */
#define ALL_LANES ((1 << LANES) - 1)

/* What a mutant changes. */
#ifdef ONE_SLOT
#define SLOTS 1
#else
#define SLOTS 2
#endif
#define SLOT(v) ((v) % SLOTS)
#define PHASE(v) (((v) - 1) / SLOTS)  /* of its slot's mbarrier, that counts the words of state v */
#if defined(PARITY_OF_STEP)
#define PARITY(v) ((v) & 1)
#elif defined(EARLY_PARITY)
#define PARITY(v) ((v) / SLOTS & 1)
#else
#define PARITY(v) (PHASE(v) & 1)
#endif
#ifdef LAST_PUBLISHED
#define LAST_STATE (STEPS + 1)
#else
#define LAST_STATE STEPS
#endif
#define ALL_BUT_LAST(warp) ((warp) != ALL_WARPS - 1)
#ifdef EMPTY_WARP
#define PUBLISHES(warp) ALL_BUT_LAST(warp) /* it owns no unit and keeps silent, but waits */
#else
#define PUBLISHES(warp) 1
#endif
#if defined(EMPTY_WARP) || defined(SHORT_COUNT)
#define EXPECTED (STATE - WORDS)
#else
#define EXPECTED STATE
#endif
#ifdef SKIP_UNUSED
#define WAITS(warp) ALL_BUT_LAST(warp) /* it has no weight for the units of others */
#else
#define WAITS(warp) 1
#endif
#if defined(NO_REARM) || defined(EARLY_ARM) || defined(LATE_ARM)
#define ARMS_AT_ONCE 0
#else
#define ARMS_AT_ONCE 1
#endif
#ifdef NO_FLAG
#define LEAVES 0
#else
#define LEAVES gone
#endif
#ifdef NO_ABORT_CHECK
#define ABORTED 0
#else
#define ABORTED (abort_word != 0)     /* kernel: abort-check */
#endif

byte ring[CTAS * SLOTS * STATE];      /* shared memory: what has landed last in a word, 0 at the start */
byte flying[CTAS * SLOTS * STATE];    /* what is under way to it, or 0 */
byte under_way[CTAS], all_under_way;  /* how many are, to a CTA and together */
bit made[CTAS];                       /* the ring is cleared, the mbarriers are initialized */
bit armed[CTAS * SLOTS];              /* of an mbarrier: its one arrival has come */
short missing[CTAS * SLOTS];          /* words that it waits for; less than 0: they came before the arrival */
byte ended_phases[CTAS * SLOTS];      /* of which a wait sees the lowest bit */
byte met, arrived, at_end;            /* warps; CTAs; warps */
byte admitted[CTAS];                  /* what warps learn at the rendezvous: 1 to go on, 2 not to */
byte ended[CTAS];                     /* warps that have left */
byte abort_word = GIVEN_UP;
byte expiries = EXPIRIES, elsewhere = ELSEWHERE;
byte leavers;                         /* warps that did not come to the end */

#define COUNTER(to, v) ((to) * SLOTS + SLOT(v))
#define PLACE(to, v, i) (COUNTER(to, v) * STATE + (i))

/* A phase ends when all words and the arrival have come. */
inline end_phase(counter) {
  if
  :: armed[counter] && missing[counter] == 0 -> armed[counter] = 0; ended_phases[counter]++
  :: else
  fi
}

/* By warp 0, for a state of that slot. */
inline arm(counter) {
  assert(!armed[counter]); /* one arrival a phase */ /* kernel: arm */
  armed[counter] = 1;
  missing[counter] = missing[counter] + EXPECTED;
  end_phase(counter)
}

inline look() {
  i = 0;
  do
  :: i < STATE && WAITS(me) ->
     assert(ring[PLACE(cta, n, i)] == n || !PUBLISHES(i / WORDS)); /* no stale word, and none too new */
     i++
  :: else -> break
  od;
  i = 0
}

/* As state number v, to all CTAs. */
inline publish(v) {
  i = 0;
  do
  :: i < CTAS * WORDS && v <= LAST_STATE && PUBLISHES(me) -> /* kernel: publish-counted */
     to = PLACE(i / WORDS, v, me * WORDS + i % WORDS);
     assert(flying[to] == 0); /* no two stores to a word that may land in either order */
     flying[to] = v;
     under_way[i / WORDS]++;
     all_under_way++;
     i++
  :: else -> break
  od;
  i = 0; to = 0
}

#ifdef NO_FIRST_MEETING
#define MET made[cta]
#else
#define MET (met == ALL_WARPS)        /* kernel: first-meeting */
#endif
#ifdef NO_LAST_MEETING
#define MET_AGAIN 1
#else
#define MET_AGAIN (at_end == ALL_WARPS) /* kernel: last-meeting */
#endif
#ifdef NO_LANDING
#define LANDED 1
#else
#define LANDED (!gone || under_way[cta] == 0) /* it waits so long that this is true */ /* kernel: let-land */
#endif

/* A wait of a lane that is given up. */
#define GIVE_UP(waits, lane)                                                   \
  :: atomic { (waits) && ABORTED -> looked = looked | (lane); gone = 1 }       \
  :: atomic {                                                                  \
       (waits) && expiries > 0 -> /* kernel: give-up */                        \
         expiries--; abort_word = 1; looked = looked | (lane); gone = 1        \
     }

#define WANTS(lane) (n <= STEPS && !(looked & (lane)) && !late)
#define ENDED(v) ended_phases[COUNTER(cta, v)]
#define WAIT(lane)                                                             \
  :: atomic { /* kernel: wait-counted */                                       \
       WANTS(lane) && ((ENDED(n) & 1) != PARITY(n) || !WAITS(me)) ->           \
         assert(ENDED(n) == PHASE(n) + 1 || !WAITS(me)); /* no other phase */  \
         look();                                                               \
         looked = looked | (lane);                                             \
         if /* thread 0 has all of it */                                       \
         :: (lane) == 1 && number == 0 && ARMS_AT_ONCE -> arm(COUNTER(cta, n + SLOTS)) \
         :: else                                                               \
         fi                                                                    \
     }                                                                         \
  GIVE_UP(WANTS(lane), lane)

proctype warp(byte cta; byte number) {
  byte me = cta * WARPS + number;
  byte n = 1, looked, i, to;
  bit gone, late;

  atomic {
    if
    :: number == 0 ->
       arm(COUNTER(cta, 1));
       if
       :: SLOTS > 1 -> arm(COUNTER(cta, 2))
       :: else
       fi;
       made[cta] = 1
    :: else
    fi;
    met++
  }
  atomic { MET -> publish(1) } /* before the rendezvous */

  if
  :: number == 0 ->
     atomic { arrived++ };
     do
     :: atomic { arrived == CTAS || gone -> /* kernel: rendezvous */
          admitted[cta] = (gone || abort_word != 0 -> 2 : 1) /* kernel: last-look */
        };
        break
     GIVE_UP(!gone, 0)
     od
  :: else
  fi;
  atomic {
    admitted[cta] != 0 ->
      gone = admitted[cta] == 2;
      looked = (gone -> ALL_LANES : 0) /* it waits for no state */
  }

  do
  WAIT(1)
#if LANES > 1
  WAIT(2)
#endif
#ifdef LATE_ARM
  :: atomic { late -> arm(COUNTER(cta, n - 1 + SLOTS)); late = 0 }
#endif
  :: atomic {
       looked == ALL_LANES && !LEAVES ->
         look();
         publish(n + 1);
#ifdef EARLY_ARM
         if
         :: number == 0 -> arm(COUNTER(cta, n + 1 + SLOTS))
         :: else
         fi;
#endif
#ifdef LATE_ARM
         late = number == 0;
#endif
         looked = 0;
         n++
     }
  :: atomic { n > STEPS || LEAVES && looked == ALL_LANES -> at_end++ }; break
  od;

  atomic {
    MET_AGAIN && LANDED -> /* kernel: leave */
      assert(gone || under_way[cta] == 0); /* who came to the end has all that was for its CTA */
      assert(!GIVEN_UP || n == 1);
      ended[cta]++;
      assert(ended[cta] < WARPS || under_way[cta] == 0);
      leavers = leavers + gone;
      n = 0; looked = 0; gone = 0; late = 0
  }
}

/* Lets a store land, any of those under way. */
proctype network() {
  byte at, before;
end:
  do
  :: atomic {
       all_under_way > 0 ->
         before = all_under_way - 1;
         do
         :: flying[at] != 0 -> break
         :: flying[at] == 0 -> at++
         :: flying[at] != 0 && before > 0 -> before--; at++
         od;
         assert(made[at / (SLOTS * STATE)] && ended[at / (SLOTS * STATE)] < WARPS); /* its CTA is there */
         ring[at] = flying[at];
         flying[at] = 0;
         under_way[at / (SLOTS * STATE)]--;
         all_under_way--;
         missing[at / STATE]--;
         end_phase(at / STATE);
         at = 0; before = 0
     }
  od
}

init {
  byte c;
  atomic {
    run network(); /* the first, for it never ends */
    do
    :: c < ALL_WARPS -> run warp(c / WARPS, c % WARPS); c++
    :: else -> break
    od
  }
  do
  :: atomic { elsewhere > 0 -> elsewhere--; abort_word = 1 }
  :: _nr_pr == 2 -> break /* nobody hangs */
  od;
  c = 0;
  d_step {
    assert(leavers == 0 || abort_word != 0); /* nobody leaves without a status */
    assert(leavers == 0 || EXPIRIES > 0 || ELSEWHERE || GIVEN_UP);
    do
    :: c < CTAS ->
       assert(leavers > 0 || ended_phases[COUNTER(c, 0)] + ended_phases[COUNTER(c, 1)] == STEPS);
       c++
    :: else -> break
    od
  }
}
