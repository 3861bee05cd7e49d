"""sipd as a registrar: what it keeps of REGISTER and where it then calls (RFC 3261 10.3)."""

import re
from pathlib import Path

import pytest
from sip_peers import Listener, Tcp, Udp, await_true, preload, register, request, start

# Names the ways to a user; REGISTER is saved.
WAYS = """
function route(msg)
  if msg.method == "REGISTER" then
    msg:save()
  else
    msg:reply(200, "OK", { ["X-Ways"] = table.concat({ lookup(msg.ruri_user) }, " ") })
  end
end
"""


def contacts(answer):
    return sorted(uri_of(value) for value in answer.all("Contact"))


def uri_of(value):
    return re.search(r"<(.*)>", value)[1]


def ways(peer, user):
    answer = peer.ask(request("OPTIONS", f"sip:{user}@127.0.0.1", peer.via), 200)
    return (answer.header("X-Ways") or "").split()


def message_to(user, peer):
    peer.send(request("MESSAGE", f"sip:{user}@127.0.0.1", peer.via))


# ---- a phone is never locked out by its own past ----


@pytest.mark.parametrize("call", ["one", None], ids=["same-call-id", "new-call-id"])
@pytest.mark.parametrize("leaves", ["closes", "stays"])
def test_a_phone_that_reconnects_from_other_ports_is_never_locked_out(leaves, call, mode, tmp_path):
    with start(mode, tmp_path) as server:
        open_connections = []
        for cseq in range(1, 13):
            phone = Tcp(server.ports["tcp"])
            register(phone, "bob", f"<sip:bob@127.0.0.1:{phone.port}>", call=call, cseq=cseq)
            phone.close() if leaves == "closes" else open_connections.append(phone)
        with Tcp(server.ports["tcp"]) as phone, Tcp(server.ports["tcp"]) as caller:
            answer = register(phone, "bob", f"<sip:bob@127.0.0.1:{phone.port}>", call=call, cseq=20)
            assert len(answer.all("Contact")) <= 8 and f"sip:bob@127.0.0.1:{phone.port}" in contacts(answer)
            message_to("bob", caller)
            phone.expect("MESSAGE")
        for connection in open_connections:
            connection.close()


def test_the_oldest_dead_connection_gives_way_and_the_living_stay(mode, tmp_path):
    with start(mode, tmp_path, script=WAYS) as server, Tcp(server.ports["tcp"]) as alive:
        for number in range(6):
            register(alive, "bob", f"<sip:bob@10.0.0.{number}>", call=f"alive{number}")
        for number in (6, 7):
            with Tcp(server.ports["tcp"]) as phone:
                register(phone, "bob", f"<sip:bob@10.0.0.{number}>", call=f"dead{number}")
            dead = f"tcp:10.0.0.{number}:5060"  # what it would be called by once the end of its connection is seen
            await_true(lambda dead=dead: dead in ways(alive, "bob"), "the server does not see the end")
        for number, gone in ((8, 6), (9, 7)):
            answer = register(alive, "bob", f"<sip:bob@10.0.0.{number}>", call=f"new{number}")
            assert len(contacts(answer)) == 8 and f"sip:bob@10.0.0.{gone}" not in contacts(answer)
        register(alive, "bob", "<sip:bob@10.0.0.10>", call="one too many", expect=503)


# ---- the connection of a phone ----

