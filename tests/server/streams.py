"""Clients that go away, do not read, or are slow; a full queue."""
import json
import socket
import threading
import time

from serve import LETTERS, SLOW, Server, error_of, main

LONG = "a" * 400000  # takes the larger model a while to read


def head(path, body, extra=b""):
    data = json.dumps(body).encode()
    return (b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n"
            % (path.encode(), len(data), extra)) + data


def connect(s, data, timeout=60, receive=None):
    c = socket.socket()
    if receive:
        c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    c.settimeout(timeout * SLOW)
    c.connect(("127.0.0.1", s.port))
    c.sendall(data)
    return c


def read_until(c, wanted):
    data = b""
    while wanted not in data:
        piece = c.recv(4096)
        assert piece, data[-500:]
        data += piece
    return data


def endless(stream, **more):
    return dict({"prompt": "a", "max_tokens": 8192, "stream": stream, "logit_bias": LETTERS, "ignore_eos": True}, **more)


def test_disconnect():
    """Whatever the answer is doing, its lane is free soon after the client has gone."""
    with Server(model="slow.pth") as s:
        c = connect(s, head("/v1/completions", endless(True)))
        read_until(c, b'"text"')
        s.wait_metric("rwkv_jobs_running", 1)
        c.close()
        s.wait_metric("rwkv_jobs_running", 0)
        c = connect(s, head("/v1/completions", endless(False)))
        s.wait_metric("rwkv_jobs_running", 1)
        c.close()
        s.wait_metric("rwkv_jobs_running", 0)
        c = connect(s, head("/v1/completions", endless(True, prompt=LONG)))  # while the prompt is read
        s.wait_metric("rwkv_jobs_running", 1)
        c.close()
        s.wait_metric("rwkv_jobs_running", 0)
        c = connect(s, head("/v1/embeddings", {"input": LONG}))
        s.wait_metric("rwkv_jobs_running", 1)
        c.close()
        s.wait_metric("rwkv_jobs_running", 0)
        assert s.metric('rwkv_jobs_total{finish="cancelled"}') == 4
        assert s.chat()[0] == 200


def test_queue():
    """The queue is bounded; a refusal is quick and says when to come again; who waits may leave."""
    with Server("--lanes", "1", "--queue", "2", model="slow.pth") as s:
        busy = connect(s, head("/v1/completions", endless(True)))
        read_until(busy, b'"text"')
        waiting = [connect(s, head("/v1/completions", endless(stream, max_tokens=2))) for stream in (True, False)]
        s.wait_metric("rwkv_jobs_queued", 2)
        begun = time.time()
        answer = s.chat()
        assert time.time() - begun < 0.5 * SLOW
        error_of(answer, 429, code="queue_full")
        assert int(answer[2]["Retry-After"]) >= 1
        error_of(s.chat(stream=True), 429, code="queue_full")
        assert s.get("/health")[0] == 200
        data = read_until(waiting[0], b": keep-alive")  # a sign of life while it waits
        assert b"text/event-stream" in data and b"data:" in data or b"keep-alive" in data
        waiting[1].close()
        s.wait_metric("rwkv_jobs_queued", 1)
        busy.close()
        data += read_until(waiting[0], b"[DONE]")
        assert data.count(b'"finish_reason":"length"') == 1
        assert s.chat()[0] == 200


def test_partly_refused():
    """Several choices of which one finds no room: one refusal, nothing keeps running."""
    with Server("--lanes", "1", "--queue", "2", model="slow.pth") as s:
        error_of(s.chat(n=16, max_tokens=50), 429)
        s.wait_metric("rwkv_jobs_queued", 0)
        s.wait_metric("rwkv_jobs_running", 0)
        assert s.chat()[0] == 200


def test_reader_stalls():
    """Who does not read has a bounded buffer here and is cancelled when it is full; others are not touched."""
    with Server() as s:
        c = connect(s, head("/v1/completions", endless(True, n=16, logprobs=20)), receive=4096)
        s.wait_metric('rwkv_jobs_total{finish="cancelled"}', 16, 60)
        assert s.chat()[0] == 200
        c.close()


def test_slow_clients():
    """Every phase has a deadline for the whole of it, however often a byte comes."""
    with Server() as s:
        seconds = {}

        def drip(name, data, byte=b"x", every=1.0, most=90):
            c = connect(s, data, timeout=every)
            begun = time.time()
            try:
                while time.time() - begun < most:
                    c.sendall(byte)
                    try:
                        if not c.recv(4096):
                            break
                    except socket.timeout:
                        pass
            except OSError:
                pass
            seconds[name] = time.time() - begun
            c.close()
        threads = [
            threading.Thread(target=drip, args=("head", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ")),
            threading.Thread(target=drip, args=("nothing", b"", b"")),
            threading.Thread(target=drip, args=("body", b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\n"
                                                b"Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n")),
        ]
        for t in threads:
            t.start()
        slowest = 0
        while any(t.is_alive() for t in threads):
            begun = time.time()
            assert s.get("/health")[0] == 200
            slowest = max(slowest, time.time() - begun)
            time.sleep(0.2)
        assert 9 < seconds["head"] < 13 * SLOW and 9 < seconds["nothing"] < 13 * SLOW, seconds
        assert 29 < seconds["body"] < 40 * SLOW, seconds
        assert slowest < 1 * SLOW


if __name__ == "__main__":
    main([f for name, f in list(globals().items()) if name.startswith("test_")])
