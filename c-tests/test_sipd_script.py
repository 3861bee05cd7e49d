"""The script interface of sipd, as a script of an operator's own uses it."""

import re

import pytest
from sip_peers import Listener, Tcp, Udp, await_output, register, request, start


def route(body):
    return f"function route(msg)\n  if msg.method == 'REGISTER' then msg:save() return end\n  {body}\nend\n"


def ask(server, status, *lines, method="OPTIONS", uri="sip:bob@127.0.0.1"):
    with Tcp(server.ports["tcp"]) as phone:
        return phone.ask(request(method, uri, phone.via, *lines), status)


# ---- reply ----


OURS = ["Content-Length", "Via", "From", "To", "Call-ID", "CSeq", "l", "v", "f", "t", "i", "cseq"]
NO_NAMES = ["", "X Y", "X:", "X\\r\\nVia", "X\\0Y"]


def test_a_header_that_would_break_the_answer_is_an_error_of_the_script(mode, tmp_path):
    names = ", ".join(f'"{name}"' for name in OURS + NO_NAMES)
    script = f"names = {{ {names} }}\n" + route(
        'msg:reply(200, "OK", { ["X-Fine"] = "1", [names[tonumber(msg.ruri_user)]] = "5" })'
    )
    with start(mode, tmp_path, script=script) as server:
        for number, name in enumerate(OURS + NO_NAMES, 1):
            answer = ask(server, 500, uri=f"sip:{number}@127.0.0.1")
            assert answer.header("Content-Length") == "0" and not answer.header("X-Fine"), name
        for name in OURS:
            await_output(server, f"{name} is written by reply itself")
        assert server.output.count("cannot be the name of a header") >= len(NO_NAMES) - 1


def test_other_headers_are_part_of_the_answer(mode, tmp_path):
    script = route('msg:reply(302, "Moved", { Contact = "<sip:bob@10.0.0.1>", ["X-y.z!%*_+`\'~"] = "a b" })')
    with start(mode, tmp_path, script=script) as server:
        answer = ask(server, 302)
        assert answer.header("Contact") == "<sip:bob@10.0.0.1>" and answer.header("X-y.z!%*_+`'~") == "a b"


def test_an_answer_that_could_not_be_sent_does_not_count(mode, tmp_path):
    script = route('msg:reply(200, "OK", { ["X-Long"] = ("x"):rep(70000) }) error("no answer was sent")')
    with start(mode, tmp_path, script=script) as server, Udp(server.ports["udp"]) as phone:
        phone.ask(request("OPTIONS", "sip:bob@127.0.0.1", phone.via), 500)  # the first is too long for a datagram


def test_one_answer_is_enough_when_it_was_sent(mode, tmp_path):
    with start(mode, tmp_path, script=route('msg:reply(200) error("later")')) as server, Tcp(server.ports["tcp"]) as phone:
        phone.ask(request("OPTIONS", "sip:bob@127.0.0.1", phone.via), 200)
        phone.nothing()


# ---- reply_after ----


