"""The benchmark of marginal costs runs. Nothing is timed here."""

from benchmarks.request_costs import measured


def test_costs_are_measured_one_by_one_and_in_slots():
    for slots in (False, True):
        row = measured("paper-one-by-one", 0.9, "shortest_first", num_requests=100, slots=slots)
        assert row["all costs, s"] > 0 and row["costs of 100, s"] > 0
