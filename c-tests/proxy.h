/* For tests of the PROXY protocol: headers, and clients that are who a header says. */
#ifndef SIPWIRE_TEST_PROXY_H
#define SIPWIRE_TEST_PROXY_H
#include "harness.h"

typedef struct header { char data[5000]; size_t length; } header;

static inline sipwire_addr address(const char *text) {
  sipwire_addr addr;
  CHECK_RC(SIPWIRE_OK, sipwire_addr_parse(text, &addr));
  return addr;
}

static inline header text_header(const char *text) {
  header h = {.length = strlen(text)};
  memcpy(h.data, text, h.length);
  return h;
}

static inline header header_of(int version, const sipwire_addr *source, const sipwire_addr *destination) {
  header h;
  int32_t length = sipwire_proxy_header(version, source, destination, h.data, sizeof h.data);
  CHECK(length > 0, "sipwire_proxy_header: %d", length);
  h.length = (size_t)length;
  return h;
}

/* Version 2, with anything in it. */
static inline header header_v2(int command, int family, const void *after, size_t length) {
  header h = {.data = "\r\n\r\n\0\r\nQUIT\n", .length = 16 + length};
  h.data[12] = (char)command, h.data[13] = (char)family, h.data[14] = (char)(length >> 8), h.data[15] = (char)length;
  if (length) memcpy(h.data + 16, after, length);
  return h;
}

static inline void write_header(h_peer *peer, const header *h) { h_write(peer, h->data, h->length); }

static inline void ask(h_peer *peer, const char *call_id) {
  h_write_text(peer, h_request("OPTIONS", call_id, NULL, NULL));
  h_await_answer(peer, 200, call_id);
}

/* The connection on which this was asked is one between these two, wherever that can be seen. */
static inline uint32_t check_pair(const char *call_id, const sipwire_addr *remote, const sipwire_addr *local,
                                  const sipwire_addr *wire_remote, const sipwire_addr *wire_local) {
  char line[64];
  sipwire_conn_info info;
  snprintf(line, sizeof line, "Call-ID: %s\r\n", call_id);
  h_event *message = h_find(EV_MESSAGE, 0, line);
  CHECK(message, "%s was not delivered", call_id);
  uint32_t id = message->conn_id, found = 0;
  h_event *open = h_find(EV_OPEN, id, NULL);
  CHECK(open && h_addr_equal(&open->remote, remote) && h_addr_equal(&open->local, local), "%s: on_open", call_id);
  CHECK(h_addr_equal(&message->remote, remote) && h_addr_equal(&message->local, local), "%s: on_message from %s to %s", call_id,
        h_addr_text(&message->remote), h_addr_text(&message->local));
  CHECK(h_info(id, &info), "%s: no such connection", call_id);
  CHECK(h_addr_equal(&info.remote, remote) && h_addr_equal(&info.local, local), "%s: is with %s", call_id, h_addr_text(&info.remote));
  CHECK(h_addr_equal(&info.wire_remote, wire_remote) && h_addr_equal(&info.wire_local, wire_local), "%s: the socket is with %s, from %s",
        call_id, h_addr_text(&info.wire_remote), h_addr_text(&info.wire_local));
  CHECK_RC(SIPWIRE_OK, sipwire_conn_find(h_instance, remote, local, &found));
  CHECK_NUM(id, found);
  return id;
}
#endif
