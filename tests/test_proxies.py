"""The proxies that environment variables name: which requests take one."""

from __future__ import annotations

import urllib.request

import pytest
from requests.utils import should_bypass_proxies

from proxies import bypass_proxies_for_this_machine, proxy_for, without_login

NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
OWN_URLS = ("http://127.0.0.1:5000", "http://localhost:5000", "http://[::1]:5000")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        for variable in (name, name.upper()):
            # Set first: monkeypatch restores only what it changed.
            monkeypatch.setenv(variable, "")
            monkeypatch.delenv(variable)


@pytest.mark.parametrize("given", ["", "lab", " lab , 10.0.0.0/8"])
@pytest.mark.parametrize("variable", ["no_proxy", "NO_PROXY"])
def test_own_servers_are_requested_directly(monkeypatch: pytest.MonkeyPatch, given: str, variable: str) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    monkeypatch.setenv(variable, given)
    bypass_proxies_for_this_machine()
    bypass_proxies_for_this_machine()
    for url in OWN_URLS:
        assert should_bypass_proxies(url, no_proxy=None), url
    assert urllib.request.proxy_bypass("127.0.0.1:5000")
    assert should_bypass_proxies("http://lab", no_proxy=None) == ("lab" in given)
    assert not should_bypass_proxies("http://elsewhere", no_proxy=None)


def test_host_list_for_all_hosts_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "*")
    bypass_proxies_for_this_machine()
    assert proxy_for("http://elsewhere") == ""


def test_nothing_is_set_without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    bypass_proxies_for_this_machine()
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    assert not should_bypass_proxies(OWN_URLS[0], no_proxy=None)


def test_proxy_of_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    assert proxy_for("http://elsewhere:5000") == ""
    monkeypatch.setenv("all_proxy", "socks5://proxy:1080")
    assert proxy_for("http://elsewhere:5000") == "socks5://proxy:1080"
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    assert proxy_for("http://user:password@elsewhere:5000") == "http://proxy:3128"
    assert proxy_for("https://elsewhere") == "socks5://proxy:1080"
    monkeypatch.setenv("no_proxy", "elsewhere:5000,.lab")
    assert proxy_for("http://user:password@elsewhere:5000") == ""
    assert proxy_for("http://mlflow.lab") == ""
    assert proxy_for("http://elsewhere") == "http://proxy:3128"
    assert {proxy_for(url) for url in (*OWN_URLS, "http://127.0.1.1")} == {""}


@pytest.mark.parametrize(
    ("proxy", "shown"),
    [
        ("http://anna:geheim99@proxy:3128", "http://proxy:3128"),
        ("http://anna:p@ss@proxy:3128/", "http://proxy:3128/"),
        ("anna:geheim99@proxy:3128", "proxy:3128"),
        ("http://proxy", "http://proxy"),
        ("", ""),
    ],
)
def test_login_of_a_proxy_is_removed(proxy: str, shown: str) -> None:
    assert without_login(proxy) == shown
