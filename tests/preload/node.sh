#!/bin/bash
# SPDX-License-Identifier: MIT
# node -- objects, JSON, buffers (which live in malloc), zlib, worker threads.
. "$(dirname "$0")/lib.sh"
need node

scenario() {
    node "$HERE/node_work.js"
}

compare "$@"
