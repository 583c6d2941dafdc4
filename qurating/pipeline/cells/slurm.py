"""What SLURM says: the states of jobs, the longest array, and why it refuses a job."""

import getpass
import math
import re
import shutil
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

TIMEOUT_SECONDS = 120  # of one question to SLURM, which retries by itself when its controller is busy
GONE = "GONE"  # SLURM has forgotten the job
WAITING = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
WORKING = {"RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"}


class Job(NamedTuple):
    """A job as SLURM sees it: its state, as PENDING, and the reason, as Resources; "" if it has none."""

    state: str
    reason: str = ""


def jobs(ids: Collection[str]) -> dict[str, Job] | None:
    """The jobs and array tasks with these ids (12, or 12_3), by id; None if SLURM cannot be asked from here."""
    if not ids:
        return {}
    wanted = ",".join(sorted({each.split("_")[0] for each in ids}))
    queue = _ask("squeue", "--noheader", "--array", "--states=all", f"--jobs={wanted}", "--format=%i|%T|%r")
    if queue is None:
        return None
    found = {each: Job(state, "" if reason == "None" else reason) for each, state, reason in _rows(queue, 3)}
    if missing := set(ids) - found.keys():  # some time after their end only the accounting knows them
        account = _ask(
            "sacct", "--allocations", "--noheader", "--parsable2", f"--jobs={wanted}", "--format=JobID,State"
        )
        ended = {each: Job(state) for each, state in _rows(account or "", 2)}
        found |= {each: ended.get(each, Job(GONE)) for each in missing}
    return {each: found[each] for each in ids}


def cancel(ids: Sequence[str]) -> None:
    """Cancel jobs and whole arrays."""
    _ask("scancel", *ids)


