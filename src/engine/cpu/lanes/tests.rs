use super::*;
use crate::random::{Purpose, Stream, symmetric_f32};

struct Sums([[f32; LANES]; 16]);

impl Kernel for Sums {
    type Output = (Block, Block, [f32; 4]);
    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> Self::Output {
        let loaded = self.0.map(|v| lanes.load(&Block(v)));
        let four = [loaded[0], loaded[1], loaded[2], loaded[3]];
        let mut pairs = [Block::ZERO; PAIRS];
        for i in 0..PAIRS {
            lanes.halve(loaded[2 * i], loaded[2 * i + 1], &mut pairs[i]);
        }
        (lanes.sum16(loaded), lanes.sum_halves(&pairs), lanes.sum4(four))
    }
}

#[test]
fn every_instruction_set_sums_a_vector_by_the_same_tree() {
    let stream = Stream::new(1, Purpose::Init(0), 0);
    for round in 0..50 {
        let vectors = std::array::from_fn(|v| {
            std::array::from_fn(|i| {
                symmetric_f32(stream.word(round * 256 + v as u64 * 16 + i as u64), 1.0)
            })
        });
        let expected = vectors.map(fold);
        for isa in Isa::available() {
            let (sixteen, pairs, four) = isa.run(Sums(vectors));
            assert_eq!(sixteen.0, expected, "{}", isa.name());
            assert_eq!(pairs.0, expected, "{}", isa.name());
            assert_eq!(four, expected[..4], "{}", isa.name());
        }
    }
}

struct Transpose([Block; LANES]);

impl Kernel for Transpose {
    type Output = [Block; LANES];
    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> Self::Output {
        let mut columns = [Block::ZERO; LANES];
        lanes.transpose(&self.0, &mut columns);
        columns
    }
}

#[test]
fn every_instruction_set_makes_rows_of_columns() {
    let at = |row: usize, column: usize| (16 * row + column) as f32;
    let rows = std::array::from_fn(|i| Block(std::array::from_fn(|j| at(i, j))));
    for isa in Isa::available() {
        for (i, row) in isa.run(Transpose(rows)).iter().enumerate() {
            assert_eq!(row.0, std::array::from_fn(|j| at(j, i)), "{}", isa.name());
        }
    }
}

#[test]
fn a_walk_yields_the_runs_that_indexing_gives_and_no_more() {
    let items: Vec<usize> = (0..20).collect();
    let runs: Vec<[usize; 3]> = Walk::new(&items[2..], 5, 4).copied().collect();
    assert_eq!(runs, [[2, 3, 4], [7, 8, 9], [12, 13, 14], [17, 18, 19]]);
    assert_eq!(Walk::<usize, 3>::new(&[], 5, 0).count(), 0);
}

#[test]
fn what_would_leave_its_memory_panics_even_where_the_sum_wraps_around() {
    let refused = |f: fn()| std::panic::catch_unwind(f).is_err();
    let row = [[0u8; LANES]; 4];
    assert_eq!(ByteRows::new(&[&row, &row]).columns::<3>(1, 0..2).count(), 2);
    assert!(refused(|| _ = Walk::<i32, 3>::new(&[0; 17], 5, 4)));
    assert!(refused(|| _ = Walk::<i32, 3>::new(&[0; 18], usize::MAX / 2, 4)));
    assert!(refused(|| _ = ByteRows::new(&[&[[0; LANES]; 4]]).columns::<3>(2, 0..1)));
    assert!(refused(|| _ = ByteRows::new(&[&[[0; LANES]; 4]]).columns::<3>(usize::MAX, 0..1)));
    assert!(refused(|| _ = ByteRows::new(&[&[[0; LANES]; 4]]).columns::<3>(0, 0..2)));
}

struct Bytes([u8; LANES]);

impl Kernel for Bytes {
    type Output = Block;
    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> Block {
        let mut out = Block::ZERO;
        let one = lanes.fma(lanes.load_u8(&self.0), lanes.splat(2.0), lanes.splat(1.0));
        lanes.store(lanes.flush(lanes.mul(one, lanes.splat(0.5))), &mut out);
        out
    }
}

#[test]
fn every_instruction_set_converts_bytes_exactly() {
    for start in 0..=240 {
        let bytes = std::array::from_fn(|i| start + i as u8);
        for isa in Isa::available() {
            let expected = bytes.map(|b| f32::from(b) + 0.5);
            assert_eq!(isa.run(Bytes(bytes)).0, expected, "{}", isa.name());
        }
    }
}
