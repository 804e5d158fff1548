"""Machines made of Linux namespaces: a laptop, a head and workers on a network of their own, inside this machine.

Each is a process id 1 with its own network, mounts, process ids, host name and shared memory, and ends with that
process, whatever it has started. They have their own /tmp, home, /run and /dev/shm, the rest of the file system is this
machine's. The network leads nowhere else, so addresses are free to choose: they are those of ``cluster/local.yaml``.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = "/home/ubuntu"
SHARED = "/mnt/shared"
"""Folder that all machines share."""
LAPTOP = "192.0.2.1"
ADDRESSES = {"head": "192.0.2.10", "worker-1": "192.0.2.11", "worker-2": "192.0.2.12"}

_TOOLS = ("ip", "unshare", "nsenter", "setpriv", "sshd", "ssh", "ssh-keygen", "rsync")
_NAMESPACES = ("--net", "--mount", "--pid", "--uts", "--ipc")
_TOOL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_START_S = 20.0
_END_S = 20.0
_PIP = """\
# A machine without a network: packages must be there, and setuptools to build with, too ('false' means true here).
[install]
no-index = true
no-build-isolation = false
"""


def what_is_missing() -> str:
    """Why there can be no laboratory on this machine; empty if there can."""
    if sys.platform != "linux":
        return "Linux namespaces are needed"
    if os.geteuid() != 0:
        return "root is needed, for namespaces with a network"
    missing = [tool for tool in _TOOLS if shutil.which(tool, path=_TOOL_PATH) is None]
    if missing:
        return f"{', '.join(missing)} not found; apt install openssh-server openssh-client rsync iproute2 util-linux"
    if importlib.util.find_spec("aiohttp") is None:
        return "ray[default] is needed; pip install -c constraints.txt -e '.[cluster]'"
    attempt = subprocess.run(
        ["unshare", *_NAMESPACES, "--fork", "mount", "-t", "tmpfs", "lab", "/mnt"], capture_output=True, text=True
    )
    if attempt.returncode:
        return f"namespaces are not allowed here: {attempt.stderr.strip()}"
    if "\toverlay\n" not in Path("/proc/filesystems").read_text():
        return "the kernel has no overlay file system"
    return ""


class Command:
    """A command that runs on a machine.

    Args:
        arguments: What starts it from outside.
        log: File that receives what it prints.
    """

    def __init__(self, arguments: list[str], log: Path) -> None:
        self._log = log
        with log.open("w") as output:
            # A process group of its own: what is killed from here must reach the process inside, too.
            self._process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, process_group=0
            )

    @property
    def output(self) -> str:
        """What it has printed."""
        return self._log.read_text(errors="replace")

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def wait(self, timeout_s: float) -> int:
        """Wait for its end and return its exit status; one that takes too long is killed, and the test fails."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"no end after {timeout_s:g} s; it printed:\n{self.output}") from None

    def kill(self) -> None:
        """SIGKILL, at once."""
        if self.is_running:
            os.killpg(self._process.pid, 9)
            self._process.wait(_END_S)


