"""The C tests: build/c-tests/NAME from c-tests/NAME.c, each once for each of its modes.

Comments in the C file say how it is run:
  /* modes: threads processes */   with --threads and with --processes; `none`: once, without
  /* timeout: 60 */                seconds until it is ended
  /* all-only */                   only in `make check-all`
  /* args: --full */               given in `make check-all`
Exit code 0 is passed, 77 skipped with the last line of output as the reason. A test that prints nothing itself prints
nothing: what comes is the library's.
"""

import re

import pytest
from run import BUILD, CHECK_ALL, TOP, run, tail


PRINTS = re.compile(r'(?<![a-z])(?:printf|puts)\(|fprintf\(std|"network\.h"')


def cases():
    for source in sorted((TOP / "c-tests").glob("*.c")):
        if source.stem == "harness":
            continue
        text = source.read_text()
        said = dict(re.findall(r"^/\* (modes|timeout|args): (.*?) \*/", text, re.M))
        if re.search(r"^/\* all-only \*/", text, re.M) and not CHECK_ALL:
            continue
        more = said.get("args", "").split() if CHECK_ALL else []
        limit = int(said.get("timeout", 120)) * (5 if CHECK_ALL else 1)
        for mode in said.get("modes", "none").split():
            argument = [] if mode == "none" else [f"--{mode}"]
            yield pytest.param(
                [BUILD / "c-tests" / source.stem, *argument, *more],
                limit,
                bool(PRINTS.search(text)),
                id=source.stem if mode == "none" else f"{source.stem}-{mode}",
                marks=pytest.mark.timeout(limit + 30),
            )


@pytest.mark.parametrize("command, limit, prints", cases())
def test_c(command, limit, prints):
    code, output = run(command, limit=limit)
    if code == 77:
        pytest.skip(output.strip().rpartition("\n")[2] or "no reason given")
    if code != 0:
        ended = f"signal {-code}" if code < 0 else f"exit code {code}"
        pytest.fail(f"{ended}: {' '.join(map(str, command))}\n{tail(output)}", pytrace=False)
    assert prints or not output, f"the library printed: {tail(output)}"
