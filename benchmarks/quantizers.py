"""The tools that `peers.py` compares with. Each writes a network of a recogniser: OpenVINO's, or ONNX Runtime's own.

``python benchmarks/quantizers.py METHOD RESULTS FOLDER`` lets one of them do so, in the environment and in the process
of its own that it needs: some change the libraries that they load.
"""

import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from project import PROJECT
from subject import Subject, read_subject
from tables import command_line

from stablequant.storage.files import write_json

ANSWER = "taken.json"  # in a peer's folder, what it took


class Peer(NamedTuple):
    """A tool with its settings.

    Attributes
    ----------
    module: the script here that calls it, and the function there, which writes the network into a folder and returns
        how often the calibration set was recognised
    settings: what that function is given before the recogniser and the folder
    environment: name of its list of packages below ``envs``
    """

    module: str
    function: str
    settings: tuple[object, ...] = ()
    environment: str = "peers"

    @property
    def script(self) -> Path:
        return PROJECT / f"benchmarks/{self.module}.py"

    @property
    def python(self) -> Path:
        """The interpreter of its environment."""
        return PROJECT / f".venv-{self.environment}/bin/python"

    def quantize(self, subject: Subject, folder: Path) -> dict:
        """Write the network; return ``seconds``, without the import of packages, and ``passes`` or an ``error``."""
        make: Callable[..., float] = getattr(import_module(self.module), self.function)
        start = time.perf_counter()
        try:
            taken: dict = {"passes": make(*self.settings, subject, folder)}
        except TimeoutError as error:  # the tool ran, and found nothing
            taken = {"error": str(error)}
        return taken | {"seconds": time.perf_counter() - start}


PEERS = {
    **{
        f"onnxruntime-{method.lower()}": Peer("by_onnxruntime", "static", (method, True))
        for method in ("MinMax", "Percentile", "Entropy")
    },
    "onnxruntime-minmax-matmul": Peer("by_onnxruntime", "static", ("MinMax", False)),
    "onnxruntime-dynamic": Peer("by_onnxruntime", "dynamic", (True,)),
    "onnxruntime-dynamic-matmul": Peer("by_onnxruntime", "dynamic", (False,)),
    "nncf": Peer("by_nncf", "quantize"),
    "nncf-accuracy-control": Peer("by_nncf", "with_accuracy_control"),
    "nncf-weights": Peer("by_nncf", "weights", (None,)),
    "nncf-weights-128": Peer("by_nncf", "weights", (128,)),
    **{f"modelopt-{method}": Peer("by_nvidia", "modelopt", (method,)) for method in ("max", "smoothquant", "auto")},
    **{f"modelopt-onnx-{method}": Peer("by_nvidia", "modelopt_onnx", (method,)) for method in ("max", "entropy")},
    **{
        f"pytorch-quantization-{method}": Peer("by_nvidia", "pytorch_quantization", (method,))
        for method in ("max", "percentile", "entropy")
    },
    "torchao-pt2e": Peer("by_torchao", "quantize"),
    **{f"aimet-{way}": Peer("by_aimet", "quantize", (way,)) for way in ("default", "cle", "sensitivity")},
    "quark": Peer("by_quark", "quantize", ("INT8_TRANSFORMER_DEFAULT",)),
    "neural-compressor-autotune": Peer("by_neural_compressor", "autotune", environment="neural-compressor"),
}


def main() -> None:
    parser = command_line(__doc__, out=None, threads=True)
    parser.add_argument("method", choices=PEERS)
    parser.add_argument("results", type=Path, help="the workflow's folder of the recogniser")
    parser.add_argument("folder", type=Path, help="for the network")
    arguments = parser.parse_args()
    subject = read_subject(arguments.results, arguments.threads)
    write_json(arguments.folder / ANSWER, PEERS[arguments.method].quantize(subject, arguments.folder))


if __name__ == "__main__":
    main()
