"""The rules of the sources themselves: floors, unsafe, what can sleep, size of files, leftovers."""

import os
import re
from pathlib import Path

import pytest
from run import TOP, run_ok

SRC = TOP / "src"
# From the lowest floor up; what stands together is one floor.
FLOORS = [["pure"], ["sync", "sys"], ["shm"], ["table"], ["roles"], ["runtime"], ["face", "ffi"]]
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}
NO_UNSAFE = ["pure", "roles", "runtime", "face", "bin"]


def rust_files():
    return sorted(SRC.rglob("*.rs"))


def floor_of(path):
    return path.relative_to(SRC).parts[0].removesuffix(".rs")


def is_test_file(path):
    return path.stem == "tests" or bool({"tests", "models"} & set(path.parent.parts))


def code_of(path):
    """The lines before the unit tests. Where those are a file of their own, all."""
    return re.split(r"^#\[cfg\(test\)\]\n(?:#\[.*\]\n)*(?:pub )?mod \w+ \{", path.read_text(), maxsplit=1, flags=re.M)[0]


def without_comments(text):
    return re.sub(r"//[^\n]*", "", text)


def sources():
    for path in rust_files():
        if not is_test_file(path):
            yield path, without_comments(code_of(path))


def findings(pattern, applies=lambda floor, path: True):
    found = []
    for path, text in sources():
        if applies(floor_of(path), path):
            for hit in re.finditer(pattern, text):
                line = text.count("\n", 0, hit.start()) + 1
                found.append(f"{path.relative_to(TOP)}:{line}: {hit[0]}")
    return found


def test_every_module_is_on_a_floor():
    assert {floor_of(path) for path in rust_files()} - set(LEVEL) <= {"lib", "models", "bin"}


def test_no_floor_names_a_higher_one():
    found = []
    for path, text in sources():
        floor = floor_of(path)
        if floor in ("lib", "bin"):
            continue
        named = set(re.findall(r"\bcrate::(\w+)", text))
        for group in re.findall(r"\bcrate::\{(.*?)\};", text, re.S):
            named |= set(re.findall(r"(?:^|[,{]\s*)(\w+)(?=\s*(?:::|,|\}|$))", group))
        found += [
            f"{path.relative_to(TOP)} ({floor}) names crate::{name}"
            for name in sorted(named & set(LEVEL))
            if LEVEL[name] > LEVEL[floor] or {name, floor} == {"face", "ffi"}
        ]
    assert not found, "\n".join(found)


def test_unsafe_only_on_the_floors_that_may():
    found = findings(r"\bunsafe\b(?!_code)", lambda floor, path: floor in NO_UNSAFE)
    assert not found, "\n".join(found)


def test_pure_makes_no_system_call_and_reads_no_clock():
    # std::net's address types are plain values; its sockets are not. io::Write writes to a Vec here.
    pattern = (
        r"\b(?:libc|mio)::|\bstd::(?:fs|os|process|env|thread|io)\b(?!::Write;)"
        r"|\b(?:Instant|SystemTime|TcpStream|TcpListener|UdpSocket|ToSocketAddrs)\b"
    )
    found = findings(pattern, lambda floor, path: floor == "pure")
    assert not found, "\n".join(found)


def test_system_calls_are_made_in_sys_only():
    found = findings(r"\blibc::[a-z_0-9]+\s*\(|\bmio::", lambda floor, path: floor not in ("sys", "lib"))
    assert not found, "\n".join(found)


