"""Provenance: what the files of synthetic images say of themselves, in XMP.

Sources: IPTC Photo Metadata Standard 2025.1, sections on the digital source type and on generative AI; XMP
Specification, parts 1 and 3 (ISO 16684-1).
"""

import io
import json
import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from PIL import Image
from pydantic import TypeAdapter, ValidationError

from serving.errors import UserError, shown
from serving.imaging.credentials import Credentials
from serving.imaging.structure import FORMATS
from serving.system.version import version

SourceType = Literal["trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"]
"""IPTC's terms for a sample of a model, and for an image that a model has changed."""

VARIABLE = "GANZOO_PROVENANCE"
"""Environment variable that turns provenance off."""

IPTC, RDF, XMP = (
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "http://ns.adobe.com/xap/1.0/",
)
TERMS = "http://cv.iptc.org/newscodes/digitalsourcetype/"

PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    f'<rdf:RDF xmlns:rdf="{RDF}"><rdf:Description rdf:about="" xmlns:xmp="{XMP}" xmlns:Iptc4xmpExt="{IPTC}">'
    f"<Iptc4xmpExt:DigitalSourceType>{TERMS}%s</Iptc4xmpExt:DigitalSourceType>"
    "<Iptc4xmpExt:AISystemUsed>%s</Iptc4xmpExt:AISystemUsed>"
    "<Iptc4xmpExt:AISystemVersionUsed>%s</Iptc4xmpExt:AISystemVersionUsed>"
    "<xmp:CreatorTool>%s</xmp:CreatorTool>"
    "<Iptc4xmpExt:AIPromptInformation>"
)
PACKET_END = '</Iptc4xmpExt:AIPromptInformation></rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'

SOFTWARE = f"GAN Zoo {version()}"

PNG_KEY = "XML:com.adobe.xmp"
"""Keyword of a PNG's text that is XMP."""


@dataclass(frozen=True)
class Maker:
    """The model that makes images, and the software that runs it."""

    model: str
    version: str
    source_type: SourceType
    software: str = SOFTWARE
    credentials: Credentials | None = None
    """What its files are signed with; None does not sign them."""

    @staticmethod
    def of(
        model: str,
        version: str,
        task: Literal["sample", "translate"],
        credentials: Credentials | None = None,
    ) -> "Maker":
        """Return the maker of a model's images."""
        changes = task == "translate"
        kind: SourceType = "compositeWithTrainedAlgorithmicMedia" if changes else "trainedAlgorithmicMedia"
        return Maker(model, version, kind, credentials=credentials)

    @cached_property
    def packet(self) -> str:
        """The XMP packet of its images, up to the request."""
        texts = map(escape, (self.source_type, self.model, self.version, self.software))
        return PACKET % tuple(texts)

    @cached_property
    def fields(self) -> dict[str, str]:
        """The same for JSON, with the address of IPTC's term."""
        return {
            "digital_source_type": TERMS + self.source_type,
            "model": self.model,
            "version": self.version,
            "software": self.software,
        }

    @cached_property
    def json(self) -> str:
        """The fields as JSON."""
        return json.dumps(self.fields)


class Provenance(NamedTuple):
    """What a synthetic image says of itself. It has no time, so that equal requests have equal files."""

    maker: Maker
    request: Mapping[str, Any] = {}
    """What the image was made from, by the names of the API: a seed, a label, a direction."""

    def of(self, **request: Any) -> "Provenance":
        """Return the provenance with more of the request; None is left out."""
        more = {name: value for name, value in request.items() if value is not None}
        return Provenance(self.maker, {**self.request, **more})

    def of_seeds(
        self, seeds: Sequence[int], label: str | None, truncation: float | None, columns: int = 0
    ) -> "Provenance":
        """Return the provenance of samples together: of one, or of a sheet with so many columns."""
        one = self.of(label=label, truncation=truncation, seed=seeds[0])
        return one if len(seeds) == 1 else one.of(n=len(seeds), columns=columns or None)

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {**self.maker.fields, "request": dict(self.request)}

    def to_json(self) -> str:
        """Return it as JSON of ASCII characters in one line."""
        return f'{self.maker.json[:-1]}, "request": {json.dumps(self.request)}}}'

    def to_xmp(self) -> bytes:
        """Return it as an XMP packet."""
        return f"{self.maker.packet}{escape(json.dumps(self.request))}{PACKET_END}".encode()

    def signed(self, data: bytes, media_type: str) -> bytes:
        """Return a file that says this, signed if the maker has credentials.

        Raises:
            UserError: the file can't be signed.
        """
        credentials = self.maker.credentials
        return credentials.sign(data, media_type, TERMS + self.maker.source_type) if credentials else data

    def to_png_chunk(self) -> bytes:
        """Return it as a chunk of a PNG, which must precede the pixels."""
        text = b"iTXt" + PNG_KEY.encode() + bytes(5) + self.to_xmp()
        return struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))


def is_wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether images say where they come from, by the environment; they do by default.

    Raises:
        UserError: the variable is neither on nor off.
    """
    text = environment.get(VARIABLE, "on")
    try:
        return TypeAdapter(bool).validate_strings(text)
    except ValidationError:
        raise UserError(f"{VARIABLE} must be on or off; got {shown(text)}") from None


def read_provenance(data: bytes) -> Provenance | None:
    """Read what an image file says of itself; None if it says nothing, or does not say it as ours do.

    Args:
        data: a PNG, JPEG or WebP.

    Raises:
        UserError: the file is not one of these.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            packet = image.info.get("xmp") or image.info.get(PNG_KEY, b"")
    except Exception as error:  # decoders may raise anything on damaged files
        raise UserError(f"the file must be a PNG, JPEG or WebP image: {error}") from error
    return _parse(packet if isinstance(packet, bytes) else packet.encode())


def _parse(packet: bytes) -> Provenance | None:
    """Parse an XMP packet without entities of its own, which could be of any size."""
    if not packet or b"<!" in packet:
        return None
    try:
        found = _properties(ElementTree.fromstring(packet))
        source_type = TypeAdapter(SourceType).validate_python(found["DigitalSourceType"].removeprefix(TERMS))
        asked = TypeAdapter(dict[str, Any]).validate_json(found["AIPromptInformation"])
        texts = found["AISystemUsed"], found["AISystemVersionUsed"], source_type, found["CreatorTool"]
    except (ElementTree.ParseError, KeyError, ValueError):
        return None
    return Provenance(Maker(*texts), asked)


def _properties(packet: ElementTree.Element) -> dict[str, str]:
    """Return the texts of a packet by their names; programs that edit images write attributes, too."""
    found: dict[str, str] = {}
    for description in packet.iter(f"{{{RDF}}}Description"):
        texts = {each.tag: each.text or "" for each in description}
        found |= {tag.removeprefix(f"{{{IPTC}}}"): text for tag, text in (description.attrib | texts).items()}
    return {tag.removeprefix(f"{{{XMP}}}"): text for tag, text in found.items()}
