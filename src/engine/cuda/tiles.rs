//! Which tile of C a block of the grouped GEMM computes: chosen by a problem's own shape, never by the
//! problems beside it, for the tile decides the order of additions and so the bits of a trial.

use super::launch::gemm::{GemmProblem, GemmTile};

/// How the products are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// On the ordinary cores, in FP32.
    Fp32,
    /// On the tensor cores, operands rounded to TF32 (10 bits of significand).
    Tf32,
    /// On the tensor cores, operands as sums of two TF32 values: FP32-like accuracy.
    Tf32x3,
}

impl Precision {
    pub const ALL: [Precision; 3] = [Precision::Fp32, Precision::Tf32, Precision::Tf32x3];

    /// What a user calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Precision::Fp32 => "fp32",
            Precision::Tf32 => "tf32",
            Precision::Tf32x3 => "3xtf32",
        }
    }

    /// The kernel file of this precision.
    pub const fn program(self) -> &'static str {
        match self {
            Precision::Fp32 => "gemm_fp32.cu",
            Precision::Tf32 => "gemm_tf32.cu",
            Precision::Tf32x3 => "gemm_3xtf32.cu",
        }
    }

    /// The kernel file of the largest tile, on GPUs that have one.
    pub const fn large_program(self, capability: u32) -> Option<&'static str> {
        match (self, capability) {
            (Precision::Tf32, 90) => Some("gemm_tf32_sm90.cu"),
            _ => None,
        }
    }

    /// The least compute capability that has what it needs, as `major * 10 + minor`.
    pub const fn least_capability(self) -> u32 {
        match self {
            Precision::Fp32 => 75,
            Precision::Tf32 | Precision::Tf32x3 => 80,
        }
    }
}

/// A tile configuration of the kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
    pub m: u32,
    pub n: u32,
}

const fn tile(m: u32, n: u32) -> Tile {
    Tile { m, n }
}

impl Tile {
    /// Every configuration that `kernels/gemm_*.cu` has, the largest first.
    pub const ALL: [Tile; 7] = [
        Tile::LARGEST,
        tile(128, 128),
        tile(64, 64),
        tile(32, 32),
        tile(64, 16),
        tile(16, 64),
        tile(16, 16),
    ];

    /// The one that few GPUs have: of [`Precision::large_program`].
    pub const LARGEST: Tile = tile(256, 128);

    /// The configuration for a C of so many rows and columns, where there is the largest or is not.
    ///
    /// By hand estimate for an H200, to be replaced by measurements: in FP32 a 32 x 32 tile needs 32 bytes a
    /// cycle and multiprocessor from the second-level cache, which has about 24 to give; 64 x 64 needs
    /// 16 and 128 x 128 needs 8, but they leave multiprocessors idle where C has few of them. The largest is
    /// taken where its blocks, each of which has a multiprocessor, fill the 132 once.
    pub fn of(m: u32, n: u32, has_largest: bool) -> Tile {
        // None where half of each tile would lie beyond C.
        let blocks = |tile: Tile| match m > tile.m / 2 && n > tile.n / 2 {
            true => u64::from(m.div_ceil(tile.m)) * u64::from(n.div_ceil(tile.n)),
            false => 0,
        };
        let [largest, huge, large, medium, tall, wide, small] = Tile::ALL;
        match (m, n) {
            (..=64, ..=16) | (..=16, ..=64) => small,
            (_, ..=16) => tall,
            (..=16, _) => wide,
            _ if has_largest && blocks(largest) >= 128 => largest,
            _ if blocks(huge) >= 128 => huge,
            _ if blocks(large) >= 32 => large,
            _ => medium,
        }
    }

    /// The work of the blocks that compute the C of the problem at `index` of a table.
    ///
    /// In bands of eight tile rows, column by column: blocks that run together read the same few
    /// tiles of A and B from the second-level cache.
    pub fn cut(self, index: usize, problem: &GemmProblem) -> Vec<GemmTile> {
        const BAND: u32 = 8;
        let (rows, columns) = (problem.m.div_ceil(self.m), problem.n.div_ceil(self.n));
        let mut tiles = Vec::with_capacity(rows as usize * columns as usize);
        for band in (0..rows).step_by(BAND as usize) {
            for tile_n in 0..columns {
                let rows = band..rows.min(band + BAND);
                let of = |tile_m| GemmTile { problem: index as u32, tile_m, tile_n, pad: 0 };
                tiles.extend(rows.map(of));
            }
        }
        tiles
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tile_of_c_is_computed_by_exactly_one_block() {
        for tile in Tile::ALL {
            for (m, n) in [(1, 1), (16, 17), (1000, 10), (129, 2049), (0, 5)] {
                let problem = GemmProblem { m, n, ..GemmProblem::default() };
                let mut places: Vec<_> =
                    tile.cut(3, &problem).iter().map(|t| (t.problem, t.tile_m, t.tile_n)).collect();
                places.sort_unstable();
                let rows = 0..m.div_ceil(tile.m);
                let all = rows.flat_map(|i| (0..n.div_ceil(tile.n)).map(move |j| (3, i, j)));
                assert!(places.into_iter().eq(all), "{m} x {n} in {tile:?}");
            }
        }
    }

    #[test]
    fn thin_products_get_thin_tiles_and_large_ones_large_tiles() {
        let chosen = |m, n| {
            let Tile { m, n } = Tile::of(m, n, false);
            (m, n)
        };
        assert_eq!(chosen(16, 10), (16, 16));
        assert_eq!(chosen(784, 10), (64, 16));
        assert_eq!(chosen(16, 512), (16, 64));
        assert_eq!(chosen(64, 256), (32, 32));
        assert_eq!(chosen(256, 512), (64, 64));
        assert_eq!(chosen(4096, 4096), (128, 128));
        assert_eq!(Tile::of(4096, 4096, true), Tile::LARGEST);
        assert_eq!(chosen(60_000, 64), (64, 64), "half of 128 columns would be nothing");
        for (m, n) in [(1024, 1024), (60_000, 64), (128, 60_000), (16, 512), (1, 1)] {
            assert_eq!(Tile::of(m, n, true), Tile::of(m, n, false), "{m} x {n}");
        }
    }
}
