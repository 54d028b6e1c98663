"""Signed checkpoints of the record: what makes a later change of it visible to whoever kept one."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gpu_nx47.errors import OutputError
from gpu_nx47.journal import keys
from gpu_nx47.journal.files import LineFile
from gpu_nx47.journal.notes import Checkpoint, NoteError, VerifierKey, split_notes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gpu_nx47.journal.dispatch import Stamped
    from gpu_nx47.journal.record import Record
    from gpu_nx47.journal.recovery import Earlier

CHECKPOINT_NAME: Final = "v122_ultra_authentic_360_merkle.checkpoint"
EVERY_LINES: Final = 256
EVERY_NS: Final = 1_000_000_000
AT_ONCE: Final = frozenset({"BOOT", "RECOVERED", "FILE_DONE", "FILE_FAILED", "GLOBAL_STATS", "EXEC_COMPLETE"})
"""Events that are signed as soon as they are written."""


@dataclass(frozen=True)
class Signing:
    """Who signs a record, and under what name."""

    origin: str
    """Name of the record, drawn for it: the first line of each of its checkpoints."""
    signers: tuple[keys.Signer, ...]
    """The run's own key, then the user's, if any; empty: nobody can sign here."""

    @property
    def public(self) -> dict[str, str | None]:
        """Return what BOOT, or RECOVERED, says of it: verifier keys as C2SP writes them, None where there is none."""
        own, identity = (*(str(signer.key) for signer in self.signers), None, None)[:2]
        return {"origin": self.origin, "public_key": own, "identity_key": identity}


def begin(identity: Path | None, origin: str | None = None) -> Signing:
    """Make the run's own key, and read the user's.

    Parameters
    ----------
    identity : Path or None
        PEM file of an Ed25519 key that signs too.
    origin : str, optional
        Of the record that is gone on with; by default a new one.

    Raises
    ------
    UsageError
        The identity key cannot be used.
    """
    origin = origin or f"gpu-nx47/{secrets.token_hex(8)}"
    named = () if identity is None else (keys.from_file(identity),)
    own = keys.ephemeral(origin)
    return Signing(origin, () if own is None else (own, *named))


class Checkpoints:
    """Observer that signs the record at each file's end, each 256 lines or second, and at the run's end.

    Parameters
    ----------
    path : Path
        The file of notes.
    record : Record
        It must have been told the event before.
    signing : Signing
        Somebody who can sign.
    tell : sequence of callable
        Told each note, as text, as soon as it is on the disk.
    size : int
        Bytes of notes of an earlier process to go on behind.

    Notes
    -----
    A note is signed when the lines under it are on the disk, so no crash can leave a note without its lines.
    """

    def __init__(
        self, path: Path, record: Record, signing: Signing, tell: Sequence[Callable[[str], None]] = (), size: int = 0
    ) -> None:
        self._file = LineFile(path, size)
        self._record = record
        self._signing = signing
        self._tell = tuple(tell)
        self._signed = record.size
        self._signed_ns: int | None = None

    def __call__(self, stamped: Stamped) -> None:
        """Sign where it is time."""
        if self._signed_ns is None:
            self._signed_ns = stamped.mono_ns
        many = self._record.size - self._signed >= EVERY_LINES
        if many or stamped.mono_ns - self._signed_ns >= EVERY_NS or stamped.event.name in AT_ONCE:
            self._sign()
            self._signed_ns = stamped.mono_ns

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _sign(self) -> None:
        self._record.sync()
        bare = Checkpoint(self._signing.origin, self._record.size, self._record.root())
        text = bare.text()
        signatures = tuple(signer.sign(text) for signer in self._signing.signers)
        note = Checkpoint(bare.origin, bare.size, bare.root, signatures).note()
        self._file.append(note.removesuffix("\n").encode())
        self._file.sync()
        self._signed = bare.size
        for told in self._tell:
            told(note)


def verified_size(path: Path, earlier: Earlier, root_at: Callable[[int], bytes]) -> int:
    """Return the bytes of the whole notes of an unfinished record, when its last one holds; a torn note is put aside.

    Parameters
    ----------
    path : Path
        The file of notes; none, or an empty one, is good too.
    earlier : Earlier
        The record.
    root_at : callable
        Gives the root over its first lines.

    Raises
    ------
    OutputError
        The last note does not agree with the record, so going on would sign what was changed.
    OSError
        The file cannot be read or written.
    """
    if not path.exists():
        return 0
    last, size, torn = b"", 0, b""
    with path.open("r+b") as stream:
        for raw, whole in split_notes(stream):
            if whole:
                last, size = raw, size + len(raw)
            else:
                stream.seek(size)
                torn = stream.read()
        if torn:
            path.with_name(f"{path.name}.{size}.torn").write_bytes(torn)
            stream.truncate(size)
            os.fsync(stream.fileno())
    if last and (wrong := _disagreement(last, earlier, root_at)):
        advice = "Begin anew with --fresh, or give another folder with --output."
        raise OutputError(f"{path}: {wrong}: the record was changed after it was signed. {advice}")
    return size


def _disagreement(raw: bytes, earlier: Earlier, root_at: Callable[[int], bytes]) -> str | None:
    try:
        note = Checkpoint.parse(raw.decode())
    except (NoteError, UnicodeDecodeError) as error:
        return f"the last checkpoint cannot be read ({error})"
    if note.size > earlier.lines:
        return f"the last checkpoint is of {note.size} lines, the record has {earlier.lines}"
    if root_at(note.size) != note.root:
        return f"the first {note.size} lines of the record have another root than the last checkpoint"
    if keys.can_verify() and not _signed_by_record(note, earlier):
        return "the last checkpoint is not signed by the key that the record names"
    return None


def _signed_by_record(note: Checkpoint, earlier: Earlier) -> bool:
    key: Any = None
    for stamped in earlier.events():
        if stamped.seq >= note.size:
            break
        if stamped.event.name in ("BOOT", "RECOVERED"):
            key = stamped.event.data.get("public_key")
    if not isinstance(key, str):
        return False
    return any(keys.is_signed_by(VerifierKey.parse(key), note.text(), one) for one in note.signatures)