def max_array_size() -> int | None:
    """The most tasks that one array can have; None if SLURM does not say."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", _ask("scontrol", "show", "config") or "", re.MULTILINE)
    return int(found[1]) if found else None


def too_large(settings: Mapping[str, Any]) -> str | None:
    """The message for a cell that is too large for every node of the partition; None if a node can run it.

    SLURM may accept such a job, and then it waits forever.

    Args:
        settings: of `hydra.launcher`.
    """
    partition, tasks = settings.get("partition"), settings.get("tasks_per_node") or 1
    chosen = [f"--partition={partition}"] if partition else []
    answer = _ask("sinfo", "--noheader", "--Node", *chosen, "--format=%N|%P|%c|%m|%G|%l") or ""
    nodes = [_Node.read(fields) for fields in _rows(answer, 6) if partition or fields[1].endswith("*")]
    if not nodes:  # sbatch itself says what is wrong
        return None
    for key, of_node, per_setting in (
        ("cpus_per_task", "cpus", tasks),
        ("mem_gb", "megabytes", 1024),
        ("gpus_per_node", "gpus", 1),
        ("timeout_min", "minutes", 1),
    ):
        wanted = (settings.get(key) or 0) * per_setting
        nodes = [node for node in nodes if getattr(node, of_node) >= wanted]
        if not nodes:
            times = f" for each of {tasks} tasks" if key == "cpus_per_task" and tasks > 1 else ""
            return f"hydra.launcher.{key}={settings[key]}{times}: no node is large enough. Nodes here: {_nodes()}"
    found, wanted = len({node.name for node in nodes}), settings.get("nodes") or 1
    if found < wanted:
        return f"hydra.launcher.nodes={wanted}: {found} are large enough. Nodes here: {_nodes()}"
    return None


class _Node(NamedTuple):
    """A node as it is in one partition, busy or not; `minutes`: the longest job."""

    name: str
    cpus: int
    megabytes: int
    gpus: int
    minutes: float

    @classmethod
    def read(cls, fields: Sequence[str]) -> "_Node":
        name, _, cpus, megabytes, resources, limit = fields
        gpus = sum(map(int, re.findall(r"\bgpu(?::[^:(,]+)?:(\d+)", resources)))
        return cls(name, int(cpus), int(megabytes), gpus, _minutes(limit))


def _minutes(limit: str) -> float:
    """The minutes of 1-02:30:00, 2:30:00 or 30:00; what is no time, such as infinite, is no limit."""
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", limit)
    if not found:
        return math.inf
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return (days * 24 + hours) * 60 + minutes + seconds / 60


def refusal(message: str, settings: Mapping[str, Any]) -> str:
    """A sentence for a job that sbatch refused: the setting that is wrong, and the way out.

    Args:
        message: what sbatch printed.
        settings: of `hydra.launcher`.
    """
    said = "; ".join(re.findall(r"^sbatch: (?:error: )?(.+)$", message, re.MULTILINE)) or " ".join(message.split())

    def shown(*names: str) -> str:
        return " ".join(f"hydra.launcher.{name}={settings[name]}" for name in names if settings.get(name) is not None)

    if re.search(
        r"contact slurm|connect|resolve|transmitted|timed out|munge|authentic|configuration file",
        message,
        re.IGNORECASE,
    ):
        return (
            f"SLURM does not answer ({said}). Try `scontrol ping` here, and the same command again when it answers; "
            "without SLURM: hydra/launcher=local"
        )
    if "partition" in message and "account" not in message.lower():
        return f"{shown('partition') or 'no partition is set'}: SLURM says: {said}. Partitions here: {_partitions()}"
    if "account" in message.lower():
        where = shown("account", "partition") or "no account is set (hydra.launcher.account=…)"
        return f"{where}: SLURM says: {said}. Your accounts: {_accounts()}"
    if "qos" in message.lower():
        return f"{shown('qos') or 'hydra.launcher.qos is not set'}: SLURM says: {said}. Your accounts: {_accounts()}"
    if re.search(r"node config|memory|gres|generic resource|cpu count|node count|feature", message, re.IGNORECASE):
        sizes = ("nodes", "tasks_per_node", "cpus_per_task", "mem_gb", "gpus_per_node", "gres", "constraint")
        others = ("cpus_per_gpu", "gpus_per_task", "mem_per_gpu", "mem_per_cpu", "exclude", "partition")
        return (
            f"no node has what one cell asks for, {shown(*sizes, *others)}: SLURM says: {said}. Nodes here: {_nodes()}"
        )
    if "time limit" in message:
        return f"{shown('timeout_min', 'partition')}: SLURM says: {said}. Partitions here: {_partitions()}"
    return f"SLURM refuses the job: {said}. The options of sbatch are hydra.launcher.…, docs/sweeps.md lists them"


def _partitions() -> str:
    return _listed(_ask("sinfo", "--noheader", "--format=%R (at most %l)"))


def _nodes() -> str:
    return _listed(_ask("sinfo", "--noheader", "--format=%c CPUs, %m MB, %G, at most %l (partition %R)"))


def _accounts() -> str:
    form = "format=account,partition,qos"
    return _listed(_ask("sacctmgr", "--noheader", "--parsable2", "show", "assoc", f"user={getpass.getuser()}", form))


def _listed(answer: str | None) -> str:
    lines = dict.fromkeys(line.strip() for line in (answer or "").splitlines() if line.strip())
    return "; ".join(list(lines)[:20]) or "none, or SLURM does not say"


def _rows(answer: str, num_fields: int) -> Iterator[list[str]]:
    """The fields of each line; a line of several tasks that have not started yet, as 12_[3-5], is left out."""
    for line in answer.splitlines():
        fields = [field.strip() for field in line.split("|")]
        if len(fields) == num_fields and "[" not in fields[0]:
            yield fields


def _ask(program: str, *arguments: str) -> str | None:
    """What a program of SLURM prints; empty if it knows none of the jobs, None if it cannot be asked."""
    if shutil.which(program) is None:
        return None
    try:
        asked = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if asked.returncode and "Invalid job id" not in asked.stderr:
        return None
    return asked.stdout
