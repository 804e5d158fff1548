"""YAML and JSON files that people write: right values, or one line that names the file and the place."""

import os

import pytest

from lad_rllib.errors import ConfigurationError
from lad_rllib.text_files import read_structured


@pytest.fixture
def file_of(tmp_path):
    def write(content, name="file.yaml"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize("text", ["1e-4", "1.0e-4", "1E-4", "+1e-4", ".1e-3"])
def test_a_number_with_an_exponent_is_a_number_with_or_without_a_point(file_of, text):
    assert read_structured(file_of(f"rate: {text}")) == {"rate": 1e-4}


@pytest.mark.parametrize("text", ["'1e-4'", "1e-4s", "e4", "1e", "0x1e-4"])
def test_what_is_quoted_or_no_number_stays_a_text(file_of, text):
    assert read_structured(file_of(f"rate: {text}")) == {"rate": text.strip("'")}


@pytest.mark.parametrize("name", ["file.yaml", "file.json"])
def test_a_byte_order_mark_is_no_part_of_the_content(file_of, name):
    assert read_structured(file_of(b"\xef\xbb\xbf" + b'{"a": 1}', name)) == {"a": 1}


def bomb(levels=30):
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{k}: &a{k} [*a{k - 1}, *a{k - 1}]" for k in range(1, levels)]
    return "\n".join(lines)


def merging_bomb(levels=30):
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{k}: &a{k} {{<<: [*a{k - 1}, *a{k - 1}], y{k}: 1}}" for k in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        ("a: 1\nb: 2\na: 3", "file.yaml", r"key 'a' stands twice \(line 3\)"),
        ("n: {a: 1, a: 3}", "file.yaml", r"key 'a' stands twice \(line 1\)"),
        ('{"a": 1, "a": 2}', "file.json", "key 'a' stands twice"),
        (bomb(), "file.yaml", "aliases expand to more than"),
        (merging_bomb(), "file.yaml", "aliases expand to more than"),
        ("a: &a [*a]", "file.yaml", "a value holds itself"),
        ("[" * 600 + "]" * 600, "file.json", "nested too deeply"),
        ('{"a":' * 600 + "1" + "}" * 600, "file.json", "nested too deeply"),
        ("[" * 5000, "file.yaml", "nested too deeply"),
        ("[" * 100_000, "file.json", "nested too deeply"),
        ("a: !!python/object/apply:os.system [echo]", "file.yaml", "could not determine a constructor"),
        ("root: x: secret", "file.yaml", r"mapping values are not allowed here \(line 1"),
        ("a: 1\n---\nb: 2", "file.yaml", "another document"),
        (b"caf\xe9: 1", "file.yaml", "not UTF-8 at byte 3; save it as UTF-8"),
        ("a: 1".encode("utf-16"), "file.yaml", "not UTF-8"),
        (b"a: \0", "file.yaml", "NUL"),
        (b"a: \x07", "file.yaml", "special characters are not allowed"),
        (b"#" * 5_000_000, "file.yaml", "5,000,000 bytes"),
        ("{", "file.json", "Expecting property name"),
    ],
)
def test_what_cannot_be_read_is_one_line_with_the_file_and_without_its_content(file_of, content, name, said):
    path = file_of(content, name)
    with pytest.raises(ConfigurationError, match=said) as error:
        read_structured(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value) and "secret" not in str(error.value)


def test_devices_folders_pipes_and_missing_files_are_refused_without_reading_them(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, said in [
        ("/dev/zero", "not a regular file"),
        (pipe, "not a regular file"),
        (tmp_path, "a folder"),
        (tmp_path / "none.yaml", "No such file"),
        ("nul\0byte", "null byte"),
    ]:
        with pytest.raises(ConfigurationError, match=said):
            read_structured(path)
