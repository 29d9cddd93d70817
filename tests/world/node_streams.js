// SPDX-License-Identifier: MIT
// node_streams -- usage: node_streams.js SCALE; bytes through pipes of streams, files and children.
'use strict';
const { spawn } = require('child_process');
const crypto = require('crypto');
const fs = require('fs');
const path = require('path');
const { pipeline } = require('stream/promises');
const { Readable } = require('stream');
const zlib = require('zlib');

const scale = Number(process.argv[2]);
const folder = process.env.TMPDIR;

function* source() {
    for (let i = 0; i < 4000 * scale; i++) {
        yield Buffer.alloc(1000 + (i * 7919) % 9000, `block ${i};`);
    }
}

async function digest(stream) {
    const hash = crypto.createHash('sha256');
    for await (const part of stream) {
        hash.update(part);
    }
    return hash.digest('hex').slice(0, 32);
}

async function main() {
    const file = path.join(folder, 'data');
    const key = Buffer.alloc(32, 7);
    const iv = Buffer.alloc(16, 9);
    console.log('source', await digest(Readable.from(source())));
    await pipeline(Readable.from(source()), zlib.createGzip(),
        crypto.createCipheriv('aes-256-ctr', key, iv), fs.createWriteStream(file));
    const back = fs.createReadStream(file).pipe(crypto.createDecipheriv('aes-256-ctr', key, iv))
        .pipe(zlib.createGunzip());
    console.log('back', await digest(back));
    await pipeline(Readable.from(source()), zlib.createBrotliCompress({ params: {
        [zlib.constants.BROTLI_PARAM_QUALITY]: 4 } }), fs.createWriteStream(file));
    console.log('brotli', await digest(fs.createReadStream(file)
        .pipe(zlib.createBrotliDecompress())));
    const cats = Array.from({ length: 4 }, async () => {
        const cat = spawn('cat');
        const sum = digest(cat.stdout);
        await pipeline(Readable.from(source()), cat.stdin);
        return sum;
    });
    console.log('children', (await Promise.all(cats)).join(' '));
    const keys = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 });
    const signed = crypto.sign('sha256', key, keys.privateKey);
    console.log('signature', crypto.verify('sha256', key, keys.publicKey, signed));
    const derived = await Promise.all(Array.from({ length: 6 }, (_, i) => new Promise((done) =>
        crypto.scrypt('word', `salt${i}`, 64, { N: 4096 }, (e, k) => done(k.toString('hex'))))));
    console.log('derived', derived.join(' '));
}

main();
