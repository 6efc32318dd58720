//! Which kernel trains a trial, and what that costs.
//!
//! The choice depends on the trial's own recipe alone, never on its neighbours, on free slots or on the
//! GPU: the two paths agree to rounding only, and a trial's numbers must be the same everywhere. So an MLP is
//! fused where the GPUs with the least shared memory could do it, and by `--kernel fused` where these can.
//! There is one exception: GPUs older than compute capability 8.0 train every MLP layer by layer.

use super::mlp::{Ability, Mlp};
use crate::engine::cuda::launch::CudaError;
use crate::engine::cuda::tiles::Precision;
use crate::model::Recipe;

/// By which path trials are trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Within one launch where a kernel can and the cost model says that it pays; else layer by layer.
    #[default]
    Auto,
    /// Within one launch, or not at all.
    Fused,
    /// Layer by layer.
    Layered,
}

impl Choice {
    /// What a user calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Choice::Auto => "auto",
            Choice::Fused => "fused",
            Choice::Layered => "layered",
        }
    }

    /// The kernel that trains a trial within one launch; none: it is trained layer by layer.
    ///
    /// # Errors
    /// [`CudaError::NotFused`] where that was asked for and no kernel can.
    pub fn variant(
        self,
        recipe: &Recipe,
        number: u32,
        precision: Precision,
        ability: Ability,
    ) -> Result<Option<Variant>, CudaError> {
        let able = if precision == Precision::Fp32 {
            Variant::of(recipe, ability)
        } else {
            Err(format!("it computes in fp32, not {}", precision.name()))
        };
        match self {
            Choice::Layered => Ok(None),
            Choice::Auto => {
                let everywhere = Variant::of(recipe, Ability::COMMON);
                let taken = everywhere.is_ok_and(|variant| variant.pays(recipe));
                Ok(able.ok().filter(|_| taken))
            }
            Choice::Fused => {
                able.map(Some).map_err(|reason| CudaError::NotFused { trial: number, reason })
            }
        }
    }
}

/// A fused kernel. Trials of one variant share launches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Variant {
    /// Softmax regression on images of up to 28 x 28; with momentum it takes more shared memory.
    Softmax { momentum: bool },
    /// MLPs with one hidden layer.
    Mlp(Mlp),
}

/// Threads of a block of `fused_softmax`.
const SOFTMAX_THREADS: u32 = 128;
/// Parameters of such a thread: 13 pixels by 5 classes.
const SOFTMAX_PARAMETERS: u32 = 65;
/// Samples of a step whose gradient needs no memory of its own.
const SOFTMAX_SPAN: usize = 128;

/// The largest batch that one block trains faster than the whole GPU does layer by layer.
///
/// A tile of 16 samples takes a block that has a multiprocessor to itself about 1.5 microseconds; a layered
/// tick takes about 30, however few trials there are; a team takes 12 for 64 samples of an MLP. Alone, a trial so breaks even at a batch of some
/// hundreds; beside hundreds of others at any. Few search larger ones.
const LARGEST_BATCH: usize = 2048;

impl Variant {
    /// The kernel that can train such a trial.
    ///
    /// # Errors
    /// What none of them can, in words.
    pub fn of(recipe: &Recipe, ability: Ability) -> Result<Variant, String> {
        let architecture = &recipe.architecture;
        let (inputs, classes) = (architecture.inputs, architecture.classes);
        if !architecture.hidden.is_empty() {
            return Mlp::of(recipe, ability).map(Variant::Mlp);
        }
        if inputs > 784 || !inputs.is_multiple_of(16) {
            return Err(format!(
                "it takes images of a multiple of 16 pixels, at most 784, not {inputs}"
            ));
        }
        if classes > 10 {
            return Err(format!("it tells 10 classes at most apart, not {classes}"));
        }
        Ok(Variant::Softmax { momentum: recipe.hyperparameters.momentum > 0.0 })
    }

    /// Whether it is the faster path for such a trial, by the cost model in the kernel's file.
    pub fn pays(self, recipe: &Recipe) -> bool {
        recipe.hyperparameters.batch_size <= LARGEST_BATCH
    }

