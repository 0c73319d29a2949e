"""Own what is rendered where nobody asks for anything else. Never imports torch."""

DEFAULT_SCALES = (-0.2, 0.0, 0.2, 0.4, 0.6)
# Of a slider that hardly shows at the usual ones: as if scale 1, the last that is trained, were one
# pair.
FURTHER_SCALES = (-0.5, 0.0, 0.5, 1.0, 1.5)
SHARES = (-0.5, 0.0, 0.5, 1.0, 1.5)  # of one pair's worth, of a slider that is calibrated
GRID_SCALES = (0.0, 0.2, 0.4, 0.6)
DEFAULT_SEEDS = (0, 1, 2)  # so a sheet of five columns has no more pictures than four of four
