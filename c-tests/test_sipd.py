"""sipd as a proxy: where it sends a request, and how it gets back there (RFC 3261 16)."""

import re
import socket

import pytest
from sip_peers import Listener, Tcp, Udp, await_output, await_true, register, request, response, start

# To where the request says, else to one place.
RELAY = """
function route(msg)
  local hop = msg.next_hop
  if hop == false then
    msg:reply(503, "No Way")
  else
    msg:relay(hop or "%s")
  end
end
"""


def relay_to(peer):
    return RELAY % f"{getattr(peer, 'transport', 'TCP').lower()}:127.0.0.1:{peer.port}"


def uri_of(value):
    return re.search(r"<(.*)>", value)[1]


def dialog(caller, callee, server_port, **options):
    """A call set up through the server. Returns the INVITE as the callee got it and the 200 as the caller did."""
    caller.send(request("INVITE", f"sip:bob@127.0.0.1:{server_port}", caller.via, f"Contact: <{caller.uri}>", **options))
    callee = callee.accept() if isinstance(callee, Listener) else callee
    invite = callee.expect("INVITE")
    contact = f"<sip:bob@{callee.host}:{callee.port};transport={callee.transport.lower()}>"
    callee.send(response(invite, 200, "OK", f"Contact: {contact}"))
    return callee, invite, caller.expect(200)


# ---- where a request says that it goes ----


def test_a_route_keeps_the_parameters_of_its_uri(mode, tmp_path):
    with start(mode, tmp_path) as server, Tcp(server.ports["tcp"]) as phone, Listener() as hop:
        route = f"Route: <{hop.uri};transport=tcp;lr>"
        phone.send(request("MESSAGE", "sip:bob@example.com", phone.via, route))
        message = hop.accept().expect("MESSAGE")
        assert message.ruri == "sip:bob@example.com" and message.all("Route") == [route.removeprefix("Route: ")]
        with Udp() as datagrams:
            for transport in ("tls", "sctp"):
                route = f"Route: <{datagrams.uri};transport={transport};lr>"
                phone.ask(request("MESSAGE", "sip:bob@example.com", phone.via, route), 503)
            datagrams.nothing()


def test_two_sipd_in_a_row_each_stay_on_the_way_of_the_dialog(mode, tmp_path):
    with Listener() as callee, start(mode, tmp_path, script=relay_to(callee)) as second:
        script = RELAY % f"tcp:127.0.0.1:{second.ports['tcp']}"
        with start(mode, tmp_path, script=script) as first, Tcp(first.ports["tcp"]) as caller:
            phone, invite, ok = dialog(caller, callee, first.ports["tcp"], call="row")
            assert len(invite.all("Record-Route")) == 2 and len(invite.all("Via")) == 3
            routes = [f"Route: {value}" for value in reversed(ok.all("Record-Route"))]
            uri = uri_of(ok.header("Contact"))
            caller.send(request("BYE", uri, caller.via, *routes, call="row", cseq=2, to=ok.header("To")))
            bye = phone.expect("BYE")
            assert len(bye.all("Via")) == 3 and not bye.all("Route"), bye
            phone.send(response(bye, 200))
            caller.expect(200)


def test_a_foreign_route_that_looks_like_ours_is_not_ours(mode, tmp_path):
    with start(mode, tmp_path) as server, Tcp(server.ports["tcp"]) as phone, Listener() as hop:
        route = f"<sip:sw-t1-n0-0123456789abcdef@127.0.0.1:{hop.port};transport=tcp;lr>"
        phone.send(request("MESSAGE", "sip:bob@example.com", phone.via, f"Route: {route}"))
        assert hop.accept().expect("MESSAGE").all("Route") == [route]


@pytest.mark.parametrize(
    "route, status", [("sip:proxy.example.com;lr", 503), ("sips:127.0.0.1;lr", 416), ("tel:+1234567", 503)]
)
def test_a_route_that_cannot_be_followed_does_not_end_at_a_user_of_ours(route, status, mode, tmp_path):
    with start(mode, tmp_path) as server, Tcp(server.ports["tcp"]) as caller, Tcp(server.ports["tcp"]) as bob:
        register(bob, "bob", "<sip:bob@127.0.0.1:5999>")
        uri = f"sip:bob@127.0.0.1:{server.ports['tcp']}"
        caller.ask(request("MESSAGE", uri, caller.via, f"Route: <{route}>"), status)
        caller.ask(request("MESSAGE", uri, caller.via, f"Route: <{uri};lr>, <{route}>"), status)
        bob.nothing()
        caller.send(request("ACK", uri, caller.via, f"Route: <{route}>"))
        caller.nothing()
        caller.send(request("MESSAGE", "sip:bob@example.com", caller.via, f"Route: <{uri};lr>"))
        bob.expect("MESSAGE")  # our own Route alone: we are its outbound proxy, bob is ours


