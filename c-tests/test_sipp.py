"""Real clients against sipd: sipp as callers and callees, sipsak."""

import csv
import re
import socket
import subprocess
import time

import pytest
from run import BUILD, CHECK_ALL, LEASH, TOP, Server, end_session, free_port, run, tail

SIPD, ANSWER = BUILD / "sipd", BUILD / "answer"
SCENARIOS = TOP / "c-tests" / "sipp"
# Faster, sipp itself falls behind when it has a socket for each call, and its peer is what is measured.
CALLS, RATE = (10000 if CHECK_ALL else 1000), 100
# sipp's transports of caller and callee: t1 is one TCP connection, tn one for each call, u1 UDP.
PAIRS = [("t1", "t1"), ("tn", "tn"), ("u1", "t1")] + ([("t1", "tn"), ("tn", "t1"), ("u1", "tn")] if CHECK_ALL else [])
LIMIT = 60 + 2 * CALLS // RATE

# What must be 0 at the end, in the words of sipp's statistics.
TROUBLE = [
    "FailedCall(C)",
    "Retransmissions(C)",
    "OutOfCallMsgs(C)",
    "DeadCallMsgs(C)",
    "FailedUnexpectedMessage(C)",
    "FailedTimeoutOnRecv(C)",
    "FailedTcpConnect(C)",
    "FailedTcpClosed(C)",
]


def sipp(scenario, port, transport, folder, *options, target=None):
    """The command line; statistics go to FOLDER/SCENARIO.csv."""
    return [
        "sipp",
        *([f"127.0.0.1:{target}"] if target else []),
        *["-sf", SCENARIOS / f"{scenario}.xml", "-i", "127.0.0.1", "-p", port, "-t", transport, "-nostdin"],
        *["-trace_stat", "-stf", folder / f"{scenario}.csv", "-fd", "1"],
        *["-trace_err", "-error_file", folder / f"{scenario}.err", "-max_socket", "4096"],
        *options,
    ]


def statistics(folder, scenario):
    with open(folder / f"{scenario}.csv", newline="") as file:
        return list(csv.DictReader(file, delimiter=";"))[-1]


def assert_clean(folder, scenario, calls, output):
    last = statistics(folder, scenario)
    errors = folder / f"{scenario}.err"
    said = tail(errors.read_text(errors="replace") if errors.exists() else "", 20)
    bad = {name: last[name] for name in TROUBLE if int(last.get(name) or 0) != 0}
    assert not bad, f"{scenario}: {bad}\n{said}\n{tail(output, 30)}"
    assert int(last["SuccessfulCall(C)"]) == calls, f"{scenario}: {last['SuccessfulCall(C)']} calls\n{said}"


class Callee:
    """sipp as a phone that takes calls; ends by itself after so many."""

    def __init__(self, folder, transport, calls, scenario="uas"):
        self.folder, self.calls, self.port, self.scenario = folder, calls, free_port(), scenario
        command = sipp(scenario, self.port, transport, folder, "-m", calls)
        with open(folder / "uas.out", "wb") as output:
            self.process = subprocess.Popen(
                [*LEASH, *(str(part) for part in command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=folder,
            )
        # Not by connecting: sipp would count the closing of that connection.
        until = time.monotonic() + 20
        while f":{self.port:04X} 00000000:0000 0A" not in open("/proc/net/tcp").read():
            assert self.process.poll() is None and time.monotonic() < until, (folder / "uas.out").read_text()
            time.sleep(0.02)

    def finish(self):
        self.process.wait(30)
        output = (self.folder / "uas.out").read_text(errors="replace")
        assert self.process.returncode == 0, tail(output)
        assert_clean(self.folder, self.scenario, self.calls, output)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        end_session(self.process.pid, patience=0)


def call(server, transport, folder, calls, rate):
    """sipp as the caller of "callee" through the server; every call must succeed."""
    port = server.ports["udp" if transport[0] == "u" else "tcp"]
    options = ["-s", "callee", "-m", calls, "-r", rate, "-l", "2000"]
    code, output = run(sipp("uac", free_port(), transport, folder, *options, target=port), limit=LIMIT, cwd=folder)
    assert_clean(folder, "uac", calls, output)
    assert code == 0, tail(output)


def sipd(mode, *options):
    return Server([SIPD, mode, "-w", "2", "-l", "tcp:127.0.0.1:0", "-l", "udp:127.0.0.1:0", *options])


@pytest.fixture
def relay_to(tmp_path):
    """A script that sends every request to one place."""

    def write(port):
        script = tmp_path / "relay.lua"
        script.write_text(
            "function route(msg)\n"
            f'  local sent, why = msg:relay("tcp:127.0.0.1:{port}")\n'
            '  if not sent then log(why); msg:reply(503, "Service Unavailable") end\n'
            "end\n"
        )
        return script

    return write


@pytest.mark.timeout(LIMIT + 120)
@pytest.mark.parametrize("caller, callee", PAIRS)
def test_calls_through_sipd(caller, callee, mode, relay_to, tmp_path):
    with Callee(tmp_path, callee, CALLS) as phone, sipd(mode, "-s", relay_to(phone.port)) as server:
        call(server, caller, tmp_path, CALLS, RATE)
        phone.finish()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("caller", ["t1", "u1"])
def test_a_phone_registers_and_is_called_by_the_default_script(caller, mode, tmp_path):
    with Callee(tmp_path, "t1", 20) as phone, sipd(mode) as server:
        options = ["-s", "callee", "-m", "1", "-key", "phone_port", phone.port]
        code, output = run(sipp("register", free_port(), "t1", tmp_path, *options, target=server.ports["tcp"]), cwd=tmp_path)
        assert_clean(tmp_path, "register", 1, output)
        assert code == 0, tail(output)
        call(server, caller, tmp_path, 20, 10)
        phone.finish()


def sipsak(server, *options, transport="tcp", limit=30):
    command = ["sipsak", "-v", "-E", transport, *options, "-s", f"sip:127.0.0.1:{server.ports[transport]}"]
    return run(command, limit=limit)


def statuses(output):
    """Of the answers that sipsak prints."""
    return set(re.findall(r"^SIP/2\.0 (\d+) ", output, re.M))


@pytest.mark.parametrize("program", [ANSWER, SIPD], ids=["answer", "sipd"])
def test_sipsak_options_over_tcp_is_answered_200(program, mode):
    with Server([program, mode, "-w", "2", "-l", "tcp:127.0.0.1:0"]) as server:
        for _ in range(20):
            code, output = sipsak(server)
            assert code == 0 and statuses(output) == {"200"}, output


def test_sipsak_options_over_udp_is_answered_200(mode):
    with sipd(mode) as server:
        code, output = sipsak(server, transport="udp")
        assert code == 0 and statuses(output) == {"200"}, output


def test_a_call_to_a_phone_that_refuses_is_answered_503(mode, relay_to, tmp_path):
    with socket.socket() as phone:  # has the port, and does not listen
        phone.bind(("127.0.0.1", 0))
        with sipd(mode, "-s", relay_to(phone.getsockname()[1])) as server:
            for _ in range(3):
                code, output = sipsak(server, "-vv")
                assert statuses(output) == {"503"}, f"exit code {code}\n{output}"


