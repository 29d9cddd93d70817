# SPDX-License-Identifier: MIT
"""machine -- what is asked of the kernel: footprints, zram swap, same-page merging.

Swap and merging are the whole machine's. They are switched on only here, hold only pages of the
processes that the bench pushes out or started with leave to merge, and close() undoes them.
"""

import ctypes
import glob
import os
import shutil
import subprocess
import time

LIBRARY_THREADS = ("zalloc-worker", "zalloc-fault")
LIBC = ctypes.CDLL(None, use_errno=True)
SYS_PROCESS_MADVISE, SYS_PIDFD_OPEN = 440, 434  # the same on every architecture
MADV_PAGEOUT = 21
PIECE = 64 << 20
PIECES = 256
PASSES = 4
SWAPOFF_SECONDS = 120
KSM = "/sys/kernel/mm/ksm/"
KSM_SETTINGS = {"sleep_millisecs": "10", "pages_to_scan": "5000"}
KSM_SCANS = 4
KSM_SECONDS = 45


class Refused(Exception):
    """The kernel, or our rights, do not allow it."""


def read(path):
    """A small file of /proc or /sys, as text."""
    with open(path, encoding="ascii", errors="replace") as f:
        return f.read()


def write(path, text):
    """The same, written."""
    try:
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error


def field(path, name):
    """Bytes of a line in KiB of /proc/PID/..."""
    for line in read(path).splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return 0


def footprint(pids):
    """PSS and page tables of the processes."""
    return sum(field(f"/proc/{p}/smaps_rollup", "Pss:") + field(f"/proc/{p}/status", "VmPTE:")
               for p in pids)


