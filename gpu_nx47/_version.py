"""The version, in one place: the wheel, BOOT and `nx47 --version` read it here."""

__version__ = "0.1.0"
