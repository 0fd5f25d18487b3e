"""What it costs and brings to quantize the products of attention, too, in Whisper's encoder:

    .venv/bin/python benchmarks/whisper_attention.py --results DIR --calibration DIR --evaluation DIR \\
        --out benchmarks/whisper_attention.tsv

``--results`` is the folder results/MODEL of a finished run with the engines openvino/fp32 and openvino/stablequant,
``--calibration`` and ``--evaluation`` are folders laid out as LibriSpeech. In OpenVINO's encoder of StableQuant, the
inputs of attention's two products get quantizers: queries and keys (``scores``), probabilities and values (``mixed``),
or all four (``both``); in the first row none, and those that the search has chosen are taken away for all. Scales are
those of least squared error on some calibration recordings. Probabilities are not negative, so they have 255 steps, all
others 127 on each side.

``kl`` is the divergence of the whole engine from fp32 along its own tokens, in nats per token. ``encoder_seconds`` are
the median for a window of 30 s, while the encoders take turns; ``speedup`` is against the first row. Run it in the
project's folder.
"""

import time
from pathlib import Path

import numpy as np
import openvino as ov
import pandas as pd
from project import PROJECT
from librispeech import listed
from openvino import opset13 as ops
from tables import command_line, write_out
from tqdm import tqdm
from whisper import log_posteriors
from whisper_engines import Graphs
from whisper_networks import Subject, written

from stablequant.corpora.utterance import Utterance
from stablequant.engines.folder import read_engine
from stablequant.engines.openvino import compile_network
from stablequant.engines.running import load_engine
from stablequant.recognisers.family import Network
from stablequant.recognisers.registry import family_of
from stablequant.recognisers.whisper.greedy import ENCODER
from stablequant.report.show import markdown_table
from stablequant.scoring.divergence import divergence
from stablequant.workflow.provenance import processor

INPUTS = ("queries", "keys", "probabilities", "values")
FORMS = {"none": (), "scores": INPUTS[:2], "mixed": INPUTS[2:], "both": INPUTS}
CALIBRATING = 4  # windows; attention of one has 18 million probabilities a block
SAMPLED = 200_000  # values of each input and window that scales are chosen by
ROUNDS = 15
LISTED = PROJECT / "results/whisper-benchmark/attention"


def encoder_without(file: Path) -> ov.Model:
    """The encoder in ``file`` without the quantizers of queries and keys that it has."""
    model = ov.Core().read_model(file)
    for block in places(model):
        for name in FORMS["scores"]:
            source = block[name].get_source_output().get_node()
            while source.get_type_name() in ("Transpose", "Reshape", "Multiply"):  # heads apart, queries scaled
                source = source.input_value(0).get_node()
            if source.get_type_name() == "FakeQuantize":
                source.output(0).replace(source.input_value(0))
    return model


def places(model: ov.Model) -> list[dict[str, ov.Input]]:
    """The inputs of attention's products by name, for each block."""
    found = []
    for softmax in [node for node in model.get_ordered_ops() if node.get_type_name() == "Softmax"]:
        scores, (mixed,) = softmax.input_value(0).get_node(), softmax.output(0).get_target_inputs()
        both = [scores.input(0), scores.input(1), mixed.get_node().input(0), mixed.get_node().input(1)]
        found.append(dict(zip(INPUTS, both, strict=True)))
    return found


def steps_of(name: str) -> tuple[int, int]:
    """The lowest and the highest level."""
    return (0, 255) if name == "probabilities" else (-128, 127)


def least_error(values: np.ndarray, name: str) -> float:
    """The largest value of the range in which rounding and clamping change ``values`` least, by squares."""
    low, high = steps_of(name)
    ends = np.abs(values).max() * np.geomspace(0.01, 1, 60)
    errors = [
        np.square(np.clip(np.rint(values / (end / high)), low, high) * (end / high) - values).mean() for end in ends
    ]
    return float(ends[np.argmin(errors)])


def scales(subject: Subject, file: Path, floating: str) -> list[dict[str, float]]:
    """The largest value of each input's range, for each block of the encoder in ``file``."""
    model = encoder_without(file)
    found = places(model)
    results = [ops.result(block[name].get_source_output()) for block in found for name in INPUTS]
    compiled, _ = compile_network(ov.Model(results, model.get_parameters(), "inputs"), subject.threads, floating)
    draw, kept = np.random.default_rng(0), [[] for _ in results]
    step = len(subject.calibration) // CALIBRATING
    for utterance in tqdm(subject.calibration[:: max(1, step)][:CALIBRATING], desc="ranges", unit="window"):
        inputs = compiled(subject.features(utterance))
        for values, tensor in zip(kept, compiled.outputs, strict=True):
            values.append(draw.choice(inputs[tensor].ravel(), SAMPLED))
    ends = [least_error(np.concatenate(v), INPUTS[n % len(INPUTS)]) for n, v in enumerate(kept)]
    return [dict(zip(INPUTS, ends[n : n + len(INPUTS)], strict=True)) for n in range(0, len(ends), len(INPUTS))]


