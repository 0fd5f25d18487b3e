"""A recogniser of HuBERT large's shape that needs no training: random weights, and a head fitted to spell tones.

All but the head is drawn at random, 315 million parameters. The head is fitted by least squares to what comes out of
the encoder, so that the network really spells the tones that it hears, and words are lost when quantization disturbs
it. In four transformer layers a feature of the feed-forward network is planted that spikes in a few frames and that
nothing reads: it changes nothing in fp32, and ruins the range of that layer's activations, as outliers do.
"""

from pathlib import Path

import numpy as np
import soundfile
import torch
from noise import RATE
from transformers import HubertConfig, HubertForCTC

from stablequant.corpora.utterance import Utterance, table_of
from stablequant.recognisers.ctc.front_end import FrontEnd, write_front_end
from stablequant.recognisers.ctc.vocabulary import Vocabulary
from stablequant.storage.files import checksum, write_table

HOP = 320  # samples per frame
TONES = {"E": 300, "T": 500, "A": 800, "O": 1250, "N": 2000, "I": 3100}  # hertz
TONE, GAP = 3200, 1600  # samples of a tone, and of the gap after it
TONES_HEARD = 9  # in an utterance
SAMPLES = GAP + TONES_HEARD * (TONE + GAP)
PLANTED = (4, 10, 16, 22)  # numbers of the transformer layers, from 1
SPIKE = 300  # times the largest other value that the planted feature reaches
RARITY = 0.003  # share of frames in which it fires
FITTED = 60  # utterances that the head is fitted to, not among those written
RIDGE = 0.1
NOISE = 0.03  # share of the encoder's output that noise may take without changing a word
NOISES = 5  # how often that noise is drawn


def sing(draw: np.random.Generator) -> tuple[np.ndarray, str]:
    """Samples of a few tones in noise, and their letters."""
    letters = "".join(draw.choice(list(TONES), size=TONES_HEARD))
    samples = 0.01 * draw.standard_normal(SAMPLES)
    for place, letter in enumerate(letters):
        start = GAP + place * (TONE + GAP)
        phase, level = draw.uniform(0, 2 * np.pi), draw.uniform(0.1, 0.4)
        samples[start : start + TONE] += level * np.sin(phase + 2 * np.pi * TONES[letter] / RATE * np.arange(TONE))
    return samples.astype(np.float32), letters


def frame_classes(letters: str, tokens: list[str], frames: int) -> np.ndarray:
    """The letter while it sounds, a word's end in the gaps, ``(frames,)``."""
    centres = np.arange(frames) * HOP + 200
    place, which = (centres - GAP) % (TONE + GAP), (centres - GAP) // (TONE + GAP)
    sounding = (centres >= GAP) & (place < TONE) & (which < len(letters))
    heard = [letters[w] if s else "|" for w, s in zip(which, sounding, strict=True)]
    return np.array([tokens.index(token) for token in heard])


def large_config(vocabulary: Vocabulary) -> HubertConfig:
    """HuBERT large's shape: 24 layers, width 1024, 315 million parameters."""
    return HubertConfig(
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        feat_extract_norm="layer",
        conv_bias=True,
        do_stable_layer_norm=True,
        vocab_size=len(vocabulary.tokens),
        pad_token_id=0,
        apply_spec_augment=False,
    )


def write_random_large(folder: Path, audio_seconds: float) -> tuple[Path, Path]:
    """Write ``folder/checkpoint`` and ``folder/utterances.tsv``, about ``audio_seconds`` of tones; return both."""
    torch.manual_seed(0)
    vocabulary = Vocabulary(["<pad>", "|", *TONES], blank=0)
    front_end = FrontEnd(RATE, True, vocabulary)
    model = HubertForCTC(large_config(vocabulary))
    model.eval().requires_grad_(False)
    draw = np.random.default_rng(0)
    fitted = [sing(draw) for _ in range(FITTED)]
    audio = torch.stack([torch.from_numpy(front_end.prepare(samples)) for samples, _ in fitted])
    for number in PLANTED:
        plant(model, number, audio[:4])
    fit_head(model, audio, [letters for _, letters in fitted], vocabulary.tokens)
    checkpoint = folder / "checkpoint"
    model.save_pretrained(checkpoint)
    write_front_end(checkpoint, front_end)
    utterances: list[Utterance] = []
    while len(utterances) < round(audio_seconds * RATE / SAMPLES):
        samples, letters = sing(draw)
        if safely_spelled(model, torch.from_numpy(front_end.prepare(samples)), " ".join(letters), vocabulary):
            path = folder / f"{len(utterances):04d}.wav"
            soundfile.write(path, samples, RATE, subtype="FLOAT")
            utterances.append(Utterance(path.stem, str(path), SAMPLES, " ".join(letters), checksum(path)))
    table = folder / "utterances.tsv"
    write_table(table, table_of(utterances, Utterance))
    return checkpoint, table


@torch.inference_mode()
def plant(model: HubertForCTC, number: int, audio: torch.Tensor) -> None:
    """Let a feature of layer ``number``'s feed-forward network, which nothing reads, spike in a few frames."""
    network = model.hubert.encoder.layers[number - 1].feed_forward
    entering = []
    handle = network.register_forward_pre_hook(lambda _, inputs: entering.append(inputs[0]))
    model.hubert(audio)
    handle.remove()
    first, second = network.intermediate_dense, network.output_dense
    values = first(entering[0])
    feature = values[..., 0].flatten()
    rise = SPIKE * values.max() / (feature.max() - feature.quantile(1 - RARITY))
    first.bias[0] = rise * (first.bias[0] - feature.quantile(1 - RARITY))
    first.weight[0] *= rise
    second.weight[:, 0] = 0


@torch.inference_mode()
def fit_head(model: HubertForCTC, audio: torch.Tensor, letters: list[str], tokens: list[str]) -> None:
    """Ridge regression from the encoder's output to the token of each frame."""
    hidden = torch.cat([model.hubert(row[None]).last_hidden_state[0] for row in audio]).double()
    frames = len(hidden) // len(audio)
    wanted = torch.from_numpy(np.concatenate([frame_classes(spelled, tokens, frames) for spelled in letters]))
    centre = hidden.mean(0)
    targets = torch.nn.functional.one_hot(wanted, len(tokens)).double()
    products = (hidden - centre).T @ (hidden - centre)
    ridge = RIDGE * products.diagonal().mean() * torch.eye(len(centre), dtype=torch.double)
    weight = torch.linalg.solve(products + ridge, (hidden - centre).T @ (targets - targets.mean(0)))
    model.lm_head.weight.copy_(weight.T)
    model.lm_head.bias.copy_(targets.mean(0) - centre @ weight)


@torch.inference_mode()
def safely_spelled(model: HubertForCTC, audio: torch.Tensor, transcript: str, vocabulary: Vocabulary) -> bool:
    """Whether ``audio`` ``(samples,)`` is spelled right, and stays so with a little noise on the encoder's output."""
    hidden = model.hubert(audio[None]).last_hidden_state[0]
    noisy = [hidden + share * hidden.std() * torch.randn_like(hidden) for share in (0, *[NOISE] * NOISES)]
    return all(vocabulary.decode(model.lm_head(h).argmax(-1).numpy()) == transcript for h in noisy)
