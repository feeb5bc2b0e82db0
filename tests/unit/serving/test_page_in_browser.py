from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator

import pytest
from echo import EchoPredictor

from luthier.serving.app import create_app
from luthier.serving.server import bound, make_server

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")), reason="needs chromium and chromedriver"
    ),
]


@pytest.fixture
def address() -> Iterator[str]:
    ready, urls = threading.Event(), []
    with bound("127.0.0.1", 0) as listener:
        app = create_app(EchoPredictor())
        server = make_server(app, listener, drain_seconds=5, on_ready=lambda url: (urls.append(url), ready.set()))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert ready.wait(30)
            yield urls[0]
        finally:
            server.should_exit = True
            thread.join(30)


def test_the_form_answers_under_the_pages_own_policy(address: str) -> None:
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=390,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        driver.get(f"{address}/")
        assert driver.current_url == f"{address}/docs"
        driver.find_element(By.TAG_NAME, "textarea").send_keys("first\n\n<b>second</b>")
        driver.find_element(By.TAG_NAME, "button").click()
        WebDriverWait(driver, 10).until(lambda page: page.find_elements(By.CSS_SELECTOR, "#answer td"))
        cells = [cell.text for cell in driver.find_elements(By.CSS_SELECTOR, "#answer td")]
        assert (cells[0], cells[1], cells[4]) == ("first", "first", "<b>second</b>")
        assert driver.find_elements(By.CSS_SELECTOR, "#answer b") == []
        width = driver.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1], "the page scrolls sideways on a phone"
        assert driver.get_log("browser") == []
        asked = driver.execute_script("return performance.getEntriesByType('resource').map(one => one.name)")
        assert asked == [f"{address}/v1/predict"]
    finally:
        driver.quit()
