"""Every shape that clients of OpenAI's interface rely on, and our own routes."""
import base64
import json
import math
import struct

from serve import LETTERS, Server, error_of, main

server = None
USAGE = {"prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details"}


def check_chunks(events, kind, n=1, usage=False):
    assert events[-1] == "[DONE]", events[-1]
    chunks = events[:-1]
    first = chunks[0]
    for c in chunks:
        for key in ("id", "object", "created", "model", "system_fingerprint", "choices"):
            assert key in c, (key, c)
        assert c["object"] == kind and c["id"] == first["id"] and c["created"] == first["created"]
        assert isinstance(c["created"], int) and c["model"] == "model"
    if usage:
        last = chunks.pop()
        assert last["choices"] == [] and set(last["usage"]) == USAGE, last
        assert all(c["usage"] is None for c in chunks)
    else:
        assert all("usage" not in c for c in chunks)
    assert all(len(c["choices"]) == 1 for c in chunks)
    ends = [c["choices"][0] for c in chunks if c["choices"][0]["finish_reason"]]
    assert sorted(e["index"] for e in ends) == list(range(n)), ends
    return [c["choices"][0] for c in chunks]


def test_models():
    status, body, _ = server.get("/v1/models")
    assert status == 200 and body["object"] == "list"
    assert [m["id"] for m in body["data"]] == ["model", "gpt-test"]
    m = body["data"][0]
    assert m["object"] == "model" and isinstance(m["created"], int) and m["owned_by"] == "rwkv.c"
    assert server.get("/v1/models/gpt-test")[1]["id"] == "gpt-test"
    error_of(server.get("/v1/models/none"), 404, "model", "model_not_found")
    error_of(server.chat(model="none"), 404, "model", "model_not_found")
    assert server.chat(model="gpt-test")[0] == 200


def test_chat():
    status, body, headers = server.chat(max_tokens=5)
    assert status == 200 and headers["Content-Type"] == "application/json"
    assert body["object"] == "chat.completion" and body["id"].startswith("chatcmpl-")
    choice = body["choices"][0]
    assert choice["index"] == 0 and choice["finish_reason"] == "length" and choice["logprobs"] is None
    assert choice["message"]["role"] == "assistant" and len(choice["message"]["content"]) == 5
    usage = body["usage"]
    prompt = "User: hello\n\nAssistant:"
    assert usage["prompt_tokens"] == len(prompt) and usage["completion_tokens"] == 5, usage
    assert usage["total_tokens"] == len(prompt) + 5
    assert usage["prompt_tokens_details"]["cached_tokens"] <= len(prompt)


def test_chat_stream():
    plain = server.chat(max_tokens=6, seed=5)[1]["choices"][0]["message"]["content"]
    body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 6, "seed": 5, "logit_bias": LETTERS}
    for usage in (False, True):
        if usage:
            body["stream_options"] = {"include_usage": True}
        choices = check_chunks(server.stream("/v1/chat/completions", body), "chat.completion.chunk", usage=usage)
        assert choices[0]["delta"] == {"role": "assistant", "content": ""}, choices[0]
        assert all("role" not in c["delta"] for c in choices[1:])
        assert choices[-1]["delta"] == {} and choices[-1]["finish_reason"] == "length"
        assert all(c["finish_reason"] is None for c in choices[:-1])
        assert "".join(c["delta"].get("content", "") for c in choices) == plain


def test_same_seed():
    one = [server.chat(max_tokens=20, seed=9)[1]["choices"][0]["message"]["content"] for _ in range(2)]
    assert one[0] == one[1]
    others = {server.chat(max_tokens=20)[1]["choices"][0]["message"]["content"] for _ in range(4)}
    assert len(others) > 1, "without a seed answers differ"


def test_several_choices():
    body = server.chat(n=3, max_tokens=12, seed=4)[1]
    texts = [c["message"]["content"] for c in body["choices"]]
    assert [c["index"] for c in body["choices"]] == [0, 1, 2] and len(set(texts)) > 1, texts
    assert body["usage"]["completion_tokens"] == 36
    assert body["usage"]["prompt_tokens"] == len("User: hello\n\nAssistant:")
    alone = server.chat(max_tokens=12, seed=5)[1]["choices"][0]["message"]["content"]
    assert texts[1] == alone, "a choice is what its seed alone would give"
    choices = check_chunks(server.stream("/v1/chat/completions", {
        "messages": [{"role": "user", "content": "hello"}], "n": 3, "max_tokens": 12, "seed": 4,
        "logit_bias": LETTERS}), "chat.completion.chunk", n=3)
    for i in range(3):
        assert "".join(c["delta"].get("content", "") for c in choices if c["index"] == i) == texts[i]


