"""The examples of one idea each: built as a stranger builds them, tried as their head comments say, and under valgrind."""

import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from run import TOP, Server, free_port, run, run_ok
from sip_peers import Tcp, await_true, request
from test_programs import child_named
from test_valgrind import assert_clean, valgrind

SOURCES = TOP / "examples-c"
EXAMPLES = sorted(path.stem for path in SOURCES.glob("*.c") if path.stem != "answer")
ANY_PORT = "tcp:127.0.0.1:0"


class Built:
    """The examples, linked with what is installed in a prefix; `said` is what their makefile printed."""

    def __init__(self, folder, linked):
        self.linked, self.prefix, self.programs = linked, folder / "prefix", folder / "programs"
        self.programs.mkdir()
        run_ok(["make", "install", f"PREFIX={self.prefix}"], limit=300, check_leftovers=False)
        self.said = self.make(self.programs)

    def make(self, out, *arguments, cflags=""):
        found = ":".join(filter(None, [f"{self.prefix}/lib/pkgconfig", os.environ.get("PKG_CONFIG_PATH")]))
        command = ["make", "-C", SOURCES, f"OUT={out}", f"LINK={self.linked}", f"CFLAGS=-O1 -g -Werror {cflags}", *arguments]
        return run_ok(command, limit=120, env={"PKG_CONFIG_PATH": found}, check_leftovers=False)

    @property
    def library(self):
        return self.prefix / "lib/libsipwire.so.0"

    @property
    def environment(self):
        paths = [f"{self.prefix}/lib"] if self.linked == "shared" else []
        return {"LD_LIBRARY_PATH": ":".join(filter(None, [*paths, os.environ.get("LD_LIBRARY_PATH")]))}

    def program(self, name):
        if why := re.search(rf"^{name} is left out: .*", self.said, re.M):
            pytest.skip(why[0])
        return self.programs / name


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return Built(tmp_path_factory.mktemp("shared"), "shared")


@pytest.fixture(scope="module", params=["shared", "static"])
def built(request, tmp_path_factory):
    if request.param == "shared":
        return request.getfixturevalue("shared")
    return Built(tmp_path_factory.mktemp("static"), "static")


def sipsak(server, port=None):
    run_ok(["sipsak", "-v", "-E", "tcp", "-s", f"sip:127.0.0.1:{port or server.ports['tcp']}"], limit=30)


def ends(peer):
    """The server ends the connection, and says nothing more."""
    peer.socket.settimeout(20)
    return peer.socket.recv(1) == b""


