"""SIGKILL at every step that changes a shared word (build/crash/points), and that no step was forgotten: the steps are
read from src/, the deaths from what the program prints. A panic there is the same (src/roles/failure.rs)."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from run import BUILD, CHECK_ALL, MODES, TOP, run_ok

ROLES = ["supervisor", "worker", "sender"]
FLOORS = ["shm", "table", "roles"]

# A call that changes a word. Words of one process only are changed by the same names.
STEP = re.compile(
    r"\.(?:set|store_sync|bump|store|compare_exchange|swap|fetch_(?:or|and|add|sub|max|update)|note|want)\("
    r"|\b(?:swap_owner|set_phase|clear_phase)\(|\bswap\(gate,|context\.post\("
)
PRIVATE = re.compile(
    r"\bmember\.(?:batch|gathered|end_posted|in_callback|capturing|failed)|self\.0\.set\(false\)|self\.ends\.|more\.then_some|\.in_callback\.|announced_to|swept_ms|supervises|supervisors_poll"
    r"|\bcontext\.claimed|\bGIVEN\."
)
FUNCTION = re.compile(r"\s*(?:pub(?:\(\w+\))? )?(?:const )?fn (\w+)")

# Where nobody has to die, and why: (FILE, function) and the beginnings of the lines that are meant, none: all.
# A race: passed only when two processes meet in one instant, so it is not known that somebody dies there in every run.
BEFORE = "before there is a second participant"
STOP = "in the stop of the instance, after which nothing is served"
SCRIBBLE = "only in a segment that was scribbled on"
NO_FDS = "only when a process has no descriptor or block left; see fd_exhaustion.c and io_error.c"
HOLDER = "only behind a living sender that is stopped with the gate"
RACE = "a race"
EXEMPT = {
    ("src/shm/blocks.rs", "touch"): ("at the first use of a block only",),
    ("src/shm/gate.rs", "evict"): (RACE,),
    ("src/shm/header.rs", "note_gone"): ("by those who see that the supervisor is dead; one store that may be done again",),
    ("src/shm/header.rs", "stop"): (STOP,),
    ("src/shm/log_ring.rs", "write"): ("a full log ring, counted", "self.header.dropped"),
    ("src/shm/log_ring.rs", "drain"): (RACE,),
    ("src/shm/log_ring.rs", "recover"): (RACE,),
    ("src/shm/participants.rs", "tell_end"): ("by the host or by who frees the instance; may be told again",),
    ("src/shm/participants.rs", "restart_recovery"): (RACE,),
    ("src/shm/texts.rs", "claim"): (RACE, "cell.claim.store_sync"),
    ("src/table/listeners.rs", "inherit"): (BEFORE,),
    ("src/table/inbox.rs", "take"): (RACE, "output.queued_bytes.store_sync(before)", "output.queued_bytes.store_sync(after)"),
    ("src/table/queue.rs", "take_out"): ("only when the kernel takes a part of a batch, see p1_gate", "head.written.set"),
    ("src/table/slot.rs", "close_fd"): (STOP,),
    ("src/table/segment.rs", "new"): (BEFORE,),
    ("src/table/segment.rs", "publish"): ("passed only when a value differs",),
    ("src/table/segment.rs", "scribble"): ("a test's own",),
    ("src/table/segment.rs", "violation"): (SCRIBBLE,),
    ("src/roles/worker/mod.rs", "give_back_armed"): (RACE, "self.context.post("),
    ("src/roles/batch.rs", "put_to_batch"): (RACE, "self.context.post"),
    ("src/roles/batch.rs", "write"): ("behind the peer's FIN, when the kernel takes a part, or a race; only posts, while it is in Reading", "context.post("),
    ("src/roles/batch.rs", "write_queue"): (RACE, "slot.want"),
    ("src/roles/context.rs", "drop"): ("by who frees the instance; may be told again",),
    ("src/roles/failure.rs", "die"): ("after a bug; one store that may be done again",),
    ("src/roles/member.rs", "announce"): (NO_FDS,),
    ("src/roles/member.rs", "channel_closed"): (NO_FDS,),
    ("src/roles/sender.rs", "write_directly"): (RACE, "self.context.post", "slot.want"),
    ("src/roles/supervisor/accept.rs", "pause_accept"): (NO_FDS,),
    ("src/roles/supervisor/accept.rs", "accepts_again"): (NO_FDS,),
    ("src/roles/supervisor/death.rs", "recover_slot"): (RACE, "let _ = slot.swap_owner", "self.clear_phase", "slot.supervised"),
    ("src/roles/supervisor/death.rs", "inherit_slot"): (RACE, "let _ = slot.swap_owner", "slot.supervised.phase.store_sync(0)"),
    ("src/roles/supervisor/ending.rs", "end"): (RACE, "self.clear_phase", ".set(pack_reason"),
    ("src/roles/supervisor/ending.rs", "end_by_error"): ("only beside a reader that is stopped behind its read, see error_told_once.c", "slot.want"),
    ("src/roles/supervisor/ending.rs", "advance_end"): (RACE,),
    ("src/roles/supervisor/ending.rs", "finish_host"): ("only without on_close", "let _ = slot.swap_owner"),
    ("src/roles/supervisor/ending.rs", "take_closes"): (RACE,),
    ("src/roles/supervisor/flow.rs", "read_again"): ("only with half a message parked, see conn_pause.c", "slot.input"),
    ("src/roles/supervisor/flush.rs", "write_out"): ("only with more than 256 KB queued", "slot.note"),
    ("src/roles/supervisor/flush.rs", "take_inbox"): (RACE, "slot.want"),
    ("src/roles/supervisor/flush.rs", "wait_for_holder"): (HOLDER,),
    ("src/roles/supervisor/flush.rs", "look_again"): (HOLDER,),
    ("src/roles/supervisor/flush.rs", "serve_look_again"): (HOLDER,),
    ("src/roles/supervisor/handoff.rs", "want_room"): (RACE,),
    ("src/roles/supervisor/handoff.rs", "lend_or_wait"): (RACE,),
    ("src/roles/supervisor/handoff.rs", "serve_waiting"): (RACE,),
    ("src/roles/supervisor/handoff.rs", "watch_held"): (RACE,),
    ("src/roles/supervisor/handoff.rs", "take_held"): (RACE,),
    ("src/roles/supervisor/handoff.rs", "take_from_stalled"): (RACE,),
    ("src/roles/supervisor/notices.rs", "tell_writable"): (RACE,),
    ("src/roles/supervisor/notices.rs", "wait_for_room"): ("only near wq_max",),
    ("src/roles/supervisor/notices.rs", "serve_room_wanted"): ("only near wq_max",),
    ("src/roles/supervisor/notices.rs", "take_notices"): (RACE,),
    ("src/roles/supervisor/notices.rs", "recover_notices"): (RACE,),
    ("src/roles/supervisor/notices.rs", "inherit_notices"): (RACE,),
    ("src/roles/supervisor/peers.rs", "forget_duplicate"): (NO_FDS,),
    ("src/roles/supervisor/place.rs", "lend_no_fds"): (STOP,),
    ("src/roles/supervisor/table.rs", "arm"): (RACE,),
    ("src/roles/supervisor/table.rs", "defer"): (NO_FDS,),
    ("src/roles/supervisor/table.rs", "serve"): ("only when refused at low-water, see water.c", "self.set_phase(slot, phase::EMPTY_WANTED)"),
    ("src/roles/supervisor/table.rs", "serve_no_room"): (RACE, "self.clear_phase"),
    ("src/roles/worker/mod.rs", "take_lends"): (RACE,),
    ("src/roles/worker/mod.rs", "on_lend"): (NO_FDS, "if slot.swap_owner", "context.post"),
    ("src/roles/worker/mod.rs", "after_turn"): (RACE, "if ending"),
    ("src/roles/worker/mod.rs", "close"): (RACE,),
    ("src/roles/worker/turn.rs", "turn"): (RACE, "slot.want"),
    ("src/roles/worker/turn.rs", "park"): (RACE, ".want(", "full.store_sync"),
}

# The same of one role alone.
SELDOM = {
    ("sender", "src/roles/member.rs", "calling"): "its only callback is on_log, for a record that no worker has told yet",
}


def functions_that_pass_on(lines):
    """Numbers of the lines of functions whose steps are their callers': a point is where the step is asked for."""
    inside = set()
    for i, line in enumerate(lines):
        if "track_caller" not in line:
            continue
        indent = len(line) - len(line.lstrip())
        for n in range(i, len(lines)):
            inside.add(n)
            if n > i and lines[n].rstrip() == " " * indent + "}":
                break
    return inside