def stat_fields(pid):
    """/proc/PID/stat behind the name: field 3 of proc(5) is the first."""
    return read(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()


def cpu_seconds(pids):
    """Processor time of the processes so far, all threads."""
    ticks = sum(int(n) for p in pids for n in stat_fields(p)[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")


def library_threads(pid):
    """{name: (seconds of processor time, times it gave the processor up)} of zalloc's threads."""
    found = {}
    for task in glob.glob(f"/proc/{pid}/task/*"):
        try:
            name = read(task + "/comm").strip()
            if name not in LIBRARY_THREADS:
                continue
            spent = int(read(task + "/schedstat").split()[0]) / 1e9
            switches = next(int(line.split()[1]) for line in read(task + "/status").splitlines()
                            if line.startswith("voluntary_ctxt_switches:"))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
        before = found.get(name, (0, 0))
        found[name] = (before[0] + spent, before[1] + switches)
    return found


def counts_time():
    """Does the kernel tell threads' processor time in nanoseconds?"""
    return os.path.exists("/proc/self/schedstat")


def major_faults(pids):
    """Faults that had to fetch a page from swap or disk."""
    return sum(int(stat_fields(p)[9]) for p in pids)


def anonymous_areas(pid):
    """(address, length) of what is the process's alone."""
    for line in read(f"/proc/{pid}/maps").splitlines():
        words = line.split()
        if words[1][:2] == "rw" and words[1][3] == "p" and words[4] == "0":
            if len(words) > 5 and words[5].startswith("[v"):
                continue
            start, end = (int(x, 16) for x in words[0].split("-"))
            for at in range(start, end, PIECE):
                yield at, min(PIECE, end - at)


class IoVec(ctypes.Structure):
    """struct iovec."""

    _fields_ = [("base", ctypes.c_size_t), ("len", ctypes.c_size_t)]


def madvise(pidfd, areas):
    """process_madvise(MADV_PAGEOUT), on behind an area that is refused; seconds spent in it."""
    spent = 0
    while areas:
        part = areas[:PIECES]
        vec = (IoVec * len(part))(*part)
        before = time.thread_time()
        done = LIBC.syscall(SYS_PROCESS_MADVISE, pidfd, vec, ctypes.c_size_t(len(part)),
                            MADV_PAGEOUT, 0)
        spent += time.thread_time() - before
        if done < 0 and ctypes.get_errno() in (1, 38):  # EPERM, ENOSYS
            raise Refused("process_madvise: " + os.strerror(ctypes.get_errno()))
        passed = 0
        while passed < len(part) and done >= part[passed][1]:
            done -= part[passed][1]
            passed += 1
        areas = areas[max(passed, 1):]
    return spent


def push_out(pids):
    """Everything anonymous of the processes goes to swap; seconds of our time in the kernel for it.

    zram compresses in the context of whoever writes to it, which is this process in
    process_madvise. What compresses elsewhere, kswapd for one, is not in it.
    """
    spent = 0
    for pid in pids:
        pidfd = LIBC.syscall(SYS_PIDFD_OPEN, pid, 0)
        if pidfd < 0:
            raise Refused("pidfd_open: " + os.strerror(ctypes.get_errno()))
        try:
            for _ in range(PASSES):  # pages in a processor's batch are passed over at first
                spent += madvise(pidfd, list(anonymous_areas(pid)))
                if field(f"/proc/{pid}/smaps_rollup", "Anonymous:") < 1 << 20:
                    break
                time.sleep(0.1)
        finally:
            os.close(pidfd)
    return spent


class Zram:
    """A swap device of its own in compressed memory. *Born* in use, *dies* in close()."""

    def __init__(self, algorithm, size):
        if os.getuid() != 0:
            raise Refused("zram wants root")
        if "32767" in read("/proc/swaps").split():
            raise Refused("other swap has the highest priority")
        if not os.path.exists("/sys/class/zram-control/hot_add") and shutil.which("modprobe"):
            subprocess.run(["modprobe", "zram", "num_devices=0"], capture_output=True, check=False)
        try:
            self.number = int(read("/sys/class/zram-control/hot_add"))
        except OSError as error:
            raise Refused("this kernel has no zram") from error
        self.sys, self.device = f"/sys/block/zram{self.number}", f"/dev/zram{self.number}"
        self.swapping = self.made_node = False
        try:
            write(f"{self.sys}/comp_algorithm", algorithm)
            write(f"{self.sys}/disksize", str(size))
            self.begin()
        except (Refused, OSError):
            self.close()
            raise

    def begin(self):
        """Swap to it, before any other device."""
        if not os.path.exists(self.device):
            major, minor = read(f"{self.sys}/dev").split(":")
            os.mknod(self.device, 0o60600, os.makedev(int(major), int(minor)))
            self.made_node = True
        for command in (["mkswap", self.device], ["swapon", "-p", "32767", self.device]):
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False)
            except OSError as error:
                raise Refused(f"{command[0]}: {error.strerror}") from error
            if done.returncode:
                raise Refused(f"{command[0]}: {done.stderr.strip()}")
        self.swapping = True

    def used(self):
        """(bytes of memory it takes, bytes it holds)."""
        words = read(f"{self.sys}/mm_stat").split()
        return int(words[2]), int(words[0])

    def close(self):
        """Bring everything back and remove the device."""
        end = time.monotonic() + SWAPOFF_SECONDS
        while self.swapping:  # it wants memory for the whole device, which may not be promised now
            done = subprocess.run(["swapoff", self.device], capture_output=True, text=True,
                                  check=False)
            self.swapping = done.returncode != 0
            if self.swapping and time.monotonic() > end:
                raise Refused(f"{done.stderr.strip()}; when there is memory: swapoff {self.device}")
            time.sleep(0.5 if self.swapping else 0)
        write(f"{self.sys}/reset", "1")
        write("/sys/class/zram-control/hot_remove", str(self.number))
        if self.made_node and os.path.exists(self.device):
            os.unlink(self.device)


def merged(pids):
    """Pages of the processes that the kernel has merged with others."""
    pages = 0
    for pid in pids:
        for line in read(f"/proc/{pid}/ksm_stat").splitlines():
            if line.startswith("ksm_merging_pages"):
                pages += int(line.split()[1])
    return pages


def merging():
    """Does the kernel merge pages now, whoever asked it to?"""
    return os.path.exists(KSM + "run") and read(KSM + "run").strip() == "1"


class Merging:
    """Same-page merging at full speed. *Born* running, *dies* in close()."""

    def __init__(self):
        if os.getuid() != 0 or not os.path.exists(KSM + "run"):
            raise Refused("same-page merging wants root and a kernel with it")
        if read(KSM + "run").strip() != "0":
            raise Refused("same-page merging is in use on this machine")
        self.before = {name: read(KSM + name).strip() for name in KSM_SETTINGS}
        for name, value in KSM_SETTINGS.items():
            write(KSM + name, value)
        write(KSM + "run", "1")
        self.scans = 0
        self.thread = next((p for p in os.listdir("/proc") if p.isdigit()
                            and read(f"/proc/{p}/comm").strip() == "ksmd"), None)
        self.cpu_before = self.cpu()

    def cpu(self):
        """Processor time of the kernel's thread."""
        return cpu_seconds([self.thread]) if self.thread else 0

    def settle(self):
        """Wait until all has been seen several times; returns the processor time spent."""
        end = time.monotonic() + KSM_SECONDS
        self.scans = int(read(KSM + "full_scans"))
        while time.monotonic() < end and int(read(KSM + "full_scans")) < self.scans + KSM_SCANS:
            time.sleep(0.5)
        return self.cpu() - self.cpu_before

    def close(self):
        """Take all merged pages apart, and put the settings back."""
        write(KSM + "run", "2")
        write(KSM + "run", "0")
        for name, value in self.before.items():
            write(KSM + name, value)