def check_entry(e, top):
    assert math.isfinite(e["logprob"]) and e["logprob"] <= 0
    assert bytes(e["bytes"]).decode("utf-8", "replace") == e["token"], e
    if top is not None:
        assert len(e["top_logprobs"]) == top
        values = [t["logprob"] for t in e["top_logprobs"]]
        assert values == sorted(values, reverse=True)


def test_chat_logprobs():
    body = server.chat(logprobs=True, top_logprobs=3, max_tokens=4)[1]
    entries = body["choices"][0]["logprobs"]["content"]
    assert len(entries) == 4
    for e in entries:
        check_entry(e, 3)
    assert "".join(e["token"] for e in entries) == body["choices"][0]["message"]["content"]
    choices = check_chunks(server.stream("/v1/chat/completions", {
        "messages": [{"role": "user", "content": "hello"}], "logprobs": True, "max_tokens": 4,
        "logit_bias": LETTERS}), "chat.completion.chunk")
    seen = [e for c in choices if c["logprobs"] for e in c["logprobs"]["content"]]
    assert len(seen) == 4
    error_of(server.chat(top_logprobs=2), 400, "top_logprobs")
    error_of(server.chat(logprobs=True, top_logprobs=21), 400, "top_logprobs")


def completion(**fields):
    fields.setdefault("prompt", "abc")
    fields.setdefault("logit_bias", LETTERS)
    fields.setdefault("max_tokens", 6)
    return server.post("/v1/completions", fields)


def test_completions():
    status, body, _ = completion(seed=1)
    assert status == 200 and body["object"] == "text_completion" and body["id"].startswith("cmpl-")
    choice = body["choices"][0]
    assert len(choice["text"]) == 6 and choice["finish_reason"] == "length" and choice["logprobs"] is None
    assert body["usage"]["prompt_tokens"] == 3
    choices = check_chunks(server.stream("/v1/completions", {"prompt": "abc", "seed": 1, "max_tokens": 6,
                                                             "logit_bias": LETTERS}), "text_completion")
    assert all("delta" not in c and "text" in c for c in choices)
    assert "".join(c["text"] for c in choices) == choice["text"]
    ids = completion(prompt=[97, 98, 99], seed=1)[1]
    assert ids["choices"][0]["text"] == choice["text"], "ids and text are one prompt"
    assert completion(seed=1, echo=True)[1]["choices"][0]["text"] == "abc" + choice["text"]
    many = completion(prompt=["abc", "hello"], n=2, seed=1)[1]
    assert [c["index"] for c in many["choices"]] == [0, 1, 2, 3]
    assert many["choices"][0]["text"] == choice["text"] and many["usage"]["prompt_tokens"] == 8
    lists = completion(prompt=[[97, 98, 99], [97]], seed=1)[1]
    assert lists["choices"][0]["text"] == choice["text"] and len(lists["choices"]) == 2
    assert completion(max_tokens=0)[1]["usage"]["completion_tokens"] == 0


def test_text_logprobs():
    lp = completion(logprobs=2, max_tokens=3)[1]["choices"][0]["logprobs"]
    assert set(lp) == {"tokens", "token_logprobs", "top_logprobs", "text_offset"}
    assert len(lp["tokens"]) == len(lp["token_logprobs"]) == len(lp["top_logprobs"]) == 3
    assert lp["text_offset"] == [0, 1, 2] and all(len(t) == 2 for t in lp["top_logprobs"])
    error_of(completion(logprobs=2, echo=True), 400, "echo")


def test_stop():
    text = completion(seed=3, max_tokens=60)[1]["choices"][0]["text"]
    stop = text[10:12]
    at = text.index(stop)
    for value in (stop, ["zz", stop]):
        choice = completion(seed=3, max_tokens=60, stop=value)[1]["choices"][0]
        assert choice["text"] == text[:at] and choice["finish_reason"] == "stop", (choice, text, stop)
    choices = check_chunks(server.stream("/v1/completions", {
        "prompt": "abc", "seed": 3, "max_tokens": 60, "stop": stop, "logit_bias": LETTERS}), "text_completion")
    assert "".join(c["text"] for c in choices) == text[:at] and choices[-1]["finish_reason"] == "stop"


