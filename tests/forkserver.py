"""Starts Python programs as forks of a process that has imported what they import.

To import google-cloud-speech and grpcio takes more than a second of a CPU, and the tests start hundreds of servers and
emulators. `Popen` and `run` are `subprocess`'s: what can be forked is, all else is executed. A fork has its own
descriptors, environment, working directory, session, random seeds and standard streams; it runs the program as
``python -m``, ``python -c`` or ``python FILE`` does, and ends as that does. What differs from a program that was
executed: its parent is the fork server, all forks have one hash seed, ``/proc/<pid>/cmdline`` and ``environ`` are the
server's, and the end of ``python -m`` destroys no modules. A test that is about such things uses `subprocess` itself.

The server has no thread, no event loop and no channel, which a fork would not survive. It ends with whom it serves.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import gc
import importlib
import io
import json
import os
import pkgutil
import random
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import types
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

ADDRESS = "FORK_SERVER"
"""The variable by which programs that tests execute find the server of the tests."""

STANDARD = (0, 1, 2)
REQUEST_BYTES = 1 << 18
MAX_DESCRIPTORS = 64

# What the interpreter or a package reads when it starts or is imported: with other values a program is executed.
READ_AT_IMPORT = (
    *("PYTHON", "LD_", "MALLOC_", "GLIBC_", "LC_", "LANG", "TZ", "SSL", "OPENSSL_", "OPENBLAS_", "OMP_", "NPY_"),
    *("NUMPY_", "GRPC_", "PROTOCOL_BUFFERS_", "GOOGLE_API_", "GCE_", "PROMETHEUS_", "prometheus_"),
    *("WEBSOCKETS_", "AIOHTTP_"),
)
# What must be there before anything runs, and what writes down at its end what ran.
INSTRUMENTS = ("LD_PRELOAD", "ASAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS", "COVERAGE_PROCESS_START")
INSTRUMENTED_BUILDS = ("trace", "sanitize")

CAN_FORK = (
    sys.platform == "linux"
    and not any(name in os.environ for name in INSTRUMENTS)
    and os.environ.get("FASTCALL_BUILD") not in INSTRUMENTED_BUILDS
)


def read_at_import(environ: dict[str, str]) -> dict[str, str]:
    """The part of an environment that a fork cannot have of its own."""
    # gRPC's is what the program sets before it imports it; the path is made anew in each fork.
    whole = {"GRPC_VERBOSITY": "NONE", **environ, "PYTHONPATH": "", "OPENBLAS_NUM_THREADS": ""}
    return {name: value for name, value in whole.items() if name.startswith(READ_AT_IMPORT)}


# --- who asks --------------------------------------------------------------------------------------------------


class Popen(subprocess.Popen[Any]):
    """As `subprocess.Popen`. Where it is a fork, the server tells its status; until then its id is its own."""

    _server: socket.socket | None = None

    def _execute_child(self, args: Any, *others: Any) -> None:
        if not self._fork(args, *others):
            super()._execute_child(args, *others)  # type: ignore[misc]

    def _fork(
        self,
        args: Any,
        executable: Any,
        preexec_fn: Any,
        close_fds: bool,
        pass_fds: Sequence[int],
        cwd: Any,
        env: Any,
        startupinfo: Any,
        creationflags: int,
        shell: bool,
        p2cread: int,
        p2cwrite: int,
        c2pread: int,
        c2pwrite: int,
        errread: int,
        errwrite: int,
        restore_signals: bool,
        gid: Any,
        gids: Any,
        uid: Any,
        umask: int,
        start_new_session: bool,
        process_group: int,
    ) -> bool:
        """Whether it was forked. The parameters are what `subprocess.Popen` hands to the method above."""
        is_special = executable or preexec_fn or shell or not close_fds or (gid, gids, uid) != (None, None, None)
        cores, args = placed(args)
        if is_special or umask != -1 or process_group != -1 or not is_program(args):
            return False
        request = {
            "argv": list(map(os.fspath, args[1:])),
            "cores": cores,
            "cwd": os.fspath(cwd or os.getcwd()),
            "environ": dict(os.environ if env is None else env),
            "pass_fds": sorted(pass_fds),
            "new_session": start_new_session,
            "interruptible": signal.getsignal(signal.SIGINT) is not signal.SIG_IGN,
        }
        given = zip((p2cread, c2pwrite, errwrite), STANDARD, strict=True)
        streams = [own if descriptor < 0 else descriptor for descriptor, own in given]
        server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        server.connect(server_address())
        socket.send_fds(server, [json.dumps(request).encode()], [*streams, *request["pass_fds"]])
        pid = json.loads(server.recv(REQUEST_BYTES))["pid"]
        if pid is None:
            server.close()
            return False
        self._server, self.pid, self._child_created = server, pid, True
        self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)  # type: ignore[attr-defined]
        return True

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if self._server is None:
            return super()._try_wait(wait_flags)  # type: ignore[misc, no-any-return]
        try:
            said = self._server.recv(REQUEST_BYTES, socket.MSG_DONTWAIT if wait_flags & os.WNOHANG else 0)
        except BlockingIOError:
            return 0, 0
        self._server.close()  # with that the server waits for it
        if not said:
            raise ChildProcessError("the fork server has ended before its fork")
        return self.pid, json.loads(said)["status"]

    def _internal_poll(self, _deadstate: int | None = None, *others: Any) -> int | None:
        if self._server is None:
            return super()._internal_poll(_deadstate, *others)  # type: ignore[misc, no-any-return]
        if self.returncode is None and self._waitpid_lock.acquire(False):  # type: ignore[attr-defined]
            try:
                if self.returncode is None:
                    pid, status = self._try_wait(os.WNOHANG)
                    if pid:
                        self._handle_exitstatus(status)  # type: ignore[attr-defined]
            except OSError:
                if _deadstate is None:
                    raise
                self.returncode = _deadstate
            finally:
                self._waitpid_lock.release()  # type: ignore[attr-defined]
        return self.returncode


def run(
    args: Sequence[str], *, timeout: float | None = None, check: bool, capture_output: bool = False, **options: Any
) -> subprocess.CompletedProcess[Any]:
    """As `subprocess.run`."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} if capture_output else {}
    with Popen(args, **pipes, **options) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(args, process.returncode, out, err)
    if check:
        done.check_returncode()
    return done