def test_no_deadline_comes_from_a_clock_that_can_be_set():
    """One file reads clocks, and the one that can be set is for log records and what is captured alone."""
    reads = r"\bclock_gettime\b|\bCLOCK_\w+|\bgettimeofday\b|\blibc::time\b|\b(?:Instant|SystemTime)\b|\btimerfd_\w+"
    elsewhere = findings(reads, lambda floor, path: path.name != "clock.rs")
    assert not elsewhere, "\n".join(elsewhere)
    assert sorted(set(re.findall(r"\bCLOCK_\w+", without_comments((SRC / "sys/clock.rs").read_text())))) == ["CLOCK_MONOTONIC", "CLOCK_REALTIME"]
    users = {hit.split(":")[0] for hit in findings(r"\brealtime_ms\b", lambda floor, path: path.name != "clock.rs")}
    assert users == {"src/roles/supervisor/mod.rs", "src/roles/failure.rs"}
    for user in users:  # each call is an argument of the log's write
        text = without_comments((TOP / user).read_text())
        calls = re.findall(r"[^;{}]*\brealtime_ms\(\)[^;]*;[^}]*", text)
        assert calls and all(re.search(r"\blog\b[^;]*\.?\bwrite\(", call) for call in calls), calls
    users = {hit.split(":")[0] for hit in findings(r"\brealtime_us\b", lambda floor, path: path.name != "clock.rs")}
    assert users == {"src/roles/capture.rs"}


def test_atomics_are_imported_in_sync_only():
    found = findings(r"\b(?:std|core)::sync::atomic\b", lambda floor, path: floor != "sync")
    assert not found, "\n".join(found)


def test_the_segment_has_no_lock_and_parking_lot_stays_above_what_forks():
    locks = r"\b(?:Mutex|RwLock|Condvar)\b"
    found = findings(locks, lambda floor, path: floor in ("pure", "sync", "sys", "shm", "table"))
    found += findings(r"\bparking_lot::", lambda floor, path: floor != "runtime")
    assert not found, "\n".join(found)


# ---- nothing that can sleep ----