LATER = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* CLOCK_MONOTONIC a minute ahead as soon as a file is there. */
int clock_gettime(clockid_t clock, struct timespec *out)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, out);
    if (clock == CLOCK_MONOTONIC && access(getenv("LATER"), F_OK) == 0)
        out->tv_sec += 60;
    return result;
}
"""


def test_a_shorter_registration_does_not_end_the_connection_of_a_longer_one(mode, tmp_path):
    later = tmp_path / "later"
    options, environment = ["-o", "connection_lifetime=1s"], {**preload(tmp_path, LATER), "LATER": str(later)}
    with start(mode, tmp_path, *options, env=environment) as server, Tcp(server.ports["tcp"]) as phone:
        register(phone, "alice", f"<sip:alice@127.0.0.1:{phone.port}>", expires=3600)
        register(phone, "bob", f"<sip:bob@127.0.0.1:{phone.port}>", expires=1)
        idle = Tcp(server.ports["tcp"])
        later.touch()
        with Tcp(server.ports["tcp"]) as other:  # traffic makes the supervisor look at its clock
            other.ask(request("OPTIONS", "sip:127.0.0.1", other.via), 200)
        await_true(lambda: not idle.is_open(), "the minute does not pass")
        assert phone.is_open()
        with Tcp(server.ports["tcp"]) as caller:
            message_to("alice", caller)
            phone.expect("MESSAGE")


# ---- the way to a contact ----


@pytest.mark.parametrize("transport", ["tls", "TLS", "ws", "wss"])
def test_a_contact_of_another_transport_is_called_over_its_connection_only(transport, mode, tmp_path):
    with start(mode, tmp_path) as server, Tcp(server.ports["tcp"]) as caller, Listener() as direct:
        uri = f"sip:bob@127.0.0.1:{direct.port};transport={transport}"
        with Tcp(server.ports["tcp"]) as phone:
            register(phone, "bob", f"<{uri}>")
            message_to("bob", caller)
            assert phone.expect("MESSAGE").ruri == uri

        def refused():  # what the kernel took of the connection that ends is lost, and not answered
            message_to("bob", caller)
            return (answer := caller.receive(0.3)) and answer.status == 404

        await_true(refused, "bob is still called somewhere")
        direct.nobody()


def test_udp_is_for_a_contact_that_asks_for_it_or_that_registered_by_it(mode, tmp_path):
    with start(mode, tmp_path, script=WAYS) as server:
        with Tcp(server.ports["tcp"]) as tcp, Udp(server.ports["udp"]) as udp:
            for peer, uri, way in (
                (tcp, "sip:a@127.0.0.9:1;transport=udp", "udp:127.0.0.9:1"),
                (tcp, "sip:a@127.0.0.9:2", "conn:"),
                (tcp, "sip:a@127.0.0.9:3;transport=tcp", "conn:"),
                (udp, "sip:a@127.0.0.1:4", "udp:127.0.0.1:4"),
                (udp, "sip:a@127.0.0.1:5;transport=tcp", "tcp:127.0.0.1:5"),
                (udp, "sip:a@127.0.0.1:6;transport=tls", f"udp:127.0.0.1:{udp.port}"),
            ):
                user = f"user{uri[-5:].strip('=:')}{way[:3]}".replace(":", "")
                register(peer, user, f"<{uri}>")
                assert ways(tcp, user)[0].startswith(way), uri


# ---- parameters, several contacts ----


def test_the_parameters_of_a_contact_come_back_and_q_says_who_is_called_first(mode, tmp_path):
    with start(mode, tmp_path, script=WAYS) as server, Tcp(server.ports["tcp"]) as phone:
        instance = '+sip.instance="<urn:uuid:0a;b>"'
        values = [
            "<sip:bob@10.0.0.1:1;transport=udp>;q=0.5",
            f"<sip:bob@10.0.0.1:2;transport=udp>;expires=60;q=1.0;{instance};reg-id=1",
            "<sip:bob@10.0.0.1:3;transport=udp>;q=0.123",
            "<sip:bob@10.0.0.1:4;transport=udp>;q=0",
            "<sip:bob@10.0.0.1:5;transport=udp>;q=0.5",
        ]
        for cseq, value in enumerate(values, 1):
            answer = register(phone, "bob", value, cseq=cseq)
        assert answer.all("Contact")[0] == f"<sip:bob@10.0.0.1:2;transport=udp>;q=1.0;{instance};reg-id=1;expires=60"
        order = ["2", "5", "1", "3", "4"]
        assert [uri_of(value).split(":")[2][0] for value in answer.all("Contact")] == order
        assert ways(phone, "bob") == [f"udp:10.0.0.1:{port}" for port in order]
        answer = register(phone, "bob", "<sip:bob@10.0.0.1:4;transport=udp>", cseq=9)
        assert uri_of(answer.all("Contact")[0]).endswith("1:4;transport=udp")  # without q: 1, and the newest of those


def test_the_same_contact_named_twice_counts_once_and_the_last_word_counts(mode, tmp_path):
    with start(mode, tmp_path) as server, Tcp(server.ports["tcp"]) as phone:
        uri = "<sip:bob@10.0.0.1>"
        register(phone, "bob", uri, cseq=1)
        assert not register(phone, "bob", [f"{uri};expires=0, {uri};expires=0", f"{uri};expires=0"], cseq=2).all("Contact")
        assert len(register(phone, "bob", [f"{uri};expires=0", f"{uri};expires=60"], cseq=3).all("Contact")) == 1
        register(phone, "bob", [f"<sip:bob@10.0.0.{n}>" for n in range(2, 9)], cseq=4)
        answer = register(phone, "bob", [f"{uri};expires=0, {uri};expires=0", "<sip:bob@10.0.0.9>"], cseq=5)
        assert contacts(answer) == [f"sip:bob@10.0.0.{n}" for n in range(2, 10)]


def test_an_update_for_which_there_is_no_room_changes_nothing(mode, tmp_path):
    bindings, together = 16384, 8
    with start(mode, tmp_path) as server, Tcp(server.ports["tcp"]) as phone:
        many = bindings // together - 1
        for first in range(0, many, 64):
            batch = range(first, min(first + 64, many))
            for number in batch:
                values = [f"Contact: <sip:u@10.0.0.{contact}>" for contact in range(together)]
                to = f"<sip:user{number}@127.0.0.1>"
                phone.send(request("REGISTER", "sip:127.0.0.1", phone.via, *values, to=to))
            for _ in batch:
                phone.expect(200)
        last = [f"<sip:u@10.0.0.{contact}>" for contact in range(together)]
        register(phone, "almost", last[:-1])
        register(phone, "two", last[:2], expect=503)
        assert not phone.ask(request("REGISTER", "sip:127.0.0.1", phone.via, to="<sip:two@127.0.0.1>"), 200).all("Contact")
        register(phone, "one", last[:1])
        values = [f"{last[0]};expires=0", last[1]]  # what leaves makes room for what comes
        assert contacts(register(phone, "one", values)) == [uri_of(last[1])]


def test_a_phone_that_refreshes_does_not_get_the_cancel_of_a_call_to_another(mode, tmp_path):
    with start(mode, tmp_path) as server, Tcp(server.ports["tcp"]) as first, Tcp(server.ports["tcp"]) as rings:
        register(first, "bob", "<sip:bob@10.0.0.1>", call="first")
        register(rings, "bob", "<sip:bob@10.0.0.2>", call="rings")
        with Tcp(server.ports["tcp"]) as caller:
            uri, via = "sip:bob@127.0.0.1", f"{caller.via};branch=z9hG4bKone"
            caller.send(request("INVITE", uri, via, call="cancelled"))
            rings.expect("INVITE")
            register(first, "bob", "<sip:bob@10.0.0.1>", call="first", cseq=2)
            caller.send(request("CANCEL", uri, via, call="cancelled"))
            rings.expect("CANCEL")
            caller.send(request("ACK", uri, via, call="cancelled", to=f"<{uri}>;tag=x"))
            rings.expect("ACK")
            first.nothing()


# ---- one contact of many users ----

NEXT_HOP = """
function route(msg)
  if msg.method == "REGISTER" then msg:save() else msg:reply(200, "OK", { ["X-Hop"] = tostring(msg.next_hop) }) end
