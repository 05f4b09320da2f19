"""The quiz for names: what it asks, what it hides, and what it counts."""

import json

import numpy as np
import pytest
from browser import CHROMIUM, Browser
from page_data import latents_of, script_data
from test_contrast import largest
from test_dashboard import page_of
from test_reader import require_accessible, text_of

from saev.analyze.lift import wilson_low
from saev.analyze.names_file import FEWEST_NAMES
from saev.dashboard import artifact as names

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")]
GIVEN = ["an eye", "a <b>tail</b>", "grass", "a fin", "sand", "Grass"]


def name_latents(browser, latents):
    for latent, text in zip(latents, GIVEN, strict=False):
        browser.run(f"annotate({latent}, {{ name: {json.dumps(text)} }})")


def asked(browser):
    """The question on the page, which isn't answered yet."""
    browser.wait("document.querySelectorAll('.quiz-options button:enabled').length === 5")
    return json.loads(browser.run("JSON.stringify(question)"))


def pick(browser, question, right):
    """Answer by a key, rightly or with the first wrong name; go on."""
    at = next(i for i, o in enumerate(question["options"]) if (o == question["name"]) == right)
    browser.press(str(at + 1))
    browser.wait("document.getElementById('quiz-next') !== null")


def go_on(browser):
    browser.run("document.getElementById('quiz-next').click()")
    browser.wait("document.getElementById('quiz-next') === null")


def test_images_are_asked_once_without_the_name_and_answers_are_counted(vit):
    values, *_ = largest(vit, "patches")
    path = page_of(vit, "patches")
    rows = np.array(latents_of(path.parent)["rows"])
    keys = script_data(path.parent / names.NAMES)
    keys = dict(zip(keys["rows"], keys["keys"], strict=True))
    with Browser() as browser:
        browser.open(f"{path.as_uri()}#min=0&view=quiz")
        spans = json.loads(browser.run("JSON.stringify([rowOf('top'), rowOf('random')])"))
        tops, drawn = ([*range(s["first"], s["last"])] for s in spans)
        usable = [
            set(of[drawn].tolist()) - {-1} - set(of[tops].tolist()) for of in rows
        ]  # by latent
        latents = [j for j in range(48) if len(usable[j]) >= 3][:6]
        name_latents(browser, latents[:4])
        said = text_of(browser, "#view-quiz .nothing")
        assert "This page has 4 names so far" in said
        name_latents(browser, latents)
        assert browser.run("QUIZ_NAMES") == FEWEST_NAMES == 5
        seen, right = set(), {}
        for number in range(sum(len(usable[j]) for j in latents)):
            question = asked(browser)
            latent, row = question["latent"], question["row"]
            assert question["name"] == GIVEN[latents.index(latent)]
            assert len({option.lower() for option in question["options"]}) == 5
            assert question["name"] in question["options"]
            # It fires there, and none of its top images is asked.
            assert values[row, latent] > 0
            assert row in usable[latent]
            assert (latent, row) not in seen
            seen.add((latent, row))
            if number < 9:
                told = browser.run("document.querySelector('#view-quiz .quiz').outerHTML")
                for leak in (f"atent {latent}", f"latent={latent}", keys[row]):
                    assert leak not in told
                assert browser.run("location.hash").count("latent") == 0
            good = number % 3 != 1
            right.setdefault(latent, []).append(good)
            pick(browser, question, good)
            said = text_of(browser, ".quiz-answer")
            assert said.startswith("Right." if good else "Not its name.")
            assert f"Latent {latent}" in said
            assert browser.run("document.activeElement.id") == "quiz-next"
            go_on(browser)
        assert text_of(browser, "#view-quiz .nothing").startswith("No question is left.")
        # The figures.
        hits, n = sum(map(sum, right.values())), sum(map(len, right.values()))
        assert text_of(browser, ".quiz-scores caption") == f"{hits} of {n} right, chance 20 %"
        lines = json.loads(
            browser.run(
                "JSON.stringify([...document.querySelectorAll('.quiz-scores tbody tr')]"
                ".map((r) => [...r.children].map((c) => c.textContent)))"
            )
        )
        assert [line[0] for line in lines] == [GIVEN[latents.index(j)] for j in sorted(right)]
        for latent, line in zip(sorted(right), lines, strict=True):
            good, all_ = sum(right[latent]), len(right[latent])
            assert line[2] == f"{good} of {all_}"
            low, high = wilson_low(np.array([good, all_ - good]), np.array([all_, all_]))
            ends = f"{100 * low:.0f} to {100 * (1 - high):.0f}" if all_ >= 5 else "–"
            assert line[3] == ends
        many = max(right, key=lambda j: len(right[j]))
        assert len(right[many]) >= 5
        browser.run("go({ view: 'list', chip: 'noted' })")
        browser.wait("document.querySelector('.card .scored') !== null")
        card = f"document.getElementById('card-{many}').closest('.card').textContent"
        assert f"quiz: {sum(right[many])} of {len(right[many])} right" in browser.run(card)
        # They come back: in this browser, and from a file. Those about other images don't.
        saved = browser.run("notesAsJson()")
        browser.send("Page.navigate", url="about:blank")
        browser.open(f"{path.as_uri()}#min=0&view=quiz")
        browser.wait("document.querySelector('.quiz-scores') !== null")
        assert browser.run("notesAsJson()") == saved
        browser.run("answers.clear()")
        other = json.loads(saved)
        other["quiz"]["of"] = "elsewhere"
        browser.run(f"importNotes({json.dumps(json.dumps(other))}, 'a.json')")
        assert browser.run("answers.size") == 0
        other["quiz"] = {"of": vit.parent.name, "names": [{"latent": 1, "name": "x", "right": 1}]}
        browser.run(f"importNotes({json.dumps(json.dumps(other))}, 'b.json')")
        assert text_of(browser, "#notes-said").startswith("b.json wasn't read: ")
        browser.run(f"importNotes({json.dumps(saved)}, 'c.json')")
        assert browser.run("notesAsJson()") == saved
        failed = [e for e in browser.events if e.get("method") == "Runtime.exceptionThrown"]
        assert failed == []
        assert browser.requests() == {"file"}


