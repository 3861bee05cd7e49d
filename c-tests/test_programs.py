"""answer and sipd as their users start them: bad options in one line, make run, names of what runs."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from run import BUILD, LEASH, TOP, Server, await_port, end_session, free_port, processes_of, run, run_ok
from sip_peers import Tcp, await_true, register, request, response

ANSWER, SIPD = BUILD / "answer", BUILD / "sipd"
BOTH = pytest.mark.parametrize("program", [ANSWER, SIPD], ids=["answer", "sipd"])


def one_clear_line(command, *words):
    """The program says one line that names what is wrong, and ends with a code that is not 0."""
    code, output = run(command, limit=20)
    assert code not in (0, None) and code > 0, f"exit code {code}: {output}"
    lines = output.strip().splitlines()
    assert len(lines) == 1, output
    for word in words:
        assert word in lines[0], f"{word!r} is not in: {lines[0]}"


@BOTH
def test_an_unknown_setting_is_named_with_the_nearest_one(program, mode):
    one_clear_line([program, mode, "-l", "tcp:127.0.0.1:0", "-o", "send_timout=5s"], "send_timout", "send_timeout")


@BOTH
def test_a_value_out_of_range_is_named(program, mode):
    one_clear_line([program, mode, "-l", "tcp:127.0.0.1:0", "-o", "send_timeout=never"], "send_timeout", "never")


@BOTH
def test_a_bad_listen_address_is_named(program):
    one_clear_line([program, "-l", "tcp:127.0.0.1:99999"], "99999")


@BOTH
def test_a_port_in_use_is_named(program, mode):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"tcp:127.0.0.1:{taken.getsockname()[1]}"
        one_clear_line([program, mode, "-l", address], address.removeprefix("tcp:"), "in use")


def test_a_udp_port_in_use_is_named(mode):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
        one_clear_line([SIPD, mode, "-l", f"udp:127.0.0.1:{port}", "-l", "tcp:127.0.0.1:0"], port, "in use")


def test_a_udp_listener_without_receivers_is_refused(mode):
    one_clear_line([SIPD, mode, "-u", "0", "-l", "udp:127.0.0.1:0"], "-u 0", "udp:127.0.0.1:")
    one_clear_line([SIPD, mode, "-l", "tcp:127.0.0.1:0", "-l", "udp:127.0.0.1:0", "-u", "0"], "-u 0")


@BOTH
def test_arguments_that_are_no_options_are_refused(program):
    one_clear_line([program, "-l", "tcp:127.0.0.1:0", "5060"], "usage" if program == ANSWER else "5060")


def test_a_missing_script_is_named(mode):
    one_clear_line([SIPD, mode, "-l", "tcp:127.0.0.1:0", "-s", "/nowhere/mine.lua"], "/nowhere/mine.lua", "No such file")


def test_a_script_with_a_mistake_is_named_with_its_line(tmp_path, mode):
    script = tmp_path / "mine.lua"
    script.write_text("function route(msg)\n  msg:reply(200\nend\n")
    one_clear_line([SIPD, mode, "-l", "tcp:127.0.0.1:0", "-s", script], "mine.lua:3")


def test_a_script_without_route_is_refused(tmp_path, mode):
    script = tmp_path / "mine.lua"
    script.write_text("x = 1\n")
    one_clear_line([SIPD, mode, "-l", "tcp:127.0.0.1:0", "-s", script], "route")


def test_answer_gives_to_a_tag_when_it_has_none(mode):
    with Server([ANSWER, mode, "-w", "1", "-l", "tcp:127.0.0.1:0"]) as server, Tcp(server.ports["tcp"]) as phone:
        for to, has_tag in (
            ("<sip:a@h>", False),
            ("sip:a@h", False),
            ('"x;tag=no" <sip:a@h>', False),
            ("<sip:a@h;tag=uri>", False),
            ("<sip:a@h>;x=1;TAG=yes", True),
            ("sip:a@h;tag=yes", True),
            ("<sip:a@h> ;\r\n tag = yes", True),
            ("<sip:a@h>\t;x ; tag\t=yes", True),
            ("<sip:a@h>;tagged=no", False),
            ("<sip:a@h>;", False),
        ):
            answer = phone.ask(request("OPTIONS", "sip:127.0.0.1", phone.via, to=to), 200)
            assert (";tag=answer\r\n" in answer.text) != has_tag, answer


def talk(caller, callee, callees_name, call):
    """A call from its INVITE to the BYE of the callee, through the server that both are connected with."""
    uri = f"sip:{callees_name}@127.0.0.1"
    caller.send(request("INVITE", uri, caller.via, f"Contact: <{caller.uri}>", call=call))
    invite = callee.expect("INVITE")
    callee.send(response(invite, 180, "Ringing"))
    caller.expect(180)
    callee.send(response(invite, 200, "OK", f"Contact: <{callee.uri}>"))
    ok = caller.expect(200)
    assert invite.header("Call-ID") == ok.header("Call-ID") == call
    routes = [f"Route: {route}" for route in reversed(ok.all("Record-Route"))]
    caller.send(request("ACK", callee.uri, caller.via, *routes, call=call, to=ok.header("To")))
    assert callee.expect("ACK").header("Call-ID") == call
    routes = [f"Route: {route}" for route in invite.all("Record-Route")]
    callee.send(request("BYE", caller.uri, callee.via, *routes, call=call, cseq=7, to=ok.header("From"), tag="callee"))
    bye = caller.expect("BYE")
    assert bye.header("Call-ID") == call
    caller.send(response(bye, 200))
    assert callee.expect(200).header("CSeq") == "7 BYE"


def test_two_phones_that_register_over_tcp_call_each_other(mode):
    with Server([SIPD, mode, "-w", "2", "-l", "tcp:127.0.0.1:0"]) as server:
        with Tcp(server.ports["tcp"]) as alice, Tcp(server.ports["tcp"]) as bob:
            # Nobody listens at what they name as their contact: all goes over the connections they have opened.
            register(alice, "alice", f"<{alice.uri};transport=tcp>")
            register(bob, "bob", f"<{bob.uri};transport=tcp>")
            for turn in range(3):
                talk(alice, bob, "bob", f"there{turn}")
                talk(bob, alice, "alice", f"back{turn}")
            alice.nothing()
            bob.nothing()


def child_named(session, name):
    """The child of a program that ps shows by this name; None when there is none."""
    for pid in processes_of(session):
        try:
            if pid != session and Path(f"/proc/{pid}/comm").read_text().strip() == name:
                return pid
        except OSError:
            pass
    return None


@BOTH
@pytest.mark.parametrize("name", ["sipwire-super", "sipwire-w0", "sipwire-w1"])
def test_a_child_that_is_killed_is_replaced(program, name):
    with Server([program, "--processes", "-w", "2", "-l", "tcp:127.0.0.1:0"]) as server:
        for _ in range(3):
            killed = await_true(lambda: child_named(server.pid, name), f"no {name}")
            os.kill(killed, signal.SIGKILL)
            await_true(lambda: child_named(server.pid, name) not in (None, killed), f"no {name} after {killed}")
            for number in range(4):  # each worker has its turn
                with Tcp(server.ports["tcp"]) as phone:
                    phone.ask(request("OPTIONS", "sip:127.0.0.1", phone.via, call=f"after{number}"), 200)


def thread_names(session):
    names = set()
    for pid in processes_of(session):
        for task in Path(f"/proc/{pid}/task").iterdir():
            names.add((task / "comm").read_text().strip())
    return names


@BOTH
def test_what_runs_has_names_that_ps_and_top_show(program, mode):
    wanted = {"sipwire-super", "sipwire-w0", "sipwire-w1"}
    with Server([program, mode, "-w", "2", "-l", "tcp:127.0.0.1:0"]) as server:
        until = time.monotonic() + 10
        while not wanted <= (names := thread_names(server.pid)):
            assert time.monotonic() < until, names
            time.sleep(0.02)


@BOTH
def test_several_listeners_and_ipv6(program, mode):
    with socket.socket(socket.AF_INET6) as probe:
        if probe.connect_ex(("::1", 1)) == 99:
            pytest.skip("no IPv6 on the loopback interface")
    with Server([program, mode, "-l", "tcp:127.0.0.1:0", "-l", "tcp:[::1]:0"]) as server:
        assert server.output.count("listening on tcp:") == 2 and "listening on tcp:[::1]:" in server.output


@BOTH
def test_the_program_ends_on_sigint_as_on_sigterm(program, mode):
    server = Server([program, mode, "-l", "tcp:127.0.0.1:0"])
    os.kill(server.pid, signal.SIGINT)
    output, _ = server.process.communicate(timeout=20)
    assert server.process.returncode == 0, output
    server.leftovers.check(server.pid)


@BOTH
def test_what_a_test_started_dies_with_it(program, mode):
    if not LEASH:
        pytest.skip("no setpriv here")
    command = [str(program), mode, "-w", "1", "-l", "tcp:127.0.0.1:0"]
    text = f"import run, time\nprint(run.Server({command}).pid, flush=True)\ntime.sleep(600)"
    test = subprocess.Popen([sys.executable, "-B", "-c", text], stdout=subprocess.PIPE, cwd=TOP / "c-tests")
    server = int(test.stdout.readline())
    try:
        assert processes_of(server)
        test.kill()
        await_true(lambda: not processes_of(server), "the server goes on")
    finally:
        test.kill()
        test.communicate()
        end_session(server, patience=0)


def test_make_run_serves_and_says_what_to_type_next():
    port = free_port()
    command = ["make", "--no-print-directory", "run", f"ADDR=127.0.0.1:{port}"]
    make = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, cwd=TOP
    )
    try:
        await_port(port, limit=60)
        code, output = run(["sipsak", "-v", "-E", "tcp", "-s", f"sip:127.0.0.1:{port}"], limit=20)
        assert code == 0, output
        os.killpg(make.pid, signal.SIGINT)  # what Ctrl-C does
        text = make.communicate(timeout=20)[0].decode()
        for word in (f"127.0.0.1:{port}", "sipsak", "sipp", "Ctrl-C"):
            assert word in text, text
        assert len(text.splitlines()) <= 24, f"more than one screen:\n{text}"
        assert text.index("\nready\n") < text.index("sipsak")
    finally:
        assert not end_session(make.pid)


def test_make_run_says_only_what_is_wrong_when_the_port_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, output = run(["make", "--no-print-directory", "run", f"ADDR={address}"])
        lines = [line for line in output.splitlines() if not line.startswith("make: ***")]  # that is make's own
        assert code != 0 and len(lines) == 1 and address in lines[0] and "in use" in lines[0], output


def test_what_is_built_is_installed_without_cargo(tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in "bash cat chmod cp cut dirname find grep head id install ln mkdir rm sed sh tr uname".split() + ["make"]:
        if found := shutil.which(name):
            (tools / name).symlink_to(found)
    environment = {"PATH": str(tools)}
    run_ok(["make", "install", "PREFIX=/opt", f"DESTDIR={tmp_path}"], env=environment, check_leftovers=False)
    assert (tmp_path / "opt/lib/libsipwire.a").exists() and (tmp_path / "opt/lib/pkgconfig/sipwire.pc").exists()


def test_the_archive_is_linked_as_the_readme_says(tmp_path):
    readme = (TOP / "README.md").read_text()
    command = re.search(r"^ +(cc .*libsipwire\.a.*-o host)$", readme.partition("## Installing")[2], re.M)[1]
    (tmp_path / "host.c").write_text(re.search(r"<!-- test: host -->\s*```c\n(.*?)```", readme, re.S)[1])
    run_ok(["make", "install", f"PREFIX={tmp_path}"], check_leftovers=False)
    environment = {"PKG_CONFIG_PATH": str(tmp_path / "lib/pkgconfig")}
    run_ok(["sh", "-c", command], env=environment, cwd=tmp_path, check_leftovers=False)
    assert "libsipwire" not in run_ok(["readelf", "-d", tmp_path / "host"], check_leftovers=False)
