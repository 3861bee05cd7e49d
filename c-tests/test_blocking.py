"""Nobody sleeps but in its own poll: the tracer (c-tests/tracer/main.c says what it allows) runs sipd, answer, Kamailio and C
tests under load and names each call that could sleep, with its stack. What the sources say of it: test_source.py."""

import re
import socket
import struct
from contextlib import contextmanager

import pytest
from kamailio import Kamailio, needs_kamailio
from run import BUILD, CHECK_ALL, TOP, Server, end_session, free_port, run, tail
from sip_peers import Listener, Tcp, Udp, await_true, preload, register, request, response
from test_sipp import Callee, sipp, statistics

TRACER = BUILD / "c-tests" / "tracer"
SENDS = {"sendto", "sendmsg"}  # a message of one part, of several
# C tests that bring the library to all that it does to others: async mode, dials that are refused or time out, the ways a
# connection ends, dead workers, descriptors passed. None whose outcome hangs on how soon a slow machine does something.
SUBSET = ["async", "blacklist", "dial", "half_close", "interleaving", "listeners", "queue_flood", "worker_killed"]
MORE = [
    *["bad_input", "bounds", "callbacks_send", "close_race", "close_race_read", "close_reasons", "connections", "dead_sender"],
    *["drain", "fd_exhaustion", "framing", "graceful", "io_error", "keep_alive", "large_message", "live_settings", "message_timeout"],
    *["queue_conn_close", "queue_conn_reject", "queue_large", "refresh", "round_robin", "stop_calls", "supervisor_killed"],
    *["writable"],
]


def c_tests():
    for name in SUBSET + (MORE if CHECK_ALL else []):
        modes = re.search(r"^/\* modes: (.*?) \*/", (TOP / "c-tests" / f"{name}.c").read_text(), re.M)[1]
        for mode in modes.split():
            yield pytest.param(name, f"--{mode}", id=f"{name}-{mode}")


@pytest.fixture(autouse=True, scope="module")
def tracing():
    code, output = run([TRACER, "-o", "/dev/null", "true"])
    if code == 77:
        pytest.skip(output)
    assert code == 0, output


def entries(report):
    """[(first line, stack)] of the report."""
    parts = re.split(r"\n(?!    )", report.read_text(errors="replace"))
    return [(first, rest) for first, _, rest in (part.partition("\n") for part in parts)]


def assert_no_sleep(report):
    found = [f"{first}\n{stack}" for first, stack in entries(report) if first.startswith("COULD SLEEP")]
    if found:
        pytest.fail("\n".join(found[:10]), pytrace=False)


@contextmanager
def judged(report):
    """What could sleep is said first: all other trouble may only follow from it."""
    try:
        yield
    except BaseException:
        assert_no_sleep(report)
        raise
    assert_no_sleep(report)


def traced(report):
    """What each participant did after it came to its loop: {name: {call: times}}; "polls" is its own poll."""
    lines = [first for first, _ in entries(report) if first.startswith("TRACED ")]
    return {
        name: {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", rest)}
        for name, rest in re.findall(r"^TRACED (\S+): (.*)$", "\n".join(lines), re.M)
    }


class Traced(Server):
    """A server under the tracer, its standard error in a file: whoever logs to a pipe sleeps when nobody reads it, which is
    a host's own choice. It is ready when all its participants are in their loops."""

    def __init__(self, folder, participants, *command, options=()):
        self.report, self.participants = folder / "report", participants
        quiet = ["sh", "-c", 'exec "$@" 2>"$0"', folder / "stderr"]
        super().__init__([TRACER, "-o", self.report, *options, *quiet, *command])
        loops = lambda: set(re.findall(r"^PARTICIPANT (\S+)", self.report.read_text(), re.M))
        try:
            await_true(lambda: loops() == participants, f"not {participants}", limit=30)
        except BaseException:
            end_session(self.pid, patience=0)
            raise

    def stop(self, limit=60):
        super().stop(limit)
        did = traced(self.report)
        assert set(did) == self.participants and all(calls["polls"] > 0 for calls in did.values()), did

    def __exit__(self, kind, *more):
        with judged(self.report):
            super().__exit__(kind, *more)


def call(server, transport, folder, calls):
    """sipp as the caller of "callee": every call succeeds."""
    port = server.ports["udp" if transport[0] == "u" else "tcp"]
    options = ["-s", "callee", "-m", calls, "-r", 100, "-l", "2000"]
    code, output = run(sipp("uac", free_port(), transport, folder, *options, target=port), limit=120, cwd=folder)
    assert code == 0 and int(statistics(folder, "uac")["SuccessfulCall(C)"]) == calls, tail(output)


def message(peer, user, size=0, *lines):
    return request("MESSAGE", f"sip:{user}@127.0.0.1", peer.via, *lines, body="x" * size)


def slow_phone(server):
    """It registers, and its kernel takes little."""
    phone = Tcp(server.ports["tcp"], receive_buffer=4096)
    register(phone, "slow", f"<sip:slow@127.0.0.1:{phone.port};transport=tcp>")
    return phone


def flood_a_slow_phone(server, senders):
    """More than its kernel takes is queued for it; then it reads, and all comes whole."""
    with slow_phone(server) as phone:
        for number in range(200):
            peer = senders[number % len(senders)]
            peer.send(message(peer, "slow", 50000 if peer.transport == "TCP" else 8000))
        for _ in range(100):
            phone.expect("MESSAGE")


def lose_a_phone(server, caller):
    """It never reads: what is queued for it is given up, and its connection with it."""
    with slow_phone(server) as phone:
        caller.send("".join(message(caller, "slow", 50000) for _ in range(150)))
        await_true(lambda: phone.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), "the connection stays", limit=30)


