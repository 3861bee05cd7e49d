"""make bench: every case in turns against its opponents, ratios of CPU time for each message, a table, JSON and plots.

A case starts its servers side by side, opens each one's connections, and then lets them have the load in turns, several
rounds: what else the machine does meets all of them. A figure is the median over the rounds of the ratio within one round.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import counting
import servers
from servers import TOP, Load, answer, floor, kamailio, pour, sipd

ROUNDS, SECONDS, WARM = 5, 1.5, 0.5


def measure(load, seconds):
    """One turn of one server."""
    before = load.server.cpu_seconds()
    result = json.loads(load.ask(seconds))
    cpu = load.server.cpu_seconds() - before
    done = result["connections"] or result["answers"]
    if not done:
        raise RuntimeError(f"{load.server.name} answered nothing:\n{load.server.said()[-2000:]}")
    return {
        "cpu_us": cpu * 1e6 / done,
        "p50_us": result["latency_us"]["p50"],
        "p999_us": result["latency_us"]["p999"],
        "per_second": done / result["seconds"],
        "broken": result["broken"],
    }


def rounds(members, arguments, count=None, seconds=None, warm=WARM):
    """For each server, by name, what each round measured."""
    with contextlib.ExitStack() as stack:
        loads = [stack.enter_context(Load(stack.enter_context(member), *arguments)) for member in members]
        seen = {load.server.name: [] for load in loads}
        for load in loads:
            load.ask(warm)
        for number in range(count or ROUNDS):
            for load in loads[number % len(loads) :] + loads[: number % len(loads)]:
                seen[load.server.name].append(measure(load, seconds or SECONDS))
        return seen


def ratio(seen, name, base, key="cpu_us"):
    return statistics.median(one[key] / other[key] for one, other in zip(seen[name], seen[base], strict=True))


class Report:
    def __init__(self):
        self.rows, self.raw, self.tables = [], {}, {}

    def keep(self, case, seen, rounds=True):
        (self.raw if rounds else self.tables)[case] = seen

    def row(self, case, figure, value, target):
        met = None if target is None else value <= target
        self.rows.append({"case": case, "figure": figure, "value": round(value, 3), "target": target, "met": met})
        wanted = "" if target is None else f"{'<=' if met else 'MISSED'} {target}"
        print(f"{case:<34} {figure:<44} {value:>10.3f}  {wanted}", flush=True)


def ours(*settings, workers=1):
    return [answer(mode, "connection_lifetime=1h", *settings, workers=workers) for mode in ("threads", "processes")]


def against_kamailio():
    why = servers.missing_kamailio()
    if why:
        print(f"skipped: stock Kamailio: {why}")
        return []
    return [kamailio(False), kamailio(True)]


def compare(report, case, seen, targets, base="floor", key="cpu_us", what="CPU per message"):
    for name, target in targets.items():
        if name in seen:
            report.row(case, f"{what}: {name} / {base}", ratio(seen, name, base, key), target)


def hot(report):
    seen = rounds([floor(), *ours(), *against_kamailio()], ["--connections", 100, "--depth", 1])
    report.keep("hot", seen)
    compare(report, "hot, depth 1", seen, {"threads": 1.15, "processes": 1.25, "kamailio": None})
    with_kamailio(report, "hot, depth 1", seen, 0.9)


def with_kamailio(report, case, seen, target):
    if "kamailio" in seen:
        compare(report, case, seen, {"kamailio with sipwire": target}, base="kamailio")


def pipelined(report):
    # Its default manager is left out elsewhere: what it does to Kamailio has nothing to do with TCP.
    as_debian_starts_it = [] if servers.missing_kamailio() else [kamailio(False, "qm")]
    members = [floor(), *ours(), *against_kamailio(), *as_debian_starts_it]
    seen = rounds(members, ["--connections", 100, "--depth", 8])
    report.keep("pipelined", seen)
    compare(report, "pipelined, depth 8", seen, {"threads": 1.5, "processes": 1.5, "kamailio": None})
    if "kamailio" in seen:
        compare(report, "pipelined, depth 8", seen, {"threads": 0.1, "processes": 0.1}, "kamailio", "p999_us", "p99.9")
        compare(report, "pipelined, depth 8", seen, {"threads": None, "processes": None}, "kamailio, qm", "p999_us", "p99.9")
    with_kamailio(report, "pipelined, depth 8", seen, 0.95)


BARE_HAND_OFF = "bare hand-off"


def beside_bare_hand_off(report, case, seen):
    """What the bare loop costs once a second thread serves: no server with a supervisor and workers is cheaper."""
    compare(report, case, seen, {BARE_HAND_OFF: None})
    compare(report, case, seen, {"threads": None, "processes": None}, base=BARE_HAND_OFF)


def handoff(report):
    # Warm: each of the 5,000 has been lent once, so that a process keeps its duplicate.
    members = [floor(), floor("--hand-off", name=BARE_HAND_OFF), *ours("worker_hold=0")]
    seen = rounds(members, ["--connections", 5000, "--rate", 3000], seconds=3, warm=8)
    report.keep("every message a hand-off", seen)
    compare(report, "every message a hand-off", seen, {"threads": 1.5, "processes": 2.0})
    beside_bare_hand_off(report, "every message a hand-off", seen)


def default_hold(report):
    members = [floor(), floor("--hand-off", name=BARE_HAND_OFF), *ours(), *against_kamailio()]
    # Warm: most have been lent once, so that a process keeps its duplicate; phones stay for hours.
    seen = rounds(members, ["--connections", 15000, "--rate", 1500], count=3, seconds=6, warm=20)
    report.keep("hand-offs at the default hold", seen)
    compare(report, "hand-offs, default hold", seen, {"threads": 1.3, "processes": 1.3})
    beside_bare_hand_off(report, "hand-offs, default hold", seen)
    compare(report, "hand-offs, default hold", seen, {"threads": 1.5, "processes": 1.5}, key="p999_us", what="p99.9")
    if "kamailio" in seen:
        compare(report, "hand-offs, default hold", seen, {"threads": 0.5, "processes": 0.5}, base="kamailio")
    with_kamailio(report, "hand-offs, default hold", seen, 0.7)


def idle_beside(report):
    for mode in ("threads", "processes"):
        plain = answer(mode, "connection_lifetime=1h")
        beside = answer(mode, "connection_lifetime=1h")
        beside.name = "beside 15,000 idle"
        with Load(beside, "--connections", 15000, "--idle"):
            seen = rounds([plain, beside], ["--connections", 100, "--depth", 1])
        report.keep(f"idle beside hot, {mode}", seen)
        report.row("15,000 idle beside the hot", f"CPU per message: with / without, {mode}", ratio(seen, beside.name, mode), 1.05)


def transports(report):
    tcp, udp = sipd("tcp"), sipd("udp")
    with tcp, udp:
        seen = {}
        with Load(tcp, "--connections", 100, "--depth", 4) as over_tcp, Load(udp, "--connections", 100, "--depth", 4, "--udp") as over_udp:
            for load in (over_tcp, over_udp):
                load.ask(WARM)
                seen[load.server.name] = []
            for _ in range(ROUNDS):
                for load in (over_tcp, over_udp):
                    seen[load.server.name].append(measure(load, SECONDS))
    report.keep("TCP beside UDP", seen)
    report.row("sipd, 100 clients, depth 4", "CPU per message: TCP / UDP", ratio(seen, "sipd tcp", "sipd udp"), 1.0)


def short(report):
    seen = rounds([floor(), *ours()], ["--connections", 50, "--short"])
    report.keep("short connections", seen)
    compare(report, "short connections", seen, {"threads": 1.6, "processes": 1.6}, what="CPU per connection")


def flush(report):
    room = ("conn_wq_max=1m", "wq_max=256m", "max_message_size=128k")
    kept = "bare loop that keeps a copy"
    members = [floor("--pour"), floor("--pour-kept", name=kept), *(pour(mode, *room) for mode in ("threads", "processes"))]
    slow = ["--connections", 1000, "--depth", 1, "--read-bytes", 8192, "--read-every-ms", 5]
    seen = rounds(members, slow, count=3, seconds=4)
    report.keep("async flush", seen)
    compare(report, "async flush, 1,000 slow readers", seen, {"threads": 1.3, "processes": 1.3}, what="CPU per 64 KB")
    compare(report, "async flush, 1,000 slow readers", seen, {kept: None}, what="CPU per 64 KB")
    compare(report, "async flush, 1,000 slow readers", seen, {"threads": None, "processes": None}, base=kept, what="CPU per 64 KB")


def idle(report):
    for mode in ("threads", "processes"):
        # Its own threads never wake up; `answer` looks at its children once a second.
        with pour(mode, "connection_lifetime=1h", "conn_wq_max=1m", "max_message_size=128k") as server:
            with Load(server, "--connections", 1, "--depth", 1) as warm:
                warm.ask(0.2)
            before = server.memory_bytes()
            with Load(server, "--connections", 15000, "--idle"):
                time.sleep(6)  # what was lent for on_open comes back
                bytes_each = (server.memory_bytes() - before) / 15000
                wake_ups = server.wake_ups()
                time.sleep(5)
                wake_ups = (server.wake_ups() - wake_ups) / 5
        report.row("15,000 silent connections", f"bytes of memory each, {mode}", bytes_each, 320)
        report.row("15,000 silent connections", f"wake-ups a second, {mode}", wake_ups, 0)


def micro(report):
    """The small operations: nanoseconds by criterion, instructions by callgrind."""
    home = TOP / "build" / "bench" / "criterion"
    environment = {**os.environ, "CRITERION_HOME": str(home)}
    subprocess.run([TOP / "build" / "bench" / "micro", "--bench"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    program, seen = counting.build(), {}
    for name in counting.names(program):
        estimates = json.loads((home / name / "new" / "estimates.json").read_text())
        seen[name] = {"ns": estimates["median"]["point_estimate"], "instructions": counting.count(program, name)}
        report.row("one operation", f"{name}: ns", seen[name]["ns"], None)
        report.row("one operation", f"{name}: instructions", seen[name]["instructions"], None)
    for unit in ("ns", "instructions"):
        ratio = seen["frame_a_request"][unit] / seen["memchr_of_a_request"][unit]
        report.row("framer, a request of 600 bytes", f"{unit} / memchr of its bytes", ratio, 4)
    report.keep("one operation", seen, rounds=False)


def counted_calls(load, seconds):
    """System calls by name for each answer, of all the server's processes together."""
    with tempfile.TemporaryDirectory() as folder:
        tracers = []
        for pid in load.server.pids():
            out = Path(folder) / str(pid)
            command = ["strace", "-f", "-c", "-U", "calls,name", "-o", out, "-p", str(pid)]
            tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
            tracer.stderr.readline()  # "attached"
            tracers.append((tracer, out))
        answers = json.loads(load.ask(seconds))["answers"]
        calls = {}
        for tracer, out in tracers:
            tracer.send_signal(signal.SIGINT)
            tracer.communicate()
            for count, name in re.findall(r"^ *(\d+) (\w+)$", out.read_text(), re.M):
                if name != "total":
                    calls[name] = calls.get(name, 0) + int(count) / answers
    return {name: round(calls[name], 2) for name in sorted(calls, key=calls.get, reverse=True) if calls[name] >= 0.01}


