"""Installed files of a site and its hub agree on addresses, and the guide names each."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def value(file: str, key: str) -> str:
    found = re.search(rf"^{key} = (.+)$", (DEPLOY / file).read_text(), re.MULTILINE)
    assert found, (file, key)
    return found[1].strip("'")


def test_site_and_hub_tunnel_addresses_agree() -> None:
    site, hub = "site/wireguard.conf", "hub/wireguard.conf"
    (let_in,) = re.findall(
        r"^hostssl pantau pantau_hub (\S+) ", (DEPLOY / "site/pg_hba.conf").read_text(), re.MULTILINE
    )
    assert value(site, "AllowedIPs") == let_in == value(hub, "Address").replace("/24", "/32")
    assert (
        value(hub, "AllowedIPs") == value(site, "Address") == f"{value('site/postgresql.conf', 'listen_addresses')}/32"
    )
    assert value(site, "Endpoint").endswith(f":{value(hub, 'ListenPort')}")


def test_firewall_rules_name_installed_tunnel() -> None:
    guide = (ROOT / "docs/how-to/operator/sites.md").read_text()
    (tunnel,) = set(re.findall(r"/etc/wireguard/(\w+)\.conf", guide))
    for where in ("site", "hub"):
        rules = (DEPLOY / where / "firewall.nft").read_text()
        assert set(re.findall(r'iifname "(\w+)"', rules)) == {tunnel}


def test_sites_guide_names_each_file() -> None:
    guide = (ROOT / "docs/how-to/operator/sites.md").read_text()
    for file in (each for where in ("site", "hub") for each in sorted((DEPLOY / where).iterdir())):
        assert f"{file.parent.name}/{file.name}" in guide or f"`{file.name}`" in guide, file
