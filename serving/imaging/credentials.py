"""Content Credentials (C2PA): image files signed with the operator's certificate.

A signature covers all of a file, with its provenance. It has no time stamp, because another server would have
to be asked for one.
"""

import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from serving.errors import UserError
from serving.exports import extra_of
from serving.system.version import version

CERTIFICATE, KEY = "GANZOO_C2PA_CERTIFICATE", "GANZOO_C2PA_PRIVATE_KEY"
"""Environment variables with the paths of the certificates and of the private key."""

SETTINGS = {
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
}
"""Settings of the library: no second image in the file, and nothing fetched from other machines."""


@dataclass(frozen=True)
class Credentials:
    """A certificate and its private key, which each process reads once."""

    certificate: Path
    """PEM file of the certificate, followed by those that it depends on, up to that below the root."""

    key: Path
    """PEM file of the private key."""

    def sign(self, data: bytes, media_type: str, source_type: str) -> bytes:
        """Return a signed image file.

        Args:
            data: the image file.
            media_type: its media type.
            source_type: address of IPTC's term for the image.

        Raises:
            UserError: the image can't be signed with this certificate and key.
        """
        c2pa, signer, context = _signer(self)
        action = {"action": "c2pa.created", "digitalSourceType": source_type}
        statement = {
            "claim_generator_info": [{"name": "GAN Zoo", "version": version()}],
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
        }
        signed = io.BytesIO()
        try:
            with c2pa.Builder(statement, context) as builder:
                builder.sign(signer, media_type, io.BytesIO(data), signed)
        except c2pa.C2paError as error:
            raise UserError(f"the image can't be signed with {self.certificate}: {error}") from error
        return signed.getvalue()


def credentials_from(environment: Mapping[str, str] = os.environ) -> Credentials | None:
    """Return the credentials that the environment names; None without them.

    Raises:
        UserError: only one of the variables is set, or the credentials don't work.
    """
    given = [environment.get(name, "") for name in (CERTIFICATE, KEY)]
    if not any(given):
        return None
    if not all(given):
        raise UserError(f"{CERTIFICATE} and {KEY} must be set together; got only one of them")
    credentials = Credentials(*map(Path, given))
    _signer(credentials)  # fails now, and not at the first image
    return credentials


def signature_in(data: bytes, media_type: str) -> str | None:
    """Return in words who has signed an image file, and whether the signature holds; None if nobody has.

    Raises:
        UserError: the library is not installed.
    """
    c2pa = _library()
    try:
        with c2pa.Context(c2pa.Settings.from_dict(SETTINGS)) as context:
            reader = c2pa.Reader.try_create(media_type, io.BytesIO(data), context=context)
            if reader is None:
                return None
            with reader:
                found = json.loads(reader.json())
    except c2pa.C2paError as error:
        return f"can't be read: {error}"
    by = found["manifests"][found["active_manifest"]].get("signature_info", {})
    name = by.get("common_name") or by.get("issuer") or "an unknown signer"
    faults = {each["code"] for each in found.get("validation_status", [])} - {"signingCredential.untrusted"}
    return f"of {name}, {'not valid: ' + ', '.join(sorted(faults)) if faults else 'valid'}"


@cache
def _signer(credentials: Credentials) -> tuple[Any, Any, Any]:
    """Return the library, a signer and the library's context.

    Raises:
        UserError: the library is not installed, or the files are not a certificate and its key.
    """
    c2pa = _library()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    try:
        chain, pem = credentials.certificate.read_bytes(), credentials.key.read_bytes()
    except OSError as error:
        raise UserError(f"the certificate and its key must be readable files: {error}") from error
    try:
        key = serialization.load_pem_private_key(pem, None)
        match key:
            case ec.EllipticCurvePrivateKey():
                algorithm = {256: "ES256", 384: "ES384", 521: "ES512"}[key.curve.key_size]
            case ed25519.Ed25519PrivateKey():
                algorithm = "ED25519"
            case _:
                algorithm = "PS256"
        information = c2pa.C2paSignerInfo(
            alg=c2pa.C2paSigningAlg[algorithm], sign_cert=chain, private_key=pem, ta_url=None
        )
        signer = c2pa.Signer.from_info(information)
    except (c2pa.C2paError, KeyError, TypeError, ValueError) as error:
        text = f"{credentials.certificate} and {credentials.key} must be a certificate and its key: {error}"
        raise UserError(text) from error
    return c2pa, signer, c2pa.Context(c2pa.Settings.from_dict(SETTINGS))


def _library() -> Any:
    try:
        import c2pa
    except ImportError as error:
        raise UserError(extra_of(error)) from error
    return c2pa
