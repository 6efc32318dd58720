//! What this machine can do at most: the two roofs that every measurement is set in relation to.
//!
//! A machine's peak on paper is not what a program can reach, and a virtual machine's changes from hour
//! to hour. So the roofs are measured in the same run, and on the CPU in turns with what is
//! measured under them: multiply-adds from registers and a copy through memory on a [`processor`], a
//! large product and a copy on a [`gpu`].

pub mod gpu;
pub mod processor;

use serde::{Deserialize, Serialize};

use super::statistics::quantile;

/// Which roof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Roof {
    /// Floating-point operations: a fused multiply-add is two.
    Arithmetic,
    /// Bytes that a copy reads and writes, through memory and not a cache.
    Copy,
}

/// The roofs of a device, as measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// Floating-point operations a second.
    pub flops_per_second: f64,
    /// Bytes a second, read and written ones added.
    pub bytes_per_second: f64,
}

impl Ceilings {
    pub fn of(&self, roof: Roof) -> f64 {
        match roof {
            Roof::Arithmetic => self.flops_per_second,
            Roof::Copy => self.bytes_per_second,
        }
    }

    /// Operations a byte at which the two roofs meet: work with fewer is bound by memory.
    pub fn ridge(&self) -> f64 {
        self.flops_per_second / self.bytes_per_second
    }
}

/// What a device can do, from samples of what it did: the 95th percentile of the rates, for a machine
/// that is disturbed is only ever slower, and the very best sample may be an error of the clock.
pub fn highest(rates: &[f64]) -> f64 {
    let mut sorted: Vec<f64> = rates.iter().copied().filter(|rate| rate.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, 0.95)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roof_is_what_the_machine_does_undisturbed_and_not_its_best_sample() {
        let mut rates = vec![100.0; 60];
        rates.extend([40.0; 39]);
        rates.push(1e9);
        assert_eq!(highest(&rates), 100.0);
        assert_eq!(highest(&[f64::INFINITY, 3.0]), 3.0);
        assert!(highest(&[]).is_nan());
    }

    #[test]
    fn the_roofs_meet_at_their_quotient() {
        let ceilings = Ceilings { flops_per_second: 400.0, bytes_per_second: 20.0 };
        assert_eq!(ceilings.ridge(), 20.0);
        assert_eq!([Roof::Arithmetic, Roof::Copy].map(|roof| ceilings.of(roof)), [400.0, 20.0]);
    }
}
