"""Who may ask: keys, host names, origins; what is never logged."""
import http.client
import os
import socket
import stat
import subprocess
import tempfile

from serve import MODELS, RWKV, Server, error_of, main

KEYS = ["sk-first-key-0001", "sk-second-key-0002"]


def bearer(key):
    return {"Authorization": "Bearer " + key}


def test_keys():
    with Server(env={"RWKV_API_KEYS": ",".join(KEYS)}) as s:
        assert s.get("/health")[0] == 200 and s.get("/", raw=True)[0] == 200
        for path in ("/v1/models", "/metrics", "/props", "/v1/sessions"):
            answer = s.get(path)
            error_of(answer, 401, code="invalid_api_key")
            assert answer[2]["WWW-Authenticate"] == "Bearer"
            assert s.get(path, headers=bearer(KEYS[1]), raw=True)[0] == 200
        for wrong in ("", "x", KEYS[0][:-1], KEYS[0] + "x", KEYS[0].upper()):
            error_of(s.get("/v1/models", headers=bearer(wrong)), 401)
        error_of(s.get("/v1/models?key=" + KEYS[0]), 401)
        error_of(s.get("/v1/models?api_key=" + KEYS[0]), 401)
        assert s.get("/v1/models", headers={"x-api-key": KEYS[0]})[0] == 200
        # a large body is refused before it is read
        head = b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        answer, closed = s.raw(head + b"Content-Length: 1000000\r\n\r\n", timeout=5)
        assert answer.startswith(b"HTTP/1.1 401") and closed, answer
        small = s.post("/tokenize", {"content": "x" * 10000})
        error_of(small, 401)


