"""Running one program of the project under watch: its own session, a time limit, and nothing left behind."""

import ctypes
import os
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
BUILD = TOP / "build"
CHECK_ALL = bool(os.environ.get("SIPWIRE_CHECK_ALL"))
MODES = ["--threads", "--processes"]

# What a test types, a user types: not from within the make that runs us.
for inherited in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
    os.environ.pop(inherited, None)

PR_SET_CHILD_SUBREAPER = 36

# In front of a command: the program dies with us, also when we are killed. Its own children die with it.
LEASH = [shutil.which("setpriv"), "--pdeathsig", "KILL"] if shutil.which("setpriv") else []


def adopt_orphans():
    """Processes that a test program leaves behind become our children, so that we can see and reap them."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _stat(pid):
    """(state, parent, session) of a process, None when there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], int(fields[1]), int(fields[3])


def processes_of(session):
    """The live processes of a session."""
    found = []
    for entry in os.listdir("/proc"):
        stat = _stat(entry) if entry.isdigit() else None
        if stat and stat[2] == session and stat[0] not in "ZX":
            found.append(int(entry))
    return found


def _name(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return "?"


def end_session(session, patience=2.0):
    """What is left of a session some time after its leader ended; it is killed."""
    until = time.monotonic() + patience
    while (left := processes_of(session)) and time.monotonic() < until:
        time.sleep(0.02)
    names = [f"{pid} ({_name(pid)})" for pid in left]
    for pid in left:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    # As subreaper we are the parent of its orphans.
    for entry in os.listdir("/proc"):
        stat = _stat(entry) if entry.isdigit() else None
        if stat and stat[2] == session and stat[1] == os.getpid():
            try:
                os.waitpid(int(entry), 0)
            except ChildProcessError:
                pass
    return names


def shared_memory_files():
    return set(os.listdir("/dev/shm"))


def _descriptors(pid):
    """What a process has open; it may end, or close some, while we look."""
    try:
        numbers = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return
    for number in numbers:
        try:
            yield os.readlink(f"/proc/{pid}/fd/{number}")
        except OSError:
            pass


def _listening():
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] != "0":
                inodes.add(fields[9])
    return inodes


def ownerless_listeners():
    """Inodes of listening TCP sockets that no process has open: their port is taken for good."""
    listening = _listening()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if not listening:
            break
        for target in _descriptors(pid):
            if inode := re.fullmatch(r"socket:\[(\d+)\]", target):
                listening.discard(inode[1])
    return listening and listening & _listening()  # others were closed while we looked


class Leftovers:
    """What a program must not leave: processes, files in /dev/shm, listening sockets."""

    def __init__(self):
        self.shm = shared_memory_files()
        self.listeners = ownerless_listeners()

    def check(self, session):
        left = end_session(session)
        assert not left, "processes left behind (killed now): " + ", ".join(left)
        shm = shared_memory_files() - self.shm
        listeners = ownerless_listeners() - self.listeners
        until = time.monotonic() + 2  # after the first look, which takes its time on a busy machine
        looks = 1
        while (shm or listeners) and (time.monotonic() < until or looks < 3):
            time.sleep(0.1)
            looks += 1
            # Others run beside us. What is theirs goes away by itself, and each time it may be another
            # one: what is left behind is what is seen every time.
            shm &= shared_memory_files()
            listeners &= ownerless_listeners()
        assert not shm, f"left in /dev/shm: {sorted(shm)}"
        assert not listeners, f"listening sockets without a process: inodes {sorted(listeners)}"


def tail(text, lines=60):
    return "\n".join(text.splitlines()[-lines:])


class Ended(tuple):
    """(exit code, output) of a program, and the pid it had."""

    pid = None


