"""Few distinct lengths for the kernels of OpenVINO.

OpenVINO (2026.4.1) makes kernels for each new length of audio. On CPUs with AMX this takes several times as long as a
small INT8 engine's recognition, and nearly all of it goes into convolutions and into products with weights. So their
input is padded at the end, up to the next of a few lengths, and the output is cut to its true length. The numbers that
remain are the same.

Values are padded as early and cut as late as possible. Most operations work on each frame for itself and take padded
values as they are: quantizers, activations, sums, norms over channels. Attention gives no weight to frames that were
added. All other operations, such as norms over time and attention with relative positions, read values of their true
length.

Convolutions that pad their input themselves are left as they are: behind padded values, OpenVINO computes those of the
positions wrongly in INT8 with bfloat16.
"""

from collections.abc import Sequence

import numpy as np
import openvino as ov
from openvino import opset13 as ops
from openvino.passes import ConstantFolding, Manager

from stablequant.engines.openvino_frames import (
    INPUT,
    Frames,
    Key,
    Reach,
    Sizes,
    is_fixed,
    is_over_time,
    key_of,
    padding,
)

FINITE = (  # elementwise operations that make finite numbers of all finite numbers
    *("Add", "Clamp", "Convert", "FakeQuantize", "Gelu", "Maximum", "Minimum", "Multiply"),
    *("Relu", "Sigmoid", "Subtract", "Swish", "Tanh"),
)
MASKED = np.float32(-1e30)  # a score that gets no attention; finite in bfloat16 too
STEPS = 16  # lengths between a power of two and the next
LONGEST = 24  # bits of the largest number of frames


def round_lengths(model: ov.Model) -> None:
    """Change ``model`` in place: its convolutions and products with weights work on few distinct lengths.

    It is for models with one input ``(batch, length, ...)`` and one output. All others stay as they are, and those that
    take one length only.
    """
    if len(model.inputs) == len(model.outputs) == 1:
        frames = Frames(model)
        if frames.whole is not None:
            _Rounding(model, frames, frames.whole).run()


