"""sipd and answer from start to end: log level, children that die, answers that outlive their connection, stop."""

import os
import signal
import time

import pytest
from run import BUILD, CHECK_ALL, Server, end_session, processes_of
from sip_peers import Listener, Tcp, Udp, await_output, await_true, preload, request, start

SLEEP = "function route(msg) log('sleeping') sleep(600) end"


def children_of(server, name):
    """Processes of the server by the names that ps shows."""
    named = []
    for pid in processes_of(server.pid):
        try:
            with open(f"/proc/{pid}/comm") as comm:
                if pid != server.pid and comm.read().strip() == name:
                    named.append(pid)
        except OSError:
            pass
    return named


def await_child(server, name, other_than=()):
    return await_true(lambda: [pid for pid in children_of(server, name) if pid not in other_than], f"no {name}")[0]


def ended(server, code, limit=5):
    """It ends by itself with this code, and leaves nothing."""
    server.output += server.process.communicate(timeout=limit)[0].decode(errors="replace")
    assert server.process.returncode == code, server.output
    server.leftovers.check(server.pid)


# ---- log ----


def test_the_log_level_is_that_of_the_library_too(mode, tmp_path):
    with start(mode, tmp_path, "--log", "info") as server:
        Tcp(server.ports["tcp"]).close()
        await_output(server, "sipwire: connection with 127.0.0.1:")


# ---- participants ----

NO_FORK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

pid_t fork(void)
{
    if (access(getenv("NO_FORK"), F_OK) == 0) {
        errno = EAGAIN;
        return -1;
    }
    return ((pid_t (*)(void))dlsym(RTLD_NEXT, "fork"))();
}
"""


@pytest.mark.parametrize("program", ["sipd", "answer"])
def test_a_child_that_could_not_be_replaced_is_tried_again(program, tmp_path):
    full = tmp_path / "no-process-to-have"
    environment = {**preload(tmp_path, NO_FORK), "NO_FORK": str(full)}
    with Server([BUILD / program, "--processes", "-w", "1", "-l", "tcp:127.0.0.1:0"], env=environment) as server:
        worker = await_child(server, "sipwire-w0")
        full.touch()
        os.kill(worker, signal.SIGKILL)
        await_output(server, "starting another")
        time.sleep(0.2)
        full.unlink()
        await_child(server, "sipwire-w0", other_than=[worker])
        with Tcp(server.ports["tcp"]) as phone:
            phone.ask(request("OPTIONS", "sip:127.0.0.1", phone.via), 200)


@pytest.mark.parametrize("program", ["sipd", "answer"])
def test_a_child_is_replaced_also_when_sipd_was_started_with_sigchld_ignored(program):
    command = ["env", "--ignore-signal=CHLD", BUILD / program, "--processes", "-w", "1", "-l", "tcp:127.0.0.1:0"]
    with Server(command) as server:
        for name in ("sipwire-w0", "sipwire-super"):
            killed = await_child(server, name)
            os.kill(killed, signal.SIGKILL)
            await_child(server, name, other_than=[killed])


@pytest.mark.parametrize("program", ["sipd", "answer"])
def test_a_child_is_replaced_also_when_nobody_reads_that_it_died(program):
    with Server([BUILD / program, "--processes", "-w", "1", "-l", "tcp:127.0.0.1:0"]) as server:
        worker = await_child(server, "sipwire-w0")
        server.process.stdout.close()
        os.kill(worker, signal.SIGKILL)
        await_child(server, "sipwire-w0", other_than=[worker])


def test_sipd_serves_on_when_nobody_reads_its_log(mode, tmp_path):
    with start(mode, tmp_path, script="function route(msg) log(msg.method) msg:reply(200) end") as server:
        server.process.stdout.close()
        for peer in (Udp(server.ports["udp"]), Tcp(server.ports["tcp"])):
            with peer:
                for _ in range(3):
                    peer.ask(request("OPTIONS", "sip:127.0.0.1", peer.via), 200)


LATE_PRCTL = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

enum { PR_SET_PDEATHSIG = 1 }; /* sys/prctl.h declares prctl with "..." */

/* As soon as a file is there a child asks for its parent's death only after that has come. */
int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)
{
    pid_t parent = getppid();
    if (option == PR_SET_PDEATHSIG && access(getenv("LATE"), F_OK) == 0 && write(1, "waits\\n", 6) == 6)
        while (getppid() == parent)
            usleep(1000);
    return ((int (*)(int, ...))dlsym(RTLD_NEXT, "prctl"))(option, a, b, c, d);
}
"""

