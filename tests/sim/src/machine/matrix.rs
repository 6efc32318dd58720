//! `mma.sync` and `ldmatrix`: lanes hold parts of small matrices as the PTX manual lays them out.

use super::launch::{Block, Launch};
use super::loads::{addresses, aligned};
use super::warp::{Warp, from_f16};
use crate::decode::inst::{Address, MmaShape, Row};
use crate::report::{Fault, Kind};

pub fn all_lanes(warp: &Warp, mask: u32, what: &str) -> Result<(), Box<Fault>> {
    if mask == u32::MAX {
        return Ok(());
    }
    let lane = (!mask).trailing_zeros();
    let what = format!("{what} wants all 32 lanes and has {mask:#010x} in warp {}", warp.index);
    Err(Fault::new(Kind::AbsentLanes, lane, what))
}

/// The bits of a TF32 number: the lower 13 of a single are not looked at.
pub fn tf32(bits: u32) -> f64 {
    f64::from(f32::from_bits(bits & !0x1fff))
}

fn half(shape: MmaShape, bits: u32, high: bool) -> f64 {
    let bits = if high { bits >> 16 } else { bits & 0xffff };
    match shape {
        MmaShape::M16N8K8F16 | MmaShape::M16N8K16F16 => from_f16(bits as u16),
        _ => f64::from(f32::from_bits(bits << 16)),
    }
}

/// `d = a * b + c`, 16 x 8, products and sums in double precision, rounded once.
pub fn mma(
    warp: &mut Warp,
    mask: u32,
    shape: MmaShape,
    (d, a, b, c): ([Row; 4], [Row; 4], [Row; 2], [Row; 4]),
) -> Result<(), Box<Fault>> {
    all_lanes(warp, mask, "mma.sync")?;
    let k = shape.k();
    let mut left = [[0f64; 16]; 16];
    let mut right = [[0f64; 16]; 8];
    let (a_rows, b_rows) = shape.operands();
    let tf = matches!(shape, MmaShape::M16N8K4Tf32 | MmaShape::M16N8K8Tf32);
    for lane in 0..32 {
        let (group, place) = (lane / 4, lane % 4);
        for i in 0..a_rows {
            let bits = warp.rows.get(a[i])[lane];
            let row = group + 8 * (i % 2);
            if tf {
                left[row][place + 4 * (i / 2)] = tf32(bits);
            } else {
                let column = 2 * place + 8 * (i / 2);
                left[row][column] = half(shape, bits, false);
                left[row][column + 1] = half(shape, bits, true);
            }
        }
        for i in 0..b_rows {
            let bits = warp.rows.get(b[i])[lane];
            if tf {
                right[group][place + 4 * i] = tf32(bits);
            } else {
                let row = 2 * place + 8 * i;
                right[group][row] = half(shape, bits, false);
                right[group][row + 1] = half(shape, bits, true);
            }
        }
    }
    let mut result = [[0u32; 4]; 32];
    for (lane, result) in result.iter_mut().enumerate() {
        for (i, result) in result.iter_mut().enumerate() {
            let (row, column) = (lane / 4 + 8 * (i / 2), 2 * (lane % 4) + i % 2);
            let start = f64::from(f32::from_bits(warp.rows.get(c[i])[lane]));
            let sum = (0..k).fold(start, |sum, k| sum + left[row][k] * right[column][k]);
            *result = (sum as f32).to_bits();
        }
    }
    for (lane, result) in result.iter().enumerate() {
        for (i, &bits) in result.iter().enumerate() {
            warp.rows.get_mut(d[i])[lane] = bits;
        }
    }
    Ok(())
}

impl Launch<'_> {
    /// Lane `8 m + r` gives the address of row `r` (16 bytes) of matrix `m`; lane `l` gets the two
    /// elements 2 (l % 4) of row l / 4 of each.
    #[allow(clippy::too_many_arguments)]
    pub fn load_matrix(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        mask: u32,
        d: [Row; 4],
        count: u8,
        transpose: bool,
        address: &Address,
    ) -> Result<(), Box<Fault>> {
        all_lanes(warp, mask, "ldmatrix")?;
        let givers = if count == 4 { u32::MAX } else { (1 << (8 * u32::from(count))) - 1 };
        let mut at = addresses(warp, address);
        for at in &mut at {
            let (space, offset) = super::warp::resolve(*at);
            if space == crate::ptx::ast::Space::Shared {
                *at = offset;
            }
        }
        aligned(&at, givers, 16, "reads")?;
        self.count_shared(&at, givers, 16);
        for (matrix, &d) in d.iter().enumerate().take(usize::from(count)) {
            let mut elements = [[0u16; 8]; 8];
            for (row, elements) in elements.iter_mut().enumerate() {
                let lane = 8 * matrix + row;
                self.read_shared(block, warp, lane, at[lane], 16, false)?;
                let start = at[lane] as usize;
                for (element, pair) in
                    elements.iter_mut().zip(block.shared[start..start + 16].chunks(2))
                {
                    *element = u16::from_le_bytes([pair[0], pair[1]]);
                }
            }
            for lane in 0..32 {
                let (row, column) = (lane / 4, 2 * (lane % 4));
                let pick = |column: usize| {
                    u32::from(if transpose { elements[column][row] } else { elements[row][column] })
                };
                warp.rows.get_mut(d)[lane] = pick(column) | pick(column + 1) << 16;
            }
        }
        Ok(())
    }
}
