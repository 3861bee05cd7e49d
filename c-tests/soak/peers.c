/* Part of soak.c: the peers, all in one process that has nothing of the library.
 *   TALKER    asks now and then, one to four questions at once, takes every answer, and ends in order
 *   DRIPPER   the same, a few bytes at a time
 *   DEAF      says one thing and never reads
 *   SILENT    never says anything, and reads
 *   CUTTER    a talker that ends by a reset, in the middle of a message or of an answer
 *   CARELESS  a talker that closes with answers unread, or says what is no SIP; the host closes some of these as well
 * Half of what talkers and drippers of our own end is ended by a FIN of one side only: then each question has its
 * answer before the other FIN. Those that the library has dialled may be closed by it. */

typedef struct peer {
  int fd;
  kind kind;
  bool connecting, ours, finishing;      /* finishing: FIN sent */
  uint32_t place, serial, asked, answered, first; /* the first question's number */
  uint64_t next_ms, end_ms;
  char *in, *out;                        /* a message that is not complete; what is still to be written */
  size_t in_length, out_length, out_at;
  struct { uint32_t life, number; } last[2 * SENDERS];
} peer;

enum { STALL_EVERY = 10 }; /* about one a second */
enum { PATIENCE_MS = 90000, TICK_MS = 20, READ = 65536, MAX_PEERS_KEPT = MAX_PEERS_LIVE + 64 };
static peer all[MAX_PEERS_KEPT];
static uint32_t unused[MAX_PEERS_KEPT], unused_count, next_serial = 1, next_question = 1;
static uint64_t dice;
static int poll_fd, listening[LISTENERS];

static void watch(int fd, uint32_t events, uint64_t what, int how) {
  struct epoll_event event = {.events = events, .data.u64 = what};
  CHECK(epoll_ctl(poll_fd, how, fd, &event) == 0, "epoll_ctl: %s", strerror(errno));
}

static struct sockaddr_in socket_address(const sipwire_addr *addr) {
  struct sockaddr_in out = {.sin_family = AF_INET, .sin_port = htons(addr->port)};
  memcpy(&out.sin_addr, addr->ip, 4);
  return out;
}

static int socket_new(const sipwire_addr *bound, bool narrow) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), small = 4096, segment = 536;
  CHECK(fd >= 0, "socket: %s", strerror(errno));
  if (narrow) { /* the other side's buffer is not large then either */
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof segment);
  }
  struct sockaddr_in name = socket_address(bound);
  CHECK(bind(fd, (struct sockaddr *)&name, sizeof name) == 0, "bind: %s", strerror(errno));
  return fd;
}

static peer *peer_begin(int fd, kind kind, bool ours) {
  peer *p = &all[unused[--unused_count]];
  *p = (peer){.fd = fd, .kind = kind, .ours = ours, .place = p->place, .serial = next_serial++};
  CHECK(p->serial < MAX_CONNECTIONS, "more connections than the books hold");
  uint64_t now = h_now_ms();
  p->next_ms = now + between(&dice, 0, 3000);
  p->end_ms = now + between(&dice, 2000, kind == DEAF ? 15000 : 90000);
  shared->kind[p->serial] = (uint8_t)kind;
  shared->live++;
  return p;
}

static void peer_end(peer *p) {
  close(p->fd);
  free(p->in);
  free(p->out);
  p->fd = -1;
  if (!chance(&dice, 20)) { /* some stale ids stay */
    uint64_t mine = shared->target[p->place];
    if ((uint32_t)mine == p->serial) shared->target[p->place] = 0;
  }
  unused[unused_count++] = p->place;
  shared->live--;
}

static kind any_kind(void) {
  uint32_t n = below(&dice, 100);
  return n < 50 ? TALKER : n < 60 ? DRIPPER : n < 68 ? DEAF : n < 83 ? SILENT : n < 92 ? CUTTER : CARELESS;
}

static void connect_one(void) {
  kind kind = any_kind();
  sipwire_addr source = {.family = 4, .ip = {127, 0, (uint8_t)between(&dice, 1, 16), (uint8_t)between(&dice, 1, 8)}};
  int fd = socket_new(&source, kind == DEAF);
  struct sockaddr_in to = socket_address(&shared->server);
  CHECK(connect(fd, (struct sockaddr *)&to, sizeof to) == 0 || errno == EINPROGRESS, "connect: %s", strerror(errno));
  peer *p = peer_begin(fd, kind, true);
  p->connecting = true;
  shared->opened++;
  watch(fd, EPOLLOUT, p->place, EPOLL_CTL_ADD);
}

