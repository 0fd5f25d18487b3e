"""The triangles of a mel filter bank, whatever its scale."""

import numpy as np


def triangles(places: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Weights of the frequencies in each filter, float64 ``(filters, frequencies)``.

    A filter begins at one of ``edges`` ``(filters + 2,)``, has the weight 1 at the next, and ends at the one after.
    ``places`` ``(frequencies,)`` are in the unit of the edges, in which the sides of the triangles are straight.
    """
    widths = np.diff(edges)[:, None]
    rising = (places - edges[:-2, None]) / widths[:-1]
    falling = (edges[2:, None] - places) / widths[1:]
    weights: np.ndarray = np.maximum(0, np.minimum(rising, falling))
    return weights
