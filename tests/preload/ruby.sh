#!/bin/bash
# SPDX-License-Identifier: MIT
# ruby -- objects under its collector, threads and fibers, forked children, marshalling.
. "$(dirname "$0")/lib.sh"
need ruby

scenario() {
    ruby "$HERE/../world/ruby_work.rb" objects "$SCALE"
    ruby "$HERE/../world/ruby_work.rb" threads "$SCALE"
    ruby "$HERE/../world/ruby_work.rb" forks "$SCALE"
}

compare "$@"
