//! Which of the fused MLP kernels trains a trial: how its hidden units are parted over blocks.
//!
//! A block keeps its units' weights, and velocities, in shared memory, so the GPU's decides how many units that
//! are; a trial's numbers do not depend on it. What they depend on, the samples of a chunk, is the recipe's.

use crate::engine::cuda::launch::fused_mlp::{CLASSES, MlpShape};
use crate::model::Recipe;

/// Blocks of a team, at most: leaves of the tree that adds up their sums.
const LARGEST_TEAM: usize = 16;

/// What the GPUs of an engine all have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ability {
    /// Compute capability: 90 for 9.0.
    pub capability: u32,
    /// Most bytes of shared memory that a block can have.
    pub shared: usize,
}

impl Ability {
    /// What all GPUs have that the fused MLP kernels run on: the least is that of 8.6, 8.9 and 12.0.
    pub const COMMON: Ability = Ability { capability: 80, shared: 99 << 10 };

    /// What every one of them can.
    pub fn of_all(all: impl Iterator<Item = Ability>) -> Ability {
        let most = Ability { capability: u32::MAX, shared: usize::MAX };
        all.fold(most, |least, one| Ability {
            capability: least.capability.min(one.capability),
            shared: least.shared.min(one.shared),
        })
    }

    /// The same with no more shared memory than so many bytes.
    pub fn limited(self, shared: usize) -> Ability {
        Ability { shared: self.shared.min(shared), ..self }
    }
}

/// A fused MLP kernel, for models of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mlp {
    pub shape: MlpShape,
    /// Blocks that train a trial together.
    pub team: usize,
    pub inputs: usize,
    pub momentum: bool,
}

impl Mlp {
    /// The kernel that can train such a trial, by as few blocks as possible.
    ///
    /// # Errors
    /// What none of them can, in words.
    pub fn of(recipe: &Recipe, ability: Ability) -> Result<Mlp, String> {
        let architecture = &recipe.architecture;
        let (inputs, classes) = (architecture.inputs, architecture.classes);
        let [hidden] = &*architecture.hidden else {
            let layers = architecture.hidden.len();
            return Err(format!("it trains one hidden layer at most, not {layers}"));
        };
        if classes > CLASSES {
            return Err(format!(
                "behind a hidden layer it tells {CLASSES} classes apart, not {classes}"
            ));
        }
        if ability.capability < 80 {
            let (major, minor) = (ability.capability / 10, ability.capability % 10);
            return Err(format!(
                "with a hidden layer it needs compute capability 8.0, and the GPU has {major}.{minor}"
            ));
        }
        let momentum = recipe.hyperparameters.momentum > 0.0;
        let samples = if recipe.hyperparameters.batch_size <= 16 { 16 } else { 64 };
        let of_samples = MlpShape::ALL.into_iter().filter(|shape| shape.samples == samples);
        let fitting = of_samples
            .filter(|shape| shape.shared_bytes(inputs, momentum) <= ability.shared)
            .map(|shape| Mlp { shape, team: hidden.units.div_ceil(shape.units), inputs, momentum })
            .filter(|mlp| mlp.team <= LARGEST_TEAM);
        fitting.min_by_key(|mlp| (mlp.team, mlp.shape.units)).ok_or_else(|| {
            format!(
                "{} hidden units of {inputs} inputs{} do not fit the shared memory of {LARGEST_TEAM} \
                 multiprocessors, {} bytes each",
                hidden.units,
                if momentum { " with momentum" } else { "" },
                ability.shared,
            )
        })
    }

    /// Floats of device memory that a trial of this batch size needs beside its state: the deltas of a batch
    /// of several chunks.
    pub const fn scratch(self, batch: usize) -> usize {
        let chunks = batch.div_ceil(self.shape.samples);
        if chunks > 1 { self.team * chunks * self.shape.spill() } else { 0 }
    }

    /// Seconds that a chunk takes a team, by the cost model in `kernels/fused_mlp.cuh`, at 1.7 GHz.
    pub const fn seconds_a_tick(self) -> f64 {
        let stages = self.inputs.div_ceil(64) as f64;
        let cycles = match (self.shape.units, self.shape.samples) {
            (..=32, ..=16) => 560.0,
            (_, ..=16) => 900.0,
            (..=32, _) => 900.0,
            _ => 1250.0,
        };
        (stages * cycles + 5000.0) / 1.7e9
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Activation, Architecture, Hidden, Hyperparameters, Init, LrSchedule};

    const HOPPER: Ability = Ability { capability: 90, shared: 227 << 10 };
    const AMPERE: Ability = Ability { capability: 80, shared: 163 << 10 };
    const ADA: Ability = Ability { capability: 89, shared: 99 << 10 };

    fn recipe(inputs: usize, units: usize, batch_size: usize, momentum: f32) -> Recipe {
        let hidden = vec![Hidden { units, activation: Activation::Relu, dropout: 0.0 }];
        let architecture = Architecture { inputs, hidden, classes: 10 };
        let hyperparameters = Hyperparameters {
            learning_rate: 0.1,
            lr_schedule: LrSchedule::Constant,
            batch_size,
            momentum,
            nesterov: false,
            weight_decay: 0.0,
            label_smoothing: 0.0,
            init: Init::Default,
        };
        Recipe { architecture, hyperparameters, epochs: 1 }
    }

    /// Units of a block and blocks of a team for 784 inputs; none where it does not fit.
    fn parted(units: usize, momentum: f32, ability: Ability) -> Option<(usize, usize)> {
        Mlp::of(&recipe(784, units, 64, momentum), ability)
            .ok()
            .map(|mlp| (mlp.shape.units, mlp.team))
    }

    #[test]
    fn units_are_parted_over_as_few_blocks_as_the_shared_memory_allows() {
        for (units, hopper, with_momentum) in [
            (64, (64, 1), (32, 2)),
            (128, (64, 2), (32, 4)),
            (256, (64, 4), (32, 8)),
            (20, (32, 1), (32, 1)),
        ] {
            assert_eq!(parted(units, 0.0, HOPPER), Some(hopper), "{units}");
            assert_eq!(parted(units, 0.9, HOPPER), Some(with_momentum), "{units}");
        }
        assert_eq!(parted(128, 0.0, AMPERE), Some((32, 4)));
        assert_eq!(parted(128, 0.9, AMPERE), Some((16, 8)));
        assert_eq!(parted(256, 0.0, ADA), Some((16, 16)));
        assert_eq!(parted(16, 0.9, ADA), None);
        assert_eq!(parted(1024, 0.0, HOPPER), Some((64, 16)));
        assert_eq!(parted(1025, 0.0, HOPPER), None);
    }

    #[test]
    fn what_a_trials_numbers_depend_on_is_its_recipes_alone() {
        for batch in [1, 16, 17, 64, 1000] {
            let samples = [HOPPER, AMPERE, ADA].map(|ability| {
                Mlp::of(&recipe(784, 100, batch, 0.0), ability).expect("a kernel").shape.samples
            });
            assert_eq!(samples, [if batch <= 16 { 16 } else { 64 }; 3], "{batch}");
        }
    }

    #[test]
    fn a_refusal_says_what_does_not_fit() {
        let turing = Ability { capability: 75, shared: 64 << 10 };
        let refusal = |recipe: &Recipe, ability| Mlp::of(recipe, ability).expect_err("no kernel");
        assert!(refusal(&recipe(784, 64, 64, 0.0), turing).contains("7.5"));
        let large = refusal(&recipe(784, 2000, 64, 0.9), HOPPER);
        assert!(large.contains("2000") && large.contains("momentum"), "{large}");
    }
}