@pytest.mark.parametrize("program", ["sipd", "answer"])
def test_a_child_whose_parent_has_died_before_it_could_ask_for_it_ends(program, tmp_path):
    late = tmp_path / "late"
    environment = {**preload(tmp_path, LATE_PRCTL), "LATE": str(late)}
    server = Server([BUILD / program, "--processes", "-w", "1", "-l", "tcp:127.0.0.1:0"], env=environment)
    try:
        supervisor = await_child(server, "sipwire-super")
        late.touch()
        os.kill(supervisor, signal.SIGKILL)
        await_output(server, "waits")
        os.kill(server.pid, signal.SIGKILL)
        ended(server, -signal.SIGKILL)
    finally:
        end_session(server.pid, patience=0)


# ---- a script's own children ----

CHILDREN = """
function route(msg)
  local pipe = io.popen("exit 3")
  pipe:read("a")
  sleep(0.02)
  local _, _, code = pipe:close()
  msg:reply(200, "OK", { ["X-Code"] = tostring(code) })
end
"""


def test_a_script_gets_the_exit_code_of_what_it_runs(mode, tmp_path):
    with start(mode, tmp_path, script=CHILDREN) as server, Tcp(server.ports["tcp"]) as phone:
        for _ in range(5):
            assert phone.ask(request("OPTIONS", "sip:127.0.0.1", phone.via), 200).header("X-Code") == "3"


# ---- connections of a dead supervisor ----

RELAY = """
function route(msg)
  if msg.transport == "tcp" then
    msg:reply(200, "OK", { ["X-Connection"] = tostring(msg.conn_id) })
  else
    msg:relay("conn:" .. msg.ruri_user)
  end
end
"""


def test_a_receiver_that_sends_nothing_more_does_not_keep_a_dead_supervisors_connection_open(tmp_path):
    with start("--processes", tmp_path, "-u", "1", script=RELAY) as server:
        with Tcp(server.ports["tcp"]) as phone, Udp(server.ports["udp"]) as caller:
            connection = phone.ask(request("OPTIONS", "sip:127.0.0.1", phone.via), 200).header("X-Connection")
            receiver = await_child(server, "sipd-udp2")
            before = len(os.listdir(f"/proc/{receiver}/fd"))

            def has_a_descriptor_of_its_own():
                caller.send(request("OPTIONS", f"sip:{connection}@127.0.0.1", caller.via))
                phone.expect("OPTIONS")
                return len(os.listdir(f"/proc/{receiver}/fd")) > before

            await_true(has_a_descriptor_of_its_own, "the receiver never writes directly")
            os.kill(await_child(server, "sipwire-super"), signal.SIGKILL)
            await_true(lambda: not phone.is_open(), "its supervisor is dead and the connection open")


# ---- answers that outlive their connection (RFC 3261 18.2.2) ----

FILL = """
function route(msg)
  if msg.ruri_user == "queued" then
    local now = stats()
    msg:reply(200, "OK", { ["X-Messages"] = tostring(now.messages_in), ["X-Queued"] = tostring(now.queued_bytes) })
  else
    msg:reply(200, "OK", { ["X-Long"] = ("x"):rep(60000) })
  end
end
"""


def fill(server, phone, back, count=120):
    """Asks for answers to be sent back to a listener and reads none: in the end some wait in the library's queue."""
    for number in range(count):
        phone.send(request("OPTIONS", "sip:127.0.0.1", f"TCP 127.0.0.1:{back.port}", call=f"fill{number}"))

    with Tcp(server.ports["tcp"]) as other:

        def all_answered():
            answer = other.ask(request("OPTIONS", "sip:queued@127.0.0.1", other.via), 200)
            return int(answer.header("X-Messages")) > count and int(answer.header("X-Queued")) > 0

        await_true(all_answered, "nothing is queued")


def test_an_answer_that_was_queued_when_the_supervisor_died_is_sent_over_another_connection(tmp_path):
    options = ["-o", "conn_wq_max=16m", "-o", "wq_max=32m", "-o", "send_timeout=20s"]
    with Listener() as back, start("--processes", tmp_path, *options, script=FILL) as server:
        with Tcp(server.ports["tcp"], receive_buffer=4096) as phone:
            fill(server, phone, back)
            os.kill(await_child(server, "sipwire-super"), signal.SIGKILL)
            with back.accept() as connection:
                connection.expect(200)


