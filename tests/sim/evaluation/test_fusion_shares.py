"""Sharing out the results of fused products: nothing is lost, and each operation gets its columns' part."""

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sim.evaluation.fusion import shared_out

COLUMNS = st.lists(st.integers(1, 1 << 20), min_size=1, max_size=4)
GROUPS = st.lists(st.tuples(st.integers(0, 1 << 62), COLUMNS), min_size=1, max_size=5)


@given(products=GROUPS)
def test_shares_sum_to_the_total_and_follow_the_columns(products):
    """Totals of large models times their columns are more than 64 bits hold."""
    totals = np.array([total for total, columns in products for _ in columns], np.int64)
    groups = np.array([group for group, (_, columns) in enumerate(products) for _ in columns], np.int64)
    columns = np.array([column for _, own in products for column in own], np.int64)
    shares = shared_out(totals, groups, columns)
    for group, (total, own) in enumerate(products):
        mine = shares[groups == group].tolist()
        assert sum(mine) == total
        for share, column in zip(mine, own, strict=True):
            assert abs(share - Fraction(total * column, sum(own))) < 1
