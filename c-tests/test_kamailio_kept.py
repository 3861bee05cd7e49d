"""What stays with the core, beside sipwire: listeners of TLS, of HTTP and of WebSocket."""

import base64
import glob
import os
import shutil
import socket
import ssl
import struct

import pytest
from kamailio import TCP, UDP, Kamailio, needs_kamailio
from run import free_port, run_ok
from sip_peers import Listener, Tcp, request, response

SCRIPT = """
request_route {
    if ($rm == "OPTIONS") { sl_send_reply("200", "$proto"); exit; }
    $du = "sip:127.0.0.1:" + $rU + ";transport=tcp";
    if (!t_relay()) exit; # tm has answered
}
"""


def module_of_kamailio(name):
    there = glob.glob(f"/usr/lib/*/kamailio/modules/{name}.so")
    return pytest.mark.skipif(not there, reason=f"kamailio has no module {name}")


pytestmark = [needs_kamailio, pytest.mark.timeout(120)]


def options(peer, transport=None):
    return request("OPTIONS", "sip:127.0.0.1", peer.via.replace("TCP", transport or "TCP"))


def test_a_listener_that_is_not_sips_stays_with_the_core(tmp_path):
    http = free_port()
    script = SCRIPT + 'event_route[xhttp:request] { xhttp_reply("200", "OK", "text/plain", "served by the core"); }\n'
    modparams = f'modparam("sipwire", "keep", "tcp:127.0.0.1:{http}")'
    listen = (UDP, TCP, f"tcp:127.0.0.1:{http}")
    core = "tcp_accept_no_cl=yes\n"
    with Kamailio(tmp_path, script, core=core, modparams=modparams, listen=listen, modules=["xhttp"]) as kamailio:
        assert len(kamailio.processes("tcp receiver")) == 2
        with Tcp(kamailio.port) as phone:
            phone.ask(options(phone), 200)
        with socket.create_connection(("127.0.0.1", http)) as browser:
            browser.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            answer = b""
            while b"served by the core" not in answer:
                assert (data := browser.recv(4096)), answer
                answer += data
        with Tcp(http) as phone:  # SIP is answered there too, by the core
            phone.ask(options(phone), 200)
        assert kamailio.value("sipwire.stats", "accepted") == 1


@module_of_kamailio("tls")
@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
def test_tls_stays_with_the_core_and_relays_to_our_tcp(tmp_path):
    key, certificate, port = tmp_path / "key", tmp_path / "certificate", free_port()
    run_ok(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
            "-subj", "/CN=localhost"], check_leftovers=False)  # fmt: skip
    modparams = f'modparam("tls", "private_key", "{key}")\nmodparam("tls", "certificate", "{certificate}")\n'
    modparams += 'modparam("tls", "tls_method", "TLSv1.2+")\n'
    listen = (UDP, TCP, f"tls:127.0.0.1:{port}")
    core = "enable_tls=yes\n"
    with Kamailio(tmp_path, SCRIPT, core=core, modparams=modparams, listen=listen, modules=["tls"]) as kamailio, Listener() as callee:
        kamailio.allowed += ["openssl bug #1491"]
        context = ssl.create_default_context(cafile=certificate)
        plain = socket.create_connection(("127.0.0.1", port))
        with Tcp(sock=context.wrap_socket(plain, server_hostname="localhost")) as phone, Tcp(kamailio.port) as other:
            assert phone.ask(options(phone, "TLS"), 200).start == "SIP/2.0 200 tls"
            phone.send(request("MESSAGE", f"sip:{callee.port}@127.0.0.1", phone.via.replace("TCP", "TLS")))
            with callee.accept() as line:  # from the core's worker over our transport, and back
                line.send(response(line.expect("MESSAGE"), 200))
                phone.expect(200)
            assert other.ask(options(other), 200).start == "SIP/2.0 200 tcp"
        assert kamailio.value("sipwire.stats", "accepted") == 1


def frame(text):
    """A text frame as a browser sends it (RFC 6455 5.2), short ones only."""
    data, mask = text.encode(), os.urandom(4)
    assert 126 <= len(data) < 65536
    return struct.pack("!BBH", 0x81, 0x80 | 126, len(data)) + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))


@module_of_kamailio("websocket")
def test_websocket_stays_with_the_core_and_relays_to_our_tcp(tmp_path):
    port = free_port()
    script = SCRIPT + 'event_route[xhttp:request] { if ($hdr(Upgrade) =~ "websocket") ws_handle_handshake(); }\n'
    modparams = f'modparam("sipwire", "keep", "tcp:127.0.0.1:{port}")'
    listen = (UDP, TCP, f"tcp:127.0.0.1:{port}")
    core = "tcp_accept_no_cl=yes\n"
    modules = ["xhttp", "nathelper", "websocket"]
    with Kamailio(tmp_path, script, core=core, modparams=modparams, listen=listen, modules=modules) as kamailio, Listener() as callee:
        with Tcp(port) as browser:
            browser.send(
                f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\nSec-WebSocket-Protocol: sip\r\n\r\n"
            )
            answer = b""
            while b"\r\n\r\n" not in answer:
                assert (data := browser.socket.recv(4096)), answer
                answer += data
            assert answer.startswith(b"HTTP/1.1 101 "), answer
            browser.socket.sendall(frame(options(browser, "WS")))
            assert b"SIP/2.0 200 ws\r\n" in browser.socket.recv(4096)
            browser.socket.sendall(frame(request("MESSAGE", f"sip:{callee.port}@127.0.0.1", browser.via.replace("TCP", "WS"))))
            with callee.accept() as line:
                line.send(response(line.expect("MESSAGE"), 200))
                assert b"SIP/2.0 200 OK\r\n" in browser.socket.recv(4096)
        assert kamailio.value("sipwire.stats", "accepted") == 0
