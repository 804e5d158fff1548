"""Request logs as files: what is stored in other ways means the same, and what is damaged or huge is said in a line."""

import gzip
import warnings
from dataclasses import fields
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lad_rllib.errors import ConfigurationError
from lad_rllib.runs.contest import evaluation_arrivals
from lad_rllib.simulator import (
    EdgeNetwork,
    TraceArrivals,
    TraceRules,
    build_setting,
    read_trace,
)
from lad_rllib.simulator.traces import batches, reading
from lad_rllib.simulator.traces.rules import DEFAULT_RULES
from lad_rllib.simulator.traces.timetable import TraceTimetable

NETWORK = EdgeNetwork(num_stations=2, capacity_gcycles_per_s=[4.0, 8.0], link_rate_mbit_per_s=[450.0, 450.0])
START = datetime(2024, 1, 1)
ROWS = 6


def columns(**changes):
    """A log of six rows; every change replaces a column."""
    usual = {
        "gmt_create": [START + timedelta(seconds=9 * row) for row in range(ROWS)],
        "predict_type": ["TXT_2_IMG"] * ROWS,
        "predict_status": ["SUCCEED"] * ROWS,
        "exec_time_seconds": [10.0 + row for row in range(ROWS)],
        "groupId": ["a", "b", "c", "a", "b", "c"],
        "prompt_length": [50] * ROWS,
        "negative_prompt_length": [20, None, 20, 20, 20, 20],
        "num_images_per_prompt": [1] * ROWS,
        "num_inference_steps": [30] * ROWS,
    }
    return usual | changes


def parquet(folder, **changes):
    path = folder / "log.parquet"
    pq.write_table(pa.table(columns(**changes)), path)
    return path


def csv_text(**changes):
    values = columns(**changes)
    rows = zip(*values.values(), strict=True)
    return "\n".join(",".join("" if cell is None else str(cell) for cell in row) for row in [values, *rows]) + "\n"


def csv(folder, **changes):
    path = folder / "log.csv"
    path.write_text(csv_text(**changes), encoding="utf-8")
    return path


def refused(path, rules=DEFAULT_RULES):
    """The one line with which a log is refused; it names the file."""
    with pytest.raises(ConfigurationError) as error:
        TraceArrivals.from_file(path, NETWORK, rules)
    assert "\n" not in str(error.value) and path.name in str(error.value)
    return str(error.value)


IDS = [2**53, 2**53 + 1, None, 2**53, 17, -3]


@pytest.mark.parametrize("kind", [pa.int64(), pa.decimal128(20, 0), pa.string()])
def test_a_missing_id_leaves_the_other_ids_what_they_are(tmp_path, kind):
    values = [None if one is None else str(one) for one in IDS] if kind == pa.string() else IDS
    requests = read_trace(parquet(tmp_path, groupId=pa.array(values, kind)))
    assert requests.group.tolist() == ["9007199254740992", "9007199254740993", "9007199254740992", "17", "-3"]
    assert requests.not_used == {"groupId is missing": 1}


def test_ids_that_were_stored_as_floats_are_the_whole_numbers_they_were(tmp_path):
    path = parquet(tmp_path, groupId=[17.0, float("nan"), 3.0, None, 17.0, 0.0])
    assert read_trace(path).group.tolist() == ["17", "3", "17", "0"]
    rules = TraceRules(time_compression=1.0, station_of_group={"17": 1})
    assert TraceArrivals.from_file(path, NETWORK, rules).tasks_per_station[1] >= 2


@pytest.mark.parametrize("value", [1.5, 2.0**53, float("inf")])
def test_floats_that_cannot_tell_ids_apart_are_refused(tmp_path, value):
    assert "groupId is stored as double" in refused(parquet(tmp_path, groupId=[value, 1.0, 2.0, 3.0, 4.0, 5.0]))


def test_na_null_and_none_are_labels_in_a_csv_log(tmp_path):
    names = ["NA", "null", "None", "nan", "N/A", ""]
    requests = read_trace(csv(tmp_path, groupId=names))
    assert requests.group.tolist() == names[:-1]
    assert requests.not_used == {"groupId is missing": 1}
    statuses = read_trace(csv(tmp_path, predict_status=["NA"] * ROWS), TraceRules(predict_statuses=("NA",)))
    assert len(statuses.exec_s) == ROWS


