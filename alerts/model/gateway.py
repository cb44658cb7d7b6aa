"""Protocol between the engine and a gateway, which sends on one channel.

A gateway is one module in `alerts.gateways` with one constant, `GATEWAY`. It contains everything about its provider:
submission, the interpretation of responses, callbacks and receipts, the search for an earlier submission, and the
classification of errors. `alerts.decide` decides how often and when a gateway is called, and what is used instead. The
tray is the gateway for letters: a directory from which a clerk prints and posts them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel

from alerts.model.channel import Channel


@dataclass(frozen=True, slots=True, kw_only=True)
class SmsContent:
    """One GSM-7 text of at most 160 septets, checked by `alerts.wording.lint`."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Texts of a call in one language. The call speaks headline, menu, blocks, and the menu again."""

    language: str  #: BCP 47: "ms-MY" or "en-GB".
    #: The full text of the notification.
    blocks: tuple[str, ...] = field(repr=False)
    #: Says which key does what.
    menu: str
    #: Spoken after key 1, once the acknowledgement is stored.
    thanks: str
    #: Spoken instead of `thanks` when somebody else has acknowledged.
    already: str
    #: Spoken at the end if no key was pressed.
    goodbye: str
    #: Spoken after key 1 when nothing is left to acknowledge; `goodbye` when empty.
    over: str = ""
    #: Spoken after key 1 when the incident has become worse than this call says; `thanks` when empty.
    worse: str = ""
    #: Spoken after key 4, which escalates; empty: not offered.
    escalated: str = ""
    #: Spoken instead of `escalated` when no further step is left; `escalated` when empty.
    nobody_left: str = ""
    #: Whether key 5 starts the release of an announcement; the menu says so.
    may_release: bool = False
    #: One sentence, after which the menu follows within seconds; without it the blocks come first, each twice.
    headline: str = field(default="", repr=False)
    #: Says which key selects this script. It is spoken after the menu of the other script, in this one's voice.
    invitation: str = ""
    #: Spoken instead of the menu if keys cannot be received: what the person should do.
    unkeyed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceContent:
    """A call: the script in the person's language first, the other for key 3."""

    scripts: tuple[Script, ...]


#: Characters of the line above a fax page: machines cut a longer one, even within a number.
MAX_SENDER_LENGTH = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class PageContent:
    """A fax page or a letter as PDF/A-2a, with a title for the tray."""

    pdf: bytes = field(repr=False)
    title: str
    pages: int
    #: Sender for the line that a fax machine prints above each page: name and number, at most `MAX_SENDER_LENGTH`
    #: characters; "" without a name.
    sender: str = ""


Content = SmsContent | VoiceContent | PageContent
C = TypeVar("C", bound=Content)


@dataclass(frozen=True, slots=True, kw_only=True)
class SendRequest:
    """One attempt, as a gateway receives it."""

    #: Pantau's reference, unique per attempt, safe in URLs, labels and file names: "d42-1".
    reference: str
    #: E.164 for SMS, voice and fax; the recipient's name for a letter.
    address: str = field(repr=False)
    #: Digits to dial after an office line answers ("W1234#"), or empty.
    extension: str = field(default="", repr=False)
    #: The content. `None` in queries about a page, because rendering a page takes 50 ms, and in `check` and `withdraw`.
    #: `find` receives the content of an SMS or call, because with some providers only the text identifies a message.
    content: Content | None
    #: Expiry of the message.
    expires_at: datetime
    #: When the attempt was stored: the start of the search window of a query.
    created_at: datetime
    #: Time of the query by the same clock as `created_at`, from which the difference to the provider's clock is
    #: computed. `None`: the clocks agree.
    queried_at: datetime | None = None

    def content_as(self, kind: type[C]) -> C:
        """Return the content, which must be of the *kind* that the gateway sends.

        Raise `TypeError` for another kind, which is a bug.
        """
        if not isinstance(self.content, kind):
            raise TypeError(f"a gateway of {kind.__name__} cannot carry {type(self.content).__name__}")
        return self.content


class SubmissionState(StrEnum):
    """State of a submission at the gateway. Ordered: a state is never replaced by an earlier one."""

    #: The gateway accepted it.
    ACCEPTED = "accepted"
    #: It left the gateway (an SMS in transit, a phone ringing, a letter printed).
    SENT = "sent"
    #: It arrived at the handset, the fax machine or the post. Whether a person read it is unknown.
    DELIVERED = "delivered"
    #: It will not arrive.
    FAILED = "failed"


