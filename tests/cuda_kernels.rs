//! Single kernels of the CUDA engine on awkward shapes: bit for bit with the host where numbers are
//! drawn or moved, against float64 where they are computed. The products have a file of their own
//! (`cuda_gemm.rs`), and so have the update (`cuda_sgd.rs`) and the clock (`cuda_begin.rs`).

mod common;

use bytemuck::Zeroable;
use common::cuda::{Gpu, buffer, gemm, gpu, keys, tiles, zeros};
use common::samples;
use warpsweep::engine::cuda::launch::gather::{self, Gather};
use warpsweep::engine::cuda::launch::gemm::{Dropout, Gemm, GemmProblem, Grouped, Product, Step};
use warpsweep::engine::cuda::launch::init::{self, Init, InitTensor};
use warpsweep::engine::cuda::launch::softmax_xent::{self, SoftmaxXent};
use warpsweep::engine::cuda::launch::trial::{Clock, Data, Plan, Samples};
use warpsweep::engine::cuda::tiles::Precision;
use warpsweep::random::{Purpose, Shuffle, Stream, symmetric_f32, unit_f32};

#[test]
fn a_gathered_batch_is_the_hosts_shuffle_and_quotient_bit_for_bit() {
    let Some(gpu) = gpu() else { return };
    let module = gpu.compiler.kernels(&gpu.device, "gather.cu").expect("a module");
    let kernel = Gather::new(&module).expect("the kernel");
    for (count, inputs, first, rows) in
        [(37, 35, 20, 17), (256, 4, 0, 256), (5, 1, 4, 1), (64, 784, 9, 3)]
    {
        let mut host = samples(count, inputs, 10, 0);
        let mut bytes = host.pixels.to_vec();
        // Every byte occurs.
        bytes.iter_mut().enumerate().for_each(|(i, pixel)| *pixel = (i * 7 + i / 256) as u8);
        host.pixels = bytes.into();
        let (pixels, labels) = (buffer(&gpu, &host.pixels), buffer(&gpu, &host.labels));
        let part = Samples {
            pixels: pixels.address(),
            labels: labels.address(),
            count: count as u32,
            pad: 0,
        };
        let data = Data { training: part, validation: part, inputs: inputs as u32, classes: 10 };
        let stride = inputs.next_multiple_of(4);
        let (out, out_labels) = (zeros::<f32>(&gpu, rows * stride), zeros::<u32>(&gpu, rows));
        let plan = Plan {
            inputs: out.address(),
            labels: out_labels.address(),
            input_stride: stride as u32,
            shuffled: 1,
            ..Plan::zeroed()
        };
        let clock = Clock {
            step: Step { rows: rows as u32, training: 1, before: 0 },
            first: first as u32,
            keys: keys(11, 3, 2),
            ..Clock::zeroed()
        };
        let (plans, clocks) = (buffer(&gpu, &[plan]), buffer(&gpu, &[clock]));
        let (tiles, data) = (buffer(&gpu, &tiles(0, rows, gather::ROWS)), buffer(&gpu, &[data]));
        kernel.launch(&gpu.stream, &plans, &clocks, &tiles, &data).expect("a launch");
        let (got, got_labels) =
            (out.download().expect("values"), out_labels.download().expect("labels"));
        let shuffle = Shuffle::new(count, 11, 3, 2);
        for row in 0..rows {
            let sample = shuffle.index((first + row) as u32) as usize;
            assert_eq!(got_labels[row], u32::from(host.labels[sample]), "label of row {row}");
            for input in 0..inputs {
                let expected = f32::from(host.pixels[sample * inputs + input]) / 255.0;
                assert_eq!(got[row * stride + input].to_bits(), expected.to_bits());
            }
        }
    }
}

