//! Softmax and cross-entropy: loss, gradient and prediction of a batch of logits.
//!
//! Logits are a matrix with a row a class, so that lanes run along samples and a vector is full
//! whatever the number of classes. As `nn.CrossEntropyLoss(label_smoothing=eps)`: with `t` the target
//! `(1 - eps) onehot + eps / classes`, the loss of a sample is `-sum_c t_c ln p_c`, and the gradient
//! of the batch's mean is `(p - t) / samples`.

use super::dense::transpose_part;
use super::elementwise::{exp, flush, ln};
use super::lanes::{Block, Kernel, LANES, Lanes};

/// Logits of a batch, `classes` blocks for every sixteen samples.
#[derive(Clone, Copy)]
pub struct Logits<'a> {
    pub values: &'a [Block],
    pub classes: usize,
}

/// What softmax makes of sixteen samples' logits.
struct Softmax {
    largest: [f32; LANES],
    /// `sum_c exp(z_c - largest)`
    sum: [f32; LANES],
}

impl Logits<'_> {
    /// The logits of a class for sixteen samples.
    #[inline(always)]
    fn of(&self, class: usize, first: usize) -> [f32; LANES] {
        self.values[first / LANES * self.classes + class].0
    }

    /// Softmax of samples `first .. first + 16`; `exp(z - largest)` of each class goes to `keep`.
    #[inline(always)]
    fn softmax(&self, first: usize, mut keep: impl FnMut(usize, [f32; LANES])) -> Softmax {
        let mut largest = self.of(0, first);
        for class in 1..self.classes {
            let z = self.of(class, first);
            for i in 0..LANES {
                largest[i] = if z[i] > largest[i] { z[i] } else { largest[i] };
            }
        }
        let mut sum = [0.0; LANES];
        for class in 0..self.classes {
            let z = self.of(class, first);
            let mut e = [0.0; LANES];
            for i in 0..LANES {
                e[i] = exp(z[i] - largest[i]);
                sum[i] += e[i];
            }
            keep(class, e);
        }
        Softmax { largest, sum }
    }
}

/// Sixteen labels, as many as there are from `first` on; 0 beyond the end.
#[inline(always)]
fn sixteen(labels: &[u8], first: usize) -> [u32; LANES] {
    let mut out = [0; LANES];
    for (out, label) in out.iter_mut().zip(&labels[first..]) {
        *out = u32::from(*label);
    }
    out
}

/// Gradient and loss of a training batch.
pub struct Train<'a> {
    pub logits: Logits<'a>,
    pub labels: &'a [u8],
    pub smoothing: f32,
    /// Room for the gradient laid out as the logits are.
    pub delta_t: &'a mut [Block],
    /// Out: the gradient as a matrix, a row a sample.
    pub delta: &'a mut [Block],
    pub delta_stride: usize,
}

impl Kernel for Train<'_> {
    /// The sum of the samples' losses, added in their order.
    type Output = f64;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> f64 {
        let Train { logits, labels, smoothing, delta_t, delta, delta_stride } = self;
        let classes = logits.classes;
        let share = 1.0 / labels.len() as f32;
        let (off, on) = (smoothing / classes as f32, 1.0 - smoothing);
        let mut total = 0.0;
        for first in (0..labels.len()).step_by(LANES) {
            let label = sixteen(labels, first);
            let delta_t = &mut delta_t[first / LANES * classes..][..classes];
            let softmax = logits.softmax(first, |class, e| delta_t[class].0 = e);
            let scale = softmax.sum.map(|sum| 1.0 / sum);
            // sum_c t_c z_c, with z measured from the largest
            let mut expected = [0.0; LANES];
            for class in 0..classes {
                let z = logits.of(class, first);
                let d = &mut delta_t[class].0;
                for i in 0..LANES {
                    let target = off + if label[i] == class as u32 { on } else { 0.0 };
                    expected[i] += target * (z[i] - softmax.largest[i]);
                    d[i] = (flush(d[i] * scale[i]) - target) * share;
                }
            }
            let losses: [f32; LANES] = std::array::from_fn(|i| ln(softmax.sum[i]) - expected[i]);
            let count = LANES.min(labels.len() - first);
            losses[..count].iter().for_each(|loss| total += f64::from(*loss));
            for (column, classes) in delta_t.chunks(LANES).enumerate() {
                let rows = &mut delta[column * delta_stride + first..][..count];
                transpose_part(lanes, classes, rows);
            }
        }
        total
    }
}

/// Prediction and loss of samples that are not trained on.
pub struct Score<'a> {
    pub logits: Logits<'a>,
    pub labels: &'a [u8],
    /// Out: each sample's class with the largest logit, the lowest of equals; `classes` where a
    /// logit is not a number, which is no class and so never right.
    pub predicted: &'a mut [u32],
    /// The samples' losses are added to this one by one, in their order: how samples are dealt to
    /// batches then changes no bit.
    pub total: &'a mut f64,
}

