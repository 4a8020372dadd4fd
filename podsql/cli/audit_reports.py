"""``podsql audit …``: the artefacts of information governance, from a pod's own files.

One verb an artefact, each as Markdown for people or ``--json`` for machines. Rule to keep: a verb
reads options, asks ``podsql.governance``, and prints.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podsql.cli import audit
from podsql.cli.audit import HERE, OfProject, OfTable, PodFile, Since, Until, Who, chosen
from podsql.cli.options import AsJson, passphrase
from podsql.cli.terminal import put, put_json, put_pairs, say

if TYPE_CHECKING:
    import msgspec

    from podsql.governance.facts import Facts
    from podsql.governance.pages import Page

app = audit.app
Grants = Annotated[
    Path | None, typer.Option("--grants", help="A policy service's policy.sqlite, if at hand.")
]
Days = Annotated[int, typer.Option(min=0, help="How soon is soon.")]
Limit = Annotated[int, typer.Option(min=1, help="The last ones.")]


def _facts(config: Path, grants: Path | None = None) -> "Facts":
    from podsql.pod.account import account_of

    return account_of(config, grants=grants)


def _show(found: "msgspec.Struct", page: "Page", as_json: bool) -> None:
    import msgspec

    from podsql.governance.markdown import markdown

    if as_json:
        put_json(msgspec.to_builtins(found))
    else:
        put(markdown(page).rstrip("\n"))


@app.command()
def projects(
    name: Annotated[str, typer.Argument(help="One project. Default: all.")] = "",
    config: PodFile = HERE,
    as_json: AsJson = False,
) -> None:
    """Project cards: purpose, benefit, lawful basis, funder, ethics, end, and what was asked."""
    from podsql.errors import error
    from podsql.governance.projects import page, project_cards

    found = project_cards(_facts(config), name)
    if name and not found.cards:
        raise error("ARGUMENT", f"no project {name!r} is known", hint="podsql audit projects")
    _show(found, page(found), as_json)


@app.command()
def people(
    config: PodFile = HERE, days: Days = 60, grants: Grants = None, as_json: AsJson = False
) -> None:
    """Who may ask, until when, with warnings of what ends soon."""
    from podsql.governance.people import page, who_may

    found = who_may(_facts(config, grants), days=days)
    _show(found, page(found), as_json)


@app.command()
def data(config: PodFile = HERE, as_json: AsJson = False) -> None:
    """The data card: tables, columns, bounds, units, dates."""
    from podsql.governance.data_card import data_card, page

    found = data_card(_facts(config))
    _show(found, page(found), as_json)


@app.command()
def infosec(
    config: PodFile = HERE,
    svg: Annotated[Path | None, typer.Option(help="Write the data flow as a picture.")] = None,
    sbom: Annotated[Path | None, typer.Option(help="Write the SBOM (CycloneDX JSON).")] = None,
    as_json: AsJson = False,
) -> None:
    """The InfoSec pack: ports, data flow, cryptography, keys, sandbox, SBOM, of this installation."""
    from podsql.governance.infosec import infosec as made
    from podsql.governance.infosec import page
    from podsql.pod.account import installation

    found = made(_facts(config), installation())
    if svg is not None:
        svg.write_text(found.flow_svg, encoding="utf-8")
    if sbom is not None:
        _write_json(sbom, found.sbom)
    _show(found, page(found), as_json)


@app.command()
def outputs(
    which: Annotated[
        str, typer.Argument(help="Id of a request or statement, or its beginning.")
    ] = "",
    config: PodFile = HERE,
    since: Since = None,
    until: Until = None,
    person: Who = "",
    project: OfProject = "",
    table: OfTable = "",
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """An output report for each release: kind of statistic, rules, withheld, price, error bars."""
    from podsql.governance.outputs import output_reports, page

    wanted = chosen(since, until, person, project, table)
    found = output_reports(_facts(config), wanted, which=which, limit=limit)
    _show(found, page(found), as_json)


@app.command()
def dpia(config: PodFile = HERE, as_json: AsJson = False) -> None:
    """A draft of a data protection impact assessment, with what people still have to write."""
    from podsql.governance.dpia import dpia as draft
    from podsql.governance.dpia import page

    found = draft(_facts(config))
    _show(found, page(found), as_json)


@app.command()
def dsa(
    config: PodFile = HERE,
    sign: Annotated[bool, typer.Option("--sign", help="Sign it with the pod's key.")] = False,
    check: Annotated[
        Path | None, typer.Option(help="Check a signed annex instead; prints its signer.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The annex of a data sharing agreement, with the policy's digest."""
    from podsql.governance.dsa import KIND, annex, page
    from podsql.governance.markdown import markdown
    from podsql.governance.signed_text import check_text, sign_text

    if check is not None:
        signer = check_text(KIND, check.read_bytes().decode(errors="replace"))
        put_pairs({"signed_by": signer, "state": "as it was signed"}, as_json=as_json)
        return
    found = annex(_facts(config))
    if not sign:
        _show(found, page(found), as_json)
        return
    from podsql.cli.terminal import visible
    from podsql.pod.account import pod_seed

    text = visible(markdown(page(found)), keep_newlines=True)
    signed = sign_text(KIND, text, pod_seed(config, passphrase()))
    if as_json:
        put_json({"annex": signed})
    else:
        put(signed.rstrip("\n"))


