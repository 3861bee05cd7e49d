"""Where the core's own TCP lets its users down: a blocked worker, a stopped supervisor, failures that come late."""

import errno
import glob
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import time

import pytest
from kamailio import Kamailio, needs_kamailio
from run import end_session, tail
from sip_peers import Listener, Tcp, Udp, await_true, request, response

pytestmark = [needs_kamailio, pytest.mark.timeout(120)]

CLIENTS = 600
TROUBLE = ["sipwire .*on_log", "cannot send to tcp:", r"(ERROR|WARNING): (tm|sl|<core>) "]

# OPTIONS is answered, INFO first sleeps; everything else goes to the ports in its user part, the next one when one fails.
SCRIPT = """
request_route {
    if ($rm == "OPTIONS") { sl_send_reply("200", "OK"); exit; }
    if ($rm == "INFO") { sleep("3"); sl_send_reply("200", "OK"); exit; }
    if ($rm == "ACK") { t_check_trans(); exit; }
    $avp(turn) = 0;
    route(NEXT);
}
route[NEXT] {
    $du = "sip:127.0.0.1:" + $(rU{s.select,$avp(turn),-}) + ";transport=tcp";
    $avp(turn) = $avp(turn) + 1;
    if ($(rU{s.select,$avp(turn),-}{s.len}) > 0) t_on_failure("FAILED");
    if (!t_relay()) exit; # tm has answered
}
failure_route[FAILED] {
    xlog("L_NOTICE", "failure route: $T_reply_code\\n");
    route(NEXT);
}
event_route[sipwire:failed] { xlog("L_NOTICE", "failed: $si:$sp $sipwire(reason) $sipwire(errno) by $pp: $(sipwire(message){s.substr,0,20})\\n"); }
event_route[sipwire:closed] { xlog("L_NOTICE", "closed: $proto:$si:$sp $sipwire(conid) $sipwire(reason) by $pp\\n"); }
"""


def ask(method, peer, user="", **more):
    return request(method, f"sip:{user}@127.0.0.1" if user else "sip:127.0.0.1", peer.via, **more)


def closed_port():
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))  # has the port, and does not listen
    return sock


def test_a_worker_blocked_for_3_s_and_600_other_clients(tmp_path):
    with Kamailio(tmp_path, SCRIPT, core="tcp_max_connections=4000\n") as kamailio, Tcp(kamailio.port) as blocker:
        blocker.send(ask("INFO", blocker))
        await_true(lambda: re.search(r"busy_ms: [1-9]", kamailio.kamcmd("sipwire.info")), "no worker is in the script")
        clients = [Tcp(kamailio.port) for _ in range(CLIENTS)]
        try:
            for number, client in enumerate(clients):
                client.send(ask("OPTIONS", client, call=f"client{number}"))
            for number, client in enumerate(clients):
                assert client.expect(200).header("Call-ID") == f"client{number}"
            blocker.nothing(0)  # it sleeps still: nobody waited for it
            blocker.expect(200)
            assert kamailio.value("sipwire.stats", "accepted") == CLIENTS + 1
            assert kamailio.value("sipwire.stats", "closed") == 0
        finally:
            for client in clients:
                client.close()


def fail_over(kamailio, phone, method, call):
    """The first target answers 500; the second refuses; the third is reached. Returns the second's port and the seconds."""
    with Listener() as first, closed_port() as refusing, Listener() as third:
        second = refusing.getsockname()[1]
        phone.send(ask(method, phone, f"{first.port}-{second}-{third.port}", call=call))
        with first.accept() as line:
            message = line.expect(method)
            began = time.monotonic()
            line.send(response(message, 500, "No"))
            with third.accept() as other:
                message = other.expect(method)
                took = time.monotonic() - began
                other.send(response(message, 200))
                assert statuses(phone, 1) == [200]
    return second, took


