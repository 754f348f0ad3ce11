import os

import pytest
import torch

from training import room as module
from training.room import room

CPU = torch.device("cpu")
PHYSICAL = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(
    ("limit", "told", "bytes_"),
    [
        (None, None, PHYSICAL / 2),
        ("max\n", None, PHYSICAL / 2),
        ("1073741824\n", None, 2**29),
        (f"{4 * PHYSICAL}\n", None, PHYSICAL / 2),
        ("1073741824\n", "3", 3 * 2**30),
        (None, ".5", 2**29),
        (None, "0", 0),
    ],
)
def test_half_of_the_memory_a_container_s_limit_or_what_is_told(limit, told, bytes_, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LIMIT", tmp_path / "memory.max")
    monkeypatch.delenv("GANZOO_DATA_MEMORY", raising=False)
    if limit:
        (tmp_path / "memory.max").write_text(limit)
    if told:
        monkeypatch.setenv("GANZOO_DATA_MEMORY", told)
    assert room(CPU) == bytes_


@pytest.mark.parametrize("told", ["lots", "-1", "nan", "1 GiB"])
def test_what_is_no_number_is_refused(told, monkeypatch):
    monkeypatch.setenv("GANZOO_DATA_MEMORY", told)
    with pytest.raises(ValueError, match="GANZOO_DATA_MEMORY"):
        room(CPU)


def test_the_processes_of_a_run_share_a_machine_s_memory(monkeypatch):
    monkeypatch.delenv("GANZOO_DATA_MEMORY", raising=False)
    alone = room(CPU)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert room(CPU) == alone / 8


@pytest.mark.gpu
def test_half_of_what_a_gpu_has_free():
    free, whole = torch.cuda.mem_get_info()
    assert 0.4 * free < room(torch.device("cuda")) <= whole / 2
