"""What parity found, for the terminal, as Markdown and as JSON."""

from typing import Any

from saev.parity.mixes import NOT_RUN, Mix, Mixes
from saev.parity.verdict import Level, Verdict

MARKS = {
    Level.BIT_EQUAL: "=",
    Level.ROUNDING: "≈",
    Level.NOISE: "~",
    Level.DIFFERENT: "≠",
    Level.UNKNOWN: "?",
}
LEGEND = "= bit-equal   ≈ within rounding   ~ within seed noise   ≠ different   ? could not tell"


def answer(mixes: Mixes) -> str:
    """One sentence that says which stage changed the result."""
    causes = {stage: mixes.cause(stage) for stage in mixes.stages}
    changed = {s: v for s, v in causes.items() if v.level in (Level.NOISE, Level.DIFFERENT)}
    unsure = {s: v for s, v in causes.items() if v.level == Level.UNKNOWN}
    parts = []
    for stage, verdict in changed.items():
        noise = ", by no more than another seed would" if verdict.level == Level.NOISE else ""
        parts.append(f"{stage} changed the result{noise}: {verdict.text}")
    parts += [f"{stage} could not be compared: {v.text}" for stage, v in unsure.items()]
    rounded = [s for s, v in causes.items() if v.level == Level.ROUNDING]
    if rounded and (changed or unsure):
        parts.append(f"{_and(rounded)} {_are(rounded)} equal within rounding")
    if parts:
        return "; ".join(parts)
    if rounded:
        return (
            f"the same: {_and(rounded)} {_are(rounded)} equal within rounding, all else bit by bit"
        )
    return "the same, bit by bit, in every stage"


def status(mixes: Mixes) -> int:
    """The exit status: 0 the same, 1 different, 2 could not tell."""
    levels = [mixes.cause(stage).level for stage in mixes.stages]
    if any(level in (Level.NOISE, Level.DIFFERENT) for level in levels):
        return 1
    return 2 if Level.UNKNOWN in levels else 0


def rows(mixes: Mixes) -> list[list[str]]:
    """The table: a row a mix; for each stage whose code ran, and how its result compares."""
    found = [["mix", *mixes.stages]]
    return found + [[described(mix), *(cell(mix, s) for s in mixes.stages)] for mix in mixes.mixes]


def described(mix: Mix) -> str:
    """What a mix is, and what it is compared with."""
    if mix.kind == "old":
        return "all old"
    if mix.switched is None:
        return "all old → this mix"
    beside = "the row above" if mix.kind == "walk" else "all old"
    return f"{mix.switched} new, against {beside}"


def cell(mix: Mix, stage: str) -> str:
    """Whose code made a result, and how it compares."""
    whose = "new" if stage in mix.new else "old"
    if stage in mix.failed:
        return f"{whose} failed" if not mix.failed[stage].startswith(NOT_RUN) else "–"
    verdict = mix.verdicts.get(stage)
    return f"{whose} {MARKS[verdict.level]}" if verdict else whose


def details(mixes: Mixes) -> list[tuple[str, Verdict]]:
    """What each stage changes by itself, but for those that change nothing."""
    found = [(stage, mixes.cause(stage)) for stage in mixes.stages]
    return [(stage, verdict) for stage, verdict in found if verdict.level > Level.BIT_EQUAL]


def as_json(mixes: Mixes, told: dict[str, Any]) -> dict[str, Any]:
    """All of it as JSON."""
    return {
        "format_version": 1,
        **told,
        "answer": answer(mixes),
        "status": status(mixes),
        "stages": {s: _verdict(mixes.cause(s)) for s in mixes.stages},
        "mixes": [
            {
                "kind": mix.kind,
                "switched": mix.switched,
                "new": sorted(mix.new, key=mixes.stages.index),
                "results": {stage: str(made.folder) for stage, made in mix.made.items()},
                "failed": mix.failed,
                "verdicts": {stage: _verdict(v) for stage, v in mix.verdicts.items()},
            }
            for mix in mixes.mixes
        ],
    }


def as_markdown(mixes: Mixes, told: dict[str, Any]) -> str:
    """All of it as Markdown."""
    table = rows(mixes)
    lines = [
        f"# {told['old']} → {told['new']}",
        "",
        f"**{answer(mixes)}**",
        "",
        told["subject"],
        "",
    ]
    lines += [f"| {' | '.join(table[0])} |", f"|{' --- |' * len(table[0])}"]
    lines += [f"| {' | '.join(row)} |" for row in table[1:]]
    lines += ["", LEGEND, ""]
    for stage, verdict in details(mixes):
        lines += [f"## {stage}: {verdict.level.words}", "", *(f"- {t}" for t in verdict.texts), ""]
    return "\n".join(lines)


def _verdict(verdict: Verdict) -> dict[str, Any]:
    figures = {k: v for k, v in verdict.figures.items() if v is not None}
    return {"level": verdict.level.words, "texts": list(verdict.texts), "figures": figures}


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _are(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"
