"""What this machine is, as far as training and serving care, and the settings that make it fast."""

from __future__ import annotations

import ctypes
import math
import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# glibc's names for mallopt; see mallopt(3).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_MADV_DONTNEED = 4
_TOP_PAD = 256 << 20
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Machine:
    """Sizes in bytes. `bfloat16` says whether matrix products in bfloat16 run at full speed.

    `memory_free` is what this process may hold in all: what is free, and what it holds already.
    """

    cores: int
    memory: int
    memory_free: int
    accelerator: str | None
    accelerator_memory: int
    bfloat16: bool

    @property
    def working_memory(self) -> int:
        """The memory that a fine-tune must fit into: the accelerator's, or what is free here."""
        return self.accelerator_memory or self.memory_free


def inspect_machine() -> Machine:
    """Look at the machine; imports torch."""
    import psutil
    import torch

    memory = psutil.virtual_memory()
    free = int(min(memory.available, left_to_container())) + psutil.Process().memory_info().rss
    cores = count_cores()
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        return Machine(
            cores,
            memory.total,
            free,
            properties.name,
            properties.total_memory,
            torch.cuda.is_bf16_supported(),
        )
    return Machine(cores, memory.total, free, None, 0, _cpu_has_bfloat16())


def count_cores() -> int:
    """The cores that are given to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cores_of_container() -> float:
    """The whole cores that the limit of a container gives, at least one; without end where there is none."""
    try:
        limit, period = (_CGROUP / "cpu.max").read_text().split()
        return math.inf if limit == "max" else max(1, int(limit) // int(period))
    except (OSError, ValueError):
        return math.inf


def left_to_container() -> float:
    """What the limit of a container leaves, in bytes; without end where there is none (Linux, cgroup version 2)."""
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        return math.inf if limit == "max" else int(limit) - int(used["anon"])  # files in memory give way
    except (OSError, ValueError, KeyError):
        return math.inf


def _cpu_has_bfloat16() -> bool:
    import torch

    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def prepare_for_heavy_work() -> None:
    """Keep freed tensors mapped and quieten the libraries; call before torch allocates anything.

    glibc unmaps every large block when it is freed, and mapping and zeroing it anew at each step of
    training costs more than the arithmetic saved. Other C libraries are left as they are.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    # Threads that spin long at a barrier starve the ones they wait for as soon as anything else runs beside;
    # a short spin costs nothing when the machine is quiet and gained 1.5 times when it was not.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # oneDNN, and torch above it, keep the code made for the last 1,024 shapes of a product, half a MB each. Rows of
    # ever new lengths fill that with what is hardly used again; a pass needs some dozens, and making one takes no time.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    os.environ.setdefault("LRU_CACHE_CAPACITY", "32")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_M_TOP_PAD, _TOP_PAD)


def prepare_for_scoring() -> None:
    """As `prepare_for_heavy_work`, in a process that only reads with a model: a pass then needs some eight products."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16")
    os.environ.setdefault("LRU_CACHE_CAPACITY", "8")
    prepare_for_heavy_work()


def give_back_memory() -> bool:
    """Hand freed memory back to the system, so that what a process then comes to hold is in use; False if it cannot."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        return False
    return True


def give_back_pages(tensor: torch.Tensor) -> None:
    """Let go of the memory of a tensor that is not used any more, before the file that it is mapped from is closed."""
    if tensor.device.type != "cpu" or not sys.platform.startswith("linux"):
        return
    page = resource.getpagesize()
    start = -(-tensor.data_ptr() // page) * page
    size = (tensor.data_ptr() + tensor.nbytes) // page * page - start
    if size > 0:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), _MADV_DONTNEED)


def peak_memory_mb() -> float:
    """The most memory this process ever held, in MB: allocated on the accelerator if there is one, else resident."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    try:  # Linux counts what the parent held into ru_maxrss
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1 / 1024) / 1e6


def choose_device() -> torch.device:
    """The accelerator if there is one, else the CPU."""
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def choose_dtype(wanted: str) -> torch.dtype:
    """`float32`, `bfloat16`, or for `auto` bfloat16 where the machine computes in it natively."""
    import torch

    if wanted == "auto":
        return torch.bfloat16 if inspect_machine().bfloat16 else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[wanted]
