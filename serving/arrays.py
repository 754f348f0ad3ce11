"""The types of arrays that pass between the parts."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


Pixels = NDArray[np.uint8]
