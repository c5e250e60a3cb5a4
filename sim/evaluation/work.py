"""What an operation of a trace is on a machine: which unit runs it, as which programs or stream, and what it does.

`mpgemm` runs on the array if that supports the formats, else on the vector unit; `gemm` and `attention` run on the
vector unit as matrix products; everything else streams through it, `_VECTOR_OPERATIONS` an output element. Tensors that
fit half the activation scratchpad stay on chip between operations, each judged by itself and the results of a fused
product as one; weights come from DRAM, the KV cache goes there and comes back. Gains of norms, biases and position
tables are not counted. Of several cores, products use all and streams the first; what stays on chip is taken to be in
the scratchpads of all of them, and no traffic between them is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from isa import Format, InputError, format_named
from sim.evaluation.activity import Activity
from sim.evaluation.operand_cycles import lmma_cycles
from sim.lowering import Lowered, lower, lower_all
from sim.timing.machine import Machine
from sim.timing.nest import Int64
from sim.timing.product import MatrixProduct, Scaling
from sim.timing.streams import PLACES, Stream, map_stream
from sim.timing.units import ArrayUnit, PassCycles
from workloads.operations import MATRIX_KINDS, Operation
from workloads.trace import Trace

__all__ = ["TracedOperation", "Work", "matrix_product", "unit_for", "work_of", "works_of"]

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


@dataclass(frozen=True)
class TracedOperation(Operation):
    """An operation with the place of its tokens in the recorded activations (-1 in a shape-only trace), and how many
    operations of the trace it stands for, their columns side by side."""

    first_row: int
    fused: int = 1


@dataclass(frozen=True, eq=False)
class Work:
    """An operation on a machine.

    Parameters
    ----------
    unit : ArrayUnit
        What computes it.
    body : Lowered or Stream
    lmma_cycles : tuple of int64 arrays, optional
        For every core, the cycles of each `lmma` in order of execution, from real operand values; dense otherwise.
    useful_lane_cycles : int
        Lane-cycles of the array (not of the vector unit) that did useful work.
    activity : Activity
    """

    unit: ArrayUnit
    body: Lowered | Stream
    lmma_cycles: tuple[Int64, ...] | None
    useful_lane_cycles: int
    activity: Activity


def work_of(machine: Machine, operation: TracedOperation, trace: Trace | None = None) -> Work:
    """The work of one operation, with the operand values of a recorded trace where those decide its cycles.

    Raises
    ------
    InputError
        If no unit supports its formats or no tile fits the scratchpads.
    """
    if operation.kind in MATRIX_KINDS:
        return _matrix_work(machine, operation, trace)
    return _stream_work(machine, operation)


def works_of(machine: Machine, operations: Sequence[TracedOperation], trace: Trace | None = None) -> list[Work]:
    """`work_of` each operation; the cuts of all matrix products are searched together, which is much faster."""
    lower_all(machine, [_unit_and_product(machine, item) for item in operations if item.kind in MATRIX_KINDS])
    return [work_of(machine, operation, trace) for operation in operations]


def unit_for(machine: Machine, operation: Operation) -> ArrayUnit:
    """The unit that computes a matrix product; `InputError` if none supports its formats."""
    weights, activations = format_named(operation.weight_format), format_named(operation.input_format)
    if operation.kind == "mpgemm" and machine.compute.supports(activations, weights):
        return machine.compute
    if machine.vector.supports(activations, weights):
        return machine.vector
    expected = "formats that the machine's array or vector unit supports"
    raise InputError(f"machine {machine.name}", operation.name, f"{activations.name} x {weights.name}", expected)


def matrix_product(machine: Machine, unit: ArrayUnit, operation: Operation) -> MatrixProduct:
    """The product that an operation asks of a unit."""
    weights, activations = format_named(operation.weight_format), format_named(operation.input_format)
    activation, weight = unit.activation_type(activations), unit.weight_type(weights)
    output_bits = _bits(operation.output_format)
    inputs = operation.batch * operation.m * -(-operation.k * activation.bits // 8)
    outputs = operation.batch * operation.m * operation.n * output_bits // 8
    integers = not activation.floating and weight.coding != "float"
    return MatrixProduct(
        m=operation.m,
        k=operation.k,
        n=operation.n,
        copies=operation.batch,
        activation=activation,
        weight=weight,
        result="fp16" if output_bits <= 16 else "fp32",
        scaling=_scaling(unit, activations, weights, operation) if integers and operation.kind == "mpgemm" else None,
        input_on_chip=_stays_on_chip(machine, inputs),
        output_on_chip=_stays_on_chip(machine, outputs),
    )


def _scaling(unit: ArrayUnit, activations: Format, weights: Format, operation: Operation) -> Scaling | None:
    """How sums become real numbers. Groups that the array cannot sum over by themselves are scaled as rows, and so are
    the tensors of fused operations, each of which has a scale of its own."""
    granularity = weights.granularity
    if granularity == "tensor" and isinstance(operation, TracedOperation) and operation.fused > 1:
        granularity = "row"
    if granularity == "none":
        return None
    grouped = granularity == "group"
    widths = unit.activation_type(activations).bits, unit.weight_type(weights).bits
    whole_bytes = all(weights.group_size * bits % 8 == 0 for bits in widths)
    if grouped and (weights.group_size % unit.k or not whole_bytes):
        granularity, grouped = "row", False
    return Scaling(
        granularity=granularity,
        group_size=weights.group_size if grouped else 0,
        rule=activations.scale_rule,
        element="fp16" if weights.granularity != "tensor" and weights.scale_type.bits <= 16 else "fp32",
    )


def _stays_on_chip(machine: Machine, size_bytes: int) -> bool:
    """Whether a tensor is kept in the activation scratchpad between operations: it fits one half of it."""
    return size_bytes <= machine.buffers.activation_bytes // PLACES


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
    inputs_on_chip = operation.kind != "embedding" and _stays_on_chip(machine, input_bytes // tensors)
    outputs_on_chip = operation.kind != "cache" and _stays_on_chip(machine, output_bytes)
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
    activity.count(unit.actions(cycles))
    return Work(unit, map_stream(machine, loads, cycles, stores), None, 0, activity)


def _matrix_work(machine: Machine, operation: TracedOperation, trace: Trace | None) -> Work:
    on_array = unit_for(machine, operation) is machine.compute
    unit, product = _unit_and_product(machine, operation)
    pass_cycles, useful = _value_dependence(unit, operation, trace)
    lowered = lower(machine, unit, product)
    activity = Activity()
    for program in (*lowered.programs, *([lowered.tables.program] if lowered.tables else [])):
        activity.execute(program)
    cycles = None if pass_cycles is None else lmma_cycles(lowered, pass_cycles)
    dense = sum(int(nest.passes) for nest in lowered.nests) * unit.pass_cycles(product.weight.bits)
    busy = dense if cycles is None else sum(int(core.sum()) for core in cycles)
    activity.count(unit.actions(busy))
    return Work(unit, lowered, cycles, useful if on_array else 0, activity)


def _unit_and_product(machine: Machine, operation: Operation) -> tuple[ArrayUnit, MatrixProduct]:
    """What an operation is lowered as; a unit that sums over groups stays within them."""
    unit = unit_for(machine, operation)
    product = matrix_product(machine, unit, operation)
    if product.scaling is not None and product.scaling.granularity == "group":
        unit = unit.within_groups(product.scaling.group_size)
    return unit, product


def _operations_an_output(operation: Operation) -> int:
    if operation.kind == "hadamard":
        # One sum a butterfly level of the largest power of two in the width, and the scaling.
        return (operation.n & -operation.n).bit_length()
    return _VECTOR_OPERATIONS[operation.kind]


def _value_dependence(
    unit: ArrayUnit, operation: TracedOperation, trace: Trace | None
) -> tuple[PassCycles | None, int]:
    """Cycles of every pass from recorded operands (None: dense), and useful lane-cycles."""
    weights, activations = format_named(operation.weight_format), format_named(operation.input_format)
    macs = operation.batch * operation.m * operation.k * operation.n
    if trace is None or trace.operands is None or unit.serial_operand == "none":
        return None, unit.lane_cycles(macs, weights)
    if unit.serial_operand == "weights":
        cycles, terms = unit.operand_cycles(trace.weight_codes(operation.layer, operation.name), weights)
        return cycles, terms * operation.m
    codes = trace.activation_codes(operation.layer, operation.name, operation.first_row, operation.m)
    cycles, terms = unit.operand_cycles(codes, activations)
    return cycles, terms * operation.n


def _bits(format_name: str) -> int:
    return format_named(format_name).bits
