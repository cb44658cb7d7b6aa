"""Specification of the texts in the YAML files: the keys that each language must have, and the placeholders of each.

`always` are the placeholders that always have a value, `maybe` those that may be empty. A placeholder for a time, such
as "began", has the forms "began_day", "began_date" and "began_clock" in calls and on pages (letters and faxes); an SMS
has one short form, "began". `alerts.wording.key` defines the situations that the keys contain: the situation of
"call.headline.escalation.outage.both" is "escalation.outage.both".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from alerts.model.channel import Channel
from alerts.model.notification import Cause, IncidentType, Plan, Purpose, Successors
from alerts.wording.catalogue import TextSpec
from alerts.wording.key import FOR_STAFF

#: Occasions of pages to recipients. See `alerts.wording.key.occasion`.
PRINTED = (*(str(purpose) for purpose in Purpose if purpose not in FOR_STAFF), "changed")
OUTAGES = ("both", "sending", "receiving")
#: Incident types that are notified to staff only, as in the keys.
_STAFF_ONLY = ("degraded", "sign_in", "monitoring_fault", "unreached", "doubtful", "unreleased", "restored", "alert")
_MOMENT_FORMS = ("day", "date", "clock")


def _time_placeholders(*names: str) -> frozenset[str]:
    return frozenset(f"{name}_{form}" for name in names for form in _MOMENT_FORMS)


#: Placeholders that always have a value in an SMS, in a call, and on a page ("you": form of address of the reader).
#: `_PAGE_MAYBE`: may be empty on a page.
_SMS = frozenset({"agency", "number", "began", "noticed"})
_CALL = frozenset({"agency", "agency_name"}) | _time_placeholders("began", "noticed")
_PAGE = frozenset({"agency", "agency_name", "agency_capitals", "domain", "number", "you"}) | _time_placeholders(
    "began", "noticed"
)
_PAGE_MAYBE = frozenset(
    {"reference", "first_date", "address", "telephone", "fax", "hours"}
    | {"contact_name", "contact_post", "contact_telephone"}
)


def _situations() -> Iterator[tuple[str, bool]]:
    """Yield the situation of each SMS and call, as in its key, and whether the incident is over."""
    for incident_type in OUTAGES:
        yield f"announcement.outage.{incident_type}", False
        yield f"announcement.update.{incident_type}", False
        yield f"announcement.changed.{incident_type}", False
        yield f"escalation.changed.{incident_type}", False
        yield f"escalation.outage.{incident_type}", False
    for kind in (*_STAFF_ONLY, "unsteady"):  # "unsteady": a flapping outage.
        yield f"escalation.outage.{kind}", False
    for incident_type in ("degraded", "sign_in"):
        yield f"escalation.changed.{incident_type}", False
    # "mail": any of `OUTAGES`.
    for kind in ("mail", "degraded", "monitoring_fault", "unreached", "doubtful", "unreleased", "restored", "alert"):
        yield f"escalation.recovery.{kind}", True
    for kind in ("mail", "degraded", "monitoring_fault", "alert"):
        yield f"escalation.belated.{kind}", True
    yield "announcement.recovery", True
    yield "escalation.release", False
    yield "escalation.taken", False
    yield "escalation.closed", False
    yield "escalation.unwatched", False
    for purpose in (Purpose.CLOSED, Purpose.CORRECTION):
        for kind in ("alert", "ours"):
            yield f"escalation.{purpose}_{kind}", False
    yield "escalation.reminder", False
    yield "escalation.result", False
    yield "escalation.unposted", False
    for incident_type in IncidentType:
        yield f"escalation.lapsed.{incident_type}", False
        yield f"escalation.handover.{incident_type}", False
    for plan in Plan:
        yield f"{plan}.correction", False
        yield f"{plan}.drill", False


#: The previous assignee, and when they last responded ("heard") or escalated ("handed").
_SMS_ASSIGNEE = frozenset({"by", "heard", "handed"})
_CALL_ASSIGNEE = frozenset({"by"}) | _time_placeholders("heard", "handed")
#: Result of a release: numbers of notifications that arrived and failed, one unreached recipient, and how many others.
_DELIVERED, _UNDELIVERED = frozenset({"arrived"}), frozenset({"failed", "unreached", "others"})
#: Further placeholders that an SMS and a call always have, by situation. "then": who is notified when the
#: acknowledgement expires. "unposted": number of letters; "issued": when they were decided.
_ALWAYS_BY_SITUATION = {
    "escalation.reminder": (frozenset({"until", "then"}), _time_placeholders("until") | {"then"}),
    "escalation.result": (_DELIVERED, _DELIVERED),
    "escalation.unposted": (frozenset({"unposted", "issued"}), frozenset({"unposted"}) | _time_placeholders("issued")),
}
#: Keys of texts that ask for an answer by SMS.
_EXPECTING_REPLY = ("escalation.outage.", "escalation.lapsed", "escalation.handover", "escalation.reminder")


def _sms_and_calls() -> Iterator[tuple[str, TextSpec]]:
    for situation, is_over in _situations():
        sms_extra, call_extra = (
            (frozenset({"ended"}), _time_placeholders("ended")) if is_over else (frozenset(), frozenset())
        )
        is_alarm = situation.startswith(("escalation.outage.", "escalation.lapsed."))
        sms_maybe = call_maybe = frozenset({"subject", "cause", "declared"} if is_alarm else {"subject"})
        if situation.startswith("escalation.lapsed."):
            sms_maybe, call_maybe = sms_maybe | _SMS_ASSIGNEE, call_maybe | _CALL_ASSIGNEE
        elif situation.startswith("escalation.handover."):
            # "relieved": who was on duty before. "waits": sentence that an announcement waits for its release.
            extra = frozenset({"by", "relieved", "waits"})
            sms_maybe, call_maybe = (
                sms_maybe | extra | {"heard"},
                call_maybe | extra | {"cause", "declared"} | _time_placeholders("heard"),
            )
        elif situation in {"escalation.taken", *(f"escalation.closed{suffix}" for suffix in ("", "_alert", "_ours"))}:
            sms_maybe = call_maybe = frozenset({"by"})
        elif situation == "escalation.result":
            sms_maybe = call_maybe = _UNDELIVERED
        sms_extra, call_extra = _ALWAYS_BY_SITUATION.get(situation, (sms_extra, call_extra))
        response = frozenset({"response"}) if situation.startswith(_EXPECTING_REPLY) else frozenset()
        yield f"sms.{situation}", TextSpec(always=_SMS | sms_extra, maybe=sms_maybe | response)
        yield f"call.{situation}", TextSpec(several=True, always=_CALL | call_extra, maybe=call_maybe)
        yield f"call.headline.{situation}", TextSpec(always=_CALL | call_extra)
    for plan in Plan:
        yield f"call.opening.{plan}", TextSpec(always=_CALL)
        yield f"call.menu.{plan}", TextSpec()
    yield "call.menu.invitation", TextSpec()
    for channel in ("sms", "call"):
        yield f"{channel}.waits", TextSpec()
        for successor in (*Successors, "again"):
            yield f"{channel}.then.{successor}", TextSpec()
    for cause in Cause:
        yield f"sms.cause.{cause}", TextSpec()
        yield f"call.cause.{cause}", TextSpec()
    for purpose in (Purpose.OUTAGE, Purpose.RELEASE):
        yield f"call.unkeyed.{purpose}", TextSpec()
    for purpose in Purpose:
        yield f"call.goodbye.{purpose}", TextSpec()
    yield "call.closing", TextSpec(several=True, always=_CALL | {"number"})
    for line in ("thanks", "already", "over", "worse", "escalate", "escalated", "nobody_left"):
        yield f"call.{line}", TextSpec()
    yield from _responses()
    yield from _release()


def _responses() -> Iterator[tuple[str, TextSpec]]:
    """Yield the replies to SMS."""
    placeholders = frozenset({"agency", "number"})
    for answer in ("taken", "already"):
        yield f"sms.response.{answer}", TextSpec(always=placeholders, maybe=frozenset({"by"}))
    yield "sms.response.prolonged", TextSpec(always=placeholders | {"until"}, maybe=frozenset({"by"}))
    for answer in ("over", "corrected", "worse", "escalated"):
        yield f"sms.response.{answer}", TextSpec(always=placeholders)
    yield "sms.response.nobody_left", TextSpec(always=placeholders | {"until"})
    for answer in ("unclear", "several"):
        yield f"sms.response.{answer}", TextSpec(always=placeholders | {"response"})
    for answer in ("nothing", "stopped", "stopped_unreached", "started"):
        yield f"sms.response.{answer}", TextSpec(always=frozenset({"agency"}))


def _release() -> Iterator[tuple[str, TextSpec]]:
    """Yield the texts of a release by telephone."""
    updates = frozenset({"updates"})
    yield "call.release.closing", TextSpec(several=True, always=_CALL | {"number"})
    for line in ("offer", "pin", "wrong", "locked", "nobody", "over", "cancelled"):
        yield f"call.release.{line}", TextSpec()
    for incident_type in OUTAGES:
        yield f"call.release.confirm.{incident_type}", TextSpec(always=_CALL | {"recipients", "counts"}, maybe=updates)
    several = frozenset({"count", "names", "recipients", "counts"})
    yield "call.release.confirm.several", TextSpec(always=several, maybe=updates | {"more"})
    yield "call.release.updates", TextSpec()
    for channel in Channel:
        yield f"call.release.count.{channel}", TextSpec(always=frozenset({"count"}))
    yield "call.release.done", TextSpec(always=frozenset({"recipients"}))
    yield "call.release.works", TextSpec(always=frozenset({"names"}), maybe=frozenset({"more"}))


def _out_of_band() -> Iterator[tuple[str, TextSpec]]:
    """Yield the texts of out-of-band alerts, which have no incident number. "whose": name of the process concerned."""
    placeholders = frozenset({"whose"})
    for situation, moment in (("store", "began"), ("peer", "began"), ("clear", "ended")):
        # One SMS contains the text in Malay and in English.
        yield f"out_of_band.sms.{situation}", TextSpec(always=frozenset({moment}), maybe=placeholders)
        always = _time_placeholders(moment) | {"agency_name"}
        yield f"out_of_band.call.{situation}", TextSpec(several=True, always=always, maybe=placeholders)
    yield "out_of_band.goodbye", TextSpec()


def _page_texts(kind: str) -> Iterator[tuple[str, TextSpec]]:
    """Yield the texts that letters and faxes both have. *kind*: "letter" or "fax".

    The placeholders "scope" (what fails), "change", "instruction", "warning", "channels", "enquiries" and "follow_ups"
    hold the texts with these keys, such as "letter.scope.both".
    """
    yield f"{kind}.channels", TextSpec(several=True, maybe=_PAGE_MAYBE)
    for incident_type in OUTAGES:
        yield f"{kind}.scope.{incident_type}", TextSpec(always=_PAGE)
        yield f"{kind}.instruction.{incident_type}", TextSpec(always=_PAGE, maybe=_PAGE_MAYBE | {"channels"})
    for incident_type in OUTAGES:
        yield f"{kind}.change.{incident_type}", TextSpec(always=_PAGE)
    for situation in PRINTED:
        always = _PAGE
        if situation in {"outage", "update", "changed"}:
            always |= {"change" if situation == "changed" else "scope", "instruction"}
            always |= {"warning"} if kind == "letter" else frozenset()
        if situation == "recovery":
            always |= _time_placeholders("ended") | {"lasted"}
        maybe = _PAGE_MAYBE | {"enquiries", "follow_ups"}
        yield f"{kind}.{situation}.title", TextSpec(always=_PAGE)
        yield f"{kind}.{situation}.paragraphs", TextSpec(several=True, always=always, maybe=maybe)
    yield f"{kind}.staff.title", TextSpec(always=_PAGE)


def _maintenance_notice(kind: str) -> Iterator[tuple[str, TextSpec]]:
    """Yield the texts of a maintenance notice. See `alerts.documents.maintenance_notice`."""
    planned = _PAGE | _time_placeholders("ended") | {"why", "lasted"}
    yield f"{kind}.maintenance.instruction", TextSpec(always=planned, maybe=_PAGE_MAYBE | {"channels"})
    for situation in ("maintenance", "maintenance_changed", "maintenance_cancelled"):
        always = planned
        if situation != "maintenance":
            # "was_": times and number in the earlier notice.
            always |= _time_placeholders("was_began", "was_ended") | {"was_number"}
        yield f"{kind}.{situation}.title", TextSpec(always=_PAGE)
        if kind == "letter":
            yield f"{kind}.{situation}.opening", TextSpec(always=always, maybe=_PAGE_MAYBE)
        placeholders = always if situation == "maintenance_cancelled" else always | {"instruction"}
        yield (
            f"{kind}.{situation}.paragraphs",
            TextSpec(several=True, always=placeholders, maybe=_PAGE_MAYBE | {"enquiries", "channels"}),
        )


def _letter() -> Iterator[tuple[str, TextSpec]]:
    yield from _page_texts("letter")
    yield from _maintenance_notice("letter")
    for incident_type in OUTAGES:
        yield f"letter.warning.{incident_type}", TextSpec(always=_PAGE)
    for situation in PRINTED:
        yield f"letter.{situation}.opening", TextSpec(always=_PAGE, maybe=_PAGE_MAYBE)
    yield "letter.staff.opening", TextSpec(always=_PAGE)
    yield "letter.enquiries", TextSpec(maybe=_PAGE_MAYBE)
    yield "letter.follow_ups", TextSpec()
    for label in (
        *("reference", "date", "fax", "attention", "telephone", "office_fax", "website"),
        *("on_behalf", "copies", "notice", "attachment", "drill"),
    ):
        yield f"letter.label.{label}", TextSpec()
    for line in ("and", "salutation", "closing", "farewell", "unsigned", "translation"):
        yield f"letter.{line}", TextSpec()
    yield "letter.translation_note", TextSpec()


def _fax() -> Iterator[tuple[str, TextSpec]]:
    yield from _page_texts("fax")
    yield from _maintenance_notice("fax")
    for label in (
        *("heading", "to", "attention", "to_fax", "from", "telephone", "fax", "moment", "reference", "notice"),
        *("pages", "classification", "open", "urgent", "action", "information", "subject"),
        *("receipt", "receipt_request", "name", "post", "date"),
    ):
        yield f"fax.label.{label}", TextSpec()
    yield "fax.unclear", TextSpec(maybe=frozenset({"telephone"}))


def _bundle() -> Iterator[tuple[str, TextSpec]]:
    """Yield the texts of a bundle: one notification about several incidents. See `alerts.wording.bundle`."""
    several, extra = frozenset({"count", "names"}), frozenset({"more"})
    for situation in _BUNDLES:
        is_over = ".recovery" in situation or ".belated" in situation
        sms_always = _SMS - {"noticed"}
        response = frozenset({"response"}) if situation.startswith(_EXPECTING_REPLY) else frozenset()
        end = "until" if situation == "escalation.reminder" else "ended" if is_over else "began"
        assignee_by_situation = {
            "escalation.lapsed": (_SMS_ASSIGNEE, _CALL_ASSIGNEE),
            "escalation.taken": (frozenset({"by"}),) * 2,
            "escalation.result": (_UNDELIVERED, _UNDELIVERED),
        }
        sms_maybe, call_maybe = assignee_by_situation.get(situation, (frozenset(), frozenset()))
        placeholders = {
            "escalation.result": _DELIVERED,
            "escalation.unposted": {"unposted"},
            "escalation.reminder": {"then"},
        }
        situation_placeholders = frozenset(placeholders.get(situation, ()))
        yield (
            f"bundle.sms.{situation}",
            TextSpec(always=sms_always | several | situation_placeholders | {end}, maybe=extra | response | sms_maybe),
        )
        yield (
            f"bundle.call.{situation}",
            TextSpec(
                several=True,
                always=several | situation_placeholders | _time_placeholders("began", end),
                maybe=extra | call_maybe,
            ),
        )
        # The headline about an expired acknowledgement names the previous assignee, and has no room for times.
        headline_moments = frozenset() if situation == "escalation.lapsed" else _time_placeholders("began", end)
        yield f"bundle.call.headline.{situation}", TextSpec(always=several | headline_moments, maybe=extra)
    for situation in _BUNDLES_ABOUT_ONE_AGENCY:
        # "names" lists incident numbers, each with the times of its outage.
        yield f"bundle.sms.one.{situation}", TextSpec(always=frozenset({"agency", "names", "count"}), maybe=extra)
    for plan in Plan:
        yield f"bundle.call.opening.{plan}", TextSpec()
    yield "bundle.call.names", TextSpec(several=True, always=several, maybe=extra)
    # A fax about several incidents is a list.
    for label in ("from", "from_monitoring", "agency", "matter", "was", "moment", "ended", "number", "reach"):
        yield f"bundle.list.label.{label}", TextSpec()
    for incident_type in (*OUTAGES, *_STAFF_ONLY):
        yield f"bundle.list.matter.{incident_type}", TextSpec()
    for list_ in ("outage", "update", "recovery", "staff.outage", "staff.recovery"):
        yield f"bundle.list.{list_}.title", TextSpec(always=frozenset({"count"}))
        yield f"bundle.list.{list_}.opening", TextSpec()


#: Types of incidents about notifications, of which there may be several. See `alerts.wording.bundle`.
_ABOUT_NOTIFICATIONS = ("unreached", "doubtful", "unreleased")
#: Situations of bundles, see `alerts.wording.bundle.situation`.
_BUNDLES = (
    "announcement.outage",
    "announcement.update",
    "announcement.recovery",
    *("escalation.changed", "escalation.handover", "escalation.outage.sign_in"),
    *("escalation.taken", "escalation.lapsed", "escalation.reminder"),
    *("escalation.release", "escalation.result", "escalation.unposted"),
    *(f"escalation.{occasion}.{kind}" for occasion in ("outage", "recovery") for kind in _ABOUT_NOTIFICATIONS),
    *(
        f"escalation.{occasion}.{kind}"
        for occasion in ("outage", "recovery", "belated")
        for kind in ("mail", "degraded", "ours", "alert")
    ),
)


#: Situations of bundles about ended outages of one agency.
_BUNDLES_ABOUT_ONE_AGENCY = (
    "announcement.recovery",
    *(f"escalation.{occasion}.{kind}" for occasion in ("recovery", "belated") for kind in ("mail", "degraded")),
)


#: All required texts, by their keys in the YAML file.
TEXT_SPECS: Mapping[str, TextSpec] = MappingProxyType(
    dict((*_sms_and_calls(), *_out_of_band(), *_letter(), *_fax(), *_bundle()))
)
