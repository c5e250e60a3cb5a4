"""The arrays that multiply, and the unit that makes tables for one of them.

An array takes steps and gives sums (`rtl.interfaces`); where operands come from and where sums go is the subject of
`rtl.engines.array`.
"""
