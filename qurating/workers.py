"""Batches of work in parallel processes, in bounded memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from qurating.artifacts import StageError

Batch = TypeVar("Batch")
Result = TypeVar("Result")


def in_workers(work: Callable[[Batch], Result], batches: Iterable[Batch], num_workers: int) -> Iterator[Result]:
    """`work` done on each batch, in order, with at most `num_workers` + 2 batches in memory.

    With 0 or 1 workers it is done in this process. Raises StageError if a worker is killed.
    """
    if num_workers <= 1:
        yield from map(work, batches)
        return
    pending: deque[Future[Result]] = deque()
    with ProcessPoolExecutor(num_workers, mp_context=get_context("spawn")) as pool:
        try:
            for batch in batches:
                pending.append(pool.submit(work, batch))
                if len(pending) > num_workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool:
            raise StageError(
                "a worker process was killed, most likely for want of memory: run again (it goes on from here) with "
                "fewer num_workers, or smaller shards"
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
