"""Films and sounds as people have them: clocks, tracks, channels, pixels and turns that others see right."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
import pytest
from clips import mux, peak, pitch_hz, shifted, sine, wav

from experts.errors import MediaError
from experts.media import Audio, Video, open_media


def test_sound_that_begins_late_is_padded_so_that_times_agree() -> None:
    video = Video.open(mux("mp4", "libx264", "aac", late_s=2.0))
    assert video.audio is not None
    assert video.audio.duration_s == pytest.approx(5.0, abs=0.15)
    assert np.abs(video.audio.samples[: 16_000 * 19 // 10]).max() < 0.01
    assert peak(video.audio.samples[16_000 * 21 // 10 :]) == pytest.approx(0.5, abs=0.05)


def test_webm_of_a_recorder_without_a_duration_is_taken() -> None:
    file = io.BytesIO(mux("webm", "libvpx", "libopus"))
    data = file.getvalue()
    at = data.index(b"\x44\x89\x88")  # the Duration element, 8 bytes: made a Void element
    data = data[:at] + b"\xec\x89" + data[at + 2 :]
    video = open_media(data)
    assert isinstance(video, Video) and len(video.frames) == 16
    assert video.duration_s == pytest.approx(5.0, abs=0.2)


def test_a_clock_that_starts_late_is_counted_from_its_start() -> None:
    """Whole files of recorders whose time stamps begin at half a minute were refused as cut short."""
    data = mux("matroska", "mpeg4", "flac", n_frames=20)
    plain, late = Video.open(data), Video.open(shifted(data, "matroska", 30))
    assert late.times_s == pytest.approx(plain.times_s, abs=0.05)
    assert late.duration_s == pytest.approx(plain.duration_s, abs=0.1)
    assert late.audio is not None and plain.audio is not None
    assert late.audio.duration_s == pytest.approx(plain.audio.duration_s, abs=0.1)


def test_stereo_with_one_side_inverted_is_heard() -> None:
    """The mean of such channels is silence."""
    tone = sine(16_000, 1.0, 1)
    audio = Audio.open(wav(np.concatenate([tone, -tone], axis=1), 16_000))
    assert np.abs(audio.samples).max() == pytest.approx(np.abs(tone).max() / 32768, rel=0.02)
    both = Audio.open(wav(np.concatenate([tone, tone], axis=1), 16_000))
    assert np.allclose(audio.samples, both.samples, atol=1e-3)


def test_channels_that_cancel_in_places_only_are_mixed_like_the_rest() -> None:
    """Which channels are heard is decided once for a file, not anew every few milliseconds."""
    one, other = sine(16_000, 1.0, 1), sine(16_000, 1.0, 1, hz=1000)
    left, right = np.concatenate([one, one]), np.concatenate([-one, other])
    audio = Audio.open(wav(np.concatenate([left, right], axis=1), 16_000))
    assert np.abs(audio.samples[2000:14_000]).max() < 0.01, "the mean of the first second is silence, and stays so"
    assert np.abs(audio.samples[18_000:]).max() > 0.3


def test_an_array_with_one_side_inverted_is_heard() -> None:
    tone = sine(16_000, 0.5, 1)
    audio = Audio.open(np.concatenate([tone, -tone], axis=1), rate_hz=16_000)
    assert np.abs(audio.samples).max() == pytest.approx(np.abs(tone).max() / 32768, rel=0.02)


@pytest.mark.parametrize(
    ("container", "codec", "rate_hz"),
    [
        ("asf", "wmav2", 44_100), ("caf", "pcm_s16le", 48_000), ("caf", "alac", 48_000), ("au", "pcm_s16be", 8_000),
        ("au", "pcm_mulaw", 8_000), ("w64", "pcm_s16le", 48_000), ("wv", "wavpack", 48_000),
        ("3gp", "aac", 44_100), ("mov", "aac", 48_000), ("mpegts", "aac", 48_000), ("mpegts", "mp2", 48_000),
        ("flv", "aac", 44_100), ("mpeg", "mp2", 44_100), ("avi", "libmp3lame", 44_100), ("wav", "pcm_f32le", 96_000),
        ("wav", "adpcm_ms", 22_050), ("wav", "pcm_alaw", 8_000),
    ],
)  # fmt: skip
def test_sounds_of_phones_offices_and_broadcasts(container: str, codec: str, rate_hz: int) -> None:
    data = mux(container, None, codec, n_frames=20, rate_hz=rate_hz)
    audio = open_media(data)
    assert isinstance(audio, Audio)
    assert audio.duration_s == pytest.approx(2.0, abs=0.12)
    assert pitch_hz(audio.samples) == pytest.approx(440, abs=2)
    assert peak(audio.samples) == pytest.approx(0.5, abs=0.05)


def test_an_rf64_wav_is_read() -> None:
    """A WAV of more than 4 GB, and what field recorders write from the start (EBU Tech 3306)."""
    file = io.BytesIO()
    with av.open(file, "w", format="wav", options={"rf64": "always"}) as box:
        stream = box.add_stream("pcm_s16le", rate=16_000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(sine(16_000, 1.0, 1).reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16_000, 0, Fraction(1, 16_000)
        box.mux(stream.encode(frame))
        box.mux(stream.encode(None))
    assert file.getvalue()[:4] == b"RF64"
    assert open_media(file.getvalue()).duration_s == pytest.approx(1.0, abs=0.01)  # type: ignore[union-attr]


def test_a_voice_memo_in_amr_is_read() -> None:
    """No encoder of it is at hand: 50 frames of 12.2 kbit/s (mode 7, 31 bytes a packet; RFC 4867, 5.3)."""
    audio = open_media(b"#!AMR\n" + (bytes([7 << 3 | 4]) + bytes(31)) * 50)
    assert isinstance(audio, Audio) and audio.duration_s == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("codec", ["flac", "adts"])
def test_a_tag_before_another_format_does_not_hide_it(codec: str) -> None:
    tag = b"ID3\x04\0\0" + bytes([0, 0, 0x40, 0x10]) + bytes(0x40 << 7 | 0x10)  # longer than what is looked at first
    plain = mux(codec, None, "flac" if codec == "flac" else "aac", n_frames=10)
    tagged = open_media(tag + plain)
    assert isinstance(tagged, Audio) and pitch_hz(tagged.samples) == pytest.approx(440, abs=2)


@pytest.mark.parametrize(
    ("container", "codec", "sound"),
    [
        ("mpegts", "libx264", "aac"), ("mpegts", "mpeg2video", "mp2"), ("mpeg", "mpeg2video", "mp2"),
        ("flv", "libx264", "aac"), ("flv", "flv", "libmp3lame"), ("asf", "wmv2", "wmav2"), ("3gp", "mpeg4", "aac"),
        ("mp4", "libx265", "aac"), ("matroska", "mpeg2video", "ac3"),
    ],
)  # fmt: skip
def test_films_of_phones_offices_and_broadcasts(container: str, codec: str, sound: str) -> None:
    """Frame i has grey level 4 i, 25 a second."""
    video = open_media(mux(container, codec, sound, n_frames=50, fps=25, rate_hz=44_100))
    assert isinstance(video, Video) and len(video.frames) == 16
    assert video.duration_s == pytest.approx(2.0, abs=0.2)
    for frame, time_s in zip(video.frames, video.times_s, strict=True):
        assert frame.pixels[30:, 40:].mean() == pytest.approx(100 * time_s, abs=16)
    assert video.audio is not None and pitch_hz(video.audio.samples) == pytest.approx(440, abs=2)


def two_sounds(**told: str) -> bytes:
    """A sound file with a tone of 440 Hz and, on a second track that `told` tells of, one of 1,000 Hz."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as box:
        streams = [box.add_stream("flac", rate=16_000, layout="mono") for _ in range(2)]
        streams[1].metadata.update(told)
        for stream, hz in zip(streams, (440, 1000), strict=True):
            tone = sine(16_000, 1.0, 1, hz=hz).reshape(1, -1)
            for at in range(0, tone.shape[1], 1600):
                part = np.ascontiguousarray(tone[:, at : at + 1600])
                frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = 16_000, at, Fraction(1, 16_000)
                box.mux(stream.encode(frame))
            box.mux(stream.encode(None))
    return file.getvalue()


