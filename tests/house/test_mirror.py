"""Tests mirror modules: whoever changes a module knows which files judge it."""

from __future__ import annotations

from pathlib import Path

from house import MODULES, SRC, TESTS, name_of

# Modules that hold nothing that could be wrong by itself.
NOTHING_TO_JUDGE = {"__main__.py", "_version.py", "emulator/messages.py", "recognition/inputs.py"}

# A module is judged by tests/unit/<package>/test_<module>.py or, where that name is taken, test_<package>_<module>.py.
# One that meets the world is judged in it, by the files named here, wherever under tests they are.
JUDGED_BY = {
    "cli/check.py": ["test_check_command"],
    "cli/demo.py": ["test_demo_command"],
    "cli/emulator.py": ["test_emulator_command"],
    "cli/serve.py": ["test_serve_command"],
    "cli/simulate.py": ["test_simulate_command"],
    "cli/token.py": ["test_token_command"],
    "demo/agent.py": ["test_demo_command", "test_examples"],
    "demo/voice.py": ["test_booking", "test_booking_data"],
    "emulator/admission.py": ["test_emulator_faults", "test_emulator_conformance"],
    "emulator/api_versions.py": ["test_emulator_conformance"],
    "emulator/audio.py": ["test_emulator_conformance", "test_parts"],
    "emulator/catalog.py": ["test_emulator_conformance"],
    "emulator/codec.py": ["test_emulator_conformance"],
    "emulator/control.py": ["test_emulator_docs", "test_emulator_faults"],
    "emulator/engines/base.py": ["test_tones_engine", "test_script"],
    "emulator/engines/endpointer.py": ["test_parts"],
    "emulator/engines/grammar.py": ["test_parts"],
    "emulator/engines/pocketsphinx.py": ["test_emulator_pocketsphinx"],
    "emulator/engines/pocketsphinx_pool.py": ["test_emulator_pocketsphinx"],
    "emulator/engines/pocketsphinx_worker.py": ["test_emulator_pocketsphinx"],
    "emulator/engines/script.py": ["test_script"],
    "emulator/engines/tones.py": ["test_tones_engine"],
    "emulator/engines/upsample.py": ["test_parts"],
    "emulator/files.py": ["test_emulator_command"],
    "emulator/options.py": ["test_emulator_command"],
    "emulator/record.py": ["test_emulator"],
    "emulator/results.py": ["test_emulator_conformance"],
    "emulator/server.py": ["test_emulator", "test_emulator_command"],
    "emulator/server_state.py": ["test_emulator_faults"],
    "emulator/service.py": ["test_emulator_conformance"],
    "emulator/stream_handler.py": ["test_emulator_conformance", "test_emulator_endless"],
    "end_of_turn/worker.py": ["test_model_process", "test_model_worker"],
    "google/access_tokens.py": ["test_google_credentials"],
    "google/api_versions.py": ["test_google_adapter", "test_google_v2"],
    "google/channels.py": ["test_google_channels"],
    "google/credentials.py": ["test_google_credentials"],
    "google/grpc_call.py": ["test_http2_channel"],
    "google/http2.py": ["test_http2_channel"],
    "google/recognizer.py": ["test_google_adapter"],
    "google/route.py": ["test_google_route"],
    "google/tls.py": ["test_google_uplinks"],
    "google/uplink.py": ["test_google_uplinks"],
    "google/uplinks.py": ["test_google_uplinks"],
    "recognition/fallback_requests.py": ["test_session_fallback", "test_machine"],
    "recognition/stream_state.py": ["test_provider_stream", "test_settlement", "test_session_streams"],
    "server/authorizer.py": ["test_authorizer"],
    "server/call_manager.py": ["test_calls"],
    "server/comeback.py": ["test_comeback"],
    "server/console.py": ["test_console", "test_console_browser"],
    "server/http.py": ["test_http"],
    "server/http_frontend.py": ["test_http_frontend"],
    "server/prometheus.py": ["test_routes", "test_metrics"],
    "server/routes.py": ["test_routes"],
    "server/sniffer.py": ["test_sniffer"],
    "server/systemd.py": ["test_systemd"],
    "server/websocket.py": ["test_server_bad_input", "test_websocket_fast_path"],
    "server/workers/fd_forwarder.py": ["test_fd_forwarder"],
    "server/workers/supervisor.py": ["test_supervisor"],
    "server/workers/worker.py": ["test_worker", "test_workers_in_trouble"],
    "simulator/caller.py": ["test_simulator"],
    "simulator/check.py": ["test_checkup"],
    "simulator/listener.py": ["test_simulator", "test_scripted_caller"],
    "simulator/pacer.py": ["test_simulator"],
    "simulator/report.py": ["test_simulator"],
    "simulator/summary.py": ["test_simulate_command"],
    "threaded.py": ["test_session_threads", "test_session_options"],
    "whisper/worker.py": ["test_whisper_pool"],
}

MIRRORED = [
    path for path in MODULES if path.name != "__init__.py" and path.relative_to(SRC).as_posix() not in NOTHING_TO_JUDGE
]
NAMES = {path.stem for path in TESTS.rglob("test_*.py")}


def wrong_about(path: Path) -> str | None:
    inside = path.relative_to(SRC)
    place = TESTS / "unit" / inside.parent
    mirrors = [place / f"test_{path.stem}.py", place / f"test_{inside.parent.name}_{path.stem}.py"]
    has_own, is_said = any(mirror.exists() for mirror in mirrors), inside.as_posix() in JUDGED_BY
    if has_own and is_said:
        return "it has a file of its own: that is where one looks"
    if not has_own and not is_said:
        return f"write {mirrors[0].relative_to(TESTS.parent)}, or say here what judges it"
    return None


def test_every_module_has_a_test_file():
    assert len(MIRRORED) > 100
    assert {name_of(path): wrong for path in MIRRORED if (wrong := wrong_about(path))} == {}


def test_what_is_said_here_is_true():
    assert [module for module in JUDGED_BY if not (SRC / module).exists()] == []
    assert {name for names in JUDGED_BY.values() for name in names} - NAMES == set()


def test_no_two_test_files_have_one_name():
    """pytest imports them by name, and refuses the second."""
    names = [path.stem for path in TESTS.rglob("test_*.py") if not (path.parent / "__init__.py").exists()]
    assert sorted({name for name in names if names.count(name) > 1}) == []
