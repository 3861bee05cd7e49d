/* modes: threads processes */
/* Find, info, list, user value: what the host can ask about connections, from any participant. */
#include "harness.h"

enum { PEERS = 40 };

static void from_a_sender(h_sender *self) {
  uint32_t id = (uint32_t)self->job.cookie;
  sipwire_conn_info info = {.struct_size = sizeof info};
  CHECK_RC(SIPWIRE_OK, sipwire_conn_info_get(h_instance, id, &info));
  CHECK_NUM(id, info.conn_id);
  CHECK_RC(SIPWIRE_OK, sipwire_conn_set_user(h_instance, id, 0xFEDCBA9876543210u));
}

static size_t list(uint32_t *ids, size_t capacity, int32_t chunk) {
  uint32_t cursor = 0;
  size_t n = 0;
  sipwire_conn_info info[8] = {{.struct_size = sizeof *info}};
  do {
    int32_t got = sipwire_conn_list(h_instance, &cursor, info, (size_t)chunk);
    CHECK(got >= 0 && got <= chunk, "sipwire_conn_list: %d of %d", got, chunk);
    for (int32_t i = 0; i < got; i++) {
      for (size_t k = 0; k < n; k++) CHECK(ids[k] != info[i].conn_id, "connection %#x is listed twice", ids[k]);
      CHECK(n < capacity, "more connections than there are");
      ids[n++] = info[i].conn_id;
    }
  } while (cursor != 0);
  return n;
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("worker_hold", "300ms");
  h_setting("connection_lifetime", "100s");
  h_start(2);
  sipwire_addr listener = h_listener(0);
  h_peer *peer[PEERS];
  uint32_t id[PEERS], found = 0, ids[PEERS + 1];
  for (int i = 0; i < PEERS; i++) {
    peer[i] = h_client();
    id[i] = h_conn_of(peer[i]);
    for (int k = 0; k < i; k++) CHECK(id[k] != id[i], "two connections have id %#x", id[i]);
  }

  sipwire_conn_info info;
  CHECK(h_info(id[3], &info), "connection 3");
  CHECK(h_addr_equal(&info.remote, &peer[3]->local) && h_addr_equal(&info.local, &listener), "remote %s local %s", h_addr_text(&info.remote),
        h_addr_text(&info.local));
  CHECK_NUM(0, info.listener);
  CHECK_NUM(0, info.flags & SIPWIRE_CONN_OUTBOUND);
  CHECK_NUM(100000, info.lifetime_ms);
  CHECK_NUM(0, info.bytes_in);
  CHECK_NUM(0, info.conn_user);
  CHECK_RC(SIPWIRE_OK, sipwire_conn_find(h_instance, &peer[3]->local, &listener, &found));
  CHECK_NUM(id[3], found);
  sipwire_addr wrong = listener;
  wrong.port = listener.port == 1 ? 2 : 1;
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, sipwire_conn_find(h_instance, &peer[3]->local, &wrong, &found));
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, sipwire_conn_find(h_instance, &wrong, NULL, &found));
  CHECK_NUM(PEERS, list(ids, PEERS + 1, 8));
  CHECK_NUM(PEERS, list(ids, PEERS + 1, 1));

  h_text request = h_request("OPTIONS", "count", NULL, "12345");
  size_t length = request.length;
  for (int i = 0; i < 3; i++) {
    h_write_text(peer[3], h_request("OPTIONS", "count", NULL, "12345"));
    h_await_answer(peer[3], 200, "count");
  }
  WAIT(h_info(id[3], &info) && info.messages_out == 3 && info.pending_answers == 0, "three answers are counted: %llu, %d pending",
       (unsigned long long)info.messages_out, info.pending_answers);
  WAIT(h_info(id[3], &info) && info.bytes_in == 3 * length, "bytes_in is %llu", (unsigned long long)info.bytes_in); /* counted behind the callback */
  CHECK_NUM(3, info.messages_in);
  CHECK_NUM(peer[3]->length, info.bytes_out);
  CHECK(info.idle_ms <= info.age_ms, "idle %llu ms, age %llu ms", (unsigned long long)info.idle_ms, (unsigned long long)info.age_ms);
  WAIT(h_info(id[3], &info) && info.owner == SIPWIRE_OWNER_IDLE && info.idle_ms >= 300, "idle_ms grows");

  h_write_text(peer[3], h_request("INVITE", "pending", "X-Silent: 1\r\n", NULL));
  WAIT(h_info(id[3], &info) && info.pending_answers == 1, "a request without an answer yet");

  /* the user value, set by another participant, comes with every callback */
  h_sender *sender = h_sender_new();
  sender->job.cookie = id[3];
  h_sender_run(sender, from_a_sender);
  h_sender_wait(sender);
  CHECK(h_info(id[3], &info) && info.conn_user == 0xFEDCBA9876543210u, "conn_user is %#llx", (unsigned long long)info.conn_user);
  h_write_text(peer[3], h_request("OPTIONS", "user", NULL, NULL));
  h_await_answer(peer[3], 200, "user");
  h_event *e = h_find(EV_MESSAGE, id[3], "Call-ID: user");
  CHECK(e && e->conn_user == 0xFEDCBA9876543210u, "conn_user is %#llx in on_message", (unsigned long long)(e ? e->conn_user : 0));

  /* id and address together: the id when it is still that address, else the address */
  sipwire_target both = h_to_conn(id[3]);
  both.remote = peer[4]->local;
  CHECK(h_send_numbered_here(&both, 1, 0, 400) > 0, "id and another address");
  WAIT((h_ledger_receive(peer[4]), h_ledger_received(1) == 1), "it goes to the address");
  h_reset(peer[3]); /* a FIN alone would leave it half-closed: a request is not answered yet */
  WAIT(h_find(EV_CLOSE, id[3], NULL), "closed");
  CHECK(h_find(EV_CLOSE, id[3], NULL)->conn_user == 0xFEDCBA9876543210u, "conn_user is lost in on_close");
  both.remote = peer[5]->local;
  CHECK(h_send_numbered_here(&both, 1, 1, 400) > 0, "a dead id and a living address");
  WAIT((h_ledger_receive(peer[5]), h_ledger_received(1) == 2), "it goes to the address");
  WAIT(!h_info(id[3], &info), "a closed connection has no info");
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, sipwire_conn_find(h_instance, &peer[3]->local, NULL, &found));

  /* the slot is used again, the id is not */
  for (int i = 0; i < 200; i++) {
    h_peer *next = h_client();
    CHECK(h_conn_of(next) != id[3], "id %#x came again after %d connections", id[3], i);
    h_close(next);
  }
  WAIT(STAT(connections) == PEERS - 1, "%llu connections", (unsigned long long)STAT(connections));
  CHECK_NUM(PEERS - 1, list(ids, PEERS + 1, 7));
  return h_finish();
}
