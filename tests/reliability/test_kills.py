from tests.reliability.kills import kill_while_saving


def test_no_kill_loses_what_was_acknowledged():
    assert kill_while_saving(60) == (60, 0)


def test_a_saver_that_writes_over_its_file_loses_some():
    """Check the control: a save that overwrites its file loses checkpoints."""
    kills, lost = kill_while_saving(60, naive=True)
    assert kills == 60
    assert lost > 0
