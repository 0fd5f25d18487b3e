"""The model card: the README of a bundle, ready for the Hugging Face hub."""

import json
from pathlib import Path
from typing import TypedDict

from stablequant.recognisers.registry import family_of
from stablequant.report.show import drawn_in, markdown
from stablequant.storage.files import read_table
from stablequant.workflow.provenance import processor

CARD = """---
{front_matter}
---

# {model}, quantized to INT8 by StableQuant

{note}{layers} layers are INT8, weights and activations; {clipped} of them have their outliers clipped at a searched
percentile. In floating point: {floating}. {graphs} the quantized graph, `engines/` describes what was
built from it, `quantization.json` holds every scale, the degradation of each layer when quantized alone, versions, and
the checksums of all files. {samples}

## What it recognises

Measured on {processor}, with {utterances} evaluation utterances that were not used for calibration. `degradation` is in
points of word error rate against fp32 on the same backend, with the 95 % interval of a paired bootstrap over
{drawn}; `size_ratio` compares the engines' files, `onnx_ratio` the ONNX files, `float_layers` counts layers not in
INT8. `speedup` is against fp32, with its 95 % interval; the engines took turns on the same audio, one recording at a
time. `new_speedup` is the same for recordings of a length that the engine has not met before. `not measurable` means
that the difference is smaller than the noise of the machine.

{table}

## Using it

```
stablequant transcribe BUNDLE recording.flac
stablequant evaluate BUNDLE manifest.tsv
stablequant verify BUNDLE
```

```python
from stablequant.bundle.transcribe import load_bundle
recogniser = load_bundle("BUNDLE")
print(recogniser.transcribe("recording.flac").text)
```

## Without StableQuant

{usage}

`stablequant export BUNDLE --for triton` and `--for ovms` write configurations for these servers.
"""


class Activation(TypedDict):
    """The layer and the cut-off percentile of an activation."""

    layer: str
    percentile: float


class Scales(TypedDict):
    """What the card needs of ``scales/stablequant.json``."""

    float_layers: list[str]
    activations: dict[str, Activation]


def model_card(
    model: str, note: str, scales: Scales, comparison: Path, utterances: int, checkpoint: Path, samples: int = 0
) -> str:
    """The model card of ``model`` in Markdown.

    ``note`` is a sentence about the model or its data from the config, ``comparison`` the file ``comparison.tsv``,
    ``utterances`` the number of evaluation utterances, ``checkpoint`` the folder of the imported checkpoint, and
    ``samples`` the number of evaluation utterances whose recordings are in the bundle.
    """
    percentiles = {row["layer"]: row["percentile"] for row in scales["activations"].values()}
    family = family_of(checkpoint)
    places = {file: name for name, file in family.published(checkpoint).items()}
    graphs = [f"`{places.get(f'{name}.onnx', f'{name}.onnx')}`" for name in family.signatures(checkpoint)]
    return CARD.format(
        front_matter=front_matter(model, comparison),
        samples=privacy_note(samples),
        model=model,
        note=f"{note}\n\n" if note else "",
        layers=len(percentiles),
        clipped=sum(percentile < 100 for percentile in percentiles.values()),
        floating=", ".join(scales["float_layers"]) or "none",
        graphs=f"{graphs[0]} holds" if len(graphs) == 1 else f"{' and '.join(graphs)} hold",
        processor=processor(),
        utterances=utterances,
        drawn=drawn_in(comparison),
        table=markdown(comparison),
        usage=family.usage(checkpoint),
    )


def front_matter(model: str, comparison: Path) -> str:
    """What the hub reads of a card, as YAML: the task, and the word error rate of the first engine that was evaluated.

    The values are written as JSON, which is YAML, too.
    """
    table = read_table(comparison)
    rows = table[(table["method"] == "stablequant") & table["wer"].notna()]
    task = {"type": "automatic-speech-recognition", "name": "Automatic Speech Recognition"}
    entries: dict[str, object] = {
        "pipeline_tag": task["type"],
        "library_name": "openvino",
        "tags": ["stablequant", "int8", "onnx", "openvino", "transformers.js", "speech"],
        "metrics": ["wer"],
    }
    if len(rows):
        wer = {"type": "wer", "name": "Word error rate", "value": round(float(rows["wer"].iloc[0]), 2)}
        dataset = {"type": "evaluation", "name": "the evaluation split"}
        entries["model-index"] = [{"name": model, "results": [{"task": task, "dataset": dataset, "metrics": [wer]}]}]
    return "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in entries.items())


def privacy_note(samples: int) -> str:
    """What the card and the log say of recordings in the bundle; blank if there are none."""
    if not samples:
        return ""
    return (
        f"The bundle holds {samples} recordings of the evaluation split with their words (`samples/`, config key "
        "`bundle_samples`). Pass it on only if the people who are heard agree."
    )
