/* Part of harness.c: every numbered message is sent once and then received or reported failed, exactly once. */

static uint32_t ledger_count(uint32_t tag, uint8_t mark) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < mem->ledger_end[tag]; i++) n += (mem->ledger[tag][i] & mark) != 0;
  return n;
}
uint32_t h_ledger_received(uint32_t tag) { return ledger_count(tag, RECEIVED); }
uint32_t h_ledger_accepted(uint32_t tag) { return ledger_count(tag, ACCEPTED); }
uint32_t h_ledger_failed(uint32_t tag) { return ledger_count(tag, FAILED); }

static int64_t last_taken[MAX_TAGS]; /* the last number of each sender, over all peers of the test, plus 1 */

void h_ledger_take(const h_frame *frame) {
  char value[64];
  uint32_t tag, number;
  if (!h_header(frame->data, frame->header_length, "X-Number", value, sizeof value) || sscanf(value, "%u %u", &tag, &number) != 2)
    h_fail("ledger", 0, "not a numbered message: %.*s", (int)frame->header_length, frame->data);
  for (size_t i = 0; i < frame->body_length; i++)
    if (frame->body[i] != numbered_byte(tag, number, i)) h_fail("ledger", 0, "message %u/%u: byte %zu of the body is wrong", tag, number, i);
  ledger_mark(tag, number, RECEIVED, "received");
  /* It may come late when a send meanwhile met a bug and did not return: the next ones are another participant's. */
  bool returned = true;
  for (uint32_t n = number; n < last_taken[tag]; n++) returned = returned && mem->ledger[tag][n] & (ACCEPTED | REFUSED);
  if ((int64_t)number < last_taken[tag] && returned)
    h_fail("ledger", 0, "message %u/%u came after %u/%lld", tag, number, tag, (long long)last_taken[tag] - 1);
  if ((int64_t)number >= last_taken[tag]) last_taken[tag] = (int64_t)number + 1;
}

void h_ledger_receive(h_peer *peer) {
  h_frame frame;
  while (h_next(peer, &frame)) h_ledger_take(&frame);
}

static uint32_t first_counted[MAX_TAGS];

h_account h_ledger_account(uint32_t tag, bool one_connection) {
  h_account a = {0};
  for (uint32_t number = first_counted[tag]; number < mem->ledger_end[tag] && mem->ledger[tag][number]; number++) {
    uint8_t marks = mem->ledger[tag][number];
    bool refused = marks & REFUSED, received = marks & RECEIVED, failed = marks & FAILED;
    const char *wrong = NULL;
    if (refused && (received || failed)) wrong = "was refused, yet received or reported";
    if (one_connection && received && (a.lost || a.failed)) wrong = "was received behind one that was not";
    if (!(marks & (ACCEPTED | REFUSED))) a.returned_not++;
    if (refused || (!(marks & ACCEPTED) && !received && !failed)) continue;
    if (one_connection && !received && !failed && a.failed) wrong = "was not reported, but one before it was";
    if (wrong && !a.wrong) a.wrong = wrong, a.wrong_number = number;
    a.received += received;
    a.failed += failed && !received;
    a.both += failed && received;
    a.lost += !received && !failed;
  }
  return a;
}

void h_ledger_count_from(uint32_t tag, uint32_t number) { first_counted[tag] = number; }

static const char *ledger_wrong(uint32_t *tag_out, uint32_t *number_out) {
  for (uint32_t tag = 0; tag < MAX_TAGS; tag++)
    for (uint32_t number = 0; number < mem->ledger_end[tag]; number++) {
      uint8_t marks = mem->ledger[tag][number];
      *tag_out = tag, *number_out = number;
      if ((marks & REFUSED) && (marks & (RECEIVED | FAILED))) return "was refused, yet received or reported";
      if ((marks & RECEIVED) && (marks & FAILED)) return "was received whole and reported failed";
      if ((marks & ACCEPTED) && !(marks & (RECEIVED | FAILED))) return "was accepted, and neither received nor reported failed";
      if (!(marks & (ACCEPTED | REFUSED)) && (marks & (RECEIVED | FAILED))) return "was never sent, yet received or reported";
    }
  return NULL;
}

