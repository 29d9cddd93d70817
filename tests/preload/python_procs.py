# SPDX-License-Identifier: MIT
"""python_procs -- threads, subprocesses, and forked processes that change inherited data."""

import concurrent.futures
import hashlib
import multiprocessing
import os
import queue
import subprocess
import sys
import threading
import time

SCALE = int(sys.argv[1])
DATA = {}


def digest(items):
    """A digest over a sequence of strings."""
    total = hashlib.sha256()
    for item in items:
        total.update(item.encode())
    return total.hexdigest()[:16]


def fill():
    """The data everybody inherits."""
    for i in range(30000 * SCALE):
        DATA[i] = f"entry {i} " + "abc"[i % 3] * (i % 200)


def threads():
    """Producers make strings, consumers free them."""
    handed, results, lock = queue.Queue(64), [], threading.Lock()

    def produce(number):
        for i in range(3000):
            handed.put(f"{number}:{i}:" + "x" * (i * 37 % 500))

    def consume():
        total = 0
        while (item := handed.get()) is not None:
            total += len(item)
        with lock:
            results.append(total)

    producers = [threading.Thread(target=produce, args=(n,)) for n in range(4)]
    consumers = [threading.Thread(target=consume) for _ in range(4)]
    for thread in producers + consumers:
        thread.start()
    for thread in producers:
        thread.join()
    for _ in consumers:
        handed.put(None)
    for thread in consumers:
        thread.join()
    print("threads", sum(results))


def forked(number, pipe):
    """In a child: read everything, change everything, read it again, report."""
    before = digest(DATA.values())
    for key in DATA:
        DATA[key] = DATA[key].upper() + str(number)
    pipe.send((number, before, digest(DATA.values())))
    pipe.close()


def processes():
    """Forked children beside a parent that changes its own copy meanwhile."""
    context = multiprocessing.get_context("fork")
    started = []
    for number in range(4):
        mine, theirs = context.Pipe()
        child = context.Process(target=forked, args=(number, theirs))
        child.start()
        theirs.close()
        started.append((child, mine))
        DATA[number] = f"changed by the parent after fork {number}"
    for child, pipe in started:
        print("child", *pipe.recv())
        child.join()
        print("exit", child.exitcode)


def square(number):
    """Work for the pool; uses inherited data."""
    return len(DATA[number]) + number * number


def pool():
    """A pool of forked workers, results over pipes."""
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as workers:
        print("pool", sum(workers.map(square, range(2000), chunksize=50)))
    with concurrent.futures.ThreadPoolExecutor(4) as executor:
        print("executor", sum(executor.map(square, range(2000))))


def subprocesses():
    """Input and output through pipes to other programs; a bare fork as well."""
    text = "\n".join(DATA[i] for i in range(5000))
    for command in (["sort"], ["cat"], ["tr", "a-z", "A-Z"]):
        done = subprocess.run(command, input=text.encode(), capture_output=True, check=True)
        print("subprocess", command[0], hashlib.sha256(done.stdout).hexdigest()[:16])
    pid = os.fork()
    if pid == 0:
        os._exit(len(digest(DATA.values())))
    print("fork", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


fill()
time.sleep(0.5)
threads()
processes()
time.sleep(0.5)
pool()
subprocesses()
print("end", digest(DATA.values()))