class _Rounding:
    """One change of a model. ``padded`` are outputs that are longer than they were."""

    def __init__(self, model: ov.Model, frames: Frames, whole: Reach) -> None:
        self.model, self.frames = model, frames
        self.padded: set[Key] = set()
        self.extended: dict[Key, ov.Output] = {}
        self.cut: dict[Key, ov.Output] = {}
        self.attention: set[str] = set()  # names of its operations
        self.leading: dict[Key, bool] = {}
        audio = model.inputs[0].get_node().output(0)
        self.length = ops.gather(ops.shape_of(audio), ops.constant([frames.input_axis]), ops.constant(0)).output(0)
        self.true = {INPUT: self.length}
        rounded = _rounded_up(self._true(whole))
        # the longest input with this number of frames
        self.longer = ops.add(ops.multiply(rounded, np.int64(whole.hop)), np.int64(whole.width - 1)).output(0)
        self.added: dict[tuple[Reach, int, int], ov.Output] = {}
        self.masks: dict[Reach, ov.Output] = {}

    def run(self) -> None:
        nodes = self.model.get_ordered_ops()
        for node in nodes:
            if node.get_type_name() == "Softmax":
                self._find_attention(node)
        for node in nodes:
            self._visit(node)
        self.model.validate_nodes_and_infer_types()

    def _visit(self, node: ov.Node) -> None:
        """Let ``node`` read padded values if it can, and values of their true length otherwise."""
        long = [place for place in node.inputs() if key_of(place.get_source_output()) in self.padded]
        if node.get_name() in self.attention:
            self._attend(node)
        elif self._is_costly(node):
            self._read_padded(node.input(0))
            self._is_padded(node)
        elif self._is_by_frame(node) and (long or self._leads(node.output(0))):
            for place in node.inputs():
                if self.frames.axis(place.get_source_output()) is not None:
                    self._read_padded(place)
            self._is_padded(node)
        elif long and self._splits_features(node) and self._leads(node.output(0)):
            node.input(1).replace_source_output(_target(self.frames.sizes(node.output(0))).output(0))
            node.set_attribute("special_zero", True)
            self._is_padded(node)
        elif long and self._drops_last(node):
            self._is_padded(node)
        elif long and _asks_for_rank(node):
            node.validate_and_infer_types()
        else:
            for place in long:
                self._read_cut(place)

    def _is_padded(self, node: ov.Node) -> None:
        node.validate_and_infer_types()
        self.padded.add(key_of(node.output(0)))

    # Kinds of operations

    def _is_costly(self, node: ov.Node) -> bool:
        """Whether ``node`` is an unpadded convolution over time or a product of frames with constant weights."""
        if node.get_type_name() not in ("Convolution", "GroupConvolution", "MatMul"):
            return False
        values, weight = node.input_value(0), node.input_value(1)
        axis = self.frames.axis(values)
        if axis is None or self.frames.axis(node.output(0)) is None:
            return False
        if node.get_type_name() == "MatMul":
            by_frame = axis < len(self.frames.sizes(values)) - 1 and not node.get_attributes()["transpose_a"]
            return by_frame and weight.get_partial_shape().is_static and len(weight.get_shape()) == 2
        if not is_over_time(node) or axis != 2 or padding(node):
            return False
        if self.frames.reach(node.output(0)) != self.frames.reach(values).behind(node):
            return False
        # a convolution of the audio becomes a cheap product, so it is no reason to cut long values and pad them again
        return self.frames.reach(values) != INPUT or self._leads(node.output(0))

    def _is_by_frame(self, node: ov.Node) -> bool:
        """Whether ``node`` computes each frame from this frame of its inputs."""
        axis, sizes = self.frames.axis(node.output(0)), self.frames.sizes(node.output(0))
        if axis is None:
            return False
        if node.get_type_name() in FINITE:
            return all(self._fits(value, axis - len(sizes), sizes[axis]) for value in node.input_values())
        before = self.frames.axis(node.input_value(0)) if node.inputs() else None
        if before is None:
            return False
        if node.get_type_name() == "Softmax":
            return bool(node.get_attributes()["axis"] % len(sizes) != axis)
        if node.get_type_name() == "Gather":  # of channels
            return before == axis and _all_constant(node.input_values()[1:])
        others = _value(node.input_value(1)) if node.get_type_name() in ("MVN", "Transpose") else None
        if node.get_type_name() == "MVN" and others is not None:
            return axis not in others.flatten() % len(sizes)
        return others is not None

    def _fits(self, value: ov.Output, axis: int, expected: tuple[int, ...]) -> bool:
        """Whether ``value`` has at ``axis``, from the end, the ``expected`` sizes, or a single one for all frames."""
        sizes = self.frames.sizes(value)
        if not sizes and len(value.get_partial_shape()):
            return False
        return len(sizes) < -axis or sizes[axis] == expected or set(sizes[axis]) == {1}

    def _splits_features(self, node: ov.Node) -> bool:
        """Whether ``node`` only reshapes what is behind the axis of frames."""
        axis = self.frames.axis(node.output(0)) if node.get_type_name() == "Reshape" else None
        if axis is None or self.frames.axis(node.input_value(0)) != axis:
            return False
        before, after = self.frames.sizes(node.input_value(0)), self.frames.sizes(node.output(0))
        return before[: axis + 1] == after[: axis + 1] and [is_fixed(s) for s in after].index(True) == axis + 1

    def _drops_last(self, node: ov.Node) -> bool:
        """Whether ``node`` leaves out a fixed number of frames at the end."""
        axis = self.frames.axis(node.output(0)) if node.get_type_name() == "Slice" else None
        if axis is None or self.frames.axis(node.input_value(0)) != axis:
            return False
        values = [_value(value) for value in node.input_values()[1:]]
        if len(values) != 4 or any(value is None for value in values):
            return False
        start, end, step, axes = (value.flatten().tolist() for value in values if value is not None)
        return start == [0] and end[0] < 0 and step == [1] and axes == [axis]

    def _leads(self, output: ov.Output) -> bool:
        """Whether a costly operation or attention reads ``output``, directly or through operations by frame."""
        key = key_of(output)
        if key not in self.leading:
            self.leading[key] = any(self._leads_on(place) for place in output.get_target_inputs())
        return self.leading[key]

    def _leads_on(self, reader: ov.Input) -> bool:
        node = reader.get_node()
        if node.get_name() in self.attention or (reader.get_index() == 0 and self._is_costly(node)):
            return True
        return (self._is_by_frame(node) or self._splits_features(node)) and self._leads(node.output(0))

    # Attention

    def _find_attention(self, softmax: ov.Node) -> None:
        """Note the operations of attention around ``softmax`` if a mask does for them."""
        inside, scores = [softmax], softmax.input_value(0).get_node()
        while scores.get_type_name() in FINITE and _all_constant(scores.input_values()[1:]):
            inside.append(scores)
            scores = scores.input_value(0).get_node()
        readers = [place.get_node() for place in softmax.output(0).get_target_inputs()]
        if scores.get_type_name() != "MatMul" or [reader.get_type_name() for reader in readers] != ["MatMul"]:
            return
        found, rank = [*inside, scores, readers[0]], len(softmax.output(0).get_partial_shape())
        if any(len(node.output(0).get_target_inputs()) != 1 for node in found[:-1]):
            return
        turned, plain = scores.get_attributes(), not any(readers[0].get_attributes().values())
        if turned["transpose_a"] or not plain or softmax.get_attributes()["axis"] % rank != rank - 1:
            return
        keys = rank - 2 if turned["transpose_b"] else rank - 1
        read = [scores.input_value(0), scores.input_value(1), readers[0].input_value(1), readers[0].output(0)]
        if [self.frames.axis(value) for value in read] != [rank - 2, keys, rank - 2, rank - 2]:
            return
        if len({self.frames.reach(value) for value in read}) == 1:
            self.attention |= {node.get_name() for node in found}

    def _attend(self, node: ov.Node) -> None:
        """Let an operation of attention read padded values, and a softmax a mask beside them."""
        for place in node.inputs():
            if self.frames.axis(place.get_source_output()) is not None:
                self._read_padded(place)
        if node.get_type_name() == "Softmax":
            product = next(iter(node.output(0).get_target_inputs())).get_node()
            bound, scores = node.input_value(0).get_node(), node.input_value(0)
            least = _value(bound.input_value(1)) if bound.get_type_name() == "Maximum" else None
            if least is not None and np.all(least <= MASKED):
                scores = bound.input_value(0)  # the mask does what the bound is for
            masked = ops.add(scores, self._mask(self.frames.reach(product.output(0))))
            node.input(0).replace_source_output(masked.output(0))
        self._is_padded(node)

    def _mask(self, reach: Reach) -> ov.Output:
        """float32 ``(frames,)``: 0 for those of the audio, `MASKED` for those that were added."""
        if reach not in self.masks:
            longer = ops.squeeze(_frames(self.longer, reach), ops.constant([0]))
            numbers = ops.range(np.int64(0), longer, np.int64(1), "i64")
            heard = ops.less(numbers, self._true(reach))
            self.masks[reach] = ops.select(heard, np.float32(0), MASKED).output(0)
        return self.masks[reach]

    # Padding and cutting

    def _read_padded(self, place: ov.Input) -> None:
        """Make ``place`` read padded values."""
        output = place.get_source_output()
        if key_of(output) not in self.padded:
            place.replace_source_output(self._extended(output))

    def _read_cut(self, place: ov.Input) -> None:
        """Make ``place`` read values of their true length."""
        output = place.get_source_output()
        values = self._cut(output)
        place.replace_source_output(values)
        if place.get_node().get_type_name() == "Result":
            names = output.get_names()
            output.get_tensor().set_names(set())
            values.get_tensor().set_names(names)

    def _cut(self, output: ov.Output) -> ov.Output:
        key = key_of(output)
        if key not in self.cut:
            end, axis = self._true(self.frames.reach(output)), ops.constant([self.frames.place(output)])
            self.cut[key] = ops.slice(output, ops.constant([0]), end, ops.constant([1]), axis).output(0)
        return self.cut[key]

    def _extended(self, output: ov.Output) -> ov.Output:
        """``output`` with zeros at the end."""
        key = key_of(output)
        if key not in self.extended:
            sizes, zero = self.frames.sizes(output), ops.constant(0, dtype=output.get_element_type())
            padded = ops.pad(output, ops.constant([0] * len(sizes)), self._added(output), "constant", zero)
            longer = _shaped(padded, sizes)  # OpenVINO forgets what it knew of the other axes
            self.extended[key] = longer.output(0)
            self.frames.same(longer.output(0), output)
            self.padded.add(key_of(longer.output(0)))
        return self.extended[key]

    def _added(self, output: ov.Output) -> ov.Output:
        """How many numbers are added to each axis of ``output``."""
        reach, axis, rank = self.frames.reach(output), self.frames.place(output), len(self.frames.sizes(output))
        place = reach, axis, rank
        if place not in self.added:
            more = ops.subtract(_frames(self.longer, reach), self._true(reach))
            ends = [ops.constant([0])] * rank
            ends[axis] = more
            self.added[place] = ops.concat(ends, 0).output(0)
        return self.added[place]

    def _true(self, reach: Reach) -> ov.Output:
        """The number of frames of the audio."""
        if reach not in self.true:
            self.true[reach] = _frames(self.length, reach)
        return self.true[reach]


