"""Users and contacts, as RFC 3261 19.1 has them."""

import pytest
from sip_peers import Tcp, register, start
from test_sipd_registrar import contacts, message_to


@pytest.mark.parametrize(
    "registered, called, same",
    [
        ("%62obby", "bobby", True),
        ("bobby", "%62ob%62%79", True),
        ("%C3%a4", "%c3%A4", True),
        ("%C3%A4", "\u00e4", True),
        ("%7Ebob", "~bob", True),
        ("a%3bb", "a%3Bb", True),
        ("a%3bb", "a;b", False),
        ("a%2bb", "a+b", False),
        ("a%00b", "a%00b", True),
        ("a%00b", "a", False),
        ("a%2562", "ab", False),
        ("a%6", "a%6", True),
        ("a%6z", "a%6z", True),
        ("bob", "Bob", False),
        ("+1234;phone-context=example.com", "+1234;phone-context=example.com", True),
        ("+1234;phone-context=example.com", "+1234", False),
        ("a?b", "a?b", True),
    ],
)
def test_a_user_is_known_in_each_way_to_write_him_and_in_no_other(registered, called, same, tmp_path):
    with start("--threads", tmp_path) as server, Tcp(server.ports["tcp"]) as phone, Tcp(server.ports["tcp"]) as caller:
        assert contacts(register(phone, registered, "<sip:x@10.0.0.1>")) == ["sip:x@10.0.0.1"]
        message_to(called, caller)
        if same:
            phone.expect("MESSAGE")
            assert not register(phone, called, "*", expires=0, cseq=2).all("Contact")
            message_to(registered, caller)
        caller.expect(404)


def test_a_user_too_long_for_the_table_is_refused_and_one_that_is_escaped_is_not(mode, tmp_path):
    with start(mode, tmp_path) as server, Tcp(server.ports["tcp"]) as phone:
        register(phone, "b" * 96, "<sip:x@10.0.0.1>", expect=400)
        register(phone, "b" * 94 + "%3b", "<sip:x@10.0.0.1>", expect=400)
        assert contacts(register(phone, "%62" * 95, "<sip:x@10.0.0.1>")) == ["sip:x@10.0.0.1"]
        assert contacts(register(phone, "b" * 95, "<sip:x@10.0.0.2>")) == ["sip:x@10.0.0.1", "sip:x@10.0.0.2"]


@pytest.mark.parametrize(
    "contact, ruri",
    [
        ("sip:bob@10.0.0.1?Route=%3Csip:e%3E&method=BYE", "sip:bob@10.0.0.1"),
        ("sip:bob@10.0.0.1;method=INVITE", "sip:bob@10.0.0.1"),
        ("sip:bob@10.0.0.1;ob;METHOD=BYE;x=y?Subject=z", "sip:bob@10.0.0.1;ob;x=y"),
        ("sip:b?method=x;method=y@10.0.0.1:5062;methods=z", "sip:b?method=x;method=y@10.0.0.1:5062;methods=z"),
        ("sip:10.0.0.1;method=a;method=b", "sip:10.0.0.1"),
    ],
)
def test_a_request_uri_has_nothing_of_a_contact_that_it_may_not_have(contact, ruri, mode, tmp_path):
    with start(mode, tmp_path) as server, Tcp(server.ports["tcp"]) as phone, Tcp(server.ports["tcp"]) as caller:
        assert contacts(register(phone, "bob", f"<{contact}>")) == [contact]  # to the phone it stays what it said
        message_to("bob", caller)
        assert phone.expect("MESSAGE").ruri == ruri
