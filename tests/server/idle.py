"""Streams that wait for a lane: memory of each, and how quickly /health answers beside them.    idle.py [STREAMS]

One answer without end holds the only lane; all others wait with their stream open. (One key may fill three
quarters of the queue.)"""
import json
import os
import resource
import socket
import sys
import threading
import time

from serve import LETTERS, SLOW, Server

STREAMS = int(sys.argv[1]) if len(sys.argv) > 1 else 500


def resident(pid):
    with open("/proc/%d/status" % pid) as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmRSS"))


def ask(server, tokens):
    s = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    b = json.dumps({"messages": [{"role": "user", "content": "wait"}], "stream": True, "max_tokens": tokens,
                    "ignore_eos": True, "logit_bias": LETTERS}).encode()
    s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
              b"Content-Length: %d\r\n\r\n" % len(b) + b)
    return s


def drain(s):
    try:
        while s.recv(65536):
            pass
    except OSError:
        pass


def main():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = STREAMS + 200
    if hard != resource.RLIM_INFINITY and hard < need:
        print("skipped: at most %d open files here" % hard)
        sys.exit(77)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, need), hard))
    with Server("--lanes", "1", "--queue", str(STREAMS * 3 // 2), "--max-tokens", "1000000000", model="slow.pth") as server:
        first = ask(server, 1000000000)
        threading.Thread(target=drain, args=(first,), daemon=True).start()
        server.wait_metric("rwkv_jobs_running", 1)
        for _ in range(20):
            server.get("/health")
        before = resident(server.process.pid)
        begun = time.time()
        waiting = [ask(server, 4) for _ in range(STREAMS)]
        server.wait_metric("rwkv_jobs_queued", STREAMS, 120)
        opened = time.time() - begun
        each = (resident(server.process.pid) - before) / STREAMS
        times = []
        for _ in range(300):
            t = time.time()
            assert server.get("/health")[0] == 200
            times.append(time.time() - t)
        times.sort()
        print("%d waiting streams (opened in %.1f s): %.1f KiB each; /health p50 %.1f ms, p99 %.1f ms" % (
            STREAMS, opened, each / 1024, 1e3 * times[150], 1e3 * times[297]), flush=True)
        if SLOW == 1:
            assert each <= 16 * 1024, each
        first.shutdown(socket.SHUT_RDWR)
        for s in waiting:  # they all walk away
            s.close()
        server.wait_metric("rwkv_jobs_queued", 0, 60)
        server.wait_metric("rwkv_jobs_running", 0, 60)
        assert server.chat()[0] == 200


if __name__ == "__main__":
    main()
