"""The batch tab: one's own questions to several routes, with progress, stop and resume, a table and files to keep."""

from __future__ import annotations

import hashlib
import html
import json
import queue
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from experts.config import home
from experts.errors import InputError
from ui.app import words
from ui.app.faults import message_for, warn
from ui.app.pages.chat import LIGHT
from ui.app.words import say, word
from ui.votes import comparison
from ui.votes.store import VoteStore, shared

if TYPE_CHECKING:
    from agent.agent import Agent

Updates = dict[Any, Any]
BEAT_S = 1.0  # how often the page hears of a run at least
MOST_FILES = 2000  # of an upload
MOST_ROWS = 500  # that the page shows; the files have all
TO_ARENA = """() => {
  document.querySelectorAll("#pages button[data-tab-id=arena]").forEach((tab) => tab.click());
  setTimeout(() => document.getElementById("arena-stored")?.click(), 300);
}"""  # opens the arena's tab, which has to be drawn before its button is there

WORDS: dict[str, tuple[str, str]] = {
    "batch_about": (
        "Ask your own questions on several routes. Upload `questions.jsonl` or `questions.csv` (question, image, "
        "audio or video, perhaps answer) with the media they name, or media alone; or name a folder of this machine. "
        "A run that was stopped goes on where it was.",
        "用自己的问题比较多条路线。上传 `questions.jsonl` 或 `questions.csv`"
        "（列：question、image、audio 或 video，可选 answer）及其引用的媒体，或只上传媒体；"
        "也可填写本机文件夹。已停止的任务会从断点继续。",
    ),
    "batch_files": ("Questions and media", "问题与媒体"),
    "batch_path": ("Or a file or folder of this machine", "或本机的文件或文件夹"),
    "batch_routes": ("Routes", "路线"),
    "batch_run": ("Run", "运行"),
    "batch_stop": ("Stop", "停止"),
    "batch_progress": ("{0} of {1} answers", "{1} 个回答中已完成 {0} 个"),
    "batch_loading": ("Getting ready …", "正在准备 …"),
    "batch_done": (
        "Done: {0} questions on {1} routes; {2} new battles in the database.",
        "完成：{0} 个问题、{1} 条路线；数据库新增 {2} 场对战。",
    ),
    "batch_halted": ("Stopped; Run goes on from here.", "已停止；再次运行会从此处继续。"),
    "batch_refused": ("Left out: {0}", "未采用：{0}"),
    "batch_right": ("{0}: right {1} of {2} ({3}), median {4} s", "{0}：{2} 题答对 {1} 题（{3}），中位 {4} 秒"),
    "batch_unjudged": (
        "{0}: {1} answers, no right ones known, median {2} s",
        "{0}：{1} 个回答，无已知答案，中位 {2} 秒",
    ),
    "batch_waiting": ("Pairs of answers that wait for a blind vote: {0}.", "{0} 对回答等待匿名投票。"),
    "batch_judge": ("Judge them blind in the arena", "去竞技场匿名评判"),
    "batch_rows": ("Answers", "回答"),
    "batch_download": ("All rows", "全部结果"),
    "batch_nothing": (
        "nothing was given; upload questions or media, or name a folder",
        "没有内容；请上传问题或媒体，或填写文件夹",
    ),
}
words.add(WORDS)


