//! The grouped GEMM against float64: every product, precision and tile configuration.
//!
//! An error is measured against the sum of the absolute products of its element (and its bias): that is
//! what rounding is proportional to, whatever cancels in the sum. The bar is 1e-5 of it in FP32 and
//! 3xTF32, 2e-3 in TF32. Whatever a kernel must not use (padding, rows that are not live) is NaN.

mod common;

use std::sync::LazyLock;

use common::cuda::{Gpu, gemm, gpu};
use warpsweep::engine::cuda::launch::Buffer;
use warpsweep::engine::cuda::launch::gemm::{Dropout, Gemm, GemmProblem, Grouped, Product, Step};
use warpsweep::engine::cuda::tiles::{Precision, Tile};
use warpsweep::random::{Purpose, Stream, symmetric_f32, unit_f32};

const PRODUCTS: [Product; 3] = [Product::Forward, Product::WeightGradient, Product::InputGradient];
/// What C holds where nothing was written.
const UNTOUCHED: f32 = 123.0;

/// The device with the kernels of every precision that it can run.
struct Bench {
    gpu: Gpu,
    kernels: Vec<(Precision, Gemm)>,
}

static BENCH: LazyLock<Option<Bench>> = LazyLock::new(|| {
    let gpu = gpu()?;
    let load = |precision| Some((precision, gemm(&gpu, precision)?));
    let kernels = Precision::ALL.into_iter().filter_map(load).collect();
    Some(Bench { gpu, kernels })
});

fn bar(precision: Precision) -> f64 {
    match precision {
        Precision::Fp32 | Precision::Tf32x3 => 1e-5,
        Precision::Tf32 => 2e-3,
    }
}

/// A product and all that may happen to its sums.
#[derive(Clone, Copy, Debug)]
struct Case {
    product: Product,
    m: usize,
    n: usize,
    k: usize,
    /// Samples of the step, where there is one.
    rows: Option<usize>,
    training: bool,
    bias: bool,
    /// Whether there is a z.
    z: bool,
    activation: u32,
    dropout: Option<f32>,
}

impl Case {
    fn plain(product: Product, [m, n, k]: [usize; 3]) -> Case {
        let (rows, training, bias, z, activation, dropout) = (None, true, false, false, 0, None);
        Case { product, m, n, k, rows, training, bias, z, activation, dropout }
    }
}

/// Rows x columns of random values in [-1, 1), NaN beyond `columns` and from row `live` on.
struct Matrix {
    values: Vec<f32>,
    stride: usize,
}

impl Matrix {
    fn random(seed: u64, [rows, columns]: [usize; 2], live: usize) -> Matrix {
        let (stream, stride) =
            (Stream::new(seed, Purpose::Synthetic(0), 0), columns.next_multiple_of(4) + 4);
        let value = |at: usize| match at / stride < live && at % stride < columns {
            true => symmetric_f32(stream.word(at as u64), 1.0),
            false => f32::NAN,
        };
        Matrix { values: (0..rows * stride).map(value).collect(), stride }
    }

    fn at(&self, row: usize, column: usize) -> f64 {
        f64::from(self.values[row * self.stride + column])
    }
}

/// A case on the device, with what the host needs to check it.
struct Placed {
    case: Case,
    a: Matrix,
    b: Matrix,
    z: Matrix,
    bias: Vec<f32>,
    c: Buffer<f32>,
    z_buffer: Buffer<f32>,
    problem: GemmProblem,
    /// The problem points into them.
    operands: [Buffer<f32>; 3],
    _step: Buffer<Step>,
    _dropout: Buffer<Dropout>,
}

const BEFORE: u64 = 5_000_000_000;

