"""One decoder with a memory of its own, for OpenVINO.

The ONNX graphs of a decoder are two: the first step, and each further step, which takes keys and values of what came
before. Both hold nearly the same weights. In OpenVINO one network does both steps: it keeps keys and values inside, as
the state of an infer request. So the weights lie in one file once, and no key or value is copied between steps.

The network has the form that optimum-intel gives it and OpenVINO GenAI expects
(https://github.com/huggingface/optimum-intel, ``exporters/openvino/stateful.py``): each kept tensor is a ReadValue with
an Assign, and the input ``beam_idx`` says which row of the memory each row continues. Before the first step the
growing tensors have no positions, and the fixed ones are computed once, from the inputs of the first step.
"""

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from stablequant.engines.openvino_requests import Requests
from stablequant.engines.tensors import warm_up_inputs
from stablequant.recognisers.family import Network, Signature, Tensor

ROWS = "beam_idx"
BATCH_AXIS, GROWING_AXIS = 0, 2  # of keys and values (batch, heads, positions, features)


def further_steps(signatures: Mapping[str, Signature]) -> dict[str, str]:
    """Name of the graph of a decoder's first step -> name of the graph of its further steps."""
    names = list(signatures)
    return {before: name for before, name in pairwise(names) if signatures[name].memory}


def with_memory(first: Signature, further: Signature) -> Signature:
    """Inputs and outputs of the network that `join_steps` makes of both graphs."""
    kept = further.memory.values()
    outputs = {name: tensor for name, tensor in further.outputs.items() if name not in kept}
    return Signature({**first.inputs, ROWS: Tensor(("batch",), "int32")}, outputs, first.warm_up)


def join_steps(first: ov.Model, further: ov.Model, memory: Mapping[str, str]) -> ov.Model:
    """A network with a memory, from the graph of the ``first`` step and that of a ``further`` step.

    ``memory`` gives for each input of ``further`` the output that fills it: an output of ``further`` grows with each
    step, one that only ``first`` has stays as it is. The graph ``further`` must take any number of tokens, and inputs
    without positions. Inputs of the same name are the same. Both models are changed.
    """
    parameters = {tensor.get_any_name(): tensor.get_node() for tensor in further.inputs}
    tokens = next(node for name, node in parameters.items() if name not in memory).output(0)
    for tensor in first.inputs:
        name = tensor.get_any_name()
        if name in parameters:
            tensor.replace(parameters[name].output(0))
        else:
            parameters[name] = tensor.get_node()
    grown, fixed = _sources(further), _sources(first)
    rows = ops.parameter([tokens.get_partial_shape()[BATCH_AXIS]], ov.Type.i32, name=ROWS)
    rows.output(0).get_tensor().set_names({ROWS})
    sinks = []
    for name, output in memory.items():
        values = parameters[name].output(0)
        if output in grown:
            kind, shape = values.get_element_type(), values.get_partial_shape()
            state = ops.read_value(_without_positions(values, tokens), name, kind, shape)
            values.replace(ops.gather(state, rows, ops.constant(np.int64(BATCH_AXIS))).output(0))
            sinks.append(ops.assign(grown[output], name))
        else:
            state = ops.read_value(fixed[output], name)
            values.replace(state.output(0))
            sinks.append(ops.assign(state, name))
    results = [tensor.get_node() for tensor in further.outputs if not tensor.get_names() & set(memory.values())]
    given = [node for name, node in parameters.items() if name not in memory]
    return ov.Model(results, sinks, [*given, rows], further.get_friendly_name())


def _sources(model: ov.Model) -> dict[str, ov.Node]:
    """The node that computes each output, by all names of the output."""
    found: dict[str, ov.Node] = {}
    for tensor in model.outputs:
        node = tensor.get_node().input_value(0).get_node()
        if node.get_output_size() != 1:
            raise ValueError(f"{node.get_friendly_name()} computes several tensors")
        found |= dict.fromkeys(tensor.get_names(), node)
    return found


