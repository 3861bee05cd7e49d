/* answer: the smallest host of libsipwire. Answers every request 200 by copying Via, From, To, Call-ID and CSeq;
 * ACKs and responses get nothing. The library calls on_message in its workers: threads, or children forked here. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <sipwire.h>

enum { MAX_PARTS = 256, MAX_WORKERS = 1024, GRACE_S = 10 };

static int has_tag(const char *line, const char *end) /* behind the URI: a parameter inside <> is the URI's own */
{
    const char *at = memrchr(line, '>', (size_t)(end - line));
    for (at = at ? at : line; at < end && (at = memchr(at, ';', (size_t)(end - at)));)
        if (at += 1 + strspn(at + 1, " \t\r\n"), !strncasecmp(at, "tag", 3) && at[3 + strspn(at + 3, " \t\r\n")] == '=')
            return 1;
    return 0;
}

static int32_t on_message(void *user, sipwire_instance *instance, sipwire_message *message)
{
    static const char *const copied[] = {"To", "t", "Via", "v", "From", "f", "Call-ID", "i", "CSeq"};
    sipwire_target target = {.struct_size = sizeof target, .conn_id = message->conn_id};
    sipwire_iov parts[MAX_PARTS] = {{"SIP/2.0 200 OK\r\n", 16}};
    const char *end = message->data + message->header_length, *next = message->data, *line;
    size_t count = 1, length, name;
    (void)user;
    if (strncmp(message->data, "SIP/", 4) == 0 || strncmp(message->data, "ACK ", 4) == 0)
        return 0;
    while ((line = next) < end) {
        do { /* a line goes on while the next one begins with white space (RFC 3261 7.3.1) */
            next = memchr(next, '\n', (size_t)(end - next));
            next = next ? next + 1 : end;
        } while (next < end && (*next == ' ' || *next == '\t'));
        length = strcspn(line, " \t:\r\n");
        for (name = 0; name < 9 && (strlen(copied[name]) != length || strncasecmp(line, copied[name], length)); name++) {}
        if (name == 9)
            continue;
        if (count + 3 > MAX_PARTS)
            return -1;
        for (length = (size_t)(next - line); line[length - 1] == '\n' || line[length - 1] == '\r'; length--) {}
        parts[count++] = (sipwire_iov){line, length}; /* only To is given a tag (RFC 3261 8.2.6.2) */
        parts[count++] = name > 1 || has_tag(line, next) ? (sipwire_iov){"\r\n", 2} : (sipwire_iov){";tag=answer\r\n", 13};
    }
    parts[count++] = (sipwire_iov){"Content-Length: 0\r\n\r\n", 21};
    sipwire_send(instance, &target, parts, count, 0); /* never blocks; refused: the client is gone or does not read */
    return 0;
}

static pid_t start_child(sipwire_instance *instance, int number) /* 0: the supervisor, then the workers */
{
    pid_t parent = getpid(), pid = fork();
    int32_t rc;
    if (pid != 0)
        return pid;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL), getppid() != parent) /* no orphan keeps the port when the parent is killed */
        _exit(1);
    do /* again when the supervisor died: it is being replaced; SIPWIRE_OK when all is to end */
        rc = number ? sipwire_run_worker(instance, number - 1) : sipwire_run_supervisor(instance);
    while (rc == SIPWIRE_E_SUPERVISOR_GONE && getppid() == parent && usleep(20000) == 0);
    sipwire_free(instance), usleep(rc ? 200000 : 0), _exit(rc ? 1 : 0); /* this process's part; the others go on */
}

/* By force: not all have ended in time, or a second signal has come. Our children die with us. */
static void give_up(int signal) { _exit(signal == SIGALRM && write(2, "answer: not all ended in time\n", 30) < 0 ? 2 : 1); }
static int fail(const char *what) { return fprintf(stderr, "answer: %s\n", what), 1; }

int main(int argc, char **argv)
{
    static const char help[] = "usage: answer [--threads|--processes] [-w WORKERS] [-l tcp:ADDR:PORT]... [-o key=value]...";
    static const struct option longs[] = {{"threads", 0, 0, 't'}, {"processes", 0, 0, 'p'}, {"help", 0, 0, 'h'}, {0}};
    sipwire_config *config = sipwire_config_new();
    sipwire_callbacks callbacks = {.struct_size = sizeof callbacks, .on_message = on_message};
    sipwire_instance *instance = NULL;
    sipwire_addr addr;
    sigset_t signals;
    pid_t children[MAX_WORKERS + 1] = {0};
    int rc = SIPWIRE_OK, processes = 0, listeners = 0, option, received = 0, last;
    char text[64], *key;
    while (rc >= 0 && (option = getopt_long(argc, argv, "-hw:l:o:", longs, NULL)) != -1) {
        switch (option) {
        case 't': case 'p': processes = option == 'p'; break;
        case 'l': rc = sipwire_config_listen(config, optarg), listeners++; break;
        case 'w': rc = sipwire_config_set(config, "workers", optarg); break;
        case 'o': key = strsep(&optarg, "="), rc = sipwire_config_set(config, key, optarg ? optarg : ""); break;
        case 'h': return puts(help), 0;
        default: return fail(help); /* unknown, or no option at all */
        }
    }
    rc = rc >= 0 && listeners == 0 ? sipwire_config_listen(config, "tcp:127.0.0.1:5060") : rc;
    signal(SIGPIPE, SIG_IGN), signal(SIGCHLD, SIG_DFL); /* stderr may be a pipe; who started us may ignore SIGCHLD */
    sigemptyset(&signals), sigaddset(&signals, SIGTERM), sigaddset(&signals, SIGINT), sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, NULL); /* before any thread or child exists: only the sigtimedwait below sees them */
    if (rc < 0 || (rc = sipwire_new(config, &callbacks, NULL, &instance)) < 0 ||
        (!processes && (rc = sipwire_start(instance)) < 0))
        return fail(*sipwire_config_error(config) ? sipwire_config_error(config) : sipwire_strerror(rc));
    sipwire_config_get(config, "workers", text, sizeof text);
    last = !processes ? -1 : atoi(text) < MAX_WORKERS ? atoi(text) : MAX_WORKERS; /* the last child */
    for (int i = 0; sipwire_listener_addr(instance, i, &addr) >= 0; i++)
        sipwire_addr_format(&addr, text, sizeof text), printf("listening on tcp:%s\n", text);
    puts("ready"), fflush(stdout);
    for (; received != SIGTERM && received != SIGINT; received = sigtimedwait(&signals, NULL, &(struct timespec){1, 0}))
        for (int i = 0; i <= last; i++) {
            if (children[i] > 0 && waitpid(children[i], NULL, WNOHANG) == 0)
                continue; /* it runs */
            if (children[i] > 0) /* what it held is recovered before another takes its place */
                fprintf(stderr, "answer: process %d died, starting another\n", (int)children[i]),
                    sipwire_process_died(instance, children[i]), usleep(20000); /* no fork loop */
            children[i] = start_child(instance, i); /* also one that could not be forked the last time */
        }
    signal(SIGALRM, give_up), signal(SIGTERM, give_up), signal(SIGINT, give_up), alarm(GRACE_S);
    sigprocmask(SIG_UNBLOCK, &signals, NULL), sipwire_stop(instance);
    while (wait(NULL) > 0) {}
    return sipwire_free(instance), sipwire_config_free(config), 0;
}
