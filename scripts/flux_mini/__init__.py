"""Train flux-mini and the attribute probe, stage by stage, on one or more GPUs.

    python -m scripts.flux_mini tokenizers
    torchrun --nproc-per-node=2 -m scripts.flux_mini vae --seconds 420
    torchrun --nproc-per-node=2 -m scripts.flux_mini probe --seconds 150
    torchrun --nproc-per-node=2 -m scripts.flux_mini flux --seconds 1200
    python -m scripts.flux_mini export

`restore` instead of the first three starts from the weights that ship.

Each stage continues from its own checkpoint in the work folder, fits its learning-rate schedule
into `--seconds`, and appends what it saw to `log.txt`. Plain `python -m` uses one device.
"""
