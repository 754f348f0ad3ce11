"""Array types that all modules share."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


Pixels = NDArray[np.uint8]
