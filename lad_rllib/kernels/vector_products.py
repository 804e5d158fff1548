"""Small matrix products of compiled kernels, whose sums stay in registers, a tile at a time.

Compilers do not keep tiles of such products in registers by themselves, and libraries of matrix products are made for
larger ones; hence the instructions are written out here, for any processor (LLVM splits vectors that are too long).

A matrix of samples has a column for each sample. If it is contiguous (layout "C"), vectors lie along the samples; else
it is the transposed view of rows in memory, for a sample or two, and vectors lie along the features. The last tile may
reach beyond the result by a tile less one row or vector; callers leave room.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
ROWS = 4
SAMPLES = 2 * LANES
FEATURES = 4 * LANES
"""Features in a tile where vectors lie along them."""

_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)


class _Matrix:
    """A float32 matrix, seen by the code generator."""

    def __init__(self, context: Any, builder: Any, kind: Any, value: Any) -> None:
        array = context.make_array(kind)(context, builder, value)
        self._builder, self._start = builder, array.data
        self._strides = cgutils.unpack_tuple(builder, array.strides)
        self.shape = cgutils.unpack_tuple(builder, array.shape)

    @property
    def transposed(self) -> Self:
        """A view with rows for columns."""
        other = copy.copy(self)
        other._strides, other.shape = self._strides[::-1], self.shape[::-1]
        return other

    def pointer(self, row: Any, column: Any) -> Any:
        """Address of an element."""
        offsets = (self._builder.mul(*pair) for pair in zip((row, column), self._strides, strict=True))
        return cgutils.pointer_add(self._builder, self._start, self._builder.add(*offsets))

    def vector(self, row: Any, column: Any) -> Any:
        """Address of the vector that begins at an element; rows must be contiguous."""
        start = cgutils.pointer_add(self._builder, self._start, self._builder.mul(row, self._strides[0]))
        element = self._builder.gep(start, [column], inbounds=True)
        return self._builder.bitcast(element, _VECTOR.as_pointer())


def _matrices(context: Any, builder: Any, signature: Any, arguments: Any) -> list[_Matrix]:
    return [_Matrix(context, builder, *pair) for pair in zip(signature.args, arguments, strict=True)]


@contextmanager
def _tiles(builder: Any, size: Any, step: int, within: int = 1) -> Iterator[list[Any]]:
    """A loop over an axis in tiles of ``step``; yields the indices of a tile, those that are ``within`` apart."""
    zero, by = ir.Constant(size.type, 0), ir.Constant(size.type, step)
    with cgutils.for_range_slice(builder, zero, size, by) as (first, _):
        yield [builder.add(first, ir.Constant(size.type, offset)) for offset in range(0, step, within)]


def _broadcast(builder: Any, value: Any) -> Any:
    first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(first, ir.Constant(_VECTOR, ir.Undefined), zeros)


def _multiply_add(builder: Any, accumulator: Any, a: Any, b: Any) -> None:
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32")
    builder.store(builder.call(function, [a, b, builder.load(accumulator)]), accumulator)


def _product(relu: bool, onto: bool) -> Callable[..., None]:
    """``out = weight @ x``; ``onto`` adds ``start``; ``relu`` cuts below 0."""

    @intrinsic
    def product(typingctx: Any, out: Any, start: Any, weight: Any, x: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            to, begin, left, right = _matrices(context, builder, signature, arguments)
            inner, tile = left.shape[1], (ROWS, SAMPLES)
            if signature.args[3].layout != "C":
                to, begin, left, right = to.transposed, begin.transposed, right.transposed, left.transposed
                tile = (1, FEATURES)
            zero = ir.Constant(_VECTOR, [0.0] * LANES)
            with (
                _tiles(builder, right.shape[1], tile[1], LANES) as columns,
                _tiles(builder, left.shape[0], tile[0]) as rows,
            ):
                places = [(row, column) for row in rows for column in columns]
                sums = [cgutils.alloca_once(builder, _VECTOR) for _ in places]
                for accumulator, place in zip(sums, places, strict=True):
                    builder.store(builder.load(begin.vector(*place), align=4) if onto else zero, accumulator)
                with cgutils.for_range(builder, inner) as loop:
                    values = [builder.load(right.vector(loop.index, column), align=4) for column in columns]
                    for r, row in enumerate(rows):
                        factor = _broadcast(builder, builder.load(left.pointer(row, loop.index)))
                        for c, value in enumerate(values):
                            _multiply_add(builder, sums[r * len(columns) + c], factor, value)
                for accumulator, place in zip(sums, places, strict=True):
                    value = builder.load(accumulator)
                    if relu:
                        value = builder.select(builder.fcmp_ordered(">", value, zero), value, zero)
                    builder.store(value, to.vector(*place), align=4)
            return context.get_dummy_value()

        return types.void(out, start, weight, x), generate

    return product


product = _product(relu=False, onto=False)
product_onto = _product(relu=False, onto=True)
relu_product = _product(relu=True, onto=False)
relu_product_onto = _product(relu=True, onto=True)


@intrinsic
def add_sum_over_samples(typingctx: Any, out: Any, left: Any, right: Any) -> Any:
    """``out += left @ right.T``: products summed over all samples, which are a multiple of LANES."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        to, a, b = _matrices(context, builder, signature, arguments)
        with _tiles(builder, a.shape[0], ROWS) as rows, _tiles(builder, b.shape[0], ROWS) as columns:
            sums = [cgutils.alloca_once(builder, _VECTOR) for _ in range(ROWS * ROWS)]
            for accumulator in sums:
                builder.store(ir.Constant(_VECTOR, [0.0] * LANES), accumulator)
            with _tiles(builder, a.shape[1], LANES, LANES) as (sample,):
                factors = [builder.load(b.vector(column, sample), align=4) for column in columns]
                for r, row in enumerate(rows):
                    value = builder.load(a.vector(row, sample), align=4)
                    for c, factor in enumerate(factors):
                        _multiply_add(builder, sums[r * ROWS + c], value, factor)
            totals = _totals(builder, [builder.load(accumulator) for accumulator in sums])
            for k in range(ROWS * ROWS):
                place = to.pointer(rows[k // ROWS], columns[k % ROWS])
                total = builder.extract_element(totals, ir.Constant(ir.IntType(32), k))
                builder.store(builder.fadd(builder.load(place), total), place)
        return context.get_dummy_value()

    return types.void(out, left, right), generate


def _totals(builder: Any, vectors: list[Any]) -> Any:
    """One vector of the sums over each of LANES vectors' elements: neighbours are added until one is left."""

    def half(first: Any, second: Any, odd: int) -> Any:
        order = [2 * k + odd for k in range(LANES)]
        mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), order)
        return builder.shuffle_vector(first, second, mask)

    while len(vectors) > 1:
        pairs = list(zip(vectors[::2], vectors[1::2], strict=True))
        vectors = [builder.fadd(half(a, b, 0), half(a, b, 1)) for a, b in pairs]
    return vectors[0]
