"""Fictional data of the demo: three agencies, two reference mailboxes, and the people who are notified.

A reference mailbox is at an independent provider; Pantau probes agencies from it. No such agency or person exists.
Subscriber numbers in Malaysia never begin with 0, so nobody can have one of these numbers.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A member of staff with a mobile phone."""

    #: Identifier of the contact in the configuration.
    key: str
    name: str
    #: Mobile number.
    number: str
    #: Telephone keys that they press in a call, one entry for each menu; "": they press nothing.
    keys: tuple[str, ...] = ()
    #: PIN to release an announcement to other offices in a call; empty: they may not release.
    pin: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outsider:
    """Office that an agency notifies of outages by fax and letter."""

    #: Identifier of the recipient in the configuration.
    key: str
    #: Official title of the person to whom faxes and letters are addressed.
    title: str
    organisation: str
    address: tuple[str, ...]
    fax: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FictionalAgency:
    """An agency with its own mail system."""

    code: str
    name: str
    domain: str
    address: tuple[str, ...]
    telephone: str
    fax: str
    #: Official title of the agency's head.
    head: str
    #: Name and post of the signatory of letters.
    signatory: tuple[str, str]
    #: Name and post of the contact officer.
    contact: tuple[str, str]
    #: Person on duty, who is notified first.
    duty: Person
    #: Deputy of the person on duty.
    deputy: Person
    #: Office that is notified of outages.
    recipient: Outsider


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Reference mailbox of Pantau at an independent provider."""

    #: Identifier of the mailbox in the configuration.
    key: str
    domain: str


REFERENCES = (
    Reference(key="rujukan-a", domain="rujukan-satu.gov.my"),
    Reference(key="rujukan-b", domain="rujukan-dua.edu.my"),
)

#: Network operations centre, which is notified of faults of the monitoring itself.
NOC = Person(key="noc", name="Pegawai Bertugas Pusat Operasi", number="+60100000900", keys=("1",))

#: Name of the clerk who prints and posts the letters of all agencies.
CLERK = "Kerani Contoh"

AGENCIES = (
    FictionalAgency(
        code="JCM",
        name="Jabatan Contoh Malaysia",
        domain="jabatan-contoh.gov.my",
        address=("Aras 1, Blok Contoh", "Presint 0", "62000 PUTRAJAYA"),
        telephone="03-0000 0100",
        fax="03-0000 0101",
        head="Ketua Pengarah",
        signatory=("Siti binti Contoh", "Setiausaha Bahagian Teknologi Maklumat"),
        contact=("Ali bin Contoh", "Pegawai Teknologi Maklumat"),
        duty=Person(key="siti", name="Siti binti Contoh", number="+60100000101", keys=("1",), pin="280146"),
        deputy=Person(key="ali", name="Ali bin Contoh", number="+60100000102", keys=("1",)),
        recipient=Outsider(
            key="kementerian",
            title="Ketua Setiausaha",
            organisation="Kementerian Contoh",
            address=("Aras 9, Menara Contoh", "Presint 0", "62000 PUTRAJAYA"),
            fax="+60300000201",
        ),
    ),
    FictionalAgency(
        code="MDC",
        name="Majlis Daerah Contoh",
        domain="majlis-contoh.gov.my",
        address=("Jalan Contoh 1", "00100 BANDAR CONTOH"),
        telephone="04-000 0300",
        fax="04-000 0301",
        head="Yang Dipertua",
        signatory=("Ravi a/l Contoh", "Setiausaha Majlis"),
        contact=("Mei Contoh", "Penolong Pegawai Teknologi Maklumat"),
        duty=Person(key="mei", name="Mei Contoh", number="+60100000301", keys=("2", "1")),
        deputy=Person(key="ravi", name="Ravi a/l Contoh", number="+60100000302", keys=("1",)),
        recipient=Outsider(
            key="suk",
            title="Setiausaha Kerajaan Negeri",
            organisation="Pejabat Setiausaha Kerajaan Negeri Contoh",
            address=("Wisma Contoh", "00200 BANDAR CONTOH"),
            fax="+6040000401",
        ),
    ),
    FictionalAgency(
        code="UCM",
        name="Universiti Contoh Malaysia",
        domain="universiti-contoh.edu.my",
        address=("Bangunan Canselori", "Jalan Ilmu", "43000 KAJANG"),
        telephone="03-0000 0500",
        fax="03-0000 0501",
        head="Pendaftar",
        signatory=("Nur binti Contoh", "Timbalan Pendaftar"),
        contact=("Jok anak Contoh", "Pegawai Teknologi Maklumat"),
        duty=Person(key="jok", name="Jok anak Contoh", number="+60100000501", keys=("1",)),
        deputy=Person(key="nur", name="Nur binti Contoh", number="+60100000502", keys=("1",)),
        recipient=Outsider(
            key="kementerian",
            title="Ketua Setiausaha",
            organisation="Kementerian Pengajian Contoh",
            address=("Aras 5, Menara Ilmu", "Presint 0", "62000 PUTRAJAYA"),
            fax="+60300000601",
        ),
    ),
)
