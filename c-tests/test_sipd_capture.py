"""sipd --pcap: tshark reads what passed as SIP, on connections without a gap or a wrong checksum."""

import shutil
import socket

import pytest
from run import BUILD, run, tail
from sip_peers import Listener, Tcp, request, response, start

needs_tshark = pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")

RELAY = 'function route(msg) if msg.method == "OPTIONS" then msg:reply(200, "OK") else msg:relay("tcp:127.0.0.1:%d") end end'
SIZES = (10, 3000, 65536)  # of bodies: one segment, some, and more than an IP packet can hold


def tshark(folder, ports, *words):
    """What tshark says of the file; its preferences are not the user's."""
    decode = [part for port in ports for part in ("-d", f"tcp.port=={port},sip")]
    checks = ["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"]
    environment = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    code, output = run(["tshark", "-n", "-r", folder / "pcap", *decode, *checks, *words], limit=60, env=environment, check_leftovers=False)
    assert code == 0, tail(output)
    return [line for line in output.splitlines() if "unning as user" not in line and line]


FIELDS = "frame.time_epoch ip.src ipv6.src tcp.srcport tcp.dstport sip.Method sip.Status-Code sip.Call-ID sip.Content-Length".split()


def messages(folder, ports):
    """(source port, destination port, method or status, Call-ID, body length, source address) of each, as tshark sees it. In
    the order of their times: what a peer answers at once may be written before what it answers, by another worker."""
    words = [part for field in FIELDS for part in ("-e", field)]
    seen = []
    for line in tshark(folder, ports, "-Y", "sip", "-T", "fields", "-E", "occurrence=f", *words):
        time, v4, v6, source, destination, method, status, call, length = line.split("\t")
        seen.append((float(time), int(source), int(destination), status or method, call, int(length), v4 or v6))
    return [row[1:] for row in sorted(seen, key=lambda row: row[0])]


@needs_tshark
@pytest.mark.timeout(180)
def test_tshark_reads_both_directions_of_every_connection(mode, tmp_path):
    with Listener() as callee:
        options = ("--pcap", tmp_path / "pcap", "-o", "max_message_size=128k")
        with start(mode, tmp_path, *options, script=RELAY % callee.port, listen=("tcp:127.0.0.1:0",)) as server:
            port, line, expected = server.ports["tcp"], None, []
            with Tcp(port) as phone:
                for size in SIZES:
                    phone.send(request("MESSAGE", "sip:bob@127.0.0.1", phone.via, body="b" * size, call=f"call{size}"))
                    # To an address that is not dialled yet there is no port of ours.
                    first, line = line is None, line or callee.accept()
                    message = line.expect("MESSAGE")
                    assert message.body == "b" * size
                    ours = line.socket.getpeername()[1]
                    line.send(response(message, 200))
                    phone.expect(200)
                    expected += [
                        (phone.port, port, "MESSAGE", f"call{size}", size, "127.0.0.1"),
                        (0 if first else ours, callee.port, "MESSAGE", f"call{size}", size, "0.0.0.0" if first else "127.0.0.1"),
                        (callee.port, ours, "200", f"call{size}", 0, "127.0.0.1"),
                        (port, phone.port, "200", f"call{size}", 0, "127.0.0.1"),
                    ]
                line.close()
    seen = messages(tmp_path, [port, callee.port])
    # Processes write it side by side: the file is in their order, not in that of the messages.
    assert sorted(seen) == sorted(expected)
    assert not tshark(tmp_path, [port, callee.port], "-Y", 'tcp.analysis.flags or tcp.checksum.status == "Bad" or ip.checksum.status == "Bad" or _ws.malformed')
    assert (tmp_path / "pcap").stat().st_mode & 0o077 == 0


@needs_tshark
def test_tshark_reads_ipv6_and_what_was_refused(mode, tmp_path):
    with socket.socket(socket.AF_INET6) as probe:
        if probe.connect_ex(("::1", 1)) == 99:
            pytest.skip("no IPv6 on the loopback interface")
    with start(mode, tmp_path, "--pcap", tmp_path / "pcap", listen=("tcp:[::1]:0",)) as server:
        port = server.ports["tcp"]
        with Tcp(sock=socket.create_connection(("::1", port))) as phone:
            phone.ask(request("OPTIONS", "sip:[::1]", phone.via, call="six"), 200)
            phone.ask(request("OPTIONS", "sip:[::1]", phone.via, "Content-Length: 7", call="bad"), 400)
            ours = phone.port
    seen = messages(tmp_path, [port])
    assert [(*row[:4], row[5]) for row in seen] == [
        (ours, port, "OPTIONS", "six", "::1"),
        (port, ours, "200", "six", "::1"),
        (ours, port, "OPTIONS", "bad", "::1"),
        (port, ours, "400", "bad", "::1"),
    ]
    assert not tshark(tmp_path, [port], "-Y", 'tcp.analysis.flags or tcp.checksum.status == "Bad"')


def test_a_pcap_file_that_cannot_be_written_is_one_line(tmp_path):
    code, output = run([BUILD / "sipd", "--pcap", tmp_path / "no" / "pcap", "-l", "tcp:127.0.0.1:0"])
    assert code == 1 and output == f"sipd: --pcap {tmp_path}/no/pcap: No such file or directory\n", output


@needs_tshark
def test_the_script_of_one_process_and_the_answer_of_another_share_a_connection(tmp_path):
    """Numbers of a connection go on whichever process sends on it."""
    script = """function route(msg)
      if msg.header(msg, "X-Later") then msg:reply_after(0.01, 200, "Later") else msg:reply(200, "OK") end
    end"""
    with start("--processes", tmp_path, "--pcap", tmp_path / "pcap", script=script) as server:
        port = server.ports["tcp"]
        with Tcp(port) as phone:
            for number in range(10):
                lines = ["X-Later: 1"] if number % 2 else []
                phone.ask(request("OPTIONS", "sip:127.0.0.1", phone.via, *lines, call=f"call{number}"), 200)
    seen = messages(tmp_path, [port])
    assert [row[3] for row in seen] == [f"call{number // 2}" for number in range(20)]
    assert not tshark(tmp_path, [port], "-Y", 'tcp.analysis.flags or tcp.checksum.status == "Bad"')
