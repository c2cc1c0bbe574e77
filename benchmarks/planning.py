"""Does the embedded planner choose the right tools, and do its plans run? 325 requests with gold plans, on real media.

    python benchmarks/planning.py [--limit 30] [--connector NAME] [--demonstrations 4] [--no-execute] [--out ROWS]

The requests of planning/questions.jsonl were written by hand, in wordings that the training records do not have (a
test holds them apart): one tool, several tools, calls that wait for others, no tool. Such as

    {"id": "several-01", "family": "several", "request": "How many buses are there, and what is written on them?",
     "media": {"image1": "scene"}, "steps": [{"id": "s1", "tool": "detect", "args": {"media": "image1"}, ...}, ...]}

`media` names a medium's role; the media are drawn, or lie in this repository. Each plan is made under the grammar, then
run as it is. The figures are TaskBench's (Shen et al. 2023; checked against its taskbench/evaluate.py at 2e6114e): of
each request the sets of tools (nodes), of pairs (tool waited for, tool that waits) (edges), of (tool, argument's name)
and of (tool, argument's name, value), pooled over all requests, with F1 = 2 TP / (2 TP + FP + FN). Values are compared
without case and end punctuation. `answer` counts as a tool. Beside them: the share of requests with exactly the gold
set of tools, and of those with exactly the gold plan (the same calls on the same media, in the same dependencies).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from agent.agent import Agent
    from experts.media import Audio, Image, Media

QUESTIONS = Path(__file__).with_suffix("") / "questions.jsonl"
EXAMPLES = 2500  # training requests that demonstrations are drawn from
PARTS = ("nodes", "edges", "argument_names", "argument_values")
Steps = Sequence[Mapping[str, Any]]


# -- scores --------------------------------------------------------------------------------------------------------


def sets(steps: Steps) -> dict[str, set[tuple[str, ...]]]:
    """What TaskBench compares of a plan, by PARTS."""
    tools = {step["id"]: step["tool"] for step in steps}
    named = [(step["tool"], name, _plain(value)) for step in steps for name, value in step["args"].items()]
    return {
        "nodes": {(tool,) for tool in tools.values()},
        "edges": {(tools[name], step["tool"]) for step in steps for name in step["depends_on"]},
        "argument_names": {(tool, name) for tool, name, _ in named},
        "argument_values": set(named),
    }


def whole(steps: Steps) -> set[tuple[Any, ...]]:
    """A plan regardless of the order and the ids of its steps: each call with the calls it waits for."""
    call = {step["id"]: (step["tool"], *(_plain(value) for _, value in sorted(step["args"].items()))) for step in steps}
    return {(call[step["id"]], frozenset(call[name] for name in step["depends_on"])) for step in steps}


def compare(gold: Steps, made: Steps) -> dict[str, Any]:
    """One request's counts (true positive, false positive, false negative) by PARTS, and whether all is right."""
    have, want = sets(made), sets(gold)
    counts = {
        part: [len(have[part] & want[part]), len(have[part] - want[part]), len(want[part] - have[part])]
        for part in PARTS
    }
    return {"counts": counts, "exact_tools": have["nodes"] == want["nodes"], "exact_plan": whole(made) == whole(gold)}


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures over `rows`; shares and F1 in [0, 1], None where there is nothing to count."""
    found: dict[str, Any] = {"n": len(rows)}
    for key in ("exact_tools", "exact_plan"):
        found[key] = _share([row[key] for row in rows])
    for part in PARTS:
        right, more, less = (sum(row["counts"][part][at] for row in rows) for at in range(3))
        found[f"{part}_f1"] = 2 * right / (2 * right + more + less) if right + more + less else None
    found["executed"] = _share([row["executed"] for row in rows if row.get("executed") is not None])
    found["plan_s"] = sum(row["plan_s"] for row in rows) / len(rows) if rows else None
    return found


def _share(values: Sequence[bool]) -> float | None:
    return sum(values) / len(values) if values else None


def _plain(value: Any) -> str:
    return " ".join(str(value).lower().split()).strip(" .,;:!?'\"")


# -- media ---------------------------------------------------------------------------------------------------------


def media(folder: Path) -> dict[str, Media]:
    """The media by role: a generated scene, a drawn sign, a photo, three recordings, two videos made of these."""
    from connector.data.pictures.scenes import generate
    from experts.media import Audio, Image, Video

    (scene,) = generate(folder, "test", 1, seed=5)
    speech = ROOT / "tests" / "fixtures" / "speech"
    images = {
        "scene": Image.open(folder / scene.image, name="scene.png"),
        "sign": Image.open(_sign(), name="sign.png"),
        "photo": Image.open(ROOT / "examples" / "photo.jpg"),
    }
    sounds = {
        "announcement": Audio.open(ROOT / "examples" / "announcement.wav"),
        "museum": Audio.open(speech / "museum.flac"),
        "umbrella": Audio.open(speech / "umbrella.flac"),
    }
    clip = _video([images["scene"], images["sign"]], sounds["umbrella"])
    pan = _video([images["photo"]], None)
    return {
        **images,
        **sounds,
        "clip": Video.open(clip, name="clip.mp4"),
        "pan": Video.open(pan, name="pan.mp4"),
    }


def _sign() -> Any:
    """A street sign with two lines of text, uint8 [320, 480, 3]."""
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("RGB", (480, 320), (150, 190, 220))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((60, 60, 420, 220), fill=(20, 80, 40), outline=(255, 255, 255), width=4)
    for row, line in enumerate(("OLD HARBOR", "Platform 4")):
        draw.text((90, 80 + 64 * row), line, fill=(255, 255, 255), font=ImageFont.load_default(48))
    return np.asarray(picture)


def _video(frames: Sequence[Image], sound: Audio | None, rate_fps: int = 4, seconds: float = 2.0) -> bytes:
    """An MP4 that shows each frame for `seconds`, with the first of the sound."""
    import io
    from fractions import Fraction

    import av
    import numpy as np
    from PIL import Image as Pictures

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as made:
        pictures = made.add_stream("mpeg4", rate=rate_fps)
        pictures.width, pictures.height, pictures.pix_fmt = 320, 320, "yuv420p"
        voice = made.add_stream("aac", rate=16_000, layout="mono") if sound else None
        each = int(rate_fps * seconds)
        for number in range(each * len(frames)):
            shown = Pictures.fromarray(frames[number // each].pixels).resize((320, 320))
            frame = av.VideoFrame.from_ndarray(np.asarray(shown), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate_fps)
            made.mux(pictures.encode(frame))
        if voice is not None and sound is not None:
            samples = sound.samples[: int(16_000 * seconds * len(frames))]
            for at in range(0, len(samples), 1024):
                part = av.AudioFrame.from_ndarray(samples[None, at : at + 1024], format="fltp", layout="mono")
                part.sample_rate, part.pts, part.time_base = 16_000, at, Fraction(1, 16_000)
                made.mux(voice.encode(part))
            made.mux(voice.encode(None))
        made.mux(pictures.encode(None))
    return file.getvalue()


# -- the run -------------------------------------------------------------------------------------------------------


def read_questions(limit: int = 0) -> list[dict[str, Any]]:
    """The requests; with `limit` that many, evenly from all families."""
    rows = [json.loads(line) for line in QUESTIONS.read_text(encoding="utf-8").splitlines()]
    return rows if not limit else [rows[at * len(rows) // limit] for at in range(min(limit, len(rows)))]


def measure(
    agent: Agent,
    questions: Sequence[Mapping[str, Any]],
    roles: Mapping[str, Media],
    *,
    shown: int = 0,
    execute: bool = True,
) -> Iterator[dict[str, Any]]:
    """One row a request, as it is done. `shown` training requests go before each as demonstrations."""
    from agent.orchestrator.planner import EmbeddedPlanner, similar
    from agent.toolbox.scripted import run_plan
    from agent.toolbox.tools import Toolbox
    from connector.data.plans.planning import cases
    from connector.llm.plan_language import plan_text

    examples = [(case.request, plan_text(case.plan)) for case in cases(EXAMPLES, 0)] if shown else []
    retrieve = similar(examples, shown) if shown else ()
    for asked in questions:
        toolbox = Toolbox(agent.context, {name: roles[role] for name, role in asked["media"].items()})
        plan = EmbeddedPlanner(agent.context.language(), toolbox, demonstrations=retrieve).plan(asked["request"])
        steps = plan.to_dict()["steps"]
        row = {
            "id": asked["id"],
            "family": asked["family"],
            "request": asked["request"],
            "plan": plan.text,
            **compare(asked["steps"], steps),
            "confidence": round(plan.confidence, 4),
            "plan_s": round(plan.seconds, 3),
            "executed": None,  # where there is nothing to run
        }
        if execute and steps:
            begun = time.perf_counter()
            done = run_plan(plan.to_dict(), toolbox)
            row["executed"] = all(step.status == "done" for step in done)
            row["failures"] = [f"{step.call.tool}: {step.error}" for step in done if step.error]
            row["run_s"] = round(time.perf_counter() - begun, 3)
        yield row


def main() -> None:
    """Measure, and print the figures of each family and of all."""
    from agent.agent import Agent
    from experts.config import Settings, load_settings

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=0, help="so many requests, evenly from all families")
    parser.add_argument("--connector", default=Settings().connector, help="whose adapter plans: a name, or a folder")
    parser.add_argument("--demonstrations", type=int, default=0, help="training requests shown before each")
    parser.add_argument("--no-execute", action="store_true", help="make the plans, do not run them")
    parser.add_argument("--out", type=Path, help="JSONL file for the rows")
    options = parser.parse_args()
    agent = Agent(load_settings(connector=options.connector))
    rows: list[dict[str, Any]] = []
    asked = read_questions(options.limit)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as opened:
        roles = media(Path(folder))
        out = opened.enter_context(options.out.open("w", encoding="utf-8")) if options.out else sys.stdout
        for row in measure(agent, asked, roles, shown=options.demonstrations, execute=not options.no_execute):
            rows.append(row)
            print(json.dumps(row, ensure_ascii=False), file=out, flush=True)
    if agent.context.untuned:
        print(f"without its adapter: {agent.context.untuned}")
    for family in [*dict.fromkeys(row["family"] for row in rows), "all"]:
        figures = summarise([row for row in rows if family in (row["family"], "all")])
        shown = (
            f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}" for key, value in figures.items()
        )
        print(f"{family}: " + ", ".join(shown))


if __name__ == "__main__":
    main()
