/* modes: threads processes */
/* on_writable comes when a queue that was above queue_high is down to queue_low, also without a refusal; after a
 * refusal likewise, and when the queue is empty if it was refused at low-water. sipwire_queued says before a send what
 * waits on a connection or for a destination. */
#include "deadline.h"
#include <sys/socket.h>

enum { MB = 1 << 20, SIZE = 60000 };
static char message[SIZE];

static int32_t queued(sipwire_target target, uint64_t *bytes) {
  *bytes = 77;
  return sipwire_queued(h_instance, &target, bytes);
}

static uint64_t queued_on(uint32_t id) {
  uint64_t bytes;
  CHECK_RC(SIPWIRE_OK, queued(h_to_conn(id), &bytes));
  return bytes;
}

static h_peer *slow_client(uint32_t *id) {
  sipwire_addr listener = h_listener(0);
  h_peer *peer = h_connect_small(&listener, 65536);
  peer->paused = true;
  *id = h_conn_of(peer);
  return peer;
}

/* Sends until so much is queued, or a send is refused: its code. */
static int32_t fill(uint32_t id, uint64_t bytes) {
  sipwire_target target = h_to_conn(id);
  int32_t rc = SIPWIRE_SENT;
  for (int n = 0; rc >= 0 && queued_on(id) <= bytes; n++) {
    CHECK(n < 100000, "the kernel takes everything");
    rc = h_send_here(&target, message, SIZE, 1);
  }
  return rc;
}

/* What is queued when the kernel, which takes more for a while, takes no more. */
static uint64_t settled(uint32_t id) {
  uint64_t bytes = 0;
  for (uint64_t since = h_now_ms(); h_now_ms() < since + 300; h_tick())
    if (queued_on(id) != bytes) bytes = queued_on(id), since = h_now_ms();
  return bytes;
}

/* Little: a worker tells of what the supervisor wrote a moment ago. */
static void read_some(h_peer *peer) {
  static char sink[65536];
  if (recv(peer->fd, sink, sizeof sink, MSG_DONTWAIT) == 0) peer->eof = true;
}

/* Reads until on_writable has come so often; the most that was queued after it. */
static uint64_t read_until_writable(h_peer *peer, uint32_t id, size_t times) {
  WAIT((h_count(EV_WRITABLE, id, NULL) >= times || (read_some(peer), false)), "on_writable does not come, %llu queued", (unsigned long long)queued_on(id));
  CHECK_NUM(times, h_count(EV_WRITABLE, id, NULL));
  return queued_on(id);
}

static void at_low_water(void) {
  uint32_t id;
  h_peer *peer = slow_client(&id);
  CHECK_NUM(0, queued_on(id));
  CHECK(fill(id, 6 * MB) > 0, "below queue_high");
  STAYS(200, h_count(EV_WRITABLE, id, NULL) == 0, "on_writable below high-water");
  CHECK(fill(id, 12 * MB) > 0, "above queue_high, and not refused");
  STAYS(200, h_count(EV_WRITABLE, id, NULL) == 0, "on_writable above low-water");
  uint64_t left = read_until_writable(peer, id, 1);
  CHECK(left > 0, "only when the queue is empty");
  CHECK(left <= 8 * MB, "%llu bytes are queued, queue_low is 8m", (unsigned long long)left);
  STAYS(100, h_count(EV_WRITABLE, id, NULL) == 1, "told twice");

  /* once for each time that it goes up */
  CHECK(fill(id, 12 * MB) > 0, "above queue_high again");
  CHECK(read_until_writable(peer, id, 2) <= 8 * MB, "above queue_low");

  /* a refusal */
  CHECK_RC(SIPWIRE_E_CONN_QUEUE_FULL, fill(id, 16 * MB));
  CHECK(queued_on(id) > 15 * MB, "refused with %llu queued", (unsigned long long)queued_on(id));
  left = read_until_writable(peer, id, 3);
  CHECK(left > 0 && left <= 8 * MB, "%llu bytes are queued after a refusal, queue_low is 8m", (unsigned long long)left);
  h_reset(peer);
  WAIT(STAT(connections) == 0, "closed");
}

/* Refused although the queue is not above queue_low: on_writable at once would end in the same refusal. */
static void refused_at_low_water(void) {
  set_live("queue_low", "1m");
  set_live("queue_high", "1m");
  set_live("conn_wq_max", "1m");
  uint32_t id;
  h_peer *peer = slow_client(&id);
  for (int n = 0; settled(id) < MB - SIZE; n++) {
    CHECK(n < 100, "the kernel takes everything");
    CHECK_RC(SIPWIRE_E_CONN_QUEUE_FULL, fill(id, 16 * MB));
  }
  size_t before = h_count(EV_WRITABLE, id, NULL); /* the kernel may have emptied it first */
  CHECK_RC(SIPWIRE_E_CONN_QUEUE_FULL, fill(id, 16 * MB));
  STAYS(300, h_count(EV_WRITABLE, id, NULL) == before, "on_writable while the next message would be refused too");
  CHECK_NUM(0, read_until_writable(peer, id, before + 1));
  h_reset(peer);
  WAIT(STAT(connections) == 0, "closed");
}

