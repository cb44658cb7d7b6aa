"""Failures of a message that was taken: returned, lost, changed; or it could not be looked for."""

from __future__ import annotations

from monitor.advice.row import LOG, Row, Who
from probes.model.reply import Reason
from probes.model.result import Phase

_ON_THE_WAY = (
    Row(
        reason=Reason.RETURNED,
        when=lambda case: case.names_nobody,
        what="The message came back: there is no mailbox {to}.",
        do="Check the address; if it is right, the mailbox or its alias was removed, and everybody's mail to it comes back.",
        steps=("The address in the configuration, letter by letter.", LOG),
    ),
    Row(
        reason=Reason.RETURNED,
        when=lambda case: case.is_full,
        what="The message came back: the mailbox {to} is full.",
        do="Have it emptied or its quota raised.",
        steps=("Webmail of {to}: what fills it?", "Dovecot: `doveadm quota get -u {to}`."),
    ),
    Row(
        reason=Reason.RETURNED,
        when=lambda case: case.has_status("5.1.2", "5.4.4", "5.4.6", "5.4.14") or case.says("loop"),
        what="The message came back: no server could be found for {to}, or it went round in a circle.",
        do="Check the MX records of the domain and the forwards: `dig MX` of the domain of {to}.",
        steps=(
            "`dig MX` and the address of each host it names.",
            "A loop (5.4.6): two servers that each think the other responsible, or two mailboxes that forward to each other.",
        ),
    ),
    Row(
        reason=Reason.RETURNED,
        when=lambda case: case.has_status("4.", "5.4."),
        what="The message came back: the server for {to} could not be reached for as long as it was tried.",
        do="See whether the MX hosts of {to} answer on port 25: `nc -vz` from outside.",
        who=Who.OWNER,
        steps=("The report's words above name the host that did not answer.", LOG),
    ),
    Row(
        reason=Reason.RETURNED,
        when=lambda case: case.has_status("5.7.") or case.says("spam", "blocked", "blocklist", "blacklist", "policy"),
        what="The message came back: the server for {to} refuses mail from {sender} by its policy.",
        do="Read the report's words above: a block list, SPF/DKIM/DMARC, or a rule of the recipient's system.",
        steps=(
            "`pantau probe {agency} --check posture` shows SPF, DKIM, DMARC and block lists of an agency.",
            "If only this recipient refuses: their administrator has the rule.",
        ),
    ),
    Row(
        reason=Reason.RETURNED,
        when=lambda case: case.has_status("5.3."),
        what="The message came back: the mail system for {to} takes no messages.",
        do="{owner} must look why it is switched off, has no room, or refuses everybody; the words above say which.",
        steps=("`postfix status`, `df -h` and the log on the server for {to}.", LOG),
    ),
    Row(
        reason=Reason.RETURNED,
        when=lambda case: case.has_status("5.6."),
        what="The message came back: a server on its way could not convert what it holds.",
        do="Ask the administrators of both sides which gateway rewrites mail.",
        steps=("The report's words above name the server that gave up.",),
    ),
    Row(
        reason=Reason.RETURNED,
        what="The message came back with the words above: people who write to {to} get the same.",
        do="The system that is named in the report has to be looked at; its log has the reason.",
        steps=(LOG,),
    ),
    Row(
        reason=Reason.COPY_RETURNED,
        when=lambda case: case.stays,
        what="The message came back: mail to {to} goes on to {arrives}, and that mailbox refused it.",
        do="Read the report's words above, and see whether {arrives} is full, disabled or removed.",
        steps=(
            "Does {to} stand for others, too? They may have it: what fails is the way to {arrives}.",
            LOG,
        ),
    ),
    Row(
        reason=Reason.COPY_RETURNED,
        what="{to} took the message, and the copy of it for {arrives} came back: the forward fails, not the mailbox.",
        do="Read the report's words above: a forward without SRS fails SPF and DMARC, or {arrives} refuses the forwarder.",
        steps=(
            "docs/forwarding.md has the settings for Postfix, Exchange and Google.",
            "Have {arrives} accept mail from the forwarding server, whatever SPF says there.",
            "If {to} is an alias and nothing is forwarded, the mailbox {arrives} itself refuses mail.",
        ),
    ),
    Row(
        reason=Reason.CHANGED,
        when=lambda case: case.says("outside ascii"),
        what="The message came to {arrives} with its letters outside ASCII broken: names and Malay quotes arrive garbled.",
        do="Look for the gateway that converts character sets, often an old virus scanner or a disclaimer tool.",
        steps=(
            "Run with --verbose: the relays the message went through are listed; each adds a Received header.",
            "Send the same through webmail and through a mail program: does only one path break it?",
        ),
    ),
    Row(
        reason=Reason.CHANGED,
        when=lambda case: case.says("attachment"),
        what="The message came to {arrives}, and its attachment is gone, cut or changed ({detail}).",
        do="Look for the gateway that strips or rewrites attachments; users lose documents the same way.",
        steps=(
            'Virus scanners and "safe attachments" take out types they do not know: semakan.dat is an octet-stream.',
            "Cut short: a disk that was full, or a limit of size, on one of the relays.",
            "Run with --verbose: the relays the message went through are listed.",
        ),
    ),
    Row(
        reason=Reason.CHANGED,
        what="The message came to {arrives}, and is not what was sent ({detail}).",
        do="Look for the gateway between {sender} and {arrives} that rewrites mail.",
        steps=(
            "Run with --verbose: the relays the message went through are listed.",
            "A disclaimer that is added, or wrapping, does not count as a change: something was replaced or lost.",
        ),
    ),
    Row(
        reason=Reason.NOT_ARRIVED,
        when=lambda case: case.is_public,
        what="The message from {sender} to {to} did not reach {arrives} in time, and no report came back.",
        do="Look whether it lies in {to}, as its owner: then mail arrives, and only the way on to {arrives} fails.",
        who=Who.AGENCY,
        steps=(
            "It lies there: the alias or the forward of {to} was changed, or a filter stops the copy; docs/forwarding.md.",
            "A report about the copy may have gone to {to}: some forwards name themselves as the sender.",
            "It does not: search the sender's server log for {to}: it says where the message was handed on.",
            LOG,
        ),
    ),
    Row(
        reason=Reason.NOT_ARRIVED,
        when=lambda case: case.protocol == "pop3",
        what="The server took the message from {sender}; it did not reach the inbox of {to} in time, and no report came back.",
        do="Look in webmail whether it lies among the junk of {to}: POP3 shows no folder but the inbox.",
        who=Who.BOTH,
        steps=(
            "Read it by IMAP, where the server offers it ({section}.imap in {file}): then all folders are looked through.",
            "Search the sender's server log for {to}: it says where the message was handed on, or that it waits.",
            LOG,
        ),
    ),
    Row(
        reason=Reason.NOT_ARRIVED,
        what="The server took the message from {sender}; it did not reach {to} in time, and no report came back.",
        do="Search the sender's server log for {to}: it says where the message was handed on, or that it waits.",
        who=Who.BOTH,
        steps=(
            LOG,
            "It waits there (status=deferred, `postqueue -p`): the log says which server does not take it.",
            "It was handed on (status=sent): search the recipient's system: filter, quarantine, rules of the mailbox.",
            "A route by another reference tells which side it is: `pantau probe {agency} outbound` and `inbound`.",
        ),
    ),
)

