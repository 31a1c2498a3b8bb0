/* The exchange of the persistent kernel, for the model checker spin; docs/exchange.md tells the protocol in words.
 *
 * `kernel: NAME` in a comment names the step of the kernel that the line stands for: the comment `exchange: NAME` in
 * src/engines/cuda/. exchange_test.py runs this file once for each row of its tables.
 *
 * Memory is weaker than what a GPU does, on purpose. A word's value is the number of the h it belongs to; each reader
 * has its own view of each word, which lags behind the writer for as long as it likes and moves forward only
 * (coherence). Nothing orders one word against another, so stores of a thread arrive in any order, at each reader in
 * another one. Not modelled: a store that is performed before the reads that its thread waited for (docs/exchange.md).
 *
 * A poll that finds nothing new changes nothing, so it is no step here. Hence the model is free of cycles, and a CTA
 * that would poll for ever is a deadlock, which spin reports.
 */

#ifndef CTAS
#define CTAS 2        /* of a group */
#endif
#ifndef GROUPS
#define GROUPS 1
#endif
#ifndef WORDS
#define WORDS 1       /* that a CTA publishes in an exchange */
#endif
#ifndef THREADS
#define THREADS 1     /* of a CTA */
#endif
#ifndef STEPS
#define STEPS 5
#endif
#ifndef PROJECTION
#define PROJECTION 0  /* 1: a second exchange a timestep, and tags in place of h's stamps */
#endif
#ifndef TAGS
#define TAGS 4        /* values that a tag takes; 65536 in the kernel, few here so that they come round */
#endif
#ifndef HELD
#define HELD 0        /* 1: a thread keeps what it polls, no barrier follows, and h(0) is exchanged too; with STREAMED
                       * weights come after a barrier, with STAGED all of the state is read after one */
#endif
#ifndef CLUSTER
#define CLUSTER 0     /* 1: nobody ends before all threads of the group have come to the end */
#endif
#ifndef BARRIER
#define BARRIER 0     /* 1: --no-stamps, a grid barrier instead of polls */
#endif
#ifndef EXPIRIES
#define EXPIRIES 0    /* CTAs whose deadline passes, at any moment, whether or not the word would have come */
#endif
#ifndef DEAD
#define DEAD 0        /* CTAs that stop for ever, anywhere */
#endif
#ifndef GIVEN_UP
#define GIVEN_UP 0    /* 1: an earlier launch of the same run was */
#endif
#ifdef SHORT_TAG
#undef TAGS
#define TAGS 2
#endif
#ifdef NO_DEADLINE
#undef EXPIRIES
#define EXPIRIES 0
#endif

#define GRID (CTAS * GROUPS)
#define READ (CTAS * WORDS) /* words of one exchange in a group */
#define RINGS (1 + PROJECTION)
#define RING (2 * READ)     /* two slots */

/* What a mutant changes. */
#ifdef ONE_SLOT
#define SLOT(v) 0
#define STAMP(v) ((v) & 1)
#define NEXT(now, last) (now + 1)
#else
#define SLOT(v) ((v) & 1) /* kernel: toggle */
#ifdef LATE_TOGGLE
#define STAMP(v) (((v) >> 1) & 1)
#else
#define STAMP(v) ((((v) + 1) >> 1) & 1)
#endif
#define NEXT(now, last) (now == 0 -> 2 - ((last) & 1) : now + 2)
#endif

/* What a reader compares: ring 0 carries h, ring 1 the output before a projection, which is bounded and stamped. */
#if PROJECTION
#define MARK(ring, v) (ring == 0 -> ((v) + 1) % TAGS : STAMP(v))
#else
#define MARK(ring, v) STAMP(v)
#endif
#ifdef NO_RESET
#define IN_MEMORY(ring, v) (v == 0 -> leftover : MARK(ring, v)) /* what an earlier run left */
#else
#define IN_MEMORY(ring, v) (v == 0 -> 0 : MARK(ring, v)) /* kernel: clear */
#endif

