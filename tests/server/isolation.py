"""Many users at once: every transcript is bit for bit that of the user alone.    isolation.py [USERS TURNS]

Texts and log-probabilities are compared. Half of the users have sessions, half send their whole conversation; some
walk away in the middle of an answer and ask again; there are fewer lanes than users."""
import json
import random
import sys
import threading
import time

from serve import LETTERS, Server

USERS, TURNS = (int(a) for a in (sys.argv[1:] + ["16", "4"])[:2]) if len(sys.argv) == 3 else (16, 4)


def body(user, turn, history):
    rng = random.Random(user * 1000 + turn)
    new = {"role": "user", "content": " ".join("u%d w%d" % (user, rng.randrange(99)) for _ in range(rng.randrange(1, 30)))}
    b = {"seed": user * 1000 + turn, "max_tokens": rng.randrange(3, 25), "logit_bias": LETTERS, "logprobs": True,
         "top_logprobs": 2, "temperature": 1, "top_p": 0.9}
    if user % 2:
        b.update(session="user%d" % user, messages=[new])
    else:
        b.update(messages=history + [new])
    return b, new


def walk_away(server, b):
    """Asks for a long answer and is gone after a few events."""
    c = server.open()
    c.request("POST", "/v1/chat/completions", json.dumps(dict(b, stream=True, max_tokens=8000, ignore_eos=True)),
              {"Content-Type": "application/json"})
    r = c.getresponse()
    for _ in range(random.randrange(5)):
        r.readline()
    r.close()
    c.close()


def talk(server, user, disturb, out):
    history, transcript = [], []
    for turn in range(TURNS):
        b, new = body(user, turn, history)
        if disturb and user % 2 == 0 and (user + turn) % 5 == 0:
            walk_away(server, b)
        while True:
            status, answer, _ = server.post("/v1/chat/completions", b, timeout=300)
            if status not in (429, 503):
                break
            time.sleep(0.1)
        assert status == 200, answer
        choice = answer["choices"][0]
        transcript.append((choice["message"]["content"], choice["logprobs"], answer["usage"]["prompt_tokens"]))
        history += [new, {"role": "assistant", "content": choice["message"]["content"]}]
    out[user] = transcript


def main():
    together, alone = {}, {}
    with Server("--lanes", "6", "--cache-ram", "1") as server:
        threads = [threading.Thread(target=talk, args=(server, u, True, together), daemon=True) for u in range(USERS)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(600)
    with Server() as server:
        for user in range(USERS):
            talk(server, user, False, alone)
    assert sorted(together) == list(range(USERS)), "somebody got no answer"
    for user in range(USERS):
        for turn in range(TURNS):
            assert together[user][turn] == alone[user][turn], (user, turn, together[user][turn], alone[user][turn])
    assert len({json.dumps(t) for t in alone.values()}) == USERS
    print("%d users, %d turns each: the same as alone" % (USERS, TURNS))


main()
