"""From a source (path, bytes, data: URL) to encoded bytes, judged by content and size before they are read."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import stat
import urllib.parse
from dataclasses import dataclass
from typing import Any

import numpy as np

from experts.config import Limits
from experts.errors import MediaError
from experts.media.fetching import SCHEMES, fetch
from experts.media.formats import EITHER, HEAD_BYTES, NOUN, accepted, behind_tag, kind_of, stranger

Source = str | os.PathLike | bytes | np.ndarray  # a path, a data: or (if fetched) web address, encoded bytes, an array


@dataclass(frozen=True, eq=False)
class Taken:
    data: bytes
    name: str
    kind: str
    form: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


def take(source: Any, name: str | None, want: str | None, limits: Limits) -> Taken:
    """The encoded bytes of `source`, of a kind that fits `want` and within the kind's size limit."""
    if isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source)
        return judge(data, len(data), base_name(name or want or "media"), want, limits)
    if isinstance(source, os.PathLike):
        source = os.fsdecode(source)
    if not isinstance(source, str):
        raise MediaError(
            f"a {type(source).__name__} is not {NOUN[want] if want else 'a medium'}; accepted: a path, bytes, a data: "
            "URL or a NumPy array; pass one of these"
        )
    if source[:5].lower() == "data:":
        data = data_url(source, max(most_bytes(kind, limits) for kind in NOUN))
        return judge(data, len(data), base_name(name or want or "media"), want, limits)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", source):
        return _remote(source, name, want, limits)
    return read(source, base_name(name or source.rstrip("/\\")), want, limits)


def _remote(url: str, name: str | None, want: str | None, limits: Limits) -> Taken:
    """What is at a web address, where the limits let it be fetched."""
    path = re.split(r"[?#]", url)[0].partition("://")[2].rstrip("/").partition("/")[2]  # not host, not query
    shown, scheme = quote(base_name(path)) if path else "this", url.partition(":")[0].lower()
    if scheme in SCHEMES and limits.fetch_s:
        most = max(most_bytes(kind, limits) for kind in ([want] if want else NOUN))
        data = fetch(url, shown, most, limits.fetch_s)
        return judge(data, len(data), base_name(name or path or want or "media"), want, limits)
    what = "a web address" if scheme in SCHEMES else f"an address ({scheme}:)"
    raise MediaError(
        f"{shown} is {what}, and fetching is off; accepted: a path, bytes, a data: URL or an array; "
        "download it first and pass the file"
    )


def read(path: str, name: str, want: str | None, limits: Limits) -> Taken:
    """A file's bytes; its kind and size are judged by its head and its size on disk, before the rest is read."""
    some = f"accepted: a file of {accepted(want)}; check the name"
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise MediaError(f"{quote(name)} is a folder; {some}, or pass the files in it one by one")
        if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
            raise MediaError(f"{quote(name)} is a device or pipe; {some}, or pass its bytes")
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(HEAD_BYTES)
            judge(head, size, name, want, limits)
            data = head + file.read(size)
    except FileNotFoundError:
        raise MediaError(f"there is no file {quote(name)}; {some}") from None
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) and error.strerror else "not a file name"
        raise MediaError(f"{quote(name)} cannot be read ({cause}); {some} and its permissions") from None
    return judge(data, len(data), name, want, limits)


def judge(data: bytes, size: int, name: str, want: str | None, limits: Limits) -> Taken:
    """Refuse by content or size; `data` may be the head of something of `size` bytes."""
    shown = quote(name)
    if not size:
        raise MediaError(f"{shown} is empty (0 bytes); accepted: {accepted(want)}; save or download it again")
    found = kind_of(data)
    if found is None:
        raise MediaError(
            f"{shown} is {stranger(data)}, not {NOUN[want] if want else 'an image, sound or video'}; "
            f"accepted: {accepted(want)}; export it as one of these"
        )
    kind, form = found
    if form == "MP3" and (tagged := behind_tag(data)) and tagged[0] == "audio":
        form = tagged[1]
    if want and kind != want and not (form in EITHER and want != "image"):
        other = f"{NOUN[kind]} ({form})"
        raise MediaError(f"{shown} is {other}, not {NOUN[want]}; pass it as {kind} (accepted here: {accepted(want)})")
    kind = want or kind
    most = max(most_bytes(k, limits) for k in (("audio", "video") if not want and form in EITHER else (kind,)))
    if size > most:
        raise MediaError(
            f"{shown} is {size / 1e6:,.1f} MB; accepted: {form} up to {most / 1e6:,.1f} MB; make it smaller or shorter"
        )
    return Taken(data, name, kind, form)


def most_bytes(kind: str, limits: Limits) -> int:
    return {"image": limits.image_bytes, "audio": limits.audio_bytes, "video": limits.video_bytes}[kind]


def data_url(url: str, most: int) -> bytes:
    """The bytes of a data: URL (RFC 2397), base64 or percent-encoded."""
    head, comma, body = url.partition(",")
    fix = "accepted: data:image/png;base64,... (or percent-encoded); encode it again"
    if not comma:
        raise MediaError(f"a data: URL without a comma holds no data; {fix}")
    coded = head.lower().rstrip().endswith(";base64")
    if len(body) * (0.75 if coded else 1 / 3) > most:
        raise MediaError(
            f"a data: URL of {len(body) / 1e6:,.1f} MB is too long; accepted: {most / 1e6:,.1f} MB; pass a file"
        )
    if not coded:
        return urllib.parse.unquote_to_bytes(body)
    packed = b"".join(urllib.parse.unquote_to_bytes(body).split())
    try:
        return base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except binascii.Error:
        raise MediaError(f"a data: URL whose base64 is broken; {fix}") from None


def base_name(name: str) -> str:
    """The base name, on one line, whatever the system it comes from; what a terminal would act on is replaced."""
    base = re.split(r"[/\\]", name)[-1] or "unnamed"
    return "".join(c if c.isprintable() else "?" for c in base)


def quote(name: str) -> str:
    return f"'{name if len(name) <= 80 else name[:60] + '...' + name[-15:]}'"


def hash_array(array: np.ndarray, more: str = "") -> str:
    head = f"{array.dtype.str} {array.shape} {more}".encode()  # a 2 x 3 array is not a 3 x 2 one
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()
