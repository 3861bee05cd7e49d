/*
 * sipwire.h - TCP transport for SIP servers.
 *
 * Of each function it says what it does, what it returns, who may call it, whether inside callbacks, whether it
 * blocks, what its pointers point to and for how long ("lives": it was not freed), and since which version it is there.
 * NULL where that is not allowed is SIPWIRE_E_ARGUMENT.
 *
 * Generated from src/ffi/ by `make header`: change it there.
 */
#ifndef SIPWIRE_H
#define SIPWIRE_H


#include <stddef.h>
#include <stdint.h>

#define SIPWIRE_VERSION_MAJOR 0
#define SIPWIRE_VERSION_MINOR 1
#define SIPWIRE_VERSION_PATCH 0
#define SIPWIRE_VERSION_STRING "0.1.0"
/** One number that grows with each version; sipwire_version_number() gives that of the library that runs. */
#define SIPWIRE_VERSION_NUMBER \
  ((SIPWIRE_VERSION_MAJOR << 16) | (SIPWIRE_VERSION_MINOR << 8) | SIPWIRE_VERSION_PATCH)
/** For #if: the header is of this version or a later one. */
#define SIPWIRE_AT_LEAST(major, minor, patch) \
  (SIPWIRE_VERSION_NUMBER >= (((major) << 16) | ((minor) << 8) | (patch)))

