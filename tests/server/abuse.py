"""Raw bytes that are no request: each has its refusal, no second request hides in one, and the server
answers the next client as before."""
import json
import os
import random

from serve import LETTERS, Server, error_of, main

server = None
HOST = b"Host: localhost\r\n"
JSON = b"Content-Type: application/json\r\n"


def get(path=b"/health", headers=HOST, version=b"HTTP/1.1"):
    return b"GET " + path + b" " + version + b"\r\n" + headers + b"\r\n"


def post(body, headers=b"", path=b"/tokenize"):
    return b"POST " + path + b" HTTP/1.1\r\n" + HOST + JSON + headers + b"\r\n" + body


def refused(data, *statuses, shut=True):
    """The first status line is one of `statuses` (None: closed without a word), and no other reply says 200."""
    answer, closed = server.raw(data, timeout=3, shut=shut)
    first = int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.") else None
    assert first in statuses, (data[:100], answer[:200])
    assert answer.count(b"HTTP/1.1 200") == (1 if first == 200 else 0), answer
    assert server.get("/health")[0] == 200


SMUGGLED = get(b"/v1/models")


def test_framing():
    body = b'{"content":"a"}'
    length = b"Content-Length: %d\r\n" % len(body)
    refused(post(body, length + b"Content-Length: 3\r\n") + SMUGGLED, 400)
    refused(post(body, length + length) + SMUGGLED, 400)
    refused(post(body, length + b"Transfer-Encoding: chunked\r\n") + SMUGGLED, 400)
    refused(post(b"0\r\n\r\n", b"Transfer-Encoding: gzip, chunked\r\n") + SMUGGLED, 400, None)
    refused(post(b"0\r\n\r\n", b"Transfer-Encoding: identity\r\n") + SMUGGLED, 400, None)
    for value in (b"+5", b"0x10", b"-1", b"18446744073709551616", b"5,5", b"5 5", b"", b"abc"):
        refused(post(body, b"Content-Length: " + value + b"\r\n") + SMUGGLED, 400, 413, None)
    for chunk in (b"-1\r\na\r\n0\r\n\r\n", b"ffffffffffffffff\r\na", b"zz\r\na", b"1000000000000000000\r\na",
                  b"0x1\r\na\r\n0\r\n\r\n"):
        refused(post(chunk, b"Transfer-Encoding: chunked\r\n") + SMUGGLED, 400, 413, None)


def test_heads():
    refused(get(headers=HOST + b"X: " + b"a" * (17 << 10) + b"\r\n"), 431)
    refused(get(headers=HOST + b"X: " + b"a" * (9 << 10) + b"\r\n"), 431)
    refused(get(headers=HOST + b"X: a\r\n" * 101), 431)
    refused(get(headers=HOST + b"X : a\r\n"), 400, None)
    refused(get(headers=HOST + b"X: a\0b\r\n"), 400, 200, None)
    refused(get(headers=b"X: a\r\n"), 400)
    refused(get(headers=HOST + HOST), 400)
    refused(get(headers=HOST + b"X: a\r\n b\r\n"), 400, 200, None)
    refused(get(b"/" + b"a" * (9 << 10)), 414, 431)
    refused(b"GET /health\r\n\r\n", 400, 505, None)
    refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, 404, 405, 505, None)
    refused(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), 400, None)
    refused(b"\x00" * 4096, 400, None)
    refused(b"A" * 65536, 400, 414, 431, None)


def test_paths():
    for path in (b"//health", b"/health/", b"/./health", b"/%2e%2e/health", b"/v1/../health", b"/health%00", b"/heal%74x",
                 b"/v1/models/%", b"/v1/models/%zz", b"/v1%2fmodels", b"/none", b"/v1/sessions/a%0ab"):
        refused(get(path), 404, 400)
    refused(get(b"http://localhost/health"), 400)
    refused(get(b"health"), 400, 404, None)
    refused(get(b"/heal%74h"), 200)
    refused(get(b"/health?key=x"), 200)
    refused(b"BREW /health HTTP/1.1\r\n" + HOST + b"\r\n", 405)
    refused(b"POST /health HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n", 405)
    status, _, headers = server.ask("DELETE", "/v1/sessions")
    assert status == 405 and headers["Allow"] == "GET, POST", headers["Allow"]


