"""What several tests need: the embedded recogniser, a tiny random one, and a recogniser's parts."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from transformers import (
    Data2VecAudioConfig,
    Data2VecAudioForCTC,
    HubertConfig,
    HubertForCTC,
    UniSpeechConfig,
    UniSpeechForCTC,
    UniSpeechSatConfig,
    UniSpeechSatForCTC,
    Wav2Vec2Config,
    Wav2Vec2ConformerConfig,
    Wav2Vec2ConformerForCTC,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    WavLMConfig,
    WavLMForCTC,
)
from watching import Job, Watched, Watcher, without_network

from stablequant.corpora.list_utterances import list_utterances
from stablequant.corpora.manifests import read_manifest
from stablequant.corpora.utterance import Batch, Utterance
from stablequant.engines.evaluate_engine import recognise
from stablequant.quantization.collecting import Preparation
from stablequant.quantization.histograms import Histogram
from stablequant.quantization.int8 import Range
from stablequant.quantization.int8_weights import RoundedWeight
from stablequant.quantization.ranges import full_range
from stablequant.recognisers.ctc.decoding import CtcDecoder
from stablequant.recognisers.ctc.front_end import FrontEnd
from stablequant.recognisers.family import Network, QuantizedModule
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.registry import family_of
from stablequant.recognisers.wav2vec2.family import read_front_end
from stablequant.recognisers.wav2vec2.forward import Wav2Vec2Recogniser
from stablequant.recognisers.wav2vec2.layers import quantized_modules
from stablequant.recognisers.wav2vec2.loading import load_model
from stablequant.search.activations import Activations
from stablequant.search.recognise_reference import Cache, Files, recognise_reference
from stablequant.search.reference import load_reference
from stablequant.search.split import Split
from stablequant.search.trials import Calibration
from stablequant.storage.files import read_json, write_json
from stablequant.storage.locks import locked

collect_ignore = ["interop"]  # needs other versions of the packages, see make test-interop
PROJECT = Path(__file__).parent.parent
DEMO = PROJECT / "resources/demo/model"
MEMORY_MB = 4500  # for all jobs of the tiny project's DAG together
TINY_CONFIG = {
    "methods": ["fp32", "max", "stablequant"],
    "percentiles": [99.9, 99.0],
    "engines": ["openvino"],
    "timing": {"audio_seconds": 6, "rounds": 2},
    "bundle_samples": 5,
    "threshold": 0,
    "max_reference_wer": None,
    "models": {
        "tiny": {
            "checkpoint": "model",
            "calibration": "tsv/calibration.tsv",
            "evaluation": "tsv/evaluation.tsv",
            "peers": "benchmarks/peers.tsv",
        }
    },
}

ARCHITECTURES = {
    "hubert": (HubertForCTC, HubertConfig, {}),
    "wav2vec2": (Wav2Vec2ForCTC, Wav2Vec2Config, {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    "mms": (
        Wav2Vec2ForCTC,
        Wav2Vec2Config,
        {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "adapter_attn_dim": 8},
    ),
    "wavlm": (WavLMForCTC, WavLMConfig, {}),
    "data2vec": (
        Data2VecAudioForCTC,
        Data2VecAudioConfig,
        {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 5},
    ),
    "conformer-relative": (
        Wav2Vec2ConformerForCTC,
        Wav2Vec2ConformerConfig,
        {"position_embeddings_type": "relative"},
    ),
    "conformer-rotary": (Wav2Vec2ConformerForCTC, Wav2Vec2ConformerConfig, {"position_embeddings_type": "rotary"}),
    "unispeech": (UniSpeechForCTC, UniSpeechConfig, {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    "unispeech-sat": (UniSpeechSatForCTC, UniSpeechSatConfig, {}),
}


def tiny_model(architecture: str = "hubert", **changes) -> torch.nn.Module:
    """A random CTC model with 7 convolutions and 2 transformer layers, its norms and biases random too."""
    torch.manual_seed(0)
    build, configure, own = ARCHITECTURES[architecture]
    settings = {
        "hidden_size": 48,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "intermediate_size": 96,
        "conv_dim": (16,) * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
        "vocab_size": 32,
        "pad_token_id": 0,
        "apply_spec_augment": False,
        "mask_time_prob": 0.0,
    }
    model = build(configure(**settings | own | changes)).eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            spread = 0.01 if name.startswith("lm_head") else 0.1  # else one class wins whatever is heard
            parameter.data = spread * torch.randn_like(parameter) + (1 if name.endswith("norm.weight") else 0)
    for name, buffer in model.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    return model


FEW_LAYERS = {"conv_dim": (16,) * 3, "conv_kernel": (10, 8, 8), "conv_stride": (5, 8, 8)}  # 8 instead of 12


def write_tiny_checkpoint(folder: Path, architecture: str = "hubert", **changes) -> None:
    """`tiny_model` in Hugging Face layout."""
    tiny_model(architecture, **changes).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False).save_pretrained(folder)
    shutil.copyfile(DEMO / "vocab.json", folder / "vocab.json")


@dataclass(frozen=True)
class Loaded:
    """A checkpoint, its torch model with eager attention, and its parts."""

    folder: Path
    model: torch.nn.Module
    modules: list[QuantizedModule]
    front_end: FrontEnd

    @classmethod
    def load(cls, folder: Path) -> "Loaded":
        model = load_model(folder, attention="eager", threads=2)
        return cls(folder, model, quantized_modules(model.config.to_dict()), read_front_end(folder))

    def recogniser(self, model: torch.nn.Module | None = None) -> Wav2Vec2Recogniser:
        """As the search sees it; ``model`` takes the place of its own."""
        return Wav2Vec2Recogniser(model or self.model, self.front_end)

    def decoder(self, network: Network) -> CtcDecoder:
        """As engines run it."""
        return family_of(self.folder).decoder(self.folder, {"model": network})


def torch_network(model: torch.nn.Module) -> Network:
    """A CTC model as engines are run: ``input_values`` in, ``logits`` out."""

    @torch.inference_mode()
    def network(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"logits": model(torch.from_numpy(tensors["input_values"])).logits.numpy()}

    return network


@pytest.fixture(scope="session")
def demo() -> Loaded:
    return Loaded.load(DEMO)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Loaded:
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny_checkpoint(folder / "source")
    import_checkpoint(str(folder / "source"), folder / "checkpoint")
    return Loaded.load(folder / "checkpoint")


def batches_of(loaded: Loaded, utterances: list[Utterance], budget: float = 1e8) -> list[Batch]:
    """Batches of equally long utterances, as an engine recognises them."""
    return loaded.decoder(torch_network(loaded.model)).batches(utterances, budget)


def heard(loaded: Loaded, network: Network, utterances: list[Utterance]) -> dict[str, str]:
    """Hypotheses by path."""
    return recognise(loaded.decoder(network), batches_of(loaded, utterances), loaded.front_end.sample_rate, "test")


def split_in(loaded: Loaded, utterances: list[Utterance], budget: float = 2e7) -> Split:
    """A calibration set in `batches_of`."""
    return Split(utterances, batches_of(loaded, utterances, budget), loaded.front_end.sample_rate)


@dataclass(frozen=True)
class Calibrated:
    """A recogniser after its fp32 pass over some utterances."""

    recogniser: Wav2Vec2Recogniser
    histograms: dict[str, Histogram]
    prepared: dict[str, Histogram]
    calibration: Calibration

    @property
    def modules(self) -> list[QuantizedModule]:
        return self.recogniser.modules

    def of(self, layer: str) -> list[QuantizedModule]:
        return [m for m in self.modules if m.layer == layer]

    @property
    def largest(self) -> dict[str, Range]:
        return {name: full_range(h) for name, h in self.prepared.items()}


KEY = {"checkpoint": "test"}  # of hidden values that are cached


def calibrate(
    recogniser: Wav2Vec2Recogniser,
    split: Split,
    folder: Path,
    preparation: Preparation | None = None,
    cache_mb: float = 0,
    half: bool = False,
    precision: str = "float32",
    rounded: Mapping[str, RoundedWeight] | None = None,
) -> Calibrated:
    """Run the pipeline's fp32 pass, its files in ``folder``. Weights not ``rounded`` are so to the nearest level."""
    files = Files(folder / "reference.json", folder / "posteriors.safetensors", folder / "activations.json")
    found = recognise_reference(recogniser, split, files, Cache(KEY, cache_mb, half), preparation, precision)
    reference = load_reference(files.summary, files.posteriors)
    activations = Activations(files.activations, KEY, recogniser.layers) if cache_mb else None
    scales = preparation.channel_scales if preparation else {}
    calibration = Calibration(split, reference, activations, 0, scales, rounded or {})
    return Calibrated(recogniser, found.histograms, found.prepared, calibration)


