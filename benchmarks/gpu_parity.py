"""The part `parity` of `gpu.py`: whether a GPU recognises as the CPU does."""

from collections.abc import Iterator

import numpy as np
from project import CONFIG, PROJECT
from gpu import FOLDER
from gpu_setting import BATCH_MB, DEVICE, THREADS, fresh, row
from utterance_tables import DEMO, write_utterances

from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.load_recogniser import load_recogniser
from stablequant.search.split import loaded, read_split

UTTERANCES = 32  # of the demo
MOST_DIFFERENT = 1e-3  # of the logits' spread, between GPU and CPU in float32


def parity() -> Iterator[dict]:
    """Logits and words of the demo's two recognisers on the GPU and on the CPU, in float32."""
    for name in ("model", "large"):  # the demo's
        folder = fresh(FOLDER / "parity" / name)
        checkpoint, utterances = folder / "checkpoint", folder / "utterances.tsv"
        import_checkpoint(str(PROJECT / "resources/demo" / name), checkpoint)
        write_utterances(DEMO["calibration"], checkpoint, utterances, UTTERANCES)
        found, words = [], []
        for device in ("cpu", DEVICE):
            recogniser = load_recogniser(checkpoint, device, THREADS)
            split = read_split(recogniser, utterances, BATCH_MB, CONFIG["seed"])
            logits, texts = [], []
            for _, context, state in loaded(recogniser, split.batches, device):
                logits.append(recogniser.logits(state, 0, context).cpu().numpy().ravel())
                texts += [recognised.text for recognised in recogniser.recognise(state, 0, context)]
            found.append(np.concatenate(logits))
            words.append(texts)
        different = float(np.abs(found[0] - found[1]).max() / found[0].std())
        yield row(name, "largest difference of logits", different, "of their spread", MOST_DIFFERENT)
        changed = sum(a != b for a, b in zip(*words, strict=True))
        yield row(name, f"changed hypotheses of {len(words[0])}", changed, None, 0)
