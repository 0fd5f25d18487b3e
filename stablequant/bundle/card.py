"""The model card: the README of a bundle."""

from pathlib import Path
from typing import TypedDict

from stablequant.recognisers.registry import family_of
from stablequant.report.show import drawn_in, markdown
from stablequant.workflow.provenance import processor

CARD = """# {model}, quantized to INT8 by StableQuant

{note}{layers} layers are INT8, weights and activations; {clipped} of them have their outliers clipped at a searched
percentile. In floating point: {floating}. {graphs} the quantized graph, `engines/` what was built from it,
`quantization.json` every scale, the degradation of each layer when quantized alone, versions, and the checksums of all
files.

## What it recognises

Measured on {processor}, with {utterances} evaluation utterances that were not used for calibration. `degradation` is in
points of word error rate against fp32 on the same backend, with the 95 % interval of a paired bootstrap over
{drawn}; `size_ratio` compares the engines' files, `onnx_ratio` the ONNX files, `float_layers` counts layers not in
INT8.

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

{usage}
"""


class Activation(TypedDict):
    """The layer and the cut-off percentile of an activation."""

    layer: str
    percentile: float


class Scales(TypedDict):
    """What the card needs of ``scales/stablequant.json``."""

    float_layers: list[str]
    activations: dict[str, Activation]


def model_card(model: str, note: str, scales: Scales, comparison: Path, utterances: int, checkpoint: Path) -> str:
    """The model card of ``model`` in Markdown.

    ``note`` is a sentence about the model or its data from the config, ``comparison`` the file ``comparison.tsv``,
    ``utterances`` the number of evaluation utterances, and ``checkpoint`` the folder of the imported checkpoint.
    """
    percentiles = {row["layer"]: row["percentile"] for row in scales["activations"].values()}
    family = family_of(checkpoint)
    graphs = [f"`{name}.onnx`" for name in family.signatures(checkpoint)]
    return CARD.format(
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
