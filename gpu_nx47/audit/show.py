"""Events of a record as lines of text, for a reader and for old programs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from gpu_nx47.journal.encoding import compact
from gpu_nx47.journal.views import flat_entry

if TYPE_CHECKING:
    from gpu_nx47.journal import Stamped

LONGEST_VALUE: Final = 64
"""Characters of a value that a line shows; the record has the rest."""


def text_line(stamped: Stamped) -> str:
    """Return number, time (UTC), event and the data on one line, long values cut."""
    when = datetime.fromtimestamp(stamped.ts_ns // 1_000_000 / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    data = " ".join(f"{key}={_short(value)}" for key, value in stamped.event.data.items())
    return f"{stamped.seq:>6}  {when}  {stamped.event.name:<20}  {data}".rstrip()


def v122_line(stamped: Stamped) -> str:
    """Return the event as V122 wrote it: flat JSON with ts_ns and event."""
    return compact(flat_entry(stamped)).decode("ascii")


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else compact(value).decode("ascii")
    text = text.encode("ascii", "backslashreplace").decode("ascii").replace("\n", "\\n")
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."
