"""Makes `add_task` importable for the tests of this folder and for the processes that they initialization."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