impl Placed {
    fn new(gpu: &Gpu, case: Case, seed: u64) -> Placed {
        let Case { product, m, n, k, .. } = case;
        let (live_m, live_k) = (case.live_m(), case.live_k());
        let (a, b) = match product {
            Product::Forward => ([m, k], [k, n]),
            Product::WeightGradient => ([k, m], [k, n]),
            Product::InputGradient => ([m, k], [n, k]),
        };
        let (live_a, live_b) = match product {
            Product::WeightGradient => (live_k, live_k),
            _ => (live_m, b[0]),
        };
        let a = Matrix::random(3 * seed, a, live_a);
        let b = Matrix::random(3 * seed + 1, b, live_b);
        let z = Matrix::random(3 * seed + 2, [m, n], live_m);
        let bias: Vec<f32> =
            z.values[..n].iter().map(|x| if x.is_nan() { 0.5 } else { *x }).collect();
        let stream = &gpu.stream;
        let upload = |values: &[f32]| Buffer::from_slice(stream, values).expect("room");
        let c = upload(&vec![UNTOUCHED; z.values.len()]);
        let reads_z = product == Product::InputGradient;
        let z_buffer =
            if reads_z { upload(&z.values) } else { upload(&vec![UNTOUCHED; z.values.len()]) };
        let operands = [upload(&a.values), upload(&b.values), upload(&bias)];
        let rows = case.rows.unwrap_or_default() as u32;
        let step = Step { rows, training: u32::from(case.training), before: BEFORE };
        let step = Buffer::from_slice(stream, &[step]).expect("room");
        let dropout = Dropout {
            seed: 99,
            trial: 7,
            purpose: Purpose::Dropout(1).word(),
            probability: case.dropout.unwrap_or_default(),
            units: n as u32,
        };
        let dropout = Buffer::from_slice(stream, &[dropout]).expect("room");
        let given = |is: bool, address: u64| if is { address } else { 0 };
        let problem = GemmProblem {
            a: operands[0].address(),
            b: operands[1].address(),
            c: c.address(),
            bias: given(case.bias, operands[2].address()),
            z: given(case.z, z_buffer.address()),
            step: given(case.rows.is_some(), step.address()),
            dropout: given(case.dropout.is_some(), dropout.address()),
            m: m as u32,
            n: n as u32,
            k: k as u32,
            lda: a.stride as u32,
            ldb: b.stride as u32,
            ldc: z.stride as u32,
            activation: case.activation,
            ..GemmProblem::default()
        };
        let (_step, _dropout) = (step, dropout);
        Placed { case, a, b, z, bias, c, z_buffer, problem, operands, _step, _dropout }
    }

    fn result(&self) -> Vec<f32> {
        self.c.download().expect("the result")
    }

    /// Compares all of C, and of z where it is an output, with float64.
    fn check(&self, bar: f64, what: &str) {
        let Case { n, product, .. } = self.case;
        let writes_z = self.case.z && product == Product::Forward;
        let (c, z) = (self.result(), self.z_buffer.download().expect("z"));
        let idle = self.case.rows == Some(0);
        let stride = self.z.stride;
        for (at, (&c, &z)) in c.iter().zip(&z).enumerate() {
            let (row, column) = (at / stride, at % stride);
            let place = || format!("{what}, {:?}, row {row}, column {column}", self.case);
            if idle || row >= self.case.live_m() || column >= n.next_multiple_of(4) {
                assert_eq!(c, UNTOUCHED, "written: {}", place());
            } else if column >= n {
                assert!(c == 0.0 && (!writes_z || z == 0.0), "padding {c}, {z}: {}", place());
            } else {
                let exact = self.exact(row, column);
                // 1.2: the steepest activation's slope. The last term: of an empty sum.
                let scale = 1.2 * exact.scale + 1e-30;
                let off = |value: f32, exact: f64| (f64::from(value) - exact).abs() / scale;
                let error = off(c, exact.c);
                // Not `error > bar`: a NaN must fail.
                assert!(error <= bar, "{c} for {}, off by {error:.1e}: {}", exact.c, place());
                assert!(exact.kept || c == 0.0, "{c} though dropped: {}", place());
                if writes_z {
                    let error = off(z, exact.z);
                    assert!(error <= bar, "z {z} for {}, off by {error:.1e}: {}", exact.z, place());
                }
            }
        }
    }

