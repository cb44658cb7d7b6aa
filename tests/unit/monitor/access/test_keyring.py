"""Secrets at rest: what a key opens, and what it does not."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest

from monitor.access.encryption import BadKeyError, Ciphertext, EncryptionKey, SecretPlace, SecretPurpose
from monitor.store.admin.keyring import Keyring, SecretLockedError, new_key

KEY = urlsafe_b64encode(bytes(range(32))).decode()
HERE = SecretPlace(purpose=SecretPurpose.ONE_TIME, owner="7")


@pytest.mark.parametrize("secret", ["", "rahsia", "kunci é ☂", "x" * 10_000])
def test_what_was_encrypted_is_read_again_and_never_looks_the_same_twice(secret: str) -> None:
    ring = Keyring(KEY)
    kept = [ring.encrypt(HERE, secret) for _ in range(2)]
    assert [ring.decrypt(HERE, each) for each in kept] == [secret, secret]
    assert kept[0].text != kept[1].text


@pytest.mark.parametrize(
    "elsewhere",
    [
        SecretPlace(purpose=SecretPurpose.ONE_TIME, owner="8"),
        SecretPlace(purpose=SecretPurpose.ONE_TIME_OFFER, owner="7"),
    ],
)
def test_a_ciphertext_opens_in_its_own_place_only(elsewhere: SecretPlace) -> None:
    ring = Keyring(KEY)
    with pytest.raises(SecretLockedError, match="belongs to something else"):
        ring.decrypt(elsewhere, ring.encrypt(HERE, "rahsia"))


def test_a_ciphertext_of_which_one_bit_was_changed_does_not_open() -> None:
    ring = Keyring(KEY)
    kept = ring.encrypt(HERE, "rahsia")
    octets = bytearray(urlsafe_b64decode(kept.text.partition(".")[2]))
    for at in range(len(octets)):
        octets[at] ^= 1
        with pytest.raises(SecretLockedError):
            ring.decrypt(HERE, Ciphertext(key_id=kept.key_id, text=f"1.{urlsafe_b64encode(octets).decode()}"))
        octets[at] ^= 1


@pytest.mark.parametrize("text", ["", "1", "1.", "1.AAAA", "1.%%%", "rahsia"])
def test_what_is_no_ciphertext_is_told_as_what_it_is(text: str) -> None:
    with pytest.raises(SecretLockedError):
        Keyring(KEY).decrypt(HERE, Ciphertext(key_id=Keyring(KEY).key_id, text=text))


def test_what_another_version_has_written_is_not_taken_for_broken() -> None:
    with pytest.raises(SecretLockedError, match="another version of Pantau"):
        Keyring(KEY).decrypt(HERE, Ciphertext(key_id=Keyring(KEY).key_id, text="2.AAAA"))


def test_the_old_key_reads_and_the_new_one_writes() -> None:
    old, ring = Keyring(KEY), Keyring(new_key(), KEY)
    assert ring.decrypt(HERE, old.encrypt(HERE, "rahsia")) == "rahsia"
    with pytest.raises(SecretLockedError, match=f"with the key {ring.key_id}, which is not here"):
        old.decrypt(HERE, ring.encrypt(HERE, "rahsia"))


@pytest.mark.parametrize("text", ["", "kunci", "a" * 44, KEY[:-4], f"{KEY[:-4]}AAAA" * 2, "é" * 44, f"{KEY} {KEY}"])
def test_what_is_no_key_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(BadKeyError) as refused:
        EncryptionKey.parse(text)
    assert not text or text not in str(refused.value)


def test_a_key_is_called_the_same_at_any_time() -> None:
    """Otherwise nothing could be read that was encrypted with it before."""
    assert EncryptionKey.parse(f" {KEY}\n").id == "2570eae2"


def test_a_key_shows_in_no_repr() -> None:
    assert KEY not in repr(Keyring(KEY))
    assert KEY not in repr(EncryptionKey.parse(KEY))
    assert str(EncryptionKey.parse(KEY).octets) not in repr(EncryptionKey.parse(KEY))
