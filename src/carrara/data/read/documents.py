"""Plain text and Markdown, cut into passages where their authors paused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BufferedReader

from carrara.data.read.bad import Broken
from carrara.data.read.jsons import Record
from carrara.data.read.text import text_lines

PASSAGE = 4000  # characters at most
_SHORT = 1000  # a heading begins a new passage unless the one before it is shorter
_HEADING = re.compile(r" {0,3}#{1,6}\s")
_FENCE = re.compile(r" {0,3}(```|~~~)")
_PAUSES = ("\n", ". ", " ")


def read_passages(stream: BufferedReader, codec: str, is_markdown: bool) -> Iterator[Record]:
    """Passages of at most 4,000 characters, numbered; a line that is no text is a row by itself.

    The cuts are at blank lines, in Markdown at headings where that makes no crumbs and never within a block of code
    that fits; a paragraph that is too long is cut at a line, a sentence or a word.
    """
    number = 0
    passage = ""
    for block in _paragraphs(stream, codec, is_markdown):
        is_break = isinstance(block, Broken) or len(passage) + len(block) > PASSAGE
        is_break = is_break or (is_markdown and len(passage) >= _SHORT and bool(_HEADING.match(str(block))))
        if is_break and passage.strip():
            number += 1
            yield number, {"text": passage.strip("\r\n")}, None
        if isinstance(block, Broken):
            number += 1
            yield number, block, None
        passage = "" if isinstance(block, Broken) else block if is_break else passage + block
    if passage.strip():
        yield number + 1, {"text": passage.strip("\r\n")}, None


def _paragraphs(stream: BufferedReader, codec: str, is_markdown: bool) -> Iterator[str | Broken]:
    """Paragraphs with the blank lines after them, none longer than a passage."""
    block = ""
    is_over = is_fenced = False
    for _, line in text_lines(stream, codec):
        if isinstance(line, Broken):
            if block:
                yield block
            block, is_over = "", False
            yield line
            continue
        line = line.replace("\r\n", "\n")
        if block and not is_fenced and ((is_over and line.strip()) or (is_markdown and _HEADING.match(line))):
            yield block
            block, is_over = "", False
        if is_markdown and _FENCE.match(line):
            is_fenced = not is_fenced
        block += line
        is_over = not is_fenced and (is_over or not line.strip())
        if len(block) > PASSAGE:
            *pieces, block = _pieces(block)
            yield from pieces
    if block:
        yield block


def _pieces(block: str) -> list[str]:
    """A block that is too long in pieces that are not: each ends at the last pause in its second half, if any."""
    pieces: list[str] = []
    start = 0
    while len(block) - start > PASSAGE:
        ends = (block.rfind(mark, start + PASSAGE // 2, start + PASSAGE) + len(mark) for mark in _PAUSES)
        end = next((end for end in ends if end > start + PASSAGE // 2), start + PASSAGE)
        pieces.append(block[start:end])
        start = end
    return [*pieces, block[start:]]