def refuses(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


# ---- what each one shows; `start` runs it, plainly or under valgrind ----


def minimal(start):
    with start(ANY_PORT) as server:
        sipsak(server)


def threads(start):
    with start(ANY_PORT) as server:
        for _ in range(3):
            sipsak(server)
    assert sum(map(int, re.findall(r"^thread \d answered (\d+)$", server.output, re.M))) == 3, server.output


def prefork(start):
    with start(ANY_PORT) as server:
        sipsak(server)
        if start.plain:
            for name in ("sipwire-w0", "sipwire-super"):
                killed = await_true(lambda: child_named(server.pid, name), f"no {name}")
                os.kill(killed, signal.SIGKILL)
                server.await_output(f"process {killed} died, starting another")
                await_true(lambda: child_named(server.pid, name) not in (None, killed), f"no new {name}")
                for _ in range(2):  # each worker has its turn
                    sipsak(server)


def one_loop(start):
    with start(ANY_PORT) as server:
        for _ in range(3):
            sipsak(server)
        assert len(list(Path(f"/proc/{server.pid}/task").iterdir())) == 1


def blacklist(start):
    nobody = f"127.0.0.1:{free_port()}"
    with start(ANY_PORT, nobody) as server:
        for round_ in (1, 3):
            sipsak(server)
            server.await_output(f"message {round_} to {nobody} accepted\n")
            server.await_output(f"message {round_} to {nobody} failed: ")
            server.await_output(", blacklisted\n")
            sipsak(server)
            server.await_output(f"message {round_ + 1} to {nobody} refused: ")
            os.kill(server.pid, signal.SIGUSR1)
            server.await_output(f"{nobody} may be dialled again\n")
            server.output = ""


def live_settings(start):
    with start(ANY_PORT, stdin=subprocess.PIPE) as server:
        for typed, said in (
            ("send_timeout", "send_timeout is 10s"),
            ("send_timeout 3s", "send_timeout is 3s"),
            ("connect_timeout\t250ms", "connect_timeout is 250ms"),
            ("send_timout 4s", "send_timout"),
            ("workers 3", "workers"),
            ("nothing", "there is no setting nothing"),
        ):
            server.output = ""
            server.process.stdin.write(f"{typed}\n".encode())
            server.process.stdin.flush()
            server.await_output("\n")
            assert said in server.output and len(server.output.splitlines()) == 1, server.output
        sipsak(server)
        server.process.stdin.close()
        server.process.stdin = None
        sipsak(server)


def proxy(start):
    with start(ANY_PORT, ANY_PORT, "127.0.0.0/8") as server:
        direct, balanced = map(int, re.findall(r"^listening on tcp:\S*:(\d+)$", server.output, re.M))
        sipsak(server, direct)
        server.await_output("comes directly\n")
        with Tcp(balanced) as phone:
            phone.send("PROXY TCP4 192.0.2.7 192.0.2.1 4711 5060\r\n")
            phone.ask(request("OPTIONS", "sip:127.0.0.1", phone.via), 200)
            server.await_output(f"192.0.2.7:4711 comes through 127.0.0.1:{phone.port}\na message of 192.0.2.7:4711\n")
        with Tcp(balanced) as phone:  # required: who has no header is not heard
            phone.send(request("OPTIONS", "sip:127.0.0.1", phone.via))
            assert ends(phone)
    assert "refused for their header: 1\n" in server.output, server.output


def packets(file):
    """What a pcap file holds."""
    data = file.read_bytes()
    assert struct.unpack_from("=IHH", data) == (0xA1B2C3D4, 2, 4)
    at, found = 24, []
    while at < len(data):
        kept, length = struct.unpack_from("=II", data, at + 8)
        assert kept == length
        found.append(data[at + 16 : at + 16 + length])
        at += 16 + length
    assert at == len(data)
    return found


def capture(start):
    file = start.folder / "sip.pcap"
    with start(ANY_PORT, file) as server:
        sipsak(server)
    asked, answered = packets(file)
    assert b"OPTIONS sip:" in asked and b"SIP/2.0 200 OK\r\n" in answered
    if shutil.which("tshark"):
        fields = ["-T", "fields", "-e", "sip.Method", "-e", "sip.Status-Code", "-e", "exported_pdu.src_port", "-e", "_ws.malformed"]
        lines = run_ok(["tshark", "-n", "-r", file, *fields], check_leftovers=False).splitlines()
        asked, answered = (line.split("\t") for line in lines if "\t" in line)
        assert asked[0] == "OPTIONS" and answered[:3] == ["", "200", str(server.ports["tcp"])], lines


def drain(start):
    with start(ANY_PORT, "1000") as server:
        sipsak(server)
        with Tcp(server.ports["tcp"]) as idle, Tcp(server.ports["tcp"]) as asking:
            idle.ask(request("OPTIONS", "sip:127.0.0.1", idle.via), 200)
            asking.send(request("OPTIONS", "sip:127.0.0.1", asking.via))
            server.await_output(3 * "a request waits for its answer\n")  # the first is sipsak's
            server.process.terminate()
            server.await_output("draining\n")
            await_true(lambda: refuses(server.ports["tcp"]), "it still listens")
            assert ends(idle)
            asking.expect(200)
            assert ends(asking)
        server.process.wait(20)
    assert "0 connections were cut\n" in server.output, server.output


def plugin_host(start):
    with start(start.built.library, ANY_PORT, "workers=2", "send_timeout=5s") as server:
        for _ in range(3):  # it has closed its handle long ago
            sipsak(server)


IDEAS = {
    "minimal": minimal,
    "threads": threads,
    "prefork": prefork,
    "own-epoll": one_loop,
    "libevent": one_loop,
    "blacklist": blacklist,
    "live-settings": live_settings,
    "proxy": proxy,
    "capture": capture,
    "drain": drain,
    "plugin-host": plugin_host,
}


class Start:
    def __init__(self, built, name, folder, checker=()):
        self.built, self.folder, self.checker = built, folder, checker
        self.program = built.program(name)
        self.pids = []

    @property
    def plain(self):
        return not self.checker

    def __call__(self, *arguments, **options):
        server = Server([*self.checker, self.program, *arguments], env=self.built.environment, **options)
        self.pids.append(server.pid)
        return server


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_does_what_it_says(name, built, tmp_path):
    IDEAS[name](Start(built, name, tmp_path))


@pytest.mark.timeout(200)
@pytest.mark.parametrize("name", EXAMPLES)
def test_valgrind_finds_nothing_in_the_example(name, shared, tmp_path):
    # The logs say more than an exit code.
    start = Start(shared, name, tmp_path, [word for word in valgrind(tmp_path) if "exitcode" not in word])
    IDEAS[name](start)
    for pid in start.pids:
        assert_clean(tmp_path, pid)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_says_in_one_line_why_it_cannot_start(name, shared, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"tcp:127.0.0.1:{taken.getsockname()[1]}"
        more = {
            "blacklist": [address, "127.0.0.1:9"],
            "proxy": [address, ANY_PORT, "127.0.0.0/8"],
            "capture": [address, tmp_path / "sip.pcap"],
            "plugin-host": [shared.library, address],
        }
        code, output = run([shared.program(name), *more.get(name, [address])], env=shared.environment, limit=20)
    assert code == 1 and len(output.splitlines()) == 1, output
    assert output.startswith(f"{name}: ") and "in use" in output, output


def test_the_examples_are_short_begin_with_their_idea_and_are_all_built(built):
    assert EXAMPLES == sorted(IDEAS)
    for name in EXAMPLES:
        text = (SOURCES / f"{name}.c").read_text()
        assert text.startswith(f"/* {name}: ") and f"To try it:  ./{name} " in text.partition("*/")[0]
        assert text.count("\n") < 150
        assert (built.programs / name).exists() != (f"{name} is left out" in built.said), built.said


def test_the_examples_are_linked_as_asked(built):
    for program in built.programs.iterdir():
        needed = run_ok(["readelf", "-d", program], check_leftovers=False)
        linked = built.linked == "shared" and program.name != "plugin-host"
        assert ("libsipwire.so.0" in needed) == linked, program


# ---- the plug-in ----


def refused(shared, *arguments, program=None):
    code, output = run([program or shared.program("plugin-host"), *arguments], limit=20)
    assert code == 1 and len(output.splitlines()) == 1, output
    return output


def test_a_host_that_was_built_for_another_interface_is_refused(shared, tmp_path):
    header = (shared.prefix / "include/sipwire.h").read_text()
    (number,) = re.findall(r"^#define SIPWIRE_ABI (\d+)$", header, re.M)
    other = int(number) + 1
    (tmp_path / "sipwire.h").write_text(header.replace(f"#define SIPWIRE_ABI {number}\n", f"#define SIPWIRE_ABI {other}\n"))
    shared.make(tmp_path, tmp_path / "plugin-host", cflags=f"-I{tmp_path}")
    output = refused(shared, shared.library, ANY_PORT, program=tmp_path / "plugin-host")
    assert output == f"plugin-host: {shared.library} has interface {number}, this host was built for {other}\n"


def test_a_host_that_needs_more_functions_than_the_library_has_is_refused(shared, tmp_path):
    header = (shared.prefix / "include/sipwire.h").read_text()
    (tmp_path / "sipwire.h").write_text(header.replace("\n} sipwire_api;", "\n  int32_t (*sipwire_later)(void);\n} sipwire_api;"))
    shared.make(tmp_path, tmp_path / "plugin-host", cflags=f"-I{tmp_path}")
    output = refused(shared, shared.library, ANY_PORT, program=tmp_path / "plugin-host")
    assert "this host needs" in output, output


def test_what_is_no_plug_in_or_not_there_is_refused(shared):
    assert "libm.so.6 is not libsipwire" in refused(shared, "libm.so.6", ANY_PORT)
    assert "/nowhere/libsipwire.so" in refused(shared, "/nowhere/libsipwire.so", ANY_PORT)
    assert "send_timeout" in refused(shared, shared.library, ANY_PORT, "send_timout=5s")


def test_the_table_has_the_library_s_own_functions_also_in_a_host_that_exports_such_names(shared, tmp_path):
    """As one does that is linked with -rdynamic and has the archive inside, or a module with it."""
    (tmp_path / "host.c").write_text("""
#include <dlfcn.h>
#include <sipwire.h>
uint32_t sipwire_version_number(void) { return 7; }
int main(int argc, char **argv)
{
    void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW) : 0;
    void *entry = library ? dlsym(library, "sipwire_entry") : 0;
    const sipwire_api *table = entry ? (*(const sipwire_api *(**)(uint32_t))&entry)(SIPWIRE_ABI) : 0;
    return table && table->sipwire_version_number() == SIPWIRE_VERSION_NUMBER && sipwire_version_number() == 7 ? 0 : 1;
}
""")
    host = tmp_path / "host"
    run_ok(["cc", "-rdynamic", f"-I{shared.prefix}/include", f"{host}.c", "-ldl", "-o", host], limit=60, check_leftovers=False)
    run_ok([host, shared.library], check_leftovers=False)


def test_the_library_is_never_unloaded(shared):
    flags = run_ok(["readelf", "-d", shared.library], check_leftovers=False)
    assert re.search(r"FLAGS_1.*NODELETE", flags), flags
    text = """
import _ctypes, ctypes, sys
def load():
    library = ctypes.CDLL(sys.argv[1])
    library.sipwire_entry.restype = ctypes.c_void_p
    table = library.sipwire_entry(library.sipwire_abi_version())
    _ctypes.dlclose(library._handle)
    return table
first, second = load(), load()
version = ctypes.cast(first + 8, ctypes.POINTER(ctypes.CFUNCTYPE(ctypes.c_uint32)))[0]
print(first == second and sys.argv[1] in open("/proc/self/maps").read(), version())
"""
    assert run_ok([sys.executable, "-B", "-c", text, shared.library], check_leftovers=False) == "True 256\n"
