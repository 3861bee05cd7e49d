"""What an operator of Kamailio sees and sets: RPC, statistics, parameters, refusals at the start."""

import glob
import json
import re
import resource
import shutil
import socket
import struct
from pathlib import Path

import pytest
from kamailio import MODULE, TCP, TCP6, UDP, Kamailio, needs_kamailio, refused
from run import BUILD, TOP, free_port, run, run_ok
from sip_peers import Tcp, await_true, request

pytestmark = [needs_kamailio, pytest.mark.timeout(120)]

CONNECTIONS = 5000
SCRIPT = 'request_route { sl_send_reply("200", "OK"); }\n'


@pytest.fixture
def many_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + 1000
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"the limit of open files is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def rows(text):
    return [dict(re.findall(r"^\s+(\w+): (.*)$", row, re.M)) for row in re.findall(r"^\{\n(.*?)^\}", text, re.M | re.S)]


def test_the_list_of_5000_connections_and_the_end_of_one(tmp_path, many_descriptors):
    with Kamailio(tmp_path, SCRIPT, core=f"tcp_max_connections={CONNECTIONS + 100}\n") as kamailio:
        phones = [Tcp(kamailio.port) for _ in range(CONNECTIONS)]
        try:
            await_true(lambda: kamailio.value("sipwire.stats", "connections") == CONNECTIONS, "not all are accepted")
            seen, arguments = {}, []
            while True:
                page = rows(kamailio.kamcmd("sipwire.list", *arguments))
                following = page.pop()["next"] if page and "next" in page[-1] else None
                for row in page:
                    assert row["id"] not in seen, f"{row} twice"
                    seen[row["id"]] = row
                if following is None:
                    break
                arguments = [following, "500"]
            ports = {f"127.0.0.1:{phone.port}": phone for phone in phones}
            assert len(seen) == CONNECTIONS and {row["remote"] for row in seen.values()} == set(ports)
            one = seen[sorted(seen)[CONNECTIONS // 2]]
            assert one["local"] == f"127.0.0.1:{kamailio.port}" and one["state"] == "open" and one["dir"] == "in"
            assert one["owner"] == "supervisor" and one["queued"] == "0" and int(one["age_ms"]) < 60000
            assert kamailio.kamcmd("sipwire.close", one["id"]).strip() == "closing"
            assert not ports[one["remote"]]._read(), "it is not closed"
            await_true(lambda: kamailio.value("sipwire.stats", "connections") == CONNECTIONS - 1, "not one less")
            assert "no such connection" in kamailio.kamcmd("sipwire.conn", one["id"])
        finally:
            for phone in phones:
                phone.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                phone.close()


def test_rpc(tmp_path):
    with Kamailio(tmp_path, SCRIPT) as kamailio, Tcp(kamailio.port) as phone:
        phone.ask(request("OPTIONS", "sip:127.0.0.1", phone.via), 200)
        info = kamailio.kamcmd("sipwire.info")
        assert f"listener: 127.0.0.1:{kamailio.port}" in info
        assert [int(pid) for pid in re.findall(r"^\t+pid: (\d+)", info, re.M)] == kamailio.processes("sipwire worker")
        assert [kamailio.value("sipwire.info", "supervisor_pid")] == kamailio.processes("sipwire supervisor")
        [row] = rows(kamailio.kamcmd("sipwire.list"))
        [conn] = rows(kamailio.kamcmd("sipwire.conn", row["id"]))
        assert (conn["messages_in"], conn["messages_out"], conn["pending_answers"]) == ("1", "1", "0")
        assert kamailio.kamcmd("sipwire.set", "send_timeout", "3").strip() == "send_timeout is 3s"
        assert "send_timeout" in kamailio.kamcmd("sipwire.set", "send_timeoutt", "3")
        assert "workers" in kamailio.kamcmd("sipwire.set", "workers", "3")
        for wrong in (["sipwire.conn"], ["sipwire.conn", "1"], ["sipwire.close", "1"], ["sipwire.list", "0", "0"], ["sipwire.list", "0", "501"], ["sipwire.set", "x"]):
            assert kamailio.kamcmd(*wrong).startswith("error: 4"), wrong
        assert kamailio.kamcmd("sipwire.blacklist").strip() == ""
        assert kamailio.kamcmd("cnt.get", "sipwire", "messages_in").strip() == "1"
        assert "sipwire.messages_in = 1" in kamailio.kamcmd("stats.get_statistics", "sipwire:").replace(":", ".")
        kamailio.allowed += ["ERROR: "]


@pytest.mark.skipif(not glob.glob("/usr/lib/*/kamailio/modules/jsonrpcs.so"), reason="kamailio has no module jsonrpcs")
def test_every_listener_and_worker_is_in_the_answer_as_json_too(tmp_path):
    """An object of JSON has a name once: of several workers under one name a client would see the last."""
    place = tmp_path / "json"
    modparams = f'modparam("jsonrpcs", "transport", 4)\nmodparam("jsonrpcs", "dgram_socket", "{place}")\n'
    with Kamailio(tmp_path, SCRIPT, listen=(UDP, TCP, TCP6), workers=3, modules=["jsonrpcs"], modparams=modparams) as kamailio:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.bind(str(tmp_path / "client"))
            client.settimeout(5)
            client.sendto(b'{"jsonrpc": "2.0", "method": "sipwire.info", "id": 1}', str(place))
            answer = json.loads(client.recv(65536))["result"]
        assert len(answer["listeners"]) == 2
        assert [one["worker"]["pid"] for one in answer["workers"]] == kamailio.processes("sipwire worker")


def test_the_cores_settings_are_taken_over_and_a_modparam_is_above_them(tmp_path):
    core = """
        tcp_max_connections=77
        tcp_connection_lifetime=44
        tcp_send_timeout=7
        tcp_connect_timeout=6
        tcp_conn_wq_max=20000
        tcp_wq_max=200000
        tcp_crlf_ping=no
        tcp_accept_no_cl=yes
        tcp_keepalive=yes
        tcp_keepidle=33
        tcp_keepintvl=11
        tcp_keepcnt=4
        tcp_rd_buf_size=100000
        tcp_no_connect=yes
        tos=0x68
    """
    expected = {
        "max_connections": "77", "connection_lifetime": "44s", "send_timeout": "7s", "connect_timeout": "6s", "conn_wq_max": "20000",
        "wq_max": "200000", "crlf_ping": "no", "accept_no_content_length": "yes", "keepalive": "yes", "keepidle": "33s",
        "keepintvl": "11s", "keepcnt": "4", "max_message_size": "100000", "no_connect": "yes", "tos": "104", "workers": "3",
        "worker_hold": "5s",
    }  # fmt: skip
    modparams = 'modparam("sipwire", "worker_stall", "70ms")\nmodparam("sipwire", "blacklist_ttl", 0)\n'
    with Kamailio(tmp_path, SCRIPT, core=core, workers=3, modparams=modparams) as kamailio:
        for key, value in {**expected, "worker_stall": "70ms", "blacklist_ttl": "0s"}.items():
            assert kamailio.kamcmd("sipwire.get", key).strip() == value, key
    modparams = 'modparam("sipwire", "send_timeout", 9)\nmodparam("sipwire", "workers", 1)\n'
    with Kamailio(tmp_path, SCRIPT, core=core, workers=3, modparams=modparams) as kamailio:
        assert kamailio.kamcmd("sipwire.get", "send_timeout").strip() == "9s"
        assert len(kamailio.processes("sipwire worker")) == 1


def test_every_key_of_the_library_is_a_parameter_of_the_module():
    table = (TOP / "src/pure/settings/table.rs").read_text()
    keys = re.findall(r'^    "(\w+)" \w+: ', table, re.M)
    source = (TOP / "examples-c/kamailio/settings.c").read_text()
    ours = re.findall(r'"(\w+)"', re.search(r"keys\[\] = \{(.*?)\};", source, re.S)[1])
    assert len(keys) > 40 and sorted(keys) == sorted(ours)


@pytest.mark.parametrize(
    "core, after, said",
    [
        ("", 'modparam("sipwire", "send_timeout", "soon")', 'modparam("sipwire", "send_timeout", "soon"): '),
        ("", 'modparam("sipwire", "keep", "here")', 'keep="here": should be like tcp:192.0.2.1:80'),
        ("", 'modparam("sipwire", "keep", "tcp:127.0.0.9:80")', 'keep="tcp:127.0.0.9:80": there is no such listen socket'),
        ("disable_tcp=yes\nlisten=udp:127.0.0.1:{port}", "", "disable_tcp is set: remove it"),
        ("-D", "", "fork=no or -D: sipwire needs processes"),
        ("disable_sctp=yes", "", "SCTP is disabled"),
        ("listen=sctp:127.0.0.1:{port}", "", "listen=sctp... does not go together with sipwire"),
        ("", 'loadmodule "xhttp.so"', 'modparam("sipwire", "keep", "tcp:127.0.0.1:{port}")'),
    ],
    ids=["value", "keep", "kept", "tcp", "fork", "sctp", "listen-sctp", "http"],
)
def test_a_configuration_that_cannot_work_is_refused_in_one_line(tmp_path, core, after, said):
    port = free_port()
    mode, core = ("-D", "") if core == "-D" else ("-DD", core)
    core, after, said = (text.replace("{port}", str(port)) for text in (core, after, said))
    text = f'log_stderror=yes\nlisten=udp:127.0.0.1:{port}\nlisten=tcp:127.0.0.1:{port}\n{core}\nloadmodule "{MODULE}"\n'
    output = refused(tmp_path, f'{text}loadmodule "sl.so"\n{after}\n{SCRIPT}', mode)
    lines = [line for line in output.splitlines() if said in line]
    assert len(lines) == 1, output


@pytest.mark.parametrize(
    "program, source, said",
    [
        ("/nowhere/kamailio", None, "there is no program /nowhere/kamailio"),
        ("kamailio", "/nowhere", "KAMAILIO_SRC=/nowhere is not a source tree of kamailio"),
        ("kamailio", "old", "is kamailio 5.5.1, kamailio is"),
        ("true", None, "true -v does not say its version and flags"),
    ],
    ids=["program", "source", "version", "silent"],
)
def test_what_make_kamailio_cannot_build_for_is_said_in_one_line(tmp_path, program, source, said):
    if source == "old":
        source = tmp_path / "old"
        (source / "src/core").mkdir(parents=True)
        (source / "src/core/sr_module.h").touch()
        (source / "src/Makefile.defs").write_text("VERSION = 5\nPATCHLEVEL = 5\nSUBLEVEL =  1\n")
    code, output = run([TOP / ".ci/kamailio", tmp_path / "flags", program, *([source] if source else [])], check_leftovers=False)
    assert code == 1 and len(output.splitlines()) == 1 and said in output, output
    assert not (tmp_path / "flags").exists()


def test_a_module_compiled_for_another_layout_refuses_in_one_line(tmp_path):
    """Its headers say that a listen socket has one member more: the core's check of version and flags cannot know."""
    flags = (BUILD / "kamailio" / "flags").read_text().split("\n", 1)
    source = Path(flags[0].split(" ", 1)[1])
    headers = tmp_path / "src"
    for header in source.glob("core/**/*.h"):
        copy = headers / header.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(header, copy)
    changed = headers / "core/ip_addr.h"
    text, count = re.subn(r"(struct socket_info\s*\{\s*int socket;)", r"\1 char more[64];", changed.read_text())
    assert count == 1
    changed.write_text(text)
    (tmp_path / "flags").write_text(f"-isystem {headers}\n{flags[1]}")
    module = tmp_path / "sipwire.so"
    command = ["cc", "-std=gnu11", "-D_GNU_SOURCE", '-DMOD_NAME="sipwire"', "-Iinclude", f"@{tmp_path}/flags", "-fPIC", "-shared",
               *sorted((TOP / "examples-c/kamailio").glob("*.c")), BUILD / "libsipwire.a", "-pthread", "-Wl,--gc-sections",
               f"-Wl,--version-script={TOP}/examples-c/kamailio/exports", "-o", module]  # fmt: skip
    run_ok(command, check_leftovers=False)
    port = free_port()
    output = refused(tmp_path, f'log_stderror=yes\nlisten=udp:127.0.0.1:{port}\nlisten=tcp:127.0.0.1:{port}\nloadmodule "{module}"\n'
                     f'loadmodule "sl.so"\n{SCRIPT}')  # fmt: skip
    assert len([line for line in output.splitlines() if "was compiled for another Kamailio" in line]) == 1, output
