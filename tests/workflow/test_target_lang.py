"""The language of a checkpoint with several, from the config to the imported checkpoint."""

import pytest
from listing import write_speech
from mms_files import LANGUAGES, write_tiny_mms
from projects import configure, copy_project
from running import snakemake
from seq2seq_files import configure_tiny

from stablequant.storage.files import read_json

TARGET = "results/tiny/layers.tsv"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = copy_project(tmp_path_factory.mktemp("mms") / "project")
    write_tiny_mms(folder / "model")
    for split in ("calibration", "evaluation"):
        write_speech(folder / "speech" / split, folder / f"tsv/{split}.tsv", 1, split)
    configure_tiny(folder)
    return folder


def choose(folder, **language) -> None:
    model = {"checkpoint": "model", "calibration": "tsv/calibration.tsv", "evaluation": "tsv/evaluation.tsv"}
    configure(folder, models={"tiny": model | language})


def test_the_language_is_taken_from_the_config_and_another_imports_anew(project):
    for language in ("eng", "azj-script_cyrillic"):
        choose(project, target_lang=language)
        snakemake(project, TARGET)
        assert list(read_json(project / "results/tiny/checkpoint/vocab.json")) == LANGUAGES[language]
        assert "adapter_layer" in (project / TARGET).read_text()


def test_without_a_language_the_remedy_is_told(project):
    choose(project)
    printed = snakemake(project, TARGET, expect=1)
    log = (project / "logs/tiny/import_checkpoint.log").read_text()
    assert "vocabularies of 3 languages; set 'target_lang' of the model to one of them" in printed + log


def test_a_language_that_yaml_reads_as_no_text_is_told_to_be_quoted(project):
    choose(project, target_lang=False)
    assert "in quotes where YAML would read another value" in snakemake(project, TARGET, expect=1)
