"""Failures of the sign-in, by password and by access token."""

from __future__ import annotations

from monitor.advice.case import Case, Provider
from monitor.advice.row import Row, Who
from probes.model.reply import Reason

_SMTP_AUTH_OFF = ("smtpclientauthentication is disabled", "basic authentication is disabled", "5.7.30")
_APP_PASSWORD = ("application-specific password", "app password", "application password")
_GRANT = (
    (
        "Entra, app registration: the application permissions IMAP.AccessAsApp and SMTP.SendAsApp of Office 365 Exchange "
        "Online, with admin consent granted."
    ),
    (
        "`New-ServicePrincipal -AppId <application id> -ObjectId <object id of the enterprise application>`: the object id "
        "under Enterprise applications, not the one under App registrations."
    ),
    "`Add-MailboxPermission -Identity {address} -User <service principal id> -AccessRights FullAccess`",
    "The scope is https://outlook.office365.com/.default; a change needs up to an hour to be seen.",
)


def _smtp_auth_off(case: Case) -> bool:
    return case.has_status("5.7.30", "5.7.139") or case.says(*_SMTP_AUTH_OFF)


def _wants_app_password(case: Case) -> bool:
    return case.failure.code == 534 or case.says(*_APP_PASSWORD)


def _is_busy(case: Case) -> bool:
    return case.is_limited or case.says("[inuse]") or (case.failure.code == 421 and case.has_status("4.7."))


_TOKEN = (
    Row(
        reason=Reason.NO_TOKEN,
        what="No access token for {username} could be had, so {server} was not asked; mail itself may be well.",
        do="See the detail above: the provider's token address cannot be reached from here, or the file or command "
        "of {section}.login gives none.",
        who=Who.MACHINE,
        steps=(
            (
                "`curl -sI https://login.microsoftonline.com` or `https://oauth2.googleapis.com`: TCP 443 must be open "
                "to the provider, through the proxy if there is one."
            ),
            "{section}.login in {file}: run the command by hand as the service's user, or look at the file's date.",
        ),
    ),
    Row(
        reason=Reason.TOKEN_REFUSED,
        when=lambda case: case.says("aadsts7000215", "aadsts7000222", "aadsts7000216", "invalid_client"),
        what="The client secret for {username} is wrong or has expired: no access token is issued.",
        do="Make a new client secret at the provider and write its value into the secret file of {section}.",
        who=Who.PROVIDER,
        steps=(
            "Microsoft: Entra, App registrations, Certificates & secrets: the date of expiry, and the Value (not the ID).",
            "Google: Cloud console, Credentials, the OAuth client's secret.",
            "{section}.login in {file}: does the file hold the new value, on one line?",
        ),
    ),
    Row(
        reason=Reason.TOKEN_REFUSED,
        when=lambda case: case.says("aadsts65001", "aadsts90094", "consent"),
        what="Nobody with the right to do so has consented to what Pantau asks for as {username}.",
        do='An administrator of the tenant must press "Grant admin consent" at the application\'s API permissions.',
        who=Who.PROVIDER,
        steps=_GRANT,
    ),
    Row(
        reason=Reason.TOKEN_REFUSED,
        when=lambda case: case.says("aadsts700016", "aadsts90002", "aadsts900023", "aadsts500011"),
        what="The provider does not know this application, tenant or resource.",
        do="Compare the tenant, the client id and the scope of {section}.login with the provider's console.",
        who=Who.US,
        steps=(
            (
                "AADSTS90002 and 900023: the tenant in the token URL. AADSTS700016: the client id, or it is in another tenant. "
                "AADSTS500011: the scope."
            ),
            *_GRANT,
        ),
    ),
    Row(
        reason=Reason.TOKEN_REFUSED,
        when=lambda case: case.says("aadsts700082", "aadsts50173", "aadsts70008", "invalid_grant"),
        what="The refresh token for {username} has expired or was withdrawn, as after a change of the password.",
        do="Sign in once more as {username}, consent, and write the new refresh token into the secret file of {section}.",
        who=Who.US,
        steps=(
            "Google: while the consent screen is in status Testing, a refresh token lives for seven days: publish it.",
            "Microsoft: a refresh token lives for 90 days without use; prefer client credentials, which need none.",
        ),
    ),
    Row(
        reason=Reason.TOKEN_REFUSED,
        what="The provider refuses an access token for {username}, with the reason above.",
        do="Look the code up in the provider's documentation; compare client id, tenant and scope of {section}.login.",
        who=Who.PROVIDER,
        steps=_GRANT,
    ),
    Row(
        reason=Reason.CREDENTIALS_REFUSED,
        when=lambda case: case.with_token and case.provider is Provider.GOOGLE,
        what="Google issued an access token, and {server} does not let it open the mailbox {username}.",
        do="Check that the token has the scope https://mail.google.com/ and belongs to {username}.",
        who=Who.PROVIDER,
        steps=(
            "Google Admin, Security, API controls, Domain-wide delegation: the client id with https://mail.google.com/.",
            "Google Admin, Apps, Gmail, End user access: IMAP is on for this user.",
            "The user is neither suspended nor without a licence.",
        ),
    ),
    Row(
        reason=Reason.CREDENTIALS_REFUSED,
        when=lambda case: case.with_token,
        what="An access token was issued, and {server} does not let it open the mailbox {username}.",
        do="Usually the application's service principal has not been given the mailbox: see the two commands below "
        "(--explain).",
        who=Who.PROVIDER,
        steps=_GRANT,
    ),
)