def calls(report):
    """Which system calls a message takes; a tracer slows them down, so that wake-ups meet and are fewer than else."""
    if not shutil.which("strace"):
        print("skipped: system calls: strace is not installed")
        return
    hold, none = ("connection_lifetime=1h",), ("connection_lifetime=1h", "worker_hold=0")
    cases = {
        "hot, depth 1": (hold, ["--connections", 100, "--depth", 1]),
        "pipelined, depth 8": (hold, ["--connections", 100, "--depth", 8]),
        "every message a hand-off": (none, ["--connections", 5000, "--rate", 3000]),
    }
    table = {}
    for case, (settings, arguments) in cases.items():
        for make in (floor, lambda s=settings: answer("threads", *s), lambda s=settings: answer("processes", *s)):
            with make() as server, Load(server, *arguments) as load:
                load.ask(4)
                seen = counted_calls(load, 2)
                table[f"{case}, {server.name}"] = seen
                each = "  ".join(f"{name} {count}" for name, count in seen.items())
                print(f"{case + ', ' + server.name:<46} {each}", flush=True)
    report.keep("system calls", table, rounds=False)


def slab_bytes():
    text = Path("/proc/meminfo").read_text()
    return int(re.search(r"^Slab:\s+(\d+)", text, re.M)[1]) * 1024


