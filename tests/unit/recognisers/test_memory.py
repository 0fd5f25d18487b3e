"""What a config.json tells of recognising: the memory it takes, the shortest audio that gives a frame."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from checkout import DEMO, PROJECT
from json_files import edit
from transformers import HubertConfig, HubertModel
from wav2vec2_files import ARCHITECTURES, tiny_model

from stablequant.errors import StableQuantError
from stablequant.recognisers.registry import family_of
from stablequant.recognisers.wav2vec2.family import read_front_end
from stablequant.recognisers.wav2vec2.memory import (
    footprint,
    read_footprint,
    read_shortest_samples,
    shortest_samples,
)
from stablequant.storage.files import read_json

EIGHT = {"conv_kernel": (10, 3, 3, 3, 3, 2, 2, 2), "conv_stride": (5, 2, 2, 2, 2, 2, 2, 2)}
CONVOLUTIONS = [
    ({}, 400),  # transformers' defaults
    (EIGHT, 720),
    ({"conv_kernel": (1,), "conv_stride": (1,)}, 1),
    ({"conv_kernel": (7, 5), "conv_stride": (3, 4)}, 19),
    ({"conv_kernel": (2, 2, 2), "conv_stride": (5, 5, 5)}, 32),  # strides longer than kernels skip samples
]


def test_the_shortest_audio_is_the_first_that_gives_a_frame_by_transformers_formula():
    draw = np.random.default_rng(0)
    for _ in range(60):
        depth = int(draw.integers(1, 5))
        config = {
            "conv_dim": (4,) * depth,
            "conv_kernel": tuple(draw.integers(1, 8, depth).tolist()),
            "conv_stride": tuple(draw.integers(1, 5, depth).tolist()),
        }
        encoder = {"num_hidden_layers": 0, "hidden_size": 16, "num_conv_pos_embedding_groups": 4}
        model = HubertModel(HubertConfig(**config, **encoder))
        frames = model._get_feat_extract_output_lengths(torch.arange(1, 2000))  # of 1 sample, 2, 3, ...
        assert shortest_samples(config) == 1 + int((frames >= 1).nonzero()[0]), config


@pytest.mark.parametrize(("config", "expected"), CONVOLUTIONS)
def test_a_network_takes_the_shortest_audio_and_no_less(config, expected):
    """In the convolutions themselves, which refuse audio that is shorter than their kernel."""
    depth = len(config.get("conv_kernel", range(7)))
    layer_norm = {"feat_extract_norm": "layer"}  # a group norm takes no single value
    model = tiny_model(conv_dim=(16,) * depth, **config, **layer_norm)
    settings = model.config.to_dict()
    assert shortest_samples(settings) == expected
    with torch.inference_mode():
        assert model(torch.randn(1, expected)).logits.shape[1] == 1
        if expected > 1:
            with pytest.raises(RuntimeError, match="Kernel size"):
                model(torch.randn(1, expected - 1))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_eight_convolutions_need_720_samples_in_each_architecture(architecture):
    settings = tiny_model(architecture, conv_dim=(16,) * 8, **EIGHT).config.to_dict()
    assert shortest_samples(settings) == 720


def write_config(folder: Path, **changes) -> Path:
    """The demo's folder but for its weights, its config.json changed."""
    for name in ("preprocessor_config.json", "vocab.json"):
        (folder / name).write_bytes((DEMO / name).read_bytes())
    edit(folder / "config.json", **read_json(DEMO / "config.json") | changes)
    return folder / "config.json"


def test_the_front_end_says_the_shortest_audio_of_its_own_convolutions(tmp_path):
    assert read_front_end(DEMO).shortest_samples == 400
    write_config(tmp_path, conv_dim=[16] * 8, **EIGHT)
    assert read_front_end(tmp_path).shortest_samples == 720


@pytest.mark.parametrize(
    "changes",
    [
        {"conv_kernel": None},
        {"conv_kernel": [10, 3]},
        {"conv_stride": 5},
        {"conv_kernel": ["10", 3, 3, 3, 3, 2, 2]},
        {"conv_stride": [[5], 2, 2, 2, 2, 2, 2]},
        {"conv_kernel": [10.5, 3, 3, 3, 3, 2, 2]},
        {"conv_kernel": [-10_000, 3, 3, 3, 3, 2, 2]},
        {"conv_kernel": [0] * 7},
        {"conv_kernel": [10**7, 3, 3, 3, 3, 2, 2]},  # no audio would be long enough, no memory large enough to pad it
        {"conv_kernel": [float("nan"), 3, 3, 3, 3, 2, 2]},
    ],
)
def test_damaged_convolutions_are_refused_by_the_files_name(tmp_path, changes):
    file = write_config(tmp_path, **changes)
    with pytest.raises(
        StableQuantError, match=r"config\.json: not a recogniser's (configuration .*|sizes); restore the"
    ):
        read_shortest_samples(file)
    with pytest.raises(StableQuantError, match=r"config\.json: not a recogniser's"):
        read_front_end(tmp_path)


@pytest.mark.parametrize("changes", [{"hidden_size": "48"}, {"conv_dim": []}, {"conv_stride": [0] * 7}])
def test_damaged_sizes_are_refused_by_the_files_name(tmp_path, changes):
    with pytest.raises(StableQuantError, match=r"config\.json: not a recogniser's .*; restore the file"):
        read_footprint(write_config(tmp_path, **changes))


def test_a_decoder_of_frames_longer_than_a_second_is_refused(tmp_path):
    """No chunk of a recording would be long enough for a frame of its own."""
    write_config(tmp_path, conv_stride=[5, 2, 2, 2, 2, 2, 320])
    with pytest.raises(StableQuantError, match=r"config\.json: a frame lasts longer than a second; restore the file"):
        family_of(tmp_path).decoder(tmp_path, {})


def test_attention_scores_count_where_they_are_held():
    """Scores grow with the square of the length, so that twice the audio takes more than twice the memory."""
    config = read_json(DEMO / "config.json")
    scores = footprint(config | {"model_type": "wavlm"})
    assert footprint(config).bytes(32_000) == 2 * footprint(config).bytes(16_000)
    assert scores.bytes(32_000) > 2 * scores.bytes(16_000)


MEASURE = """
import sys
import torch
from pathlib import Path
from stablequant.recognisers.load_recogniser import load_recogniser
from stablequant.workflow.memory import peak_rss_bytes
recogniser = load_recogniser(Path(sys.argv[1]), threads=1)
rows = int(sys.argv[2])
recogniser.logits(recogniser.enter({"hidden": torch.randn(1, 16_000)}), 0, recogniser.context([16_000]))
before = peak_rss_bytes()
audio = {"hidden": torch.randn(rows, 48_000)}
recogniser.logits(recogniser.enter(audio), 0, recogniser.context([48_000] * rows))
print(peak_rss_bytes() - before)
"""


@pytest.mark.parametrize("megabytes", [200, 600])
def test_a_batch_takes_about_the_memory_it_is_given(megabytes):
    """Measured on the demo; torch's allocator may hold on to a little more."""
    memory = footprint(read_json(DEMO / "config.json"))
    rows = int(megabytes * 1e6 / memory.bytes(48_000))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(DEMO), str(rows)],
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=True,
    )
    taken = int(done.stdout)
    assert 0.3 * megabytes * 1e6 < taken < 1.3 * megabytes * 1e6
