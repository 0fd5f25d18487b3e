"""When jobs worked, as their logs tell it."""

import pandas as pd

from stablequant.workflow.timeline import read_jobs, until, without_pauses

DAY = "2026-01-01"


def write_log(logs, name: str, end: str, seconds: float) -> None:
    file = logs / f"{name}.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        f"{DAY} {end},500 INFO something\n{DAY} {end},500 INFO done in {seconds} s, threads: 2, peak memory: 9 MB\n"
    )


def test_pauses_are_cut_to_ten_minutes_and_work_is_not(tmp_path):
    write_log(tmp_path, "probe_layer/cnn01", "10:00:10", 10)
    write_log(tmp_path, "probe_layer/cnn02", "10:05:10", 10)  # five minutes later
    write_log(tmp_path, "long", "12:00:00", 6600)  # since 10:10
    write_log(tmp_path, "short", "10:20:00", 60)  # meanwhile
    write_log(tmp_path, "again/later", "20:00:05", 5)
    (tmp_path / "failed.log").write_text(f"{DAY} 11:00:00,500 ERROR no\n")
    jobs = read_jobs(tmp_path)
    assert sorted(jobs["rule"]) == ["again", "long", "probe_layer", "probe_layer", "short"]
    assert jobs.set_index("job").loc["cnn02", "work"] == 20
    ends = without_pauses(jobs).set_index(["rule", "job"])["end"].dt.strftime("%H:%M:%S")
    assert ends.to_dict() == {
        ("probe_layer", "cnn01"): "10:00:10",
        ("probe_layer", "cnn02"): "10:05:10",
        ("long", ""): "12:00:00",
        ("short", ""): "10:20:00",
        ("again", "later"): "12:10:05",
    }


def test_jobs_that_ended_after_a_rule_are_left_out(tmp_path):
    for rule, end in (("export_onnx", "10:00:10"), ("compare", "10:00:20"), ("plot_comparison", "10:00:30")):
        write_log(tmp_path, rule, end, 5)
    assert set(until(read_jobs(tmp_path), "compare")["rule"]) == {"export_onnx", "compare"}
    assert until(read_jobs(tmp_path), "never").empty


def test_a_log_that_is_gone_when_it_is_read_counts_as_unfinished(tmp_path):
    write_log(tmp_path, "probe_layer/cnn01", "10:00:10", 10)
    (tmp_path / "compare.log").symlink_to(tmp_path / "removed")  # listed, but not there
    assert list(read_jobs(tmp_path)["rule"]) == ["probe_layer"]


def test_a_run_without_finished_jobs_has_no_pauses(tmp_path):
    assert without_pauses(read_jobs(tmp_path)).empty
    assert pd.api.types.is_datetime64_any_dtype(without_pauses(read_jobs(tmp_path))["end"])
