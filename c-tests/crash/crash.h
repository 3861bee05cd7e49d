/* Tests against a library in which every step that changes a shared word, and every system call, is a point at which a
 * process can be made to end as by SIGKILL, or to panic (`--cfg crash_points`, src/sync/crash.rs). */
#ifndef SIPWIRE_TEST_CRASH_H
#define SIPWIRE_TEST_CRASH_H
#include "../harness.h"

uint32_t sipwire_crash_points(void);                               /* points have numbers below this */
void sipwire_crash_point(uint32_t number, char *out, size_t size); /* FILE:LINE:COLUMN, "": no such point yet */
uint64_t sipwire_crash_hits(uint32_t number, uint32_t role);       /* how often processes of this role passed it */
uint64_t sipwire_crash_ends(uint32_t number, uint32_t role);       /* how many ended or panicked at it */
void sipwire_crash_role(uint32_t role);                            /* the calling process is one of these */
void sipwire_crash_at(uint32_t number, uint64_t times, bool panics); /* it ends, or panics, when it has passed the point so often */

/* What is left by nobody who lives: blocks, free blocks that nobody finds, log records, blacklist entries. */
bool sipwire_crash_strays(const sipwire_instance *instance, uint32_t out[4]);

enum { NOBODY, SUPERVISOR, WORKER, SENDER, ROLES };
enum { SMALL_BUFFERS, PROXIED, PLAIN, LISTENERS };

/* ---- actors.c: the processes ---- */
typedef struct aim { uint32_t point; uint64_t times; } aim; /* where one is to end; 0 times: nowhere */
pid_t fork_supervisor(aim at);
pid_t fork_worker(int worker, aim at);
pid_t fork_sender(aim at);
void actors_begin(void); /* before h_start */
extern bool panics;      /* nobody ends: a bug is met there */

/* Numbered messages have a tag for each sender and connection. */
enum { BIG = 20000, SMALL = 400, OF_TALK = 1, TALKS = 28, TO_READER = 30, TO_SLOW, TO_FULL, TO_GONE, TO_DIALLED, TO_REFUSED, TAGS };
typedef struct board { /* shared by all */
  _Atomic uint8_t delivered[1 << 20]; /* requests by number: no script may see one twice */
  _Atomic uint32_t next[TAGS];        /* messages of each tag */
  _Atomic uint8_t reason[1 << 16];    /* why the connection of a peer ended, by its port */
  sipwire_addr dialled, refused, reader_addr;
  _Atomic uint32_t reader, slow, full, gone; /* connections the sender uses; 0: not known */
  _Atomic bool begin, done, leave;           /* the sender's work */
  _Atomic bool worker_leaves;                /* worker 1 is to end in order */
} board;
extern board *shared;

/* ---- traffic.c: the connections of one round ---- */
void traffic_begin(void);            /* once, before h_start */
/* A round's connections, and what is asked on each first. `reject`: see queue_full; `stall`: a worker stalls in its script. */
void traffic_open(bool reject, bool stall);
void traffic_go_on(void);            /* second halves, more requests, the ends */
void traffic_read(void);             /* who did not read reads now */
void traffic_again(void);            /* one more request on those that stay */
void traffic_look(void);             /* what has come meanwhile; for every wait */
bool traffic_idle(void);             /* a silent connection is back with the supervisor */
const char *traffic_stays(void);     /* what a new supervisor has not ended yet: NULL, nothing */
uint32_t traffic_steady(void);       /* connections that live as long as the test */
const char *traffic_waits(void);     /* what is still to come: NULL, nothing */
uint32_t traffic_lost(void);         /* connections that ended and were not to end */
const char *traffic_lost_text(void);
/* All that was sent is accounted for. `deaths`: of senders, each of which may have died in a send. `supervisors` that died:
 * each may have written messages of one connection, and not have come to note that. */
void traffic_check(uint32_t deaths, uint32_t supervisors);
void traffic_close(bool all);        /* those of the round; `all`: those that live as long as the test, too */
void traffic_end(void);
#endif
