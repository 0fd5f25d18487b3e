"""The triangles of a mel filter bank, whatever its scale, and the energies inside them."""

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


def energies(filters: np.ndarray, power: np.ndarray) -> np.ndarray:
    """The energy in each filter, float64 ``(filters, frames)``.

    ``filters`` are float64 ``(filters, frequencies)``, and ``power`` ``(frames, frequencies)``. Only the frequencies
    inside a filter are summed up, and not by the BLAS: its threads would stay busy for a while after each product, and
    take the cores from the engine that comes next.
    """
    found = np.zeros((len(filters), len(power)))
    for number, weights in enumerate(filters):
        inside = np.flatnonzero(weights)
        if len(inside):
            part = slice(inside[0], inside[-1] + 1)
            found[number] = np.einsum("tf,f->t", power[:, part], weights[part])
    return found