def _without_positions(values: ov.Output, tokens: ov.Output) -> ov.Node:
    """Zeros in the shape of ``values``, with the batch of ``tokens`` and no positions."""
    zero = ops.constant(np.int64(0))
    sizes = [ops.gather(ops.shape_of(tokens), ops.constant(np.array([BATCH_AXIS])), zero)]
    for axis, size in list(enumerate(values.get_partial_shape()))[1:]:
        sizes.append(ops.constant(np.array([0 if axis == GROWING_AXIS else size.get_length()], dtype=np.int64)))
    return ops.broadcast(ops.constant(np.float32(0)), ops.concat(sizes, 0))


class _Run:
    """A batch that an infer request decodes.

    Attributes
    ----------
    batch: number of rows; a row whose text has ended is computed on until the others end
    steps: number of steps so far
    give_back: called when nobody holds the run any more
    """

    give_back: "weakref.finalize[[ov.InferRequest], _Run]"

    def __init__(self, request: ov.InferRequest, batch: int) -> None:
        self.request, self.batch, self.steps = request, batch, 0

    def step(self, tensors: Mapping[str, np.ndarray], rows: Sequence[int]) -> dict[str, np.ndarray]:
        """Compute one step of ``rows``; return all outputs of these rows by name."""
        whole = {}
        for name, values in tensors.items():
            whole[name] = np.zeros((self.batch, *values.shape[1:]), dtype=values.dtype)
            whole[name][rows] = values
        whole[ROWS] = np.arange(self.batch, dtype=np.int32)
        found = self.request.infer(whole, share_inputs=False, share_outputs=False)
        self.steps += 1
        return {tensor.get_any_name(): found[tensor][rows] for tensor in found}


@dataclass(frozen=True)
class _Row:
    """What a caller holds instead of keys and values: a row of a run after ``steps``."""

    run: _Run
    row: int
    steps: int


def remembering_networks(compiled: ov.CompiledModel, first: Signature, further: Signature) -> tuple[Network, Network]:
    """The two graphs of a decoder as functions, computed by the one network ``compiled``.

    In place of keys and values the functions give references, an array of one object per row. A caller may select rows
    of them, and continue each of them once: the memory changes with each step. When the caller keeps none any more, the
    infer request serves another batch. Threads may call the functions at the same time.

    The memory keeps the rows of texts that have ended. OpenVINO (2026.4.1) can take rows out of it, but after such a
    change, and the next reset, a request may give the outputs of its last step again.
    """
    requests = Requests(compiled)
    read = next(name for name, output in further.memory.items() if output in further.outputs)

    def begin(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        request = requests.take()
        request.reset_state()
        run = _Run(request, len(next(iter(tensors.values()))))
        given = {name: tensors[name] for name in first.inputs}
        found = run.step(given, range(run.batch))
        run.give_back = weakref.finalize(run, requests.give_back, request)
        return found | references(run, range(run.batch))

    def go_on(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        run: _Run = tensors[read][0].run
        rows = [reference.row for reference in tensors[read]]
        continued = any(reference.run is not run or reference.steps != run.steps for reference in tensors[read])
        if continued or len(set(rows)) < len(rows):
            raise ValueError("these keys and values were continued before, or they come from several batches")
        given = {name: tensors[name] for name in further.inputs if name not in further.memory}
        try:
            found = run.step(given, rows)
        except Exception:
            run.give_back.detach()  # after a fault nobody knows what the memory holds
            raise
        return found | references(run, rows)

    def references(run: _Run, rows: Sequence[int]) -> dict[str, np.ndarray]:
        kept = np.empty(len(rows), dtype=object)
        kept[:] = [_Row(run, row, run.steps) for row in rows]
        return dict.fromkeys(further.memory.values(), kept)

    warm = begin(warm_up_inputs(first))
    past = {name: warm[output] for name, output in further.memory.items()}
    go_on({**warm_up_inputs(further), **past})
    return begin, go_on