@pytest.mark.parametrize("method", ["MESSAGE", "INVITE"])
def test_the_failure_route_runs_at_once_when_a_queued_request_is_refused(tmp_path, method):
    """Within 200 ms, where the core waits for tm's timer, here 20 s; again if the machine was busy meanwhile."""
    with Kamailio(tmp_path, SCRIPT, modparams='modparam("tm", "fr_timer", 20000)', allowed=TROUBLE) as kamailio, Tcp(kamailio.port) as phone:
        times, refused = [], []
        while not times or times[-1] >= 0.2:
            assert len(times) < 5, f"never within 200 ms: {times}"
            second, took = fail_over(kamailio, phone, method, f"call{len(times)}")
            times.append(took)
            refused.append(second)
        workers = kamailio.processes("sipwire worker")
        output = kamailio.output
        assert re.findall("failure route: ([0-9]+)", output) == ["500", "477"] * len(times)
        found = re.findall(r"failed: 127\.0\.0\.1:(\d+) (.*) (\d+) by (\d+): (\w+) ", output)
        assert [int(port) for port, *_ in found] == refused, output
        for _, reason, error, pid, what in found:
            assert (reason, int(error), what) == ("connect failed", errno.ECONNREFUSED, method) and int(pid) in workers
        assert kamailio.value("sipwire.stats", "dialled") == 3 * len(times)  # no ACK was sent to who had refused


def test_the_next_address_of_a_name_is_tried_at_once(tmp_path):
    """The name has two addresses, and the first one refuses: tm tries the second when it is told 503."""
    script = SCRIPT.replace("$du =", '$du = "sip:two.test:" + $rU + ";transport=tcp"; #')
    core = "use_dns_cache=yes\nuse_dns_failover=yes\ndns_try_naptr=no\ndns_cache_init=1\n"
    late = 'modparam("tm", "fr_timer", 20000)'
    with Kamailio(tmp_path, script, core, late, allowed=TROUBLE) as kamailio, Listener("127.0.0.2") as second, Tcp(kamailio.port) as phone:
        for address in "127.0.0.3", "127.0.0.2":
            kamailio.kamcmd("dns.add_a", "two.test", "300", address, "0")
        began = time.monotonic()
        phone.send(ask("MESSAGE", phone, str(second.port)))
        with second.accept() as line:
            line.send(response(line.expect("MESSAGE"), 200))
            assert statuses(phone, 1) == [200] and time.monotonic() - began < 10
        assert f"127.0.0.3:{second.port}" in kamailio.kamcmd("sipwire.blacklist")


def test_a_connection_that_is_lost_with_a_request_queued_fails_over_at_once(tmp_path):
    """The first target accepts nothing: its backlog is full. connect_timeout ends it, and not tm's timer."""
    modparams = 'modparam("sipwire", "connect_timeout", "300ms")\nmodparam("tm", "fr_timer", 20000)'
    with Kamailio(tmp_path, SCRIPT, modparams=modparams, allowed=TROUBLE) as kamailio:
        with socket.socket() as full, Listener() as second, Tcp(kamailio.port) as phone:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            stuffing = [socket.socket() for _ in range(8)]
            for sock in stuffing:
                sock.setblocking(False)
                sock.connect_ex(full.getsockname())
            began = time.monotonic()
            phone.send(ask("MESSAGE", phone, f"{full.getsockname()[1]}-{second.port}"))
            with second.accept() as line:
                line.expect("MESSAGE")
                assert 0.25 < time.monotonic() - began < 10
            for sock in stuffing:
                sock.close()


def statuses(phone, count):
    """Of the final answers to so many requests."""
    found = []
    while len(found) < count:
        message = phone.receive()
        assert message is not None, f"{len(found)} answers of {count}: {found}"
        if message.status != 100:
            found.append(message.status)
    return found


