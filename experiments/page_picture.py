"""Pictures of a service's page while it serves, by Chromium."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PAGE_SIZE, REQUESTS = (1280, 1400), ".row"
"""Width and height of the picture of the page [pixel], and where requests are on it."""


@contextlib.contextmanager
def browsing(url: str) -> Iterator[Callable[[Path], None]]:
    """The service's page in Chromium; gives what takes a picture of it, with one of the latest requests chosen."""
    chromium, driver = (shutil.which(name) for name in ("chromium", "chromedriver"))
    if chromium is None or driver is None:
        yield lambda file: print("no picture of the page without Chromium and its driver")
        return
    from selenium import webdriver
    from selenium.webdriver.common.by import By

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))

    def picture(file: Path) -> None:
        for latest in browser.find_elements(By.CSS_SELECTOR, REQUESTS)[:1]:
            latest.click()
        time.sleep(0.5)
        browser.save_screenshot(str(file))
        print(f"the page: {file}", flush=True)

    try:
        size = {"width": PAGE_SIZE[0], "height": PAGE_SIZE[1], "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(url)
        yield picture
    finally:
        browser.quit()
