"""The machine in RTL: Amaranth components for the instruction set, and the tools that verify and run their Verilog.

`toolchain` finds Verilator and builds simulations; `streams` holds what every unit's streams need. Nothing is imported
here: Amaranth comes with `pip install 'bitloom[rtl]'`, and `toolchain.require_amaranth` says so where it is missing.
Components import `isa` alone; `toolchain` writes files as `workloads.files` does.
"""
