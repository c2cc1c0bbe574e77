"""Does the memory find what a question about a two-hour recording asks for, how fast, and in how much room?

    python benchmarks/memory.py [--segments 2400] [--most 100000]

First a made-up transcript of two hours: chatter of a meeting drawn from a grammar, that speaks of the same matters as
the facts do, and one segment for each of FACTS. Each fact is asked for in other words; recall@k is how many of the
questions have its segment among the k most like. For comparison the same with counted words (BM25, k1 1.2, b 0.75).
Then the index alone: vectors of the transcript, blurred and copied until there are enough, and how long a search takes
flat and in lists, with the share of the flat search's 10 nearest that the lists find. Times are CPU time of one thread.
"""

from __future__ import annotations

import argparse
import math
import random
import re
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from agent.records.memory import Memory
from agent.records.memory_rows import Item
from agent.records.vectors import Index
from experts.embed import MiniLM

FACTS = [  # what is said, and what is asked
    ("The caterer wants four thousand euros for the summer party.", "How much will the food at the celebration cost?"),
    ("Ines is going to take over the Lisbon office in March.", "Who becomes head of the branch in Portugal?"),
    ("We lost the contract with the railway to a company from Graz.", "Which deal went to a competitor?"),
    ("The cooling in the server room broke down twice last week.", "What keeps failing where the computers stand?"),
    ("Parking will be closed from the ninth because they are resurfacing.", "Why can't staff leave cars outside?"),
    ("Mister Okafor found asbestos behind the panels in the old wing.", "What hazardous material was discovered?"),
    ("The new pump makes forty litres a minute, twice the old one.", "What is the flow rate of the replacement?"),
    ("Our trainees get a thousand and ninety a month from September.", "What do apprentices earn from autumn on?"),
    ("Legal says the photo of the lighthouse is not ours to use.", "Which picture has a copyright problem?"),
    ("The tests on the blue coating failed after six hundred hours in salt water.", "How long did the paint last?"),
    ("Helga broke her wrist skiing, so Tom does the night shift.", "Why is somebody else working late?"),
    ("The insurer pays for the flooded cellar, but not for the carpets.", "What water damage is not covered?"),
    ("Someone left a violin in the lobby on Tuesday.", "Which musical instrument was forgotten at the entrance?"),
    ("The elevator inspection is due before the twentieth of May.", "By what date must the lift be checked?"),
    ("Customers in Norway pay in advance from now on.", "Which Scandinavian buyers have to transfer money first?"),
    ("The bakery across the street will deliver the rolls at seven.", "At what hour does the bread arrive?"),
    ("We are switching the newsletter from weekly to monthly.", "How often will subscribers be mailed?"),
    ("The forklift has a leak in its hydraulics and must not be driven.", "Which vehicle is out of use?"),
    ("Professor Lindqvist will hold the opening speech in Swedish.", "Who speaks first, and in which language?"),
    ("A fox has been sleeping under the loading ramp.", "What wild animal lives on the premises?"),
    ("The auditors found eleven receipts without a signature.", "How many bills were not signed?"),
    ("Marketing chose the slogan about quiet mornings.", "Which motto was picked for the campaign?"),
    ("The ferry to the island is booked for sixty three people.", "How many passengers go by boat?"),
    ("Raw rubber went up by eighteen percent since January.", "Which commodity got more expensive?"),
    ("Doctor Amari offers flu shots in the canteen on Thursday.", "Where can employees be vaccinated?"),
    ("The patent on the hinge runs out in two years.", "When does the protection of the invention end?"),
    ("The cat food line gets a new tin with a pull tab.", "What changes in the packaging for pets?"),
    ("Jonas forgot to renew the domain, and the site was down on Sunday.", "Why could nobody reach our web page?"),
    ("We rent the hall in Utrecht for the trade fair.", "In which Dutch town do we exhibit?"),
    ("The choir rehearses in the attic every second Wednesday.", "When do the singers practise?"),
    ("Solar panels on the roof will cover a third of our power.", "What share of electricity comes from the sun?"),
    ("The Korean partner sends two engineers for three weeks.", "Which visitors from Asia are coming?"),
    ("The glue smells of vinegar when it gets damp.", "What odour does the adhesive give off?"),
    ("Beatrix sold the last of the green umbrellas.", "Which item for rainy days is sold out?"),
    ("The warranty on the coffee machine ended in April.", "Is the espresso maker still under guarantee?"),
    ("Schoolchildren visit the plant on the second of June.", "On which day do pupils come to see us?"),
    ("The printer on the third floor prints everything twice.", "Which device produces duplicates?"),
    ("We owe the city eight hundred for the false fire alarm.", "What did calling the firemen for nothing cost?"),
    ("Nadia speaks Turkish with the drivers from Izmir.", "Who can talk with the truckers in their language?"),
    ("The statue in the courtyard is going to the museum on loan.", "What happens to the sculpture?"),
]  # fmt: skip
WHO = """
we, they, the team, the people from sales, my colleague, the office in Hamburg, the supplier, the committee,
the drivers, the neighbours, the trainees, the insurer, our customers, the auditors
"""
DID = """
talked about, wanted to postpone, asked again about, wrote a long mail about, are still waiting for, would
rather not decide on, have a list of questions about, agreed in principle on, are happy with, complained
about, will look once more at, forgot about
"""
WHAT = """
the budget, the party, the parking lot, the lift, the server room, the contract, the old wing, the pump, the
photo on the cover, the coating, the night shift, the cellar, the lobby, the invoices, the bread order, the
newsletter, the forklift, the opening speech, the loading ramp, the receipts, the slogan, the boat trip, the
price of rubber, the flu shots, the patent, the packaging, the web page, the trade fair, the choir, the roof,
the visit from Korea, the glue, the umbrellas, the coffee machine, the school visit, the printer, the fire
alarm, the statue, the calendar, the holidays
"""
END = """
last week, as far as I know, and that is fine, so let us see, before the summer, in the other meeting, I
think, with the usual people, which takes time, again, as always, but not today, if there is time, and so on
"""


