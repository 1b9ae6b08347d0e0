"""The public face of 3dinv; `__init__.py` imports each name from here when it's first used."""

# use
from .runs.invert import (
    invert as invert,
    Inverted as Inverted,
)
from .rundir.opening import (
    Run as Run,
    open_run as open_run,
)
from .io.dataset import (
    open_capture as open_capture,
)

# data
from .core.camera import (
    Camera as Camera,
    CameraPrior as CameraPrior,
    look_at as look_at,
    orbit as orbit,
)
from .core.capture import (
    Capture as Capture,
)
from .core.scene import (
    OutputName as OutputName,
    Rendering as Rendering,
    Scene as Scene,
)
from .core.inversion import (
    Inversion as Inversion,
    Made as Made,
    Snapshot as Snapshot,
)

# contracts
from .core.plugin import (
    API_VERSION as API_VERSION,
    Plugin as Plugin,
    Presets as Presets,
)
from .core.config import (
    PluginConfig as PluginConfig,
)
from .core.generator import (
    Generator as Generator,
    GeneratorSpec as GeneratorSpec,
    load_generator as load_generator,
    neutral_condition as neutral_condition,
)
from .core.loss import (
    Loss as Loss,
    Target as Target,
    load_loss as load_loss,
)
from .core.inverter import (
    Diagnostic as Diagnostic,
    Inverter as Inverter,
    Steps as Steps,
    load_method as load_method,
)
from .core.training import (
    Batch as Batch,
    Trainable as Trainable,
    Trained as Trained,
    TrainingConfig as TrainingConfig,
)
from .core.editor import (
    Directions as Directions,
    Editor as Editor,
    Subject as Subject,
)
from .core.estimator import (
    Estimator as Estimator,
)
from .core.registry.hookspecs import (
    hookimpl as hookimpl,
)
from .core.registry.discovery import (
    registry as registry,
)

# what a method's author needs
from .core.fit.context import (
    Context as Context,
)
from .core.fit.loop import (
    Group as Group,
    Metrics as Metrics,
    Progress as Progress,
    Stage as Stage,
    Update as Update,
)
from .core.fit.optimizers import (
    adam as adam,
    lbfgs as lbfgs,
)
from .core.fit.schedule import (
    constant as constant,
    latent_noise as latent_noise,
    ramped as ramped,
)
from .core.fit.backward import (
    Look as Look,
    Source as Source,
    latent_source as latent_source,
)
from .core.fit.objective import (
    LossTerm as LossTerm,
    LossTerms as LossTerms,
    Objective as Objective,
    WeightedLoss as WeightedLoss,
)
from .core.fit.options import (
    FitConfig as FitConfig,
    LatentOptions as LatentOptions,
    TuningOptions as TuningOptions,
)
from .core.fit.stages import (
    loss_terms as loss_terms,
    prepare as prepare,
    start_latent as start_latent,
    target_of as target_of,
    trainable as trainable,
    tune as tune,
)
from .core.latent import (
    LatentStatistics as LatentStatistics,
    Places as Places,
    between_angles as between_angles,
    latent_statistics as latent_statistics,
)

# weights
from .core.weights.known import (
    WeightFile as WeightFile,
)
from .core.weights.state_dict import (
    read_state_dict as read_state_dict,
)
from .core.weights.tensors import (
    fingerprint as fingerprint,
    load_state as load_state,
    read_tensors as read_tensors,
    write_tensors as write_tensors,
)

# errors
from .core.errors import (
    ConfigError as ConfigError,
    InputError as InputError,
    InvError as InvError,
    PluginError as PluginError,
    RunError as RunError,
    UnsupportedError as UnsupportedError,
    UsageError as UsageError,
    WeightsError as WeightsError,
)

__version__: str