def scale(report):
    """What a connection and a message cost when there are many."""
    table = {}
    for mode in ("threads", "processes"):
        for count in (100, 1000, 5000, 10000, 18000):
            slab = slab_bytes()
            with answer(mode, "connection_lifetime=1h", "max_connections=19000") as server:
                with Load(server, "--connections", count, "--rate", 1500) as load:
                    load.ask(2)
                    kernel = (slab_bytes() - slab) / count
                    before = server.cpu_by_name()
                    measured = measure(load, 5)
                    spent = {name: cpu - before.get(name, 0) for name, cpu in server.cpu_by_name().items()}
                memory = server.memory_bytes()
            share = spent.get("sipwire-super", 0) / sum(spent.values())
            table[f"{mode}, {count}"] = {**measured, "memory_bytes": memory, "kernel_bytes_each": kernel, "supervisors_share": share}
            at = f"{mode}, {count:,} connections"
            report.row("1,500 messages a second", f"CPU µs for each message: {at}", measured["cpu_us"], None)
            report.row("1,500 messages a second", f"supervisor's share of it: {at}", share, None)
        few, many = table[f"{mode}, 100"], table[f"{mode}, 18000"]
        report.row("memory", f"bytes for one connection more, {mode}", (many["memory_bytes"] - few["memory_bytes"]) / 17900, None)
        report.row("memory", f"kernel's bytes for it and its peer here, {mode}", many["kernel_bytes_each"], None)
    report.keep("scale", table, rounds=False)


