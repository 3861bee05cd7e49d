"""What the script of Kamailio asks of a connection: reuse only, close after, a socket to send from, aliases."""

import socket
import struct

import pytest
from kamailio import TCP, UDP, Kamailio, needs_kamailio
from run import free_port
from sip_peers import Listener, Tcp, Udp, await_true, request, response

pytestmark = [needs_kamailio, pytest.mark.timeout(120)]

TROUBLE = ["sipwire .*on_log", "cannot send to tcp:", r"(ERROR|WARNING): (tm|sl|<core>) "]

# MESSAGE goes to the port in its user part; the Subject says how.
SCRIPT = """
request_route {
    if ($rm == "OPTIONS") {
        if ($hdr(Subject) == "reply_no_connect") set_reply_no_connect();
        if ($hdr(Subject) == "reply_close") set_reply_close();
        if ($hdr(Subject) == "drop") exit;
        sl_send_reply("200", "OK");
        exit;
    }
    $du = "sip:127.0.0.1:" + $rU + ";transport=tcp";
    if ($hdr(Subject) == "no_connect") set_forward_no_connect();
    if ($hdr(Subject) == "close") set_forward_close();
    if ($hdr(Subject) == "socket") force_send_socket(tcp:127.0.0.2:%d);
    if ($hdr(Subject) == "stateless") { forward(); exit; }
    if (!t_relay()) exit; # tm has answered
}
"""


def message(port, peer, how="", **more):
    return request("MESSAGE", f"sip:{port}@127.0.0.1", peer.via, *([f"Subject: {how}"] if how else []), **more)


def options(peer, how="", via=None):
    return request("OPTIONS", "sip:127.0.0.1", via or peer.via, *([f"Subject: {how}"] if how else []))


@pytest.fixture
def kamailio(tmp_path):
    second = free_port()
    listen = (UDP, TCP, f"tcp:127.0.0.2:{second}")
    with Kamailio(tmp_path, SCRIPT % second, listen=listen, allowed=TROUBLE) as server:
        server.second = second
        yield server


def test_no_connect_uses_an_open_connection_or_fails(kamailio):
    with Listener() as callee, Tcp(kamailio.port) as phone:
        phone.ask(message(callee.port, phone, "no_connect"), 477)
        callee.nobody()
        phone.send(message(callee.port, phone))
        with callee.accept() as line:
            for again in range(2):
                if again:
                    phone.send(message(callee.port, phone, "no_connect"))
                line.send(response(line.expect("MESSAGE"), 200))
                phone.expect(200)


def test_forward_close_closes_behind_the_message(kamailio):
    with Listener() as callee, Udp(kamailio.port) as phone:
        phone.send(message(callee.port, phone, "close", body="the last"))
        with callee.accept() as line:
            assert line.expect("MESSAGE").body == "the last"
            assert not line._read(), "it is still open"


def test_reply_close_closes_behind_the_answer(kamailio):
    with Tcp(kamailio.port) as phone:
        phone.ask(options(phone, "reply_close"), 200)
        assert not phone._read(), "it is still open"


def test_an_answer_comes_on_its_connection_whatever_the_via_says(kamailio):
    with Listener() as elsewhere, Tcp(kamailio.port) as phone:
        phone.ask(options(phone, via=f"TCP 127.0.0.1:{elsewhere.port}"), 200)
        phone.ask(options(phone, "reply_no_connect", via=f"TCP 127.0.0.1:{elsewhere.port}"), 200)
        elsewhere.nobody(0.1)


def test_an_answer_goes_to_the_via_when_its_connection_is_gone(kamailio):
    """RFC 3261 18.2.2. The callee answers when the caller's connection has ended."""
    with Listener() as callee, Listener() as caller, Tcp(kamailio.port) as phone:
        phone.send(request("MESSAGE", f"sip:{callee.port}@127.0.0.1", f"TCP 127.0.0.1:{caller.port}"))
        with callee.accept() as line:
            asked = line.expect("MESSAGE")
            phone.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            phone.close()  # by a reset: after a FIN it might still read
            await_true(lambda: kamailio.value("sipwire.stats", "closed_peer_reset") == 1, "it is not closed")
            line.send(response(asked, 200))
            with caller.accept() as answer:
                answer.expect(200)


def test_a_forced_socket_is_where_it_is_sent_from(kamailio):
    with Listener() as callee, Tcp(kamailio.port) as phone:
        phone.send(message(callee.port, phone, "socket"))
        with callee.accept() as line:
            asked = line.expect("MESSAGE")
            assert line.socket.getpeername()[0] == "127.0.0.2"
            assert asked.all("Via")[0].startswith(f"SIP/2.0/TCP 127.0.0.2:{kamailio.second};")
            line.send(response(asked, 200))
            phone.expect(200)
            phone.send(message(callee.port, phone, "socket"))
            line.expect("MESSAGE")  # on the same one


@pytest.mark.parametrize("mode", [0, 1])
def test_what_the_script_cannot_take_ends_its_connection_or_not(tmp_path, mode):
    """As in the core: tcp_script_mode."""
    script = 'request_route { sl_send_reply("200", "OK"); }\n'
    with Kamailio(tmp_path, script, core=f"tcp_script_mode={mode}\n", allowed=["<core>"]) as kamailio, Tcp(kamailio.port) as phone:
        phone.send("OPTIONS sip:127.0.0.1 SIP/2.0\r\nCall-ID: no-via\r\nContent-Length: 0\r\n\r\n")
        if mode:
            phone.ask(options(phone), 200)
        else:
            assert not phone._read(), "it is still open"


def test_a_stateless_forward_that_fails_later_is_answered(kamailio):
    with socket.socket() as closed, Tcp(kamailio.port) as phone:
        closed.bind(("127.0.0.1", 0))
        phone.ask(message(closed.getsockname()[1], phone, "stateless"), 477)


@pytest.mark.parametrize("aliases", ["yes", "no"])
def test_the_alias_of_a_via(tmp_path, aliases):
    """With it a request to the port of the Via goes on the phone's connection, from UDP too; without it is dialled."""
    core = f"tcp_accept_aliases={aliases}\n"
    with Kamailio(tmp_path, SCRIPT.replace("force_send_socket(tcp:127.0.0.2:%d)", "exit"), core=core) as kamailio:
        with Listener() as phone_listens, Tcp(kamailio.port) as phone, Udp(kamailio.port) as other:
            phone.ask(options(phone, via=f"TCP 127.0.0.1:{phone_listens.port};alias"), 200)
            other.send(message(phone_listens.port, other))
            if aliases == "yes":
                phone.send(response(phone.expect("MESSAGE"), 200))
                phone_listens.nobody()
            else:
                with phone_listens.accept() as line:
                    line.send(response(line.expect("MESSAGE"), 200))
            other.expect(200)
            phone.close()
            await_true(lambda: f"127.0.0.1:{phone.port}" not in kamailio.kamcmd("sipwire.list"), "it is not closed")
            if aliases == "yes":  # it is gone, and so is its alias
                other.send(message(phone_listens.port, other))
                with phone_listens.accept() as line:
                    line.send(response(line.expect("MESSAGE"), 200))
                    other.expect(200)
