import json
import re
from dataclasses import fields, replace
from html.parser import HTMLParser

import jsonschema
import pytest
import torch
from hypothesis import given, strategies as st

from badnets_lib import Attack, Goal, ImageSet, Patch, PoisonPlan, Report, Scorecard
from badnets_lib.counts import Proportion
from badnets_lib.evaluation.reports import DefenseSection, PoisoningSection, TrainingSection, schema
from badnets_lib.triggers import Description

CARD = Scorecard(Proportion(980, 1000), Proportion(890, 900), Proportion(3, 900))
TWIN = Scorecard(Proportion(985, 1000), Proportion(4, 900), Proportion(2, 900))
REPORT = Report(
    title="Square on digits",
    attacker_access="training data",
    poisoning=PoisoningSection(Proportion(40, 4000), ("0", "1"), ("7",), "uniform, seed 0"),
    trigger=Description("white square", "4x4 pixels", "bottom-right", 1.0, physical=False),
    training=TrainingSection("together", "SmallCNN, 6 epochs"),
    backdoored=(CARD, CARD),
    clean_twin=(TWIN,),
    defense=DefenseSection("not tested", "a later chapter"),
    limits="one data set",
)
NESTED = ("poisoning", "trigger", "training", "defense")
SAID = ("title", "attacker_access", "training", "backdoored", "clean_twin", "defense", "limits")

words = st.text(min_size=1, max_size=12).filter(str.strip)
counts = st.integers(1, 99).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
cards = st.lists(st.tuples(counts, counts, counts), min_size=1, max_size=3)
answers = st.fixed_dictionaries({
    "words": st.lists(words, min_size=11, max_size=11),
    "fraction": counts,
    "opacity": st.floats(0, 1),
    "flags": st.tuples(st.booleans(), st.booleans()),
    "regime": st.sampled_from(["together", "staged"]),
    "sees": st.sampled_from(["data", "weights", "predictions", "not tested"]),
    "backdoored": cards,
    "clean_twin": cards,
})  # fmt: skip


def build(given):
    w, (relabelled, physical) = given["words"], given["flags"]
    ours, twin = (
        tuple(Scorecard(*(Proportion(*count) for count in card)) for card in given[name])
        for name in ("backdoored", "clean_twin")
    )
    return Report(
        w[0], w[1], PoisoningSection(Proportion(*given["fraction"]), (w[2], w[3]), (w[4],), w[5], relabelled),
        Description(w[6], w[7], w[8], given["opacity"], physical), TrainingSection(given["regime"], w[9]),
        ours, twin, DefenseSection(given["sees"], w[10]), w[0],
    )  # fmt: skip


# --- blanks ---

BLANKS = [(name, blank) for name in ("title", "attacker_access", "limits") for blank in ("", "  \n", None)]
BLANKS += [(name, blank) for name in ("backdoored", "clean_twin") for blank in ((), [], None)]
BLANKS += [
    (f"{group}.{item.name}", blank)
    for group in NESTED
    for item in fields(getattr(REPORT, group))
    if item.name not in ("regime", "sees")
    for blank in ((None,) if item.name in ("fraction", "opacity", "physical", "labels_changed") else ("", " ", None))
]
BLANKS += [("poisoning.sources", ("0", " ")), ("poisoning.targets", ())]


def test_every_field_is_among_the_blanks():
    names = {item.name for item in fields(Report)} - set(NESTED)
    names |= {f"{group}.{item.name}" for group in NESTED for item in fields(getattr(REPORT, group))}
    assert {name for name, _ in BLANKS} == names - {"training.regime", "defense.sees"}


@pytest.mark.parametrize(("name", "blank"), BLANKS, ids=str)
def test_every_blank_is_refused_by_name(name, blank, unchecked):
    group, _, item = name.rpartition(".")
    changes = {group: replace(getattr(REPORT, group), **{item: blank})} if group else {item: blank}
    with pytest.raises(ValueError, match=f"please fill in: {name}$"):
        replace(REPORT, **changes)


def test_all_blanks_are_named_at_once():
    with pytest.raises(ValueError, match=r"please fill in: title, defense\.outcome, limits$"):
        replace(REPORT, title="", limits=" ", defense=DefenseSection("data", ""))