class Page:
    """The tab's components and what they call."""

    def __init__(self, agent: Agent, votes: VoteStore) -> None:
        self.agent, self.votes = agent, votes
        self._running: dict[str, threading.Event] = {}  # session -> its run's stop
        self._busy: set[Path] = set()  # folders of runs that go on
        self._lock = threading.Lock()
        self.draw()

    def draw(self) -> None:
        """The components, in the order of the page."""
        gr.Markdown(word("batch_about"))
        with gr.Row():
            self.files = gr.File(label=word("batch_files"), file_count="multiple", height=140, elem_id="batch-files")
            with gr.Column():
                self.path = gr.Textbox(label=word("batch_path"), max_lines=1, elem_id="batch-path")
                self.routes = gr.CheckboxGroup(
                    list(comparison.ROUTES),
                    value=list(comparison.USUAL),
                    label=word("batch_routes"),
                    elem_id="batch-routes",
                )
        with gr.Row():
            self.run = gr.Button(word("batch_run"), variant="primary", elem_id="batch-run")
            self.halt = gr.Button(word("batch_stop"), variant="stop", interactive=False, elem_id="batch-stop")
        self.status = gr.HTML("", elem_id="batch-status")
        self.judge = gr.Button(word("batch_judge"), visible=False, elem_id="batch-judge")
        self.judge.click(None, js=TO_ARENA)
        self.table = gr.Dataframe(
            label=word("batch_rows"), interactive=False, wrap=True, visible=False, elem_id="batch-rows"
        )
        self.made = gr.File(label=word("batch_download"), interactive=False, visible=False, file_count="multiple")
        self.run.click(
            self.start, [self.files, self.path, self.routes],
            [self.run, self.halt, self.status, self.judge, self.table, self.made],
            concurrency_id="batch", concurrency_limit=4, api_visibility="private", show_progress="hidden",
        )  # fmt: skip
        self.halt.click(self.stop, None, None, **LIGHT)

    def stop(self, request: gr.Request) -> None:
        """End this person's run after the answer that is being given."""
        with self._lock:
            event = self._running.get(request.session_hash or "")
        if event is not None:
            event.set()

    def start(self, files: list[str] | None, path: str, routes: list[str], request: gr.Request) -> Iterator[Updates]:
        """Run a batch, telling how far it is; the table and the files at its end or where it was stopped."""
        from agent.evaluation.benchmarks.own_questions import load_questions

        language = words.language(request)
        yield {
            self.run: gr.Button(interactive=False),
            self.halt: gr.Button(interactive=True),
            self.status: say(language, "batch_loading"),
        }
        claimed: Path | None = None
        stop = threading.Event()
        with self._lock:
            self._running[request.session_hash or ""] = stop
        try:
            chosen = comparison.routes_of(",".join(routes or []))
            loaded = load_questions(self.source(files or [], path, language), name="questions" if files else "")
            claimed = self.claim(comparison.folder_for(loaded.benchmark, self.agent, chosen))
            found = None
            for news in self.work(loaded.benchmark, chosen, claimed, stop):
                if isinstance(news, comparison.Compared):
                    found = news
                else:
                    yield {self.status: bar(*news, language)}
            assert found is not None, "a run ends in what it found"
            yield self.result(found, loaded.refused, claimed, language)
        except Exception as error:
            told_line = message_for(error, language)
            warn(told_line)
            told_line = html.escape(told_line)
            yield {
                self.status: f"<p>⚠ {told_line}</p>",
                self.run: gr.Button(interactive=True),
                self.halt: gr.Button(interactive=False),
            }
        finally:
            stop.set()  # also where the page was closed
            with self._lock:
                self._running.pop(request.session_hash or "", None)
                self._busy.discard(claimed or Path())

    def claim(self, folder: Path) -> Path:
        """`folder`, which no other run of this app writes to until this one is over."""
        with self._lock:
            if folder in self._busy:
                raise InputError("these questions are being asked already; wait for that run or stop it")
            self._busy.add(folder)
        return folder

    def work(
        self, benchmark: Any, routes: Sequence[str], folder: Path, stop: threading.Event
    ) -> Iterator[tuple[int, int] | comparison.Compared]:
        """(done, total) as a run goes on, then what it came to; an error of the run is raised here."""
        news: queue.Queue[Any] = queue.Queue()

        def run() -> None:
            try:
                found = comparison.compare(
                    benchmark, self.agent, routes, folder, self.votes, report=lambda *at: news.put(at), stop=stop
                )
                news.put(found)
            except BaseException as error:  # raised where somebody sees it
                news.put(error)

        thread = threading.Thread(target=run, name="batch", daemon=True)
        thread.start()
        last = (0, len(routes) * len(benchmark.records))
        try:
            while True:
                try:
                    item = news.get(timeout=BEAT_S)
                except queue.Empty:
                    item = last
                if isinstance(item, BaseException):
                    raise item
                yield item
                if isinstance(item, comparison.Compared):
                    return
                last = item
        finally:
            stop.set()
            thread.join()  # so that nobody else writes to the folder before this one is done

    def result(self, found: comparison.Compared, refused: Sequence[str], folder: Path, language: str) -> Updates:
        """The end of a run: what came out in a few lines, the table, the files."""
        columns, rows = comparison.table(found)
        values = comparison.summary(found)
        lines = [say(language, "batch_halted")] if found.stopped else []
        lines.append(say(language, "batch_done", values["questions"], len(found.rows), found.battles))
        for route, figures in values["routes"].items():
            right, median = figures["right"], f"{figures['median_s'] or 0:.2f}"
            if right:
                numbers = (right["hits"], right["n"], f"{right['value']:.1%}", median)
                lines.append(say(language, "batch_right", route, *numbers))
            else:
                lines.append(say(language, "batch_unjudged", route, figures["n"], median))
        waiting = self.votes.waiting()[1]
        lines += [say(language, "batch_waiting", waiting)] if waiting else []
        lines += [say(language, "batch_refused", line) for line in refused[:20]]
        return {
            self.run: gr.Button(interactive=True),
            self.halt: gr.Button(interactive=False),
            self.status: "".join(f"<p style='margin:.2em 0'>{html.escape(line)}</p>" for line in lines),
            self.judge: gr.Button(visible=waiting > 0),
            self.table: gr.Dataframe(value={"headers": columns, "data": rows[:MOST_ROWS]}, visible=True),
            self.made: gr.File(value=[str(file) for file in handed(comparison.write(found, folder))], visible=True),
        }

    def source(self, files: Sequence[str], path: str, language: str) -> Path:
        """Where the questions are: the uploaded files together in a folder, or what was named.

        Raises:
            InputError: nothing was given, or too much.
        """
        if not files:
            if not path.strip():
                raise InputError(say(language, "batch_nothing"))
            return Path(path.strip()).expanduser()
        if len(files) > MOST_FILES:
            raise InputError(f"{len(files)} files were uploaded; accepted: {MOST_FILES}; name a folder instead")
        given = [Path(file) for file in files]
        listed = [file for file in given if file.suffix.lower() in (".jsonl", ".csv")]
        if len(listed) > 1:
            raise InputError("several files of questions were uploaded; accepted: one, with the media that it names")
        told_by = []
        for file in given:
            with file.open("rb") as stream:
                told_by.append([file.name, hashlib.file_digest(stream, "sha256").hexdigest()])
        digest = hashlib.sha256(json.dumps(sorted(told_by)).encode()).hexdigest()[:16]
        folder = home() / "batch" / "uploads" / digest  # the same files again are the same folder, so a run goes on
        folder.mkdir(parents=True, exist_ok=True)
        for file in given:
            name = f"questions{file.suffix.lower()}" if file in listed else file.name
            shutil.copyfile(file, folder / name)
        return folder


def bar(done: int, total: int, language: str) -> str:
    """How far a run is."""
    line = say(language, "batch_progress", done, total)
    return f"<label>{line}<br><progress value='{done}' max='{max(total, 1)}' style='width:100%'></progress></label>"


def handed(files: Sequence[Path]) -> list[Path]:
    """Copies of files where the page may fetch them."""
    import tempfile

    from gradio.utils import get_upload_folder

    base = Path(get_upload_folder())
    base.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="batch-", dir=base))
    return [Path(shutil.copyfile(file, folder / file.name)) for file in files]


def build(agent: Agent, votes: VoteStore | None = None) -> Page:
    """Draw the batch page into the tab that is being made."""
    return Page(agent, votes or shared())
