"""sipd between peers that do not trust each other: nobody gets or sends what is another's."""

import pytest
from sip_peers import Tcp, request, start


@pytest.mark.parametrize("via", ['x="', 'x="a\\"', 'x="a" "', 'x="\\'])
def test_a_via_with_a_quote_that_does_not_end_is_a_bad_message(via, mode, tmp_path):
    with start(mode, tmp_path) as server, Tcp(server.ports["tcp"]) as phone:
        phone.send(request("OPTIONS", "sip:127.0.0.1", f"{phone.via};branch=z9hG4bKbad;{via}", call="bad"))
        answer = phone.ask(request("OPTIONS", "sip:127.0.0.1", f'{phone.via};branch=z9hG4bKgood;x="a\\"b"', call="good"), 200)
        assert answer.header("Call-ID") == "good"
