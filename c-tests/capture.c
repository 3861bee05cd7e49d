/* modes: threads processes */
/* on_capture: every message in and out, whole, with connection, addresses and time, in the thread that has it; nothing
 * while it is switched off. What is sent inside it is not shown again. */
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include "harness.h"

enum { MOST = 256 };
typedef struct seen {
  _Atomic uint32_t ready;
  sipwire_capture c;
  uint64_t hash;
  size_t messages; /* that on_message had seen */
  pid_t tid;
  char text[256];
} seen;
static struct {
  _Atomic size_t count;
  _Atomic bool mirrors; /* to `mirror`, by its own send */
  sipwire_addr mirror;
  seen all[MOST];
} *shown;

static uint64_t real_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void on_capture(const sipwire_capture *c) {
  char *data = malloc(c->length ? c->length : 1);
  size_t length = 0;
  CHECK(c->struct_size == sizeof *c && c->iov_count >= 1 && c->iov_count <= 64, "struct_size %u, %zu pieces", c->struct_size, c->iov_count);
  for (size_t i = 0; i < c->iov_count; i++) {
    CHECK(length + c->iov[i].length <= c->length, "the pieces are longer than length");
    memcpy(data + length, c->iov[i].base, c->iov[i].length);
    length += c->iov[i].length;
  }
  CHECK_NUM(c->length, length);
  CHECK(STAT(callbacks_running) >= 1, "a callback runs, and none is counted");
  CHECK_RC(SIPWIRE_E_REENTRANT, sipwire_detach(h_instance));
  size_t number = shown->count++;
  CHECK(number < MOST, "too many");
  seen *s = &shown->all[number];
  s->c = *c;
  s->hash = h_hash(data, length);
  s->messages = h_total(EV_MESSAGE);
  s->tid = (pid_t)syscall(SYS_gettid);
  snprintf(s->text, sizeof s->text, "%.*s", (int)length, data);
  s->ready = 1;
  if (shown->mirrors) {
    sipwire_target target = h_to_addr(&shown->mirror);
    CHECK(sipwire_send(h_instance, &target, c->iov, c->iov_count, 7) > 0, "sipwire_send inside on_capture");
  }
  free(data);
}

/* The n-th that was shown; exactly `n + 1` must come. */
static const seen *nth(size_t n) {
  WAIT(shown->count > n && shown->all[n].ready, "message %zu is not shown", n);
  return &shown->all[n];
}

static void is(const seen *s, int direction, uint32_t conn_id, const sipwire_addr *remote, const sipwire_addr *local, int listener) {
  CHECK(s->c.direction == direction, "direction %d, expected %d: %s", s->c.direction, direction, s->text);
  CHECK(s->c.conn_id == conn_id, "connection %#x, expected %#x: %s", s->c.conn_id, conn_id, s->text);
  CHECK(h_addr_equal(&s->c.remote, remote), "remote %s, expected %s: %s", h_addr_text(&s->c.remote), h_addr_text(remote), s->text);
  CHECK(h_addr_equal(&s->c.local, local), "local %s, expected %s: %s", h_addr_text(&s->c.local), h_addr_text(local), s->text);
  CHECK_NUM(listener, s->c.listener);
}

static void switched(const char *value) { CHECK_RC(SIPWIRE_OK, sipwire_set(h_instance, "capture", value, NULL, 0)); }

static void request_and_answer(h_peer *peer, const char *id) {
  h_write_text(peer, h_request("OPTIONS", id, NULL, NULL));
  h_await_answer(peer, 200, id);
}

/* A host that knows no on_capture says so by its struct_size, whatever lies behind its table. */
static void older_host(void) {
  sipwire_callbacks table = {.struct_size = offsetof(sipwire_callbacks, on_capture)};
  memset(&table.on_capture, 0xFF, sizeof table.on_capture);
  sipwire_config *config = sipwire_config_new();
  sipwire_instance *instance = NULL;
  sipwire_addr addr;
  CHECK_RC(SIPWIRE_OK, sipwire_config_set(config, "workers", "1"));
  CHECK_RC(SIPWIRE_OK, sipwire_config_set(config, "capture", "yes"));
  CHECK(sipwire_config_listen(config, "tcp:127.0.0.1:0") >= 0, "listen");
  CHECK_RC(SIPWIRE_OK, sipwire_new(config, &table, NULL, &instance));
  CHECK_RC(SIPWIRE_OK, sipwire_start(instance));
  CHECK_RC(SIPWIRE_OK, sipwire_listener_addr(instance, 0, &addr));
  h_peer *peer = h_connect(&addr);
  h_write_text(peer, h_request("OPTIONS", "older", NULL, NULL));
  sipwire_stats stats = {.struct_size = sizeof stats};
  WAIT(sipwire_stats_get(instance, &stats) == SIPWIRE_OK && stats.messages_in == 1, "the message comes");
  h_close(peer);
  CHECK_RC(SIPWIRE_OK, sipwire_stop(instance));
  sipwire_free(instance);
  sipwire_config_free(config);
}

