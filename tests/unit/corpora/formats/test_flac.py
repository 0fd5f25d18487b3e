"""FLAC: the last frame tells the length, whatever the header says."""

import numpy as np
import pytest
from sound import RATE, SPEECH, by_ffmpeg, encoded, heard, needs_ffmpeg

from stablequant.corpora.audio import AudioError
from stablequant.corpora.formats.stream import EXTRA, LENGTH

ID3V1 = b"TAG" + bytes(125)
ID3V2 = b"ID3\x04\0\0\0\0\x01\0" + bytes(128)


def stating(samples: int, content: bytes | None = None) -> bytes:
    """FLAC whose header states a number of samples."""
    changed = bytearray(content or encoded("FLAC"))
    changed[21:26] = (changed[21] >> 4 << 36 | samples).to_bytes(5)
    return bytes(changed)


def test_a_whole_file_is_read_without_a_note():
    for content in (encoded("FLAC"), encoded("FLAC") + ID3V1, ID3V2 + encoded("FLAC")):
        audio = heard(content)
        assert (audio.samples == SPEECH).all()
        assert audio.notes == ()


@pytest.mark.parametrize("stated", [0, 1, 24_000, len(SPEECH) - 1])
def test_a_file_that_states_no_length_or_less_is_read_to_its_end(stated):
    audio = heard(stating(stated))
    assert (audio.samples == SPEECH).all()
    assert audio.notes == (LENGTH,)


@pytest.mark.parametrize("samples", [100, 4096, 4097, 3 * 4096])
def test_the_last_frame_may_be_of_any_length(samples):
    audio = heard(stating(0, encoded("FLAC", SPEECH[:samples])))
    assert (audio.samples == SPEECH[:samples]).all()


def test_a_file_that_is_cut_is_refused_with_how_much_of_it_is_there():
    with pytest.raises(AudioError, match=rf"cut off: 45056 of {len(SPEECH)} samples are there \(93 %\); copy"):
        heard(encoded("FLAC")[:-1])
    with pytest.raises(AudioError, match=rf"cut off: {len(SPEECH)} of {2 * len(SPEECH)} samples are there \(50 %\)"):
        heard(stating(2 * len(SPEECH)))
    seconds = 45_056 / RATE
    with pytest.raises(AudioError, match=rf"cut off in the middle of its last frame, after about {seconds:.2f} s"):
        heard(stating(0)[:-1])


@pytest.mark.parametrize("kept", [0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("stated", [0, len(SPEECH)])
def test_a_cut_anywhere_is_refused(kept, stated):
    content = stating(stated)
    with pytest.raises(AudioError, match="cut off"):
        heard(content[: int(kept * len(content))])


def test_bytes_after_the_last_frame_are_left_out():
    audio = heard(encoded("FLAC") + bytes(range(256)) * 4)
    assert (audio.samples == SPEECH).all()
    assert audio.notes == (EXTRA,)


def test_joined_files_are_read_one_after_another():
    audio = heard(encoded("FLAC") + encoded("FLAC", SPEECH[:10_000]))
    assert (audio.samples == np.concatenate([SPEECH, SPEECH[:10_000]])).all()
    with pytest.raises(AudioError, match="recordings of different rates or channels were joined"):
        heard(encoded("FLAC") + encoded("FLAC", np.stack([SPEECH, SPEECH], axis=1)))


@needs_ffmpeg
@pytest.mark.parametrize("channels", ["1", "2", "6"])
def test_what_ffmpeg_writes_to_a_pipe_is_read_to_its_end(channels):
    audio = heard(by_ffmpeg("-f", "flac", "-ac", channels))
    assert audio.file_samples == len(SPEECH)
    assert audio.channels == int(channels)
    assert audio.notes == (LENGTH,)
