"""Debian's Kamailio as it is, on the other side of sipd's connections: dialled by each side, restarted, idle, gone."""

import os
import signal

import pytest
from kamailio import TCP, UDP, Kamailio, needs_stock_kamailio
from run import free_port
from sip_peers import COUNTERS, Counters, Listener, Udp, await_true, request, response, start

pytestmark = [needs_stock_kamailio, pytest.mark.timeout(180)]

# Phones speak UDP, the two servers TCP. A phone's request goes to the port that X-To says. One that came over TCP is
# answered with what the server has seen of the connection; with X-Kamailio or X-Sipd, by the server of that name, it goes on
# instead: `back` over the connection by which it came, or to a port.
KAMAILIO = """
request_route {
    if ($proto == "udp") $du = "sip:127.0.0.1:" + $hdr(X-To) + ";transport=tcp";
    else if ($hdr(X-Kamailio) == "back") $du = "sip:" + $si + ":" + $sp + ";transport=tcp";
    else if ($hdr(X-Kamailio) != $null) $du = "sip:127.0.0.1:" + $hdr(X-Kamailio) + ";transport=tcp";
    else { append_to_reply("X-Seen: $sp $conid\\r\\n"); sl_send_reply("200", "OK"); exit; }
    if (!t_relay()) exit; # tm has answered
}
"""
SIPD = (
    """
function route(msg)
  local way = msg:header("X-Sipd")
  if msg.transport == "udp" then
    way = "tcp:127.0.0.1:" .. msg:header("X-To")
  elseif way == "back" then
    way = "conn:" .. msg.conn_id
  elseif way then
    way = "tcp:127.0.0.1:" .. way
  else
    msg:reply(200, "OK", { ["X-Seen"] = msg.source_port .. " " .. msg.conn_id })
    return
  end
  if not msg:relay(way) then msg:reply(503, "Service Unavailable") end
end
"""
    + COUNTERS
)
LIMIT = 30


class Pair:
    """A sipd and a Kamailio, and a phone at each. `settings` are sipd's, `core` is Kamailio's."""

    def __init__(self, mode, folder, settings=(), core=""):
        self.folder, self.core, self.port = folder, core, free_port()
        options = [part for setting in settings for part in ("-o", setting)]
        self.sipd = start(mode, folder, *options, script=SIPD)
        self.peer = self.start_kamailio()
        self.counters = Counters(self.sipd.ports["tcp"])
        self.at_sipd, self.at_kamailio = Udp(self.sipd.ports["udp"]), Udp(self.port)

    def start_kamailio(self):
        timers = 'modparam("tm", "fr_timer", 60000)\n'
        listen = (UDP, TCP)
        return Kamailio(self.folder, KAMAILIO, core=self.core, modparams=timers, module=False, listen=listen, port=self.port)

    def to_kamailio(self, *lines, **more):
        """A request that sipd sends to Kamailio."""
        self.at_sipd.send(request("MESSAGE", "sip:x@127.0.0.1", self.at_sipd.via, f"X-To: {self.port}", *lines, **more))

    def to_sipd(self, *lines, **more):
        """One that Kamailio sends to sipd."""
        to = f"X-To: {self.sipd.ports['tcp']}"
        self.at_kamailio.send(request("MESSAGE", "sip:x@127.0.0.1", self.at_kamailio.via, to, *lines, **more))

    def is_closed(self):
        """All connections between the two have ended, at either end."""
        await_true(lambda: self.counters()["connections"] == 0, "the connection is closed", LIMIT)
        await_true(lambda: self.peer.value("core.tcp_info", "opened_connections") == 0, "Kamailio has closed it too", LIMIT)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        for one in (self.at_sipd, self.at_kamailio, self.counters):
            one.close()
        try:
            self.peer.__exit__(kind, value, trace)
        finally:
            self.sipd.__exit__(kind, value, trace)


def seen(phone):
    """What the server that answered a phone's request has seen: the port of the other end, and its id of the connection."""
    return tuple(phone.expect(200, LIMIT).header("X-Seen").split())


@pytest.fixture
def pair(mode, tmp_path):
    with Pair(mode, tmp_path) as both:
        yield both


# ---- several messages on one connection ----


