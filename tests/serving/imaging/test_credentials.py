"""Signed images: verified by the reader of the Content Credentials' own library, and forged ones found."""

import datetime
import io
import json

import c2pa
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL import Image

from serving.errors import UserError
from serving.imaging import codec, credentials
from serving.imaging.credentials import CERTIFICATE, KEY, credentials_from, signature_in
from serving.imaging.png_rows import write_png
from serving.imaging.provenance import Maker, Provenance, read_provenance
from serving.launcher import serving
from serving.offline.identify import identify
from serving.offline.sample import write_samples
from serving.runtime.load import load
from serving.settings import Settings
from tests.serving.api.asking import app_of, asker

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
KEYS = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}


def name(text: str) -> x509.Name:
    parts = {NameOID.ORGANIZATION_NAME: "Zoo", NameOID.COMMON_NAME: text}
    return x509.Name([x509.NameAttribute(kind, part) for kind, part in parts.items()])


def certificate(subject: str, key, issuer: str, signer) -> x509.Certificate:
    """A certificate for signing documents; one that is its own issuer may issue others."""
    now, root = datetime.datetime.now(datetime.UTC), subject == issuer
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
    )
    made = x509.CertificateBuilder(name(issuer), name(subject), key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(30))
    made = made.add_extension(x509.BasicConstraints(root, None), True)
    signs = x509.KeyUsage(
        True, key_cert_sign=root, crl_sign=root, encipher_only=False, decipher_only=False, **usage
    )
    made = made.add_extension(signs, True)
    if not root:
        made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
    by = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    made = made.add_extension(by, False)
    made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    return made.sign(signer, hashes.SHA256())


def environment(folder, kind: str = "P-256") -> dict[str, str]:
    """The variables of a new certificate and its key."""
    key, root = KEYS[kind](), KEYS["P-256"]()
    chain = [certificate("the zoo's press", key, "root", root), certificate("root", root, "root", root)]
    text = b"".join(each.public_bytes(serialization.Encoding.PEM) for each in chain)
    (folder / "chain.pem").write_bytes(text)
    form, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(key.private_bytes(form, pkcs8, serialization.NoEncryption()))
    return {CERTIFICATE: str(folder / "chain.pem"), KEY: str(folder / "key.pem")}


@pytest.fixture(scope="module")
def signing(tmp_path_factory):
    return environment(tmp_path_factory.mktemp("credentials"))


def said_with(variables: dict[str, str], task: str = "sample") -> Provenance:
    return Provenance(Maker.of("faces", "c0ffee", task, credentials_from(variables)), {"seed": 7})


def verified(data: bytes, media_type: str) -> dict:
    """What a file's valid credentials say; whose certificate it is, nobody knows here."""
    with c2pa.Reader(media_type, io.BytesIO(data)) as reader:
        found = json.loads(reader.json())
    assert [each["code"] for each in found["validation_status"]] == ["signingCredential.untrusted"]
    assert found["validation_state"] == "Valid"
    return found["manifests"][found["active_manifest"]]


