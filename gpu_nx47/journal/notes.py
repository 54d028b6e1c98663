"""Checkpoints as text: C2SP signed notes over the size and root of a record's tree. Pure functions, no cryptography.

A note, with one signature::

    gpu-nx47/0f3c5a9e12d47b60
    1042
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

    — gpu-nx47/0f3c5a9e12d47b60 OkN1Ydh0v1Hc...

Origin, number of lines, root (base64), an empty line, then a signature a line: em dash, key name, base64 of the key's
4-byte id and the signature of the text up to and with the newline before the empty line.

References
----------
c2sp.org/signed-note, c2sp.org/tlog-checkpoint (both version 1).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

ED25519: Final = b"\x01"
"""The signature type of a plain Ed25519 key."""
DASH: Final = "— "
LONGEST_NOTE: Final = 65_536
"""Bytes; ours take some 300. What is longer was not written by a run."""
_NAME: Final = re.compile(r"[^\s+]+")
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")


class NoteError(ValueError):
    """A text is no signed note, no checkpoint, or no key."""


@dataclass(frozen=True)
class Signature:
    """One signature line of a note."""

    name: str
    """Of the key."""
    key_id: bytes
    """4 bytes that tell which key of that name."""
    value: bytes
    """What the key made of the text."""

    def line(self) -> str:
        """Return the line, with its newline."""
        return f"{DASH}{self.name} {_base64(self.key_id + self.value)}\n"


@dataclass(frozen=True)
class VerifierKey:
    """The public half of an Ed25519 key, with the name it signs under."""

    name: str
    public: bytes
    """32 bytes."""

    @property
    def key_id(self) -> bytes:
        """First 4 bytes of SHA-256(name, newline, type, public key)."""
        return hashlib.sha256(self.name.encode() + b"\n" + ED25519 + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{_base64(ED25519 + self.public)}"

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Return the key that `name+id+base64` names; NoteError where it does not agree with itself."""
        parts = text.strip().split("+", 2)
        if len(parts) != 3 or not _NAME.fullmatch(parts[0]):
            raise NoteError(f"expected a key as name+id+base64, got {text.strip()!r}")
        data = _bytes(parts[2])
        key = cls(parts[0], data[1:])
        if data[:1] != ED25519 or len(data) != 33:
            raise NoteError("expected an Ed25519 key (type 1, 32 bytes)")
        if key.key_id.hex() != parts[1]:
            raise NoteError(f"the key's id is {key.key_id.hex()}, but the text says {parts[1]}")
        return key


@dataclass(frozen=True)
class Checkpoint:
    """A signed statement: the first `size` lines of the record `origin` have the root `root`."""

    origin: str
    size: int
    root: bytes
    """32 bytes."""
    signatures: tuple[Signature, ...] = ()

    def text(self) -> str:
        """Return what is signed."""
        return f"{self.origin}\n{self.size}\n{_base64(self.root)}\n"

    def note(self) -> str:
        """Return the whole signed note."""
        return self.text() + "\n" + "".join(signature.line() for signature in self.signatures)

    @classmethod
    def parse(cls, note: str, *, bare: bool = False) -> Checkpoint:
        """Return the checkpoint that a signed note holds; `bare`: also one without signatures.

        Raises
        ------
        NoteError
            The note is not written exactly as `note()` writes it, so no byte of it is without meaning.
        """
        text, empty, signed = note.partition("\n\n")
        lines = text.split("\n")
        if not empty or len(lines) != 3 or not _SIZE.fullmatch(lines[1]):
            raise NoteError("expected origin, size and root, an empty line, then signatures")
        if not _NAME.fullmatch(lines[0]):
            raise NoteError(f"expected an origin without spaces, got {lines[0]!r}")
        root = _bytes(lines[2])
        if len(root) != 32:
            raise NoteError(f"expected a root of 32 bytes, got {len(root)}")
        found = cls(lines[0], int(lines[1]), root, tuple(map(_signature, signed.split("\n")[:-1])))
        if not (found.signatures or bare) or found.note() != note:
            raise NoteError("expected one signature a line, and nothing else")
        return found


def read_held(text: str) -> Checkpoint:
    """Return a checkpoint that somebody kept, as he copied it: spaces around lines, and lost signatures, do no harm.

    Raises
    ------
    NoteError
        It holds no origin, size and root.
    """
    lines = [line.strip() for line in text.strip().splitlines()]
    if len(lines) < 3:
        raise NoteError("expected origin, size and root, a line each")
    signatures = [line for line in lines[3:] if line.startswith(DASH)]
    return Checkpoint.parse(
        f"{lines[0]}\n{lines[1]}\n{lines[2]}\n\n" + "".join(f"{s}\n" for s in signatures), bare=True
    )


def _signature(line: str) -> Signature:
    parts = line.removeprefix(DASH).split(" ")
    if not line.startswith(DASH) or len(parts) != 2 or not _NAME.fullmatch(parts[0]):
        raise NoteError("expected a signature as em dash, name, base64")
    data = _bytes(parts[1])
    if len(data) < 5:
        raise NoteError("expected a key id and a signature")
    return Signature(parts[0], data[:4], data[4:])


def split_notes(stream: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    """Yield the raw bytes of each note of a file of notes one after the other, and whether it is whole.

    A note ends where a line behind signatures is no signature. Only the last can be torn: one without a signature, or
    without its last newline. Longer ones than `LONGEST_NOTE` are cut there, and are not whole.
    """
    note, signed = b"", False
    dash = DASH.encode()
    while line := stream.readline(LONGEST_NOTE):
        if signed and not line.startswith(dash):
            yield note, True
            note, signed = b"", False
        note += line
        signed = signed or line.startswith(dash)
        if len(note) > LONGEST_NOTE:
            break
    if note:
        yield note, signed and note.endswith(b"\n") and len(note) <= LONGEST_NOTE


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoteError(f"expected base64, got {text[:60]!r}") from error