@pytest.mark.parametrize("text", ["", "NA", "null", "None", "NaN"])
def test_a_number_that_is_written_as_not_available_is_missing(tmp_path, text):
    assert read_trace(csv(tmp_path, prompt_length=[text, 1, 2, 3, 4, 5])).not_used == {"prompt_length is missing": 1}


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_a_duration_is_converted_by_its_unit(tmp_path, unit):
    scale = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    spans = pa.array([scale * 40, None, scale * 3, scale, 2 * scale, 86_400 * scale], pa.duration(unit))
    requests = read_trace(parquet(tmp_path, exec_time_seconds=spans))
    assert requests.exec_s.tolist() == [40.0, 3.0, 1.0, 2.0, 86_400.0]
    assert requests.not_used == {"exec_time_seconds is missing": 1}


def test_a_duration_of_nanoseconds_is_exact(tmp_path):
    span_ns = 123_456_789_012_345
    requests = read_trace(parquet(tmp_path, exec_time_seconds=pa.array([span_ns] * ROWS, pa.duration("ns"))))
    assert requests.exec_s[0] == span_ns / 1e9


def test_bytes_are_text(tmp_path):
    path = parquet(
        tmp_path,
        predict_status=[b"SUCCEED"] * ROWS,
        groupId=[b"a", "größer".encode(), None, b"a", b"b", b"c"],
        exec_time_seconds=[b"10", b"1e1", b"x", b"12", b"13", b"14"],
        gmt_create=[b"2024-01-01 00:00:0%d" % row for row in range(ROWS)],
    )
    requests = read_trace(path)
    assert requests.group.tolist() == ["a", "größer", "a", "b", "c"]
    assert requests.exec_s.tolist() == [10.0, 10.0, 12.0, 13.0, 14.0]
    assert "cannot be read: Invalid UTF8" in refused(parquet(tmp_path, groupId=[b"\xff"] * ROWS))


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_timestamps_of_any_unit_and_zone_are_the_same_instants(tmp_path, unit):
    seconds = np.arange(ROWS) * 3600
    zoned = pa.array([datetime(2024, 3, 31, tzinfo=UTC) + timedelta(seconds=int(s)) for s in seconds])
    path = parquet(tmp_path, gmt_create=zoned.cast(pa.timestamp(unit, "Europe/Berlin")))
    assert read_trace(path).created_s.tolist() == seconds.tolist()  # across the hour that Berlin leaves out
    text = csv(tmp_path, gmt_create=[f"2024-03-31T0{hour + 2}:00:00+02:00" for hour in range(ROWS)])
    assert read_trace(text).created_s.tolist() == seconds.tolist()


@pytest.mark.parametrize("value", ["now", "today", "yesterday", "9999-12-31", "1.5", "12:00"])
def test_what_is_no_time_of_a_log_is_counted(tmp_path, value):
    path = csv(tmp_path, gmt_create=[value, *(f"2024-01-01 00:00:0{row}" for row in range(1, ROWS))])
    assert read_trace(path).not_used == {"gmt_create is not a time": 1}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("1e300", "above 1,000,000"),
        ("1000001", "above 1,000,000"),
        ("-1", "below 0"),
        ("0", "0"),
        ("inf", "not a number"),
        ("NaN", "missing"),
    ],
)
def test_an_impossible_execution_time_is_counted_by_its_reason(tmp_path, value, reason):
    values = [value, 10, 11, 12, 13, 14]
    expected = {f"exec_time_seconds is {reason}": 1}
    assert read_trace(csv(tmp_path, exec_time_seconds=values)).not_used == expected
    assert read_trace(parquet(tmp_path, exec_time_seconds=[float(v) for v in values])).not_used == expected
    with pytest.raises(ConfigurationError, match="row 1: exec_time_seconds is"):
        read_trace(csv(tmp_path, exec_time_seconds=values), TraceRules(strict=True))


def test_the_order_of_the_rows_does_not_matter(tmp_path):
    order = [3, 0, 5, 1, 4, 2]
    shuffled = {name: [values[row] for row in order] for name, values in columns().items()}
    sorted_log, other = read_trace(parquet(tmp_path)), read_trace(csv(tmp_path, **shuffled))
    for name in ("created_s", "group_index", "exec_s", "characters"):
        assert np.array_equal(getattr(sorted_log, name), getattr(other, name)), name


