"""Many sessions: the server's memory does not grow with them.    many.py [SESSIONS]"""
import sys
import threading

from serve import LETTERS, SLOW, Server
from idle import resident

SESSIONS = int(sys.argv[1]) if len(sys.argv) > 1 else 300
AT_ONCE = 10


def talk(server, first, last, wrong):
    for i in range(first, last):
        for turn in range(2):
            status, body, _ = server.post("/v1/chat/completions", {
                "messages": [{"role": "user", "content": "session %d turn %d" % (i, turn)}], "session": "s%d" % i,
                "max_tokens": 4, "logit_bias": LETTERS})
            if status != 200:
                wrong.append(body)


def grow(server, first, last):
    wrong, step = [], (last - first) // AT_ONCE
    threads = [threading.Thread(target=talk, args=(server, first + k * step, first + (k + 1) * step, wrong))
               for k in range(AT_ONCE)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong, wrong[0]
    return resident(server.process.pid)


def main():
    with Server("--cache-ram", "1", "--cache-disk", "1", "--max-sessions", str(2 * SESSIONS), store="sqlite:FOLDER/many.db") as server:
        before = grow(server, 0, SESSIONS)  # everything that is allocated once has been
        after = grow(server, SESSIONS, 2 * SESSIONS)
        assert len(server.get("/v1/sessions")[1]["data"]) == 2 * SESSIONS
        print("resident after %d sessions %.1f MB, after %d %.1f MB" % (SESSIONS, before / 1e6, 2 * SESSIONS, after / 1e6))
        if SLOW == 1:
            assert after - before < 2 << 20, (before, after)


if __name__ == "__main__":
    main()
