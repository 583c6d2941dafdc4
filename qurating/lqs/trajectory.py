"""The states θ_0 … θ_T of a training: computed forwards once, then read backwards from disk.

The kinds differ in disk space: 100 states of 160M parameters take 65 GB in float32 (`keep`), half of that as bfloat16
differences to θ_0 (`bf16_differences`, near lossless), or a fifth as every ⌈√T⌉-th state, from which the others are
recomputed (`recompute`). `keep` and `recompute` give the same bits.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from qurating.lqs.tensors import read_tensors, write_tensors

KINDS = ("keep", "bf16_differences", "recompute")


class Trajectory:
    """Moves a model along its training: `run` to the end, then `go_to` any state, cheapest in descending order.

    Args:
        folder: of this trajectory alone. A run resumes from the files of an interrupted one.
        kind: one of `KINDS`.
        model: at θ_0; its parameters are changed in place.
        num_steps: T.
        step: takes the model from θ_t to θ_{t+1}, given t, and returns the loss; must give the same bits each time.
        writes: whether this process writes; of several that share the folder one does, and all take every step.
        barrier: called after the last state is read and before another is written; several processes wait for each
            other there.
    """

    def __init__(
        self,
        folder: Path,
        kind: str,
        model: nn.Module,
        num_steps: int,
        step: Callable[[int], float],
        *,
        writes: bool = True,
        barrier: Callable[[], Any] = lambda: None,
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"a trajectory is one of {', '.join(KINDS)}, not {kind!r}")
        self.folder, self.kind, self.num_steps, self.step = folder, kind, num_steps, step
        self.writes, self.barrier = writes, barrier
        self.parameters = dict(model.named_parameters())
        # states whose t is a multiple of this, and the last one, have files of their own
        self.spacing = {"keep": 1, "bf16_differences": num_steps, "recompute": math.isqrt(num_steps - 1) + 1}[kind]
        # the states recomputed from the state file of `_start`, on the CPU
        self._start, self._segment = -1, list[dict[str, Tensor]]()

    def steps_done(self) -> int:
        """The t of the last state on disk."""
        return max(
            (int(file.stem.removeprefix("state-")) for file in self.folder.glob("state-*.safetensors")), default=0
        )

    def run(self) -> list[float]:
        """Train from the last state on disk to θ_T, and leave the model there; returns the loss of every step (T,)."""
        done = self.steps_done()
        known: list[float] = []
        if done:
            known = self._read(f"state-{done}")
        self.barrier()
        if not done:
            self._write("state-0", self.parameters, [])
        for t in range(done, self.num_steps):
            known.append(self.step(t))
            if self.kind == "bf16_differences" and self.writes:
                self._write(f"difference-{t + 1}", self._differences())
                self._write(f"state-{t + 1}", self.parameters, known)
                if t:  # one exact state to resume from is enough
                    (self.folder / f"state-{t}.safetensors").unlink(missing_ok=True)
            elif self._has_file(t + 1):
                self._write(f"state-{t + 1}", self.parameters, known)
        return known

    def go_to(self, t: int) -> None:
        """Move the model to θ_t, after `run`."""
        if not 0 <= t <= self.num_steps:
            raise ValueError(f"no state {t} among 0 to {self.num_steps}")
        start = t - t % self.spacing
        if self._has_file(t):
            self._read(f"state-{t}")
        elif self.kind == "bf16_differences":
            self._read("state-0")
            with torch.no_grad():
                for name, difference in read_tensors(self.folder / f"difference-{t}.safetensors")[0].items():
                    self.parameters[name].add_(difference.to(self.parameters[name]))
        else:
            if start != self._start:
                self._read(f"state-{start}")
                self._start, self._segment = start, [self._copy()]
            while len(self._segment) <= t - start:
                self._set(self._segment[-1])
                self.step(start + len(self._segment) - 1)
                self._segment.append(self._copy())
            self._set(self._segment[t - start])

    def recomputed_steps(self, t: int) -> int:
        """The number of steps that are computed a second time on the way from θ_t back to θ_0."""
        t = min(t, self.num_steps - 1)  # the last state has a file
        return t - t // self.spacing if self.kind == "recompute" else 0

    def _has_file(self, t: int) -> bool:
        return t % self.spacing == 0 or t == self.num_steps

    def _write(self, name: str, tensors: Mapping[str, Tensor], losses: list[float] | None = None) -> None:
        if self.writes:
            write_tensors(self.folder / f"{name}.safetensors", tensors, losses)

    def _read(self, name: str) -> list[float]:
        tensors, known = read_tensors(self.folder / f"{name}.safetensors")
        self._set(tensors)
        return known

    def _differences(self) -> dict[str, Tensor]:
        first, _ = read_tensors(self.folder / "state-0.safetensors")
        return {name: (p.detach() - first[name].to(p)).to(torch.bfloat16) for name, p in self.parameters.items()}

    def _copy(self) -> dict[str, Tensor]:
        return {name: parameter.detach().to("cpu", copy=True) for name, parameter in self.parameters.items()}

    @torch.no_grad()
    def _set(self, tensors: Mapping[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(tensors[name])
