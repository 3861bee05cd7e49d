"""sipwire-top: what it shows of a server under load, whom it refuses, what it costs the server, and the terminal after it."""

import fcntl
import json
import mmap
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import termios
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from run import BUILD, LEASH, Server, processes_of, run, run_ok
from sip_peers import LIMIT, Tcp, await_true, request
from test_programs import child_named

ANSWER, TOP_PROGRAM = BUILD / "answer", BUILD / "sipwire-top"
PEERS, REQUESTS = 6, 5


@contextmanager
def server_with_load(mode, *arguments):
    """A server, and peers whose requests it has answered."""
    with Server([ANSWER, mode, "-w", "2", "-l", "tcp:127.0.0.1:0", *arguments]) as server:
        peers = [Tcp(server.ports["tcp"]) for _ in range(PEERS)]
        try:
            for peer in peers:
                load(peer)
            yield server, peers
        finally:
            for peer in peers:
                peer.close()


def load(peer, requests=REQUESTS):
    for _ in range(requests):
        peer.ask(request("OPTIONS", "sip:127.0.0.1", peer.via), 200)


def top(*arguments):
    return run_ok([TOP_PROGRAM, *arguments], limit=20, check_leftovers=False)


def seen(server):
    return json.loads(top("--json", server.pid))


def refused(*arguments):
    """What it says instead; one line, or the instances to choose from behind it."""
    code, output = run([TOP_PROGRAM, *arguments], limit=20, check_leftovers=False)
    assert code == 1 and output.startswith("sipwire-top: "), f"{code}: {output}"
    return output.removeprefix("sipwire-top: ").strip()


# ---- what it shows ----


def test_what_json_says_adds_up_with_what_was_sent(mode):
    with server_with_load(mode) as (server, peers):
        sent = PEERS * REQUESTS
        # Counters may move a moment after the answer is there.
        await_true(lambda: seen(server)["stats"]["messages_out"] == sent, "not all is counted")
        picture = seen(server)
        stats, connections = picture["stats"], picture["connections"]
        assert (stats["accepted"], stats["connections"], stats["messages_in"]) == (PEERS, PEERS, sent)
        assert sum(worker["messages"] for worker in picture["workers"]) == sent
        assert {c["remote"] for c in connections} == {f"127.0.0.1:{peer.port}" for peer in peers}
        assert {c["local"] for c in connections} == {f"127.0.0.1:{server.ports['tcp']}"}
        for name, each in (("bytes_in", "bytes_in"), ("bytes_out", "bytes_out"), ("messages_in", "messages_in")):
            assert sum(c[each] for c in connections) == stats[name]
        assert picture["supervisor"] == "serves" and not picture["stopping"]
        assert [(one["state"], one["addr"]) for one in picture["listeners"]] == [("open", f"127.0.0.1:{server.ports['tcp']}")]
        assert {worker["pid"] for worker in picture["workers"]} <= set(processes_of(server.pid))
        assert picture["settings"]["send_timeout"] == "10s"
        peers.pop().close()
        await_true(lambda: seen(server)["stats"]["closed_by_reason"]["peer_closed"] == 1, "the end is not counted")
        assert len(seen(server)["connections"]) == PEERS - 1


def test_once_is_one_screen(mode):
    with server_with_load(mode) as (server, peers):
        lines = top("--once", server.pid).splitlines()
        assert len(lines) <= 24 and max(map(len, lines)) <= 80
        text = "\n".join(lines)
        assert f"answer, pid {server.pid}" in lines[0] and "supervisor" in lines[0]
        for word in ("Messages in        30", "WORKER", "Closed for", "Blacklist     empty", "*QUEUED"):
            assert word in text, f"{word} is not in\n{text}"
        for peer in peers:
            assert f"127.0.0.1:{peer.port} " in text
        wide = top("--once", "--size", "140x50", "--sort", "age", "--filter", f":{peers[0].port}", server.pid)
        assert "*AGE" in wide and "LOCAL" in wide and f"127.0.0.1:{peers[1].port}" not in wide
        # The oldest comes first.
        rows = [line for line in top("-1", "-s", "age", server.pid).splitlines() if line.startswith(" 127.0.0.1:")]
        assert f":{peers[0].port} " in rows[0] and f":{peers[-1].port} " in rows[-1]


