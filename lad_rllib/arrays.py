"""Types of arrays that compiled functions take, written as annotations; nothing here loads a compiler."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Layout(NamedTuple):
    """What a compiler needs to know of an array: the type of its numbers or records, and its number of axes."""

    dtype: str | np.dtype[Any]
    axes: int


Array = NDArray[Any]
"""An array of a type that the compiler finds out; the following are those of kernels' arguments, contiguous."""
Vector = Annotated[NDArray[np.float32], Layout("float32", 1)]
Matrix = Annotated[NDArray[np.float32], Layout("float32", 2)]
Batch = Annotated[NDArray[np.float32], Layout("float32", 3)]
Batches = Annotated[NDArray[np.float32], Layout("float32", 4)]
Doubles = Annotated[NDArray[np.float64], Layout("float64", 1)]
DoubleMatrix = Annotated[NDArray[np.float64], Layout("float64", 2)]
Integers = Annotated[NDArray[np.int64], Layout("int64", 1)]
IntegerMatrix = Annotated[NDArray[np.int64], Layout("int64", 2)]
IntegerBatch = Annotated[NDArray[np.int64], Layout("int64", 3)]
Flags = Annotated[NDArray[np.bool_], Layout("bool", 1)]
