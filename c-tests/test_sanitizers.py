"""The C tests and the library under AddressSanitizer with its leak detector, the C side under
UndefinedBehaviorSanitizer as well. One runtime serves both languages (see Makefile)."""

import fcntl
import os
import re

import pytest
from run import BUILD, CHECK_ALL, MODES, TOP, run, run_ok, tail

SUBSET = ["async", "bad_input", "config", "dial", "every_call", "framing", "interleaving", "large_message", "misuse", "own_loop", "queue_large"]
# What they measure or use up is not the library's alone here: memory, descriptors, time, instructions.
NOT_HERE = {"accept_cost", "deaths_are_cheap", "fd_exhaustion", "flood", "leak", "many_participants", "sipd_parser"}
ENVIRONMENT = {
    "SIPWIRE_TEST_SCALE": "10",
    "ASAN_OPTIONS": "exitcode=99:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}
REPORT = re.compile(r"ERROR: \w+Sanitizer|runtime error:")

# A program that does one thing wrong for each argument, and what is to be said of it.
WRONG = r"""
#include <stdlib.h>
#include <sipwire.h>
static sipwire_config *kept;
__attribute__((noinline)) static int leak(void) { return sipwire_config_new() == NULL; }
__attribute__((noinline)) static int send_too_much(void) {
  static sipwire_callbacks callbacks = {.struct_size = sizeof callbacks};
  sipwire_target target = {.struct_size = sizeof target, .conn_id = 1};
  sipwire_iov iov[100];
  sipwire_instance *instance;
  for (int i = 0; i < 100; i++) iov[i] = (sipwire_iov){malloc(64), 65}; /* so many are copied together first */
  kept = sipwire_config_new();
  return sipwire_new(kept, &callbacks, NULL, &instance) == SIPWIRE_OK && sipwire_send(instance, &target, iov, 100, 1);
}
int main(int argc, char **argv) {
  volatile int most = 2147483647;
  char *volatile block = malloc(8); /* of a size that nobody but the allocator knows */
  switch (atoi(argv[1])) {
  case 0: return block[6 + argc];
  case 1: return most + argc;
  case 2: return leak();
  case 3: return send_too_much();
  case 4: sipwire_config_free(kept = sipwire_config_new()); return sipwire_config_set(kept, "workers", "2");
  }
  free(block);
  return 0;
}
"""
SAID = ["heap-buffer-overflow", "signed integer overflow", "detected memory leaks", "heap-buffer-overflow", "heap-use-after-free"]


def built(*names):
    """Built when first needed, by one at a time."""
    with open(BUILD / "sanitized.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run_ok(["make", "--no-print-directory", *(f"build/sanitized/{name}" for name in names)], limit=300, check_leftovers=False)


def cases():
    for source in sorted((TOP / "c-tests").glob("*.c")):
        said = re.search(r"^/\* modes: (.*?) \*/", source.read_text(), re.M)
        if source.stem == "harness" or source.stem in NOT_HERE or not (CHECK_ALL or source.stem in SUBSET):
            continue
        for mode in said[1].split() if said else ["none"]:
            argument = [] if mode == "none" else [f"--{mode}"]
            yield pytest.param(source.stem, argument, id=source.stem if mode == "none" else f"{source.stem}-{mode}")


@pytest.mark.timeout(800)
@pytest.mark.parametrize("name, argument", cases())
def test_sanitizers_find_nothing_in_the_c_test(name, argument):
    built(name)
    code, output = run([BUILD / "sanitized" / name, *argument], limit=480, env=ENVIRONMENT)
    if code == 77:
        pytest.skip(output.strip().rpartition("\n")[2] or "no reason given")
    # A child's report does not always reach the exit code.
    if code != 0 or REPORT.search(output):
        pytest.fail(f"exit code {code}\n{tail(output, 80)}", pytrace=False)


@pytest.mark.timeout(800)
def test_sanitizers_see_what_is_wrong_on_either_side():
    name = f"wrong.{os.getpid()}"
    program, source, part = (BUILD / "sanitized" / (name + end) for end in ("", ".c", ".o"))
    built("addresses")  # and with it all that is linked here
    source.write_text(WRONG)
    try:
        flags = ["-Iinclude", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
        run_ok(["cc", *flags, "-c", source, "-o", part], limit=100, check_leftovers=False)
        built(name)
        for number, said in enumerate(SAID):
            code, output = run([program, str(number)], env=ENVIRONMENT)
            assert code != 0 and said in output, f"{number}, {said}: exit code {code}\n{tail(output)}"
        assert run([program, "9"], env=ENVIRONMENT) == (0, "")
    finally:
        for path in (program, source, part):
            path.unlink(missing_ok=True)


if CHECK_ALL:  # it builds everything once more

    @pytest.mark.timeout(2400)
    def test_address_sanitizer_finds_nothing_in_the_rust_tests():
        host = re.search(r"^host: (.*)$", run_ok(["rustc", "-vV"], check_leftovers=False), re.M)[1]
        run_ok(
            ["cargo", "test", "--locked", "--lib", "--target", host, "--target-dir", BUILD / "asan-tests"],
            limit=2300,
            env={"RUSTC_BOOTSTRAP": "1", "RUSTFLAGS": "-Zsanitizer=address", "PROPTEST_CASES": "64"},
        )
