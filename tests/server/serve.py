"""Starts `rwkv serve` on a free port with a model of random weights, and talks to it.

The model has a byte vocabulary; LETTERS keeps answers to a few letters. Standard library only."""
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

RWKV = os.environ["RWKV"]
MODELS = os.environ["MODELS"]
LETTERS = {str(i): 60 for i in range(97, 105)}
SLOW = 8 if os.environ.get("SANITIZED") else 1  # and its memory says nothing of ours


class Server:
    def __init__(self, *args, model="model.pth", env=None, store="memory:", template="world"):
        self.folder = tempfile.mkdtemp(prefix="rwkv-serve-")
        self.log = os.path.join(self.folder, "log")
        command = [RWKV, "serve", os.path.join(MODELS, model), "--port", "0", "-t", "1", "--template", template,
                   "--lang", "en", "--access-log", self.log]
        if store:
            command += ["--store", store.replace("FOLDER", self.folder)]
        self.command = command + list(args)
        self.env = dict(os.environ, XDG_DATA_HOME=self.folder, **(env or {}))
        self.start()

    def start(self):
        self.errors = []
        self.process = subprocess.Popen(self.command, stderr=subprocess.PIPE, env=self.env, text=True)
        self.port = None
        for line in self.process.stderr:
            self.errors.append(line)
            found = re.search(r" on (?:http://[^:]+:(\d+)|unix:)", line)
            if found:
                self.port = int(found.group(1) or 0)
                break
        if self.port is None:
            self.process.wait()
            raise RuntimeError("the server does not start: " + "".join(self.errors))
        self.reader = threading.Thread(target=lambda: self.errors.extend(self.process.stderr), daemon=True)
        self.reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(60 * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self.reader.join()
        if "Sanitizer" in "".join(self.errors):
            raise RuntimeError("".join(self.errors))
        return code

    def access_log(self):
        with open(self.log) as f:
            return [json.loads(line) for line in f]

    # ---- requests
    def open(self, timeout=60):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout * SLOW)

    def ask(self, method, path, body=None, headers=None, raw=False, timeout=60):
        """-> (status, parsed JSON or bytes, headers)"""
        c = self.open(timeout)
        headers = dict(headers or {})
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        if body is not None and "Content-Type" not in headers:
            headers["Content-Type"] = "application/json"
        c.request(method, path, body, headers)
        r = c.getresponse()
        data = r.read()
        c.close()
        return r.status, data if raw else (json.loads(data) if data else None), r.headers

    def get(self, path, **more):
        return self.ask("GET", path, **more)

    def post(self, path, body, **more):
        return self.ask("POST", path, body, **more)

    def chat(self, text="hello", **fields):
        fields.setdefault("messages", [{"role": "user", "content": text}])
        fields.setdefault("logit_bias", LETTERS)
        fields.setdefault("max_tokens", 8)
        return self.post("/v1/chat/completions", fields)

    def stream(self, path, body):
        """The events of a stream: parsed chunks; '[DONE]' as it is."""
        c = self.open()
        c.request("POST", path, json.dumps(dict(body, stream=True)), {"Content-Type": "application/json"})
        r = c.getresponse()
        assert r.status == 200, (r.status, r.read())
        assert r.headers["Content-Type"].startswith("text/event-stream"), r.headers
        events = []
        for block in r.read().split(b"\n\n"):
            block.decode("utf-8")  # each event is valid by itself
            if block.startswith(b":") or not block:
                continue
            assert block.startswith(b"data: "), block
            data = block[6:]
            events.append("[DONE]" if data == b"[DONE]" else json.loads(data))
        c.close()
        return events

    def raw(self, data, timeout=5, shut=False):
        """Bytes to the socket; what comes back until it is closed or silent."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout * SLOW) as s:
            try:
                s.sendall(data)
                if shut:
                    s.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            out = b""
            try:
                while True:
                    piece = s.recv(65536)
                    if not piece:
                        return out, True
                    out += piece
            except socket.timeout:
                return out, False
            except OSError:
                return out, True

    def metric(self, name):
        text = self.get("/metrics", raw=True)[1].decode()
        found = re.search(r"^%s (\S+)$" % re.escape(name), text, re.M)
        assert found, name
        return float(found.group(1))

    def wait_metric(self, name, wanted, seconds=10):
        end = time.time() + seconds * SLOW
        while self.metric(name) != wanted:
            assert time.time() < end, "%s stays %r" % (name, self.metric(name))
            time.sleep(0.02)


def error_of(answer, status, param=None, code=None):
    """Checks an error's shape."""
    got, body, headers = answer
    assert got == status, (got, body)
    error = body["error"]
    assert set(error) == {"message", "type", "param", "code"}, error
    assert isinstance(error["message"], str) and error["message"], error
    assert headers["X-Request-Id"], headers
    if param:
        assert error["param"] == param, error
    if code:
        assert error["code"] == code, error
    return error


def main(tests):
    wanted = sys.argv[1:]
    for test in tests:
        if wanted and test.__name__ not in wanted:
            continue
        begun = time.time()
        test()
        print("ok %s (%.1f s)" % (test.__name__, time.time() - begun), flush=True)
