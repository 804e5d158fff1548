"""Small matrix products of compiled kernels, in registers: samples lie along the vector, a tile at a time.

Compilers do not keep tiles of such products in registers by themselves, and libraries of matrix products are made for
larger ones; hence the instructions are written out here, for any processor (LLVM splits vectors that are too long).
Rows come in multiples of :data:`ROWS`, samples in multiples of :data:`SAMPLES`; callers pad.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
ROWS = 4
SAMPLES = 2 * LANES

_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)


class _Matrix:
    """A float32 matrix, seen by the code generator."""

    def __init__(self, context: Any, builder: Any, kind: Any, value: Any) -> None:
        array = context.make_array(kind)(context, builder, value)
        self._builder, self._start = builder, array.data
        self._strides = [builder.extract_value(array.strides, axis) for axis in range(2)]
        self.width = builder.extract_value(array.shape, 1)

    def pointer(self, row: Any, column: Any) -> Any:
        """Address of an element."""
        offsets = (self._builder.mul(*pair) for pair in zip((row, column), self._strides, strict=True))
        return cgutils.pointer_add(self._builder, self._start, self._builder.add(*offsets))

    def vector(self, row: Any, column: Any) -> Any:
        """Address of the vector that begins at an element; rows must be contiguous."""
        start = cgutils.pointer_add(self._builder, self._start, self._builder.mul(row, self._strides[0]))
        element = self._builder.gep(start, [column], inbounds=True)
        return self._builder.bitcast(element, _VECTOR.as_pointer())


def _plus(builder: Any, index: Any, offset: int) -> Any:
    return builder.add(index, ir.Constant(index.type, offset))


def _broadcast(builder: Any, value: Any) -> Any:
    first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(first, ir.Constant(_VECTOR, ir.Undefined), zeros)


def _multiply_add(builder: Any, accumulator: Any, a: Any, b: Any) -> None:
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32")
    builder.store(builder.call(function, [a, b, builder.load(accumulator)]), accumulator)


def _accumulators(builder: Any, count: int) -> list[Any]:
    return [cgutils.alloca_once(builder, _VECTOR) for _ in range(count)]


def _product_tile(relu: bool, onto: bool) -> Callable[..., None]:
    """``out = weight @ x`` for a tile of ``out``; ``onto`` adds ``start``; ``relu`` cuts below 0."""

    @intrinsic
    def tile(typingctx: Any, out: Any, start: Any, weight: Any, x: Any, row: Any, column: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            to, begin, w, right = (
                _Matrix(context, builder, kind, value)
                for kind, value in zip(signature.args[:4], arguments[:4], strict=True)
            )
            row, column = arguments[4:]
            rows = [_plus(builder, row, r) for r in range(ROWS)]
            columns = [_plus(builder, column, c) for c in range(0, SAMPLES, LANES)]
            places = [(r, c) for r in rows for c in columns]
            sums = _accumulators(builder, len(places))
            zero = ir.Constant(_VECTOR, [0.0] * LANES)
            for accumulator, place in zip(sums, places, strict=True):
                builder.store(builder.load(begin.vector(*place), align=4) if onto else zero, accumulator)
            with cgutils.for_range(builder, w.width) as loop:
                values = [builder.load(right.vector(loop.index, c), align=4) for c in columns]
                for r, row in enumerate(rows):
                    factor = _broadcast(builder, builder.load(w.pointer(row, loop.index)))
                    for c, value in enumerate(values):
                        _multiply_add(builder, sums[r * len(columns) + c], factor, value)
            for accumulator, place in zip(sums, places, strict=True):
                value = builder.load(accumulator)
                if relu:
                    value = builder.select(builder.fcmp_ordered(">", value, zero), value, zero)
                builder.store(value, to.vector(*place), align=4)
            return context.get_dummy_value()

        return types.void(out, start, weight, x, types.intp, types.intp), generate

    return tile


product_tile = _product_tile(relu=False, onto=False)
product_onto_tile = _product_tile(relu=False, onto=True)
relu_product_tile = _product_tile(relu=True, onto=False)
relu_product_onto_tile = _product_tile(relu=True, onto=True)


@intrinsic
def sum_over_samples_tile(typingctx: Any, out: Any, left: Any, right: Any, row: Any, column: Any) -> Any:
    """Add ``left @ right.T`` to ROWS x ROWS elements of ``out``: products summed over all samples."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        to, a, b = (
            _Matrix(context, builder, kind, value)
            for kind, value in zip(signature.args[:3], arguments[:3], strict=True)
        )
        rows = [_plus(builder, arguments[3], r) for r in range(ROWS)]
        columns = [_plus(builder, arguments[4], c) for c in range(ROWS)]
        sums = _accumulators(builder, ROWS * ROWS)
        for accumulator in sums:
            builder.store(ir.Constant(_VECTOR, [0.0] * LANES), accumulator)
        step = ir.Constant(a.width.type, LANES)
        with cgutils.for_range_slice(builder, ir.Constant(step.type, 0), a.width, step) as (sample, _):
            factors = [builder.load(b.vector(c, sample), align=4) for c in columns]
            for r, row in enumerate(rows):
                value = builder.load(a.vector(row, sample), align=4)
                for c, factor in enumerate(factors):
                    _multiply_add(builder, sums[r * ROWS + c], value, factor)
        totals = _totals(builder, [builder.load(accumulator) for accumulator in sums])
        for r, row in enumerate(rows):
            for c, column in enumerate(columns):
                total = builder.extract_element(totals, ir.Constant(ir.IntType(32), r * ROWS + c))
                place = to.pointer(row, column)
                builder.store(builder.fadd(builder.load(place), total), place)
        return context.get_dummy_value()

    return types.void(out, left, right, types.intp, types.intp), generate


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
