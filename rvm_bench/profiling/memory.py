"""Peak memory of this process above what it holds at a moment of one's choice.

On a CPU it is the resident size, which Linux alone lets a process measure anew; on CUDA what torch has allocated there.
"""

import ctypes
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class MemoryMeter:
    """Peak memory since `restart`, in MB (10^6 bytes).

    Attributes:
        available: whether it can be measured here at all: on CUDA, and on Linux where the kernel allows it.
    """

    def __init__(self, device: "torch.device | str" = "cpu") -> None:
        self._device = str(device)
        self._before = 0
        self.available = _on_cuda(device) or os.access("/proc/self/clear_refs", os.W_OK)

    def restart(self) -> None:
        """From here on: what is held now counts as nothing, and the peak starts anew.

        Memory that was freed and not yet given back is given back first. Otherwise what comes next would be put there,
        and would not be seen.
        """
        if _on_cuda(self._device):
            import torch

            torch.cuda.synchronize(self._device)
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before = torch.cuda.memory_allocated(self._device)
        elif self.available:
            trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; musl has none
            if trim is not None:
                trim(0)
            self._before = _status_bytes("VmRSS")
            Path("/proc/self/clear_refs").write_text("5")

    def peak_mb(self) -> float | None:
        """The peak above what was held at `restart`; None where it cannot be measured."""
        if not self.available:
            return None
        if _on_cuda(self._device):
            import torch

            peak = torch.cuda.max_memory_allocated(self._device)
        else:
            peak = _status_bytes("VmHWM")
        return max(0, peak - self._before) / 1e6

    def now_mb(self) -> float:
        """What is held now above what was held at `restart`; 0 where it cannot be measured."""
        if not self.available:
            return 0.0
        if _on_cuda(self._device):
            import torch

            held = torch.cuda.memory_allocated(self._device)
        else:
            held = _status_bytes("VmRSS")
        return max(0, held - self._before) / 1e6


def available_mb(device: "torch.device | str") -> float | None:
    """Memory that is free for a process now, in MB; None where that cannot be told."""
    if _on_cuda(device):
        import torch

        return torch.cuda.mem_get_info(device)[0] / 1e6
    if not sys.platform.startswith("linux"):
        return None
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) * 1024 / 1e6


def _on_cuda(device: "torch.device | str") -> bool:
    return str(device).startswith("cuda")


def _status_bytes(field: str) -> int:
    """Resident size of this process now ("VmRSS") or at its peak ("VmHWM")."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))
