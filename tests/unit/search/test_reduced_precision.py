"""Reduced precision is kept where every hypothesis stays, in whichever batch it would change."""

import numpy as np
import pytest
import torch
from fake_recogniser import KEY, LAYERS, FakeRecogniser, plain, shout, songs, split_of

from stablequant.recognisers.recogniser import Recognised
from stablequant.search.hidden_values import HiddenValues, writing_cache
from stablequant.search.reduced_precision import verify_half, verify_precision
from stablequant.search.split import Split


def fp32(recogniser: FakeRecogniser, split: Split) -> tuple[dict[str, str], dict[str, list[int]]]:
    """Hypotheses and guides by path, utterance by utterance."""
    hypotheses, guides = {}, {}
    for utterance in split.utterances:
        state, context = recogniser.load([utterance]), recogniser.context([utterance.samples])
        (found,) = recogniser.recognise(state, 0, context)
        hypotheses[utterance.path] = found.text
        if found.guide is not None:
            guides[utterance.path] = found.guide
    return hypotheses, guides


def stored(recogniser: FakeRecogniser, split: Split, folder, dtype: type = np.float16):
    """The index of what enters layers 1 to 4."""
    index = folder / "hidden_values.json"
    with writing_cache(index, KEY, LAYERS, [1, 2, 3, 4], len(split.batches), np.dtype(dtype)) as writer:
        for number, batch in enumerate(split.batches):
            context = recogniser.context([u.samples for u in batch])
            for layer in (1, 2, 3, 4):
                writer.keep(layer, number, recogniser.run(recogniser.load(batch), 0, layer, context))
    return index


def loud(place: int) -> FakeRecogniser:
    """One utterance of a batch is so loud that what enters some of the layers does not fit into half precision."""
    recogniser = FakeRecogniser(songs())
    shout(recogniser, split_of(recogniser).batches[place][0])
    return recogniser


def half_is_finite(recogniser: FakeRecogniser, split: Split, layer: int) -> bool:
    for batch in split.batches:
        context = recogniser.context([u.samples for u in batch])
        state = recogniser.run(recogniser.load(batch), 0, layer, context)
        if not all(values.half().isfinite().all() for values in state.values()):
            return False
    return True


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("place", [0, 1, -1])
def test_half_precision_is_dropped_of_the_layers_where_a_batch_overflows(place, tmp_path, caplog):
    recogniser = loud(place)
    split = split_of(recogniser)
    index = stored(recogniser, split, tmp_path)
    with caplog.at_level("WARNING"):
        verify_half(recogniser, split.batches, *fp32(recogniser, split), index, KEY)
    expected = [layer for layer in (1, 2, 3, 4) if half_is_finite(recogniser, split, layer)]
    assert HiddenValues(index, KEY, LAYERS).layers == expected
    assert 0 < len(expected) < 4
    assert {file.stem for file in (tmp_path / "hidden_values").iterdir()} == {LAYERS[layer] for layer in expected}
    (message,) = caplog.messages
    told, _, names = message.rpartition(": ")
    assert told == "half precision changes a hypothesis: the inputs of these layers are not cached"
    assert {*names.split(", ")} == {LAYERS[layer] for layer in {1, 2, 3, 4} - {*expected}}


def test_half_precision_is_kept_where_nothing_changes(tmp_path, caplog):
    recogniser = FakeRecogniser(songs())
    split = split_of(recogniser)
    index = stored(recogniser, split, tmp_path)
    verify_half(recogniser, split.batches, *fp32(recogniser, split), index, KEY)
    assert sorted(HiddenValues(index, KEY, LAYERS).layers) == [1, 2, 3, 4]
    assert not caplog.messages


