"""The libraries as files: what they export and under which version, how they are linked, how large they are, and that the
binary interface is the recorded one."""

import json
import os
import platform
import re
import shutil

import artefacts
import header_text
import pytest
from run import BUILD, TOP, run, run_ok

ARCHIVE, SHARED = BUILD / "libsipwire.a", BUILD / "libsipwire.so"


def version():
    return re.search(r'^version = "(.*)"', (TOP / "Cargo.toml").read_text(), re.M)[1]


def readelf(*arguments):
    return run_ok(["readelf", "--wide", *arguments], check_leftovers=False)


# ---- symbols ----


def symbols(path, table):
    """The defined global symbols that others can see, with their versions."""
    found = set()
    for line in readelf(table, path).splitlines():
        fields = line.split()
        if len(fields) >= 8 and fields[4] in ("GLOBAL", "WEAK") and fields[5] != "HIDDEN" and fields[6] not in ("UND", "ABS"):
            found.add(fields[7])
    return found


def exports():
    """{function: version} of the linker's version script."""
    script = re.sub(r"/\*.*?\*/", "", (TOP / "include/sipwire.map").read_text(), flags=re.S)
    blocks = re.findall(r"(SIPWIRE_[\d.]+) \{(.*?)\}", script, re.S)
    return {name: block for block, text in blocks for name in re.findall(r"(sipwire_\w+);", text)}


def test_the_archive_has_the_functions_of_the_header_and_nothing_else():
    assert symbols(ARCHIVE, "--symbols") == header_text.functions().keys()


def test_header_version_script_and_shared_library_have_the_same_functions_since_the_same_version():
    said = {name: re.search(r"Since: (.*)", each.said)[1] for name, each in header_text.functions().items()}
    assert {name: block.removeprefix("SIPWIRE_") for name, block in exports().items()} == said
    assert symbols(SHARED, "--dyn-syms") == {f"{name}@@{block}" for name, block in exports().items()}


def soname(path):
    return re.search(r"soname: \[(.*)\]", readelf("--dynamic", path))[1]


def test_the_soname_has_the_major_version_only():
    major = version().split(".")[0]
    assert soname(SHARED) == f"libsipwire.so.{major}"
    assert os.readlink(SHARED) == f"libsipwire.so.{major}"


# ---- how they are made ----


def is_one_unit(archive):
    """Cargo drops `lto` without a word when it is asked for an rlib, too. With it what is compiled is one unit, std included."""
    units = set(re.findall(r" FILE .* (\S+-cgu\.\d+)$", readelf("--symbols", archive), re.M))
    return len({unit for unit in units if not unit.startswith("compiler_builtins")}) == 1


def test_the_libraries_are_optimized_as_a_whole():
    assert is_one_unit(ARCHIVE)


def segments(path):
    """[(type, flags)]"""
    lines = readelf("--segments", path)
    return re.findall(r"^  (\w+) +(?:0x\w+ +){5}([RWE ]{3})", lines, re.M)


@pytest.fixture(scope="module")
def linked_with_the_archive(tmp_path_factory):
    """A program as any distribution builds it: position-independent, its relocations out of the way before it runs."""
    folder = tmp_path_factory.mktemp("hardened")
    source, program = folder / "main.c", folder / "main"
    source.write_text("#include <sipwire.h>\nint main(void) { return sipwire_config_new() == 0; }\n")
    flags = ["-pie", "-fPIE", "-Wl,-z,relro,-z,now,-z,text", "-Wl,--fatal-warnings"]
    run_ok(["gcc", *flags, "-I", TOP / "include", source, ARCHIVE, "-pthread", "-o", program], check_leftovers=False)
    run_ok([program])
    return program


def is_hardened(path):
    found, dynamic = segments(path), readelf("--dynamic", path)
    kinds = dict(found)
    assert "E" not in kinds["GNU_STACK"], "the stack is executable"
    assert not [flags for _, flags in found if "W" in flags and "E" in flags], "what can be written can be run"
    assert "GNU_RELRO" in kinds and re.search(r"FLAGS_1.*\bNOW\b", dynamic), "not all relocations are read-only"
    assert not re.search(r"TEXTREL|RPATH|RUNPATH", dynamic)


def is_a_plug_in(path):
    """It stays where it is once it is loaded, and a host that has functions of these names too does not get into its calls."""
    assert "NODELETE" in readelf("--dynamic", path)
    assert " sipwire_" not in readelf("--relocs", path), "its calls may go to others"


