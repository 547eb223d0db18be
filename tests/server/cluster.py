"""Two servers, one Redis, nginx and HAProxy as deploy/ has them: a session goes on wherever it is asked.

One server is killed in the middle of a turn: nothing of it was acknowledged, and the next request goes on at the other
from the last turn that was. Of two servers that continue one session at once one is told 409. What is not installed
is left out; without Redis everything (exit code 77)."""
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

from serve import LETTERS, SLOW, Server

DEPLOY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "deploy")
PATH = os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin"


def which(name):
    return shutil.which(name, path=PATH)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(what, test, seconds=20):
    end = time.time() + seconds * SLOW
    while not test():
        assert time.time() < end, "waited in vain: " + what
        time.sleep(0.05)


def connects(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


class Service:
    """A program in the foreground, ended at the end."""

    def __init__(self, command, folder, port):
        self.log = open(os.path.join(folder, os.path.basename(command[0]) + ".log"), "w+")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, cwd=folder)
        self.port = port
        wait_for(command[0], lambda: connects(port) or self.process.poll() is not None)
        if self.process.poll() is not None:
            self.log.seek(0)
            raise RuntimeError(self.log.read())

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def redis(folder):
    port = free_port()
    return Service([which("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--requirepass", "se:cret",
                    "--save", "", "--appendonly", "no", "--dir", folder], folder, port)


def configure(name, folder, ports):
    with open(os.path.join(DEPLOY, name)) as f:
        text = f.read()
    port = free_port()
    for old, new in zip((8080, 8081, 8082), [port] + ports):
        assert "127.0.0.1:%d" % old in text
        text = text.replace("127.0.0.1:%d" % old, "127.0.0.1:%d" % new)
    path = os.path.join(folder, name)
    with open(path, "w") as f:
        f.write(text)
    return path, port


def nginx(folder, ports):
    path, port = configure("nginx.conf", folder, ports)
    return Service([which("nginx"), "-p", folder, "-c", path, "-g", "daemon off; user root;" if os.getuid() == 0
                    else "daemon off;"], folder, port)


def haproxy(folder, ports):
    path, port = configure("haproxy.cfg", folder, ports)
    return Service([which("haproxy"), "-db", "-f", path], folder, port)


def question(session, turn, tokens=12):
    return {"messages": [{"role": "user", "content": "turn %d" % turn}], "session": session, "seed": turn + 1,
            "max_tokens": tokens, "logit_bias": LETTERS, "ignore_eos": True}


def ask(port, method, path, body=None):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60 * SLOW)
    c.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
    r = c.getresponse()
    data = r.read()
    c.close()
    return r.status, json.loads(data) if r.headers.get_content_type() == "application/json" else data


def turn(port, session, number, tokens=12):
    status, body = ask(port, "POST", "/v1/chat/completions", question(session, number, tokens))
    assert status == 200, (status, body)
    return body["choices"][0]["message"]["content"]


def stream(port, session, number, tokens, on_text):
    """The whole stream's text; None if it did not end with [DONE]."""
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60 * SLOW)
    c.request("POST", "/v1/chat/completions", json.dumps(dict(question(session, number, tokens), stream=True)),
              {"Content-Type": "application/json"})
    text = ""
    try:
        r = c.getresponse()
        assert r.status == 200, (r.status, r.read())
        while True:
            line = r.readline()
            if line.startswith(b"data: [DONE]"):
                return text
            if line.startswith(b"data: "):
                event = json.loads(line[6:])
                if "error" in event:
                    return None
                text += "".join(x["delta"].get("content", "") for x in event["choices"])
                on_text(text)
            elif not line:
                return None
    except (http.client.HTTPException, OSError):
        return None
    finally:
        c.close()