def test_a_layer_is_dropped_for_one_other_hypothesis(tmp_path):
    """The stored values are as good as fp32's, but one expected word differs."""
    recogniser = FakeRecogniser(songs())
    split = split_of(recogniser)
    index = stored(recogniser, split, tmp_path, np.float32)
    hypotheses, guides = fp32(recogniser, split)
    verify_half(recogniser, split.batches, hypotheses, guides, index, KEY)
    assert len(HiddenValues(index, KEY, LAYERS).layers) == 4
    last = split.batches[-1][-1].path
    verify_half(recogniser, split.batches, hypotheses | {last: hypotheses[last] + " A"}, guides, index, KEY)
    assert HiddenValues(index, KEY, LAYERS).layers == []


def test_values_of_another_run_are_not_verified(tmp_path):
    recogniser = FakeRecogniser(songs())
    split = split_of(recogniser)
    index = stored(recogniser, split, tmp_path)
    with pytest.raises(Exception, match="made with another checkpoint"):
        verify_half(recogniser, split.batches, *fp32(recogniser, split), index, {"checkpoint": "other"})


@pytest.mark.parametrize(
    ("seed", "precision", "place"), [(0, "bfloat16", None), (8, "float16", 0), (6, "bfloat16", -1), (9, "bfloat16", 1)]
)
def test_a_precision_is_taken_back_if_a_hypothesis_changes_in_any_batch(seed, precision, place, caplog):
    """Which batch that is was found by recognising each alone."""
    recogniser = FakeRecogniser(songs(seed=seed))
    split = split_of(recogniser)
    exact, guides = fp32(recogniser, split)
    reduced, dtype = recogniser.reduced(precision), getattr(torch, precision)
    assert reduced.dtype == dtype
    changed = []
    for number, batch in enumerate(split.batches):
        found = reduced.recognise(reduced.load(batch), 0, reduced.context([u.samples for u in batch]))
        if [f.text for f in found] != [exact[u.path] for u in batch]:
            changed.append(number)
    assert changed == ([] if place is None else [place % len(split.batches)])
    with caplog.at_level("WARNING"):
        chosen = verify_precision(recogniser, split.batches, exact, guides, precision)
    assert chosen == ("float32" if changed else precision)
    expected = f"{precision} changes a hypothesis: the search computes in float32"
    assert caplog.messages == ([expected] if changed else [])


def test_posteriors_that_overflow_are_never_the_same(monkeypatch):
    """Though the words are: the argmax of a row with an infinity is defined."""
    recogniser = FakeRecogniser(songs(2))
    split = split_of(recogniser)
    exact, guides = fp32(recogniser, split)

    class Overflowing(FakeRecogniser):
        def recognise(self, state, first, context, guides=None):
            found = FakeRecogniser.recognise(self, state, first, context, guides)
            rows = found[-1].log_posteriors.copy()
            rows[0, rows[0].argmin()] = -np.inf
            return [*found[:-1], Recognised(found[-1].text, rows)]

    assert plain(np.zeros((1, 6))).text == ""
    monkeypatch.setattr(FakeRecogniser, "reduced", lambda self, precision: Overflowing(self.audio))
    assert verify_precision(recogniser, split.batches, exact, guides, "float16") == "float32"


@pytest.mark.parametrize("guided", [True, False])
def test_posteriors_are_taken_along_the_tokens_of_fp32(guided, tmp_path, monkeypatch):
    recogniser = FakeRecogniser(songs(4), guided=guided)
    split = split_of(recogniser)
    exact, guides = fp32(recogniser, split)
    index, asked = stored(recogniser, split, tmp_path, np.float32), []
    recognise = FakeRecogniser.recognise

    def noting(self, state, first, context, along=None):
        asked.append(along)
        return recognise(self, state, first, context, along)

    monkeypatch.setattr(FakeRecogniser, "recognise", noting)
    verify_half(recogniser, split.batches, exact, guides, index, KEY)
    verify_precision(recogniser, split.batches, exact, guides, "float32")
    of_batches = [[guides.get(u.path) for u in batch] for batch in split.batches]
    assert asked == [along for along in of_batches for _ in range(4)] + of_batches
    assert (of_batches[0][0] is not None) == guided
