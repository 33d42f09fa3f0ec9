#!/usr/bin/env python3
"""Runs one named row with Python's multiprocessing and prints its figure. Usage: multiprocessing_bench.py ROW"""

import json
import multiprocessing as mp
import multiprocessing.dummy
import os
import statistics
import sys
import threading
import time
from multiprocessing import shared_memory

NUM_WORKERS = 2


def square(x):
    return x * x


def nothing():
    pass


def pid_after_a_while(seconds):
    time.sleep(seconds)
    return os.getpid()


def seconds_of(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def rate(num_items, work, batches=5):
    """Items per second: the median of some batches after one to warm up."""
    work()
    return num_items / statistics.median(seconds_of(work) for _ in range(batches))


def async_batch(pool, num_tasks):
    results = [pool.apply_async(square, (i,)) for i in range(num_tasks)]
    for result in results:
        result.get()


def pool_apply_hot():
    with mp.Pool(NUM_WORKERS) as pool:
        def batch():
            for i in range(500):
                pool.apply(square, (i,))
        return 1e6 / rate(500, batch), "us"


def thread_pool_apply_hot():
    with multiprocessing.dummy.Pool(NUM_WORKERS) as pool:
        def batch():
            for i in range(500):
                pool.apply(square, (i,))
        return 1e6 / rate(500, batch), "us"


def pool_apply_parked():
    with mp.Pool(NUM_WORKERS) as pool:
        times = []
        for i in range(200):
            time.sleep(0.002)
            times.append(seconds_of(lambda: pool.apply(square, (i,))))
        return statistics.median(times) * 1e6, "us"


def pool_async():
    with mp.Pool(NUM_WORKERS) as pool:
        return rate(8000, lambda: async_batch(pool, 8000)), "tasks/s"


def pool_async_4_submitters():
    with mp.Pool(NUM_WORKERS) as pool:
        def batch():
            threads = [threading.Thread(target=async_batch, args=(pool, 2000)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        return rate(8000, batch), "tasks/s"


def pool_async_16_workers():
    with mp.Pool(16) as pool:
        return rate(8000, lambda: async_batch(pool, 8000)), "tasks/s"


def pool_imap():
    with mp.Pool(NUM_WORKERS) as pool:
        def batch():
            for _ in pool.imap(square, range(10000)):
                pass
        return rate(10000, batch), "items/s"


def pool_map_ints():
    items = [i % 1000 for i in range(1000000)]
    with mp.Pool(NUM_WORKERS) as pool:
        return rate(len(items), lambda: pool.map(square, items), batches=3), "items/s"


def pool_arg_64mib():
    data = os.urandom(64 << 20)
    with mp.Pool(NUM_WORKERS) as pool:
        return rate(len(data), lambda: pool.apply(len, (data,))) / 1e9, "GB/s"


def echo(connection):
    x = connection.recv()
    while x >= 0:
        connection.send(x)
        x = connection.recv()


def pipe_rtt():
    mine, theirs = mp.Pipe()
    process = mp.Process(target=echo, args=(theirs,))
    process.start()

    def batch():
        for i in range(2000):
            mine.send(i)
            mine.recv()
    value = 1e6 / rate(2000, batch)
    mine.send(-1)
    process.join()
    return value, "us"


def add_to_first(memory):
    memory.buf[0] = (memory.buf[0] + 1) % 256
    size = memory.size
    memory.close()
    return size


def shared_memory_rate(size):
    memory = shared_memory.SharedMemory(create=True, size=size)
    try:
        with mp.Pool(NUM_WORKERS) as pool:
            def batch():
                for _ in range(500):
                    pool.apply(add_to_first, (memory,))
            return rate(500, batch), "calls/s"
    finally:
        memory.close()
        memory.unlink()


def shared_array_arg():
    return shared_memory_rate(64 << 20)


def shared_array_arg_1kib():
    return shared_memory_rate(1 << 10)


def start_join(method, count):
    context = mp.get_context(method)

    def once():
        process = context.Process(target=nothing)
        process.start()
        process.join()
    once()
    return statistics.median(seconds_of(once) for _ in range(count)) * 1e3, "ms"


def process_start_join():
    return start_join("fork", 500)


def process_start_join_spawn():
    return start_join("spawn", 10)


def pair_nanoseconds(lock):
    """Taking and giving back what nobody else wants."""
    def batch():
        for _ in range(100000):
            lock.acquire()
            lock.release()
    return 1e9 / rate(100000, batch), "ns"


def lock_uncontended():
    return pair_nanoseconds(mp.Lock())


def semaphore_uncontended():
    return pair_nanoseconds(mp.Semaphore(1))


def count_up(lock, start, counter, times, count):
    place = start.wait()
    times[place] = time.perf_counter()
    for _ in range(count):
        lock.acquire()
        counter.value += 1
        lock.release()
    times[2 + place] = time.perf_counter()


def lock_contended():
    count = 200000
    lock, start, counter, times = mp.Lock(), mp.Barrier(2), mp.RawValue("l", 0), mp.RawArray("d", 4)
    processes = [mp.Process(target=count_up, args=(lock, start, counter, times, count)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert counter.value == 2 * count
    return 2 * count / (max(times[2:]) - min(times[:2])), "pairs/s"


def ask_events(ping, pong, count):
    for _ in range(count):
        ping.set()
        pong.wait()
        pong.clear()


def answer_events(ping, pong, count):
    for _ in range(count):
        ping.wait()
        ping.clear()
        pong.set()


def ask_permits(ping, pong, count):
    for _ in range(count):
        ping.release()
        pong.acquire()


def answer_permits(ping, pong, count):
    for _ in range(count):
        ping.acquire()
        pong.release()


def wake(ping, pong, ask, answer):
    count = 500
    process = mp.Process(target=answer, args=(ping, pong, 6 * count))
    process.start()
    result = 1e6 / rate(count, lambda: ask(ping, pong, count))
    process.join()
    return result, "us"


def semaphore_wake():
    return wake(mp.Semaphore(0), mp.Semaphore(0), ask_permits, answer_permits)


def event_wake():
    return wake(mp.Event(), mp.Event(), ask_events, answer_events)


def meet(barrier, count):
    for _ in range(count):
        barrier.wait()


def barrier_2():
    barrier, count = mp.Barrier(2), 500
    process = mp.Process(target=meet, args=(barrier, 6 * count))
    process.start()
    result = 1e6 / rate(count, lambda: meet(barrier, count))
    process.join()
    return result, "us"


def give_back(there, back):
    for item in iter(there.get, None):
        back.put(item)


def queue_rtt():
    there, back, count = mp.Queue(), mp.Queue(), 1000
    process = mp.Process(target=give_back, args=(there, back))
    process.start()

    def batch():
        for i in range(count):
            there.put(i)
            assert back.get() == i
    result = 1e6 / rate(count, batch)
    there.put(None)
    process.join()
    return result, "us"


def put_many(queue, count):
    for i in range(count):
        queue.put(i)


def get_all(queue, counts):
    counts.put(sum(1 for _ in iter(queue.get, None)))


def queue_rate(num, count):
    def batch():
        queue, counts = mp.Queue(10000), mp.Queue()
        consumers = [mp.Process(target=get_all, args=(queue, counts)) for _ in range(num)]
        producers = [mp.Process(target=put_many, args=(queue, count)) for _ in range(num)]
        for process in consumers + producers:
            process.start()
        for process in producers:
            process.join()
        for _ in range(num):
            queue.put(None)
        assert sum(counts.get() for _ in range(num)) == num * count
        for process in consumers:
            process.join()
    return rate(num * count, batch), "items/s"


def queue_throughput():
    return queue_rate(1, 50000)


def queue_throughput_4x4():
    return queue_rate(4, 10000)


def take_items(queue, sizes, count):
    while True:
        items = 0
        for _ in range(count):
            item = queue.get()
            if not item:
                return
            items += len(item)
        sizes.put(items)


def queue_1mib():
    queue, sizes, count, item = mp.Queue(8), mp.Queue(), 100, b"x" * (1 << 20)
    process = mp.Process(target=take_items, args=(queue, sizes, count))
    process.start()

    def batch():
        for _ in range(count):
            queue.put(item)
        assert sizes.get() == count * len(item)
    result = rate(count, batch) * len(item) / 1e9
    queue.put(b"")
    process.join()
    return result, "GB/s"


def cpu_nanoseconds(pids):
    """Processor time of all threads of these processes."""
    total = 0
    for pid in pids:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/schedstat") as stat:
                total += int(stat.read().split()[0])
    return total


def idle_cpu_percent():
    time.sleep(0.5)
    children = [child.pid for child in mp.active_children()]
    idle_seconds = 3
    before = cpu_nanoseconds(children) + cpu_nanoseconds([os.getpid()])
    time.sleep(idle_seconds)
    used = cpu_nanoseconds([os.getpid()]) + cpu_nanoseconds(children) - before
    return used / (idle_seconds * 1e9) * 100


def pool_idle_cpu():
    with mp.Pool(8) as pool:
        pool.map(square, range(10000))
        return idle_cpu_percent(), "% of a core"


def reader_idle_cpu():
    (mine, theirs), queue, lock, event = mp.Pipe(), mp.Queue(), mp.Lock(), mp.Event()
    lock.acquire()
    readers = [mp.Process(target=target) for target in (theirs.recv, queue.get, lock.acquire, event.wait)]
    for reader in readers:
        reader.start()
    percent = idle_cpu_percent()
    mine.send(None)
    queue.put(None)
    lock.release()
    event.set()
    for reader in readers:
        reader.join()
    return percent, "% of a core"


def worker_private_memory():
    with mp.Pool(NUM_WORKERS) as pool:
        pool.map(square, range(10000))
        workers = set(pool.map(pid_after_a_while, [0.02] * 8, chunksize=1))
        kilobytes = []
        for pid in workers:
            with open(f"/proc/{pid}/smaps_rollup") as lines:
                kilobytes.append(sum(int(line.split()[1]) for line in lines if line.startswith("Private_")))
        return max(kilobytes) / 1024, "MiB"


def resident_bytes():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def queued_task_memory():
    num_tasks = 100000
    with mp.Pool(NUM_WORKERS) as pool:
        async_batch(pool, 1000)
        busy = [pool.apply_async(time.sleep, (600,)) for _ in range(NUM_WORKERS)]
        before = resident_bytes()
        results = [pool.apply_async(square, (i,)) for i in range(num_tasks)]
        growth = resident_bytes() - before
        assert not busy[0].ready() and not results[-1].ready()
        return growth / num_tasks, "B/task"


def main():
    row = sys.argv[1]
    measure = globals().get(row)
    if not (row.startswith(("pool_", "pipe_", "thread_", "process_", "worker_", "queued_", "lock_", "semaphore_",
                            "event_", "barrier_", "queue_", "shared_", "reader_")) and callable(measure)):
        print("{}")
        return
    value, unit = measure()
    print(json.dumps({"name": row, "unit": unit, "value": value}))


if __name__ == "__main__":
    main()