def placed(args: Any) -> tuple[list[int] | None, Any]:
    """On which core ``taskset -c CORE PROGRAM`` runs what."""
    if isinstance(args, list | tuple) and len(args) > 3 and args[:2] in (["taskset", "-c"], ("taskset", "-c")):
        return [int(args[2])], args[3:]
    return None, args


def is_program(args: Any) -> bool:
    """Whether it is a Python program, for this Python, without options of the interpreter."""
    if not CAN_FORK or isinstance(args, str | bytes | os.PathLike) or len(args) < 2 or args[0] != sys.executable:
        return False
    return (args[1] in ("-m", "-c") and len(args) > 2) or str(args[1]).endswith(".py")


_address: str | None = os.environ.get(ADDRESS)
_starting = threading.Lock()


def server_address() -> str:
    """The path of the server's socket; the server is started if there is none yet. Any thread."""
    global _address
    with _starting:
        if _address is None:
            _address = os.environ[ADDRESS] = _start()
    return _address


def _start() -> str:
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # OpenBLAS would start threads when numpy is imported.
    environ |= {"GRPC_VERBOSITY": environ.get("GRPC_VERBOSITY", "NONE"), "OPENBLAS_NUM_THREADS": "1"}
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve())], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ
    )
    atexit.register(_stop, server, os.getpid())
    assert server.stdout is not None
    path = server.stdout.readline().decode().strip()
    if not path:
        raise RuntimeError("the fork server has not started")
    return path


