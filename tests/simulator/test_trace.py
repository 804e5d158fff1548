"""Request logs: which rows are used, where and when their tasks arrive, and what the windows hold."""

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lad_rllib.errors import ConfigurationError
from lad_rllib.simulator import EdgeNetwork, TraceArrivals, TraceRules, read_trace, sample_trace_path

HEADER = (
    "gmt_create,predict_type,predict_status,exec_time_seconds,groupId,prompt_length,negative_prompt_length,"
    "num_images_per_prompt,num_inference_steps,checkpoint_model_version_id,num_lora"
)
ROWS = [
    "2024-01-01 00:00:00,TXT_2_IMG,SUCCEED,10.0,G0,100,,1,20,M0,0",  # second 0, slot 0
    "2024-01-01 00:00:40,TXT_2_IMG,SUCCEED,30.0,G0,10,15,2,30,M0,0",  # second 40, slot 0
    "2024-01-01 00:00:45,TXT_2_IMG,FAILED,5.0,G0,10,15,2,30,M0,0",
    "2024-01-01 00:00:50,IMG_2_IMG,SUCCEED,5.0,G0,10,15,2,30,M0,0",
    "2024-01-01 00:00:55,TXT_2_IMG,PENDING,0.0,G0,,,,,M0,0",
    "2024-01-01 00:01:50,TXT_2_IMG,SUCCEED,20.0,G1,10,15,1,10,M0,0",  # second 110, slot 1
    "2024-01-01 00:02:00,TXT_2_IMG,SUCCEED,20.0,G1,,15,1,10,M0,0",
    "2024-01-01 00:02:00,TXT_2_IMG,SUCCEED,20.0,G1,10,15,1,0,M0,0",
    "2024-01-01 00:02:00,TXT_2_IMG,SUCCEED,0,G1,10,15,1,10,M0,0",
    "2024-01-01 00:02:00,TXT_2_IMG,SUCCEED,many,G1,10,15,1,10,M0,0",
    "yesterday,TXT_2_IMG,SUCCEED,20.0,G1,10,15,1,10,M0,0",
    "2024-01-01 00:02:00,TXT_2_IMG,SUCCEED,20.0,,10,15,1,10,M0,0",
    "2024-01-01 01:01:50,TXT_2_IMG,SUCCEED,40.0,G0,10,15,1,10,M0,0",  # an hour later: second 110 + 300, slot 4
]
NETWORK = EdgeNetwork(
    num_stations=2, capacity_gcycles_per_s=[4.0, 8.0], link_rate_mbit_per_s=[450.0, 450.0], slot_s=10.0
)
TEN = TraceRules(time_compression=10.0)  # 100 s of log are one slot


def write(folder: Path, rows: list[str], name: str = "log.csv") -> Path:
    path = folder / name
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


@pytest.fixture
def log(tmp_path):
    return write(tmp_path, ROWS)


@pytest.fixture(scope="module")
def sample():
    return TraceArrivals.from_file(sample_trace_path(), NETWORK)


def test_every_row_is_used_or_counted_under_one_reason(log):
    arrivals = TraceArrivals.from_file(log, NETWORK, TEN)
    assert (arrivals.timetable.requests.rows_read, len(arrivals.timetable.slot)) == (13, 4)
    assert arrivals.timetable.requests.not_used == {
        "predict_status is FAILED": 1,
        "predict_type is IMG_2_IMG": 1,
        "predict_status is PENDING": 1,
        "prompt_length is missing": 1,
        "num_inference_steps is below 1": 1,
        "exec_time_seconds is 0": 1,
        "exec_time_seconds is not a number": 1,
        "gmt_create is not a time": 1,
        "groupId is missing": 1,
    }
    assert "4 of 13 rows used" in arrivals.describe() and "1 predict_status is FAILED" in arrivals.describe()


def test_requests_arrive_in_the_slot_of_their_creation_time_once_pauses_are_shortened(log):
    arrivals = TraceArrivals.from_file(log, NETWORK, TEN)
    (window,) = arrivals.windows(5)
    # Group G0 has three requests and gets station 0, G1 gets station 1.
    assert window.task_counts.tolist() == [[2, 0], [0, 1], [0, 0], [0, 0], [1, 0]]
    assert arrivals.max_tasks == 2
    table = arrivals.timetable
    assert (table.span_s, table.idle_gaps, table.idle_cut_s) == (410.0, 1, 3300.0)
    whole = TraceArrivals.from_file(log, NETWORK, TraceRules(time_compression=10.0, max_gap_s=None))
    assert whole.timetable.span_s == 3710.0 and whole.num_slots == 38


