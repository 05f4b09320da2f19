"""The histogram on the page of a latent: a click on a bin marks the images in it."""

import json

import pytest
from browser import CHROMIUM, Browser
from page_data import latents_of
from test_dashboard import page_of
from test_reader import ready, require_accessible, text_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
]
STATUS = ".histogram [role=status]"
MARKED = (
    "[...new Set([...document.querySelectorAll('#latent figure.in-bin')]"
    ".map((one) => one.dataset.row))].map(Number).sort((a, b) => a - b)"
)


def marked(browser):
    return json.loads(browser.run(f"JSON.stringify({MARKED})"))


def test_a_bin_marks_the_images_whose_activation_lies_in_it(vit):
    path = page_of(vit, "patches")
    latents = latents_of(path.parent)
    latent = max(range(len(latents["histogram"])), key=lambda one: len(latents["histogram"][one]))
    first, *counts = latents["histogram"][latent]
    with Browser() as browser:
        browser.open(f"{path.as_uri()}#min=0&latent={latent}")
        ready(browser, latent)
        edges = json.loads(browser.run("JSON.stringify(about.bin_edges)"))
        values = dict(zip(latents["rows"][latent], latents["values"][latent], strict=True))
        values.pop(-1, None)
        seen = 0
        for i in range(len(counts)):
            browser.run(
                f"document.querySelectorAll('.bars g')[{i}].dispatchEvent(new MouseEvent('click'))"
            )
            low, high = edges[first + i], edges[first + i + 1] or float("inf")
            inside = sorted(row for row, value in values.items() if low <= (value or 0) < high)
            assert marked(browser) == inside
            n = len(inside)
            said = f"{n} of these images {'is' if n == 1 else 'are'} in this range, and marked."
            assert text_of(browser, STATUS) == said
            pressed = "[...document.querySelectorAll('.bars g[aria-pressed=true]')].length"
            assert browser.run(pressed) == 1
            seen += n
        assert seen == sum(1 for value in values.values() if value)
        require_accessible(browser)
        # The mark stays when the maps change, and goes with the second press or another latent.
        browser.run("go({ heat: 'off' })")
        browser.wait("document.querySelector('#latent canvas, #latent .contour') === null")
        assert marked(browser) == inside
        browser.run(f"document.querySelectorAll('.bars g')[{len(counts) - 1}].focus()")
        browser.press("Enter")
        assert marked(browser) == []
        assert text_of(browser, STATUS) == ""