@pytest.mark.parametrize("size, options", [(30_000, ()), (300_000, ("-o", "max_message_size=1m", "-o", "conn_wq_max=4m"))])
def test_a_long_answer_is_kept_until_it_is_due(size, options, mode, tmp_path):
    with start(mode, tmp_path, *options, script=route("msg:reply_after(0.05, 200)")) as server:
        with Tcp(server.ports["tcp"]) as phone:
            lines = [f"Record-Route: <sip:{number}@example.com;lr;{'x' * 900}>" for number in range(size // 940)]
            for _ in range(3):
                answer = phone.ask(request("INVITE", "sip:bob@127.0.0.1", phone.via, *lines), 200)
                assert [f"Record-Route: {value}" for value in answer.all("Record-Route")] == lines
            phone.ask(request("INVITE", "sip:bob@127.0.0.1", phone.via), 200)


# ---- lookup and relay ----


def test_two_contacts_over_one_connection_are_two_ways(mode, tmp_path):
    script = route("for _, way in ipairs({ lookup(msg.ruri_user) }) do assert(msg:relay(way)) end")
    with start(mode, tmp_path, script=script) as server, Tcp(server.ports["tcp"]) as phone:
        register(phone, "bob", ["<sip:bob@10.0.0.1:1>", "<sip:bob@10.0.0.1:2>"])
        with Tcp(server.ports["tcp"]) as caller:
            caller.send(request("MESSAGE", "sip:bob@127.0.0.1", caller.via))
            first, second = phone.expect("MESSAGE"), phone.expect("MESSAGE")
            assert (first.ruri, second.ruri) == ("sip:bob@10.0.0.1:2", "sip:bob@10.0.0.1:1")  # the newest first
            assert first.branch != second.branch  # to the phone they are two transactions


def test_each_way_keeps_the_contact_of_its_own_lookup(mode, tmp_path):
    script = route("""
        local alice, bob = lookup("alice"), lookup("sip:bob@127.0.0.1")
        assert(lookup("alice") == alice and not lookup("nobody"))
        local order = msg.ruri_user == "both" and { bob, alice } or { alice }
        for _, way in ipairs(order) do assert(msg:relay(way)) end""")
    with start(mode, tmp_path, script=script) as server, Tcp(server.ports["tcp"]) as phone:
        register(phone, "alice", "<sip:alice@10.0.0.1>")
        register(phone, "bob", "<sip:bob@10.0.0.1>")
        with Tcp(server.ports["tcp"]) as caller:
            for user, expected in (("both", ["bob", "alice"]), ("one", ["alice"])):
                caller.send(request("MESSAGE", f"sip:{user}@127.0.0.1", caller.via))
                assert [phone.expect("MESSAGE").ruri for _ in expected] == [f"sip:{name}@10.0.0.1" for name in expected]


def test_a_way_is_good_for_its_request_only(mode, tmp_path):
    script = route("""
        if lookup("bob") then kept = select(2, lookup("bob")) end
        local sent, why = msg:relay(kept)
        if not sent then msg:reply(503, why) end""")
    with start(mode, tmp_path, "-w", "1", script=script) as server, Tcp(server.ports["tcp"]) as phone:
        register(phone, "bob", ["<sip:bob@10.0.0.1:1>;q=0.2", "<sip:bob@10.0.0.1:2>;q=0.1"])
        with Tcp(server.ports["tcp"]) as caller:
            caller.send(request("MESSAGE", "sip:bob@127.0.0.1", caller.via))
            phone.expect("MESSAGE")
            register(phone, "bob", "*", expires=0, cseq=2)
            answer = caller.ask(request("MESSAGE", "sip:bob@127.0.0.1", caller.via), 503)
            assert "bad target" in answer.start


# ---- next_hop ----


def test_next_hop_tells_a_way_from_none_and_from_one_that_cannot_be_gone(mode, tmp_path):
    script = route('msg:reply(200, "OK", { ["X-Hop"] = tostring(msg.next_hop), ["X-Uri"] = msg.next_uri })')
    with start(mode, tmp_path, script=script) as server, Listener() as hop:
        uri = f"sip:127.0.0.1:{hop.port}"
        for lines, expected in (
            ([], ("nil", "sip:bob@127.0.0.1")),
            ([f"Route: <{uri};transport=tcp;lr>"], (f"tcp:127.0.0.1:{hop.port}", f"{uri};transport=tcp;lr")),
            ([f"Route: <{uri};lr>"], (f"udp:127.0.0.1:{hop.port}", f"{uri};lr")),
            (["Route: <sip:example.com;lr>"], ("false", "sip:example.com;lr")),
            (["Route: <tcp:127.0.0.1:5060>"], ("false", "tcp:127.0.0.1:5060")),
        ):
            answer = ask(server, 200, *lines)
            assert (answer.header("X-Hop"), answer.header("X-Uri")) == expected


def test_ruri_is_the_one_before_strict_routing(mode, tmp_path):
    with start(mode, tmp_path, script=route('msg:reply(200, "OK", { ["X-Uri"] = msg.ruri })')) as server:
        ours = f"sip:sw-t1-n0-0123456789abcdef@127.0.0.1:{server.ports['tcp']};transport=tcp;lr"
        answer = ask(server, 200, "Route: <sip:carol@example.com>", uri=ours)
        assert answer.header("X-Uri") == "sip:carol@example.com"
        assert re.match(r"sip:sw-", ask(server, 200, uri=ours).header("X-Uri"))
