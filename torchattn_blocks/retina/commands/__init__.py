"""The commands of ``python -m torchattn_blocks.retina``: a file and a dataclass for each."""

from collections.abc import Callable

from .calibrate import Calibrate
from .compare import Compare
from .evaluate import Evaluate
from .measure import Measure
from .segment import Segment
from .study import Study
from .synthesize import Synthesize
from .train import Train

COMMANDS: dict[str, Callable[..., Callable[[], None]]] = {
    "segment": Segment,
    "measure": Measure,
    "evaluate": Evaluate,
    "compare": Compare,
    "train": Train,
    "calibrate": Calibrate,
    "study": Study,
    "synthesize": Synthesize,
}