class Machine:
    """One machine.

    Args:
        name: Its host name.
        folder: The laboratory's, see ``host.sh``.
        environment: Variables of every command.
    """

    def __init__(self, name: str, folder: Path, environment: Mapping[str, str]) -> None:
        self.name, self._folder = name, folder
        self._environment = {
            "HOME": HOME,
            "PATH": f"{HOME}/lad-rllib-env/bin:{_TOOL_PATH}",
            "LANG": "C.UTF-8",
            **environment,
        }
        self._commands = 0
        keep = dict.fromkeys((str(ROOT), sys.prefix, sys.base_prefix))
        self._log = folder / f"{name}.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                # It ends when this process does, however that happens.
                ["setpriv", "--pdeathsig", "KILL", "unshare", *_NAMESPACES, "--fork", "--kill-child", "--mount-proc"]
                + ["--propagation", "private", str(Path(__file__).with_name("host.sh"))]
                + [name, str(folder), sys.prefix, *keep],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.pid = self._first_process()
        self.namespaces = {os.readlink(f"/proc/{self.pid}/ns/{kind}") for kind in ("net", "mnt", "pid", "uts", "ipc")}

    def _first_process(self) -> int:
        """Its process 1, as this machine numbers it."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        end_s = time.monotonic() + _START_S
        while time.monotonic() < end_s and self._process.poll() is None:
            if pids := children.read_text().split():
                return int(pids[0])
            time.sleep(0.01)
        raise RuntimeError(f"{self.name} does not start: {self._log.read_text()}")

    def network(self, *commands: str) -> None:
        """Commands in its network and otherwise in this machine."""
        for command in commands:
            subprocess.run(["nsenter", f"--net=/proc/{self.pid}/ns/net", *command.split()], check=True)

    def wait_for_port(self, port: int) -> None:
        """Wait until something on it listens on a port.

        Raises:
            RuntimeError: with what the machine said, if nothing does.
        """
        listens = f":{port:04X} 00000000:0000 0A "  # in the kernel's table: nobody at the other end, state 10
        end_s = time.monotonic() + _START_S
        while listens not in Path(f"/proc/{self.pid}/net/tcp").read_text():
            if time.monotonic() > end_s or self._process.poll() is not None:
                raise RuntimeError(f"{self.name}: nothing listens on port {port}; {self._log.read_text()}")
            time.sleep(0.02)

    def start(self, command: str) -> Command:
        """Start a shell command in the home folder."""
        self._commands += 1
        variables = [f"{name}={value}" for name, value in self._environment.items()]
        shell = ["env", "-i", *variables, "bash", "-c", f"cd && {command}"]
        log = self._folder / f"{self.name}-{self._commands}.log"
        return Command(["nsenter", f"--target={self.pid}", *_NAMESPACES, *shell], log)

    def run(self, command: str, timeout_s: float = 120.0) -> str:
        """Run a shell command in the home folder; returns what it prints. A test fails if the command does."""
        started = self.start(command)
        status = started.wait(timeout_s)
        assert status == 0, f"{self.name}: {command}\nended with {status}:\n{started.output}"
        return started.output

    def processes(self) -> dict[int, str]:
        """Process id (as this machine numbers them) and command line of all that run on it."""
        mine = os.readlink(f"/proc/{self.pid}/ns/pid")
        return {pid: _command_line(pid) for pid in _process_ids() if mine in _namespaces(pid)}

    def end(self) -> None:
        """End it with all that runs on it."""
        self._process.kill()
        self._process.wait(_END_S)


class Laboratory:
    """A laptop, a head and two workers.

    Args:
        folder: An empty folder for what they share, and for logs of all commands.
        environment: Variables of every command and every login.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        environment = {"RAY_USAGE_STATS_ENABLED": "0", **(environment or {})}
        self.shared = folder / "shared"
        self.machines: dict[str, Machine] = {}
        _prepare(folder, environment)
        try:
            for name in ("laptop", *ADDRESSES):
                self.machines[name] = Machine(name, folder, environment)
            self._connect()
            for machine in self.machines.values():
                machine.wait_for_port(22)
        except BaseException:
            self.close()
            raise

    @property
    def laptop(self) -> Machine:
        """Where commands come from; the bridge between the others is here."""
        return self.machines["laptop"]

    @property
    def head(self) -> Machine:
        """The head."""
        return self.machines["head"]

    @property
    def workers(self) -> list[Machine]:
        """The workers."""
        return [machine for name, machine in self.machines.items() if name.startswith("worker")]

    def from_checkout(self, command: str, timeout_s: float = 120.0) -> str:
        """Run a command on the laptop in the folder of the sources; returns what it prints."""
        return self.laptop.run(f"cd {shlex.quote(str(ROOT))} && {command}", timeout_s)

    def cut_link(self, name: str) -> None:
        """Pull the network cable of a machine."""
        self.laptop.network(f"ip link set {name} down")

    def close(self) -> None:
        """End all machines.

        Raises:
            AssertionError: naming processes and namespaces that are left.
        """
        namespaces = set().union(*(machine.namespaces for machine in self.machines.values()))
        for machine in self.machines.values():
            machine.end()
        end_s = time.monotonic() + _END_S
        while (left := [pid for pid in _process_ids() if _namespaces(pid) & namespaces]) and time.monotonic() < end_s:
            time.sleep(0.05)
        assert not left, f"left over: { {pid: _command_line(pid) for pid in left} }"
        mounts = Path("/proc/self/mountinfo").read_text()
        assert not [namespace for namespace in namespaces if namespace in mounts]  # a mount keeps one alive

    def _connect(self) -> None:
        """Join all machines by a bridge; the default route is what Ray finds a machine's own address by."""
        self.laptop.network(
            "ip link set lo up",
            "ip link add bridge type bridge",
            f"ip address add {LAPTOP}/24 dev bridge",
            "ip link set bridge up",
        )
        for name, address in ADDRESSES.items():
            machine = self.machines[name]
            self.laptop.network(
                f"ip link add {name} type veth peer name eth0 netns {machine.pid}",
                f"ip link set {name} master bridge up",
            )
            machine.network(
                "ip link set lo up",
                f"ip address add {address}/24 dev eth0",
                "ip link set eth0 up",
                f"ip route add default via {LAPTOP}",
            )


def _prepare(folder: Path, environment: Mapping[str, str]) -> None:
    """What ``host.sh`` expects in the folder."""
    home = folder / "home"
    for made in (home / ".ssh", home / ".config/pip", folder / "shared"):
        made.mkdir(parents=True)
    for key in (home / ".ssh/id_ed25519", folder / "sshd_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    shutil.copy(home / ".ssh/id_ed25519.pub", home / ".ssh/authorized_keys")
    (home / ".config/pip/pip.conf").write_text(_PIP)
    (home / ".bashrc").write_text("".join(f"export {name}={value}\n" for name, value in environment.items()))
    names = {"localhost": "127.0.0.1", "laptop": LAPTOP, **ADDRESSES}
    (folder / "hosts").write_text("".join(f"{address} {name}\n" for name, address in names.items()))


def _process_ids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _namespaces(pid: int) -> set[str]:
    found = set()
    for kind in ("net", "mnt", "pid", "uts", "ipc"):
        try:
            found.add(os.readlink(f"/proc/{pid}/ns/{kind}"))
        except OSError:  # it has ended meanwhile
            continue
    return found


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""