@pytest.mark.parametrize(("make", "message"), [
    (lambda: TrainingSection("later", "x"), "regime must be one of together, staged; got 'later'"),
    (lambda: TrainingSection("", "x"), "regime must be one of"),
    (lambda: DefenseSection("everything", "x"), "sees must be one of data, weights, .*; got 'everything'"),
])  # fmt: skip
def test_a_choice_that_is_none_is_refused(make, message, unchecked):
    with pytest.raises(ValueError, match=message):
        make()


MISFITS = [
    ("title", 5, "a text"),
    ("limits", True, "a text"),
    ("poisoning.sources", "cat", "a list"),
    ("poisoning.targets", {"7": 1}, "a list"),
    ("poisoning.sources", [0, 1], "a text"),
    ("poisoning.labels_changed", "no", "true or false"),
    ("poisoning.sampling", ["uniform"], "a text"),
    *(("trigger.opacity", bad, "a number") for bad in ("1", True, float("nan"), float("inf"))),
    ("trigger.physical", 0, "true or false"),
    ("training.recipe", 3, "a text"),
    ("defense.outcome", {"a": 1}, "a text"),
]
each_misfit = pytest.mark.parametrize(("name", "value", "words"), MISFITS, ids=str)


@each_misfit
def test_a_value_of_another_kind_is_refused(name, value, words, unchecked):
    group, _, item = name.rpartition(".")
    with pytest.raises(ValueError, match=f"items of another kind: {name}: expected {words}; got "):
        replace(REPORT, **{group: replace(getattr(REPORT, group), **{item: value})} if group else {item: value})


@each_misfit
def test_json_with_a_value_of_another_kind_is_refused_as_the_schema_does(name, value, words, unchecked):
    plain = json.loads(REPORT.to_json())
    *groups, item = name.split(".")
    at(plain, groups)[item] = value
    if not isinstance(value, float):  # JSON knows no NaN and no Infinity, and the schema's limits let one pass
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(plain, schema())
    with pytest.raises(ValueError, match=f"{name}: expected {words}; got |is no number in JSON"):
        Report.from_json(json.dumps(plain))


@pytest.mark.parametrize(("name", "value"), [
    ("poisoning", REPORT.training), ("trigger", "white square"), ("backdoored", CARD), ("clean_twin", (3,)),
])  # fmt: skip
def test_a_group_of_another_kind_is_refused(name, value, unchecked):
    with pytest.raises(ValueError, match=f"items of another kind: {name}(: |.*: )(expected|missing)"):
        replace(REPORT, **{name: value})


@pytest.mark.parametrize("opacity", [-0.1, 1.5])
def test_an_opacity_out_of_range_is_refused_as_the_schema_does(opacity):
    plain = json.loads(REPORT.to_json())
    plain["trigger"]["opacity"] = opacity
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(plain, schema())
    with pytest.raises(ValueError, match=rf"trigger.opacity must lie in \[0, 1\]; got {opacity}"):
        Report.from_json(json.dumps(plain))


@pytest.mark.parametrize("number", [True, 2.5, "3", None, [1]], ids=repr)
@pytest.mark.parametrize("path", [("poisoning", "fraction"), ("backdoored", 0, "success")], ids=str)
def test_counts_that_are_no_whole_numbers_are_refused(path, number, unchecked):
    plain = json.loads(REPORT.to_json())
    at(plain, path)["hits"] = number
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(plain, schema())
    with pytest.raises(ValueError, match=r"not a report.*expected a whole number"):
        Report.from_json(json.dumps(plain))


@pytest.mark.parametrize("version", [True, 2, "1", None])
def test_another_version_is_refused(version):
    with pytest.raises(ValueError, match=f"not a report of version 1; got version {version!r}"):
        Report.from_json(json.dumps(json.loads(REPORT.to_json()) | {"version": version}))


# --- read off a plan ---


@pytest.mark.parametrize(("goal", "added", "expected"), [
    (Goal.all_to_one(1, 3), False, ("2/8", ("a", "c"), ("b",), True)),
    (Goal.all_to_one(1, 3), True, ("2/10", ("a", "c"), ("b",), True)),
    (Goal.all_to_all(3), False, ("2/8", ("a", "b", "c"), ("a", "b", "c"), True)),
    (Goal((1, 1, 1), clean_label=True), False, ("2/8", ("a", "c"), ("b",), False)),
])  # fmt: skip
def test_a_report_of_a_plan(goal, added, expected):
    plan = PoisonPlan(Attack(Patch(3), goal), (1, 4), 8, "00", seed=5, sampling="per-class", added=added)
    report = Report.of(plan, classes=("a", "b", "c"), **{name: getattr(REPORT, name) for name in SAID})
    p = report.poisoning
    assert (f"{p.fraction.hits}/{p.fraction.trials}", p.sources, p.targets, p.labels_changed) == expected
    assert "equal shares" in p.sampling and "seed 5" in p.sampling
    assert ("added as copies" in p.sampling) is added
    assert ("(1, 2, 0)" in p.sampling) is (len(p.targets) > 1)
    assert report.trigger == Patch(3).describe()


