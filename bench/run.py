#!/usr/bin/env python3
"""Runs troupe and its peers in turn and prints one table.

Every figure is the median of some rounds; in a round each row runs the machine's limit, troupe and the peers one after
the other, so that all of them meet the same machine. A program is called with the name of one row and prints
{"name", "unit", "value"}; an empty object means that it cannot do this row. "other" is the figure of the row that this
one is compared with, when the program measured both in turn.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

BENCH_DIR = Path(__file__).resolve().parent
RUN_TIMEOUT_SECONDS = 120
# Peers with a ProcessPoolExecutor, and the modules that may hold it: Debian has loky inside of python3-joblib.
EXECUTORS = {"concurrent.futures": ("concurrent.futures",), "loky": ("loky", "joblib.externals.loky")}
REFERENCE_PEER = "multiprocessing"


@dataclass(frozen=True)
class Row:
    """One line of the table. Of the goals those that are given must all be reached."""

    name: str
    unit: str
    value: float = None  # at most, or at least when `higher` is better
    higher: bool = False
    peer_factor: float = None  # so many times better than the reference peer
    peer_text: str = REFERENCE_PEER  # what of the reference peer does this row
    limit: str = None  # the row of the limits program that is shown beside this one
    limit_factor: float = None  # at most so many times the limit
    other_row: str = None  # the row that this one is compared with
    other_share: float = None  # at least this share of the other row

    def ratio(self, troupe, peer):
        """How many times better troupe is than the peer; None where that cannot be said."""
        if troupe is None or peer is None:
            return None
        better, worse = (troupe, peer) if self.higher else (peer, troupe)
        return better / worse if worse > 0 else None

    def goal_text(self, other):
        sign = ">=" if self.higher else "<="
        parts = []
        if self.value is not None:
            parts.append(f"{sign} {short(self.value)} {self.unit}")
        if self.peer_factor is not None:
            parts.append(f">= {short(self.peer_factor)}x {self.peer_text}")
        if self.limit_factor is not None:
            parts.append(f"<= {short(self.limit_factor)}x the limit")
        if self.other_row is not None:
            measured = f" ({short(other)})" if other else ""
            parts.append(f">= {self.other_share:.0%} of {self.other_row}{measured}")
        return " and ".join(parts)

    def is_met(self, figures):
        """Whether all goals are reached; a figure that is missing reaches none."""
        troupe = figures.troupe
        if troupe is None:
            return False
        reached = []
        if self.value is not None:
            reached.append(troupe >= self.value if self.higher else troupe <= self.value)
        if self.peer_factor is not None:
            ratio = self.ratio(troupe, figures.peers.get(REFERENCE_PEER))
            reached.append(ratio is not None and ratio >= self.peer_factor)
        if self.limit_factor is not None:
            reached.append(figures.limit is not None and troupe <= self.limit_factor * figures.limit)
        if self.other_row is not None:
            reached.append(figures.other is not None and troupe >= self.other_share * figures.other)
        return all(reached)


@dataclass
class Figures:
    """What was measured for one row: medians, None where nothing could be measured."""

    troupe: float = None
    limit: float = None
    other: float = None  # of the row that this one is compared with
    peers: dict = field(default_factory=dict)


ROWS = [
    Row("pool_apply_hot", "us", value=1.0, peer_factor=100, limit="spin_round_trip"),
    Row("pool_apply_parked", "us", limit="futex_round_trip", limit_factor=1.5),
    Row("pool_async", "tasks/s", value=1e6, higher=True, peer_factor=20),
    Row("pool_async_4_submitters", "tasks/s", higher=True, other_row="pool_async", other_share=1.0),
    Row("pool_async_16_workers", "tasks/s", higher=True, other_row="pool_async", other_share=0.5),
    Row("pool_imap", "items/s", value=1e6, higher=True),
    Row("pool_map_ints", "items/s", value=100e6, higher=True),
    Row("pool_arg_64mib", "GB/s", value=5, higher=True, limit="memcpy"),
    # 64 MiB in shared memory, of which only the handle travels; a SharedMemory object there.
    Row("shared_array_arg", "calls/s", higher=True, peer_factor=20, other_row="shared_array_arg_1kib", other_share=0.8),
    Row("shared_array_arg_1kib", "calls/s", higher=True),
    # No figure of multiprocessing: a task whose worker is killed never ends there, and its caller waits for ever.
    Row("pool_crash_to_error", "ms", value=5),
    Row("pool_crash_to_replacement", "ms", value=20),
    Row("thread_pool_apply_hot", "us", peer_factor=10, peer_text="multiprocessing.dummy", limit="spin_round_trip"),
    Row("pipe_rtt", "us", value=1.0, peer_factor=20, limit="spin_round_trip"),
    Row("process_start_join", "ms", value=1.0, peer_factor=4, limit="fork_exit_wait"),
    Row("process_start_join_spawn", "ms", peer_factor=4, limit="fork_exec_wait"),
    Row("lock_uncontended", "ns", value=25),
    Row("lock_contended", "pairs/s", higher=True, peer_factor=5),
    Row("semaphore_uncontended", "ns", peer_factor=2),
    Row("semaphore_wake", "us", limit="futex_round_trip", limit_factor=1.3),
    Row("event_wake", "us", limit="futex_round_trip", limit_factor=1.3),
    Row("barrier_2", "us", peer_factor=2),
    Row("queue_rtt", "us", value=2.0, limit="spin_round_trip"),
    Row("queue_throughput", "items/s", value=2e6, higher=True),
    Row("queue_throughput_4x4", "items/s", value=1e6, higher=True),
    Row("queue_1mib", "GB/s", value=4, higher=True, limit="memcpy"),
    Row("pool_idle_cpu", "% of a core", value=0.1),
    Row("reader_idle_cpu", "% of a core", value=0.1),
    Row("worker_private_memory", "MiB", value=8),
    Row("queued_task_memory", "B/task", value=300),
]


class RunFailed(Exception):
    """A program did not give a figure; the text says why in one line."""


def run_once(command, row, env=None):
    """What `command` prints for `row`: its figure and that of the row it is compared with, None where there is none."""
    process = subprocess.Popen([*command, row], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, env=env, start_new_session=True)
    try:
        out, err = process.communicate(timeout=RUN_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise RunFailed(f"no figure after {RUN_TIMEOUT_SECONDS} s") from None
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    if process.returncode != 0:
        last_line = (err.strip() or out.strip() or "no output").splitlines()[-1]
        raise RunFailed(f"exit status {process.returncode}: {last_line}")
    try:
        printed = json.loads(out)
        return [None if printed.get(key) is None else float(printed[key]) for key in ("value", "other")]
    except (ValueError, AttributeError):
        raise RunFailed(f"printed no figure but: {out.strip()[:100]}") from None


class Erlang:
    """Erlang as a peer: compiled to a folder of its own, with a port mapper that ends with it."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="troupe-bench-")
        self.port_mapper = None
        try:
            subprocess.run(["erlc", "-o", self.folder.name, str(BENCH_DIR / "peers" / "erlang_bench.erl")], check=True,
                           stdin=subprocess.DEVNULL)
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = str(free.getsockname()[1])
            self.env = {**os.environ, "ERL_EPMD_PORT": port, "HOME": self.folder.name}
            self.port_mapper = subprocess.Popen([epmd_path(), "-address", "127.0.0.1", "-port", port],
                                                stdin=subprocess.DEVNULL)
        except BaseException:
            self.close()
            raise
        self.command = ["erl", "-noshell", "-start_epmd", "false", "-connect_all", "false", "-sname",
                        f"bench{os.getpid()}@localhost", "-pa", self.folder.name, "-s", "erlang_bench", "main",
                        "-extra"]

    def close(self):
        if self.port_mapper:
            self.port_mapper.terminate()
            self.port_mapper.wait()
        self.folder.cleanup()


