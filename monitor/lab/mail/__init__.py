"""Fictional agencies' mail systems on loopback, in process, that can be broken on purpose.

Real SMTP, real IMAP, real TLS from an authority made at start; only the agencies are invented. Everything runs in the
event loop of whoever enters `LabNetwork`, and nothing outlives it.
"""

from monitor.lab.mail.account import Account
from monitor.lab.mail.authority import LabAuthority
from monitor.lab.mail.directory import Directory
from monitor.lab.mail.fault import Fault
from monitor.lab.mail.mailbox import FolderName
from monitor.lab.mail.network import LabNetwork, SystemPlan
from monitor.lab.mail.port import Port
from monitor.lab.mail.queue import QueuePolicy
from monitor.lab.mail.system import MailSystem
from monitor.lab.mail.tempo import Tempo

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
