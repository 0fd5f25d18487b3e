"""The model card: what a person reads first in a bundle."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stablequant.recognisers.registry import family_of
from stablequant.report.show import markdown
from stablequant.workflow.provenance import processor

CARD = """# {model}, quantized to INT8 by StableQuant

{note}{layers} layers are INT8, weights and activations; {clipped} of them have their outliers clipped at a searched
percentile. In floating point: {floating}. {graphs} the quantized graph, `engines/` what was built from it,
`quantization.json` every scale, the degradation of each layer when quantized alone, versions, and the checksums of all
files.

## What it recognises

Measured on {processor}, with {utterances} evaluation utterances that calibrated nothing. `degradation` is in points of
word error rate against fp32 on the same backend, with the 95 % interval of a paired bootstrap over utterances;
`size_ratio` compares the engines' files, `onnx_ratio` the ONNX files, `float_layers` counts layers not in INT8.

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


def model_card(
    model: str, note: str, scales: Mapping[str, Any], comparison: Path, utterances: int, checkpoint: Path
) -> str:
    """Markdown; ``note`` is a sentence of the config about the model or its data, ``scales`` the method's."""
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
        table=markdown(comparison),
        usage=family.usage(checkpoint),
    )