byte memory[GROUPS * RINGS * RING];    /* the last value written to a word: v for h(v), 0 at the start */
byte view[GRID * RINGS * RING];        /* the last value that a CTA has seen of a word */
byte image[GRID * READ];               /* shared memory: the values staged by a CTA */
#if HELD
byte sums[GRID * 2 * THREADS];         /* shared memory, two sets: which h a thread's share of the product is of */
/* Of streamed weights, and where the state is staged for a rest: one set, and a barrier before it is written. */
#if defined(ONE_SET_OF_SUMS) || defined(STREAMED) || defined(STAGED)
#define SET(v) 0
#else
#define SET(v) ((v) & 1)
#endif
#define SUM(v, of) sums[(me * 2 + SET(v)) * THREADS + (of)]
#endif
byte arrived, started;
byte abort_word = GIVEN_UP * 255;      /* 0, or 1 + the CTA that gave up */
byte verdicts;                         /* how often abort_word was written */
byte expiries = EXPIRIES;
byte dead = DEAD;
byte values[GRID * THREADS], nans[GRID * THREADS]; /* outputs stored */
byte flag[GRID];                       /* in shared memory: not 0, a wait of this CTA was given up: for that h */
bit refused[GRID];                     /* what the threads learn at the barrier of the rendezvous */
#if THREADS > 1
byte waiting[GRID], left[GRID];
bit turn[GRID];
#endif
#if CLUSTER
byte at_end[GROUPS];                   /* threads that wait for the others of the cluster */
#endif
#if BARRIER
byte count[GROUPS * RINGS];            /* a barrier for each exchange of each group */
byte released[GROUPS * RINGS * RING];  /* what was written before arriving */
#endif
#ifdef NO_RESET
bit leftover;
#endif

#define AT(ring, v, producer, word) ((ring) * RING + SLOT(v) * READ + (producer) * WORDS + (word))
#define LAST(i) memory[group * RINGS * RING + AT(ring, want, 0, i)]
#define SEEN(i) view[me * RINGS * RING + AT(ring, want, 0, i)]
#define RELEASED(producer, i) released[group * RINGS * RING + AT(ring, want, producer, i)]
#define OWN(word) memory[group * RINGS * RING + AT(ring, want, cta, word)]

#define FIRST_OF_THREAD(i) ((i) % THREADS == lane) /* the same thread polls a word in each timestep */
#ifdef SKIP_UNUSED
#define POLLED(i) (FIRST_OF_THREAD(i) && !(cta == 0 && (i) / WORDS == 1)) /* CTA 0 has no weight for CTA 1's units */
#else
#define POLLED(i) FIRST_OF_THREAD(i)
#endif
#ifdef STAGED
#define MULTIPLIED(i) 1 /* the gather reads what all threads have staged */
#else
#define MULTIPLIED(i) POLLED(i) /* a thread what it polled itself */
#endif
#ifdef STAMP_OF_FIRST_WORD
#define STAMPED(i) ((i) % WORDS == 0)
#else
#define STAMPED(i) 1
#endif
#ifdef EMPTY_CTA
#define PUBLISHES (cta != CTAS - 1) /* it owns no unit and keeps silent, but polls */
#define MISSING(i) ((i) / WORDS == CTAS - 1)
#else
#define PUBLISHES 1
#define MISSING(i) 0
#endif

#define UNREAD(i) (POLLED(i) && !MISSING(i) && !(fresh & (1 << (i))))
#define FRESH(i) (!STAMPED(i) || IN_MEMORY(ring, SEEN(i)) == MARK(ring, want))
#define TAKE(i) /* kernel: accept */                               \
  assert(SEEN(i) == want); /* no stale word, and none too new */   \
  image[me * READ + (i)] = SEEN(i); /* kernel: stage-own */        \
  fresh = fresh | (1 << (i))
/* A poll finds what the thread saw before, or the next value; it may jump over a value that is overwritten. */
#define POLL(i)                                                    \
  :: atomic { UNREAD(i) && FRESH(i) -> TAKE(i) }                   \
  :: atomic { UNREAD(i) && SEEN(i) != LAST(i) ->                   \
       SEEN(i) = NEXT(SEEN(i), LAST(i));                           \
       if                                                          \
       :: FRESH(i) -> TAKE(i)                                      \
       :: !FRESH(i) || SEEN(i) != LAST(i)                          \
       fi }

/* All words of this thread have been accepted. */
#if READ > 4
#error "more words than polls"
#endif
#define NEEDED(i) (i < READ && POLLED(i) && !MISSING(i) -> 1 << (i) : 0)
#define ALL (NEEDED(0) | NEEDED(1) | NEEDED(2) | NEEDED(3))

/* What is over does not tell states apart. */
inline forget() {
#if THREADS == 1
  i = 0;
  do
  :: i < RINGS * RING -> view[me * RINGS * RING + i] = 0; i++
  :: else -> break
  od;
  i = 0;
  do
  :: i < READ -> image[me * READ + i] = 0; i++
  :: else -> break
  od;
#endif
  i = 0; fresh = 0
}