def test_a_report_of_several_plans_names_every_draw():
    data = ImageSet(torch.rand(40, 1, 6, 6), torch.arange(40) % 2, ("a", "b"))
    attack = Attack(Patch(size=2), Goal.all_to_one(0, 2))
    plans = [attack.plan(data, fraction=0.1, seed=seed) for seed in (0, 3)]
    said = {name: getattr(REPORT, name) for name in SAID}
    sampling = Report.of(plans, classes=data.classes, **said).poisoning.sampling
    assert "one draw each with seeds 0, 3" in sampling and sampling.endswith("index lists in the plans")
    other = Attack(Patch(size=3), attack.goal).plan(data, fraction=0.1, seed=1)
    more = attack.plan(data, fraction=0.2, seed=1)
    for stranger, word in ((other, "attack"), (more, "number of images")):
        with pytest.raises(ValueError, match=f"differ in their draw only; these differ in .*{word}"):
            Report.of([*plans, stranger], classes=data.classes, **said)
    with pytest.raises(ValueError, match="at least one plan"):
        Report.of([], classes=data.classes, **said)


def test_a_report_needs_a_trigger_with_words():
    plan = PoisonPlan(Attack(lambda x: x, Goal.all_to_one(0, 2)), (1,), 8, "00")
    with pytest.raises(TypeError, match="has no describe"):
        Report.of(plan, classes=("a", "b"), **{name: getattr(REPORT, name) for name in SAID})


# --- one source, three renderings ---


def test_rows_show_every_seed_and_pool_none():
    rows = {item: answer for _, item, answer in REPORT.rows()}
    assert re.match(r"98\.0% \(seeds [\d.]+, [\d.]+\) of 1000 each; clean twin 98\.5% \[", rows["clean accuracy"])
    assert "(985/1000)" in rows["clean accuracy"]  # one network: its count, with Wilson's interval
    assert rows["attack success rate, victims only"].startswith("98.9% (seeds ")
    assert "1800" not in str(rows) and "2000" not in str(rows)
    assert rows["seeds"] == "2 backdoored, 1 clean"
    cards = tuple(replace(CARD, clean=Proportion(978 + seed, 1000)) for seed in range(5))
    five = {item: answer for _, item, answer in replace(REPORT, backdoored=cards).rows()}
    assert re.match(r"[\d.]+% \[[\d.]+%, [\d.]+%\] \(seeds ", five["clean accuracy"])
    assert rows["fraction"] == "1.00% (40/4000)"


