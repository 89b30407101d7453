"""A local Ray that has all its processes, Ray Data's too: what comes after is not Ray's start."""

import os
import time


def start_ray(cores: int) -> float:
    """Start Ray on `cores` cores of this machine, and Ray Data by a pass over nothing; returns the seconds it took."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    began = time.perf_counter()
    import ray
    import ray.data

    from pipelines.preparation.distribute import quiet_ray_data

    ray.init(
        address="local", num_cpus=cores, include_dashboard=False, logging_level="ERROR", log_to_driver=False
    )
    with quiet_ray_data():
        nothing = ray.data.from_items([{"nothing": 0}] * cores, override_num_blocks=cores)
        nothing.map(lambda row: row, num_cpus=1).materialize()
    return time.perf_counter() - began


def stop_ray() -> None:
    """End it again."""
    import ray

    ray.shutdown()
