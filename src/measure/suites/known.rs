//! Work of known cost, to see that the bench itself measures rightly and finds a planted slow-down.

use std::hint::black_box;
use std::time::Duration;

use serde_json::{Map, json};

use super::{Outcome, Suite, Visit, skipped, words};
use crate::data::large_pages::LargePages;
use crate::engine::cpu::lanes::Isa;
use crate::engine::cpu::operations::{Operation, Prepared, Sizes};
use crate::error::Result;
use crate::measure::axes::{AxisSpec, Point};
use crate::measure::bench::{Bench, Device};
use crate::measure::record::Work;
use crate::measure::workload::{Ceiling, Ready, Reference, Workload, conditions};

/// The environment variable that plants a slow-down in this suite, and in nothing else: per cent of
/// work that is done and not counted.
pub const SLOWDOWN: &str = "WARPSWEEP_BENCH_SLOWDOWN";

pub struct Known;

impl Suite for Known {
    fn name(&self) -> &'static str {
        "known"
    }

    fn about(&self) -> &'static str {
        "work of known cost, to check the bench itself: a sleep of 20 ms, copies, products (CPU)"
    }

    fn axes(&self) -> &'static [AxisSpec] {
        const OPS: &[&str] = &["sleep", "copy", "product", "small_product"];
        const ALL: &str = "sleep,copy,product,small_product";
        const AXES: &[AxisSpec] = &[words("op", "what is done", OPS, ALL, ALL)];
        AXES
    }

    fn measure(&self, bench: &Bench, point: &Point, visit: Visit<'_>) -> Result<Outcome> {
        if let Device::Cuda(_) = bench.device {
            return skipped("it is the processor's work: take --device cpu");
        }
        let planted = std::env::var(SLOWDOWN).ok().and_then(|text| text.parse::<f64>().ok());
        let factor = 1.0 + planted.unwrap_or(0.0).clamp(0.0, 1000.0) / 100.0;
        let mut conditions = Map::new();
        if factor > 1.0 {
            conditions = self::conditions([("planted_slowdown_percent", json!(planted))]);
        }
        let (ceiling, cold) = (Ceiling::Processor(1), false);
        match point.word("op") {
            "sleep" => {
                let workload = &mut Sleep(Duration::from_secs_f64(20e-3 * factor));
                let reference = Reference::None;
                visit(Ready { workload, reference, cold, ceiling, conditions })?;
            }
            "copy" => {
                let workload = &mut Copy::new(factor);
                let reference = Reference::Processor(1);
                visit(Ready { workload, reference, cold, ceiling, conditions })?;
            }
            op => {
                let sizes = match op {
                    "product" => Sizes { samples: 32, inputs: 784, outputs: 64 },
                    _ => Sizes { samples: 16, inputs: 784, outputs: 10 },
                };
                let product =
                    Prepared::new(Isa::available()[0], Operation::Forward, sizes, bench.seed);
                let workload = &mut Products { product, factor };
                let reference = Reference::Processor(1);
                visit(Ready { workload, reference, cold, ceiling, conditions })?;
            }
        }
        Ok(Outcome::Visited)
    }
}

struct Sleep(Duration);

impl Workload for Sleep {
    fn work(&self) -> Work {
        Work::default()
    }

    fn check(&mut self) -> Result<Result<String, String>> {
        Ok(Ok("nothing: it only sleeps".to_owned()))
    }

    fn call(&mut self) -> Result<()> {
        std::thread::sleep(self.0);
        Ok(())
    }
}

/// A copy through memory, strip by strip, of a little more than is counted where a slow-down is planted.
struct Copy {
    /// As the reference's.
    memory: LargePages,
    place: usize,
    strip: usize,
}

impl Copy {
    const HALF: usize = 64 << 20;
    const COUNTED: usize = 4 << 20;

    fn new(factor: f64) -> Copy {
        let strip = ((Copy::COUNTED as f64 * factor) as usize).min(Copy::HALF);
        let mut memory = LargePages::zeroed(2 * Copy::HALF);
        memory.fill(1);
        Copy { memory, place: 0, strip }
    }
}

impl Workload for Copy {
    fn work(&self) -> Work {
        Work { bytes: (2 * Copy::COUNTED) as f64, ..Work::default() }
    }

    fn check(&mut self) -> Result<Result<String, String>> {
        self.memory[..Copy::HALF].iter_mut().step_by(4096).for_each(|byte| *byte = 7);
        self.place = 0;
        self.call()?;
        let copied = self.memory[Copy::HALF..][..self.strip].iter().step_by(4096);
        Ok(match copied.copied().all(|byte| byte == 7) {
            true => Ok("the bytes that were copied".to_owned()),
            false => Err("bytes were not copied".to_owned()),
        })
    }

    fn call(&mut self) -> Result<()> {
        if self.place + self.strip > Copy::HALF {
            self.place = 0;
        }
        let (from, to) = self.memory.split_at_mut(Copy::HALF);
        let strip = self.place..self.place + self.strip;
        to[strip.clone()].copy_from_slice(&from[strip]);
        black_box(&to[self.place]);
        self.place += self.strip;
        Ok(())
    }
}

/// A layer's product, twenty times a call, and some more where a slow-down is planted.
struct Products {
    product: Prepared,
    factor: f64,
}

impl Products {
    const COUNTED: f64 = 20.0;

    /// Products of a call, those that are not counted among them.
    fn times(&self) -> usize {
        (Products::COUNTED * self.factor).round() as usize
    }
}

impl Workload for Products {
    fn work(&self) -> Work {
        let times = Products::COUNTED;
        let (flop, bytes) = (times * self.product.flop(), times * self.product.bytes());
        // The operands are a megabyte at most, and are used again and again.
        Work { flop, bytes, cached: true, ..Work::default() }
    }

    fn check(&mut self) -> Result<Result<String, String>> {
        let error = self.product.worst_error();
        Ok(match error < 1e-5 {
            true => Ok(format!("float64, worst error {error:.1e}")),
            false => Err(format!("an error of {error:.1e}")),
        })
    }

    fn call(&mut self) -> Result<()> {
        (0..self.times()).for_each(|_| self.product.run());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planted_slow_down_is_more_work_of_which_the_same_is_counted() {
        let sizes = Sizes { samples: 2, inputs: 16, outputs: 2 };
        let products = |factor| {
            let product = Prepared::new(Isa::available()[0], Operation::Forward, sizes, 0);
            Products { product, factor }
        };
        assert_eq!([1.0, 1.1, 4.0].map(|factor| products(factor).times()), [20, 22, 80]);
        assert_eq!(products(4.0).work(), products(1.0).work());
        let (plain, slow) = (Copy::new(1.0), Copy::new(1.1));
        assert!((slow.strip as f64 / plain.strip as f64 - 1.1).abs() < 1e-6);
        assert_eq!(slow.work(), plain.work());
    }
}
