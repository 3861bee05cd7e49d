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
