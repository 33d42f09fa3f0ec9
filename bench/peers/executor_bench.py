#!/usr/bin/env python3
"""Runs one named row with the ProcessPoolExecutor of a module and prints its figure.

Usage: executor_bench.py MODULE ROW, where MODULE is concurrent.futures, loky or joblib.externals.loky.

Only what happens after a crash: multiprocessing.Pool, the reference peer, has no figure there, because a task whose
worker is killed never ends. An executor notices the death, but is broken as a whole and has to be made anew.
"""

import importlib
import json
import os
import signal
import statistics
import struct
import sys
import tempfile
import time
from concurrent.futures.process import BrokenProcessPool

NUM_CRASHES = 15


def square(x):
    return x * x


def crash(path):
    """Leaves the time in a file, by the monotonic clock that all processes share."""
    with open(path, "wb", buffering=0) as file:
        file.write(struct.pack("d", time.monotonic()))
        os.kill(os.getpid(), signal.SIGKILL)


def expect_crash(executor, path):
    try:
        executor.submit(crash, path).result()
    except BrokenProcessPool:
        return
    raise AssertionError("a crash without an error")


def expect_works(executor):
    assert executor.submit(square, 3).result() == 9


def milliseconds_since_crash(path):
    now = time.monotonic()
    with open(path, "rb") as file:
        return (now - struct.unpack("d", file.read())[0]) * 1e3


def crash_to_error(new_executor, path):
    with new_executor(2) as executor:
        expect_works(executor)
        expect_crash(executor, path)
        return milliseconds_since_crash(path)


def crash_to_replacement(new_executor, path):
    with new_executor(1) as executor:
        expect_works(executor)
        expect_crash(executor, path)
        with new_executor(1) as replacement:
            expect_works(replacement)
            return milliseconds_since_crash(path)


ROWS = {"pool_crash_to_error": crash_to_error, "pool_crash_to_replacement": crash_to_replacement}


def main():
    module, row = sys.argv[1:]
    measure = ROWS.get(row)
    if measure is None:
        print("{}")
        return
    new_executor = importlib.import_module(module).ProcessPoolExecutor
    with tempfile.NamedTemporaryFile() as file:
        value = statistics.median(measure(new_executor, file.name) for _ in range(NUM_CRASHES))
    print(json.dumps({"name": row, "unit": "ms", "value": value}))


if __name__ == "__main__":
    main()
