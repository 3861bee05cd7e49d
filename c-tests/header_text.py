"""include/sipwire.h as data: its functions with what is said of each, its structures."""

import re
from collections import namedtuple
from pathlib import Path

HEADER = Path(__file__).resolve().parent.parent / "include" / "sipwire.h"
Function = namedtuple("Function", "result parameters said")  # parameters: {name: type}
_FUNCTION = re.compile(r"(?:/\*\*\n((?: \*[^\n]*\n)+) \*/\n)?^([a-z][\w ]*?[ *]+)(sipwire_\w+)\(([^;{}]*?)\);", re.M)


def code():
    """The header without comments."""
    return re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.S)


def functions():
    """{name: Function}; `said` is the comment in front of it as lines of text."""
    found = {}
    for comment, result, name, parameters in _FUNCTION.findall(HEADER.read_text()):
        named = [] if parameters == "void" else re.findall(r"([^,]*?[ *])(\w+)\s*(?:,|$)", parameters)
        said = "\n".join(line[3:] for line in comment.splitlines())
        found[name] = Function(result.strip(), {each: " ".join(kind.split()) for kind, each in named}, said)
    return found


def structures():
    """{name: the text of its members}; those without members, of which C sees pointers alone, are left out."""
    return dict(re.findall(r"^typedef struct (\w+) \{\n(.*?)^\} \1;", code(), re.M | re.S))


def constants():
    return set(re.findall(r"^#define (SIPWIRE_\w+)", code(), re.M))
