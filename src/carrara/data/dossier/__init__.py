"""The dossier of a dataset: what was read, what became of every row, and what needs a decision."""

from carrara.data.dossier.content import Dossier
from carrara.data.dossier.page import DOSSIER_JSON, DOSSIER_PAGE, write_dossier
from carrara.data.dossier.remarks import Fitness, Remark, fitness, remarks

__all__ = ["DOSSIER_JSON", "DOSSIER_PAGE", "Dossier", "Fitness", "Remark", "fitness", "remarks", "write_dossier"]
