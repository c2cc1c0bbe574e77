"""The interface's words in English and Chinese: the browser chooses for labels, the request's header for what is told.

A page adds its own with `add`. Labels are `word("key")`, which the browser translates; texts that the server composes
(the timeline of an answer) are `say(language, "key")`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import gradio as gr

LANGUAGES = ("en", "zh")
OURS = "duet_"  # before a key in the browser, which translates whatever value of a field is the same as a key

WORDS: dict[str, tuple[str, str]] = {  # key -> (English, Chinese)
    "about": (
        "Questions about images, sound and video, answered by one language model through two interfaces.",
        "用同一个语言模型、两种接口，回答关于图像、声音和视频的问题。",
    ),
    "chat": ("Chat", "对话"),
    "compare": ("Compare", "比较"),
    "arena": ("Arena", "竞技场"),
    "leaderboard": ("Leaderboard", "排行榜"),
    "batch": ("Batch", "批量"),
    "tools": ("Tools", "工具"),
    "training": ("Training", "训练"),
    # chat
    "conversation": ("Conversation", "会话"),
    "untitled": ("New conversation", "新会话"),
    "new": ("New", "新建"),
    "delete": ("Delete", "删除"),
    "ask_here": (
        "Ask about an image, a sound or a video: drop, paste or record it here",
        "询问图像、声音或视频：拖放、粘贴或在此录制",
    ),
    "route": ("Route", "路线"),
    "route_info": (
        "experts: findings as text · connector: soft tokens · auto: experts, then the connector where needed",
        "experts：专家结果转为文字 · connector：软标记 · auto：先用专家，必要时转连接器",
    ),
    "camera": ("Camera", "摄像头"),
    "photo": ("Photo", "拍照"),
    "film": ("Film", "录像"),
    "empty_chat": (
        "### Ask about an image, a sound or a video\nor try an example",
        "### 询问图像、声音或视频\n或试试示例",
    ),
    "evidence": ("Evidence", "证据"),
    "no_evidence": (
        "What an answer rests on appears here: boxes on the picture, the transcript under the player.",
        "答案的依据显示在这里：图上的框、播放器下的文字记录。",
    ),
    "expert_detect": ("Objects", "物体"),
    "expert_tag": ("Looks like", "看起来像"),
    "expert_ocr": ("Text", "文字"),
    "expert_caption": ("Caption", "描述"),
    "expert_speech": ("Speech", "语音"),
    "expert_video": ("Film", "影片"),
    "no_says": (
        "This route looks through soft tokens alone; there is nothing to point at.",
        "此路线只通过软标记观察，没有可指出的位置。",
    ),
    "nothing_found": ("The experts found nothing.", "专家没有发现任何内容。"),
    "medium": ("Medium", "媒体"),
    "more": ("and {0} more", "另有 {0} 项"),
    "unread": ("This file could not be shown.", "无法显示此文件。"),
    # compare
    "stop": ("Stop", "停止"),
    "reason_missed": ("missed an object", "漏看物体"),
    "reason_misread": ("misread text", "读错文字"),
    "reason_misheard": ("misheard", "听错"),
    "reason_invented": ("invented something", "凭空捏造"),
    "reason_slow": ("too slow", "太慢"),
    # tools
    "expert": ("Expert", "专家"),
    "file": ("File", "文件"),
    "run": ("Run", "运行"),
    "runs_info": ("Folders with a training log, newest first", "含训练日志的文件夹，最新在前"),
    "training_run": ("Training run", "训练任务"),
    "refresh": ("Refresh", "刷新"),
    "no_runs": (
        "No training run was found. `duet train` writes one; `duet ui --runs FOLDER` shows those of another folder.",
        "没有找到训练任务。`duet train` 会写入日志；`duet ui --runs 文件夹` 显示其他文件夹中的任务。",
    ),
    # timeline of an answer
    "thinking": ("Looking …", "正在查看 …"),
    "how": ("How it was answered", "回答过程"),
    "s_media": ("taken in", "读入"),
    "s_expert": ("findings", "项结果"),
    "s_finding": ("finding", "项结果"),
    "s_encode": ("encoder", "编码器"),
    "s_connect": ("connector", "连接器"),
    "s_evidence": ("evidence the model reads", "模型读到的证据"),
    "s_llm": ("language model", "语言模型"),
    "s_fallback": ("handed to the connector", "转交连接器"),
    "s_note": ("note", "说明"),
    "s_error": ("failed", "失败"),
    "s_stop": ("stopped", "已停止"),
    "s_check": ("checked by experts", "专家核查"),
    "corrected": ("Corrected by experts: {0}", "专家更正：{0}"),
    "s_plan": ("plan", "计划"),
    "s_round": ("is this enough?", "证据是否足够"),
    "s_thought": ("thought", "推理"),
    "s_first": ("first answer, set aside", "最初的回答（未采用）"),
    "nothing": ("nothing found", "没有发现"),
    "by": ("by", "由"),
    "sure": ("confidence", "置信度"),
    "tokens": ("tokens", "标记"),
    "steps": ("steps", "步"),
    "experts_used": ("experts", "专家"),
    "because": ("Handed from {0} to {1}: {2}", "由 {0} 转交 {1}：{2}"),
    "request": ("request", "请求"),
    "not_kept": ("This conversation could not be kept: {0}", "无法保存此会话：{0}"),
    "fault": (
        "Something failed inside Duet ({0}). Ask again; if it stays, look for this request in the server's log.",
        "Duet 内部出错（{0}）。请重试；若仍出错，请在服务器日志中查找此请求。",
    ),
    "s_says": ("What its soft tokens stand for", "软标记所代表的内容"),
}

WORDS["no_evidence_html"] = (  # type: ignore[assignment]
    *(f"<div class='evidence'><p>{told}</p></div>" for told in WORDS["no_evidence"]),
)


def add(words: dict[str, tuple[str, str]]) -> None:
    """More words, of a page; a key that is there already keeps its words."""
    for key, pair in words.items():
        WORDS.setdefault(key, pair)


def word(key: str) -> Any:
    """A label that the browser shows in its own language."""
    from gradio.i18n import I18nData

    assert key in WORDS, key
    return I18nData(OURS + key)


def say(language: str, key: str, *values: object) -> str:
    """The words of `key` in "en" or "zh", with `values` at {0}, {1} ..."""
    return WORDS[key][LANGUAGES.index(language)].format(*values)


def language(request: gr.Request | None) -> str:
    """The language that a browser asks for: the first of its list that is known, else English."""
    header = request.headers.get("accept-language", "") if request is not None else ""
    for part in header.lower().split(","):
        tag = part.split(";")[0].strip().split("-")[0]
        if tag in LANGUAGES:
            return tag
    return LANGUAGES[0]


def i18n() -> gr.I18n:
    """All words for `launch(i18n=)`."""
    import gradio as gr

    english, chinese = ({OURS + key: pair[n] for key, pair in WORDS.items()} for n in (0, 1))
    return gr.I18n(**{"en": english, "zh": chinese, "zh-CN": chinese, "zh-TW": chinese})