int main(int argc, char **argv) {
  h_init(argc, argv);
  shown = mmap(NULL, sizeof *shown, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(shown != MAP_FAILED, "mmap");
  h_capture_hook = on_capture;
  h_start(1);
  sipwire_addr here = h_listener(0), there;
  size_t n = 0;

  /* off unless it is asked for */
  h_peer *peer = h_client();
  uint32_t id = h_conn_of(peer);
  request_and_answer(peer, "off");
  CHECK_NUM(0, shown->count);

  /* a request and its answer */
  switched("yes");
  uint64_t before = real_us();
  h_text request = h_request("OPTIONS", "on", NULL, "body");
  h_write_text(peer, request);
  h_frame answer = h_await_answer(peer, 200, "on");
  uint64_t answer_hash = h_hash(answer.data, answer.length);
  const seen *in = nth(n++), *out = nth(n++);
  is(in, SIPWIRE_CAPTURE_IN, id, &peer->local, &here, 0);
  is(out, SIPWIRE_CAPTURE_OUT, id, &peer->local, &here, 0);
  CHECK(in->hash == h_hash(request.data, request.length), "not the request: %s", in->text);
  CHECK(out->hash == answer_hash, "not the answer: %s", out->text);
  CHECK(in->c.flags == 0 && out->c.flags == 0, "flags %u and %u", in->c.flags, out->c.flags);
  CHECK_NUM(0, in->c.result);
  CHECK_NUM(SIPWIRE_SENT, out->c.result);
  CHECK(in->c.worker == 0 && out->c.worker == 0 && in->tid == out->tid, "not both in the worker");
  CHECK(in->messages == 1 && out->messages == 2, "not right before on_message, or not inside: %zu and %zu", in->messages, out->messages);
  CHECK(before <= in->c.time_us && in->c.time_us <= out->c.time_us && out->c.time_us <= real_us(), "time %llu and %llu",
        (unsigned long long)in->c.time_us, (unsigned long long)out->c.time_us);

  /* a message that came in pieces; keep-alives are none */
  static char large[40000];
  CHECK_NUM(sizeof large, h_numbered(large, sizeof large, 1, 0));
  uint64_t bytes = STAT(bytes_in);
  h_write(peer, large, 10000);
  WAIT(STAT(bytes_in) == bytes + 10000, "the first part is read");
  h_write(peer, large + 10000, sizeof large - 10000);
  h_write(peer, "\r\n\r\n", 4);
  CHECK_NUM(200, h_await(peer, "the answer").code);
  WAIT(peer->pongs == 1 || h_next(peer, &answer), "a pong");
  is(in = nth(n++), SIPWIRE_CAPTURE_IN, id, &peer->local, &here, 0);
  CHECK(in->c.length == sizeof large && in->hash == h_hash(large, sizeof large), "%zu bytes", in->c.length);
  is(nth(n++), SIPWIRE_CAPTURE_OUT, id, &peer->local, &here, 0);
  CHECK_NUM(n, shown->count);

  /* what is refused, and what the library says to that */
  h_peer *bad = h_client();
  uint32_t bad_id = h_conn_of(bad);
  static const char hello[] = "\x16\x03\x01 this is no SIP\r\n\r\nand goes on";
  h_write(bad, hello, sizeof hello - 1);
  h_await_end(bad, "closed");
  is(in = nth(n++), SIPWIRE_CAPTURE_IN, bad_id, &bad->local, &here, 0);
  CHECK(in->c.flags == SIPWIRE_CAPTURE_BAD && in->c.reason == SIPWIRE_REASON_NOT_SIP, "flags %u, reason %d", in->c.flags, in->c.reason);
  CHECK(in->hash == h_hash(hello, sizeof hello - 1), "not all that came: %zu bytes", in->c.length);
  h_close(bad);
  bad = h_client();
  bad_id = h_conn_of(bad);
  h_text no_length = h_request("OPTIONS", "bad", "Content-Length: 9\r\n", NULL);
  bytes = STAT(bytes_in);
  h_write(bad, no_length.data, 50);
  WAIT(STAT(bytes_in) == bytes + 50, "the first part is read");
  h_write(bad, no_length.data + 50, no_length.length - 50);
  answer = h_await_answer(bad, 400, "bad");
  answer_hash = h_hash(answer.data, answer.length);
  is(in = nth(n++), SIPWIRE_CAPTURE_IN, bad_id, &bad->local, &here, 0);
  CHECK(in->c.flags == SIPWIRE_CAPTURE_BAD && in->c.reason == SIPWIRE_REASON_BAD_LENGTH, "flags %u, reason %d", in->c.flags, in->c.reason);
  CHECK(in->hash == h_hash(no_length.data, no_length.length), "not all that came: %s", in->text);
  is(out = nth(n++), SIPWIRE_CAPTURE_OUT, bad_id, &bad->local, &here, 0);
  CHECK(out->c.flags == SIPWIRE_CAPTURE_OWN && out->hash == answer_hash, "flags %u: %s", out->c.flags, out->text);
  h_close(bad);
  CHECK_NUM(3, h_total(EV_MESSAGE));

  /* to an address: no connection is known yet, then it is */
  int fd = h_listener_open(8, &there);
  sipwire_addr none = {0};
  h_sender *sender = h_sender_new();
  sipwire_target target = h_to_addr(&there);
  h_text text = h_request("MESSAGE", "dialled", NULL, "one");
  h_send_text(sender, &target, text.data, text.length, 42);
  h_sender_wait(sender);
  h_peer *callee = h_accept(fd);
  h_await(callee, "the first message");
  is(out = nth(n++), SIPWIRE_CAPTURE_OUT, 0, &there, &none, -1);
  CHECK(out->c.result == SIPWIRE_QUEUED && out->c.cookie == 42 && out->c.worker == -1, "result %d, cookie %llu, worker %d", out->c.result,
        (unsigned long long)out->c.cookie, out->c.worker);
  CHECK(out->tid != in->tid && out->hash == h_hash(text.data, text.length), "not the sender's: %s", out->text);
  uint32_t dialled;
  WAIT(sipwire_conn_find(h_instance, &there, NULL, &dialled) == SIPWIRE_OK && !(h_conn_flags(dialled) & SIPWIRE_CONN_ASYNC), "it is written");
  sipwire_iov pieces[700];
  for (size_t i = 0; i < 700; i++) pieces[i] = (sipwire_iov){large + i * 50, 50};
  CHECK(sipwire_send(h_instance, &target, pieces, 700, 43) > 0, "700 pieces");
  sipwire_addr its = callee->local, ours;
  sipwire_conn_info info = {.struct_size = sizeof info};
  CHECK_RC(SIPWIRE_OK, sipwire_conn_info_get(h_instance, dialled, &info));
  ours = info.local;
  is(out = nth(n++), SIPWIRE_CAPTURE_OUT, dialled, &its, &ours, -1);
  CHECK(ours.port != 0 && out->c.cookie == 43 && out->c.length == 35000 && out->hash == h_hash(large, 35000), "%zu bytes, cookie %llu, port %u",
        out->c.length, (unsigned long long)out->c.cookie, ours.port);
  h_write(callee, "SIP/2.0 200 OK\r\nCall-ID: back\r\nContent-Length: 0\r\n\r\n", 52);
  is(nth(n++), SIPWIRE_CAPTURE_IN, dialled, &its, &ours, -1);

  /* what is not accepted */
  sipwire_target nowhere = h_to_conn(bad_id);
  CHECK_RC(SIPWIRE_E_NO_CONNECTION, h_send_here(&nowhere, text.data, text.length, 1));
  CHECK_NUM(n, shown->count);

  /* inside the callback */
  int mirror_fd = h_listener_open(8, &shown->mirror);
  shown->mirrors = true;
  request_and_answer(peer, "mirrored");
  n += 2;
  h_peer *mirrored = h_accept(mirror_fd);
  CHECK(h_await(mirrored, "the request").code == 0, "the request comes first");
  CHECK_NUM(200, h_await(mirrored, "the answer").code);
  shown->mirrors = false;
  nth(n - 1);
  CHECK_NUM(n, shown->count);

  /* off again, in every participant */
  switched("no");
  request_and_answer(peer, "off again");
  h_send_text(sender, &target, text.data, text.length, 44);
  h_sender_wait(sender);
  STAYS(100, shown->count == n, "shown although it is switched off: %s", shown->all[n].text);
  h_close(callee);
  h_close(mirrored);
  close(fd), close(mirror_fd);
  older_host();
  return h_finish();
}