end
"""


def in_dialog(server, peer, contact):
    """A request to a contact in a dialog whose connection is gone."""
    route = f"Route: <sip:sw-t1-n0-0123456789abcdef@127.0.0.1:{server.ports['tcp']};transport=tcp;lr>"
    return request("INFO", contact, peer.via, route, to=f"<{contact}>;tag=1")


def test_who_registered_a_contact_last_is_who_is_reached_by_it(mode, tmp_path):
    with start(mode, tmp_path, script=NEXT_HOP) as server, Tcp(server.ports["tcp"]) as caller:
        phones = [Tcp(server.ports["tcp"]) for _ in range(3)]
        order = [0, 1, 2, 0]
        hops = []
        for cseq, number in enumerate(order, 1):
            register(phones[number], f"user{number}", "<sip:x@10.0.0.1>", cseq=cseq)
            hops.append(caller.ask(in_dialog(server, caller, "sip:x@10.0.0.1"), 200).header("X-Hop"))
        assert len(set(hops)) == 3 and hops[0] == hops[3], hops
        for number, hop in ((0, hops[2]), (2, hops[1]), (1, "udp:10.0.0.1:5060")):
            register(phones[number], f"user{number}", "<sip:x@10.0.0.1>;expires=0", cseq=9)
            assert caller.ask(in_dialog(server, caller, "sip:x@10.0.0.1"), 200).header("X-Hop") == hop
        for phone in phones:
            phone.close()


def test_a_contact_of_many_users_is_found_as_fast_as_any_other(tmp_path):
    def pipelined(peer, texts):
        for first in range(0, len(texts), 200):
            peer.send("".join(texts[first : first + 200]))
            for _ in texts[first : first + 200]:
                peer.expect(200)

    with start("--threads", tmp_path, script=NEXT_HOP) as server, Tcp(server.ports["tcp"]) as phone:

        def cpu_time(contact):
            before = Path(f"/proc/{server.pid}/stat").read_text().split()[13:15]
            pipelined(phone, [in_dialog(server, phone, contact)] * 6000)
            return sum(map(int, Path(f"/proc/{server.pid}/stat").read_text().split()[13:15])) - sum(map(int, before))

        shared, own = "sip:x@10.0.0.1", "sip:x@10.0.0.2"
        register(phone, "own", f"<{own}>")
        line = f"Contact: <{shared}>"
        users = [f"<sip:user{number}@127.0.0.1>" for number in range(16000)]
        pipelined(phone, [request("REGISTER", "sip:127.0.0.1", phone.via, line, to=to) for to in users])
        few, many = cpu_time(own), cpu_time(shared)
        assert many < 3 * few + 10, f"{few} and {many} ticks"
