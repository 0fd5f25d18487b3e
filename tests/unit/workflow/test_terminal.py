"""What a run shows: one line a stage with the time that is left, and last the cause of a failure."""

import inspect
import io
import logging
import os
import re
from pathlib import Path

import pytest
from checkout import PROJECT

from stablequant.bundle.making import quantize
from stablequant.workflow.stages import ALONE, STAGE_OF, START_SECONDS, Estimate, Pace, duration
from stablequant.workflow.terminal import GAVE_UP, KILLED, StageLines, cause_in, show_causes, show_stages

LAYERS = [f"layer{number}" for number in range(3)]
JOBS = dict(enumerate(["import_checkpoint", *["probe_layer"] * 3, "select_layers"]))


def event(name: str, message: str = "", level: int = logging.INFO, **fields) -> logging.LogRecord:
    """A record as Snakemake logs it."""
    record = logging.LogRecord("snakemake", level, "", 0, message, None, None)
    record.__dict__ |= {"event": name} | fields
    return record


def paced(cores: int = 1, seconds_per_pass: float | None = None, **passes: float) -> Pace:
    """A pace with the ``passes`` of a job by rule."""
    return Pace(lambda: Estimate(passes, seconds_per_pass), cores)


def shown(events, notes=lambda _rule, _of: None, pace: Pace | None = None) -> list[str]:
    """Lines that a file gets of a run of `JOBS`."""
    stream = io.StringIO()
    lines = StageLines(JOBS.items, pace or paced(probe_layer=1.0), stream, notes)
    for record in events:
        lines.handle(record)
    return stream.getvalue().splitlines()


def begin(number: int, created: float | None = None) -> logging.LogRecord:
    record = event("job_info", jobid=number, rule_name=JOBS[number], log=[f"{number}.log"], wildcards={"model": "m"})
    record.created = record.created if created is None else created
    return record


def end(number: int) -> logging.LogRecord:
    return event("job_finished", job_id=number)


def test_every_rule_that_makes_something_has_a_stage():
    texts = "\n".join(file.read_text() for file in (PROJECT / "rules").glob("*.smk"))
    rules = set(re.findall(r"^(?:rule|checkpoint|use rule \w+ as) (\w+)", texts, re.M))
    assert rules - {"librispeech", "download_librispeech"} <= STAGE_OF.keys()


def test_a_stage_is_one_line_when_its_last_job_ends_and_tells_the_time_that_is_left():
    events = [begin(0), end(0), *[record for number in (1, 2, 3, 4) for record in (begin(number), end(number))]]
    lines = shown(events, pace=paced(seconds_per_pass=100.0, probe_layer=1.0))
    assert len(lines) == 2, lines
    assert lines[0] == f"checkpoint: done, 1 job, 0 s; about {duration(3 * (100 + START_SECONDS) + START_SECONDS)} left"
    assert lines[1] == "layers quantized alone: done, 4 jobs, 0 s"


def test_a_note_follows_the_job_that_it_is_about():
    lines = shown([begin(0), end(0)], lambda rule, wildcards: f"{rule} of {wildcards['model']}")
    assert lines[0] == "import_checkpoint of m"


def failing(log: Path, said: str = "") -> list[logging.LogRecord]:
    return [
        begin(1),
        event("error", said, logging.ERROR, exception="RuleException"),
        event("job_error", "", logging.ERROR, rule_name="probe_layer", jobid=1, log=[str(log)]),
        event("error", f"WorkflowError:\n{GAVE_UP}.", logging.ERROR, exception="WorkflowError"),
    ]


def test_the_last_line_of_a_failure_is_its_cause_and_remedy(tmp_path):
    log = tmp_path / "job.log"
    log.write_text("2026-01-01 10:00:00,000 INFO works\n2026-01-01 10:00:01,000 ERROR a.flac: damaged; restore it\n")
    assert shown(failing(log))[-2:] == [f"probe_layer failed (details in {log}):", "a.flac: damaged; restore it"]


def test_of_a_traceback_the_error_is_told_and_of_a_killed_job_that_memory_ran_out(tmp_path):
    log = tmp_path / "job.log"
    log.write_text(
        "2026-01-01 10:00:01,000 ERROR the job failed\nTraceback (most recent call last):\n  File 'a'\nKeyError: 'b'\n"
    )
    assert cause_in(log) == "KeyError: 'b'; this is a fault of the program, please report it with that log"
    log.write_text("2026-01-01 10:00:01,000 INFO works\n")
    assert "memory ran out" in shown(failing(log, "Command 'python a' died with <Signals.SIGKILL: 9>."))[-1]
    assert shown(failing(log, "Error:\nCommand 'python a' returned 3\n"))[-1] == "Command 'python a' returned 3"


