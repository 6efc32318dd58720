//! Single kernels of the CUDA engine on awkward shapes: bit for bit with the host where numbers are
//! drawn or moved, against float64 where they are computed.

mod common;

use bytemuck::Zeroable;
use common::cuda::{Gpu, gpu};
use common::samples;
use warpsweep::engine::cuda::launch::Buffer;
use warpsweep::engine::cuda::launch::gather::{self, Gather};
use warpsweep::engine::cuda::launch::gemm::Step;
use warpsweep::engine::cuda::launch::softmax_xent::{self, SoftmaxXent};
use warpsweep::engine::cuda::launch::trial::{Clock, Data, Plan, Samples, Tile};
use warpsweep::random::{Purpose, Shuffle, Stream};

fn buffer<T: bytemuck::Pod>(gpu: &Gpu, values: &[T]) -> Buffer<T> {
    Buffer::from_slice(&gpu.stream, values).expect("a buffer")
}

fn zeros<T: bytemuck::Pod>(gpu: &Gpu, len: usize) -> Buffer<T> {
    Buffer::zeroed(&gpu.stream, len).expect("a buffer")
}

fn tiles(rows: usize, size: usize) -> Vec<Tile> {
    (0..rows).step_by(size).map(|first| Tile { of: 0, first: first as u32 }).collect()
}

/// The round keys of an epoch's shuffle, as `begin` draws them.
fn keys(seed: u64, trial: u32, epoch: u64) -> [u32; 8] {
    let stream = Stream::new(seed, Purpose::Shuffle, trial);
    let [a, b] = [0, 1].map(|half| stream.block(2 * epoch + half));
    std::array::from_fn(|i| if i < 4 { a[i] } else { b[i - 4] })
}

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
        let (tiles, data) = (buffer(&gpu, &tiles(rows, gather::ROWS)), buffer(&gpu, &[data]));
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
    let (tiles, data) = (buffer(gpu, &tiles(rows, softmax_xent::ROWS)), buffer(gpu, &[data]));
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
