"""sipd and answer from start to end: log level, children that die, answers that outlive their connection, stop."""

import os
import signal
import time

import pytest
from run import BUILD, CHECK_ALL, Server, processes_of
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
