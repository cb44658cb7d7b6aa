"""Renamed keys and values of the configuration, for error messages and for the rewriting of stored documents. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

#: Keys and list indices that lead from the top of a file to a value.
_Path = tuple[str | int, ...]

_ESCALATIONS: Final = ("escalation", "noc.escalation", "alertmanager.receive.routes.*.escalation")

#: Paths of old keys, with the new name of the path's last key. The other keys of a path are new names. `*` stands for a
#: key that people choose, such as a mailbox's; list indices are left out.
RENAMED_KEYS: Final[Mapping[str, str]] = {
    "state": "state_dir",
    "prober": "process_name",
    "providers": "mail_providers",
    "keep_results": "retention",
    "verify_within": "reverify_after",
    "lifeline": "out_of_band",
    "out_of_band.store_away": "store_unavailable_after",
    "out_of_band.peer_silent": "peer_silent_after",
    "out_of_band.repeat": "repeat_interval",
    "hub.fresh_for": "stale_after",
    "metrics.phases_of": "max_phase_routes",
    "portal.proxies": "trusted_proxies",
    "portal.scrapers": "metrics_networks",
    "portal.mail_networks": "allowed_mail_networks",
    "portal.old_secrets_key_file": "previous_secrets_key_file",
    "portal.old_secrets_key_env": "previous_secrets_key_env",
    "alertmanager.receive.tell": "routes",
    "alertmanager.send.to": "urls",
    "heartbeat.every": "interval",
    "gateways.voice.patience_seconds": "gather_timeout_seconds",
    "probing.shared": "sharding",
    "probing.take_over_within": "takeover_timeout",
    "probing.confirmation": "retry_interval",
    "probing.failures_to_down": "failure_threshold",
    "probing.successes_to_up": "success_threshold",
    "probing.slow_after": "slow_threshold",
    "probing.deferred_budget": "deferral_timeout",
    "checks.posture": "domain",
    "checks.negative": "hardening",
    "probing.when": "active_hours",
    "flapping.falls": "threshold",
    "flapping.within": "window",
    "maintenance.why": "reason",
    "office": "letterhead",
    "noc.office": "letterhead",
    **{f"{place}.acknowledge_for": "acknowledgement_timeout" for place in _ESCALATIONS},
    **{f"{place}.steps.call_again": "redial" for place in _ESCALATIONS},
    "announcement.offered_after": "release_offered_after",
    "mailboxes.*.login.password_kept": "password_stored",
    "mailboxes.*.login.oauth.client_secret_kept": "client_secret_stored",
    "mailboxes.*.login.oauth.refresh_token_kept": "refresh_token_stored",
    "mailboxes.*.login.oauth.service_account_kept": "service_account_stored",
}

#: Keys of the settings that no longer exist, with what to do instead.
REMOVED_KEYS: Final[Mapping[str, str]] = {"api": "nothing here; `pantau token add` makes a token for the program"}

#: By key of the settings: the old values, with the new ones.
RENAMED_VALUES: Final[Mapping[str, Mapping[str, str]]] = {
    "mode": {"tell": "notify", "watch": "monitor_only"},
    "agencies": {"in the store": "database"},
}

#: By old key: pairs of the pattern of the keys above it, and the new name.
_RENAMINGS_BY_OLD_KEY: Final[dict[str, list[tuple[tuple[str, ...], str]]]] = {}
for _path, _name in RENAMED_KEYS.items():
    *_above, _key = _path.split(".")
    _RENAMINGS_BY_OLD_KEY.setdefault(_key, []).append((tuple(_above), _name))


def new_key(path: _Path) -> str | None:
    """Return the new name of the last key of *path*; `None`: it is not renamed. The other keys must be new names."""
    parents = [part for part in path[:-1] if isinstance(part, str)]
    for pattern, name in _RENAMINGS_BY_OLD_KEY.get(str(path[-1]), ()):
        if len(pattern) == len(parents) and all(
            expected in ("*", parent) for expected, parent in zip(pattern, parents, strict=True)
        ):
            return name
    return None


def find_old_keys(data: Any, location: _Path = (), current_path: _Path = ()) -> Iterator[tuple[_Path, str]]:
    """Yield the path of each old key in *data*, and its new name. Old keys in the value of an old key come before it.

    *location*: path of *data* as written; *current_path*: the same with new names.
    """
    if isinstance(data, Mapping):
        for key, value in data.items():
            name = new_key((*current_path, key))
            yield from find_old_keys(value, (*location, key), (*current_path, name or key))
            if name is not None:
                yield (*location, key), name
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from find_old_keys(value, (*location, index), (*current_path, index))
