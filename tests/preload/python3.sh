#!/bin/bash
# SPDX-License-Identifier: MIT
# python3 -- builds, sorts, pickles and JSON-round-trips data on CPython's own allocator.
. "$(dirname "$0")/lib.sh"
need "$PYTHON"

scenario() {
    "$PYTHON" "$HERE/python_data.py" "$SCALE"
}

compare "$@"