def _stop(server: subprocess.Popen[bytes], owner: int) -> None:
    """Its standard input says that its owner lives; it is killed with this process too."""
    if os.getpid() == owner:  # and no fork of it
        with server:
            pass


# --- who forks -------------------------------------------------------------------------------------------------


@dataclass
class Request:
    """A program to run. The descriptors are in the order of ``places``, where it will have them."""

    argv: list[str]
    cores: list[int] | None
    cwd: str
    environ: dict[str, str]
    pass_fds: list[int]
    new_session: bool
    interruptible: bool
    descriptors: list[int]

    @property
    def places(self) -> list[int]:
        return [*STANDARD, *self.pass_fds]


@dataclass
class Fork:
    """A child of the server."""

    pid: int
    descriptor: int
    asker: socket.socket | None
    has_ended: bool = False


def answer(asker: socket.socket, **what: int | None) -> None:
    with contextlib.suppress(OSError):  # it has gone
        asker.send(json.dumps(what).encode())


class ForkServer:
    """Forks on request. ``serve`` is all."""

    def __init__(self, path: str) -> None:
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(path)
        self._listener.listen(128)
        self._environ = read_at_import(dict(os.environ))
        self._forks: dict[socket.socket, Fork | None] = {}
        """Of each connection what it has asked for."""

    def serve(self) -> Request | None:
        """Return in each child with what it shall be, in the server when its owner has gone."""
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(0, selectors.EVENT_READ, None)
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return None
                request = key.data(key.fileobj)
                if request is not None:
                    return request  # type: ignore[no-any-return]

    def _accept(self, listener: socket.socket) -> None:
        asker, _ = listener.accept()
        self._forks[asker] = None
        self._selector.register(asker, selectors.EVENT_READ, self._hear)

    def _hear(self, asker: socket.socket) -> Request | None:
        """A request, or that nobody wants to know any more."""
        data, descriptors = b"", []
        with contextlib.suppress(ConnectionResetError):  # it has gone without having read its answer
            data, descriptors, _, _ = socket.recv_fds(asker, REQUEST_BYTES, MAX_DESCRIPTORS)
        if not data:
            self._selector.unregister(asker)
            asker.close()
            fork = self._forks.pop(asker)
            if fork is not None:
                fork.asker = None
                self._reap(fork)
            return None
        request = Request(**json.loads(data), descriptors=descriptors)
        if read_at_import(request.environ) != self._environ:
            answer(asker, pid=None)
        elif self._fork(asker):
            return request
        for descriptor in descriptors:
            os.close(descriptor)
        return None

    def _fork(self, asker: socket.socket) -> bool:
        """Whether this is the child."""
        begun, beginning = os.pipe()
        pid = os.fork()
        if pid == 0:
            self._close()
            return True
        os.close(beginning)
        os.read(begun, 1)  # the child closes its end when it has its session and its descriptors, as exec does
        os.close(begun)
        fork = self._forks[asker] = Fork(pid, os.pidfd_open(pid), asker)
        self._selector.register(fork.descriptor, selectors.EVENT_READ, lambda _: self._note_end(fork))
        answer(asker, pid=pid)
        return False

    def _note_end(self, fork: Fork) -> None:
        """Its id stays taken until who has asked for it knows."""
        self._selector.unregister(fork.descriptor)
        os.close(fork.descriptor)
        fork.has_ended = True
        ended = os.waitid(os.P_PID, fork.pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        status = ended.si_status << 8 if ended.si_code == os.CLD_EXITED else ended.si_status
        if fork.asker is not None:
            answer(fork.asker, status=status)
        self._reap(fork)

    def _reap(self, fork: Fork) -> None:
        if fork.has_ended and fork.asker is None:
            os.waitpid(fork.pid, 0)

    def _close(self) -> None:
        """In a child: objects let go of their descriptors, whose numbers others will have."""
        self._selector.close()
        for each in (self._listener, *self._forks):
            each.close()


def become(request: Request) -> None:
    """Turn the fork into a process as `subprocess` would have made it."""
    if request.new_session:
        os.setsid()
    if request.cores is not None:
        os.sched_setaffinity(0, request.cores)
    os.environ.clear()
    os.environ.update(request.environ)
    os.chdir(request.cwd)
    above = max(request.places) + 1
    kept = [fcntl.fcntl(each, fcntl.F_DUPFD, above) for each in request.descriptors]
    for descriptor, place in zip(kept, request.places, strict=True):
        os.dup2(descriptor, place)
    _renew_streams()
    random.seed()
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in request.places:
            with contextlib.suppress(OSError):  # the descriptor of the listing
                os.close(int(name))


def _renew_streams() -> None:
    """For files, pipes and terminals these are not the same."""
    old = sys.stdin
    sys.stdin = sys.__stdin__ = open(0, encoding=old.encoding, errors=old.errors, closefd=False)
    sys.stdout = sys.__stdout__ = _output(1, sys.stdout, by_line=os.isatty(1) and not _is_unbuffered(sys.stdout))
    sys.stderr = sys.__stderr__ = _output(2, sys.stderr, by_line=sys.stderr.line_buffering)


def _output(descriptor: int, old: Any, *, by_line: bool) -> io.TextIOWrapper:
    binary: Any = open(descriptor, "wb", buffering=0 if _is_unbuffered(old) else -1, closefd=False)
    return io.TextIOWrapper(
        binary, encoding=old.encoding, errors=old.errors, line_buffering=by_line, write_through=_is_unbuffered(old)
    )


def _is_unbuffered(stream: Any) -> bool:
    """PYTHONUNBUFFERED says so."""
    return isinstance(stream.buffer, io.RawIOBase)


def execute(argv: list[str], further_path: list[str]) -> None:
    """What ``python *argv`` does once it has started."""
    here = {"-m": os.getcwd(), "-c": ""}.get(argv[0], os.path.dirname(os.path.abspath(argv[0])))
    named = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    sys.path[:] = [here, *named, *further_path]
    importlib.invalidate_caches()
    subprocess.Popen = Popen  # type: ignore[misc]  # for what it starts in its turn
    if argv[0] == "-m":
        sys.argv = argv[1:]
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
    elif argv[0] == "-c":
        sys.argv = ["-c", *argv[2:]]
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(argv[1], "<string>", "exec"), vars(main))
    else:
        sys.argv = argv
        runpy.run_path(argv[0], run_name="__main__")


