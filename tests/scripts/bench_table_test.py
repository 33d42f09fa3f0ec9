#!/usr/bin/env python3
"""Checks how bench/run.py turns measurements into its table, with stand-ins for the programs that measure.

Usage: bench_table_test.py SOURCE_DIR
"""

import contextlib
import io
import json
import sys
import tempfile
import unittest
import unittest.mock
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(sys.argv.pop(1)) / "bench"))
import run  # noqa: E402 (the folder is known only now)


class BenchTable(unittest.TestCase):
    """The runner in a folder with programs that print what a case wants."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.program("limits", """echo '{"value": 0.5}'""")
        self.program("troupe_bench", """echo '{"value": 2}'""")
        self.program("peer", """echo '{"value": 400}'""")

    def program(self, name, script):
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def run_rows(self, *names, rounds=1):
        """The printed table, the JSON rows by name, and the exit status."""
        peers = {"multiprocessing": ([str(self.folder / "peer")], None)}
        arguments = ["run.py", "--build", str(self.folder), "--json", str(self.folder / "out.json"),
                     "--rounds", str(rounds)] + [word for name in names for word in ("--row", name)]
        printed = io.StringIO()
        with contextlib.ExitStack() as patches:
            patches.enter_context(unittest.mock.patch.object(run, "open_peers", lambda _: (peers, [])))
            patches.enter_context(unittest.mock.patch.object(sys, "argv", arguments))
            patches.enter_context(contextlib.redirect_stdout(printed))
            status = run.main()
        rows = json.loads((self.folder / "out.json").read_text())
        return printed.getvalue(), {row["name"]: row for row in rows}, status

    def test_all_rows_are_there_with_the_promised_keys(self):
        printed, rows, status = self.run_rows()
        self.assertEqual(status, 0)
        for name in ("pool_apply_hot", "pool_apply_parked", "pool_async", "pool_imap", "pool_map_ints",
                     "pool_arg_64mib", "process_start_join", "process_start_join_spawn", "pool_idle_cpu",
                     "worker_private_memory", "queued_task_memory", "pool_async_4_submitters",
                     "pool_async_16_workers", "pool_crash_to_error", "pool_crash_to_replacement"):
            self.assertIn(name, printed)
            self.assertLessEqual({"name", "unit", "troupe", "peer", "peer_name", "ratio", "limit", "goal", "met"},
                                 rows[name].keys())

    def test_the_ratio_says_how_many_times_better_whichever_way_is_better(self):
        _, rows, _ = self.run_rows("pool_apply_hot", "pool_imap")
        self.assertEqual(rows["pool_apply_hot"]["ratio"], 200)
        self.assertEqual(rows["pool_imap"]["ratio"], 2 / 400)

    def test_a_row_is_met_only_when_all_its_goals_are(self):
        for value, met in (("0.9", True), ("1.1", False)):
            self.program("troupe_bench", f"""echo '{{"value": {value}}}'""")
            self.assertEqual(self.run_rows("pool_apply_hot")[1]["pool_apply_hot"]["met"], met)
        self.program("troupe_bench", """echo '{"value": 0.9}'""")
        self.program("peer", """echo '{"value": 80}'""")
        self.assertFalse(self.run_rows("pool_apply_hot")[1]["pool_apply_hot"]["met"])

    def test_a_goal_against_the_limit(self):
        self.program("troupe_bench", """echo '{"value": 0.75}'""")
        self.assertTrue(self.run_rows("pool_apply_parked")[1]["pool_apply_parked"]["met"])
        self.program("troupe_bench", """echo '{"value": 0.76}'""")
        self.assertFalse(self.run_rows("pool_apply_parked")[1]["pool_apply_parked"]["met"])

    def test_a_row_that_is_compared_with_another_runs_that_one_too(self):
        self.program("troupe_bench", """[ $1 = pool_async ] && echo '{"value": 100}' || echo '{"value": 50}'""")
        _, rows, _ = self.run_rows("pool_async_16_workers", "pool_async_4_submitters")
        self.assertIn("pool_async", rows)
        self.assertTrue(rows["pool_async_16_workers"]["met"])
        self.assertFalse(rows["pool_async_4_submitters"]["met"])

    def test_a_row_that_measured_both_in_turn_is_compared_with_that(self):
        self.program("troupe_bench", """[ $1 = pool_async ] && echo '{"value": 100}' || \\
                                     echo '{"value": 50, "other": 49}'""")
        printed, rows, _ = self.run_rows("pool_async_4_submitters")
        self.assertTrue(rows["pool_async_4_submitters"]["met"])
        self.assertRegex(printed, r"pool_async_4_submitters .* >= 100% of pool_async \(49\) +yes\n")
        self.program("troupe_bench", """[ $1 = pool_async ] && echo '{"value": 40}' || \\
                                     echo '{"value": 50, "other": 51}'""")
        self.assertFalse(self.run_rows("pool_async_4_submitters")[1]["pool_async_4_submitters"]["met"])

    def test_rounds_give_the_median(self):
        self.program("troupe_bench", 'echo x >>"$0.calls"; case $(wc -l <"$0.calls") in 1) v=5;; 2) v=9;; *) v=6;; esac\n'
                     """echo "{\\"value\\": $v}" """)
        self.assertEqual(self.run_rows("pool_apply_hot", rounds=3)[1]["pool_apply_hot"]["troupe"], 6)

    def test_a_peer_that_cannot_do_the_row_leaves_its_cells_empty(self):
        self.program("peer", "echo '{}'")
        printed, rows, status = self.run_rows("worker_private_memory")
        self.assertEqual(status, 0)
        self.assertIsNone(rows["worker_private_memory"]["peer"])
        self.assertTrue(rows["worker_private_memory"]["met"])
        self.assertRegex(printed, r"worker_private_memory +MiB +2 +- +- ")

    def test_a_row_that_fails_is_shown_and_not_met(self):
        self.program("troupe_bench", "echo first >&2; echo 'no room left' >&2; exit 3")
        printed, rows, status = self.run_rows("pool_apply_hot")
        self.assertEqual(status, 1)
        self.assertRegex(printed, r"pool_apply_hot +us +failed .* NO\n")
        self.assertIn("failed: pool_apply_hot with troupe: exit status 3: no room left", printed)
        self.assertIsNone(rows["pool_apply_hot"]["troupe"])
        self.assertFalse(rows["pool_apply_hot"]["met"])

    def test_a_program_that_is_missing_or_prints_nonsense_is_a_failure(self):
        self.program("troupe_bench", "echo 42 apples")
        self.assertIn("printed no figure but: 42 apples", self.run_rows("pool_async")[0])
        (self.folder / "troupe_bench").unlink()
        printed, _, status = self.run_rows("pool_async")
        self.assertIn("No such file", printed)
        self.assertEqual(status, 1)

    def test_a_program_that_hangs_is_killed(self):
        self.program("troupe_bench", "exec sleep 600")
        with unittest.mock.patch.object(run, "RUN_TIMEOUT_SECONDS", 0.2):
            printed, rows, _ = self.run_rows("pool_async", rounds=3)
        self.assertIn("no figure after 0.2 s", printed)
        self.assertFalse(rows["pool_async"]["met"])


if __name__ == "__main__":
    unittest.main()
