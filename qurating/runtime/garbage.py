"""Python's garbage collector, while a thousand requests are in flight."""

import contextlib
import gc
from collections.abc import Iterator

_THRESHOLD = (20_000, 20, 20)  # allocations before a collection of the youngest objects; Python's own is 700, 10, 10


@contextlib.contextmanager
def rare_collections() -> Iterator[None]:
    """Collect less often, and pass over the objects that exist already.

    A collection walks over all requests in flight and, now and then, over all that was imported; meanwhile no reply is
    read. benchmarks/README.md has what that costs. It holds for the whole process, and ends with the context.
    """
    threshold = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLD)
    try:
        yield
    finally:
        gc.set_threshold(*threshold)
        gc.unfreeze()