impl Kernel for Score<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, _lanes: L) {
        let Score { logits, labels, predicted, total } = self;
        for first in (0..labels.len()).step_by(LANES) {
            let label = sixteen(labels, first);
            let softmax = logits.softmax(first, |_, _| {});
            let mut expected = [0.0; LANES];
            let mut best = [logits.classes as u32; LANES];
            for class in (0..logits.classes).rev() {
                let z = logits.of(class, first);
                for i in 0..LANES {
                    if z[i] == softmax.largest[i] {
                        best[i] = class as u32;
                    }
                    if label[i] == class as u32 {
                        expected[i] = z[i] - softmax.largest[i];
                    }
                }
            }
            let count = LANES.min(labels.len() - first);
            for sample in 0..count {
                let loss = ln(softmax.sum[sample]) - expected[sample];
                *total += f64::from(loss);
                predicted[first + sample] =
                    if loss.is_nan() { logits.classes as u32 } else { best[sample] };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::lanes::Isa;
    use super::*;

    /// Loss and gradient of one sample in float64.
    fn reference(z: &[f64], label: usize, eps: f64) -> (f64, Vec<f64>) {
        let n = z.len() as f64;
        let largest = z.iter().fold(f64::MIN, |a, &b| a.max(b));
        let sum: f64 = z.iter().map(|z| (z - largest).exp()).sum();
        let target = |c| eps / n + if c == label { 1.0 - eps } else { 0.0 };
        let log_p = |c: usize| z[c] - largest - sum.ln();
        let loss = -(0..z.len()).map(|c| target(c) * log_p(c)).sum::<f64>();
        (loss, (0..z.len()).map(|c| log_p(c).exp() - target(c)).collect())
    }

    #[test]
    fn loss_and_gradient_agree_with_float64_whatever_the_batch_and_the_logits_size() {
        for (samples, classes, eps, size) in
            [(1, 2, 0.0, 1.0), (16, 10, 0.0, 5.0), (17, 10, 0.1, 80.0), (33, 3, 0.3, 1e4)]
        {
            let place = |s: usize, c: usize| (s / LANES * classes + c, s % LANES);
            let z = |s: usize, c: usize| size * ((s * 31 + c * 17 + 5) as f64 * 0.7).sin();
            let mut values = vec![Block::ZERO; classes * usize::div_ceil(samples, LANES)];
            for s in 0..samples {
                for c in 0..classes {
                    let (block, lane) = place(s, c);
                    values[block].0[lane] = z(s, c) as f32;
                }
            }
            let labels: Vec<u8> = (0..samples).map(|s| (s * 7 % classes) as u8).collect();
            let logits = Logits { values: &values, classes };
            for isa in Isa::available() {
                let mut delta_t = vec![Block::ZERO; values.len()];
                let mut delta = vec![Block::ZERO; samples];
                let loss = isa.run(Train {
                    logits,
                    labels: &labels,
                    smoothing: eps as f32,
                    delta_t: &mut delta_t,
                    delta: &mut delta,
                    delta_stride: samples,
                });
                let mut expected = 0.0;
                for s in 0..samples {
                    let at = |from: &[Block], c| {
                        let (block, lane) = place(s, c);
                        from[block].0[lane]
                    };
                    let row: Vec<f64> = (0..classes).map(|c| f64::from(at(&values, c))).collect();
                    let (l, d) = reference(&row, usize::from(labels[s]), eps);
                    expected += l;
                    for c in 0..classes {
                        let d = d[c] / samples as f64;
                        assert!((f64::from(delta[s].0[c]) - d).abs() < 1e-6);
                        assert_eq!(delta[s].0[c], at(&delta_t, c));
                    }
                }
                assert!((loss - expected).abs() <= 2e-6 * expected.max(1.0), "{loss} {expected}");
            }
        }
    }

    #[test]
    fn ties_go_to_the_lower_class_and_a_logit_that_is_not_a_number_is_wrong() {
        let mut values = [Block::ZERO; 3];
        values[1].0[0] = f32::NAN; // sample 0, class 1
        values[2].0[2] = 1.0; // sample 2, class 2
        let logits = Logits { values: &values, classes: 3 };
        for isa in Isa::available() {
            let mut predicted = [9; 3];
            let mut loss = 0.0;
            let (labels, total) = (&[0, 0, 2], &mut loss);
            isa.run(Score { logits, labels, predicted: &mut predicted, total });
            assert_eq!(predicted, [3, 0, 2]);
            assert!(loss.is_nan());
        }
    }
}
