"""What is connected by pairs, however far."""

import numpy as np
from scipy import sparse


def components(pairs: np.ndarray, count: int) -> np.ndarray:
    """The connected component of each of `count` things.

    Args:
        pairs: int (N, 2): two things that belong together, by number, from 0.
        count: U.

    Returns:
        int32 (U,), from 0.
    """
    ones = np.ones(len(pairs), np.int8)
    graph = sparse.coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return sparse.csgraph.connected_components(graph, directed=False)[1].astype(np.int32)