def test_a_job_that_was_tried_again_is_no_failure(tmp_path):
    retried = [*failing(Path("1.log"))[:3], begin(1), end(1), *failing(tmp_path / "other.log")[2:]]
    assert "probe_layer failed (details in 1.log):" not in shown(retried)


def test_where_no_job_is_known_to_have_failed_the_newest_log_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    gave_up = [failing(Path("any"))[-1]]
    assert shown(gave_up) == ["the run broke off, and Snakemake does not say why; run again"]
    (tmp_path / ".snakemake/log").mkdir(parents=True)
    for age, name in enumerate(("new", "old", "oldest")):
        log = tmp_path / f".snakemake/log/{name}.log"
        log.touch()
        os.utime(log, (1e9 - age, 1e9 - age))
    (last,) = shown(gave_up)
    assert str(tmp_path / ".snakemake/log/new.log") in last and "complete successfully" not in last


def test_options_that_are_named_are_those_of_every_command():
    named = {option.replace("-", "_") for option in re.findall(r"--([\w-]+)", KILLED)}
    assert named and named <= inspect.signature(quantize).parameters.keys()


def test_snakemakes_jobs_are_hidden_and_its_errors_and_warnings_are_not():
    logger = logging.Logger("test")
    own = logging.StreamHandler(io.StringIO())
    pace, none = paced(), lambda _rule, _of: None
    assert show_stages(logger, list, pace, none) is None, "another program shows the run"
    own.name = "DefaultStreamHandler"
    logger.addHandler(own)
    assert show_stages(logger, list, pace, none)
    for record in (
        event("job_info", "a rule", jobid=0, rule_name="all", log=[], wildcards={}),
        event("progress", "3 of 4"),
        event(None, "Provided cores: 2"),
        event(None, "Complete log(s): /a/.snakemake/log/b.log"),
        event(None, "Elapsed time: 0:00:01"),
        event("error", f"WorkflowError:\n{GAVE_UP}.", logging.ERROR, exception="WorkflowError"),
        event(None, "Nothing to be done"),
        event("error", "config key 'a': wrong", logging.ERROR, exception="WorkflowError"),
        event(None, "Exiting because a job execution failed. Look above for error messages", logging.ERROR),
        event(None, "Provided resources are few", logging.WARNING),
    ):
        logger.handle(record)
    assert own.stream.getvalue() == "Nothing to be done\nconfig key 'a': wrong\nProvided resources are few\n"


def test_a_refusal_ends_with_its_cause_and_not_with_a_line_of_the_rules():
    logger = logging.Logger("test")
    own = logging.StreamHandler(io.StringIO())
    own.name = "DefaultStreamHandler"
    logger.addHandler(own)
    for _ in range(2):
        show_causes(logger)
    place = 'File "rules/common/config.smk", line 7, in'
    refusal = f'WorkflowError in file "rules/common/config.smk", line 7:\na.tsv: empty; list more\n  {place} <module>'
    logger.handle(event("error", refusal, logging.ERROR, exception="WorkflowError"))
    fault = f"KeyError in file \"rules/common/config.smk\", line 7:\n'a'\n  {place} <module>"
    logger.handle(event("error", fault, logging.ERROR, exception="KeyError"))
    assert own.stream.getvalue() == f"a.tsv: empty; list more\n{fault}\n"


def test_the_pace_is_that_of_jobs_that_ended():
    pace = paced(cores=2, probe_layer=1.0, search_percentile=8.0)
    assert pace.seconds_left(["probe_layer"]) is None
    assert pace.seconds_left(["compare"]) == pytest.approx(START_SECONDS / 2)
    pace.ended("probe_layer", START_SECONDS + 10)
    assert pace.seconds_left(["probe_layer"] * 2) == pytest.approx(START_SECONDS + 10)
    assert pace.seconds_left(["search_percentile"]) == pytest.approx(START_SECONDS + 80)
    assert pace.seconds_left(["search_percentile"] * 3) == pytest.approx(2 * (START_SECONDS + 80))
    pace.ended(ALONE[0], 60)
    assert pace.seconds_left([ALONE[0]]) == pytest.approx(60), "it takes all cores"
    assert Pace(lambda: None, 1).seconds_left(["compare"]) is None, "nothing was listed"


@pytest.mark.parametrize(("seconds", "text"), [(12.3, "12 s"), (100, "2 min"), (7500, "2 h 5 min")])
def test_durations_are_rounded(seconds, text):
    assert duration(seconds) == text