def _asks_for_rank(node: ov.Node) -> bool:
    """Whether ``node`` is the shape of a tensor of which only the number of axes is read."""
    readers = [place.get_node() for output in node.outputs() for place in output.get_target_inputs()]
    return bool(node.get_type_name() == "ShapeOf" and all(reader.get_type_name() == "ShapeOf" for reader in readers))


def _target(sizes: Sequence[Sizes]) -> ov.Node:
    """The target of a reshape that leaves all axes as they are that depend on the audio."""
    return ops.constant([size[0] if is_fixed(size) else 0 for size in sizes])  # 0: as it is


def _shaped(values: ov.Node, sizes: Sequence[Sizes]) -> ov.Node:
    """``values`` with the sizes known that do not depend on the audio."""
    return ops.reshape(values, _target(sizes), True)


def _frames(length: ov.Output, reach: Reach) -> ov.Output:
    """The number of frames of ``length`` inputs, `Reach.frames` as operations."""
    if reach == INPUT:
        return length
    last = ops.divide(ops.subtract(length, np.int64(reach.width)), np.int64(reach.hop))
    return ops.add(last, np.int64(1)).output(0)


def _rounded_up(frames: ov.Output) -> ov.Output:
    """The next number that has at most as many leading bits as ``2 * STEPS``."""
    powers = 2 ** np.arange(STEPS.bit_length(), LONGEST, dtype=np.int64)  # from 2 * STEPS on
    reached = ops.convert(ops.less_equal(ops.constant(powers), frames), "i64")
    # the steps before each power: 1, 1, 2, 4 and so on; so their sum is the step from there on
    more = ops.reduce_sum(ops.multiply(reached, ops.constant(powers // (2 * STEPS))), ops.constant([0]), True)
    step = ops.add(more, np.int64(1))
    last = ops.divide(ops.add(frames, ops.subtract(step, np.int64(1))), step)
    return ops.multiply(last, step).output(0)


def _all_constant(outputs: Sequence[ov.Output]) -> bool:
    return all(_value(output) is not None for output in outputs)


def _value(output: ov.Output) -> np.ndarray | None:
    """The values of ``output``; None if they depend on the audio, or if OpenVINO does not fold them."""
    if not output.get_partial_shape().is_static:
        return None
    seen, waiting = {output.get_node().get_name()}, [output.get_node()]
    while waiting:
        node = waiting.pop()
        if node.get_type_name() == "Parameter":
            return None
        before = {source.get_node().get_name(): source.get_node() for source in node.input_values()}
        waiting += [before[name] for name in before.keys() - seen]
        seen |= before.keys()
    if output.get_node().get_type_name() == "Constant":
        return np.asarray(output.get_node().data)
    part = ov.Model([ops.result(output)], [], "constant").clone()
    folding = Manager()
    folding.register_pass(ConstantFolding())
    folding.run_passes(part)
    folded = part.get_results()[0].input_value(0).get_node()
    return np.asarray(folded.data) if folded.get_type_name() == "Constant" else None
