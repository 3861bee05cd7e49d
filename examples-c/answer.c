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

enum { MAX_PARTS = 256, MAX_WORKERS = 1024 };

static int32_t on_message(void *user, sipwire_instance *instance, sipwire_message *message)
{
    static const char *const copied[] = {"To", "t", "Via", "v", "From", "f", "Call-ID", "i", "CSeq"};
    sipwire_target target = {.struct_size = sizeof target, .conn_id = message->conn_id};
    sipwire_iov parts[MAX_PARTS] = {{"SIP/2.0 200 OK\r\n", 16}};
    const char *end = message->data + message->header_length, *next = message->data, *line, *tag;
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
        parts[count++] = (sipwire_iov){line, length};
        tag = strcasestr(line, ";tag="); /* only To is given one (RFC 3261 8.2.6.2) */
        parts[count++] = name > 1 || (tag && tag < next) ? (sipwire_iov){"\r\n", 2} : (sipwire_iov){";tag=answer\r\n", 13};
    }
    parts[count++] = (sipwire_iov){"Content-Length: 0\r\n\r\n", 21};
    sipwire_send(instance, &target, parts, count, 0); /* never blocks; refused: the client is gone or does not read */
    return 0;
}

static pid_t start_child(sipwire_instance *instance, int number) /* 0: the supervisor, then the workers */
{
    pid_t parent = getpid(), pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* no orphan keeps the port when the parent is killed */
    for (; getppid() == parent; usleep(20000)) { /* again when the supervisor died: it is being replaced */
        int32_t rc = number ? sipwire_run_worker(instance, number - 1) : sipwire_run_supervisor(instance);
        if (rc != SIPWIRE_E_SUPERVISOR_GONE)
            sipwire_free(instance), usleep(rc ? 200000 : 0), _exit(rc ? 1 : 0); /* this process's part; the others go on */
    }
    _exit(1);
}

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
    pid_t children[MAX_WORKERS + 1] = {0}, pid;
    int processes = 0, listeners = 0, option, received = 0, last;
    int32_t rc = SIPWIRE_OK;
    char text[64], *key;
    while (rc >= 0 && (option = getopt_long(argc, argv, "hw:l:o:", longs, NULL)) != -1) {
        switch (option) {
        case 't': case 'p': processes = option == 'p'; break;
        case 'l': rc = sipwire_config_listen(config, optarg), listeners++; break;
        case 'w': rc = sipwire_config_set(config, "workers", optarg); break;
        case 'o': key = strsep(&optarg, "="), rc = sipwire_config_set(config, key, optarg ? optarg : ""); break;
        case 'h': return puts(help), 0;
        default: return fail(help);
        }
    }
    if (rc >= 0 && listeners == 0)
        rc = sipwire_config_listen(config, "tcp:127.0.0.1:5060");
    /* blocked before any thread or child exists, so that only the sigwait below sees them */
    sigemptyset(&signals), sigaddset(&signals, SIGTERM), sigaddset(&signals, SIGINT), sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    if (rc < 0 || (rc = sipwire_new(config, &callbacks, NULL, &instance)) < 0)
        return fail(*sipwire_config_error(config) ? sipwire_config_error(config) : sipwire_strerror(rc));
    sipwire_config_get(config, "workers", text, sizeof text);
    last = !processes ? -1 : atoi(text) < MAX_WORKERS ? atoi(text) : MAX_WORKERS; /* the last child */
    if (!processes && (rc = sipwire_start(instance)) < 0)
        return fail(sipwire_strerror(rc));
    for (int i = 0; i <= last; i++)
        children[i] = start_child(instance, i);
    for (int i = 0; sipwire_listener_addr(instance, i, &addr) >= 0; i++)
        sipwire_addr_format(&addr, text, sizeof text), printf("listening on tcp:%s\n", text);
    puts("ready"), fflush(stdout);

    while (received != SIGTERM && received != SIGINT) {
        sigwait(&signals, &received);
        while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {
            fprintf(stderr, "answer: process %d died, starting another\n", (int)pid);
            sipwire_process_died(instance, pid); /* what it held is recovered before another takes its place */
            usleep(20000); /* one that dies at once must not become a fork loop */
            for (int i = 0; i <= last; i++)
                if (children[i] == pid)
                    children[i] = start_child(instance, i);
        }
    }
    alarm(10); /* should a child not end, it dies with this process */
    sipwire_stop(instance);
    while (wait(NULL) > 0) {}
    sipwire_free(instance);
    sipwire_config_free(config);
    return 0;
}
