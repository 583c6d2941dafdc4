"""Batches of work in parallel processes, or in a thread that works ahead, in bounded memory."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar, cast

from qurating.runtime.errors import StageError

Batch = TypeVar("Batch")
Result = TypeVar("Result")


def in_workers(
    work: Callable[[Batch], Result], batches: Iterable[Batch], num_workers: int
) -> Generator[Result, None, None]:
    """The results of `work` on each batch, in order, with at most `num_workers` + 2 batches in memory.

    With 0 or 1 workers, this process does the work. Raises StageError if a worker is killed.
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
                "a worker process was killed, most likely for lack of memory: run again (it continues from here) with "
                "fewer num_workers or smaller shards"
            ) from None
        except BaseException:  # wait for work that has begun: else it would still write during the next attempt
            pool.shutdown(cancel_futures=True)
            raise


def ahead(items: Iterable[Result], num_items: int) -> Generator[Result, None, None]:
    """The same items in order; a thread makes up to `num_items` of them before they are requested."""
    iterator = iter(items)
    end = object()
    with ThreadPoolExecutor(1) as thread:
        try:
            pending = deque(thread.submit(next, iterator, end) for _ in range(num_items))
            while (item := pending.popleft().result()) is not end:
                pending.append(thread.submit(next, iterator, end))
                yield cast(Result, item)
        finally:
            if isinstance(iterator, Generator):
                thread.submit(iterator.close).result()
