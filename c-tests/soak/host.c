/* Part of soak.c: the host. Workers answer what they are asked and write down what they are told; senders send by
 * connection id and by address. Each send is in the books before and after. */

static int32_t send_one(hand *mine, sipwire_target *target, uint32_t to, bool answer, label l, size_t body) {
  char text[512 + MAX_BODY];
  l.number = shared->next_message++;
  CHECK(l.number < MAX_MESSAGES, "more messages than the books hold");
  size_t length = text_write(text, answer, &l, body);
  shared->to[l.number] = to;
  mine->sending = l.number;
  shared->out[l.number] |= ABOUT;
  sipwire_iov iov[2] = {{text, length / 3}, {text + length / 3, length - length / 3}};
  int32_t rc = sipwire_send(h_instance, target, iov, 2, l.number);
  CHECK(rc != SIPWIRE_E_PANIC && rc != SIPWIRE_E_ARGUMENT, "message %u: %s", l.number, sipwire_strerror(rc));
  if (rc < 0) shared->refused_with[-rc - CODES_FROM]++;
  shared->out[l.number] |= rc == SIPWIRE_SENT ? SENT : rc == SIPWIRE_QUEUED ? QUEUED : REFUSED;
  mine->sending = 0;
  return rc;
}

/* ---- what workers are called for ---- */
static int32_t script(sipwire_instance *instance, sipwire_message *m) {
  hand *mine = &shared->hands[m->worker];
  mine->callbacks++;
  mine->in_message = true;
  label l = text_read(m->data, m->length);
  uint8_t before = atomic_fetch_or(&shared->in[l.number], DELIVERED);
  CHECK(before == BEGUN, "message %u is delivered %s", l.number, before & DELIVERED ? "twice" : "and was never sent");
  if (l.seq == 1) shared->id[l.life] = m->conn_id;
  CHECK(shared->id[l.life] == m->conn_id, "message %u of connection %u is delivered as one of %u", l.seq, shared->id[l.life], m->conn_id);
  if (m->conn_user + 1 != l.seq) {
    sipwire_conn_info info;
    bool there = h_info(m->conn_id, &info);
    h_fail(__FILE__, __LINE__, "connection %u (%d), in worker %d: message %u (number %u, %zu bytes) follows message %llu; of the three numbers before it is known "
           "%d %d %d; owner %d, worker %d, age %llu ms, %llu messages in, %d pending, flags %u", m->conn_id, there, m->worker, l.seq, l.number, m->length,
           (unsigned long long)m->conn_user, shared->in[l.number - 1], shared->in[l.number - 2], shared->in[l.number - 3], info.owner, info.worker,
           (unsigned long long)info.age_ms, (unsigned long long)info.messages_in, info.pending_answers, info.flags);
  }
  sipwire_conn_set_user(instance, m->conn_id, l.seq);
  if (l.seq == 1) {
    shared->address[l.life] = m->remote;
    shared->target[l.stream] = (uint64_t)m->conn_id << 32 | l.life;
  }
  if (l.ms) h_sleep_ms((int)l.ms);
  sipwire_target back = h_to_conn(m->conn_id);
  if (!(l.flags & NO_ANSWER) && send_one(mine, &back, l.life, true, (label){.stream = ANSWERS, .seq = l.seq}, l.number % 500) < 0)
    shared->refused[l.life] = true;
  bool enough = shared->kind[l.life] == CARELESS && l.number % 16 == 0;
  mine->in_message = false;
  return enough ? -1 : 0;
}

static void on_failed(const sipwire_failure *f) {
  hand *mine = &shared->hands[f->worker];
  shared->told++;
  mine->telling = (uint32_t)f->cookie;
  mine->in_failed = true;
  label l = text_read(f->data, f->length);
  CHECK_NUM(f->cookie, l.number);
  CHECK(f->written < f->length, "message %u is reported, %zu of %zu bytes written", l.number, f->written, f->length);
  uint8_t before = atomic_fetch_or(&shared->out[l.number], REPORTED);
  CHECK(before & ABOUT, "message %u is reported and was never sent", l.number);
  shared->why[l.number] = (uint8_t)f->reason;
  if (f->flags & SIPWIRE_FAILURE_REPEATED) shared->told_again++;
  else CHECK(!(before & REPORTED), "message %u is reported twice", l.number);
  if (before & REPORTED) shared->out[l.number] |= AGAIN;
  if (l.number % 8 == 0) h_sleep_ms(10); /* long enough to die in it */
  mine->in_failed = false;
}

/* ---- senders ---- */
static sipwire_addr refusing, never_accepting;
typedef struct sender { pid_t pid; pthread_t thread; uint32_t place, life; } sender;

/* To one that has a connection, or had: some ids are of connections that are no more. */
static void send_by_id(hand *mine, uint64_t *state, uint32_t place, uint32_t life) {
  uint64_t found = shared->target[below(state, (uint32_t)options.connections)];
  uint32_t serial = (uint32_t)found;
  if (!serial) return;
  uint8_t kind = shared->kind[serial];
  sipwire_target target = h_to_conn((uint32_t)(found >> 32));
  bool with_address = chance(state, 10);
  if (with_address) target.remote = shared->address[serial]; /* when it has ended, a dial, or what was dialled since */
  label l = {.stream = place * 2, .life = life, .flags = with_address ? UNORDERED : 0};
  if (kind == CARELESS && chance(state, 10)) target.flags = SIPWIRE_SEND_CLOSE_AFTER;
  if (kind == CARELESS && chance(state, 5)) sipwire_conn_close(h_instance, target.conn_id);
  uint32_t count = kind == DEAF ? between(state, 1, 40) : between(state, 1, 3);
  size_t most = kind == DEAF || chance(state, 5) ? 6000 : 600;
  for (uint32_t i = 0; i < count; i++)
    send_one(mine, &target, with_address ? 0 : serial, false, l, between(state, 0, (uint32_t)most));
}

static void send_by_address(hand *mine, uint64_t *state, uint32_t place, uint32_t life) {
  uint32_t which = below(state, 100);
  sipwire_target target = h_to_addr(which < 3 ? &refusing : which < 5 ? &never_accepting : &shared->listener[below(state, LISTENERS)]);
  which = below(state, 100);
  target.flags = which < 5 ? SIPWIRE_SEND_FRESH : which < 10 ? SIPWIRE_SEND_NO_CONNECT : which < 15 ? SIPWIRE_SEND_CLOSE_AFTER : 0;
  uint32_t count = between(state, 1, 4);
  for (uint32_t i = 0; i < count; i++)
    send_one(mine, &target, 0, false, (label){.stream = place * 2 + 1, .life = life}, between(state, 0, 3000));
}

static void *sender_work(void *argument) {
  sender self = *(sender *)argument;
  hand *mine = &shared->hands[WORKERS + self.place];
  uint64_t state = state_of(100 + self.place, self.life);
  while (shared->phase == RUN && !shared->leave[WORKERS + self.place]) {
    for (int i = 0; i < 4; i++) (chance(&state, 75) ? send_by_id : send_by_address)(mine, &state, self.place, self.life);
    h_sleep_ms((int)between(&state, 2, 20 + (uint32_t)options.connections / 500));
  }
  return NULL;
}

static void sender_process(void *self) {
  CHECK_RC(SIPWIRE_OK, sipwire_attach(h_instance));
  sender_work(self);
  CHECK_RC(SIPWIRE_OK, sipwire_detach(h_instance));
}