@pytest.mark.parametrize("form", ["png", "rows", "jpeg", "webp", "animation"])
def test_every_format_is_signed(signing, form):
    said = said_with(signing)
    match form:
        case "rows":
            file = io.BytesIO()
            write_png(file, iter([PIXELS[:30], PIXELS[30:]]), PIXELS.shape, said)
            data = file.getvalue()
        case "animation":
            data = codec.encode_animation([PIXELS, PIXELS[::-1]], 80, said)
        case _:
            data = codec.ENCODERS[form.upper()](PIXELS, said)
    media_type = {"rows": "image/png", "animation": "image/webp"}.get(form, f"image/{form}")
    statement = verified(data, media_type)
    assertions = {each["label"]: each["data"] for each in statement["assertions"]}
    actions = assertions["c2pa.actions.v2"]
    assert actions["actions"][0]["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert statement["signature_info"]["common_name"] == "the zoo's press"
    assert statement["claim_generator_info"][0]["name"] == "GAN Zoo"
    assert read_provenance(data) == Provenance(Maker.of("faces", "c0ffee", "sample"), {"seed": 7})
    plain = Provenance(Maker.of("faces", "c0ffee", "sample"), {"seed": 7})
    if form in ("png", "rows"):
        with Image.open(io.BytesIO(data)) as image:
            assert np.array_equal(np.asarray(image), PIXELS)
        assert 0 < len(data) - len(codec.encode_png(PIXELS, plain)) < 6000


@pytest.mark.parametrize("kind", KEYS)
def test_keys_of_every_kind(tmp_path, kind):
    verified(codec.encode_png(PIXELS, said_with(environment(tmp_path, kind), "translate")), "image/png")


def test_a_changed_file_is_found(signing, tmp_path):
    data = codec.encode_png(PIXELS, said_with(signing))
    assert signature_in(data, "image/png") == "of the zoo's press, valid"
    place = data.index(b"faces")
    forged = data[:place] + b"photo" + data[place + 5 :]
    assert "not valid: " in signature_in(forged, "image/png")
    assert signature_in(codec.encode_png(PIXELS), "image/png") is None
    (tmp_path / "image.png").write_bytes(data)
    assert dict(identify(tmp_path / "image.png"))["signature"] == "of the zoo's press, valid"


def test_the_shell_and_the_server_sign(signing, artifacts, tmp_path, monkeypatch):
    settings = Settings(
        artifacts=artifacts,
        provider="cpu",
        c2pa_certificate=signing[CERTIFICATE],
        c2pa_private_key=signing[KEY],
    )
    ask = asker(app_of(settings))
    image = ask("GET", "/v1/models/pictures/samples/7.png")
    verified(image.content, "image/png")
    assert image.headers["etag"].startswith('W/"')
    again = ask("GET", "/v1/models/pictures/samples/7.png", headers={"If-None-Match": image.headers["etag"]})
    assert again.status_code == 304
    for variable, value in signing.items():
        monkeypatch.setenv(variable, value)
    write_samples(load(artifacts / "pictures", provider="cpu"), 40, 7, tmp_path / "out", shard_size=20)
    write_samples(load(artifacts / "pictures", provider="cpu"), 1, 7, tmp_path / "one.png")
    verified((tmp_path / "one.png").read_bytes(), "image/png")
    assert (tmp_path / "out" / "000001.tar").read_bytes().count(b"jumb") >= 20


def test_the_server_does_not_start_with_a_wrong_certificate(artifacts, tmp_path):
    settings = Settings(artifacts=artifacts, provider="cpu", c2pa_certificate="no", c2pa_private_key="none")
    with pytest.raises(OSError, match="must be readable files"), serving(settings, tmp_path / "log"):
        pass


def test_what_can_not_sign_is_refused(tmp_path, signing, monkeypatch):
    assert credentials_from({}) is None
    with pytest.raises(UserError, match="must be set together; got only one"):
        credentials_from({KEY: "key.pem"})
    with pytest.raises(UserError, match="must be readable files"):
        credentials_from({CERTIFICATE: "chain.pem", KEY: "key.pem"})
    with pytest.raises(UserError, match="must be a certificate and its key"):
        credentials_from({CERTIFICATE: signing[CERTIFICATE], KEY: signing[CERTIFICATE]})
    other = environment(tmp_path)
    with pytest.raises(UserError, match="the image can't be signed with"):
        codec.encode_png(PIXELS, said_with({CERTIFICATE: signing[CERTIFICATE], KEY: other[KEY]}))
    monkeypatch.setitem(__import__("sys").modules, "c2pa", None)
    credentials._signer.cache_clear()
    with pytest.raises(UserError, match=r"pip install 'gan-zoo\[c2pa\]'"):
        credentials_from(signing)