    fn exact(&self, row: usize, column: usize) -> Exact {
        let Case { product, activation, .. } = self.case;
        let (mut sum, mut scale) = (0.0, 0.0);
        for l in 0..self.case.live_k() {
            let a = match product {
                Product::WeightGradient => self.a.at(l, row),
                _ => self.a.at(row, l),
            };
            let b = match product {
                Product::InputGradient => self.b.at(column, l),
                _ => self.b.at(l, column),
            };
            sum += a * b;
            scale += (a * b).abs();
        }
        let factor = self.dropout_factor(row, column);
        let kept = factor > 0.0;
        match product {
            Product::Forward => {
                let bias = if self.case.bias { f64::from(self.bias[column]) } else { 0.0 };
                let (z, scale) = (sum + bias, scale + bias.abs());
                Exact {
                    c: activate(activation, z).0 * factor,
                    z,
                    scale: scale * factor.max(1.0),
                    kept,
                }
            }
            Product::WeightGradient => Exact { c: sum, z: 0.0, scale, kept: true },
            Product::InputGradient => {
                let z = self.z.at(row, column);
                let slope = if self.case.z { activate(activation, z).1 } else { 1.0 };
                Exact { c: sum * slope * factor, z, scale: scale * factor.max(1.0), kept }
            }
        }
    }

    fn dropout_factor(&self, row: usize, column: usize) -> f64 {
        let Case { product, n, rows, training, .. } = self.case;
        let (Some(p), Some(_), true) = (self.case.dropout, rows, training) else { return 1.0 };
        if product == Product::WeightGradient {
            return 1.0;
        }
        let stream = Stream::new(99, Purpose::Dropout(1), 7);
        let word = (BEFORE + row as u64) * n.next_multiple_of(16) as u64 + column as u64;
        if unit_f32(stream.word(word)) < p { 0.0 } else { 1.0 / (1.0 - f64::from(p)) }
    }
}

impl Case {
    fn live_m(&self) -> usize {
        if self.product == Product::WeightGradient { self.m } else { self.rows.unwrap_or(self.m) }
    }

    fn live_k(&self) -> usize {
        if self.product == Product::WeightGradient { self.rows.unwrap_or(self.k) } else { self.k }
    }
}

/// An element of C and of z in float64.
struct Exact {
    c: f64,
    z: f64,
    /// The sum of absolute products, bias included, by which an error is measured.
    scale: f64,
    kept: bool,
}

/// Value and derivative of an activation, by its number.
fn activate(activation: u32, z: f64) -> (f64, f64) {
    match activation {
        0 => (z, 1.0),
        1 => (z.max(0.0), f64::from(u8::from(z > 0.0))),
        2 => (libm::tanh(z), 1.0 - libm::tanh(z).powi(2)),
        3 => {
            let h = 1.0 / (1.0 + libm::exp(-z));
            (h, h * (1.0 - h))
        }
        4 => {
            let below = 0.5 * (1.0 + libm::erf(z / 2f64.sqrt()));
            let density = libm::exp(-0.5 * z * z) / std::f64::consts::TAU.sqrt();
            (z * below, below + z * density)
        }
        _ => unreachable!("an activation"),
    }
}

/// Shapes around the edges of a tile, and of the pieces in which k is summed.
fn shapes(tile: Tile) -> Vec<[usize; 3]> {
    let (m, n) = (tile.m as usize, tile.n as usize);
    vec![
        [1, 1, 1],
        [m, n, 32],
        [m + 1, n - 1, 17],
        [m - 1, n + 1, 67],
        [37, 29, 8],
        [m, 3, 5],
        [2, n, 131],
    ]
}

fn launch(
    bench: &Bench,
    gemm: &Gemm,
    product: Product,
    problems: &[GemmProblem],
    tile: Option<Tile>,
) {
    let stream = &bench.gpu.stream;
    let grouped = match tile {
        Some(tile) => Grouped::with_tiles(gemm, stream, product, problems, |_| tile),
        None => Grouped::new(gemm, stream, product, problems),
    };
    let grouped = grouped.expect("tables");
    grouped.launch(stream).expect("a launch");
    stream.synchronize().expect("kernels that run");
}

#[test]
fn every_product_in_every_precision_and_tile_agrees_with_float64() {
    let Some(bench) = &*BENCH else { return };
    for (precision, gemm) in &bench.kernels {
        let tiles: Vec<Tile> = gemm.tiles().collect();
        for (product, &tile) in PRODUCTS.iter().flat_map(|p| tiles.iter().map(move |t| (*p, t))) {
            let cases = shapes(tile).into_iter().map(|shape| Case::plain(product, shape));
            let placed: Vec<Placed> = cases
                .enumerate()
                .map(|(i, case)| Placed::new(&bench.gpu, case, i as u64))
                .collect();
            let problems: Vec<GemmProblem> = placed.iter().map(|p| p.problem).collect();
            launch(bench, gemm, product, &problems, Some(tile));
            for placed in &placed {
                placed.check(bar(*precision), &format!("{precision:?} {tile:?}"));
            }
        }
    }
}