/// Runs `softmax_xent` over rows of logits; returns losses, predictions and gradients.
fn xent(
    gpu: &Gpu,
    logits: &[Vec<f32>],
    labels: &[u32],
    smoothing: f32,
    training: bool,
) -> (Vec<f32>, Vec<u32>, Vec<Vec<f32>>) {
    let module = gpu.compiler.kernels(&gpu.device, "softmax_xent.cu").expect("a module");
    let kernel = SoftmaxXent::new(&module).expect("the kernel");
    let (rows, classes) = (logits.len(), logits[0].len());
    let stride = classes.next_multiple_of(4);
    let mut padded = vec![0.0; rows * stride];
    for (row, values) in logits.iter().enumerate() {
        padded[row * stride..][..classes].copy_from_slice(values);
    }
    let (z, delta) = (buffer(gpu, &padded), zeros::<f32>(gpu, rows * stride));
    let (losses, predicted) = (zeros::<f32>(gpu, rows), zeros::<u32>(gpu, rows));
    let labels = buffer(gpu, labels);
    let plan = Plan {
        labels: labels.address(),
        logits: z.address(),
        delta: delta.address(),
        losses: losses.address(),
        predicted: predicted.address(),
        class_stride: stride as u32,
        smoothing,
        ..Plan::zeroed()
    };
    let step = Step { rows: rows as u32, training: u32::from(training), before: 0 };
    let clock = Clock { step, ..Clock::zeroed() };
    let data = Data { inputs: 1, classes: classes as u32, ..Data::zeroed() };
    let (plans, clocks) = (buffer(gpu, &[plan]), buffer(gpu, &[clock]));
    let (tiles, data) = (buffer(gpu, &tiles(0, rows, softmax_xent::ROWS)), buffer(gpu, &[data]));
    kernel.launch(&gpu.stream, &plans, &clocks, &tiles, &data).expect("a launch");
    let delta = delta.download().expect("gradients");
    let delta = delta.chunks(stride).map(|row| row[..classes].to_vec()).collect();
    (losses.download().expect("losses"), predicted.download().expect("predictions"), delta)
}

#[test]
fn loss_and_gradient_agree_with_float64_whatever_the_classes_and_the_logits_size() {
    let Some(gpu) = gpu() else { return };
    for (rows, classes, smoothing, size) in [
        (1, 2, 0.0f32, 1.0),
        (17, 10, 0.1, 5.0),
        (33, 16, 0.0, 80.0),
        (16, 17, 0.3, 1e4),
        (3, 100, 0.1, 2.0),
    ] {
        let z = |row: usize, c: usize| size * ((row * 31 + c * 17 + 5) as f64 * 0.7).sin();
        let logits: Vec<Vec<f32>> =
            (0..rows).map(|row| (0..classes).map(|c| z(row, c) as f32).collect()).collect();
        let labels: Vec<u32> = (0..rows).map(|row| (row * 7 % classes) as u32).collect();
        let (losses, _, delta) = xent(&gpu, &logits, &labels, smoothing, true);
        for row in 0..rows {
            let z: Vec<f64> = logits[row].iter().map(|&z| f64::from(z)).collect();
            let largest = z.iter().fold(f64::MIN, |a, &b| a.max(b));
            let sum: f64 = z.iter().map(|z| (z - largest).exp()).sum();
            let eps = f64::from(smoothing);
            let target = |c: usize| {
                eps / classes as f64 + if c as u32 == labels[row] { 1.0 - eps } else { 0.0 }
            };
            let log_p = |c: usize| z[c] - largest - sum.ln();
            let loss = -(0..classes).map(|c| target(c) * log_p(c)).sum::<f64>();
            let got = f64::from(losses[row]);
            assert!((got - loss).abs() <= 1e-5 * loss.abs().max(1e-2), "loss {got}, not {loss}");
            for (c, &got) in delta[row].iter().enumerate() {
                let expected = (log_p(c).exp() - target(c)) / rows as f64;
                let got = f64::from(got);
                assert!((got - expected).abs() <= 1e-6 / rows as f64, "{got}, not {expected}");
            }
        }
    }
}

#[test]
fn ties_go_to_the_lower_class_and_a_logit_that_is_not_a_number_is_wrong() {
    let Some(gpu) = gpu() else { return };
    let logits = [[0.0, f32::NAN, 0.0], [0.0; 3], [-1.0, 2.0, 2.0], [0.0, 0.0, 1.0]].map(Vec::from);
    let (losses, predicted, _) = xent(&gpu, &logits, &[0, 0, 2, 2], 0.1, false);
    assert_eq!(predicted, [3, 0, 1, 2]);
    assert!(losses[0].is_nan() && losses[1..].iter().all(|loss| loss.is_finite()));
    // Scoring never smooths.
    assert!((f64::from(losses[1]) - 3f64.ln()).abs() < 1e-6);
}

