"""Fictional agencies' mail systems on loopback, in process, that can be broken on purpose.

Real SMTP, real IMAP, real TLS from an authority made at start; only the agencies are invented. Everything runs in the
event loop of whoever enters `LabNetwork`, and nothing outlives it.
"""

from pantau_lab.mail.estate.account import Account
from pantau_lab.mail.estate.authority import LabAuthority
from pantau_lab.mail.estate.mailbox import FolderName
from pantau_lab.mail.estate.port import Port
from pantau_lab.mail.estate.tempo import FaultDelays
from pantau_lab.mail.network import LabNetwork, SystemPlan
from pantau_lab.mail.post.directory import Directory
from pantau_lab.mail.post.queue import QueuePolicy
from pantau_lab.mail.system import MailSystem
from pantau_lab.mail.trouble.fault import Fault

__all__ = [
    "Account",
    "Directory",
    "Fault",
    "FolderName",
    "LabAuthority",
    "LabNetwork",
    "MailSystem",
    "Port",
    "QueuePolicy",
    "SystemPlan",
    "FaultDelays",
]
