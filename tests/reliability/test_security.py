"""Nobody else gets in: no code from data, no port without a secret, no plug-in that was not asked for."""

from __future__ import annotations

import ast
import asyncio
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import psutil
import pytest
from distributed import Client
from distributed.security import Security

from mft_engine.studies import sweep as sweeps
from mft_engine.tasks import REGISTRY
from mft_engine.tasks.plugins import ENABLED, load_plugins, waiting_plugins
from mft_engine.tasks.task import Task

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for room in ("mft_engine", "app") for path in (ROOT / room).rglob("*.py"))
# Calls that run code which came as data, or that give a text to a shell.
FORBIDDEN_CALLS = {
    "eval", "exec", "__import__", "torch.load", "pickle.load", "pickle.loads", "marshal.loads", "os.system", "os.popen",
    "yaml.load", "joblib.load", "dill.load", "cloudpickle.load", "cloudpickle.loads", "shelve.open",
}  # fmt: skip
FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "http", "socketserver", "xmlrpc"}
# Calls that wait for others to call.
LISTENING = {"listen", "create_server", "serve_forever", "start_server"}


def _calls(path: Path) -> list[tuple[str, ast.Call]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def test_no_source_runs_code_that_came_as_data():
    found = []
    for path in SOURCES:
        for name, call in _calls(path):
            keywords = {word.arg: word.value for word in call.keywords}
            shell, pickled = keywords.get("shell"), keywords.get("allow_pickle")
            if (
                name in FORBIDDEN_CALLS
                or (shell is not None and ast.unparse(shell) != "False")
                or (name in ("np.load", "numpy.load") and (pickled is None or ast.unparse(pickled) != "False"))
            ):
                found.append(f"{path.relative_to(ROOT)}:{call.lineno}: {name}")
    assert len(SOURCES) > 150 and not found


def test_no_source_imports_a_pickler_or_a_server():
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [f"{path.relative_to(ROOT)}: {name}" for name in names if name.split(".")[0] in FORBIDDEN_MODULES]
    assert not found


def test_no_source_listens():
    found = [
        f"{path.relative_to(ROOT)}:{call.lineno}: {name}"
        for path in SOURCES
        for name, call in _calls(path)
        if "." in name and name.rpartition(".")[2] in LISTENING
    ]
    assert not found


def _listeners() -> list[tuple[str, int]]:
    me = psutil.Process()
    return [
        (connection.laddr.ip, connection.laddr.port)
        for process in (me, *me.children(recursive=True))
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    ]


def _answer_to_a_stranger(place: tuple[str, int], path: str) -> bytes:
    """What a port says to one who speaks plainly, as an unencrypted Dask peer or a browser would."""
    said = b""
    with socket.create_connection(place, timeout=10) as caller:
        try:
            caller.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            caller.settimeout(3)
            while part := caller.recv(4096):
                said += part
        except OSError:
            pass
    return said


def test_nobody_without_the_secret_of_a_sweep_can_run_code_in_it(tmp_path):
    mark = tmp_path / "a stranger was here"
    with sweeps._client(1, None) as client:
        assert client.submit(lambda: 2).result() == 2, "the sweep itself works"
        address = client.scheduler.address
        assert address.startswith("tls://127.0.0.1:")
        listeners = _listeners()
        assert len(listeners) >= 2 and {ip for ip, _ in listeners} == {"127.0.0.1"}
        # Not one port tells somebody plain anything: neither Dask's handshake nor a page comes back.
        for place in listeners:
            for path in ("/", "/status", "/info/main/workers.html", "/health", "/metrics", "/json/identity.json"):
                answer = _answer_to_a_stranger(place, path)
                assert b"compression" not in answer, (place, answer[:200])
                assert b"HTTP" not in answer or b" 404 " in answer.splitlines()[0], (place, answer[:200])
        for stranger in (
            (address.replace("tls://", "tcp://"), None),
            (address, Security.temporary()),  # keys, but of another sweep
        ):
            with pytest.raises((OSError, asyncio.TimeoutError, RuntimeError)):
                Client(stranger[0], security=stranger[1], timeout=3).submit(mark.touch).result(timeout=3)
        assert client.submit(lambda: 3).result() == 3, "the sweep itself goes on"
    assert not mark.exists()


def test_a_window_or_a_command_opens_no_port():
    program = (
        "import time, psutil, mft_engine as m\n"
        "from mft_engine.recipe import load_recipe\n"
        "from mft_engine.experiment.experiment import Experiment\n"
        "Experiment(load_recipe('clover').replace({'network.n_neurons': 16})).advance(5)\n"
        "print(sum(c.status == psutil.CONN_LISTEN for c in psutil.Process().net_connections()))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "0", done.stderr


class _Entry:
    """An installed plug-in that notices when its code is imported."""

    def __init__(self, name: str) -> None:
        self.name, self.value, self.was_loaded = name, f"{name}_package:build", False

    def load(self):
        self.was_loaded = True
        return lambda name, parameters: Task(name, "Theirs", "x1", 2, lambda x: x[:, 0])


def test_a_plug_in_is_imported_only_where_it_is_enabled(monkeypatch):
    wanted, other = _Entry("wanted"), _Entry("other")
    monkeypatch.setattr(metadata, "entry_points", lambda group: [wanted, other])
    monkeypatch.delenv(ENABLED, raising=False)
    assert load_plugins(REGISTRY, lambda task: None, ()) == ({}, ())
    assert len(waiting_plugins()) == 2 and f"{ENABLED}=wanted" in " ".join(waiting_plugins())
    assert not wanted.was_loaded and not other.was_loaded
    monkeypatch.setenv(ENABLED, "wanted, missing")
    found, faults = load_plugins(REGISTRY, lambda task: None, {"wanted", "missing"})
    assert list(found) == ["wanted"] and wanted.was_loaded and not other.was_loaded
    assert len(faults) == 1 and "'missing'" in faults[0]
    assert len(waiting_plugins()) == 1 and "'other'" in waiting_plugins()[0]
