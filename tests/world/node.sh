#!/bin/bash
# SPDX-License-Identifier: MIT
# node -- npm packing, installing, running and testing packages; a web server under load, a cluster
# of them; streams, workers, buffers.
. "$(dirname "$0")/lib.sh"
need node
version "node $(node --version)"

step_npm() {
    local n
    command -v npm >/dev/null || { echo "npm is not installed" >&2; exit 77; }
    export npm_config_cache=$SCRATCH/cache npm_config_update_notifier=false npm_config_audit=false \
        npm_config_fund=false npm_config_offline=true
    for n in 1 2 3; do
        mkdir -p "part$n/lib"
        echo "{\"name\": \"part$n\", \"version\": \"1.$n.0\", \"main\": \"lib/main.js\"}" \
            >"part$n/package.json"
        echo "module.exports = (x) => x * $n + 1;" >"part$n/lib/main.js"
        seq "$((n * 20000))" >"part$n/lib/data"
        (cd "part$n" && under npm pack --silent --pack-destination ..)
    done
    mkdir whole
    cd whole
    under npm init -y >&2
    under npm install --silent ../part1-1.1.0.tgz ../part2-1.2.0.tgz ../part3-1.3.0.tgz >&2
    under npm ls | sed 1d
    under npm pkg set scripts.start="node -p 'require(\"part3\")(require(\"part2\")(4))'"
    under npm run --silent start
    rm -rf node_modules
    under npm ci --silent >&2
    under npm ls --json | "$PYTHON" -c 'import json, sys
print(sorted(json.load(sys.stdin)["dependencies"]))'
    cat node_modules/part*/lib/data | digest
}

step_data() {
    under node "$HERE/../preload/node_work.js"
}

# One process, then a cluster of four, answer ten thousand checked requests.
step_server() {
    under node "$HERE/node_server.js" 1 "$SCALE"
    under node "$HERE/node_server.js" 4 "$SCALE"
}

step_streams() {
    under node "$HERE/node_streams.js" "$SCALE"
}

# node's own runner, a process for every file of tests.
step_runner() {
    local n
    mkdir test
    for n in 1 2 3 4 5; do
        cat >"test/$n.test.js" <<END
const test = require('node:test');
const assert = require('node:assert');
test('sorts $n', () => {
    const a = Array.from({ length: 50000 }, (_, i) => (i * 7919 * $n) % 100003);
    const b = Float64Array.from(a).sort();
    assert.deepStrictEqual(a.sort((x, y) => x - y), Array.from(b));
});
test('waits $n', async () => {
    const all = await Promise.all(Array.from({ length: 200 }, (_, i) =>
        new Promise((done) => setTimeout(() => done(Buffer.alloc(i * 50, i)), i % 20))));
    assert.ok(all.every((b, i) => b.length === i * 50 && b.every((x) => x === i)));
});
END
    done
    under node --test test | grep -E '^# (tests|pass|fail)'
}

steps npm server data streams runner
