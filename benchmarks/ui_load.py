"""Whether the app keeps its word under load: `python benchmarks/ui_load.py [--clients 30] [--questions 3]`.

The app runs in a process of its own with the stub models of the tests (real routes and a real, tiny connector; scripted
experts and words). So many clients of `gradio_client` ask at once, each question with a number that its answer has to
hold, on the routes in turn; a third process fetches `/` all the while. Prints how many answers came, were lost or were
another's, and the median, 95th percentile and longest time of `/`, before and under load. Exits with 1 where an answer
was lost or crossed, or `/` once took longer than `--most` seconds.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PHOTO = ROOT / "examples" / "photo.jpg"
ROUTES = ("experts", "connector", "both")
PAUSE_S = 0.02  # between two words of the stub
BETWEEN_S = 0.1  # between two fetches of the page


def poll(address: str) -> None:
    """Fetch the page over and over until stdin ends, then print the seconds of each fetch."""
    host = urllib.parse.urlsplit(address).netloc
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    taken = []
    while not over.is_set():
        begun = time.perf_counter()
        connection = http.client.HTTPConnection(host, timeout=60)
        connection.request("GET", "/")
        answer = connection.getresponse()
        whole = answer.status == 200 and b"Duet" in answer.read()
        connection.close()
        taken.append(time.perf_counter() - begun if whole else float("inf"))
        time.sleep(BETWEEN_S)
    print(json.dumps(taken))


class Poller:
    """The page being fetched by another process while the block lasts; `taken` are the seconds of each fetch."""

    def __init__(self, address: str) -> None:
        self.address, self.taken = address, list[float]()

    def __enter__(self) -> Poller:
        command = [sys.executable, __file__, "--poll", self.address]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: Any) -> None:
        out, _ = self.process.communicate("", timeout=120)
        self.taken = json.loads(out)

    def line(self) -> str:
        """Median, 95th percentile and longest, in milliseconds."""
        some = sorted(1000 * seconds for seconds in self.taken)
        p95 = some[min(int(0.95 * len(some)), len(some) - 1)]
        middle = statistics.median(some)
        return f"{len(some):5} fetches   p50 {middle:6.0f} ms   p95 {p95:6.0f} ms   max {some[-1]:6.0f} ms"


def ask(client: Any, number: int, photo: Any) -> tuple[bool, bool]:
    """Whether the answers to question `number` came, and whether all of them are its own."""
    route = ROUTES[number % len(ROUTES)]
    try:
        given = client.predict(f"What is number {number}?", [photo], route, api_name="/ask")
    except Exception as error:
        print(f"question {number}: {error}", file=sys.stderr)
        return False, False
    texts = [answer["text"] for answer in given["answers"]]
    own = given["question"] == f"What is number {number}?" and set(texts) == {f"It is {number}."}
    return len(texts) == 1 + (route == "both"), own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=30)
    parser.add_argument("--questions", type=int, default=3, help="of each client, one after the other")
    parser.add_argument("--most", type=float, default=0.3, help="seconds that the page may take at any time")
    parser.add_argument("--poll", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.poll:
        poll(options.poll)
        return

    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]
    os.environ["NO_PROXY"] = "127.0.0.1"
    from gradio_client import Client, handle_file
    from served import served

    photo, total = handle_file(str(PHOTO)), options.clients * options.questions
    with tempfile.TemporaryDirectory() as home, served(Path(home), pause_s=PAUSE_S) as address:
        clients = [Client(address, verbose=False) for _ in range(options.clients)]
        ask(clients[0], 0, photo)  # what loads at the first question has loaded
        with Poller(address) as idle:
            time.sleep(3)
        together = threading.Barrier(options.clients)

        def one(number: int) -> list[tuple[bool, bool]]:
            together.wait()
            return [ask(clients[number], number * options.questions + n, photo) for n in range(options.questions)]

        with Poller(address) as loaded, ThreadPoolExecutor(options.clients) as pool:
            time.sleep(0.5)
            begun = time.perf_counter()
            told = [pair for some in pool.map(one, range(options.clients)) for pair in some]
            seconds = time.perf_counter() - begun
    lost, crossed = sum(not came for came, _ in told), sum(came and not own for came, own in told)
    print(f"{options.clients} clients, {total} questions in {seconds:.1f} s: {lost} lost, {crossed} crossed")
    print(f"/ without load  {idle.line()}")
    print(f"/ under load    {loaded.line()}")
    if lost or crossed or max(loaded.taken) > options.most:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
