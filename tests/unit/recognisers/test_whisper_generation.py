"""The prompt of a Whisper whose files were written by an older transformers, against transformers' own prompt."""

import shutil
from pathlib import Path

import pytest
from json_files import edit
from tokenizers import Tokenizer
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration
from whisper_files import FIRST_SPECIAL, SPECIAL, tones, write_tiny_whisper

from stablequant.errors import StableQuantError
from stablequant.recognisers.import_checkpoint import import_checkpoint
from stablequant.recognisers.registry import family_of
from stablequant.storage.files import read_json

TOKENS = {name: FIRST_SPECIAL + i for i, name in enumerate(SPECIAL)}
START, ENGLISH, GERMAN, TRANSCRIBE, NO_TIMES = (
    TOKENS[name] for name in ("<|startoftranscript|>", "<|en|>", "<|de|>", "<|transcribe|>", "<|notimestamps|>")
)
FORCED = [[1, GERMAN], [2, TRANSCRIBE], [3, NO_TIMES]]
NEWER = ("is_multilingual", "lang_to_id", "task_to_id", "language", "task", "no_timestamps_token_id")
WITHOUT = dict.fromkeys(NEWER, "absent")  # what an old generation_config.json does not say
SAID_OTHERWISE = {"is_multilingual": None, "lang_to_id": None, "task": None, "language": None}


@pytest.fixture(scope="module")
def multilingual(tmp_path_factory) -> Path:
    """As many tokens as in OpenAI's multilingual vocabularies; most of them are never written."""
    folder = tmp_path_factory.mktemp("multilingual")
    write_tiny_whisper(folder, vocab_size=51_865)
    return folder


@pytest.fixture
def source(multilingual, tmp_path) -> Path:
    shutil.copytree(multilingual, tmp_path / "source")
    return tmp_path / "source"


def prompt_of(source: Path):
    """The prompt of the checkpoint after its import, which goes beside it."""
    import_checkpoint(str(source), source.with_name("imported"))
    imported = source.with_name("imported")
    return list(family_of(imported).front_end(imported).prompt)


def prompt_of_transformers(folder: Path) -> list[int]:
    """What transformers enters into the decoder before it writes the first token."""
    model = WhisperForConditionalGeneration.from_pretrained(folder)
    entered = []
    model.model.decoder.register_forward_pre_hook(
        lambda _, __, named: entered.append(named["input_ids"][0].tolist()), with_kwargs=True
    )
    extractor = WhisperFeatureExtractor.from_pretrained(folder)
    model.generate(extractor(tones(1), sampling_rate=16_000, return_tensors="pt").input_features)
    return entered[0]


@pytest.mark.parametrize(
    ("generation", "config"),
    [
        (WITHOUT | {"forced_decoder_ids": FORCED}, {}),
        (WITHOUT, {"forced_decoder_ids": FORCED}),
        (WITHOUT | SAID_OTHERWISE | {"forced_decoder_ids": None}, {"forced_decoder_ids": FORCED}),
        (None, {"forced_decoder_ids": FORCED}),
    ],
    ids=["generation", "config", "null", "config alone"],
)
def test_a_language_named_by_its_token_is_in_the_prompt(source, generation, config):
    edit(source / "config.json", **config)
    if generation is None:
        (source / "generation_config.json").unlink()
    else:
        edit(source / "generation_config.json", **generation)
    assert prompt_of(source) == prompt_of_transformers(source) == [START, GERMAN, TRANSCRIBE, NO_TIMES]
    imported = source.with_name("imported")
    assert prompt_of_transformers(imported) == [START, GERMAN, TRANSCRIBE, NO_TIMES], "for optimum"
    written = read_json(imported / "generation_config.json")
    assert written["language"] == "de"
    assert written["lang_to_id"] == {"<|en|>": ENGLISH, "<|de|>": GERMAN}


def test_without_generation_config_tokens_are_suppressed_as_config_json_says(source):
    (source / "generation_config.json").unlink()
    edit(source / "config.json", suppress_tokens=[5, 7], begin_suppress_tokens=[9])
    import_checkpoint(str(source), source.with_name("imported"))
    imported = source.with_name("imported")
    expected = WhisperForConditionalGeneration.from_pretrained(source).generation_config
    front_end = family_of(imported).front_end(imported)
    assert list(front_end.suppressed) == expected.suppress_tokens == [5, 7]
    assert list(front_end.suppressed_first) == expected.begin_suppress_tokens == [9]
    assert front_end.end == expected.eos_token_id


def test_where_no_language_is_named_the_speech_counts_as_english(source, multilingual):
    """In old files as in new ones."""
    edit(source / "generation_config.json", language="absent", task="absent")
    newer = prompt_of(source)
    edit(source / "generation_config.json", **WITHOUT)
    assert prompt_of(source) == newer == [START, ENGLISH, TRANSCRIBE, NO_TIMES]
    import_checkpoint(str(source), source.with_name("german"), "de")
    assert family_of(source).front_end(source.with_name("german")).prompt[1] == GERMAN


@pytest.mark.parametrize("said", [None, False])
def test_an_english_vocabulary_has_one_token_less(tmp_path, said):
    write_tiny_whisper(tmp_path / "source", multilingual=False, vocab_size=51_864 if said is None else 51_865)
    edit(tmp_path / "source/generation_config.json", is_multilingual=said, forced_decoder_ids=[[1, NO_TIMES]])
    assert prompt_of(tmp_path / "source") == prompt_of_transformers(tmp_path / "source") == [START, NO_TIMES]
    with pytest.raises(StableQuantError, match="it writes English only, not 'de'"):
        import_checkpoint(str(tmp_path / "source"), tmp_path / "german", "de")


def test_only_tokens_of_languages_are_listed_as_such(source):
    edit(source / "generation_config.json", **WITHOUT)
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.add_special_tokens(["<|haw|>", "<|startoflm|>", "<|0.00|>"])
    tokenizer.save(str(source / "tokenizer.json"))
    import_checkpoint(str(source), source.with_name("imported"))
    listed = read_json(source.with_name("imported") / "generation_config.json")["lang_to_id"]
    assert list(listed) == ["<|en|>", "<|de|>", "<|haw|>"]