#[test]
fn initial_values_are_the_hosts_bit_for_bit_and_padding_is_left_alone() {
    let Some(gpu) = gpu() else { return };
    let module = gpu.compiler.kernels(&gpu.device, "init.cu").expect("a module");
    let kernel = Init::new(&module).expect("the kernel");
    // A bias is a tensor of one input. The largest needs more than one block of threads.
    let shapes: [(usize, usize); 6] = [(1, 1), (1, 10), (35, 7), (784, 10), (3, 130), (128, 11)];
    let (mut tensors, mut work, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for (index, (inputs, outputs)) in shapes.into_iter().enumerate() {
        let stride = outputs.next_multiple_of(4) + 4;
        let room = zeros::<f32>(&gpu, inputs * stride);
        tensors.push(InitTensor {
            seed: 0x0123_4567_89ab_cdef,
            values: room.address(),
            trial: 7 + index as u32,
            purpose: Purpose::Init(index as u16).word(),
            inputs: inputs as u32,
            outputs: outputs as u32,
            stride: stride as u32,
            bound: 1.0 / (inputs as f32).sqrt(),
        });
        work.extend(tiles(index, (inputs * outputs).div_ceil(4), init::BLOCKS));
        values.push(room);
    }
    let (tensors_there, work) = (buffer(&gpu, &tensors), buffer(&gpu, &work));
    kernel.launch(&gpu.stream, &tensors_there, &work).expect("a launch");
    for (index, (tensor, values)) in tensors.iter().zip(&values).enumerate() {
        let stream = Stream::new(tensor.seed, Purpose::Init(index as u16), tensor.trial);
        let stride = tensor.stride as usize;
        for (at, got) in values.download().expect("values").into_iter().enumerate() {
            let (input, output) = ((at / stride) as u64, (at % stride) as u64);
            let expected = match output < u64::from(tensor.outputs) {
                true => {
                    let word = stream.word(output * u64::from(tensor.inputs) + input);
                    symmetric_f32(word, tensor.bound)
                }
                false => 0.0,
            };
            assert_eq!(got.to_bits(), expected.to_bits(), "tensor {index}, {input}, {output}");
        }
    }
}

/// What dropout multiplies ones by, `[rows][units]`, in a product that can drop.
fn dropped(
    gpu: &Gpu,
    gemm: &Gemm,
    product: Product,
    dropout: Dropout,
    (rows, step): (usize, Step),
) -> Vec<Vec<f32>> {
    let units = dropout.units as usize;
    let stride = units.next_multiple_of(4);
    // k is one: the sum is 1 x 1, exact in every precision.
    let (a, c) = (buffer(gpu, &vec![1.0f32; rows * 4]), zeros::<f32>(gpu, rows * stride));
    let (b, ldb) = match product {
        Product::Forward => (buffer(gpu, &vec![1.0f32; stride]), stride),
        _ => (buffer(gpu, &vec![1.0f32; units * 4]), 4),
    };
    let (step, dropout) = (buffer(gpu, &[step]), buffer(gpu, &[dropout]));
    let problem = GemmProblem {
        a: a.address(),
        b: b.address(),
        c: c.address(),
        step: step.address(),
        dropout: dropout.address(),
        m: rows as u32,
        n: units as u32,
        k: 1,
        lda: 4,
        ldb: ldb as u32,
        ldc: stride as u32,
        ..GemmProblem::default()
    };
    let grouped = Grouped::new(gemm, &gpu.stream, product, &[problem]).expect("tables");
    grouped.launch(&gpu.stream).expect("a launch");
    c.download().expect("values").chunks(stride).map(|row| row[..units].to_vec()).collect()
}

#[test]
fn dropout_takes_the_trials_own_words_and_scales_bit_for_bit_in_both_directions() {
    let Some(gpu) = gpu() else { return };
    for precision in Precision::ALL {
        let Some(gemm) = gemm(&gpu, precision) else { continue };
        // Units on both sides of sixteen; positions beyond 32 bits.
        for (units, rows, p, before) in
            [(1usize, 5, 0.5, 0), (15, 3, 0.1, 7), (16, 17, 0.9, 1 << 33), (41, 70, 0.3, 12_345)]
        {
            let (seed, trial, layer) = (0xfeed_beef_0042, 9, Purpose::Dropout(3));
            let dropout =
                Dropout { seed, trial, purpose: layer.word(), probability: p, units: units as u32 };
            let stream = Stream::new(seed, layer, trial);
            for product in [Product::Forward, Product::InputGradient] {
                let run = |training| {
                    let step = Step { rows: rows as u32, training, before };
                    dropped(&gpu, &gemm, product, dropout, (rows, step))
                };
                for (row, values) in run(1).iter().enumerate() {
                    for (unit, value) in values.iter().enumerate() {
                        let first = (before + row as u64) * units.next_multiple_of(16) as u64;
                        let word = stream.word(first + unit as u64);
                        let kept = if unit_f32(word) < p { 0.0 } else { 1.0 / (1.0 - p) };
                        let place = format!("{precision:?} {product:?}, row {row}, unit {unit}");
                        assert_eq!(value.to_bits(), kept.to_bits(), "{place}");
                    }
                }
                assert!(run(0).iter().flatten().all(|&value| value == 1.0), "scoring drops");
            }
        }
    }
}