static void accept_all(int i) {
  for (int fd; unused_count && (fd = accept4(listening[i], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
    peer *p = peer_begin(fd, i < DEAF_LISTENERS ? DEAF : any_kind(), false);
    shared->accepted++;
    watch(fd, p->kind == DEAF ? 0 : EPOLLIN, p->place, EPOLL_CTL_ADD);
  }
}

/* ---- asking ---- */
/* Two processors take a thousand or two messages a second, from however many connections. */
static uint32_t pause_ms(void) { return between(&dice, 1000, 3000 + 2 * (uint32_t)options.connections); }

static void write_out(peer *p) {
  size_t most = p->kind == DRIPPER ? between(&dice, 1, 60) : p->out_length;
  size_t left = p->out_length - p->out_at;
  ssize_t n = send(p->fd, p->out + p->out_at, left < most ? left : most, MSG_NOSIGNAL);
  if (n < 0) return; /* the end of the connection is read */
  p->out_at += (size_t)n;
  if (p->out_at < p->out_length) return;
  free(p->out);
  p->out = NULL;
}

static void ask(peer *p) {
  uint32_t count = p->kind == DEAF ? 1 : between(&dice, 1, 4);
  p->out = malloc(4 * (512 + MAX_BODY));
  CHECK(p->out, "no memory");
  p->out_length = p->out_at = 0;
  for (uint32_t i = 0; i < count; i++) {
    label l = {.number = next_question++, .stream = p->place, .life = p->serial, .seq = ++p->asked, .flags = p->kind == DEAF ? NO_ANSWER : 0};
    CHECK(l.number < MAX_MESSAGES, "more questions than the books hold");
    /* The script stalls, about as often whatever the number of connections: there are no more workers for more of them. */
    if (below(&dice, (uint32_t)options.connections / STALL_EVERY) == 0) l.ms = between(&dice, 60, 400);
    shared->in[l.number] = BEGUN;
    if (l.seq == 1) p->first = l.number;
    size_t body = p->kind != DRIPPER && chance(&dice, 2) ? MAX_BODY - 1 : between(&dice, 0, 900);
    p->out_length += text_write(p->out + p->out_length, false, &l, body);
  }
  shared->asked += count;
  write_out(p);
}

static void reset(peer *p) {
  struct linger hard = {.l_onoff = 1};
  setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  peer_end(p);
}

/* Its time is over, or that of all. */
static void finish(peer *p, uint64_t now) {
  switch (p->kind) {
  case CUTTER:
  case DEAF: reset(p); return;
  case CARELESS:
    if (chance(&dice, 30)) send(p->fd, "no sip\r\n\r\n", 10, MSG_NOSIGNAL);
    peer_end(p);
    return;
  default: break;
  }
  if (p->out) return; /* first the whole question */
  if (p->answered == p->asked && chance(&dice, 50)) {
    peer_end(p);
    return;
  }
  p->finishing = true;
  p->end_ms = now + PATIENCE_MS;
  shutdown(p->fd, SHUT_WR);
}

/* Its FIN is not answered for very long. The kernel may have let it believe that it has a connection, when the queue of
 * the listener was full; who knows of this one is the library, which the main process asks. */
static void on_silence(peer *p) {
  struct sockaddr_in name;
  socklen_t size = sizeof name;
  CHECK(getsockname(p->fd, (struct sockaddr *)&name, &size) == 0, "getsockname: %s", strerror(errno));
  shared->puzzle = (sipwire_addr){.family = 4, .port = ntohs(name.sin_port)};
  memcpy(shared->puzzle.ip, &name.sin_addr, 4);
  shared->puzzled = true;
  WAIT(!shared->puzzled, "the main process looks for the connection");
  CHECK(p->asked == 0 || shared->in[p->first] == BEGUN, "peer %u has sent its FIN, and there is no end; %u of %u answers", p->serial, p->answered, p->asked);
  shared->never_accepted++;
  reset(p);
}

static void on_time(peer *p, uint64_t now) {
  if (p->finishing && now >= p->end_ms) {
    on_silence(p);
    return;
  }
  if (p->connecting || p->finishing) return;
  if (p->out && now >= p->next_ms) {
    write_out(p);
    p->next_ms = now + (p->out ? between(&dice, 20, 100) : pause_ms());
  }
  if (now >= p->end_ms || shared->phase == WIND_DOWN) {
    finish(p, now);
    return;
  }
  if (p->out || now < p->next_ms || p->kind == SILENT || (p->kind == DEAF && p->asked)) return;
  ask(p);
  p->next_ms = now + (p->out ? 20 : pause_ms());
}

/* ---- hearing ---- */
static void take(peer *p, const char *data, size_t length) {
  label l = text_read(data, length);
  uint8_t before = atomic_fetch_or(&shared->out[l.number], RECEIVED);
  CHECK((before & ABOUT) && !(before & (REFUSED | REPORTED | RECEIVED)), "message %u came, of which was known %d", l.number, before);
  if (l.stream == ANSWERS) {
    p->answered++;
    CHECK(l.seq == p->answered || shared->refused[p->serial], "peer %u: the answer to question %u follows %u answers", p->serial, l.seq,
          p->answered - 1);
    shared->answered++;
    return;
  }
  CHECK(l.stream < 2 * SENDERS, "stream %u", l.stream);
  if (l.flags & UNORDERED) return;
  bool same = p->last[l.stream].life == l.life;
  CHECK(!same || p->last[l.stream].number < l.number, "sender %u: message %u came after %u", l.stream, l.number, p->last[l.stream].number);
  p->last[l.stream].life = l.life;
  p->last[l.stream].number = l.number;
}

static void hear(peer *p, const char *data, size_t length) {
  if (p->in_length) {
    p->in = realloc(p->in, p->in_length + length);
    CHECK(p->in, "no memory");
    memcpy(p->in + p->in_length, data, length);
    data = p->in;
    length += p->in_length;
  }
  size_t at = 0;
  for (size_t n; (n = text_length(data + at, length - at)) && n <= length - at; at += n) take(p, data + at, n);
  size_t left = length - at;
  if (left == 0) {
    free(p->in);
    p->in = NULL;
  } else if (p->in) {
    memmove(p->in, data + at, left);
  } else {
    p->in = malloc(left);
    CHECK(p->in, "no memory");
    memcpy(p->in, data + at, left);
  }
  p->in_length = left;
}

static void on_end(peer *p, bool in_order) {
  if (in_order && p->finishing && p->ours) {
    CHECK(p->in_length == 0, "peer %u: a message ends in its middle, then FIN", p->serial);
    if (p->asked && !p->answered && shared->in[p->first] == BEGUN) { /* closed unread: the library had no slot */
      shared->turned_away++;
      peer_end(p);
      return;
    }
    CHECK(p->asked == p->answered || shared->refused[p->serial], "peer %u: FIN after %u of %u answers", p->serial, p->answered, p->asked);
    shared->clean[p->serial] = true;
    shared->ended_cleanly++;
  }
  peer_end(p);
}

static void on_readable(peer *p, uint32_t events) {
  static char buffer[READ + 1];
  if (p->connecting) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error || events & (EPOLLERR | EPOLLHUP)) { /* the supervisor had no room for it, or stood still too long */
      on_end(p, false);
      return;
    }
    p->connecting = false;
    watch(p->fd, p->kind == DEAF ? 0 : EPOLLIN, p->place, EPOLL_CTL_MOD);
    return;
  }
  if (p->kind == DEAF) { /* of it only the end is told */
    on_end(p, false);
    return;
  }
  for (int i = 0; i < 4; i++) {
    ssize_t n = recv(p->fd, buffer, READ, 0);
    if (n > 0) {
      buffer[n] = 0;
      hear(p, buffer, (size_t)n);
      continue;
    }
    if (n == 0 || errno != EAGAIN) on_end(p, n == 0);
    return;
  }
}