def test_a_column_that_stands_twice_is_refused(tmp_path):
    path = csv(tmp_path)
    path.write_text("\n".join(f"{line},{line.split(',')[4]}" for line in path.read_text().splitlines()))
    assert "has the column groupId 2 times" in refused(path)
    table = pa.table(columns()).append_column("groupId", pa.array(["z"] * ROWS))
    path = tmp_path / "log.parquet"
    pq.write_table(table, path)
    assert "has the column groupId 2 times" in refused(path)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("groupId", [{"id": 1}] * ROWS),
        ("groupId", [[1, 2]] * ROWS),
        ("prompt_length", [timedelta(seconds=1)] * ROWS),
        ("prompt_length", [True] * ROWS),
        ("exec_time_seconds", [START] * ROWS),
        ("gmt_create", list(range(ROWS))),
        ("gmt_create", [timedelta(seconds=1)] * ROWS),
    ],
)
def test_a_column_of_another_meaning_is_refused_by_its_name(tmp_path, column, values):
    assert f"column {column} is stored as" in refused(parquet(tmp_path, **{column: values}))


def test_prompts_are_not_read_whatever_they_hold(tmp_path):
    path = csv(tmp_path)
    header, *rows = path.read_bytes().splitlines()
    prompts = [b'"two\nlines, ""quoted"""', b"\xff\xfe", b"NA", b'"' + b"x" * 2_000_000 + b'"', b"5 feet", b""]
    lines = [b"\xef\xbb\xbfprompt," + header, *(p + b"," + row for p, row in zip(prompts, rows, strict=True))]
    path.write_bytes(b"\r\n".join(lines))
    assert read_trace(path).exec_s.tolist() == columns()["exec_time_seconds"]


def test_a_quotation_mark_that_is_never_closed_does_not_swallow_the_rest(tmp_path):
    lines = csv(tmp_path).read_text().splitlines()
    lines[3] = lines[3].removesuffix("30") + '"30'
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    assert "never closed" in refused(tmp_path / "log.csv")


def test_a_long_group_is_refused_before_it_is_copied_for_each_row(tmp_path):
    rows, name = 400_000, "g" * 100_000  # 37 GiB as one array of text
    table = {key: pa.repeat(pa.scalar(values[0]), rows) for key, values in columns().items()}
    table["groupId"] = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0), rows), [name])
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table(table), path)
    assert path.stat().st_size < 1_000_000
    assert "column groupId holds a value of 100,000 characters, more than the limit of 256" in refused(path)
    assert "100,000 characters" in refused(csv(tmp_path, groupId=[name] * ROWS))
    pq.write_table(pa.table(columns(groupId=[name[:-row] for row in range(1, ROWS + 1)])), path, use_dictionary=False)
    assert "characters" in refused(path)


def test_rows_above_the_limit_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "MAX_ROWS", ROWS - 1)
    assert "has 6 rows, more than the limit of 5" in refused(parquet(tmp_path))
    assert "has more than 5 rows" in refused(csv(tmp_path))


def test_a_log_that_grows_when_it_is_decompressed_is_refused_at_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "MAX_BYTES", 20_000_000)
    header, row, *_ = csv_text().splitlines()
    path = tmp_path / "log.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write(header + "\n" + (row + "\n") * 500_000)
    assert path.stat().st_size < 200_000
    assert "holds more than 20,000,000 bytes" in refused(path)


def test_a_row_without_end_is_refused(tmp_path):
    path = csv(tmp_path)
    path.write_text(path.read_text() + '"' + "x" * (3 * batches.MAX_ROW_BYTES))
    assert "a row is longer than 4,194,304 bytes" in refused(path)


def test_more_groups_than_the_limit_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_GROUPS", 2)
    assert "names more than 2 groups" in refused(csv(tmp_path))


def test_many_labels_that_no_rule_selects_are_counted_together(tmp_path):
    rows = 500
    table = {key: [values[0]] * rows for key, values in columns().items()}
    table["predict_status"] = [f"S{row}" for row in range(rows - 1)] + ["SUCCEED"]
    not_used = read_trace(csv(tmp_path, **table)).not_used
    assert len(not_used) == reading.MAX_REASONS + 1 and sum(not_used.values()) == rows - 1
    assert not_used["predict_status is another one"] == rows - 1 - reading.MAX_REASONS


