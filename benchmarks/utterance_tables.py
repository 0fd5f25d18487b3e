"""Tables of the utterances that a recogniser takes, as the workflow lists them."""

from pathlib import Path

from project import CONFIG, PROJECT

from stablequant.corpora.folders import list_folder
from stablequant.corpora.list_utterances import list_utterances
from stablequant.corpora.manifests import read_manifest
from stablequant.corpora.utterance import Utterance, table_of
from stablequant.recognisers.registry import family_of
from stablequant.storage.files import write_table

DEMO = {split: PROJECT / CONFIG["models"]["demo"][split] for split in ("calibration", "evaluation")}  # its manifests


def write_utterances(speech: Path, checkpoint: Path, table: Path, most: int | None = None) -> None:
    """Write the first utterances of ``speech`` that the recogniser in ``checkpoint`` takes, at most ``most``.

    ``speech`` is a manifest or a folder of recordings.
    """
    manifest = list_folder(speech) if speech.is_dir() else read_manifest(speech)
    utterances, _ = list_utterances(manifest, family_of(checkpoint).front_end(checkpoint))
    write_table(table, table_of(utterances[:most], Utterance))
