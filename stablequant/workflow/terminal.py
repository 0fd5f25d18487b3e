"""What a run shows on the terminal: a line for each stage, and last why it failed. All else is in files.

Snakemake logs its events with a name in ``record.event``. They still reach its own log file, and ``--verbose`` and dry
runs show everything.
"""

import logging
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, TextIO

from stablequant.workflow.stages import Pace, duration, stage_of

SNAKEMAKES_HANDLER = "DefaultStreamHandler"
SILENT = {"job_info", "job_started", "job_finished", "job_error", "group_info", "shellcmd", "progress", "run_info"}
SILENT |= {"resources_info", "workflow_started"}
NOISE = re.compile(
    r"^(Provided cores|Rules claiming|Provided resources|Provided remote|Select jobs|Using shell|Building DAG|Assuming "
    r"unrestricted|DAG of jobs will be|Updating checkpoint|Shutting down|Removing output|host:|localrules|Job stats|"
    r"Storing output|Will exit after|Trying to restart|\[|Shell command|Loading |Conda env|Complete log|Elapsed time)"
)
TARGET = "all"  # the rule that only names what is wanted
GAVE_UP = "At least one job did not complete successfully"
FIRST_ERROR = re.compile(r"^\S+ \S+ ERROR ", re.MULTILINE)
ENTRY = re.compile(r"^\d{4}-\d\d-\d\d \S+ [A-Z]+ ", re.MULTILINE)
EXITS = "Exiting because a job"  # what Snakemake says before it gives up
KILLED = (
    "it was killed from outside, most often because memory ran out; run again with fewer jobs at once (--cores 1); "
    "finished results stay"
)
LOGS = Path(".snakemake/log")  # Snakemake's own, in the folder of the run
PLACE = re.compile(r'^WorkflowError in [^\n]*line \d+:\n|(?:\n  File "[^"\n]*", line \d+, in [^\n]*)+\s*\Z')
EVERY_SECONDS = 30.0  # at most one line of a stage in a file in that time
SHARE = 0.1  # of a stage's jobs that must end before its next line in a file


class Failure(NamedTuple):
    """A job that failed: its ``rule``, its ``log``, and what Snakemake said of it."""

    rule: str
    log: Path | None
    said: str


Pending = Callable[[], Iterable[tuple[int, str]]]  # number and rule of the jobs that have not ended
Notes = Callable[[str, Mapping[str, str]], str | None]  # what to say after a job, by its rule and its wildcards


class StageLines(logging.Handler):
    """Shows the stages of a run, as their jobs end.

    Attributes
    ----------
    failures: jobs that failed, by their log; a job that was tried again and succeeded is none
    """

    def __init__(self, pending: Pending, pace: Pace, stream: TextIO, notes: Notes = lambda _rule, _of: None) -> None:
        """``stream`` is the terminal or a file."""
        super().__init__()
        self._notes = notes
        self._wildcards: dict[int, Mapping[str, str]] = {}
        self.failures: dict[str, Failure] = {}
        self._pending, self._pace, self._stream = pending, pace, stream
        self._rules: dict[int, str] = {}
        self._started: dict[int, float] = {}
        self._logs: dict[int, str] = {}
        self._done: set[int] = set()
        self._stages: dict[str, tuple[float, int]] = {}  # start, and jobs that ended
        self._shown: dict[str, tuple[float, int]] = {}
        self._closed: set[str] = set()
        self._live = ""
        self._said = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Take an event of Snakemake, see `logging.Handler.emit`."""
        event = getattr(record, "event", None)
        message = str(record.msg)
        if event == "job_info":
            self._begin(record)
        elif event == "job_finished":
            self._end(record.__dict__["job_id"])
        elif event == "job_error":
            log = next(iter(record.__dict__["log"]), None)
            key = log or f"{record.__dict__['rule_name']} {record.__dict__['jobid']}"
            self.failures[key] = Failure(record.__dict__["rule_name"], Path(log) if log else None, self._said)
        elif event == "error" and GAVE_UP in message:
            self._write("\n".join(explain(list(self.failures.values()), LOGS)))
        elif event == "error":
            self._said = message

    def _begin(self, record: logging.LogRecord) -> None:
        number, rule = record.__dict__["jobid"], record.__dict__["rule_name"]
        if rule == TARGET:
            return
        self._rules[number], self._started[number] = rule, record.created
        self._logs[number] = next(iter(record.__dict__["log"]), "")
        self._wildcards[number] = record.__dict__["wildcards"]
        self._stages.setdefault(stage_of(rule), (record.created, 0))
        self._closed.discard(stage_of(rule))
        self._show_live(stage_of(rule))

    def _end(self, number: int) -> None:
        rule = self._rules.get(number)
        if rule is None or number in self._done:
            return
        self._done.add(number)
        self.failures.pop(self._logs[number], None)
        self._pace.ended(rule, time.time() - self._started[number])
        stage = stage_of(rule)
        begun, ended = self._stages[stage]
        self._stages[stage] = begun, ended + 1
        if note := self._notes(rule, self._wildcards[number]):
            self._write(note)
        left = [(job, name) for job, name in self._pending() if job not in self._done and name != TARGET]
        remaining = Counter(stage_of(name) for _, name in left)
        if remaining[stage]:
            self._show(stage, remaining[stage], [name for _, name in left])
        else:
            self._closed.add(stage)
            jobs = f"{ended + 1} job{'s' if ended else ''}"
            self._write(f"{stage}: done, {jobs}, {duration(time.time() - begun)}{self._left([n for _, n in left])}")

    def _left(self, pending: list[str]) -> str:
        seconds = self._pace.seconds_left(pending) if pending else None
        return "" if seconds is None else f"; about {duration(max(seconds, 1))} left"

    def _show(self, stage: str, remaining: int, pending: list[str]) -> None:
        """A line of a stage that is not done: on a terminal in place of the last, in a file from time to time."""
        begun, ended = self._stages[stage]
        line = f"{stage}: {ended} of {ended + remaining}{self._left(pending)}"
        if self._stream.isatty():
            self._show_live(line)
            return
        last, before = self._shown.get(stage, (begun, 0))
        if time.time() - last >= EVERY_SECONDS and ended - before >= SHARE * (ended + remaining):
            self._shown[stage] = time.time(), ended
            self._write(line)

    def _show_live(self, line: str) -> None:
        if self._stream.isatty():
            self._stream.write(f"\r{line:{len(self._live)}}")
            self._stream.flush()
            self._live = line

    def _write(self, text: str) -> None:
        if self._live:
            self._stream.write(f"\r{' ' * len(self._live)}\r")
            self._live = ""
        self._stream.write(text + "\n")
        self._stream.flush()


def explain(failures: list[Failure], logs: Path) -> list[str]:
    """Why jobs failed, the last line a cause and its remedy. ``logs`` is the folder of Snakemake's own logs."""
    lines = []
    for failure in failures:
        cause = cause_in(failure.log) if failure.log else None
        if cause is None:
            cause = KILLED if "SIGKILL" in failure.said or "died with" in failure.said else _last_line(failure.said)
        lines.append(f"{failure.rule} failed{f' (details in {failure.log})' if failure.log else ''}:\n{cause}")
    return lines or [_unexplained(logs)]


