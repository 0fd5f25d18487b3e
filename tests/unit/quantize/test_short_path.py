"""The link to the bundle."""

from pathlib import Path

import pytest

from stablequant.quantize.short_path import bundle_to_name


def write_bundle(out: Path, model: str) -> Path:
    bundle = out / "results" / model / "bundle"
    bundle.mkdir(parents=True)
    (bundle / "name").write_text(model)
    return bundle


def test_the_bundle_of_the_only_model_lies_at_a_short_path_also_when_the_folder_moves(tmp_path):
    write_bundle(tmp_path / "out", "a")
    assert [bundle_to_name(tmp_path / "out", "a") for _ in range(2)] == [tmp_path / "out/bundle"] * 2
    (tmp_path / "out").rename(tmp_path / "moved")
    assert (tmp_path / "moved/bundle/name").read_text() == "a"


def test_with_two_models_no_link_says_which_it_means(tmp_path):
    write_bundle(tmp_path, "a")
    bundle_to_name(tmp_path, "a")
    second = write_bundle(tmp_path, "b")
    assert bundle_to_name(tmp_path, "b") == second
    assert not (tmp_path / "bundle").is_symlink()


def test_a_link_to_a_model_that_is_gone_is_mended(tmp_path):
    write_bundle(tmp_path, "a")
    bundle_to_name(tmp_path, "a")
    (tmp_path / "results/a").rename(tmp_path / "results/b")
    assert (bundle_to_name(tmp_path, "b") / "name").read_text() == "a"


def test_what_is_not_ours_stays(tmp_path):
    bundle = write_bundle(tmp_path, "a")
    (tmp_path / "bundle").mkdir()
    assert bundle_to_name(tmp_path, "a") == bundle and not (tmp_path / "bundle").is_symlink()
    (tmp_path / "bundle").rmdir()
    (tmp_path / "bundle").symlink_to("nowhere")
    assert bundle_to_name(tmp_path, "a") == bundle and (tmp_path / "bundle").readlink() == Path("nowhere")


def test_a_file_system_without_links_keeps_the_long_path(tmp_path, monkeypatch):
    def refused(*_: object, **__: object) -> None:
        raise PermissionError("Operation not permitted")  # as on FAT

    bundle = write_bundle(tmp_path, "a")
    monkeypatch.setattr(Path, "symlink_to", refused)
    assert bundle_to_name(tmp_path, "a") == bundle


@pytest.mark.parametrize("out", [Path(), Path("out")])
def test_a_relative_folder_is_told_relative(tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    write_bundle(out, "a")
    assert bundle_to_name(out, "a") == out / "bundle"