bool h_ledger_settled(void) {
  uint32_t tag, number;
  return ledger_wrong(&tag, &number) == NULL;
}

void h_ledger_check(void) {
  uint32_t tag = 0, number = 0;
  const char *wrong = ledger_wrong(&tag, &number);
  if (wrong) h_fail("ledger", 0, "message %u/%u %s", tag, number, wrong);
}

uint64_t h_last_sent_ms;

static uint32_t id_of(const sipwire_target *target) {
  uint32_t id = target->conn_id;
  return id || sipwire_conn_find(h_instance, &target->remote, NULL, &id) == SIPWIRE_OK ? id : 0;
}

static uint64_t queued_on(const sipwire_target *target) {
  sipwire_conn_info info;
  return h_info(id_of(target), &info) ? info.queued_bytes : 0;
}

/* Left to itself the kernel makes a send buffer larger whenever it feels like it, also later. */
static void fix_send_buffer(const sipwire_target *target) {
  int fd = h_library_fd(id_of(target)), bytes = 65536;
  if (fd < 0) return;
  if (setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes) != 0) h_fail("ledger", 0, "SO_SNDBUF: %s", strerror(errno));
  close(fd);
}

uint32_t h_fill(const sipwire_target *target, uint32_t tag, uint32_t first, size_t size, uint32_t want) {
  uint32_t n = first, missing = want;
  fix_send_buffer(target);
  for (;;) {
    for (uint32_t queued = 0; queued < missing; n++) {
      int32_t rc = h_send_numbered_here(target, tag, n, size);
      if (rc < 0) h_fail("ledger", 0, "message %u/%u refused while filling: %d (%s)", tag, n, rc, sipwire_strerror(rc));
      if (rc == SIPWIRE_SENT) h_last_sent_ms = h_now_ms();
      queued += rc == SIPWIRE_QUEUED;
      if (n - first > 8000) h_fail("ledger", 0, "the kernel takes everything");
    }
    /* What the kernel had may still flow into the peer's buffer and make room: stuck is what stays. */
    uint64_t before = queued_on(target);
    for (int i = 0; i < 60; i++) h_tick();
    uint64_t after = queued_on(target);
    if (before == after && after > 0 && after >= (want - 1) * size) return n - first;
    missing = after / size < want ? want - (uint32_t)(after / size) : 0;
  }
}

static bool is_tail(uint32_t tag, uint32_t count) {
  uint32_t failed = ledger_count(tag, FAILED);
  for (uint32_t n = 0; n < count; n++)
    if (((mem->ledger[tag][n] & FAILED) != 0) != (n >= count - failed)) return false;
  return failed > 0;
}

void h_tail_failed(uint32_t tag, uint32_t count, size_t size, int32_t reason) {
  static char expected[70000];
  WAIT(is_tail(tag, count), "%u of %u messages are reported, and not the last ones", ledger_count(tag, FAILED), count);
  STAYS(150, is_tail(tag, count), "of %u messages not the last ones are reported", count);
  uint32_t first = count - ledger_count(tag, FAILED);
  for (uint32_t n = first; n < count; n++) {
    h_event *e = h_failure((uint64_t)tag << 32 | n);
    CHECK(e, "message %u is not reported", n);
    CHECK(e->reason == reason, "message %u: reason %s, expected %s", n, sipwire_reason_text(e->reason), sipwire_reason_text(reason));
    CHECK(e->written < e->length, "message %u was written whole and reported", n);
    CHECK(e->written == 0 || n == first, "message %u: %llu bytes written behind an unwritten one", n, (unsigned long long)e->written);
    CHECK_NUM(size, e->length);
    h_numbered(expected, size, tag, n);
    CHECK_NUM(h_hash(expected, size), e->hash);
  }
}
