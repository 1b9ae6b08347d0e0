"""The public face of 3dinv; `__init__.py` imports each name from here when it's first used."""

# use
from .runs.invert import (
    invert as invert,
    Inverted as Inverted,
)
from .runs.edit import (
    Edit as Edit,
    Editing as Editing,
)
from .rundir.opening import (
    Run as Run,
    open_run as open_run,
    read_metrics as read_metrics,
)
from .io.dataset import (
    open_capture as open_capture,
)

# pictures, videos, meshes
from .report.views import (
    render_views as render_views,
)
from .report.pictures import (
    colour_frames as colour_frames,
    depth_frames as depth_frames,
    save_png as save_png,
    tile as tile,
)
from .io.cameras import (
    read_cameras as read_cameras,
    write_labels as write_labels,
)
from .io.mesh import (
    extract_mesh as extract_mesh,
    write_mesh as write_mesh,
)
from .io.video import (
    write_video as write_video,
)

# data
from .core.alignment import Alignment as Alignment
from .core.camera import (
    Camera as Camera,
    CameraPrior as CameraPrior,
    interpolate as interpolate,
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

# geometry: depth, views, what is seen, and where pictures end
from .core.geometry.depth import (
    axis_depth as axis_depth,
    depth_points as depth_points,
    pixel_centres as pixel_centres,
    point_depth as point_depth,
    ray_depth as ray_depth,
)
from .core.geometry.normals import (
    facing as facing,
    surface_normals as surface_normals,
)
from .core.geometry.surface import (
    depth_surface as depth_surface,
    grid_triangles as grid_triangles,
)
from .core.geometry.visibility import (
    agrees as agrees,
    visible_points as visible_points,
)
from .core.geometry.warp import (
    Warped as Warped,
    look_up as look_up,
    reproject as reproject,
    resized_depth as resized_depth,
    warp_view as warp_view,
)
from .core.geometry.rotations import (
    POSE_FORMS as POSE_FORMS,
    POSE_NUMBERS as POSE_NUMBERS,
    PoseForm as PoseForm,
    angle_between as angle_between,
    numbers_of as numbers_of,
    rotation_of as rotation_of,
    rotation_of_angles as rotation_of_angles,
    standing_camera as standing_camera,
)
from .core.geometry.views import (
    flipped as flipped,
    mirrored_camera as mirrored_camera,
    turned_camera as turned_camera,
)
from .core.geometry.masks import (
    blur as blur,
    dilate as dilate,
    erode as erode,
    gaussian_kernel as gaussian_kernel,
    soft_mask as soft_mask,
)
from .core.geometry.poisson import (
    poisson_blend as poisson_blend,
)

# contracts
from .core.plugin import (
    API_VERSION as API_VERSION,
    Plugin as Plugin,
    Presets as Presets,
)
from .core.deprecation import (
    deprecated as deprecated,
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
    WarpLoss as WarpLoss,
    load_loss as load_loss,
)
from .core.inverter import (
    Diagnostic as Diagnostic,
    Inverter as Inverter,
    Single as Single,
    Steps as Steps,
    load_method as load_method,
)
from .core.training import (
    Batch as Batch,
    Check as Check,
    Lesson as Lesson,
    Trainable as Trainable,
)
from .core.training_options import (
    TrainingConfig as TrainingConfig,
)
from .core.trained import (
    Trained as Trained,
    find_trained as find_trained,
)
from .core.editor import (
    Directions as Directions,
    Editor as Editor,
    Subject as Subject,
    find_directions as find_directions,
    load_editor as load_editor,
)
from .core.moves import (
    LayerRange as LayerRange,
    conditioned as conditioned,
    coordinates as coordinates,
    shifted as shifted,
    warn_of_distance as warn_of_distance,
)
from .core.estimator import (
    Estimator as Estimator,
    find_estimator as find_estimator,
    load_estimator as load_estimator,
)
from .core.registry.hookspecs import (
    hookimpl as hookimpl,
)
from .core.registry.discovery import (
    registry as registry,
)

# executors of batches
from .core.executor import (
    Event as Event,
    Executor as Executor,
    Several as Several,
    Tell as Tell,
    Wanted as Wanted,
    Work as Work,
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
from .core.fit.ranger import (
    Ranger as Ranger,
    ranger as ranger,
)
from .core.fit.schedule import (
    constant as constant,
    delayed as delayed,
    latent_noise as latent_noise,
    ramped as ramped,
)
from .core.fit.backward import (
    Look as Look,
    Source as Source,
    latent_source as latent_source,
)
from .core.fit.objective import (
    Objective as Objective,
    WeightedLoss as WeightedLoss,
)
from .core.fit.moving import (
    MovingCameras as MovingCameras,
)
from .core.fit.options import (
    CameraOptions as CameraOptions,
    FitConfig as FitConfig,
    LatentOptions as LatentOptions,
    PivotalOptions as PivotalOptions,
    SearchOptions as SearchOptions,
    SingleLatentConfig as SingleLatentConfig,
    TuningOptions as TuningOptions,
)
from .core.fit.terms import (
    LossTerm as LossTerm,
    LossTerms as LossTerms,
)
from .core.fit.stages import (
    latent_rate as latent_rate,
    looks_in_turn as looks_in_turn,
    loss_terms as loss_terms,
    prepare as prepare,
    start_latent as start_latent,
    target_of as target_of,
    trainable as trainable,
    tune as tune,
)
from .core.fit.turns import (
    Turns as Turns,
)
from .core.fit.single_latent import (
    SingleLatent as SingleLatent,
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
    Checkpoint as Checkpoint,
    open_checkpoint as open_checkpoint,
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

# parts of generators
from .nn.eg3d.generator import (
    TriplaneGenerator as TriplaneGenerator,
)
from .nn.eg3d.trigrid import (
    TrigridGenerator as TrigridGenerator,
)
from .nn.eg3d.architecture import (
    Architecture as Architecture,
    TrigridArchitecture as TrigridArchitecture,
)
from .nn.eg3d.options import (
    ComputeOptions as ComputeOptions,
)
from .nn.eg3d.official.network import (
    Network as Network,
    read_network as read_network,
)
from .nn.eg3d.spec import (
    spec_of as spec_of,
)
from .nn.eg3d.published import (
    PublishedOptions as PublishedOptions,
    Variant as Variant,
    load_published as load_published,
)
from .nn.stylegan2 import (
    MappingNetwork as MappingNetwork,
    StyleGAN2Backbone as StyleGAN2Backbone,
    SynthesisNetwork as SynthesisNetwork,
)
from .nn.planes.triplane import (
    PlaneAxes as PlaneAxes,
    sample_planes as sample_planes,
)
from .nn.planes.decoder import (
    Decoder as Decoder,
)
from .nn.volume import (
    Composite as Composite,
    Field as Field,
    March as March,
    Rays as Rays,
    box_limits as box_limits,
    draw as draw,
    render_chunked as render_chunked,
    render_rays as render_rays,
)
from .nn.superresolution import (
    Superresolution as Superresolution,
)
from .nn.choices import (
    Precision as Precision,
)
from .nn.precision import (
    run_in as run_in,
)

# for tests and examples
from .testing.toy import (
    ToyConfig as ToyConfig,
    ToyGenerator as ToyGenerator,
    toy_capture as toy_capture,
    toy_latents as toy_latents,
)
from .testing.conformance import (
    check_plugin as check_plugin,
)

__version__: str
