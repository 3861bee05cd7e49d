/* Delayed answers; see delayed.h. No lock: the word `state` of an entry says who may touch it, 0 for free, WAITING for
 * the timer, else the process id of the one that is writing it. */
#include "delayed.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "log.h"
#include "registrar.h"
#include "reply.h"
#include "server.h"
#include "shared.h"

enum { FREE = 0, WAITING = -1, SWEEP_MS = 1000, PAGE_BYTES = 4096 };
#define SCANNING UINT64_MAX /* every put wakes the timer */

struct entry {
    _Atomic int state;
    uint64_t due_ms;
    struct destination to;
    size_t length;
};

static struct delayed {
    _Atomic uint64_t wakes_at_ms; /* when the timer looks again by itself */
    _Atomic bool stopping;
    _Atomic unsigned hint;
    struct entry entries[DELAYED_ENTRIES]; /* apart from the messages: a scan touches little memory */
} *delayed;
static char *messages; /* one after the other; the kernel gives pages when they are first written */
static size_t message_bytes;
static int wake_fd = -1, stop_fd = -1;

bool delayed_create(size_t longest)
{
    message_bytes = (longest + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    delayed = shared_map(sizeof *delayed);
    messages = shared_map(DELAYED_ENTRIES * message_bytes);
    if (delayed == NULL || messages == NULL)
        return false;
    delayed->wakes_at_ms = SCANNING;
    wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return wake_fd >= 0 && stop_fd >= 0;
}

int delayed_stop_fd(void)
{
    return stop_fd;
}

static char *message_of(size_t entry)
{
    return messages + entry * message_bytes;
}

static void poke(int fd)
{
    uint64_t one = 1;

    if (write(fd, &one, sizeof one) < 0)
        return; /* full: it is readable all the same */
}

void delayed_stop(void)
{
    delayed->stopping = true;
    poke(stop_fd);
}

const char *delayed_put(uint64_t due_ms, const struct destination *to, struct str message)
{
    int me = (int)getpid();

    if (message.len > message_bytes)
        return "answer longer than max_message_size";
    for (unsigned n = 0; n < DELAYED_ENTRIES; n++) {
        unsigned i = delayed->hint++ % DELAYED_ENTRIES;
        struct entry *e = &delayed->entries[i];
        int expected = FREE;
        if (!atomic_compare_exchange_strong(&e->state, &expected, me))
            continue;
        e->due_ms = due_ms;
        e->to = *to;
        e->length = message.len;
        memcpy(message_of(i), message.s, message.len);
        e->state = WAITING;
        if (due_ms < delayed->wakes_at_ms)
            poke(wake_fd);
        return NULL;
    }
    return "too many delayed answers";
}

void delayed_forget(pid_t died)
{
    for (int i = 0; i < DELAYED_ENTRIES; i++) {
        int expected = (int)died;
        atomic_compare_exchange_strong(&delayed->entries[i].state, &expected, FREE);
    }
}

/* Sends what is due and returns when the next is. An entry goes on waiting until its message went out: a timer process
 * that dies between sends it twice, which every client must bear, and never not at all. */
static uint64_t send_due(uint64_t now)
{
    uint64_t next = now + SWEEP_MS;

    for (int i = 0; i < DELAYED_ENTRIES; i++) {
        struct entry *e = &delayed->entries[i];
        const char *why;
        if (e->state != WAITING)
            continue;
        if (e->due_ms > now) {
            if (e->due_ms < next)
                next = e->due_ms;
            continue;
        }
        why = reply_send(&e->to, (struct str){message_of((size_t)i), e->length});
        if (why != NULL)
            log_info("delayed answer not sent: %s", why);
        e->state = (int)getpid(); /* it is not sent again, with half of its pages gone */
        if (e->length > PAGE_BYTES) /* what is seldom needed goes back to the kernel */
            madvise(message_of((size_t)i) + PAGE_BYTES, message_bytes - PAGE_BYTES, MADV_REMOVE);
        e->state = FREE;
    }
    return next;
}

void delayed_run(void)
{
    struct pollfd fds[2] = {{wake_fd, POLLIN, 0}, {stop_fd, POLLIN, 0}};
    uint64_t swept_ms = now_ms(), count, next, now;

    while (!delayed->stopping) {
        delayed->wakes_at_ms = SCANNING; /* before the scan: a put that the scan misses pokes */
        now = now_ms();
        next = send_due(now);
        delayed->wakes_at_ms = next;
        sipwire_refresh(server.instance);
        if (now - swept_ms >= SWEEP_MS) {
            registrar_sweep();
            swept_ms = now;
        }
        now = now_ms();
        if (poll(fds, 2, next > now ? (int)(next - now) : 0) < 0 && errno != EINTR)
            log_error("timer: %s", strerror(errno));
        if (read(wake_fd, &count, sizeof count) < 0)
            continue; /* nobody poked */
    }
}