/* By the thread whose wait it is. */
inline end_wait() {
#ifdef LEAVE_ALONE
  gone = 1;
#else
  flag[me] = (want == 0 -> 255 : want); /* at the rendezvous there is none */
#endif
  forget()
}

inline give_up() {
  atomic { /* kernel: give-up */
    expiries > 0 ->
      expiries--;
#ifdef NO_COMPARE
      abort_word = 1 + me; verdicts++;
#else
      if
      :: abort_word == 0 -> abort_word = 1 + me; verdicts++
      :: else
      fi;
#endif
      end_wait()
  }
}

/* A barrier does not wait for threads that have left. */
inline meet() {
#if THREADS > 1
  atomic { my_turn = turn[me]; waiting[me]++ }
  atomic {
    turn[me] != my_turn || waiting[me] + left[me] == THREADS ->
      if
      :: turn[me] == my_turn -> waiting[me] = 0; turn[me] = 1 - my_turn
      :: else
      fi
  }
#endif
  skip
}

/* Waits for all words of h(v), or of the second ring, and stages them. */
inline receive(the_ring, v) {
  atomic { ring = the_ring; want = v; fresh = 0 }
#if BARRIER
  if
  :: lane != 0
  :: lane == 0 ->
     do
     :: count[group * RINGS + ring] >= CTAS * want -> break /* kernel: barrier */
     :: atomic { abort_word != 0 -> end_wait() }; break
     :: give_up(); break
     od;
#ifndef RELAXED_BARRIER
     atomic { /* acquire */
       i = 0;
       do
       :: i < READ && !flag[me] -> SEEN(i) = RELEASED(0, i); i++
       :: else -> break
       od
     }
#endif
  fi;
  meet();
  atomic {
    i = 0;
    do
    :: i < READ && !flag[me] ->
       if
       :: FIRST_OF_THREAD(i) -> assert(SEEN(i) == want); image[me * READ + i] = SEEN(i)
       :: else
       fi;
       i++
    :: else -> break
    od
  }
#else
  do /* kernel: poll */
  POLL(0)
#if READ > 1
  POLL(1)
#endif
#if READ > 2
  POLL(2)
#endif
#if READ > 3
  POLL(3)
#endif
  :: fresh == ALL -> break
#ifndef NO_ABORT_CHECK
  :: atomic { abort_word != 0 -> end_wait() }; break /* kernel: abort-check */
#endif
  :: give_up();
     assert(started == GRID || dead < DEAD); /* nobody is blamed for what begins late */
     break
  od;
#endif
#ifdef LEAVE_ALONE
  if
  :: gone -> break
  :: else
  fi;
#endif
#if !defined(NO_FIRST_BARRIER) && !HELD
  meet() /* kernel: stage */
#endif
  /* kernel: fence */ /* of a plan that wants one; between this barrier and the next, never at the publishing stores:
                         slot_reuse_fence.litmus, slot_reuse_fence_at_publish.litmus. Of a held state before the one
                         barrier: held_slot_reuse_fence.litmus. No effect on this memory. */
}

/* Sets gone where the CTA has given up. */
inline publish(the_ring, v) {
  atomic {
#ifndef NO_FLAG
#if CLUSTER && !defined(FLAG_OF_ANY_STATE)
    gone = flag[me] != 0 && flag[me] < v; /* kernel: flag */
#else
    gone = flag[me] != 0;
#endif
#endif
    assert(gone || !spoiled);
    spoiled = 0;
    ring = the_ring; want = v; i = (gone -> WORDS : lane)
  }
  do
  :: atomic { i < WORDS && PUBLISHES -> OWN(i) = want; i = i + THREADS } /* kernel: publish */ /* kernel: publish-held */
  :: i >= WORDS || !PUBLISHES -> break
  od;
#if BARRIER
  meet();
  if
  :: lane == 0 && !gone ->
     atomic {
       i = 0;
       do /* release */
       :: i < WORDS -> RELEASED(cta, i) = OWN(i); i++
       :: else -> break
       od;
       count[group * RINGS + ring]++ /* kernel: arrive */
     }
  :: else
  fi;
#endif
  skip
}

