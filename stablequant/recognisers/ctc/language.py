"""Adapters for languages: small layers and a CTC head of each language's own, as in MMS (Pratap et al., 2023).

facebook/mms-1b-all, mms-1b-fl102 and mms-1b-l1107 have ``adapter_attn_dim: 16`` in config.json, a file
``adapter.{language}.safetensors`` or ``.bin`` for each language, and a vocabulary for each language in vocab.json.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import PreTrainedConfig, PreTrainedModel

from stablequant.errors import StableQuantError
from stablequant.faults import fault_of_the_machine
from stablequant.recognisers.processor_files import processor_file
from stablequant.recognisers.sources import adapter_files, processor_folders
from stablequant.recognisers.unpickling import refusal
from stablequant.storage.files import read_json

SHOWN = 8  # most names of languages in a message


@dataclass(frozen=True)
class Adapter:
    """The weights of one language.

    Attributes
    ----------
    file: where they come from
    weights: by the model's names: those of the adapter in each layer, and of the CTC head
    """

    file: Path
    weights: Mapping[str, torch.Tensor]

    def fitted(self, config: PreTrainedConfig) -> PreTrainedConfig:
        """``config`` with the number of classes of this language."""
        found = copy.deepcopy(config)
        found.vocab_size = len(self.weights["lm_head.weight"])
        return found

    def apply(self, model: PreTrainedModel) -> None:
        """Put the weights into ``model``; raise `StableQuantError` if they do not fit."""
        width = model.lm_head.in_features
        head = torch.nn.Linear(width, len(self.weights["lm_head.weight"]))
        model.lm_head, model.config.vocab_size = head, head.out_features
        wanted = {n: v for n, v in model.state_dict().items() if ".adapter_layer." in n or n.startswith("lm_head.")}
        wrong = sorted(wanted.keys() ^ self.weights.keys()) or sorted(
            name for name, values in wanted.items() if values.shape != self.weights[name].shape
        )
        if wrong:
            fault = f"its weights do not fit the model ({wrong[0]} and {len(wrong) - 1} more)"
            raise StableQuantError(self.file, fault, "restore the file")
        for name, values in wanted.items():
            values.copy_(self.weights[name])


def read_adapter(folder: Path, config: PreTrainedConfig, language: str) -> Adapter | None:
    """The adapter of ``language`` in ``folder``; None if the model's own weights are those of this only language.

    Raises `StableQuantError` if there is none, or if it is damaged.
    """
    if not getattr(config, "adapter_attn_dim", None):
        raise StableQuantError(
            folder, f"it has no adapters for languages, but 'target_lang' is '{language}'", "leave 'target_lang' out"
        )
    places = processor_folders(folder)
    named = processor_file(folder, "vocab.json")
    vocabulary = read_json(named)
    languages = [name for name, classes in vocabulary.items() if isinstance(classes, dict)]
    if not languages:
        fault = f"a vocabulary of one language, but 'target_lang' is '{language}'"
        raise StableQuantError(named, fault, "leave 'target_lang' out")
    if language not in languages:
        raise StableQuantError(named, f"no language '{language}'", _suggestion(language, languages))
    files = [file for place in places for name in adapter_files(language) if (file := place / name).is_file()]
    if not files and languages == [language]:
        return None
    if not files:
        raise StableQuantError(folder, f"no {' or '.join(adapter_files(language))}", "complete the checkpoint's folder")
    return Adapter(files[0], _read_weights(files[0]))


def listed(languages: Sequence[str]) -> str:
    """Some of ``languages``, for messages."""
    more = len(languages) - SHOWN
    return ", ".join(languages[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _suggestion(language: str, languages: Sequence[str]) -> str:
    longer = [name for name in languages if name.lower().startswith(language.lower())]
    near = list(dict.fromkeys([*longer, *get_close_matches(language, languages)]))[:SHOWN]
    return f"did you mean {' or '.join(near)}?" if near else f"set 'target_lang' to one of {listed(languages)}"


def _read_weights(file: Path) -> dict[str, torch.Tensor]:
    """Tensors in ``file`` by name, in float32; raise `StableQuantError` if they are not an adapter's."""
    try:
        safe = file.suffix == ".safetensors"
        state = load_file(file) if safe else torch.load(file, map_location="cpu", weights_only=True)
        weights = {name: values.float() for name, values in state.items()}
    except Exception as error:  # the readers pass on errors of their own
        if fault_of_the_machine(error):
            raise
        raise StableQuantError(file, f"the weights cannot be read: {refusal(error)}", "restore the file") from error
    if weights.get("lm_head.weight", torch.empty(0)).ndim != 2:
        raise StableQuantError(file, "the weights hold no CTC head (lm_head)", "restore the file")
    return weights
