/* modes: threads processes */
/* rows: C14 C15 */
/* A flow (RFC 5626): on its connection or not at all; a token that nobody can make or alter names it. */
#include "harness.h"

static const char request[] = "OPTIONS sip:a SIP/2.0\r\nCall-ID: flow\r\nContent-Length: 0\r\n\r\n";
enum { LENGTH = sizeof request - 1 };

static sipwire_target flow_of(uint32_t id) {
  sipwire_target target = h_to_conn(id);
  target.flags = SIPWIRE_SEND_FLOW;
  return target;
}

/* In another participant: text is the token; cookie becomes the id. */
static void find_in_sender(h_sender *self) {
  uint32_t id = 0;
  self->job.result = sipwire_flow_find(h_instance, self->job.text, self->job.length, &id);
  self->job.cookie = id;
}
static int32_t find(h_sender *sender, const char *token, uint32_t *id) {
  memcpy(sender->job.text, token, sender->job.length = strlen(token));
  h_sender_run(sender, find_in_sender);
  h_sender_wait(sender);
  *id = (uint32_t)sender->job.cookie;
  return sender->job.result;
}

static int32_t nothing(void *user, sipwire_instance *instance, sipwire_message *message) {
  (void)user, (void)instance, (void)message;
  return 0;
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  h_setting("max_connections", "8");
  h_start(1);
  h_sender *sender = h_sender_new();
  sipwire_conn_info info;
  sipwire_addr addr;
  int fd = h_listener_open(8, &addr);
  h_peer *peer = h_client();
  uint32_t id = h_conn_of(peer), found = 7;

  /* On this connection. */
  sipwire_target flow = flow_of(id), none = flow_of(0), fresh = flow_of(id), elsewhere = flow_of(id);
  fresh.flags |= SIPWIRE_SEND_FRESH;
  elsewhere.remote = addr;
  CHECK_RC(SIPWIRE_E_ARGUMENT, h_send_here(&none, request, LENGTH, 1));
  CHECK_RC(SIPWIRE_E_ARGUMENT, h_send_here(&fresh, request, LENGTH, 1));
  CHECK(h_send_here(&flow, request, LENGTH, 1) > 0 && h_send_here(&elsewhere, request, LENGTH, 1) > 0, "C14: an open flow");
  h_await(peer, "C14: on the flow"), h_await(peer, "C14: on the flow, with an address beside");
  CHECK_RC(SIPWIRE_OK, sipwire_conn_set_suspect(h_instance, id, 1));
  CHECK(h_send_here(&flow, request, LENGTH, 1) > 0, "C14: a suspect flow is still the flow");
  h_await(peer, "C14: on the suspect flow");
  CHECK_RC(SIPWIRE_OK, sipwire_conn_set_suspect(h_instance, id, 0));

  /* The token. */
  char token[SIPWIRE_FLOW_TOKEN_SIZE], again[SIPWIRE_FLOW_TOKEN_SIZE], small[10];
  CHECK_NUM(SIPWIRE_FLOW_TOKEN_SIZE - 1, sipwire_flow_token(h_instance, id, token, sizeof token));
  CHECK(strlen(token) == sizeof token - 1 && strspn(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") == strlen(token), "token \"%s\"", token);
  CHECK_NUM(SIPWIRE_FLOW_TOKEN_SIZE - 1, sipwire_flow_token(h_instance, id, small, sizeof small));
  CHECK(strlen(small) == sizeof small - 1 && strncmp(small, token, sizeof small - 1) == 0, "cut to \"%s\"", small);
  CHECK_NUM(SIPWIRE_FLOW_TOKEN_SIZE - 1, sipwire_flow_token(h_instance, id, NULL, 0));
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, sipwire_flow_token(h_instance, 0x4012345, again, sizeof again));
  CHECK_RC(SIPWIRE_OK, find(sender, token, &found)); /* C15: another process knows it */
  CHECK_NUM(id, found);
  sipwire_flow_token(h_instance, id, again, sizeof again);
  CHECK(strcmp(again, token) == 0, "C15: one connection, two tokens");

  /* Altered, or made up: never taken. */
  for (size_t i = 0; i < strlen(token); i++)
    for (int bit = 0; bit < 7; bit++) {
      memcpy(again, token, sizeof token);
      again[i] ^= (char)(1 << bit);
      found = 7;
      int32_t rc = sipwire_flow_find(h_instance, again, strlen(token), &found);
      CHECK(rc == SIPWIRE_E_BAD_TOKEN || (rc == SIPWIRE_E_NO_CONNECTION && i < 6), "C15: altered at %zu: %d", i, rc);
      CHECK_NUM(7, found);
    }
  CHECK_RC(SIPWIRE_E_BAD_TOKEN, find(sender, "", &found));
  CHECK_RC(SIPWIRE_E_BAD_TOKEN, find(sender, "AAAAAAAA", &found));
  CHECK_RC(SIPWIRE_E_BAD_TOKEN, sipwire_flow_find(h_instance, token, strlen(token) - 1, &found));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_flow_find(h_instance, NULL, 5, &found));
  CHECK_RC(SIPWIRE_E_ARGUMENT, sipwire_flow_find(h_instance, token, strlen(token), NULL));

  /* Another start has another key: what it made is of no use here, and the other way round. */
  sipwire_config *config = sipwire_config_new();
  sipwire_callbacks callbacks = {.struct_size = sizeof callbacks, .on_message = nothing};
  sipwire_instance *other = NULL;
  CHECK_RC(SIPWIRE_OK, sipwire_new(config, &callbacks, NULL, &other));
  CHECK_RC(SIPWIRE_OK, sipwire_attach(other));
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, sipwire_flow_find(other, token, strlen(token), &found)); /* C15: of an earlier start */
  memcpy(again, token, sizeof token);
  again[20] = again[20] == 'A' ? 'B' : 'A';
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, sipwire_flow_find(other, again, strlen(again), &found)); /* C15: altered here, but not of that start */
  sipwire_detach(other);
  sipwire_free(other);
  sipwire_config_free(config);

  /* The flow ends: 430, nothing is dialled, not for the token either when the slot is another one's. */
  h_close(peer);
  WAIT(!h_info(id, &info), "closed");
  uint64_t dialled = STAT(dialled);
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, h_send_here(&flow, request, LENGTH, 2)); /* C14 */
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, h_send_here(&elsewhere, request, LENGTH, 2)); /* C14 */
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, find(sender, token, &found)); /* C15: of an ended connection */
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, sipwire_flow_token(h_instance, id, again, sizeof again));
  for (int i = 0; i < 20; i++) {
    h_peer *next = h_client();
    uint32_t next_id = h_conn_of(next);
    CHECK_RC(SIPWIRE_E_NO_CONNECTION, find(sender, token, &found)); /* C15: its slot is used again */
    CHECK(sipwire_flow_token(h_instance, next_id, again, sizeof again) > 0 && strcmp(again, token) != 0, "C15: the token came again");
    h_close(next);
    WAIT(!h_info(next_id, &info), "closed");
  }
  CHECK(h_accept_now(fd) == NULL && STAT(dialled) == dialled, "C14: a flow was dialled");
  close(fd);
  return h_finish();
}