# Every call into the kernel that sys/ makes: where, what must stand in the function around it, and why it cannot sleep.
# A new one has to be judged, and gets a line.
CANNOT_SLEEP = {
    "clock_gettime": ("clock", "", "answered without entering the kernel"),
    "read": ("event:drain", r"self\.0\.as_raw\(\)", "of an eventfd of ours, which `eventfd` made non-blocking"),
    "write": ("event:notify_raw", "", "to an eventfd of ours or passed to us, which `eventfd` made non-blocking"),
    "eventfd": ("event", "EFD_NONBLOCK", "makes one"),
    "socketpair": ("fdpass", "SOCK_NONBLOCK", "makes two"),
    "sendmsg": ("fdpass:pass|sock:send_parts", r"MSG_DONTWAIT \| libc::MSG_NOSIGNAL;", "whatever the descriptor's flags are"),
    "send": ("sock:send_parts", r"MSG_DONTWAIT \| libc::MSG_NOSIGNAL;", "whatever the descriptor's flags are"),
    "recvmsg": ("fdpass:receive", r"MSG_DONTWAIT \|", "whatever the descriptor's flags are"),
    "recv": ("sock:recv_with|sock:discard", r"\| libc::MSG_DONTWAIT;", "whatever the descriptor's flags are"),
    "accept4": ("sock:accept", "SOCK_NONBLOCK", "the listener does not block: `socket` made it so, or `take_over` has set it"),
    "connect": ("sock:try_dial|sock:abort", r"= stream\(to\)|AF_UNSPEC", "on a socket made non-blocking here, or to end a connection"),
    "socket": ("sock:stream", "SOCK_NONBLOCK", "makes one"),
    "listen": ("sock", "", "notes it"),
    "bind": ("sock", "", "notes it"),
    "shutdown": ("sock", "", "notes it"),
    "setsockopt": ("sock:set", "", "notes it; SO_LINGER, which makes close sleep, is nowhere (see below)"),
    "getsockopt": ("sock:get|sock:bytes_acked", "", "tells"),
    "getsockname": ("sock", "", "tells"),
    "getpeername": ("sock", "", "tells"),
    "ioctl": ("sock:unsent_bytes", "TIOCOUTQ", "tells"),
    "fcntl": ("mod:moved_to|sock:take_over|map:seal|map:view", "F_DUPFD_CLOEXEC|F_(?:ADD|GET)_SEALS", "descriptor flags and seals, no lock (see below)"),
    "close": ("mod:close", "", "without SO_LINGER the kernel does what is left by itself"),
    "epoll_ctl": ("poll:control|poll:delete", "", "notes it"),
    "memfd_create": ("map", "", "memory"),
    "ftruncate": ("map", "", "memory"),
    "fstat": ("map:view", "", "tells"),
    "mmap": ("map", "", "memory"),
    "munmap": ("map", "", "memory"),
    "madvise": ("map", "MADV_WIPEONFORK", "memory"),
    "sysconf": ("map", "", "tells"),
    "getpid": ("process", "", "tells"),
    "getrandom": ("process:random", "GRND_NONBLOCK", "memory"),
    "getrlimit": ("process", "", "tells"),
    "syscall": ("process:thread_id|process:pidfd_open", "SYS_gettid|SYS_pidfd_open", "tells; makes one"),
    "kill": ("process:process_alive|process:end_at_once", "kill\\(pid, 0\\)|SIGKILL", "only asks; ends a test's process"),
    "prctl": ("process", "PR_[SG]ET_NAME", "notes it, tells"),
    "setpriority": ("process", "", "notes it"),
    "getpriority": ("process", "", "tells"),
    "sched_setscheduler": ("process", "", "notes it"),
    "sigfillset": ("process", "", "no system call"),
    "pthread_sigmask": ("process", "", "notes it"),
    "__errno_location": ("process", "", "no system call"),
}
# What of the standard library and its like can wait, and the functions in which it may: none is part of a participant's loop.
WAITS = (
    r"\bthread::(?:sleep|park\w*|yield_now|scope|spawn|Builder)\b|\bspin_loop\b|(?<!fn )\bpause_ms\(|\.join\(\)|\.lock\(\)|\.wait(?:_while|_for|_until|_timeout\w*)?\("
    r"|\.get_or_(?:try_)?init\(|\b(?:RwLock|Barrier|mpsc|LazyLock|OnceLock|Once)\b|\bstd::(?:fs|process|net::\w*(?:Stream|Listener|Socket))\b"
    r"|\bio::std\w+|\be?print(?:ln)?!|\bmio::\w+|\.poll\(|\bavailable_parallelism\b|\bSO_LINGER\b|\bF_(?:OFD_)?SETLKW\b|\bMSG_WAITALL\b"
)
MAY_WAIT = {
    "sys/clock.rs:pause_ms": ("thread::sleep", "the one sleep; before a role begins"),
    "runtime/running.rs:open_worker_in_turn": ("pause_ms(", "before the loop, for a dead predecessor's place to be free"),
    "runtime/running.rs:supervise": ("pause_ms(", "between a bug that ended the supervisor and its successor"),
    "runtime/threads.rs:drop": (".lock()", "a thread of sipwire_start is open: before its loop"),
    "runtime/threads.rs:work": ("pause_ms(", "between a bug or an error that ended a worker and its successor"),
    "runtime/threads.rs:supervise_on": ("pause_ms(", "the same of the supervisor"),
    "runtime/run.rs:run_worker": ("pause_ms(", "the same in a process"),
    "sync/stop.rs:changed": ("println!", "only in models"),
    "runtime/threads.rs:wait": (".lock() .wait_while(", "until all threads of sipwire_start are open: before any loop"),
    "runtime/threads.rs:start_threads": (".wait(", "the same"),
    "runtime/threads.rs:spawn": ("thread::Builder", "sipwire_start makes its threads"),
    "runtime/threads.rs:start": (".lock()", "sipwire_start and sipwire_stop exclude each other"),
    "runtime/threads.rs:join_threads": (".lock() .join()", "sipwire_stop joins the threads"),
    "sys/poll.rs:": ("mio::Poll mio::Events", "the poll itself"),
    "sys/poll.rs:new": ("mio::Poll mio::Events", "the poll itself"),
    "sys/poll.rs:wait": (".poll(", "the poll itself"),
    "roles/supervisor/mod.rs:step": (".wait(", "the supervisor's own poll"),
    "roles/worker/mod.rs:step": (".wait(", "a worker's own poll"),
    "sys/process.rs:cpus": ("available_parallelism", "reads files for a default: sipwire_config_new"),
    "ffi/boundary.rs:print_nothing": (".get_or_init(", "once in a process: sipwire_new"),
}


