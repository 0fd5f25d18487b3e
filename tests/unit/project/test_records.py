"""What benchmarks read of a search that was recorded."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from checkout import PROJECT

from stablequant.corpora.utterance import Utterance, table_of
from stablequant.recognisers.modules import QuantizedModule
from stablequant.storage.files import write_table

sys.path.insert(0, str(PROJECT / "benchmarks"))
from records import Record, best_of


def outcome(errors: list[int | None], **more: object) -> dict:
    """A row of a probe or of a search, as far as records go."""
    measured = dict.fromkeys(("wer", "degradation", "ci_low", "ci_high", "high_here", "divergence"), 0.0)
    return {
        **measured,
        "utterances": 2,
        "errors": errors,
        "divergences": [0.1, 0.2],
        "ci_over": "utterances",
        **more,
    }


@pytest.fixture
def results(tmp_path) -> Path:
    for folder in ("utterances", "sensitivity", "percentiles"):
        (tmp_path / folder).mkdir()
    utterances = [Utterance(name, f"{name}.wav", samples, "A B C", "0") for name, samples in (("a", 300), ("b", 100))]
    write_table(tmp_path / "utterances/calibration.tsv", table_of(utterances, Utterance))
    modules = [QuantizedModule(layer, "cnn", f"{layer}.{number}", layer) for layer in "zy" for number in "12"]
    write_table(tmp_path / "layers.tsv", pd.DataFrame(map(asdict, modules)))
    heard = [{"path": u.path, "words": 3, "errors": number} for number, u in enumerate(utterances)]
    (tmp_path / "reference.json").write_text(json.dumps({"utterances": heard}))
    for layer, errors in (("z", [1, 0]), ("y", [2, 2])):
        (tmp_path / f"sensitivity/{layer}.json").write_text(json.dumps([outcome(errors, layer=layer)]))
    tried = [outcome(errors, percentile=p) for p, errors in ((99.0, [0, 1]), (100.0, [2, 2]), (99.9, [1, 0]))]
    (tmp_path / "percentiles/y.json").write_text(json.dumps({"candidates": tried}))
    return tmp_path


def test_a_record_has_what_each_utterance_lost(results):
    record = Record(results)
    assert record.samples.tolist() == [300, 100]
    assert record.reference.errors.tolist() == [0, 1]
    assert np.sum(record.reference.words) == 6
    assert {layer: row["errors"] for layer, row in record.probes.items()} == {"z": [1, 0], "y": [2, 2]}
    assert list(record.probes) == ["z", "y"], "as audio passes them"
    assert list(record.searches) == ["y"]
    assert list(record.searches["y"]) == [100.0, 99.9, 99.0]
    assert best_of(list(record.searches["y"].values())).percentile == 99.9, "of equals the highest"


def test_a_search_that_left_something_out_is_refused(results):
    (results / "percentiles/y.json").write_text(json.dumps({"candidates": [outcome([1, None], percentile=99.0)]}))
    with pytest.raises(SystemExit, match=r"searched with racing; run it anew with racing: \{enabled: false\}"):
        _ = Record(results).searches
    (results / "sensitivity/z.json").write_text(json.dumps([outcome([None, 1], layer="z")]))
    with pytest.raises(SystemExit, match="searched with racing"):
        _ = Record(results).probes
    (results / "sensitivity/z.json").unlink()
    with pytest.raises(SystemExit, match="no probe of z; run it anew with search: exhaustive"):
        _ = Record(results).probes
