"""The model card: the README of a bundle, ready for the Hugging Face hub."""

import json
from collections.abc import Sequence
from pathlib import Path

from stablequant.engines.folder import GPU
from stablequant.recognisers.registry import family_of
from stablequant.report.counted import counted_instead
from stablequant.report.show import brief, drawn_in
from stablequant.report.verdict import METHOD, EngineVerdict, FinishedRun, sentence, verdict
from stablequant.storage.files import read_json, read_table

CARD = """---
{front_matter}
---

# {model}, quantized to INT8 by StableQuant

{note}## May it be deployed?

{verdict}

{evidence}## What was quantized

Of {layers} layers, {quantized} have INT8 weights and activations.

{clipped}

## Before you use it

- The numbers hold for speech like that of the evaluation split. Test other accents, noise and microphones yourself.
- This card names no licence. That of the original recogniser applies to its weights.
{advice}
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

## What is in it

{graphs} the quantized graph. `engines/` describes what was built from it. `quantization.json` holds every
scale, the loss of each layer when it alone is quantized, versions, and the checksums of all files but this card.

## Without StableQuant

{usage}

`stablequant export BUNDLE --for triton` and `--for ovms` write configurations for these servers.
"""
EVIDENCE = """{table}

Judged {place}with {utterances} evaluation utterances that decided nothing. The interval is of a paired bootstrap over
{drawn}. For their speed the engines of each backend took turns on the same audio. A difference in speed is not
measurable if it is smaller than the noise of the machine.{counted}

"""
JS, TOKENIZER = "transformers.js", "tokenizer.json"  # the tag, and what that library cannot do without
ON_CPU = (
    "It is faster only where the CPU has INT8 instructions (VNNI). `stablequant evaluate` prints the speed on your "
    "machine."
)


def model_card(model: str, run: FinishedRun, utterances: int, checkpoint: Path, samples: int = 0) -> str:
    """The model card of ``model`` in Markdown.

    ``utterances`` is the number of evaluation utterances, ``checkpoint`` the folder of the imported checkpoint, and
    ``samples`` the number of evaluation utterances whose recordings are in the bundle.
    """
    results, note = run.results, run.note
    comparison, found = results / "comparison.tsv", verdict(results, run.acceptable)
    scales = read_json(results / f"scales/{METHOD}.json")
    quantized = {row["layer"] for row in scales["activations"].values()} - set(scales["float_layers"])
    family = family_of(checkpoint)
    places = {file: name for name, file in family.published(checkpoint).items()}
    graphs = [f"`{places.get(f'{name}.onnx', f'{name}.onnx')}`" for name in family.signatures(checkpoint)]
    return CARD.format(
        front_matter=front_matter(model, comparison, checkpoint),
        model=model,
        note=f"{note}\n\n" if note else "",
        verdict="\n\n".join(map(_judged, found.engines)),
        evidence=_evidence(comparison, found.engines, utterances, checkpoint),
        layers=len(quantized) + len(scales["float_layers"]),
        quantized=len(quantized),
        clipped="\n".join(f"- {sentence(line)}" for line in found.layers),
        advice="".join(f"- {line}\n" for line in _advice(found.engines, samples)),
        graphs=f"{graphs[0]} holds" if len(graphs) == 1 else f"{' and '.join(graphs)} hold",
        usage=family.usage(checkpoint),
    )


def _evidence(comparison: Path, engines: Sequence[EngineVerdict], utterances: int, checkpoint: Path) -> str:
    """What the verdict rests on; blank if no engine ran."""
    if not any(engine.ran for engine in engines):
        return ""
    place = f"on {machines}, " if (machines := _machines(engines)) else ""
    return EVIDENCE.format(
        table=brief(comparison),
        place=place,
        utterances=utterances,
        drawn=drawn_in(comparison),
        counted=f" {letters}" if (letters := counted_instead(checkpoint)) else "",
    )


def _machines(engines: Sequence[EngineVerdict]) -> str:
    """What the engines ran on; blank if that is not known of all, as in tables of earlier versions."""
    names = dict.fromkeys(engine.row.get("machine") for engine in engines if engine.ran)
    known = [name for name in names if isinstance(name, str)]
    return " and ".join(known) if len(known) == len(names) else ""


def _advice(engines: Sequence[EngineVerdict], samples: int) -> list[str]:
    """What else to know before the bundle is used, of its engines and recordings."""
    on_cpu = any(engine.ran and engine.row.get("machine") != GPU for engine in engines)
    return [*([ON_CPU] if on_cpu else []), *([privacy_note(samples)] if samples else [])]


def _judged(engine: EngineVerdict) -> str:
    """The verdict on one engine as a paragraph."""
    heading, _, reason = engine.sentence.partition(": ")
    parts = (reason, engine.summary, *engine.notes)
    said = " ".join(sentence(part) for part in parts if part)
    return f"**{engine.row['backend']}: {heading}.** {said}"


def front_matter(model: str, comparison: Path, checkpoint: Path) -> str:
    """What the hub reads of a card, as YAML: the task, and the word error rate of the first engine that was evaluated.

    The values are written as JSON, which is YAML, too.
    """
    table = read_table(comparison)
    ran = table[table["wer"].notna()]
    rows, backends = ran[ran["method"] == METHOD], sorted({*ran["backend"]})
    task = {"type": "automatic-speech-recognition", "name": "Automatic Speech Recognition"}
    entries: dict[str, object] = {
        "pipeline_tag": task["type"],
        "tags": ["stablequant", "int8", "onnx", *backends, *_browsers(checkpoint), "speech"],
        "metrics": ["wer"],
    }
    if "openvino" in backends:
        entries["library_name"] = "openvino"
    if len(rows):
        wer = {"type": "wer", "name": "Word error rate", "value": round(float(rows["wer"].iloc[0]), 2)}
        dataset = {"type": "evaluation", "name": "the evaluation split"}
        entries["model-index"] = [{"name": model, "results": [{"task": task, "dataset": dataset, "metrics": [wer]}]}]
    return "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in entries.items())


def _browsers(checkpoint: Path) -> list[str]:
    """The tag of transformers.js, if the card says how it opens the bundle and the tokenizer that it needs is there."""
    family = family_of(checkpoint)
    opens = JS in family.usage(checkpoint) and TOKENIZER in family.published(checkpoint)
    return [JS] if opens else []


def privacy_note(samples: int) -> str:
    """What the card and the log say of recordings in the bundle; blank if there are none."""
    if not samples:
        return ""
    return (
        f"The bundle holds {samples} recordings of the evaluation split with their words (`samples/`, config key "
        "`bundle_samples`). Pass it on only if the people who are heard agree."
    )