static void marks_are_checked(void) {
  char line[200];
  CHECK_RC(SIPWIRE_E_SETTING, sipwire_set(h_instance, "queue_high", "2m", line, sizeof line));
  CHECK(strstr(line, "above conn_wq_max; the largest is 1m"), "%s", line);
  set_live("queue_low", "100k");
  set_live("queue_high", "200k");
  CHECK_RC(SIPWIRE_E_SETTING, sipwire_set(h_instance, "queue_low", "300k", line, sizeof line));
  CHECK(strstr(line, "above queue_high; the largest is 200k"), "%s", line);
  set_live("queue_low", "auto");
  set_live("queue_high", "auto");
}

static void queued_for(void) {
  uint32_t id;
  uint64_t bytes;
  h_peer *peer = slow_client(&id);
  uint64_t on_connection;
  for (int n = 0; (on_connection = settled(id)) == 0; n++) {
    CHECK(n < 100, "the kernel takes everything");
    CHECK(fill(id, 700000) > 0, "below the limit");
  }
  sipwire_conn_info info;
  CHECK(h_info(id, &info) && info.queued_bytes == on_connection, "sipwire_conn_info says otherwise");
  sipwire_target by_address = h_to_addr(&peer->local), both = by_address, wrong = h_to_conn(id);
  CHECK_RC(SIPWIRE_OK, queued(by_address, &bytes));
  CHECK_NUM(on_connection, bytes);
  both.conn_id = id;
  CHECK_RC(SIPWIRE_OK, queued(both, &bytes));
  CHECK_NUM(on_connection, bytes);
  both.conn_id = id ^ 1; /* not it: the address is */
  CHECK_RC(SIPWIRE_OK, queued(both, &bytes));
  CHECK_NUM(on_connection, bytes);
  by_address.local = info.local;
  CHECK_RC(SIPWIRE_OK, queued(by_address, &bytes));
  CHECK_NUM(on_connection, bytes);
  by_address.local.port ^= 1; /* from another place there is none */
  CHECK_RC(SIPWIRE_OK, queued(by_address, &bytes));
  CHECK_NUM(0, bytes);

  wrong.remote = info.local; /* the id is another address's: a send would go to that */
  CHECK_RC(SIPWIRE_OK, queued(wrong, &bytes));
  CHECK_NUM(0, bytes);
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, queued(h_to_conn(id ^ 1), &bytes));
  CHECK_NUM(77, bytes);
  CHECK_RC(SIPWIRE_E_ARGUMENT, queued((sipwire_target){.struct_size = sizeof(sipwire_target)}, &bytes));
  wrong = h_to_conn(id);
  wrong.flags = SIPWIRE_SEND_FRESH;
  CHECK_RC(SIPWIRE_E_ARGUMENT, queued(wrong, &bytes));
  wrong = h_to_addr(&peer->local);
  wrong.remote.port = 0;
  CHECK_RC(SIPWIRE_E_ARGUMENT, queued(wrong, &bytes));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_queued(h_instance, &by_address, NULL));

  /* Connections that are being opened count, all that go there. */
  sipwire_addr full;
  h_full_listener listener = h_full_listener_open(&full);
  sipwire_target there = h_to_addr(&full);
  CHECK_RC(SIPWIRE_OK, queued(there, &bytes));
  CHECK_NUM(0, bytes);
  CHECK_RC(SIPWIRE_QUEUED, h_send_here(&there, message, 5000, 2));
  WAIT((queued(there, &bytes), bytes == 5000), "%llu bytes wait for the connect", (unsigned long long)bytes);
  there.flags = SIPWIRE_SEND_FRESH;
  CHECK_RC(SIPWIRE_QUEUED, h_send_here(&there, message, 700, 3));
  there.flags = 0;
  WAIT((queued(there, &bytes), bytes == 5700), "%llu bytes wait for two connects", (unsigned long long)bytes);
  for (int i = 0; i < listener.fillers; i++) h_reset(listener.filler[i]);
  close(listener.fd);
  h_reset(peer);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("queue_full", "reject");
  h_setting("conn_wq_max", "16m");
  h_setting("queue_high", "12m");
  h_setting("queue_low", "8m");
  h_setting("wq_max", "64m");
  h_setting("participants", "8");
  h_setting("send_timeout", "60s");
  h_start(1);
  memset(message, 'y', SIZE);
  memcpy(message, "OPTIONS sip:x SIP/2.0\r\n", 23);
  at_low_water();
  refused_at_low_water();
  marks_are_checked();
  queued_for();
  return h_finish();
}
