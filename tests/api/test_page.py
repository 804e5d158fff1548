"""The page of a running service, in a browser: what it shows, what can be done with it, and what it asks of whom."""

import contextlib
import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from lad_rllib.api.fleet_view import FleetView
from lad_rllib.api.shadow import RIVALS
from lad_rllib.scheduling import make_heuristic
from lad_rllib.scheduling.request_scheduler import REQUEST_SCHEDULERS
from tests.api.browser import PHONE, WIDE, chromium
from tests.api.running import service
from tests.service.fleets import until

pytestmark = pytest.mark.serial

KEY = "a-key-of-more-than-twenty-characters"
AXE = os.environ.get("LAD_RLLIB_AXE", "")


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


class Control:
    """Changes a service as the real control does: through its dispatcher."""

    policy = "shortest-expected-delay"
    gateway = oversight = None

    async def servers(self):
        """The servers."""
        return await FleetView(self.gateway, None).servers()

    async def drain(self, name):
        """Send a server no more requests."""
        self.gateway.dispatcher.drain(name)

    async def swap(self, policy):
        """Let another scheduler decide."""
        self.gateway.dispatcher.swap(make_heuristic(policy))
        self.policy = policy
        return policy


@contextlib.contextmanager
def seen(browser, *arguments, **settings):
    """A service that the browser leaves before it ends."""
    with service(*arguments, **settings) as running:
        yield running
        browser.open("about:blank")


@pytest.fixture
def running(browser):
    """A service with two quick servers and a slow one that can be changed."""
    control = Control()
    with seen(browser, [200, 100, 20], control=control) as running:
        control.gateway = running.gateway
        yield running


@pytest.fixture
def busy(running):
    """The same under a load of two or three requests at a time."""
    steps = itertools.cycle((10, 20, 40))
    with ThreadPoolExecutor(3) as clients:
        is_over = False

        def ask():
            while not is_over:
                running.draw(num_inference_steps=next(steps))

        for _ in range(3):
            clients.submit(ask)
        yield running
        is_over = True


def live(browser, url, *arguments, **settings):
    """Open a page, and wait until it is live."""
    browser.open(url, *arguments, **settings)
    until(lambda: browser.text("header .badge") == "live")


def test_it_shows_servers_requests_figures_and_images_and_asks_its_own_host_alone(browser, busy):
    browser.console(), browser.hosts()
    live(browser, busy.url)
    until(lambda: browser.count(".images img") >= 5 and browser.count(".row") >= 5)
    assert [browser.text(f".server:nth-child({i}) h3") for i in (1, 2, 3)] == ["s0", "s1", "s2"]
    assert browser.text(".server .badge") == "up" and browser.text(".bar .value").endswith("s")
    until(lambda: "–" not in browser.text(".figures"))
    until(lambda: browser.count(".chip") > 0)
    assert browser.text("header .policy") == "In charge: shortest-expected-delay"
    widths = browser.run("return [...document.images].map((image) => image.complete && image.naturalWidth)")
    assert all(widths) and widths
    assert browser.run("return document.querySelector('.chart canvas').width") > 0
    assert browser.hosts() == {urlsplit(busy.url).netloc}
    assert browser.console() == []


def test_a_killed_server_is_marked_within_three_seconds_and_again_when_it_is_back(browser, busy):
    live(browser, busy.url)
    busy.servers[1].dead = True
    assert until(lambda: browser.text(".server:nth-child(2) .badge") == "down") < 3.0
    assert browser.text(".server:nth-child(2) .reason") in ("s1 does not answer", "s1 has lost its process")
    busy.servers[1].dead = False
    until(lambda: browser.text(".server:nth-child(2) .badge") == "up")


def test_a_request_tells_by_keyboard_why_it_went_where_it_did(browser, running):
    live(browser, running.url)
    running.draw(num_inference_steps=20)
    until(lambda: "in flight" not in browser.text(".row") and browser.count(".row") == 1)
    browser.tab_to(".row")
    browser.press(Keys.ENTER)
    until(lambda: browser.count(".predictions") == 1)
    assert "went to s0: done there first." in browser.text("#why")
    rows = [browser.text(f".predictions tbody tr:nth-child({i})").split() for i in (1, 2, 3)]
    assert [row[0] for row in rows] == ["s0", "s1", "s2"] and rows[0][1] == "chosen"
    assert [float(row[-4]) for row in rows] == pytest.approx([0.1, 0.2, 1.0], rel=0.05)
    assert "It took 0." in browser.text("#why")


def test_what_other_schedulers_would_have_done_stands_beside_reality(browser, busy):
    live(browser, busy.url)
    until(lambda: busy.gateway.statistics.served.total() > 30)
    browser.tab_to("[aria-labelledby=shadow] button")
    browser.press(Keys.ENTER)
    until(lambda: browser.count(".replays tbody tr") > 1, 60.0)
    rows = [one.text for one in browser.driver.find_elements(By.CSS_SELECTOR, ".replays tbody th")]
    assert rows == ["as it was", *RIVALS]
    assert browser.count(".replays .best") >= 1 and "0 outages" in browser.text(".replays caption")


