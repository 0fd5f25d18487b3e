"""A published checkpoint as far as it is known, and its twin: random weights of tiny width in the same layout."""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import CONFIG_MAPPING, AutoModelForCTC
from zoo.shared_settings import NAMED, PREPROCESSOR, WITH_LM

TINY = {  # in place of the published widths; all else is as published
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "conv_dim": [8] * 7,
}


@dataclass(frozen=True)
class Published:
    """A checkpoint and its files, as far as they differ from what transformers writes by default.

    Attributes
    ----------
    name: ``owner/name`` on the hub
    kind: ``model_type``
    config: what differs from transformers' defaults of this kind, without widths and numbers of layers
    tokens: ``vocab.json`` in the order of its classes, which may be shortened
    classes: classes of the published CTC head; None if not known
    tokenizer, special_tokens, added_tokens: contents of the tokenizer's files; None if there is no such file
    preprocessor: content of ``preprocessor_config.json``; None if there is none
    weights: name of the file of weights
    dtype: of the weights
    lacks: parameters that the file does not hold although transformers' model has them
    """

    name: str
    kind: str
    config: Mapping[str, Any]
    tokens: Sequence[str]
    classes: int | None
    tokenizer: Mapping[str, Any] | None
    sources: Sequence[str]
    assumed: Sequence[str] = ()
    special_tokens: Mapping[str, Any] | None = field(default_factory=lambda: NAMED)
    added_tokens: Mapping[str, int] | None = None
    preprocessor: Mapping[str, Any] | None = field(default_factory=lambda: PREPROCESSOR)
    weights: str = "pytorch_model.bin"
    dtype: torch.dtype = torch.float32
    lacks: Sequence[str] = ()

    @property
    def settings(self) -> dict[str, Any]:
        """Content of the twin's ``config.json``."""
        count = max([len(self.tokens), *(index + 1 for index in (self.added_tokens or {}).values())])
        blank = {"pad_token_id": self.tokens.index("[PAD]")} if "[PAD]" in self.tokens else {"pad_token_id": 0}
        written: dict[str, Any] = {"model_type": self.kind, "vocab_size": count} | blank | TINY | dict(self.config)
        defaults = CONFIG_MAPPING[self.kind](**written)
        name = type(AutoModelForCTC.from_config(defaults)).__name__
        return defaults.to_dict() | written | {"architectures": [name]}

    def write(self, folder: Path) -> Path:
        """Write the twin into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        settings = self.settings
        torch.manual_seed(zlib.adler32(self.name.encode()))  # each twin has weights of its own
        write_model(folder, settings, self.weights, self.dtype, self.lacks, self.silent(settings))
        vocabulary = {token: index for index, token in enumerate(self.tokens)}
        for file, content in (
            ("vocab.json", vocabulary),
            ("tokenizer_config.json", self.tokenizer),
            ("special_tokens_map.json", self.special_tokens),
            ("added_tokens.json", self.added_tokens),
            ("preprocessor_config.json", self.preprocessor),
        ):
            if content is not None:
                (folder / file).write_text(json.dumps(content), encoding="utf-8")
        if WITH_LM.items() & (dict(self.tokenizer or {}) | dict(self.preprocessor or {})).items():
            labels = ["" if token == "[PAD]" else token.replace("|", " ") for token in self.tokens]
            (folder / "alphabet.json").write_text(json.dumps({"labels": labels, "is_bpe": False}), encoding="utf-8")
            (folder / "language_model").mkdir()
            (folder / "language_model/attrs.json").write_text('{"alpha": 0.5, "beta": 1.5}', encoding="utf-8")
        return folder

    def silent(self, settings: Mapping[str, Any]) -> list[int]:
        """Classes that a trained head never chooses: markers other than the blank."""
        classes = {token: index for index, token in enumerate(self.tokens)} | dict(self.added_tokens or {})
        markers = [index for token, index in classes.items() if (token[0], token[-1]) in {("<", ">"), ("[", "]")}]
        return [index for index in markers if index != settings["pad_token_id"]]


def write_model(
    folder: Path,
    settings: Mapping[str, Any],
    weights: str,
    dtype: torch.dtype,
    lacks: Sequence[str],
    silent: Sequence[int],
) -> None:
    """A random model of these ``settings``, its norms and biases random too; weight norms have the names of 2021."""
    model = AutoModelForCTC.from_config(CONFIG_MAPPING[settings["model_type"]].from_dict(dict(settings))).eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            parameter.data = 0.1 * torch.randn_like(parameter) + (1 if name.endswith("norm.weight") else 0)
    for name, buffer in model.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    model.lm_head.weight.data *= 20
    model.lm_head.bias.data[list(silent)] = -1e3
    tensors = {}
    for name, values in model.state_dict().items():
        old = name.replace("parametrizations.weight.original0", "weight_g")
        old = old.replace("parametrizations.weight.original1", "weight_v")
        if not name.endswith(tuple(lacks)):
            tensors[old] = values.to(dtype).clone() if values.is_floating_point() else values.clone()
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    if weights.endswith(".bin"):
        torch.save(tensors, folder / weights)
    else:
        save_file(tensors, folder / weights, {"format": "pt"})


def clips() -> list[np.ndarray]:
    """Noise of different lengths and loudness, with an offset."""
    random = np.random.default_rng(0)
    return [
        (loudness * random.standard_normal(length) + 0.01).astype(np.float32)
        for length, loudness in ((8000, 0.1), (5003, 0.3), (2000, 0.02))
    ]
