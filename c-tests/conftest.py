"""What pytest does for all the tests of this folder."""

import os
import sys
from pathlib import Path

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import run  # noqa: E402


def pytest_configure(config):
    run.adopt_orphans()


def pytest_collection_modifyitems(items):
    """The longest first, dealt to the processes of xdist, which gives each a run of neighbours to begin with."""
    limits = {item: marker.args[0] for item in items if (marker := item.get_closest_marker("timeout"))}
    items.sort(key=lambda item: -limits.get(item, 0))
    hands = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
    first = max(len(items) // (4 * hands), 2) * hands
    items[:first] = [item for hand in range(hands) for item in items[:first][hand::hands]]


@pytest.fixture(params=run.MODES, ids=["threads", "processes"])
def mode(request):
    return request.param
