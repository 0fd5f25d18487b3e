"""Faults of the machine, told apart from the program's own."""

import errno

import pytest

from stablequant.faults import fault_of_the_machine


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            OSError(errno.ENOSPC, "No space left", "results/x.onnx"),
            "results/x.onnx: no space is left on the disk;",
        ),
        (OSError(errno.EROFS, "Read-only", "results/x"), "results/x: the file system is read-only; make it writable"),
        (PermissionError(errno.EACCES, "denied", "results/x"), "results/x: not permitted; correct the permissions"),
        (MemoryError(), "out of memory; lower 'batch_mb'"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), "out of memory; lower 'batch_mb'"),
    ],
)
def test_a_fault_of_the_machine_is_one_sentence_with_a_remedy(error, sentence):
    assert fault_of_the_machine(error).startswith(sentence)


def test_any_other_error_keeps_its_trace():
    assert fault_of_the_machine(ValueError("x")) is None
    assert fault_of_the_machine(OSError(errno.ENOENT, "gone", "x")) is None


def test_a_missing_package_is_a_fault_of_the_machine_and_a_missing_module_of_this_one_is_not():
    missing = ModuleNotFoundError("No module named 'openvino'", name="openvino.runtime")
    assert fault_of_the_machine(missing).startswith("openvino.runtime: the package cannot be loaded")
    assert fault_of_the_machine(ModuleNotFoundError("no", name="stablequant.absent")) is None
