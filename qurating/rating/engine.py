"""Rating windows of tokens with a network: batches of a constant number of tokens, precision, compilation."""

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from tqdm import tqdm

from qurating.models.rating_networks import repeated_layers
from qurating.runtime import internals
from qurating.runtime.errors import StageError
from qurating.runtime.workers import ahead

# Batch widths are multiples of this, so that networks are compiled, and memory is laid out, for few shapes. 1 % is
# padding.
WIDTH_STEP = 32

_TOKENS_PER_BATCH = {"cpu": 4096, "cuda": 32_768}

_MEASURE_SECONDS = 5.0  # of rating, before the decision whether to compile

_COMPILE_REPAYS_SECONDS = {"cpu": 240.0, "cuda": 120.0}  # of rating that must be left

_BATCHES_AHEAD = 4


class Batch(NamedTuple):
    """`windows`: their indices, (B,); `width`: tokens of each, padding included."""

    windows: npt.NDArray[np.int64]
    width: int


def batches(lengths: npt.NDArray[np.int64], max_tokens: int, tokens_per_batch: int) -> list[Batch]:
    """Every window once, the longest first, in batches of windows of similar length.

    A batch holds ⌊tokens_per_batch / width⌋ windows, at least one. Its width is the length of the longest window,
    rounded up to a multiple of WIDTH_STEP, and at most `max_tokens`. So each width has one shape, except in the last
    two batches: a last batch of one window would be compiled again, so a previous batch of at least three gives it one
    more.
    """
    order = np.argsort(-lengths, kind="stable")
    found = []
    start = 0
    while start < len(order):
        width = min(-(-int(lengths[order[start]]) // WIDTH_STEP) * WIDTH_STEP, max_tokens)
        size = max(1, tokens_per_batch // width)
        if size > 2 and len(order) - start == size + 1:
            size -= 1
        found.append(Batch(order[start : start + size], width))
        start += len(found[-1].windows)
    return found


def padded(
    batch: Batch,
    input_ids: npt.NDArray[np.int32],
    starts: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    pad_token_id: int,
) -> tuple[Tensor, Tensor]:
    """Token ids (B, width), right-padded, and lengths (B,) of a batch, int64; `starts` are positions in `input_ids`."""
    own = lengths[batch.windows]
    columns = np.arange(batch.width)
    places = np.minimum(starts[batch.windows][:, None] + columns, len(input_ids) - 1)
    ids = np.where(columns < own[:, None], input_ids[places], pad_token_id).astype(np.int64)
    return torch.from_numpy(ids), torch.from_numpy(own)


class Engine:
    """A network that rates windows; up to rounding, a rating does not depend on the other windows of the batch.

    Args:
        network: see `qurating.models.rating_networks`; moved and cast in place.
        precision: `32-true`; `bf16-true` or `bf16-mixed`: weights and states in bfloat16, the head in float32.
        compilation: `auto` compiles if enough is left to rate to repay it; `always`; `never`.
        tokens_per_batch: padding included; None: 4,096 on a CPU, 32,768 on a GPU.

    Raises:
        StageError: an unknown precision or compilation.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        device: torch.device,
        precision: str,
        compilation: str,
        max_tokens: int,
        tokens_per_batch: int | None,
        pad_token_id: int,
    ) -> None:
        if precision not in {"32-true", "bf16-true", "bf16-mixed"}:
            raise StageError(f"unknown precision {precision!r} for ratings: use 32-true, bf16-true or bf16-mixed")
        if compilation not in {"auto", "always", "never"}:
            raise StageError(f"unknown compilation {compilation!r}: use auto, always or never")
        self.network = network.eval().to(device)
        if precision != "32-true":
            self.network.to(torch.bfloat16)
            if isinstance(head := getattr(network, "head", None), nn.Module):
                head.float()  # bfloat16 has 128 numbers between 1 and 2, too few to rank by
        self.device, self.compilation = device, compilation
        self.max_tokens, self.pad_token_id = max_tokens, pad_token_id
        self.tokens_per_batch = tokens_per_batch or _TOKENS_PER_BATCH[device.type]
        self._compiled: list[Any] = []
        self._num_tokens, self._seconds = 0, 0.0
        if compilation == "always":
            self._compile()

    @torch.inference_mode()
    def rate(
        self,
        input_ids: npt.NDArray[np.int32],
        lengths: npt.NDArray[np.int64],
        done: Callable[[int], None],
        tokens_to_come: float = 0,
    ) -> npt.NDArray[np.float32]:
        """Ratings (W, C) of windows, in their order.

        Args:
            input_ids: of all windows, one after another.
            lengths: (W,) tokens of each window, from 1 to `max_tokens`.
            done: called with the number of tokens of each batch once it is rated.
            tokens_to_come: about how many tokens follow after these.
        """
        starts = np.cumsum(lengths) - lengths
        left = float(lengths.sum()) + tokens_to_come
        ratings: Tensor | None = None
        for batch, ids, own in self._padded_batches(input_ids, starts, lengths):
            began = time.perf_counter()
            found = self._forward(ids.to(self.device, non_blocking=True), own.to(self.device, non_blocking=True))
            if ratings is None:
                ratings = torch.empty(len(lengths), found.shape[1], device=self.device)
            ratings[torch.from_numpy(batch.windows).to(self.device)] = found
            num_tokens = int(lengths[batch.windows].sum())
            left -= num_tokens
            self._consider_compiling(num_tokens, began, left)
            done(num_tokens)
        return np.empty((0, 0), np.float32) if ratings is None else ratings.cpu().numpy()

    def _padded_batches(
        self, input_ids: npt.NDArray[np.int32], starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
    ) -> Iterator[tuple[Batch, Tensor, Tensor]]:
        """The batches and their tensors; for a GPU pinned, and prepared while it rates the previous batches."""

        def made() -> Iterator[tuple[Batch, Tensor, Tensor]]:
            for batch in batches(lengths, self.max_tokens, self.tokens_per_batch):
                ids, own = padded(batch, input_ids, starts, lengths, self.pad_token_id)
                yield (batch, ids.pin_memory(), own.pin_memory()) if self.device.type == "cuda" else (batch, ids, own)

        return ahead(made(), _BATCHES_AHEAD) if self.device.type == "cuda" else made()

    def _forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        try:
            return self.network(ids, lengths)
        except torch.OutOfMemoryError as error:
            raise StageError(
                f"out of memory with {self.tokens_per_batch:,} tokens per batch: lower stages.rate.tokens_per_batch "
                "(or stages.score.tokens_per_batch)"
            ) from error
        except Exception as error:  # torch.compile raises many types if it finds no compiler
            if not self._compiled:
                raise
            if self.compilation == "always":
                raise StageError(f"torch.compile fails ({_first_line(error)}): set compilation=never") from error
            tqdm.write(f"    torch.compile fails ({_first_line(error)}): rating continues without it, more slowly")
            for layer in self._compiled:
                del layer.forward  # uncovers the forward of the class
            self._compiled, self.compilation = [], "never"
            return self.network(ids, lengths)

    def _compile(self) -> None:
        """Compile layer by layer: equal layers share one compilation, so that 24 take no longer than two."""
        internals.prepare_compilation()
        self._compiled = repeated_layers(self.network)
        for layer in self._compiled:
            layer.forward = torch.compile(layer.forward, dynamic=True)

    def _consider_compiling(self, num_tokens: int, began: float, tokens_left: float) -> None:
        """Compile if the rest would take long without; decided once the speed is measured."""
        if self.compilation != "auto":
            return
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # else only the launch is measured
        if self._num_tokens == 0:
            self._num_tokens = 1  # the first batch is slow and not measured
            return
        self._num_tokens += num_tokens
        self._seconds += time.perf_counter() - began
        if self._seconds >= _MEASURE_SECONDS:
            seconds_left = tokens_left * self._seconds / self._num_tokens
            if seconds_left > _COMPILE_REPAYS_SECONDS[self.device.type]:
                self._compile()
                self.compilation = "chosen"
            else:
                self.compilation = "never"


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
