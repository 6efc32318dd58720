//! Tests of how products are cut into tiles, and of what their tiles ask for.

use super::*;
use crate::engine::cpu::lanes::{Isa, blocks};

#[derive(Default)]
struct Asked(usize);

impl Ahead for Asked {
    fn ask(&mut self, lines: usize) {
        self.0 += lines;
    }
}

/// Throws tiles away.
struct Nowhere;

impl DotEpilogue for Nowhere {
    fn finish<L: Lanes, const M: usize, const N: usize>(
        &mut self,
        _: L,
        _: usize,
        _: usize,
        _: [[L::F; N]; M],
    ) {
    }
}

impl OuterEpilogue for Nowhere {
    fn begin<const M: usize, const N: usize>(&self, _: usize, _: usize) {}

    fn finish<L: Lanes, const M: usize, const N: usize>(
        &mut self,
        _: L,
        _: usize,
        _: usize,
        _: [[L::F; N]; M],
    ) {
    }
}

/// The lines that both products ask for.
struct Ask {
    samples: usize,
    inputs: usize,
    outputs: usize,
}

impl Kernel for Ask {
    type Output = [usize; 2];

    fn run<L: Lanes>(self, lanes: L) -> [usize; 2] {
        let Ask { samples, inputs, outputs } = self;
        let depth = blocks(inputs);
        let x = vec![Block::ZERO; samples * depth];
        let x = Matrix { blocks: &x, stride: samples };
        let w = vec![Block::ZERO; outputs * depth];
        let w = Matrix { blocks: &w, stride: outputs };
        let delta = vec![Block::ZERO; samples * blocks(outputs)];
        let a = Matrix { blocks: &delta, stride: samples };
        let outer = Outer { a, rows: outputs, b: x, columns: 0..depth, depth: samples };
        let (mut forward, mut backward) = (Asked(0), Asked(0));
        let x = (x, 0..samples);
        dot_product(lanes, x, (w, outputs), depth, &mut forward, &mut Nowhere);
        outer_product(lanes, &outer, &mut backward, &mut Nowhere);
        [forward.0, backward.0]
    }
}

#[test]
fn the_tiles_of_a_product_ask_for_all_of_the_next_batch() {
    for (samples, inputs, outputs) in
        [(16, 784_usize, 10), (5, 784, 10), (256, 784, 10), (7, 64, 3)]
    {
        for isa in Isa::available() {
            let needed = samples * inputs.div_ceil(64);
            for asked in isa.run(Ask { samples, inputs, outputs }) {
                let shape = format!("{samples} x {inputs} x {outputs}, {}", isa.name());
                assert!(asked >= needed, "{shape}: {asked} of {needed}");
            }
        }
    }
}

#[test]
fn ranges_follow_each_other_stay_in_their_block_and_have_sizes_that_are_compiled() {
    for (total, most) in (0..50).flat_map(|total| [2, 6, 8, 10].map(|most| (total, most))) {
        let mut end = 0;
        for (start, size) in cut_in_blocks(total, most) {
            assert!(start == end && (1..=most).contains(&size), "{start} {size} of {most}");
            assert_eq!(start / LANES, (start + size - 1) / LANES, "{start} {size}");
            assert!(occurs(size, most) || most == 10, "{size} of {most}");
            end = start + size;
        }
        assert_eq!(end, total);
    }
}