CASES = {
    case.__name__: case
    for case in (hot, pipelined, handoff, default_hold, transports, idle_beside, idle, short, flush, micro, calls, scale)
}


def plots(report, folder):
    """CPU for each message of all opponents, a picture for each case."""
    try:
        import matplotlib
    except ImportError:
        print("skipped: the plots: python3-matplotlib is not installed")
        return
    matplotlib.use("svg")
    from matplotlib import pyplot

    for case, seen in report.raw.items():
        names = list(seen)
        figure, axes = pyplot.subplots(figsize=(7, 0.5 * len(names) + 1.2))
        values = [statistics.median(one["cpu_us"] for one in seen[name]) for name in names]
        spread = [[v - min(o["cpu_us"] for o in seen[n]) for v, n in zip(values, names)], [max(o["cpu_us"] for o in seen[n]) - v for v, n in zip(values, names)]]
        axes.barh(names, values, xerr=spread, color="#4477aa", ecolor="#222222")
        axes.invert_yaxis()
        axes.set_xlabel("CPU time for each message, µs")
        axes.set_title(case)
        figure.tight_layout()
        figure.savefig(folder / f"{case.replace(' ', '_').replace(',', '')}.svg", metadata={"Date": None})
        pyplot.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)} (default: all)")
    chosen = parser.parse_args().cases or list(CASES)
    if unknown := set(chosen) - set(CASES):
        parser.error(f"no such case: {', '.join(unknown)}; there are {', '.join(CASES)}")
    report = Report()
    for name in chosen:
        CASES[name](report)
    missed = sum(row["met"] is False for row in report.rows)
    print(f"{sum(row['met'] is True for row in report.rows)} targets met, {missed} missed")
    if set(chosen) == set(CASES):
        machine = {"cpus": os.cpu_count(), "kernel": os.uname().release, "compiler": subprocess.run(["rustc", "-V"], capture_output=True, text=True).stdout.strip()}
        results = {"machine": machine, "rows": report.rows, "tables": report.tables, "rounds": report.raw}
        (TOP / "benches" / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    folder = TOP / "benches" / "plots"
    folder.mkdir(exist_ok=True)
    plots(report, folder)


if __name__ == "__main__":
    sys.exit(main())
