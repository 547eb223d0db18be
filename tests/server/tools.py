"""rwkv loadtest against our server, and rwkv ingest whose state the server opens."""
import json
import os
import subprocess

from serve import LETTERS, MODELS, RWKV, Server, error_of, main


def rwkv(*args, code=0):
    r = subprocess.run([RWKV] + list(args) + ["--lang", "en"], capture_output=True, text=True, timeout=120)
    assert r.returncode == code, (args, r.returncode, r.stdout, r.stderr)
    return r.stdout, r.stderr


def load(url, *args, code=0):
    return json.loads(rwkv("loadtest", url, "--json", *args, code=code)[0])


def test_loadtest():
    with Server() as server:
        url = "http://127.0.0.1:%d/v1/" % server.port
        r = load(url, "--users", "5", "--turns", "3", "-w", "20", "-n", "7", "--ignore-end")
        assert r["turns"] == 15 and r["errors"] == 0 and r["answer_tokens"] == 15 * 7, r
        assert r["first_token_s"]["n"] == 5 and r["later_first_token_s"]["n"] == 10, r
        assert 0 < r["first_token_s"]["p50"] <= r["first_token_s"]["p95"] <= r["first_token_s"]["max"]
        assert r["cached_tokens"] > 0, "whole conversations are sent: their beginnings are known"
        assert r["server_rss"]["before"] > 1 << 20 and r["server_rss"]["peak"] >= r["server_rss"]["before"]
        r = load(url, "--users", "3", "--turns", "2", "--sessions", "-n", "4")
        assert r["turns"] == 6 and r["errors"] == 0
        assert [s["turns"] for s in server.get("/v1/sessions")[1]["data"]] == [2, 2, 2]
        out, _ = rwkv("loadtest", url, "--users", "2", "--turns", "1")
        assert "2 of 2 turns" in out and "p95" in out and "errors: 0" in out
        r = load(url, "--users", "2", "--turns", "1", "--model", "none", code=2)
        assert r["errors"] == 2 and "404" in r["error"], r


def test_loadtest_keys():
    with Server(env={"RWKV_API_KEYS": "key-number-1,key-number-2"}) as server:
        url = "127.0.0.1:%d" % server.port
        rwkv("loadtest", url, code=2)
        path = os.path.join(server.folder, "keys")
        with open(path, "w") as f:
            f.write("key-number-1\nkey-number-2\n")
        r = load(url, "--users", "4", "--turns", "1", "--sessions", "-n", "3", "--api-key-file", path)
        assert r["turns"] == 4 and r["errors"] == 0
        for key in ("key-number-1", "key-number-2"):  # each key's users are its own
            mine = server.get("/v1/sessions", headers={"Authorization": "Bearer " + key})[1]["data"]
            assert len(mine) == 2, mine


def test_loadtest_busy():
    """A server that refuses is asked again."""
    with Server("--lanes", "1", "--queue", "2", model="slow.pth") as server:
        server.chat(max_tokens=20)  # now it knows how long answers take
        r = load("127.0.0.1:%d" % server.port, "--users", "8", "--turns", "1", "-n", "60", "-w", "5", "--ignore-end")
        assert r["turns"] == 8 and r["busy"] > 0 and r["errors"] == 0, r


def test_loadtest_usage():
    for args, code in ((["loadtest"], 1), (["loadtest", "127.0.0.1:9"], 2), (["loadtest", "a", "--users", "0"], 1)):
        _, err = rwkv(*args, code=code)
        assert err.startswith("rwkv: "), err


def test_ingest():
    model = os.path.join(MODELS, "model.pth")
    with Server() as plain:
        folder = plain.folder
        paths = [os.path.join(folder, name) for name in ("one.txt", "two.txt", "docs.state", "more.state")]
        for path, text in zip(paths, ("The first document.\n\n", "And the second. " * 50)):
            with open(path, "w") as f:
                f.write(text)
        rwkv("ingest", model, paths[0], paths[1], "-o", paths[2])
        assert os.stat(paths[2]).st_size > 2560
        _, err = rwkv("ingest", model, paths[0], "--state", paths[2], "-o", paths[3])
        assert "tokens" in err
        with open(paths[3], "rb") as f:
            blob = f.read().decode("latin-1")
        note = json.JSONDecoder().raw_decode(blob[blob.index('{"documents"'):])[0]
        assert [(d["name"], d["tokens"]) for d in note["documents"]] == [
            ("one.txt", 19), ("two.txt", 801), ("one.txt", 21)] and note["tokens"] == 841, note
        body = {"prompt": "So", "max_tokens": 12, "seed": 1, "logit_bias": LETTERS, "logprobs": 1}
        whole = "The first document.\n\n" + ("And the second. " * 50).rstrip()
        wanted = plain.post("/v1/completions", dict(body, prompt=whole + "So"))[1]["choices"][0]
        with Server("--state", "docs=" + paths[2], "--state", "more=" + paths[3]) as server:
            got = server.post("/v1/completions", dict(body, state="docs"))[1]
            assert got["choices"][0]["text"] == wanted["text"], "as if the documents stood before the prompt"
            assert got["choices"][0]["logprobs"]["token_logprobs"] == wanted["logprobs"]["token_logprobs"]
            status, more, _ = server.post("/v1/completions", dict(body, state="more"))
            assert status == 200 and more["choices"][0]["text"]
            error_of(server.post("/v1/completions", dict(body, state="none")), 404, "state")
        rwkv("ingest", os.path.join(MODELS, "other.pth"), paths[0], "--state", paths[2], "-o", paths[3], code=2)
        empty = os.path.join(folder, "empty.txt")
        open(empty, "w").close()
        rwkv("ingest", model, empty, "-o", os.path.join(folder, "x.state"), code=2)
        assert not os.path.exists(os.path.join(folder, "x.state"))
        rwkv("ingest", model, paths[0], code=1)
        rwkv("ingest", model, "/nowhere", "-o", os.path.join(folder, "x.state"), code=2)


main([test_loadtest, test_loadtest_keys, test_loadtest_busy, test_loadtest_usage, test_ingest])
