/* Part of harness.c: participants that send what the test tells them, as threads or as forked children. */

sipwire_target h_to_addr(const sipwire_addr *remote) { return (sipwire_target){.struct_size = sizeof(sipwire_target), .remote = *remote}; }
sipwire_target h_to_conn(uint32_t conn_id) { return (sipwire_target){.struct_size = sizeof(sipwire_target), .conn_id = conn_id}; }

static void wait_semaphore(sem_t *semaphore) {
  while (sem_wait(semaphore) < 0 && errno == EINTR) {}
}

static void do_job(h_sender *self) {
  if (self->job.held) {
    mem->held++;
    while (!mem->released) sched_yield();
    mem->held--;
    self->job.held = false;
  }
  self->work(self);
  sem_post(&self->done);
}

static void *sender_loop(void *argument) {
  h_sender *self = argument;
  for (;;) {
    wait_semaphore(&self->go);
    if (self->quit) break;
    do_job(self);
  }
  return NULL;
}

static void sender_body(void *argument) {
  CHECK_RC(SIPWIRE_OK, sipwire_attach(h_instance));
  sem_post(&((h_sender *)argument)->done);
  sender_loop(argument);
  CHECK_RC(SIPWIRE_OK, sipwire_detach(h_instance));
}

static pthread_t sender_threads[MAX_SENDERS];

static h_sender *sender_slot(void) {
  if (sender_count == MAX_SENDERS) h_fail("harness", 0, "too many senders");
  h_sender *sender = &mem->senders[sender_count];
  sender->index = sender_count++;
  sem_init(&sender->go, 1, 0);
  sem_init(&sender->done, 1, 0);
  return sender;
}

h_sender *h_sender_in_worker(h_peer *asks) {
  h_sender *sender = sender_slot();
  sender->asks = asks;
  return sender;
}

/* In the worker: the header field X-Run says whose job it is. */
static void job_in_callback(int index) { do_job(&mem->senders[index]); }

h_sender *h_sender_new(void) {
  h_sender *sender = sender_slot();
  if (h_mode == H_PROCESSES) {
    sender->pid = h_fork(sender_body, sender);
    name_child("sender %d", sender->index);
    h_sender_wait(sender);
  } else if (pthread_create(&sender_threads[sender->index], NULL, sender_loop, sender) != 0) {
    h_fail("harness", 0, "pthread_create failed");
  }
  return sender;
}

void h_sender_run(h_sender *sender, void (*work)(h_sender *)) {
  sender->work = work;
  sender->busy = true;
  if (!sender->asks) {
    sem_post(&sender->go);
    return;
  }
  char header[32];
  snprintf(header, sizeof header, "X-Run: %d\r\n", sender->index);
  h_write_text(sender->asks, h_request("ACK", "run", header, NULL)); /* a request that waits for no answer */
}

void h_sender_wait(h_sender *sender) {
  WAIT(sem_trywait(&sender->done) == 0, "sender %d has not finished its job: does sipwire_send block?", sender->index);
  sender->busy = false;
}

void h_sender_end(h_sender *sender) {
  if (sender->quit) return;
  sender->quit = true;
  if (sender->asks) return; /* the worker ends with the others */
  h_expect_code(sender->pid, 0);
  sem_post(&sender->go);
  if (h_mode != H_PROCESSES) pthread_join(sender_threads[sender->index], NULL);
  else WAIT(h_gone(sender->pid), "sender %d does not end", sender->index);
}

void h_sender_kill(h_sender *sender) {
  sender->quit = true;
  sender->busy = false;
  h_kill(sender->pid);
}

static int32_t timed_send(h_job *job, const void *data, size_t length, uint64_t cookie) {
  sipwire_iov iov[2] = {{data, length / 2}, {(const char *)data + length / 2, length - length / 2}};
  uint64_t begin = h_now_ms();
  int32_t rc = sipwire_send(h_instance, &job->target, iov, 2, cookie);
  uint64_t took = h_now_ms() - begin;
  if (took > job->longest_ms) job->longest_ms = took;
  job->sent += rc == SIPWIRE_SENT;
  job->queued += rc == SIPWIRE_QUEUED;
  job->refused += rc < 0;
  if (rc == SIPWIRE_OK || rc > SIPWIRE_QUEUED) h_fail("sender", 0, "sipwire_send returned %d", rc);
  return job->result = rc;
}

static void text_work(h_sender *self) { timed_send(&self->job, self->job.text, self->job.length, self->job.cookie); }

/* The failure report may come before sipwire_send returns: the ledger keeps both marks apart. */
static int32_t send_number(h_job *job, uint32_t tag, uint32_t number, size_t size, char *buffer) {
  if (h_numbered(buffer, size, tag, number) != size) h_fail("harness", 0, "no numbered message of %zu bytes", size);
  ledger_mark(tag, number, TRIED, "tried");
  int32_t rc = timed_send(job, buffer, size, (uint64_t)tag << 32 | number);
  /* After a bug in it nobody knows: as if it had not returned. */
  if (rc != SIPWIRE_E_PANIC) ledger_mark(tag, number, rc >= 0 ? ACCEPTED : REFUSED, "sent");
  return rc;
}

static void numbered_work(h_sender *self) {
  h_job *job = &self->job;
  for (uint32_t i = 0; i < job->count; i++)
    job->rc[i] = send_number(job, job->tag, job->first + i, job->size, job->text);
}

static void job_reset(h_sender *sender, const sipwire_target *target) {
  h_job *job = &sender->job;
  if (sender->busy) h_fail("harness", 0, "sender %d is busy", sender->index);
  job->target = *target;
  job->sent = job->queued = job->refused = 0;
  job->longest_ms = 0;
}

void h_send_text(h_sender *sender, const sipwire_target *target, const char *text, size_t length, uint64_t cookie) {
  job_reset(sender, target);
  if (length > sizeof sender->job.text) h_fail("harness", 0, "text too long");
  memcpy(sender->job.text, text, length);
  sender->job.length = length;
  sender->job.cookie = cookie;
  h_sender_run(sender, text_work);
}

void h_send_numbered(h_sender *sender, const sipwire_target *target, uint32_t tag, uint32_t first, uint32_t count, size_t size) {
  job_reset(sender, target);
  if (count > H_JOB_MAX || size > sizeof sender->job.text) h_fail("harness", 0, "job too large");
  sender->job.tag = tag;
  sender->job.first = first;
  sender->job.count = count;
  sender->job.size = size;
  h_sender_run(sender, numbered_work);
}

void h_hold(h_sender *sender) {
  mem->released = 0;
  sender->job.held = true;
}

void h_release(void) {
  int expected = 0;
  for (int i = 0; i < sender_count; i++) expected += mem->senders[i].job.held;
  WAIT(mem->held == expected, "%d of %d held senders are ready", mem->held, expected);
  mem->released = 1;
}

int32_t h_send_here(const sipwire_target *target, const char *text, size_t length, uint64_t cookie) {
  sipwire_iov iov = {text, length};
  return sipwire_send(h_instance, target, &iov, 1, cookie);
}

int32_t h_send_numbered_here(const sipwire_target *target, uint32_t tag, uint32_t number, size_t size) {
  static h_job job;
  job.target = *target;
  return send_number(&job, tag, number, size, job.text);
}
