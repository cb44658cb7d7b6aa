"""Protocol between the engine and a gateway, which sends on one channel.

Each gateway is a module in `alerts.gateways` that defines the constant `GATEWAY`. The module contains everything about
its provider: submission, interpretation of responses, callbacks and receipts, search for an earlier submission, and
classification of errors. `alerts.decide` decides when and how often a gateway is tried, and which one is used after a
failure. The gateway for letters is a tray: a directory from which a clerk prints and posts them.
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

    #: BCP 47: "ms-MY" or "en-GB".
    language: str
    #: Sections of the full text of the notification.
    blocks: tuple[str, ...] = field(repr=False)
    #: States the effect of each key.
    menu: str
    #: Spoken after key 1, once the acknowledgement is stored.
    thanks: str
    #: Spoken instead of `thanks` when somebody else has acknowledged.
    already: str
    #: Spoken at the end if no key was pressed.
    goodbye: str
    #: Spoken after key 1 when the incident has ended; empty: `goodbye` is spoken.
    over: str = ""
    #: Spoken after key 1 when the incident has become worse than this call states; empty: `thanks` is spoken.
    worse: str = ""
    #: Spoken after key 4, which escalates; empty: the call does not offer key 4.
    escalated: str = ""
    #: Spoken instead of `escalated` when no further step is left; empty: `escalated` is spoken.
    nobody_left: str = ""
    #: Whether key 5 starts the release (approval) of an announcement to offices outside.
    may_release: bool = False
    #: One sentence before the menu, so that the menu comes within seconds. Empty: the blocks come before the menu, each
    #: spoken twice.
    headline: str = field(default="", repr=False)
    #: Names the key that selects this language. It is spoken in this language after the menu of the other script.
    invitation: str = ""
    #: Spoken instead of the menu if keys cannot be received: states how else to respond.
    unkeyed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceContent:
    """A call."""

    #: The script in the person's language comes first; key 3 selects the other one.
    scripts: tuple[Script, ...]


#: Maximum characters of the line above a fax page. Fax machines truncate a longer line, even within a number.
MAX_SENDER_LENGTH = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class PageContent:
    """A fax or a letter as a PDF/A-2a file."""

    pdf: bytes = field(repr=False)
    #: Title that a tray shows to the clerk.
    title: str
    #: Number of pages.
    pages: int
    #: Sender for the line that a fax machine prints above each page: name and number, at most `MAX_SENDER_LENGTH`
    #: characters; "" without a name.
    sender: str = ""


Content = SmsContent | VoiceContent | PageContent
C = TypeVar("C", bound=Content)


@dataclass(frozen=True, slots=True, kw_only=True)
class SendRequest:
    """One attempt to send a message, as a gateway receives it."""

    #: Pantau's reference, unique per attempt, safe in URLs, labels and file names: "d42-1".
    reference: str
    #: E.164 number for SMS, voice and fax; the recipient's name for a letter.
    address: str = field(repr=False)
    #: Digits to dial after an office line answers ("W1234#"), or empty.
    extension: str = field(default="", repr=False)
    #: `None` in `check`, in `withdraw`, and in `find` for a fax or letter, because rendering a page takes 50 ms. `find`
    #: receives the content of an SMS or call, because with some providers only the text identifies a message.
    content: Content | None
    #: When the message becomes useless.
    expires_at: datetime
    #: When the attempt was stored. `find` searches for submissions from then on.
    created_at: datetime
    #: Time of a query by the same clock as `created_at`. Compared with the provider's time, it shows by how much the
    #: two clocks differ. `None`: the clocks agree.
    queried_at: datetime | None = None

    def content_as(self, kind: type[C]) -> C:
        """Return the content, checked to be of the type *kind*. Raise `TypeError` for another type, which is a bug."""
        if not isinstance(self.content, kind):
            raise TypeError(f"a gateway of {kind.__name__} cannot carry {type(self.content).__name__}")
        return self.content


class SubmissionState(StrEnum):
    """State of a submission at the gateway, in order: an earlier state never replaces a later one."""

    #: The gateway accepted the message.
    ACCEPTED = "accepted"
    #: The message left the gateway (an SMS in transit, a phone ringing, a letter posted).
    SENT = "sent"
    #: The message arrived at the handset, the fax machine or the post. Whether a person read it is unknown.
    DELIVERED = "delivered"
    #: The message will not arrive.
    FAILED = "failed"


class ErrorClass(StrEnum):
    """Class of an error, which decides how the engine continues."""

    #: The request was not processed, or a retry by this gateway may succeed (429, busy line, handset off).
    TRANSIENT = "transient"
    #: This address does not work on this channel (landline for SMS, unknown number).
    PERMANENT = "permanent"
    #: The gateway does not work for any address (credentials, funds, sender): use another one, notify the NOC.
    CONFIGURATION = "configuration"
    #: The request may have been processed (time-out, 5xx, reset): query the gateway before resending.
    UNKNOWN = "unknown"


#: Maximum duration of a telephone call, from the request to its end: three menus of 100 s and a PIN. Voice gateways end
#: longer calls.
MAX_CALL_DURATION = timedelta(minutes=7)

#: `DeliveryReport.code` of a call that was answered, perhaps by voicemail, without a key press. The call counts as
#: failed, although somebody may have listened to it.
NO_KEY = "no-key"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryReport:
    """Status of a submission, from a response, a callback or a query."""

    progress: SubmissionState
    #: The provider's id of the submission; `None`: unknown.
    provider_id: str | None = None
    #: Set when `progress` is FAILED.
    error: ErrorClass | None = None
    #: The provider's own code, for example "30003" or "busy".
    code: str = ""
    #: Explanation for people, without telephone numbers and message texts.
    detail: str = ""
    #: The telephone call is in progress, and its end will be reported separately.
    in_call: bool = False


class DeliveryError(Exception):
    """A gateway did not accept a request, or its answer is unknown. Contains no secret and no message text.

    *code*: the provider's own code; *retry_after*: delay that the provider requests before a retry.
    """

    def __init__(self, error: ErrorClass, detail: str, *, code: str = "", retry_after: timedelta | None = None) -> None:
        super().__init__(f"{error}: {detail}" + (f" ({code})" if code else ""))
        self.error = error
        self.detail = detail
        self.code = code
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class SubmissionNotFound:
    """The gateway has not found a submission."""

    #: Whether the search is reliable, as in a tray. Otherwise the provider's index may lag, or it offers no search.
    certain: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackRequest:
    """A provider's HTTP request to the callback listener, as received."""

    #: The path below the gateway's prefix: "status/d42-1".
    path: str
    #: The full public URL with its query, as signed by the provider. It is built from the configuration and not from
    #: the request's Host header.
    url: str
    #: Form fields. `form` and `body` contain telephone numbers, `headers` may contain credentials: none is in the repr.
    form: Mapping[str, Sequence[str]] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    #: IP address of the client, as stated by a proxy on this machine if there is one. "": unknown.
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
    """Parsed callback of a provider about an attempt."""

    #: Reference of the attempt.
    reference: str
    #: Identifies the callback. A callback with a known id is a repetition and has no effect.
    event_id: str
    #: `None`: the callback reports no status.
    report: DeliveryReport | None = None
    #: Whether the person pressed the key that acknowledges.
    acknowledged: bool = False
    #: Whether the person pressed the key that escalates.
    escalated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundSms:
    """A person's SMS in reply to a notification."""

    #: E.164 number.
    sender: str = field(repr=False)
    text: str = field(repr=False)
    #: The provider's id of the message. An SMS with a known id is a repetition and has no effect.
    event_id: str


