"""The dossier of a dataset: what was read, what became of every row, and what needs a decision."""

from carrara.data.dossier.content import Dossier
from carrara.data.dossier.findings import Finding, Fitness, findings, fitness
from carrara.data.dossier.page import DOSSIER_JSON, DOSSIER_PAGE, write_dossier

__all__ = ["DOSSIER_JSON", "DOSSIER_PAGE", "Dossier", "Finding", "Fitness", "findings", "fitness", "write_dossier"]
