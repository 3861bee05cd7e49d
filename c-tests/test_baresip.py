"""Two phones of another maker register over TCP through sipd and talk."""

import pytest
from baresip import LIMIT, Baresip, needs_baresip
from run import TOP
from sip_peers import COUNTERS, Counters, await_true, start

pytestmark = [needs_baresip, pytest.mark.timeout(300)]

# Of a call through a stateless proxy that stays on its way: INVITE, 180, 200, ACK, BYE, 200.
MESSAGES_OF_A_CALL = 6


def talk(caller, callee, ends):
    """A call, until both have heard the other; `ends` hangs up."""
    for phone in caller, callee:
        phone.forget()
    caller.command("dial", f"sip:{callee.user}@127.0.0.1:{caller.port}")
    for phone in caller, callee:
        assert phone.event("CALL_ESTABLISHED")["direction"] == ("outgoing" if phone is caller else "incoming")
    for phone in caller, callee:
        await_true(phone.hears_a_sine, f"{phone.user} hears nothing", LIMIT)
    ends.command("hangup")
    for phone in caller, callee:
        phone.event("CALL_CLOSED")


def test_two_phones_register_over_tcp_and_talk(mode, tmp_path):
    script = (TOP / "examples-c/sipd/default.lua").read_text() + COUNTERS
    with start(mode, tmp_path, script=script, listen=("tcp:127.0.0.1:0",)) as server:
        port = server.ports["tcp"]
        with Counters(port) as counters, Baresip(tmp_path, "alice", port) as alice, Baresip(tmp_path, "bob", port) as bob:
            assert counters()["messages_in"] == 2 and counters()["connections"] == 2
            calls = [(alice, bob, alice), (bob, alice, alice)]
            for number, (caller, callee, ends) in enumerate(calls, 1):
                talk(caller, callee, ends)
                # The answer to the BYE comes after the phones have said that the call is over.
                await_true(lambda number=number: counters()["messages_in"] == 2 + number * MESSAGES_OF_A_CALL, "the messages of a call")
            now = counters()
            assert now["connections"] == 2 and now["accepted"] == 2 and now["dialled"] == 0, now  # all over what they have opened
            troubles = "closed sends_refused failures_reported error_answers participants_died degraded messages_lost_report queued_bytes"
            assert {name: now[name] for name in troubles.split()} == dict.fromkeys(troubles.split(), 0)
            for phone in alice, bob:
                assert phone.output.count("Call established") == len(calls), phone.output
                phone.quit()
            await_true(lambda: counters()["connections"] == 0, "the phones have gone")
            assert counters()["messages_in"] == 4 + len(calls) * MESSAGES_OF_A_CALL  # each took its registration back
