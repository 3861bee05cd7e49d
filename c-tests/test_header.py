"""include/sipwire.h: fresh, clean in every C and C++ standard, and it says of each function all that there is to say."""

import re
import shutil

import header_text
import pytest
from header_text import HEADER
from run import BUILD, TOP, run_ok

WARNINGS = ["-Wall", "-Wextra", "-pedantic-errors", "-Werror"]
C_STANDARDS = ["c89", "gnu89", "c99", "gnu99", "c11", "gnu11", "c17", "gnu17", "c2x", "gnu2x"]
CXX_STANDARDS = ["c++98", "c++03", "c++11", "c++14", "c++17", "c++20"]


def version():
    return re.search(r'^version = "(.*)"', (TOP / "Cargo.toml").read_text(), re.M)[1]


@pytest.mark.timeout(600)
def test_the_committed_header_is_what_the_sources_give(tmp_path):
    fresh = tmp_path / "sipwire.h"
    # A target folder of its own: cargo holds a lock on the other one while it builds and tests there.
    environment = {"SIPWIRE_HEADER": str(fresh), "CARGO_TARGET_DIR": str(BUILD / "header-target")}
    command = ["cargo", "check", "--locked", "--quiet", "--lib", "--features", "regen-header"]
    run_ok(command, limit=580, env=environment, check_leftovers=False)
    assert fresh.read_text() == HEADER.read_text(), "run `make header` and commit include/sipwire.h"


def compilers():
    for compiler, language, standards in [
        ("gcc", "c", C_STANDARDS),
        ("clang", "c", C_STANDARDS),
        ("g++", "c++", CXX_STANDARDS),
        ("clang++", "c++", CXX_STANDARDS),
    ]:
        for standard in standards:
            yield pytest.param(compiler, language, standard, id=f"{compiler}-{standard}")


@pytest.mark.parametrize("compiler, language, standard", compilers())
def test_the_header_compiles_first_alone_and_twice(compiler, language, standard, tmp_path):
    if not shutil.which(compiler):
        if compiler.startswith("clang"):
            pytest.skip(f"no {compiler} here")
        pytest.fail(f"no {compiler} here")
    source = tmp_path / ("unit.c" if language == "c" else "unit.cc")
    source.write_text(
        "#include <sipwire.h>\n#include <sipwire.h>\n"
        "#if !SIPWIRE_AT_LEAST(0, 0, 1) || SIPWIRE_AT_LEAST(255, 0, 0)\n#error version\n#endif\n"
        "extern int use(void);\n"
        "int use(void) { return *sipwire_strerror(SIPWIRE_E_ARGUMENT) && sipwire_version_number(); }\n"
    )
    warnings = [*WARNINGS, *(["-Weverything"] if compiler.startswith("clang") else [])]
    command = [compiler, f"-std={standard}", *warnings, "-I", HEADER.parent, "-c", source, "-o", tmp_path / "unit.o"]
    run_ok(command, check_leftovers=False)


def test_every_function_is_called_wrongly():
    """c-tests/every_call.c: with nothing, with garbage, by whom it is not for."""
    source = (TOP / "c-tests" / "every_call.c").read_text()
    forgotten = [name for name in header_text.functions() if f"{name}(" not in source]
    assert not forgotten, f"not in every_call.c: {forgotten}"


@pytest.mark.parametrize("compiler, name", [("gcc", "version.c"), ("g++", "version.cc")])
def test_the_header_states_the_version_of_cargo_toml(compiler, name, tmp_path):
    source = tmp_path / name
    source.write_text(
        "#include <sipwire.h>\n#include <stdio.h>\n"
        'int main(void) { printf("%d.%d.%d %s %u %u\\n", SIPWIRE_VERSION_MAJOR, SIPWIRE_VERSION_MINOR, '
        "SIPWIRE_VERSION_PATCH, SIPWIRE_VERSION_STRING, (unsigned)SIPWIRE_VERSION_NUMBER, "
        "(unsigned)sipwire_version_number()); return 0; }\n"
    )
    program = tmp_path / "version"
    run_ok([compiler, "-I", HEADER.parent, source, BUILD / "libsipwire.a", "-o", program], check_leftovers=False)
    major, minor, patch = map(int, version().split("."))
    number = major << 16 | minor << 8 | patch
    assert run_ok([program]).split() == [version(), version(), str(number), str(number)]


