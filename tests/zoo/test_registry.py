import subprocess
import sys

import pytest

from zoo import registry
from zoo.entry import Entry


@pytest.mark.parametrize("name", registry.ENTRIES)
def test_every_line_leads_to_an_entry_with_a_summary(name):
    assert issubclass(registry.load(name), Entry)
    summary = registry.summary(name)
    assert summary == registry.load(name).__doc__.splitlines()[0]
    assert len(summary) > 20


def test_an_entry_from_outside_is_an_import_path():
    assert registry.load("zoo.models.dcgan:DCGAN") is registry.load("dcgan")


@pytest.mark.parametrize("name", ["no-such", "no.such:Thing", "zoo.models.dcgan:Nothing"])
def test_an_unknown_name_is_refused_by_name(name):
    with pytest.raises(ValueError, match=name):
        registry.load(name)


def test_listing_imports_no_torch():
    code = (
        "import sys; from training.__main__ import main; main(['list']); main(['list', '--json'])\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in registry.ENTRIES)
