"""Runs a module on the sanitize build (AddressSanitizer, UndefinedBehaviorSanitizer, LeakSanitizer): `make sanitize`.

    .venv/bin/python tools/sanitized.py -m pytest [ARGUMENTS]

The sanitizers' runtime must be loaded before Python itself, so this program restarts itself with the runtime
preloaded. Python allocates with malloc, so that the sanitizers see each allocation. Leaks are checked when the process
ends, in what the core allocates with malloc; tools/leaks.supp has the exclusions. Processes that tests start run
sanitized, too, but without leak checks: compilers, for example, leak.
"""

import os
import runpy
import subprocess
import sys
import sysconfig
from pathlib import Path

LEAKS = Path(__file__).parent / "leaks.supp"
MARK = "FASTCALL_SANITIZED"


def runtime_libraries() -> str:
    """The preload list for the compiler that built the core."""
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    machine = os.uname().machine
    found = []
    for names in (("libasan.so", f"libclang_rt.asan-{machine}.so"), ("libubsan.so",)):
        for name in names:
            command = [compiler, f"-print-file-name={name}"]
            path = Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
            if path.is_absolute():
                found.append(str(path.resolve()))
                break
    if not found:
        raise SystemExit(f"{compiler} has no runtime of AddressSanitizer; with Debian's gcc it is in libgcc-*-dev")
    return " ".join(found)


def sanitized_environment() -> dict[str, str]:
    return {
        **os.environ,
        MARK: "1",
        "LD_PRELOAD": runtime_libraries(),
        "PYTHONMALLOC": "malloc",
        # Frames of a leak: malloc and who called it. With more, Python would be among them, and all suppressed.
        # What was freed is kept back for a while, so that its use is found; but tests measure how much is held.
        "ASAN_OPTIONS": "detect_leaks=1:malloc_context_size=2:detect_stack_use_after_return=0:quarantine_size_mb=16",
        "LSAN_OPTIONS": f"suppressions={LEAKS}:print_suppressions=0",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    }


def main() -> None:
    if sys.argv[1:2] != ["-m"] or len(sys.argv) < 3:
        raise SystemExit("usage: sanitized.py -m MODULE [ARGUMENTS]")
    if MARK not in os.environ:
        os.execve(sys.executable, [sys.executable, __file__, *sys.argv[1:]], sanitized_environment())
    del os.environ[MARK]
    os.environ["ASAN_OPTIONS"] = "detect_leaks=0"
    sys.path[0] = os.getcwd()
    from fastcall import _codec

    if _codec.BUILD != "sanitize":
        raise SystemExit(f"this is the {_codec.BUILD} build of the core: run `make sanitize`")
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
