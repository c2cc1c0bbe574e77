"""The assignment problem: which row goes with which column, so that what the pairs are worth is largest in sum."""

from __future__ import annotations

import numpy as np


def assigned(worth: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (row, column) of `worth` [R, C], min(R, C) of them, each row and column once, by row.

    The Hungarian method with shortest augmenting paths (Kuhn 1955; Jonker and Volgenant 1987).
    """
    if 0 in worth.shape:
        return []
    if worth.shape[0] > worth.shape[1]:
        return sorted((row, column) for column, row in assigned(worth.T))
    rows, columns = worth.shape
    cost = worth.max() - worth.astype(float)
    row_price, column_price = np.zeros(rows), np.zeros(columns)
    row_of = np.full(columns, -1)  # the row that a column is taken by
    for row in range(rows):
        shortest = np.full(columns, np.inf)
        before = np.full(columns, -1)  # the column that a path comes from
        seen = np.zeros(columns, bool)
        at, column, length = row, -1, 0.0
        while at >= 0:  # until a free column is reached
            reach = length + cost[at] - row_price[at] - column_price
            better = ~seen & (reach < shortest)
            shortest[better], before[better] = reach[better], column
            column = int(np.argmin(np.where(seen, np.inf, shortest)))
            length, seen[column] = shortest[column], True
            at = row_of[column]
        row_price[row] += length
        done = seen & (row_of >= 0)
        row_price[row_of[done]] += length - shortest[done]
        column_price[seen] -= length - shortest[seen]
        while column >= 0:  # turn the path round
            previous = before[column]
            row_of[column] = row_of[previous] if previous >= 0 else row
            column = previous
    return sorted((int(taken), column) for column, taken in enumerate(row_of) if taken >= 0)
