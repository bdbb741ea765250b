from __future__ import annotations

import re
from pathlib import Path

import pytest

from boundary.settings import ProcessSettings
from gateway.settings import GatewaySettings
from services.data.settings import DataSettings
from services.resolver.settings import ResolverSettings
from services.search.settings import SearchSettings
from services.storage.settings import StorageSettings

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "settings.md").read_text()
PROCESSES = [GatewaySettings, ResolverSettings, DataSettings, StorageSettings, SearchSettings]


@pytest.mark.parametrize("settings", PROCESSES, ids=lambda settings: settings.__name__)
def test_every_setting_is_on_the_page_with_its_default(settings: type[ProcessSettings]) -> None:
    for name, field in settings.model_fields.items():
        variable = f"SILO_{name.upper()}"
        row = re.search(rf"^\| `{variable}` \| (.*?) \|", PAGE, re.MULTILINE)
        assert row, f"{variable} is not on the page"
        default = field.default
        if default is not None and name != "storage_max_object_bytes":
            said = row.group(1).strip("` ")
            shown = f"{default:g}" if isinstance(default, float) else str(default)
            assert said == shown, variable


def test_nothing_on_the_page_is_gone() -> None:
    known = {f"SILO_{name.upper()}" for settings in PROCESSES for name in settings.model_fields}
    known |= {"SILO_GATEWAY_ADDRESS", "SILO_GATEWAY_CA", "SILO_TOKEN", "SILO_OPERATOR_TOKEN"}
    assert set(re.findall(r"^\| `(SILO_[A-Z_]+)`", PAGE, re.MULTILINE)) <= known


def test_the_environment_is_read_in_settings_alone() -> None:
    for folder in ("boundary", "gateway", "services"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.name != "settings.py":
                assert "os.environ" not in path.read_text(), path


def test_without_a_word_the_development_issuer_is_not_trusted() -> None:
    assert ProcessSettings.model_fields["environment"].default == "production"
