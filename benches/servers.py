"""The servers that the bench compares: each is started by itself, and its CPU time is the kernel's account of all its processes."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
BUILD = TOP / "build"
START_LIMIT = 30  # seconds
os.environ["PATH"] += ":/usr/sbin"


def _session_of(pid):
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[3])
    except (OSError, IndexError):
        return None


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """One program in a session of its own; `ready` is a pattern in its output, with the address if it has a group."""

    def __init__(self, name, command, ready, address=None, environment=None):
        self.name = name
        self.output = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
        until = time.monotonic() + START_LIMIT
        while not (found := re.search(ready, self.said())):
            if self.process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise RuntimeError(f"{name} does not start:\n{self.said()}")
            time.sleep(0.02)
        self.address = address or found[1]

    def said(self):
        return os.pread(self.output.fileno(), 1 << 20, 0).decode(errors="replace")

    def pids(self):
        return [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _session_of(pid) == self.process.pid]

    def _of_tasks(self, file, pick):
        total = 0
        for pid in self.pids():
            for task in Path(f"/proc/{pid}/task").glob("*"):
                try:
                    total += pick((task / file).read_text())
                except (OSError, IndexError):
                    pass  # ended meanwhile
        return total

    def cpu_seconds(self):
        """User and system time of all its threads so far: the scheduler's own account, in nanoseconds."""
        return self._of_tasks("schedstat", lambda text: int(text.split()[0])) / 1e9

    def cpu_by_name(self):
        """The same, by the names that threads give themselves."""
        spent = {}
        for pid in self.pids():
            for task in Path(f"/proc/{pid}/task").glob("*"):
                try:
                    name, cpu = (task / "comm").read_text().strip(), int((task / "schedstat").read_text().split()[0]) / 1e9
                except (OSError, IndexError):
                    continue  # ended meanwhile
                spent[name] = spent.get(name, 0) + cpu
        return spent

    def wake_ups(self):
        return self._of_tasks("status", lambda text: int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.M)[1]))

    def memory_bytes(self):
        """What its processes have in memory; shared pages are counted once."""
        kilobytes = 0
        for pid in self.pids():
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            kilobytes += int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1])
        return kilobytes * 1024

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.output.close() if self.process.returncode == 0 else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


LISTENING = r"listening (?:on )?(?:tcp:|udp:)?(127\.0\.0\.1:\d+)"


def floor(*arguments, name="floor"):
    return Server(name, [BUILD / "bench" / "floor", *arguments], LISTENING)


def answer(mode, *settings, workers=1):
    options = [word for setting in settings for word in ("-o", setting)]
    command = [BUILD / "answer", f"--{mode}", "-w", workers, "-l", "tcp:127.0.0.1:0", *options]
    return Server(mode, command, r"(?s)" + LISTENING + r".*ready")


def pour(mode, *settings):
    """Answers each request with 64 KB."""
    options = [word for setting in settings for word in ("-o", setting)]
    return Server(mode, [BUILD / "bench" / "pour", f"--{mode}", *options], LISTENING)


def sipd(transport, mode="processes"):
    port = _free_port()
    listen = ["-l", f"tcp:127.0.0.1:{port}", "-l", f"udp:127.0.0.1:{port}"]
    script = ["-s", TOP / "benches" / "answer.lua"]
    return Server(f"sipd {transport}", [BUILD / "sipd", f"--{mode}", "-w", 1, "-u", 1, *listen, *script], "ready", f"127.0.0.1:{port}")


KAMAILIO = """
debug=0
log_stderror=yes
children=1
tcp_children=1
tcp_max_connections=20000
tcp_connection_lifetime=3600
auto_aliases=no
dns=no
listen=tcp:127.0.0.1:{port}
{module}
loadmodule "sl.so"
loadmodule "pv.so"
request_route {{ sl_send_reply("200", "OK"); exit; }}
"""


def missing_kamailio():
    if not shutil.which("kamailio"):
        return "kamailio is not installed"
    return None if (BUILD / "kamailio" / "sipwire.so").exists() else "`make kamailio` has not built the module"


def kamailio(module, memory="fm"):
    port = _free_port()
    folder = Path(tempfile.mkdtemp(prefix="bench"))
    load = f'loadmodule "{BUILD}/kamailio/sipwire.so"' if module else ""
    (folder / "kamailio.cfg").write_text(KAMAILIO.format(port=port, module=load))
    command = ["kamailio", "-x", memory, "-f", folder / "kamailio.cfg", "-DD", "-E", "-m", "1024", "-M", "16", "-Y", folder, "-w", folder, "-P", folder / "pid"]
    name = "kamailio" + (" with sipwire" if module else "") + (f", {memory}" if memory != "fm" else "")
    server = Server(name, command, "", f"127.0.0.1:{port}")
    until = time.monotonic() + START_LIMIT
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            time.sleep(1)  # the children that fork after it
            return server
        except OSError:
            time.sleep(0.05)
    server.stop()
    raise RuntimeError(f"{server.name} does not listen:\n{server.said()}")


class Load:
    """The load generator, with its connections to one server."""

    def __init__(self, server, *arguments):
        self.server = server
        command = [BUILD / "bench" / "load", server.address, *arguments]
        self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._line("ready")

    def _line(self, expected=None):
        line = self.process.stdout.readline()
        if not line or (expected and line.strip() != expected):
            self.process.kill()
            raise RuntimeError(f"load against {self.server.name} ended: {line}")
        return line

    def ask(self, seconds):
        self.process.stdin.write(f"run {seconds}\n")
        self.process.stdin.flush()
        return self._line()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(20)