#ifdef __cplusplus
extern "C" {
#endif

#define SIPWIRE_OK 0

/**
 * Of sipwire_send: the kernel took the whole message.
 */
#define SIPWIRE_SENT 1

/**
 * Of sipwire_send: accepted; written later, or reported by on_send_failed. Also of an answer to one of several
 * requests that came together: it is written with those to the others.
 */
#define SIPWIRE_QUEUED 2

#define SIPWIRE_E_ARGUMENT -2001

/**
 * Unknown key or value; sipwire_config_error() or sipwire_set's `line` has one about it.
 */
#define SIPWIRE_E_SETTING -2002

/**
 * A struct_size that is not understood.
 */
#define SIPWIRE_E_VERSION -2003

/**
 * Not allowed inside a callback.
 */
#define SIPWIRE_E_REENTRANT -2004

/**
 * Wrong role, process or phase.
 */
#define SIPWIRE_E_ROLE -2005

/**
 * This process forked and did not attach.
 */
#define SIPWIRE_E_NOT_ATTACHED -2006

/**
 * This setting cannot be changed while running.
 */
#define SIPWIRE_E_NOT_LIVE -2007

#define SIPWIRE_E_NO_CONNECTION -2100

#define SIPWIRE_E_BLACKLISTED -2101

#define SIPWIRE_E_CONN_QUEUE_FULL -2102

#define SIPWIRE_E_TOTAL_QUEUE_FULL -2103

#define SIPWIRE_E_TOO_LARGE -2104

#define SIPWIRE_E_SHUTTING_DOWN -2105

/**
 * Another open connection answers to this address.
 */
#define SIPWIRE_E_ALIAS_TAKEN -2110

/**
 * The setting accept_aliases is off.
 */
#define SIPWIRE_E_ALIASES_OFF -2111

/**
 * No flow token of ours, or an altered one.
 */
#define SIPWIRE_E_BAD_TOKEN -2112

/**
 * Setting "participants" exhausted.
 */
#define SIPWIRE_E_NO_PARTICIPANT -2200

#define SIPWIRE_E_NO_MEMORY -2201

/**
 * Address in use, no permission ...; sipwire_config_error() has the line.
 */
#define SIPWIRE_E_LISTEN -2202

/**
 * A system call failed; errno says why.
 */
#define SIPWIRE_E_SYSTEM -2300

/**
 * Of every function that returns a code: a bug of the library. The call did not complete, and what it was to
 * do may be done or not; who met it takes part again by itself.
 */
#define SIPWIRE_E_PANIC -2400

/**
 * The supervisor's process ended, and no new one runs yet.
 */
#define SIPWIRE_E_SUPERVISOR_GONE -2901

#define SIPWIRE_REASON_NONE 0

/**
 * The host asked (sipwire_conn_close, on_message < 0).
 */
#define SIPWIRE_REASON_HOST 1

/**
 * FIN.
 */
#define SIPWIRE_REASON_PEER_CLOSED 2

/**
 * RST.
 */
#define SIPWIRE_REASON_PEER_RESET 3

#define SIPWIRE_REASON_LIFETIME 4

#define SIPWIRE_REASON_SEND_TIMEOUT 5

#define SIPWIRE_REASON_CONNECT_TIMEOUT 6

/**
 * Refused, unreachable ...: see errno.
 */
#define SIPWIRE_REASON_CONNECT_FAILED 7

#define SIPWIRE_REASON_CONN_QUEUE_FULL 8

#define SIPWIRE_REASON_TOTAL_QUEUE_FULL 9

#define SIPWIRE_REASON_CLOSE_AFTER_SEND 10

#define SIPWIRE_REASON_NOT_SIP 11

/**
 * Content-Length missing, negative, not a number, above 32 bits, conflicting. A request is answered with 400 first.
 */
#define SIPWIRE_REASON_BAD_LENGTH 12

/**
 * Header block and announced body are larger than `max_message_size`. A request is answered with 513 first.
 */
#define SIPWIRE_REASON_TOO_LARGE 13

/**
 * The peer's FIN came inside a message. A request whose header block is there is answered with 400 first.
 */
#define SIPWIRE_REASON_EOF_IN_MESSAGE 14

#define SIPWIRE_REASON_MESSAGE_TIMEOUT 15

#define SIPWIRE_REASON_FIRST_MESSAGE_TIMEOUT 16

#define SIPWIRE_REASON_HALF_CLOSE_TIMEOUT 17

#define SIPWIRE_REASON_WORKER_DIED 18

#define SIPWIRE_REASON_SENDER_DIED 19

#define SIPWIRE_REASON_SUPERVISOR_GONE 20

/**
 * Drain or stop.
 */
#define SIPWIRE_REASON_SHUTDOWN 21

/**
 * See errno.
 */
#define SIPWIRE_REASON_IO_ERROR 22

#define SIPWIRE_REASON_BLACKLISTED 23

/**
 * No slot, no fd, no block: see errno.
 */
#define SIPWIRE_REASON_RESOURCE 24

/**
 * The segment was scribbled on.
 */
#define SIPWIRE_REASON_CORRUPT 25

/**
 * Gone before the queued message could be written.
 */
#define SIPWIRE_REASON_NO_CONNECTION 26

/**
 * No pong within the setting pong_timeout.
 */
#define SIPWIRE_REASON_FLOW_FAILED 27

/**
 * Nothing heard within Flow-Timer and the setting flow_timer_grace.
 */
#define SIPWIRE_REASON_FLOW_TIMER 29

/**
 * A PROXY header that is bad, late or from outside proxy_networks. The host is told of no such connection;
 * they are in closed_by_reason and refused_proxy, not in accepted and closed.
 */
#define SIPWIRE_REASON_PROXY 28

/**
 * Never dial: use an open connection or fail.
 */
#define SIPWIRE_SEND_NO_CONNECT 1

/**
 * Close gracefully when this message is written.
 */
#define SIPWIRE_SEND_CLOSE_AFTER 2

/**
 * Dial a new connection even when one is open; with conn_id, when that one has ended.
 */
#define SIPWIRE_SEND_FRESH 4

/**
 * A flow (RFC 5626): on the connection conn_id or SIPWIRE_E_NO_CONNECTION. Nothing is dialled, and an
 * address of the target plays no part.
 */
#define SIPWIRE_SEND_FLOW 8

/**
 * An answer (RFC 3261 18.2.2): on the connection conn_id of the request, whatever its address; only when
 * that has ended, to `remote`, which is the received address with the port of the Via.
 */
#define SIPWIRE_SEND_ANSWER 16

/**
 * First message of its connection.
 */
#define SIPWIRE_MESSAGE_FIRST 1

/**
 * Of sipwire_capture.direction: received.
 */
#define SIPWIRE_CAPTURE_IN 1

/**
 * Accepted by sipwire_send.
 */
#define SIPWIRE_CAPTURE_OUT 2

/**
 * In: not a message that can be framed; its connection ends for `reason`.
 */
#define SIPWIRE_CAPTURE_BAD 1

/**
 * Out: the library's own answer to what it refused.
 */
#define SIPWIRE_CAPTURE_OWN 2

/**
 * The worker that was told first died inside the callback.
 */
#define SIPWIRE_FAILURE_REPEATED 1

/**
 * We dialled it.
 */
#define SIPWIRE_CONN_OUTBOUND 1

#define SIPWIRE_CONN_CONNECTING 2

/**
 * Async mode: output is queued.
 */
#define SIPWIRE_CONN_ASYNC 4

#define SIPWIRE_CONN_CLOSING 8

/**
 * The peer has sent FIN.
 */
#define SIPWIRE_CONN_HALF_CLOSED 16

/**
 * See sipwire_conn_set_suspect.
 */
#define SIPWIRE_CONN_SUSPECT 32

/**
 * Not read: sipwire_conn_pause.
 */
#define SIPWIRE_CONN_PAUSED 64

/**
 * Not read (setting pause_reading): its own output is above queue_high, or not yet down to queue_low; or it
 * has some, and all queues together are above 3/4 of wq_max.
 */
#define SIPWIRE_CONN_SLOWED 128

/**
 * With the supervisor.
 */
#define SIPWIRE_OWNER_IDLE 0

/**
 * On its way to a worker.
 */
#define SIPWIRE_OWNER_LENT 1

#define SIPWIRE_OWNER_HELD 2

/**
 * A worker reads it or runs the script for it.
 */
#define SIPWIRE_OWNER_READING 3

#define SIPWIRE_OWNER_RETIRING 4

#define SIPWIRE_LOG_ERROR 1

#define SIPWIRE_LOG_WARNING 2

#define SIPWIRE_LOG_NOTICE 3

#define SIPWIRE_LOG_INFO 4

#define SIPWIRE_LOG_DEBUG 5

/**
 * The supervisor has not come to open or close it yet.
 */
#define SIPWIRE_LISTENER_PENDING 1

#define SIPWIRE_LISTENER_OPEN 2

/**
 * It could not be opened.
 */
#define SIPWIRE_LISTENER_FAILED 3

/**
 * It was removed, or the instance takes nothing new any more.
 */
#define SIPWIRE_LISTENER_CLOSED 4

/**
 * Sections of sipwire_dump: version, time, statistics.
 */
#define SIPWIRE_DUMP_STATS 1

#define SIPWIRE_DUMP_WORKERS 2

#define SIPWIRE_DUMP_PARTICIPANTS 4

#define SIPWIRE_DUMP_LISTENERS 8

#define SIPWIRE_DUMP_CONNECTIONS 16

#define SIPWIRE_DUMP_BLACKLIST 32

#define SIPWIRE_DUMP_SETTINGS 64

#define SIPWIRE_DUMP_ALL 127

#define SIPWIRE_ROLE_SUPERVISOR 1

#define SIPWIRE_ROLE_WORKER 2

/**
 * Of sipwire_conn_set_keepalive: a random time of 95 to 120 seconds from one ping to the next.
 */
#define SIPWIRE_KEEPALIVE_DEFAULT -1

/**
 * Bytes of the longest header that sipwire_proxy_header writes.
 */
#define SIPWIRE_PROXY_HEADER_MAX 107

/**
 * Size of a buffer for a flow token, its NUL included.
 */
#define SIPWIRE_FLOW_TOKEN_SIZE 29

/**
 * Size of the array closed_by_reason: room for reasons to come.
 */
#define SIPWIRE_REASON_COUNT 32

/**
 * The number of the binary interface that this header describes: of sipwire_api, of the structures and of what the
 * functions mean. It grows when a host that was compiled before could not go on; what is only added leaves it.
 */
#define SIPWIRE_ABI 1

/**
 * Settings and listeners of an instance to be made.
 */
typedef struct sipwire_config sipwire_config;

/**
 * An instance: one transport. Made by sipwire_new before any fork, freed by sipwire_free.
 */
typedef struct sipwire_instance sipwire_instance;

/**
 * One supervisor or worker driven by the host's own event loop.
 */
typedef struct sipwire_loop sipwire_loop;

/**
 * An IP address and port. IPv4 in ip[0..3]; an IPv4-mapped IPv6 address is stored as IPv4. It never
 * grows, and so does not say its size.
 */
typedef struct sipwire_addr {
  /**
   * 0 none, 4 or 6.
   */
  uint8_t family;
  uint8_t reserved;
  /**
   * Host byte order.
   */
  uint16_t port;
  /**
   * IPv6 link-local: the interface's index.
   */
  uint32_t scope_id;
  uint8_t ip[16];
} sipwire_addr;

/**
 * A complete SIP message, lent to on_message for the time of the callback.
 */
typedef struct sipwire_message {
  uint32_t struct_size;
  uint32_t conn_id;
  /**
   * Writable; data[length] is 0. The library reads nothing of it after the callback.
   */
  char *data;
  /**
   * Bytes: header_length + body_length.
   */
  size_t length;
  /**
   * Start line to the empty line, included.
   */
  size_t header_length;
  size_t body_length;
  struct sipwire_addr remote;
  struct sipwire_addr local;
  /**
   * Index of the listener, -1: a connection we dialled.
   */
  int32_t listener;
  /**
   * The worker that runs this callback.
   */
  int32_t worker;
  /**
   * CLOCK_MONOTONIC, milliseconds.
   */
  uint64_t time_ms;
  /**
   * What sipwire_conn_set_user stored.
   */
  uint64_t conn_user;
  /**
   * SIPWIRE_MESSAGE_... bits.
   */
  uint32_t flags;
  uint32_t reserved;
} sipwire_message;

/**
 * A message that was accepted (SIPWIRE_QUEUED) and will not be written whole.
 */
typedef struct sipwire_failure {
  uint32_t struct_size;
  /**
   * 0: it never had a connection.
   */
  uint32_t conn_id;
  /**
   * As given to sipwire_send.
   */
  uint64_t cookie;
  /**
   * SIPWIRE_REASON_...
   */
  int32_t reason;
  /**
   * errno, 0 when there is none.
   */
  int32_t error;
  struct sipwire_addr remote;
  /**
   * The whole message as given to sipwire_send, writable, data[length] is 0. Lent for the
   * callback.
   */
  char *data;
  size_t length;
  /**
   * Bytes the kernel had taken.
   */
  size_t written;
  int32_t worker;
  /**
   * SIPWIRE_FAILURE_... bits.
   */
  uint32_t flags;
} sipwire_failure;

/**
 * A snapshot of one connection.
 */
typedef struct sipwire_conn_info {
  /**
   * In: sizeof(sipwire_conn_info).
   */
  uint32_t struct_size;
  uint32_t conn_id;
  struct sipwire_addr remote;
  struct sipwire_addr local;
  /**
   * SIPWIRE_CONN_... bits.
   */
  uint32_t flags;
  /**
   * SIPWIRE_OWNER_...
   */
  int32_t owner;
  /**
   * When lent, held or reading; else -1.
   */
  int32_t worker;
  /**
   * -1: dialled.
   */
  int32_t listener;
  uint64_t age_ms;
  uint64_t idle_ms;
  uint64_t lifetime_ms;
  /**
   * Our queue only, not the kernel's buffer.
   */
  uint64_t queued_bytes;
  /**
   * Received bytes that are not delivered: of a message that is not complete, or read before reading
   * stopped.
   */
  uint64_t partial_bytes;
  uint64_t bytes_in;
  uint64_t bytes_out;
  uint64_t messages_in;
  uint64_t messages_out;
  uint64_t conn_user;
  /**
   * Requests delivered (not ACK) minus final answers sent.
   */
  int32_t pending_answers;
  /**
   * SIPWIRE_REASON_..., when closing.
   */
  int32_t close_reason;
  int32_t close_error;
  /**
   * The connection is also found under its remote address with this port; 0: it has no alias.
   */
  uint32_t alias_port;
  /**
   * What sipwire_conn_set_keepalive set; SIPWIRE_KEEPALIVE_DEFAULT also by the setting crlf_keepalive.
   */
  int64_t keepalive_ms;
  /**
   * What sipwire_conn_set_flow_timer set.
   */
  int64_t flow_timer_ms;
  /**
   * How long the pong to our ping has been awaited, 0: none is awaited.
   */
  uint64_t pong_wait_ms;
  /**
   * The addresses of the socket itself: remote and local, unless a PROXY header (setting proxy_protocol)
   * said for whom the connection was made. Then remote and local are those of the header, by which it is
   * found and counted, too.
   */
  struct sipwire_addr wire_remote;
  struct sipwire_addr wire_local;
} sipwire_conn_info;

/**
 * One log line.
 */
typedef struct sipwire_log_record {
  uint32_t struct_size;
  /**
   * SIPWIRE_LOG_...
   */
  int32_t level;
  /**
   * 0: of no connection.
   */
  uint32_t conn_id;
  /**
   * Records of this kind left out since the last one.
   */
  uint32_t suppressed;
  /**
   * CLOCK_REALTIME, milliseconds.
   */
  uint64_t time_ms;
  /**
   * No newline, NUL-terminated; lent for the callback.
   */
  const char *text;
  size_t length;
} sipwire_log_record;

/**
 * A piece of a message to send; the same layout as struct iovec, for good.
 */
typedef struct sipwire_iov {
  const void *base;
  /**
   * Bytes.
   */
  size_t length;
} sipwire_iov;

/**
 * A message that passes, shown to on_capture. All of it is lent for the callback.
 */
typedef struct sipwire_capture {
  uint32_t struct_size;
  /**
   * SIPWIRE_CAPTURE_IN or _OUT.
   */
  int32_t direction;
  /**
   * 0: it waits for a connection that is to be dialled.
   */
  uint32_t conn_id;
  /**
   * SIPWIRE_CAPTURE_... bits.
   */
  uint32_t flags;
  struct sipwire_addr remote;
  /**
   * With conn_id 0 as given to sipwire_send: family 0 or port 0 when that was left open.
   */
  struct sipwire_addr local;
  /**
   * Index of the listener, -1: a connection we dialled, or none yet.
   */
  int32_t listener;
  /**
   * The worker that runs this callback, -1: a thread that only sends.
   */
  int32_t worker;
  /**
   * Out: SIPWIRE_SENT or SIPWIRE_QUEUED. In: 0.
   */
  int32_t result;
  /**
   * With SIPWIRE_CAPTURE_BAD: SIPWIRE_REASON_..., else 0.
   */
  int32_t reason;
  /**
   * CLOCK_REALTIME, microseconds. In: when it is complete and about to be delivered. Out: when
   * sipwire_send was called, so that an answer to it is never older.
   */
  uint64_t time_us;
  /**
   * Out: as given to sipwire_send.
   */
  uint64_t cookie;
  /**
   * The message in 1 to 64 pieces, not NUL-terminated. With SIPWIRE_CAPTURE_BAD: what was read from
   * its beginning on, which may be more than it or less.
   */
  const struct sipwire_iov *iov;
  size_t iov_count;
  /**
   * Bytes in all pieces.
   */
  size_t length;
} sipwire_capture;

/**
 * The host's callbacks. They run in workers only (on_log also in sipwire_log_drain, on_capture also in
 * sipwire_send); members that are 0 are not called. Copied by sipwire_new. No lock is held during a
 * callback, and every function may be called inside one unless its comment says otherwise. A callback
 * must return: no longjmp, no C++ exception, no pthread_exit; and a thread that is inside a call of this library, or
 * in a callback, must not be cancelled (pthread_cancel): that ends the process.
 */
typedef struct sipwire_callbacks {
  /**
   * sizeof(sipwire_callbacks).
   */
  uint32_t struct_size;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * A complete message. Return 0 to go on; < 0: close this connection (reason HOST) once its
   * queued output is written; messages behind this one are not delivered.
   */
  int32_t (*on_message)(void *user, struct sipwire_instance *instance, struct sipwire_message *message);
  /**
   * An accepted message was not written whole: exactly once for each (twice only when a
   * worker dies inside this callback, then with SIPWIRE_FAILURE_REPEATED). May run beside
   * on_message, in any worker.
   */
  void (*on_send_failed)(void *user, struct sipwire_instance *instance, struct sipwire_failure *failure);
  /**
   * A connection was accepted, or one we dialled is connected. Before its first on_message; for one
   * that ended before that (a dial that failed, too) right before its on_close.
   */
  void (*on_open)(void *user, struct sipwire_instance *instance, const struct sipwire_conn_info *info);
  /**
   * A connection ended; exactly one, and the last call for its id: behind on_send_failed of all its
   * messages. info.close_reason, close_error.
   */
  void (*on_close)(void *user, struct sipwire_instance *instance, const struct sipwire_conn_info *info);
  /**
   * A connection whose queue was above queue_high, or on which a send was refused for want of room, is
   * down to queue_low; if it was refused although the queue was at queue_low, it is empty. When all
   * queues together were full, also that has changed. Rarely it comes for a connection that never was
   * full; never after its on_close, but perhaps before its on_open (one that was dialled, and filled while it
   * connected).
   */
  void (*on_writable)(void *user, struct sipwire_instance *instance, const struct sipwire_conn_info *info);
  /**
   * A log line of the library. The library itself prints nothing.
   */
  void (*on_log)(void *user, const struct sipwire_log_record *record);
  /**
   * In the worker, before its first other callback.
   */
  void (*on_worker_start)(void *user, struct sipwire_instance *instance, int32_t worker);
  /**
   * In the worker, after its last other callback.
   */
  void (*on_worker_stop)(void *user, struct sipwire_instance *instance, int32_t worker);
  /**
   * A message passes, for HEP or pcap; while setting "capture" is yes (default no; sipwire_set switches it
   * while running). In: in the worker, right before its on_message; also what is refused as bad, with
   * SIPWIRE_CAPTURE_BAD and without an on_message. Out: in the thread that calls sipwire_send, when the
   * message was accepted and before the call returns; one that only was queued may still come in
   * on_send_failed. The supervisor runs no host code: what it writes later was shown when it was accepted,
   * with what was known then. Keep-alives and what sipwire_send refuses are not shown.
   * Messages of one thread come in the order of its calls; of several, not always as on the wire.
   * sipwire_send is allowed inside, and what it sends is not shown. The time this callback takes delays
   * on_message and sipwire_send: it must not block.
   */
  void (*on_capture)(void *user, struct sipwire_instance *instance, const struct sipwire_capture *capture);
} sipwire_callbacks;

/**
 * Where a message is to go: a connection id and/or a remote address. With both, the connection is
 * used while it still has that address, else the address.
 */
typedef struct sipwire_target {
  /**
   * sizeof(sipwire_target).
   */
  uint32_t struct_size;
  /**
   * SIPWIRE_SEND_... bits.
   */
  uint32_t flags;
  /**
   * 0: by address only.
   */
  uint32_t conn_id;
  /**
   * By address, with the setting connections_per_destination above 1: messages of one hash (of the
   * Call-ID, say) go over one connection as long as it lives. 0: each over the one with the least queued.
   */
  uint32_t hash;
  /**
   * family 0: by id only.
   */
  struct sipwire_addr remote;
  /**
   * family 0: any local address; port 0: any port of it.
   */
  struct sipwire_addr local;
} sipwire_target;

/**
 * A destination that is not dialled for a while.
 */
typedef struct sipwire_blacklist_entry {
  /**
   * In: sizeof(sipwire_blacklist_entry).
   */
  uint32_t struct_size;
  /**
   * SIPWIRE_REASON_... for which it was added; SIPWIRE_REASON_HOST by sipwire_blacklist_add.
   */
  int32_t reason;
  struct sipwire_addr addr;
  uint64_t remaining_ms;
} sipwire_blacklist_entry;

/**
 * Statistics: what is now, then totals since sipwire_new.
 */
typedef struct sipwire_stats {
  /**
   * In: sizeof(sipwire_stats).
   */
  uint32_t struct_size;
  uint32_t reserved;
  uint64_t connections;
  uint64_t connections_idle;
  uint64_t queued_bytes;
  uint64_t partial_bytes;
  uint64_t blocks_used;
  uint64_t blocks_total;
  uint64_t slots_used;
  uint64_t slots_total;
  uint64_t participants;
  uint64_t workers;
  uint64_t blacklist_entries;
  uint64_t supervisor_pid;
  /**
   * 1 while accept is paused for want of fds.
   */
  uint64_t accept_paused;
  /**
   * 1 after something impossible was met in the segment.
   */
  uint64_t degraded;
  uint64_t accepted;
  uint64_t dialled;
  uint64_t connected;
  uint64_t connect_failed;
  uint64_t closed;
  uint64_t refused_max_connections;
  uint64_t refused_max_connections_per_ip;
  uint64_t accept_pauses;
  uint64_t handoffs;
  uint64_t givebacks;
  uint64_t relends;
  uint64_t nofd_returns;
  uint64_t fds_passed;
  uint64_t messages_in;
  uint64_t bytes_in;
  uint64_t messages_out;
  uint64_t bytes_out;
  uint64_t pings;
  uint64_t error_answers;
  uint64_t sends_direct;
  uint64_t sends_queued;
  uint64_t sends_refused;
  uint64_t async_started;
  uint64_t async_ended;
  uint64_t failures_reported;
  uint64_t failures_repeated;
  /**
   * Accepted messages neither written nor reported: stays 0.
   */
  uint64_t messages_lost_report;
  uint64_t blacklist_added;
  uint64_t blacklist_refused;
  uint64_t participants_died;
  uint64_t log_dropped;
  uint64_t callbacks_running;
  uint64_t closed_by_reason[SIPWIRE_REASON_COUNT];
  /**
   * Ours, and the peers' answers to them; `pings` are those of peers.
   */
  uint64_t pings_sent;
  uint64_t pongs_heard;
  /**
   * Pongs that did not come in time.
   */
  uint64_t flows_failed;
  /**
   * Connections closed because of their PROXY header: bad, late, from outside proxy_networks, or the oldest
   * that was waited for when there was no room for a new connection.
   */
  uint64_t refused_proxy;
  /**
   * Connections whose PROXY header is awaited; not yet in connections or accepted.
   */
  uint64_t proxy_waiting;
  /**
   * Connections refused because they come from deny_networks.
   */
  uint64_t refused_denied;
  /**
   * Because they come from elsewhere than allow_networks.
   */
  uint64_t refused_not_allowed;
  /**
   * Because of accept_rate.
   */
  uint64_t refused_rate;
  /**
   * Because of accept_rate_per_ip.
   */
  uint64_t refused_rate_per_ip;
  /**
   * 1 from sipwire_drain on.
   */
  uint64_t draining;
  /**
   * Connections that a drain cut at its deadline, with an answer or output still to come.
   */
  uint64_t drain_cut;
  uint64_t aliases_added;
  uint64_t aliases_refused;
} sipwire_stats;

/**
 * One worker.
 */
typedef struct sipwire_worker_stats {
  /**
   * In: sizeof(sipwire_worker_stats).
   */
  uint32_t struct_size;
  int32_t worker;
  /**
   * 1: attached.
   */
  uint32_t running;
  /**
   * 1: in one callback for longer than worker_stall.
   */
  uint32_t stalled;
  uint64_t pid;
  /**
   * Connections it holds now.
   */
  uint64_t held;
  /**
   * Connections handed to it, ever.
   */
  uint64_t lends;
  uint64_t messages;
  /**
   * Milliseconds it has been in the current callback, 0: in none.
   */
  uint64_t busy_ms;
} sipwire_worker_stats;

/**
 * The API as a table, for a host that loads the library with dlopen: each member is the function of its name, and
 * what is said there holds. The names are whole, since C++ and hosts that count memory have made words of their own
 * of `new` and `free`. The table only grows, at its end.
 */
typedef struct sipwire_api {
  /**
   * The library's table in bytes. A host that was compiled with a later header than the library has finds it
   * smaller than its sizeof(sipwire_api): what lies beyond is not there.
   */
  uint32_t struct_size;
  /**
   * SIPWIRE_ABI of the library.
   */
  uint32_t abi;
  uint32_t (*sipwire_version_number)(void);
  const char *(*sipwire_version_string)(void);
  const char *(*sipwire_strerror)(int32_t code);
  const char *(*sipwire_reason_text)(int32_t reason);
  int32_t (*sipwire_addr_parse)(const char *text, struct sipwire_addr *out);
  size_t (*sipwire_addr_format)(const struct sipwire_addr *addr, char *buffer, size_t size);
  int32_t (*sipwire_proxy_header)(int32_t version,
                                  const struct sipwire_addr *source,
                                  const struct sipwire_addr *destination,
                                  char *buffer,
                                  size_t size);
  struct sipwire_config *(*sipwire_config_new)(void);
  void (*sipwire_config_free)(struct sipwire_config *config);
  int32_t (*sipwire_config_set)(struct sipwire_config *config, const char *key, const char *value);
  int32_t (*sipwire_config_set_number)(struct sipwire_config *config, const char *key, int64_t value);
  int64_t (*sipwire_config_get)(const struct sipwire_config *config,
                                const char *key,
                                char *buffer,
                                size_t size);
  int32_t (*sipwire_config_listen)(struct sipwire_config *config, const char *address);
  int32_t (*sipwire_config_listen_fd)(struct sipwire_config *config, int32_t fd);
  int32_t (*sipwire_config_listener_set)(struct sipwire_config *config,
                                         int32_t listener,
                                         const char *key,
                                         const char *value);
  const char *(*sipwire_config_error)(const struct sipwire_config *config);
  int32_t (*sipwire_new)(struct sipwire_config *config,
                         const struct sipwire_callbacks *callbacks,
                         void *user,
                         struct sipwire_instance **out);
  void (*sipwire_free)(struct sipwire_instance *instance);
  int32_t (*sipwire_start)(struct sipwire_instance *instance);
  int32_t (*sipwire_run_supervisor)(struct sipwire_instance *instance);
  int32_t (*sipwire_run_worker)(struct sipwire_instance *instance, int32_t worker);
  int32_t (*sipwire_attach)(struct sipwire_instance *instance);
  int32_t (*sipwire_detach)(struct sipwire_instance *instance);
  int32_t (*sipwire_process_died)(struct sipwire_instance *instance, int32_t pid);
  int32_t (*sipwire_drain)(struct sipwire_instance *instance, int64_t deadline_ms);
  int32_t (*sipwire_stop)(struct sipwire_instance *instance);
  int32_t (*sipwire_loop_new)(struct sipwire_instance *instance,
                              int32_t role,
                              int32_t worker,
                              struct sipwire_loop **out);
  int32_t (*sipwire_loop_fd)(const struct sipwire_loop *loop_);
  int64_t (*sipwire_loop_timeout_ms)(const struct sipwire_loop *loop_);
  int32_t (*sipwire_loop_step)(struct sipwire_loop *loop_);
  void (*sipwire_loop_free)(struct sipwire_loop *loop_);
  int32_t (*sipwire_listener_count)(const struct sipwire_instance *instance);
  int32_t (*sipwire_listener_addr)(const struct sipwire_instance *instance,
                                   int32_t index,
                                   struct sipwire_addr *out);
  int32_t (*sipwire_listener_state)(const struct sipwire_instance *instance,
                                    int32_t index,
                                    char *line,
                                    size_t size);
  int32_t (*sipwire_listener_add)(struct sipwire_instance *instance,
                                  const char *address,
                                  char *line,
                                  size_t size);
  int32_t (*sipwire_listener_remove)(struct sipwire_instance *instance, int32_t index);
  int32_t (*sipwire_send)(struct sipwire_instance *instance,
                          const struct sipwire_target *target,
                          const struct sipwire_iov *iov,
                          size_t iov_count,
                          uint64_t cookie);
  int32_t (*sipwire_refresh)(struct sipwire_instance *instance);
  int32_t (*sipwire_conn_info_get)(struct sipwire_instance *instance,
                                   uint32_t conn_id,
                                   struct sipwire_conn_info *out);
  int32_t (*sipwire_conn_find)(struct sipwire_instance *instance,
                               const struct sipwire_addr *remote,
                               const struct sipwire_addr *local,
                               uint32_t *out_id);
  int32_t (*sipwire_conn_list)(struct sipwire_instance *instance,
                               uint32_t *cursor,
                               struct sipwire_conn_info *out,
                               size_t capacity);
  int32_t (*sipwire_conn_close)(struct sipwire_instance *instance, uint32_t conn_id);
  int32_t (*sipwire_conn_set_user)(struct sipwire_instance *instance, uint32_t conn_id, uint64_t user);
  int32_t (*sipwire_conn_set_lifetime)(struct sipwire_instance *instance,
                                       uint32_t conn_id,
                                       int64_t lifetime_ms);
  int32_t (*sipwire_conn_set_keepalive)(struct sipwire_instance *instance,
                                        uint32_t conn_id,
                                        int64_t interval_ms);
  int32_t (*sipwire_conn_set_flow_timer)(struct sipwire_instance *instance,
                                         uint32_t conn_id,
                                         int64_t flow_timer_ms);
  int32_t (*sipwire_queued)(struct sipwire_instance *instance,
                            const struct sipwire_target *target,
                            uint64_t *out_bytes);
  int32_t (*sipwire_conn_pause)(struct sipwire_instance *instance, uint32_t conn_id);
  int32_t (*sipwire_conn_resume)(struct sipwire_instance *instance, uint32_t conn_id);
  int32_t (*sipwire_conn_add_alias)(struct sipwire_instance *instance, uint32_t conn_id, uint32_t port);
  int32_t (*sipwire_conn_set_suspect)(struct sipwire_instance *instance, uint32_t conn_id, int32_t on);
  int32_t (*sipwire_flow_token)(struct sipwire_instance *instance, uint32_t conn_id, char *out, size_t size);
  int32_t (*sipwire_flow_find)(struct sipwire_instance *instance,
                               const char *token,
                               size_t length,
                               uint32_t *out_id);
  int32_t (*sipwire_blacklist_check)(struct sipwire_instance *instance, const struct sipwire_addr *addr);
  int32_t (*sipwire_blacklist_add)(struct sipwire_instance *instance,
                                   const struct sipwire_addr *addr,
                                   int64_t ttl_ms);
  int32_t (*sipwire_blacklist_remove)(struct sipwire_instance *instance, const struct sipwire_addr *addr);
  int32_t (*sipwire_blacklist_list)(struct sipwire_instance *instance,
                                    uint32_t *cursor,
                                    struct sipwire_blacklist_entry *out,
                                    size_t capacity);
  int32_t (*sipwire_stats_get)(struct sipwire_instance *instance, struct sipwire_stats *out);
  int32_t (*sipwire_worker_stats_get)(struct sipwire_instance *instance,
                                      int32_t worker,
                                      struct sipwire_worker_stats *out);
  int32_t (*sipwire_set)(struct sipwire_instance *instance,
                         const char *key,
                         const char *value,
                         char *line,
                         size_t size);
  int64_t (*sipwire_get)(struct sipwire_instance *instance, const char *key, char *buffer, size_t size);
  int32_t (*sipwire_log_drain)(struct sipwire_instance *instance);
  int64_t (*sipwire_dump)(struct sipwire_instance *instance, uint32_t what, char *buffer, size_t size);
  int64_t (*sipwire_prometheus)(struct sipwire_instance *instance, char *buffer, size_t size);
} sipwire_api;

/**
 * The version of the library that runs, to be compared with SIPWIRE_VERSION_NUMBER of the header that was
 * compiled.
 *
 * Returns: major << 16 | minor << 8 | patch.
 * Call from: anywhere, a signal handler included; in callbacks: yes; blocks: never.
 * Since: 0.1
 */
uint32_t sipwire_version_number(void);

/**
 * The version of the library that runs as text.
 *
 * Returns: "1.2.3", say; static, never NULL.
 * Call from: anywhere, a signal handler included; in callbacks: yes; blocks: never.
 * Since: 0.1
 */
const char *sipwire_version_string(void);

/**
 * What the result `code` of a call means, for a log line.
 *
 * Returns: static text, never NULL; "unknown error" for a number that is none.
 * Call from: anywhere, a signal handler included; in callbacks: yes; blocks: never.
 * Since: 0.1
 */
const char *sipwire_strerror(int32_t code);

/**
 * What `reason`, a SIPWIRE_REASON_ number, means, for a log line.
 *
 * Returns: static text, never NULL; "unknown reason" for a number that is none.
 * Call from: anywhere, a signal handler included; in callbacks: yes; blocks: never.
 * Since: 0.1
 */
const char *sipwire_reason_text(int32_t reason);

/**
 * Reads "127.0.0.1:5060" or "[::1]:5060", with or without "tcp:" or "udp:" in front. No name is looked
 * up. An IPv4-mapped IPv6 address becomes IPv4 (RFC 5118: one host, one key).
 *
 * Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT, with *out untouched.
 * Call from: any thread, any process; in callbacks: yes; blocks: never.
 *
 * Pointers: `text` is NUL-terminated, `out` points to a sipwire_addr.
 * Since: 0.1
 */
int32_t sipwire_addr_parse(const char *text, struct sipwire_addr *out);

/**
 * Writes an address as text, "127.0.0.1:5060" or "[::1]:5060", NUL-terminated and cut off to `size`
 * bytes.
 *
 * Returns: the whole length without the NUL, however much was written (the rule of snprintf); 0, and an empty text
 * is written: `addr` is NULL.
 * Call from: any thread, any process; in callbacks: yes; blocks: never.
 *
 * Pointers: `addr` points to a sipwire_addr or is NULL; `buffer` has room for `size` bytes or is NULL.
 * Since: 0.1
 */
size_t sipwire_addr_format(const struct sipwire_addr *addr,
                           char *buffer,
                           size_t size);

/**
 * Writes a PROXY header, for a host that sends one of its own as the first bytes of a connection (the setting
 * proxy_protocol_out has the library do it). `version`: 1 or 2. `source`, `destination`: whom it speaks for and
 * whom that one called; with NULL or no address (family 0) for one of them the header says that the connection
 * speaks for itself (UNKNOWN, LOCAL). `buffer`: gets the header, without a NUL, if `size` bytes are enough for
 * it (SIPWIRE_PROXY_HEADER_MAX always are), else nothing; may be NULL with size 0.
 *
 * Returns: the header's length in bytes, also when it was not written; SIPWIRE_E_ARGUMENT: no such version.
 * Call from: any thread, any process; in callbacks: yes; blocks: never.
 *
 * Pointers: `source` and `destination` point to a sipwire_addr or are NULL; `buffer` has room for `size` bytes or is NULL.
 * Since: 0.1
 */
int32_t sipwire_proxy_header(int32_t version,
                             const struct sipwire_addr *source,
                             const struct sipwire_addr *destination,
                             char *buffer,
                             size_t size);

/**
 * A configuration with every default. The caller owns it and frees it with sipwire_config_free, also
 * after sipwire_new, which takes nothing over.
 *
 * Returns: the configuration; NULL: a bug of the library.
 * Call from: any thread; in callbacks: yes; blocks: never (reads the CPU quota's files the first time).
 * Since: 0.1
 */
struct sipwire_config *sipwire_config_new(void);

/**
 * Frees a configuration. NULL is allowed.
 *
 * Call from: one thread at a time for each configuration; in callbacks: yes; blocks: never.
 *
 * Pointers: `config` came from sipwire_config_new and is not used afterwards.
 * Since: 0.1
 */
void sipwire_config_free(struct sipwire_config *config);

/**
 * Sets one setting by text. `key`: as in docs/tuning.md; a "tcp_" prefix is accepted and
 * "-" counts as "_", so that a host maps its own parameters one to one. `value`: times "10s", "250ms",
 * "2m", "1h" or bare seconds; sizes "64k", "10m", "1g" or bare bytes; counts; yes/no; words.
 *
 * Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT: a NULL, or text that is not UTF-8; SIPWIRE_E_SETTING: unknown
 * key or value out of range, and sipwire_config_error has one line with key, value and the nearest
 * valid one.
 * Call from: one thread at a time for each configuration; in callbacks: yes; blocks: never.
 *
 * Pointers: `config` lives; `key` and `value` are NUL-terminated.
 * Since: 0.1
 */
int32_t sipwire_config_set(struct sipwire_config *config, const char *key, const char *value);

/**
 * Sets one setting by number. `value`: milliseconds for times, bytes for sizes, a count, 0 or 1 for
 * no or yes, the number of a word.
 *
 * Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_SETTING: as sipwire_config_set.
 * Call from: one thread at a time for each configuration; in callbacks: yes; blocks: never.
 *
 * Pointers: `config` lives; `key` is NUL-terminated.
 * Since: 0.1
 */
int32_t sipwire_config_set_number(struct sipwire_config *config, const char *key, int64_t value);

/**
 * Writes a setting's value as text that sipwire_config_set takes back, NUL-terminated and cut off to
 * `size` bytes.
 *
 * Returns: the whole length without the NUL (the rule of snprintf); SIPWIRE_E_ARGUMENT;
 * SIPWIRE_E_SETTING: unknown key.
 * Call from: one thread at a time for each configuration; in callbacks: yes; blocks: never.
 *
 * Pointers: `config` lives; `key` is NUL-terminated; `buffer` has room for `size` bytes or is NULL.
 * Since: 0.1
 */
int64_t sipwire_config_get(const struct sipwire_config *config, const char *key, char *buffer, size_t size);

/**
 * Adds a listener, which sipwire_new binds. `address`: "tcp:127.0.0.1:5060", "tcp:[::]:5060"; port 0
 * takes any free one (see sipwire_listener_addr). An IPv6 listener takes IPv6 only. May be called any
 * number of times; listeners are numbered from 0 in this order.
 *
 * Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_SETTING: not such an address, see
 * sipwire_config_error.
 * Call from: one thread at a time for each configuration; in callbacks: yes; blocks: never.
 *
 * Pointers: `config` lives; `address` is NUL-terminated.
 * Since: 0.1
 */
int32_t sipwire_config_listen(struct sipwire_config *config, const char *address);

/**
 * Adds a listener that the host has made itself or was given (a server that binds its sockets before it
 * loads the transport, socket activation): a TCP socket that is bound and listens. Numbered with those of
 * sipwire_config_listen. `fd` stays the caller's, who keeps it open until sipwire_new, which takes a
 * duplicate; after that it may be closed, and nobody but the library may accept on it. The socket becomes
 * non-blocking and gets the options of the settings, except those that come before listening:
 * listen_backlog, reuse_port. sipwire_drain and sipwire_stop end its listening for good, for everybody who
 * has a descriptor of it: one that is to outlive the instance has to be bound anew.
 *
 * Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_SETTING: not a listening TCP socket, see
 * sipwire_config_error.
 * Call from: one thread at a time for each configuration; in callbacks: yes; blocks: never.
 *
 * Pointers: `config` lives.
 * Since: 0.1
 */
int32_t sipwire_config_listen_fd(struct sipwire_config *config, int32_t fd);

/**
 * Gives one listener a value of its own for a setting that all others have from sipwire_config_set, whether
 * that is set before or after. `listener`: its number, from 0, in the order in which they were added. `key`:
 * proxy_protocol or proxy_networks; `value`: as for sipwire_config_set.
 *
 * Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT: also, no such listener; SIPWIRE_E_SETTING: unknown key, one that no
 * listener has for itself, or value out of range, see sipwire_config_error.
 * Call from: one thread at a time for each configuration; in callbacks: yes; blocks: never.
 *
 * Pointers: `config` lives; `key` and `value` are NUL-terminated.
 * Since: 0.1
 */
int32_t sipwire_config_listener_set(struct sipwire_config *config,
                                    int32_t listener,
                                    const char *key,
                                    const char *value);

/**
 * One line about the last sipwire_config_set, _set_number, _listen, _listen_fd, _listener_set or sipwire_new with
 * this configuration, if it failed; else "".
 *
 * Returns: text that lives until the next call with the configuration; never NULL.
 * Call from: one thread at a time for each configuration; in callbacks: yes; blocks: never.
 *
 * Pointers: `config` lives or is NULL.
 * Since: 0.1
 */
const char *sipwire_config_error(const struct sipwire_config *config);

/**
 * Makes an instance: maps its shared memory, binds its listeners, starts nothing. Children forked
 * afterwards inherit it; each process frees its own with sipwire_free.
 *
 * `config` and `callbacks` are copied and stay the caller's. `user` is handed to each callback.
 *
 * Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_VERSION: callbacks.struct_size is not understood or reserved is not 0;
 * SIPWIRE_E_SETTING: settings that contradict each other; SIPWIRE_E_LISTEN: address in use, no permission
 * (errno is set); SIPWIRE_E_NO_MEMORY; SIPWIRE_E_SYSTEM (errno is set). sipwire_config_error has the
 * line. On failure *out is untouched.
 * Call from: before any fork of processes that are to take part; in callbacks: yes (of another
 * instance); blocks: never.
 *
 * Pointers: `config` lives; `callbacks` points to a table of its struct_size; `user` is the host's affair; `out` points to a
 * pointer.
 * Since: 0.1
 */
int32_t sipwire_new(struct sipwire_config *config,
                    const struct sipwire_callbacks *callbacks,
                    void *user,
                    struct sipwire_instance **out);

/**
 * Frees an instance in this process; other processes keep theirs. If sipwire_start's threads still run
 * they are stopped first, as by sipwire_stop. NULL is allowed.
 *
 * Call from: after all other calls with the instance in this process have returned; in callbacks: no
 * (nothing happens); blocks: as sipwire_stop, if threads run.
 *
 * Pointers: `instance` came from sipwire_new and is not used afterwards, by no thread (it gets SIPWIRE_E_ARGUMENT).
 * Since: 0.1
 */
void sipwire_free(struct sipwire_instance *instance);

/**
 * Threads: runs the supervisor and all workers as threads of this process and returns. Their stacks
 * are at least 8 MiB (or RLIMIT_STACK, if that is more), all signals are blocked in them. They end with
 * sipwire_stop.
 *
 * Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_ROLE: already started, stopped, or this process takes part in another
 * way; SIPWIRE_E_NO_PARTICIPANT; SIPWIRE_E_NO_MEMORY; SIPWIRE_E_SYSTEM (errno is set). After a failure
 * nothing runs and it may be tried again.
 * Call from: any thread, and do not fork afterwards, except to exec; in callbacks: no; blocks: until all threads run,
 * some milliseconds.
 *
 * Pointers: `instance` lives until sipwire_free.
 * Since: 0.1
 */
int32_t sipwire_start(struct sipwire_instance *instance);

/**
 * Processes: this process is the supervisor until sipwire_stop. It accepts, dials, flushes, keeps time
 * and runs no host code. A new supervisor after one that died closes and reports (reason
 * SUPERVISOR_GONE) the old one's connections and serves the listeners on.
 *
 * Returns: SIPWIRE_OK after a stop; SIPWIRE_E_ARGUMENT; SIPWIRE_E_ROLE: another supervisor lives, or this process takes part
 * already; SIPWIRE_E_NO_MEMORY; SIPWIRE_E_SYSTEM (errno is set).
 * Call from: a process of its own, forked from the one that made the instance while that had no
 * other threads; in callbacks: no; blocks: until the stop.
 *
 * Pointers: `instance` lives.
 * Since: 0.1
 */
int32_t sipwire_run_supervisor(struct sipwire_instance *instance);

/**
 * Processes: this process is worker `worker` (0 to workers - 1) until sipwire_stop; its callbacks run in
 * here. The place of a worker that died is free as soon as the supervisor has taken back what it held;
 * this call waits for that, at most 10 s.
 *
 * Returns: SIPWIRE_OK after a stop; SIPWIRE_E_SUPERVISOR_GONE: the supervisor's process ended, call it
 * again, it waits for a new one; SIPWIRE_E_ARGUMENT: no such worker; SIPWIRE_E_ROLE: that worker lives, or
 * this process takes part already, or the supervisor was told that this process died;
 * SIPWIRE_E_NO_PARTICIPANT; SIPWIRE_E_NO_MEMORY; SIPWIRE_E_SYSTEM (errno is set).
 * Call from: as sipwire_run_supervisor; in callbacks: no; blocks: until the stop.
 *
 * Pointers: `instance` lives.
 * Since: 0.1
 */
int32_t sipwire_run_worker(struct sipwire_instance *instance, int32_t worker);

/**
 * Processes: this process will send (a UDP receiver, a timer). Each of its threads becomes a participant
 * by itself at its first sipwire_send and leaves when it ends (its first call must not come from a
 * pthread_key destructor: it would never leave). Not inherited by fork: a child attaches for itself.
 *
 * Returns: SIPWIRE_OK, also when it was attached; SIPWIRE_E_ARGUMENT; SIPWIRE_E_NO_PARTICIPANT;
 * SIPWIRE_E_ROLE: the thread is ending; SIPWIRE_E_SYSTEM (errno is set).
 * Call from: any thread of any process that has the instance; in callbacks: yes, without effect;
 * blocks: never.
 *
 * Pointers: `instance` lives.
 * Since: 0.1
 */
int32_t sipwire_attach(struct sipwire_instance *instance);

/**
 * The end of sipwire_attach: this process takes part no longer. Threads that sent give their place
 * back when they end.
 *
 * Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_NOT_ATTACHED; SIPWIRE_E_ROLE: a role (sipwire_start,
 * _run_, _loop_) runs in this process; SIPWIRE_E_REENTRANT: in a callback.
 * Call from: any thread, while no other one is in a call with the instance; in callbacks: no; blocks: never.
 *
 * Pointers: `instance` lives.
 * Since: 0.1
 */
int32_t sipwire_detach(struct sipwire_instance *instance);

/**
 * The host's word, after its waitpid, that process `pid` ended. The supervisor sees the death of a
 * process that takes part by itself where the kernel has pidfds (5.3); its own death is learned by
 * this, or by its workers. Telling it of a process that lives costs that process its place.
 *
 * Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT: pid < 1.
 * Call from: any thread of any process that has the instance (the parent need not be attached); in
 * callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives.
 * Since: 0.1
 */
int32_t sipwire_process_died(struct sipwire_instance *instance, int32_t pid);

/**
 * No new connections from now on: the listeners are closed for good, nothing is dialled. Each
 * connection ends as soon as what was asked on it is answered and written, and all that are left
 * `deadline_ms` milliseconds from now. Watch sipwire_stats.connections, then call sipwire_stop.
 *
 * Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT: deadline_ms < 0.
 * Call from: any thread of any process that has the instance; in callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives.
 * Since: 0.1
 */
int32_t sipwire_drain(struct sipwire_instance *instance, int64_t deadline_ms);

/**
 * Asks every participant to end: connections are closed and reported (reason SHUTDOWN), the run calls
 * return. In the process of sipwire_start it waits for the threads, in every thread that calls it;
 * elsewhere it returns at once.
 *
 * Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_REENTRANT: asked from a callback in the process of
 * sipwire_start: all ends, but this call did not wait for it.
 * Call from: any thread of any process that has the instance; where it does not wait also from a
 * signal handler; in callbacks: yes, see above; blocks: in the process of sipwire_start, until the
 * running callbacks have returned and the rest is told, 5 s for the latter.
 *
 * Pointers: `instance` lives.
 * Since: 0.1
 */
int32_t sipwire_stop(struct sipwire_instance *instance);

/**
 * A supervisor (`role` SIPWIRE_ROLE_SUPERVISOR) or worker (SIPWIRE_ROLE_WORKER, number `worker`) for the
 * host's own event loop. The supervisor's nice value or priority, if set, becomes that of the calling
 * thread. The caller owns *out and frees it with sipwire_loop_free.
 *
 * Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_ROLE: such a supervisor or worker lives;
 * SIPWIRE_E_REENTRANT: in a callback; SIPWIRE_E_SHUTTING_DOWN; SIPWIRE_E_NO_PARTICIPANT; SIPWIRE_E_NO_MEMORY; SIPWIRE_E_SYSTEM (errno is
 * set). On failure *out is untouched.
 * Call from: the thread that will drive it; a thread may drive several; in callbacks: no; blocks: never.
 *
 * Pointers: `instance` lives longer than the loop; `out` points to a pointer.
 * Since: 0.1
 */
int32_t sipwire_loop_new(struct sipwire_instance *instance,
                         int32_t role,
                         int32_t worker,
                         struct sipwire_loop **out);

/**
 * The descriptor to wait for; when it is readable call sipwire_loop_step. Level-triggered; the library's,
 * not to be closed.
 *
 * Returns: the descriptor; SIPWIRE_E_ARGUMENT; SIPWIRE_E_ROLE: in a callback that a step runs; SIPWIRE_E_PANIC: a bug
 * has ended the role, free the loop.
 * Call from: the loop's thread; in callbacks: no; blocks: never.
 *
 * Pointers: `loop_` lives.
 * Since: 0.1
 */
int32_t sipwire_loop_fd(const struct sipwire_loop *loop_);

/**
 * After how many milliseconds sipwire_loop_step is to be called at the latest, readable or not. Ask
 * again after each step.
 *
 * Returns: 0 or more; -1: no time limit; SIPWIRE_E_ARGUMENT.
 * Call from: the loop's thread; in callbacks: no; blocks: never.
 *
 * Pointers: `loop_` lives.
 * Since: 0.1
 */
int64_t sipwire_loop_timeout_ms(const struct sipwire_loop *loop_);

/**
 * One bounded turn. Callbacks run inside.
 *
 * Returns: SIPWIRE_OK: wait again; 1: more is ready, call again before waiting; SIPWIRE_E_SHUTTING_DOWN:
 * free the loop, all is told; SIPWIRE_E_SUPERVISOR_GONE, SIPWIRE_E_PANIC: free the loop, and make one again;
 * SIPWIRE_E_NOT_ATTACHED: the loop is the parent's, this process was forked since; SIPWIRE_E_REENTRANT: in a
 * callback that a step runs; SIPWIRE_E_ARGUMENT; SIPWIRE_E_ROLE: as sipwire_run_worker; SIPWIRE_E_SYSTEM (errno is set).
 * Call from: the loop's thread; in callbacks: no; blocks: never.
 *
 * Pointers: `loop_` lives and is used by this thread only.
 * Since: 0.1
 */
int32_t sipwire_loop_step(struct sipwire_loop *loop_);

/**
 * Ends the role in this process; what a worker held goes back to the supervisor, and its on_worker_stop runs in
 * here. In a child forked since, frees the child's copy and nothing else. NULL is allowed.
 *
 * Call from: the loop's thread; in callbacks: no (nothing happens); blocks: never.
 *
 * Pointers: `loop_` came from sipwire_loop_new and is not used afterwards (it gets SIPWIRE_E_ARGUMENT).
 * Since: 0.1
 */
void sipwire_loop_free(struct sipwire_loop *loop_);

/**
 * How many listeners there are, with those that were added and removed: every number that was given out
 * is below it.
 *
 * Returns: the number, 0 or more; SIPWIRE_E_ARGUMENT.
 * Call from: any thread of any process that has the instance; in callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives or is NULL.
 * Since: 0.1
 */
int32_t sipwire_listener_count(const struct sipwire_instance *instance);

/**
 * The address that listener `index` (from 0) is bound to, with its real port; of a closed one, was bound
 * to. One that was not opened yet has the address that was asked for.
 *
 * Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT: no such listener.
 * Call from: any thread of any process that has the instance; in callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives; `out` points to a sipwire_addr.
 * Since: 0.1
 */
int32_t sipwire_listener_addr(const struct sipwire_instance *instance,
                              int32_t index,
                              struct sipwire_addr *out);

/**
 * What has become of listener `index`.
 *
 * `line`: NULL, or room for `size` bytes, for one line about a listener that is not open, e.g. why it
 * could not be opened and what to do about it (cut off to `size`); "" for one that is.
 *
 * Returns: SIPWIRE_LISTENER_PENDING: the supervisor has not come to open or close it yet (or does not
 * run); SIPWIRE_LISTENER_OPEN; SIPWIRE_LISTENER_FAILED: it could not be opened; SIPWIRE_LISTENER_CLOSED:
 * removed, or ended by sipwire_drain or sipwire_stop; SIPWIRE_E_ARGUMENT: no such listener.
 * Call from: any thread of any process that has the instance; in callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives; `line` has room for `size` bytes or is NULL.
 * Since: 0.1
 */
int32_t sipwire_listener_state(const struct sipwire_instance *instance,
                               int32_t index,
                               char *line,
                               size_t size);

/**
 * Asks for one more listener while the instance runs. `address`: as for sipwire_config_listen. The
 * supervisor's process binds it, with that process's privileges, and soon: watch sipwire_listener_state,
 * which also has the line if it cannot (an address in use); it is logged, too. A supervisor that follows
 * one that died binds it again, on the same port. There is room for 64 beside those that the instance was
 * made with; the numbers of closed and failed ones are given out again, the one that ended longest ago
 * first.
 *
 * `line`: NULL, or room for `size` bytes: with an error it gets one line that says what is wrong (cut
 * off to `size`); "" otherwise.
 *
 * Returns: the listener's number, 0 or more, as in sipwire_message.listener; SIPWIRE_E_ARGUMENT;
 * SIPWIRE_E_SETTING: not such an address; SIPWIRE_E_LISTEN: the instance listens there already;
 * SIPWIRE_E_NO_MEMORY: too many; SIPWIRE_E_SHUTTING_DOWN: after sipwire_drain or sipwire_stop.
 * Call from: any thread of any process that has the instance; in callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives; `address` is NUL-terminated; `line` has room for `size` bytes or is NULL.
 * Since: 0.1
 */
int32_t sipwire_listener_add(struct sipwire_instance *instance, const char *address, char *line, size_t size);

/**
 * Removes listener `index` while the instance runs, also one that sipwire_new bound or was given. The
 * supervisor closes it soon; when sipwire_listener_state says SIPWIRE_LISTENER_CLOSED, its port is free:
 * whoever sets SO_REUSEADDR, as servers do, may listen there. Connections that were accepted from it
 * live on. The socket of one that the instance was made with stays bound, closed, in processes that have a
 * copy of it; without SO_REUSEADDR its port is taken until these have ended.
 *
 * Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT: no such listener, or removed already.
 * Call from: any thread of any process that has the instance; in callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives.
 * Since: 0.1
 */
int32_t sipwire_listener_remove(struct sipwire_instance *instance, int32_t index);

/**
 * Sends one message. Written directly when nothing is queued on the connection, else queued and written
 * by the supervisor. Messages of one thread to one connection id, or to one address with one hash, arrive in
 * the order of its calls as long as their connection lives; those to an address also only until another
 * connection serves it, because it is newer (dialled fresh, or opened by the peer from there) or theirs is suspect
 * or closed by the peer on its side. One to an id may overtake one to the address that still waits for a dial.
 * With `connections_per_destination` above 1 and hash 0 each message may take another connection, and no order
 * holds between them.
 *
 * `target`: connection id and/or remote address. A connection is looked for by id, then by remote address
 * and local address, then by alias (sipwire_conn_add_alias). Without one, or with none but what we dialled and
 * the peer has closed on its side, the address is dialled (unless the flags forbid it), but not the one from
 * which the peer had opened the connection of the id: there nobody listens (known until that connection's
 * place is used again, which is the one free the longest). `iov`, `iov_count`: the message in 1 to 1024 pieces;
 * copied where need be, the caller's again on return. `cookie`: comes back in on_send_failed.
 *
 * Returns: SIPWIRE_SENT: the kernel took all of it; SIPWIRE_QUEUED: it is written later, or reported once by
 * on_send_failed. An answer inside on_message is queued, too, while another request of the same read follows,
 * and written with the answers to the next ones: when the first of their scripts ends that lasts until 10 ms after
 * it, or takes longer than `worker_stall`, at the latest. For that time no limit counts it. Any error: it was not
 * accepted and will not be reported: SIPWIRE_E_ARGUMENT; SIPWIRE_E_VERSION; SIPWIRE_E_NOT_ATTACHED;
 * SIPWIRE_E_NO_PARTICIPANT; SIPWIRE_E_NO_CONNECTION: no such connection (any more), and no address to dial;
 * SIPWIRE_E_BLACKLISTED; SIPWIRE_E_CONN_QUEUE_FULL;
 * SIPWIRE_E_TOTAL_QUEUE_FULL: also, no block is free; SIPWIRE_E_TOO_LARGE: above max_message_size;
 * SIPWIRE_E_SHUTTING_DOWN: stopped, or a dial while draining; SIPWIRE_E_SUPERVISOR_GONE; SIPWIRE_E_ROLE: the
 * thread is ending; SIPWIRE_E_NO_MEMORY; SIPWIRE_E_SYSTEM (errno is set).
 * on_capture runs inside, if the host has one and setting "capture" is yes.
 * Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives; `target` points to a structure of its struct_size; `iov` to `iov_count` pieces.
 * Since: 0.1
 */
int32_t sipwire_send(struct sipwire_instance *instance,
                     const struct sipwire_target *target,
                     const struct sipwire_iov *iov,
                     size_t iov_count,
                     uint64_t cookie);

/**
 * Lets the calling thread, a participant that sends, follow what happened since its last call:
 * descriptors of ended connections are closed, a new supervisor hears of it, descriptors on their way
 * to it are taken. Each sipwire_send does this too. A thread that may not send for a while (a UDP
 * receiver at night) calls it about once a second: until then a descriptor that it keeps holds the
 * connection of a dead supervisor open, and its peer waits.
 *
 * Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_NOT_ATTACHED; SIPWIRE_E_NO_PARTICIPANT;
 * SIPWIRE_E_ROLE: the thread is ending; SIPWIRE_E_SYSTEM (errno is set).
 * Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives.
 * Since: 0.1
 */
int32_t sipwire_refresh(struct sipwire_instance *instance);

/**
 * A snapshot of connection `conn_id`. Each value is true for some instant of the call, not all for the same
 * one. `out->struct_size` is set by the caller.
 *
 * Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_VERSION; SIPWIRE_E_NOT_ATTACHED;
 * SIPWIRE_E_NO_CONNECTION.
 * Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives; `out` points to a structure whose struct_size is set.
 * Since: 0.1
 */
int32_t sipwire_conn_info_get(struct sipwire_instance *instance,
                              uint32_t conn_id,
                              struct sipwire_conn_info *out);

/**
 * The id of an open connection to `remote`, and from `local` unless that is NULL or none (port 0 there:
 * any port).
 *
 * Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_NOT_ATTACHED; SIPWIRE_E_NO_CONNECTION, with *out_id
 * untouched.
 * Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives; `remote` and `local` point to a sipwire_addr, `local` may be NULL; `out_id` points to a number.
 * Since: 0.1
 */
int32_t sipwire_conn_find(struct sipwire_instance *instance,
                          const struct sipwire_addr *remote,
                          const struct sipwire_addr *local,
                          uint32_t *out_id);

/**
 * A page of connections. `cursor`: 0 to begin; 0 again after the last page. `out`: room for `capacity`
 * structures; out[0].struct_size is set by the caller and is the distance of the elements. A connection
 * that is there all the time is listed exactly once. No lock is held between pages or within.
 *
 * Returns: how many were written; SIPWIRE_E_ARGUMENT; SIPWIRE_E_VERSION; SIPWIRE_E_NOT_ATTACHED.
 * Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives; `cursor` points to a number; `out` has room for `capacity` structures of out[0].struct_size bytes.
 * Since: 0.1
 */
int32_t sipwire_conn_list(struct sipwire_instance *instance,
                          uint32_t *cursor,
                          struct sipwire_conn_info *out,
                          size_t capacity);

/**
 * Ends connection `conn_id` (reason HOST): what was queued is written first, then our FIN goes out and input is
 * dropped until the peer's, at most for the setting `linger`. on_close follows.
 *
 * Returns: SIPWIRE_OK: it will end; SIPWIRE_E_ARGUMENT; SIPWIRE_E_NOT_ATTACHED; SIPWIRE_E_NO_CONNECTION.
 * Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives.
 * Since: 0.1
 */
int32_t sipwire_conn_close(struct sipwire_instance *instance,
                           uint32_t conn_id);

/**
 * Keeps `user`, a number (or pointer) of the host's, with connection `conn_id`, 0 at first; callbacks show it as
 * conn_user. In a callback of this connection it is certain to reach it; elsewhere the host must know
 * that the connection has not ended: an id that is a moment too old may meet the next one in its place.
 *
 * Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_NOT_ATTACHED; SIPWIRE_E_NO_CONNECTION.
 * Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives.
 * Since: 0.1
 */
int32_t sipwire_conn_set_user(struct sipwire_instance *instance,
                              uint32_t conn_id,
                              uint64_t user);

/**
 * The lifetime of connection `conn_id` alone: `lifetime_ms` milliseconds from its last activity (data, a send, its
 * return from a worker); 0: the setting connection_lifetime. It does not run while keep-alive is on
 * (sipwire_conn_set_keepalive, sipwire_conn_set_flow_timer).
 *
 * Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT: lifetime_ms < 0; SIPWIRE_E_NOT_ATTACHED;
 * SIPWIRE_E_NO_CONNECTION.
 * Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives.
 * Since: 0.1
 */
int32_t sipwire_conn_set_lifetime(struct sipwire_instance *instance,
                                  uint32_t conn_id,
                                  int64_t lifetime_ms);

/**
 * Keep-alive as the client (RFC 5626 4.4.1), on connection `conn_id`, which we dialled or accepted: a double CRLF is
 * sent, and the peer answers with one CRLF. The time from one ping to the next is random between 80 % and
 * 100 % of `interval_ms` milliseconds: 10 to 14400000 (four hours); SIPWIRE_KEEPALIVE_DEFAULT: between 95 and
 * 120 seconds, the RFC's default where the peer gave no Flow-Timer; 0: off. The value of Flow-Timer, or of
 * `keep` (RFC 6223), times 1000 is what to give. With the setting crlf_keepalive connections that we dial
 * begin with SIPWIRE_KEEPALIVE_DEFAULT.
 *
 * A ping goes behind what is queued, never inside a message; the next one goes out when the pong came. When
 * it did not come within the setting pong_timeout the connection is closed: what is unsent is reported by
 * on_send_failed and the end by on_close, both with SIPWIRE_REASON_FLOW_FAILED; the destination is not
 * blacklisted. Only a pong ends the wait: neither a message nor a ping of the peer's shows that it reads what
 * we send. A message that is under way when the time is over is taken first, and while input waits for a
 * worker the connection is not judged.
 *
 * While it is on the connection's lifetime does not run: it lives as long as the peer answers.
 * Takes effect at once, also on the ping that is due next.
 *
 * Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT: interval_ms; SIPWIRE_E_NOT_ATTACHED; SIPWIRE_E_NO_CONNECTION.
 * Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives.
 * Since: 0.1
 */
int32_t sipwire_conn_set_keepalive(struct sipwire_instance *instance,
                                   uint32_t conn_id,
                                   int64_t interval_ms);

/**
 * The peer of connection `conn_id` has promised to send something, a ping at least, every `flow_timer_ms`
 * milliseconds, because the answer to its registration had a Flow-Timer (RFC 5626 5.4): 10 to 14400000 (four
 * hours); 0: it has not. When nothing arrives for so long and the setting flow_timer_grace, the connection is
 * closed and what is unsent reported, with SIPWIRE_REASON_FLOW_TIMER. Input that waits for a worker counts as
 * arrived. The time runs from the last input, or from this call if none was set before. Meanwhile the
 * connection's lifetime does not run.
 *
 * Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT: flow_timer_ms; SIPWIRE_E_NOT_ATTACHED; SIPWIRE_E_NO_CONNECTION.
 * Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives.
 * Since: 0.1
 */
int32_t sipwire_conn_set_flow_timer(struct sipwire_instance *instance,
                                    uint32_t conn_id,
                                    int64_t flow_timer_ms);

/**
 * How many bytes wait before a message that would be sent to `target` now. With a connection id: in the
 * queue of that connection. With an address: in the queues of all open connections to it (and from
 * `local`, unless that is none), connecting ones too; 0 when there is none. Messages that were sent to an
 * address without a connection and that the supervisor has not yet seen are not counted, nor is what the
 * kernel holds. With both, the connection if it still has that address, else the address, as sipwire_send
 * does. The bytes compare with conn_wq_max, queue_high and queue_low; they may have changed on return.
 *
 * `target->flags` is 0; `target->hash` plays no part.
 *
 * Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_VERSION; SIPWIRE_E_NOT_ATTACHED;
 * SIPWIRE_E_NO_CONNECTION: no connection with this id, and no address. On an error *out_bytes is untouched.
 * Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives; `target` points to a structure of its struct_size; `out_bytes` is valid.
 * Since: 0.1
 */
int32_t sipwire_queued(struct sipwire_instance *instance,
                       const struct sipwire_target *target,
                       uint64_t *out_bytes);

/**
 * Stops reading connection `conn_id` until sipwire_conn_resume. What its peer sends waits in the kernel, whose
 * window closes, so that the peer has to wait; nothing is lost. From inside an on_message of this
 * connection it is exact: no further message of it is delivered, not even one that was read together with
 * this one. From elsewhere a message whose delivery has begun, or begins in this instant, still comes.
 * Pausing twice is pausing once. SIPWIRE_CONN_PAUSED shows it.
 *
 * Only reading stops: messages are sent as before, and the connection ends as before by
 * sipwire_conn_close, a time limit, a reset of the peer, a drain or a stop; on_close then follows without
 * the messages that were not delivered. The connection's lifetime runs while the peer has sent nothing
 * that waits, and stands still from then on, as does the time for the rest of a message, for a pong and for
 * the peer's next ping; all begin anew at the resume, and first_message_timeout holds no more. When the peer
 * ends its side meanwhile, the connection ends half_close_timeout later unless it is resumed before. The pause is the connection's: it outlives the
 * thread or process that asked for it, and who pauses sees to it that somebody resumes.
 *
 * Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_NOT_ATTACHED; SIPWIRE_E_NO_CONNECTION.
 * Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives.
 * Since: 0.1
 */
int32_t sipwire_conn_pause(struct sipwire_instance *instance,
                           uint32_t conn_id);

/**
 * Reads connection `conn_id` again, which sipwire_conn_pause stopped: what waits is delivered in its order, by any
 * worker. Without a pause it does nothing; a pause that has not yet taken effect never does. A connection
 * that is also above queue_high is read when it is down to queue_low.
 *
 * Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_NOT_ATTACHED; SIPWIRE_E_NO_CONNECTION.
 * Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives.
 * Since: 0.1
 */
int32_t sipwire_conn_resume(struct sipwire_instance *instance,
                            uint32_t conn_id);

/**
 * Lets sends to the remote address of connection `conn_id` with this `port` take the connection, too: the alias
 * parameter of a Via with the port of its sent-by (RFC 5923). Whoever the peer is, it then gets what is
 * sent there: call it only for peers that may (a TLS certificate, a trusted network). A connection has
 * one alias, a new one takes the place of the old; it ends with the connection. A send by this thread
 * right behind the call takes the connection.
 *
 * An alias that another open connection answers to, by its remote address or by alias, is refused and
 * counted, unless that one is suspect: an alias it then loses, its own address it has again before the alias
 * when it is suspect no more. Of two connections for which the same alias is
 * asked at the same moment the first one that the supervisor sees has it, and the other is counted:
 * sipwire_conn_info.alias_port tells.
 *
 * Returns: SIPWIRE_OK: it has it or will have it in a moment; SIPWIRE_E_ARGUMENT: port 0 or above 65535;
 * SIPWIRE_E_ALIASES_OFF: the setting accept_aliases is off; SIPWIRE_E_ALIAS_TAKEN; SIPWIRE_E_NO_CONNECTION;
 * SIPWIRE_E_TOTAL_QUEUE_FULL: too many wait for the supervisor, or no block is free; SIPWIRE_E_SHUTTING_DOWN;
 * SIPWIRE_E_SUPERVISOR_GONE; SIPWIRE_E_NOT_ATTACHED; SIPWIRE_E_NO_PARTICIPANT; SIPWIRE_E_ROLE: the thread is
 * ending; SIPWIRE_E_SYSTEM (errno is set).
 * Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives.
 * Since: 0.1
 */
int32_t sipwire_conn_add_alias(struct sipwire_instance *instance,
                               uint32_t conn_id,
                               uint32_t port);

/**
 * Says (`on` not 0) that connection `conn_id` does not answer, or takes that back (0). While it is suspect no
 * send by address takes it: a new connection is dialled. Sends by id still go over it, its messages are
 * delivered, and sipwire_conn_find does not find it. It is not closed.
 *
 * Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_NOT_ATTACHED; SIPWIRE_E_NO_CONNECTION.
 * Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives.
 * Since: 0.1
 */
int32_t sipwire_conn_set_suspect(struct sipwire_instance *instance, uint32_t conn_id, int32_t on);

/**
 * A token that names connection `conn_id` and no other one ever (RFC 5626 section 5.2): 28 characters of
 * A-Z a-z 0-9 - _, for the user part of a Route or Record-Route URI. Nobody can make or alter one without
 * the key, which each sipwire_new draws anew. Written NUL-terminated to `out`, cut off to `size` bytes:
 * SIPWIRE_FLOW_TOKEN_SIZE are enough.
 *
 * Returns: the token's length; SIPWIRE_E_ARGUMENT; SIPWIRE_E_NOT_ATTACHED; SIPWIRE_E_NO_CONNECTION.
 * Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives; `out` has room for `size` bytes or is NULL.
 * Since: 0.1
 */
int32_t sipwire_flow_token(struct sipwire_instance *instance, uint32_t conn_id, char *out, size_t size);

/**
 * The connection that a flow token names: send on it with SIPWIRE_SEND_FLOW. `token`: `length` bytes as they
 * are in the message, not NUL-terminated.
 *
 * Returns: SIPWIRE_OK; SIPWIRE_E_BAD_TOKEN: not made here, or altered (an answer of 403, RFC 5626 section
 * 5.3.1); SIPWIRE_E_NO_CONNECTION: the connection has ended, or the token says that it is of an earlier start
 * (430); SIPWIRE_E_ARGUMENT; SIPWIRE_E_NOT_ATTACHED. On failure *out_id is untouched.
 * Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives; `token` points to `length` bytes; `out_id` to a number.
 * Since: 0.1
 */
int32_t sipwire_flow_find(struct sipwire_instance *instance,
                          const char *token,
                          size_t length,
                          uint32_t *out_id);

/**
 * Whether a destination is listed now: it failed and is not dialled until its time is over. Open
 * connections are not affected.
 *
 * Returns: 1 or 0; SIPWIRE_E_ARGUMENT.
 * Call from: any thread of any process that has the instance; in callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives; `addr` points to a sipwire_addr.
 * Since: 0.1
 */
int32_t sipwire_blacklist_check(struct sipwire_instance *instance, const struct sipwire_addr *addr);

/**
 * Lists a destination for `ttl_ms` milliseconds, or sets the time of one already there anew; < 0: for the
 * setting blacklist_ttl; 0: not at all.
 *
 * Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_NOT_ATTACHED; SIPWIRE_E_NO_PARTICIPANT;
 * SIPWIRE_E_NO_MEMORY: no place at this moment, try again; SIPWIRE_E_ROLE: the thread is ending;
 * SIPWIRE_E_SYSTEM (errno is set).
 * Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives; `addr` points to a sipwire_addr.
 * Since: 0.1
 */
int32_t sipwire_blacklist_add(struct sipwire_instance *instance,
                              const struct sipwire_addr *addr,
                              int64_t ttl_ms);

/**
 * Takes a destination off the list.
 *
 * Returns: 1: it was listed; 0: it was not; SIPWIRE_E_ARGUMENT; SIPWIRE_E_NOT_ATTACHED;
 * SIPWIRE_E_NO_PARTICIPANT; SIPWIRE_E_ROLE: the thread is ending; SIPWIRE_E_SYSTEM (errno is set).
 * Call from: any thread of a process that takes part; in callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives; `addr` points to a sipwire_addr.
 * Since: 0.1
 */
int32_t sipwire_blacklist_remove(struct sipwire_instance *instance, const struct sipwire_addr *addr);

/**
 * A page of listed destinations. Parameters and result as sipwire_conn_list; not one moment's picture,
 * and one that is listed again meanwhile may come twice.
 *
 * Returns: how many were written; SIPWIRE_E_ARGUMENT; SIPWIRE_E_VERSION.
 * Call from: any thread of any process that has the instance; in callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives; `cursor` points to a number; `out` has room for `capacity` structures of out[0].struct_size bytes.
 * Since: 0.1
 */
int32_t sipwire_blacklist_list(struct sipwire_instance *instance,
                               uint32_t *cursor,
                               struct sipwire_blacklist_entry *out,
                               size_t capacity);

/**
 * A snapshot of the statistics. `out->struct_size` is set by the caller. Reads memory only; each value is
 * true for some instant of the call.
 *
 * Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_VERSION.
 * Call from: any thread of any process that has the instance; in callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives; `out` points to a structure whose struct_size is set.
 * Since: 0.1
 */
int32_t sipwire_stats_get(struct sipwire_instance *instance, struct sipwire_stats *out);

/**
 * One worker's statistics, for `worker` 0 to workers - 1. `out->struct_size` is set by the caller.
 *
 * Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT: also, no such worker; SIPWIRE_E_VERSION.
 * Call from: any thread of any process that has the instance; in callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives; `out` points to a structure whose struct_size is set.
 * Since: 0.1
 */
int32_t sipwire_worker_stats_get(struct sipwire_instance *instance,
                                 int32_t worker,
                                 struct sipwire_worker_stats *out);

/**
 * Changes a setting while running, for all participants. Keys and values as in sipwire_config_set.
 *
 * `line`: NULL, or room for `size` bytes: with SIPWIRE_E_SETTING, SIPWIRE_E_NOT_LIVE and SIPWIRE_E_NO_MEMORY it
 * gets one line that says what is wrong and what is not (cut off to `size`); "" otherwise.
 *
 * Returns: SIPWIRE_OK; SIPWIRE_E_ARGUMENT; SIPWIRE_E_SETTING: unknown key, value out of range, or one that
 * contradicts another setting; SIPWIRE_E_NOT_LIVE: can only be set before sipwire_new; SIPWIRE_E_NO_MEMORY: an
 * address or list that other processes are in the middle of changing, try again.
 * Call from: any thread of any process that has the instance; in callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives; `key` and `value` are NUL-terminated; `line` has room for `size` bytes or is NULL.
 * Since: 0.1
 */
int32_t sipwire_set(struct sipwire_instance *instance,
                    const char *key,
                    const char *value,
                    char *line,
                    size_t size);

/**
 * Writes a setting's present value as text that sipwire_set takes back, NUL-terminated and cut off to
 * `size` bytes.
 *
 * Returns: the whole length without the NUL (the rule of snprintf); SIPWIRE_E_ARGUMENT;
 * SIPWIRE_E_SETTING: unknown key.
 * Call from: any thread of any process that has the instance; in callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives; `key` is NUL-terminated; `buffer` has room for `size` bytes or is NULL.
 * Since: 0.1
 */
int64_t sipwire_get(struct sipwire_instance *instance, const char *key, char *buffer, size_t size);

/**
 * Calls on_log here, in the calling thread, for log records that wait, at most 64. Workers do this by
 * themselves; it is for a host whose workers do not run (yet, or any more).
 *
 * Returns: how many; SIPWIRE_E_ARGUMENT; SIPWIRE_E_NOT_ATTACHED; SIPWIRE_E_NO_PARTICIPANT;
 * SIPWIRE_E_REENTRANT: in a callback; SIPWIRE_E_ROLE: the thread is ending; SIPWIRE_E_SYSTEM (errno is
 * set).
 * Call from: any thread of a process that takes part; in callbacks: no; blocks: never.
 *
 * Pointers: `instance` lives.
 * Since: 0.1
 */
int32_t sipwire_log_drain(struct sipwire_instance *instance);

/**
 * The text of what `what` says, SIPWIRE_DUMP_... combined: sections that begin with a line "[name]", then a
 * fact a line. NUL-terminated and cut off to `size` bytes. For people: lines and words may change from one
 * version to the next. With SIPWIRE_DUMP_CONNECTIONS about 200 bytes for each connection.
 *
 * Memory is allocated for the text. The instance may be in any state, also one in which nobody serves it. What
 * was true at one instant need not be at the next: two calls give texts of different length.
 *
 * Returns: the whole length without the NUL (the rule of snprintf); SIPWIRE_E_ARGUMENT: also, `what` is 0
 * or has bits that are none.
 * Call from: any thread of any process that has the instance; in callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives; `buffer` has room for `size` bytes or is NULL.
 * Since: 0.1
 */
int64_t sipwire_dump(struct sipwire_instance *instance,
                     uint32_t what,
                     char *buffer,
                     size_t size);

/**
 * The statistics in the text exposition format of Prometheus (0.0.4, to be served as "text/plain;
 * version=0.0.4"): those of sipwire_stats and sipwire_worker_stats, names with "sipwire_" in front and, of
 * what only grows, "_total" behind; slots_total and blocks_total, which do not, end in "_max".
 * NUL-terminated and cut off to `size` bytes: 32768 are enough for 32 workers. The host serves it, by
 * whatever speaks HTTP there. Memory is allocated for the text.
 *
 * Returns: the whole length without the NUL (the rule of snprintf); SIPWIRE_E_ARGUMENT.
 * Call from: any thread of any process that has the instance; in callbacks: yes; blocks: never.
 *
 * Pointers: `instance` lives; `buffer` has room for `size` bytes or is NULL.
 * Since: 0.1
 */
int64_t sipwire_prometheus(struct sipwire_instance *instance, char *buffer, size_t size);

/**
 * The one symbol that a host which loads the library has to look up. `abi`: SIPWIRE_ABI of the header with which
 * the host was compiled. The table is static: the shared library is never unloaded (it is linked with -z nodelete),
 * so that dlclose is allowed at any time, ends nothing, and a second dlopen finds the same table. A host that makes
 * a shared object of its own of the archive and unloads that has to link it so, too.
 *
 * Returns: the table; NULL: this library has another number, see sipwire_abi_version.
 * Call from: anywhere, a signal handler included; in callbacks: yes; blocks: never.
 * Since: 0.1
 */
const struct sipwire_api *sipwire_entry(uint32_t abi);

/**
 * The number of the binary interface of the library that runs, for the line about one that does not fit.
 *
 * Returns: its SIPWIRE_ABI.
 * Call from: anywhere, a signal handler included; in callbacks: yes; blocks: never.
 * Since: 0.1
 */
uint32_t sipwire_abi_version(void);

#ifdef __cplusplus
}
#endif

#endif /* SIPWIRE_H */
