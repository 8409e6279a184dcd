"""Whether the training that is about to begin is the one that was meant: found out in seconds, before step 1."""

from carrara.tune.truth.check import check_truth, require_known, require_truth
from carrara.tune.truth.finding import CHECKS, Finding, Truth

__all__ = ["CHECKS", "Finding", "Truth", "check_truth", "require_known", "require_truth"]
