"""Video expert: the other experts on a video's frames and sound, merged to one timeline of findings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from experts.base import Expert, Finding
from experts.config import Settings
from experts.errors import DuetError, ExpertError, MediaError
from experts.media import Media, Video

ON_FRAMES = ("detect", "tag", "ocr", "caption")
ON_SOUND = "speech"


@dataclass
class Track:
    """One thing seen in consecutive frames."""

    best: Finding  # the finding with the highest score
    best_frame: int
    last: Finding
    first_frame: int
    last_frame: int

    def add(self, finding: Finding, frame: int) -> None:
        """The thing is seen in the next frame too."""
        if finding.score > self.best.score:
            self.best, self.best_frame = finding, frame
        self.last, self.last_frame = finding, frame


class Watcher:
    """Runs the detector, tagger, OCR and captioner on the frames and the speech expert on the sound.

    Findings keep the name of the expert that made them. A thing found in consecutive frames is one finding: its span
    runs from its first frame to the frame after its last; its text, score and box are those of its best frame; `extra`
    says how many `frames` it is in and when the best one is (`frame_s`). An expert that fails leaves one finding with
    score 0 whose `extra["error"]` says why; the others go on.
    """

    name = "video"
    description = "Tells what is seen, read and said in a video, and when."
    kinds = frozenset({"video"})
    weights = ""  # its experts have theirs

    def __init__(self, settings: Settings | None = None, experts: Mapping[str, Expert] | None = None) -> None:
        """`experts` by name replace the registered ones; a name that is not in it is then left out."""
        self._settings = settings or Settings()
        self._experts = experts

    def __call__(self, media: Media) -> list[Finding]:
        """Findings in order of their start, then of the experts, best first.

        Raises:
            MediaError: not a video.
            ExpertError: every expert failed.
        """
        if not isinstance(media, Video):
            raise MediaError(
                f"'{media.name}' is of kind {media.kind}; video takes video: ask {_experts_for(media.kind)}"
            )
        wanted = [*ON_FRAMES, *([ON_SOUND] if media.audio else [])]
        wanted = [name for name in wanted if self._experts is None or name in self._experts]
        findings: list[Finding] = []
        failed: list[str] = []
        for name in wanted:
            try:
                expert = self._expert(name)
                findings += (hear if name == ON_SOUND else follow)(expert, media)
            except DuetError as error:
                failed.append(f"{name}: {error}")
                findings.append(_failure(name, error, media))
        if failed and len(failed) == len(wanted):
            raise ExpertError(f"no expert could work on '{media.name}': {'; '.join(failed)}")
        return sorted(findings, key=lambda f: (f.span or (0.0, 0.0), wanted.index(f.expert), -f.score))

    def _expert(self, name: str) -> Expert:
        if self._experts is not None:
            return self._experts[name]
        import experts

        return experts.get(name, self._settings)


def hear(expert: Expert, video: Video) -> list[Finding]:
    """What `expert` finds in the sound of `video`, in the video's time."""
    assert video.audio is not None
    return [replace(finding, source=video.name) for finding in expert(video.audio)]


def follow(expert: Expert, video: Video) -> list[Finding]:
    """What `expert` finds in the frames of `video`, one finding for a thing in consecutive frames.

    Raises:
        DuetError: the expert failed; what it found in other frames is lost with it.
    """
    done: list[Track] = []
    live: list[Track] = []
    found: list[Finding] = []
    for index, frame in enumerate(video.frames):
        if index == 0 or frame.sha256 != video.frames[index - 1].sha256:  # a still picture is looked at once
            found = expert(frame)
        seen: list[Track] = []
        for track, finding in _matched(live, found):
            if track is None:
                track = Track(finding, index, finding, index, index)
            else:
                track.add(finding, index)
            seen.append(track)
        done += [track for track in live if track.last_frame < index]
        live = seen
    return [_merged(track, video) for track in done + live]


def _matched(live: list[Track], found: list[Finding]) -> list[tuple[Track | None, Finding]]:
    """Each finding with the track it continues, if any: of the same text, the boxes overlapping most in sum."""
    from scipy.optimize import linear_sum_assignment

    pairs: list[tuple[Track | None, Finding]] = []
    for text in dict.fromkeys(_same(finding) for finding in found):
        new = [finding for finding in found if _same(finding) == text]
        old = [track for track in live if _same(track.last) == text]
        overlaps = np.array([[_overlap(f.box, t.last.box) for t in old] for f in new]).reshape(len(new), len(old))
        rows, columns = linear_sum_assignment(overlaps, maximize=True)
        tracks = {int(row): old[column] for row, column in zip(rows, columns, strict=True)}
        pairs += [(tracks.get(i), finding) for i, finding in enumerate(new)]
    return pairs


def _same(finding: Finding) -> str:
    return " ".join(finding.text.casefold().split())


Box = tuple[float, float, float, float]


def _overlap(a: Box | None, b: Box | None) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1); 0 where either is missing."""
    if a is None or b is None:
        return 0.0
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inter = max(width, 0.0) * max(height, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return inter / union if union > 0 else 0.0


def _merged(track: Track, video: Video) -> Finding:
    after = track.last_frame + 1
    start_s = video.times_s[track.first_frame]
    end_s = video.times_s[after] if after < len(video.times_s) else max(video.duration_s, video.times_s[-1])
    extra = {
        **track.best.extra,
        "frames": after - track.first_frame,
        "frame_s": video.times_s[track.best_frame],
    }
    return replace(track.best, span=(start_s, end_s), source=video.name, extra=extra)


def _failure(name: str, error: DuetError, video: Video) -> Finding:
    text = f"({name} failed)"
    return Finding(name, text, 0.0, span=(0.0, video.duration_s), source=video.name, extra={"error": str(error)})


def _experts_for(kind: str) -> str:
    return {"image": ", ".join(ON_FRAMES)}.get(kind, ON_SOUND)
