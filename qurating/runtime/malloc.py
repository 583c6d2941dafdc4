"""Malloc tuning for networks on a CPU, where each pass frees the memory that the next pass allocates."""

import contextlib
import ctypes
import os
from collections.abc import Iterator

import torch

# glibc's malloc.h
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_USUAL_MMAP_MAX = 65_536
_TRIM_BYTES_AFTERWARDS = 64 * 2**20  # the upper limit of glibc's own rule


@contextlib.contextmanager
def keep_freed_memory(device: torch.device) -> Iterator[None]:
    """While a network runs on a CPU, keep freed memory for the next allocation instead of returning it to the system.

    glibc returns it as soon as some megabytes are free. Each pass over a network then asks the system for all its pages
    again, and the system clears each page (benchmarks/README.md has the cost). The setting holds for the whole process
    and ends with the context; contexts do not nest. Nothing changes on another device, with another C library, or if
    the user has set glibc's own variables (MALLOC_..., GLIBC_TUNABLES).
    """
    libc = ctypes.CDLL(None)
    set_by_user = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if device.type != "cpu" or set_by_user or not (hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim")):
        yield
        return
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, -1)  # never
    try:
        yield
    finally:
        libc.mallopt(_MMAP_MAX, _USUAL_MMAP_MAX)
        libc.mallopt(_TRIM_THRESHOLD, _TRIM_BYTES_AFTERWARDS)
        libc.malloc_trim(0)