def kill_mid_turn(servers, port, session, alone):
    """alone: the answers of a server that nothing happened to."""
    told = [turn(port, session, i) for i in range(4)]
    assert told == alone[:4], "the balancer changes nothing"
    victim = None

    def on_text(text):
        nonlocal victim
        if len(text) == 20:  # it comes event by event, long before the end
            busy = [s for s in servers if s.metric("rwkv_jobs_running") > 0]
            assert len(busy) == 1, "which server answers?"
            victim = busy[0]
            victim.process.kill()
            victim.process.wait()
    assert stream(port, session, 4, 4000, on_text) is None and victim, "the stream ended as if nothing had happened"
    other = next(s for s in servers if s is not victim)
    assert other.get("/v1/sessions/" + session)[1]["turns"] == 4, "what was not acknowledged is not there"
    assert turn(port, session, 4) == alone[4], "the other server goes on from the last acknowledged turn"
    assert stream(port, session, 5, 12, lambda text: None) == alone[5]
    victim.command[victim.command.index("--port") + 1] = str(victim.port)
    victim.start()
    for _ in range(150):  # both serve again
        if victim.metric("rwkv_generated_tokens_total") > 0:
            break
        ask(port, "POST", "/v1/completions", {"prompt": "x", "max_tokens": 4})
        time.sleep(0.2)
    else:
        raise AssertionError("the server that came back gets nothing to do")
    assert victim.get("/v1/sessions/" + session)[1]["turns"] == 6


def race(servers, alone):
    """A long turn at one, a short turn at the other meanwhile: the short one wins, the long one is not half there."""
    a, b = servers
    for i in range(2):
        turn(a.port, "race", i)
    answers = []
    long_turn = threading.Thread(target=lambda: answers.append(
        ask(a.port, "POST", "/v1/chat/completions", question("race", 2, 2000))), daemon=True)
    long_turn.start()
    a.wait_metric("rwkv_jobs_running", 1)
    assert turn(b.port, "race", 2) == alone[2]
    long_turn.join(60 * SLOW)
    status, body = answers[0]
    assert status == 409 and body["error"]["code"] and body["error"]["message"], (status, body)
    for s in servers:
        assert s.get("/v1/sessions/race")[1]["turns"] == 3
    assert turn(a.port, "race", 3) == alone[3], "the loser reads the winner's turn"
    assert turn(b.port, "race", 4) == alone[4]


def redis_down(servers, process):
    """Without Redis: 503 that names it, within bounds; what needs no store is answered."""
    process.stop()
    begun = time.time()
    status, body = ask(servers[0].port, "POST", "/v1/chat/completions", question("race", 9))
    assert status == 503 and "redis" in body["error"]["message"].lower(), (status, body)
    assert time.time() - begun < 20 * SLOW
    assert "cret" not in json.dumps(body)
    assert ask(servers[0].port, "GET", "/health")[0] in (200, 503)
    assert servers[0].chat()[0] == 200


def main():
    if not which("redis-server"):
        print("skipped: redis-server is not installed")
        sys.exit(77)
    folder = tempfile.mkdtemp(prefix="rwkv-cluster-")
    services = []
    try:
        with Server(model="slow.pth") as never_killed:
            alone = [turn(never_killed.port, "s", i) for i in range(6)]
        store = redis(folder)
        services.append(store)
        url = "redis://:se%%3Acret@127.0.0.1:%d/1" % store.port
        with Server(model="slow.pth", store=url) as a, Server(model="slow.pth", store=url) as b:
            for name, start in (("nginx", nginx), ("haproxy", haproxy)):
                if not which(name):
                    print("left out: %s is not installed" % name)
                    continue
                services.append(start(folder, [a.port, b.port]))
                kill_mid_turn((a, b), services[-1].port, "by-" + name, alone)
                print("ok", name, flush=True)
            race((a, b), alone)
            print("ok race", flush=True)
            redis_down((a, b), store)
            print("ok redis down", flush=True)
    finally:
        for s in reversed(services):
            s.stop()
        shutil.rmtree(folder, ignore_errors=True)


main()
