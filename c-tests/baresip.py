"""baresip, a phone, in a home of its own: no sound card, nothing but the loopback interface, driven by its control port."""

import json
import shutil
import socket
import struct
import subprocess
import time

import pytest
from run import LEASH, end_session, free_port, tail
from sip_peers import await_true

needs_baresip = pytest.mark.skipif(not shutil.which("baresip"), reason="baresip is not installed")

# Its source plays a sine; what it hears is written to files. Ports of its own it takes where there are some.
CONFIG = """
call_local_timeout 60
audio_path {home}
audio_source ausine,440
ausrc_srate 48000
ausrc_channels 2
audio_player aubridge,heard
audio_alert aubridge,alert
auplay_srate 48000
auplay_channels 1
net_interface 127.0.0.1
module_path /usr/lib/baresip/modules
module g711.so
module ausine.so
module aubridge.so
module sndfile.so
snd_path {home}
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen 127.0.0.1:{control}
"""
ACCOUNT = '<sip:{user}@127.0.0.1:{port};transport=tcp>;regint=600;auth_pass=none;answermode=auto;outbound="sip:127.0.0.1:{port};transport=tcp"\n'
LIMIT = 60


class Baresip:
    """A phone that registers at `port` as `user` over TCP and answers every call."""

    def __init__(self, folder, user, port):
        self.user, self.port, self.home, control = user, port, folder / user, free_port()
        self.home.mkdir()
        (self.home / "config").write_text(CONFIG.format(home=self.home, control=control))
        (self.home / "accounts").write_text(ACCOUNT.format(user=user, port=port))
        (self.home / "contacts").write_text("")
        with open(self.home / "log", "wb") as log:
            self.process = subprocess.Popen(
                [*LEASH, "baresip", "-f", self.home],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={"PATH": "/usr/bin:/bin", "HOME": str(self.home)},
                cwd=self.home,
            )
        try:
            await_true(lambda: self._said("200 OK () [1 binding]"), f"{user} does not register:\n{tail(self.output)}", LIMIT)
            self.control = socket.create_connection(("127.0.0.1", control), timeout=LIMIT)
        except BaseException:
            end_session(self.process.pid, patience=0)
            raise
        self.received, self.buffer, self.seen = [], b"", 0

    @property
    def output(self):
        return (self.home / "log").read_text(errors="replace")

    def _said(self, words):
        assert self.process.poll() is None, f"{self.user} ended with {self.process.returncode}:\n{tail(self.output)}"
        return words in self.output

    def _next(self):
        """The next netstring of the control port, an event or an answer."""
        while True:
            length, found, rest = self.buffer.partition(b":")
            if found and len(rest) > int(length):
                self.buffer = rest[int(length) + 1 :]
                return json.loads(rest[: int(length)])
            data = self.control.recv(65536)
            assert data, f"{self.user} has closed its control port:\n{tail(self.output)}"
            self.buffer += data

    def _await(self, what, fits):
        until = time.monotonic() + LIMIT
        for message in iter(self._next, None):
            self.received.append(message)
            if fits(message):
                return message
            assert time.monotonic() < until, f"{self.user}: no {what} in {self.received}"

    def command(self, name, parameters=""):
        text = json.dumps({"command": name, "params": parameters, "token": name})
        self.control.sendall(f"{len(text)}:{text},".encode())
        answer = self._await(f"answer to {name}", lambda message: message.get("response") and message.get("token") == name)
        assert answer["ok"], answer

    def event(self, kind):
        """Waits for an event; those before it are over."""
        fits = lambda message: message.get("event") and message["type"] == kind  # noqa: E731
        while self.seen < len(self.received):
            self.seen += 1
            if fits(self.received[self.seen - 1]):
                return self.received[self.seen - 1]
        event = self._await(kind, fits)
        self.seen = len(self.received)
        return event

    def forget(self):
        """What was heard; between two calls."""
        for path in self.home.glob("dump-*.wav"):
            path.unlink()

    def heard(self):
        """The samples of this call so far, 8,000 in a second."""
        data = b"".join(path.read_bytes()[44:] for path in self.home.glob("dump-*-dec.wav"))
        return struct.unpack(f"<{len(data) // 2}h", data[: len(data) // 2 * 2])

    def hears_a_sine(self):
        """Half a second in a row of 440 Hz, the loudness of it, and no other number of periods."""
        samples = self.heard()
        for start in range(0, len(samples) - 4000, 2000):
            part = samples[start : start + 4000]
            periods = sum(1 for one, two in zip(part, part[1:]) if one < 0 <= two)
            if 215 <= periods <= 225 and max(part) > 10000 and min(part) < -10000:
                return True
        return False

    def quit(self):
        self.command("quit")
        assert self.process.wait(LIMIT) == 0, tail(self.output)

    def __enter__(self):
        return self

    def __exit__(self, kind, _value, _trace):
        self.control.close()
        end_session(self.process.pid, patience=0)
        if kind is not None:
            print(tail(self.output))
