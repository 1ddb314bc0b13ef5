"""The layers of pyproject.toml hold."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_imports_run_downwards_and_the_domain_knows_no_dagster() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [str(lint), "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_templates_of_init_are_the_files_of_the_repository() -> None:
    for name in ("dagster.yaml", "workspace.yaml"):
        assert (ROOT / name).read_text() == (ROOT / "fraud_assets" / "templates" / name).read_text()
