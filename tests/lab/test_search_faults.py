"""A search over three machines of which one loses its network, and one whose driver is killed."""

import pytest

from tests.lab import searches
from tests.lab.laboratory import ADDRESSES, SHARED

pytestmark = [pytest.mark.lab, pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture(scope="module")
def laboratory(build_laboratory, step):
    """Three machines with Ray and a shared folder."""
    with build_laboratory(searches.ENVIRONMENT) as laboratory:
        with step("ray start on three machines"):
            searches.start_ray(laboratory, cpus=1)
        yield laboratory


def test_a_search_whose_driver_was_killed_goes_on_and_does_nothing_twice(laboratory, step):
    searches.kill_the_driver_and_resume(laboratory, step, searches.Folder(laboratory.shared), SHARED)


def test_a_trial_on_a_machine_that_loses_its_network_goes_on_elsewhere_from_its_checkpoint(laboratory, step):
    storage = searches.Folder(laboratory.shared)
    lost, other = laboratory.workers
    driver = searches.start_search(laboratory, "cut", SHARED, trials=2)
    with step("search until a trial has a checkpoint"):
        searches.wait_for(
            driver, lambda: any(noted[1] >= 4 for noted in trials_of(storage, searches.trials_on(lost)).values())
        )
    (trial,) = searches.trials_on(lost)
    laboratory.cut_link(lost.name)
    with step("link cut until the trial is given up there"):
        searches.wait_for(driver, lambda: "goes on from its last checkpoint" in driver.output)
    with step("until it is its turn elsewhere"):
        searches.wait_for(driver, lambda: trial in searches.trials_on(other))
    with step("until the search ends"):
        assert driver.wait(240) == 0, driver.output

    assert "2 trials (2 to the end, 0 stopped early, 0 failed)" in driver.output
    assert searches.table_of(storage, "cut")["status"].tolist() == ["done"] * 2
    rows = searches.rows_of(storage, "cut", trial)
    assert rows["node_ip"].drop_duplicates().tolist() == [ADDRESSES[lost.name], ADDRESSES[other.name]]
    first = rows[rows["node_ip"] == ADDRESSES[other.name]].iloc[0]
    before = rows[rows["node_ip"] == ADDRESSES[lost.name]].iloc[-1]
    assert 1 < first["training_iteration"] <= before["training_iteration"] + 1
    assert sorted(set(rows["training_iteration"])) == list(range(1, searches.EPISODES + 1))


def trials_of(storage, names):
    """What is noted about these trials."""
    return {name: noted for name, noted in searches.noted(storage, "cut").items() if name in names}