def test_pipelining():
    answer, _ = server.raw(get() + get(b"/v1/models") + get(b"/none"), shut=True)
    assert answer.count(b"HTTP/1.1 ") == 3
    assert answer.index(b'"status":"ok"') < answer.index(b'"object":"list"') < answer.index(b"unknown_path")
    # an error leaves the connection usable
    bad = post(b"[]", b"Content-Length: 2\r\n")
    answer, _ = server.raw(bad + get(), timeout=1)
    assert answer.index(b"invalid_json") < answer.index(b'"status":"ok"'), answer


def test_json():
    def tokenize(body, **more):
        return server.ask("POST", "/tokenize", body, **more)
    for body in (b"", b"[]", b"1", b"null", b'"x"', b"{", b'{"content":"a"} x', b'{"content":"a","content":"b"}',
                 b"[" * 100000, b'{"a":' * 65 + b"1" + b"}" * 65, b'{"content":"\xff"}', b'{"content":"\\ud800"}',
                 b'\xef\xbb\xbf{"content":"a"}', b'{"content":1e999}', b"{'content':'a'}",
                 b'{"content":123456789012345678901234567890}'):
        error = error_of(tokenize(body), 400, code="invalid_json")
        assert "JSON" in error["message"], error
    error = error_of(tokenize(b'{"content":"abc",}'), 400)
    assert "byte" in error["message"], error
    error_of(tokenize(b"[" * (8 << 20)), 400)
    deep = b'{"a":' * 63 + b"1" + b"}" * 63
    error_of(tokenize(deep), 400, "content")  # deep enough, but there is nothing to tokenize
    assert tokenize(json.dumps({"content": "a\0b"}).encode())[1]["tokens"] == [97, 0, 98]


def test_bodies():
    limit = 8 << 20
    text = b'{"content":"' + b"a" * (limit - 14) + b'"}'
    assert len(text) == limit and server.ask("POST", "/tokenize", text)[0] in (200, 400)
    answer, _ = server.raw(post(b"", b"Content-Length: %d\r\n" % (limit + 1)))
    assert answer.startswith(b"HTTP/1.1 413"), answer[:100]
    chunk = b"10000\r\n" + b"a" * 65536 + b"\r\n"
    answer, closed = server.raw(post(chunk * 140 + b"0\r\n\r\n", b"Transfer-Encoding: chunked\r\n"), timeout=2)
    assert answer.startswith(b"HTTP/1.1 413"), answer[:100]
    answer, closed = server.raw(post(chunk * 400 + b"0\r\n\r\n", b"Transfer-Encoding: chunked\r\n"), timeout=2)
    assert b"200 OK" not in answer
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonx", ""):
        error_of(server.ask("POST", "/tokenize", b'{"content":"a"}', {"Content-Type": kind}), 415)
    assert server.ask("POST", "/tokenize", b'{"content":"a"}', {"Content-Type": "application/json; charset=utf-8"})[0] == 200
    assert server.get("/health")[0] == 200


def values(rng):
    return rng.choice([0, 1, -1, 2**31, 2**53, 2**63 - 1, -2**63, 1e308, 1e-308, 0.5, -0.5, 100, True, False, None, "", "5",
                       "x" * 300, [], [1], {}, {"a": 1}, {"97": 60}, {"-1": 1}, {"97": "x"}, [""], ["a"] * 17, ["\0"]])


FIELDS = ["max_tokens", "max_completion_tokens", "n_predict", "n", "best_of", "stop", "logit_bias", "top_k", "top_p", "min_p",
          "typical_p", "temperature", "presence_penalty", "frequency_penalty", "repeat_penalty", "penalty_decay", "mirostat",
          "mirostat_tau", "mirostat_eta", "seed", "stream", "stream_options", "logprobs", "top_logprobs", "echo", "session",
          "state", "return_state", "reasoning_effort", "model", "preset", "sampling_order", "cache_prompt", "ignore_eos",
          "messages", "prompt"]


