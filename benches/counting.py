"""Instructions of each operation in `operations.rs`, counted by callgrind: the same on a busy machine and an idle one.

    counting.py            prints them beside the recorded ones
    counting.py --record   records them: a change that is meant is one line of instructions.json in its commit
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
RECORDED = Path(__file__).resolve().parent / "instructions.json"
NOT_OURS = {"memchr_of_a_request"}  # what framing is compared with: its crate takes the widest registers that it finds
FEW, MANY = 100, 5100  # many: the places in the index are random


def build():
    """The program that does them, without what other crates would inline into them: their code is not ours."""
    command = ["cargo", "bench", "--locked", "--bench", "counted", "--no-run", "--message-format=json"]
    made = subprocess.run(command, cwd=TOP, stdout=subprocess.PIPE, text=True, check=True)
    found = [line["executable"] for line in map(json.loads, made.stdout.splitlines()) if line.get("executable")]
    return found[-1]


def names(program):
    return subprocess.run([program], stdout=subprocess.PIPE, text=True, check=True).stdout.split()


def _collected(program, name, times):
    with tempfile.NamedTemporaryFile() as out:
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out.name}", program, name, str(times)]
        said = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=True).stderr
    return int(re.search(r"Collected : (\d+)", said)[1])


def count(program, name):
    """Of one time: what it takes to start and end falls out of the difference."""
    return round((_collected(program, name, MANY) - _collected(program, name, FEW)) / (MANY - FEW))


def recorded():
    return json.loads(RECORDED.read_text())


def main():
    program = build()
    counted = {name: count(program, name) for name in names(program)}
    known = recorded() if RECORDED.exists() else {}
    for name, instructions in counted.items():
        print(f"{name:<24} {instructions:>8}   recorded: {known.get(name, 'none')}")
    if "--record" in sys.argv[1:]:
        RECORDED.write_text(json.dumps(counted, indent=1) + "\n")


if __name__ == "__main__":
    main()
