// SPDX-License-Identifier: MIT
// node_server -- usage: node_server.js PROCESSES SCALE; a server, its clients, answers checked.
'use strict';
const cluster = require('cluster');
const crypto = require('crypto');
const http = require('http');
const zlib = require('zlib');

const processes = Number(process.argv[2]);
const scale = Number(process.argv[3]);

function body(n) {
    return Buffer.from(`page ${n} `.repeat((n * 37) % 3000 + 1));
}

function serve(request, response) {
    const n = Number(request.url.slice(1));
    const parts = [];
    request.on('data', (part) => parts.push(part));
    request.on('end', () => {
        const sum = crypto.createHash('sha1').update(Buffer.concat(parts)).digest('hex');
        zlib.gzip(body(n), (error, packed) => {
            response.setHeader('x-sum', sum);
            response.end(error ? '' : packed);
        });
    });
}

function ask(port, n, agent) {
    return new Promise((resolve, reject) => {
        const sent = crypto.createHash('sha512').update(`${n}`).digest();
        const big = Buffer.alloc((n * 911) % 60000 + 64, sent);
        const request = http.request({ port, host: '127.0.0.1', path: `/${n}`, method: 'POST',
            agent }, (response) => {
            const parts = [];
            response.on('data', (part) => parts.push(part));
            response.on('end', () => {
                const sum = crypto.createHash('sha1').update(big).digest('hex');
                const right = response.headers['x-sum'] === sum &&
                    zlib.gunzipSync(Buffer.concat(parts)).equals(body(n));
                resolve(right ? 0 : 1);
            });
        });
        request.on('error', reject);
        request.end(big);
    });
}

async function load(port) {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 20 });
    let next = 0;
    let wrong = 0;
    const client = async () => {
        while (next < 1500 * scale) {
            wrong += await ask(port, next++, agent);
        }
    };
    await Promise.all(Array.from({ length: 20 }, client));
    agent.destroy();
    console.log(`${processes} processes, ${next} requests, ${wrong} wrong`);
}

async function main() {
    if (!cluster.isPrimary || processes === 1) {
        const server = http.createServer(serve);
        server.listen(0, '127.0.0.1', async () => {
            if (cluster.isWorker) {
                process.send(server.address().port);
                return;
            }
            await load(server.address().port);
            server.close();
        });
        return;
    }
    let ready = 0;
    for (let i = 0; i < processes; i++) {
        cluster.fork().on('message', async (port) => {
            if (++ready < processes) {
                return;
            }
            await load(port);
            cluster.disconnect();
        });
    }
}

main();
