"""The program that the manual explains instructions with; every instruction occurs in it. Tests run it."""

__all__ = ["EXAMPLE"]

EXAMPLE = """\
# Two tokens of 16 int8 activations times 8 columns of ternary weights, in two blocks of 4 columns. Tables are made
# once; the weights of the next block are loaded while the array multiplies the present one.
.unit kind=lut m=2 n=4 k=4 activation_bytes=32 weight_bytes=32 table_bytes=128 accumulator_bytes=64 scale_bytes=24
.buffer name=activations role=input space=memory address=0x0 size_bytes=32 layout="int8 [2, 16]"
.buffer name=weights role=weights space=memory address=0x40 size_bytes=32 layout="ternary [8, 16], planes, n 4, k 4"
.buffer name=row_scales role=scales space=memory address=0x80 size_bytes=8 layout="fp32 [2]"
.buffer name=column_scales role=scales space=memory address=0xa0 size_bytes=32 layout="fp32 [8]"
.buffer name=outputs role=output space=memory address=0xc0 size_bytes=64 layout="fp32 [2, 8]"

# Activations, their tables and the scales of the rows; p0 and p1 are never stepped.
set target=p0, base=0x0, ring_bytes=0
set target=p1, base=0x80, ring_bytes=0
set target=p2, base=0, ring_bytes=0
load.activation signal={0}, source=p0, target=p2, rows=1, row_bytes=32, pitch_bytes=32
lutgen.k4.int8 wait={0}, source=p2, target=p2, rows=2, depth=16, pitch_bytes=16
load.scale source=p1, target=p2, rows=1, row_bytes=8, pitch_bytes=8
fence

# Tokens say that a buffer may be filled: two halves of weights (1), one buffer each of column scales (3), sums (5) and
# results (7).
loop count=2
  sync.array signal={1}
end
sync.scale signal={3,5}
sync.store signal={7}

set target=p3, base=0x40, ring_bytes=0   # weights in memory
set target=p4, base=0, ring_bytes=32     # weights in their scratchpad, two halves
set target=p5, base=0xa0, ring_bytes=0   # column scales in memory
set target=p6, base=8, ring_bytes=0      # column scales in their scratchpad
set target=p7, base=32, ring_bytes=0     # results in the accumulator scratchpad, behind the sums
set target=p8, base=0xc0, ring_bytes=0   # outputs in memory
loop count=2
  load.weight wait={1}, signal={0}, source=p3, target=p4, rows=1, row_bytes=16, pitch_bytes=16
  load.scale wait={3}, signal={2}, source=p5, target=p6, rows=1, row_bytes=16, pitch_bytes=16
  lmma.m2n4k4.int8.ternary.int32.table.blocks.overwrite wait={0,5}, signal={1,4}, source=p2, weights=p4, target=p2, \
rows=2, columns=4, depth=16, pitch_bytes=64
  scale.row.multiply.each.fp32 wait={2,4,7}, signal={3,5,6}, source=p2, target=p7, column_scales=p6, row_scales=p2, \
rows=2, columns=4
  store.memory.overwrite.accumulator.fp32.fp32 wait={6}, signal={7}, source=p7, target=p8, rows=2, columns=4, \
pitch_bytes=32
  step target=p3, stride_bytes=16
  step target=p4, stride_bytes=16
  step target=p5, stride_bytes=16
  step target=p8, stride_bytes=16
end
halt
"""
