"""``stablequant verify``: every file is checked, and the samples are recognised again."""

import json
import shutil

import numpy as np
import soundfile
from commands import run
from demo_bundle import bundle_of
from listing import samples_of, write_as_parts
from recognising import heard, torch_network

from stablequant.bundle.read_bundle import RECORD
from stablequant.bundle.verify import verify
from stablequant.bundle.write_bundle import Sample
from stablequant.storage.files import checksum


def test_a_part_of_a_recording_is_a_sample_of_its_own(bundle, demo, demo_utterances, tmp_path):
    made = bundle.parent
    utterance, longer = demo_utterances[0], write_as_parts(tmp_path, demo_utterances[1:3]).with_name("long.flac")
    (truth,) = heard(demo, torch_network(demo.model), [utterance]).values()
    sample = Sample(longer, utterance.transcript, {"openvino": truth}, (samples_of(utterance), 16_000))
    bundle_of(tmp_path / "bundle", made, {"openvino": made / "openvino"}, [sample])
    stored, rate = soundfile.read(tmp_path / "bundle/samples/0.wav", dtype="float32")
    assert rate == 16_000
    assert np.array_equal(stored, samples_of(utterance))
    done = run("verify", tmp_path / "bundle")
    assert done.stdout.decode().splitlines()[-1] == "1 of 1 stored hypotheses reproduced"


def test_verification_checks_every_file_and_hears_the_samples_again(bundle, tmp_path):
    done = run("verify", bundle)
    lines = done.stdout.decode().splitlines()
    checked = sum(f.is_file() for f in bundle.rglob("*")) - 2  # all but the record and the card
    assert lines[0].startswith(f"{checked} files unchanged; openvino runs in")
    assert lines[1] == "2 of 2 stored hypotheses reproduced"
    shutil.copytree(bundle, tmp_path / "copy")
    record = json.loads((tmp_path / "copy" / RECORD).read_text())
    record["samples"][1]["hypotheses"]["openvino"] = "SOMETHING ELSE"
    (tmp_path / "copy" / RECORD).write_text(json.dumps(record))
    done = run("verify", tmp_path / "copy", expect=1)
    assert "samples/1.flac: expected 'SOMETHING ELSE', recognised '" in done.stderr.decode()
    assert "1 of 2 stored hypotheses reproduced" in done.stdout.decode()
    (tmp_path / "copy/samples/0.flac").write_bytes(b"")
    done = run("verify", tmp_path / "copy", expect=1)
    assert "samples/0.flac: the file was changed" in done.stderr.decode()
    assert (
        "the bundle has no samples for this engine" in run("verify", bundle, "--backend", "onnxruntime").stdout.decode()
    )


def test_the_card_may_be_edited(bundle, tmp_path):
    """As for the hub, which wants a licence in it. Earlier versions wrote a checksum of the card."""
    shutil.copytree(bundle, tmp_path / "copy")
    card, record = tmp_path / "copy/README.md", json.loads((tmp_path / "copy" / RECORD).read_text())
    assert "README.md" not in record["sha256"]
    sums_with_card = record["sha256"] | {"README.md": checksum(card)}
    card.write_text("---\nlicense: mit\n---\n" + card.read_text())
    checked = verify(tmp_path / "copy").files
    (tmp_path / "copy" / RECORD).write_text(json.dumps(record | {"sha256": sums_with_card}))
    assert verify(tmp_path / "copy").files == checked == len(record["sha256"])
