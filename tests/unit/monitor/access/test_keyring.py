"""Encryption of stored secrets."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest

from monitor.access.encryption import BadKeyError, Ciphertext, EncryptionKey, SecretId, SecretPurpose
from monitor.store.admin.keyring import Keyring, SecretLockedError, new_key

KEY = urlsafe_b64encode(bytes(range(32))).decode()
HERE = SecretId(purpose=SecretPurpose.ONE_TIME, owner="7")


@pytest.mark.parametrize("secret", ["", "rahsia", "kunci é ☂", "x" * 10_000])
def test_encrypt_decrypts_to_same_and_differs_each_time(secret: str) -> None:
    ring = Keyring(KEY)
    kept = [ring.encrypt(HERE, secret) for _ in range(2)]
    assert [ring.decrypt(HERE, each) for each in kept] == [secret, secret]
    assert kept[0].text != kept[1].text


@pytest.mark.parametrize(
    "elsewhere",
    [
        SecretId(purpose=SecretPurpose.ONE_TIME, owner="8"),
        SecretId(purpose=SecretPurpose.ONE_TIME_OFFER, owner="7"),
    ],
)
def test_decrypt_other_secret_id_is_refused(elsewhere: SecretId) -> None:
    ring = Keyring(KEY)
    with pytest.raises(SecretLockedError, match="belongs to something else"):
        ring.decrypt(elsewhere, ring.encrypt(HERE, "rahsia"))


def test_decrypt_one_bit_changed_is_refused() -> None:
    ring = Keyring(KEY)
    kept = ring.encrypt(HERE, "rahsia")
    octets = bytearray(urlsafe_b64decode(kept.text.partition(".")[2]))
    for at in range(len(octets)):
        octets[at] ^= 1
        with pytest.raises(SecretLockedError):
            ring.decrypt(HERE, Ciphertext(key_id=kept.key_id, text=f"1.{urlsafe_b64encode(octets).decode()}"))
        octets[at] ^= 1


@pytest.mark.parametrize("text", ["", "1", "1.", "1.AAAA", "1.%%%", "rahsia"])
def test_decrypt_invalid_ciphertext_is_refused(text: str) -> None:
    with pytest.raises(SecretLockedError):
        Keyring(KEY).decrypt(HERE, Ciphertext(key_id=Keyring(KEY).key_id, text=text))


def test_decrypt_other_format_version_names_version() -> None:
    with pytest.raises(SecretLockedError, match="another version of Pantau"):
        Keyring(KEY).decrypt(HERE, Ciphertext(key_id=Keyring(KEY).key_id, text="2.AAAA"))


def test_decrypt_old_key_is_accepted_and_encrypt_uses_new_key() -> None:
    old, ring = Keyring(KEY), Keyring(new_key(), KEY)
    assert ring.decrypt(HERE, old.encrypt(HERE, "rahsia")) == "rahsia"
    with pytest.raises(SecretLockedError, match=f"with the key {ring.key_id}, which is not available"):
        old.decrypt(HERE, ring.encrypt(HERE, "rahsia"))


@pytest.mark.parametrize("text", ["", "kunci", "a" * 44, KEY[:-4], f"{KEY[:-4]}AAAA" * 2, "é" * 44, f"{KEY} {KEY}"])
def test_parse_key_invalid_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(BadKeyError) as refused:
        EncryptionKey.parse(text)
    assert not text or text not in str(refused.value)


def test_key_id_is_stable() -> None:
    """The key id must be stable: stored secrets name it."""
    assert EncryptionKey.parse(f" {KEY}\n").id == "2570eae2"


def test_key_repr_hides_key() -> None:
    assert KEY not in repr(Keyring(KEY))
    assert KEY not in repr(EncryptionKey.parse(KEY))
    assert str(EncryptionKey.parse(KEY).octets) not in repr(EncryptionKey.parse(KEY))
