"""What jobs ask of a cluster."""

import pandas as pd
import pytest

from stablequant.recognisers.sources import loaded_files
from stablequant.storage.files import write_table
from stablequant.workflow.resources import HUB_BYTES, audio_seconds, file_bytes, memory_mb, runtime_minutes

BASE, LARGE = 378_000_000, 1_262_000_000  # bytes of random HuBERTs of these sizes


@pytest.mark.parametrize(
    ("job", "copies", "peak_of_base", "peak_of_large"),
    [  # largest resident set of the process in MB
        ("import_checkpoint", 2, 843, 1765),
        ("recognise_reference", 1, 1370, 2278),
        ("equalise_channels", 1, 1182, 1882),
        ("round_weights", 2, 1210, 2471),
        ("probe_layer", 1, 1408, 2358),
        ("check_combination", 2, 1243, 2223),
        ("export_onnx", 4, 2133, 5722),
        ("insert_qdq", 2, 920, 2824),
        ("build_engine", 3, 1593, 4397),
        ("evaluate_engine", 2, 1570, 3380),
    ],
)
def test_memory_is_enough_for_what_was_measured(job, copies, peak_of_base, peak_of_large):
    for size, peak in ((BASE, peak_of_base), (LARGE, peak_of_large)):
        assert peak < memory_mb(size, copies, 100, attempt=1) < 4 * peak


def test_every_attempt_gets_twice_as_much():
    assert [memory_mb(BASE, 1, 100, attempt) for attempt in (1, 2, 3)] == [2378, 4756, 9512]
    first, second = (runtime_minutes(BASE, 600, gpu=False, attempt=attempt) for attempt in (1, 2))
    assert second == 2 * first


def test_time_grows_with_audio_and_shrinks_on_a_gpu():
    without, short, long = (runtime_minutes(LARGE, seconds, gpu=False, attempt=1) for seconds in (0, 3600, 7200))
    assert long - short == pytest.approx(short - without, abs=1)
    assert without < runtime_minutes(LARGE, 7200, gpu=True, attempt=1) < short


def test_size_of_a_local_checkpoint(tmp_path):
    (tmp_path / "config.json").write_bytes(bytes(10))
    (tmp_path / "model.safetensors").write_bytes(bytes(300))
    assert file_bytes(loaded_files(str(tmp_path))) == 310


@pytest.mark.parametrize(
    ("weights", "others"),
    [
        (["model.safetensors"], ["model.fp32-00001-of-00002.safetensors", "pytorch_model.bin"]),
        (["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"], ["pytorch_model.bin"]),
        (["pytorch_model.bin"], ["adapter.deu.safetensors"]),
        (["model.safetensors", "adapter.eng.safetensors"], ["adapter.deu.safetensors"]),
    ],
)
def test_only_what_is_loaded_of_a_local_checkpoint_counts(tmp_path, weights, others):
    for name in (*weights, "vocab.json"):
        (tmp_path / name).write_bytes(bytes(100))
    if "-of-" in weights[0]:
        (tmp_path / "model.safetensors.index.json").write_bytes(bytes(10))
    for name in (*others, "optimizer.pt", "tf_model.h5", "flax_model.msgpack", "training_args.bin"):
        (tmp_path / name).write_bytes(bytes(1000))
    index = 10 if "-of-" in weights[0] else 0
    assert file_bytes(loaded_files(str(tmp_path), "eng")) == 100 * (len(weights) + 1) + index


def test_all_of_a_single_file_counts(tmp_path):
    for name in ("checkpoint.pt", "dict.ltr.txt", "other.pt"):
        (tmp_path / name).write_bytes(bytes(50))
    assert file_bytes(loaded_files(str(tmp_path / "checkpoint.pt"))) == 100


def test_size_of_a_checkpoint_on_the_hub_is_guessed_until_it_is_downloaded():
    assert BASE < HUB_BYTES < 4 * BASE
    assert LARGE < HUB_BYTES < 4 * LARGE


def test_audio_of_a_table(tmp_path):
    table = tmp_path / "utterances.tsv"
    with pytest.raises(FileNotFoundError):
        audio_seconds(table, 16_000)
    rows = [("a", "a.flac", 16_000, 'He said "yes".'), ("b", "b.flac", 8_000, "no")]
    write_table(table, pd.DataFrame(rows, columns=["utterance", "path", "samples", "transcript"]))
    assert audio_seconds(table, 16_000) == 1.5
    assert audio_seconds(table, 8_000) == 3