def run_program(argv: list[str], further_path: list[str]) -> int:
    """``execute`` it; its exit status."""
    try:
        execute(argv, further_path)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except Exception:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def leave(status: int) -> NoReturn:
    """End as the interpreter does, but for taking a thousand modules apart, which takes longer than all else."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            if not stream.closed:
                stream.flush()
        except OSError:
            status = status or 120  # as Py_RunMain says it
    os._exit(status & 0xFF)


def import_all() -> None:
    """All of fastcall, and with it what it needs."""
    import fastcall

    for module in pkgutil.walk_packages(fastcall.__path__, "fastcall."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)


def main() -> None:
    global _address
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for those whom it serves
    further_path = sys.path[1:]
    import_all()
    gc.collect()
    gc.freeze()  # else each fork goes through all of it more than once, at the latest when it ends
    folder = tempfile.mkdtemp(prefix="fastcall-fork-")
    _address = os.path.join(folder, "socket")
    server = ForkServer(_address)
    print(_address, flush=True)
    request = server.serve()
    if request is None:
        shutil.rmtree(folder)
        leave(0)
    # What is executed ignores what its parent ignores: the shell's background jobs do.
    signal.signal(signal.SIGINT, signal.default_int_handler if request.interruptible else signal.SIG_IGN)
    become(request)
    if request.argv[0] == "-m":
        leave(run_program(request.argv, further_path))
    execute(request.argv, further_path)


if __name__ == "__main__":
    # Not as `__main__`, which the forks are.
    importlib.import_module("forkserver").main()
