"""MP3: the frames tell the length, and a tag is believed only where it agrees with them."""

import pytest
from sound import SPEECH, by_ffmpeg, encoded, heard, likeness, needs_ffmpeg

from stablequant.corpora.audio import AudioError
from stablequant.corpora.formats.mpeg import frame_at
from stablequant.corpora.formats.stream import EXTRA, LENGTH

MODES = ["CONSTANT", "VARIABLE"]
ID3V1 = b"TAG" + bytes(range(1, 126))
ID3V2 = b"ID3\x04\0\0\0\0\x02\x00" + b"\xff\xfb" * 128  # whose content looks like frames
SAMPLES = 576  # of a frame at 16 kHz


def mp3(mode: str) -> bytes:
    return encoded("MP3", bitrate_mode=mode)


def frames(content: bytes) -> list[bytes]:
    """The frames, which follow one another without a gap."""
    found, position = [], 0
    while position < len(content):
        frame = frame_at(content, position)
        assert frame is not None
        found.append(content[position : position + frame.bytes])
        position += frame.bytes
    return found


def untagged(mode: str) -> bytes:
    """MP3 without the tag that counts the frames, as the encoder writes it to a pipe."""
    tag, *audio = frames(mp3(mode))
    assert b"Xing" in tag or b"Info" in tag
    return b"".join(audio)


@pytest.mark.parametrize("mode", MODES)
def test_a_tagged_file_is_read_to_the_sample(mode):
    """The tag also tells what the encoder added, which is taken away again."""
    for content in (mp3(mode), ID3V2 + mp3(mode) + ID3V1):
        audio = heard(content)
        assert len(audio.samples) == len(SPEECH)
        assert likeness(audio.samples) > 0.9
        assert audio.notes == ()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("before", [b"", ID3V2])
@pytest.mark.parametrize("after", [b"", ID3V1, bytes(2000)])
def test_a_file_without_a_tag_is_read_to_its_end(mode, before, after):
    content = untagged(mode)
    audio = heard(before + content + after)
    assert len(audio.samples) == SAMPLES * len(frames(content))
    assert likeness(audio.samples, delay=1105) > 0.9, "1105 samples are the delay of encoder and decoder"
    assert audio.notes == (LENGTH,)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kept", [1, 3, 4, 20, -1])
def test_a_frame_that_is_cut_is_noticed(mode, kept):
    content = untagged(mode)
    missing = len(frames(content)[-1][kept:])
    seconds = SAMPLES * (len(frames(content)) - 1) / 16_000
    with pytest.raises(AudioError, match=rf"cut off in the middle of its last frame, after {seconds:.2f} s; copy"):
        heard(content[:-missing])


@pytest.mark.parametrize("mode", MODES)
def test_missing_frames_are_noticed_by_the_tag(mode):
    tag, *audio = frames(mp3(mode))
    kept = audio[: len(audio) // 2]
    with pytest.raises(AudioError, match=rf"cut off: {len(kept)} of {len(audio)} frames are there"):
        heard(tag + b"".join(kept))


def test_a_tag_that_counts_too_few_frames_is_not_believed():
    tag, *audio = frames(mp3("VARIABLE"))
    content = tag + b"".join(audio * 3)
    result = heard(content)
    assert len(result.samples) == SAMPLES * 3 * len(audio)
    assert result.notes == (LENGTH,)


def test_joined_files_are_read_one_after_another():
    _, *audio = frames(mp3("CONSTANT"))
    result = heard(mp3("CONSTANT") + ID3V2 + mp3("CONSTANT"))
    assert len(result.samples) == SAMPLES * 2 * len(audio)
    assert likeness(result.samples[SAMPLES * len(audio) :], delay=1105) > 0.9


def test_bytes_that_are_no_frames_are_left_out_if_they_are_few():
    content = frames(mp3("CONSTANT"))
    audio = heard(b"".join(content[:40]) + b"\xffabc" * 50 + b"".join(content[40:]))
    assert len(audio.samples) == len(SPEECH)
    assert audio.notes == (EXTRA,)
    with pytest.raises(AudioError, match=r"damaged: \d+ of its \d+ bytes are no frames of MPEG audio"):
        heard(b"".join(content[:40]) + b"abcd" * 5000 + b"".join(content[40:]))


def test_a_tag_of_ape_at_the_end_is_no_audio():
    size = 2000
    tag = bytes(size - 32) + b"APETAGEX" + b"\xd0\x07\0\0" + size.to_bytes(4, "little") + bytes(16)
    audio = heard(mp3("CONSTANT") + tag)
    assert len(audio.samples) == len(SPEECH)
    assert audio.notes == ()


@needs_ffmpeg
@pytest.mark.parametrize(
    "options",
    [
        *(["-ar", rate, "-q:a", "4"] for rate in ("8000", "11025", "22050", "32000", "44100", "48000")),
        ["-ac", "2", "-b:a", "64k"],
        ["-f", "mp2", "-b:a", "64k"],
    ],
    ids=" ".join,
)
def test_files_of_all_versions_are_as_long_as_ffmpeg_decodes_them(options):
    content = by_ffmpeg("-f", "mp3", *options)
    audio = heard(content)
    decoded = by_ffmpeg("-f", "f32le", "-ac", "1", content=content)
    assert audio.file_samples == len(decoded) // 4