def test_a_dialog_whose_other_end_cannot_be_reached_does_not_end_at_a_user_of_ours(mode, tmp_path):
    with start(mode, tmp_path) as server, Tcp(server.ports["tcp"]) as caller, Tcp(server.ports["tcp"]) as bob:
        register(bob, "bob", "<sip:bob@127.0.0.1:5999>")
        _, _, ok = dialog(caller, bob, server.ports["tcp"], call="lost")
        register(bob, "bob", "<sip:bob@127.0.0.1:5999>;expires=0")
        bob.close()
        with Tcp(server.ports["tcp"]) as other:
            register(other, "bob", "<sip:bob@127.0.0.1:5998>")
            route, to = f"Route: {ok.header('Record-Route')}", ok.header("To")

            def refused():  # once the server knows that the connection has ended
                caller.send(request("BYE", "sip:bob@phone.example.com", caller.via, route, call="lost", cseq=2, to=to))
                return (answer := caller.receive(0.3)) and answer.status == 503

            await_true(refused, "the BYE goes somewhere")
            other.nothing()


# ---- strict routers (RFC 3261 16.4, 16.6 step 6, 16.12.1.2) ----


def test_a_strict_router_before_us_is_understood(mode, tmp_path):
    with Listener() as callee, start(mode, tmp_path, script=relay_to(callee)) as server:
        with Tcp(server.ports["tcp"]) as caller:
            phone, _, ok = dialog(caller, callee, server.ports["tcp"], call="strict")
            ours, contact = uri_of(ok.header("Record-Route")), ok.header("Contact")
            caller.send(request("BYE", ours, caller.via, f"Route: {contact}", call="strict", cseq=2, to=ok.header("To")))
            bye = phone.expect("BYE")
            assert bye.ruri == uri_of(contact) and not bye.all("Route"), bye


def test_a_strict_router_behind_us_finds_its_uri_as_the_request_uri(mode, tmp_path):
    with start(mode, tmp_path) as server, Tcp(server.ports["tcp"]) as phone, Listener() as strict:
        ours = f"<sip:127.0.0.1:{server.ports['tcp']};transport=tcp;lr>"
        routes = f"Route: {ours}, <{strict.uri};transport=tcp>, <sip:next.example.com;lr>"
        phone.send(request("MESSAGE", "sip:bob@example.com", phone.via, routes))
        message = strict.accept().expect("MESSAGE")
        assert message.ruri == f"{strict.uri};transport=tcp"
        assert message.all("Route") == ["<sip:next.example.com;lr>", "<sip:bob@example.com>"]


def test_a_folded_route_cannot_break_the_request_line(mode, tmp_path):
    with start(mode, tmp_path) as server, Tcp(server.ports["tcp"]) as phone:
        folded = "Route: <sip:127.0.0.1:5999\r\n ;x>"
        phone.ask(request("MESSAGE", "sip:bob@example.com", phone.via, folded), 503)


# ---- Record-Route (RFC 5658) ----


@pytest.mark.parametrize("other", ["127.0.0.2", "::1"])
def test_each_side_of_a_dialog_gets_a_record_route_of_its_own_address(other, mode, tmp_path):
    with socket.socket(socket.AF_INET6) as probe:
        if ":" in other and probe.connect_ex(("::1", 1)) == 99:
            pytest.skip("no IPv6 on the loopback interface")
    written = f"[{other}]" if ":" in other else other
    with Listener() as callee:
        listen = ("tcp:127.0.0.1:0", f"tcp:{written}:0")
        with start(mode, tmp_path, script=relay_to(callee), listen=listen) as server:
            here, there = (int(port) for port in re.findall(r"listening on tcp:\S*:(\d+)", server.output))
            family = socket.AF_INET6 if ":" in other else socket.AF_INET
            with socket.socket(family) as connection:
                connection.connect((other, there))
                caller = Tcp(sock=connection)
                phone, invite, ok = dialog(caller, callee, there, call="sides")
                near_callee, near_caller = (uri_of(value) for value in invite.all("Record-Route"))
                assert f"@127.0.0.1:{here};" in near_callee and f"@{written}:{there};" in near_caller, invite
                routes = [f"Route: {value}" for value in reversed(ok.all("Record-Route"))]
                uri = uri_of(ok.header("Contact"))
                caller.send(request("BYE", uri, caller.via, *routes, call="sides", cseq=2, to=ok.header("To")))
                bye = phone.expect("BYE")
                assert len(bye.all("Via")) == 2 and not bye.all("Route")


