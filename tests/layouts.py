"""Any layout of a tensor: a chain of views of another one."""

from typing import Any

from hypothesis import strategies as st
from torch import Tensor

# Views, one of the other, each as (kind, axis or axes, number).
Layout = tuple[tuple[str, Any, int], ...]


def below(shape: list[int], kind: str, axis: Any, number: int) -> list[int]:
    """Shape of the tensor of which a view has the given shape."""
    if kind == "permute":
        return [shape[axis.index(i)] for i in range(len(shape))]
    if kind == "select":
        return [*shape[:axis], 2, *shape[axis:]]
    size = shape[axis]
    wider = {"step": number * size, "narrow": size + number + 1, "expand": min(size, 1)}
    return [*shape[:axis], wider.get(kind, size), *shape[axis + 1 :]]


def view(tensor: Tensor, shape: list[int], kind: str, axis: Any, number: int) -> Tensor:
    """The view of the given shape."""
    if kind == "permute":
        return tensor.permute(axis)
    if kind == "select":
        return tensor.select(axis, number)
    if kind == "step":
        return tensor.unflatten(axis, (shape[axis], number)).select(axis + 1, number - 1)
    if kind == "narrow":
        return tensor.narrow(axis, number, shape[axis])
    return tensor.expand(shape)


class Arrangement:
    """A tensor of some shape as a chain of views of another one."""

    def __init__(self, shape: tuple[int, ...], layout: Layout):
        self.views = []
        for step in reversed(layout):
            self.views.append((list(shape), *step))
            shape = below(list(shape), *step)
        self.views.reverse()
        self.base_shape = tuple(shape)

    def __call__(self, base: Tensor) -> Tensor:
        for step in self.views:
            base = view(base, *step)
        return base


def views(dims: int) -> st.SearchStrategy:
    """A view of so many axes."""
    axis = st.integers(0, dims - 1)
    return st.one_of(
        st.tuples(st.just("permute"), st.permutations(range(dims)).map(tuple), st.just(0)),
        st.tuples(st.just("step"), axis, st.integers(2, 3)),
        st.tuples(st.just("narrow"), axis, st.integers(0, 3)),
        st.tuples(st.just("select"), st.integers(0, dims), st.integers(0, 1)),
        st.tuples(st.just("expand"), axis, st.just(0)),
    )


@st.composite
def layouts(draw, dims: int) -> Layout:
    """Every other time axes in another order alone, as most layouts come about."""
    if draw(st.booleans()):
        return (("permute", tuple(draw(st.permutations(range(dims)))), 0),)
    steps: Layout = ()
    for _ in range(draw(st.integers(0, 4))):
        steps = (draw(views(dims)), *steps)
        dims += steps[0][0] == "select"
    return steps
