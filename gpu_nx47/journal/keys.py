"""Ed25519 keys that sign checkpoints. Without the package `cryptography` a run goes on, and its record is unsigned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gpu_nx47.errors import UsageError
from gpu_nx47.journal.notes import Signature, VerifierKey

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

IDENTITY_NAME: Final = "nx47-identity"
"""What a key of --identity-key signs as; its id tells one person's from another's."""


class Signer:
    """A private key and the name it signs under."""

    def __init__(self, name: str, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.key = VerifierKey(name, private.public_key().public_bytes_raw())

    def sign(self, text: str) -> Signature:
        """Return the signature of a text."""
        return Signature(self.key.name, self.key.key_id, self._private.sign(text.encode()))


def ephemeral(name: str) -> Signer | None:
    """Return a new key that lives in memory alone, so that nobody signs with it after the run; None: no library."""
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError:
        return None
    return Signer(name, Ed25519PrivateKey.generate())


def from_file(path: Path) -> Signer:
    """Return the key of a PEM file without a password (``openssl genpkey -algorithm ed25519 -out key.pem``).

    Raises
    ------
    UsageError
        The file cannot be read or holds no such key, or the library is missing.
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError as error:
        raise UsageError(f"{path}: signing needs the package cryptography. pip install cryptography") from error
    advice = "Make one with: openssl genpkey -algorithm ed25519 -out key.pem"
    try:
        private = load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise UsageError(f"{path}: the identity key cannot be read: {error.strerror}. {advice}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UsageError(
            f"{path}: expected an Ed25519 private key in PEM without a password: {error}. {advice}"
        ) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise UsageError(f"{path}: expected an Ed25519 private key, got {type(private).__name__}. {advice}")
    return Signer(IDENTITY_NAME, private)


def can_verify() -> bool:
    """Say whether signatures can be checked here."""
    try:
        import cryptography.hazmat.primitives.asymmetric.ed25519  # noqa: F401
    except ImportError:
        return False
    return True


def is_signed_by(key: VerifierKey, text: str, signature: Signature) -> bool:
    """Say whether `signature` is that of `text` by `key`."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if (signature.name, signature.key_id) != (key.name, key.key_id):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature.value, text.encode())
    except (InvalidSignature, ValueError):
        return False
    return True
