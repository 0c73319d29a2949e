"""Hydra takes launchers from this package alone: what `conf/hydra/launcher/*.yaml` name."""

from pairedit.sweeps.launcher import SweepLauncher


class PaireditLauncher(SweepLauncher):
    """Run the jobs of a sweep on an engine; see `pairedit.sweeps.launcher`."""