def epmd_path():
    """Erlang's port mapper; some systems keep it beside the virtual machine only."""
    beside = Path(shutil.which("erl")).resolve().parent / "epmd"
    return shutil.which("epmd") or str(beside)


def open_peers(without_erlang):
    """The peers that this machine has: name -> (command, environment), and what is to be closed in the end."""
    python = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable
    peers = {REFERENCE_PEER: ([python, str(BENCH_DIR / "peers" / "multiprocessing_bench.py")], None)}
    executor_bench = [python, str(BENCH_DIR / "peers" / "executor_bench.py")]
    for peer, modules in EXECUTORS.items():
        for module in modules:
            if subprocess.run([python, "-c", f"import {module}"], stdin=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode == 0:
                peers[peer] = ([*executor_bench, module], None)
                break
    if without_erlang or not (shutil.which("erl") and shutil.which("erlc")):
        return peers, []
    try:
        erlang = Erlang()
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"Erlang is left out: {error}", file=sys.stderr)
        return peers, []
    peers["erlang"] = (erlang.command, erlang.env)
    return peers, [erlang]


class Samples:
    """All measured values, by row and program, and the first failure of each."""

    def __init__(self):
        self.values = {}
        self.failures = {}

    def take(self, row, program, command, env=None, argument=None):
        key = (row, program)
        if key in self.failures:
            return
        try:
            value, other = run_once(command, argument or row, env)
        except (RunFailed, OSError) as error:
            self.failures[key] = str(error)
            return
        if value is not None:
            self.values.setdefault(key, []).append(value)
        if other is not None:
            self.values.setdefault((row, "other"), []).append(other)

    def median(self, row, program):
        """None if there is no value, and after a failure: half a figure is none."""
        if (row, program) in self.failures or (row, program) not in self.values:
            return None
        return statistics.median(self.values[row, program])


