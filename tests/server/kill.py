"""kill -9 under load: no acknowledged turn is lost, no store damaged.    kill.py [ROUNDS]

Eight clients ask turn after turn, each in a session of its own; a turn is acknowledged when [DONE] has come. Turns
are a function of session and number (text and seed), so at the end every session is told once more to a server that
was never killed: each acknowledged answer must be the same there."""
import json
import os
import random
import sqlite3
import sys
import threading
import time

from serve import LETTERS, SLOW, Server

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 10
USERS = 8


def question(user, turn):
    return {"messages": [{"role": "user", "content": "user %d turn %d" % (user, turn)}], "session": "user%d" % user,
            "seed": 1000 * user + turn, "max_tokens": 6 + turn % 9, "logit_bias": LETTERS, "temperature": 1, "top_p": 1}


class Client(threading.Thread):
    def __init__(self, server, user, turn, acked):
        super().__init__(daemon=True)
        self.server, self.user, self.turn, self.acked, self.wrong = server, user, turn, acked, None

    def run(self):
        try:
            c = self.server.open()
            while True:
                c.request("POST", "/v1/chat/completions", json.dumps(dict(question(self.user, self.turn), stream=True)),
                          {"Content-Type": "application/json"})
                r = c.getresponse()
                if r.status != 200:
                    self.wrong = (r.status, r.read())
                    return
                text = ""
                while True:
                    line = r.readline()
                    if not line:
                        return
                    if line.startswith(b"data: [DONE]"):
                        break
                    if line.startswith(b"data: "):
                        event = json.loads(line[6:])
                        if "error" in event:
                            self.wrong = event
                            return
                        text += "".join(x["delta"].get("content", "") for x in event["choices"])
                r.read()
                self.acked[self.turn] = text
                self.turn += 1
        except OSError:
            pass
        except Exception as e:  # of http.client, when the server dies
            if type(e).__module__ != "http.client":
                self.wrong = repr(e)


def main():
    acked = [{} for _ in range(USERS)]
    turns = [0] * USERS
    rng = random.Random(11)
    with Server(store="sqlite:FOLDER/kill.db") as server:
        path = os.path.join(server.folder, "kill.db")
        for n in range(ROUNDS):
            kept, turns = turns, []
            for user in range(USERS):
                status, info, _ = server.get("/v1/sessions/user%d" % user)
                turns.append(info["turns"] if status == 200 else 0)
                known = max(kept[user], max(acked[user], default=-1) + 1)
                assert known <= turns[user] <= known + 1, "round %d user %d: %d turns known, %d kept" % (
                    n, user, known, turns[user])
            clients = [Client(server, user, turns[user], acked[user]) for user in range(USERS)]
            for c in clients:
                c.start()
            time.sleep(rng.uniform(0.005, 0.5) * SLOW)
            server.process.kill()
            server.process.wait()
            for c in clients:
                c.join(60)
                assert not c.wrong, c.wrong
            if n % 2 == 0:  # else the server itself finds the log as it was left
                db = sqlite3.connect(path)
                assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                db.close()
            server.start()
        kept = [server.get("/v1/sessions/user%d" % user)[1]["turns"] for user in range(USERS)]
        for user in range(USERS):
            assert kept[user] >= max(acked[user], default=-1) + 1
        after = [server.post("/v1/chat/completions", question(user, kept[user]))[1]["choices"][0]["message"]["content"]
                 for user in range(USERS)]
    with Server() as never_killed:
        for user in range(USERS):
            for turn in range(kept[user] + 1):
                status, body, _ = never_killed.post("/v1/chat/completions", question(user, turn))
                text = body["choices"][0]["message"]["content"]
                wanted = after[user] if turn == kept[user] else acked[user].get(turn, text)
                assert text == wanted, (user, turn, text, wanted)
    total = sum(len(a) for a in acked)
    assert total > ROUNDS
    print("%d times killed, %d turns acknowledged, none lost" % (ROUNDS, total))


main()
