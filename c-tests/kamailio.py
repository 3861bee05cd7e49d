"""The real Kamailio of Debian in the foreground, with a configuration of the test's own, in a folder of its own."""

import itertools
import os
import re
import shutil
import subprocess

import pytest
from run import BUILD, LEASH, TOP, Leftovers, end_session, free_port, processes_of, run, tail
from sip_peers import await_true

MODULE = BUILD / "kamailio" / "sipwire.so"
MODULES = "tm tmx sl rr pv maxfwd textops siputils cfgutils xlog usrloc registrar ctl counters corex kex cfg_rpc".split()
UDP, TCP, TCP6 = "udp:127.0.0.1:{port}", "tcp:127.0.0.1:{port}", "tcp:[::1]:{port}"

COMPLAINT = re.compile(r"\b(?:CRITICAL|ALERT|BUG|ERROR|WARNING):")
# The end of a child closes a channel, and the core's TCP process may see that before its own signal: without us, too.
OF_THE_CORE = r"receive_fd\(\): EOF on \d+"

os.environ["PATH"] += ":/usr/sbin"  # kamailio is there, and whoever is not root need not have it
_numbers = itertools.count(1)


def missing(module=True):
    """Why the module (or without it: a peer that is Kamailio) cannot be tested here; None: it can. On Debian the check has
    installed what is missing."""
    if not shutil.which("kamailio") or not shutil.which("kamcmd"):
        return "kamailio is not installed"
    return None if MODULE.exists() or not module else "`make kamailio` has not built the module"


needs_kamailio = pytest.mark.skipif(missing() is not None, reason=str(missing()))
needs_stock_kamailio = pytest.mark.skipif(missing(module=False) is not None, reason=str(missing(module=False)))


class Kamailio:
    """`script`: routes; `core`: settings before the modules; `modparams`: after them. `allowed`: what it may complain of;
    `before`: words in front of the program; `wait`: until it serves; `port`: of another that has ended."""

    def __init__(
        self, folder, script, core="", modparams="", module=True, listen=(UDP, TCP), workers=2, modules=(), allowed=(), before=(), wait=True, port=None
    ):
        self.folder = folder / f"kamailio{next(_numbers)}"
        self.folder.mkdir()
        self.port = port or free_port()
        self.allowed = [OF_THE_CORE, *allowed]
        self.ctl = f"unix:{self.folder}/ctl"
        self.config = self.folder / "kamailio.cfg"
        self.config.write_text(
            f"debug=2\nlog_stderror=yes\nauto_aliases=no\nchildren=2\ntcp_children={workers}\n"
            + "".join(f"listen={where.format(port=self.port)}\n" for where in listen)
            + core
            + "\n"
            + (f'loadmodule "{MODULE}"\n' if module else "")
            + "".join(f'loadmodule "{name}.so"\n' for name in [*MODULES, *modules])
            + f'modparam("ctl", "binrpc", "{self.ctl}")\nmodparam("tm", "fr_timer", 3000)\n'
            + modparams
            + "\n"
            + script
        )
        self.leftovers = Leftovers()
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen(
                [*LEASH, *before, *command(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=TOP,
            )
        try:
            await_true(self._is_ready if wait else self._has_begun, f"kamailio does not start:\n{tail(self.output)}", limit=30)
        except BaseException:
            end_session(self.process.pid, patience=0)
            raise

    def _has_begun(self):
        """It has its signal handlers, and forks next."""
        return "probe_max_receive_buffer" in self.output

    def _is_ready(self):
        """The core forks its TCP process last. A socket that is there may not listen yet."""
        assert self.process.poll() is None, f"kamailio ended with {self.process.returncode}:\n{tail(self.output)}"
        return (self.folder / "ctl").exists() and "tcp main process" in self._ask("core.psx")

    @property
    def output(self):
        return (self.folder / "log").read_text(errors="replace")

    def _ask(self, *words):
        return run(["kamcmd", "-s", self.ctl, *words], check_leftovers=False, limit=20)[1]

    def kamcmd(self, *words):
        output = self._ask(*words)
        assert not output.startswith("ERROR"), f"kamcmd {words}: {output}"  # its own; what Kamailio refuses is "error: "
        return output

    def value(self, method, name):
        """A number in the answer to a method."""
        found = re.search(rf"^\s*{name}: (\d+)$", text := self.kamcmd(method), re.M)
        assert found, f"{method} has no {name}:\n{text}"
        return int(found[1])

    def processes(self, description):
        """The pids of those that Kamailio describes so."""
        rows = re.findall(r"PID: (\d+)\s+DSC: (.*)", self.kamcmd("core.psx"))
        return [int(pid) for pid, said in rows if re.search(description, said)]

    def complaints(self):
        lines = [line for line in self.output.splitlines() if COMPLAINT.search(line)]
        return [line for line in lines if not any(re.search(pattern, line) for pattern in self.allowed)]

    def stop(self):
        """It must end with 0, without a complaint, and leave no process and no socket."""
        self.process.terminate()
        try:
            code = self.process.wait(20)
        except subprocess.TimeoutExpired:
            names = self.left()
            end_session(self.process.pid, patience=0)
            pytest.fail(f"kamailio did not stop: {names}\n{tail(self.output)}", pytrace=False)
        assert code == 0, f"exit code {code}\n{tail(self.output)}"
        self.leftovers.check(self.process.pid)
        assert not self.complaints(), "\n".join(self.complaints())

    def left(self):
        return processes_of(self.process.pid)

    def __enter__(self):
        return self

    def __exit__(self, kind, _value, _trace):
        if kind is None:
            self.stop()
        else:
            end_session(self.process.pid, patience=0)
            self.process.wait()
            print(tail(self.output))


def command(config, mode="-DD"):
    folder = config.parent
    words = ["kamailio", "-f", config, mode, "-E", "-m", "64", "-M", "16", "-Y", folder, "-w", folder, "-P", folder / "pid"]
    return [str(word) for word in words]


def refused(folder, text, mode="-DD"):
    """What Kamailio says of a configuration with which it does not start."""
    config = folder / f"refused{next(_numbers)}.cfg"
    config.write_text(text)
    code, output = run(command(config, mode), limit=30)
    assert code != 0, output
    return output