def measure(rows, rounds, build, peers):
    """Runs everything and gives the samples."""
    samples = Samples()
    load = os.getloadavg()[0]
    print(f"{len(os.sched_getaffinity(0))} processors, load average {load:.1f} before the run, rounds: {rounds}\n",
          flush=True)
    for number in range(1, rounds + 1):
        for row in rows:
            progress(f"round {number} of {rounds}: {row.name}")
            if row.limit:
                samples.take(row.name, "limit", [str(build / "limits")], argument=row.limit)
            samples.take(row.name, "troupe", [str(build / "troupe_bench")])
            for name, (command, env) in peers.items():
                samples.take(row.name, name, command, env)
    progress("")
    return samples


def progress(text):
    """One line that is written over on a terminal, nothing elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def collect(rows, samples, peers):
    """Figures by row name."""
    figures = {}
    for row in rows:
        figures[row.name] = Figures(
            troupe=samples.median(row.name, "troupe"),
            limit=samples.median(row.name, "limit"),
            peers={name: samples.median(row.name, name) for name in peers})
    for row in rows:
        if row.other_row:
            figures[row.name].other = samples.median(row.name, "other") or figures[row.other_row].troupe
    return figures


def short(value):
    """A number as people read it: three digits, M and k for large ones."""
    if value is None:
        return "-"
    for factor, suffix in ((1e6, " M"), (1e4, " k")):
        if abs(value) >= factor:
            return f"{value / (1e6 if suffix == ' M' else 1e3):.3g}{suffix}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def table(rows, figures, samples):
    """The lines of the table, and below it what failed."""
    lines = [["row", "unit", "troupe", "peer", "", "ratio", "limit", "goal", "met"]]
    for row in rows:
        measured = figures[row.name]
        met = "yes" if row.is_met(measured) else "NO"
        troupe = "failed" if (row.name, "troupe") in samples.failures else short(measured.troupe)
        head, tail = [row.name, row.unit, troupe], [short(measured.limit), row.goal_text(measured.other), met]
        for name, peer in measured.peers.items():
            if name != REFERENCE_PEER and peer is None:
                continue
            ratio = row.ratio(measured.troupe, peer)
            lines.append([*head, short(peer), name if peer is not None else "", "-" if ratio is None else
                          f"{short(ratio)}x", *tail])
            head, tail = ["", "", ""], ["", "", ""]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    right = {2, 3, 5, 6}
    text = ["  ".join(cell.rjust(width) if column in right else cell.ljust(width)
                      for column, (cell, width) in enumerate(zip(line, widths))).rstrip() for line in lines]
    text.insert(1, "-" * len(max(text, key=len)))
    text += [f"failed: {row} with {program}: {why}" for (row, program), why in samples.failures.items()]
    return text


def as_json(rows, figures):
    """The table for programs. Peers beside the reference peer stand under "other_peers"."""
    result = []
    for row in rows:
        measured = figures[row.name]
        peer = measured.peers.get(REFERENCE_PEER)
        result.append({
            "name": row.name, "unit": row.unit, "troupe": measured.troupe, "peer": peer,
            "peer_name": REFERENCE_PEER if peer is not None else None, "ratio": row.ratio(measured.troupe, peer),
            "limit": measured.limit, "goal": row.goal_text(measured.other), "met": row.is_met(measured),
            "other_peers": [{"peer": value, "peer_name": name, "ratio": row.ratio(measured.troupe, value)}
                            for name, value in measured.peers.items()
                            if name != REFERENCE_PEER and value is not None]})
    return result


def chosen_rows(names):
    """The rows with these names (all if there are none) in the table's order, with the rows they are compared with."""
    if not names:
        return ROWS
    by_name = {row.name: row for row in ROWS}
    needed = set(names) | {by_name[name].other_row for name in names}
    return [row for row in ROWS if row.name in needed]


def main():
    parser = argparse.ArgumentParser(description="Runs troupe and its peers in turn and prints one table.")
    parser.add_argument("--build", type=Path, required=True, help="folder of troupe_bench and limits")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows to FILE as well")
    parser.add_argument("--rounds", type=int, default=3, help="how often each row runs (default: 3)")
    parser.add_argument("--row", action="append", choices=[row.name for row in ROWS], metavar="NAME",
                        help="run this row only; may be given several times")
    parser.add_argument("--without-erlang", action="store_true", help="leave Erlang out even if it is installed")
    options = parser.parse_args()

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    rows = chosen_rows(options.row)
    peers, open_things = open_peers(options.without_erlang)
    try:
        samples = measure(rows, max(1, options.rounds), options.build, peers)
    finally:
        for thing in open_things:
            thing.close()
    figures = collect(rows, samples, peers)
    print("\n".join(table(rows, figures, samples)))
    if options.json:
        options.json.write_text(json.dumps(as_json(rows, figures), indent=2) + "\n")
    return 1 if any(program == "troupe" for _, program in samples.failures) else 0


if __name__ == "__main__":
    sys.exit(main())
