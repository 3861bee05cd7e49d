"""The rules of the sources themselves: format, lints, floors, size of files, leftovers."""

import os
import re
from pathlib import Path

import pytest
from run import TOP, run_ok

SRC = TOP / "src"
# From the lowest floor up; what stands together is one floor.
FLOORS = [["pure"], ["sync", "sys"], ["shm"], ["table"], ["roles"], ["runtime"], ["ffi"]]
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}
NO_UNSAFE = ["pure", "roles", "runtime"]


def rust_files():
    return sorted(SRC.rglob("*.rs"))


def floor_of(path):
    return path.relative_to(SRC).parts[0].removesuffix(".rs")


def is_test_file(path):
    return path.stem == "tests" or "tests" in path.parent.parts


def code_of(path):
    """The lines before the unit tests."""
    return re.split(r"^#\[cfg\(test\)\]\n(?:#\[.*\]\n)*mod \w+", path.read_text(), maxsplit=1, flags=re.M)[0]


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


@pytest.mark.timeout(300)
def test_rust_is_formatted():
    run_ok(["cargo", "fmt", "--check"], limit=280, check_leftovers=False)


@pytest.mark.timeout(600)
def test_clippy_finds_nothing():
    command = ["cargo", "clippy", "--locked", "--lib", "--quiet", "--", "-D", "warnings"]
    run_ok(command, limit=580, check_leftovers=False)


def test_every_module_is_on_a_floor():
    assert {floor_of(path) for path in rust_files()} - set(LEVEL) <= {"lib"}


def test_no_floor_names_a_higher_one():
    found = []
    for path, text in sources():
        floor = floor_of(path)
        if floor == "lib":
            continue
        named = set(re.findall(r"\bcrate::(\w+)", text))
        for group in re.findall(r"\bcrate::\{(.*?)\};", text, re.S):
            named |= set(re.findall(r"(?:^|[,{]\s*)(\w+)(?=\s*(?:::|,|\}|$))", group))
        found += [
            f"{path.relative_to(TOP)} ({floor}) names crate::{name}"
            for name in sorted(named & set(LEVEL))
            if LEVEL[name] > LEVEL[floor]
        ]
    assert not found, "\n".join(found)


def test_unsafe_only_on_the_floors_that_may():
    found = findings(r"\bunsafe\b(?!_code)", lambda floor, path: floor in NO_UNSAFE)
    assert not found, "\n".join(found)


def test_pure_makes_no_system_call_and_reads_no_clock():
    # std::net's address types are plain values; its sockets are not.
    pattern = (
        r"\b(?:libc|mio)::|\bstd::(?:fs|os|process|env|thread|io)\b"
        r"|\b(?:Instant|SystemTime|TcpStream|TcpListener|UdpSocket|ToSocketAddrs)\b"
    )
    found = findings(pattern, lambda floor, path: floor == "pure")
    assert not found, "\n".join(found)


def test_system_calls_are_made_in_sys_only():
    found = findings(r"\blibc::[a-z_0-9]+\s*\(|\bmio::", lambda floor, path: floor not in ("sys", "lib"))
    assert not found, "\n".join(found)


def test_atomics_are_imported_in_sync_only():
    found = findings(r"\b(?:std|core)::sync::atomic\b", lambda floor, path: floor != "sync")
    assert not found, "\n".join(found)


def test_the_segment_has_no_lock_and_parking_lot_stays_above_what_forks():
    locks = r"\b(?:Mutex|RwLock|Condvar)\b"
    found = findings(locks, lambda floor, path: floor in ("pure", "sync", "sys", "shm", "table"))
    found += findings(r"\bparking_lot::", lambda floor, path: floor != "runtime")
    assert not found, "\n".join(found)


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


def test_the_words_of_shell_scripts_parse():
    for script in sorted(Path(TOP / ".ci").iterdir()):
        if script.read_text(errors="replace").startswith("#!"):
            run_ok(["bash", "-n", script], check_leftovers=False)
