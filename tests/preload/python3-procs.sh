#!/bin/bash
# SPDX-License-Identifier: MIT
# python3-procs -- threads, subprocesses, forked workers and pools, on both allocators.
. "$(dirname "$0")/lib.sh"
need "$PYTHON"

scenario() {
    "$PYTHON" "$HERE/python_procs.py" "$SCALE"
    PYTHONMALLOC=malloc "$PYTHON" "$HERE/python_procs.py" "$SCALE"
}

compare "$@"