@app.command()
def decisions(
    config: PodFile = HERE,
    since: Since = None,
    until: Until = None,
    person: Who = "",
    project: OfProject = "",
    table: OfTable = "",
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """The decision log: allowed or denied, by which rule, and what the rule means."""
    from podsql.governance.decisions import decision_log, page

    wanted = chosen(since, until, person, project, table)
    found = decision_log(_facts(config), wanted, limit=limit)
    _show(found, page(found), as_json)


@app.command()
def expiring(
    config: PodFile = HERE, days: Days = 60, grants: Grants = None, as_json: AsJson = False
) -> None:
    """What is over or ends soon, and whether a machine notices."""
    from podsql.governance.expiring import expiring as ending
    from podsql.governance.expiring import page

    found = ending(_facts(config, grants), days=days)
    _show(found, page(found), as_json)


@app.command()
def revocations(config: PodFile = HERE, grants: Grants = None, as_json: AsJson = False) -> None:
    """Each revocation: when it was ordered, when this pod obeyed, what came afterwards."""
    from podsql.governance.revocations import page
    from podsql.governance.revocations import revocations as record

    found = record(_facts(config, grants))
    _show(found, page(found), as_json)


@app.command()
def activity(
    config: PodFile = HERE,
    by: Annotated[str, typer.Option(help="person, project, dataset or month.")] = "person",
    since: Since = None,
    until: Until = None,
    person: Who = "",
    project: OfProject = "",
    table: OfTable = "",
    as_json: AsJson = False,
) -> None:
    """Who ran what, counted by person, project, dataset or month."""
    from podsql.errors import error
    from podsql.governance.activity import WAYS, page
    from podsql.governance.activity import activity as counted

    way = next((one for one in WAYS if one == by), None)
    if way is None:
        raise error("ARGUMENT", f"cannot count by {by!r}", hint=f"one of {', '.join(WAYS)}")
    found = counted(_facts(config), way, chosen(since, until, person, project, table))
    _show(found, page(found), as_json)


@app.command()
def budget(config: PodFile = HERE, as_json: AsJson = False) -> None:
    """The privacy budget in plain words: what was spent, and what that promises."""
    from podsql.governance.budget import budget_statement, page

    found = budget_statement(_facts(config))
    _show(found, page(found), as_json)


@app.command()
def incident(
    config: PodFile = HERE,
    since: Since = None,
    until: Until = None,
    person: Who = "",
    project: OfProject = "",
    table: OfTable = "",
    as_json: AsJson = False,
) -> None:
    """The incident pack: is the pod frozen, which releases are concerned, whom to call."""
    from podsql.governance.incident import incident_pack, page

    found = incident_pack(_facts(config), chosen(since, until, person, project, table))
    _show(found, page(found), as_json)


@app.command("opt-out")
def opt_out(config: PodFile = HERE, as_json: AsJson = False) -> None:
    """The opt-out statement: lists, since when they are applied, what they do not undo."""
    from podsql.governance.opting_out import opt_outs, page

    found = opt_outs(_facts(config))
    _show(found, page(found), as_json)


@app.command()
def retention(config: PodFile = HERE, as_json: AsJson = False) -> None:
    """What is kept, where, for how long, who removes it."""
    from podsql.governance.retention import page
    from podsql.governance.retention import retention as table

    found = table(_facts(config))
    _show(found, page(found), as_json)


@app.command()
def register(
    config: PodFile = HERE,
    code: Annotated[
        bool, typer.Option("--code", help="Also show answered statements, literals included.")
    ] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Instead of HTML.")] = False,
    as_json: AsJson = False,
) -> None:
    """The public register of projects: one static HTML page, no script, no name of a person."""
    from podsql.governance.html import html
    from podsql.governance.register import page
    from podsql.governance.register import register as made

    found = made(_facts(config), code=code)
    if as_json or markdown:
        _show(found, page(found), as_json)
    else:
        put(html(page(found)).rstrip("\n"))


@app.command()
def model(config: PodFile = HERE, as_json: AsJson = False) -> None:
    """The models that were trained here, with what left for them, and a release form."""
    from podsql import __version__
    from podsql.governance.model_release import model_release, page

    found = model_release(_facts(config), __version__)
    _show(found, page(found), as_json)


@app.command()
def assurance(as_json: AsJson = False) -> None:
    """Which adversarial cases the tests of this version cover, and how a run of them ended."""
    from podsql import __version__
    from podsql.governance.assurance import assurance as statement
    from podsql.governance.assurance import cases, last_run, page

    found = statement(__version__, cases(), last_run())
    _show(found, page(found), as_json)


@app.command()
def pack(
    config: PodFile = HERE,
    out: Annotated[Path, typer.Option(help="Directory; it must be new or empty.")] = Path(
        "governance-pack"
    ),
    grants: Grants = None,
    as_json: AsJson = False,
) -> None:
    """Write every artefact at once, as Markdown and JSON, with SVG, SBOM and the register's page."""
    import msgspec

    from podsql.errors import error
    from podsql.governance.flow import flow_svg
    from podsql.governance.html import html
    from podsql.governance.markdown import markdown
    from podsql.governance.pack import artefacts
    from podsql.governance.sbom import cyclonedx
    from podsql.pod.account import installation

    facts, here = _facts(config, grants), installation()
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    if any(out.iterdir()):
        raise error("FILE_EXISTS", f"{str(out)!r} is not empty", hint="--out another directory")
    for name, struct, page in artefacts(facts, here):
        (out / f"{name}.md").write_text(markdown(page), encoding="utf-8")
        _write_json(out / f"{name}.json", msgspec.to_builtins(struct))
        if name.endswith("register"):
            (out / f"{name}.html").write_text(html(page), encoding="utf-8")
    (out / "04-flow.svg").write_text(flow_svg(facts), encoding="utf-8")
    _write_json(out / "04-sbom.json", cyclonedx(here.components, root="podsql", now=facts.now))
    files = sorted(path.name for path in out.iterdir())
    put_pairs({"directory": str(out), "files": len(files)}, as_json=as_json)
    say("statements stand in it with their literals: it is for the custodian")


def _write_json(path: Path, value: object) -> None:
    import json

    path.write_text(json.dumps(value, indent=1, default=str) + "\n", encoding="utf-8")