    /// The kernel's file.
    pub const fn program(self) -> &'static str {
        match self {
            Variant::Softmax { .. } => "fused_softmax.cu",
            Variant::Mlp(mlp) => mlp.shape.program(),
        }
    }

    /// Its name there.
    pub fn entry(self) -> &'static str {
        match self {
            Variant::Softmax { .. } => "fused_softmax",
            Variant::Mlp(mlp) => mlp.shape.name(),
        }
    }

    /// Threads of a block.
    pub const fn threads(self) -> u32 {
        match self {
            Variant::Softmax { .. } => SOFTMAX_THREADS,
            Variant::Mlp(mlp) => mlp.shape.threads() as u32,
        }
    }

    /// Dynamic shared memory of a block, in bytes.
    pub const fn shared(self) -> u32 {
        match self {
            Variant::Softmax { momentum: true } => 4 * SOFTMAX_PARAMETERS * SOFTMAX_THREADS,
            Variant::Softmax { momentum: false } => 0,
            Variant::Mlp(mlp) => mlp.shape.shared_bytes(mlp.inputs, mlp.momentum) as u32,
        }
    }

    /// Floats of device memory that a trial of this batch size needs beside its state.
    pub const fn scratch(self, batch: usize) -> usize {
        match self {
            Variant::Softmax { .. } if batch > SOFTMAX_SPAN => {
                (SOFTMAX_PARAMETERS * SOFTMAX_THREADS) as usize
            }
            Variant::Softmax { .. } => 0,
            Variant::Mlp(mlp) => mlp.scratch(batch),
        }
    }

    /// Seconds that a tick takes a block which shares its multiprocessor with as many others as it can,
    /// on a large GPU of today: a launch's budget is counted in ticks. Half of a tile's 3,400 cycles for
    /// each of three blocks, at 1.7 GHz.
    pub const fn seconds_a_tick(self) -> f64 {
        match self {
            Variant::Softmax { .. } => 3e-6,
            Variant::Mlp(mlp) => mlp.seconds_a_tick(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Activation, Architecture, Hidden, Hyperparameters, Init, LrSchedule};

    const HOPPER: Ability = Ability { capability: 90, shared: 227 << 10 };

    fn recipe(inputs: usize, layers: usize, classes: usize, batch_size: usize) -> Recipe {
        let hidden = Hidden { units: 64, activation: Activation::Relu, dropout: 0.0 };
        let architecture = Architecture { inputs, hidden: vec![hidden; layers], classes };
        let hyperparameters = Hyperparameters {
            learning_rate: 0.1,
            lr_schedule: LrSchedule::Constant,
            batch_size,
            momentum: 0.0,
            nesterov: false,
            weight_decay: 0.0,
            label_smoothing: 0.0,
            init: Init::Default,
        };
        Recipe { architecture, hyperparameters, epochs: 1 }
    }

    fn chosen(choice: Choice, recipe: &Recipe, precision: Precision) -> Option<Option<Variant>> {
        choice.variant(recipe, 3, precision, HOPPER).ok()
    }

    #[test]
    fn small_models_are_fused_where_that_pays_and_all_others_layered() {
        let softmax = Some(Some(Variant::Softmax { momentum: false }));
        let auto = |recipe| chosen(Choice::Auto, &recipe, Precision::Fp32);
        assert_eq!(auto(recipe(784, 0, 10, 16)), softmax);
        assert_eq!(auto(recipe(64, 0, 2, 2048)), softmax);
        for other in [(784, 0, 10, 4096), (785, 0, 10, 16), (800, 0, 10, 16), (784, 0, 11, 16)] {
            let (inputs, layers, classes, batch) = other;
            assert_eq!(auto(recipe(inputs, layers, classes, batch)), Some(None), "{other:?}");
        }
        assert_eq!(auto(recipe(784, 2, 10, 16)), Some(None));
        assert!(matches!(auto(recipe(784, 1, 10, 16)), Some(Some(Variant::Mlp(_)))));
        let large = recipe(784, 0, 10, 4096);
        assert_eq!(chosen(Choice::Fused, &large, Precision::Fp32), softmax);
        assert_eq!(chosen(Choice::Layered, &recipe(784, 0, 10, 16), Precision::Fp32), Some(None));
    }

    #[test]
    fn the_path_of_a_trial_is_the_same_on_gpus_of_more_and_of_less_shared_memory() {
        let ada = Ability { capability: 89, shared: 99 << 10 };
        let mut fused = 0;
        for units in [1, 64, 128, 256, 257, 1024, 5000] {
            for momentum in [0.0, 0.9] {
                let mut recipe = recipe(784, 1, 10, 64);
                recipe.architecture.hidden[0].units = units;
                recipe.hyperparameters.momentum = momentum;
                let path = |ability| {
                    let chosen = Choice::Auto.variant(&recipe, 3, Precision::Fp32, ability);
                    chosen.expect("a path").is_some()
                };
                assert_eq!(path(HOPPER), path(ada), "{units} units, momentum {momentum}");
                fused += usize::from(path(ada));
            }
        }
        // Up to 256 units without momentum.
        assert_eq!(fused, 4);
    }

    #[test]
    fn another_precision_is_never_replaced() {
        let small = recipe(784, 0, 10, 16);
        for precision in [Precision::Tf32, Precision::Tf32x3] {
            assert_eq!(chosen(Choice::Auto, &small, precision), Some(None));
            let error =
                Choice::Fused.variant(&small, 3, precision, HOPPER).unwrap_err().to_string();
            assert!(
                error.contains(precision.name()) && error.contains("layer by layer"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_no_fused_kernel_can_train_is_refused_with_what_to_do() {
        for recipe in [recipe(784, 3, 10, 16), recipe(25, 0, 10, 16), recipe(784, 0, 47, 16)] {
            let error =
                Choice::Fused.variant(&recipe, 3, Precision::Fp32, HOPPER).unwrap_err().to_string();
            assert!(error.contains("trial 3") && error.contains("--kernel auto"), "{error}");
        }
    }
}
