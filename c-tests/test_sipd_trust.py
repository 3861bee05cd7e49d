"""sipd between peers that do not trust each other: nobody gets or sends what is another's."""

import pytest
from sip_peers import Tcp, Udp, register, request, response, start
from test_sipd import dialog

TOKEN = "sw-t1-n0-0123456789abcdef"  # has the form of our Record-Route, and nobody made it


@pytest.mark.parametrize("host, in_dialog", [("OURS", False), ("OURS", True), ("example.com", False)])
def test_who_registers_the_name_of_another_as_a_contact_gets_none_of_his_calls(host, in_dialog, mode, tmp_path):
    with start(mode, tmp_path) as server, Tcp(server.ports["tcp"]) as bob, Tcp(server.ports["tcp"]) as mallory:
        ours = f"127.0.0.1:{server.ports['tcp']}"
        uri = f"sip:bob@{host.replace('OURS', ours)}"
        register(bob, "bob", "<sip:bob@10.0.0.1>")
        register(mallory, "mallory", f"<{uri}>")
        with Tcp(server.ports["tcp"]) as caller:
            lines, tag = ([f"Route: <sip:{TOKEN}@{ours};lr>"], ";tag=1") if in_dialog else ([], "")
            caller.send(request("INVITE", uri, caller.via, *lines, to=f"<{uri}>{tag}"))
            bob.expect("INVITE")
            mallory.nothing()


def udp_dialog(server, caller, callee, call):
    """The Record-Routes as Routes of the caller and the To of the dialog."""
    register(callee, "bob", f"<sip:bob@127.0.0.1:{callee.port}>")
    _, _, ok = dialog(caller, callee, server.ports["udp"], call=call)
    return [f"Route: {value}" for value in reversed(ok.all("Record-Route"))], ok.header("To")


def test_who_registers_the_contact_of_another_gets_nothing_of_his_dialogs(mode, tmp_path):
    with start(mode, tmp_path) as server, Tcp(server.ports["tcp"]) as mallory:
        with Udp(server.ports["udp"]) as bob, Udp(server.ports["udp"]) as caller:
            routes, to = udp_dialog(server, caller, bob, "twice")
            uri = f"sip:bob@127.0.0.1:{bob.port}"
            register(mallory, "mallory", f"<{uri}>")
            caller.send(request("BYE", uri, caller.via, *routes, call="twice", cseq=2, to=to))
            bob.expect("BYE")
            mallory.nothing()


def test_the_record_route_of_a_dialog_leads_to_its_other_end_only(mode, tmp_path):
    with start(mode, tmp_path) as server, Udp() as victim:
        with Udp(server.ports["udp"]) as bob, Udp(server.ports["udp"]) as caller:
            routes, to = udp_dialog(server, caller, bob, "elsewhere")
            caller.send(request("BYE", victim.uri, caller.via, *routes, call="elsewhere", cseq=2, to=to))
            bob.expect("BYE")
            victim.nothing()


def test_a_user_whose_name_begins_like_a_record_route_of_ours_is_called(mode, tmp_path):
    with start(mode, tmp_path) as server, Tcp(server.ports["tcp"]) as phone, Tcp(server.ports["tcp"]) as caller:
        route = f"Route: <sip:127.0.0.1:{server.ports['tcp']};transport=tcp;lr>"
        for user in ("sw-desk", "sw-t1-n0-0", f"{TOKEN}0", "sw-t1-n0-0123456789abcdeg", "sw-t1-0123456789abcdef"):
            register(phone, user, f"<sip:{user}@10.0.0.1>")
            caller.send(request("MESSAGE", f"sip:{user}@127.0.0.1:{server.ports['tcp']}", caller.via, route))
            assert phone.expect("MESSAGE").ruri == f"sip:{user}@10.0.0.1"


def test_an_answer_to_what_we_have_not_relayed_goes_nowhere(mode, tmp_path):
    with start(mode, tmp_path, "--log", "debug") as server, Tcp(server.ports["tcp"]) as mallory:
        with Tcp(server.ports["tcp"]) as caller, Udp() as other:
            for victim in (caller, other):
                forged = request("INVITE", "sip:bob@127.0.0.1", f"{victim.via};branch=z9hG4bKv").split("\r\n", 1)[1]
                for proof in ("", ";sw=t1.0123456789abcdef"):
                    via = f"SIP/2.0/TCP 127.0.0.1:{server.ports['tcp']};branch=z9hG4bKx{proof}"
                    mallory.send(f"SIP/2.0 200 OK\r\nVia: {via}\r\n{forged}")
                mallory.ask(request("OPTIONS", "sip:127.0.0.1", mallory.via), 200)
                victim.nothing()


def test_an_answer_goes_to_where_its_request_came_from_whatever_the_via_says(mode, tmp_path):
    with start(mode, tmp_path) as server, Tcp(server.ports["tcp"]) as bob, Udp(host="127.0.0.2") as victim:
        register(bob, "bob", "<sip:bob@10.0.0.1>")
        uri = f"sip:bob@127.0.0.1:{server.ports['udp']}"
        with Udp(server.ports["udp"]) as mallory:
            via = f"UDP 127.0.0.2:{victim.port};rport;branch=z9hG4bKq"
            mallory.send(request("MESSAGE", uri, f'{via}1;received="x'))  # what we add would be inside the quote
            mallory.send(request("MESSAGE", uri, f"{via}2;received=127.0.0.2"))
            message = bob.expect("MESSAGE")
            assert message.all("Via")[1].endswith(f"z9hG4bKq2;received=127.0.0.1;rport={mallory.port}"), message
            bob.send(response(message, 200))
            mallory.expect(200)
            victim.nothing()