ROWS = (
    *_ON_THE_WAY,
    Row(
        reason=Reason.FOLDER_NOT_WATCHED,
        what="The message came to {arrives}, into a folder that nobody told Pantau to watch: people do not see it.",
        do="Have the filter there allow {sender}, and set {section}.junk_folders: [{folder}] in {file}.",
        steps=(
            "Which rule puts mail there? The filter of the server, a rule of the mailbox (Sieve, Exchange), a mail program.",
            "`pantau probe {agency} --check posture`: SPF, DKIM and DMARC of the sender are what filters judge by.",
            "A folder under junk_folders is watched, so that mail in it is seen at once and not at the end of a run's time.",
        ),
    ),
    Row(
        reason=Reason.MAILBOX_REFUSED,
        when=lambda case: case.says("authenticated but not connected"),
        what="Microsoft took the token for {username}, and does not open the mailbox.",
        do="Usually the application has no right to this mailbox, IMAP is off for it, or it has too many sessions.",
        who=Who.PROVIDER,
        steps=(
            "`Add-MailboxPermission -Identity {address} -User <service principal id> -AccessRights FullAccess`",
            "`Get-CASMailbox {address} | Format-List ImapEnabled`: it must be True.",
            "{section}.login.username: the address of the mailbox itself; of a shared mailbox its own address.",
            "About 20 sessions a mailbox: who else reads it?",
        ),
    ),
    Row(
        reason=Reason.MAILBOX_REFUSED,
        when=lambda case: case.failure.credentials_refused,
        what="{server} let {username} in and does not show it {inbox}: nothing is known of the mail to {address}.",
        do="Have {username} given the right to read {address} again, or correct {section}.inbox in {file}.",
        steps=(
            "Dovecot: `doveadm mailbox list -u {username}` shows what it may see, and how that is written.",
            "Dovecot: `doveadm acl get -u {address} INBOX`; docs/forwarding.md has the rights.",
        ),
    ),
    Row(
        reason=Reason.MAILBOX_REFUSED,
        when=lambda case: case.protocol == "pop3",
        what="{server} let us in and does not show what is in the mailbox of {username}.",
        do="{owner} must look at the mail store: the words above and the server's log at this time tell what it cannot read.",
        steps=(
            "The log names a broken index or spool file, a full disk, or missing rights.",
            "Run this command with --verbose: which command was refused?",
            "Read it by IMAP instead, where the server offers it: {section}.imap in {file}.",
        ),
    ),
    Row(
        reason=Reason.MAILBOX_REFUSED,
        what="{server} let us in and does not open the mailbox of {username}.",
        do="Check {section}.inbox, if it is set; otherwise {owner} must look at the mail store and its rights.",
        steps=(
            "{section}.inbox in {file}: a shared folder must be written as the server lists it (shared/pro/INBOX).",
            "Dovecot: `doveadm mailbox list -u {username}`; the log names a broken index or a full disk.",
            "The mailbox may be disabled, moved, or without a licence.",
        ),
    ),
    Row(
        reason=Reason.MAILBOX_IN_USE,
        what="Another program holds the mailbox of {username}: {protocol} lets only one in at a time.",
        do="Find out who else reads {address}; Pantau needs a mailbox of its own.",
        who=Who.US,
        steps=(
            "A second Pantau, a mail program that was left open, or a fetchmail: one of them has to go.",
            "A session of ours that broke off keeps the lock for some minutes: run this command again.",
            "Read it by IMAP instead, where the server offers it: {section}.imap in {file}.",
        ),
    ),
    Row(
        reason=Reason.OUR_LATENESS,
        what="Pantau stood still while this run was under way; that says nothing about the mail service.",
        do="Look at this machine: it was suspended, or has too much to do. docs/limits.md says how much it carries.",
        who=Who.MACHINE,
        steps=(
            "`uptime` and `vmstat 5`: do others take the CPU, or does the disk keep everybody waiting?",
            "`pantau_event_loop_lag_seconds` shows when it was, `pantau_rounds_skipped_total` whether it is always so.",
        ),
    ),
    Row(
        reason=Reason.OUR_OWN,
        when=lambda case: case.failure.phase in {Phase.DNS, Phase.CONNECT, Phase.TLS},
        what="This machine could not open a connection; that says nothing about the mail service.",
        do="Look at this machine's network, and at its file handles (`ulimit -n`).",
        who=Who.MACHINE,
        steps=(
            "`ip addr` and `ip route`: is there a way out, for IPv4 and IPv6?",
            "`ss -s`: how many sockets are open?",
        ),
    ),
    Row(
        reason=Reason.OUR_OWN,
        what="Pantau itself could not finish this run; that says nothing about the mail service.",
        do="Read the detail above; if another program reads {arrives}, give Pantau a mailbox of its own.",
        who=Who.MACHINE,
        steps=(
            '"another client took the message away": a rule, a phone or another monitor moves or deletes mail there.',
            "Otherwise it is a bug: run with --verbose and report it with what is shown.",
        ),
    ),
)
