"""Files that are whole or absent, and what is said of those that are damaged."""

import os
import re
import subprocess
import sys

import pytest
from checkout import PROJECT

from stablequant.errors import StableQuantError
from stablequant.storage.files import read_json, read_table, read_tensors, replacing, replacing_folder, write_text


def test_damaged_intermediates_are_named_with_the_remedy(tmp_path):
    (tmp_path / "h.safetensors").write_bytes(b"half")
    with pytest.raises(StableQuantError, match=r"h\.safetensors: damaged .*; delete it, and run again"):
        read_tensors(tmp_path / "h.safetensors")
    (tmp_path / "t.tsv").write_bytes(b"")
    with pytest.raises(StableQuantError, match=r"t\.tsv: not readable as a table .*; delete it, and run again"):
        read_table(tmp_path / "t.tsv")


def test_json_as_deep_as_no_stack_is_refused(tmp_path):
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(StableQuantError, match=r"deep\.json: not readable as JSON"):
        read_json(tmp_path / "deep.json")


def ended_process() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


KILLED = """
import os, signal, sys
from pathlib import Path
from stablequant.storage.files import replacing, replacing_folder
folder = Path(sys.argv[1])
with replacing(folder / "a.json") as a, replacing(folder / "b.json") as b, replacing_folder(folder / "a") as making:
    a.write_text("half"), b.write_text("half"), (making / "x").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def run_python(code: str, *arguments: object, **options: object) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], env=environment, text=True, **options)


def test_what_a_killed_process_left_is_swept_by_the_next_and_nothing_else_is(tmp_path):
    run_python(KILLED, tmp_path).wait()
    assert sorted(re.sub(r"\.[0-9a-f]{12}-.*", "", file.name) for file in tmp_path.iterdir()) == [
        ".a",
        ".a.json",
        ".b.json",
    ]
    for name in (".a.json.notes", ".a.json.lock", ".a.json.1234"):
        (tmp_path / name).write_text("ours")
    (half,) = tmp_path.glob(".b.json.*")
    write_text(tmp_path / "a.json", "{}")
    with replacing_folder(tmp_path / "a"):
        pass
    expected = {half.name, ".a.json.notes", ".a.json.lock", ".a.json.1234", "a.json", "a"}
    assert {file.name for file in tmp_path.iterdir()} == expected


ELSEWHERE = """
import os, sys
from pathlib import Path
from stablequant.storage import files
os.getpid = lambda: int(sys.argv[2])
files._place = lambda: "0123456789ab"
with files.replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("theirs")
    print(temporary.name, flush=True)
    sys.stdin.readline()
"""


def test_a_file_of_a_process_on_another_machine_is_left_alone_though_no_process_here_has_its_number(tmp_path, caplog):
    path = tmp_path / "a.json"
    theirs = run_python(ELSEWHERE, path, ended_process(), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    name = theirs.stdout.readline().strip()
    with caplog.at_level("INFO"):
        write_text(path, "ours")
    assert path.read_text() == "ours"
    assert f"{name}: written on another machine or in another container; remove it if none works here" in caplog.text
    theirs.communicate("\n")
    assert theirs.returncode == 0
    assert path.read_text() == "theirs"


def test_a_process_number_that_was_given_again_is_another_process(tmp_path):
    """The number of this test's own process, which runs, with another start."""
    with replacing(tmp_path / "a.json") as temporary:
        temporary.write_text("{}")
        place, process, start, _ = temporary.name.removeprefix(".a.json.").split("-")
        (tmp_path / f".a.json.{place}-{process}-{int(start) - 1}-x").touch()
        (tmp_path / f".a.json.{place}-{process}-{start}-y").touch()
        with replacing(tmp_path / "a.json") as second:
            second.write_text("[]")
        assert {file.name for file in tmp_path.glob(".*")} == {temporary.name, f".a.json.{place}-{process}-{start}-y"}


def test_a_container_of_the_same_machine_is_another_place():
    """Its processes have numbers of their own; a made-up one is not needed where we may make a namespace."""
    code = "from stablequant.storage.files import _place; print(_place())"
    command = [sys.executable, "-c", code]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    here = [subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout for _ in "ab"]
    try:
        there = subprocess.run([*unshare, *command], env=environment, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no namespaces may be made here")
    assert here[0] == here[1] != there