def run(command, limit=60, env=None, cwd=TOP, check_leftovers=True):
    """Runs a program to its end. Returns Ended; fails at the time limit or when anything is left."""
    leftovers = Leftovers() if check_leftovers else None
    process = subprocess.Popen(
        [*LEASH, *(str(part) for part in command)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, **(env or {})},
        cwd=cwd,
        text=True,
        errors="replace",
    )
    fault = None
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        fault = f"still running after {limit} s: {' '.join(map(str, command))}"
        end_session(process.pid, patience=0)
        output, _ = process.communicate()
    if leftovers:
        try:
            leftovers.check(process.pid)
        except AssertionError as error:
            fault = fault or str(error)
    else:
        end_session(process.pid)
    if fault:
        pytest.fail(f"{fault}\n{tail(output)}", pytrace=False)
    ended = Ended((process.returncode, output))
    ended.pid = process.pid
    return ended


def run_ok(command, **options):
    code, output = run(command, **options)
    if code != 0:
        pytest.fail(f"exit code {code}: {' '.join(map(str, command))}\n{tail(output)}", pytrace=False)
    return output


_port_marks = []  # open as long as this process lives


def free_port():
    """A port that is free for TCP and UDP; only for programs that cannot be given port 0. None that the kernel gives to
    whoever asks for any, and none that a test beside us was told."""
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    ports = [port for port in range(10000, 65536) if not low <= port <= high]
    for port in random.sample(ports, min(200, len(ports))):
        mark = socket.socket(socket.AF_UNIX)
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            try:
                mark.bind(f"\0sipwire-tests-port-{port}")
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                mark.close()
                continue
        _port_marks.append(mark)
        return port
    raise OSError("no port is free for both TCP and UDP")


def await_port(port, limit=20):
    """Waits until something accepts TCP connections there."""
    until = time.monotonic() + limit
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < until, f"nothing listens on port {port}"
        time.sleep(0.05)


class Server:
    """A program that prints `listening on tcp:ADDR:PORT` lines and then `ready`: answer, sipd."""

    def __init__(self, command, env=None, start_limit=60, stdin=subprocess.DEVNULL):
        self.leftovers = Leftovers()
        self.ports = {}
        self.output = ""
        self.name = " ".join(map(str, command))
        self.process = subprocess.Popen(
            [*LEASH, *(str(part) for part in command)],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(env or {})},
            cwd=TOP,
        )
        self.await_output("ready\n", start_limit)
        for kind, port in re.findall(r"^listening on (tcp|udp):\S*:(\d+)$", self.output, re.M):
            self.ports.setdefault(kind, int(port))

    def _read(self, until, awaited):
        readable, _, _ = select.select([self.process.stdout], [], [], max(0, until - time.monotonic()))
        data = os.read(self.process.stdout.fileno(), 65536) if readable else b""
        if not data:
            end_session(self.process.pid, patience=0)
            pytest.fail(f"{self.name} does not say {awaited!r}:\n{tail(self.output)}", pytrace=False)
        self.output += data.decode(errors="replace")

    def await_output(self, text, limit=20):
        """Waits until the program has said this, on stdout or stderr."""
        until = time.monotonic() + limit
        while text not in self.output:
            self._read(until, text)

    @property
    def pid(self):
        return self.process.pid

    def stop(self, limit=20):
        """Asks it to end; it must, with code 0, and leave nothing."""
        self.process.terminate()
        try:
            output, _ = self.process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            end_session(self.pid, patience=0)
            output, _ = self.process.communicate()
            self.output += output.decode(errors="replace")
            pytest.fail(f"{self.name} did not stop in {limit} s\n{tail(self.output)}", pytrace=False)
        self.output += output.decode(errors="replace")
        assert self.process.returncode == 0, f"exit code {self.process.returncode}\n{tail(self.output)}"
        self.leftovers.check(self.pid)  # no process and no listening socket of its own: its port is another's by now

    def __enter__(self):
        return self

    def __exit__(self, kind, _value, _trace):
        if kind is None:
            self.stop()
        else:
            end_session(self.pid, patience=0)
            output, _ = self.process.communicate()
            print(tail(self.output + output.decode(errors="replace")))
