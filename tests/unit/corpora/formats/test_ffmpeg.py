"""What only ffmpeg reads: whole files are decoded, cut ones refused, and no other file is opened."""

import io
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from checkout import PROJECT
from sound import RATE, SPEECH, by_ffmpeg, encoded, heard, likeness, needs_ffmpeg

from stablequant.corpora.audio import AudioError, read_audio
from stablequant.corpora.formats import ffmpeg
from stablequant.corpora.formats.collector import Collector

TO_A_PIPE = ["-movflags", "+frag_keyframe+empty_moov", "-frag_duration", "500000"]  # MP4 cannot be written to one else
FORMS = {
    "mp4": ["-f", "mp4", "-c:a", "aac", *TO_A_PIPE],
    "webm": ["-f", "webm", "-c:a", "libopus"],
    "mka": ["-f", "matroska", "-c:a", "aac"],
    "aac": ["-f", "adts", "-c:a", "aac"],
}


@needs_ffmpeg
@pytest.mark.parametrize("form", FORMS)
def test_a_whole_file_is_decoded(form):
    audio = heard(by_ffmpeg(*FORMS[form]))
    assert audio.notes == ()
    seconds = audio.file_samples / audio.file_rate
    assert seconds == pytest.approx(len(SPEECH) / RATE, abs=0.15)
    assert max(likeness(audio.samples, delay) for delay in range(0, 2200)) > 0.9


@needs_ffmpeg
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("missing", [0.01, 0.5])
def test_a_cut_file_is_refused(form, missing):
    content = by_ffmpeg(*FORMS[form])
    with pytest.raises(AudioError, match=r"cut off|damaged or not audio \(ffmpeg: "):
        heard(content[: -int(missing * len(content))])


@needs_ffmpeg
@pytest.mark.parametrize("form", ["m4a", "webm", "wma", "avi"])
def test_a_file_that_states_its_size_is_refused_with_how_much_of_it_is_there(tmp_path, form):
    """As written to disk, where the size is known in the end."""
    by_ffmpeg("-y", str(tmp_path / f"a.{form}"), "-f", "null")
    content = (tmp_path / f"a.{form}").read_bytes()
    assert heard(content).file_samples > 0
    with pytest.raises(AudioError, match=rf"cut off: {len(content) - 100} of {len(content)} bytes are there \(9\d %\)"):
        heard(content[:-100])


@needs_ffmpeg
def test_an_mp4_without_its_index_is_refused(tmp_path):
    """The index is written last: a recorder that stops early leaves none."""
    by_ffmpeg("-y", str(tmp_path / "a.m4a"), "-f", "null")
    content = (tmp_path / "a.m4a").read_bytes()
    with pytest.raises(AudioError, match=r"the index of an MP4 \(moov\) is missing"):
        heard(content[: content.index(b"moov") - 4])


@needs_ffmpeg
def test_the_content_counts_and_not_the_name(tmp_path):
    (tmp_path / "named.wav").write_bytes(by_ffmpeg(*FORMS["mp4"]))
    assert read_audio(tmp_path / "named.wav", RATE).file_samples == pytest.approx(len(SPEECH), abs=2048)


@needs_ffmpeg
def test_a_recording_that_is_not_the_file_of_its_name_is_decoded_itself(tmp_path, monkeypatch):
    """In memory under the name of a file in the working directory, and opened before the file was replaced."""
    monkeypatch.chdir(tmp_path)
    content, other = (by_ffmpeg(*FORMS["mp4"], content=encoded("WAV", SPEECH[:length])) for length in (16_000, 32_000))
    expected = heard(content).file_samples
    assert expected != heard(other).file_samples
    (tmp_path / "talk.m4a").write_bytes(other)
    in_memory = io.BytesIO(content)
    in_memory.name = "talk.m4a"
    assert read_audio(in_memory, RATE).file_samples == expected
    (tmp_path / "talk.m4a").write_bytes(content)
    (tmp_path / "other.m4a").write_bytes(other)
    with (tmp_path / "talk.m4a").open("rb") as opened:
        (tmp_path / "other.m4a").rename(tmp_path / "talk.m4a")
        assert read_audio(opened, RATE).file_samples == expected


@needs_ffmpeg
def test_a_tag_before_another_format_is_no_sign_of_mp3():
    """As in the segments of a stream."""
    tag = b"ID3\x04\0\0\0\0\x01\0" + bytes(128)
    assert heard(tag + by_ffmpeg(*FORMS["aac"])).file_samples == heard(by_ffmpeg(*FORMS["aac"])).file_samples


@needs_ffmpeg
def test_all_channels_are_mixed_alike():
    left = np.stack([SPEECH, np.zeros_like(SPEECH)], axis=1)
    mixed = heard(by_ffmpeg("-f", "matroska", "-c:a", "pcm_f32le", content=encoded("WAV", left, subtype="FLOAT")))
    assert mixed.channels == 2
    assert np.allclose(mixed.samples, SPEECH / 2)


