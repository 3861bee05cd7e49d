"""Phones and servers made of plain sockets: what a test sends and sees is SIP to the byte."""

import itertools
import os
import re
import select
import socket
import time

import pytest
from run import BUILD, Server, run_ok

LIMIT = 10  # seconds until something awaited is missed
SILENCE = 0.3  # seconds after which something that must not come has not come

_numbers = itertools.count(1)


class Message:
    """A request or response, taken apart."""

    def __init__(self, data):
        head, _, self.body = data.decode("utf-8", "replace").partition("\r\n\r\n")
        self.text = head
        self.start, *lines = head.split("\r\n")
        self.headers = [tuple(part.strip() for part in line.split(":", 1)) for line in lines]
        self.status = int(self.start.split(" ")[1]) if self.start.startswith("SIP/2.0 ") else None
        self.method, self.ruri = (None, None) if self.status else self.start.split(" ")[:2]

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name):
        return next(iter(self.all(name)), None)

    @property
    def branch(self):
        return re.search(r"branch=([^;]+)", self.header("Via"))[1]

    def __repr__(self):
        return self.text


def request(method, ruri, via, *lines, body="", call=None, cseq=None, to=None, tag=""):
    """A request as text. `via` is "TCP 127.0.0.1:5070", or with a ;branch; `lines` are more headers."""
    number = next(_numbers)
    if "branch=" not in via:
        via += f";branch=z9hG4bKtest{number}"
    to = to or f"<{ruri.split(';')[0]}>"
    return "\r\n".join(
        [
            f"{method} {ruri} SIP/2.0",
            f"Via: SIP/2.0/{via}",
            f"From: <sip:tester@127.0.0.1>;tag=from{tag or call or number}",
            f"To: {to}",
            f"Call-ID: {call or f'call{number}'}",
            f"CSeq: {cseq or 1} {method}",
            *([] if any(line.startswith("Max-Forwards") for line in lines) else ["Max-Forwards: 70"]),
            *lines,
            f"Content-Length: {len(body)}",
            "",
            body,
        ]
    )


def response(message, code, reason="OK", *lines, tag="to1"):
    """The answer of a UAS to a request it received (RFC 3261 8.2.6)."""
    to = message.header("To")
    return "\r\n".join(
        [
            f"SIP/2.0 {code} {reason}",
            *(f"Via: {via}" for via in message.all("Via")),
            *(f"Record-Route: {route}" for route in message.all("Record-Route")),
            f"From: {message.header('From')}",
            f"To: {to if 'tag=' in to else f'{to};tag={tag}'}",
            f"Call-ID: {message.header('Call-ID')}",
            f"CSeq: {message.header('CSeq')}",
            *lines,
            "Content-Length: 0",
            "",
            "",
        ]
    )


class Peer:
    """One socket that speaks SIP. `transport` and `via` fit into a Via, `uri` into a Contact or Route."""

    def __init__(self, sock):
        self.socket = sock
        host, self.port = sock.getsockname()[:2]
        self.host = f"[{host}]" if ":" in host else host
        self.via = f"{self.transport} {self.host}:{self.port}"
        self.uri = f"sip:{self.host}:{self.port}"

    def receive(self, limit=LIMIT):
        """The next message; None when there is none in time, or no more."""
        until = time.monotonic() + limit
        while (message := self._take()) is None:
            if not select.select([self.socket], [], [], max(0, until - time.monotonic()))[0] or not self._read():
                return None
        return message

    def expect(self, what, limit=LIMIT):
        """The next message, which must be this status or method."""
        message = self.receive(limit)
        assert message is not None, f"no {what}"
        assert what in (message.status, message.method), f"{what} awaited:\n{message}"
        return message

    def nothing(self, limit=SILENCE):
        message = self.receive(limit)
        assert message is None, f"nothing awaited:\n{message}"

    def ask(self, text, status, limit=LIMIT):
        self.send(text)
        return self.expect(status, limit)

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Tcp(Peer):
    transport = "TCP"

    def __init__(self, port=None, sock=None, host="127.0.0.1", receive_buffer=None):
        if sock is None:
            sock = socket.socket()
            if receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sock.connect((host, port))
        self.buffer = b""
        super().__init__(sock)

    def send(self, text):
        self.socket.sendall(text.encode())

    def _read(self):
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            return False
        self.buffer += data
        return bool(data)

    def _take(self):
        self.buffer = self.buffer.lstrip(b"\r\n")
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return None
        length = re.search(rb"(?im)^(?:content-length|l)\s*:\s*(\d+)", head)
        size = int(length[1]) if length else 0
        if len(rest) < size:
            return None
        self.buffer = rest[size:]
        return Message(head + b"\r\n\r\n" + rest[:size])

    def is_open(self):
        """True when the other side has not ended the connection."""
        if not select.select([self.socket], [], [], SILENCE)[0]:
            return True
        return self._read()


