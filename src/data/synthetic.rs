//! The built-in data set: images made from a seed, for where there are no files and no network.

use super::{Dataset, Samples};
use crate::random::{Purpose, Stream, unit_f32};

const SEED: u64 = 2026;
const TRAIN: usize = 60_000;
const TEST: usize = 10_000;
const CLASSES: usize = 10;
const SIDE: usize = 28;
const PIXELS: usize = SIDE * SIDE;

/// An image shows a window of its canvas, shifted by up to so many pixels each way.
const SHIFT: usize = 1;
const CANVAS: usize = SIDE + 2 * SHIFT;

/// Shapes that only one class has, and shapes that it shares with its twin.
const OWN_STYLES: usize = 5;
const TWIN_STYLES: usize = 1;
const STYLES: usize = OWN_STYLES + TWIN_STYLES;
const BLOBS: usize = 9;

/// Marks on a shape that is shared with the twin class, and how strong they are at most.
const MARKS: usize = 2;
const MARK_STRENGTH: f32 = 0.9;

/// How much of a shape of any class is blended in at most; the half would hide which is which.
const BLEND: f32 = 0.54;

/// Amplitude of the noise of a pixel, and what is cut off below so that the background stays 0.
const NOISE: f32 = 90.0;
const CUT: f32 = 30.0;

/// Which random numbers are for what.
const SHAPES: Purpose = Purpose::Synthetic(0);
const TRAIN_SAMPLES: Purpose = Purpose::Synthetic(1);
const TEST_SAMPLES: Purpose = Purpose::Synthetic(2);

type Canvas = [f32; CANVAS * CANVAS];

/// Generates the data set: always the same bytes, on every machine.
pub fn generate() -> Dataset {
    generate_sized(TRAIN, TEST)
}

/// The first samples of the data set: so many for training, so many for testing.
pub fn generate_sized(train: usize, test: usize) -> Dataset {
    let shapes = Shapes::new();
    let train = shapes.samples(TRAIN_SAMPLES, train);
    let test = shapes.samples(TEST_SAMPLES, test);
    Dataset::new("synthetic", train, test, [SIDE, SIDE], CLASSES)
}

/// What the images are composed of.
struct Shapes {
    /// `[class][style]`; a class and its twin (`class ^ 1`) share the last [`TWIN_STYLES`].
    bodies: Vec<[Canvas; STYLES]>,
    /// `[class / 2][mark]`.
    marks: Vec<[Canvas; MARKS]>,
}

impl Shapes {
    fn new() -> Self {
        let body = |number| body(&Stream::new(SEED, SHAPES, number));
        let bodies = (0..CLASSES)
            .map(|class| {
                std::array::from_fn(|style| {
                    let owner = if style < OWN_STYLES { class } else { class & !1 };
                    body((owner * STYLES + style) as u32)
                })
            })
            .collect();
        let mark = |number| mark(&Stream::new(SEED, SHAPES, number));
        let first = CLASSES * STYLES;
        let marks = (0..CLASSES / 2)
            .map(|pair| std::array::from_fn(|i| mark((first + pair * MARKS + i) as u32)))
            .collect();
        Shapes { bodies, marks }
    }

    /// Samples `0..count` of a stream, on two threads: each sample is a function of its number.
    fn samples(&self, purpose: Purpose, count: usize) -> Samples {
        let mut pixels = vec![0; count * PIXELS];
        let mut labels = vec![0; count];
        let half = count / 2;
        let (first_pixels, last_pixels) = pixels.split_at_mut(half * PIXELS);
        let (first_labels, last_labels) = labels.split_at_mut(half);
        std::thread::scope(|scope| {
            scope.spawn(|| self.fill(purpose, 0, first_pixels, first_labels));
            self.fill(purpose, half, last_pixels, last_labels);
        });
        Samples { pixels, labels }
    }

    fn fill(&self, purpose: Purpose, first: usize, pixels: &mut [u8], labels: &mut [u8]) {
        let images = pixels.chunks_exact_mut(PIXELS);
        for (i, (image, label)) in images.zip(labels).enumerate() {
            *label = self.draw(&Stream::new(SEED, purpose, (first + i) as u32), image);
        }
    }

