"""`TrainConfig`: the settings of a training run that do not depend on the entry."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from serving.imaging.values import must_be_a_range
from serving.runtime.latents import MAX_SEED
from zoo.errors import ConfigError
from zoo.fields import must_be_at_least, must_be_choices

PrecisionName = Literal["auto", "fp32", "bf16"]
MemoryFormat = Literal["auto", "contiguous", "channels_last"]
Features = Literal["auto", "efficientnet", "classifier", "inception"]
"""Names of the extractors of scores."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of a training run that do not depend on the entry."""

    data: str = "glyphs"
    """Training data: glyphs[:CHARACTERS], mnist[:ROOT], fashion-mnist[:ROOT], cifar10[:ROOT], folder:PATH,
    gaussian2d, ring8, grid25 or mixture16; for translation, unpaired:PATH, paired:PATH, glyphs-style or
    glyphs-pairs."""

    balance_classes: bool = False
    """Draw all classes equally often, however many examples each of them has."""

    fit: Literal["crop", "pad", "squash"] = "crop"
    """How images of files with another aspect ratio are fitted: crop cuts the largest centred area, pad keeps
    the whole image and adds black at two sides, squash changes the aspect ratio."""

    value_range: tuple[float, float] | Literal["percentile"] | None = None
    """Values that become black and white, for image files with more than 8 bits per channel: LOW HIGH, or
    percentile for the 0.1 and 99.9 percentiles of all images. By default, 0 and 65535; floats are read from 0
    to 255."""

    start_from: Annotated[str | None, arg(name="from")] = None
    """Run whose networks this one starts from: RUN, its folder; RUN@STEP or RUN@best. Weights of other shapes
    start anew."""

    freeze_discriminator: int = 0
    """Number of first layers of the discriminators that keep the weights of the other run (Mo 2020)."""

    steps: int = 5000
    """Total number of training steps, including those before a resume."""

    out: Path | None = None
    """Folder of the run; by default runs/ENTRY-DATA. Running the same command again resumes the run."""

    device: str = "auto"
    """Device to train on: auto (CUDA if available, else the CPU), cpu, cuda, cuda:1, ..."""

    seed: int = 0
    """Seed of the initial weights, the latents, and the data and their order."""

    precision: PrecisionName = "auto"
    """Compute precision of the networks: fp32, bf16 autocast, or auto, which is bf16 if the GPU or CPU has
    bf16 instructions (AMX, AVX-512 BF16) and steps that are measured at the start are faster in it, else
    fp32. Weights, losses and exported graphs stay float32."""

    memory_format: MemoryFormat = "auto"
    """Order of the values of feature maps in memory: contiguous (NCHW), channels_last (NHWC), or auto, which
    is measured with the precision auto; with others, it is channels_last for bf16 on a GPU."""

    compile: bool = False
    """Compile the networks with torch.compile. Needs a C++ compiler and minutes before the first step."""

    sync_batch_norm: bool = False
    """In distributed training, compute batch normalisation over the batch of all processes."""

    workers: int | None = None
    """Prefetch threads for data that are not held in memory; by default one per core, at most 8, when
    training on a GPU, and none when training on the CPU."""

    ema: float = 0.999
    """Decay of the moving average of the generators' weights, which is exported; 0 turns averaging off."""

    log_every: int = 50
    """Steps between two lines of metrics."""

    sheet_every: int = 1000
    """Steps between two contact sheets of the preview."""

    checkpoint_every: int = 1000
    """Steps between two checkpoints."""

    score_every: int = 0
    """Steps between two scores of the averaged generators, computed as by `ganzoo evaluate`; 0 turns scoring
    off. The score is the Frechet distance for images, the main score of the true distribution for vectors,
    and the L1 distance to the target for translations with known targets."""

    score_samples: int = 2000
    """Number of samples that a score is computed from."""

    score_features: Features = "auto"
    """Features in which images are scored, as --features of `ganzoo evaluate`."""

    on_collapse: Literal["warn", "rollback"] = "warn"
    """Reaction to a saturated discriminator, lost diversity or a doubled score: warn prints a warning once;
    rollback returns to the last good checkpoint with halved learning rates, at most three times."""

    keep_checkpoints: int = 2
    """Number of newest checkpoints to keep."""

    keep_best: bool = False
    """Also keep the checkpoint of the best score, saved at the step of that score. Needs --score-every. It is
    exported by `ganzoo export RUN --checkpoint best`."""

    patience: int = 0
    """Stop when so many scores in a row were not better than the best one before them; 0 turns this off.
    Needs --score-every."""

    schedule_steps: int = 0
    """Number of steps of the entry's schedule of the learning rates; 0 is as many as --steps. A fixed number
    lets a run that is resumed with more steps go on with its schedule."""

    def __post_init__(self) -> None:
        must_be_choices(self)
        counts = (
            "steps",
            "log_every",
            "sheet_every",
            "checkpoint_every",
            "score_samples",
            "keep_checkpoints",
        )
        must_be_at_least(self, 1, *counts)
        optional = ["workers"] if self.workers is not None else []
        zero = ("score_every", "patience", "schedule_steps", "freeze_discriminator")
        must_be_at_least(self, 0, *zero, *optional)
        if isinstance(self.value_range, tuple):
            must_be_a_range(self.value_range)
        if self.freeze_discriminator and self.start_from is None:
            raise ConfigError("freeze_discriminator needs a run to start from; add --from RUN")
        for name in ("keep_best", "patience"):
            if getattr(self, name) and not self.score_every:
                raise ConfigError(
                    f"{name} needs scores during the run; got score_every 0; use --score-every, such as "
                    f"--score-every {self.checkpoint_every}"
                )
        if not 0 <= self.ema < 1:
            raise ConfigError(f"ema must be at least 0 and below 1; got {self.ema}")
        if not 0 <= self.seed <= MAX_SEED:
            raise ConfigError(f"seed must be from 0 to {MAX_SEED}; got {self.seed}")


RENAMED = {"keep": "keep_checkpoints"}
"""Former to present names of fields, to read older `run.json` files."""

LASTING = (
    *("data", "balance_classes", "fit", "value_range", "seed", "precision", "memory_format", "ema"),
    *("start_from", "freeze_discriminator"),
)
"""Fields of `TrainConfig` that must be the same when a run is resumed; the others may change.

The precision and the memory format `auto` are those of the run."""