def quantized(file: Path, ends: list[dict[str, float]], names: tuple[str, ...]) -> ov.Model:
    """The encoder in ``file`` with quantizers before the inputs ``names`` of attention's products."""
    model = encoder_without(file)
    for block, largest in zip(places(model), ends, strict=True):
        for name in names:
            low, high = steps_of(name)
            bounds = [np.float32(level * largest[name] / high) for level in (low, high)]
            quantizer = ops.fake_quantize(block[name].get_source_output(), *bounds, *bounds, 256)
            block[name].replace_source_output(quantizer.output(0))
    model.validate_nodes_and_infer_types()
    return model


def encoder_of(compiled: ov.CompiledModel) -> Network:
    request = compiled.create_infer_request()
    return lambda tensors: {"last_hidden_state": request.infer([tensors["input_features"]], share_outputs=False)[0]}


def divergences(subject: Subject, encoders: dict[str, Network], heard: list[Utterance]) -> dict[str, float]:
    """Nats per token from fp32, of StableQuant's decoder with each of ``encoders``."""
    engines = subject.results / "engines/openvino"
    fp32 = Graphs(subject, load_engine(engines / "fp32", subject.threads).networks)
    own = load_engine(engines / "stablequant", subject.threads).networks
    variants = {form: Graphs(subject, {**own, ENCODER: encoder}) for form, encoder in encoders.items()}
    nats, tokens = dict.fromkeys(variants, 0.0), 0
    for utterance in tqdm(heard, desc="divergence", unit="recording"):
        samples = subject.audio(utterance)
        text = written(subject, fp32._decoder, fp32.encoded(samples))
        expected = log_posteriors(fp32.logits(samples, text))
        tokens += len(expected)
        for form, engine in variants.items():
            nats[form] += divergence(expected, log_posteriors(engine.logits(samples, text)))
    return {form: total / tokens for form, total in nats.items()}


def seconds_of(subject: Subject, encoders: dict[str, Network]) -> dict[str, float]:
    """Median for a window."""
    given = {"input_features": subject.features(subject.evaluation[0])}
    taken: dict[str, list[float]] = {form: [] for form in encoders}
    for _ in tqdm(range(ROUNDS + 1), desc="speed", unit="round"):
        for form, encoder in encoders.items():
            start = time.perf_counter()
            encoder(given)
            taken[form].append(time.perf_counter() - start)
    return {form: float(np.median(times[1:])) for form, times in taken.items()}  # the first makes kernels ready


def markdown(table: pd.DataFrame) -> str:
    """The table as documents show it."""
    rows = [
        [row["quantized"], f"{row['kl']:.4f}", f"{1000 * row['encoder_seconds']:.0f}", f"{row['speedup']:.2f}"]
        for row in table.to_dict("records")
    ]
    return markdown_table(["quantized in attention", "KL", "encoder, ms", "speedup"], rows)


def main() -> None:
    parser = command_line(__doc__, markdown, threads=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--evaluation", type=Path, required=True)
    parser.add_argument("--recordings", type=int, default=30, help="of the evaluation that are heard (30)")
    arguments = parser.parse_args()
    checkpoint = arguments.results / "checkpoint"
    front_end = family_of(checkpoint).front_end(checkpoint)
    calibration, evaluation = (
        listed(getattr(arguments, split), front_end, LISTED / f"{split}.tsv") for split in ("calibration", "evaluation")
    )
    subject = Subject(checkpoint, arguments.results, calibration, evaluation, arguments.threads)
    folder = arguments.results / "engines/openvino/stablequant"
    file, floating = folder / f"{ENCODER}.xml", read_engine(folder)["floating"]
    ends = scales(subject, file, floating)
    networks = {form: quantized(file, ends, names) for form, names in FORMS.items()}
    encoders = {form: encoder_of(compile_network(net, subject.threads, floating)[0]) for form, net in networks.items()}
    step = max(1, len(evaluation) // arguments.recordings)
    seconds = seconds_of(subject, encoders)
    nats = divergences(subject, encoders, evaluation[::step][: arguments.recordings])
    rows = [(form, nats[form], seconds[form], seconds["none"] / seconds[form]) for form in FORMS]
    table = pd.DataFrame(rows, columns=["quantized", "kl", "encoder_seconds", "speedup"])
    table = table.assign(recordings=arguments.recordings, threads=subject.threads, processor=processor())
    print(table.to_string(index=False))
    write_out(arguments.out, table)


if __name__ == "__main__":
    main()
