//! The SGD update, as `torch.optim.SGD` does it, fused to the end of the weight gradient's product.

use super::elementwise::flush;
use super::lanes::{Block, Lanes};
use super::products::{Epilogue, expect_block};

/// One step's update of a parameter `w` with gradient `g` and velocity `v`:
///
/// ```text
/// g += weight_decay * w
/// v  = momentum * v + g          (v starts at zero)
/// g  = g + momentum * v  (Nesterov)   or   v
/// w -= learning_rate * g
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub learning_rate: f32,
    pub momentum: f32,
    pub nesterov: bool,
    pub weight_decay: f32,
}

impl Rule {
    /// The update of one value: the definition, in the order of operations of the vector code.
    #[inline(always)]
    pub fn step(&self, w: f32, g: f32, v: &mut f32) -> f32 {
        let mut g = self.weight_decay.mul_add(w, g);
        if self.momentum > 0.0 {
            *v = flush(self.momentum.mul_add(*v, g));
            g = if self.nesterov { self.momentum.mul_add(*v, g) } else { *v };
        }
        let w = (-self.learning_rate).mul_add(g, w);
        if self.weight_decay > 0.0 { flush(w) } else { w }
    }
}

/// The epilogue that updates weights where the tile of their gradient stands in registers.
pub struct Update<'a> {
    pub rule: Rule,
    /// `outputs x stride` blocks.
    pub weight: &'a mut [Block],
    /// As `weight`; empty without momentum.
    pub velocity: &'a mut [Block],
    /// Blocks from a row to the next.
    pub stride: usize,
}

impl Epilogue for Update<'_> {
    #[inline(always)]
    fn finish<L: Lanes>(&mut self, lanes: L, row: usize, block: usize, gradient: L::F) {
        let place = row * self.stride + block;
        let rule = self.rule;
        let w = lanes.load(&self.weight[place]);
        let mut g = gradient;
        if rule.weight_decay > 0.0 {
            g = lanes.fma(lanes.splat(rule.weight_decay), w, g);
        }
        if rule.momentum > 0.0 {
            let momentum = lanes.splat(rule.momentum);
            let v = lanes.load(&self.velocity[place]);
            let v = lanes.flush(lanes.fma(momentum, v, g));
            lanes.store(v, &mut self.velocity[place]);
            g = if rule.nesterov { lanes.fma(momentum, v, g) } else { v };
        }
        let mut w = lanes.fma(lanes.splat(-rule.learning_rate), g, w);
        if rule.weight_decay > 0.0 {
            w = lanes.flush(w);
        }
        lanes.store(w, &mut self.weight[place]);
    }

    #[inline(always)]
    fn expect(&self, row: usize, block: usize) {
        let place = row * self.stride + block;
        expect_block(self.weight, place);
        expect_block(self.velocity, place);
    }
}