@needs_ffmpeg
@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{file}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {file}\n",
        '<?xml version="1.0"?><MPD><BaseURL>{file}</BaseURL></MPD>',
    ],
    ids=["hls", "concat", "dash"],
)
def test_a_playlist_opens_no_other_file(tmp_path, playlist):
    other = tmp_path / "other.wav"
    other.write_bytes(encoded("WAV"))
    listed = tmp_path / "list.m4a"
    listed.write_text(playlist.format(file=other))
    with pytest.raises(AudioError):
        read_audio(listed, RATE)
    with listed.open("rb") as file, pytest.raises(AudioError, match=r"damaged or not audio \(ffmpeg: "):
        ffmpeg.decode(file, Collector(None, 100))


@needs_ffmpeg
def test_decoding_that_takes_too_long_ends(monkeypatch):
    monkeypatch.setattr(ffmpeg, "TIME_LIMIT", 0)
    with pytest.raises(AudioError, match="ffmpeg needs more than 0 s to decode it"):
        heard(by_ffmpeg(*FORMS["mp4"]))


@needs_ffmpeg
def test_what_is_too_long_is_refused(tmp_path):
    content = tmp_path / "a.mka"
    content.write_bytes(by_ffmpeg("-f", "matroska", "-c:a", "aac"))
    with content.open("rb") as file, pytest.raises(AudioError, match="longer than 1 s"):
        ffmpeg.decode(file, Collector(None, longest=1))


NOT_INSTALLED = r" is read by ffmpeg, which is not installed; install ffmpeg \(apt-get install ffmpeg\), or .* FLAC"


def test_without_ffmpeg_the_remedy_is_to_install_it(monkeypatch, tmp_path):
    header = b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42isom\0\0\0\0" + b"\0\0\0\x08moov"
    (tmp_path / "a.m4a").write_bytes(header)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AudioError, match=r"MP4 \(M4A\)" + NOT_INSTALLED):
        read_audio(tmp_path / "a.m4a", RATE)


@needs_ffmpeg
@pytest.mark.parametrize(
    ("form", "name"), [("m4a", r"MP4 \(M4A\)"), ("mp4", "MP4"), ("webm", "WebM"), ("mka", "Matroska"), ("wma", "WMA")]
)
def test_a_real_file_is_named_by_its_format_where_ffmpeg_is_missing(monkeypatch, tmp_path, form, name):
    by_ffmpeg("-y", str(tmp_path / f"a.{form}"), "-f", "null")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AudioError, match=name + r".*" + NOT_INSTALLED):
        read_audio(tmp_path / f"a.{form}", RATE)


INTERRUPTED = """
import os, pathlib, signal, sys
from stablequant.corpora.formats.collector import Collector
from stablequant.corpora.formats.ffmpeg import decode

class Interrupting(Collector):
    def begin(self, rate, channels):
        os.killpg(0, signal.{sent})
        super().begin(rate, channels)

signal.signal(signal.SIGINT, lambda *_: None)  # as the service, which then answers what it took
with pathlib.Path(sys.argv[1]).open("rb") as file:
    print(decode(file, Interrupting(None, 3600)).length)
"""


def interrupted(file: Path, sent: str) -> subprocess.CompletedProcess:
    """Decode ``file`` in a process group that gets a signal meanwhile, as by Ctrl-C in a terminal."""
    command = [sys.executable, "-c", INTERRUPTED.format(sent=sent), str(file)]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    return subprocess.run(command, env=environment, capture_output=True, check=False, start_new_session=True)


def running_on(file: Path) -> list[int]:
    """Processes of ffmpeg that decode ``file``."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.fsencode(file) in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


@needs_ffmpeg
def test_ctrl_c_does_not_reach_ffmpeg(tmp_path):
    (tmp_path / "a.mka").write_bytes(by_ffmpeg(*FORMS["mka"], content=encoded("WAV", np.tile(SPEECH, 20))))
    done = interrupted(tmp_path / "a.mka", "SIGINT")
    assert done.returncode == 0, done.stderr.decode()
    assert int(done.stdout) == heard((tmp_path / "a.mka").read_bytes()).file_samples


@needs_ffmpeg
def test_ffmpeg_does_not_outlive_who_waits_for_it(tmp_path):
    (tmp_path / "a.mka").write_bytes(by_ffmpeg(*FORMS["mka"], content=encoded("WAV", np.tile(SPEECH, 20))))
    assert interrupted(tmp_path / "a.mka", "SIGKILL").returncode == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while running_on(tmp_path / "a.mka") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running_on(tmp_path / "a.mka")
