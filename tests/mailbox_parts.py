"""Servers and password of a mailbox, for tests in which they are always set."""

from __future__ import annotations

from probes.model.mailbox import Mailbox, Password, Server


def smtp_of(mailbox: Mailbox) -> Server:
    assert mailbox.smtp is not None
    return mailbox.smtp


def imap_of(mailbox: Mailbox) -> Server:
    assert mailbox.imap is not None
    return mailbox.imap


def password_of(mailbox: Mailbox) -> Password:
    assert isinstance(mailbox.login, Password)
    return mailbox.login
