"""The tests mirror the package: each module has its file, or stands here with where it is tested."""

from __future__ import annotations

from pathlib import Path

from tests.support.server import REPOSITORY

ELSEWHERE = {
    "__main__.py": "integration/test_differential.py",
    "bundle/entry.py": "integration/test_bundle.py",
    "bundle/standins/encodings.py": "tests/bundle/test_app.py",
    "bundle/standins/gettext.py": "integration/test_bundle.py",
    "bundle/standins/hashlib.py": "integration/test_bundle.py",
    "bundle/standins/http.py": "integration/test_bundle.py",
    "bundle/standins/logging.py": "integration/test_bundle.py",
    "bundle/standins/metadata.py": "integration/test_bundle.py",
    "bundle/standins/random.py": "integration/test_bundle.py",
    "bundle/standins/secrets.py": "integration/test_bundle.py",
    "bundle/standins/shutil.py": "integration/test_bundle.py",
    "bundle/standins/signal.py": "integration/test_bundle.py",
    "bundle/standins/socket.py": "integration/test_bundle.py",
    "bundle/standins/uuid.py": "integration/test_bundle.py",
    "command_line.py": "tests/test_cli.py",
    "errors.py": "tests/test_cli.py",
    "backend/bridge/apps.py": "integration/test_bridge.py",
    "backend/directory.py": "tests/backend/test_app.py",
    "backend/listening.py": "tests/backend/test_app.py",
    "backend/page/wheel_hook.py": "tests/backend/page/test_build.py",
    "backend/posting.py": "tests/backend/viewers/test_openapi.py",
    "backend/stores.py": "tests/backend/test_token_command.py",
    "backend/store/base.py": "tests/backend/store/test_contract.py",
    "backend/viewers/app_download.py": "tests/backend/viewers/test_app_lines.py",
    "backend/viewers/app_histogram.py": "tests/backend/viewers/test_app_lines.py",
    "backend/viewers/app_live.py": "tests/backend/viewers/test_app_lines.py",
    "backend/viewers/app_search.py": "tests/backend/viewers/test_app_lines.py",
    "backend/viewers/joining.py": "tests/backend/viewers/test_screens.py",
    "backend/viewers/modes.py": "tests/backend/viewers/test_screens.py",
    "backend/viewers/schemas.py": "tests/backend/viewers/test_openapi.py",
    "pump/sink.py": "tests/pump/test_loop.py",
    "repro/comparison_text.py": "tests/repro/test_compare.py",
    "repro/playback.py": "integration/test_repro_session.py",
    "repro/repeat.py": "integration/test_repro_session.py",
    "repro/attach.py": "integration/test_repro.py",
    "repro/command.py": "integration/test_repro.py",
    "repro/container.py": "tests/repro/test_image.py",
    "repro/enter.py": "integration/test_repro.py",
    "repro/host.py": "integration/test_repro.py",
    "repro/kubernetes_env.py": "tests/repro/test_kubernetes.py",
    "repro/load.py": "tests/repro/test_documents.py",
    "repro/switches.py": "tests/repro/test_table.py",
    "repro/syscalls.py": "integration/test_repro.py",
    "settings.py": "tests/test_config.py",
    "spool/ledger.py": "tests/spool/test_spool.py",
    "uplink/commands.py": "tests/uplink/test_core.py",
    "uplink/consignment.py": "tests/uplink/test_uplink.py",
    "uplink/connection.py": "tests/uplink/test_uplink.py",
    "uplink/control.py": "tests/uplink/test_uplink.py",
    "uplink/courier.py": "tests/uplink/test_uplink.py",
    "uplink/events.py": "tests/uplink/test_core.py",
    "uplink/posting/commands.py": "tests/uplink/posting/test_core.py",
    "uplink/posting/events.py": "tests/uplink/posting/test_core.py",
    "uplink/stream.py": "tests/uplink/test_uplink.py",
    "variables.py": "tests/test_config.py",
    "view/source.py": "tests/view/test_recording.py",
    "wire/closing.py": "tests/wire/test_protocol_md.py",
    "wire/description.py": "tests/backend/test_session.py",
    "wire/paths.py": "integration/test_differential.py",
}
"""Values, tables, and what can be tested only together with its other side."""


def modules() -> list[Path]:
    package = REPOSITORY / "ptyshipper"
    found = (path.relative_to(package) for path in package.rglob("*.py"))
    return [path for path in found if path.name != "__init__.py"]


def test_every_module_has_its_tests() -> None:
    missing = [
        str(path)
        for path in modules()
        if not (REPOSITORY / "tests" / path.with_name(f"test_{path.name}")).exists()
        and str(path) not in ELSEWHERE
    ]
    assert missing == []


def test_the_table_is_not_stale() -> None:
    for module, where in ELSEWHERE.items():
        assert (REPOSITORY / "ptyshipper" / module).exists(), module
        assert (REPOSITORY / where).exists(), where
        own = REPOSITORY / "tests" / Path(module).with_name(f"test_{Path(module).name}")
        assert not own.exists(), f"{module} has tests of its own by now"
