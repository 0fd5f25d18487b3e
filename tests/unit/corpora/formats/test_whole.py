"""What lies in place of audio is called by its name."""

import io

import pytest
from sound import RATE, SPEECH, encoded, heard

from stablequant.corpora.audio import AudioError, read_audio
from stablequant.corpora.formats.stream import UNCHECKED


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"an empty file \(0 bytes\); copy or download it again"),
        (b"<!DOCTYPE html>\n<html><body>404</body></html>", "a web page, not audio: the download failed"),
        (b"\n  <HTML>", "a web page"),
        (b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>', "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n", "pointer of Git LFS.*git lfs pull"),
        (b"/annex/objects/SHA256E-s9--ab.wav\n", "pointer of git-annex.*git annex get"),
        (b'{"error": "quota exceeded"}\n', r"damaged or not audio \(a text that begins with '\{\"error\": "),
        ("bonjour, \u00e9t\u00e9".encode() * 400, r"damaged or not audio \(a text that begins with 'bonjour"),
        (b"RIFF", "cut off or damaged|damaged or not audio"),
        (b"ID3", "damaged or not audio"),
        (bytes(5000), "damaged or not audio"),
    ],
)
def test_a_file_that_is_no_audio_is_called_by_its_name(content, reason):
    with pytest.raises(AudioError, match=reason):
        heard(content)


def test_a_rare_format_is_read_with_a_note():
    audio = heard(encoded("VOC"))
    assert (audio.samples == SPEECH).all()
    assert audio.notes == (UNCHECKED,)


def test_a_link_to_nowhere_and_a_folder_are_called_by_their_names(tmp_path):
    (tmp_path / "a.flac").symlink_to(".git/annex/objects/a.flac")
    with pytest.raises(AudioError, match=r"a link to '\.git/annex/objects/a.flac', which is not here; fetch it"):
        read_audio(tmp_path / "a.flac", RATE)
    with pytest.raises(AudioError, match=r"not a file but a folder; name the recordings in it: .*/\*\.flac$"):
        read_audio(tmp_path, RATE)
    (tmp_path / "a/speaker/part").mkdir(parents=True)
    with pytest.raises(AudioError, match=r"not a file but a folder, in which no recordings were found$"):
        read_audio(tmp_path / "a", RATE)
    (tmp_path / "a/speaker/part/1.WAV").touch()
    with pytest.raises(AudioError, match=r"; name the recordings in it: .*/a/\*/\*/\*\.WAV$"):
        read_audio(tmp_path / "a", RATE)
    with pytest.raises(AudioError, match="it cannot be opened"):
        read_audio(tmp_path / ("a" * 300), RATE)


@pytest.mark.parametrize("form", ["FLAC", "WAV", "MP3"])
def test_a_row_of_tags_before_the_audio_is_followed_up_to_a_limit(form):
    """A small upload could hold millions, each of which costs two look-ups."""
    tag = b"ID3\x04\0\0\0\0\0\0"
    if form != "WAV":  # libsndfile reads none behind a tag
        assert len(heard(100 * tag + encoded(form)).samples) == len(SPEECH)
    with pytest.raises(
        AudioError, match=r"more than 100 ID3 tags before the audio; remove them, or convert it to FLAC"
    ):
        heard(101 * tag + encoded(form))


def test_a_file_of_tags_only_is_refused_at_once():
    looked_at = []

    class Counted(io.BytesIO):
        def read(self, *size):
            looked_at.append(size)
            return super().read(*size)

    with pytest.raises(AudioError, match="more than 100 ID3 tags"):
        read_audio(Counted(100_000 * b"ID3\x04\0\0\0\0\0\0"), RATE)
    assert len(looked_at) < 200
