"""The benchmark of the event loop runs. Nothing is timed here."""

from benchmarks.requests import RULES, measured


def test_every_rule_is_measured_beside_the_empty_one():
    rows = measured(5, "shortest_first", requests=200)
    assert [row["rule"] for row in rows] == ["empty rule", *RULES, "given decisions"]
    assert rows[0]["over the empty rule"] == 1.0 and all(row["requests a second"] > 0 for row in rows)