def test_everybody_gets_the_same_questions_and_markup_in_names_is_text(vit):
    path = page_of(vit, "cls")
    found = []
    for size in ((1280, 720, False), (390, 844, True)):
        with Browser(*size) as browser:
            browser.open(f"{path.as_uri()}#min=0")
            name_latents(browser, range(0, 48, 5))
            browser.run("go({ view: 'quiz' })")
            question = asked(browser)
            assert browser.run("document.querySelectorAll('#view-quiz b').length") == 0
            require_accessible(browser)
            pick(browser, question, False)
            require_accessible(browser)
            assert browser.run("document.documentElement.scrollWidth") <= size[0]
            go_on(browser)
            found.append([question, asked(browser)])
    assert found[0] == found[1]
    # The right name isn't always at the same place.
    with Browser() as browser:
        browser.open(f"{path.as_uri()}#min=0")
        name_latents(browser, range(0, 48, 5))
        browser.run("go({ view: 'quiz' })")
        asked(browser)
        places = browser.run(
            "Array.from({ length: 500 }, (_, row) => optionsOf(question, row, givenNames())"
            ".indexOf(question.name))"
        )
        # Of two names of a latent, none is wrong. So with these, nobody could pick among five.
        browser.run("go({ view: 'list' }); notes.clear(); answers.clear(); question = null")
        both = json.dumps([{"latent": 0, "name": text} for text in GIVEN[:2]])
        browser.run(f"namings.set(0, {both})")
        for latent, text in zip((5, 10, 15), GIVEN[2:5], strict=True):
            browser.run(f"annotate({latent}, {{ name: {json.dumps(text)} }})")
        browser.run("go({ view: 'quiz' })")
        for _ in range(8):
            question = asked(browser)
            assert question["latent"] in (5, 10, 15)
            pick(browser, question, True)
            go_on(browser)
    counts = np.bincount(places, minlength=5)
    assert counts.min() > 70  # of 100 expected each
