/* Part of harness.c: raw TCP peers of the library, on both ends, and the SIP text they exchange. */

h_text h_request(const char *method, const char *call_id, const char *extra, const char *body) {
  static char text[8][8192];
  static int turn;
  char *out = text[turn++ & 7];
  int n = snprintf(out, sizeof text[0],
                   "%s sip:test@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:5060;branch=z9hG4bK%s\r\nMax-Forwards: 70\r\n"
                   "From: <sip:a@127.0.0.1>;tag=1\r\nTo: <sip:test@127.0.0.1>\r\nCall-ID: %s\r\nCSeq: 1 %s\r\n%s"
                   "Content-Length: %zu\r\n\r\n%s",
                   method, call_id, call_id, method, extra ? extra : "", body ? strlen(body) : 0, body ? body : "");
  if (n >= (int)sizeof text[0]) h_fail("harness", 0, "request too long");
  return (h_text){out, (size_t)n};
}

static char numbered_byte(uint32_t tag, uint32_t number, size_t i) { return (char)('a' + (tag * 7 + number * 13 + i) % 26); }

size_t h_numbered(char *buffer, size_t size, uint32_t tag, uint32_t number) {
  char head[512];
  size_t body = 0;
  /* The digits of Content-Length are part of the length: try until it fits itself; "pad" covers the gap at 10, 100 ... */
  for (int pad = 0; pad < 2; pad++)
    for (int digits = 1; digits < 7; digits++) {
      int n = snprintf(head, sizeof head,
                       "MESSAGE sip:test@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:5060;branch=z9hG4bK%u.%u\r\n"
                       "Max-Forwards: 70\r\nFrom: <sip:a@127.0.0.1>;tag=1\r\nTo: <sip:b@127.0.0.1>\r\n"
                       "Call-ID: numbered-%u-%u\r\nCSeq: 1 MESSAGE\r\nX-Number: %u %u\r\nX-Pad: %s\r\nContent-Length: %zu\r\n\r\n",
                       tag, number, tag, number, tag, number, pad ? "xx" : "x", body);
      if ((size_t)n > size) return 0;
      if ((size_t)n + body == size) {
        memcpy(buffer, head, (size_t)n);
        for (size_t i = 0; i < body; i++) buffer[(size_t)n + i] = numbered_byte(tag, number, i);
        return size;
      }
      body = size - (size_t)n;
    }
  return 0;
}

static socklen_t to_sockaddr(const sipwire_addr *addr, struct sockaddr_storage *out) {
  memset(out, 0, sizeof *out);
  if (addr->family == 6) {
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(addr->port);
    in6->sin6_scope_id = addr->scope_id;
    memcpy(&in6->sin6_addr, addr->ip, 16);
    return sizeof *in6;
  }
  struct sockaddr_in *in = (struct sockaddr_in *)out;
  in->sin_family = AF_INET;
  in->sin_port = htons(addr->port);
  memcpy(&in->sin_addr, addr->ip, 4);
  return sizeof *in;
}

static sipwire_addr from_sockaddr(const struct sockaddr_storage *name) {
  sipwire_addr addr = {0};
  if (name->ss_family == AF_INET6) {
    addr.family = 6;
    addr.port = ntohs(((const struct sockaddr_in6 *)name)->sin6_port);
    memcpy(addr.ip, &((const struct sockaddr_in6 *)name)->sin6_addr, 16);
  } else {
    addr.family = 4;
    addr.port = ntohs(((const struct sockaddr_in *)name)->sin_port);
    memcpy(addr.ip, &((const struct sockaddr_in *)name)->sin_addr, 4);
  }
  return addr;
}

static sipwire_addr socket_name(int fd) {
  struct sockaddr_storage name;
  socklen_t length = sizeof name;
  if (getsockname(fd, (struct sockaddr *)&name, &length) < 0) h_fail("harness", 0, "getsockname: %s", strerror(errno));
  return from_sockaddr(&name);
}

/* A copy of the first of the supervisor's descriptors that is wanted; -1: there is none, or the kernel does not let us
 * have it. */
static int supervisors_fd(bool (*wanted)(int fd, const void *what), const void *what) {
  int process = h_mode == H_PROCESSES ? (int)syscall(SYS_pidfd_open, h_supervisor_pid(), 0) : -1;
  int found = -1;
  for (int number = 3; found < 0 && number < 1024; number++) {
    int fd = h_mode == H_PROCESSES ? (int)syscall(SYS_pidfd_getfd, process, number, 0) : fcntl(number, F_DUPFD_CLOEXEC, 3);
    if (fd >= 0 && wanted(fd, what)) found = fd;
    else if (fd >= 0) close(fd);
  }
  if (process >= 0) close(process);
  return found;
}

