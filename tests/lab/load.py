"""Clients of a service that ask for so many images in all, and someone who looks at its servers meanwhile.

    python load.py URL REQUESTS FOLDER

Writes a line to ``FOLDER/answers`` for each answer (status, seconds it took), and one to ``FOLDER/states`` whenever the
servers' states change (seconds since 1970, states by name). Needs the standard library alone.
"""

import itertools
import json
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

CLIENTS, STEPS, LOOK_S = 8, 10, 0.05


def ask(url, number):
    """Status of an images request."""
    body = json.dumps({"prompt": f"number {number}", "num_inference_steps": STEPS}).encode()
    request = urllib.request.Request(f"{url}/v1/images/generations", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError as error:
        return type(error).__name__


def states(url):
    """State of each server."""
    with urllib.request.urlopen(f"{url}/v1/fleet", timeout=10) as answer:
        return {server["name"]: server["state"] for server in json.load(answer)["servers"]}


def main(url, requests, folder):
    """Ask, look, and write it down."""
    numbers, lock, ended = itertools.count(), threading.Lock(), threading.Event()
    answers, changes = (folder / "answers").open("w", buffering=1), (folder / "states").open("w", buffering=1)

    def client():
        while (number := next(numbers)) < requests:
            began = time.monotonic()
            status = ask(url, number)
            with lock:
                answers.write(f"{status} {time.monotonic() - began:.3f}\n")

    def watch():
        before = None
        while not ended.wait(LOOK_S):
            now = states(url)
            if now != before:
                changes.write(f"{time.time():.3f} {json.dumps(now)}\n")
                before = now

    watching, clients = threading.Thread(target=watch), [threading.Thread(target=client) for _ in range(CLIENTS)]
    watching.start()
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    ended.set()
    watching.join()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
