//! A processor's roofs, in samples of about a millisecond, so that they can take turns with what is
//! measured and are disturbed as it is.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

use super::{Ceilings, Roof, highest};
use crate::engine::cpu::lanes::{Block, Isa, Kernel, LANES, Lanes};
use crate::measure::clock::thread_time;

/// Units of work a second, by each clock.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    pub wall: f64,
    /// A second of each thread's own processor time.
    pub processor: f64,
}

/// The loops that reach the roofs, on some threads at once, each with memory of its own.
pub struct Processor {
    isa: Isa,
    threads: Vec<Strip>,
}

impl Processor {
    /// On so many threads, at least one. Takes 128 MiB for each.
    pub fn new(threads: usize) -> Processor {
        let threads = (0..threads.max(1)).map(|_| Strip::new()).collect();
        Processor { isa: Isa::available()[0], threads }
    }

    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// One sample of a roof: what all threads did together, a second.
    pub fn sample(&mut self, roof: Roof) -> Rate {
        let isa = self.isa;
        let [strip] = &mut self.threads[..] else { return self.together(roof) };
        strip.sample(isa, roof)
    }

    fn together(&mut self, roof: Roof) -> Rate {
        let (isa, start) = (self.isa, Barrier::new(self.threads.len()));
        let sample = |strip: &mut Strip| {
            start.wait();
            strip.sample(isa, roof)
        };
        std::thread::scope(|scope| {
            let strips = self.threads.iter_mut();
            let threads: Vec<_> = strips.map(|strip| scope.spawn(move || sample(strip))).collect();
            let rates = threads.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            rates.fold(Rate::default(), |sum, rate| Rate {
                wall: sum.wall + rate.wall,
                processor: sum.processor + rate.processor,
            })
        })
    }

    /// Both roofs by the wall, from samples of about this time together.
    pub fn ceilings(&mut self, seconds: f64) -> Ceilings {
        let (mut flops, mut bytes) = (Vec::new(), Vec::new());
        // The first samples wake the threads and the clock of the core up.
        for _ in 0..3 {
            black_box((self.sample(Roof::Arithmetic), self.sample(Roof::Copy)));
        }
        let start = Instant::now();
        while flops.is_empty() || start.elapsed().as_secs_f64() < seconds {
            flops.push(self.sample(Roof::Arithmetic).wall);
            bytes.push(self.sample(Roof::Copy).wall);
        }
        Ceilings { flops_per_second: highest(&flops), bytes_per_second: highest(&bytes) }
    }
}

/// A thread's memory, which it copies from one half to the other strip by strip.
struct Strip {
    memory: Vec<u8>,
    /// Of the next strip.
    place: usize,
}

impl Strip {
    /// Each half: twice what most processors' last-level caches give to one core.
    const HALF: usize = 64 << 20;
    /// Bytes of a sample: about a millisecond's. They were last touched a whole round ago.
    const BYTES: usize = 4 << 20;

    fn new() -> Strip {
        // Written, so that the pages are there.
        Strip { memory: vec![1; 2 * Strip::HALF], place: 0 }
    }

    fn sample(&mut self, isa: Isa, roof: Roof) -> Rate {
        let (wall, processor) = (Instant::now(), thread_time());
        let work = match roof {
            Roof::Arithmetic => {
                black_box(isa.run(MultiplyAdds));
                MultiplyAdds::FLOP
            }
            Roof::Copy => self.copy(),
        };
        let processor = thread_time().saturating_sub(processor);
        Rate {
            wall: work / wall.elapsed().as_secs_f64(),
            processor: work / processor.as_secs_f64(),
        }
    }

    /// Copies the next strip; returns the bytes read and written.
    fn copy(&mut self) -> f64 {
        let (from, to) = self.memory.split_at_mut(Strip::HALF);
        let strip = self.place..self.place + Strip::BYTES;
        to[strip.clone()].copy_from_slice(&from[strip]);
        black_box(&to[self.place]);
        self.place = (self.place + Strip::BYTES) % Strip::HALF;
        (2 * Strip::BYTES) as f64
    }
}

/// As many independent accumulators as hide the latency of a fused multiply-add twice over.
struct MultiplyAdds;

impl MultiplyAdds {
    const ROUNDS: usize = 200_000;
    const ACCUMULATORS: usize = 24;
    const FLOP: f64 = (2 * LANES * MultiplyAdds::ACCUMULATORS * MultiplyAdds::ROUNDS) as f64;
}

impl Kernel for MultiplyAdds {
    type Output = f32;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> f32 {
        // x -> 0.999 x + 0.001 has its fixed point at 1: no infinities, no denormals.
        let (factor, term) = (lanes.splat(black_box(0.999)), lanes.splat(black_box(1e-3)));
        let mut sums = [factor; MultiplyAdds::ACCUMULATORS];
        for _ in 0..MultiplyAdds::ROUNDS {
            for sum in &mut sums {
                *sum = lanes.fma(*sum, factor, term);
            }
        }
        let mut block = Block::ZERO;
        let stored = sums.into_iter().map(|sum| {
            lanes.store(sum, &mut block);
            block.0[0]
        });
        stored.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_multiply_adds_are_done_on_every_instruction_set() {
        for isa in Isa::available() {
            let mean = isa.run(MultiplyAdds) / MultiplyAdds::ACCUMULATORS as f32;
            assert!((mean - 1.0).abs() < 1e-3, "{mean} on {}", isa.name());
        }
    }

    #[test]
    fn strips_go_through_the_whole_memory_and_come_back() {
        let mut strip = Strip { memory: vec![0; 2 * Strip::HALF], place: 0 };
        strip.memory[..Strip::HALF].iter_mut().step_by(4096).for_each(|byte| *byte = 7);
        let strips = Strip::HALF / Strip::BYTES;
        let bytes: f64 = (0..strips).map(|_| strip.copy()).sum();
        assert_eq!((bytes, strip.place), (2.0 * Strip::HALF as f64, 0));
        assert!(strip.memory[Strip::HALF..].iter().step_by(4096).all(|&byte| byte == 7));
    }

    #[test]
    fn the_roofs_of_several_threads_are_finite_and_above_zero() {
        let ceilings = Processor::new(2).ceilings(0.01);
        for roof in [Roof::Arithmetic, Roof::Copy] {
            assert!(ceilings.of(roof).is_finite() && ceilings.of(roof) > 0.0, "{ceilings:?}");
        }
    }
}