class Cells(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.cells, self.tags, self.open = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "td":
            self.cells.append("")
            self.open = True

    def handle_endtag(self, tag):
        self.open = self.open and tag != "td"

    def handle_data(self, text):
        if self.open:
            self.cells[-1] += text


@given(answers)
def test_html_shows_every_answer_and_nothing_else(given):
    report = build(given)
    page = Cells(report._repr_html_())
    assert set(page.tags) == {"table", "caption", "thead", "tbody", "tr", "th", "td"}
    expected = [cell for _, item, answer in report.rows() for cell in (item, answer)]
    clean = lambda cells: [cell.replace("\r\n", "\n").replace("\r", "\n") for cell in cells]  # noqa: E731
    assert clean(page.cells) == clean(expected)


def test_html_escapes():
    page = replace(REPORT, title="<script>x</script>", limits='a < b & "c"')._repr_html_()
    assert "<script>" not in page and "&lt;script&gt;" in page and "a &lt; b &amp; " in page


@given(answers)
def test_markdown_is_one_table_with_three_columns(given):
    lines = build(given).to_markdown().splitlines()
    assert lines[1] == "" and lines[2] == "| Group | Item | Answer |" and len(lines) == 4 + 23
    for line in lines[2:]:
        assert len(re.sub(r"\\.", "", line).split("|")) == 5  # a backslash hides the sign after it, and only that


def test_markdown_escapes_bars_and_joins_lines():
    text = replace(REPORT, limits="a | b\nc").to_markdown()
    assert "a \\| b c |" in text
    assert r"| a\\\|b |" in replace(REPORT, limits=r"a\|b").to_markdown()  # a backslash first, then the bar


def test_markdown_brings_no_html():
    text = replace(REPORT, title="<script>x</script>", limits="<img src=x onerror=y> & more").to_markdown()
    assert "<" not in text and "&lt;script&gt;" in text and "&lt;img src=x onerror=y&gt; &amp; more" in text


# --- JSON ---


@given(answers)
def test_json_follows_the_schema_and_comes_back(given):
    report = build(given)
    text = report.to_json()
    jsonschema.validate(json.loads(text), schema())
    assert Report.from_json(text) == report
    assert Report.from_json(text).to_markdown() == report.to_markdown()


def test_the_schema_is_itself_valid_and_has_the_fields_of_the_classes():
    whole = schema()
    jsonschema.Draft202012Validator.check_schema(whole)
    levels = [
        (whole, {item.name for item in fields(Report)} | {"version"}),
        *((whole["properties"][group], {item.name for item in fields(getattr(REPORT, group))}) for group in NESTED),
        (whole["$defs"]["proportion"], {item.name for item in fields(Proportion)}),
        (whole["$defs"]["cards"]["items"], {item.name for item in fields(Scorecard)}),
    ]
    for level, names in levels:
        assert set(level["properties"]) == set(level["required"]) == names
        assert level["additionalProperties"] is False


def places(node, path=()):
    """Every object inside a report's JSON, as the path that leads to it."""
    if isinstance(node, dict):
        yield path
        for key, value in node.items():
            yield from places(value, (*path, key))
    if isinstance(node, list):
        for index, value in enumerate(node):
            yield from places(value, (*path, index))


PLACES = list(places(json.loads(REPORT.to_json())))


def at(plain, path):
    for key in path:
        plain = plain[key]
    return plain


@pytest.mark.parametrize("path", PLACES, ids=str)
def test_missing_and_unknown_items_are_refused_at_every_level(path):
    for name in at(json.loads(REPORT.to_json()), path):
        plain = json.loads(REPORT.to_json())
        del at(plain, path)[name]
        with pytest.raises(ValueError, match=f"missing {name}$" if name != "version" else "got version None"):
            Report.from_json(json.dumps(plain))
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(plain, schema())
    plain = json.loads(REPORT.to_json())
    at(plain, path)["colour"] = "red"
    with pytest.raises(ValueError, match="not a report.*unknown colour$"):
        Report.from_json(json.dumps(plain))


@pytest.mark.parametrize("text", ["", "{", "5", "null", "[]", "{}", '{"version": 2}', '{"version": 1}'])
def test_text_that_is_no_report_is_refused(text):
    with pytest.raises(ValueError, match="this is not a report"):
        Report.from_json(text)


def test_impossible_counts_in_json_are_refused():
    plain = json.loads(REPORT.to_json())
    plain["backdoored"][0]["clean"]["hits"] = 5000
    with pytest.raises(ValueError, match="5000/1000"):
        Report.from_json(json.dumps(plain))


def test_a_report_survives_a_file(tmp_path):
    path = REPORT.save(tmp_path / "new" / "report.json")
    assert Report.load(path) == Report.from_json(path.read_text(encoding="utf-8")) == REPORT


def test_a_report_quotes_the_ai_act_with_dates_that_it_calls_unchecked():
    *_, (group, item, answer), _, _ = REPORT.rows()
    assert (group, item) == ("Rules", "EU AI Act, article 15(5)")
    assert "(data poisoning), or pre-trained components used in training (model poisoning)" in answer
    assert "no proof of conformity" in answer
    assert "Unchecked" in answer and "2 December 2027" in answer and "2 August 2028" in answer


def test_a_report_names_the_entries_of_owasp_and_atlas_with_their_editions():
    *_, owasp, atlas = REPORT.rows()
    assert owasp[:2] == ("Rules", "OWASP") and atlas[:2] == ("Rules", "MITRE ATLAS")
    assert all(part in owasp[2] for part in ("ASI04 ", "ASI06 Memory & Context Poisoning", "2026"))
    assert "AML.T0020 Training Data Poisoning" in atlas[2] and "2026.07" in atlas[2]
