"""A headless Chromium that looks at the page of a running service."""

import contextlib
import json
import shutil
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

WIDE, PHONE = (1280, 900), (360, 740)
FLAGS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking")


class Browser:
    """A window that shows a service's page.

    Args:
        driver: The browser.
    """

    def __init__(self, driver):
        self.driver = driver

    def open(self, url, size=WIDE, dark=False):
        """Show a page in a window of this size [pixel]."""
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get(url)

    def text(self, selector):
        """What a part of the page says; empty if there is no such part."""
        found = self.driver.find_elements(By.CSS_SELECTOR, selector)
        return found[0].text if found else ""

    def count(self, selector):
        """How many parts there are."""
        return len(self.driver.find_elements(By.CSS_SELECTOR, selector))

    def run(self, script):
        """What the body of an asynchronous function comes to."""
        return self.driver.execute_script(f"return (async () => {{ {script} }})()")

    def press(self, *keys):
        """Press keys where the focus is."""
        webdriver.ActionChains(self.driver).send_keys(*keys).perform()

    def tab_to(self, selector, most=80):
        """Press the tab key until the focus is there."""
        for _ in range(most):
            self.press(Keys.TAB)
            if self.run(f"return document.activeElement.matches({json.dumps(selector)})"):
                return
        raise AssertionError(f"the tab key does not lead to {selector}")

    def block(self, *urls):
        """Let no request to addresses of this form through, and all others."""
        self.driver.execute_cdp_cmd("Network.enable", {})
        self.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": list(urls)})

    def console(self):
        """What the console says since it was read last."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def hosts(self):
        """Hosts that were asked for anything since this was read last."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [one["params"] for one in messages if one["method"] == "Network.requestWillBeSent"]
        return {urlsplit(one["request"]["url"]).netloc for one in sent}


@contextlib.contextmanager
def chromium():
    """A browser; skips the test where there is none."""
    paths = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in paths:
        pytest.skip("needs Chromium and its driver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = paths[0]
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(paths[1]))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