def film(greys: list[int], fps: int = 10) -> bytes:
    """A film whose frame i has the mean grey level greys[i], with squares of its own."""
    file = io.BytesIO()
    squares = {grey: np.random.default_rng(grey).integers(-20, 20, (6, 8)).repeat(8, 0).repeat(8, 1) for grey in greys}
    with av.open(file, "w", format="matroska") as box:
        stream = box.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i, grey in enumerate(greys):
            pixels = (grey + squares[grey])[..., None].repeat(3, 2).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, fps)
            box.mux(stream.encode(frame))
        box.mux(stream.encode(None))
    return file.getvalue()


def test_a_scene_shorter_than_the_stretches_is_looked_at() -> None:
    """A minute of one picture, a second of another, a minute of a third: 16 even stretches of 7.5 s pass it over."""
    greys = [40] * 600 + [220] * 10 + [120] * 600
    video = Video.open(film(greys))
    seen = [round(float(frame.pixels.mean())) for frame in video.frames]
    assert len(seen) == 16 and sum(abs(grey - 220) < 8 for grey in seen) == 1
    assert sum(abs(grey - 40) < 8 for grey in seen) in (7, 8)
    at = next(time_s for time_s, grey in zip(video.times_s, seen, strict=True) if grey > 200)
    assert at == pytest.approx(60, abs=0.2)