class Udp(Peer):
    transport = "UDP"

    def __init__(self, port=None, host="127.0.0.1", to="127.0.0.1"):
        """With a port only datagrams from there are seen, as by a phone that connects its socket."""
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((host, 0))
        if port:
            sock.connect((to, port))
        self.datagrams = []
        super().__init__(sock)

    def send(self, text, port=None):
        if port:
            self.socket.sendto(text.encode(), ("127.0.0.1", port))
        else:
            self.socket.send(text.encode())

    def _read(self):
        data, self.source = self.socket.recvfrom(65536)
        self.datagrams.append(data)
        return True

    def _take(self):
        return Message(self.datagrams.pop(0)) if self.datagrams else None


class Listener:
    """A TCP port that a server can be told to send to."""

    def __init__(self, host="127.0.0.1", port=0):
        self.socket = socket.create_server((host, port), reuse_port=False)
        self.port = self.socket.getsockname()[1]
        self.uri = f"sip:{host}:{self.port}"

    def accept(self, limit=LIMIT):
        assert select.select([self.socket], [], [], limit)[0], "no connection"
        return Tcp(sock=self.socket.accept()[0])

    def nobody(self, limit=SILENCE):
        assert not select.select([self.socket], [], [], limit)[0], "no connection awaited"

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def register(peer, user, contact, *lines, expect=200, cseq=1, call=None, expires=600):
    """REGISTER of one or more Contact values; the answer."""
    text = request(
        "REGISTER",
        "sip:127.0.0.1",
        peer.via,
        *(f"Contact: {value}" for value in ([contact] if isinstance(contact, str) else contact)),
        f"Expires: {expires}",
        *lines,
        to=f"<sip:{user}@127.0.0.1>",
        cseq=cseq,
        call=call,
    )
    return peer.ask(text, expect)


def start(mode, folder, *options, script=None, listen=("tcp:127.0.0.1:0", "udp:127.0.0.1:0"), env=None):
    """sipd, with a script of the test's own when there is one."""
    if script is not None:
        path = folder / f"script{next(_numbers)}.lua"
        path.write_text(script)
        options = ("-s", path, *options)
    listeners = [part for address in listen for part in ("-l", address)]
    return Server([BUILD / "sipd", mode, "-w", "2", *listeners, *options], env=env)


# Behind a script of sipd: requests to this user are answered with the counters instead.
COUNTERS = """
local of_others = route
function route(msg)
  if msg.ruri_user ~= "counters" then return of_others(msg) end
  local said = {}
  for name, value in pairs(stats()) do
    if type(value) == "number" then said[#said + 1] = name .. "=" .. math.floor(value) end
  end
  msg:reply(200, "OK", { ["X-Counters"] = table.concat(said, " ") })
end
"""


class Counters:
    """The counters of a sipd with the script above, without the questions themselves and their connection."""

    def __init__(self, port):
        self.peer, self.asked = Tcp(port), 0

    def __call__(self):
        self.asked += 1
        answer = self.peer.ask(request("OPTIONS", "sip:counters@127.0.0.1", self.peer.via), 200)
        said = {name: int(value) for name, value in (word.split("=") for word in answer.header("X-Counters").split())}
        for name, ours in (("messages_in", self.asked), ("connections", 1), ("accepted", 1)):
            said[name] -= ours
        return said

    def close(self):
        self.peer.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def preload(folder, source):
    """Builds C functions that take the place of the C library's; returns the environment for it."""
    (folder / "preload.c").write_text(source)
    run_ok(["cc", "-shared", "-fPIC", folder / "preload.c", "-o", folder / "preload.so"], check_leftovers=False)
    return {"LD_PRELOAD": str(folder / "preload.so")}


def await_output(server, words, limit=LIMIT):
    """Until the server has said this on stdout or stderr."""
    until = time.monotonic() + limit
    while words not in server.output:
        if not select.select([server.process.stdout], [], [], max(0, until - time.monotonic()))[0]:
            pytest.fail(f"{words!r} is not in: {server.output}", pytrace=False)
        server.output += os.read(server.process.stdout.fileno(), 65536).decode(errors="replace")


def await_true(condition, what, limit=LIMIT):
    until = time.monotonic() + limit
    while not (result := condition()):
        assert time.monotonic() < until, what
        time.sleep(0.02)
    return result