def steps():
    """(file, line number, function, text) of every step."""
    for floor in FLOORS:
        for path in sorted((TOP / "src" / floor).rglob("*.rs")):
            if "tests" in path.parts or path.name == "tests.rs":
                continue
            lines = path.read_text().split("\n#[cfg(test)]")[0].split("\n")
            passed_on = functions_that_pass_on(lines)
            function = ""
            for i, line in enumerate(lines):
                if match := FUNCTION.match(line):
                    function = match[1]
                elif STEP.search(line) and not PRIVATE.search(line) and i not in passed_on and not line.lstrip().startswith("//"):
                    yield str(path.relative_to(TOP)), i + 1, function, line.strip()


def is_exempt(file, function, text):
    said = EXEMPT.get((file, function))
    return said is not None and (len(said) == 1 or text.startswith(said[1:]))


def forgotten(died, passed):
    """Steps behind which nobody died, or not somebody of each role that came by: what is found there differs by role."""
    left = []
    for file, line, function, text in steps():
        alive = [role for role in ROLES if (role, file, line) in passed - died and (role, file, function) not in SELDOM]
        if not any((role, file, line) in died for role in ROLES):
            alive = alive or ["nobody"]
        if alive and not is_exempt(file, function, text):
            left.append(f"{file}:{line} {function} ({', '.join(alive)}): {text}")
    return left


