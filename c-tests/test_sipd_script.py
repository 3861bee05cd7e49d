"""The script interface of sipd, as a script of an operator's own uses it."""

import re

import pytest
from sip_peers import Listener, Tcp, Udp, await_output, register, request, start


def route(body):
    return f"function route(msg)\n  if msg.method == 'REGISTER' then msg:save() return end\n  {body}\nend\n"


def ask(server, status, *lines, method="OPTIONS", uri="sip:bob@127.0.0.1"):
    with Tcp(server.ports["tcp"]) as phone:
        return phone.ask(request(method, uri, phone.via, *lines), status)


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
        ours = f"sip:sw-t1-n0-0@127.0.0.1:{server.ports['tcp']};transport=tcp;lr"
        answer = ask(server, 200, "Route: <sip:carol@example.com>", uri=ours)
        assert answer.header("X-Uri") == "sip:carol@example.com"
        assert re.match(r"sip:sw-", ask(server, 200, uri=ours).header("X-Uri"))