@pytest.mark.parametrize(
    "setting, reason",
    [('"send_timeout", "300ms"', "send timeout"), ('"conn_wq_max", "64k"', "connection queue full"), ("", "reset by the peer")],
    ids=["send_timeout", "queue_full", "lost"],
)
def test_what_is_queued_when_a_connection_ends_is_answered_at_once(tmp_path, setting, reason):
    """The peer does not read. Requests are queued until the connection ends; tm's timer would answer 408 after 20 s."""
    modparams = 'modparam("tm", "fr_timer", 20000)\nmodparam("sipwire", "conn_wq_max", "16m")\n'
    modparams += f'modparam("sipwire", {setting})\n' if setting else ""
    with Kamailio(tmp_path, SCRIPT, modparams=modparams, allowed=TROUBLE) as kamailio:
        with socket.socket() as deaf, Tcp(kamailio.port) as phone:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            deaf.bind(("127.0.0.1", 0))
            deaf.listen()
            count, began = 150, time.monotonic()
            for _ in range(count):
                phone.send(ask("MESSAGE", phone, str(deaf.getsockname()[1]), body="x" * 30000))
            line = deaf.accept()[0]
            if not setting:
                await_true(lambda: kamailio.value("sipwire.stats", "messages_in") == count, "not all are relayed")
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                line.close()
            # What the kernel has taken whole was sent, as far as anybody here can know.
            failed = await_true(lambda: kamailio.output.count("failed: "), "nothing has failed")
            await_true(lambda: kamailio.value("sipwire.stats", "queued_bytes") == 0, "something is still queued")
            failed = kamailio.value("sipwire.stats", "failures_reported") + kamailio.value("sipwire.stats", "sends_refused")
            assert failed > 10 and set(statuses(phone, failed)) == {477}
            assert time.monotonic() - began < 15
            assert f"{reason}" in kamailio.output
            line.close()


def test_the_closed_event_runs_in_a_worker(tmp_path):
    with Kamailio(tmp_path, SCRIPT) as kamailio:
        with Tcp(kamailio.port) as phone:
            phone.ask(ask("OPTIONS", phone), 200)
            known = kamailio.value("sipwire.list", "id")
        line = await_true(lambda: re.search(r"closed: tcp:127\.0\.0\.1:(\d+) (\d+) (.*) by (\d+)", kamailio.output), "no event")
        assert (int(line[1]), int(line[2]), line[3]) == (phone.port, known, "closed by the peer")
        assert int(line[4]) in kamailio.processes("sipwire worker")


def test_an_event_route_leaves_nothing_for_the_next_event(tmp_path):
    route = """event_route[sipwire:closed] {
        xlog("L_NOTICE", "closed with $ru $du $mf\\n");
        setflag(3);
        $ru = "sip:left@over.invalid";
        $du = "sip:left@over.invalid";
    }
    """
    script = re.sub(r"event_route\[sipwire:closed\].*\n", lambda _: route, SCRIPT)
    with Kamailio(tmp_path, script, workers=1) as kamailio:
        for count in range(1, 4):
            with Tcp(kamailio.port) as phone:
                phone.ask(ask("OPTIONS", phone), 200)
            await_true(lambda: kamailio.output.count("closed with ") == count, "no event")
        assert len(set(re.findall("closed with (.*)", kamailio.output))) == 1, kamailio.output


@pytest.mark.skipif(not glob.glob("/usr/lib/*/kamailio/modules/app_jsdt.so"), reason="kamailio has no module app_jsdt")
def test_the_events_of_a_script_in_another_language(tmp_path):
    script = tmp_path / "routes.js"
    script.write_text(
        'function ksr_request_route() { KSR.sl.send_reply(200, "OK"); return 1; }\n'
        "function on_event(name) {\n"
        '    KSR.xlog.xlog("L_NOTICE", "script: " + name + " " + KSR.pv.get("$sp") + " " + KSR.pv.get("$sipwire(reason)") + "\\n");\n'
        "    return 1;\n}\n"
    )
    modparams = f'modparam("app_jsdt", "load", "{script}")\nmodparam("sipwire", "event_callback", "on_event")\n'
    with Kamailio(tmp_path, 'cfgengine "jsdt"\n', modules=["app_jsdt"], modparams=modparams) as kamailio:
        with Tcp(kamailio.port) as phone:
            phone.ask(ask("OPTIONS", phone), 200)
        said = f"script: sipwire:closed {phone.port} closed by the peer"
        await_true(lambda: said in kamailio.output, "the script was not called")


