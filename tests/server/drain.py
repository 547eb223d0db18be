"""The end of a server: SIGTERM lets answers end, a second one does not."""
import json
import os
import signal
import time

from serve import LETTERS, SLOW, Server, error_of, main
from streams import connect, endless, head, read_until


def events(data):
    return [x[6:] for x in data.split(b"\r\n") for x in x.split(b"\n") if x.startswith(b"data: ")]


def rest(c):
    data = b""
    try:
        while True:
            piece = c.recv(65536)
            if not piece:
                return data
            data += piece
    except OSError:
        return data


def test_drain():
    """What runs may end; what is new is refused; sessions are saved; exit code 0."""
    with Server(model="slow.pth", store="sqlite:FOLDER/s.db") as s:
        keep = s.open()
        keep.request("GET", "/health")
        keep.getresponse().read()
        body = {"messages": [{"role": "user", "content": "hi"}], "session": "kept", "stream": True, "logit_bias": LETTERS,
                "max_tokens": 400, "ignore_eos": True}
        c = connect(s, head("/v1/chat/completions", body))
        data = read_until(c, b'"content":"')
        s.process.send_signal(signal.SIGTERM)
        end = time.time() + 5 * SLOW
        while s.get("/health")[0] != 503:
            assert time.time() < end
        error_of(s.chat(), 503, code="server_stopping")
        keep.request("GET", "/health")  # an old connection learns it too
        assert keep.getresponse().status == 503
        data += rest(c)
        assert events(data)[-1] == b"[DONE]", data[-300:]
        assert s.process.wait(60 * SLOW) == 0
        s.start()
        info = s.get("/v1/sessions/kept")[1]
        assert info["turns"] == 1 and info["tokens"] > 400, info
        assert s.stop() == 0


def test_second_signal():
    with Server(model="slow.pth") as s:
        c = connect(s, head("/v1/completions", endless(True, max_tokens=8192)))
        waiting = connect(s, head("/v1/completions", endless(False, max_tokens=8192)))
        data = read_until(c, b'"text"')
        s.wait_metric("rwkv_jobs_running", 2)
        s.process.send_signal(signal.SIGTERM)
        while s.get("/health")[0] != 503:
            pass
        begun = time.time()
        s.process.send_signal(signal.SIGTERM)
        data += rest(c)
        last = json.loads(events(data)[-1])
        assert last["error"]["code"] == "server_stopping", last
        assert rest(waiting).startswith(b"HTTP/1.1 503")
        assert s.process.wait(20 * SLOW) == 0
        assert time.time() - begun < 5 * SLOW


def test_idle_end():
    with Server() as s:
        begun = time.time()
        assert s.stop() == 0 and time.time() - begun < 3 * SLOW
    with Server() as s:
        assert s.stop(signal.SIGINT) == 0


def test_start_stop():
    """Again and again; nothing is left behind."""
    with Server() as s:
        for _ in range(5):
            assert s.stop() == 0
            s.start()
        fds = "/proc/%d/fd" % s.process.pid
        before = len(os.listdir(fds))
        for _ in range(100):
            s.chat(max_tokens=1)
        time.sleep(0.2)
        assert len(os.listdir(fds)) <= before + 2


if __name__ == "__main__":
    main([f for name, f in list(globals().items()) if name.startswith("test_")])
