"""Runs the official OpenAI clients against `rwkv serve`: clients.py python|javascript FOLDER

Each is installed once into FOLDER from its registry. Exit code 77 (skipped) where that is not possible, unless
RWKV_REQUIRE_CLIENTS is set."""
import json
import os
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
from serve import LETTERS, Server  # noqa: E402

KEY = "sk-official-client"


def skip(why):
    print("skipped:", why)
    sys.exit(1 if os.environ.get("RWKV_REQUIRE_CLIENTS") else 77)


def install(done, command, wanted, cwd):
    """Once per list of wanted versions."""
    with open(wanted) as f:
        text = f.read()
    if os.path.exists(done) and open(done).read() == text:
        return
    try:
        r = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        skip("the registry does not answer")
    if r.returncode:
        skip((r.stderr or r.stdout).strip()[-400:])
    with open(done, "w") as f:
        f.write(text)


def python(folder):
    wanted = os.path.join(HERE, "requirements.txt")
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode:
        skip("python3 has no pip")
    install(os.path.join(folder, "python.done"),
            [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-input",
             "--root-user-action=ignore", "--upgrade", "--target", os.path.join(folder, "python"), "-r", wanted],
            wanted, folder)
    return [sys.executable, "-B", os.path.join(HERE, "client.py")], {"PYTHONPATH": os.path.join(folder, "python")}


def javascript(folder):
    if not shutil.which("node") or not shutil.which("npm"):
        skip("no node and npm here")
    for name in ("package.json", "client.mjs"):  # modules are looked for beside the script
        shutil.copy(os.path.join(HERE, name), folder)
    install(os.path.join(folder, "javascript.done"), ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"],
            os.path.join(HERE, "package.json"), folder)
    return ["node", os.path.join(folder, "client.mjs")], {}


def main():
    language, folder = sys.argv[1], os.path.abspath(sys.argv[2])
    os.makedirs(folder, exist_ok=True)
    command, env = {"python": python, "javascript": javascript}[language](folder)
    with Server("--max-tokens", "1000000", env={"RWKV_API_KEYS": KEY}) as server:
        env.update(BASE_URL="http://127.0.0.1:%d/v1" % server.port, API_KEY=KEY, LETTERS=json.dumps(LETTERS))
        code = subprocess.run(command, env=dict(os.environ, **env), timeout=300).returncode
        if code:
            sys.exit("the client failed")
        left = None
        for _ in range(100):  # what clients left behind has been cancelled
            text = server.get("/metrics", raw=True, headers={"Authorization": "Bearer " + KEY})[1].decode()
            left = [line for line in text.split("\n") if line.startswith(("rwkv_jobs_running ", "rwkv_jobs_queued "))]
            if len(left) == 2 and all(line.endswith(" 0") for line in left):
                break
            time.sleep(0.05)
        else:
            sys.exit("jobs are left: %s" % left)
        assert 'rwkv_jobs_total{finish="cancelled"} 0' not in text, "nothing was cancelled"


main()
