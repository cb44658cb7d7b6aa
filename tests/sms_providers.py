"""Gateways of the examples in docs/how-to/operator/sms-providers.md, with the URL of a simulated provider."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

from alerts.gateways.http.sms import GATEWAY
from alerts.model.gateway import Gateway, GatewayContext
from tests.document_examples import examples

DOCUMENT = Path(__file__).parents[1] / "docs/how-to/operator/sms-providers.md"
CALLBACK_SECRET = "rahsia-panggil-balik-contoh"

#: Examples by the provider's name.
EXAMPLES: dict[str, Any] = {
    entry["name"].removeprefix("sms-"): entry
    for text in examples("yaml", DOCUMENT)
    for entry in yaml.safe_load(text)["gateways"]["sms"]
}

#: Settings to poll each provider for replies.
INBOXES = {
    "awan": {"url": "https://api.sms-awan.example/inbox", "list": ".", "sender": "msisdn", "text": "msg", "id": "mid"},
    "suria": {
        "url": "https://api.sms-suria.example/v2/inbox",
        "headers": {"Authorization": "Bearer {secret}"},
        "list": "messages",
        "sender": "from",
        "text": "body",
        "id": "id",
    },
}


def settings(provider: str, base_url: str = "", secret: str = "", **changes: Any) -> dict[str, Any]:
    """Return an example as gateway settings, with secrets instead of their files, at *base_url*."""
    entry = copy.deepcopy(EXAMPLES[provider])
    del entry["gateway"], entry["name"], entry["secret_file"]
    if changes.pop("replies", None) == "poll":
        entry["inbox"] = copy.deepcopy(INBOXES[provider])
    if entry.get("callback", {}).pop("secret_file", None):
        entry["callback"]["secret"] = CALLBACK_SECRET
    for part in (entry, entry.get("receipts"), entry.get("inbox")):
        if part is not None and base_url:
            _, _, path = part["url"].partition("//")
            part["url"] = f"{base_url}/{path.partition('/')[2]}"
    return {**entry, "secret": secret, **changes}


def build(provider: str, base_url: str = "", secret: str = "", callbacks: str | None = None, **changes: Any) -> Gateway:
    """Return the gateway of an example."""
    model = GATEWAY.config.model_validate(settings(provider, base_url, secret, **changes))
    return GATEWAY.build(model, GatewayContext(callback_base=callbacks, directory="."))
