"""The embedded planner: only plans can be written, training and benchmark hold one language apart, scores by hand."""

from __future__ import annotations

import importlib.util
import itertools
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_llm
import torch
from fakes import FakeExpert, found, image, make_agent, sound, video
from typer.testing import CliRunner

from agent.agent import Agent
from agent.orchestrator.grammar import LONGEST_QUESTION, Grammar
from agent.orchestrator.planner import EmbeddedPlanner, calls, lines_of, similar
from agent.toolbox.scripted import Call, check_plan, run_plan
from connector.data.plans import planning_phrases
from connector.data.plans.planning import cases, plans
from connector.data.records import read_records
from connector.llm import templates
from connector.llm.constrained import Rules, spelled, vocabulary
from connector.llm.language import LanguageModel
from connector.llm.plan_language import INSTRUCTION, Line, plan_lines, plan_prompt, plan_text
from connector.llm.streaming import end_tokens
from connector.llm.text import LocalText
from experts.config import Settings
from experts.errors import InputError, ModelError
from experts.evidence.colours import COLOURS

TOOLS = {"detect": "image", "tag": "image", "caption": "image", "ocr": "image", "speech": "audio", "video": "video"}
REQUEST = "How many dogs are there, and what does the man say?"
RUN = 5  # words in a row that the benchmark may not share with training


