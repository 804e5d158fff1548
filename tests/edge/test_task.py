"""A task that no server can serve is refused when it is made."""

import pickle

import numpy as np
import pytest

from lad_rllib.edge import ImageTask, InvalidRequest


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", ""),
        ("prompt", "  \n"),
        ("prompt", None),
        ("prompt", 3),
        pytest.param("denoising_steps", "x" * 10**6, id="long text"),
        pytest.param("denoising_steps", 10**5000, id="5000 digits"),
        ("denoising_steps", np.float64(2.5)),
        ("loras", ["ink", "ink"]),
        ("denoising_steps", np.True_),
        ("denoising_steps", 0),
        ("denoising_steps", -1),
        ("denoising_steps", 1001),
        ("denoising_steps", 2.5),
        ("denoising_steps", True),
        ("width", 0),
        ("width", 100),
        ("height", -8),
        ("height", 8.0),
        ("width", 16392),
        ("height", 10**30),
        ("guidance", 1001),
        ("guidance", 1e300),
        ("deadline_s", 1e300),
        ("deadline_s", 10**400),
        ("input_mbit", 1e12),
        ("input_mbit", 10**400),
        ("input_mbit", float("inf")),
        ("seed", -1),
        ("seed", 2**63),
        ("guidance", -1),
        ("guidance", float("nan")),
        ("deadline_s", 0),
        ("deadline_s", float("inf")),
        ("station", -1),
        ("input_mbit", -0.1),
        ("input_mbit", "1"),
        ("negative_prompt", 3),
        ("negative_prompt", "half an emoji \ud83d"),
    ],
)
def test_a_bad_value_is_refused_by_the_name_of_its_field(field, value):
    with pytest.raises(InvalidRequest, match=field) as caught:
        ImageTask(**{"task_id": "a", "prompt": "cat", "denoising_steps": 1, field: value})
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200 and caught.value.task_id == "a"


def test_numbers_of_numpy_are_taken_for_what_they_are():
    given = {"denoising_steps": np.int64(3), "width": np.int32(8), "guidance": np.float32(2.5), "station": np.uint8(1)}
    task = ImageTask("a", "cat", **given)
    assert task == ImageTask("a", "cat", 3, width=8, guidance=2.5, station=1)
    assert {type(getattr(task, name)) for name in given} == {int, float}


@pytest.mark.parametrize("task_id", ["", None, 3])
def test_a_task_needs_a_name(task_id):
    with pytest.raises(InvalidRequest, match="task_id"):
        ImageTask(task_id, "cat", 1)


def test_the_input_is_the_prompt_in_utf8_and_a_request_head_unless_stated():
    assert ImageTask("a", "é" * 100, 1).upload_mbit == pytest.approx((200 + 2048) * 8e-6)
    assert ImageTask("a", "cat", 1, input_mbit=3.5).upload_mbit == 3.5
    assert ImageTask("a", "cat", 1, input_mbit=0).upload_mbit == 0


def test_a_task_is_the_same_after_pickling():
    task = ImageTask("a", "cat", 4, 512, 256, 7, 5.0, 10.0, 3, 1.5)
    assert pickle.loads(pickle.dumps(task)) == task
