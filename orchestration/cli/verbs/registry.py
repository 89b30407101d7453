"""The registered models: list them, compare two versions, and decide which one an alias such as champion stands for.

A version is promoted only if it beats the one that has the alias on the same held-out clips, by more than chance: the
bootstrap interval of the mean difference must lie on the better side. Who promoted it, when, and on what grounds stays
with the version, and `rollback` undoes it. A version keeps, as tags, its scores (eval.*), commit, dataset digest and
resolved configuration (lia.config, JSON that --config replays from a file); `compare` shows what differs in it.
Models live where MLFLOW_TRACKING_URI says.
"""

import argparse
from collections.abc import Mapping

from orchestration.evaluation.metrics import OF_CLIPS

NAME = "registry"
HELP = "list, compare, promote and roll back registered models"
LISTED = ("l1", "psnr", "ssim")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, title="actions")
    listed = actions.add_parser("list", help="models, their versions, aliases and scores", allow_abbrev=False)
    listed.add_argument("name", nargs="?", metavar="NAME", help="one model [all]")
    compared = actions.add_parser(
        "compare", help="two versions on the clips both were evaluated on", allow_abbrev=False
    )
    compared.add_argument("candidate", metavar="URI", help="models:/NAME@ALIAS or models:/NAME/VERSION")
    compared.add_argument("holder", metavar="URI", help="the version it is compared with")
    promoted = actions.add_parser(
        "promote", help="give an alias to a version that beats its holder", allow_abbrev=False
    )
    promoted.add_argument("candidate", metavar="URI", help="models:/NAME@ALIAS or models:/NAME/VERSION")
    promoted.add_argument("--alias", default="champion", help="[champion]")
    promoted.add_argument("--metric", choices=OF_CLIPS, default="l1", help="what decides [l1]")
    promoted.add_argument("--force", action="store_true", help="promote it whatever the metric says")
    promoted.add_argument("--reason", default="", metavar="TEXT", help="why; kept with the version")
    back = actions.add_parser(
        "rollback", help="give an alias back to the version that had it before", allow_abbrev=False
    )
    back.add_argument("name", metavar="NAME", help="the registered model")
    back.add_argument("--alias", default="champion", help="[champion]")
    for action in actions.choices.values():
        # Suppressed: a default here would undo a -v before the action.
        action.add_argument(
            "-v", "--verbose", action="store_true", default=argparse.SUPPRESS, help="show tracebacks"
        )


def run(args: argparse.Namespace) -> int:
    from orchestration import promotion
    from tracking.registry import find

    if args.action == "list":
        _list(args.name)
    elif args.action == "compare":
        print(promotion.compare(find(args.candidate), find(args.holder)).table())
    elif args.action == "promote":
        candidate = find(args.candidate)
        found = promotion.promote(
            candidate, args.alias, metric=args.metric, force=args.force, reason=args.reason
        )
        print(f"{candidate.uri} is {args.alias}: {found}")
    else:
        left, has = promotion.roll_back(args.name, args.alias)
        print(f"{has.uri} is {args.alias} again, in place of version {left.version}")
    return 0


def _list(name: str | None) -> None:
    from datetime import UTC, datetime

    from tracking.registry import list_models, list_versions

    names = [name] if name else list_models()
    if not names:
        print("no models are registered")
    for model in names:
        versions = list_versions(model)  # before the name is printed: there may be no such model
        print(model)
        for version in reversed(versions):
            created = datetime.fromtimestamp(version.created_ms / 1000, UTC)
            scores = (f"{metric} {version.tags.get(f'eval.{metric}', '-')}" for metric in LISTED)
            aliases = " ".join(f"@{alias}" for alias in version.aliases)
            words = filter(None, ("  ".join(scores), _of_sweep(version.tags), aliases))
            print(f"  {version.version:4}  {created:%Y-%m-%d %H:%M}  {'  '.join(words)}")


def _of_sweep(tags: Mapping[str, str]) -> str:
    """Which sweep's winner a version is, and its score there: on that sweep's held-out pairs, not an evaluation's."""
    from orchestration.sweep.plan import SCORE_TAG, TAG

    if f"{TAG}.name" not in tags:
        return ""
    scores = ", ".join(
        f"{name.removeprefix(SCORE_TAG)} {score}"
        for name, score in tags.items()
        if name.startswith(SCORE_TAG)
    )
    return f"(trial {tags.get(f'{TAG}.trial', '?')} of sweep {tags[f'{TAG}.name']}: {scores})"
