"""sipd and single messages: what it refuses, and what is its own to answer."""

import pytest
from sip_peers import Tcp, Udp, await_output, register, request, start


def test_an_extension_that_a_registrar_must_support_is_refused(mode, tmp_path):
    with start(mode, tmp_path) as server, Tcp(server.ports["tcp"]) as phone:
        answer = register(phone, "bob", "<sip:bob@10.0.0.1>", "Require: path, foo", "require: bar", expect=420)
        assert answer.header("Unsupported") == "path, foo, bar" and not answer.all("Contact")
        phone.ask(request("MESSAGE", "sip:bob@127.0.0.1", phone.via), 404)
        answer = phone.ask(request("OPTIONS", "sip:127.0.0.1", phone.via, "Require: foo"), 420)
        assert answer.header("Unsupported") == "foo"
        register(phone, "bob", "<sip:bob@10.0.0.1>", "Supported: path, foo", "Proxy-Require: bar")
        phone.send(request("MESSAGE", "sip:bob@127.0.0.1", phone.via, "Require: foo"))
        phone.expect("MESSAGE")  # that is between the phones


def test_the_ack_to_an_answer_of_our_own_goes_no_further(mode, tmp_path):
    with start(mode, tmp_path) as server, Tcp(server.ports["tcp"]) as bob, Tcp(server.ports["tcp"]) as caller:
        register(bob, "bob", "<sip:bob@10.0.0.1>")
        uri = "sip:bob@127.0.0.1"
        refused = ((420, "Proxy-Require: foo"), (483, "Max-Forwards: 0"), (503, "Route: <sip:example.com;lr>"))
        for status, line in refused:
            answer = caller.ask(request("INVITE", uri, caller.via, line, call=f"ours{status}"), status)
            caller.send(request("ACK", uri, caller.via, call=f"ours{status}", to=answer.header("To")))
            caller.send(request("ACK", uri, caller.via, call=f"bobs{status}", to=answer.header("To")))
            assert bob.expect("ACK").header("Call-ID") == f"bobs{status}"
        caller.nothing()


def test_an_answer_to_a_bad_cseq_has_the_to_of_its_request(mode, tmp_path):
    with start(mode, tmp_path) as server, Tcp(server.ports["tcp"]) as phone:
        bye = request("BYE", "sip:127.0.0.1", phone.via, to="<sip:x@127.0.0.1>;tag=theirs")
        assert phone.ask(bye.replace("CSeq: 1 BYE", "CSeq: 1 INFO"), 400).header("To") == "<sip:x@127.0.0.1>;tag=theirs"


@pytest.mark.parametrize("byte", ["\0", "\1", "\t", "\x1f", "\x7f"])
def test_a_control_character_in_a_request_uri_is_a_bad_message(byte, mode, tmp_path):
    with start(mode, tmp_path, "--log", "info") as server, Tcp(server.ports["tcp"]) as phone:
        register(phone, "bob", "<sip:bob@10.0.0.1>")
        with Udp(server.ports["udp"]) as other:
            for peer in (other, phone):
                for uri in (f"sip:bob@127.0.0.1{byte}x", f"sip:bob{byte}@127.0.0.1"):
                    peer.send(request("MESSAGE", uri, peer.via))
                await_output(server, f"bad message from {peer.transport.lower()}:")
                peer.ask(request("OPTIONS", "sip:127.0.0.1", peer.via), 200)


@pytest.mark.parametrize("via", ['x="', 'x="a\\"', 'x="a" "', 'x="\\'])
def test_a_via_with_a_quote_that_does_not_end_is_a_bad_message(via, mode, tmp_path):
    with start(mode, tmp_path) as server, Tcp(server.ports["tcp"]) as phone:
        phone.send(request("OPTIONS", "sip:127.0.0.1", f"{phone.via};branch=z9hG4bKbad;{via}", call="bad"))
        good = f'{phone.via};branch=z9hG4bKgood;x="a\\"b"'
        answer = phone.ask(request("OPTIONS", "sip:127.0.0.1", good, call="good"), 200)
        assert answer.header("Call-ID") == "good"
