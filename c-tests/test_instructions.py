"""The costs that do not depend on the machine: instructions of the small operations that every message takes."""

import sys

import pytest
from run import TOP

sys.path.insert(0, str(TOP / "benches"))
import counting

ALLOWED = 0.02  # of the recorded figure, in both directions: a gain is recorded too, or it could be lost again unnoticed


@pytest.fixture(scope="module")
def program():
    return counting.build()


def test_every_operation_is_recorded_and_nothing_else(program):
    assert counting.names(program) == list(counting.recorded())


@pytest.mark.parametrize("name", [name for name in counting.recorded() if name not in counting.NOT_OURS])
def test_instructions(program, name):
    counted, known = counting.count(program, name), counting.recorded()[name]
    assert abs(counted - known) <= max(ALLOWED * known, 1), (
        f"{name} takes {counted} instructions, recorded are {known}: if that is meant, `make instructions` records it"
    )
