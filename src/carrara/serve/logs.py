"""A line of JSON for each request, without anything that was said."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from carrara.serve.record import Record


def log_line(record: Record) -> str:
    """The line for a request that is over; times in seconds."""
    first = record.first_token
    return json.dumps(
        {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request": record.request,
            "who": record.who,
            "route": record.route,
            "model": record.named,
            "engine": record.engine,
            "status": record.status,
            "reason": record.reason,
            "prompt_tokens": record.prompt_tokens,
            "completion_tokens": record.completion_tokens,
            "seconds": round(record.seconds, 6),
            "first_token_seconds": None if first is None else round(first, 6),
        }
    )
