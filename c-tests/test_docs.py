"""The documentation: its C is compiled, its programs run, what it names is there, and every function and setting is in it.

An HTML comment before a ```c block says what it is:

    <!-- c: server NAME -->      a whole program: built, started, asked, killed child by child if it forks, ended by SIGTERM
    <!-- c: run NAME -->         a whole program: built and run to its end; a ```text block behind it is its output
    <!-- c: program NAME -->     a whole program: built
    <!-- c: file NAME -->        what the programs of the page include
    <!-- c: functions -->        what stands outside of functions
    <!-- c: statements MORE -->  what stands inside of one, with MORE declared; without a comment: nothing more

Statements have the names of GIVEN below.
"""

import dataclasses
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
import xml.etree.ElementTree

import header_text
import pytest
from run import BUILD, TOP, await_port, end_session, free_port, run_ok

PAGES = [TOP / name for name in ("README.md", "CHANGELOG.md", "SECURITY.md")] + sorted((TOP / "docs").glob("*.md"))
MANUALS = sorted((TOP / "docs/man").glob("*.[1-9]"))
HEADER = (TOP / "include/sipwire.h").read_text()
CODE = header_text.code()
FUNCTIONS = header_text.functions().keys()
STRICT = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-I", TOP / "include"]
GIVEN = """#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <sipwire.h>
"""
PARAMETERS = """sipwire_config *config, sipwire_callbacks callbacks, sipwire_instance *instance, sipwire_message *m,
    const sipwire_conn_info *info, sipwire_failure *failure, uint32_t id, int32_t number, int32_t workers"""


@dataclasses.dataclass
class Block:
    page: object
    line: int
    language: str
    kind: str
    words: str
    text: str

    def __str__(self):
        return f"{self.page.name}:{self.line}"


def blocks_of(page):
    mark, block = "", None
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if block is not None:
            if line.strip() == "```":
                yield block
                block, mark = None, ""
            else:
                block.text += line + "\n"
        elif line.startswith("```"):
            if mark == "test: host":
                mark = "c: server host.c"
            found = re.fullmatch(r"c: (server|run|program|file|functions|statements)\s*(.*)", mark)
            assert found or not mark, f"{page.name}:{number}: what is <!-- {mark} -->?"
            kind, words = found.groups() if found else ("statements", "")
            block = Block(page, number, line[3:].strip(), kind, words, "")
        elif line.strip():
            found = re.fullmatch(r"<!-- (.*) -->", line.strip())
            mark = found[1] if found else ""
    assert block is None, f"{page.name}: a block does not end"


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
PROGRAMS = [block for block in BLOCKS if block.language == "c" and block.kind in ("server", "run", "program")]


def prose_of(page):
    """The text with the code blocks as empty lines, so that line numbers stay."""
    return re.sub(r"^```.*?^```$", lambda block: "\n" * block[0].count("\n"), page.read_text(), flags=re.S | re.M)


def where(page, text, place):
    return f"{page.name}:{text.count(chr(10), 0, place) + 1}"


# ---- C ----


def build(block, folder, port=5060):
    for other in BLOCKS:
        if other.page == block.page and other.kind == "file":
            (folder / other.words).write_text(other.text)
    source, program = folder / block.words, folder / block.words.removesuffix(".c")
    source.write_text(block.text.replace("127.0.0.1:5060", f"127.0.0.1:{port}"))
    run_ok(["cc", *STRICT, source, BUILD / "libsipwire.a", "-pthread", "-o", program], check_leftovers=False)
    return program


