"""Weights are rounded so that what they compute over calibration audio changes least."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from conftest import Recogniser, batches_of, write_tiny_checkpoint

from stablequant.quantization.int8 import QMAX, dequantized, quantize_weight
from stablequant.quantization.int8_weights import load_rounded, save_rounded
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.operations import Operation, channel_axis, groups_of, operation_of, reciprocal, weight_of
from stablequant.recognisers.wav2vec2.forward import Stages
from stablequant.recognisers.wav2vec2.layers import QuantizedModule
from stablequant.search.equalise_channels import equalise_channels
from stablequant.search.module_inputs import measure_inputs
from stablequant.search.recognise_reference import Split
from stablequant.search.round_weights import (
    COLUMNS,
    DAMPING,
    Moments,
    blocks_of,
    columns_of,
    compensated,
    round_weights,
)

OPERATIONS = {
    "linear": torch.nn.Linear(12, 8),
    "audio": torch.nn.Conv1d(1, 8, 10, stride=5),
    "convolution": torch.nn.Conv1d(12, 8, 3, stride=2),
    "positional": torch.nn.Conv1d(12, 12, 4, groups=3, padding=2),
    "depthwise": torch.nn.Conv1d(12, 12, 5, groups=12, padding="same"),
}


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


def alike(columns: int, frames: int) -> np.ndarray:
    """Columns each of which is much like its neighbours, ``(columns, frames)``."""
    return np.cumsum(noise(columns, frames), axis=0)


def error(values: np.ndarray, levels: np.ndarray, moments: np.ndarray) -> float:
    """Squared error of the outputs."""
    return float(np.einsum("oi,ij,oj->", values - levels, moments, values - levels))


def best_for_the_rest(values: np.ndarray, levels: dict[int, np.ndarray], moments: np.ndarray) -> np.ndarray:
    """Weights of which some columns are ``levels`` and the others, as real numbers, are as good as can be."""
    fixed = list(levels)
    rest = [column for column in range(values.shape[1]) if column not in levels]
    found = values.copy()
    found[:, fixed] = np.stack(list(levels.values()), axis=1)
    lost = values[:, fixed] - found[:, fixed]
    found[:, rest] += np.linalg.solve(moments[np.ix_(rest, rest)], moments[np.ix_(rest, fixed)] @ lost.T).T
    return found


def test_each_column_is_rounded_after_the_others_made_up_for_those_before_it():
    """The same by solving, for every column, for what is best for those that are left."""
    values, heard = 40 * noise(6, 9), alike(9, 200)
    moments = heard @ heard.T
    damped = moments + DAMPING * np.diag(moments).mean() * np.eye(9)
    levels: dict[int, np.ndarray] = {}
    for column in np.argsort(-np.diag(moments)):
        left = best_for_the_rest(values, levels, damped) if levels else values
        levels[int(column)] = np.rint(left[:, column]).clip(-QMAX, QMAX)
    expected = np.stack([levels[column] for column in range(9)], axis=1)
    found = compensated(torch.from_numpy(values), torch.from_numpy(moments)).numpy()
    assert np.array_equal(found, expected)
    assert not np.array_equal(found, np.rint(values))


def test_errors_cancel_where_columns_are_alike_and_stay_where_they_are_not():
    values = torch.from_numpy(np.random.default_rng(1).uniform(-120, 120, (32, 24)))
    moments = torch.from_numpy(np.cov(alike(24, 500)))
    found = compensated(values, moments)
    assert (found == found.round()).all()
    assert found.abs().max() <= QMAX
    nearest = values.round()
    assert error(values.numpy(), found.numpy(), moments.numpy()) < 0.2 * error(
        values.numpy(), nearest.numpy(), moments.numpy()
    )
    assert torch.equal(compensated(values, torch.diag(moments.diagonal())), nearest)


def test_a_quiet_column_does_not_carry_what_the_others_lack():
    """It may be loud in other audio."""
    heard = np.maximum(alike(24, 2000), 0)
    heard[5] /= 1000
    values = torch.from_numpy(np.random.default_rng(1).uniform(-120, 120, (32, 24)))
    found = compensated(values, torch.from_numpy(heard @ heard.T))
    assert (found[:, 5] - values[:, 5]).abs().max() < 1
    assert not torch.equal(found, values.round())


@pytest.mark.parametrize("dead", [[3], range(24)], ids=["one", "all"])
def test_columns_that_read_nothing_are_rounded_to_the_nearest_level(dead: Sequence[int]):
    heard = alike(24, 500)
    heard[list(dead)] = 0
    values = torch.from_numpy(40 * noise(8, 24))
    found = compensated(values, torch.from_numpy(heard @ heard.T))
    assert found.isfinite().all()
    assert torch.equal(found[:, list(dead)], values[:, list(dead)].round())


def test_problems_side_by_side_are_solved_each_for_itself():
    values = torch.from_numpy(40 * noise(3, 8, 10))
    moments = torch.stack([torch.from_numpy(np.cov(alike(10, 50 + i))) for i in range(3)])
    together = compensated(values, moments)
    assert all(torch.equal(together[i], compensated(values[i], moments[i])) for i in range(3))


@pytest.mark.parametrize("kind", OPERATIONS)
def test_columns_times_the_weight_are_what_the_operation_computes(kind):
    operation = OPERATIONS[kind].requires_grad_(False)
    channels = operation.weight.shape[1] * groups_of(operation)
    values = torch.from_numpy(noise(channels, 60)).float()
    ahead = channel_axis(operation) == 0
    expected = operation(values[None] if ahead else values.T[None])[0]
    expected = (expected if ahead else expected.T) - operation.bias[:, None]
    weight = operation.weight.reshape(
        groups_of(operation), -1, operation.weight.shape[1], operation.weight[0, 0].numel()
    )
    found = torch.einsum("gock,gckt->got", weight, columns_of(operation, values)).flatten(0, 1)
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("kind", OPERATIONS)
def test_moments_are_of_all_that_was_heard(kind):
    operation = OPERATIONS[kind].requires_grad_(False)
    channels = operation.weight.shape[1] * groups_of(operation)
    heard = [torch.from_numpy(noise(channels, frames)).float() for frames in (60, 35)]
    moments = Moments({"read": operation})
    for values in heard:
        moments.add("read", values)
    columns = torch.cat([columns_of(operation, values).flatten(1, 2) for values in heard], dim=-1)
    (found,) = moments.blocks["read"]
    assert torch.allclose(found, columns @ columns.mT, rtol=1e-4, atol=1e-3)


def test_moments_of_groups_in_blocks_by_hand():
    operation = torch.nn.Conv1d(12, 4, 128, groups=2, padding=64)  # six channels of a group, two in a block
    heard = noise(12, 50)
    moments = Moments({"read": operation})
    moments.add("read", torch.from_numpy(heard).float())
    padded = np.pad(heard, ((0, 0), (64, 64)))
    places = np.stack([padded[:, start : start + 128] for start in range(padded.shape[1] - 127)])
    assert len(moments.blocks["read"]) == 3
    for number, found in enumerate(moments.blocks["read"]):
        for group in range(2):
            first = 6 * group + 2 * number
            columns = places[:, first : first + 2].reshape(len(places), -1)
            assert np.allclose(found[group], columns.T @ columns, rtol=1e-4, atol=1e-3)


def test_padding_stays_out_of_the_moments(demo_utterances, tmp_path):
    write_tiny_checkpoint(tmp_path / "source", "wav2vec2")
    import_checkpoint(str(tmp_path / "source"), tmp_path / "checkpoint")
    recogniser = Recogniser.load(tmp_path / "checkpoint")
    few = demo_utterances[:4]
    split = Split(few, [few], recogniser.front_end, {})
    found = []
    for batches in ([few], [[utterance] for utterance in few]):
        moments = Moments({m.activation: operation_of(recogniser.model, m) for m in recogniser.modules})
        measure_inputs(Stages(recogniser.model), recogniser.modules, split, batches, moments, "moments")
        found.append(moments.blocks)
    together, alone = found
    for name, blocks in alone.items():
        for block, other in zip(blocks, together[name], strict=True):
            assert torch.allclose(block, other, rtol=1e-3, atol=1e-3 * float(block.abs().max())), name


@pytest.mark.parametrize("operation", [torch.nn.Linear(3 * COLUMNS + 5, 2), torch.nn.Conv1d(40, 2, 100)])
def test_blocks_hold_whole_channels_and_all_of_them(operation):
    blocks = blocks_of(operation)
    channels = np.arange(operation.weight.shape[1])
    assert np.array_equal(np.concatenate([channels[block] for block in blocks]), channels)
    assert all(len(channels[block]) * operation.weight[0, 0].numel() <= COLUMNS for block in blocks)


class Outputs:
    """Squared error of what operations compute with INT8 weights, rounded as they were and to the nearest level."""

    def __init__(self, model: torch.nn.Module, modules: Sequence[QuantizedModule], channel_scales: dict, rounded: dict):
        self.lost: dict[str, np.ndarray] = {}
        self._model, self._modules, self._scales, self._rounded = model, modules, channel_scales, rounded

    def add(self, activation: str, values: torch.Tensor) -> None:
        for module in (m for m in self._modules if m.activation == activation):
            operation: Operation = operation_of(self._model, module)
            scales = self._scales.get(activation)
            factor = reciprocal(operation, scales)
            read = values[None] if channel_axis(operation) == 0 else values.T[None]
            expected = operation.forward(read)  # which calls no hook, and so not this one
            exact, nearest = operation.weight.data, quantize_weight(weight_of(operation, scales))
            read = read if factor is None else read * factor
            lost = []
            for weight in (self._rounded[module.module], nearest):
                operation.weight.data = torch.from_numpy(dequantized(*weight))
                lost.append(float(((operation.forward(read) - expected) ** 2).sum()))
            operation.weight.data = exact
            self.lost[module.module] = self.lost.get(module.module, 0) + np.array(lost)


def test_every_module_of_a_recogniser_loses_less_on_audio_that_it_was_not_rounded_by(demo, demo_utterances):
    heard, other = demo_utterances[:20], demo_utterances[20:30]
    split = Split(heard, batches_of(demo, heard), demo.front_end, {})
    stages = Stages(demo.model)
    with torch.inference_mode():
        scales = equalise_channels(stages, demo.modules, split, 0.75, 99.9, 1e9)
        rounded = round_weights(stages, demo.modules, split, scales, 1e9)
        outputs = Outputs(demo.model, demo.modules, scales, rounded)
        measure_inputs(stages, demo.modules, split, batches_of(demo, other), outputs, "outputs")
    assert outputs.lost.keys() == {m.module for m in demo.modules}
    shares = {name: own / nearest for name, (own, nearest) in outputs.lost.items()}
    assert max(shares.values()) < 1, shares
    assert np.median(list(shares.values())) < 0.7, shares


def test_a_file_gives_back_what_was_saved(tmp_path):
    weights = {"a.b": quantize_weight(noise(4, 3)), "head": quantize_weight(noise(2, 3, 5))}
    for saved in (weights, {}):
        save_rounded(tmp_path / "weights.safetensors", saved)
        found = load_rounded(tmp_path / "weights.safetensors")
        assert found.keys() == saved.keys()
        for name, (levels, scales) in saved.items():
            assert np.array_equal(found[name][0], levels)
            assert np.array_equal(found[name][1], scales)
            assert found[name][0].dtype == np.int8


def test_no_other_modules_weights_are_read_than_asked_for(tmp_path):
    names = ["encoder.1.q", "encoder.10.q", "encoder.1.q.inner"]
    save_rounded(tmp_path / "weights.safetensors", {name: quantize_weight(noise(4, 3)) for name in names})
    for wanted in (["encoder.1.q"], ["encoder.10.q", "not.there"], []):
        assert load_rounded(tmp_path / "weights.safetensors", wanted).keys() == {*names} & {*wanted}