static bool is_connection(int fd, const void *what) {
  const sipwire_conn_info *info = what;
  struct sockaddr_storage name;
  socklen_t length = sizeof name;
  /* Of a socket of the library's own, which has no such address, the kernel says little more than its family. */
  if (getpeername(fd, (struct sockaddr *)&name, &length) < 0 || (name.ss_family != AF_INET && name.ss_family != AF_INET6)) return false;
  sipwire_addr remote = from_sockaddr(&name), local = socket_name(fd);
  return h_addr_equal(&remote, &info->remote) && h_addr_equal(&local, &info->local);
}

int h_library_fd(uint32_t conn_id) {
  sipwire_conn_info info;
  return h_info(conn_id, &info) ? supervisors_fd(is_connection, &info) : -1;
}

static bool is_listener(int fd, const void *what) {
  int listens = 0;
  socklen_t length = sizeof listens;
  if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) < 0 || !listens) return false;
  sipwire_addr local = socket_name(fd);
  return h_addr_equal(&local, what);
}

int h_listening_fd(const sipwire_addr *addr) { return supervisors_fd(is_listener, addr); }

static h_peer *peer_new(int fd) {
  size_t i = 0;
  while (i < peer_count && peers[i]->fd >= 0) i++;
  if (i == MAX_PEERS) h_fail("harness", 0, "too many peers");
  h_peer *peer = calloc(1, sizeof *peer);
  if (!peer) h_fail("harness", 0, "no memory");
  if (i < peer_count) {
    free(peers[i]->in);
    free(peers[i]);
  } else {
    peer_count++;
  }
  peers[i] = peer;
  peer->fd = fd;
  int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  return peer;
}

h_peer *h_connect_as(const sipwire_addr *to, const sipwire_addr *source, int rcvbuf) {
  struct sockaddr_storage address, from;
  socklen_t length = to_sockaddr(to, &address);
  int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
  if (fd < 0) return NULL;
  if (rcvbuf) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof rcvbuf); /* before connect: it sets the window scale */
  if (source) {
    if (source->port) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    else setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    socklen_t from_length = to_sockaddr(source, &from);
    if (bind(fd, (struct sockaddr *)&from, from_length) < 0) h_fail("harness", 0, "bind %s: %s", h_addr_text(source), strerror(errno));
  }
  if (connect(fd, (struct sockaddr *)&address, length) < 0) {
    int error = errno;
    close(fd);
    errno = error;
    return NULL;
  }
  h_peer *peer = peer_new(fd);
  peer->local = socket_name(fd);
  return peer;
}

h_peer *h_connect_from(const sipwire_addr *to, const char *source_ip, int rcvbuf) {
  sipwire_addr source = {.family = 4};
  if (source_ip) inet_pton(AF_INET, source_ip, source.ip);
  return h_connect_as(to, source_ip ? &source : NULL, rcvbuf);
}

h_peer *h_connect_small(const sipwire_addr *to, int rcvbuf) {
  h_peer *peer = h_connect_from(to, NULL, rcvbuf);
  if (!peer) h_fail("harness", 0, "connect to %s: %s", h_addr_text(to), strerror(errno));
  return peer;
}
h_peer *h_connect(const sipwire_addr *to) { return h_connect_from(to, NULL, 0); }

h_peer *h_client(void) {
  sipwire_addr addr = h_listener(0);
  return h_connect_small(&addr, 0);
}

static void peer_fill(h_peer *peer) {
  while (peer->fd >= 0 && !peer->eof && !peer->error) {
    if (peer->capacity - peer->length < 65536) {
      peer->capacity = peer->capacity ? peer->capacity * 2 : 65536 * 2;
      peer->in = realloc(peer->in, peer->capacity);
      if (!peer->in) h_fail("harness", 0, "no memory");
    }
    ssize_t n = recv(peer->fd, peer->in + peer->length, peer->capacity - peer->length, MSG_DONTWAIT);
    if (n > 0) peer->length += (size_t)n;
    else if (n == 0) peer->eof = true;
    else if (errno == EAGAIN) return;
    else if (errno != EINTR) peer->error = errno;
  }
}

bool h_try_write(h_peer *peer, const void *data, size_t length) {
  uint64_t until = h_deadline_ms(20);
  for (const char *at = data; length > 0;) {
    ssize_t n = send(peer->fd, at, length, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) {
      at += n;
      length -= (size_t)n;
    } else if (errno != EAGAIN && errno != EINTR) {
      return false;
    } else if (h_now_ms() > until) {
      h_fail("harness", 0, "the library does not read what a peer writes");
    } else {
      h_tick();
    }
  }
  return true;
}

void h_write(h_peer *peer, const void *data, size_t length) {
  if (!h_try_write(peer, data, length)) h_fail("harness", 0, "peer's write: %s", strerror(errno));
}
void h_write_text(h_peer *peer, h_text text) { h_write(peer, text.data, text.length); }

void h_half_close(h_peer *peer) { shutdown(peer->fd, SHUT_WR); }

void h_close(h_peer *peer) {
  if (peer->fd >= 0) close(peer->fd);
  peer->fd = -1;
}