def test_random_parameters():
    """Whatever the values: 200 or a 4xx that names a parameter; never a crash, never a 5xx."""
    rng = random.Random(int(os.environ.get("SEED", "1")))
    for i in range(int(os.environ.get("RUNS", "1500"))):
        chat = rng.random() < 0.5
        body = {"messages": [{"role": "user", "content": "a"}]} if chat else {"prompt": "a"}
        body["max_tokens"] = 2
        for _ in range(rng.randint(1, 4)):
            body[rng.choice(FIELDS)] = values(rng)
        if body.get("stream") is True:
            body["stream"] = False
        if body.get("max_tokens") is None and not body.get("max_completion_tokens"):
            body["max_tokens"] = 1
        for name in ("max_tokens", "max_completion_tokens", "n_predict"):
            if body.get(name) == 100 or body.get(name) == -1:
                body[name] = 3
        path = "/v1/chat/completions" if chat else "/v1/completions"
        status, answer, _ = server.post(path, body)
        assert status == 200 or (400 <= status < 500 and answer["error"]["message"]), (body, status, answer)


def test_parameters():
    for name, value in (("max_tokens", 0), ("max_tokens", -1), ("max_tokens", 2**31), ("max_tokens", "5"), ("n", 10**6),
                        ("n", 0), ("stop", [""]), ("stop", "x" * 257), ("stop", ["a"] * 17), ("stop", 5),
                        ("logit_bias", {str(i): 1 for i in range(1025)}), ("logit_bias", {"-1": 1}),
                        ("logit_bias", {"256": 1}), ("logit_bias", {"97": 101}), ("top_k", -5), ("temperature", -1),
                        ("temperature", 1e308), ("presence_penalty", 1e30), ("frequency_penalty", -1e30), ("seed", 1.5),
                        ("top_p", 1.01), ("mirostat", 1), ("stream", "yes"), ("stream_options", 1), ("preset", "x"),
                        ("logprobs", 1), ("reasoning_effort", 1), ("sampling_order", "x"), ("session", "../x")):
        error_of(server.chat(**{name: value}), 400, name)
    error_of(server.chat(messages=[{"role": "user", "content": "x"}] * 10001), 400, "messages", "too_many_messages")
    # the last of the tokens that end characters never come back as half of one
    assert server.chat(max_tokens=3, logit_bias={str(b): 60 for b in "é".encode()})[0] == 200


def test_options():
    """The limits that are options."""
    with Server("--max-prompt", "40", "--max-tokens", "5", "--max-sessions", "2") as s:
        for path, body, param in (("/v1/completions", {"prompt": "a" * 41}, "prompt"),
                                  ("/v1/completions", {"prompt": [97] * 41}, "prompt"),
                                  ("/v1/embeddings", {"input": "a" * 41}, "input"),
                                  ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a" * 40}]}, "messages")):
            error = error_of(s.post(path, body), 400, param, "context_length_exceeded")
            assert "40" in error["message"], error
        assert s.post("/v1/completions", {"prompt": "a" * 40})[1]["usage"]["completion_tokens"] <= 5
        error_of(s.chat("a", max_tokens=6), 400, "max_tokens")
        assert s.chat("a", max_tokens=5)[0] == 200
        for name in ("one", "two"):
            assert s.chat("a", session=name, max_tokens=1)[0] == 200
        error_of(s.chat("a", session="three", max_tokens=1), 507, code="store_full")
        assert s.chat("b", session="one", max_tokens=1)[0] == 200
    error_of(server.post("/v1/embeddings", {"input": ["a"] * 257}), 400, "input")
    error_of(completions(["a"] * 17), 400, "prompt")
    error_of(completions(["a"] * 9, n=2), 400, "prompt")


def completions(prompt, **more):
    return server.post("/v1/completions", dict(more, prompt=prompt, max_tokens=1))


def test_random_bytes():
    rng = random.Random(7)
    for i in range(60):
        data = bytearray(post(b'{"content":"abc"}', b"Content-Length: 17\r\n"))
        for _ in range(rng.randint(1, 12)):
            at = rng.randrange(len(data))
            data[at] = rng.randrange(256)
        server.raw(bytes(data), timeout=1, shut=True)
    assert server.get("/health")[0] == 200


if __name__ == "__main__":
    with Server() as server:
        main([f for name, f in list(globals().items()) if name.startswith("test_")])
        assert server.stop() == 0
