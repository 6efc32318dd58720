//! Samplers: what propose configs.

use crate::space::{Config, Space};

/// Proposes the configs of a study's trials.
pub trait Sampler {
    /// The config of a trial: the same for the same number, or a study could not be resumed.
    fn propose(&self, number: u32) -> Config;
}

/// Random search: every config is drawn by itself from the space.
pub struct Random {
    pub space: Space,
    pub seed: u64,
}

impl Sampler for Random {
    fn propose(&self, number: u32) -> Config {
        self.space.sample(self.seed, number)
    }
}
