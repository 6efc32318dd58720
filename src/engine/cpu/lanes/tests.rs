use super::*;
use crate::random::{Purpose, Stream, symmetric_f32};

struct Sums([[f32; LANES]; 16]);

impl Kernel for Sums {
    type Output = Block;
    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> Self::Output {
        let loaded = self.0.map(|v| lanes.load(&Block(v)));
        let mut pairs = [Block::ZERO; PAIRS];
        for i in 0..PAIRS {
            lanes.halve(loaded[2 * i], loaded[2 * i + 1], &mut pairs[i]);
        }
        lanes.sum_halves(&pairs)
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
            assert_eq!(isa.run(Sums(vectors)).0, expected, "{}", isa.name());
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

/// Runs in a slice.
fn runs<T>(items: &[T], stride: usize) -> Runs<'_, T> {
    Runs { items, stride }
}

#[test]
fn a_walk_yields_the_runs_that_indexing_gives_and_no_more() {
    let items: Vec<usize> = (0..20).collect();
    let walked: Vec<[usize; 3]> = Walk::new(runs(&items[2..], 5), 4).copied().collect();
    assert_eq!(walked, [[2, 3, 4], [7, 8, 9], [12, 13, 14], [17, 18, 19]]);
    assert_eq!(Walk::<usize, 3>::new(runs(&[], 5), 0).count(), 0);
}

#[test]
fn picks_are_the_members_of_all_sets_below_the_count_and_a_word_that_is_not_there_is_empty() {
    let sets: [&[u64]; 2] = [&[1 << 63 | 0b101, 0, 1 << 63], &[0b110, 0]];
    let picks = |count| Picks::new(sets, count).collect::<Vec<_>>();
    assert_eq!(picks(500), [0, 1, 2, 63, 191]);
    assert_eq!(picks(191), [0, 1, 2, 63]);
    assert_eq!(picks(63), [0, 1, 2]);
    assert_eq!(picks(2), [0, 1]);
    assert!(picks(0).is_empty());
}

#[test]
fn rows_of_bytes_are_walked_both_ways_by_what_is_picked() {
    let block = |row: u8, column: u8| [10 * row + column; LANES];
    let blocks = [2, 0, 1].map(|row| [0, 1, 2, 3].map(|column| block(row, column)));
    let rows = ByteRows::new(blocks.as_flattened().as_flattened(), &[64, 128, 0], 4);
    let with: Vec<u32> = (0..8).collect();
    let with = runs(&with, 2);
    let sets: [&[u64]; 1] = [&[0b1001]];
    let along: Vec<_> = rows.along::<_, 2>(1, Picks::new(sets, 4), with).collect();
    assert_eq!(along, [(&block(1, 0), &[0, 1]), (&block(1, 3), &[6, 7])]);
    let sets = [[&[0b101_u64][..]]].into_iter();
    let down = rows.down::<_, 2, 1, 1>(1..4, 3, sets, with).map(Iterator::collect::<Vec<_>>);
    let expected = [([&block(0, 1), &block(0, 2)], &[0]), ([&block(2, 1), &block(2, 2)], &[4])];
    assert_eq!(down.collect::<Vec<_>>(), [expected]);
}

#[test]
fn what_would_leave_its_memory_panics_even_where_the_sum_wraps_around() {
    fn refused<R>(f: impl FnOnce() -> R + std::panic::UnwindSafe) -> bool {
        std::panic::catch_unwind(f).is_err()
    }
    assert!(refused(|| Walk::<i32, 3>::new(runs(&[0; 17], 5), 4).count()));
    assert!(refused(|| Walk::<i32, 3>::new(runs(&[0; 18], usize::MAX / 2), 4).count()));
    let bytes = [0; 7 * LANES];
    assert!(refused(|| ByteRows::new(&bytes, &[0, 3 * LANES + 1], 4)));
    assert!(refused(|| ByteRows::new(&bytes, &[0, usize::MAX], 3)));
    assert!(refused(|| ByteRows::new(&bytes, &[0], usize::MAX / 2)));
    // Two rows of three blocks.
    let rows = ByteRows::new(&bytes, &[4 * LANES, 0], 3);
    let along = |row, count, items: usize| {
        let picks = Picks::new([&[u64::MAX][..]], count);
        rows.along::<_, 2>(row, picks, runs(&vec![0; items], 2)).count()
    };
    assert_eq!(along(1, 3, 6), 3);
    assert!(refused(|| along(1, 4, 8)) && refused(|| along(2, 3, 6)) && refused(|| along(1, 3, 5)));
    let down = |columns, depth, items: usize| {
        let sets = std::iter::repeat([&[u64::MAX][..]]);
        let items = vec![0; items];
        let strips = rows.down::<_, 1, 2, 1>(columns, depth, sets, runs(&items, 2));
        strips.map(Iterator::count).sum::<usize>()
    };
    assert_eq!(down(1..3, 2, 4), 4);
    assert!(refused(|| down(1..4, 2, 4)) && refused(|| down(1..3, 3, 6)));
    assert!(refused(|| down(1..3, 2, 3)) && refused(|| down(0..usize::MAX, 2, 4)));
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