# What makes descriptors, and what it must be told there: a host's other thread may fork and exec at any instant.
CLOSE_ON_EXEC = {
    **dict.fromkeys(["socket", "socketpair", "accept4"], "SOCK_CLOEXEC"),
    **{"eventfd": "EFD_CLOEXEC", "memfd_create": "MFD_CLOEXEC", "recvmsg": "MSG_CMSG_CLOEXEC", "fcntl": "F_DUPFD_CLOEXEC|F_(?:ADD|GET)_SEALS"},
    **dict.fromkeys(["accept", "dup", "dup2", "dup3", "open", "open64", "openat", "pipe", "pipe2", "epoll_create1", "timerfd_create"], "not used"),
}


def left_to_an_exec(path, text):
    for hit in re.finditer(r"\blibc::([a-z_]\w*)\s*\(", text):
        name, around = function_at(text, hit.start())
        if not re.search(CLOSE_ON_EXEC.get(hit[1], ""), around):
            yield f"{path}: {name}: {hit[1]} without {CLOSE_ON_EXEC[hit[1]]}"


def function_at(text, place):
    """(name, text) of the function around a place; ("", "") outside of all. The sources are formatted."""
    for start in reversed([*re.finditer(r"^( *)(?:pub(?:\([a-z:]+\))? )?(?:const )?(?:unsafe )?fn (\w+)", text[:place], re.M)]):
        end = re.compile(rf"^{start[1]}\}}$", re.M).search(text, start.end())
        if end and end.end() > place:
            return start[2], text[start.start() : end.end()]
    return "", ""


def calls_that_nobody_judged(path, text):
    for hit in re.finditer(r"\blibc::([a-z_]\w*)\s*\(", text):
        name, around = function_at(text, hit.start())
        places, needs, _ = CANNOT_SLEEP.get(hit[1], ("", "", ""))
        here = {path.stem, f"{path.stem}:{name}"} if path.parent.name == "sys" else set()
        if not here & set(places.split("|")):
            yield f"{path}: {name}: {hit[1]} is not known there as one that cannot sleep"
        elif not re.search(needs, around):
            yield f"{path}: {name}: {hit[1]} cannot do without {needs}"


def waits_where_none_may_be(path, text):
    if path.parts[1] == "bin":  # a program of its own, which takes part in nothing
        return
    for hit in re.finditer(WAITS, text):
        name, _ = function_at(text, hit.start())
        if hit[0] not in MAY_WAIT.get(f"{path.relative_to('src')}:{name}", ("", ""))[0].split():
            yield f"{path}: {name or 'outside of all functions'}: {hit[0]}"


def test_no_system_call_can_sleep_but_the_poll():
    found = [finding for path, text in sources() for finding in calls_that_nobody_judged(path.relative_to(TOP), text)]
    assert not found, "\n".join(found)
    used = {call for path, text in sources() for call in re.findall(r"\blibc::([a-z_]\w*)\s*\(", text)}
    assert set(CANNOT_SLEEP) == used, f"judged and not used: {set(CANNOT_SLEEP) - used}"


def test_every_descriptor_is_close_on_exec_from_its_first_instant():
    found = [finding for path, text in sources() for finding in left_to_an_exec(path.relative_to(TOP), text)]
    assert not found, "\n".join(found)


def test_no_participant_waits_but_in_its_poll():
    found = [finding for path, text in sources() for finding in waits_where_none_may_be(path.relative_to(TOP), text)]
    assert not found, "\n".join(found)
    # One place for each of the two loops.
    polls = findings(r"\bpoll\.wait\(")
    assert [place.split(":")[0] for place in polls] == ["src/roles/supervisor/mod.rs", "src/roles/worker/mod.rs"], polls


