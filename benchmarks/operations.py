"""Where an OpenVINO engine's time goes, by kind of operation: ``python benchmarks/operations.py --out FILE``.

A HuBERT of large's shape with random weights (large_graphs.py) recognises noise while OpenVINO takes the time of each
of its operations; of each the fastest of some passes counts. ``share`` is of all time; ``product`` marks what INT8
kernels make faster. ``bound`` is the speed against fp32 if products took a quarter of fp32's time, which is what
VNNI's arithmetic allows, and all else what it took. ``int8, channels first`` is the graph as it was exported, before
its convolutions become products (stablequant/engines/openvino_channels_last.py); ``int8, bf16`` is on a CPU that has
bfloat16. On a CPU whose INT8 kernels saturate, they are run all the same: their results are wrong, their times are not.
Run it in the project's folder.
"""

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from easy_engines import compile_as_it_is
from engines import BOTH, int8_names
from large_graphs import quantize, write_hubert_large
from noise import noise
from tables import command_line, write_out
from tqdm import tqdm

from stablequant.engines import openvino
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.report.show import markdown_table
from stablequant.workflow.provenance import processor

PRODUCTS = r"FullyConnected|Convolution|MatMul"
ATTENTION = "Subgraph"  # what OpenVINO fuses in these networks
VNNI = 4  # INT8 products in the time of one of fp32


def times_by_kind(engine: str, network: Path, audio: np.ndarray, repeats: int, threads: int) -> pd.DataFrame:
    """``operation kernel nodes milliseconds`` of one recognition, the fastest of ``repeats`` for each node."""
    hint = "bf16" if engine == BOTH else "f32"
    compiled = compile_as_it_is(network, hint, threads, PERF_COUNT=True)
    request = compiled.create_infer_request()
    fastest: dict[tuple[str, str, str], float] = {}
    for _ in tqdm(range(repeats + 1), desc=engine, unit="pass"):  # the first makes kernels ready
        request.infer([audio])
        for info in request.profiling_info:
            key = (info.node_name, info.node_type, info.exec_type)
            fastest[key] = min(fastest.get(key, np.inf), info.real_time.total_seconds())
    seconds: Counter[tuple[str, str]] = Counter()
    nodes: Counter[tuple[str, str]] = Counter()
    for (_, kind, kernel), taken in fastest.items():
        if taken:
            seconds[kind, kernel] += taken
            nodes[kind, kernel] += 1
    rows = [(*key, nodes[key], 1000 * taken) for key, taken in seconds.most_common()]
    return pd.DataFrame(rows, columns=["operation", "kernel", "nodes", "milliseconds"]).assign(engine=engine)


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """With ``product`` and ``share``."""
    table["product"] = table["operation"].str.contains(PRODUCTS)
    table["processor"] = processor()
    table["share"] = table["milliseconds"] / table.groupby("engine")["milliseconds"].transform("sum")
    return table


def markdown(table: pd.DataFrame) -> str:
    """Milliseconds by kind of operation, the engines beside each other, as the documents show them."""
    kinds = table.assign(operation=table["operation"].replace("FullyConnectedQuantizedLegacy", "FullyConnected"))
    took = kinds.pivot_table(
        index=["operation", "product"], columns="engine", values="milliseconds", aggfunc="sum", fill_value=0
    )[table["engine"].unique()]
    took = took[took.max(axis=1) >= 1].sort_values("fp32", ascending=False)
    header = ["operation", *(f"{engine}, ms" for engine in took), "made faster by INT8"]
    rows = []
    for (operation, product), times in took.iterrows():
        rows.append([operation, *(f"{time:.0f}" for time in times), "yes" if product else "no"])
    rows.append(["all", *(f"{time:.0f}" for time in table.groupby("engine")["milliseconds"].sum()[took.columns]), ""])
    return markdown_table(header, rows)


def bounds(table: pd.DataFrame) -> str:
    """The speeds against fp32 with products, and with attention as well, in `VNNI`'s part of fp32's time."""
    part = table["product"].map({True: "product", False: "rest"}).where(table["operation"] != ATTENTION, ATTENTION)
    took = table.assign(part=part).pivot_table(index="engine", columns="part", values="milliseconds", aggfunc="sum")
    fp32 = took.loc["fp32"]
    said = []
    for engine in table["engine"].unique():
        products = fp32["product"] / VNNI + took.loc[engine, "rest"]
        alone = fp32.sum() / (products + took.loc[engine, ATTENTION])
        both = fp32.sum() / (products + fp32[ATTENTION] / VNNI)
        said.append(f"{alone:.2f} with all else as in {engine}, {both:.2f} with attention in a quarter as well")
    return f"bound: {'; '.join(said)}; {VNNI} with nothing but products"


def main() -> None:
    parser = command_line(__doc__, markdown, bounds, threads=True)
    parser.add_argument("--seconds", type=float, default=10, help="of audio (10)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--graphs", type=Path, help="folder with fp32.onnx and int8.onnx, kept there if it is empty")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.graphs or Path(temporary)
        if not (folder / "int8.onnx").is_file():
            write_hubert_large(folder / "source")
            import_checkpoint(str(folder / "source"), folder / "checkpoint")
            quantize(folder / "checkpoint", folder)
        audio = noise(1, arguments.seconds)
        for graph in ("fp32", "int8"):
            (folder / "openvino" / graph).mkdir(parents=True, exist_ok=True)
            openvino.convert(folder / f"{graph}.onnx", folder / "openvino" / graph / "model.xml")
        built = folder / "openvino/int8/model.xml"
        networks = {
            "fp32": folder / "openvino/fp32/model.xml",
            "int8, channels first": folder / "int8.onnx",
            "int8": built,
            **({BOTH: built} if BOTH in int8_names() else {}),
        }
        tables = [
            times_by_kind(engine, network, audio, arguments.repeats, arguments.threads)
            for engine, network in networks.items()
        ]
    table = summarise(pd.concat(tables, ignore_index=True))
    print(table.round(4).to_string(index=False))
    print(bounds(table))
    write_out(arguments.out, table)


if __name__ == "__main__":
    main()