def test_what_is_linked_is_hardened(linked_with_the_archive):
    is_hardened(linked_with_the_archive)
    is_hardened(SHARED)
    is_a_plug_in(SHARED)


OTHER = """
use std::ffi::c_int;
#[unsafe(no_mangle)]
pub extern "C" fn other_library(number: c_int) -> c_int {
    let thread = std::thread::spawn(move || std::panic::catch_unwind(|| [1, 2].iter().map(|x| x * number).sum::<c_int>()));
    thread.join().unwrap().unwrap()
}
"""
BOTH = """
#include <sipwire.h>
extern int other_library(int);
int main(void)
{
    sipwire_config *config = sipwire_config_new();
    int wrong = other_library(14) != 42 || sipwire_config_set(config, "workers", "2") != SIPWIRE_OK;
    sipwire_config_free(config);
    return wrong;
}
"""


@pytest.mark.parametrize("optimized", ["", "-Clto=fat"], ids=["plain", "lto"])
def test_the_archive_links_beside_another_rust_library(optimized, tmp_path):
    """Each has a std of its own. One that is optimized as a whole, too, leaves it global: ours must not be."""
    (tmp_path / "other.rs").write_text(OTHER)
    (tmp_path / "both.c").write_text(BOTH)
    other, program = tmp_path / "libother.a", tmp_path / "both"
    rustc = ["rustc", "--edition", "2024", "--crate-type", "staticlib", "-Copt-level=1", *optimized.split()]
    run_ok([*rustc, tmp_path / "other.rs", "-o", other], limit=240, check_leftovers=False)
    for order in ([ARCHIVE, other], [other, ARCHIVE]):
        command = ["gcc", "-I", TOP / "include", tmp_path / "both.c", *order, "-pthread", "-lm", "-o", program]
        run_ok(command, check_leftovers=False)
        run_ok([program])


# ---- what is recorded ----

ALLOWED = 0.1  # of the recorded size, in both directions
as_recorded = pytest.mark.skipif(platform.machine() != "x86_64", reason="recorded is what x86-64 has")


@as_recorded
def test_sizes():
    now, recorded = artefacts.sizes(), json.loads(artefacts.SIZES.read_text())
    assert now.keys() == recorded.keys()
    far = {name: f"{now[name]} bytes, recorded are {recorded[name]}" for name in now if abs(now[name] - recorded[name]) > ALLOWED * recorded[name]}
    assert not far, f"{far}: if that is meant, `make sizes` records it"


def test_constants_are_the_recorded_ones():
    """A program has them compiled in: a number never changes, and never goes."""
    now, recorded = artefacts.constants(), json.loads(artefacts.CONSTANTS.read_text())
    changed = {name: f"{recorded[name]} is now {now.get(name)}" for name in recorded if recorded[name] != now.get(name)}
    assert not changed, f"{changed}: programs that are compiled already have the old ones"
    assert not now.keys() - recorded.keys(), "`make abi` records new ones"


@pytest.mark.parametrize("kind, source", [("E", "error.rs"), ("REASON", "reason.rs")])
def test_what_the_library_returns_has_the_numbers_of_the_header(kind, source):
    said = {name: int(value) for name, value in artefacts.constants().items() if name.startswith(f"SIPWIRE_{kind}_")}
    said.pop("SIPWIRE_REASON_COUNT", None)  # of an array
    rows = re.findall(r"^    (\w+) = (-?\d+), \"", (TOP / "src/pure" / source).read_text(), re.M)
    spelt = {re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).upper(): int(value) for name, value in rows}
    assert len(rows) > 10 and {f"SIPWIRE_{kind}_{name}": value for name, value in spelt.items()} == said


@as_recorded
def test_the_binary_interface_is_the_recorded_one(tmp_path):
    if not shutil.which("abidiff"):
        pytest.skip("no abidiff here (Debian: abigail-tools)")
    code, said = run(["abidiff", artefacts.ABI, artefacts.as_c_programs_see_it(tmp_path)], check_leftovers=False)
    meant = "If that is meant, `make abi` records it; if hosts have to be compiled again, raise SIPWIRE_ABI and give include/sipwire.map a new node (from 1.0 on: the version a new major number) first"
    assert code == 0, f"{said}\n{meant}"
