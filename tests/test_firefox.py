"""Every view of the page in Firefox. The other tests of pages use Chromium."""

import pyarrow.parquet as pq
import pytest
from firefox import FIREFOX, Firefox
from test_dashboard import page_of
from test_reader import listed, ready, text_of
from test_views import BACK, on_wall, open_map

from saev.analyze.artifact import TABLE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(FIREFOX is None, reason="needs firefox"),
]


def test_every_view_works_in_firefox(vit, tmp_path):
    path = page_of(vit, "patches")
    firing = pq.read_table(path.parent.parent / TABLE).to_pandas().query("image_count > 0")
    by = firing.sort_values(["image_count", "latent"], ascending=[False, True])
    with Firefox() as browser:
        browser.open(f"{path.as_uri()}#min=1&sort=image_count")
        browser.wait("document.querySelectorAll('.card img').length > 16")
        assert listed(browser) == by.latent.tolist()
        browser.run("document.querySelector('.card a').click()")
        first, second = by.latent.tolist()[:2]
        ready(browser, first)
        browser.press("h")
        browser.wait("document.querySelector('#latent canvas') !== null")
        browser.press("ArrowRight")
        ready(browser, second)
        browser.press("Escape")
        browser.wait(BACK)
        browser.open(f"{path.as_uri()}#view=wall&min=1&sort=image_count")
        assert on_wall(browser) == by.latent.tolist()
        open_map(browser, f"{path.as_uri()}#view=map&min=1")
        browser.run(f"pick({first})")
        browser.wait("document.querySelector('#map-card img') !== null")
        for view in ("contrast", "compare"):
            browser.open(f"{path.as_uri()}#view={view}")
            browser.wait(f"document.querySelectorAll('#view-{view} img').length > 4")
        browser.run("document.querySelector('#view-compare img').closest('a').click()")
        browser.wait("document.querySelector('#image img')?.complete")
        assert text_of(browser, "#image h2")
        gallery = (vit.parent.parent / "index.html").as_uri()
        browser.send("browsingContext.navigate", context=browser.context, url=gallery)
        browser.wait("document.querySelectorAll('a[href*=dashboard]').length > 0")
        assert browser.failures() == []
        assert browser.requests() <= {"file", "data"}
        # Both checks can fail.
        bad = tmp_path / "bad.html"
        bad.write_text("<img src='http://127.0.0.1:45454/x.png'><script>missing()</script>")
        browser.send("browsingContext.navigate", context=browser.context, url=bad.as_uri())
        browser.wait("document.readyState === 'complete'")
        assert "missing is not defined" in browser.failures()[0]
        assert "http" in browser.requests()