def test_a_wildcard_listener_knows_itself_by_the_address_it_was_reached_at(mode, tmp_path):
    with Listener() as callee, start(mode, tmp_path, script=relay_to(callee), listen=("tcp:0.0.0.0:0",)) as server:
        with Tcp(server.ports["tcp"], host="127.0.0.2") as caller:  # which no interface of this machine is given
            phone, _, ok = dialog(caller, callee, server.ports["tcp"], call="wild")
            routes = [f"Route: {value}" for value in reversed(ok.all("Record-Route"))]
            assert "@127.0.0.2:" in routes[0], ok
            uri = uri_of(ok.header("Contact"))
            caller.send(request("BYE", uri, caller.via, *routes, call="wild", cseq=2, to=ok.header("To")))
            assert not phone.expect("BYE").all("Route")


def test_one_record_route_is_enough_for_one_address(mode, tmp_path):
    with Listener() as callee, start(mode, tmp_path, script=relay_to(callee)) as server:
        with Tcp(server.ports["tcp"]) as caller:
            _, invite, _ = dialog(caller, callee, server.ports["tcp"])
            assert len(invite.all("Record-Route")) == 1


# ---- loops, spirals, branches (RFC 3261 16.3, 16.11) ----


def send_back(hop, message, *lines, port=None):
    """A request comes back to sipd from another hop as it arrived there, with a Via more and Max-Forwards one less."""
    hops = int(message.header("Max-Forwards"))
    text = re.sub(r"Max-Forwards: \d+", f"Max-Forwards: {hops - 1}", message.text)
    start, _, rest = text.partition("\r\n")
    via = f"Via: SIP/2.0/{hop.via};branch=z9hG4bKback{hops}"
    hop.send("\r\n".join([start, via, *lines, rest, "", ""]), port)


def test_a_spiral_is_relayed_again(mode, tmp_path):
    with Udp() as phone, Udp() as application:
        script = f"""
            function route(msg)
              local seen = msg.source_port == {application.port}
              msg:relay("udp:127.0.0.1:" .. (seen and {phone.port} or {application.port}))
            end"""
        with start(mode, tmp_path, script=script) as server, Udp(server.ports["udp"]) as caller:
            caller.send(request("MESSAGE", "sip:bob@example.com", caller.via))
            send_back(application, application.expect("MESSAGE"), port=server.ports["udp"])
            assert len(phone.expect("MESSAGE").all("Via")) == 4
            caller.nothing()


def test_a_request_that_comes_back_changed_is_a_spiral_and_the_same_again_a_loop(mode, tmp_path):
    with start(mode, tmp_path, script="function route(msg) msg:relay(msg:header('Subject')) end") as server:
        with Udp(server.ports["udp"]) as hop, Udp(server.ports["udp"]) as caller:
            subject = f"Subject: udp:127.0.0.1:{hop.port}"
            caller.send(request("MESSAGE", "sip:bob@example.com", caller.via, subject))
            send_back(hop, hop.expect("MESSAGE"))  # from elsewhere than before
            send_back(hop, hop.expect("MESSAGE"), "X-Seen: 1")
            send_back(hop, hop.expect("MESSAGE"))
            hop.expect(482)


def test_a_loop_through_ourselves_ends_before_max_forwards_does(mode, tmp_path):
    script = "function route(msg) msg:relay(msg:header('Subject')) end"
    with start(mode, tmp_path, script=script) as server, Tcp(server.ports["tcp"]) as caller:
        subject = f"Subject: tcp:127.0.0.1:{server.ports['tcp']}"
        caller.ask(request("OPTIONS", "sip:bob@example.com", caller.via, subject), 482)