def test_what_we_send_to_kamailio_goes_over_one_connection_that_we_have_dialled(pair):
    for number in range(20):
        pair.to_kamailio(call=f"call{number}")
    assert len({seen(pair.at_sipd) for _ in range(20)}) == 1
    now = pair.counters()
    assert (now["dialled"], now["connections"], now["accepted"]) == (1, 1, 0), now


def test_what_kamailio_sends_to_us_comes_over_one_connection_that_it_has_dialled(pair):
    pair.to_sipd()
    first = seen(pair.at_kamailio)  # until it is open, each of its processes may dial one
    for number in range(20):
        pair.to_sipd(call=f"call{number}")
    assert {seen(pair.at_kamailio) for _ in range(20)} == {first}
    now = pair.counters()
    assert (now["dialled"], now["connections"], now["accepted"]) == (0, 1, 1), now


def test_kamailio_sends_requests_back_over_the_connection_that_we_have_dialled(pair):
    pair.to_kamailio()
    ours = seen(pair.at_sipd)[0]
    for _ in range(5):
        pair.to_kamailio("X-Kamailio: back")
        assert seen(pair.at_sipd)[0] == str(pair.port)  # of the answering sipd: the request came from where it has dialled
        pair.to_kamailio()
        assert seen(pair.at_sipd)[0] == ours
    now = pair.counters()
    assert (now["dialled"], now["connections"], now["accepted"]) == (1, 1, 0), now


def test_we_send_requests_back_over_the_connection_that_kamailio_has_dialled(pair):
    pair.to_sipd()
    theirs = seen(pair.at_kamailio)
    for _ in range(5):
        pair.to_sipd("X-Sipd: back")
        assert seen(pair.at_kamailio)[0] == str(pair.sipd.ports["tcp"])  # of the answering Kamailio
        pair.to_sipd()
        assert seen(pair.at_kamailio) == theirs
    now = pair.counters()
    assert (now["dialled"], now["connections"], now["accepted"]) == (0, 1, 1), now


def test_large_messages_both_ways(mode, tmp_path):
    with Pair(mode, tmp_path, core="tcp_rd_buf_size=65536\n") as pair:
        for _ in range(3):
            pair.to_kamailio("X-Kamailio: back", body="x" * 50000)
            seen(pair.at_sipd)
            pair.to_sipd("X-Sipd: back", body="x" * 50000)
            seen(pair.at_kamailio)


# ---- restarts ----


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["ended", "killed"])
def test_kamailio_restarts_and_we_dial_again(how, mode, tmp_path):
    # The failed dial below is not to be remembered: how long a blacklist is kept is not the question here.
    with Pair(mode, tmp_path, settings=["blacklist_ttl=0"]) as pair:
        pair.to_sipd()
        seen(pair.at_kamailio)
        pair.to_kamailio()
        first = seen(pair.at_sipd)
        assert pair.counters()["connections"] == 2
        if how == signal.SIGTERM:
            pair.peer.stop()
        else:
            for pid in pair.peer.left():
                os.kill(pid, how)
            pair.peer.process.wait(LIMIT)
        await_true(lambda: pair.counters()["connections"] == 0, "both connections have ended", LIMIT)
        pair.to_kamailio()
        pair.at_sipd.expect(503, LIMIT)  # nobody is there
        pair.peer = pair.start_kamailio()
        pair.to_kamailio()
        assert seen(pair.at_sipd) != first
        pair.to_sipd()
        seen(pair.at_kamailio)
        now = pair.counters()
        assert (now["dialled"], now["connections"], now["accepted"]) == (3, 2, 2), now  # one of the dials was refused


def test_sipd_restarts_and_kamailio_dials_again(mode, tmp_path):
    with Pair(mode, tmp_path) as pair:
        pair.to_sipd()
        seen(pair.at_kamailio)
        pair.to_kamailio()
        seen(pair.at_sipd)
        port = pair.sipd.ports["tcp"]
        pair.counters.close()
        pair.sipd.stop()
        await_true(lambda: pair.peer.value("core.tcp_info", "opened_connections") == 0, "Kamailio has closed both", LIMIT)
        pair.sipd = start(mode, tmp_path, script=SIPD, listen=(f"tcp:127.0.0.1:{port}", "udp:127.0.0.1:0"))
        pair.counters, pair.at_sipd = Counters(port), Udp(pair.sipd.ports["udp"])
        pair.to_sipd()
        seen(pair.at_kamailio)
        pair.to_kamailio()
        seen(pair.at_sipd)


