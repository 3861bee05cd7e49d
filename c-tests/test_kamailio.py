"""Debian's Kamailio with its TCP on the library: clients of every kind, and its start and end."""

import re
import socket
import time

import pytest
from kamailio import TCP, TCP6, UDP, Kamailio, needs_kamailio
from sip_peers import Listener, Tcp, Udp, request, response

pytestmark = [needs_kamailio, pytest.mark.timeout(120)]

# OPTIONS is answered, MESSAGE is relayed to the port that the user part names.
SCRIPT = """
request_route {
    if ($rm == "OPTIONS") {
        append_to_reply("X-Seen: $proto $si $sp $Ri $Rp $sipwire(conid) $pp\\r\\n");
        sl_send_reply("200", "OK");
        exit;
    }
    if ($rm == "MESSAGE") {
        $du = "sip:127.0.0.1:" + $rU + ";transport=tcp";
        if (!t_relay()) exit; # tm has answered
    }
}
"""


@pytest.fixture
def kamailio(tmp_path):
    with Kamailio(tmp_path, SCRIPT, listen=(UDP, TCP, TCP6)) as server:
        yield server


def options(peer, **more):
    return request("OPTIONS", "sip:127.0.0.1", peer.via, **more)


def relayed_to(port, peer, body="hello"):
    return request("MESSAGE", f"sip:{port}@127.0.0.1", peer.via, body=body)


def test_options_is_answered_and_the_script_sees_what_it_always_saw(kamailio):
    with Tcp(kamailio.port) as phone:
        seen = phone.ask(options(phone), 200).header("X-Seen").split()
        assert seen[:5] == ["tcp", "127.0.0.1", str(phone.port), "127.0.0.1", str(kamailio.port)]
        assert int(seen[5]) == kamailio.value("sipwire.list", "id")
        again = phone.ask(options(phone), 200).header("X-Seen").split()
        assert again[5] == seen[5]
    workers = kamailio.processes("sipwire worker")
    assert len(workers) == 2 and int(seen[6]) in workers


def test_byte_by_byte_and_pipelined(kamailio):
    with Tcp(kamailio.port) as phone:
        for byte in options(phone, body="12345"):
            phone.send(byte)
        phone.expect(200)
        calls = [f"pipelined{number}" for number in range(30)]
        phone.send("".join(options(phone, call=call, body="x" * (number % 7)) for number, call in enumerate(calls)))
        assert [phone.expect(200).header("Call-ID") for _ in calls] == calls
        phone.socket.sendall(b"\r\n\r\n")
        assert phone.socket.recv(10) == b"\r\n"


def test_ipv6(kamailio):
    with Tcp(sock=socket.create_connection(("::1", kamailio.port))) as phone:
        seen = phone.ask(options(phone), 200).header("X-Seen").split()
    assert seen[0] == "tcp" and seen[1].strip("[]") in ("::1", "0:0:0:0:0:0:0:1") and seen[4] == str(kamailio.port)


@pytest.mark.parametrize("transport", [Tcp, Udp])
def test_a_request_is_relayed_over_tcp_and_its_answer_comes_back(kamailio, transport):
    with Listener() as callee, transport(kamailio.port) as phone:
        phone.send(relayed_to(callee.port, phone))
        with callee.accept() as line:
            for number in range(3):
                if number:
                    phone.send(relayed_to(callee.port, phone))
                message = line.expect("MESSAGE")
                vias = message.all("Via")
                assert message.body == "hello" and re.match(rf"SIP/2.0/TCP 127.0.0.1:{kamailio.port};branch=z9hG4bK", vias[0])
                assert vias[1].startswith(f"SIP/2.0/{phone.transport} ")
                line.send(response(message, 200))
                assert phone.expect(200).all("Via") == [phone_via for phone_via in vias[1:]]
        callee.nobody()  # one connection for all


def test_a_refused_port_is_477_at_once_and_then_blacklisted(kamailio):
    with socket.socket() as closed, Tcp(kamailio.port) as phone:
        closed.bind(("127.0.0.1", 0))  # has the port, and does not listen
        for _ in range(2):
            before = time.monotonic()
            phone.ask(relayed_to(closed.getsockname()[1], phone), 477)
            assert time.monotonic() - before < 3  # fr_timer
        assert f"127.0.0.1:{closed.getsockname()[1]}" in kamailio.kamcmd("sipwire.blacklist")
    assert kamailio.value("sipwire.stats", "connect_failed") == 1
    assert kamailio.value("sipwire.stats", "blacklist_refused") == 1
    kamailio.allowed += ["connect failed: connection refused", r"cannot send to tcp:.*blacklist", r"(ERROR|WARNING): (tm|sl|<core>) "]


def test_it_ends_clean_with_clients_and_calls_open(tmp_path):
    kamailio = Kamailio(tmp_path, SCRIPT)
    with Listener() as callee, Tcp(kamailio.port) as phone, Tcp(kamailio.port) as silent:
        phone.send(relayed_to(callee.port, phone))
        with callee.accept() as line:
            line.expect("MESSAGE")
            silent.send("OPTIONS sip:unfinished")
            kamailio.stop()
            for peer in phone, silent, line:
                while peer._read():  # until its end: FIN, no reset
                    pass
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", kamailio.port))


def test_the_same_configuration_without_the_module_works(tmp_path):
    """The module leaves nothing behind, on disk or in the configuration."""
    script = SCRIPT.replace("$sipwire(conid)", "$conid")
    for module in (True, False, True, False):
        with Kamailio(tmp_path, script, module=module) as kamailio, Tcp(kamailio.port) as phone, Listener() as callee:
            phone.ask(options(phone), 200)
            phone.send(relayed_to(callee.port, phone))
            with callee.accept() as line:
                line.send(response(line.expect("MESSAGE"), 200))
                phone.expect(200)
            assert bool(kamailio.processes("sipwire")) == module
            assert len(kamailio.processes("tcp receiver")) == (1 if module else 2)
