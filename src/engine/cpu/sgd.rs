//! The SGD update, as `torch.optim.SGD` does it, fused to the end of the weight gradient's product.

use super::elementwise::flush;
use super::lanes::{Block, Lanes, prefetch};
use super::products::OuterEpilogue;

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

impl OuterEpilogue for Update<'_> {
    #[inline(always)]
    fn finish<L: Lanes, const N: usize>(
        &mut self,
        lanes: L,
        row: usize,
        block: usize,
        gradients: [L::F; N],
    ) {
        let (rule, first) = (self.rule, row * self.stride + block);
        let weight = &mut self.weight[first..][..N];
        if rule.momentum > 0.0 {
            let velocity = &mut self.velocity[first..][..N];
            for n in 0..N {
                rule.step_with_momentum(lanes, &mut weight[n], gradients[n], &mut velocity[n]);
            }
        } else {
            for n in 0..N {
                let w = lanes.load(&weight[n]);
                let g = rule.decayed(lanes, w, gradients[n]);
                rule.descend(lanes, w, g, &mut weight[n]);
            }
        }
    }

    #[inline(always)]
    fn expect(&self, row: usize, block: usize) {
        // Weights that lie in the first two caches are there already.
        if self.weight.len() >= FAR {
            let place = row * self.stride + block;
            self.weight.get(place..).into_iter().flatten().take(2).for_each(prefetch);
            self.velocity.get(place..).into_iter().flatten().take(2).for_each(prefetch);
        }
    }
}

/// Blocks of weights from which on they are prefetched: 256 KiB.
const FAR: usize = 4096;

impl Rule {
    /// `g + weight_decay * w`
    #[inline(always)]
    fn decayed<L: Lanes>(&self, lanes: L, w: L::F, g: L::F) -> L::F {
        if self.weight_decay > 0.0 { lanes.fma(lanes.splat(self.weight_decay), w, g) } else { g }
    }

    #[inline(always)]
    fn step_with_momentum<L: Lanes>(&self, lanes: L, w: &mut Block, g: L::F, v: &mut Block) {
        let momentum = lanes.splat(self.momentum);
        let weight = lanes.load(w);
        let g = self.decayed(lanes, weight, g);
        let velocity = lanes.flush(lanes.fma(momentum, lanes.load(v), g));
        lanes.store(velocity, v);
        let g = if self.nesterov { lanes.fma(momentum, velocity, g) } else { velocity };
        self.descend(lanes, weight, g, w);
    }

    /// `w - learning_rate * g`
    #[inline(always)]
    fn descend<L: Lanes>(&self, lanes: L, w: L::F, g: L::F, to: &mut Block) {
        let w = lanes.fma(lanes.splat(-self.learning_rate), g, w);
        lanes.store(if self.weight_decay > 0.0 { lanes.flush(w) } else { w }, to);
    }
}