def test_size_of_a_task_follows_from_its_row(log):
    (window,) = TraceArrivals.from_file(log, NETWORK, TEN).windows(5)
    # Second task of station 0, slot 0: 10 + 15 characters, 2 images of 30 steps, 30 s on a 6 Gcycle/s machine.
    assert window.denoising_steps[0, 0, 1] == 60.0
    assert window.workload_gcycles[0, 0, 1] == pytest.approx(180.0)
    assert window.task_mbit[0, 0, 1] == pytest.approx((3 * 25 + 2048) * 8 / 1e6)
    assert window.result_mbit[0, 0, 1] == pytest.approx(1.6)
    # A missing negative prompt has no characters.
    assert window.task_mbit[0, 0, 0] == pytest.approx((3 * 100 + 2048) * 8 / 1e6)


def test_rules_change_which_rows_count_and_what_they_weigh(log):
    rules = TraceRules(
        time_compression=10.0,
        predict_types=("TXT_2_IMG", "IMG_2_IMG"),
        reference_capacity_gcycles_per_s=2.0,
        work_scale=0.5,
        count_negative_prompt=False,
    )
    (window,) = TraceArrivals.from_file(log, NETWORK, rules).windows(5)
    assert window.task_counts[0].tolist() == [3, 0]
    assert window.workload_gcycles[0, 0].tolist() == pytest.approx([10.0, 30.0, 5.0])
    assert window.task_mbit[0, 0, 2] == pytest.approx((3 * 10 + 2048) * 8 / 1e6 + 0.8)


@pytest.mark.parametrize(
    "rules", [TraceRules(), TraceRules(max_tasks=2), TraceRules(work_scale=3.0, time_compression=7.0)]
)
@pytest.mark.parametrize("num_slots", [1, 13])
def test_windows_hold_all_work_of_the_used_rows(rules, num_slots):
    requests = read_trace(sample_trace_path(), rules)
    arrivals = TraceArrivals.from_file(sample_trace_path(), NETWORK, rules)
    windows = list(arrivals.windows(num_slots))
    assert sum(w.num_tasks for w in windows) == len(requests.exec_s) == len(arrivals.timetable.slot)
    work = sum(w.workload_gcycles.sum() for w in windows)
    assert work == pytest.approx(requests.exec_s.sum() * 6.0 * rules.work_scale)
    assert arrivals.mean_work_per_slot_gcycles() * arrivals.num_slots == pytest.approx(work)


def test_work_may_be_shown_as_the_mean_of_the_log_and_stays_what_it_is(log):
    known, mean = (
        TraceArrivals.from_file(log, NETWORK, TraceRules(time_compression=10.0, work_shown=shown))
        for shown in ("known", "mean")
    )
    (told,), (window,) = known.windows(5), mean.windows(5)
    assert told.shown_workload_gcycles is None
    np.testing.assert_array_equal(window.workload_gcycles, told.workload_gcycles)
    expected = told.workload_gcycles[told.mask].mean()
    np.testing.assert_allclose(window.shown_workload_gcycles[window.mask], expected)
    assert not window.shown_workload_gcycles[~window.mask].any()
    with pytest.raises(ConfigurationError, match="work_shown must be one of known, mean, got 'guess'"):
        TraceRules(work_shown="guess")


def test_parts_share_no_slot_and_make_up_the_whole(sample):
    train, rest = sample.with_part((0.0, 0.7)), sample.with_part((0.7, 1.0))
    assert (train.first_slot, train.end_slot, rest.end_slot) == (0, rest.first_slot, sample.num_slots)
    assert sum(w.num_tasks for part in (train, rest) for w in part.windows(9)) == len(sample.timetable.slot)
    assert train.max_tasks == rest.max_tasks == sample.max_tasks


def test_a_draw_is_a_window_of_its_part(sample):
    rest = sample.with_part((0.7, 1.0))
    rows = np.concatenate([w.task_counts for w in rest.windows(1)])
    seen = {tuple(rows[start : start + 4].ravel()) for start in range(len(rows) - 3)}
    rng = np.random.default_rng(0)
    assert all(tuple(rest.draw(rng, 4).task_counts.ravel()) in seen for _ in range(50))