# ---- what crosses the border ----

NEVER_GROWS = {"sipwire_addr", "sipwire_iov"}  # part of others, or an array of the host's
OF_NO_FIXED_SIZE = r"\b(?:enum|union|_?[Bb]ool|int|long|short|(?:un)?signed|float|double|wchar_t|ssize_t|va_list)\b|\.\.\.|:\s*\d"


def test_only_types_of_one_size_cross_the_border():
    found = re.findall(OF_NO_FIXED_SIZE, header_text.code())
    assert not found, f"include/sipwire.h has {found}"
    for name, function in header_text.functions().items():
        for kind in (function.result, *function.parameters.values()):
            assert "*" in kind or "struct" not in kind, f"{name}: a structure by value"


def test_structures_begin_with_their_size():
    for name, members in header_text.structures().items():
        assert members.lstrip().startswith("uint32_t struct_size;") != (name in NEVER_GROWS), name


# ---- what is said of each function ----

LABELS = ["Returns: ", "Call from: ", "; in callbacks: ", "; blocks: ", "Pointers: ", "Since: "]
WHO_FREES = r"[Ss]tatic|frees (?:it|its own) with|lives until"


def pieces(function):
    """{label: what is said behind it}, the purpose behind ""; None when one is missing, comes twice or in another order."""
    wanted = list(LABELS)
    if function.result == "void":
        wanted.remove("Returns: ")
    if not any("*" in kind for kind in function.parameters.values()):
        wanted.remove("Pointers: ")
    found = re.split(f"({'|'.join(LABELS)})", " ".join(function.said.split()))
    return dict(zip(["", *wanted], found[::2])) if found[1::2] == wanted else None


def missing(function):
    """What the comment of a function does not say."""
    said = pieces(function)
    if said is None:
        return [f"what is said in the order {''.join(LABELS)}"]
    text = "".join(said.values())
    gaps = [label for label, piece in said.items() if not piece.strip(" .")]
    for name, kind in function.parameters.items():
        if f"`{name}`" not in (said["Pointers: "] if "*" in kind else text):
            gaps.append(f"parameter {name}")
        if name.endswith("_ms") and "milliseconds" not in text or name in ("size", "length") and "bytes" not in text:
            gaps.append(f"unit of {name}")
    returned = said.get("Returns: ", "")
    if function.result in ("int32_t", "int64_t") and "Pointers: " in said and "SIPWIRE_E_ARGUMENT" not in returned:
        gaps.append("SIPWIRE_E_ARGUMENT, for NULL")
    if "that takes part" in said["Call from: "] and "SIPWIRE_E_NOT_ATTACHED" not in returned:
        gaps.append("SIPWIRE_E_NOT_ATTACHED")
    if not re.match("yes|no", said["; in callbacks: "]):
        gaps.append("in callbacks: yes or no")
    if not re.search("^never|^as |until", said["; blocks: "]):
        gaps.append("blocks: never, or until what")
    handed_out = "*" in function.result or any(kind.count("*") == 2 for kind in function.parameters.values())
    if handed_out and not re.search(WHO_FREES, text):
        gaps.append("who frees what it hands out, or until when it lives")
    return gaps


def test_every_function_is_documented_in_the_fixed_order():
    functions = header_text.functions()
    assert functions.keys() == set(re.findall(r"\b(sipwire_\w+)\((?!\*)[^;]*\);", header_text.code()))
    gaps = {name: missing(function) for name, function in functions.items()}
    assert not (gaps := {name: said for name, said in gaps.items() if said}), f"include/sipwire.h does not say: {gaps}"


def test_every_error_is_one_that_some_function_returns():
    named = {code for each in header_text.functions().values() for code in re.findall(r"SIPWIRE_E_\w+", each.said)}
    errors = {name for name in header_text.constants() if name.startswith("SIPWIRE_E_")}
    assert named | {"SIPWIRE_E_PANIC"} == errors  # of all of them, says the constant
