"""include/sipwire.h: fresh, clean in every C and C++ standard, and the same list of symbols as the libraries."""

import os
import re
import shutil

import pytest
from run import BUILD, TOP, run_ok

HEADER = TOP / "include" / "sipwire.h"
WARNINGS = ["-Wall", "-Wextra", "-pedantic-errors", "-Werror"]
C_STANDARDS = ["c89", "gnu89", "c99", "gnu99", "c11", "gnu11", "c17", "gnu17", "c2x", "gnu2x"]
CXX_STANDARDS = ["c++98", "c++03", "c++11", "c++14", "c++17", "c++20"]


def declared_functions():
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.S)
    return set(re.findall(r"^[\w ]+[\s*](sipwire_\w+)\(", text, re.M))


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
        "int use(void) { return sipwire_strerror(SIPWIRE_E_ARGUMENT) != 0 && sipwire_version_number() != 0; }\n"
    )
    command = [compiler, f"-std={standard}", *WARNINGS, "-I", HEADER.parent, "-c", source, "-o", tmp_path / "unit.o"]
    if compiler == "clang" and standard in ("c89", "gnu89"):
        command.insert(1, "-Wno-long-long")
    run_ok(command, check_leftovers=False)


def test_the_header_states_the_version_of_cargo_toml(tmp_path):
    source = tmp_path / "version.c"
    source.write_text(
        "#include <sipwire.h>\n#include <stdio.h>\n"
        'int main(void) { printf("%d.%d.%d %s %u %u\\n", SIPWIRE_VERSION_MAJOR, SIPWIRE_VERSION_MINOR, '
        "SIPWIRE_VERSION_PATCH, SIPWIRE_VERSION_STRING, (unsigned)SIPWIRE_VERSION_NUMBER, "
        "(unsigned)sipwire_version_number()); return 0; }\n"
    )
    program = tmp_path / "version"
    run_ok(["gcc", "-I", HEADER.parent, source, BUILD / "libsipwire.a", "-o", program], check_leftovers=False)
    major, minor, patch = map(int, version().split("."))
    number = major << 16 | minor << 8 | patch
    assert run_ok([program]).split() == [version(), version(), str(number), str(number)]


def symbols(path, dynamic):
    """The defined global symbols that others can see."""
    table = "--dyn-syms" if dynamic else "--symbols"
    found = set()
    for line in run_ok(["readelf", table, "--wide", path], check_leftovers=False).splitlines():
        fields = line.split()
        if len(fields) >= 8 and fields[4] in ("GLOBAL", "WEAK") and fields[5] != "HIDDEN" and fields[6] != "UND":
            found.add(fields[7].partition("@")[0])
    return found


@pytest.mark.parametrize("library", ["libsipwire.so", "libsipwire.a"])
def test_the_libraries_export_what_the_header_declares_and_nothing_else(library):
    assert symbols(BUILD / library, library.endswith(".so")) == declared_functions()


def test_the_soname_has_the_major_version_only():
    lines = run_ok(["readelf", "-d", BUILD / "libsipwire.so"], check_leftovers=False)
    assert re.search(r"soname: \[(.*)\]", lines)[1] == f"libsipwire.so.{version().split('.')[0]}"
    assert os.readlink(BUILD / "libsipwire.so") == f"libsipwire.so.{version().split('.')[0]}"
