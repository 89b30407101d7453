"""How far a sweep is, told from its study."""

import pytest

from orchestration.status.sweeps import read_sweep
from orchestration.status.unreached import Unreached
from orchestration.sweep.plan import SweepFolder
from orchestration.sweep.study import open_study
from tests.small_study import distributions_of, small_plan, told


def test_a_sweep_is_read_from_its_study(tmp_path):
    plan, folder = small_plan(), SweepFolder(tmp_path / "s")
    folder.write(plan)
    with pytest.raises(Unreached, match=r"optuna\.db is not there yet"):
        read_sweep(folder.path)
    assert not folder.database.exists()
    with open_study(folder, plan) as study:
        for number, score in enumerate((0.4, 0.2)):
            study.add_trial(told(plan, number, {"model.motion_dim": 3, "optimiser.lr": 0.001}, [score]))
        study.ask(distributions_of(plan))
    found = read_sweep(folder.path)
    assert (found.trials, found.states) == (6, {"COMPLETE": 2, "RUNNING": 1})
    assert not found.at_work
    with folder.locked():
        assert read_sweep(folder.path).at_work
    assert (found.objective, found.best, found.best_trial) == ("l1", 0.2, 1)
    assert found.best_fields["model.motion_dim"] == 3