def test_the_same_generator_draws_the_same_window(sample):
    one, two = (sample.draw(np.random.default_rng(5), 6) for _ in range(2))
    assert np.array_equal(one.workload_gcycles, two.workload_gcycles)
    assert one.task_mbit.shape == (6, 2, sample.max_tasks)


@pytest.mark.parametrize("load", [0.5, 0.8, 1.2])
def test_the_compression_that_is_chosen_for_a_load_gives_it(load):
    table = TraceArrivals.from_file(sample_trace_path(), NETWORK, TraceRules(load=load)).timetable
    assert table.load(0, table.num_slots) == pytest.approx(load, rel=0.01)
    again = TraceRules(time_compression=table.time_compression)
    same = TraceArrivals.from_file(sample_trace_path(), NETWORK, again).timetable
    assert same.num_slots == table.num_slots
    assert same.load(0, same.num_slots) == table.load(0, table.num_slots)


def test_stations_do_not_depend_on_the_order_of_rows(tmp_path):
    rows = [f"2024-01-01 00:00:{i:02d},TXT_2_IMG,SUCCEED,9,G{i % 7},9,9,1,9,M0,0" for i in range(40)]
    tasks = [
        TraceArrivals.from_file(write(tmp_path, order), NETWORK, TEN).timetable.window(0, 1).task_counts
        for order in (rows, rows[::-1])
    ]
    assert np.array_equal(*tasks)


def test_the_balanced_rule_spreads_requests_and_the_hash_rule_is_the_checksum(sample):
    assert max(sample.tasks_per_station) < 1.01 * min(sample.tasks_per_station)
    hashed = TraceArrivals.from_file(sample_trace_path(), NETWORK, TraceRules(station_rule="hash"))
    group = read_trace(sample_trace_path()).group
    expected = sum(int((group == name).sum()) for name in set(group) if _crc32(name.encode()) % 2 == 1)
    assert hashed.tasks_per_station[1] == expected