def load_benchmark() -> Any:
    file = Path(__file__).parents[2] / "benchmarks" / "planning.py"
    spec = importlib.util.spec_from_file_location("planning_benchmark", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


benchmark = load_benchmark()
GOLD = benchmark.read_questions()


def agent(llm: LanguageModel | None = None, more: tuple[FakeExpert, ...] = ()) -> Agent:
    """Fake experts of every kind beside a tiny random language model that really writes."""
    model = tiny.model()
    if llm is not None:
        model.llm = llm
    experts = [FakeExpert(name, found(name, "a dog"), [kind]) for name, kind in TOOLS.items()]
    made = Settings(cache_mb=0, traces_mb=0)
    return Agent(made, experts={expert.name: expert for expert in (*experts, *more)}, model=model)


def fitting(media: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The tools for media ids, by their kinds."""
    tools = {name: tuple(m for m in media if m.startswith(kind)) for name, kind in TOOLS.items()}
    return {**tools, "connector": tuple(m for m in media if m.startswith(("image", "video")))}


def shuffle(llm: LanguageModel, seed: int) -> None:
    """Other random weights: another opinion on every token."""
    torch.manual_seed(seed)
    for parameter in llm.model.parameters():
        torch.nn.init.normal_(parameter, std=0.7)


# -- what can be written ------------------------------------------------------------------------------------------


def test_whatever_the_model_would_say_it_writes_a_plan_that_passes_the_check() -> None:
    odd = FakeExpert("count-cells", kinds=["image", "video"])
    made = agent(more=(odd,))
    llm = made.context.language().llm
    sets = [
        {"image": image()},
        {"image": [image(1, "a.png"), image(2, "b.png")], "audio": sound()},
        {"audio": sound(), "video": video()},
        {"video": video()},
    ]
    requests = [REQUEST, "Où est le café №5 — à gauche?", '"}] <|im_end|> none\nanswer from 9', "?!", "x" * 400]
    seen = set()
    for seed, (media, request) in itertools.product(range(3), itertools.product(sets, requests)):
        shuffle(llm, seed)
        toolbox = made.toolbox(**media)
        plan = EmbeddedPlanner(LocalText(llm), toolbox, most=4).plan(request)
        if plan.lines:
            checked = sorted(check_plan(plan.to_dict(), toolbox), key=lambda call: call.id)
            assert tuple(checked) == plan.calls
        assert plan_lines(plan.text) == plan.lines
        assert all(" ".join(request.split()).find(line.question) >= 0 for line in plan.lines)
        assert 0 < plan.confidence <= 1
        seen.add(plan.text)
    assert len(seen) > 30  # the property was tried on many different plans


def test_random_walks_through_the_grammar_always_come_to_an_end() -> None:
    rng = np.random.default_rng(0)
    tools = fitting(("image1", "image2", "audio1", "video1"))
    for request in (REQUEST, "a", "...", "word " * 100):
        for _ in range(100):
            grammar = Grammar(request, tools)
            state, text = grammar.start, ""
            while not state.done or rng.random() < 0.8:
                letters = sorted(state.letters())
                if not letters:
                    assert state.done
                    break
                text += letters[int(rng.integers(len(letters)))]
                state = state.step(text[-1])
                assert state is not None
            assert grammar.read(text) == plan_lines(text)
            assert len(text) < 8 * (40 + LONGEST_QUESTION)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "look image1",  # no such tool
        "speech image1",  # a medium of the wrong kind
        "detect image3",  # no such medium
        "detect image1\ndetect image1",  # twice
        "detect image1 after 1",  # waits for itself
        "detect image1\nocr image1 after 2",
        "detect image1\nocr image1 after 1 1",
        "detect image1\nocr image1\nanswer from 2 1",
        "answer from 1",  # from nothing
        "detect image1\nanswer",
        "detect image1\nanswer from 1\nocr image1",  # after the answer
        "detect image1\nanswer from 1\nanswer from 1",
        "detect image1: how many dogs are there",  # takes no question
        "connector image1: where is the money",  # not in the request
        "connector image1: ow many dogs",  # begins in a word
        "connector image1: How many do",  # ends in one
        "none\ndetect image1",
        "detect image1\nnone",
        "detect image1\n",
    ],
)
def test_what_is_no_plan_for_the_media_cannot_be_written(text: str) -> None:
    grammar = Grammar(REQUEST, fitting(("image1", "image2", "audio1")))
    with pytest.raises(ValueError, match="plan"):
        grammar.read(text)


def test_a_plan_has_no_more_lines_than_allowed() -> None:
    grammar = Grammar("Look.", fitting(("image1",)), most=2)
    assert len(grammar.read("detect image1\nanswer from 1")) == 2
    with pytest.raises(ValueError, match="plan"):
        grammar.read("detect image1\nocr image1\nanswer from 1 2")
    with pytest.raises(ValueError, match="1 to 9"):
        Grammar("Look.", {}, most=10)


def test_media_bound_what_can_be_planned() -> None:
    made = agent()
    for seed in range(8):
        shuffle(made.context.language().llm, seed)
        heard = EmbeddedPlanner(made.context.language(), made.toolbox(audio=sound())).plan("What is in the picture?")
        assert {line.tool for line in heard.lines} <= {"speech", "answer"}
    assert EmbeddedPlanner(made.context.language(), made.toolbox()).plan("What is in the picture?").lines == ()


def test_no_character_is_quoted_that_the_tokenizer_cannot_write_alone() -> None:
    letters = frozenset("abcdefghijklmnopqrstuvwxyz ")
    grammar = Grammar("what is ähnlich here", fitting(("image1",)), letters=letters)
    assert grammar.read("connector image1: what is")[0].question == "what is"
    for question in ("what is ähnlich", "hnlich"):
        with pytest.raises(ValueError, match="plan"):
            grammar.read(f"connector image1: {question}")


def test_allowed_tokens_are_those_whose_letters_the_grammar_takes() -> None:
    words = merged_tokenizer()
    assert any(len(words.decode([index])) > 4 for index in range(len(words)))  # tokens of several letters
    llm = LanguageModel(tiny_llm.family("llama", words), words, "tiny-merged")
    grammar = Grammar(REQUEST, fitting(("image1", "image2", "audio1")), letters=spelled(vocabulary(words)))
    for text in ("", "det", "detect image", "detect image1", "detect image1\nanswer from 1: How many"):
        state = grammar.start
        for letter in text:
            state = state.step(letter)
        rules = Rules(llm.tokenizer, end_tokens(llm.model, llm.tokenizer), state)
        masked = rules(torch.zeros(1, 0, dtype=torch.long), torch.zeros(1, len(words)))[0]
        for index in range(len(words)):
            after, token = state, words.decode([index])
            for letter in token:
                after = after and after.step(letter)
            allowed = bool(token) and after is not None
            if index == words.eos_token_id:
                allowed = state.done
            elif index in words.all_special_ids:
                allowed = False
            assert bool(masked[index] == 0) == allowed, (text, token)


def test_every_gold_plan_can_be_written_token_by_token() -> None:
    words = merged_tokenizer()
    llm = LanguageModel(tiny_llm.family("llama", words), words, "tiny-merged")
    llm.model.generation_config.eos_token_id = words.eos_token_id
    for row in GOLD:
        lines = lines_of(row["steps"], row["request"])
        ids = [*words(plan_text(lines), add_special_tokens=False).input_ids, words.eos_token_id]
        grammar = Grammar(row["request"], fitting(tuple(row["media"])), letters=spelled(vocabulary(words)))
        rules = Rules(llm.tokenizer, end_tokens(llm.model, llm.tokenizer), grammar.start)
        for at, index in enumerate(ids):
            liked = torch.zeros(1, len(words))
            liked[0, index] = 1
            assert int(rules(torch.tensor([ids[:at]], dtype=torch.long), liked).argmax()) == index, row["id"]
        assert rules.state.plan == lines


def merged_tokenizer() -> Any:
    """Byte-level BPE that learned its merges from plans, so that its tokens have several letters."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator([f"{row['request']}\n{plan_text(lines_of(row['steps'], ''))}" for row in GOLD], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>")


# -- plans and prompts --------------------------------------------------------------------------------------------


def test_lines_become_the_steps_of_a_plan_and_back() -> None:
    text = "detect image1\nspeech audio1 after 1\nconnector image1: is he happy\nanswer from 1 2: how many dogs"
    lines = plan_lines(text)
    request = "Say how many dogs and is he happy"
    made = calls(lines, request)
    assert made == (
        Call("s1", "detect", {"media": "image1"}),
        Call("s2", "speech", {"media": "audio1"}, ("s1",)),
        Call("s3", "connector", {"media": "image1", "question": "is he happy"}),
        Call("s4", "answer", {"question": "how many dogs"}, ("s1", "s2")),
    )
    assert lines_of(made, request) == lines
    assert plan_text(lines) == text
    assert calls((Line("detect", "image1"), Line("answer", needs=(1,))), request)[1].args == {"question": request}
    assert plan_lines("none") == () and plan_text(()) == "none"


@pytest.mark.parametrize("plan", [3, [3], [{"id": "a"}], [{"id": "a", "tool": "ocr", "depends_on": ["b"]}]])
def test_steps_that_are_no_plan_are_named(plan: Any) -> None:
    with pytest.raises(ValueError, match="no plan whose steps"):
        lines_of(plan, "What?")


def test_the_planner_asks_in_the_words_of_its_training_records() -> None:
    made = agent()
    read = asked_of(made.context.language().llm)
    toolbox = made.toolbox(image=image(), audio=sound())
    EmbeddedPlanner(made.context.language(), toolbox).plan("Transcribe  the\ntape.")
    record = next(r for r in plans(200, 3) if "\nMedia: image1, audio1\n" in r.question)
    question = record.question.rpartition("Request: ")[0] + "Request: Transcribe the tape."
    assert read == [templates.prompt_ids(made.context.language().llm.tokenizer, question).ids]


def test_demonstrations_are_shown_before_the_request_whatever_form_their_plans_have() -> None:
    made = agent()
    read = asked_of(made.context.language().llm)
    steps = {"steps": [{"id": "a", "tool": "ocr", "args": {"media": "image2"}, "depends_on": []}]}
    for plan in ("ocr image2", steps):
        asked: list[str] = []

        def retrieve(request: str, plan: Any = plan, asked: list[str] = asked) -> Iterator[tuple[str, Any]]:
            asked.append(request)
            yield "Read it.", plan

        EmbeddedPlanner(made.context.language(), made.toolbox(image=image()), demonstrations=retrieve).plan(
            "Who is it?"
        )
        assert asked == ["Who is it?"]
    assert read[0] == read[1]
    shown = made.context.language().llm.tokenizer.decode(read[0])
    assert f"{INSTRUCTION}\nMedia: image2\nRequest: Read it.\nocr image2\n\nMedia: image1\nRequest: Who is it?" in shown
    with pytest.raises(InputError, match="a demonstration is no plan: line 1"):
        EmbeddedPlanner(made.context.language(), made.toolbox(), demonstrations=[("Read it.", "read it!")]).plan("Who?")


def test_tools_that_were_not_learned_are_described_in_the_prompt() -> None:
    made = agent(more=(FakeExpert("count-cells"),))
    read = asked_of(made.context.language().llm)
    EmbeddedPlanner(made.context.language(), made.toolbox(image=image())).plan("How many cells?")
    EmbeddedPlanner(made.context.language(), made.toolbox(audio=sound())).plan(
        "How many cells?"
    )  # which it does not take
    shown = [made.context.language().llm.tokenizer.decode(ids) for ids in read]
    assert ["Tool count-cells: Says what a test wants it to.\n" in text for text in shown] == [True, False]


def asked_of(llm: LanguageModel) -> list[list[int]]:
    """The token ids of each prompt from now on."""
    read: list[list[int]] = []
    embed = llm.embed

    def kept(ids: torch.Tensor) -> torch.Tensor:
        read.append(ids.tolist())
        return embed(ids)

    llm.embed = kept  # type: ignore[method-assign]
    return read


def test_similar_requests_come_last_and_share_the_rarest_words() -> None:
    examples = [("What is the weather?", "none"), ("Read the sign.", "ocr image1"), ("What is the time?", "none")]
    assert similar(examples, 2)("What does the sign say?")[-1] == ("Read the sign.", "ocr image1")
    assert len(similar(examples, 2)("What?")) == 2
    assert similar([], 2)("What?") == []


def test_what_cannot_be_planned_is_told() -> None:
    made = agent()
    with pytest.raises(InputError, match="the request is empty"):
        EmbeddedPlanner(made.context.language(), made.toolbox()).plan(" \n")
    with pytest.raises(InputError, match="no medium has the id 'image2'; accepted: image1"):
        EmbeddedPlanner(made.context.language(), made.toolbox(image=image())).plan("What?", ["image2"])
    stop = threading.Event()
    stop.set()
    with pytest.raises(ModelError, match="was stopped before its plan was whole"):
        EmbeddedPlanner(made.context.language(), made.toolbox(image=image()), stop=stop).plan("What?")
    poor = tiny_llm.language_model("t5")
    with pytest.raises(ModelError, match=r"'tiny-t5' cannot write plans: its tokenizer has no token for '\\n'"):
        EmbeddedPlanner(LocalText(poor), agent(poor).toolbox(image=image())).plan("What?")


def test_rules_replace_the_rule_against_repetition_and_leave_other_answers_alone() -> None:
    llm = tiny.model().llm
    prompt = llm.embed(torch.arange(9))
    before = llm.answer(prompt, max_new_tokens=8)
    grammar = Grammar("aaaaaaaaaaaaaaaaaaaaaaaa", {"connector": ("image1",)})
    said = "".join(
        t.text
        for t in llm.stream(
            prompt, max_new_tokens=200, rules=Rules(llm.tokenizer, end_tokens(llm.model, llm.tokenizer), grammar.start)
        )
    )
    assert grammar.read(said) == plan_lines(said)
    assert llm.answer(prompt, max_new_tokens=8) == before


# -- training records ---------------------------------------------------------------------------------------------


def test_training_records_are_the_same_for_the_same_seed_and_all_different() -> None:
    rows = plans(300, 1)
    assert rows == plans(300, 1)
    assert rows[:50] != plans(50, 2)
    assert len({row.question for row in rows}) == 300
    assert {row.kind for row in rows} == {"plan"}


def test_every_training_plan_can_be_written_under_the_grammar() -> None:
    made = cases(1500, 4)
    for case in made:
        text = plan_text(case.plan)
        assert Grammar(case.request, fitting(case.media)).read(text) == case.plan, case
    used = [{line.tool for line in case.plan} for case in made]
    assert set().union(*used) == {*TOOLS, "connector", "answer"}
    assert 0.1 < sum(not tools for tools in used) / len(made) < 0.3
    assert sum(any(line.needs for line in case.plan if line.tool != "answer") for case in made) > 60
    assert sum(any(line.question for line in case.plan) for case in made) > 60


def test_orders_stand_alone_and_questions_end_in_one_answer() -> None:
    for case in cases(600, 5):
        answers = [line for line in case.plan if line.tool == "answer"]
        assert len(answers) <= 1
        if answers:
            assert case.plan[-1] == answers[0]


def test_data_plans_writes_records(tmp_path: Path) -> None:
    from ui.cli import app

    file = tmp_path / "plans.jsonl"
    told = CliRunner().invoke(app, ["data", "plans", "--out", str(file), "--n", "20", "--seed", "3"])
    assert told.exit_code == 0 and "20 records in plans.jsonl" in told.output
    assert read_records(file, max_broken=0) == plans(20, 3)
    assert plan_prompt("x", ()) == f"{INSTRUCTION}\nMedia: none\nRequest: x"


# -- the benchmark ------------------------------------------------------------------------------------------------


def test_the_benchmark_is_large_and_of_all_families() -> None:
    assert len(GOLD) >= 300
    assert len({row["id"] for row in GOLD}) == len(GOLD) == len({(row["request"], *row["media"]) for row in GOLD})
    families = {family: sum(row["family"] == family for row in GOLD) for family in {row["family"] for row in GOLD}}
    assert set(families) == {*TOOLS, "connector", "several", "depends", "none"}
    assert min(families.values()) >= 15 and min(families[name] for name in ("several", "depends", "none")) >= 30


def test_every_gold_plan_passes_the_check_of_plans_and_is_of_its_family() -> None:
    made = agent()
    for row in GOLD:
        lines = lines_of(row["steps"], row["request"])
        experts = [line for line in lines if line.tool != "answer"]
        assert Grammar(row["request"], fitting(tuple(row["media"]))).read(plan_text(lines)) == lines
        if row["family"] == "none":
            assert lines == ()
            continue
        media = {kind: [m for m in row["media"] if m.startswith(kind)] for kind in ("image", "audio", "video")}
        toolbox = made.toolbox(
            image=[image(n, f"{n}.png") for n in range(len(media["image"]))] or None,
            audio=[sound(f"{n}.wav") for n in range(len(media["audio"]))] or None,
            video=[video() for _ in media["video"]] or None,
        )
        assert len(check_plan(row["steps"], toolbox)) == len(lines)
        if row["family"] in ("several", "depends"):
            assert len(experts) > 1
        else:
            assert {line.tool for line in experts} == {row["family"]}


def test_no_request_of_the_benchmark_is_worded_as_one_of_training() -> None:
    forms = [
        form for table in (planning_phrases.ASKED, planning_phrases.TOLD) for each in table.values() for form in each
    ]
    forms += [form for form, _ in planning_phrases.CROSS] + list(planning_phrases.IDLE)
    joins = (
        planning_phrases.ASK_ASK, planning_phrases.TOLD_TOLD, planning_phrases.TOLD_ASK, planning_phrases.ASK_TOLD,
        planning_phrases.TOLD_THEN_TOLD, planning_phrases.THEN_REVERSED, planning_phrases.TOLD_THEN_ASK,
        planning_phrases.CONDITION,
    )  # fmt: skip
    assert len(forms) >= 150
    patterns = [pattern(form) for form in forms]
    taught = set().union(*(runs(part) for form in (*forms, *sum(joins, ())) for part in re.split(r"\{\w+\}", form)))
    drawn = {" ".join(words(case.request)) for case in cases(2500, 0)}
    for row in GOLD:
        plain = " ".join(words(row["request"]))
        assert plain not in drawn
        assert not any(found.fullmatch(plain) for found in patterns), row["request"]
        assert not runs(row["request"]) & taught, row["request"]


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def runs(text: str) -> set[tuple[str, ...]]:
    plain = words(text)
    return {tuple(plain[at : at + RUN]) for at in range(len(plain) - RUN + 1)}


def pattern(form: str) -> re.Pattern[str]:
    """What a wording can become: up to four words in a slot, a place or none in {in}."""
    narrow = {
        "{colour}": f"(?:{'|'.join(COLOURS)})",
        "{n}": r"\d+",
        "{m}": r"\d+",
        "{in}": r"(?: (?:in|on|of|from)(?: \S+){1,4})?",
    }
    parts = re.split(r"(\{\w+\})", form)
    made = ""
    for part in parts:
        if part.startswith("{"):
            made += ("" if part == "{in}" or not made else " ") + narrow.get(part, r"\S+(?: \S+){0,3}")
        elif words(part):
            made += (" " if made else "") + re.escape(" ".join(words(part))).replace(r"\ ", " ")
    return re.compile(made)


def test_a_wording_of_training_with_other_words_would_be_noticed() -> None:
    assert pattern("how many {things} are there{in}").fullmatch("how many old red buses are there in my street")
    assert not pattern("how many {things} are there{in}").fullmatch("how many buses can you see")


def test_scores_are_those_counted_by_hand() -> None:
    def step(id_: str, tool: str, *needs: str, **args: str) -> dict[str, Any]:
        return {"id": id_, "tool": tool, "args": args, "depends_on": list(needs)}

    gold = [
        step("a", "detect", media="image1"),
        step("b", "ocr", media="image1"),
        step("c", "answer", "a", "b", question="Who is it?"),
    ]
    same = [
        step("y", "ocr", media="image1"),
        step("x", "detect", media="image1"),
        step("z", "answer", "x", "y", question="who is it"),
    ]
    assert benchmark.compare(gold, same)["exact_plan"]
    made = [
        step("1", "detect", media="image2"),
        step("2", "tag", "1", media="image1"),
        step("3", "answer", "1", question="Who is it?"),
    ]
    row = benchmark.compare(gold, made)
    assert row == {
        "counts": {
            "nodes": [2, 1, 1],  # detect, answer; tag; ocr
            "edges": [1, 1, 1],  # detect -> answer; detect -> tag; ocr -> answer
            "argument_names": [2, 1, 1],
            "argument_values": [1, 2, 2],  # the question alone: detect looks at the wrong image
        },
        "exact_tools": False,
        "exact_plan": False,
    }
    idle = benchmark.compare([], [])
    assert idle["exact_tools"] and idle["exact_plan"]
    rows = [row | {"executed": False, "plan_s": 1.0}, idle | {"executed": None, "plan_s": 3.0}]
    assert benchmark.summarise(rows) == {
        "n": 2,
        "exact_tools": 0.5,
        "exact_plan": 0.5,
        "nodes_f1": 4 / 6,
        "edges_f1": 0.5,
        "argument_names_f1": 4 / 6,
        "argument_values_f1": 2 / 6,
        "executed": 0.0,
        "plan_s": 2.0,
    }


def test_the_benchmark_makes_plans_and_runs_them() -> None:
    made = agent()
    roles = {row["media"][name]: None for row in GOLD for name in row["media"]}
    kinds = {"announcement": sound("a.wav"), "museum": sound("m.wav"), "umbrella": sound("u.wav")}
    kinds |= {"clip": video(), "pan": video(3, heard=False)}
    media = {role: kinds.get(role) or image(number, f"{role}.png") for number, role in enumerate(roles)}
    rows = list(benchmark.measure(made, benchmark.read_questions(8), media, shown=1))
    assert [row["id"] for row in rows] == [row["id"] for row in benchmark.read_questions(8)]
    for row in rows:
        assert (row["executed"] is None) == (row["plan"] == "none")
        assert row["executed"] is not False or row["failures"]
    assert set(json.loads(json.dumps(benchmark.summarise(rows)))) >= {"nodes_f1", "edges_f1", "exact_tools"}


def test_benchmark_media_are_of_the_kinds_that_the_requests_name(tmp_path: Path) -> None:
    made = benchmark.media(tmp_path)
    for row in GOLD:
        assert all(made[role].kind == name[:-1] for name, role in row["media"].items())
    assert made["clip"].audio is not None and made["pan"].audio is None


def test_an_answer_step_of_a_written_plan_reads_what_was_found() -> None:
    answering, llm = make_agent([FakeExpert("detect", found("detect", "dog"))], "One dog.")
    lines = plan_lines("detect image1\nanswer from 1: how many dogs")
    plan = [
        {"id": c.id, "tool": c.tool, "args": c.args, "depends_on": list(c.depends_on)} for c in calls(lines, "Say it")
    ]
    done = run_plan(plan, answering.toolbox(image=image()))
    assert [step.text for step in done][-1] == "One dog."
    assert "how many dogs" in llm.prompts[0]
