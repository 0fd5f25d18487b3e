"""A real Slurm of one node on loopback, with four GPUs that are device nodes without a device.

Needs root and Debian's packages slurm-wlm and munge. Everything lies in one folder but /etc/slurm/slurm.conf, a symlink
into it: Snakemake's plugin takes SLURM_CONF out of the environment.
"""

import os
import re
import shlex
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

SYSTEM_CONFIGURATION = Path("/etc/slurm/slurm.conf")
PARTITION = "debug"
CONFIGURATION = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=5,bf_interval=5
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
# finished jobs are all the accounting there is
MinJobAge=3600
KillWait=5
ReturnToService=2
# without it a job larger than the node would wait for ever
EnforcePartLimits=ALL
# the machine may be smaller than the node
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=16000 Gres=gpu:4
PartitionName={partition} Nodes=ALL Default=YES
"""
GPUS = "NodeName={host} Name=gpu File={folder}/gpu[0-3]\n"
NULL_DEVICE = os.makedev(1, 3)


@contextmanager
def one_node_slurm(folder: Path) -> Iterator[None]:
    """Run munged, slurmctld and slurmd with all their state in ``folder``; commands such as sbatch find them."""
    host = socket.gethostname()
    configuration = folder / "slurm.conf"
    configuration.write_text(CONFIGURATION.format(host=host, folder=folder, partition=PARTITION))
    (folder / "gres.conf").write_text(GPUS.format(host=host, folder=folder))
    for number in range(4):
        os.mknod(folder / f"gpu{number}", 0o666 | stat.S_IFCHR, NULL_DEVICE)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    munge = {"socket": "munge.socket", "key-file": "munge.key", "log-file": "munged.log", "pid-file": "munged.pid"}
    munge["seed-file"] = "munged.seed"
    with ExitStack() as stack:
        stack.enter_context(
            _daemon("munged", "--foreground", "--force", *(f"--{k}={folder / v}" for k, v in munge.items()))
        )
        SYSTEM_CONFIGURATION.symlink_to(configuration)  # fails where this machine has a Slurm already
        stack.callback(SYSTEM_CONFIGURATION.unlink)
        stack.enter_context(_daemon("slurmctld", "-D", "-f", str(configuration)))
        stack.enter_context(_daemon("slurmd", "-D", "-f", str(configuration)))
        wait_until(lambda: slurm("sinfo --noheader --format=%T") == "idle", 60, "an idle node")
        try:
            yield
        finally:
            slurm("scancel --user=root")
            wait_until(lambda: not slurm("squeue --noheader"), 60, "the end of all jobs")


@contextmanager
def _daemon(*command: str) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def slurm(command: str) -> str:
    """What one of Slurm's commands prints; nothing where it fails, as all do before the controller answers."""
    return subprocess.run(shlex.split(command), capture_output=True, text=True, check=False).stdout.strip()


def wait_until(holds: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(0.5)


def drain() -> None:
    """Let running jobs end and start none."""
    slurm(f"scontrol update nodename={socket.gethostname()} state=drain reason=test")


def resume() -> None:
    slurm(f"scontrol update nodename={socket.gethostname()} state=resume")


def jobs() -> list[dict[str, str]]:
    """Every job since Slurm was started, as scontrol describes it, in the order of submission."""
    lines = re.findall(r"^JobId=.*", slurm("scontrol show jobs --oneliner"), re.M)  # without any it says so
    return sorted((dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines), key=lambda job: int(job["JobId"]))
