"""Which axis of a tensor counts frames of audio, and how many frames there are.

A model is given a few batches of audio, and what is looked at are shapes only; nothing is computed. An axis whose size
changes with the length of the audio counts frames. How many there are follows from the convolutions: see `Reach`.
"""

from typing import NamedTuple

import numpy as np
import openvino as ov

CONVOLUTIONS = ("Convolution", "GroupConvolution")
PROBES = ((2, 48_080), (3, 48_080), (2, 48_079), (2, 64_777))  # batch and length; one sample makes a frame more or less

Key = tuple[str, int]
Sizes = tuple[int, ...]  # of an axis, for each of `PROBES`


class Reach(NamedTuple):
    """How much of the audio a frame depends on.

    Attributes
    ----------
    width: inputs that a frame depends on, less the padding at both ends
    hop: inputs from one frame to the next

    ``length`` inputs give ``(length - width) // hop + 1`` frames.
    """

    width: int
    hop: int

    def frames(self, length: int) -> int:
        """Number of frames of ``length`` inputs."""
        return (length - self.width) // self.hop + 1

    def behind(self, convolution: ov.Node) -> "Reach":
        """The reach of what ``convolution``, over one axis, computes from frames of this reach."""
        settings = convolution.get_attributes()
        kernel = convolution.input_value(1).get_partial_shape()[-1].get_length()
        more = settings["dilations"][0] * (kernel - 1) - padding(convolution)
        return Reach(self.width + self.hop * more, self.hop * settings["strides"][0])


INPUT = Reach(1, 1)  # of the audio itself


class Frames:
    """The axes of a model's tensors that count frames.

    Attributes
    ----------
    whole: the reach of the model's output; None if the model takes audio of one length only, or cannot be understood
    """

    def __init__(self, model: ov.Model) -> None:
        """Look at the shapes of ``model``, which has one input ``(batch, length, ...)`` and one output."""
        self._sizes = _probe(model)
        self._reaches: dict[Sizes, Reach] = {}
        source = model.inputs[0].get_node().output(0)
        self.input_axis = next((axis for axis, sizes in enumerate(self.sizes(source)) if _grows(sizes)), None)
        if self.input_axis is not None:
            self._reaches[self.sizes(source)[self.input_axis]] = INPUT
            for node in model.get_ordered_ops():
                if is_over_time(node) and self.axis(node.input_value(0)) == 2:
                    self._learn(node)
        result = model.outputs[0].get_node().input_value(0)
        self.whole = None if self.axis(result) is None else self.reach(result)

    def sizes(self, output: ov.Output) -> list[Sizes]:
        """The sizes of all axes of ``output``; none if they are not known."""
        return self._sizes.get(key_of(output), [])

    def axis(self, output: ov.Output) -> int | None:
        """The axis of ``output`` that counts frames; None if there is none, or if more than one axis is longer."""
        long = [axis for axis, sizes in enumerate(self.sizes(output)) if _grows(sizes)]
        return long[0] if len(long) == 1 and self.sizes(output)[long[0]] in self._reaches else None

    def place(self, output: ov.Output) -> int:
        """The `axis` of ``output``, which has one."""
        axis = self.axis(output)
        if axis is None:
            raise ValueError(f"{output.get_node().get_friendly_name()} has no axis of frames")
        return axis

    def reach(self, output: ov.Output) -> Reach:
        """The reach of the frames of ``output``, which has an `axis`."""
        return self._reaches[self.sizes(output)[self.place(output)]]

    def same(self, copy: ov.Output, output: ov.Output) -> None:
        """Note that ``copy`` has the axes of ``output``."""
        self._sizes[key_of(copy)] = self.sizes(output)

    def _learn(self, convolution: ov.Node) -> None:
        sizes = self.sizes(convolution.output(0))[2]
        reach = self.reach(convolution.input_value(0)).behind(convolution)
        if sizes == tuple(reach.frames(length) for _, length in PROBES):
            self._reaches.setdefault(sizes, reach)


def key_of(output: ov.Output) -> Key:
    """What tells an output from all others of its model."""
    return output.get_node().get_name(), output.get_index()


def is_fixed(sizes: Sizes) -> bool:
    """Whether an axis has one size for all audio."""
    return len(set(sizes)) == 1


def is_over_time(node: ov.Node) -> bool:
    """Whether ``node`` is a convolution over a single axis with constant weights and explicit padding."""
    if node.get_type_name() not in CONVOLUTIONS or not node.input_value(1).get_partial_shape().is_static:
        return False
    settings = node.get_attributes()
    return len(settings["strides"]) == 1 and settings["auto_pad"] in ("explicit", "valid", "notset")


def padding(convolution: ov.Node) -> int:
    """Number of zeros that a convolution over a single axis appends at both ends together."""
    settings = convolution.get_attributes()
    return int(settings["pads_begin"][0] + settings["pads_end"][0])


def _grows(sizes: Sizes) -> bool:
    """Whether the size depends on the length of the audio."""
    return not is_fixed(sizes) and not _is_batch(sizes)


def _is_batch(sizes: Sizes) -> bool:
    """Whether the size depends on the batch, and not on the length."""
    return sizes[0] == sizes[2] == sizes[3] != sizes[1]


def _probe(model: ov.Model) -> dict[Key, list[Sizes]]:
    """The sizes of the axes of all tensors of ``model``; none if it cannot take audio of all lengths."""
    dynamic = model.inputs[0].get_partial_shape()
    found: dict[Key, list[list[int] | None]] = {}
    if dynamic.rank.is_dynamic or len(dynamic) < 2 or not dynamic[1].is_dynamic:
        return {}
    if any(size.is_dynamic for size in list(dynamic)[2:]):
        return {}
    try:
        for free in PROBES:
            sizes = [size.get_length() if size.is_static else free[axis] for axis, size in enumerate(dynamic)]
            model.reshape(ov.PartialShape(sizes))
            for node in model.get_ordered_ops():
                for output in node.outputs():
                    shape = output.get_partial_shape()
                    found.setdefault(key_of(output), []).append(list(shape.to_shape()) if shape.is_static else None)
    except RuntimeError:  # the model takes some lengths only
        return {}
    finally:
        model.reshape(dynamic)
    known = {key: [shape for shape in shapes if shape is not None] for key, shapes in found.items()}
    return {
        key: [tuple(sizes) for sizes in np.array(shapes).T.tolist()]
        for key, shapes in known.items()
        if len(shapes) == len(PROBES) and len({len(shape) for shape in shapes}) == 1
    }
