"""The cluster launcher's files as a user has them who put in their own values."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
AWS, ON_PREMISE = "cluster.yaml", "cluster-on-premise.yaml"
MARK = "REPLACE_ME"


def filled_text(name: str, **values: str) -> str:
    """The file's text with `values` in place of its placeholders, by the names that `PLACEHOLDERS` gives them.

    A placeholder without a value stays as it is.
    """
    text = (ROOT / name).read_text()
    for placeholder, value in values.items():
        marked = PLACEHOLDERS[name][placeholder]
        assert text.count(marked) == 1, f"{name}: {marked}"
        text = text.replace(marked, value)
    return text


def filled(name: str, **values: str) -> dict:
    """As `filled_text`, read."""
    return yaml.safe_load(filled_text(name, **values))


PLACEHOLDERS = {
    AWS: {
        "group": "sg-REPLACE_ME",
        "image": "ami-REPLACE_ME",
        "settings": "- REPLACE_ME: >-",
        "files": "fs-REPLACE_ME.efs",
        "bucket": "s3://REPLACE_ME/",
    },
    ON_PREMISE: {
        "head": "[REPLACE_ME, by an address such as 192.0.2.10]",
        "workers": "REPLACE_ME by a list such as [192.0.2.11, 192.0.2.12]",
        "user": "[REPLACE_ME, by the user on the hosts]",
        "settings": "- REPLACE_ME: >-",
    },
}
EXAMPLES = {
    AWS: {
        "group": "sg-0123456789abcdef0",
        "image": "ami-0123456789abcdef0",
        "settings": "- >-",
        "files": "fs-0123456789abcdef0.efs",
        "bucket": "s3://lia-example/",
    },
    ON_PREMISE: {
        "head": "127.0.0.10",
        "workers": "[127.0.0.11, 127.0.0.12]",
        "user": "somebody",
        "settings": "- >-",
    },
}
