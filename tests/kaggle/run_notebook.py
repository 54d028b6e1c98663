"""Execute the code cells of a notebook in order, in this process, as a kernel without IPython would."""

import json
import sys
from pathlib import Path

space = {"__name__": "__main__"}
for number, cell in enumerate(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["cells"]):
    if cell["cell_type"] == "code":
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), space)
