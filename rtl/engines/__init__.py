"""The five engines: each takes commands from its queue and works on scratchpads, on the memory port or with an array.

What they have in common is `rtl.interfaces.engine_signature`; who hands them commands is `rtl.issue`.
"""