@pytest.fixture(scope="session")
def demo_utterances() -> list[Utterance]:
    """Every third utterance of the demo's calibration split."""
    manifest = read_manifest(PROJECT / "tsv/demo-calibration.tsv")
    chosen = manifest.entries[::3]
    utterances, rejections = list_utterances(type(manifest)(PROJECT / manifest.root, chosen), read_front_end(DEMO))
    assert not rejections
    return utterances


os.environ |= dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1,localhost")  # the tests' own servers


@pytest.fixture(scope="session", autouse=True)
def _in_project():
    os.chdir(PROJECT)


def snakemake(
    folder: Path, *arguments: str, expect: int = 0, environment: dict[str, str] | None = None, minutes: float = 20
) -> str:
    """Run snakemake in ``folder``; a profile for a cluster is used as it is. Return all it printed, and its own log."""
    cores = [] if "--workflow-profile" in arguments else ["--cores", "2"]
    command = [sys.executable, "-m", "snakemake", *cores, *arguments]
    before = own_logs(folder)
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        timeout=60 * minutes,
        check=False,
    )
    printed = done.stdout + done.stderr
    assert done.returncode == expect, printed
    return printed + "".join(file.read_text() for file in own_logs(folder) if file not in before)


def own_logs(folder: Path) -> list[Path]:
    """Snakemake's logs of the runs in ``folder``, which tell each job; the terminal shows stages."""
    return sorted((folder / ".snakemake/log").glob("*.log"))


