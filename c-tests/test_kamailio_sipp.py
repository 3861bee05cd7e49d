"""sipp through Kamailio on the library: phones register, and are called with record-routing."""

import pytest
from kamailio import Kamailio, needs_kamailio
from run import CHECK_ALL, free_port, run, tail
from test_sipp import Callee, assert_clean, sipp

CALLS, RATE = (5000, 100) if CHECK_ALL else (500, 50)
LIMIT = 60 + 2 * CALLS // RATE

pytestmark = [needs_kamailio, pytest.mark.timeout(LIMIT + 60)]

SCRIPT = """
request_route {
    if (has_totag()) {
        if (!loose_route()) { sl_send_reply("404", "Not Here"); exit; }
        if (!t_relay()) exit; # tm has answered
        exit;
    }
    if ($rm == "CANCEL") { t_relay(); exit; }
    if ($rm == "REGISTER") { save("location"); exit; }
    if ($rm == "INVITE") record_route();
    if (!lookup("location")) { sl_send_reply("404", "Not Found"); exit; }
    if (!t_relay()) exit; # tm has answered
}
"""


def caller(kamailio, scenario, transport, folder, *options):
    code, output = run(sipp(scenario, free_port(), transport, folder, *options, target=kamailio.port), limit=LIMIT, cwd=folder)
    return code, output


@pytest.mark.parametrize("transports", [("t1", "t1"), ("tn", "t1"), ("t1", "tn")], ids="-".join)
def test_a_phone_registers_and_500_calls_are_record_routed(tmp_path, transports):
    calling, called = transports
    core = "tcp_max_connections=4000\n"
    with Kamailio(tmp_path, SCRIPT, core=core) as kamailio:
        with Callee(tmp_path, called, CALLS, scenario="uas_routed") as phone:
            options = ["-s", "callee", "-m", "1", "-key", "phone_port", phone.port]
            code, output = caller(kamailio, "register", "t1", tmp_path, *options)
            assert_clean(tmp_path, "register", 1, output)
            assert code == 0, tail(output)
            code, output = caller(kamailio, "uac_routed", calling, tmp_path, "-s", "callee", "-m", CALLS, "-r", RATE, "-l", "2000")
            assert_clean(tmp_path, "uac_routed", CALLS, output)
            assert code == 0, tail(output)
            phone.finish()
        assert kamailio.value("sipwire.stats", "messages_in") == 1 + 6 * CALLS
        assert kamailio.value("sipwire.stats", "failures_reported") == 0