class ReleaseStage(StrEnum):
    """Stage of a call in which a person with a PIN releases an announcement, that is, approves sending it."""

    #: The person types the PIN and "#".
    PIN = "pin"
    #: The PIN was correct, and the announcement was read out: key 1 releases it.
    CONFIRM = "confirm"
    #: The call ends. The text states whether the announcement was released, or why not.
    END = "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasePrompt:
    """Next text for a duty officer who releases an announcement in a call, and the expected input."""

    stage: ReleaseStage
    #: Text to speak, by BCP 47 language.
    texts: Mapping[str, str]
    #: Text to speak after an unexpected key or no key, by BCP 47 language; empty at the end.
    fallback_texts: Mapping[str, str] = field(default_factory=dict)


class CallbackRejectedError(Exception):
    """A callback is not authentic or not valid. It has no effect; the HTTP response has `status`."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class CallbackHandler(Protocol):
    """Methods that a gateway may call while it handles a callback. Each method stores its effect before it returns.

    *reference*: Pantau's reference of the attempt; for a release, of the call in which the person types.
    """

    async def record(self, event: CallbackEvent) -> AckResult:
        """Commit an event and return the effect of the key that the person pressed."""

    async def content(self, reference: str) -> Content | None:
        """Return the content of the attempt; `None` if no attempt has the *reference*."""

    async def receive(self, sms: InboundSms) -> SmsContent | None:
        """Commit an inbound SMS and return the reply; `None`: no reply."""

    async def begin_release(self, reference: str) -> ReleasePrompt:
        """Return the prompt for the PIN, or the final prompt if the person must not release the announcement now."""

    async def verify_pin(self, reference: str, pin: str) -> ReleasePrompt:
        """Verify a typed PIN, record whether it is right, and return the next prompt."""

    async def release(self, reference: str) -> ReleasePrompt:
        """Release the announcement if the PIN was verified in this call. Return the final prompt."""


class AckResult(StrEnum):
    """Effect of a person's key press or reply, after the commit."""

    #: The person acknowledged the incident.
    TAKEN = "taken"
    #: The person had acknowledged the incident before, by any channel: the acknowledgement is extended.
    PROLONGED = "prolonged"
    #: The person acknowledged the incident a moment ago: this is a repetition.
    AGAIN = "again"
    #: The person has escalated: the next staff are notified.
    ESCALATED = "escalated"
    #: The person has escalated, and no further step is left: staff are notified later, and the operations centre now.
    NOBODY_LEFT = "nobody_left"
    #: Somebody else has acknowledged the incident.
    ALREADY = "already"
    #: The incident has become worse than the person was notified of: the response is recorded and acknowledges nothing.
    WORSE = "worse"
    #: Nothing can be acknowledged: the incident has ended, or the attempt is unknown.
    OVER = "over"
    #: The callback contained no acknowledgement.
    NONE = "none"