# ---- delayed answers ----

DIES_ONCE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* The first who has given pages of shared memory back dies of it. */
int madvise(void *at, size_t length, int advice)
{
    int result = ((int (*)(void *, size_t, int))dlsym(RTLD_NEXT, "madvise"))(at, length, advice);
    if (advice == MADV_REMOVE && open(getenv("ONCE"), O_CREAT | O_EXCL, 0600) >= 0)
        kill(getpid(), SIGKILL);
    return result;
}
"""


def test_a_timer_that_dies_behind_an_answer_does_not_have_the_rest_of_it_sent_again(tmp_path):
    environment = {**preload(tmp_path, DIES_ONCE), "ONCE": str(tmp_path / "once")}
    script = "function route(msg) msg:reply_after(0.05, 200) end"
    with start("--processes", tmp_path, script=script, env=environment) as server, Tcp(server.ports["tcp"]) as phone:
        long = [f"Record-Route: <sip:{number}@example.com;lr;{'x' * 900}>" for number in range(10)]
        phone.ask(request("INVITE", "sip:bob@127.0.0.1", phone.via, *long, call="long"), 200)
        await_output(server, "starting another")
        answer = phone.ask(request("INVITE", "sip:bob@127.0.0.1", phone.via, call="short"), 200)
        assert answer.header("Call-ID") == "short" and not answer.all("Record-Route") and "\0" not in answer.text


# ---- stop ----


def ask_to_sleep(server, transport):
    peer = Tcp(server.ports["tcp"]) if transport == "tcp" else Udp(server.ports["udp"])
    peer.send(request("OPTIONS", "sip:127.0.0.1", peer.via))
    await_output(server, "sleeping")
    return peer


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_what_does_not_end_in_time_is_killed_and_said_so_once(transport, mode, tmp_path):
    server = start(mode, tmp_path, "--grace", "1", script=SLEEP)
    with ask_to_sleep(server, transport):
        server.process.terminate()
        ended(server, 1)
    assert server.output.count("not all have ended in time") == 1, server.output
    assert len([line for line in server.output.splitlines() if line.startswith("sipd: ")]) == 2, server.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_sipd_at_once(number, mode, tmp_path):
    server = start(mode, tmp_path, "--grace", "60", script=SLEEP)
    with ask_to_sleep(server, "tcp"):
        server.process.terminate()
        time.sleep(0.2)
        assert server.process.poll() is None
        server.process.send_signal(number)
        ended(server, 1)


def test_a_second_signal_ends_answer_at_once():
    server = Server([BUILD / "answer", "--processes", "-w", "1", "-l", "tcp:127.0.0.1:0"])
    os.kill(await_child(server, "sipwire-w0"), signal.SIGSTOP)
    server.process.terminate()
    time.sleep(0.2)
    assert server.process.poll() is None
    server.process.send_signal(signal.SIGINT)
    ended(server, 1)


if CHECK_ALL:  # it takes the 10 s

    def test_answer_says_that_not_all_ended_in_time():
        server = Server([BUILD / "answer", "--processes", "-w", "1", "-l", "tcp:127.0.0.1:0"])
        os.kill(await_child(server, "sipwire-w0"), signal.SIGSTOP)
        server.process.terminate()
        ended(server, 1, limit=20)
        assert server.output.count("not all ended in time") == 1, server.output


@pytest.mark.parametrize("program", ["sipd", "answer"])
def test_a_stop_without_a_supervisor_ends_all(program):
    server = Server([BUILD / program, "--processes", "-w", "2", "-l", "tcp:127.0.0.1:0"])
    supervisor = await_child(server, "sipwire-super")
    await_child(server, "sipwire-w1")
    for _ in range(4):
        with Tcp(server.ports["tcp"]) as phone:
            phone.ask(request("OPTIONS", "sip:127.0.0.1", phone.via), 200)
    time.sleep(0.2)
    server.process.send_signal(signal.SIGSTOP)
    os.kill(supervisor, signal.SIGKILL)
    time.sleep(0.2)  # the workers find out
    server.process.terminate()  # taken before SIGCHLD, which has the higher number
    server.process.send_signal(signal.SIGCONT)
    ended(server, 0)