def _crc32(data: bytes) -> int:
    """Bit by bit, polynomial 0xEDB88320."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0xEDB88320 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def test_single_groups_can_be_given_a_station(log):
    rules = TraceRules(time_compression=10.0, station_of_group={"G0": 1})
    (window,) = TraceArrivals.from_file(log, NETWORK, rules).windows(5)
    assert window.task_counts.sum(axis=0).tolist() == [1, 3]


def test_tasks_above_the_cap_wait_for_the_next_slot_in_order(tmp_path):
    rows = [f"2024-01-01 00:00:0{i},TXT_2_IMG,SUCCEED,{i + 1},G0,9,9,1,9,M0,0" for i in range(5)]
    rows.append("2024-01-01 00:01:40,TXT_2_IMG,SUCCEED,6,G0,9,9,1,9,M0,0")
    rules = TraceRules(time_compression=5.0, max_tasks=2, reference_capacity_gcycles_per_s=1.0)
    arrivals = TraceArrivals.from_file(write(tmp_path, rows), NETWORK, rules)
    window = next(arrivals.windows(3))
    # Slot 0 keeps 2 of its 5, slot 1 two; the fifth and the one of slot 1 (second 100, the end) come in slot 2.
    assert window.workload_gcycles[:, 0].tolist() == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    assert (arrivals.timetable.tasks_moved, arrivals.num_slots) == (4, 3)


def test_moving_overflow_equals_a_literal_queue():
    rules = TraceRules(load=1.5, max_tasks=3)
    free = TraceArrivals.from_file(sample_trace_path(), NETWORK, TraceRules(load=1.5))
    arriving = np.concatenate([w.task_counts for w in free.windows(1)])
    capped = TraceArrivals.from_file(sample_trace_path(), NETWORK, rules)
    counts = np.concatenate([w.task_counts for w in capped.windows(1)])
    waiting, slots = np.zeros(2, dtype=int), len(counts)
    for slot in range(slots):
        waiting += arriving[slot] if slot < len(arriving) else 0
        start = np.minimum(waiting, 3)
        assert counts[slot].tolist() == start.tolist()
        waiting -= start
    assert waiting.sum() == 0 and capped.timetable.tasks_moved > 0


def test_parquet_equals_csv(tmp_path):
    path = tmp_path / "log.parquet"
    pd.read_csv(sample_trace_path(), parse_dates=["gmt_create"]).to_parquet(path)
    csv, parquet = (TraceArrivals.from_file(p, NETWORK) for p in (sample_trace_path(), path))
    for one, two in zip(csv.windows(10), parquet.windows(10), strict=True):
        for name in ("task_counts", "task_mbit", "denoising_steps", "density_gcycles_per_step", "result_mbit"):
            assert np.array_equal(getattr(one, name), getattr(two, name)), name
    assert csv.timetable.requests.not_used == parquet.timetable.requests.not_used


def test_the_sample_is_what_its_readme_says():
    readme = (sample_trace_path().parent / "README.md").read_text()
    scope: dict = {}
    exec(readme.split("```python")[1].split("```")[0], scope)
    lines = [HEADER, *(",".join(map(str, row)) for row in scope["rows"])]
    assert sample_trace_path().read_text().splitlines() == lines


def test_strict_names_the_column_and_the_first_row_with_a_bad_value(log):
    with pytest.raises(ConfigurationError, match="row 7: prompt_length is missing"):
        read_trace(log, TraceRules(strict=True))


def test_strict_accepts_a_log_without_bad_values(tmp_path):
    assert read_trace(write(tmp_path, ROWS[:6]), TraceRules(strict=True)).rows_read == 6


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        (HEADER + "\n", "no usable rows"),
        (HEADER + "\n" + ROWS[2] + "\n", "no usable rows .*FAILED"),
        (HEADER.replace("groupId,", "") + "\n", "lacks the column groupId"),
        (HEADER + "\n" + ROWS[0] + ",extra,fields\n", "cannot be read"),
        ("\x00\x01", "lacks the column|cannot be read"),
    ],
)
def test_a_log_that_cannot_be_used_is_refused_in_one_line_that_names_it(tmp_path, text, expected):
    path = tmp_path / "log.csv"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=expected) as error:
        read_trace(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["absent.csv", "log.txt", "log.parquet", "log.csv.gz", "folder.csv"])
def test_a_file_that_cannot_be_read_is_refused_in_one_line_that_names_it(tmp_path, name):
    (tmp_path / "folder.csv").mkdir()
    for broken in ("log.txt", "log.parquet", "log.csv.gz"):
        (tmp_path / broken).write_bytes(b"\x1f\x8bno log\n")
    with pytest.raises(ConfigurationError, match=name) as error:
        read_trace(tmp_path / name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({"load": 1.0, "time_compression": 2.0}, "load 1 and time_compression 2"),
        ({"load": float("nan")}, "load must be a number above 0 .*got nan"),
        ({"time_compression": 0}, "time_compression must be a number above 0 .*got 0"),
        ({"max_tasks": 0}, "max_tasks"),
        ({"station_rule": "nearest"}, "nearest"),
        ({"predict_types": []}, "predict_types"),
    ],
)
def test_rules_that_cannot_be_followed_are_refused(rules, expected):
    with pytest.raises(ConfigurationError, match=expected):
        TraceRules(**rules)


def test_what_does_not_fit_the_log_is_refused(log, sample):
    with pytest.raises(ConfigurationError, match="'G7', which is not a groupId"):
        TraceArrivals.from_file(log, NETWORK, TraceRules(station_of_group={"G7": 0}))
    with pytest.raises(ConfigurationError, match="station 2; stations are 0..1"):
        TraceArrivals.from_file(log, NETWORK, TraceRules(station_of_group={"G0": 2}))
    with pytest.raises(ConfigurationError, match="5000 slots.*use fewer slots"):
        sample.draw(np.random.default_rng(0), 5000)
    with pytest.raises(ConfigurationError, match="part"):
        sample.with_part((0.7, 0.3))


def test_a_load_needs_requests_at_more_than_one_time(tmp_path):
    with pytest.raises(ConfigurationError, match="time_compression instead"):
        TraceArrivals.from_file(write(tmp_path, ROWS[:1]), NETWORK)


def test_a_log_of_sixteen_thousand_rows_is_ready_within_a_second(tmp_path):
    second = np.arange(16_000) * 31
    stamp = pd.Timestamp("2024-01-01") + pd.to_timedelta(second, unit="s")
    rows = [f"{t},TXT_2_IMG,SUCCEED,{9 + i % 40},G{i % 2700},50,26,1,30,M0,0" for i, t in enumerate(stamp)]
    path = write(tmp_path, rows)
    start = time.process_time()
    TraceArrivals.from_file(path, NETWORK)
    assert time.process_time() - start < 1.0