def dial(caller):
    """A server that answers; one that refuses, twice: the second time it is on the blacklist."""
    with Listener() as there:
        caller.send(message(caller, "far", 0, f"Route: <{there.uri};transport=tcp;lr>"))
        with there.accept() as server:
            server.send(response(server.expect("MESSAGE"), 202))
            caller.expect(202)
    with socket.socket() as nobody:  # has the port, and does not listen
        nobody.bind(("127.0.0.1", 0))
        route = f"Route: <sip:127.0.0.1:{nobody.getsockname()[1]};transport=tcp;lr>"
        for _ in range(2):
            caller.ask(message(caller, "far", 0, route), 503)


def close_in_every_way(server):
    for end in ("reset", "half", "garbage", "plain"):
        with Tcp(server.ports["tcp"]) as peer:
            peer.ask(request("OPTIONS", "sip:127.0.0.1", peer.via), 200)
            if end == "reset":
                peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif end == "half":
                peer.send(request("OPTIONS", "sip:127.0.0.1", peer.via))
                peer.socket.shutdown(socket.SHUT_WR)
                peer.expect(200)
            elif end == "garbage":
                peer.send("\0\1\2 this is not SIP\r\n\r\n")
                while peer.receive():
                    pass


@pytest.mark.timeout(300)
def test_no_participant_of_sipd_sleeps_under_load(mode, tmp_path):
    participants = {"sipwire-super", "sipwire-w0", "sipwire-w1", "sipd-udp2", "sipd-udp3", "sipd-timer"}
    command = [BUILD / "sipd", mode, "-w", "2", "-u", "2", "-l", "tcp:127.0.0.1:0", "-l", "udp:127.0.0.1:0"]
    settings = ["worker_hold=100ms", "send_timeout=3s", "conn_wq_max=8m", "wq_max=16m"]
    # The registrar of sipd has a lock of its own, held for memory accesses alone; that is no business of the library.
    command += [part for setting in settings for part in ("-o", setting)]
    server = Traced(tmp_path, participants, *command, options=["--host-lock", "shared_lock"])
    calls = 1000 if CHECK_ALL else 100
    with server, Callee(tmp_path, "t1", 3 * calls) as phone:
        options = ["-s", "callee", "-m", "1", "-key", "phone_port", phone.port]
        run(sipp("register", free_port(), "t1", tmp_path, *options, target=server.ports["tcp"]), cwd=tmp_path)
        for transport in ("t1", "tn", "u1"):
            call(server, transport, tmp_path, calls)
        phone.process.wait(30)
        with Tcp(server.ports["tcp"]) as caller, Udp(server.ports["udp"]) as datagrams:
            dial(caller)
            dial(datagrams)
            flood_a_slow_phone(server, [caller, datagrams])
            lose_a_phone(server, caller)
        close_in_every_way(server)
    did = traced(server.report)
    # The load reached them all: the supervisor accepted, dialled, wrote queued output; the workers and receivers read and sent.
    assert {"accept4", "connect"} <= set(did["sipwire-super"]) and SENDS & set(did["sipwire-super"]), did["sipwire-super"]
    for name in ("sipwire-w0", "sipwire-w1"):
        assert "recvfrom" in did[name] and SENDS & set(did[name]), did[name]
    assert did["sipd-udp2"].get("recvmsg", 0) + did["sipd-udp3"].get("recvmsg", 0) > 0, did


@pytest.mark.timeout(120)
def test_no_participant_of_answer_sleeps_under_load(mode, tmp_path):
    command = [BUILD / "answer", mode, "-w", "2", "-l", "tcp:127.0.0.1:0", "-o", "worker_hold=100ms"]
    with Traced(tmp_path, {"sipwire-super", "sipwire-w0", "sipwire-w1"}, *command) as server:
        peers = [Tcp(server.ports["tcp"]) for _ in range(20)]
        for _ in range(20):
            for peer in peers:
                peer.send(request("OPTIONS", "sip:127.0.0.1", peer.via) * 5)
            for peer in peers:
                for _ in range(5):
                    peer.expect(200)
        for peer in peers:
            peer.close()
    did = traced(server.report)
    for name in ("sipwire-w0", "sipwire-w1"):
        assert "recvfrom" in did[name] and SENDS & set(did[name]), did


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name, mode", c_tests())
def test_the_library_does_not_sleep_in_the_c_test(name, mode, tmp_path):
    report = tmp_path / "report"
    program = BUILD / "c-tests" / name
    code, output = run([TRACER, "-o", report, "--library", program, mode], limit=280, env={"SIPWIRE_TEST_SCALE": "3"})
    assert_no_sleep(report)
    assert code == 0, f"exit code {code}\n{tail(output)}"
    did = traced(report)
    assert {"sipwire-super", "sipwire-w0"} <= set(did) and all(of["polls"] > 0 for of in did.values()), did


