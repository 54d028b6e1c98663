"""Supervised learning: from labelled volumes to a frozen model, with the proof that it learned.

Volumes pass through one at a time; what stays of each is a drawn sample.
"""

from __future__ import annotations

from gpu_nx47.train.learn import train

__all__ = ["train"]