    /// Draws one image; returns its label.
    fn draw(&self, stream: &Stream, image: &mut [u8]) -> u8 {
        let [class, style, other, other_style] = stream.block(0);
        let [dx, dy, signs, strength] = stream.block(1);
        let [blend, mark_strength, ..] = stream.block(2);
        let below = |word: u32, n: usize| ((u64::from(word) * n as u64) >> 32) as usize;
        let class = below(class, CLASSES);
        let style = below(style, STYLES);
        let body = &self.bodies[class][style];
        let other = &self.bodies[below(other, CLASSES)][below(other_style, STYLES)];
        let brightness = 255.0 * (0.7 + 0.4 * unit_f32(strength));
        let blend = BLEND * unit_f32(blend);
        let [own, other_weight] = [1.0 - blend, blend].map(|share| share * brightness);

        // The twins differ in whether their two marks agree: no single pixel tells.
        let marks = &self.marks[class / 2];
        let sign = |negative: bool| if negative { -1.0 } else { 1.0 };
        let [first, differ] = [signs & 1 == 1, class & 1 == 1];
        let marked = f32::from(u8::from(style >= OWN_STYLES));
        let amount = marked * MARK_STRENGTH * brightness * (0.3 + 0.7 * unit_f32(mark_strength));
        let weights = [sign(first) * amount, sign(first != differ) * amount];

        let corner = below(dy, 2 * SHIFT + 1) * CANVAS + below(dx, 2 * SHIFT + 1);
        for (y, row) in image.chunks_exact_mut(SIDE).enumerate() {
            let start = corner + y * CANVAS;
            let window = |canvas: &Canvas| -> [f32; SIDE] {
                std::array::from_fn(|x| canvas[start + x])
            };
            let [body, other] = [window(body), window(other)];
            let [mark_a, mark_b] = [window(&marks[0]), window(&marks[1])];
            let noise = noise(stream, y as u64);
            for x in 0..SIDE {
                let shape = own * body[x] + other_weight * other[x];
                let marks = weights[0] * mark_a[x] + weights[1] * mark_b[x];
                row[x] = (shape + marks + noise[x] - CUT) as u8;
            }
        }
        class as u8
    }
}

/// Noise of one row of pixels: uniform, a byte of the stream each.
fn noise(stream: &Stream, row: u64) -> [f32; SIDE] {
    let blocks = [0, 1].map(|half| stream.block(4 + 2 * row + half));
    std::array::from_fn(|x| {
        let byte = (blocks[x / 16][x % 16 / 4] >> (8 * (x % 4))) as u8;
        (f32::from(byte) - 127.5) * (NOISE / 255.0)
    })
}

/// A shape with a bright inside and a black outside: a sum of Gaussian blobs, cut off below and above.
fn body(stream: &Stream) -> Canvas {
    let blobs: [Blob; BLOBS] = std::array::from_fn(|i| Blob::draw(stream, i as u64, 9.0, 2.0, 6.0));
    paint(|x, y| {
        let sum: f64 = blobs.iter().map(|blob| blob.weight * blob.at(x, y)).sum();
        (1.6 * (sum - 0.1)).clamp(0.0, 1.0)
    })
}

/// One round blob near the middle.
fn mark(stream: &Stream) -> Canvas {
    let blob = Blob::draw(stream, 0, 5.0, 2.0, 3.0);
    paint(|x, y| blob.at(x, y))
}

fn paint(value: impl Fn(f64, f64) -> f64) -> Canvas {
    std::array::from_fn(|i| value((i % CANVAS) as f64, (i / CANVAS) as f64) as f32)
}

/// A Gaussian bell with an axis of its own.
struct Blob {
    centre: [f64; 2],
    /// Inverse widths along and across the axis, 1/pixels.
    inverse: [f64; 2],
    cos: f64,
    sin: f64,
    weight: f64,
}

impl Blob {
    /// Blob number `index` of a stream: at most `spread` pixels from the middle, `narrow..wide`
    /// pixels of standard deviation.
    fn draw(stream: &Stream, index: u64, spread: f64, narrow: f64, wide: f64) -> Blob {
        let unit = |position: u64| f64::from(unit_f32(stream.word(8 * index + position)));
        let middle = (CANVAS - 1) as f64 / 2.0;
        let centre = [0, 1].map(|axis| middle + spread * (2.0 * unit(axis) - 1.0));
        let inverse = [2, 3].map(|axis| 1.0 / (narrow + (wide - narrow) * unit(axis)));
        let angle = std::f64::consts::PI * unit(4);
        let weight = if unit(5) < 0.25 { -0.8 } else { 0.5 + 0.5 * unit(6) };
        Blob { centre, inverse, cos: libm::cos(angle), sin: libm::sin(angle), weight }
    }

    fn at(&self, x: f64, y: f64) -> f64 {
        let [dx, dy] = [x - self.centre[0], y - self.centre[1]];
        let along = (self.cos * dx + self.sin * dy) * self.inverse[0];
        let across = (self.cos * dy - self.sin * dx) * self.inverse[1];
        libm::exp(-0.5 * (along * along + across * across))
    }
}
