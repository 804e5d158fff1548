"""Prompts of a file: one per line, whatever wrote the file, and nothing lost or split."""

import codecs
import os
import threading

import pytest

from lad_rllib.errors import ConfigurationError
from lad_rllib.service import read_prompts
from lad_rllib.service.prompts import MAX_PROMPT_FILE_BYTES


def read(tmp_path, content):
    (tmp_path / "prompts.txt").write_bytes(content)
    return read_prompts(tmp_path / "prompts.txt")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_each_way_to_end_a_line_ends_a_prompt(tmp_path, end):
    assert read(tmp_path, f"a cat{end}{end}# no prompt{end}a dog".encode()) == ["a cat", "a dog"]


@pytest.mark.parametrize("letter", ["\u2028", "\u2029", "\x85", "\f", "\v", "\x1c", "\x1d", "\x1e"])
def test_other_line_ends_of_unicode_are_part_of_a_prompt(tmp_path, letter):
    prompt = f"a cat{letter}on a mat"
    assert read(tmp_path, f"{prompt}\na dog\n".encode()) == [prompt, "a dog"]


def test_a_byte_order_mark_is_no_part_of_a_prompt_also_where_files_were_put_together(tmp_path):
    assert read(tmp_path, codecs.BOM_UTF8 + b"a cat\n" + codecs.BOM_UTF8 + b"a dog\n") == ["a cat", "a dog"]
    assert read(tmp_path, codecs.BOM_UTF8 + b"# no prompt\na dog\n") == ["a dog"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a cat\n".encode("utf-16"), "it is UTF-16; save it as UTF-8"),
        (codecs.BOM_UTF16_BE + "a cat\n".encode("utf-16-be"), "it is UTF-16; save it as UTF-8"),
        ("a cat\n".encode("utf-32"), "it is UTF-32; save it as UTF-8"),
        ("a cat\n".encode("utf-16-le"), "NUL characters, so it is no text in UTF-8 .maybe UTF-16.; save it as UTF-8"),
        ("Zürich\n".encode("latin-1"), "byte 1 is not UTF-8; save it as UTF-8"),
        (b"a cat\0\n", "NUL characters"),
        (b"a" * (MAX_PROMPT_FILE_BYTES + 1), "more than 64,000,000 bytes; split it"),
    ],
)
def test_a_file_that_is_no_such_text_is_one_line_that_says_what_it_is(tmp_path, content, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        read(tmp_path, content)
    assert "prompts.txt" in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_a_device_without_end_is_refused_and_a_pipe_is_read(tmp_path):
    with pytest.raises(ConfigurationError, match="/dev/zero: it has more than"):
        read_prompts("/dev/zero")
    with pytest.raises(ConfigurationError, match="Is a directory"):
        read_prompts(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_text("a cat\n"))
    writer.start()
    assert read_prompts(tmp_path / "pipe") == ["a cat"]
    writer.join()
