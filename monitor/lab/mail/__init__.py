"""Fictional agencies' mail systems on loopback, in process, that can be broken on purpose.

Real SMTP, real IMAP, real TLS from an authority made at start; only the agencies are invented. Everything runs in the
event loop of whoever enters `LabNetwork`, and nothing outlives it.
"""

from monitor.lab.mail.estate.account import Account
from monitor.lab.mail.estate.authority import LabAuthority
from monitor.lab.mail.estate.mailbox import FolderName
from monitor.lab.mail.estate.port import Port
from monitor.lab.mail.estate.tempo import Tempo
from monitor.lab.mail.network import LabNetwork, SystemPlan
from monitor.lab.mail.post.directory import Directory
from monitor.lab.mail.post.queue import QueuePolicy
from monitor.lab.mail.system import MailSystem
from monitor.lab.mail.trouble.fault import Fault

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
    "Tempo",
]