void h_reset(h_peer *peer) {
  struct linger linger = {1, 0};
  setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
  h_close(peer);
}

bool h_ended(h_peer *peer) { return peer->eof || peer->error; }

size_t h_open_peers(void) {
  size_t n = 0;
  for (size_t i = 0; i < peer_count; i++) n += peers[i]->fd >= 0;
  return n;
}

bool h_next(h_peer *peer, h_frame *frame) {
  while (peer->length - peer->parsed >= 2 && memcmp(peer->in + peer->parsed, "\r\n", 2) == 0) {
    peer->parsed += 2;
    peer->pongs++;
  }
  char *data = peer->in + peer->parsed, value[32];
  size_t have = peer->length - peer->parsed;
  char *end = have ? memmem(data, have, "\r\n\r\n", 4) : NULL;
  if (!end) return false;
  h_frame f = {.data = data, .header_length = (size_t)(end + 4 - data)};
  if (!h_header(data, f.header_length, "Content-Length", value, sizeof value))
    h_fail("harness", 0, "received a message without Content-Length: %.*s", (int)f.header_length, data);
  f.body_length = (size_t)atoll(value);
  f.length = f.header_length + f.body_length;
  f.body = data + f.header_length;
  f.code = strncmp(data, "SIP/2.0 ", 8) == 0 ? atoi(data + 8) : 0;
  if (have < f.length) return false;
  *frame = f;
  peer->parsed += frame->length;
  return true;
}

static bool next_or_end(h_peer *peer, h_frame *frame) {
  bool ended = h_ended(peer); /* asked first: what came before the end is there by then */
  return h_next(peer, frame) || ended;
}

h_frame h_await(h_peer *peer, const char *what) {
  h_frame frame = {0};
  WAIT(next_or_end(peer, &frame), "%s", what);
  if (!frame.data) h_fail("harness", 0, "the connection ended (errno %d) instead of %s", peer->error, what);
  return frame;
}

h_frame h_await_answer(h_peer *peer, int code, const char *call_id) {
  char what[128], value[128] = "";
  snprintf(what, sizeof what, "answer %d to %s", code, call_id ? call_id : "the request");
  h_frame frame = h_await(peer, what);
  if (frame.code != code) h_fail("harness", 0, "expected %s, got %.*s", what, (int)frame.header_length, frame.data);
  if (call_id && (!h_header(frame.data, frame.header_length, "Call-ID", value, sizeof value) || strcmp(value, call_id) != 0))
    h_fail("harness", 0, "expected %s, got one to \"%s\"", what, value);
  return frame;
}

void h_await_end(h_peer *peer, const char *what) { WAIT(h_ended(peer), "%s: the connection stays open", what); }

uint32_t h_conn_of(h_peer *peer) {
  uint32_t id = 0;
  WAIT(sipwire_conn_find(h_instance, &peer->local, NULL, &id) == SIPWIRE_OK, "connection of the peer at %s",
       h_addr_text(&peer->local));
  return id;
}

static int bound_socket(sipwire_addr *out) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0) h_fail("harness", 0, "bind: %s", strerror(errno));
  *out = socket_name(fd);
  return fd;
}

int h_refusing_port(sipwire_addr *out) { return bound_socket(out); }

int h_listener_open(int backlog, sipwire_addr *out) { return h_listener_small(backlog, 0, out); }

int h_listener_small(int backlog, int rcvbuf, sipwire_addr *out) {
  int fd = bound_socket(out);
  if (rcvbuf) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof rcvbuf);
  if (listen(fd, backlog) < 0) h_fail("harness", 0, "listen: %s", strerror(errno));
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  return fd;
}

h_peer *h_accept_now(int listener) {
  struct sockaddr_storage address;
  socklen_t length = sizeof address;
  int fd = accept4(listener, (struct sockaddr *)&address, &length, SOCK_CLOEXEC);
  if (fd < 0 && errno != EAGAIN) h_fail("harness", 0, "accept: %s", strerror(errno));
  if (fd < 0) return NULL;
  h_peer *peer = peer_new(fd);
  peer->local = socket_name(fd);
  return peer;
}

h_peer *h_accept(int listener) {
  h_peer *peer = NULL;
  WAIT((peer = h_accept_now(listener)) != NULL, "no connection to accept");
  return peer;
}

h_full_listener h_full_listener_open(sipwire_addr *out) {
  h_full_listener full = {.fd = h_listener_open(1, out)};
  struct sockaddr_storage address;
  socklen_t length = to_sockaddr(out, &address);
  while (full.fillers < 8) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    connect(fd, (struct sockaddr *)&address, length);
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    if (poll(&p, 1, 300) == 0) { /* its SYN was dropped: full */
      close(fd);
      return full;
    }
    full.filler[full.fillers++] = peer_new(fd);
  }
  h_fail("harness", 0, "the backlog does not fill");
}
