"""sipd, answer and their child processes, and those of a script."""

import os
import signal
import time

import pytest
from run import BUILD, Server, end_session
from sip_peers import Tcp, Udp, await_output, preload, request, start
from test_sipd_life import await_child, ended

NO_FORK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

pid_t fork(void)
{
    if (access(getenv("NO_FORK"), F_OK) == 0) {
        errno = EAGAIN;
        return -1;
    }
    return ((pid_t (*)(void))dlsym(RTLD_NEXT, "fork"))();
}
"""


@pytest.mark.parametrize("program", ["sipd", "answer"])
def test_a_child_that_could_not_be_replaced_is_tried_again(program, tmp_path):
    full = tmp_path / "no-process-to-have"
    environment = {**preload(tmp_path, NO_FORK), "NO_FORK": str(full)}
    with Server([BUILD / program, "--processes", "-w", "1", "-l", "tcp:127.0.0.1:0"], env=environment) as server:
        worker = await_child(server, "sipwire-w0")
        full.touch()
        os.kill(worker, signal.SIGKILL)
        await_output(server, "starting another")
        time.sleep(0.2)
        full.unlink()
        await_child(server, "sipwire-w0", other_than=[worker])
        with Tcp(server.ports["tcp"]) as phone:
            phone.ask(request("OPTIONS", "sip:127.0.0.1", phone.via), 200)


@pytest.mark.parametrize("program", ["sipd", "answer"])
def test_a_child_is_replaced_also_when_sipd_was_started_with_sigchld_ignored(program):
    command = ["env", "--ignore-signal=CHLD", BUILD / program, "--processes", "-w", "1", "-l", "tcp:127.0.0.1:0"]
    with Server(command) as server:
        for name in ("sipwire-w0", "sipwire-super"):
            killed = await_child(server, name)
            os.kill(killed, signal.SIGKILL)
            await_child(server, name, other_than=[killed])


@pytest.mark.parametrize("program", ["sipd", "answer"])
def test_a_child_is_replaced_also_when_nobody_reads_that_it_died(program):
    with Server([BUILD / program, "--processes", "-w", "1", "-l", "tcp:127.0.0.1:0"]) as server:
        worker = await_child(server, "sipwire-w0")
        server.process.stdout.close()
        os.kill(worker, signal.SIGKILL)
        await_child(server, "sipwire-w0", other_than=[worker])


def test_sipd_serves_on_when_nobody_reads_its_log(mode, tmp_path):
    with start(mode, tmp_path, script="function route(msg) log(msg.method) msg:reply(200) end") as server:
        server.process.stdout.close()
        for peer in (Udp(server.ports["udp"]), Tcp(server.ports["tcp"])):
            with peer:
                for _ in range(3):
                    peer.ask(request("OPTIONS", "sip:127.0.0.1", peer.via), 200)


LATE_PRCTL = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

enum { PR_SET_PDEATHSIG = 1 }; /* sys/prctl.h declares prctl with "..." */

/* As soon as a file is there a child asks for its parent's death only after that has come. */
int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)
{
    pid_t parent = getppid();
    if (option == PR_SET_PDEATHSIG && access(getenv("LATE"), F_OK) == 0 && write(1, "waits\\n", 6) == 6)
        while (getppid() == parent)
            usleep(1000);
    return ((int (*)(int, ...))dlsym(RTLD_NEXT, "prctl"))(option, a, b, c, d);
}
"""

@pytest.mark.parametrize("program", ["sipd", "answer"])
def test_a_child_whose_parent_has_died_before_it_could_ask_for_it_ends(program, tmp_path):
    late = tmp_path / "late"
    environment = {**preload(tmp_path, LATE_PRCTL), "LATE": str(late)}
    server = Server([BUILD / program, "--processes", "-w", "1", "-l", "tcp:127.0.0.1:0"], env=environment)
    try:
        supervisor = await_child(server, "sipwire-super")
        late.touch()
        os.kill(supervisor, signal.SIGKILL)
        await_output(server, "waits")
        os.kill(server.pid, signal.SIGKILL)
        ended(server, -signal.SIGKILL)
    finally:
        end_session(server.pid, patience=0)


# ---- a script's own children ----

CHILDREN = """
function route(msg)
  local pipe = io.popen("exit 3")
  pipe:read("a")
  sleep(0.02)
  local _, _, code = pipe:close()
  msg:reply(200, "OK", { ["X-Code"] = tostring(code) })
end
"""


def test_a_script_gets_the_exit_code_of_what_it_runs(mode, tmp_path):
    with start(mode, tmp_path, script=CHILDREN) as server, Tcp(server.ports["tcp"]) as phone:
        for _ in range(5):
            assert phone.ask(request("OPTIONS", "sip:127.0.0.1", phone.via), 200).header("X-Code") == "3"
