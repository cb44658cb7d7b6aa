"""The contract between the dispatcher and a gateway: a concrete way to send on a channel.

A gateway is one module in `alerts.gateways` that ends with one constant, `GATEWAY`. It holds everything that belongs
to its provider: how a message is submitted, how answers, callbacks and receipts are read, how an earlier submission
is found again, which errors are final. Delivery policy (how often, when, what instead) is not its business.
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
    """One GSM-7 text, at most 160 septets, already linted (see `alerts.wording.sms`)."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What a call says in one language: the headline, the menu, the blocks, and the menu again."""

    language: str  #: BCP 47: "ms-MY" or "en-GB".
    #: The whole of it, in full.
    blocks: tuple[str, ...] = field(repr=False)
    #: Which key does what.
    menu: str
    #: Spoken after key 1, once the acknowledgement is stored; and when nothing was pressed.
    thanks: str
    #: Spoken instead of `thanks` when somebody else has acknowledged before.
    already: str
    #: Spoken when no key came in the end.
    goodbye: str
    #: Spoken after key 1 when there is nothing left to acknowledge; `goodbye` when empty.
    over: str = ""
    #: Spoken after key 1 when it has got worse than this call tells; `thanks` when empty.
    worse: str = ""
    #: Spoken after key 4, which hands it on; empty: it cannot be.
    handed_on: str = ""
    #: Spoken instead when there is nobody else; `handed_on` when empty.
    nobody_left: str = ""
    #: Whether key 5 leads to the release of an announcement; the menu says so.
    may_release: bool = False
    #: What it is about in a breath, so that the menu is heard within seconds; without one the blocks come first, each twice.
    headline: str = field(default="", repr=False)
    #: Which key leads to this script: said after another one's menu, by the voice of this one.
    invitation: str = ""
    #: Said instead of the menu where no key can come back to us: what to do.
    unkeyed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceContent:
    """A call: the script in the person's language first, the other for key 3."""

    scripts: tuple[Script, ...]


#: What the line above a fax page holds: more is cut by machines, in the middle of a number.
SENDER_LINE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class PageContent:
    """A fax page or a letter as PDF/A-2a, with its title for the tray."""

    pdf: bytes = field(repr=False)
    title: str
    pages: int
    #: Who sends it, for the line that a fax machine prints above each page: a name and a number, whole, at most
    #: `SENDER_LINE` characters; "" when nobody is named.
    sender: str = ""


Content = SmsContent | VoiceContent | PageContent
C = TypeVar("C", bound=Content)


@dataclass(frozen=True, slots=True, kw_only=True)
class SendRequest:
    """One attempt, as the gateway sees it."""

    #: Ours, unique for the attempt, safe in URLs, labels and file names: "d42-1".
    reference: str
    #: E.164 for SMS, voice and fax; the recipient's name for a letter.
    address: str = field(repr=False)
    #: Digits to press after an office line answers ("W1234#"), or empty.
    extension: str = field(default="", repr=False)
    #: What is to be sent. `None` when it was handed in before and is only asked about: a page takes 50 ms to be set. For an
    #: SMS or a call it is there in `find`, too: a provider may have nothing of ours but the words.
    content: Content | None
    #: The message is of no use to the person after this moment.
    expires_at: datetime
    #: When the attempt row was written: the start of the window to search in when reconciling.
    created_at: datetime
    #: When the gateway is asked, by the clock of `created_at`: a provider's may show another time. `None`: they agree.
    asked_at: datetime | None = None

    def carried(self, kind: type[C]) -> C:
        """Return the content, which is of the *kind* that its gateway sends. Raise `TypeError` if it is not: a bug of ours."""
        if not isinstance(self.content, kind):
            raise TypeError(f"a gateway of {kind.__name__} cannot carry {type(self.content).__name__}")
        return self.content


class SubmissionState(StrEnum):
    """What a gateway knows of a submission. Ordered: a later member never gives way to an earlier one."""

    #: The gateway took it.
    ACCEPTED = "accepted"
    #: It left the gateway (an SMS on the air, a phone ringing, a letter printed).
    SENT = "sent"
    #: The handset, the fax machine or the post has it. Not yet that a person read it.
    DELIVERED = "delivered"
    #: It will not arrive.
    FAILED = "failed"


class ErrorClass(StrEnum):
    """What a gateway's error means for the next step."""

    #: Not processed, or worth another attempt by this gateway (429, busy line, handset off).
    TRANSIENT = "transient"
    #: This address never works on this channel (landline for SMS, unknown number).
    PERMANENT = "permanent"
    #: The gateway works for nobody (credentials, funds, sender): use another, notify the NOC.
    CONFIGURATION = "configuration"
    #: The request may have been processed (timeout, 5xx, reset): ask before sending again.
    UNKNOWN = "unknown"