/* The product: reads the whole image, also where it is anything because a wait was given up. */
#if HELD
inline product() {
#if (defined(STREAMED) || defined(STAGED)) && !defined(NO_FIRST_BARRIER)
  meet();
#endif
  d_step {
    SUM(want, lane) = want;
    i = 0;
    do
    :: i < READ ->
       if
       :: MULTIPLIED(i) && image[me * READ + i] != want -> SUM(want, lane) = 255 /* kernel: take-held */
       :: else
       fi;
       i++
    :: else -> break
    od
  }
#ifndef NO_SECOND_BARRIER
  meet(); /* kernel: product-meeting */
#endif
  spoiled = 0;
  i = 0;
  do /* one after the other: another thread may be a step ahead */
  :: i < THREADS -> atomic { spoiled = spoiled || SUM(want, i) != want; i++ }
  :: else -> break
  od
}
#else
inline product() {
  d_step {
    spoiled = 0;
    i = 0;
    do
    :: i < READ ->
#ifdef SKIP_UNUSED
       spoiled = spoiled || (image[me * READ + i] != want && !(cta == 0 && i / WORDS == 1));
#else
       spoiled = spoiled || (image[me * READ + i] != want && !MISSING(i));
#endif
       i++
    :: else -> break
    od
  }
#ifndef NO_SECOND_BARRIER
  meet() /* kernel: product-meeting */
#endif
}
#endif

#if DEAD
#define MAY_DIE if :: atomic { dead > 0 -> dead-- } goto died :: true fi
#else
#define MAY_DIE skip
#endif

proctype thread(byte group; byte cta; byte lane) {
  byte me = group * CTAS + cta;
  byte t, ring, want, fresh, i;
  bit gone, spoiled, my_turn;

  MAY_DIE;
#if HELD
  publish(0, 1); /* h(0), before anybody waits */ /* kernel: begin-held */ /* kernel: begin-staged */
#endif
  if
  :: lane == 0 ->
     atomic { arrived++; started++ };
#ifndef NO_RENDEZVOUS
     do
     :: arrived == GRID -> break /* kernel: rendezvous */
#ifndef NO_ABORT_CHECK
     :: atomic { abort_word != 0 -> end_wait() }; break
#endif
     :: give_up(); break
     od;
#endif
#ifndef NO_LAST_LOOK
     refused[me] = flag[me] != 0 || abort_word != 0 /* kernel: last-look */
#else
     refused[me] = flag[me] != 0
#endif
  :: else
  fi;
  meet();
  atomic { gone = refused[me]; refused[me] = refused[me] && THREADS > 1 }

  do
  :: t == STEPS || gone -> break
  :: else ->
#if HELD
     receive(0, t + 1);
     product();
#else
     if
     :: t > 0 -> /* h(0) is each CTA's own copy */
        receive(0, t);
        product()
     :: else
     fi;
#endif
     MAY_DIE;
#if PROJECTION
     publish(1, t + 1);
     if
     :: gone -> break
     :: else
     fi;
     receive(1, t + 1);
     product();
#endif
     publish(0, t + 1 + HELD);
     if
     :: gone -> break
     :: else -> atomic { values[me * THREADS + lane]++; t++ }
     fi
  od;
#if CLUSTER
  at_end[group]++; /* kernel: last-meeting */
  at_end[group] == CTAS * THREADS; /* who waits here has not left: the barriers of its CTA wait for it */
#endif
#ifndef NO_NAN
  nans[me * THREADS + lane] = STEPS - values[me * THREADS + lane]; /* kernel: leave */
#endif
  goto end;
died:
  atomic {
    values[me * THREADS + lane] = STEPS; /* not its fault, and not checked */
    started++
  }
end:
  atomic {
#if THREADS > 1
    left[me]++;
#endif
    forget();
#if THREADS == 1
    flag[me] = 0;
#endif
    t = 0; ring = 0; want = 0; gone = 0; spoiled = 0; my_turn = 0
  }
}

init {
  byte n, any_nan;
  atomic {
#ifdef NO_RESET
    if
    :: leftover = 0
    :: leftover = 1
    fi;
#endif
    n = 0;
    do
    :: n < GRID * THREADS ->
       run thread(n / (CTAS * THREADS), (n / THREADS) % CTAS, n % THREADS);
       n++
    :: else -> break
    od
  }
  _nr_pr == 1; /* nobody hangs */
  d_step {
    n = 0;
    do
    :: n < GRID * THREADS ->
       assert(values[n] + nans[n] == STEPS); /* every output is stored, as a value or as NaN */
       assert(!GIVEN_UP || values[n] == 0);
       any_nan = any_nan || nans[n] > 0;
       n++
    :: else -> break
    od;
    assert(verdicts <= 1);                  /* the first verdict stays */
    assert(!any_nan || abort_word != 0);    /* no NaN without a status */
    assert(EXPIRIES > 0 || GIVEN_UP || !any_nan)
  }
}