def transcript(count: int, seed: int = 0) -> tuple[list[str], list[int]]:
    """`count` segments, no two alike, and at which place each fact is said."""
    rng = random.Random(seed)
    who, did, what, end = ([part.strip() for part in text.split(",")] for text in (WHO, DID, WHAT, END))
    chatter: dict[str, None] = {}
    while len(chatter) < count - len(FACTS):
        text = f"{rng.choice(who)} {rng.choice(did)} {rng.choice(what)} {rng.choice(end)}."
        chatter[text[0].upper() + text[1:]] = None
    said = list(chatter)
    places = sorted(rng.sample(range(count), len(FACTS)))
    for place, (fact, _) in zip(places, FACTS, strict=True):
        said.insert(place, fact)
    return said, places


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def bm25(said: list[str], question: str, k1: float = 1.2, b: float = 0.75) -> list[int]:
    """Places by counted words, best first."""
    counts = [Counter(words(text)) for text in said]
    mean = sum(sum(count.values()) for count in counts) / len(counts)
    scores = np.zeros(len(said))
    for word in set(words(question)):
        holds = sum(word in count for count in counts)
        weight = math.log(1 + (len(said) - holds + 0.5) / (holds + 0.5))
        for place, count in enumerate(counts):
            if n := count[word]:
                scores[place] += weight * n * (k1 + 1) / (n + k1 * (1 - b + b * sum(count.values()) / mean))
    return [int(place) for place in np.argsort(-scores, kind="stable")]


def cpu(call: Any) -> tuple[float, Any]:
    begun = time.process_time()
    value = call()
    return time.process_time() - begun, value


def recording(count: int, folder: Path) -> np.ndarray:
    """Figures for the transcript; its vectors [N, D]."""
    said, places = transcript(count)
    memory = Memory(folder / "memory.db")
    memory.embedder(["load the model"])
    keep_s, _ = cpu(lambda: memory.keep("media:x", "speech", [Item(text, {"n": n}) for n, text in enumerate(said)]))
    first_s, _ = cpu(lambda: memory.search("what was said?", ["media:x"]))
    memory.save()
    ranks, lexical, search_s = [], [], 0.0
    for place, (_, question) in zip(places, FACTS, strict=True):
        took, found = cpu(lambda question=question: memory.search(question, ["media:x"], 20))
        search_s += took
        ranks.append(next((rank for rank, row in enumerate(found) if row.data["n"] == place), 99))
        lexical.append(bm25(said, question).index(place))
    print(f"transcript of {count} segments, {len(FACTS)} facts asked for in other words")
    for name, got in (("MiniLM", ranks), ("BM25", lexical)):
        print(f"  {name:<8}" + "".join(f"  recall@{k} {sum(r < k for r in got) / len(got):6.1%}" for k in (1, 5, 20)))
    print(f"  kept in {keep_s:.2f} s; vectors and index in {first_s:.2f} s, once ({count / first_s:.0f} segments/s)")
    print(f"  a question then takes {1000 * search_s / len(FACTS):.1f} ms, most of it for its own vector")
    vectors = memory.vectors()
    memory.close()
    sizes = {path.suffix: path.stat().st_size for path in folder.iterdir()}
    print("  on disk: " + ", ".join(f"{size:,} bytes {suffix}" for suffix, size in sorted(sizes.items())))
    return vectors


def index_times(real: np.ndarray, most: int, folder: Path) -> None:
    """Build, search and size of the index at 1e3, 1e4 ... vectors."""
    rng = np.random.default_rng(0)
    asked = MiniLM()([question for _, question in FACTS])
    print(f"{'vectors':>9}{'form':>8}{'build s':>9}{'search ms':>11}{'recall@10':>11}{'lists':>7}{'read':>6}{'MB':>8}")
    for count in (n for n in (1_000, 10_000, 20_000, 50_000, 100_000) if n <= most):
        copies = real[rng.integers(len(real), size=count)]
        vectors = copies + rng.normal(0, 0.4 / real.shape[1] ** 0.5, copies.shape).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        true: list[set[int]] = []
        for form, lists_from in (("flat", count + 1), ("lists", count)):
            index = Index(real.shape[1], lists_from=lists_from)
            build_s, _ = cpu(lambda index=index, vectors=vectors: index.add(np.arange(len(vectors)), vectors))
            took, found = cpu(lambda index=index: [{n for n, _ in index.search(query, 10)} for query in asked])
            true = true or found
            recall = sum(len(a & b) for a, b in zip(true, found, strict=True)) / (10 * len(asked))
            index.save(folder / "index", {})
            size = (folder / "index").stat().st_size / 1e6
            probes = index._faiss.nprobe if index.lists else 0
            print(
                f"{count:>9,}{form:>8}{build_s:>9.2f}{1000 * took / len(asked):>11.3f}{recall:>11.1%}"
                f"{index.lists:>7}{probes:>6}{size:>8.1f}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segments", type=int, default=2400, help="of the transcript: 3 s each in two hours")
    parser.add_argument("--most", type=int, default=100_000, help="vectors in the largest index")
    options = parser.parse_args()
    import faiss
    import torch

    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        real = recording(options.segments, Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        index_times(real, options.most, Path(folder))


if __name__ == "__main__":
    main()
