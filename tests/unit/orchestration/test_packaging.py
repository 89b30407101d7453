import ast
import io
import sys

import numpy as np
from PIL import Image

from orchestration.packaging import MODEL_SCRIPT, drawn_example, staged_code

PROVIDED = {"torch", "numpy", "safetensors", "av", "PIL", "mlflow", "pandas"}
"""Import names of what `tracking.package.MODEL_PROJECTS` installs."""


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield node.module


def test_packaged_code_imports_only_itself_and_the_requirements():
    with staged_code() as folders:
        files = [file for folder in folders for file in folder.rglob("*.py")]
        own = {".".join(file.relative_to(folders[0].parent).with_suffix("").parts) for file in files}
        for file in [*files, MODEL_SCRIPT]:
            foreign = {
                name
                for name in imported(file)
                if name.partition(".")[0] not in PROVIDED | set(sys.stdlib_module_names)
            }
            assert foreign <= own, f"{file.name} imports {foreign - own}"


def test_staged_code_is_whole_and_clean():
    with staged_code() as folders:
        names = {str(path.relative_to(folders[0].parent)) for folder in folders for path in folder.rglob("*")}
    assert {"lia_model/generator.py", "lia_model/weights.py", "pipelines/media/video.py"} <= names
    assert not any("__pycache__" in name for name in names)
    assert not folders[0].exists()


def test_drawn_example_is_small_and_moves():
    example = drawn_example()
    assert np.asarray(Image.open(io.BytesIO(example["source"]))).shape == (64, 64, 3)
    assert example["driving"][4:8] == b"ftyp"
    assert sum(map(len, example.values())) < 10_000
