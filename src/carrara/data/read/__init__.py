"""Reading rows: whatever people have, as examples or as rows that say why they are none."""

from carrara.data.read.bad import BadRow
from carrara.data.read.source import Source, open_source, read_rows
from carrara.data.read.streams import SourceFile

__all__ = ["BadRow", "Source", "SourceFile", "open_source", "read_rows"]
