#!/bin/bash
# SPDX-License-Identifier: MIT
# python3 -- CPython's own regression tests, every object from malloc; results test by test.
. "$(dirname "$0")/lib.sh"
need "$PYTHON"
"$PYTHON" -c 'import test.regrtest, test.test_threading' 2>/dev/null ||
    skip "Python's test suite is not installed (libpython3-testsuite)"
version "$("$PYTHON" --version)"

# The groups nearest to what an allocator may break, first what is most likely to break.
GROUPS_NEAR="threading thread threading_local multiprocessing_fork subprocess mmap io gc signal
    fork1 wait3 wait4 popen concurrent_futures asyncio socket multiprocessing_forkserver
    multiprocessing_spawn multiprocessing_main_handling json pickle posix os ctypes faulthandler
    resource tracemalloc pty select selectors poll epoll socketserver queue sched fileio bufio
    memoryio buffer memoryview array bytes bigmem zlib bz2 lzma gzip zipfile tarfile tempfile
    shelve dbm sqlite3 capi struct unicode re dict set list deque weakref weakset contextlib
    generators
    coroutines exceptions raise sys sysconfig posixpath shutil glob hashlib hmac ssl ftplib
    httplib httpservers xml_etree xml_etree_c minidom sax pyexpat decimal float long
    code marshal import importlib runpy cmd_line embed atexit support venv audit"
PYTHON_TESTS=${PYTHON_TESTS:-$GROUPS_NEAR}
# Packages leave out some of them.
PYTHON_TESTS=$("$PYTHON" -c 'import importlib.util as util, sys
print(*[n for n in sys.argv[1:] if util.find_spec("test.test_" + n)])' $PYTHON_TESTS)

# One file of tests; its single tests are the results. A machine may have vsock and nobody at its
# other end: then that test waits for ever, with or without us.
regrtest() {
    local status=0 xml=$SCRATCH/results.xml
    under env PYTHONMALLOC=malloc PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0 \
        "$PYTHON" -m test -u subprocess,cpu --junit-xml "$xml" -i '*VSOCK*' "test_$1" >&2 ||
        status=$?
    "$PYTHON" "$HERE/junit.py" "$1" "$xml" >>"$OUT/results"
    return "$status"
}

for name in $PYTHON_TESTS; do
    eval "step_$name() { regrtest $name; }"
done

steps $PYTHON_TESTS
