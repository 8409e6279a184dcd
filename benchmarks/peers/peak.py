"""The most memory that this process held, for peers that measure themselves on Linux."""

from pathlib import Path


def peak_mb() -> float:
    """Resident, in MB; not `ru_maxrss`, into which Linux counts what the parent held."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
