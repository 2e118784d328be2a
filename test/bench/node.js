// node.js WHAT HELD SIZE COUNT PROCESSOR TINY WRITER WRITERS-PROCESSOR: reads from stdin how often, answers with a byte.
'use strict';
const { fork, spawnSync, execSync, execFile } = require('child_process');
const { readSync, writeSync } = require('fs');

const [what, held, size, count, processor, tiny, writer, writersProcessor] = process.argv.slice(2);
const bytes = Number(size);
const memory = (globalThis.held = []); // a global, or it would be collected
for (let left = Number(held); left > 0; left -= 2 ** 28) {
    memory.push(Buffer.allocUnsafe(Math.min(left, 2 ** 28)).fill(1));
}

function check(result, wanted) {
    if (result.status !== 0 || (result.stdout !== null && result.stdout.length !== wanted)) {
        process.exit(1);
    }
}

function inTurn(once) {
    return async (times) => {
        for (; times > 0; times--) {
            once();
        }
    };
}

function shortChildren(times) {
    return new Promise((resolve) => {
        let running = 0;
        const startMore = () => {
            for (; times > 0 && running < Number(count); times--, running++) {
                execFile(tiny, (error) => {
                    if (error) {
                        process.exit(1);
                    }
                    running--;
                    startMore();
                });
            }
            if (running === 0) {
                resolve();
            }
        };
        startMore();
    });
}

// The other end of a fork: tells what is last, and echoes what is marked 0. See bench.h.
function serve() {
    process.on('message', (message, handle) => {
        const mark = message.readUInt32LE(0);
        if (handle) {
            handle.close();
        }
        if (mark < 2) {
            process.send(message);
        }
    });
    process.on('disconnect', () => process.exit(0));
}

function messages(other, handle) {
    const payload = Buffer.alloc(bytes);
    const put = (mark) => {
        payload.writeUInt32LE(mark, 0);
        return new Promise((resolve) => (handle ? other.send(payload, handle, resolve) : other.send(payload, resolve)));
    };
    const answer = () => new Promise((resolve) => other.once('message', resolve));
    return {
        async trip(times) {
            for (; times > 0; times--) {
                const came = answer();
                put(0);
                await came;
            }
        },
        async send(times) {
            const came = answer();
            for (let left = times; left > 0; left--) {
                const sent = put(left);
                if (left % 64 === 0) {
                    await sent;
                }
            }
            await came;
        },
    };
}

function forkOther() {
    return fork(__filename, ['serve'], {
        serialization: 'advanced',
        execPath: 'taskset',
        execArgv: ['-c', processor, process.execPath],
    });
}

const operations = {
    spawn: () => inTurn(() => check(spawnSync(tiny, [], { stdio: 'ignore' }), 0)),
    captured: () => inTurn(() => check(spawnSync(tiny), 0)),
    shell: () => inTurn(() => execSync(tiny)),
    capture: () =>
        inTurn(() => check(spawnSync(writer, ['--write', size, writersProcessor], { maxBuffer: Infinity }), bytes)),
    feed: () => {
        const input = Buffer.alloc(bytes, 'x');
        return inTurn(() => check(spawnSync('/bin/cat', { input, maxBuffer: Infinity }), bytes));
    },
    trip: () => messages(forkOther()).trip,
    send: () => messages(forkOther()).send,
    descriptor: () => {
        const server = require('net').createServer();
        return new Promise((resolve) =>
            server.listen({ path: `\0bench.${process.pid}` }, () => resolve(messages(forkOther(), server).send)),
        );
    },
    short: () => shortChildren,
};

function readLine() {
    const buffer = Buffer.alloc(32);
    const got = readSync(0, buffer, 0, buffer.length);
    return got === 0 ? undefined : Number(buffer.toString('latin1', 0, got));
}

// Reading blocks: between two runs nothing else is to happen here.
async function main() {
    const run = await operations[what]();
    for (let times = 1; times !== undefined; times = readLine()) {
        await run(times);
        writeSync(1, '.');
    }
    process.exit(0);
}

if (what === 'serve') {
    serve();
} else {
    main();
}