@pytest.mark.timeout(5 * (3000 if CHECK_ALL else 600))
def test_death_at_every_point():
    more = ["--full"] if CHECK_ALL else []
    limit = 3000 if CHECK_ALL else 600
    died, passed = set(), set()
    for _ in range(5):  # what happens seldom may not have happened
        with ThreadPoolExecutor(len(ROLES)) as pool:
            runs = [pool.submit(run_ok, [BUILD / "crash" / "points", role, *more], limit=limit) for role in ROLES]
            output = "".join(one.result() for one in runs)
        for word, role, file, line in re.findall(r"^(died|passed) (\w+) (\S+):(\d+):\d+$", output, re.M):
            (died if word == "died" else passed).add((role, file, int(line)))
        assert len(died) > 300, output[-2000:]
        if not forgotten(died, passed):
            break
    assert not forgotten(died, passed), "no death behind these steps:\n" + "\n".join(forgotten(died, passed))


@pytest.mark.timeout(3 * 3000 if CHECK_ALL else 600)
def test_a_bug_is_its_participants_death():
    """At twenty points of each role or more; at all of them in `make check-all`."""
    more = ["--full"] if CHECK_ALL else []
    for role in ROLES:
        output = run_ok([BUILD / "crash" / "points", role, "--panic", *more], limit=3000 if CHECK_ALL else 200)
        assert len(re.findall("^died ", output, re.M)) >= 20, output[-2000:]


@pytest.mark.parametrize("mode", MODES)
def test_a_host_lives_through_a_bug(mode):
    assert run_ok([BUILD / "crash" / "panics", mode]) == ""


def test_a_bug_that_nobody_waits_for():
    assert run_ok([BUILD / "crash" / "alone", "--threads"]) == ""


def test_the_table_of_exemptions_names_what_is_there():
    known = {(file, function) for file, _, function, _ in steps()}
    assert len(known) > 100
    named = set(EXEMPT) | {(file, function) for _, file, function in SELDOM}
    assert named <= known, f"not there: {named - known}"
