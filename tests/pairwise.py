"""Fewer rows than all combinations of options, where each takes long."""

from itertools import combinations, product


def pairwise(*axes):
    """Rows of the product in which any two values of two axes meet at least once."""
    rows = {
        row: {*combinations(enumerate(row), 2)} for row in product(*(range(len(a)) for a in axes))
    }
    left = set().union(*rows.values())
    chosen = []
    while left:
        row = max(rows, key=lambda row: len(rows[row] & left))
        left -= rows[row]
        chosen.append(tuple(axis[index] for axis, index in zip(axes, row, strict=True)))
    return chosen