def test_cancel_ack_and_a_repeat_have_the_branch_of_their_invite(mode, tmp_path):
    with start(mode, tmp_path) as server, Tcp(server.ports["tcp"]) as bob, Udp(server.ports["udp"]) as caller:
        register(bob, "bob", "<sip:bob@127.0.0.1:5999;transport=tcp>")
        uri, via = f"sip:bob@127.0.0.1:{server.ports['udp']}", f"{caller.via};branch=z9hG4bKone;rport"
        branches = []
        for method in ("INVITE", "INVITE", "CANCEL", "ACK"):
            to = f"<{uri}>;tag=refused" if method == "ACK" else f"<{uri}>"
            caller.send(request(method, uri, via, call="branch", to=to))
            message = bob.expect(method)
            assert message.ruri == "sip:bob@127.0.0.1:5999;transport=tcp"
            branches.append(message.branch)
        assert len(set(branches)) == 1, branches
        caller.send(request("INVITE", uri, f"{caller.via};branch=z9hG4bKtwo", call="branch"))
        assert bob.expect("INVITE").branch not in branches


# ---- what is not relayed ----


def test_an_extension_that_a_proxy_must_support_is_refused(mode, tmp_path):
    with Udp() as callee, start(mode, tmp_path, script=relay_to(callee)) as server, Tcp(server.ports["tcp"]) as caller:
        extensions = ["Proxy-Require: sec-agree, foo", "proxy-require: bar"]
        answer = caller.ask(request("INVITE", "sip:bob@example.com", caller.via, *extensions), 420)
        assert answer.header("Unsupported") == "sec-agree, foo, bar"
        callee.nothing()
        for method in ("CANCEL", "ACK"):
            caller.send(request(method, "sip:bob@example.com", caller.via, *extensions))
            callee.expect(method)


def test_what_cannot_be_answered_does_not_end_its_connection(mode, tmp_path):
    with start(mode, tmp_path, "--log", "info") as server, Tcp(server.ports["tcp"]) as phone:
        options = request("OPTIONS", f"sip:127.0.0.1:{server.ports['tcp']}", phone.via)
        without_via = re.sub(r"Via: .*\r\n", "", options)
        without_cseq = re.sub(r"CSeq: .*\r\n", "", options)
        phone.send(without_via + options)
        phone.expect(200)
        phone.send("SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP 127.0.0.1\r\nContent-Length: 0\r\n\r\n" + options)
        phone.expect(200)
        phone.ask(without_cseq, 400)
        phone.ask(options, 200)
        await_output(server, "Bad Via")


# ---- UDP with several addresses (RFC 3581 4: from where it was received) ----


def test_a_wildcard_udp_listener_answers_from_the_address_it_was_asked_at(mode, tmp_path):
    script = "function route(msg) if msg.method == 'INFO' then msg:reply_after(0.1, 200) else msg:reply(200) end end"
    with start(mode, tmp_path, script=script, listen=("udp:0.0.0.0:0",)) as server:
        with Udp(server.ports["udp"], to="127.0.0.2") as phone:
            for method in ("OPTIONS", "INFO"):
                phone.ask(request(method, "sip:127.0.0.2", phone.via), 200)


def test_phones_behind_a_wildcard_udp_listener_each_see_the_address_they_know(mode, tmp_path):
    with start(mode, tmp_path, listen=("udp:0.0.0.0:0",)) as server:
        port = server.ports["udp"]
        with Udp(port, to="127.0.0.2") as caller, Udp(port, to="127.0.0.3") as bob:
            register(bob, "bob", f"<sip:bob@127.0.0.1:{bob.port}>")
            _, invite, ok = dialog(caller, bob, port, call="many")
            assert "127.0.0.3:" in invite.header("Via")
            assert ["@127.0.0.3:" in invite.all("Record-Route")[0], "@127.0.0.2:" in invite.all("Record-Route")[1]]


def test_a_wildcard_udp_listener_of_ipv6_does_so_too(mode, tmp_path):
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("2001:db8::1", 9))
            address = probe.getsockname()[0]
        except OSError:
            pytest.skip("no IPv6 address besides the loopback one")
    with start(mode, tmp_path, listen=("udp:[::]:0",)) as server:
        port = int(re.search(r"listening on udp:\S*:(\d+)", server.output)[1])
        with Udp(port, host="::1", to=address) as phone:
            phone.ask(request("OPTIONS", f"sip:[{address}]:{port}", phone.via), 200)
