"""valgrind's word on `answer` under load and on the C tests: no error, no leak, no descriptor left open."""

import re

import pytest
from run import BUILD, CHECK_ALL, MODES, Server, run, tail

ERROR_CODE = 99
# Tests that kill participants or use up descriptors say nothing about leaks; those that move a lot of data take too long.
SUBSET = ["answer", "async", "bad_input", "blacklist", "close_reasons", "dial", "framing", "interleaving", "own_loop"]
MORE = ["addresses", "config", "connections", "drain", "graceful", "half_close", "ipv6", "keep_alive", "misuse", "silent"]
NO_MODE = {"addresses", "config"}
# A copy that fork makes of a process with threads has lost their stacks, and what they pointed to.
PROCESSES_ONLY = {"misuse"}


def valgrind(folder):
    return [
        "valgrind",
        f"--error-exitcode={ERROR_CODE}",
        "--leak-check=full",
        "--errors-for-leak-kinds=definite",
        "--track-fds=yes",
        "--child-silent-after-fork=no",
        f"--log-file={folder}/valgrind.%p",
    ]


def errors_of(text):
    """What valgrind has to say in a log, from the first error on: its end is the same each time."""
    return "\n".join(text.partition("Parent PID")[2].splitlines()[1:80])


def assert_clean(folder, main_pid):
    """Every process of the run without an error; the one that was started without a descriptor of its own at the end."""
    logs = sorted(folder.glob("valgrind.*"), key=lambda path: int(path.suffix[1:]))
    for log in logs:
        text = log.read_text(errors="replace")
        summary = re.search(r"ERROR SUMMARY: (\d+) errors", text)
        if not summary:  # it was killed, or died under valgrind
            pytest.fail(f"{log.name} has no summary:\n{tail(text, 80)}", pytrace=False)
        if summary[1] != "0":
            pytest.fail(f"{log.name}:\n{errors_of(text)}", pytrace=False)
    first = folder / f"valgrind.{main_pid}"
    assert first in logs, f"no log of the program itself among {logs}"
    text = first.read_text(errors="replace")
    assert "FILE DESCRIPTORS:" in text, tail(text)
    # An entry is followed by where it was opened, or by a word that it was there before.
    entries = re.findall(r"==\d+== (Open .*)\n==\d+== {4}(.*)", text)
    if own := [what for what, origin in entries if "inherited" not in origin]:
        pytest.fail(f"left open: {own}\n{tail(text, 80)}", pytrace=False)


def cases():
    for name in SUBSET + (MORE if CHECK_ALL else []):
        modes = [None] if name in NO_MODE else MODES[1:] if name in PROCESSES_ONLY else MODES
        for mode in modes:
            yield pytest.param(name, mode, id=name + (mode or "").replace("--", "-"))


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name, mode", cases())
def test_valgrind_finds_nothing_in_the_c_test(name, mode, tmp_path):
    program = [BUILD / "c-tests" / name, *([mode] if mode else [])]
    ended = run([*valgrind(tmp_path), *program], limit=380, env={"SIPWIRE_TEST_SCALE": "10"})
    code, output = ended
    # The test's own word first: what valgrind found may only follow from it.
    assert code in (0, ERROR_CODE), f"exit code {code}\n{tail(output)}"
    assert_clean(tmp_path, ended.pid)
    assert code == 0, f"exit code {code}\n{tail(output)}"


@pytest.mark.timeout(200)
def test_valgrind_finds_nothing_in_answer_under_load(mode, tmp_path):
    command = [*valgrind(tmp_path), BUILD / "answer", mode, "-w", "2", "-l", "tcp:127.0.0.1:0"]
    with Server(command) as server:
        target = f"sip:127.0.0.1:{server.ports['tcp']}"
        for _ in range(100):
            code, output = run(["sipsak", "-v", "-E", "tcp", "-s", target], limit=30)
            assert code == 0, output
    assert_clean(tmp_path, server.pid)