LABEL = r'[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"([a-zA-Z_:][\w:]*)(?:\{{({LABEL}(?:,{LABEL})*)\}})? (-?\d+(?:\.\d+)?|NaN|[+-]Inf)")


def samples(text):
    """What a scraper reads: every line is valid, and every sample behind its TYPE."""
    found, types = {}, {}
    assert text.endswith("\n")
    for line in text.splitlines():
        if comment := re.fullmatch(r"# (HELP|TYPE) ([a-zA-Z_:][\w:]*) (.+)", line):
            if comment[1] == "TYPE":
                assert comment[2] not in types and comment[3] in ("counter", "gauge"), line
                assert (comment[3] == "counter") == comment[2].endswith("_total"), line
                types[comment[2]] = comment[3]
            continue
        sample = SAMPLE.fullmatch(line)
        assert sample and sample[1] in types, line
        assert (sample[1], sample[2]) not in found, f"twice: {line}"
        found[sample[1], sample[2]] = float(sample[3])
    return found, types


def test_prometheus_can_read_it_and_counters_only_grow(mode):
    with server_with_load(mode) as (server, peers):
        await_true(lambda: seen(server)["stats"]["messages_out"] == PEERS * REQUESTS, "not all is counted")
        before, types = samples(top("--prometheus", server.pid))
        assert before["sipwire_messages_in_total", None] == PEERS * REQUESTS
        assert before["sipwire_connections", None] == PEERS and before["sipwire_up", None] == 1
        assert {f'worker="{n}"' for n in range(2)} == {labels for name, labels in before if name == "sipwire_worker_held"}
        for peer in peers:
            load(peer, 2)
        after, _ = samples(top("--prometheus", server.pid))
        assert before.keys() == after.keys()
        fell = [key for key in before if types[key[0]] == "counter" and after[key] < before[key]]
        assert not fell, fell
        assert after["sipwire_messages_in_total", None] == PEERS * (REQUESTS + 2)


def test_a_name_finds_it_too_and_so_does_any_of_its_processes(mode, tmp_path):
    name = f"ans{os.getpid()}"
    (tmp_path / name).symlink_to(ANSWER)
    with Server([tmp_path / name, mode, "-w", "2", "-l", "tcp:127.0.0.1:0"]) as server:
        assert f"pid {server.pid} " in top("--once", name)
        assert re.search(rf"^ *{server.pid}  {name}  127.0.0.1:{server.ports['tcp']}$", top("--list"), re.M)
        for pid in processes_of(server.pid):
            assert json.loads(top("--json", pid))["stats"]["slots_total"] == 16384


# ---- whom it refuses ----


