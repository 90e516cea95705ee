"""Processes that train one model together: each takes a part of every batch, and the gradients are added up.

One thread a process: small products gain little from a second thread, and a busy machine stalls it at every product.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from model.batches import Batch


class Team:
    """This process's place among `size` processes, which all run the same steps; alone by default."""

    def __init__(self, rank: int = 0, size: int = 1, meeting_point: Path | None = None) -> None:
        self.rank = rank
        self.size = size
        if size > 1:
            assert meeting_point is not None
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
            store = dist.FileStore(str(meeting_point), size)
            dist.init_process_group("gloo", store=store, rank=rank, world_size=size)

    @property
    def leads(self) -> bool:
        """Whether this process writes the run's files."""
        return self.rank == 0

    def part(self, batch: Batch) -> Batch:
        """This process's sentences of the batch, every `size`-th; there may be none."""
        return batch if self.size == 1 else batch.rows(slice(self.rank, None, self.size))

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over the processes."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(total.view_as(tensor))

    def collect(self, tensor: Tensor) -> list[Tensor]:
        """The tensor of every process, in the order of their ranks."""
        if self.size == 1:
            return [tensor]
        parts = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(parts, tensor)
        return parts


def start_others(size: int, meeting_point: Path) -> list[subprocess.Popen[bytes]]:
    """Start this process's command again, once for each further rank.

    A process whose leader dies ends with an error at its next step, and the other way round.
    """
    meeting_point.unlink(missing_ok=True)
    meeting_point.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "model", *sys.argv[1:]]
    return [subprocess.Popen([*command, "--rank", str(rank)], stdin=subprocess.DEVNULL) for rank in range(1, size)]