@pytest.mark.parametrize(
    "check, path, text",
    [
        (calls_that_nobody_judged, "src/sys/sock.rs", "fn recv_with() {\n    libc::recv(fd, base, len, flags);\n}\n"),
        (calls_that_nobody_judged, "src/sys/sock.rs", "fn other() {\n    let f = x | libc::MSG_DONTWAIT;\n    libc::recv(fd, f);\n}\n"),
        (calls_that_nobody_judged, "src/sys/sock.rs", "fn stream() {\n    libc::socket(domain, libc::SOCK_STREAM, 0);\n}\n"),
        (calls_that_nobody_judged, "src/sys/event.rs", "fn new() {\n    libc::eventfd(0, libc::EFD_CLOEXEC);\n}\n"),
        (calls_that_nobody_judged, "src/sys/process.rs", "fn reap() {\n    libc::waitpid(pid, status, 0);\n}\n"),
        (calls_that_nobody_judged, "src/roles/event.rs", "fn new() {\n    libc::eventfd(0, libc::EFD_NONBLOCK);\n}\n"),
        (left_to_an_exec, "src/sys/sock.rs", "fn stream() {\n    libc::socket(domain, libc::SOCK_NONBLOCK, 0);\n}\n"),
        (left_to_an_exec, "src/sys/map.rs", "fn copy() {\n    libc::dup(fd);\n}\n"),
        (waits_where_none_may_be, "src/roles/context.rs", "fn get() {\n    self.cached.lock();\n}\n"),
        (waits_where_none_may_be, "src/roles/worker/turn.rs", "fn turn() {\n    std::thread::sleep(t);\n}\n"),
        (waits_where_none_may_be, "src/roles/worker/mod.rs", "fn step() {\n    poll.wait(t);\n    mutex.lock();\n}\n"),
        (waits_where_none_may_be, "src/roles/worker/mod.rs", "fn run() {\n    handle.join();\n}\n"),
        (waits_where_none_may_be, "src/sys/sock.rs", "fn close() {\n    set(fd, libc::SOL_SOCKET, libc::SO_LINGER, 1);\n}\n"),
        (waits_where_none_may_be, "src/roles/sender.rs", "use std::sync::RwLock;\n"),
    ],
)
def test_what_can_sleep_is_found_in_the_sources(check, path, text):
    assert len([*check(Path(path), text)]) == 1


def test_no_file_is_longer_than_700_lines():
    found = [
        f"{path.relative_to(TOP)}: {lines}"
        for path in rust_files()
        if not is_test_file(path) and (lines := code_of(path).count("\n")) > 700
    ]
    for path in [*TOP.glob("c-tests/*.[ch]"), *TOP.glob("c-tests/*.py"), *TOP.glob("examples-c/**/*.[ch]")]:
        if (lines := path.read_text().count("\n")) > 700:
            found.append(f"{path.relative_to(TOP)}: {lines}")
    assert not found, "\n".join(found)


def test_only_one_file_of_the_module_knows_that_kamailios_versions_differ():
    files = [*(TOP / "examples-c/kamailio").glob("*.[ch]")]
    assert files and [path.name for path in files if "VERSIONVAL" in path.read_text()] == ["core.h"]
    long = [path.name for path in files if path.read_text().count("\n") >= 300]
    assert not long, long


def test_answer_stays_the_smallest_host():
    assert (TOP / "examples-c/answer.c").read_text().count("\n") < 120


def test_nothing_is_left_unfinished():
    marks = re.compile(r"\b(?:todo|unimplemented)!|#\[ignore|\bTODO\b|\bFIXME\b|\bXXX\b")
    files = []
    for folder, below, names in os.walk(TOP):
        below[:] = [name for name in below if name not in ("target", "build", ".git")]
        files += [Path(folder, name) for name in names]
    found = [
        f"{path.relative_to(TOP)}: {hit[0]}"
        for path in files
        if path.suffix in (".rs", ".c", ".h", ".lua", ".sh", ".md")
        for hit in marks.finditer(path.read_text(errors="replace"))
    ]
    assert not found, "\n".join(found)


def test_every_fuzz_target_is_built_and_has_seeds():
    entries = re.findall(r'^path = "fuzz_targets/(\w+)\.rs"', (TOP / "fuzz/Cargo.toml").read_text(), re.M)
    assert sorted(entries) == sorted(path.stem for path in (TOP / "fuzz/fuzz_targets").glob("*.rs"))
    assert all(any((TOP / "fuzz/seeds" / name).iterdir()) for name in entries)


def test_the_words_of_shell_scripts_parse():
    for script in sorted(Path(TOP / ".ci").iterdir()):
        if script.read_text(errors="replace").startswith("#!"):
            run_ok(["bash", "-n", script], check_leftovers=False)