def test_what_is_no_server_is_named_in_one_line():
    assert refused(4194305) == "there is no process 4194305"
    assert refused("no-such-name") == "there is no process named no-such-name"
    process = subprocess.Popen(["sleep", "60"])
    try:
        await_true(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n", "no sleep")
        assert refused(process.pid) == f"process {process.pid} (sleep) has no instance of libsipwire"
    finally:
        process.kill()
        process.wait()
    for wrong in (["--bogus"], ["--delay", "0"], ["--sort", "size"], ["--size", "80"], ["1", "2"]):
        assert "--help" in refused(*wrong)


def test_what_belongs_to_another_is_refused(mode):
    if os.getuid() != 0:
        pytest.skip("only root can be somebody else")
    folder = tempfile.mkdtemp()  # that others may look into
    try:
        os.chmod(folder, 0o755)
        program = shutil.copy(TOP_PROGRAM, folder)
        nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        with Server([ANSWER, mode, "-w", "1", "-l", "tcp:127.0.0.1:0"]) as server:
            code, output = run([*nobody, program, "--once", server.pid], cwd="/", check_leftovers=False)
            assert code == 1 and output.count("\n") == 1 and "run this as its user or as root" in output, output
            user = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", ANSWER]
        changed = "import ctypes, time; ctypes.CDLL(None).prctl(4, 0); print(flush=True); time.sleep(60)"  # PR_SET_DUMPABLE
        process = subprocess.Popen([*nobody, "/usr/bin/python3", "-c", changed], cwd="/", stdout=subprocess.PIPE)
        try:
            process.stdout.readline()
            code, output = run([*nobody, program, "--once", process.pid], cwd="/", check_leftovers=False)
            assert code == 1 and output.endswith("looked into: only root may, since it has changed its user\n"), output
        finally:
            process.kill()
            process.communicate()
        if run([*user, "--help"], check_leftovers=False)[0] == 0:
            with Server([*user, mode, "-w", "1", "-l", "tcp:127.0.0.1:0"]) as server:
                code, output = run([*nobody, program, "--once", server.pid], cwd="/", check_leftovers=False)
                assert code == 0 and "WORKER" in output, "its own user needs no privilege: " + output
    finally:
        shutil.rmtree(folder)


def memory_of(pid):
    """The path of a process's descriptor of the instance."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        if os.readlink(entry).startswith("/memfd:sipwire"):
            return entry
    raise AssertionError(f"{pid} has no instance")


SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW if hasattr(fcntl, "F_SEAL_SHRINK") else 0x2 | 0x4


class Copy:
    """A copy of an instance in this process, as a server has it, that can be scribbled on."""

    def __init__(self, data, sealed=True):
        self.fd = os.memfd_create("sipwire", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, len(data))
        for at in range(0, len(data), 1 << 16):
            piece = data[at : at + (1 << 16)]
            if piece.strip(b"\0"):
                os.pwrite(self.fd, piece, at)
        if sealed:
            fcntl.fcntl(self.fd, 1033, SEALS)  # F_ADD_SEALS
        self.map = mmap.mmap(self.fd, len(data))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.map.close()
        os.close(self.fd)


@pytest.fixture(scope="module")
def instance():
    """The bytes of an instance."""
    with server_with_load("--threads", "-o", "max_connections=100", "-o", "wq_max=1m", "-o", "partial_max=1m") as (server, _):
        return memory_of(server.pid).read_bytes()


def test_a_copy_is_looked_into_like_the_server_itself(instance):
    with Copy(instance):
        assert json.loads(top("--json", os.getpid()))["stats"]["messages_in"] == PEERS * REQUESTS


@pytest.mark.parametrize(
    "at, word, said",
    [
        (16, 7, "has layout version 7, this sipwire-top reads version"),
        (8, 12345, "has another layout than this sipwire-top reads"),
        (0, 0, "is no instance, or not yet one"),
    ],
)
def test_another_layout_is_refused_before_anything_is_read(instance, at, word, said):
    with Copy(instance) as copy:
        struct.pack_into("<Q", copy.map, at, word)
        for output in ("--once", "--json", "--prometheus"):
            line = refused(output, os.getpid())
            assert said in line and "\n" not in line and str(os.getpid()) in line, line


def test_memory_of_another_size_or_that_may_shrink_is_refused(instance):
    with Copy(instance + bytes(4096)):
        assert "has another layout" in refused(os.getpid())
    with Copy(instance[:4096]):
        assert "has another layout" in refused(os.getpid())
    with Copy(instance, sealed=False):
        assert "is not sealed" in refused(os.getpid())


def test_of_several_instances_one_is_chosen(instance):
    with Copy(instance) as one, Copy(instance) as another:
        second = max(one, another, key=lambda copy: os.fstat(copy.fd).st_ino)
        first_line, *choices = refused(os.getpid()).splitlines()
        assert first_line == "there are 2 instances, choose one:"
        assert [line.split()[-3:-1] for line in choices] == [["--instance", "1"], ["--instance", "2"]]
        struct.pack_into("<Q", second.map, 16, 9)
        first, other = [line for line in top("--list").splitlines() if line.split()[0] == str(os.getpid())]
        assert re.search(r" 127\.0\.0\.1:\d+$", first) and other.endswith("  not for this sipwire-top")
        assert json.loads(top("--json", "--instance", "1", os.getpid()))["stats"]["messages_in"] == PEERS * REQUESTS
        assert "layout version 9" in refused("--instance", "2", os.getpid())
        assert "there is no instance 3" in refused("--instance", "3", os.getpid())


@pytest.mark.parametrize("pattern", [b"\xff" * 8, b"\x01\x80\x7f\xff\x00\x00\x00\x40", None])
def test_whatever_is_written_meanwhile_it_ends(instance, pattern):
    with Copy(instance) as copy:
        end = 4096 * 40
        noise = pattern * (end // 8) if pattern else os.urandom(end)
        copy.map[4096:end] = noise[4096:]
        copy.map[256:4096] = noise[256:4096]  # the rest of the header
        for output in ("--once", "--json", "--prometheus"):
            code, text = run([TOP_PROGRAM, output, os.getpid()], limit=30, check_leftovers=False)
            # What is between may be the shape itself.
            assert code == 0 or (code == 1 and "has another layout" in text), f"{code}: {text[-500:]}"


# ---- what it costs ----


def blocks_of(pid):
    return os.stat(memory_of(pid)).st_blocks


def switches(session):
    total = 0
    for pid in processes_of(session):
        for status in Path(f"/proc/{pid}/task").glob("*/status"):
            total += sum(map(int, re.findall(r"ctxt_switches:\s*(\d+)", status.read_text())))
    return total


def cpu_ticks(session):
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in processes_of(session)]
    return sum(int(f[11]) + int(f[12]) for f in fields)


def test_who_looks_cannot_write():
    with Server([ANSWER, "--threads", "-w", "1", "-l", "tcp:127.0.0.1:0"]) as server, Terminal(server.pid) as viewer:
        viewer.await_text("WORKER")
        mapped = [line for line in Path(f"/proc/{viewer.pid}/maps").read_text().splitlines() if "/memfd:sipwire" in line]
        assert len(mapped) == 1 and mapped[0].split()[1] == "r--s", mapped
        # Nor can anybody else who finds it through /proc, where the kernel has the seal for it.
        file = os.open(memory_of(server.pid), os.O_RDWR)
        try:
            if fcntl.fcntl(file, 1034) & 0x10:  # F_GET_SEALS, F_SEAL_FUTURE_WRITE
                with pytest.raises(PermissionError):
                    os.pwrite(file, b"x", 0)
                with pytest.raises(PermissionError):
                    mmap.mmap(file, 4096)
        finally:
            os.close(file)


def test_many_viewers_cost_the_server_nothing(mode):
    with Server([ANSWER, mode, "-w", "2", "-l", "tcp:127.0.0.1:0"]) as server:
        top("--once", server.pid)
        blocks = blocks_of(server.pid)

        def cost(seconds=3):
            before = switches(server.pid), cpu_ticks(server.pid)
            time.sleep(seconds)
            return switches(server.pid) - before[0], cpu_ticks(server.pid) - before[1]

        alone = cost()
        viewers = [Terminal(server.pid, "--delay", "0.1") for _ in range(12)]
        try:
            for viewer in viewers:
                viewer.await_text("WORKER")
            watched = cost()
        finally:
            for viewer in viewers:
                viewer.end()
        # A viewer that woke the server at each look would have done so 360 times.
        assert watched[0] <= 3 * alone[0] + 60, (alone, watched)
        assert watched[1] <= alone[1] + 10, (alone, watched)
        # Nor do they make pages of what nobody has used: 16,384 slots are 8,192 blocks.
        assert blocks_of(server.pid) <= blocks + 64 and blocks < 2048, (blocks, blocks_of(server.pid))


# ---- the terminal ----


class Terminal:
    """A viewer on a terminal of its own, and what stands on its screen."""

    def __init__(self, *arguments, size=(80, 24), told=None, program=(TOP_PROGRAM,)):
        self.columns, self.rows = size
        self.master, slave = pty.openpty()
        self.resize(told or size)
        self.settings = termios.tcgetattr(slave)
        self.cells = [[" "] * self.columns for _ in range(self.rows)]
        self.place = [0, 0]
        self.modes, self.unread = {}, ""
        self.slave = slave
        self.process = subprocess.Popen(
            [*LEASH, *map(str, [*program, *arguments])],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": "xterm-256color"},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self.pid = self.process.pid

    def resize(self, size):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))

    def read(self, seconds=0.05):
        """Takes what it has written."""
        while select.select([self.master], [], [], seconds)[0]:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                return
            if not data:
                return
            self.take(data.decode())
            seconds = 0

    def take(self, text):
        text = self.unread + text
        self.unread = ""
        at = 0
        while at < len(text):
            if text[at] != "\x1b":
                self.put(text[at])
                at += 1
                continue
            sequence = re.compile(r"\x1b(?:\[([?0-9;]*)([@-~])|[^\[])").match(text, at)
            if not sequence:
                self.unread = text[at:]
                return
            at = sequence.end()
            self.obey(sequence[1] or "", sequence[2])

    def put(self, letter):
        row, column = self.place
        if letter >= " " and row < self.rows and column < self.columns:
            self.cells[row][column] = letter
            self.place[1] += 1
        assert row < self.rows and column < self.columns or letter < " ", f"written beyond the screen at {self.place}"

    def obey(self, parameters, letter):
        row, column = self.place
        if letter == "H":
            numbers = [int(number or 1) for number in (parameters or "1;1").split(";")]
            self.place = [numbers[0] - 1, numbers[1] - 1]
        elif letter == "K":
            self.cells[row][column:] = [" "] * (self.columns - column)
        elif letter == "J":
            self.cells = [[" "] * self.columns for _ in range(self.rows)]
        elif letter in ("h", "l"):
            self.modes[parameters] = letter == "h"

    @property
    def lines(self):
        return ["".join(row).rstrip() for row in self.cells]

    def await_text(self, *words):
        def there():
            self.read()
            assert self.process.poll() is None, "\n".join(self.lines)
            return all(any(word in line for line in self.lines) for word in words)

        until = time.monotonic() + LIMIT
        while not there():
            assert time.monotonic() < until, f"{words} are not all on the screen:\n" + "\n".join(self.lines)

    def type(self, keys):
        os.write(self.master, keys.encode())

    def await_end(self):
        """Its exit code."""
        def ended():
            self.read()
            return self.process.poll() is not None

        await_true(ended, "it goes on")
        return self.process.returncode

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for fd in (self.master, self.slave):
            if fd is not None:
                os.close(fd)
        self.master = self.slave = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.master is not None:
            self.end()

    def is_as_before(self):
        alternate, cursor = self.modes.get("?1049"), self.modes.get("?25")
        assert (alternate, cursor) == (False, True), self.modes
        return termios.tcgetattr(self.slave) == self.settings


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (30, 6)], ids=str)
def test_a_session_sorts_filters_pauses_and_leaves_the_terminal_as_it_was(mode, size):
    with server_with_load(mode) as (server, peers), Terminal(server.pid, "-d", "0.2", size=size) as viewer:
        if size[0] >= 80:
            one, other = f"127.0.0.1:{peers[0].port} ", f"127.0.0.1:{peers[1].port} "
            viewer.await_text("*QUEUED", one, other, "Messages in        30", "q quit")
            load(peers[0], 2)
            viewer.await_text("Messages in        32")  # it goes on looking
            viewer.type("s")
            viewer.await_text("by age", "*AGE")
            viewer.type("ss")
            viewer.await_text("by queue")
            viewer.type("r")
            viewer.await_text("least first")
            viewer.type(f"/:{peers[0].port}")
            viewer.await_text("filter by address", one)
            viewer.type("\r")
            viewer.await_text("q quit", f'":{peers[0].port}": 1')
            assert not any(other in line for line in viewer.lines)
            viewer.type("\x1b")
            viewer.await_text(other)
            viewer.type("p")
            viewer.await_text("PAUSED", "go on")
            load(peers[0], 1)
            time.sleep(0.5)
            viewer.read()
            assert any("Messages in        32" in line for line in viewer.lines)
            viewer.type("p?")
            viewer.await_text("quit, also Esc")
            viewer.type("?")
            viewer.await_text("Messages in        33")
        else:
            viewer.await_text("sipwire  answer", "q quit")
        viewer.type("q")
        assert viewer.await_end() == 0
        assert viewer.is_as_before()


def test_another_size_is_another_screen():
    with Server([ANSWER, "--threads", "-w", "1", "-l", "tcp:127.0.0.1:0"]) as server, Terminal(server.pid, size=(120, 40)) as viewer:
        viewer.await_text("LOCAL", "q quit")
        viewer.resize((80, 24))
        os.kill(viewer.pid, signal.SIGWINCH)

        def narrow():
            viewer.read()
            return "q quit" in viewer.lines[23] and not any("LOCAL" in line for line in viewer.lines)

        await_true(narrow, "it keeps the size")
        viewer.type("q")
        assert viewer.await_end() == 0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, "\x03", "\x1b"], ids=str)
def test_however_it_ends_the_terminal_is_as_it_was(how):
    with Server([ANSWER, "--threads", "-w", "1", "-l", "tcp:127.0.0.1:0"]) as server, Terminal(server.pid) as viewer:
        viewer.await_text("q quit")
        if isinstance(how, str):
            viewer.type(how)
        else:
            os.kill(viewer.pid, how)
        assert viewer.await_end() == 0
        assert viewer.is_as_before()


def test_a_shell_gets_the_terminal_as_it_was_and_gives_it_back():
    shell = ("sh", "-c", 'exec 2>/dev/null; set -m; "$0" "$1"; echo STOPPED; read -r line; fg >/dev/null', TOP_PROGRAM)
    with Server([ANSWER, "--threads", "-w", "1", "-l", "tcp:127.0.0.1:0"]) as server:
        with Terminal(server.pid, program=shell) as viewer:
            viewer.await_text("q quit")
            viewer.type("\x1a")
            viewer.await_text("STOPPED")
            assert viewer.is_as_before()
            viewer.cells = [[" "] * viewer.columns for _ in range(viewer.rows)]
            viewer.type("\r")
            viewer.await_text("WORKER", "q quit")
            viewer.type("q")
            assert viewer.await_end() == 0
            assert viewer.is_as_before()


def test_where_no_shell_waits_it_is_not_suspended():
    with Server([ANSWER, "--threads", "-w", "1", "-l", "tcp:127.0.0.1:0"]) as server, Terminal(server.pid) as viewer:
        viewer.await_text("q quit")
        viewer.type("\x1aq")
        assert viewer.await_end() == 0
        assert viewer.is_as_before()


def test_a_terminal_that_knows_no_size_is_taken_for_80_by_24():
    with Server([ANSWER, "--threads", "-w", "1", "-l", "tcp:127.0.0.1:0"]) as server:
        with Terminal(server.pid, size=(80, 24), told=(0, 0)) as viewer:
            viewer.await_text("WORKER", "q quit")
            viewer.type("q")
            assert viewer.await_end() == 0


def test_it_ends_with_its_terminal():
    with Server([ANSWER, "--threads", "-w", "1", "-l", "tcp:127.0.0.1:0"]) as server, Terminal(server.pid) as viewer:
        viewer.await_text("q quit")
        os.close(viewer.slave)
        os.close(viewer.master)
        viewer.slave = viewer.master = None
        viewer.process.wait(10)


def test_a_worker_that_dies_under_the_eye_is_not_the_end_of_the_server():
    with Server([ANSWER, "--processes", "-w", "2", "-l", "tcp:127.0.0.1:0"]) as server:
        worker = await_true(lambda: child_named(server.pid, "sipwire-w0"), "no worker")
        with Terminal(worker, "-d", "0.1") as viewer:
            viewer.await_text(f"pid {worker} ", "q quit")
            os.kill(worker, signal.SIGKILL)
            viewer.await_text("1 participants died", "q quit")
            assert not any("has ended" in line or f"pid {worker} " in line for line in viewer.lines), viewer.lines


def test_a_server_that_ends_is_shown_as_it_was(mode):
    server = Server([ANSWER, mode, "-w", "2", "-l", "tcp:127.0.0.1:0"])
    with Tcp(server.ports["tcp"]) as peer:
        load(peer)
    with Terminal(server.pid, "-d", "0.2") as viewer:
        viewer.await_text("Messages in         5")
        server.stop()
        viewer.await_text("the process has ended", "Messages in         5", "stopped")
        viewer.type("q")
        assert viewer.await_end() == 0


def test_without_a_terminal_it_shows_one_screen():
    with Server([ANSWER, "--threads", "-w", "1", "-l", "tcp:127.0.0.1:0"]) as server:
        assert top(server.pid).count("\n") <= 24
        code, output = run(["sh", "-c", f"{TOP_PROGRAM} {server.pid} | head -n 1"], check_leftovers=False)
        assert code == 0 and output.count("\n") == 1


def test_the_manual_page_has_every_option():
    manual = (BUILD.parent / "docs/man/sipwire-top.1").read_text().replace("\\-", "-")
    options = re.findall(r"--[a-z]+", run_ok([TOP_PROGRAM, "--help"], check_leftovers=False))
    missing = [option for option in options if option not in manual]
    assert options and not missing, missing


def test_it_is_installed_with_its_manual_page(tmp_path):
    run_ok(["make", "install-top", "PREFIX=/opt", f"DESTDIR={tmp_path}"], limit=300, check_leftovers=False)
    assert (tmp_path / "opt/share/man/man1/sipwire-top.1").read_text().startswith(".TH SIPWIRE-TOP 1 ")
    assert run_ok([tmp_path / "opt/bin/sipwire-top", "--version"], check_leftovers=False).startswith("sipwire-top ")
