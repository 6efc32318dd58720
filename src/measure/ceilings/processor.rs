//! A processor's roofs, and the reference that takes turns with what is measured, in samples of about a
//! millisecond.
//!
//! The reference is a loop of its own, because it must mind what the work minds. Multiply-adds from registers
//! run at their full speed beside a neighbour on the same core that takes the caches and the ports to them,
//! and makes a product take 1.6 times as long; that was measured.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

use super::{Ceilings, highest};
use crate::data::large_pages::LargePages;
use crate::engine::cpu::lanes::{Block, Isa, Kernel, LANES, Lanes};
use crate::measure::clock::thread_time;
use crate::measure::statistics::median;

/// A loop that never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loop {
    /// Multiply-adds from registers: a roof.
    Arithmetic,
    /// A copy through memory: the other roof, and the reference of work that memory binds.
    Copy,
    /// Multiply-adds on what a first-level cache holds, as in a product: the reference of all other work.
    Cache,
}

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

    /// One sample of a loop: what all threads did together, a second.
    pub fn sample(&mut self, what: Loop) -> Rate {
        let isa = self.isa;
        let [strip] = &mut self.threads[..] else { return self.together(what) };
        strip.sample(isa, what)
    }

    fn together(&mut self, what: Loop) -> Rate {
        let (isa, start) = (self.isa, Barrier::new(self.threads.len()));
        let sample = |strip: &mut Strip| {
            start.wait();
            strip.sample(isa, what)
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

    /// One sample of a roof: what the threads do a second with a core each, as far as there are cores.
    ///
    /// By their processor time, for a system may keep two on one core while another idles: by the wall, two
    /// threads reached what one does, all through one of thirty runs.
    pub fn roof(&mut self, what: Loop) -> f64 {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        self.sample(what).processor * share_with_a_core(self.threads(), cores)
    }

    /// Both roofs, from samples of about this time together.
    pub fn ceilings(&mut self, seconds: f64) -> Ceilings {
        let (mut flops, mut bytes) = (Vec::new(), Vec::new());
        // The first samples wake the threads and the clock of the core up.
        for _ in 0..3 {
            black_box((self.roof(Loop::Arithmetic), self.roof(Loop::Copy)));
        }
        let start = Instant::now();
        while flops.is_empty() || start.elapsed().as_secs_f64() < seconds {
            flops.push(self.roof(Loop::Arithmetic));
            bytes.push(self.roof(Loop::Copy));
        }
        Ceilings { flops_per_second: highest(&flops), bytes_per_second: highest(&bytes) }
    }
}

/// The share of so many threads that can run at once on so many cores.
fn share_with_a_core(threads: usize, cores: usize) -> f64 {
    (cores as f64 / threads as f64).min(1.0)
}

/// Pieces of a sample, each a quarter of a millisecond or so.
const PIECES: usize = 4;

/// A thread's memory, which it copies from one half to the other strip by strip.
struct Strip {
    /// Of the dot products.
    cached: [Box<[Block; DotProducts::BLOCKS]>; 2],
    /// In large pages: where small ones lie makes a copy up to 8 % faster or slower, in one process as a whole.
    memory: LargePages,
    /// Of the next strip.
    place: usize,
}

impl Strip {
    /// Each half: twice what most processors' last-level caches give to one core.
    const HALF: usize = 64 << 20;
    /// Bytes of a piece. They were last touched some rounds ago.
    const BYTES: usize = 4 << 20;

    fn new() -> Strip {
        // Written, so that the pages are there.
        let cached =
            [1.0, 1e-3].map(|value| Box::new([Block([value; LANES]); DotProducts::BLOCKS]));
        let mut memory = LargePages::zeroed(2 * Strip::HALF);
        memory.fill(1);
        Strip { cached, memory, place: 0 }
    }

    /// The median of a few pieces, as the cost of work is a median: a copy beside the very same copy came to 96.7
    /// to 97.3 % of it in four runs, and to 95.3 to 97.3 % where the whole sample was one piece.
    fn sample(&mut self, isa: Isa, what: Loop) -> Rate {
        // What was written before this still stands in the caches, and goes to memory at the expense of what
        // comes next: with a strip that is not timed, 98.6 to 99.6 %.
        if what == Loop::Copy {
            self.copy();
        }
        let (mut walls, mut processors) = ([0.0; PIECES], [0.0; PIECES]);
        for (wall, processor) in walls.iter_mut().zip(&mut processors) {
            let (start, start_processor) = (Instant::now(), thread_time());
            let work = self.piece(isa, what);
            *processor = work / thread_time().saturating_sub(start_processor).as_secs_f64();
            *wall = work / start.elapsed().as_secs_f64();
        }
        Rate { wall: median(&walls), processor: median(&processors) }
    }

    /// Returns what it did.
    fn piece(&mut self, isa: Isa, what: Loop) -> f64 {
        match what {
            Loop::Arithmetic => {
                black_box(isa.run(MultiplyAdds));
                MultiplyAdds::FLOP
            }
            Loop::Copy => self.copy(),
            Loop::Cache => {
                black_box(isa.run(DotProducts { a: &self.cached[0], b: &self.cached[1] }));
                DotProducts::FLOP
            }
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

/// Multiply-adds on numbers that stay in registers, from which nothing else is asked.
struct MultiplyAdds;

impl MultiplyAdds {
    /// Of sixteen lanes each.
    const COUNT: usize = 1_200_000;
    const FLOP: f64 = (2 * LANES * MultiplyAdds::COUNT) as f64;
}

impl Kernel for MultiplyAdds {
    /// The mean of the accumulators, to be looked at.
    type Output = f32;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> f32 {
        // Independent accumulators hide the latency of an instruction: eight vectors at least. Those
        // that do not fit the registers would measure the stack, which is 30 % slower one time in two.
        if L::OUTER.0 * L::OUTER.1 >= 24 { sums::<L, 24>(lanes) } else { sums::<L, 5>(lanes) }
    }
}

/// Dot products of two strips that fill a first-level cache: two loads a multiply-add.
struct DotProducts<'a> {
    a: &'a [Block; DotProducts::BLOCKS],
    b: &'a [Block; DotProducts::BLOCKS],
}

impl DotProducts<'_> {
    /// Of each strip: 14 KiB, so that both and little else fit 32.
    const BLOCKS: usize = 224;
    const ROUNDS: usize = 1000;
    const FLOP: f64 = (2 * LANES * DotProducts::BLOCKS * DotProducts::ROUNDS) as f64;
}

impl Kernel for DotProducts<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> f32 {
        let mut total = 0.0;
        for _ in 0..DotProducts::ROUNDS {
            // Looked at anew in each round, or all rounds would be one.
            let (a, b) = black_box((self.a, self.b));
            let mut sums = [lanes.splat(0.0); 4];
            for (a, b) in a.as_chunks::<4>().0.iter().zip(b.as_chunks::<4>().0) {
                for i in 0..4 {
                    sums[i] = lanes.fma(lanes.load(&a[i]), lanes.load(&b[i]), sums[i]);
                }
            }
            let mut block = Block::ZERO;
            for sum in sums {
                lanes.store(sum, &mut block);
                total += block.0[0];
            }
        }
        total / DotProducts::ROUNDS as f32
    }
}

#[inline(always)]
fn sums<L: Lanes, const N: usize>(lanes: L) -> f32 {
    // x -> 0.999 x + 0.001 has its fixed point at 1: no infinities, no denormals.
    let (factor, term) = (lanes.splat(black_box(0.999)), lanes.splat(black_box(1e-3)));
    let mut sums = [factor; N];
    for _ in 0..MultiplyAdds::COUNT / N {
        for sum in &mut sums {
            *sum = lanes.fma(*sum, factor, term);
        }
    }
    let mut block = Block::ZERO;
    let mut total = 0.0;
    for sum in sums {
        lanes.store(sum, &mut block);
        total += block.0[0];
    }
    total / N as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::ceilings::Roof;

    #[test]
    fn the_multiply_adds_are_done_on_every_instruction_set() {
        for isa in Isa::available() {
            let mean = isa.run(MultiplyAdds);
            assert!((mean - 1.0).abs() < 1e-3, "{mean} on {}", isa.name());
        }
    }

    #[test]
    fn the_dot_products_are_done_on_every_instruction_set() {
        let strip = Strip::new();
        for isa in Isa::available() {
            // A lane of 224 products of 1 and 1e-3.
            let sum = isa.run(DotProducts { a: &strip.cached[0], b: &strip.cached[1] });
            assert!((sum - 0.224).abs() < 1e-4, "{sum} on {}", isa.name());
        }
    }

    #[test]
    fn strips_go_through_the_whole_memory_and_come_back() {
        let mut strip = Strip::new();
        strip.memory.fill(0);
        strip.memory[..Strip::HALF].iter_mut().step_by(4096).for_each(|byte| *byte = 7);
        let strips = Strip::HALF / Strip::BYTES;
        let bytes: f64 = (0..strips).map(|_| strip.copy()).sum();
        assert_eq!((bytes, strip.place), (2.0 * Strip::HALF as f64, 0));
        assert!(strip.memory[Strip::HALF..].iter().step_by(4096).all(|&byte| byte == 7));
    }

    #[test]
    fn threads_without_a_core_raise_no_roof() {
        assert_eq!([1, 2, 4].map(|threads| share_with_a_core(threads, 2)), [1.0, 1.0, 0.5]);
    }

    #[test]
    fn the_roofs_of_several_threads_are_finite_and_above_zero() {
        let ceilings = Processor::new(2).ceilings(0.01);
        for roof in [Roof::Arithmetic, Roof::Copy] {
            assert!(ceilings.of(roof).is_finite() && ceilings.of(roof) > 0.0, "{ceilings:?}");
        }
    }
}