#[test]
fn what_follows_the_sum_agrees_with_float64_and_dead_rows_are_left_alone() {
    let Some(bench) = &*BENCH else { return };
    for (precision, gemm) in &bench.kernels {
        // In the tile for their shape, and in the largest, which sums in its own way.
        let largest = gemm.tiles().filter(|tile| *tile == Tile::LARGEST);
        let tiles: Vec<Option<Tile>> = [None].into_iter().chain(largest.map(Some)).collect();
        for (product, tile) in PRODUCTS.iter().flat_map(|p| tiles.iter().map(move |t| (*p, *t))) {
            let mut placed = Vec::new();
            for (i, rows) in [0, 1, 19, 23].into_iter().enumerate() {
                for activation in 0..5 {
                    let plain = Case::plain(product, [23, 41, 30]);
                    let plain = match product {
                        Product::WeightGradient => Case { m: 30, k: 23, ..plain },
                        _ => plain,
                    };
                    let case = Case {
                        rows: Some(rows),
                        activation,
                        bias: true,
                        z: product != Product::WeightGradient,
                        dropout: (activation > 0).then_some(0.3),
                        training: activation != 2,
                        ..plain
                    };
                    placed.push(Placed::new(
                        &bench.gpu,
                        case,
                        (10 * i) as u64 + u64::from(activation),
                    ));
                }
            }
            let problems: Vec<GemmProblem> = placed.iter().map(|p| p.problem).collect();
            launch(bench, gemm, product, &problems, tile);
            for placed in &placed {
                placed.check(bar(*precision), &format!("{precision:?} {tile:?}"));
            }
        }
    }
}

#[test]
fn a_problem_has_the_same_bits_alone_and_in_a_group_of_any_order() {
    let Some(bench) = &*BENCH else { return };
    let shapes = [[5, 10, 300], [70, 11, 90], [9, 100, 200], [40, 50, 60], [130, 10, 257]];
    for (precision, gemm) in &bench.kernels {
        for product in PRODUCTS {
            let run = |order: &[usize]| -> Vec<Vec<u32>> {
                let place =
                    |&i: &usize| Placed::new(&bench.gpu, Case::plain(product, shapes[i]), i as u64);
                let placed: Vec<Placed> = order.iter().map(place).collect();
                let problems: Vec<GemmProblem> = placed.iter().map(|p| p.problem).collect();
                launch(bench, gemm, product, &problems, None);
                let bits = |p: &Placed| p.result().iter().map(|x| x.to_bits()).collect();
                placed.iter().map(bits).collect()
            };
            let together = run(&[4, 2, 0, 3, 1, 0]);
            for (place, index) in [4, 2, 0, 3, 1, 0].into_iter().enumerate() {
                let alone = run(&[index]);
                assert!(
                    together[place] == alone[0],
                    "{precision:?} {product:?} {:?}",
                    shapes[index]
                );
            }
        }
    }
}

#[test]
fn what_is_not_finite_never_becomes_a_number() {
    let Some(bench) = &*BENCH else { return };
    // A result of arithmetic, the least and greatest payload of either sign, infinities.
    let bits = [0x7fff_ffff, 0x7f80_0001, 0xffff_ffff, 0xff80_0001, 0x7f80_0000, 0xff80_0000];
    for (precision, gemm) in &bench.kernels {
        for (product, bits) in PRODUCTS.into_iter().flat_map(|p| bits.map(|bits| (p, bits))) {
            let mut placed = Placed::new(&bench.gpu, Case::plain(product, [20, 9, 17]), 1);
            // The first element of A is in every element of C's first row.
            placed.operands[0].upload(0, &[f32::from_bits(bits)]).expect("an upload");
            launch(bench, gemm, product, &[placed.problem], None);
            let row = &placed.result()[..9];
            let lost = row.iter().any(|value| value.is_finite());
            assert!(!lost, "{precision:?} {product:?}, {bits:#x}: {row:?}");
        }
    }
}
