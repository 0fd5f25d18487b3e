"""What several tests need: the embedded recogniser, a tiny random one, and a recogniser's parts."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml
from transformers import (
    Data2VecAudioConfig,
    Data2VecAudioForCTC,
    HubertConfig,
    HubertForCTC,
    Wav2Vec2Config,
    Wav2Vec2ConformerConfig,
    Wav2Vec2ConformerForCTC,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    WavLMConfig,
    WavLMForCTC,
)
from watching import Watched, Watcher, without_network

from stablequant.corpora.list_utterances import Utterance, list_utterances
from stablequant.corpora.manifests import read_manifest
from stablequant.quantization.histograms import Histogram
from stablequant.quantization.int8 import Range
from stablequant.quantization.int8_weights import RoundedWeight
from stablequant.quantization.ranges import full_range
from stablequant.recognisers.batches import Batch, footprint, loaded, make_batches
from stablequant.recognisers.ctc.decoding import Infer, recognise
from stablequant.recognisers.ctc.front_end import FrontEnd, read_front_end
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.wav2vec2.forward import Stages
from stablequant.recognisers.wav2vec2.layers import QuantizedModule, quantized_modules
from stablequant.recognisers.wav2vec2.loading import load_recogniser, torch_infer
from stablequant.search.activations import Activations
from stablequant.search.recognise_reference import Files, Split, load_reference, recognise_reference
from stablequant.search.trials import Calibration

PROJECT = Path(__file__).parent.parent
DEMO = PROJECT / "resources/demo/model"
MEMORY_MB = 4500  # for all jobs of the tiny project's DAG together
TINY_CONFIG = {
    "methods": ["fp32", "max", "stablequant"],
    "percentiles": [99.9, 99.0],
    "engines": ["openvino"],
    "evaluation_repeats": 1,
    "threshold": 0,
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


def write_tiny_checkpoint(folder: Path, architecture: str = "hubert", **changes) -> None:
    """`tiny_model` in Hugging Face layout."""
    tiny_model(architecture, **changes).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False).save_pretrained(folder)
    shutil.copyfile(DEMO / "vocab.json", folder / "vocab.json")


@dataclass(frozen=True)
class Recogniser:
    folder: Path
    model: torch.nn.Module
    modules: list[QuantizedModule]
    front_end: FrontEnd

    @classmethod
    def load(cls, folder: Path) -> "Recogniser":
        model = load_recogniser(folder, attention="eager", threads=2)
        return cls(folder, model, quantized_modules(model.config.to_dict()), read_front_end(folder))


@pytest.fixture(scope="session")
def demo() -> Recogniser:
    return Recogniser.load(DEMO)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Recogniser:
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny_checkpoint(folder / "source")
    import_checkpoint(str(folder / "source"), folder / "checkpoint")
    return Recogniser.load(folder / "checkpoint")


def batches_of(recogniser: Recogniser, utterances: list[Utterance], budget: float = 1e8) -> list[Batch]:
    """Batches of equally long utterances, as an engine recognises them."""
    return make_batches(utterances, footprint(recogniser.model.config.to_dict()), budget)


def heard(recogniser: Recogniser, infer: Infer, utterances: list[Utterance]) -> dict[str, str]:
    """Hypotheses by path."""
    batches = loaded(batches_of(recogniser, utterances), recogniser.front_end, "test")
    return recognise(infer, batches, recogniser.front_end.vocabulary).hypotheses


@dataclass(frozen=True)
class Calibrated:
    """A recogniser after its fp32 pass over some utterances."""

    stages: Stages
    modules: list[QuantizedModule]
    histograms: dict[str, Histogram]
    prepared: dict[str, Histogram]
    calibration: Calibration

    def of(self, layer: str) -> list[QuantizedModule]:
        return [m for m in self.modules if m.layer == layer]

    @property
    def largest(self) -> dict[str, Range]:
        return {name: full_range(h) for name, h in self.prepared.items()}


def calibrate(
    recogniser: Recogniser,
    model: torch.nn.Module,
    split: Split,
    folder: Path,
    cache_mb: float = 0,
    rounded: Mapping[str, RoundedWeight] | None = None,
    **options,
) -> Calibrated:
    """Run the pipeline's fp32 pass, its files in ``folder``. Weights not ``rounded`` are so to the nearest level."""
    files = Files(folder / "reference.json", folder / "posteriors.safetensors", folder / "activations.json")
    stages = Stages(model)
    found = recognise_reference(stages, recogniser.modules, split, files, cache_mb, **options)
    reference = load_reference(files.summary, files.posteriors)
    activations = Activations(files.activations, split.belongs, stages.names) if cache_mb else None
    calibration = Calibration(split, reference, activations, 0, options.get("channel_scales", {}), rounded or {})
    return Calibrated(stages, recogniser.modules, found.histograms, found.prepared, calibration)


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
    """Run snakemake in ``folder`` and return all it printed; a profile for a cluster is used as it is."""
    cores = [] if "--workflow-profile" in arguments else ["--cores", "2"]
    command = [sys.executable, "-m", "snakemake", *cores, *arguments]
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
    return printed


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
    write_tiny_checkpoint(folder / "model", **changes)
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
    """One undisturbed run of the whole DAG, watched."""
    folder = write_tiny_project(tmp_path_factory.mktemp("project"))
    isolate = without_network()
    command = [*isolate, sys.executable, "-m", "snakemake", "--cores", "2", "--resources", f"mem_mb={MEMORY_MB}"]
    with (folder / "printed.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
        with Watcher(process.pid) as watched:
            code = process.wait(timeout=1200)
    printed = (folder / "printed.log").read_text()
    assert code == 0, printed
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
    recogniser = Recogniser.load(checkpoint)
    utterances, _ = list_utterances(read_manifest(manifest), recogniser.front_end)
    hypotheses = heard(recogniser, torch_infer(recogniser.model), utterances)
    manifest.with_suffix(".wrd").write_text("".join(f"{hypotheses[u.path]}\n" for u in utterances))