def copy_project(folder: Path) -> Path:
    """What the workflow needs of the project, without the demo's audio."""
    for name in ("rules", "scripts", "stablequant", "envs", "profiles", "presets"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Snakefile", "config.yaml", "config.schema.yaml"):
        shutil.copyfile(PROJECT / name, folder / name)
    (folder / "benchmarks").mkdir()
    shutil.copyfile(PROJECT / "benchmarks/peers.tsv", folder / "benchmarks/peers.tsv")
    return folder


def write_speech(root: Path, manifest: Path, count: int, split: str = "calibration") -> list[Path]:
    """Lay ``count`` of the demo's utterances out under ``root`` with transcripts and a manifest; return the files."""
    lines, files = [], []
    listed = (PROJECT / f"tsv/demo-{split}.tsv").read_text().splitlines()
    source = PROJECT / listed[0]
    for line in listed[1 : count + 1]:
        path, _ = line.split("\t")
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / path, root / path)
        for transcript in (source / path).parent.glob("*.trans.txt"):
            shutil.copyfile(transcript, (root / path).parent / transcript.name)
        lines.append(line)
        files.append(root / path)
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text("\n".join([str(root), *lines]) + "\n")
    return files


def write_tiny_project(folder: Path, **changes) -> Path:
    """A project whose whole DAG runs in little time, on a tiny random recogniser and few utterances."""
    copy_project(folder)
    write_tiny_checkpoint(folder / "model", **FEW_LAYERS | changes)
    for split in ("calibration", "evaluation"):
        write_speech(folder / "speech" / split, folder / "tsv" / f"{split}.tsv", 6, split)
    peers = folder / "benchmarks/peers.tsv"
    peers.write_text(peers.read_text().replace("demo\t", "tiny\t"))
    take_its_words_for_the_truth(folder / "model", folder / "tsv/calibration.tsv")
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(settings | TINY_CONFIG))
    return folder


