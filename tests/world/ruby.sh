#!/bin/bash
# SPDX-License-Identifier: MIT
# ruby -- objects by the hundred thousand under its collector, strings, threads, forks, marshalling.
. "$(dirname "$0")/lib.sh"
need ruby
version "$(ruby --version)"

step_objects() {
    under ruby "$HERE/ruby_work.rb" objects "$SCALE"
}

step_threads() {
    under ruby "$HERE/ruby_work.rb" threads "$SCALE"
}

step_forks() {
    under ruby "$HERE/ruby_work.rb" forks "$SCALE"
}

step_stress() {
    under ruby "$HERE/ruby_work.rb" stress "$SCALE"
}

# The just-in-time compiler runs a C compiler or its own code beside the program.
step_compiled() {
    under ruby --jit "$HERE/ruby_work.rb" objects "$SCALE"
}

steps forks threads objects stress compiled
