"""What an operation of a trace is on a machine: which unit runs it, in which tiles, and what it moves and does.

`mpgemm` runs on the array if that supports the formats, else on the vector unit; `gemm` and `attention` run on the
vector unit as matrix products; everything else streams through it, `_VECTOR_OPERATIONS` an output element. Rescaling
of accumulators (one operation an output) follows the array on the vector unit and is assumed to be hidden behind it.
Tensors that fit half the activation scratchpad stay on chip between operations, each judged by itself; weights come
from DRAM, the KV cache goes there and comes back. Gains of norms, biases and position tables are not counted.
"""

from __future__ import annotations

from dataclasses import dataclass

from isa import Format, InputError, format_named
from sim.timing.activity import Activity
from sim.timing.machine import Machine
from sim.timing.mapping import ACCUMULATOR_BYTES, map_matrix, map_stream, stays_on_chip
from sim.timing.tiles import Tiles
from sim.timing.tiling import ArrayJob, MatrixProduct, Tiling
from sim.timing.units import ArrayUnit, PassCycles
from workloads.operations import MATRIX_KINDS, Operation
from workloads.trace import Trace

__all__ = ["TracedOperation", "Work", "work_of"]

# Operations for each output element, one a lane and cycle. norm: square and sum, scale, gain; quantize: maximum,
# scale, round; rope: two products, one sum; softmax: maximum, subtract and exponent, sum, divide; elementwise:
# rectify, square, gate; residual: one sum.
_VECTOR_OPERATIONS = {
    "embedding": 0,
    "norm": 3,
    "quantize": 3,
    "rope": 3,
    "cache": 0,
    "softmax": 4,
    "elementwise": 3,
    "residual": 1,
}
_RESCALE_OPERATIONS = 1


@dataclass(frozen=True)
class TracedOperation(Operation):
    """An operation with the place of its tokens in the recorded activations (-1 in a shape-only trace)."""

    first_row: int


@dataclass(frozen=True)
class Work:
    """An operation on a machine.

    Parameters
    ----------
    unit : ArrayUnit
        What computes it.
    stage : str
        The part of the unit that its compute cycles are spent in (a value of `BOUNDS`).
    tiles : Tiles
    useful_lane_cycles : int
        Lane-cycles of the array (not of the vector unit) that did useful work.
    activity : Activity
    """

    unit: ArrayUnit
    stage: str
    tiles: Tiles
    useful_lane_cycles: int
    activity: Activity


def work_of(machine: Machine, trace: Trace, operation: TracedOperation) -> Work:
    """The work of one operation; `InputError` if no unit supports its formats or no tile fits the scratchpads."""
    if operation.kind in MATRIX_KINDS:
        return _matrix_work(machine, trace, operation)
    return _stream_work(machine, operation)