# ---- idle connections ----


def test_kamailio_closes_what_is_idle_and_each_side_dials_again(mode, tmp_path):
    with Pair(mode, tmp_path, core="tcp_connection_lifetime=1\n") as pair:
        for turn in range(1, 3):
            pair.to_kamailio()
            seen(pair.at_sipd)
            pair.is_closed()
            pair.to_sipd()
            seen(pair.at_kamailio)
            pair.is_closed()
            now = pair.counters()
            assert (now["dialled"], now["accepted"], now["failures_reported"]) == (turn, turn, 0), now


def test_we_close_what_is_idle_and_each_side_dials_again(mode, tmp_path):
    with Pair(mode, tmp_path, settings=["worker_hold=100ms", "connection_lifetime=1s"]) as pair:
        for turn in range(1, 3):
            pair.to_kamailio()
            seen(pair.at_sipd)
            await_true(lambda: pair.peer.value("core.tcp_info", "opened_connections") == 0, "closed by us", LIMIT)
            pair.to_sipd()
            seen(pair.at_kamailio)
            await_true(lambda: pair.peer.value("core.tcp_info", "opened_connections") == 0, "closed by us", LIMIT)


# ---- a reply whose connection is gone (RFC 3261 18.2.2: to the address of the Via) ----

# To us the FIN of a peer that has closed and of one that only sends no more look the same. By default we keep our side open for
# the answer; then it is lost with the first kind, which Kamailio is: it never half-closes. This is the setting for such peers.
CLOSE_WITH_THE_PEER = "half_close_timeout=0"


def test_our_reply_goes_to_kamailio_over_a_new_connection(mode, tmp_path):
    with Listener() as callee, Pair(mode, tmp_path, settings=[CLOSE_WITH_THE_PEER], core="tcp_connection_lifetime=1\n") as pair:
        pair.to_sipd(f"X-Sipd: {callee.port}")
        with callee.accept(LIMIT) as line:
            asked = line.expect("MESSAGE", LIMIT)
            await_true(lambda: pair.counters()["connections"] == 1, "Kamailio closes its own", LIMIT)
            line.send(response(asked, 200))
            pair.at_kamailio.expect(200, LIMIT)
            now = pair.counters()
            assert (now["dialled"], now["accepted"], now["failures_reported"]) == (2, 1, 0), now


def test_kamailios_reply_comes_to_us_over_a_new_connection(mode, tmp_path):
    settings = ["worker_hold=100ms", "connection_lifetime=1s"]
    with Listener() as callee, Pair(mode, tmp_path, settings=settings) as pair:
        pair.to_kamailio(f"X-Kamailio: {callee.port}")
        with callee.accept(LIMIT) as line:
            asked = line.expect("MESSAGE", LIMIT)
            await_true(lambda: pair.peer.value("core.tcp_info", "opened_connections") == 1, "we close ours", LIMIT)
            line.send(response(asked, 200))
            pair.at_sipd.expect(200, LIMIT)


def test_our_reply_to_a_kamailio_that_was_killed_is_given_up(mode, tmp_path):
    with Listener() as callee, Pair(mode, tmp_path, settings=[CLOSE_WITH_THE_PEER, "blacklist_ttl=0"]) as pair:
        pair.to_sipd(f"X-Sipd: {callee.port}")
        with callee.accept(LIMIT) as line:
            asked = line.expect("MESSAGE", LIMIT)
            for pid in pair.peer.left():
                os.kill(pid, signal.SIGKILL)
            pair.peer.process.wait(LIMIT)
            await_true(lambda: pair.counters()["connections"] == 1, "its connection has ended", LIMIT)
            line.send(response(asked, 200))
            await_true(lambda: pair.counters()["failures_reported"] == 1, "the reply is reported", LIMIT)
            pair.peer = pair.start_kamailio()
            pair.to_sipd()
            seen(pair.at_kamailio)