def test_the_list_of_requests_stands_still_while_the_focus_is_in_it(browser, busy):
    live(browser, busy.url)
    until(lambda: browser.count(".row") == 12)
    browser.tab_to(".row")
    rows = "return [...document.querySelectorAll('.row .id')].map((one) => one.textContent)"
    shown = browser.run(rows)
    until(lambda: " newer" in browser.text("[aria-labelledby=requests] .hint"))
    assert shown == browser.run(rows)
    browser.tab_to(".row", most=1)  # from row to row it stands still, too
    assert shown == browser.run(rows)


def test_a_server_is_drained_by_keyboard_after_a_question(browser, running):
    live(browser, running.url)
    browser.tab_to("[aria-label='Drain s2']")
    browser.press(Keys.ENTER)
    until(lambda: browser.text("dialog").startswith("Drain s2?"))
    browser.press(Keys.ESCAPE)
    until(lambda: browser.text("dialog") == "")
    assert browser.text(".server:nth-child(3) .badge") == "up"
    browser.press(Keys.ENTER)  # the focus is back on the button
    until(lambda: browser.text("dialog").startswith("Drain s2?"))
    browser.tab_to("dialog button:last-child")
    browser.press(Keys.ENTER)
    until(lambda: browser.text(".server:nth-child(3) .badge") == "draining")
    assert browser.text(".said p") == "s2 is draining: it finishes what it has."


def test_another_scheduler_is_put_in_charge_and_one_that_does_not_exist_is_not(browser, running):
    live(browser, running.url)
    offered = browser.run("return [...document.querySelectorAll('#policies option')].map((one) => one.value)")
    assert offered == list(REQUEST_SCHEDULERS)
    browser.tab_to("#policy")
    browser.press("random", Keys.TAB, Keys.ENTER)
    until(lambda: browser.text("header .policy") == "In charge: random")
    browser.tab_to("#policy")
    browser.press("no-such", Keys.TAB, Keys.ENTER)
    until(lambda: "no-such" in browser.text(".said.failed"))
    assert browser.text("header .policy") == "In charge: random"


def test_a_service_with_keys_is_seen_with_an_admin_key_that_is_not_stored(browser, tmp_path):
    keys = tmp_path / "keys.yaml"
    keys.write_text(f"keys:\n- {{name: ops, key: {KEY}, admin: true}}\n")
    with seen(browser, [100], keys_file=str(keys)) as running:
        browser.open(running.url)
        until(lambda: browser.text("header .badge") == "key needed")
        assert "Give a key below." in browser.text(".notice")
        browser.tab_to("#key")
        browser.press(KEY, Keys.ENTER)
        until(lambda: browser.text("header .badge") == "live")
        assert browser.run("return localStorage.length + sessionStorage.length + document.cookie.length") == 0
        browser.driver.refresh()
        until(lambda: browser.text("header .badge") == "key needed")


def test_a_lost_feed_is_said_and_found_again(browser, running):
    live(browser, running.url)
    browser.block("*/events")
    running.gateway.feed.close()
    until(lambda: browser.text("header .badge") == "feed lost")
    assert browser.text(".notice").startswith("The feed is lost: ") and " s old." in browser.text(".notice")
    browser.block()
    until(lambda: browser.text("header .badge") == "live")
    assert browser.text(".notice") == ""


def test_events_that_come_in_pieces_are_put_together(browser, running):
    live(browser, running.url)
    pieces = ["event: do", 'ne\ndata: {"id":"a"}\n', "\n: at work\n\nevent: state\ndata: {}\n\nevent"]
    script = f"""
        const {{ parse }} = await import("{running.url}/page/feed.js");
        let rest = "", all = [];
        for (const piece of {pieces}) {{
            const [events, open] = parse(rest + piece);
            all.push(...events);
            rest = open;
        }}
        return [all, rest];
    """
    assert browser.run(script) == [[["done", {"id": "a"}], ["state", {}]], "event"]


@pytest.mark.parametrize("dark", (False, True), ids=("light", "dark"))
def test_a_phone_shows_it_without_scrolling_sideways(browser, busy, dark):
    live(browser, busy.url, PHONE, dark=dark)
    until(lambda: browser.count(".images img") >= 5)
    browser.run("document.querySelector('.row').click()")
    until(lambda: browser.count(".predictions") == 1)
    assert browser.run("return document.documentElement.scrollWidth") <= PHONE[0]
    assert browser.run("return document.querySelector('.server').getBoundingClientRect().right") <= PHONE[0]
    ground = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert (max(int(part) for part in ground[4:-1].split(",")) < 64) == dark


@pytest.mark.skipif(not AXE, reason="LAD_RLLIB_AXE does not name axe-core's axe.min.js (npm pack axe-core)")
@pytest.mark.parametrize("dark", (False, True), ids=("light", "dark"))
@pytest.mark.parametrize("size", (WIDE, PHONE), ids=("wide", "phone"))
def test_axe_finds_nothing_that_keeps_people_out(browser, busy, size, dark):
    live(browser, busy.url, size, dark=dark)
    until(lambda: browser.count(".images img") >= 5)
    browser.run("document.querySelector('.row').click()")
    until(lambda: browser.count(".predictions") == 1)
    browser.driver.execute_script(Path(AXE).read_text())
    found = browser.run("return (await axe.run()).violations")
    assert [(one["id"], one["impact"], [node["html"] for node in one["nodes"]][:3]) for one in found] == []
