"""Roles, their permissions, and the agencies for which a user or a program has a permission."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from monitor.model.translatable import translatable

#: Used in place of an agency's code: all agencies and Pantau itself.
ALL_AGENCIES: Final = "*"
#: Used in place of an agency's code: incidents and settings of Pantau itself.
PANTAU_ITSELF: Final = ""


class Permission(StrEnum):
    """Permission that a URL of the portal requires."""

    #: Read the health of mail, incidents and their notifications.
    READ = "read"
    #: Read who is on call, with telephone numbers.
    READ_PEOPLE = "read_people"
    #: Read the audit log.
    READ_AUDIT_LOG = "read_audit_log"
    #: Acknowledge an incident, add notes, escalate.
    ACKNOWLEDGE = "acknowledge"
    #: Release announcements of outages to recipients, the offices outside the agency.
    RELEASE = "release"
    #: Declare an outage, close an incident, mark a false alarm, set the status of a notification.
    MANAGE_INCIDENTS = "manage_incidents"
    #: Silence an agency or a mail route for a time.
    SILENCE = "silence"
    #: Override a rota (an on-call schedule) for a time.
    OVERRIDE = "override"
    #: Print and post letters, and record it.
    POST_LETTERS = "post_letters"
    #: Edit an agency's document: mail routes, mailboxes, contacts, maintenance.
    EDIT_AGENCY = "edit_agency"
    #: Edit three kinds of settings: names of secrets, names of files on this machine, and servers that receive secrets.
    CONFIGURE_SECRETS = "configure_secrets"
    #: Run a probe, or a drill (a test notification of staff), now.
    RUN_TESTS = "run_tests"
    #: Reload the configuration.
    RELOAD = "reload"
    #: Create and invite users, and assign roles.
    MANAGE_USERS = "manage_users"


class Role(StrEnum):
    """Role of a user, for one agency or for all."""

    #: May only read.
    VIEWER = "viewer"
    #: Manages an agency's document: probes, mailboxes, contacts.
    OFFICER = "officer"
    #: Prints and posts letters.
    CLERK = "clerk"
    #: Is on call.
    DUTY = "duty"
    #: Works in the network operations centre.
    NOC = "noc"
    #: Manages users and the configuration.
    ADMIN = "admin"


_DUTY = frozenset(
    {
        Permission.READ,
        Permission.READ_PEOPLE,
        Permission.ACKNOWLEDGE,
        Permission.RELEASE,
        Permission.MANAGE_INCIDENTS,
        Permission.SILENCE,
        Permission.OVERRIDE,
    }
)

PERMISSIONS: Final[Mapping[Role, AbstractSet[Permission]]] = {
    Role.VIEWER: frozenset({Permission.READ}),
    Role.OFFICER: frozenset(
        {Permission.READ, Permission.READ_PEOPLE, Permission.OVERRIDE, Permission.EDIT_AGENCY, Permission.RUN_TESTS}
    ),
    Role.CLERK: frozenset({Permission.READ, Permission.POST_LETTERS}),
    Role.DUTY: _DUTY,
    Role.NOC: _DUTY | {Permission.RUN_TESTS, Permission.READ_AUDIT_LOG},
    # Administrators may assign themselves other roles in an emergency; the audit log records it.
    Role.ADMIN: frozenset(
        {
            Permission.READ,
            Permission.READ_PEOPLE,
            Permission.READ_AUDIT_LOG,
            Permission.EDIT_AGENCY,
            Permission.CONFIGURE_SECRETS,
            Permission.RELOAD,
            Permission.MANAGE_USERS,
        }
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class RoleAssignment:
    """A role for one agency by its code, or for `ALL_AGENCIES`."""

    role: Role
    agency: str

    def __str__(self) -> str:
        """Return the written form: "officer:JCONTOH", or "noc" for all agencies."""
        return str(self.role) if self.agency == ALL_AGENCIES else f"{self.role}:{self.agency}"


@dataclass(frozen=True, slots=True)
class AgencyScope:
    """Set of agencies for which something is permitted."""

    is_unrestricted: bool = False
    #: Codes of agencies; ignored if the scope is unrestricted.
    agencies: AbstractSet[str] = frozenset()

    def __bool__(self) -> bool:
        """Whether any agency is included."""
        return self.is_unrestricted or bool(self.agencies)

    def __contains__(self, agency: str) -> bool:
        """Whether an agency is included. `PANTAU_ITSELF` is included only in an unrestricted scope."""
        return self.is_unrestricted or agency in self.agencies


UNRESTRICTED_SCOPE: Final = AgencyScope(is_unrestricted=True)


def scope_of(assignments: Iterable[RoleAssignment], permission: Permission) -> AgencyScope:
    """Return the agencies for which the assignments grant a permission."""
    agencies = {each.agency for each in assignments if permission in PERMISSIONS[each.role]}
    if ALL_AGENCIES in agencies:
        return UNRESTRICTED_SCOPE
    return AgencyScope(agencies=frozenset(agencies))


def parse_assignment(text: str) -> RoleAssignment:
    """Parse "officer:JCONTOH" or "noc". Raise `ValueError`, whose message says what to write instead."""
    role, colon, agency = text.strip().partition(":")
    roles = ", ".join(Role)
    if role.lower() not in set(Role):
        raise ValueError(
            translatable(
                "'{role}' is no role; write one of {roles}, and a colon and a code for one agency only",
                role=role,
                roles=roles,
            )
        )
    if colon and not agency.strip():
        raise ValueError(
            translatable(
                "'{text}' names no agency; write {role}:JCONTOH, or {role} alone for all agencies", text=text, role=role
            )
        )
    code = agency.strip().upper() if colon else ALL_AGENCIES
    if Role(role.lower()) is Role.ADMIN and code != ALL_AGENCIES:
        raise ValueError("an admin is one for all agencies; write admin")
    return RoleAssignment(role=Role(role.lower()), agency=code)