def _stream_work(machine: Machine, operation: TracedOperation) -> Work:
    unit, activity = machine.vector, Activity()
    elements = operation.batch * operation.m
    output_bytes = elements * operation.n * _bits(operation.output_format) // 8
    input_bytes = elements * operation.k * _bits(operation.input_format) // 8
    if operation.kind == "embedding":
        input_bytes = output_bytes
    # A sum or a gate reads two tensors of its output's size, the cache's update keys and values: each is on chip or
    # not.
    tensors = 2 if operation.kind == "cache" else max(1, operation.k // operation.n)
    inputs_on_chip = operation.kind != "embedding" and stays_on_chip(machine, input_bytes // tensors)
    outputs_on_chip = operation.kind != "cache" and stays_on_chip(machine, output_bytes)
    count = elements * operation.n * _operations_an_output(operation)
    cycles = -(-count // unit.n)
    loads = 0 if inputs_on_chip else input_bytes
    stores = 0 if outputs_on_chip else output_bytes
    activity.move("dram", "activation_buffer", loads)
    activity.read("activation_buffer", input_bytes)
    if operation.kind != "cache":
        activity.write("activation_buffer", output_bytes)
    if outputs_on_chip or operation.kind == "cache":
        activity.write("dram", stores)
    else:
        activity.move("activation_buffer", "dram", stores)
    activity.count(unit.actions(cycles, 0, format_named(operation.output_format)))
    return Work(unit, "vector", map_stream(machine, loads, cycles, stores), 0, activity)


def _matrix_work(machine: Machine, trace: Trace, operation: TracedOperation) -> Work:
    weights, activations = format_named(operation.weight_format), format_named(operation.input_format)
    unit: ArrayUnit = machine.vector
    if operation.kind == "mpgemm" and machine.compute.supports(activations, weights):
        unit = machine.compute
    elif not unit.supports(activations, weights):
        expected = "formats that the machine's array or vector unit supports"
        raise InputError(f"machine {machine.name}", operation.name, f"{activations.name} x {weights.name}", expected)
    product = _product(machine, unit, operation, activations, weights)
    pass_cycles, useful = _value_dependence(unit, trace, operation, activations, weights)
    job = ArrayJob(unit, product, weights, pass_cycles)
    tiling = map_matrix(machine, job)
    activity = _matrix_activity(unit, product, tiling)
    activity.count(unit.actions(product.copies * job.busy_cycles, product.copies * job.passes, weights))
    if unit is machine.compute:
        rescales = product.copies * product.m * product.n * _RESCALE_OPERATIONS
        activity.count({"vector_unit.operation": rescales})
    lane_cycles = useful if unit is machine.compute else 0
    return Work(unit, unit.limiting_stage(weights), tiling.tiles, lane_cycles, activity)


def _operations_an_output(operation: Operation) -> int:
    if operation.kind == "hadamard":
        # One sum a butterfly level of the largest power of two in the width, and the scaling.
        return (operation.n & -operation.n).bit_length()
    return _VECTOR_OPERATIONS[operation.kind]


def _product(
    machine: Machine, unit: ArrayUnit, operation: TracedOperation, activations: Format, weights: Format
) -> MatrixProduct:
    output_bits = _bits(operation.output_format)
    inputs = operation.batch * operation.m * operation.k * activations.bits // 8
    outputs = operation.batch * operation.m * operation.n * output_bits // 8
    return MatrixProduct(
        m=operation.m,
        k=operation.k,
        n=operation.n,
        copies=operation.batch,
        input_bits=activations.bits,
        weight_bits=unit.stored_weight_bits(weights),
        output_bits=output_bits,
        input_on_chip=stays_on_chip(machine, inputs),
        output_on_chip=stays_on_chip(machine, outputs),
    )


def _value_dependence(
    unit: ArrayUnit, trace: Trace, operation: TracedOperation, activations: Format, weights: Format
) -> tuple[PassCycles | None, int]:
    """Cycles of every pass from recorded operands (None: dense), and useful lane-cycles."""
    macs = operation.batch * operation.m * operation.k * operation.n
    if trace.operands is None or unit.serial_operand == "none":
        return None, unit.lane_cycles(macs, weights)
    if unit.serial_operand == "weights":
        cycles, terms = unit.operand_cycles(trace.weight_codes(operation.layer, operation.name), weights)
        return cycles, terms * operation.m
    codes = trace.activation_codes(operation.layer, operation.name, operation.first_row, operation.m)
    cycles, terms = unit.operand_cycles(codes, activations)
    return cycles, terms * operation.n


def _matrix_activity(unit: ArrayUnit, product: MatrixProduct, tiling: Tiling) -> Activity:
    """Traffic of all copies: weights are read again for every row block, activations for every column block; partial
    sums leave the array between tiles of the inputs, and the finished ones once more on their way out."""
    activity = Activity()
    row_blocks, column_blocks = -(-product.m // unit.m), -(-product.n // unit.n)
    input_bytes = product.copies * product.m * product.k * product.input_bits // 8
    weight_bytes = -(-product.copies * product.k * product.n * product.weight_bits // 8)
    output_bytes = product.copies * product.m * product.n * product.output_bits // 8
    sums_bytes = product.copies * product.m * product.n * ACCUMULATOR_BYTES
    activity.move("dram", "weight_buffer", tiling.weight_load_bytes)
    activity.move("dram", "activation_buffer", tiling.input_load_bytes)
    activity.read("weight_buffer", weight_bytes * row_blocks)
    activity.read("activation_buffer", input_bytes * column_blocks)
    activity.write("output_buffer", sums_bytes * tiling.input_tiles)
    activity.read("output_buffer", sums_bytes * tiling.input_tiles)
    if product.output_on_chip:
        activity.write("activation_buffer", output_bytes)
    else:
        activity.write("dram", output_bytes)
    return activity


def _bits(format_name: str) -> int:
    return format_named(format_name).bits