_PASSWORD = (
    Row(
        reason=Reason.CREDENTIALS_REFUSED,
        when=lambda case: case.has_status("4.7.12"),
        what="{server} has a new way to keep passwords, and wants that of {username} shown once by the old one.",
        do="Sign in once as {username} by PLAIN, as in webmail, or have {owner} set the password anew.",
        who=Who.US,
        steps=("The server's documentation on changing its authentication backend (RFC 4954 6: 432 4.7.12).",),
    ),
    Row(
        reason=Reason.CREDENTIALS_REFUSED,
        when=lambda case: case.failure.code == 525 or case.has_status("5.7.13"),
        what="The account {username} is disabled at {server}. It serves others: mail itself may be well.",
        do="Ask {owner} who switched it off, and have it switched on again.",
        steps=("A mailbox that nobody has signed in to may be switched off by a rule.",),
    ),
    Row(
        reason=Reason.CREDENTIALS_REFUSED,
        when=_smtp_auth_off,
        what="Exchange Online no longer takes a password for sending (SMTP AUTH) from {username}.",
        do="Change {section}.login to oauth; for the time being SMTP AUTH can be allowed for this mailbox "
        "(command with --explain).",
        who=Who.PROVIDER,
        steps=(
            (
                "`Set-CASMailbox -Identity {address} -SmtpClientAuthenticationDisabled $false` allows it for this mailbox; "
                "`Get-TransportConfig | Format-List SmtpClientAuthenticationDisabled` shows the tenant."
            ),
            "Security defaults and authentication policies may forbid it all the same.",
            "Passwords are being switched off there for good: write {section}.login with oauth.",
            *_GRANT,
        ),
    ),
    Row(
        reason=Reason.CREDENTIALS_REFUSED,
        when=_wants_app_password,
        what="{username} has two-step sign-in: the ordinary password is not taken, an app password is.",
        do="Make an app password for {username} and put it into the password file of {section}; or use oauth.",
        who=Who.PROVIDER,
        steps=(
            "Google: sign in as {username}, https://myaccount.google.com/apppasswords; 16 letters, without the blanks.",
            "The page is missing: the administrator has forbidden app passwords (as MyGovUC may). Ask for oauth then.",
            "{section}.login.password_file in {file}: the new password alone on one line.",
        ),
    ),
    Row(
        reason=Reason.CREDENTIALS_REFUSED,
        when=lambda case: case.provider is Provider.YAHOO,
        what="Yahoo does not take this password for {username}: it wants an app password.",
        do="Make one (Yahoo, Account security, Generate app password) and put it into the password file of {section}.",
        who=Who.US,
        steps=("A few wrong attempts lock the account for some hours: wait before you try again.",),
    ),
    Row(
        reason=Reason.CREDENTIALS_REFUSED,
        when=lambda case: case.provider is Provider.GOOGLE,
        what="Google does not take this password for {username}: ordinary passwords have not been enough since 2025.",
        do="Use an app password (two-step sign-in must be on) or oauth for {section}.login.",
        who=Who.PROVIDER,
        steps=(
            "{section}.login.password_file in {file}: an app password has 16 letters, written without the blanks.",
            "Changing the account's password withdraws all its app passwords: make a new one.",
            "Google Admin: IMAP is on for this user, and the user is not suspended.",
        ),
    ),
    Row(
        reason=Reason.CREDENTIALS_REFUSED,
        when=lambda case: case.provider is Provider.MICROSOFT,
        what="Exchange Online does not take a password for {username}: it wants an access token.",
        do="Write {section}.login with oauth; passwords for IMAP and POP3 have been off there since 2022.",
        who=Who.PROVIDER,
        steps=_GRANT,
    ),
    Row(
        reason=Reason.CREDENTIALS_REFUSED,
        what="{server} refuses the password of {username}. It serves others: mail itself may be well.",
        do="Ask {owner} whether the password was changed or has expired, or the account is locked.",
        who=Who.US,
        steps=(
            "{section}.login in {file}: is the user name the whole address or only its first part?",
            "The password file: one line, no blank behind it; who changed it last?",
            "Sign in as this user in webmail: expired passwords and locked accounts show there.",
            "Pantau waits longer after a refusal, so that it does not lock the account itself.",
        ),
    ),
)

