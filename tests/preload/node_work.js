// SPDX-License-Identifier: MIT
// node_work -- what node.sh runs: deterministic data through JSON, Buffers, zlib and workers.
'use strict';
const crypto = require('crypto');
const zlib = require('zlib');
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');

const scale = Number(process.env.SCALE || 1);

function digest(data) {
    return crypto.createHash('sha256').update(data).digest('hex').slice(0, 32);
}

function makeBuffers(count, seed) {
    const buffers = [];
    for (let i = 0; i < count; i++) {
        const size = 100 + (i * 7919 + seed) % 20000;
        buffers.push(Buffer.alloc(size, `buffer ${i} of ${seed};`));
    }
    return buffers;
}

function pause(ms) {
    return new Promise((resolve) => setTimeout(resolve, ms));
}

function inWorker(seed) {
    return new Promise((resolve, reject) => {
        const worker = new Worker(__filename, { workerData: seed });
        worker.on('message', resolve);
        worker.on('error', reject);
    });
}

async function main() {
    const buffers = makeBuffers(1500 * scale, 1);
    const records = buffers.map((b, i) => ({ id: i, text: b.toString('latin1', 0, 80) }));
    await pause(600);
    console.log('buffers', digest(Buffer.concat(buffers)));
    const json = JSON.stringify(records);
    console.log('json', digest(JSON.stringify(JSON.parse(json))));
    const packed = zlib.gzipSync(json);
    await pause(300);
    console.log('zlib', zlib.gunzipSync(packed).toString() === json);
    const answers = await Promise.all([2, 3].map(inWorker));
    console.log('workers', answers.join(' '));
    console.log('buffers', digest(Buffer.concat(buffers)));
}

if (isMainThread) {
    main();
} else {
    const buffers = makeBuffers(300 * scale, workerData);
    setTimeout(() => parentPort.postMessage(digest(Buffer.concat(buffers))), 300);
}
