"""Text and instructions stand for each other; what cannot be read is an error with line and column."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from instruction_examples import instructions, programs

from isa import InputError, assemble, assemble_program, disassemble, disassemble_program, instruction_text
from isa.assembler import LONGEST_ASSEMBLY
from isa.assembly_lines import LONGEST_LINE
from isa.instructions import (
    DEEPEST_LOOP,
    INSTRUCTIONS,
    End,
    Fence,
    Halt,
    Lmma,
    Load,
    Loop,
    LutGen,
    Scale,
    SetPointer,
    Step,
    Store,
    Sync,
    operands_of,
)
from isa.manual_example import EXAMPLE
from isa.program import LONGEST_TEXT, MOST_BUFFERS, MOST_INSTRUCTIONS

HEAD = ".unit kind=lut m=2 n=4 k=4 activation_bytes=9 weight_bytes=9 table_bytes=9 accumulator_bytes=9 scale_bytes=9\n"


@given(instructions())
def test_an_instruction_is_read_back_from_its_line(instruction):
    line = instruction_text(instruction)
    assert "\n" not in line
    assert assemble(line) == (instruction,)


@given(programs())
@settings(max_examples=50)
def test_a_program_is_read_back_from_its_text(program):
    text = disassemble_program(program)
    assert assemble_program(text) == program
    assert disassemble_program(assemble_program(text)) == text


def test_lines_read_as_they_are_documented():
    shape = {"m": 2, "n": 64, "k": 4, "activation": "int8", "weight": "ternary", "accumulator": "int32"}
    pointers = {"source": 0, "weights": 1, "target": 2}
    sizes = {"rows": 2, "columns": 64, "depth": 16, "pitch_bytes": 0}
    expected = {
        "lmma.m2n64k4.int8.ternary.int32.table.blocks.accumulate wait={0,3}, signal={1}, source=p0, weights=p1, "
        "target=p2, rows=2, columns=64, depth=16, pitch_bytes=0": Lmma(
            **shape, inputs="table", order="blocks", mode="accumulate", **pointers, **sizes, wait=frozenset({0, 3}),
            signal=frozenset({1}),
        ),
        "lutgen.k4.int8 source=p0, target=p31, rows=1, depth=16, pitch_bytes=16": LutGen(
            k=4, activation="int8", source=0, target=31, rows=1, depth=16, pitch_bytes=16
        ),
        "load.weight source=p0, target=p1, rows=1, row_bytes=2, pitch_bytes=3": Load(
            space="weight", source=0, target=1, rows=1, row_bytes=2, pitch_bytes=3
        ),
        "store.memory.overwrite.accumulator.int32.int32 source=p0, target=p1, rows=1, columns=2, pitch_bytes=8": Store(
            space="memory", mode="overwrite", origin="accumulator", element="int32", result="int32", source=0, target=1,
            rows=1, columns=2, pitch_bytes=8,
        ),
        "scale.group.multiply.one.fp16 source=p0, target=p1, column_scales=p2, row_scales=p3, rows=1, columns=2": Scale(
            granularity="group", rule="multiply", columns_have="one", scale="fp16", source=0, target=1, column_scales=2,
            row_scales=3, rows=1, columns=2,
        ),
        "sync.array": Sync(unit="array"),
        "set target=p7, base=255, ring_bytes=0": SetPointer(target=7, base=255, ring_bytes=0),
        "step target=p7, stride_bytes=-64": Step(target=7, stride_bytes=-64),
        "loop count=3": Loop(count=3),
        "fence": Fence(),
    }  # fmt: skip
    for line, instruction in expected.items():
        assert instruction_text(instruction) == line
        assert assemble(line) == (instruction,)


def test_comments_blanks_order_and_hexadecimal_do_not_matter():
    text = (
        '\n# a comment, {with} "signs"\r\n\tloop count=0x10 # times\r\n  step  stride_bytes = -0x40 ,target=p1\r\nend#'
    )
    assert assemble(text) == (Loop(count=16), Step(target=1, stride_bytes=-64), End())
    assert assemble("sync.load wait={ 3 , 0 }, signal={}") == (Sync(unit="load", wait=frozenset({0, 3})),)
    assert assemble("") == ()


def test_loops_are_indented():
    text = disassemble((Loop(count=2), Loop(count=3), Fence(), End(), End(), Halt()))
    assert text == "loop count=2\n  loop count=3\n    fence\n  end\nend\nhalt\n"


def test_directives_carry_unit_and_buffers():
    text = (
        HEAD + '.buffer layout="a \\"b\\" é\\u0041" name="x y" role=input space=weight address=0x2 size_bytes=7\nhalt'
    )
    program = assemble_program(text)
    assert (program.unit.kind, program.unit.m, program.unit.scale_bytes, program.unit.queue_depth) == ("lut", 2, 9, 8)
    assert program.buffers[0].layout == 'a "b" éA'
    assert program.buffers[0].name == "x y"
    assert (program.buffers[0].address, program.buffers[0].size_bytes) == (2, 7)


@pytest.mark.parametrize(
    ("line", "column", "found", "expected"),
    [
        ("jump p0", 1, "jump", "one of set, step"),
        ('"load"', 1, '"load"', "one of set"),
        ("load", 5, "the end of the mnemonic", "a dot and the scratchpad"),
        ("  load.cache source=p0", 8, "cache", "one of activation, weight"),
        ("load. source=p0", 6, "nothing", "one of activation, weight"),
        ("load.weight.int8 source=p0", 12, ".int8", "the end of load.weight"),
        ("loops count=3", 1, "loops", "one of"),
        ("end.x", 4, ".x", "the end of end"),
        ("lmma.m2x4k4.int8", 8, "x4k4.int8", "n and a number"),
        ("lmma.m0n4k4.int8", 7, "0", "an integer of 1 to 65536"),
        ("lmma.mn4k4.int8", 7, "n4k4.int8", "an integer of 1 to 65536"),
        ("lutgen.k9.int8 ", 9, "9", "an integer of 1 to 8"),
        ("lutgen.k4.fp16 ", 11, "fp16", "one of int1"),
        ("loop 3", 7, "the end of the line", "'=' behind 3"),
        ("loop count", 11, "the end of the line", "'=' behind count"),
        ("loop count=", 12, "the end of the line", "the value of count"),
        ("loop count==3", 12, "=", "the value of count"),
        ("loop count=3,", 14, "the end of the line", "name=value"),
        ("loop count=3 count=4", 14, "count", "',' or the end"),
        ("loop count=3, count=4", 15, "count again", "every name once"),
        ("loop count=0", 12, "0", "an integer of 1 to 16777216"),
        ("loop count=16777217", 12, "16777217", "an integer of 1 to 16777216"),
        ("loop count=1.5", 12, "1.5", "an integer"),
        ("loop count=" + "9" * 4000, 12, "999", "an integer"),
        ("loop count={3}", 12, "{3}", "an integer"),
        ("loop times=3", 6, "times", "one of count"),
        ("loop  # 3", 5, "the end of the line", "count="),
        ("end x=3", 5, "x", "no operands of end"),
        ("step target=p32, stride_bytes=0", 13, "p32", "p0 to p31"),
        ("step target=3, stride_bytes=0", 13, "3", "p0 to p31"),
        ("step target=p, stride_bytes=0", 13, "p", "p0 to p31"),
        ("step target=p٣, stride_bytes=0", 13, "p٣", "p0 to p31"),
        ("step target=p1", 15, "the end of the line", "stride_bytes="),
        ("sync.load wait=3", 16, "3", "counters of 0 to 15 in braces"),
        ("sync.load wait={0,16}", 19, "16", "counters of 0 to 15"),
        ("sync.load wait={0, 0}", 20, "0 again", "every counter once"),
        ("sync.load wait={0,}", 19, "nothing", "counters of 0 to 15"),
        ("sync.load wait={0", 16, "{0", "a closing brace"),
        ('loop count="3', 12, '"3', "a closing quote"),
        ("loop count=3}", 13, "}", "a word, '=' or ','"),
        ("fence\vend", 6, "\vend", "a word"),
        (".unit kind=lut", 1, ".unit", "one of set"),
        (
            "lmma.m1n1k1.fp16.int8.int32.activation.blocks.overwrite source=p0, weights=p0, target=p0, rows=1, "
            "columns=1, depth=1, pitch_bytes=0", 1, "lmma.m1n1k1", "integers are added up in int32",
        ),
    ],
)  # fmt: skip
def test_errors_name_line_and_column(line, column, found, expected):
    with pytest.raises(InputError) as caught:
        assemble("# first\nfence\n" + line, "file.s")
    error = caught.value
    assert (error.source, error.field) == ("file.s", f"line 3, column {column}")
    assert found in str(error.found)
    assert expected in str(error.expected)


BUFFER = ".buffer name=a role=input space=weight address=0 size_bytes=9"


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        ("halt", (1, 1), ".unit"),
        (HEAD, (1, 1), "halt"),
        (HEAD + "halt\n" + HEAD, (3, 1), ".buffer"),
        (HEAD + ".data\nhalt", (2, 1), "one .unit, or .buffer"),
        (HEAD + "fence\n", (2, 1), "halt as the last"),
        (HEAD + "halt\nfence\nhalt", (2, 1), "halt as the last"),
        (HEAD + "fence\n  end\nhalt", (3, 3), "a loop that it ends"),
        (HEAD + "loop count=1\n loop count=2\nend\nhalt", (2, 1), "an end for every loop"),
        (HEAD + "loop count=1\n" * 9 + "end\n" * 9 + "halt", (10, 1), "at most 8"),
        (HEAD + BUFFER + "\n" + BUFFER + "\nhalt", (3, 1), "a name of its own"),
        (HEAD + BUFFER.replace("=0", "=1") + "\nhalt", (2, 1), "within the 9 of weight"),
        (HEAD + BUFFER.replace("weight ", "cache ") + "\nhalt", (2, 33), "one of memory"),
        (HEAD + BUFFER.replace("=0", "=-1") + "\nhalt", (2, 48), "an integer of 0 to"),
        (HEAD + BUFFER.replace("=0", "=x") + "\nhalt", (2, 48), "an integer"),
        (HEAD + BUFFER.replace("=a", '="\\n"') + "\nhalt", (2, 14), "printable"),
        (HEAD + BUFFER.replace("=a", '="\\q"') + "\nhalt", (2, 14), "escapes of JSON"),
        (HEAD + BUFFER.replace("=a", "={1}") + "\nhalt", (2, 14), "a name"),
        (HEAD + BUFFER + ' layout="' + "x" * 257 + '"\nhalt', (2, 70), "0 to 256"),
        (HEAD + ".buffer name=a\nhalt", (2, 15), "role=, space=, address=, size_bytes="),
        (HEAD + BUFFER + " age=3\nhalt", (2, 63), "one of name, role"),
        (HEAD.replace("m=2", "m=0") + "halt", (1, 18), "an integer of 1 to 65536"),
        (HEAD.replace("lut", "tpu") + "halt", (1, 12), "one of lut"),
        (HEAD.replace("table_bytes=9", "table_bytes=2147483649") + "halt", (1, 74), "an integer of 0 to 2147483648"),
    ],
)
def test_errors_of_programs_name_line_and_column(text, place, expected):
    with pytest.raises(InputError) as caught:
        assemble_program(text, "file.s")
    assert caught.value.field == f"line {place[0]}, column {place[1]}"
    assert expected in str(caught.value.expected)


def test_the_longest_program_can_be_assembled():
    """Every field of every instruction as long as it gets, inside of the deepest loop."""
    longest = 0
    for instruction in INSTRUCTIONS:
        values = {}
        for name, operand in operands_of(instruction).items():
            ends = operand.values[0], operand.values[-1]
            values[name] = {
                "choice": max(operand.choices, key=len, default=""),
                "tokens": frozenset(range(operand.bits)),
            }.get(operand.kind, max(ends, key=lambda value: len(str(value))))
        if instruction is Lmma:
            values |= {"activation": "int8", "inputs": "activation", "order": "blocks"}
        longest = max(longest, len(instruction_text(instruction(**values))))
    assert longest + 2 * DEEPEST_LOOP < LONGEST_LINE
    text = MOST_INSTRUCTIONS * (2 * DEEPEST_LOOP + longest + 1)
    # A quotation mark takes two characters; a buffer has two texts.
    assert text + MOST_BUFFERS * (4 * LONGEST_TEXT + 256) < LONGEST_ASSEMBLY


def test_sizes_are_limited():
    with pytest.raises(InputError, match="size"):
        assemble(" " * (LONGEST_ASSEMBLY + 1))
    with pytest.raises(InputError, match=r"line 524289, column 1: found more than 524288 lines"):
        assemble("\n" * (1 << 19))
    with pytest.raises(InputError, match=r"line 2, column 4097: found 5003 characters"):
        assemble("\nend" + " " * 5000)
    with pytest.raises(InputError, match=r"line 65538, column 1.*65536 instructions"):
        assemble_program(HEAD + "end\n" * 65537)
    with pytest.raises(InputError, match=r"line 2050, column 1.*2048 buffers"):
        assemble_program(HEAD + "".join(f"{BUFFER.replace('=a', f'=a{item}')}\n" for item in range(2049)))


_PIECES = [
    ".unit",
    ".buffer",
    "lmma.m2n4k4",
    "load.weight",
    "loop",
    "count",
    "=",
    ",",
    "{0,",
    "}",
    '"',
    "p1",
    " ",
    "#",
    "\n",
]


@given(st.lists(st.sampled_from(_PIECES) | st.text(max_size=3)).map("".join))
def test_any_text_is_assembled_or_refused(text):
    try:
        assemble_program(HEAD + text)
    except InputError as error:
        assert error.field.startswith("line ")  # noqa: PT017


@given(st.data())
@settings(max_examples=50)
def test_a_damaged_program_is_assembled_or_refused(data):
    start = data.draw(st.integers(0, len(EXAMPLE)))
    end = data.draw(st.integers(start, min(len(EXAMPLE), start + 20)))
    text = EXAMPLE[:start] + data.draw(st.text(max_size=3)) + EXAMPLE[end:]
    try:
        program = assemble_program(text)
    except InputError as error:
        assert error.field.startswith("line ")  # noqa: PT017
    else:
        assert assemble_program(disassemble_program(program)) == program
