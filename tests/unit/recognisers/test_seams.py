"""Two chunks that overlap give up the same number of frames each."""

import numpy as np
import pytest

from stablequant.recognisers.ctc.words import cut_chunks, frames_to_keep


def test_seams_by_hand():
    """Ten samples a frame. Frames 6 to 9 are in both chunks: the first keeps 6 and 7, the second 8 and 9."""
    chunks = [slice(0, 100), slice(60, 160)]
    parts = [np.zeros((10, 3)), np.zeros((10, 3))]
    assert list(frames_to_keep(chunks, parts, 10)) == [slice(0, 8), slice(2, 10)]


def test_seams_of_an_odd_overlap_and_of_a_last_chunk_that_overlaps_more():
    """Frames 6 to 8 are shared by the first two, 9 to 14 by the last two."""
    chunks = [slice(0, 90), slice(60, 150), slice(90, 175)]
    parts = [np.zeros((9, 3)), np.zeros((9, 3)), np.zeros((8, 3))]
    assert list(frames_to_keep(chunks, parts, 10)) == [slice(0, 7), slice(1, 6), slice(3, 8)]


def test_one_chunk_keeps_all():
    assert list(frames_to_keep([slice(0, 95)], [np.zeros((9, 3))], 10)) == [slice(0, 9)]


@pytest.mark.parametrize("samples", [480_001, 928_000, 5_000_123])
def test_no_frame_counts_that_is_near_a_chunks_cut(samples):
    """A chunk's frames know nothing of what lies beyond its end: half the overlap stays between them and the seam."""
    hop, window, overlap = 320, 400, 32_000
    chunks = cut_chunks(samples, 480_000, overlap, hop)
    parts = [np.zeros((c.stop - c.start - window) // hop + 1) for c in chunks]
    for number, (part, kept) in enumerate(zip(parts, frames_to_keep(chunks, parts, hop), strict=True)):
        if number > 0:
            assert kept.start >= overlap // hop // 2 - 1
        if number < len(chunks) - 1:
            assert len(part) - kept.stop >= overlap // hop // 2 - 1
