from tests.reliability.flips import flip_bits


def test_every_flipped_bit_is_found(artifacts):
    assert flip_bits(artifacts / "pictures") == (200, 200)


def test_most_are_not_found_without_a_digest(artifacts):
    """Check the control: the format readers miss most flips."""
    flipped, found = flip_bits(artifacts / "pictures", naive=True)
    assert found < flipped / 2
