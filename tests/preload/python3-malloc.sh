#!/bin/bash
# SPDX-License-Identifier: MIT
# python3-malloc -- the same data as python3, with every object from malloc.
. "$(dirname "$0")/lib.sh"
need "$PYTHON"

scenario() {
    PYTHONMALLOC=malloc "$PYTHON" "$HERE/python_data.py" "$SCALE"
}

compare "$@"
