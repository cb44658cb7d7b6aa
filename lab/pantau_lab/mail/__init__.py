"""Fictional agencies' mail systems on loopback, in process, that can be broken on purpose.

Real SMTP, real IMAP, real TLS from an authority made at start; only the agencies are invented. Everything runs in the
event loop that enters `LabNetwork`, and ends with its block.
"""

from pantau_lab.mail.faults.fault import Fault
from pantau_lab.mail.network import LabNetwork, SystemPlan
from pantau_lab.mail.resources.account import Account
from pantau_lab.mail.resources.authority import LabAuthority
from pantau_lab.mail.resources.mailbox import FolderName
from pantau_lab.mail.resources.port import Port
from pantau_lab.mail.resources.tempo import FaultDelays
from pantau_lab.mail.system import MailSystem
from pantau_lab.mail.transport.directory import Directory
from pantau_lab.mail.transport.queue import QueuePolicy

__all__ = [
    "Account",
    "Directory",
    "Fault",
    "FaultDelays",
    "FolderName",
    "LabAuthority",
    "LabNetwork",
    "MailSystem",
    "Port",
    "QueuePolicy",
    "SystemPlan",
]
