/* Part of soak.c: who takes part, and what happens to them. Processes are killed at random instants and replaced at once;
 * threads cannot be killed: their workers leave and come back. Senders come and go, and now and then the supervisor
 * stands still for a second. */

enum { STANDS_STILL_MS = 1000 };
static uint64_t chaos_dice;
static sender senders[SENDERS];
static pthread_t loops[WORKERS + 1];
static _Atomic bool stand_still, loops_end;
static uint64_t worker_deaths, sender_deaths, leaves, pauses, unsure_sends, uncounted, in_message_deaths, in_failed_deaths, unclear_deaths;

/* ---- threads: supervisor (WORKERS) and workers by the loops that a host drives itself ---- */
static sipwire_loop *loop_new(int number) {
  sipwire_loop *loop = NULL;
  int32_t role = number == WORKERS ? SIPWIRE_ROLE_SUPERVISOR : SIPWIRE_ROLE_WORKER, rc;
  while ((rc = sipwire_loop_new(h_instance, role, number == WORKERS ? 0 : number, &loop)) == SIPWIRE_E_ROLE && !loops_end) h_sleep_ms(1);
  CHECK(rc == SIPWIRE_OK || rc == SIPWIRE_E_SHUTTING_DOWN, "loop %d: %s", number, sipwire_strerror(rc));
  return loop;
}

static void *drive(void *argument) {
  int number = (int)(intptr_t)argument;
  for (sipwire_loop *loop; (loop = loop_new(number));) {
    int32_t rc = SIPWIRE_OK;
    while (rc >= 0 && !(number < WORKERS && shared->leave[number])) {
      if (number == WORKERS && stand_still) h_sleep_ms(STANDS_STILL_MS);
      struct pollfd fd = {.fd = sipwire_loop_fd(loop), .events = POLLIN};
      int64_t wish = rc == 1 ? 0 : sipwire_loop_timeout_ms(loop);
      poll(&fd, 1, wish < 0 || wish > 100 ? 100 : (int)wish);
      rc = sipwire_loop_step(loop);
    }
    CHECK(rc >= 0 || rc == SIPWIRE_E_SHUTTING_DOWN, "loop %d: %s", number, sipwire_strerror(rc));
    sipwire_loop_free(loop);
    if (rc < 0) return NULL;
    shared->leave[number] = false;
  }
  return NULL;
}

/* ---- senders ---- */
static void sender_begin(uint32_t place) {
  sender *s = &senders[place];
  s->place = place;
  s->life++;
  shared->leave[WORKERS + place] = false;
  if (h_mode == H_PROCESSES) s->pid = h_fork(sender_process, s);
  else CHECK(pthread_create(&s->thread, NULL, sender_work, s) == 0, "pthread_create");
}

static void sender_leave(uint32_t place) {
  sender *s = &senders[place];
  if (h_mode == H_PROCESSES) h_expect_code(s->pid, 0);
  shared->leave[WORKERS + place] = true;
  if (h_mode == H_PROCESSES) WAIT(h_gone(s->pid), "sender %u does not leave", place);
  else pthread_join(s->thread, NULL);
}

/* ---- death ---- */
/* Whoever sleeps most of the time would mostly die asleep: three of four times death waits, not long, for one among
 * `count` that is in the middle of something. */
static uint32_t victim_of(const hand *first, uint32_t count) {
  uint32_t at = below(&chaos_dice, 4), victim = below(&chaos_dice, count);
  for (uint64_t until = h_now_ms() + 50; at && h_now_ms() < until;)
    for (uint32_t i = 0; i < count; i++)
      if (at == 1 ? first[i].sending != 0 : at == 2 ? first[i].in_message : first[i].in_failed) return i;
  return victim;
}

/* What the dead one had in hand goes into the books as what it is: unsure. */
static void take_stock(hand *dead) {
  uint32_t message = dead->sending;
  if (message) unsure_sends += (shared->out[message] & (ABOUT | SENT | QUEUED | REFUSED)) == ABOUT;
  message = dead->telling;
  if (message) shared->out[message] |= MAY_COME_AGAIN;
  in_message_deaths += dead->in_message;
  in_failed_deaths += dead->in_failed;
  unclear_deaths += !dead->in_message && !dead->in_failed;
  dead->sending = dead->telling = 0;
  dead->in_message = dead->in_failed = false;
}

static void kill_worker(int worker) {
  static uint64_t uncounted_of[WORKERS]; /* counted by the library, and killed before its callback began */
  hand *dead = &shared->hands[worker];
  h_kill(h_worker_pid(worker));
  worker_deaths++;
  uint64_t more = h_worker(worker).messages - dead->callbacks - uncounted_of[worker];
  CHECK(more <= !dead->in_message, "worker %d died having counted %llu messages more than it delivered", worker, (unsigned long long)more);
  uncounted_of[worker] += more;
  uncounted += more;
  h_unseen += !dead->in_message && !dead->in_failed; /* between an on_open or on_close and the test's note of it */
  take_stock(dead);
  h_fork_worker(worker);
}

static void kill_sender(uint32_t place) {
  hand *dead = &shared->hands[WORKERS + place];
  h_kill(senders[place].pid);
  sender_deaths++;
  take_stock(dead);
  sender_begin(place);
}

/* ---- what happens next ---- */
static uint64_t worker_due, sender_due, pause_due, pause_ends;

static void supervisor_stands(bool still) {
  if (h_mode == H_PROCESSES) kill(h_supervisor_pid(), still ? SIGSTOP : SIGCONT);
  else stand_still = still;
  pauses += still;
  pause_ends = still ? h_now_ms() + STANDS_STILL_MS : 0;
  pause_due = h_now_ms() + between(&chaos_dice, 5000, 25000);
}

static void chaos_turn(void) {
  uint64_t now = h_now_ms();
  if (now >= worker_due) {
    uint32_t worker = victim_of(shared->hands, WORKERS);
    if (h_mode == H_PROCESSES) kill_worker((int)worker);
    else leaves++, shared->leave[worker] = true;
    /* The more connections, the longer it takes until others have taken over what the dead one held. */
    worker_due = h_now_ms() + between(&chaos_dice, 10, 700 + (uint32_t)options.connections / 4);
  }
  if (now >= sender_due) {
    uint32_t place = victim_of(shared->hands + WORKERS, SENDERS);
    if (h_mode == H_PROCESSES && chance(&chaos_dice, 75)) {
      kill_sender(place);
    } else {
      sender_leave(place);
      leaves++;
      sender_begin(place);
    }
    sender_due = h_now_ms() + between(&chaos_dice, 10, 500 + (uint32_t)options.connections / 10);
  }
  if (pause_ends ? now >= pause_ends : now >= pause_due) supervisor_stands(!pause_ends);
}

static void begin_all(void) {
  if (h_mode == H_PROCESSES) {
    h_start(WORKERS);
  } else {
    h_create(WORKERS);
    for (intptr_t i = WORKERS; i >= 0; i--) CHECK(pthread_create(&loops[i], NULL, drive, (void *)i) == 0, "pthread_create");
    WAIT(h_workers_running() == WORKERS, "%llu workers run", (unsigned long long)h_workers_running());
  }
  shared->server = h_listener(0);
  chaos_dice = state_of(2, 0);
  pause_due = h_now_ms() + 3000;
}

static void end_loops(void) {
  if (h_mode == H_PROCESSES) return;
  CHECK_RC(SIPWIRE_OK, sipwire_stop(h_instance));
  loops_end = true;
  for (int i = 0; i <= WORKERS; i++) pthread_join(loops[i], NULL);
}
