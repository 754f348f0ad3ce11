"""What image files say of themselves, read back by us and by a reader of others."""

import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.errors import UserError
from serving.imaging import codec
from serving.imaging.png_rows import write_png
from serving.imaging.provenance import Maker, Provenance, is_wanted, read_provenance

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
SAID = Provenance(Maker.of("faces <&> \u00e9", "c0ffee-int8", "sample")).of(seed=7, label='a "b" <c>')
ENCODERS = {"png": codec.encode_png, "jpeg": codec.encode_jpeg, "webp": codec.encode_webp}


def file_of(form: str, said: Provenance | None = SAID) -> bytes:
    if form == "animation":
        return codec.encode_animation([PIXELS, PIXELS[::-1]], 80, said)
    if form == "rows":
        file = io.BytesIO()
        write_png(file, iter([PIXELS[:30], PIXELS[30:]]), PIXELS.shape, said)
        return file.getvalue()
    return ENCODERS[form](PIXELS, said)


FORMS = ("png", "rows", "jpeg", "webp", "animation")


@pytest.mark.parametrize("form", FORMS)
def test_a_file_says_it_and_has_the_same_pixels(form):
    plain, saying = file_of(form, None), file_of(form)
    assert saying == file_of(form)
    assert read_provenance(saying) == SAID
    assert read_provenance(plain) is None
    with Image.open(io.BytesIO(plain)) as before, Image.open(io.BytesIO(saying)) as after:
        assert np.array_equal(np.asarray(before), np.asarray(after))
        assert getattr(before, "n_frames", 1) == getattr(after, "n_frames", 1)
    assert np.array_equal(codec.decode(plain, 3), codec.decode(saying, 3)), "and it can be sent to a server"
    assert 0 < len(saying) - len(plain) < 1100


@pytest.mark.skipif(not shutil.which("exiftool"), reason="it needs exiftool")
@pytest.mark.parametrize("form", FORMS)
def test_exiftool_reads_it(form, tmp_path):
    def tags(said: Provenance | None) -> dict[str, str]:
        path = tmp_path / "image"
        path.write_bytes(file_of(form, said))
        run = subprocess.run(["exiftool", "-j", "-XMP:all", path], capture_output=True, check=True)
        found = json.loads(run.stdout)[0]
        del found["SourceFile"]
        return found

    assert tags(SAID) == {
        "DigitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",
        "AISystemUsed": SAID.maker.model,
        "AISystemVersionUsed": "c0ffee-int8",
        "AIPromptInformation": json.dumps({"seed": 7, "label": 'a "b" <c>'}),
        "CreatorTool": SAID.maker.software,
    }
    assert tags(None) == {}, "the control"


def test_a_translation_is_a_composite():
    assert Maker.of("styles", "c0ffee", "translate").source_type == "compositeWithTrainedAlgorithmicMedia"


def test_a_request_grows_without_what_is_not_asked():
    base = SAID.of(truncation=None)
    assert base == SAID
    assert base.of(n=3).request == {"seed": 7, "label": 'a "b" <c>', "n": 3}
    assert SAID.of_seeds([5], None, None).request["seed"] == 5
    sheet = Provenance(SAID.maker).of_seeds(range(5, 9), "cat", 0.5, 4)
    assert sheet.request == {"label": "cat", "truncation": 0.5, "seed": 5, "n": 4, "columns": 4}


def test_it_is_said_as_json_too():
    assert json.loads(SAID.to_json()) == SAID.to_dict()
    assert SAID.to_json().isascii()


def test_programs_that_edit_images_may_write_it_in_their_way():
    """As attributes, between those of others, and in several descriptions."""
    tags = ("DigitalSourceType", "AISystemUsed", "AISystemVersionUsed", "AIPromptInformation")
    packet = SAID.to_xmp().decode()
    values = {tag: re.search(f"<Iptc4xmpExt:{tag}>(.*?)</", packet)[1].replace('"', "&quot;") for tag in tags}
    one, *others = (f'Iptc4xmpExt:{tag}="{value}"' for tag, value in values.items())
    start = "<x:xmpmeta xmlns:x='adobe:ns:meta/'><r:RDF xmlns:r='http://www.w3.org/1999/02/22-rdf-syntax-ns#'"
    spaces = "xmlns:xmp='http://ns.adobe.com/xap/1.0/'"
    spaces += " xmlns:Iptc4xmpExt='http://iptc.org/std/Iptc4xmpExt/2008-02-29/'"
    edited = (
        f"{start} {spaces}><r:Description r:about='' {one} xmp:Rating='5'/><r:Description {' '.join(others)}>"
        f"<xmp:CreatorTool>{SAID.maker.software}</xmp:CreatorTool></r:Description></r:RDF></x:xmpmeta>"
    )
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "JPEG", xmp=edited.encode())
    assert read_provenance(file.getvalue()) == SAID


@pytest.mark.parametrize(
    "packet",
    [
        b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>",
        b"not XML",
        b"\xff\xfe",
        SAID.to_xmp().replace(b"trainedAlgorithmicMedia", b"digitalCapture"),
        SAID.to_xmp().replace(b'{"seed"', b'["seed"'),
        SAID.to_xmp().replace(b"<rdf:RDF", b"<!DOCTYPE a [<!ENTITY b 'c'>]><rdf:RDF"),
        SAID.to_xmp().replace(b"rdf:Description", b"rdf:Other"),
    ],
)
def test_what_others_say_is_not_ours(packet):
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "WEBP", xmp=packet)
    assert read_provenance(file.getvalue()) is None


@pytest.mark.parametrize("data", [b"", b"GIF89a", Path(__file__).read_bytes(), file_of("png")[:20]])
def test_what_is_no_image_is_refused(data):
    with pytest.raises(UserError, match="the file must be a PNG, JPEG or WebP image"):
        read_provenance(data)


@pytest.mark.parametrize(("text", "wanted"), [("on", True), ("off", False), ("0", False), ("true", True)])
def test_the_environment_turns_it_off(text, wanted):
    assert is_wanted({"GANZOO_PROVENANCE": text}) is wanted
    assert is_wanted({})


def test_the_environment_must_be_clear():
    with pytest.raises(UserError, match="GANZOO_PROVENANCE must be on or off; got 'maybe'"):
        is_wanted({"GANZOO_PROVENANCE": "maybe"})