def test_tenants():
    """A session belongs to its key: for others it does not exist, and nothing of it is spared either."""
    with Server(env={"RWKV_API_KEYS": ",".join(KEYS)}) as s:
        a, b = bearer(KEYS[0]), bearer(KEYS[1])
        ask = {"messages": [{"role": "user", "content": "secret " * 20}], "session": "mine", "max_tokens": 2}
        assert s.post("/v1/chat/completions", ask, headers=a)[0] == 200
        unknown, foreign = s.get("/v1/sessions/none", headers=b), s.get("/v1/sessions/mine", headers=b)
        assert unknown[:2] == foreign[:2] and foreign[0] == 404, foreign
        assert s.get("/v1/sessions", headers=b)[1]["data"] == []
        assert s.ask("DELETE", "/v1/sessions/mine", headers=b)[0] == 404
        assert s.get("/v1/sessions/mine", headers=a)[0] == 200
        del ask["session"]
        assert s.post("/v1/chat/completions", ask, headers=a)[1]["usage"]["prompt_tokens_details"]["cached_tokens"] > 100
        assert s.post("/v1/chat/completions", ask, headers=b)[1]["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


def test_key_file():
    with tempfile.NamedTemporaryFile("w", delete=False) as f:
        f.write("# ours\n%s\r\n\n%s\n" % tuple(KEYS))
    os.chmod(f.name, 0o600)
    with Server("--api-key-file", f.name) as s:
        assert s.get("/v1/models", headers=bearer(KEYS[0]))[0] == 200
        assert s.get("/v1/models", headers=bearer(KEYS[1]))[0] == 200
        error_of(s.get("/v1/models", headers=bearer("# ours")), 401)
    os.unlink(f.name)


def fails(*args, env=None):
    p = subprocess.run([RWKV, "serve", os.path.join(MODELS, "model.pth"), "--lang", "en", "--store", "memory:", "--port", "0",
                        *args], capture_output=True, text=True, timeout=60, env=dict(os.environ, **(env or {})))
    assert p.returncode != 0 and p.stderr.count("\n") == 1 and not p.stdout, (args, p)
    return p.stderr


def test_refuses_to_start():
    assert "--api-key-file" in fails("--host", "0.0.0.0")
    assert "API key" in fails("--host", "0.0.0.0", env={"RWKV_API_KEYS": "short"})
    assert "/none" in fails("--api-key-file", "/none")
    assert "cannot listen" in fails("--host", "203.0.113.1", "--insecure-no-auth")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        assert "in use" in fails("--port", str(s.getsockname()[1]))
    assert "--lanes" in fails("--lanes", "0")
    assert "NAME=FILE" in fails("--state", "x")
    assert "another model" in fails("--state", "x=" + make_state("other.pth"))
    p = subprocess.run([RWKV, "serve", "/none.gguf"], capture_output=True, text=True)
    assert p.returncode == 2 and "/none.gguf" in p.stderr, p
    with Server("--host", "0.0.0.0", "--insecure-no-auth") as s:
        assert s.get("/health")[0] == 200


def make_state(model):
    path = os.path.join(tempfile.mkdtemp(), "x.state")
    subprocess.run([RWKV, "run", os.path.join(MODELS, model), "-p", "once", "-n", "0", "--save-state", path], check=True)
    return path


def test_fixed_states():
    with Server("--state", "doc=" + make_state("model.pth")) as s:
        listed = s.get("/v1/states")[1]["data"]
        assert [(x["id"], x["source"], x["tokens"]) for x in listed] == [("doc", "file", 4)]
        assert s.post("/v1/completions", {"prompt": "x", "state": "doc", "max_tokens": 1})[0] == 200
        error_of(s.ask("DELETE", "/v1/states/doc"), 409)


def test_hosts():
    with Server("--allowed-host", "chat.example") as s:
        port = ":%d" % s.port
        for host in ("localhost", "LOCALHOST" + port, "127.0.0.1" + port, "127.9.9.9", "[::1]" + port, "chat.example",
                     "Chat.Example:443", "localhost."):
            assert s.get("/health", headers={"Host": host})[0] == 200, host
        for host in ("evil.com", "localhost.evil.com", "evil.com:80", "192.168.1.1", "[::2]", "127.0.0.1.evil.com", "[::1",
                     "localhost:80:80", "localhost@evil.com", "a b", ""):
            status, _, _ = s.get("/health", headers={"Host": host})
            assert status in (400, 403), host
        error_of(s.get("/v1/models", headers={"Host": "evil.com"}), 403, code="host_not_allowed")


def test_origins():
    with Server("--cors-origin", "https://chat.example") as s:
        def ask(origin, method="POST", path="/tokenize"):
            return s.ask(method, path, {"content": "x"} if method == "POST" else None, {"Origin": origin})
        allow = "Access-Control-Allow-Origin"
        status, _, headers = ask("https://chat.example")
        assert status == 200 and headers[allow] == "https://chat.example" and "Origin" in headers["Vary"]
        status, _, headers = ask("https://chat.example", "OPTIONS")
        assert status == 204 and "POST" in headers["Access-Control-Allow-Methods"]
        for origin in ("https://chat.example.evil.com", "http://chat.example", "null", "https://CHAT.example", "*"):
            status, _, headers = ask(origin)
            assert status == 403 and allow not in headers, origin
            status, _, headers = ask(origin, "GET", "/v1/models")
            assert allow not in headers
            status, _, headers = ask(origin, "OPTIONS")
            assert status == 403 and allow not in headers
        assert ask("http://127.0.0.1:%d" % s.port)[0] == 200, "the server's own pages"
    with Server() as s:
        status, _, headers = s.ask("POST", "/tokenize", {"content": "x"}, {"Origin": "https://chat.example"})
        assert status == 403 and "Access-Control-Allow-Origin" not in headers
        # forms need no preflight, but are no JSON
        error_of(s.ask("POST", "/tokenize", '{"content":"x"}', {"Content-Type": "text/plain"}), 415)


def test_logs():
    """Neither keys nor prompts nor answers nor sessions' names are in any log."""
    with Server(env={"RWKV_API_KEYS": KEYS[0]}) as s:
        s.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "my-secret-words"}], "max_tokens": 3,
                                        "session": "secret-session"}, headers=dict(bearer(KEYS[0]), **{"X-Request-Id": "id-7"}))
        s.get("/v1/sessions/secret-session", headers=bearer(KEYS[0]))
        s.get("/v1/sessions/secret-session", headers=bearer("sk-wrong-key"))
        s.get("/v1/models?key=" + KEYS[0])
        assert s.stop() == 0
        lines = s.access_log()
        with open(s.log) as f:
            text = f.read() + "".join(s.errors)
        for secret in (KEYS[0], "my-secret-words", "secret-session", "sk-wrong-key"):
            assert secret not in text, secret
        assert lines[0]["request_id"] == "id-7" and lines[0]["completion_tokens"] == 3 and lines[0]["status"] == 200
        assert [x["status"] for x in lines] == [200, 200, 401, 401]
        assert lines[1]["route"] == "GET /v1/sessions/{name}"


def test_request_ids():
    with Server() as s:
        assert s.get("/health", headers={"X-Request-Id": "my.id-1"})[2]["X-Request-Id"] == "my.id-1"
        for bad in ("a b", "x" * 65, '"'):
            assert s.get("/health", headers={"X-Request-Id": bad})[2]["X-Request-Id"].startswith("req_")
        ids = {s.get("/health")[2]["X-Request-Id"] for _ in range(20)}
        assert len(ids) == 20


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def test_unix_socket():
    path = os.path.join(tempfile.mkdtemp(), "rwkv.sock")
    with Server("--socket", path) as s:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        c = UnixConnection(path)
        c.request("GET", "/health")
        assert c.getresponse().status == 200
        c.close()
        assert "cannot listen" in fails("--socket", path)
        s.process.kill()
        s.process.wait()
        with Server("--socket", path):  # what a killed server left is no obstacle
            pass
        assert not os.path.exists(path)


if __name__ == "__main__":
    main([f for name, f in list(globals().items()) if name.startswith("test_")])