@pytest.mark.parametrize(
    "rules", [{"load": 1e-12}, {"load": 1e-320}, {"time_compression": 1e-12}, {"time_compression": 1e-323}]
)
def test_a_log_is_not_spread_over_more_slots_than_memory_holds(tmp_path, rules):
    with pytest.raises(ConfigurationError, match=r"slots, more than the limit of 10,000,000; choose a higher load"):
        TraceArrivals.from_file(csv(tmp_path), NETWORK, TraceRules(**rules))


def test_a_slot_is_not_padded_to_a_whole_log(tmp_path):
    rows = 20_001
    table = {key: [values[0]] * rows for key, values in columns().items()}
    path = parquet(tmp_path, **(table | {"groupId": ["a"] * rows}))
    assert "20,001 tasks of one station in one slot, more than the limit of 10,000; set max_tasks" in refused(
        path, TraceRules(time_compression=1.0)
    )


def damaged(data, rng):
    """The bytes with some cut off, changed, doubled or put in."""
    data, (start, size) = bytearray(data), (int(rng.integers(len(data))), int(rng.integers(1, 40)))
    how = rng.integers(5)
    if how == 0:
        return bytes(data[:start])
    if how == 1:
        data[start : start + size] = rng.bytes(size)
    elif how == 2:
        data[start : start + size] = b""
    elif how == 3:
        data[start:start] = data[start : start + size]
    else:
        snippets = (b'"', b"\n", b",", b"\x00", b"1e999", b"-", b"\xff", b"NaN", b"9" * 400)
        data[start:start] = snippets[rng.integers(len(snippets))]
    return bytes(data)


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet"])
@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_log_is_read_or_refused_in_one_line(tmp_path, ending, seed):
    rng = np.random.default_rng([seed, len(ending)])
    whole = parquet(tmp_path).read_bytes() if ending == "parquet" else csv(tmp_path).read_bytes()
    path = tmp_path / f"damaged.{ending}"
    outcomes = set()
    for _ in range(60):
        unpacked_first = ending == "csv.gz" and rng.random() < 0.5
        data = damaged(whole, rng) if ending != "csv.gz" or unpacked_first else whole
        data = gzip.compress(data) if ending == "csv.gz" else data
        path.write_bytes(data if ending != "csv.gz" or unpacked_first else damaged(data, rng))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                arrivals = TraceArrivals.from_file(path, NETWORK, TraceRules(time_compression=1.0))
            work = sum(window.workload_gcycles.sum() for window in arrivals.with_part((0.0, 1.0)).windows(10_000))
            assert np.isfinite(work) and work > 0
            outcomes.add("read")
        except ConfigurationError as error:
            assert "\n" not in str(error) and len(str(error)) < 1000
            outcomes.add("refused")
    assert outcomes >= {"refused"}


def test_evaluation_lays_out_only_the_windows_that_it_plays():
    class Counting(TraceTimetable):
        laid_out = 0

        def window(self, *args):
            Counting.laid_out += 1
            return super().window(*args)

    setting = build_setting({"preset": "sample-trace", "slots": 2})
    table = setting.arrivals.timetable
    counting = Counting(**{field.name: getattr(table, field.name) for field in fields(table)})
    object.__setattr__(setting, "arrivals", TraceArrivals(counting))
    assert len(evaluation_arrivals(setting, 3, seed=0).task_counts) == 3
    assert Counting.laid_out == 3


def test_another_part_of_a_log_is_taken_without_reading_it_again(tmp_path):
    path = csv(tmp_path)
    spec = {"preset": "sample-trace", "slots": 1, "arrivals": {"path": str(path), "time_compression": 1.0}}
    setting = build_setting(spec)
    later = build_setting({**spec, "arrivals": {**spec["arrivals"], "part": [0.5, 1.0]}})
    path.unlink()
    taken = setting.with_part((0.5, 1.0))
    assert taken.spec == later.spec and taken.load == later.load
    assert taken.arrivals.describe() == later.arrivals.describe()
    with pytest.raises(ConfigurationError, match="'paper' has no request log"):
        build_setting({}).with_part((0.0, 0.5))