ROWS = (
    *_TOKEN,
    *_PASSWORD,
    Row(
        reason=Reason.SIGN_IN_UNAVAILABLE,
        when=_is_busy,
        what="{server} lets {username} in no more for now: too many sign-ins or sessions.",
        do="Wait some minutes; if it comes back, probe less often or look who else uses this mailbox.",
        steps=(
            "Does a person, a phone or another monitor use {address}? Give Pantau a mailbox of its own.",
            "probing.interval: a provider counts sign-ins and messages of a day.",
            "Postfix: `anvil_rate_time_unit` and `smtpd_client_*_limit`; Dovecot: `mail_max_userip_connections`.",
        ),
    ),
    Row(
        reason=Reason.SIGN_IN_UNAVAILABLE,
        when=lambda case: case.is_closing,
        what="{server} closed while we signed in: it is being shut down, maintained, or overloaded.",
        do="Ask {owner} whether this is planned (then enter it as maintenance); if not, the server's log says why.",
        steps=("Load, memory and the log on the server; Exchange: `Get-ServerComponentState`, back pressure.",),
    ),
    Row(
        reason=Reason.SIGN_IN_UNAVAILABLE,
        when=lambda case: case.failure.code is not None and 300 <= case.failure.code < 400,
        what="{server} goes on asking during the sign-in, and says neither yes nor no.",
        do="{owner} must look at the mechanisms that it offers (AUTH): one of them is not carried through.",
        steps=(
            "Run this command with --verbose: which mechanism was used (AUTH), and how often was asked (334)?",
            "A proxy before the server may pass on only half of the dialogue.",
        ),
    ),
    Row(
        reason=Reason.SIGN_IN_UNAVAILABLE,
        when=lambda case: case.is_not_understood,
        what="{server} offers the sign-in and does not understand it when it is used.",
        do="{owner} must look what stands before the service, and which mechanisms it really has; it is not our password.",
        steps=(
            "500 5.5.6: the line is too long. Access tokens need up to 12,288 octets (RFC 4954 4).",
            "504 5.5.4: the mechanism is offered and not there. Postfix: `smtpd_sasl_type` and the mechanisms of Dovecot.",
        ),
    ),
    Row(
        reason=Reason.SIGN_IN_UNAVAILABLE,
        what="{server} can let nobody in at present: the fault lies behind it, not with our password.",
        do="{owner} must look at what the sign-in asks (directory, database, Dovecot's auth service).",
        steps=(
            "The server's log at this time: `auth` lines of Dovecot, `saslauthd`, LDAP or Active Directory.",
            "Postfix with Dovecot: is the socket `private/auth` there?",
            "Users see the same: mail programs ask for the password again and again.",
        ),
    ),
    Row(
        reason=Reason.SIGN_IN_NOT_OFFERED,
        when=lambda case: case.with_token,
        what="{server} offers no sign-in with an access token (XOAUTH2).",
        do="Write a password in {section}.login, or have {owner} switch XOAUTH2 on.",
        steps=(
            "Run this command with --verbose: the line with AUTH shows what is offered.",
            "Dovecot: `auth_mechanisms = plain xoauth2` with an oauth2 passdb.",
        ),
    ),
    Row(
        reason=Reason.SIGN_IN_NOT_OFFERED,
        what="{server} offers no sign-in that we know (PLAIN, LOGIN): this may be the port between servers.",
        do="Set {setting}.port to {starttls_port} or {implicit_port}; if it is, {owner} must switch sign-in on there.",
        steps=(
            "Run this command with --verbose: the line with AUTH shows what is offered.",
            "Port 25 takes mail from other servers and offers no sign-in.",
            "Postfix: `-o smtpd_sasl_auth_enable=yes` at submission in master.cf; Dovecot: `auth_mechanisms = plain login`.",
        ),
    ),
)
