"""What a terminal would show."""

from __future__ import annotations

import re


def drawn(output: str) -> list[str]:
    """The rows that a terminal shows for this output, with nothing scrolled away."""
    rows, row, column = [""], 0, 0
    for match in re.finditer(r"\x1b\[\??(\d*)([A-Za-z])|(.)", output, re.DOTALL):
        count, command, char = match[1], match[2], match[3]
        if command == "A":
            row -= int(count or 1)
        elif command == "G":
            column = int(count or 1) - 1
        elif char == "\r":
            column = 0
        elif char == "\n":
            row += 1
        elif char:
            line = rows[row].ljust(column)
            rows[row] = line[:column] + char + line[column + 1 :]
            column += 1
        rows += [""] * (row + 1 - len(rows))
    return rows