def _unexplained(logs: Path) -> str:
    """What to do where Snakemake gave up and told of no job that failed."""
    newest = max(logs.glob("*.log"), key=lambda log: log.stat().st_mtime, default=None)
    if newest is None:
        return "the run broke off, and Snakemake does not say why; run again"
    return f"the run broke off; {newest.absolute()} says why: mend that, and run again; finished results stay"


def cause_in(log: Path) -> str | None:
    """The last error in the log of a job, without its time; of a traceback only the error. None if there is none."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    errors = list(FIRST_ERROR.finditer(text))
    if not errors:
        return None
    entry = text[errors[-1].end() :]
    following = ENTRY.search(entry)
    entry = entry[: following.start()] if following else entry
    if "Traceback (most recent call last)" in entry:
        return f"{_last_line(entry)}; this is a fault of the program, please report it with that log"
    return entry.strip()


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it ended without a word; its log may say more"


class _WithoutPlaces(logging.Formatter):
    """Says why a run is refused, and not at which line of which rules; Snakemake's own log file has that, too."""

    def __init__(self, whole: logging.Formatter | None) -> None:
        super().__init__()
        self._whole = whole or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        text = self._whole.format(record)
        return PLACE.sub("", text) if record.__dict__.get("exception") == "WorkflowError" else text


def _for_people(record: logging.LogRecord) -> bool:
    """Whether Snakemake's own handler shows a record on the terminal."""
    event = getattr(record, "event", None)
    message = str(record.msg)
    if event in SILENT or (event == "error" and record.__dict__.get("exception") == "RuleException"):
        return False
    if (event == "error" and GAVE_UP in message) or message.startswith(EXITS):
        return False
    return record.levelno >= logging.WARNING or not NOISE.match(message.strip())


def _own_handler(logger: logging.Logger) -> logging.Handler | None:
    """What Snakemake shows on the terminal; None where another program shows the run, such as a plugin."""
    return next((handler for handler in logger.handlers if handler.name == SNAKEMAKES_HANDLER), None)


def show_causes(logger: logging.Logger) -> None:
    """Let the last line of a refusal be its cause and its remedy."""
    own = _own_handler(logger)
    if own is not None and not isinstance(own.formatter, _WithoutPlaces):
        own.setFormatter(_WithoutPlaces(own.formatter))


def show_stages(logger: logging.Logger, pending: Pending, pace: Pace, notes: Notes) -> StageLines | None:
    """Show the stages of this run in place of its jobs; None where another program shows the run, such as a plugin."""
    own = _own_handler(logger)
    if own is None:
        return None
    own.addFilter(_for_people)
    lines = StageLines(pending, pace, sys.stderr, notes)
    logger.addHandler(lines)
    return lines
