"""Train a small FLUX.2 or Z-Image on the faces that flux-mini draws, on one GPU in minutes.

    python -m scripts.small_bases z-image-mini --minutes 10
    python -m scripts.small_bases flux2-mini --minutes 10
    python -m scripts.small_bases z-image-mini --device cpu --steps 3 --faces 64 --batch 8

It writes a folder in diffusers' layout, with the words of a command line that opens it, and shows
what the new model draws: `samples.png`, and what the probe reads in its images.

Kept from flux-mini are its autoencoder and its probe, and the renderer. The autoencoder of FLUX.2
has the same layout, but normalises each channel of each place of a 2 x 2 patch by itself: those
statistics are measured. The text encoder is a Qwen3 that is never trained: its embeddings are
random, so each word has a vector of its own, and the transformer learns what they mean. Its
outputs for all captions are computed once.
"""
