"""Tests are no package (import-mode=importlib): what they share is found by folder."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "fuzz"))  # its corpus of writers
sys.path.insert(0, str(Path(__file__).parent))