KAMAILIO = """
request_route {
    if ($rm == "OPTIONS") { sl_send_reply("200", "OK"); exit; }
    $du = "sip:127.0.0.1:" + $rU + ";transport=tcp";
    t_relay();
}
"""


@needs_kamailio
@pytest.mark.timeout(120)
def test_the_library_does_not_sleep_in_kamailio(tmp_path):
    """The core has locks of its own, in the same processes: only what the module calls itself counts."""
    report = tmp_path / "report"
    before = map(str, [TRACER, "-o", report, "--library", "--plugin", "sipwire.so"])
    with judged(report), Kamailio(tmp_path, KAMAILIO, before=before, allowed=["connection refused"]) as server:
        with Tcp(server.port) as phone, Udp(server.port) as caller, Listener() as there, socket.socket() as nobody:
            for peer in [phone, caller] * 50:
                peer.ask(request("OPTIONS", "sip:127.0.0.1", peer.via), 200)
            for peer in [phone, caller] * 2:
                peer.send(message(peer, there.port))
            with there.accept() as callee:
                for _ in range(4):
                    callee.send(response(callee.expect("MESSAGE"), 200))
            for peer in [phone, caller] * 2:
                peer.expect(200)
            nobody.bind(("127.0.0.1", 0))
            caller.send(message(caller, nobody.getsockname()[1]))
            assert caller.receive().status >= 400
    did = traced(report)
    assert "sipwire-super" in did and any("recvfrom" in of for name, of in did.items() if name.startswith("sipwire-w")), did


# ---- the tracer itself ----


def found_by_tracer(tmp_path, mode, *options, program="sleeper", env=None):
    """What the tracer says of a program that could sleep: its output, the report's {function: calls}, participants."""
    report = tmp_path / "report"
    code, output = run([TRACER, "-o", report, *options, BUILD / "c-tests" / program, mode], limit=200, env=env)
    found = {}
    for first, stack in entries(report):
        if first.startswith("COULD SLEEP"):
            who, call = re.match(r"COULD SLEEP: (\S+) .*? in (\w+)", first).groups()
            found.setdefault(call, []).append((who, re.findall(r"#\d+ (\S+) at", stack)))
    return code, output, found


@pytest.mark.timeout(420)
def test_the_tracer_finds_what_could_sleep_and_nothing_else(mode, tmp_path):
    code, output, found = found_by_tracer(tmp_path, mode)
    assert code == 98, tail(output)
    acts = dict(line.split() for line in output.splitlines() if line.startswith("act_"))
    assert len(acts) > 30
    expected = {(act, call) for act, call in acts.items() if call != "nothing"}
    named = {
        (act, call)
        for call, times in found.items()
        for who, stack in times
        for act in stack
        if act.startswith("act_") and who == "sipwire-w0"
    }
    assert named == expected
    assert sum(map(len, found.values())) == len(expected), found


@pytest.mark.timeout(420)
def test_the_tracer_leaves_to_the_host_what_it_was_told_to(mode, tmp_path):
    code, output, found = found_by_tracer(tmp_path, mode, "--library")
    assert code == 0 and not found, tail(output)
    code, output, found = found_by_tracer(tmp_path, mode, "--host-lock", "act_semaphore")
    assert code == 98 and [stack[2] for _, stack in found["futex"]] == ["act_contended_mutex"]


# Every receive of the library as if MSG_DONTWAIT were forgotten, and a lock that another one has.
FORGETFUL = """
#define _GNU_SOURCE
#include <linux/futex.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <fcntl.h>

ssize_t recv(int fd, void *data, size_t size, int flags)
{
    static int word;

    syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    return recvfrom(fd, data, size, (poll(&(struct pollfd){fd, POLLIN, 0}, 1, 0) > 0) ? flags & ~MSG_DONTWAIT : flags, NULL, NULL);
}
"""


@pytest.mark.timeout(420)
def test_the_tracer_finds_what_the_library_does_itself(mode, tmp_path):
    code, output, found = found_by_tracer(
        tmp_path, mode, "--library", program="answer", env=preload(tmp_path, FORGETFUL)
    )
    assert code == 98, tail(output)
    for call in ("futex", "recvfrom"):
        for who, stack in found[call]:
            assert who.startswith("sipwire-w"), found
            assert any("sipwire" in function and "worker" in function for function in stack), stack
