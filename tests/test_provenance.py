"""Content credentials: signed in the test by certificates made in the test, read back, and broken."""

import json
import sys

import pytest

from modeling_macbdf.provenance import in_words, read_provenance

c2pa = pytest.importorskip("c2pa", reason="needs the extra [provenance]")


@pytest.fixture(scope="module")
def signed(talking_clip, tmp_path_factory):
    """The rendered clip with credentials that say that it was generated."""
    path = tmp_path_factory.mktemp("signed") / "signed.mp4"
    sign(talking_clip, path)
    return path


def sign(clip, path, *more):
    """Writes a copy of a clip with credentials that say that it was generated, and with more assertions."""
    source = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    actions = [{"action": "c2pa.created", "digitalSourceType": source}]
    assertions = [{"label": "c2pa.actions", "data": {"actions": actions}}, *more]
    manifest = {"claim_generator_info": [{"name": "test camera", "version": "1"}], "assertions": assertions}
    signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo("es256", *certificates(), None))
    c2pa.Builder(json.dumps(manifest)).sign_file(clip, path, signer)


def certificates() -> tuple[bytes, bytes]:
    """A chain of a leaf and its root, and the leaf's key, as PEM."""
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric import ec

    root_key, leaf_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    chain = [certificate("leaf", leaf_key, root_key, False), certificate("root", root_key, root_key, True)]
    pem = b"".join(part.public_bytes(s.Encoding.PEM) for part in chain)
    return pem, leaf_key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())


def certificate(subject, key, issuer_key, is_root):
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def name(common):
        parts = [(NameOID.ORGANIZATION_NAME, "Made For A Test"), (NameOID.COMMON_NAME, common)]
        return x509.Name([x509.NameAttribute(*part) for part in parts])

    uses = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
    )
    usage = x509.KeyUsage(
        digital_signature=not is_root, key_cert_sign=is_root, crl_sign=is_root, decipher_only=False, **uses
    )
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(name("root"), name(subject), key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(is_root, None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not is_root:
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(purpose, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def test_signed_clip_tells_its_signer_and_its_source(signed):
    found = read_provenance(signed)
    assert (found.state, found.signer, found.generator) == ("valid", "Made For A Test", "test camera")
    assert found.actions == ("c2pa.created",)
    assert found.source_types == ("trainedAlgorithmicMedia",)
    assert found.problems == ()
    assert "not checked against a list" in in_words(found)


def test_a_changed_byte_is_noticed(signed, tmp_path):
    content = bytearray(signed.read_bytes())
    content[-2000] ^= 255
    (tmp_path / "changed.mp4").write_bytes(content)
    found = read_provenance(tmp_path / "changed.mp4")
    assert found.state == "invalid"
    assert "mismatch" in found.problems[0]
    assert "do NOT fit" in in_words(found)


def test_absence_is_not_evidence(talking_clip):
    found = read_provenance(talking_clip)
    assert found.state == "none"
    assert "absence is not evidence" in in_words(found)


def test_a_kind_of_file_without_a_place_for_credentials_is_told_in_words(tmp_path):
    (tmp_path / "clip.webm").write_bytes(b"\x1aE\xdf\xa3" + bytes(100))
    found = read_provenance(tmp_path / "clip.webm")
    assert found.state == "unreadable"
    assert in_words(found) == (
        "Content credentials could not be read: c2pa knows no place for them in this kind of file."
    )


def test_what_is_no_media_is_unreadable(tmp_path):
    (tmp_path / "letter.mp4").write_text("hello")
    assert read_provenance(tmp_path / "letter.mp4").state == "unreadable"
    assert read_provenance(tmp_path / "absent.mp4").state == "unreadable"


def test_crafted_credentials_are_unreadable_and_end_nothing(talking_clip, tmp_path):
    """A renamed assertion made the library raise a KeyError, which ended the whole batch."""
    path = tmp_path / "crafted.mp4"
    sign(talking_clip, path, {"label": "c2pa.xctions.foo", "data": {"a": 1}})
    path.write_bytes(path.read_bytes().replace(b"c2pa.xctions", b"c2pa.actions"))
    found = read_provenance(path)
    assert (found.state, bool(found.problems[0])) == ("unreadable", True)


def test_a_library_that_does_not_load_is_told_and_ends_nothing(talking_clip, monkeypatch):
    """Without its native part c2pa raises a RuntimeError on import, which ended the whole batch."""

    class Broken:
        def find_spec(self, name, *_):
            if name == "c2pa":
                raise RuntimeError("its native library is missing")

    monkeypatch.delitem(sys.modules, "c2pa")
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    found = read_provenance(talking_clip)
    assert (found.state, found.problems) == ("unreadable", ("its native library is missing",))


def test_without_the_extra_it_is_said_that_nothing_was_looked_for(talking_clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "c2pa", None)
    assert read_provenance(talking_clip) is None
    assert ".[provenance]" in in_words(None)