static void listen_everywhere(void) {
  for (int i = 0; i < LISTENERS; i++) {
    sipwire_addr *addr = &shared->listener[i];
    *addr = (sipwire_addr){.family = 4, .ip = {127, 1, (uint8_t)(1 + i / 32), (uint8_t)(1 + i % 32)}};
    listening[i] = socket_new(addr, i < DEAF_LISTENERS);
    struct sockaddr_in name;
    socklen_t size = sizeof name;
    CHECK(listen(listening[i], 256) == 0 && getsockname(listening[i], (struct sockaddr *)&name, &size) == 0, "listen: %s", strerror(errno));
    addr->port = ntohs(name.sin_port);
    watch(listening[i], EPOLLIN, MAX_PEERS_KEPT + (uint64_t)i, EPOLL_CTL_ADD);
  }
}

/* Runs until all is said and every connection has ended. */
static void peers_process(void *unused_argument) {
  (void)unused_argument;
  dice = state_of(1, 0);
  poll_fd = epoll_create1(EPOLL_CLOEXEC);
  for (uint32_t i = 0; i < (uint32_t)options.connections; i++) {
    all[i] = (peer){.fd = -1, .place = i};
    unused[unused_count++] = i;
  }
  listen_everywhere();
  *h_word(0) = 1;
  uint64_t due = 0;
  while (shared->phase != WIND_DOWN || shared->live) {
    struct epoll_event events[512];
    int n = epoll_wait(poll_fd, events, 512, TICK_MS);
    for (int i = 0; i < n; i++) {
      uint64_t what = events[i].data.u64;
      if (what >= MAX_PEERS_KEPT) accept_all((int)(what - MAX_PEERS_KEPT));
      else if (all[what].fd >= 0) on_readable(&all[what], events[i].events);
    }
    uint64_t now = h_now_ms();
    if (now < due || shared->phase == NOT_YET) continue;
    due = now + TICK_MS;
    for (int i = 0; i < options.connections; i++)
      if (all[i].fd >= 0) on_time(&all[i], now);
    /* Some room stays for those that the library dials. */
    for (int i = 0; shared->phase == RUN && i < 1 + options.connections / 500 && (int)unused_count > options.connections / 50; i++) connect_one();
  }
  for (int i = 0; i < LISTENERS; i++) close(listening[i]);
  close(poll_fd);
}