def test_utf8():
    """Bytes of characters come one by one; every event and every text is valid UTF-8."""
    bias = {str(b): 60 for b in "é€😀".encode()}
    body = {"prompt": "x", "seed": 2, "max_tokens": 200, "logit_bias": bias, "temperature": 1, "top_p": 1}
    plain = server.post("/v1/completions", body)[1]["choices"][0]["text"]
    joined = "".join(c["text"] for c in check_chunks(server.stream("/v1/completions", body), "text_completion"))
    assert joined == plain and len(plain) > 20


def test_messages():
    def prompt_of(messages, **more):
        status, body, _ = server.post("/apply-template", dict(more, messages=messages))
        assert status == 200, body
        return body["prompt"]
    assert prompt_of([{"role": "system", "content": "S"}, {"role": "user", "content": "a\r\n\r\n b "}]) == \
        "System: S\n\nUser: a\n b\n\nAssistant:"
    assert prompt_of([{"role": "developer", "content": "S"}, {"role": "user", "content": [
        {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]) == "System: S\n\nUser: ab\n\nAssistant:"
    assert prompt_of([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
                      {"role": "user", "content": "c"}]) == "User: a\n\nAssistant: b\n\nUser: c\n\nAssistant:"
    for messages, param in (
            ([{"role": "tool", "content": "x"}], "messages[0].role"),
            ([{"role": "User", "content": "x"}], "messages[0].role"),
            ([{"role": "user", "content": None}], "messages[0].content"),
            ([{"role": "user"}], "messages[0].content"),
            ([{"role": "user", "content": "x"}, {"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "http://x"}}]}], "messages[1].content[0]"),
            ([{"role": "assistant", "content": "x", "tool_calls": [{}]}], "messages[0].tool_calls"),
            (["x"], "messages[0]"), ([], "messages"), ("x", "messages"), (None, "messages")):
        error_of(server.chat(messages=messages), 400, param)


def test_ignored_and_refused():
    ignored = {"user": "u", "metadata": {"a": "b"}, "store": True, "service_tier": "auto", "parallel_tool_calls": True,
               "tools": [], "tool_choice": "none", "response_format": {"type": "text"}, "verbosity": "low",
               "modalities": ["text"], "something_new": 1, "stop": None, "temperature": None, "n": None}
    assert server.chat(**ignored)[0] == 200
    refused = {"tools": [{"type": "function"}], "response_format": {"type": "json_object"}, "grammar": "root ::= x",
               "functions": [{}], "audio": {"voice": "x"}, "chat_template": "{{x}}", "images": ["x"],
               "tool_choice": "required", "json_schema": {"a": 1}, "modalities": ["text", "audio"]}
    for name, value in refused.items():
        error_of(server.chat(**{name: value}), 400, name, "unsupported_parameter")
    error_of(completion(suffix="x"), 400, "suffix", "unsupported_parameter")


def test_embeddings():
    def embed(**fields):
        return server.post("/v1/embeddings", fields)
    status, body, _ = embed(input="hello", model="model")
    assert status == 200 and body["object"] == "list" and body["usage"] == {"prompt_tokens": 5, "total_tokens": 5}
    v = body["data"][0]["embedding"]
    assert body["data"][0]["index"] == 0 and len(v) == 32 and abs(sum(x * x for x in v) - 1) < 1e-3
    packed = embed(input=["hello", "other"], encoding_format="base64")[1]["data"]
    assert len(packed) == 2 and packed[1]["index"] == 1
    u = struct.unpack("<32f", base64.b64decode(packed[0]["embedding"]))
    assert max(abs(a - b) for a, b in zip(u, v)) < 1e-6
    assert embed(input=[104, 101, 108, 108, 111])[1]["data"][0]["embedding"] == v
    short = embed(input="hello", dimensions=8)[1]["data"][0]["embedding"]
    assert len(short) == 8 and abs(sum(x * x for x in short) - 1) < 1e-3
    seen = {json.dumps(embed(input="hello", pooling=p)[1]["data"][0]["embedding"]) for p in ("mean", "last", "state")}
    assert len(seen) == 2 and json.dumps(v) in seen, "mean is last where half of the layers is one"
    for fields, param in (({"input": ""}, "input"), ({"input": []}, "input"), ({}, "input"), ({"input": [""]}, "input"),
                          ({"input": "x", "dimensions": 33}, "dimensions"), ({"input": "x", "pooling": "cls"}, "pooling"),
                          ({"input": "x", "encoding_format": "int8"}, "encoding_format"), ({"input": [256]}, "input")):
        error_of(embed(**fields), 400, param)


def test_text_routes():
    assert server.post("/tokenize", {"content": "hé"})[1] == {"tokens": [104, 195, 169], "count": 3}
    pieces = server.post("/tokenize", {"content": "ab", "with_pieces": True})[1]["tokens"]
    assert pieces == [{"id": 97, "piece": "a"}, {"id": 98, "piece": "b"}]
    assert server.post("/detokenize", {"tokens": [104, 195, 169]})[1] == {"content": "hé"}
    error_of(server.post("/detokenize", {"tokens": [256]}), 400, "tokens")
    error_of(server.post("/tokenize", {}), 400, "content")


def test_info_routes():
    assert server.get("/health")[1] == {"status": "ok"}
    props = server.get("/props")[1]
    assert props["model"] == "model" and props["template"] == "world" and props["limits"]["max_tokens"] == 8192
    status, page, headers = server.get("/", raw=True)
    assert status == 200 and headers["Content-Security-Policy"].startswith("default-src 'self'") and b"<script" not in page
    document = server.get("/openapi.json")[1]
    assert document["openapi"].startswith("3.1")
    for path, methods in document["paths"].items():
        for method in (m for m in methods if m != "parameters"):
            status, _, _ = server.ask(method.upper(), path.replace("{name}", "none"), raw=True,
                                      headers={"Content-Type": "text/none"})
            assert status not in (404, 405) or "{name}" in path, (method, path, status)
    metrics = server.get("/metrics", raw=True)[1].decode()
    for name in ("rwkv_jobs_running", "rwkv_generated_tokens_total", "rwkv_first_token_seconds_bucket",
                 'rwkv_http_requests_total{route="POST /v1/chat/completions",status="2xx"}'):
        assert name in metrics, name


def test_sessions():
    bias = dict(LETTERS)
    def say(text, **more):
        return server.chat(text, session="talk", max_tokens=6, temperature=0, **more)
    one = say("one")[1]
    assert one["session"] == "talk"
    two = say("two")[1]
    assert two["usage"]["prompt_tokens_details"]["cached_tokens"] > 0, "the past is not read again"
    first, second = (x["choices"][0]["message"]["content"] for x in (one, two))
    whole = server.chat(temperature=0, max_tokens=6, logit_bias=bias, cache_prompt=False, messages=[
        {"role": "user", "content": "one"}, {"role": "assistant", "content": first},
        {"role": "user", "content": "two"}])[1]["choices"][0]["message"]["content"]
    info = server.get("/v1/sessions/talk")[1]
    assert info["id"] == "talk" and info["turns"] == 2 and info["title"] == "one" and info["object"] == "session", info
    assert [s["id"] for s in server.get("/v1/sessions")[1]["data"]] == ["talk"]
    assert server.post("/v1/sessions/talk/fork", {"name": "copy"})[0] == 201
    error_of(server.post("/v1/sessions/talk/fork", {"name": "copy"}), 409)
    back = server.post("/v1/sessions/copy/rewind", {"turns": 1})
    assert back[0] == 200 and back[1]["turns"] == 1, back
    again = server.chat("two", session="copy", max_tokens=6, temperature=0)[1]["choices"][0]["message"]["content"]
    assert again == second, "after a rewind the same question has the same answer"
    changed = server.ask("PATCH", "/v1/sessions/copy", {"title": "T", "name": "moved"})
    assert changed[0] == 200 and changed[1]["id"] == "moved" and changed[1]["title"] == "T", changed
    error_of(server.get("/v1/sessions/copy"), 404)
    status, data, headers = server.get("/v1/sessions/moved/export", raw=True)
    assert status == 200 and headers["Content-Type"] == "application/octet-stream"
    octets = {"Content-Type": "application/octet-stream"}
    assert server.ask("PUT", "/v1/sessions/back/import", data, octets)[0] == 201
    error_of(server.ask("PUT", "/v1/sessions/bad/import", data[:-9] + b"x" * 9, octets), 400)
    assert server.get("/v1/sessions/back")[1]["tokens"] == server.get("/v1/sessions/moved")[1]["tokens"]
    for name in ("talk", "moved", "back"):
        assert server.ask("DELETE", "/v1/sessions/" + name)[1]["deleted"] is True
    assert server.get("/v1/sessions")[1]["data"] == []
    error_of(server.ask("DELETE", "/v1/sessions/talk"), 404)
    error_of(say("x", n=2), 400, "n")
    error_of(server.chat(session="a b"), 400, "session")
    error_of(server.chat(session="a\0b"), 400, "session")
    assert whole  # the stateless form of the same conversation is answered too


def test_session_create():
    made = server.post("/v1/sessions", {"messages": [{"role": "system", "content": "Be brief."}], "title": "T"})
    assert made[0] == 201 and made[1]["title"] == "T" and made[1]["tokens"] > 0, made
    name = made[1]["id"]
    assert len(name) == 34
    assert server.chat("hi", session=name)[0] == 200
    error_of(server.post("/v1/sessions", {"name": name, "prompt": "x"}), 409, "name")
    error_of(server.post("/v1/sessions", {"name": "empty"}), 400, "messages")
    server.ask("DELETE", "/v1/sessions/" + name)


def test_states():
    body = completion(prompt="read this", max_tokens=0, return_state=True)[1]
    blob = body["state"]
    direct = completion(prompt="read this, then that", seed=1, cache_prompt=False)[1]["choices"][0]["text"]
    assert completion(prompt=", then that", state=blob, seed=1)[1]["choices"][0]["text"] == direct
    octets = {"Content-Type": "application/octet-stream"}
    status, put, _ = server.ask("PUT", "/v1/states/doc", base64.b64decode(blob), octets)
    assert status == 200 and put["tokens"] == 9, put
    assert [s["id"] for s in server.get("/v1/states")[1]["data"]] == ["doc"]
    assert completion(prompt=", then that", state="doc", seed=1)[1]["choices"][0]["text"] == direct
    assert server.chat("hi", state="doc")[0] == 200
    assert server.get("/v1/states/doc", raw=True)[1] == base64.b64decode(blob)
    assert server.ask("DELETE", "/v1/states/doc")[0] == 200
    error_of(completion(state="doc"), 404, "state", "state_not_found")
    error_of(completion(state="!" * 100), 400, "state")
    error_of(completion(state=blob[:-8] + "AAAAAAAA"), 400, "state")
    error_of(server.ask("PUT", "/v1/states/x", b"nonsense", octets), 400, "state")
    error_of(completion(return_state=True, stream=True), 400, "return_state")


def test_cache():
    text = "0123456789" * 30
    one = server.chat(text, seed=1)[1]
    two = server.chat(text, seed=1)[1]
    assert two["usage"]["prompt_tokens_details"]["cached_tokens"] > 250, two["usage"]
    assert one["choices"][0]["message"] == two["choices"][0]["message"]
    longer = server.chat(seed=1, messages=[{"role": "user", "content": text}, two["choices"][0]["message"],
                                           {"role": "user", "content": "and"}])[1]
    assert longer["usage"]["prompt_tokens_details"]["cached_tokens"] > 300, longer["usage"]


def test_thinking():
    with Server(template="g1") as s:
        def prompt_of(**more):
            return s.post("/apply-template", dict(more, messages=[{"role": "user", "content": "x"}]))[1]["prompt"]
        assert prompt_of() == prompt_of(reasoning_effort="none") == "User: x\n\nAssistant: <think></think"
        assert prompt_of(reasoning_effort="low") == "User: x (think a bit)\n\nAssistant: <think"
        assert prompt_of(reasoning_effort="high") == "User: x (think a lot)\n\nAssistant: <think"
        error_of(s.chat(reasoning_effort="extreme"), 400, "reasoning_effort")
        thought = s.chat(reasoning_effort="medium", max_tokens=6)[1]["choices"][0]["message"]
        assert len(thought["reasoning_content"]) == 6 and thought["content"] == "", thought
        assert "reasoning_content" not in s.chat(max_tokens=6)[1]["choices"][0]["message"]
        events = s.stream("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "max_tokens": 6,
                                                   "reasoning_effort": "medium", "logit_bias": LETTERS})
        deltas = [e["choices"][0]["delta"] for e in events[:-1]]
        assert len("".join(d.get("reasoning_content", "") for d in deltas)) == 6
        assert not "".join(d.get("content", "") for d in deltas)
    error_of(server.chat(reasoning_effort="high"), 400, "reasoning_effort")
    assert server.chat(reasoning_effort="none")[0] == 200


if __name__ == "__main__":
    with Server("--alias", "gpt-test") as server:
        main([f for name, f in list(globals().items()) if name.startswith("test_")])
        assert server.stop() == 0
