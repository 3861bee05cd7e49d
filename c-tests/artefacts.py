"""What of the built libraries is recorded and compared: their sizes, and the binary interface as C programs see it.

    /usr/bin/python3 c-tests/artefacts.py sizes|abi     records it anew: make sizes, make abi
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import header_text

TOP = Path(__file__).resolve().parent.parent
BUILD = TOP / "build"
RECORDED = TOP / "c-tests" / "artefacts"
SIZES, ABI, CONSTANTS = RECORDED / "sizes.json", RECORDED / "sipwire.abi", RECORDED / "constants.json"


def output(command):
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout


def sizes():
    """Bytes: of both files, which debug information is most of, and what of the shared library is loaded."""
    text, data, bss = output(["size", BUILD / "libsipwire.so"]).splitlines()[1].split()[:3]
    files = {name: (BUILD / name).stat().st_size for name in ("libsipwire.a", "libsipwire.so")}
    return files | {"code and constants": int(text), "data": int(data) + int(bss)}


def constants():
    """{name: value} of the header, which the compiler puts into programs: no tool sees them in a library."""
    header = (TOP / "include" / "sipwire.h").read_text()
    found = dict(re.findall(r"^#define (SIPWIRE_\w+) (.+)$", header, re.M))
    return {name: value for name, value in found.items() if not re.match(r"SIPWIRE_(VERSION|H$)", name)}


def as_c_programs_see_it(folder):
    """A library with the header's functions, all empty: its debug information has the types that C programs are compiled
    with. Those of Rust would do less: they show the inside of what is only a pointer in C."""
    empty = ["#include <sipwire.h>"]
    for name, function in header_text.functions().items():
        parameters = ", ".join(f"{kind} {each}" for each, kind in function.parameters.items()) or "void"
        body = "" if function.result == "void" else "return 0;"
        empty.append(f"{function.result} {name}({parameters}) {{ {body} }}")
    source, library = Path(folder) / "interface.c", Path(folder) / "interface.so"
    source.write_text("\n".join(empty) + "\n")
    soname = re.search(r"SONAME.*\[(.*)\]", output(["readelf", "-d", BUILD / "libsipwire.so"]))[1]
    exports = f"-Wl,-soname,{soname},--version-script={TOP}/include/sipwire.map"
    nowhere = f"-fdebug-prefix-map={folder}=."  # where it was compiled is not part of it
    output(["gcc", "-w", "-g", nowhere, "-fPIC", "-shared", "-I", TOP / "include", exports, source, "-o", library])
    return library


def main():
    RECORDED.mkdir(exist_ok=True)
    if sys.argv[1:] == ["sizes"]:
        SIZES.write_text(json.dumps(sizes(), indent=2) + "\n")
    elif sys.argv[1:] == ["abi"]:
        library = as_c_programs_see_it(BUILD)
        plain = ["--no-corpus-path", "--no-comp-dir-path", "--no-show-locs", "--type-id-style", "hash"]
        ABI.write_text(output(["abidw", *plain, library]))
        CONSTANTS.write_text(json.dumps(constants(), indent=2) + "\n")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