def ask(port, patience=10):
    """An OPTIONS over a connection of its own is answered 200; within some time, in which it is asked again."""
    request = (
        f"OPTIONS sip:127.0.0.1:{port} SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKdocs\r\nFrom: <sip:a@b>;tag=1\r\n"
        "To: <sip:c@d>\r\nCall-ID: docs\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
    until, answer = time.monotonic() + patience, b""
    while time.monotonic() < until:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as client:
                client.sendall(request.encode())
                answer = b""
                while b"\r\n\r\n" not in answer and (part := client.recv(4096)):
                    answer += part
        except OSError:
            pass
        if answer.startswith(b"SIP/2.0 200 OK\r\n") and b"Call-ID: docs\r\n" in answer:
            return
        time.sleep(0.05)
    pytest.fail(f"no answer of 200, but {answer}")


def children_of(pid):
    return [int(child) for child in open(f"/proc/{pid}/task/{pid}/children").read().split()]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("block", PROGRAMS, ids=str)
def test_a_program_is_built_and_does_what_it_says(block, tmp_path):
    port = free_port()
    program = build(block, tmp_path, port)
    if block.kind == "run":
        output = run_ok([program])
        behind = [other for other in BLOCKS if other.page == block.page and other.line > block.line and other.language == "text"]
        following = [other for other in PROGRAMS if other.page == block.page and other.line > block.line]
        if behind and (not following or behind[0].line < following[0].line):
            assert output == behind[0].text
    if block.kind != "server":
        return
    server = subprocess.Popen([program], stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        await_port(port)
        ask(port)
        for child in children_of(server.pid) if "fork()" in block.text else []:
            os.kill(child, signal.SIGKILL)
            ask(port)
        assert server.poll() is None
        server.terminate()
        assert server.wait(20) == 0
    finally:
        left = end_session(server.pid)
    assert not left


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_fragment_compiles(page, tmp_path):
    for block in BLOCKS:
        if block.page != page or block.language != "c" or block.kind not in ("functions", "statements"):
            continue
        body = block.text
        if block.kind == "statements":
            body = f"void fragment({PARAMETERS});\nvoid fragment({PARAMETERS})\n{{\n{block.words}\n{body}}}\n"
        source = tmp_path / f"line_{block.line}.c"
        source.write_text(f'{GIVEN}\n#line {block.line} "{page.name}"\n{body}')
        run_ok(["cc", *STRICT, "-Wno-unused", "-Wno-unused-parameter", "-c", source, "-o", tmp_path / "o"], check_leftovers=False)


# ---- shells ----

MAKEFILE = (TOP / "Makefile").read_text()
TARGETS = {
    target
    for line in re.findall(r"^([\w./% -]+?):(?!=)", MAKEFILE, re.M)
    for target in line.split()
}
VARIABLES = set(re.findall(r"^(?:\w+: )?(\w+) *[?:]?=", MAKEFILE, re.M)) | set(re.findall(r"\$\((\w+)\)", MAKEFILE))
# What the pages call that is not ours.
OTHERS = {"cc", "sipsak", "ps", "kill", "cargo", "kamcmd", "install", "pkg-config", "reordercap", "git", "man", "cd"}


def shell_lines():
    for block in BLOCKS:
        if block.language == "sh":
            for number, line in enumerate(block.text.splitlines(), block.line + 1):
                yield block.page, number, line, True
    for page in PAGES:
        for number, line in enumerate(prose_of(page).splitlines(), 1):
            if re.match(r" {4}(?:make|build/|cc|\.ci/|\./)", line):
                yield page, number, line, False


def help_of(program):
    return run_ok([BUILD / program, "--help"], check_leftovers=False)


def wrong_in(command, page):
    name, arguments = command[0], command[1:]
    if name == "make":
        for argument in arguments:
            variable, is_set, _ = argument.partition("=")
            if is_set and variable not in VARIABLES:
                yield f"the Makefile knows no {variable}"
            pattern = re.sub(r"/[A-Z]+$", "/%", argument)
            if not is_set and not argument.startswith("-") and argument not in TARGETS and pattern not in TARGETS:
                yield f"the Makefile has no target {argument}"
    elif name in ("build/sipd", "build/answer"):
        known = help_of(name.removeprefix("build/"))
        for option in arguments:
            if option.startswith("-") and not re.search(rf"(?<![\w-]){re.escape(option.partition('=')[0])}(?![\w-])", known):
                yield f"{name} has no option {option}"
    elif name.startswith("./"):
        if f"{name[2:]}.c" not in [block.words for block in PROGRAMS if block.page == page]:
            yield f"the page has no program {name}"
    elif name.startswith(".ci/") or name.startswith("benches/"):
        if not (TOP / name).exists():
            yield f"there is no {name}"
    elif name == "cc":
        sources = [argument for argument in arguments if argument.endswith(".c")]
        unknown = set(sources) - {block.words for block in PROGRAMS if block.page == page}
        if unknown or not sources:
            yield f"it compiles {unknown or 'nothing'}"
    elif name not in OTHERS and not name.startswith("build/"):
        yield f"what is {name}?"


def test_make_targets_and_options_of_programs_exist():
    found, lines = [], 0
    for page, number, line, _ in shell_lines():
        for part in re.split(r"&&|\|", line.partition(" #")[0]):
            if command := shlex.split(part, comments=True):
                lines += 1
                found += [f"{page.name}:{number}: {wrong}: {line.strip()}" for wrong in wrong_in(command, page)]
    assert not found, "\n".join(found)
    assert lines > 20


# ---- links ----


def anchors_of(page):
    slugs = set()
    for heading in re.findall(r"^#+ +(.*?) *$", prose_of(page), re.M):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        while slug in slugs:
            slug += "-1"
        slugs.add(slug)
    return slugs


def test_every_relative_link_and_anchor_resolves():
    found = []
    for page in PAGES:
        prose = prose_of(page)
        for link in re.finditer(r"\]\(([^)\s]+)\)|\b(?:src|href)=\"([^\"]+)\"", prose):
            target = link[1] or link[2]
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            if not file.exists():
                found.append(f"{where(page, prose, link.start())}: no file {target}")
            elif anchor and anchor not in anchors_of(file):
                found.append(f"{where(page, prose, link.start())}: no heading for {target}")
    assert not found, "\n".join(found)


def test_every_path_that_is_named_exists():
    found = []
    for page in PAGES:
        prose = prose_of(page)
        for name in re.finditer(r"`((?:c-tests|benches|src|docs|examples-c|fuzz|include|\.ci)/[\w./*-]+|test_\w+\*?\.py)", prose):
            path = f"c-tests/{name[1]}" if name[1].startswith("test_") else name[1]
            if not any(TOP.glob(path.rstrip("/"))) and not re.search(r"/kept/", path):
                found.append(f"{where(page, prose, name.start())}: no {name[1]}")
    assert not found, "\n".join(found)


def test_every_page_is_reached_from_the_readme():
    seen, todo = set(), [TOP / "README.md"]
    while todo:
        page = todo.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        links = re.findall(r"\]\(([^)#\s]+)", prose_of(page))
        todo += [(page.parent / link).resolve() for link in links if (page.parent / link).exists()]
    assert set(PAGES) <= seen, [page.name for page in set(PAGES) - seen]


# ---- names ----

CONSTANTS = set(re.findall(r"^#define (SIPWIRE_\w+)", HEADER, re.M))
STRUCTS = {
    name: set(re.findall(r"\b(\w+)(?:\[\w+\])?;|\(\*(\w+)\)", body))
    for name, body in re.findall(r"typedef struct (sipwire_\w+) \{(.*?)^\} \1;", CODE, re.S | re.M)
}
TYPES = set(STRUCTS) | set(re.findall(r"typedef struct \w+ (sipwire_\w+);", CODE))
CALLBACKS = set(re.findall(r"\(\*(on_\w+)\)", CODE))


def table_rs():
    return (TOP / "src/pure/settings/table.rs").read_text()


def settings():
    return re.findall(r'^    "(\w+)" \w+:', table_rs(), re.M)


def other_names():
    return dict(re.findall(r'^    \("(\w+)", "(\w+)"\),', table_rs().partition("const ALIASES")[2], re.M))


def is_setting(key):
    key = key.replace("-", "_").removeprefix("tcp_")
    return key in settings() or key in other_names()


def unknown_names(page, text):
    known = FUNCTIONS | TYPES
    for name in re.finditer(r"\b(sipwire_\w+)(?:\.(\w+))?", text):
        if name[1].endswith("_"):
            good = any(function.startswith(name[1]) for function in known)
        else:
            good = name[1] in known
        if good and name[2] and name[1] in STRUCTS:
            members = {part for pair in STRUCTS[name[1]] for part in pair}
            good = name[2] in members or any(member.startswith(name[2]) for member in members if name[2].endswith("_"))
        if not good:
            yield name
    for name in re.finditer(r"\bSIPWIRE_\w+", text):
        if name[0] not in CONSTANTS and not (name[0].endswith("_") and any(c.startswith(name[0]) for c in CONSTANTS)):
            if not any(name[0] in path.read_text() for path in (TOP / "src").rglob("*.rs")):  # a variable of the tests
                yield name
    for name in re.finditer(r"`(on_\w+)", text):
        if name[1] not in CALLBACKS:
            yield name
    named = r"sipwire_(?:config_)?(?:set|get|set_number)\((?:config|instance), \"([^\"]+)\"|\bsettings? `(\w+)`|-o (\w+)=|`([a-z][a-z0-9_]*)=[^=`\s]+`"
    for name in re.finditer(named, text):
        key = next(filter(None, name.groups()))
        if not is_setting(key) and key != "key" and page.name != "kamailio.md":
            yield name


def test_every_name_of_the_api_that_is_used_exists():
    found = []
    for page in PAGES:
        text = page.read_text()
        wrong = [name for name in unknown_names(page, text) if "send_timeot" not in name[0]]  # the guide has it wrong on purpose
        found += [f"{where(page, text, name.start())}: {name[0]}" for name in wrong]
    assert not found, "\n".join(found)


def test_a_name_that_does_not_exist_is_found():
    text = 'sipwire_sent() sipwire_stats.acepted SIPWIRE_E_NOTHING `on_opened` sipwire_set(instance, "no_such" setting `nothing`'
    assert len([*unknown_names(PAGES[0], text)]) == 6
    text = 'sipwire_send() sipwire_conn_... sipwire_stats.refused_... SIPWIRE_REASON_... `on_open` sipwire_set(instance, "tcp_children"'
    assert not [*unknown_names(PAGES[0], text)]


def test_every_function_setting_callback_and_code_is_documented():
    text = "\n".join(page.read_text() for page in [*PAGES, *MANUALS])
    missing = [name for name in FUNCTIONS | set(settings()) | CALLBACKS if not re.search(rf"\b{name}\b", text)]
    missing += [name for name in CONSTANTS if name.startswith(("SIPWIRE_E_", "SIPWIRE_SEND_")) and name not in text]
    reasons = (TOP / "docs/callbacks.md").read_text().partition("## Reasons")[2]
    named = {name.removeprefix("SIPWIRE_REASON_") for name in CONSTANTS if name.startswith("SIPWIRE_REASON_")} - {"COUNT"}
    missing += [name for name in named if f"`{name}`" not in reasons]
    assert not missing, missing


# ---- settings, figures, manual, picture ----


def test_the_page_on_settings_has_each_once_and_its_ancestors_name():
    """Default, range, unit, live and text of each row are compared with the table by a test of Rust's."""
    page = (TOP / "docs/tuning.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|(?:[^|\n]*\|){6}$", page, re.M)
    assert rows == settings()
    assert re.findall(r"^- \*\*`(\w+)`\*\*: \S", page, re.M) == settings()
    assert dict(re.findall(r"^\| `(\w+)` \| `(\w+)`[^|\n]*\|$", page, re.M)) == other_names()


def test_every_figure_names_the_test_or_bench_that_it_comes_from():
    page = TOP / "docs/memory.md"
    rows = 0
    for table in re.findall(r"^\|[^\n]*\| shown by \|\n\|[-|]+\|\n((?:\|.*\|\n)+)", prose_of(page), re.M):
        for row in table.splitlines():
            paths = re.findall(r"`((?:c-tests|benches|src)/[\w./-]+)", row.rstrip("|").rpartition("|")[2])
            assert paths and all((TOP / path).exists() for path in paths), row
            rows += 1
    assert rows > 10


def prototypes_of_the_header():
    for result, name, parameters in re.findall(r"^([\w ]+[ *]+)(sipwire_\w+)\(([^;]*?)\);", CODE, re.M):
        kept = [" ".join(parameter.split()).replace("struct ", "") for parameter in parameters.split(",")]
        yield name, (result.replace("struct ", "").strip(), kept)


def prototypes_of_the_manual():
    text = (TOP / "docs/man/sipwire.3").read_text()
    for result, name, arguments in re.findall(r'^\.Ft "?([^"\n]*?)"?\n\.Fn (sipwire_\w+) (.*)$', text, re.M):
        yield name, (result, re.findall(r'"([^"]*)"', arguments))


def test_the_manual_has_the_prototype_of_every_function():
    assert dict(prototypes_of_the_manual()) == dict(prototypes_of_the_header())
    text = (TOP / "docs/man/sipwire.3").read_text().partition(".Sh DESCRIPTION")[2]
    missing = [name for name in FUNCTIONS if not re.search(rf"^\.It Fn {name}\b|^\.Fn {name}\b", text, re.M)]
    assert not missing, missing


@pytest.mark.parametrize("manual", MANUALS, ids=lambda path: path.name)
def test_a_manual_is_well_formed(manual):
    if not shutil.which("groff"):
        pytest.skip("no groff here")
    command = ["groff", "-mandoc", "-Tascii", "-ww", manual]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_the_picture_is_a_small_one_that_is_read_in_light_and_dark():
    path = TOP / "docs/architecture.svg"
    assert path.stat().st_size < 12_000
    root = xml.etree.ElementTree.parse(path).getroot()
    assert root.tag.endswith("svg") and root.get("viewBox")
    text = path.read_text()
    assert "prefers-color-scheme: dark" in text and "<title" in text and "<script" not in text and "href" not in text
    words = " ".join(root.itertext()).lower()
    missing = [word for word in ("supervisor", "worker", "sender", "segment", "slots", "blocks", "rings", "connections") if word not in words]
    assert not missing, missing
