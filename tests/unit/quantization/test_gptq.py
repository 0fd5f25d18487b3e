"""Weights are rounded so that what they compute over calibration audio changes least."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from distributions import noise

from stablequant.quantization import gptq
from stablequant.quantization.equalised import weight_of
from stablequant.quantization.gptq import (
    COLUMNS,
    DAMPING,
    Moments,
    blocks_of,
    columns_of,
    compensated,
    round_weight,
)
from stablequant.quantization.int8 import QMAX, dequantized, quantize_weight
from stablequant.recognisers.operations import Operation, channel_axis, groups_of

OPERATIONS = {
    "linear": torch.nn.Linear(12, 8),
    "audio": torch.nn.Conv1d(1, 8, 10, stride=5),
    "convolution": torch.nn.Conv1d(12, 8, 3, stride=2),
    "positional": torch.nn.Conv1d(12, 12, 4, groups=3, padding=2),
    "depthwise": torch.nn.Conv1d(12, 12, 5, groups=12, padding="same"),
}


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


@pytest.mark.parametrize("operation", [torch.nn.Linear(3 * COLUMNS + 5, 2), torch.nn.Conv1d(40, 2, 100)])
def test_blocks_hold_whole_channels_and_all_of_them(operation):
    blocks = blocks_of(operation)
    channels = np.arange(operation.weight.shape[1])
    assert np.array_equal(np.concatenate([channels[block] for block in blocks]), channels)
    assert all(len(channels[block]) * operation.weight[0, 0].numel() <= COLUMNS for block in blocks)


def test_blocks_by_hand():
    """At most `COLUMNS` columns: of a Linear as many channels, of a kernel of 100 two, of a long kernel one."""
    assert COLUMNS == 256
    assert blocks_of(torch.nn.Linear(600, 2)) == [slice(0, 256), slice(256, 512), slice(512, 768)]
    assert blocks_of(torch.nn.Conv1d(5, 2, 100)) == [slice(0, 2), slice(2, 4), slice(4, 6)]
    assert blocks_of(torch.nn.Conv1d(2, 2, 300)) == [slice(0, 1), slice(1, 2)]


def test_a_dilated_convolution_is_refused():
    with pytest.raises(ValueError) as error:
        columns_of(torch.nn.Conv1d(2, 2, 3, dilation=2), torch.zeros(2, 9))
    assert str(error.value) == "a convolution with dilation (2,); set rounding: {enabled: false}"


def test_moments_of_long_audio_are_taken_in_parts(monkeypatch):
    operation = torch.nn.Conv1d(6, 6, 3, groups=2, padding=1)
    values = torch.from_numpy(noise(6, 50)).float()
    whole = Moments({"read": operation})
    whole.add("read", values)
    sizes = []
    split = torch.split

    def noting(block: torch.Tensor, frames: int, dim: int = 0) -> tuple[torch.Tensor, ...]:
        parts = split(block, frames, dim)
        sizes.extend(part.shape[-1] for part in parts)
        return parts

    monkeypatch.setattr(torch, "split", noting)
    monkeypatch.setattr(gptq, "FRAMES", 7)
    found = Moments({"read": operation})
    found.add("read", values)
    assert sizes == [7] * 7 + [1]
    assert torch.allclose(whole.blocks["read"][0], found.blocks["read"][0], rtol=1e-5)
    assert found.blocks["read"][0].dtype == torch.float32
    halves = Moments({"read": operation})
    halves.add("read", values.bfloat16())
    assert halves.blocks["read"][0].dtype == torch.float32


def columns_by_hand(operation: Operation, values: np.ndarray, group: int) -> np.ndarray:
    """What the weights of a group are multiplied with, ``(channels * kernel, frames)``, one by one."""
    if isinstance(operation, torch.nn.Linear):
        return values
    zeros = operation.kernel_size[0] // 2 if operation.padding == "same" else operation.padding[0]
    padded = np.pad(values, ((0, 0), (zeros, zeros)))
    kernel, step, inside = operation.kernel_size[0], operation.stride[0], operation.weight.shape[1]
    frames = (padded.shape[1] - kernel) // step - 9  # the last are left out, else two places read the same values
    rows = [
        [padded[group * inside + channel, frame * step + place] for frame in range(frames)]
        for channel in range(inside)
        for place in range(kernel)
    ]
    return np.array(rows)


def round_by_hand(operation: Operation, channel_scales: np.ndarray | None, values: np.ndarray) -> np.ndarray:
    """Levels of all weights: column by column, the rest made as good as can be for what is *divided*."""
    weight = weight_of(operation, channel_scales)
    scales = np.abs(weight).reshape(len(weight), -1).max(axis=1) / 127
    divided = values / (np.ones(len(values)) if channel_scales is None else channel_scales)[:, None]
    per_group = len(weight) // groups_of(operation)
    levels = []
    for group in range(groups_of(operation)):
        rows = slice(group * per_group, (group + 1) * per_group)
        wanted = (weight[rows].reshape(per_group, -1) / scales[rows, None]).astype(np.float64)
        columns = columns_by_hand(operation, divided, group)
        moments = columns @ columns.T
        damped = moments + DAMPING * np.diag(moments).mean() * np.eye(len(moments))
        found: dict[int, np.ndarray] = {}
        for column in np.argsort(-np.diag(moments)):
            left = best_for_the_rest(wanted, found, damped) if found else wanted
            found[int(column)] = np.rint(left[:, column]).clip(-QMAX, QMAX)
        levels.append(np.stack([found[column] for column in range(wanted.shape[1])], axis=1))
    return np.concatenate(levels).reshape(weight.shape)


@pytest.mark.parametrize("equalised", [False, True])
@pytest.mark.parametrize("kind", OPERATIONS)
def test_a_weight_is_rounded_for_what_it_reads_once_that_is_divided(kind, equalised):
    """Moments are measured before channels are divided by their scales, which here differ a hundredfold."""
    torch.manual_seed(0)
    operation = OPERATIONS[kind].requires_grad_(False)
    operation.weight.data = torch.from_numpy(noise(*operation.weight.shape)).float()
    channels = operation.weight.shape[1] * groups_of(operation)
    smooth = np.apply_along_axis(np.convolve, 1, noise(channels, 300), [1, 2, 1])
    values = np.cumsum(smooth, axis=0) * np.linspace(1, 3, channels)[:, None]
    scales = np.logspace(-1, 1, channels).astype(np.float32) if equalised else None
    columns = np.stack([columns_by_hand(operation, values, group) for group in range(groups_of(operation))])
    levels, steps = round_weight(operation, scales, [torch.from_numpy(columns @ columns.swapaxes(1, 2))])
    assert levels.dtype == np.int8
    assert steps == pytest.approx(quantize_weight(weight_of(operation, scales))[1])
    assert np.array_equal(levels, round_by_hand(operation, scales, values))
    nearest, _ = quantize_weight(weight_of(operation, scales))
    assert np.mean(levels != nearest) > 0.03


def test_the_outputs_of_divided_channels_change_less_than_with_the_nearest_levels():
    """The scales differ ten thousandfold; the error is that of the product, by hand."""
    operation = torch.nn.Linear(24, 16).requires_grad_(False)
    operation.weight.data = torch.from_numpy(noise(16, 24)).float()
    values = alike(24, 400) * np.logspace(0, 2, 24)[:, None]
    scales = np.logspace(-2, 2, 24)[::-1].astype(np.float32)
    moments = Moments({"read": operation})
    moments.add("read", torch.from_numpy(values).float())
    exact = operation.weight.numpy() @ values
    wide = weight_of(operation, scales)
    lost = []
    for levels, steps in (round_weight(operation, scales, moments.blocks["read"]), quantize_weight(wide)):
        lost.append(((dequantized(levels, steps) @ (values / scales[:, None]) - exact) ** 2).sum())
    assert lost[0] < 0.5 * lost[1]


def test_a_weight_in_blocks_is_rounded_block_by_block():
    """Three blocks of a Linear; each is that of a Linear which has its columns only."""
    operation = torch.nn.Linear(2 * COLUMNS + 9, 3).requires_grad_(False)
    operation.weight.data = torch.from_numpy(noise(3, 2 * COLUMNS + 9)).float()
    operation.weight.data[:, 0] = 5.0  # the largest of all, which sets the scales
    values = torch.from_numpy(np.cumsum(noise(2 * COLUMNS + 9, 900), axis=0) / 9).float()
    scales = np.linspace(0.5, 1.5, 2 * COLUMNS + 9).astype(np.float32)
    moments = Moments({"read": operation})
    moments.add("read", values)
    levels, steps = round_weight(operation, scales, moments.blocks["read"])
    wanted = weight_of(operation, scales) / steps[:, None]
    divided = (values / torch.from_numpy(scales)[:, None]).double()
    for start in (0, COLUMNS, 2 * COLUMNS):
        block = slice(start, start + COLUMNS)
        part = compensated(torch.from_numpy(wanted[:, block]).double(), divided[block] @ divided[block].T)
        assert np.mean(levels[:, block] != part.numpy()) < 0.01