def test_of_more_scenes_than_frames_the_longest_are_looked_at() -> None:
    greys = [grey for number in range(40) for grey in [20 + 200 * (number % 2)] * (30 if number % 4 else 60)]
    video = Video.open(film(greys))
    assert len(video.frames) == 16 and video.times_s == sorted(video.times_s)
    assert {round(float(frame.pixels.mean()), -2) for frame in video.frames} == {0, 200}


def test_of_several_sound_tracks_one_is_heard_and_the_others_named_and_to_be_had() -> None:
    data = two_sounds(language="deu", title="Commentary")
    first = Audio.open(data)
    assert pitch_hz(first.samples) == pytest.approx(440, abs=2)
    told = "sound track 1 of 2 was heard, the others were not: 2 (deu, Commentary)"
    assert first.notes == (told,)
    second = open_media(data, track=2)
    assert isinstance(second, Audio) and pitch_hz(second.samples) == pytest.approx(1000, abs=2)
    assert second.notes == ("sound track 2 (deu, Commentary) of 2 was heard, the others were not: 1",)
    for track, accepted in ((3, "tracks 1 to 2"), (0, "tracks 1 to 2")):
        with pytest.raises(MediaError, match=f"has no sound track {track}; accepted: {accepted}"):
            Audio.open(data, track=track)


def test_of_a_film_the_sound_alone_is_taken_where_sound_is_wanted() -> None:
    audio = Audio.open(mux("mp4", "mpeg4", "aac", n_frames=20))
    assert audio.duration_s == pytest.approx(2.0, abs=0.15) and np.abs(audio.samples).max() > 0.05
    with pytest.raises(MediaError, match="a video without a sound track"):
        Audio.open(mux("mp4", "mpeg4", n_frames=5))


def test_a_film_without_sound_says_so() -> None:
    assert Video.open(mux("mp4", "mpeg4", n_frames=10)).notes == ("it has no sound track",)
    assert Video.open(mux("mp4", "mpeg4", "aac", n_frames=10)).notes == ()


def test_pixels_that_are_not_square_are_shown_as_a_player_shows_them() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as box:
        stream = box.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 72, 57, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(64, 45)
        for i in range(5):
            frame = av.VideoFrame.from_ndarray(np.full((57, 72, 3), 9 * i, np.uint8), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 10)
            box.mux(stream.encode(frame))
        box.mux(stream.encode(None))
    frame = Video.open(file.getvalue()).frames[0]
    assert (frame.width, frame.height) == (102, 57)


@pytest.mark.parametrize(
    ("matrix", "corner"),
    [
        ((1, 0, 0, 1), "top left"), ((-1, 0, 0, 1), "top right"), ((1, 0, 0, -1), "bottom left"),
        ((-1, 0, 0, -1), "bottom right"), ((0, 1, 1, 0), "top left"), ((0, 1, -1, 0), "top right"),
        ((0, -1, 1, 0), "bottom left"), ((0, -1, -1, 0), "bottom right"), ((7, 7, 7, 7), "top left"),
    ],
)  # fmt: skip
def test_a_display_matrix_turns_and_mirrors(matrix: tuple[int, ...], corner: str) -> None:
    """Where a white top left corner of 4 x 2 px comes to stand; a matrix that is no turn is left alone."""
    import struct
    import types

    from experts.media.upright import upright

    a, b, c, d = (value << 16 for value in matrix)
    pixels = np.zeros((2, 4, 3), np.uint8)
    pixels[0, 0] = 255

    class Side:
        type = types.SimpleNamespace(name="DISPLAYMATRIX")

        def __bytes__(self) -> bytes:
            return struct.pack("<9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)

    frame = types.SimpleNamespace(width=4, height=2, side_data=[Side()], to_ndarray=lambda format: pixels)
    shown = upright(frame, 1.0)
    assert shown.shape == ((4, 2, 3) if matrix[:1] == (0,) else (2, 4, 3))
    row, column = (int(axis[0]) for axis in np.nonzero(shown[..., 0]))
    where = f"{'top' if row < shown.shape[0] / 2 else 'bottom'} {'left' if column < shown.shape[1] / 2 else 'right'}"
    assert where == corner
