"""Ctrl-C, SIGTERM and a closed terminal keep what was done, say so in one line, and set the exit status."""

import argparse
import os
import pty
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
from ray._private import auto_init_hook

from lad_rllib.runs import local_ray, ray_guard
from lad_rllib.runs.command import run_command
from lad_rllib.runs.signals import SIGNALS, Interrupted, StopRequest, handled


def command(*signals):
    """A command to which signals come one after the other."""

    def run(parsed):
        for number in signals:
            signal.raise_signal(number)
        return 0

    return run


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_any_command_in_one_line_with_its_own_status(number, status, capsys):
    assert run_command(command(number), argparse.Namespace(command="train")) == status
    assert capsys.readouterr().err == "lad-rllib train: interrupted\n"


def test_signals_mean_afterwards_what_they_meant_before():
    before = [signal.getsignal(number) for number in SIGNALS]
    assert run_command(command(), argparse.Namespace(command="train")) == 0
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_signal_that_is_ignored_from_the_start_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert run_command(command(signal.SIGHUP), argparse.Namespace(command="train")) == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_arrives_in_a_finaliser_is_not_lost():
    class Finalised:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted), handled():
        Finalised()
        signal.sigtimedwait([], 10)  # ends with the signal


def test_a_stop_request_takes_the_first_signal_as_a_wish_and_is_interrupted_by_the_next(capsys):
    with handled(), StopRequest("stopping soon") as stop:
        assert stop.signal is None
        signal.raise_signal(signal.SIGTERM)
        assert stop.signal == signal.SIGTERM and "stopping soon; once more" in capsys.readouterr().err
        with pytest.raises(Interrupted) as interruption:
            signal.raise_signal(signal.SIGINT)
    assert interruption.value.status == 130


def test_a_stop_request_that_nobody_hears_interrupts():
    with handled(), StopRequest("stopping soon", pass_on=lambda: False), pytest.raises(Interrupted):
        signal.raise_signal(signal.SIGINT)


CLEANS_UP_FOR_EVER = """
import signal, sys, time
from lad_rllib.runs.signals import handled
with handled():
    try:
        print("works", flush=True)
        time.sleep(60)
    finally:
        print("cleans up", flush=True)
        time.sleep(60)
"""


@pytest.mark.parametrize(("second", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_ends_the_clean_up_in_one_line(second, status):
    first = {signal.SIGINT: signal.SIGTERM, signal.SIGTERM: signal.SIGINT}[second]
    with subprocess.Popen([sys.executable, "-c", CLEANS_UP_FOR_EVER], stdout=-1, stderr=-1, text=True) as process:
        for line, number in (("works\n", first), ("cleans up\n", second)):
            assert process.stdout.readline() == line
            process.send_signal(number)
        assert process.wait(10) == status
        assert process.stderr.read() == "interrupted again: ended at once\n"


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_is_sent_twice_for_one_event_counts_once(number):
    with handled():
        with StopRequest("stopping soon") as stop:
            signal.raise_signal(number)
            signal.raise_signal(number)
        assert stop.signal == number
    with pytest.raises(Interrupted), handled():
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(number)


def test_after_an_interruption_one_more_signal_ends_the_process_in_one_line():
    script = (
        "import signal; from lad_rllib.runs.signals import handled, Interrupted\n"
        "try:\n"
        "    with handled(): signal.raise_signal(signal.SIGTERM)\n"
        "except Interrupted: signal.raise_signal(signal.SIGINT)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "interrupted again: ended at once\n")


def test_results_are_written_though_the_terminal_is_gone(tmp_path):
    script = f"""
import time
from lad_rllib.runs.signals import handled, Interrupted
try:
    with handled():
        print("works", flush=True)
        time.sleep(60)
except Interrupted as interruption:
    print("would fail on a closed terminal", flush=True)
    open({str(tmp_path / "results")!r}, "w").write(str(interruption.status))
"""
    pid, terminal = pty.fork()
    if not pid:
        os.execv(sys.executable, [sys.executable, "-c", script])
    assert b"works" in os.read(terminal, 100)
    os.close(terminal)
    os.waitpid(pid, 0)
    assert (tmp_path / "results").read_text() == "129"


def process_with(file, name):
    """A process that is called so and has a file open."""
    script = f"f = open({str(file)!r}, 'w'); print(flush=True); input()"
    process = subprocess.Popen([name, "-c", script], executable=sys.executable, stdin=-1, stdout=-1)
    process.stdout.readline()
    return process


def test_the_guard_ends_rays_agents_of_its_session_alone_and_removes_its_folder(tmp_path):
    ours, other = tmp_path / "session_1", tmp_path / "session_10"
    (tmp_path / "session_latest").symlink_to(ours)
    for folder in (ours, other):
        folder.mkdir()
    agent = process_with(ours / "agent.log", "ray::DashboardAgent")
    others = [process_with(other / "agent.log", "ray::DashboardAgent"), process_with(ours / "notes", "python")]
    try:
        ray_guard.remove(ours, "/the/ray/package")
        assert agent.poll() is not None
        assert [process.poll() for process in others] == [None, None]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["session_10"]
    finally:
        for process in (agent, *others):
            process.kill()
            process.communicate()


@pytest.mark.parametrize("length", [1, 1_000_000])
def test_output_that_nobody_reads_any_more_ends_a_command_without_a_word(length):
    script = f"""
import argparse
from lad_rllib.runs.command import run_command
raise SystemExit(run_command(lambda parsed: print("x" * {length}) or 0, argparse.Namespace(command="evaluate")))
"""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run([sys.executable, "-c", script], stdout=writer, stderr=subprocess.PIPE, timeout=60)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_broken_pipe_that_is_not_the_output_keeps_its_traceback():
    def run(parsed):
        raise BrokenPipeError("a mistake of ours")

    with pytest.raises(BrokenPipeError):
        run_command(run, argparse.Namespace(command="train"))


def test_once_its_ray_has_ended_no_thread_of_a_command_starts_another_one(monkeypatch):
    ended = []
    monkeypatch.setattr("ray.shutdown", lambda: ended.append("ray"))
    monkeypatch.setattr("ray._private.auto_init_hook.enable_auto_connect", True)
    monkeypatch.setattr(local_ray, "_guards", [SimpleNamespace(communicate=lambda timeout: ended.append("guard"))])
    local_ray.end()
    assert ended == ["ray", "guard"] and not auto_init_hook.enable_auto_connect