def test_a_script_that_does_not_return_cannot_hold_up_the_end(tmp_path):
    loop = '$var(n) = 0; while ($var(n) < 6000) { usleep("10000"); $var(n) = $var(n) + 1; }'
    kamailio = Kamailio(tmp_path, SCRIPT.replace('sleep("3");', loop), core="max_while_loops=10000\n")
    with Tcp(kamailio.port) as phone:
        phone.send(ask("INFO", phone))
        await_true(lambda: re.search(r"busy_ms: [1-9]", kamailio.kamcmd("sipwire.info")), "no worker is in the script")
        began = time.monotonic()
        kamailio.stop()
        assert 4 < time.monotonic() - began < 30


@pytest.mark.skipif(not shutil.which("taskset"), reason="taskset is not installed")
def test_it_ends_at_once_while_it_starts(tmp_path):
    """A child that is told to end before it knows that it is one forgets it, and the core would wait a minute for it. On one
    processor children begin late."""
    before = ["taskset", "-c", str(min(os.sched_getaffinity(0)))]
    for number in range(40):
        kamailio = Kamailio(tmp_path, SCRIPT, before=before, wait=False)
        try:
            time.sleep(number % 8 * 0.003)
            kamailio.process.terminate()
            kamailio.process.wait(30)
        except subprocess.TimeoutExpired:
            pytest.fail(f"start {number} did not end: {len(kamailio.left())} processes\n{tail(kamailio.output)}", pytrace=False)
        finally:
            end_session(kamailio.process.pid, patience=0)
            kamailio.process.wait()


@pytest.mark.parametrize("who", ["sipwire worker child=1", "sipwire supervisor"])
def test_the_death_of_one_ends_kamailio_as_the_death_of_any_child_does(tmp_path, who):
    kamailio = Kamailio(tmp_path, SCRIPT)
    try:
        with Tcp(kamailio.port) as phone:
            phone.ask(ask("OPTIONS", phone), 200)
            os.kill(kamailio.processes(who)[0], signal.SIGKILL)
            kamailio.process.wait(20)
            kamailio.leftovers.check(kamailio.process.pid)
            assert not phone._read(), "its connection is open"
    finally:
        end_session(kamailio.process.pid, patience=0)


def test_no_process_of_ours_outlives_a_main_process_that_was_killed(tmp_path):
    """The core's own children do."""
    kamailio = Kamailio(tmp_path, SCRIPT)
    try:
        with Tcp(kamailio.port) as phone:
            phone.ask(ask("OPTIONS", phone), 200)
            ours = kamailio.processes("sipwire")
            assert len(ours) == 3
            kamailio.process.kill()
            await_true(lambda: not set(ours) & set(kamailio.left()), "some are left")
            assert not phone._read(), "its connection is open"
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", kamailio.port)) == errno.ECONNREFUSED
    finally:
        end_session(kamailio.process.pid, patience=0)
        kamailio.process.wait()


def test_udp_goes_on_while_the_supervisor_is_stopped(tmp_path):
    with Kamailio(tmp_path, SCRIPT) as kamailio, Listener() as callee, Udp(kamailio.port) as phone:
        phone.send(ask("MESSAGE", phone, str(callee.port)))
        with callee.accept() as line:
            line.send(response(line.expect("MESSAGE"), 200))
            phone.expect(200)
            [supervisor] = kamailio.processes("sipwire supervisor")
            os.kill(supervisor, signal.SIGSTOP)
            try:
                for number in range(20):  # to the open connection, and to one that is not there yet
                    with Listener() as other:
                        phone.send(ask("MESSAGE", phone, str(callee.port if number % 2 else other.port), body=f"{number}"))
                    phone.ask(ask("OPTIONS", phone, call=f"udp{number}"), 200)  # who waits for the supervisor waits in vain
            finally:
                os.kill(supervisor, signal.SIGCONT)
            awaited = {str(number) for number in range(1, 20, 2)}
            while awaited:
                message = line.expect("MESSAGE", limit=2)
                awaited.discard(message.body)
                line.send(response(message, 200))
        kamailio.allowed += TROUBLE
        # The core forgets a signal that comes while it looks at another: each of STOP and CONT made a SIGCHLD.
        await_true(lambda: kamailio.output.count("SIGCHLD received, but no child has stopped") == 2, "no SIGCHLD")
        kamailio.kamcmd("core.psx")
