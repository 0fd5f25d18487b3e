"""Where queries are multiplied by keys in INT8, against a search by hand that decodes everything from the audio."""

import numpy as np
import pytest
import soundfile
import torch
from scipy.special import rel_entr
from whisper_files import SECONDS, import_tiny_whisper, tones

from stablequant.corpora.utterance import Batch, Utterance, load_audio
from stablequant.quantization.collecting import Preparation, collecting
from stablequant.quantization.least_error import mse_range
from stablequant.recognisers.load_recogniser import load_recogniser
from stablequant.recognisers.whisper.forward import WhisperRecogniser
from stablequant.search.attention_table import COLUMNS, outputs_in_int8
from stablequant.search.choose_attention import choose_attention
from stablequant.search.split import Split
from stablequant.storage.files import checksum, read_table, write_table
from stablequant.workflow.procedure import Attention

NAMES = {"q_proj": "queries", "k_proj": "keys"}


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory) -> WhisperRecogniser:
    recogniser = load_recogniser(import_tiny_whisper(tmp_path_factory.mktemp("whisper")), threads=1)
    for number, layer in enumerate(recogniser.model.model.encoder.layers):
        for projection in (layer.self_attn.q_proj, layer.self_attn.k_proj):
            projection.weight.data *= 40 / (1 + number)
            projection.weight.data[3] *= 100  # one channel takes all levels
    return recogniser


@pytest.fixture(scope="module")
def split(recogniser, tmp_path_factory) -> Split:
    folder, utterances = tmp_path_factory.mktemp("audio"), []
    for number in range(6):
        file = folder / f"{number}.wav"
        soundfile.write(file, tones(SECONDS - 0.1 * number, number), 16_000, subtype="FLOAT")
        utterances.append(Utterance(str(number), str(file), soundfile.info(file).frames, "x", checksum(file)))
    return Split(utterances, recogniser.batches(utterances, 1, seed=0), 16_000)


def heard(recogniser, batches: list[Batch], guides=None) -> list:
    found = []
    for batch in batches:
        state = recogniser.enter(
            {"hidden": np.stack([recogniser.front_end.features(load_audio(u, 16_000)) for u in batch])}
        )
        along = None if guides is None else guides[len(found) : len(found) + len(batch)]
        found += recogniser.recognise(state, 0, recogniser.context([u.samples for u in batch]), along)
    return found


def by_hand(recogniser, split: Split, seconds: float) -> list[float]:
    """Nats per token for each block, whose projections are replaced by ones that round what they give."""
    counted, judged = split.halves(seconds)
    reference = heard(recogniser, judged)
    divergences = []
    for block in recogniser.model.model.encoder.layers:
        attention = block.self_attn
        with torch.inference_mode():
            kept: dict[str, list[np.ndarray]] = {name: [] for name in NAMES}
            hooks = [
                getattr(attention, name).register_forward_hook(
                    lambda _m, _i, out, values=kept[name]: values.append(out.numpy())
                )
                for name in NAMES
            ]
            heard(recogniser, counted)
            for hook in hooks:
                hook.remove()
        plain = {name: getattr(attention, name).forward for name in NAMES}
        for name in NAMES:
            values = np.concatenate([v.ravel() for v in kept[name]])
            scales = np.abs(values).max() / 127 * np.linspace(0.02, 1, 400)
            errors = [((np.clip(np.rint(values / s), -128, 127) * s - values) ** 2).sum() for s in scales]
            scale = float(scales[np.argmin(errors)])
            getattr(attention, name).forward = lambda x, plain=plain[name], scale=scale: (
                torch.clamp(torch.round(plain(x) / scale), -128, 127) * scale
            )
        found = heard(recogniser, judged, [r.guide for r in reference])
        for name in NAMES:
            del getattr(attention, name).forward
        pairs = [(np.exp(a.log_posteriors), np.exp(b.log_posteriors)) for a, b in zip(reference, found, strict=True)]
        divergences.append(sum(rel_entr(a, b).sum() for a, b in pairs) / sum(len(a) for a, _ in pairs))
    return divergences


def test_layers_get_int8_scores_where_a_search_by_hand_finds_little_divergence(recogniser, split, tmp_path):
    expected = by_hand(recogniser, split, 5)
    assert min(expected) > 1e-7 and max(expected) > 1.3 * min(expected)
    between = float(np.sqrt(expected[0] * expected[1]))
    table = choose_attention(recogniser, split, Attention(divergence=between, audio_seconds=5))
    assert table.columns.tolist() == COLUMNS
    assert table["layer"].tolist() == ["encoder01", "encoder02"]
    assert table["divergence"].tolist() == pytest.approx(expected, rel=0.1), "the grid by hand is coarser"
    assert table["int8"].tolist() == [divergence <= between for divergence in expected]
    cheap = f"encoder0{1 + int(np.argmin(expected))}"
    write_table(tmp_path / "attention.tsv", table)
    assert outputs_in_int8(read_table(tmp_path / "attention.tsv")) == [f"{cheap}.queries", f"{cheap}.keys"]


def test_outputs_are_counted_as_they_are(recogniser, split):
    """Whatever is prepared for the inputs; and only those that are asked for."""
    modules = [m for m in recogniser.modules if m.layer == "encoder01"]
    name = next(m.module for m in modules if m.output_activation == "encoder01.keys")
    largest = []
    hook = recogniser.model.get_submodule(name).register_forward_hook(
        lambda _m, _i, out: largest.append(float(out.abs().max()))
    )
    scales = {"encoder01.qkv": np.full(32, 4, dtype=np.float32)}
    with collecting(recogniser.model, modules, Preparation(scales, outputs=["encoder01.keys"])) as collectors:
        heard(recogniser, split.batches)
    hook.remove()
    histogram = collectors.histograms()["encoder01.keys"]
    assert "encoder01.queries" not in collectors
    assert histogram.amax == pytest.approx(max(largest), rel=1e-6)
    assert not histogram.signed and histogram.total == 6 * SECONDS * 50 * 32
    assert 0 < mse_range(histogram).amax <= histogram.amax
