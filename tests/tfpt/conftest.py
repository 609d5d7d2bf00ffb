"""Makes `tiny_bert` importable, as it is for the scripts beside it, which tests run."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