@dataclass(frozen=True)
class Run:
    """The whole DAG on a tiny random recogniser, ``isolated`` from any network where this machine can do that."""

    folder: Path
    printed: str
    watched: Watched
    isolated: bool


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> Run:
    """One undisturbed run of the whole DAG, watched. The processes that test in parallel share it."""
    place = tmp_path_factory.getbasetemp()
    shared = (place.parent if "PYTEST_XDIST_WORKER" in os.environ else place) / "run"
    with locked(shared):
        if not (shared / "run.json").is_file():
            shutil.rmtree(shared, ignore_errors=True)
            write_json(shared / "run.json", asdict(run_whole(shared / "project")) | {"folder": "project"})
    stored = read_json(shared / "run.json")
    jobs = {int(process): Job(**job) for process, job in stored["watched"]["jobs"].items()}
    watched = Watched(jobs, stored["watched"]["peak_mb"])
    return Run(shared / "project", stored["printed"], watched, stored["isolated"])


def run_whole(folder: Path) -> Run:
    """Write a tiny project to ``folder`` and run its whole DAG."""
    write_tiny_project(folder)
    isolate = without_network()
    command = [*isolate, sys.executable, "-m", "snakemake", "--cores", "2", "--resources", f"mem_mb={MEMORY_MB}"]
    with (folder / "printed.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
        with Watcher(process.pid) as watched:
            code = process.wait(timeout=1200)
    printed = (folder / "printed.log").read_text()
    assert code == 0, printed
    printed += own_logs(folder)[-1].read_text()
    return Run(folder, printed, watched, bool(isolate))


@pytest.fixture(scope="session")
def finished(run) -> Path:
    """A project after the whole DAG; nobody changes it."""
    return run.folder


@pytest.fixture
def project(finished, tmp_path) -> Path:
    """A copy of the finished run, with its times and Snakemake's records, to edit."""
    folder = tmp_path / "project"
    shutil.copytree(finished, folder)
    shutil.copytree(finished / ".snakemake", folder / ".snakemake", dirs_exist_ok=True)
    for split in ("calibration", "evaluation"):
        assert str(finished) in (folder / f"tsv/{split}.tsv").read_text()
    return folder


def configure(folder: Path, **changes) -> None:
    """Set keys of a project's config."""
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(settings | changes))


def planned(folder: Path, *arguments: str) -> dict[str, int]:
    """Jobs by rule that a run would start."""
    printed = snakemake(folder, "--dry-run", *arguments)
    table = re.search(r"job +count\n-+ +-+\n(.*?)\n\n", printed, re.DOTALL)
    if table is None:
        assert "Nothing to be done" in printed, printed
        return {}
    rows = dict(line.split() for line in table[1].splitlines())
    return {rule: int(count) for rule, count in rows.items() if rule not in ("total", "all")}


def take_its_words_for_the_truth(checkpoint: Path, manifest: Path) -> None:
    """Make a random recogniser perfect, so that every word that quantization changes is one lost."""
    loaded = Loaded.load(checkpoint)
    utterances, _ = list_utterances(read_manifest(manifest), loaded.front_end)
    hypotheses = heard(loaded, torch_network(loaded.model), utterances)
    manifest.with_suffix(".wrd").write_text("".join(f"{hypotheses[u.path]}\n" for u in utterances))
