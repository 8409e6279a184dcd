"""The processes that train together. One process is a world of one; torchrun makes it larger."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any, NoReturn

from carrara.errors import Refusal

if TYPE_CHECKING:
    import torch

_PATIENCE = timedelta(minutes=10)  # with a process that says nothing; one that ends is noticed at once
_BUCKET = 16 << 20  # values that are summed in one exchange
_LOST = (
    "another process of this run has ended or does not answer; see its own message, mend that, and run the same "
    "command again, with any number of processes: it goes on from the last checkpoint."
)


@dataclass(frozen=True)
class World:
    """This process's place among all. What it offers is called by all processes alike, or none gets on."""

    rank: int
    size: int

    @property
    def leads(self) -> bool:
        """Whether this process writes files and speaks to the user."""
        return self.rank == 0

    def sum(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace each tensor by its sum over all processes."""
        if self.size == 1:
            return
        import torch
        import torch.distributed as dist

        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.flatten() for tensor in bucket])
            dist.all_reduce(flat)
            for tensor, summed in zip(bucket, flat.split([tensor.numel() for tensor in bucket]), strict=True):
                tensor.copy_(summed.view_as(tensor))

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.size == 1:
            return flag
        import torch

        value = torch.tensor([float(flag)])
        self.sum([value])
        return bool(value.item())

    def stack(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensors of all processes, which are of one shape, one after the other."""
        import torch
        import torch.distributed as dist

        if self.size == 1:
            return tensor[None]
        parts = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(parts, tensor)
        return torch.stack(parts)

    def from_leader(self, text: str) -> str:
        """The text of the leading process."""
        if self.size == 1:
            return text
        import torch
        import torch.distributed as dist

        content = text.encode() if self.leads else b""
        size = torch.tensor([len(content)])
        self.sum([size])
        letters = torch.tensor(list(content) if self.leads else [0] * int(size), dtype=torch.uint8)
        dist.broadcast(letters, src=0)
        return bytes(letters.tolist()).decode()

    def share(self, rows: Sequence[int], cut: Callable[[Sequence[int]], list[list[int]]]) -> list[list[int]]:
        """This process's part of some rows, cut into passes; all processes get as many passes, some of them empty."""
        parts = [cut(rows[rank :: self.size]) for rank in range(self.size)]
        mine = parts[self.rank]
        return mine + [[] for _ in range(max(map(len, parts)) - len(mine))]

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Within it, the end of another process, or of the launcher, is a Refusal."""
        if self.size == 1:
            yield
            return
        before = _on_termination(_give_up)
        try:
            yield
        except RuntimeError as error:
            if _is_loss(error):
                raise Refusal(_LOST) from error
            raise
        finally:
            _on_termination(before or signal.SIG_DFL)


def join_world() -> World:
    """The world that torchrun's environment describes, joined once; else a world of one."""
    size = _size()
    if size == 1:
        return World(0, 1)
    import torch
    import torch.distributed as dist

    if not dist.is_initialized():
        cuda = torch.cuda.is_available()
        if cuda:
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        with World(int(os.environ["RANK"]), size).watched():
            dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=_PATIENCE)
    return World(dist.get_rank(), size)


def leave(code: int) -> NoReturn:
    """End this process; among several, without waiting for gloo's threads, which now and then abort at the end."""
    if _size() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _buckets(tensors: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """The tensors in groups that one exchange can sum: of one kind and place, and not too large."""
    for _, alike in groupby(tensors, key=lambda tensor: (tensor.dtype, tensor.device)):
        bucket: list[torch.Tensor] = []
        for tensor in alike:
            if bucket and sum(each.numel() for each in bucket) + tensor.numel() > _BUCKET:
                yield bucket
                bucket = []
            bucket.append(tensor)
        yield bucket


def _on_termination(handler: Any) -> Any:
    """Handle torchrun's signal to end; returns what did so before."""
    if threading.current_thread() is threading.main_thread():
        return signal.signal(signal.SIGTERM, handler)
    return None


def _give_up(signum: int, frame: object) -> None:
    del signum, frame
    raise Refusal(_LOST)


def _is_loss(error: RuntimeError) -> bool:
    """Whether an error says that a process cannot be reached; gloo has no kind of its own for it."""
    import torch.distributed as dist

    return isinstance(error, dist.DistError) or "gloo" in str(error).lower()