class ErrorClass(StrEnum):
    """Consequence of an error."""

    #: Not processed, or worth one retry by this gateway (429, busy line, handset off).
    TRANSIENT = "transient"
    #: This address does not work on this channel (landline for SMS, unknown number).
    PERMANENT = "permanent"
    #: The gateway is unusable for everybody (credentials, funds, sender): use another, notify the NOC.
    CONFIGURATION = "configuration"
    #: Perhaps processed (time-out, 5xx, reset): query before resending.
    UNKNOWN = "unknown"


#: Maximum duration of a call, from the request to its end: three menus of 100 s and a PIN. Voice gateways limit their
#: calls to this.
MAX_CALL_DURATION = timedelta(minutes=7)

#: Code of a call that was answered, perhaps by voicemail, without a key press. It counts as failed, although somebody
#: may have listened to it.
NO_KEY = "no-key"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryReport:
    """Status of a submission, from a response, a callback or a query."""

    progress: SubmissionState
    provider_id: str | None = None
    #: Set when `progress` is FAILED.
    error: ErrorClass | None = None
    #: The provider's own code, for example "30003" or "busy".
    code: str = ""
    detail: str = ""
    #: The call is in progress: its end is reported separately.
    in_call: bool = False


class DeliveryError(Exception):
    """The gateway refused the request. Contains no secret and no message text."""

    def __init__(self, error: ErrorClass, detail: str, *, code: str = "", retry_after: timedelta | None = None) -> None:
        super().__init__(f"{error}: {detail}" + (f" ({code})" if code else ""))
        self.error = error
        self.detail = detail
        self.code = code
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class SubmissionNotFound:
    """The gateway has no such submission.

    `certain`: its search is reliable (a file tray); otherwise its index may lag, or it cannot search.
    """

    certain: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackRequest:
    """A provider's HTTP request to the callback listener, as received."""

    #: The path below the gateway's prefix: "status/d42-1".
    path: str
    #: The full public URL given to the provider, with the query, for signatures. It is built from the configuration and
    #: not from the request's Host header.
    url: str
    #: Form fields. They contain telephone numbers, and headers may contain credentials, so neither is in the repr.
    form: Mapping[str, Sequence[str]] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    #: IP address of the client; behind a proxy on this machine as the proxy names it. "": unknown.
    peer: str = field(default="", repr=False)

    def field(self, name: str) -> str:
        """Return a form field's first value, or ""."""
        return next(iter(self.form.get(name, ())), "")

    def header(self, name: str) -> str:
        """Return a header's value, or ""."""
        return next((value for each, value in self.headers.items() if each.lower() == name.lower()), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackResponse:
    """Response to the provider."""

    status: int = 204
    body: str = ""
    media_type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackEvent:
    """Meaning of a callback. A callback with a known `event_id` is a repetition and has no effect."""

    reference: str
    event_id: str
    report: DeliveryReport | None = None
    #: The person pressed the key that acknowledges.
    acknowledged: bool = False
    #: The person pressed the key that escalates.
    escalated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundSms:
    """A person's SMS in reply to a notification. An SMS with a known `event_id` is a repetition and has no effect."""

    #: E.164.
    sender: str = field(repr=False)
    text: str = field(repr=False)
    #: The provider's id of the message.
    event_id: str


class ReleaseStage(StrEnum):
    """Stage of a call in which a person releases an announcement (approves that it is sent), which needs a PIN."""

    #: The PIN is expected, and "#".
    PIN = "pin"
    #: The PIN was correct, and the announcement was read out: key 1 releases it.
    CONFIRM = "confirm"
    #: Nothing more is possible in this call; the text says why.
    END = "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasePrompt:
    """What to say to a duty officer who releases an announcement in a call, and which input to expect."""

    stage: ReleaseStage
    #: BCP 47 language to text.
    words: Mapping[str, str]
    #: Text after another key or none; empty at the end.
    otherwise: Mapping[str, str] = field(default_factory=dict)


class CallbackRejectedError(Exception):
    """A callback that is not authentic or not valid: answered with `status`, counted, without effect."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class CallbackHandler(Protocol):
    """What a gateway may call while it handles a callback. Every method stores its effect before it returns."""

    async def record(self, event: CallbackEvent) -> AckResult:
        """Commit an event and return the effect of the key that the person pressed."""

    async def content(self, reference: str) -> Content | None:
        """Return the content of an attempt, or `None` without such an attempt."""

    async def receive(self, sms: InboundSms) -> SmsContent | None:
        """Commit an inbound SMS and return the reply; `None`: no reply."""

    async def begin_release(self, reference: str) -> ReleasePrompt:
        """Return the prompt for the PIN, or for the end if the called person must not release the announcement now."""

    async def verify_pin(self, reference: str, pin: str) -> ReleasePrompt:
        """Commit a typed PIN, correct or wrong, and return the next prompt."""

    async def release(self, reference: str) -> ReleasePrompt:
        """Release the announcement if the PIN was verified in this call, commit, and return the final prompt."""


class AckResult(StrEnum):
    """Effect of a key press, after the commit."""

    #: This key press acknowledged the incident.
    TAKEN = "taken"
    #: This person had acknowledged it before, by any channel: the acknowledgement is extended.
    PROLONGED = "prolonged"
    #: This person acknowledged it a moment ago: the key press is a repetition.
    AGAIN = "again"
    #: This person has escalated: the next staff are notified.
    ESCALATED = "escalated"
    #: This person has escalated, and no further step is left: staff are notified later, and the operations centre now.
    NOBODY_LEFT = "nobody_left"
    #: Somebody else had acknowledged it.
    ALREADY = "already"
    #: It has become worse since that notification, and this person is not notified yet: recorded, not acknowledged.
    WORSE = "worse"
    #: Nothing to acknowledge: the incident is over, or the attempt is unknown.
    OVER = "over"
    #: The report contained no acknowledgement.
    NONE = "none"


class Gateway(Protocol):
    """Sends on one channel."""

    async def send(self, request: SendRequest) -> DeliveryReport:
        """Submit once. Raise `DeliveryError`; never retry."""

    async def find(self, request: SendRequest) -> DeliveryReport | SubmissionNotFound:
        """Search for an earlier submission of the same request, after a crash or an ambiguous error.

        A *request* for paper has no content. Raise `DeliveryError` when the search is not possible now.
        """

    async def check(self, request: SendRequest, provider_id: str) -> DeliveryReport:
        """Query the status of a submission with an overdue receipt; *request* has no content. Raise `DeliveryError`."""

    async def handle_callback(self, request: CallbackRequest, handler: CallbackHandler) -> CallbackResponse:
        """Handle a provider's callback: authenticate it, record it with *handler*, then respond.

        Raise `CallbackRejectedError`.
        """

    async def close(self) -> None:
        """Release connections."""


@runtime_checkable
class SupportsWithdrawal(Protocol):
    """A gateway that can withdraw an unsent message: a tray of letters."""

    async def withdraw(self, request: SendRequest, provider_id: str) -> bool:
        """Withdraw a message; return whether it was still there. *request* has no content."""


@runtime_checkable
class SupportsManualPosting(Protocol):
    """A gateway whose messages a person sends: a tray of letters."""

    async def record_posting(self, reference: str, *, already_posted: bool = False) -> bool:
        """Record that a clerk has posted a letter; return whether it was in the tray, or recorded before.

        From then on `check` returns SENT, and `withdraw` fails. *already_posted*: record a withdrawn letter too, which
        was posted before the clerk knew of the withdrawal.
        """

    async def undo_posting(self, reference: str) -> bool:
        """Undo `record_posting`; return whether the letter is in the tray again. Raise `DeliveryError`."""

    @property
    def directory(self) -> Path:
        """The directory of the letters."""

    async def list_letters(self) -> Sequence[tuple[str, str]]:
        """Return reference and relative path of each letter in the tray or posted. Raise `DeliveryError`."""

    async def read(self, references: Collection[str]) -> Mapping[str, bytes]:
        """Return the PDFs of those letters that are in the tray, by reference. Raise `DeliveryError`."""

    async def remove_incomplete(self) -> None:
        """Remove incomplete files that a killed process left. Raise `DeliveryError`."""


@runtime_checkable
class SupportsReplies(Protocol):
    """A gateway that receives replies."""

    @property
    def receives_replies(self) -> bool:
        """Whether replies to its messages are received. Only then messages contain a response code."""

    async def collect(self, since: datetime, handler: CallbackHandler) -> None:
        """Fetch inbound SMS *since* a time from a provider that sends no callbacks, and pass them to *handler*.

        Repeated SMS are allowed. Raise `DeliveryError` when the provider cannot be queried now.
        """


@runtime_checkable
class Verifiable(Protocol):
    """A gateway that can be verified without sending."""

    async def verify(self) -> None:
        """Make a request that sends nothing, with the credentials of `send`. Raise `DeliveryError` on failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayContext:
    """Common parameters for building a gateway."""

    #: Public base URL of the callback listener with this gateway's prefix, without trailing slash
    #: ("https://pantau.contoh.gov.my/callbacks/sms-twilio"), or `None` when providers cannot reach us.
    callback_base: str | None
    #: Base directory of relative paths in the configuration.
    directory: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayKind:
    """Plug-in of a gateway module; the module's name is `name`."""

    name: str
    channel: Channel
    #: Validated, unknown keys rejected; secrets are `pydantic.SecretStr`.
    config: type[BaseModel]
    build: Callable[[Any, GatewayContext], Gateway]