class Gateway(Protocol):
    """Sender of messages on one channel."""

    async def send(self, request: SendRequest) -> DeliveryReport:
        """Submit once, without retries. Raise `DeliveryError` if the gateway does not accept it, or may not have."""

    async def find(self, request: SendRequest) -> DeliveryReport | SubmissionNotFound:
        """Search for an earlier submission of the same request, after a crash or an ambiguous error.

        A *request* for paper has no content. Raise `DeliveryError` when the search is not possible now.
        """

    async def check(self, request: SendRequest, provider_id: str) -> DeliveryReport:
        """Query the status of a submission with an overdue receipt; *request* has no content. Raise `DeliveryError`."""

    async def handle_callback(self, request: CallbackRequest, handler: CallbackHandler) -> CallbackResponse:
        """Authenticate a provider's callback, record it with *handler*, and return the response.

        Raise `CallbackRejectedError`.
        """

    async def close(self) -> None:
        """Release connections."""


@runtime_checkable
class SupportsWithdrawal(Protocol):
    """A gateway that can withdraw an unsent message: a tray of letters."""

    async def withdraw(self, request: SendRequest, provider_id: str) -> bool:
        """Withdraw a message; return whether it was still unsent. *request* has no content. Raise `DeliveryError`."""


@runtime_checkable
class SupportsManualPosting(Protocol):
    """A gateway whose messages a person sends: a tray, from which a clerk prints and posts letters."""

    async def record_posting(self, reference: str, *, already_posted: bool = False) -> bool:
        """Record that a clerk has posted a letter. Return whether the letter was in the tray, or recorded before.

        From then on `check` returns SENT, and `withdraw` fails. *already_posted*: record a withdrawn letter too,
        because the clerk posted it before its withdrawal was noticed.
        """

    async def undo_posting(self, reference: str) -> bool:
        """Undo `record_posting`. Return whether the letter is in the tray again. Raise `DeliveryError`."""

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
    """An SMS gateway that can receive replies."""

    @property
    def receives_replies(self) -> bool:
        """Whether replies are received. Only then messages contain a response code, which the reader sends back."""

    async def collect(self, since: datetime, handler: CallbackHandler) -> None:
        """Fetch inbound SMS *since* a time from a provider that sends no callbacks, and pass them to *handler*.

        An SMS may be passed again by a later call. Raise `DeliveryError` when the provider cannot be queried now.
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
    """Plug-in of a gateway module: its configuration model and constructor."""

    #: Name of the module.
    name: str
    channel: Channel
    #: Model of the gateway's configuration. It rejects unknown keys; secrets are `pydantic.SecretStr`.
    config: type[BaseModel]
    #: Returns a gateway for a validated `config` instance.
    build: Callable[[Any, GatewayContext], Gateway]