#: The longest that a call of ours occupies a telephone, from the request to its end: three menus of 100 s and a PIN. A voice
#: gateway limits its calls to this.
CALL_LASTS = timedelta(minutes=7)

#: The code of a call that was answered, perhaps by a voicemail, and in which nobody pressed a key. It reached nobody as
#: far as is known, and yet somebody may have heard it.
NO_KEY = "no-key"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryReport:
    """What became of a submission, from an answer, a callback or a question."""

    progress: SubmissionState
    provider_id: str | None = None
    #: Set when `progress` is FAILED.
    error: ErrorClass | None = None
    #: The provider's own code, e.g. "30003" or "busy".
    code: str = ""
    detail: str = ""
    #: The call goes on: its end is reported apart.
    in_call: bool = False


class DeliveryError(Exception):
    """The gateway did not take the order. Carries no secret and no message text."""

    def __init__(self, error: ErrorClass, detail: str, *, code: str = "", retry_after: timedelta | None = None) -> None:
        super().__init__(f"{error}: {detail}" + (f" ({code})" if code else ""))
        self.error = error
        self.detail = detail
        self.code = code
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class SubmissionNotFound:
    """The gateway has no such submission.

    `certain`: it would know (a file tray); otherwise its index may lag behind, or it cannot search at all.
    """

    certain: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackRequest:
    """A provider's HTTP request to our callback listener, as received."""

    #: The path below the gateway's prefix: "status/d42-1".
    path: str
    #: The full public URL the provider was given, query included (for signatures). Built from configuration, never
    #: from Host.
    url: str
    #: Holds numbers, and the headers may hold credentials: neither is shown.
    form: Mapping[str, Sequence[str]] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    #: The address that it came from; behind a proxy on this machine the one that the proxy names. "": not known.
    peer: str = field(default="", repr=False)

    def field(self, name: str) -> str:
        """Return a form field's first value, or ""."""
        return next(iter(self.form.get(name, ())), "")

    def header(self, name: str) -> str:
        """Return a header's value, or ""."""
        return next((value for each, value in self.headers.items() if each.lower() == name.lower()), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackResponse:
    """What to say back to the provider."""

    status: int = 204
    body: str = ""
    media_type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackEvent:
    """What a callback means. `event_id` makes a repeated callback harmless."""

    reference: str
    event_id: str
    report: DeliveryReport | None = None
    #: The person pressed the key that acknowledges.
    acknowledged: bool = False
    #: The person pressed the key that hands it on to the next of the staff.
    handed_on: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundSms:
    """An SMS that came in: a person answers a notice. `event_id` makes one that comes twice harmless."""

    #: E.164.
    sender: str = field(repr=False)
    text: str = field(repr=False)
    #: The provider's own id of the message.
    event_id: str


class ReleaseStage(StrEnum):
    """How far a duty officer has come who wants to release an announcement in a call."""

    #: The PIN is to be typed, and "#".
    PIN = "pin"
    #: The PIN was right, and what would go out has been said: key 1 releases it.
    CONFIRM = "confirm"
    #: Nothing more can be done in this call; what is said says why.
    END = "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasePrompt:
    """What to say to a duty officer now, by language, and what to wait for."""

    stage: ReleaseStage
    #: BCP 47 language -> the words.
    words: Mapping[str, str]
    #: What to say when something else, or nothing, is pressed; empty at the end.
    otherwise: Mapping[str, str] = field(default_factory=dict)


class CallbackRejectedError(Exception):
    """A callback that cannot be trusted or understood: answered with `status`, counted, changes nothing."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class CallbackHandler(Protocol):
    """What a gateway may ask the service while it answers a callback. Stores first, then returns."""

    async def record(self, heard: CallbackEvent) -> AckResult:
        """Commit what was heard and say how an acknowledgement stands."""

    async def content(self, reference: str) -> Content | None:
        """Return what the attempt carries, or `None` when there is no such attempt."""

    async def receive(self, said: InboundSms) -> SmsContent | None:
        """Commit what an SMS means, and return what to answer its sender; `None`: nothing."""

    async def begin_release(self, reference: str) -> ReleasePrompt:
        """Say whether the person who is being called may release the announcement now."""

    async def prove_release(self, reference: str, pin: str) -> ReleasePrompt:
        """Commit that a PIN was typed, right or wrong, and go on."""

    async def release(self, reference: str) -> ReleasePrompt:
        """Release the announcement if the PIN has just been proven in this call; committed when this returns."""


class AckResult(StrEnum):
    """How an acknowledgement stands after the commit."""

    #: This keypress acknowledged the incident.
    TAKEN = "taken"
    #: This person had acknowledged it before, by whatever way: it is theirs, and now for longer.
    PROLONGED = "prolonged"
    #: The same, a moment ago.
    AGAIN = "again"
    #: This person has handed it on: the next of the staff are told.
    HANDED_ON = "handed_on"
    #: The same, and the plan has nobody else: they are told again later, and the operations centre is now.
    NOBODY_LEFT = "nobody_left"
    #: Somebody else had acknowledged it before.
    ALREADY = "already"
    #: It has got worse since that notice, and this person has not heard of it yet: noted, and not acknowledged.
    WORSE = "worse"
    #: Nothing to acknowledge: the incident is over, or the attempt is unknown.
    OVER = "over"
    #: The report held no acknowledgement.
    NONE = "none"


class Gateway(Protocol):
    """A concrete way to send on one channel."""

    async def send(self, order: SendRequest) -> DeliveryReport:
        """Submit once. Raise `DeliveryError`; never retry inside."""

    async def find(self, order: SendRequest) -> DeliveryReport | SubmissionNotFound:
        """Look for an earlier submission of the same order, after a crash or an ambiguous error. On paper it has no content.

        Raise `DeliveryError` when the gateway cannot be asked now.
        """

    async def check(self, order: SendRequest, provider_id: str) -> DeliveryReport:
        """Ask what became of a submission whose receipt is overdue; *order* has no content. Raise `DeliveryError`."""

    async def hear(self, incoming: CallbackRequest, desk: CallbackHandler) -> CallbackResponse:
        """Answer a provider's callback: check it, record it by *desk*, then speak. Raise `CallbackRejectedError`."""

    async def close(self) -> None:
        """Release connections."""


@runtime_checkable
class SupportsWithdrawal(Protocol):
    """A gateway that can take back what has not left yet: a tray of letters. What a provider has is on its way."""

    async def withdraw(self, order: SendRequest, provider_id: str) -> bool:
        """Take it back; return whether it was still there to take. *order* has no content."""


@runtime_checkable
class SupportsManualPosting(Protocol):
    """A gateway whose submissions leave by a person's hand: a tray of letters."""

    async def dispatch(self, reference: str, *, already_posted: bool = False) -> bool:
        """Note that a clerk has sent it off; return whether it was there, or had been noted before.

        *already_posted*: also what was withdrawn, because it had gone before that was known.
        From then on `check` says SENT and `withdraw` finds nothing to take.
        """

    async def undispatch(self, reference: str) -> bool:
        """Note that it was not sent off after all; return whether it lies there again. Raise `DeliveryError`."""

    @property
    def directory(self) -> Path:
        """Where they lie."""

    async def lying(self) -> Sequence[tuple[str, str]]:
        """Return the reference of each that lies there or is recorded as sent off, and where. Raise `DeliveryError`."""

    async def read(self, references: Collection[str]) -> Mapping[str, bytes]:
        """Return what lies there of these, each by its reference, to be printed. Raise `DeliveryError`."""

    async def tidy(self) -> None:
        """Remove what a process left half-written that was killed. Raise `DeliveryError`."""


@runtime_checkable
class SupportsReplies(Protocol):
    """A gateway to which people can answer."""

    @property
    def hears_people(self) -> bool:
        """Whether an answer to what it sends reaches us: only then is a response code printed."""

    async def collect(self, since: datetime, desk: CallbackHandler) -> None:
        """Fetch what people have sent since then, where the provider cannot bring it to us, and hand it to *desk*.

        What was handed in before may be handed in again. Raise `DeliveryError` when the provider cannot be asked now.
        """


@runtime_checkable
class Verifiable(Protocol):
    """A gateway that can be tested without sending anything."""

    async def verify(self) -> None:
        """Make a request that sends nothing, with the credentials that `send` uses. Raise `DeliveryError` if it fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayContext:
    """What every gateway is built with beside its own configuration."""

    #: Public base URL of the callback listener with this gateway's prefix, no trailing slash
    #: ("https://pantau.contoh.gov.my/callbacks/sms-twilio"), or `None` when no provider can reach us.
    callback_base: str | None
    #: The place relative paths in the configuration start from.
    directory: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayKind:
    """What a module in `alerts.gateways` offers; the module's name is `name`."""

    name: str
    channel: Channel
    #: Validated with unknown keys refused; secrets are `pydantic.SecretStr`.
    config: type[BaseModel]
    build: Callable[[Any, GatewayContext], Gateway]
