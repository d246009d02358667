"""The lab in Firefox, from a folder: the same answers as in Chromium, and no error in its console."""

import firefox
import pytest
from test_lab import make_site

HELPERS = """
  const until = async (holds) => { while (!holds()) await new Promise((go) => setTimeout(go, 50)); };
  const inside = (tag) => document.querySelector(tag).shadowRoot;
  const said = (tag) => inside(tag)?.querySelector(".result")?.textContent ?? "";
  const bring = async (tag) => {
    document.querySelector(tag).scrollIntoView();
    await until(() => inside(tag)?.querySelector(".box button"));
  };
  const press = (tag, text) =>
    [...inside(tag).querySelectorAll("button")].find((each) => each.textContent === text).click();
"""
DRAW = """
  await bring("bn-draw");
  await until(() => said("bn-draw").includes("No trigger: the clean network says 3"));
  press("bn-draw", "Stamp the trigger");
  await until(() => said("bn-draw").includes("With the trigger"));
  return said("bn-draw");
"""
TRAIN = """
  await bring("bn-train");
  press("bn-train", "Train");
  await until(() => /Done|did not work/.test(said("bn-train")));
  press("bn-train", "Prune");
  await until(() => /Pruned|did not work/.test(said("bn-train")));
  const { card, weights } = document.querySelector("bn-train").latest;
  return { said: said("bn-train"), card, weights: [...weights] };
"""
QUIZ = """
  await bring("bn-quiz");
  inside("bn-quiz").querySelectorAll("fieldset.guess input[value=clean]").forEach((each) => each.click());
  press("bn-quiz", "Show the truth");
  return said("bn-quiz");
"""
SETTING = "?fraction=0.1&epochs=1&seed=5"


@pytest.mark.skipif(firefox.BROWSER is None, reason="no Firefox on this machine")
def test_the_lab_works_in_firefox_and_trains_as_in_chromium(tmp_path, open_page):
    site = make_site(tmp_path / "site")
    chromium = open_page(site, f"chapters/light.html{SETTING}")
    expected = chromium.evaluate(f"async () => {{ {HELPERS} {TRAIN} }}")
    with firefox.firefox_page(f"{(site / 'chapters' / 'light.html').as_uri()}{SETTING}") as page:
        assert "the clean network says 3" in page.run(HELPERS + DRAW)
        trained = page.run(HELPERS + TRAIN)
        assert trained["said"].startswith("Pruned 4 of 16 channels: clean accuracy")
        assert trained["card"] == expected["card"]
        assert trained["weights"] == pytest.approx(expected["weights"], abs=1e-9)
        assert page.run(HELPERS + QUIZ) == "You judged 3 of 6 right."
        assert page.wrong == []
